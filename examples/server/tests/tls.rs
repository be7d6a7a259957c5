//! TLS and sockets in the file system.

use std::{os::unix::fs::PermissionsExt, path::Path};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tus_reqwest::{
    Client, Source,
    reqwest::{self, Certificate, Version},
};

use crate::program::{Server, Setup};

/// Writes a new certificate and its key to the files of a server. What its clients trust.
fn renew(setup: &Setup) -> Certificate {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(setup.path("cert.pem"), cert.pem()).unwrap();
    std::fs::write(setup.path("key.pem"), signing_key.serialize_pem()).unwrap();
    Certificate::from_pem(cert.pem().as_bytes()).unwrap()
}

fn secure() -> Setup {
    let setup = Setup::new();
    let (cert, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    setup.set("TUS_TLS_CERT", cert.to_str().unwrap()).set("TUS_TLS_KEY", key.to_str().unwrap())
}

fn url(server: &Server) -> String {
    format!("https://localhost:{}/files", server.address.rsplit_once(':').unwrap().1)
}

fn trusting(certificate: &Certificate) -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_certs_only([certificate.clone()])
}

async fn create(http: reqwest::ClientBuilder, url: &str) -> reqwest::Result<reqwest::Response> {
    let request = http.build()?.post(url).header("tus-resumable", "1.0.0").header("upload-length", "5");
    request.send().await
}

#[tokio::test]
async fn uploads_come_over_tls_in_both_versions_of_http() {
    let setup = secure().set("TUS_LOCATION", "host");
    let certificate = renew(&setup);
    let server = setup.start().await;
    let url = url(&server);
    for (http, version) in
        [(trusting(&certificate), Version::HTTP_2), (trusting(&certificate).http1_only(), Version::HTTP_11)]
    {
        let created = create(http, &url).await.unwrap();
        assert_eq!((created.status().as_u16(), created.version()), (201, version));
        let location = created.headers()["location"].to_str().unwrap();
        assert!(location.starts_with(&format!("{url}/")), "{location}");
    }
    let client = Client::builder(&url).http(trusting(&certificate)).build().unwrap();
    client.upload(Source::bytes("hello")).send().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_read_at_sighup_and_a_broken_one_is_not() {
    let setup = secure();
    let old = renew(&setup);
    let mut server = setup.start().await;
    let url = url(&server);
    create(trusting(&old), &url).await.unwrap();
    let new = renew(&setup);
    server.signal(Signal::HUP);
    server.says("certificate reloaded for new connections").await;
    create(trusting(&new), &url).await.unwrap();
    create(trusting(&old), &url).await.unwrap_err();
    std::fs::write(setup.path("cert.pem"), "broken").unwrap();
    server.signal(Signal::HUP);
    server.says("reload failed; the previous certificate stays in use").await;
    create(trusting(&new), &url).await.unwrap();
    server.stop().await;
}

/// Its lines were joined: none of them is in the error, not even as numbers.
#[tokio::test]
async fn a_broken_key_is_not_shown() {
    let setup = secure();
    renew(&setup);
    let key = std::fs::read_to_string(setup.path("key.pem")).unwrap();
    std::fs::write(setup.path("key.pem"), key.replace('\n', " ")).unwrap();
    let expected = "tus-serve: the file of `tls.key` is not valid PEM\n".to_owned();
    assert_eq!(setup.run(&[]).await, (false, String::new(), expected));
    std::fs::write(setup.path("key.pem"), "hush").unwrap();
    let expected = "tus-serve: the file of `tls.key` contains no private key\n".to_owned();
    assert_eq!(setup.run(&[]).await, (false, String::new(), expected));
}

/// The head of the response to OPTIONS.
async fn options(socket: &Path) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(b"OPTIONS /files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn a_socket_in_the_file_system_outlives_no_server_that_matters() {
    let setup = Setup::new();
    let socket = setup.path("socket");
    let setup = setup.set("TUS_ADDR", &format!("unix:{}", socket.display())).set("TUS_SOCKET_MODE", "600");
    // A file that is no socket is not replaced.
    std::fs::write(&socket, "precious").unwrap();
    let (success, _, errors) = setup.run(&[]).await;
    assert!(!success && errors.contains("a file that is not a socket already exists there"), "{errors}");
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
    std::fs::remove_file(&socket).unwrap();
    let server = setup.start().await;
    assert!(options(&socket).await.starts_with("HTTP/1.1 204 "));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // It is in use.
    let (success, _, errors) = setup.run(&[]).await;
    assert!(!success && errors.contains("cannot listen on"), "{errors}");
    assert!(options(&socket).await.starts_with("HTTP/1.1 204 "));
    // A killed server leaves it behind.
    server.kill().await;
    assert!(socket.exists());
    let server = setup.start().await;
    assert!(options(&socket).await.starts_with("HTTP/1.1 204 "));
    server.stop().await;
    assert!(!socket.exists());
    // Another server has replaced it.
    let (old, _) = (setup.start().await, std::fs::remove_file(&socket).unwrap());
    let new = setup.start().await;
    old.stop().await;
    assert!(options(&socket).await.starts_with("HTTP/1.1 204 "));
    new.stop().await;
    assert!(!socket.exists());
}
