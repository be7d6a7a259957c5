//! What a router, or the spelling of a URL by a client, can break.

use crate::{
    client::OCTETS,
    harness::{Server, id},
};

pub(crate) fn an_endpoint_works_at_any_depth(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    for endpoint in ["/files", "/files/", "/api/ann/up", "/api/ann/up/", "/api/b%2Fc/up", "/files?a=b"] {
        let created = connection.request("POST", endpoint, &[("Upload-Length", "5")], b"");
        assert_eq!(created.status, 201, "{endpoint}");
        let path = created.header("location").to_owned();
        let base = endpoint.trim_end_matches("?a=b").trim_end_matches('/');
        assert_eq!(path, format!("{base}/{}", id(&path)), "below where it was asked for");
        assert_eq!(connection.patch(&path, 0, b"hello").status, 204);
        assert_eq!(connection.offset(&format!("{path}/")), 5);
        let options = connection.request("OPTIONS", endpoint, &[], b"");
        assert_eq!((options.status, options.header("tus-version")), (204, "1.0.0"));
    }
}

pub(crate) fn an_id_may_be_percent_encoded(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    for endpoint in ["/files", "/api/ann/up"] {
        let created = connection.request("POST", endpoint, &[("Upload-Length", "5")], b"");
        let id = id(created.header("location")).to_string();
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("{endpoint}/{encoded}");
        assert_eq!(connection.patch(&path, 0, b"hello").status, 204, "{path}");
        assert_eq!(connection.offset(created.header("location")), 5);
    }
}

pub(crate) fn an_impossible_path_is_not_found(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(5);
    for wrong in ["/files/..%2ffiles", "/files/%2e%2e", "/files/a/b", "/files/%00", "/files/%ff", "/files/a.b"] {
        assert_eq!(connection.request("HEAD", wrong, &[], b"").status, 404, "{wrong}");
    }
    assert_eq!(connection.request("HEAD", &format!("{path}x"), &[], b"").status, 404);
    assert_eq!(connection.request("HEAD", "/elsewhere", &[], b"").status, 404);
}

pub(crate) fn headers_arrive_as_they_were_sent(server: Server) {
    let started = server.start();
    let mut connection = started.connect();
    let path = connection.create(10);
    let repeated = [("Upload-Offset", "0"), ("Upload-Offset", "0"), ("Content-Type", OCTETS)];
    let refused = connection.request("PATCH", &path, &repeated, b"hello");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("upload-offset is repeated"), "{}", refused.text());

    let head = |name: &str, value: &[u8]| {
        let mut request = b"POST /files HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n".to_vec();
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\nContent-Length: 0\r\n\r\n");
        request
    };
    connection.send(&head("Upload-Metadata", b"name \xe4"));
    let refused = connection.response("POST");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("upload-metadata"), "{}", refused.text());
    connection.send(&head("X-Other", b"\xe4\xff"));
    assert_eq!(connection.response("POST").status, 201);

    let metadata = "filename R3LDtsOfZS50eHQ=,empty,other  ";
    let created = connection.request("POST", "/files", &[("Upload-Length", "5"), ("Upload-Metadata", metadata)], b"");
    let head = connection.request("HEAD", created.header("location"), &[], b"");
    assert_eq!(head.header("upload-metadata"), metadata.trim_end());
}

pub(crate) fn cross_origin_pages_see_refusals_too(server: Server) {
    let started =
        server.start_with(|builder| builder.config(tus_service::Config::default().cors(tus_service::Cors::Any)));
    let mut connection = started.connect();
    let origin = ("Origin", "https://app.example");
    let preflight = [origin, ("Access-Control-Request-Method", "PATCH"), ("Access-Control-Request-Headers", "x-a")];
    let preflight = connection.request("OPTIONS", "/files/a", &preflight, b"");
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (204, "x-a"));
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
    let refused = connection.request("HEAD", "/files/missing", &[origin], b"");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (404, "*"));
    assert!(refused.header("access-control-expose-headers").contains("upload-offset"));
}
