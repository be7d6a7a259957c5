//! Whatever a request's headers contain: what is accepted has its meaning, and everything else is rejected with a
//! text.

#![no_main]

use arbitrary::Arbitrary;
use fuzz::MOUNT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use libfuzzer_sys::fuzz_target;
use tus_core::{
    Config, Cors, Download, Location, Metadata, UploadId,
    testing::{Body, Model},
};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    method: u8,
    path: Option<&'a str>,
    location: u8,
    trust: bool,
    version: bool,
    headers: Vec<(u8, &'a [u8])>,
    body: &'a [u8],
}

const METHODS: [Method; 7] =
    [Method::POST, Method::PATCH, Method::HEAD, Method::GET, Method::DELETE, Method::OPTIONS, Method::PUT];

const NAMES: [&str; 26] = [
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "upload-concat",
    "upload-checksum",
    "upload-defer-length",
    "content-length",
    "content-type",
    "tus-resumable",
    "x-http-method-override",
    "host",
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-proto",
    "origin",
    "range",
    "if-range",
    "if-none-match",
    "expect",
    "trailer",
    "access-control-request-method",
    "access-control-request-headers",
    "transfer-encoding",
    "if-match",
    "x-forwarded-for",
    "upload-expires",
];

fuzz_target!(|input: Input| {
    let location = match input.location % 3 {
        0 => Location::Path,
        1 => Location::Host,
        _ => Location::base("https://tus.example.org/base").unwrap(),
    };
    let config = Config::default().location(location).trust_forwarded(input.trust).cors(Cors::Any);
    let mut model = Model::new(config.download(Download::attachment().inline("text/plain")));
    let known = create(&mut model);
    let path = match input.path {
        Some(path) => format!("{MOUNT}/{path}"),
        None if input.method & 0x80 > 0 => MOUNT.to_owned(),
        None => format!("{MOUNT}/{known}"),
    };
    let method = METHODS[usize::from(input.method) % METHODS.len()].clone();
    let Ok(request) = Request::builder().method(method).uri(path).body(()) else {
        return;
    };
    let (mut head, ()) = request.into_parts();
    if input.version {
        head.headers.insert("tus-resumable", HeaderValue::from_static("1.0.0"));
    }
    for (name, value) in &input.headers {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            continue;
        };
        head.headers.append(HeaderName::from_static(NAMES[usize::from(*name) % NAMES.len()]), value.clone());
        if let Ok(metadata) = Metadata::parse(&value) {
            let again: Vec<_> = metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
            if !again.is_empty() {
                let again = Metadata::from_pairs(again).unwrap();
                assert!(again.iter().eq(metadata.iter()));
            }
        }
    }
    if let Some(Ok(id)) = input.path.map(str::parse::<UploadId>) {
        let name = id.as_str();
        assert!(!name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..");
    }
    let _ = input.path.map(Location::base);
    let response = model.exchange(&head, Body::from(input.body));
    if response.status() == 201 {
        is_echoed(&mut model, &head.headers);
    }
});

fn create(model: &mut Model) -> UploadId {
    let head = Request::post(MOUNT).header("tus-resumable", "1.0.0").header("upload-length", "5").body(()).unwrap();
    let response = model.exchange(&head.into_parts().0, Body::default());
    assert_eq!(response.status(), 201);
    model.uploads.ids().next().unwrap().clone()
}

/// The newest upload returns exactly what its creation sent.
fn is_echoed(model: &mut Model, sent: &HeaderMap) {
    let id = model.uploads.ids().last().unwrap();
    let head = Request::head(format!("{MOUNT}/{id}")).header("tus-resumable", "1.0.0").body(()).unwrap();
    let response = model.exchange(&head.into_parts().0, Body::default());
    assert_eq!(response.status(), 200);
    for name in ["upload-metadata", "upload-concat"] {
        // Several lines form one list, and an empty value means none.
        let lines = sent.get_all(name).iter().map(|line| line.as_bytes()).filter(|line| !line.trim_ascii().is_empty());
        let sent = lines.collect::<Vec<_>>().join(&b',');
        let shown = response.headers().get(name).map_or(&b""[..], |value| value.as_bytes());
        assert_eq!(shown, sent, "{name}");
    }
}
