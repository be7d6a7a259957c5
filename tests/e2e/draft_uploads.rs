//! This project's client against its servers, with the IETF's draft.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use tus_reqwest::{
    Algorithm, Builder, Client, Error, Fingerprint, JsonFile, Options, ProblemType, Protocol, Retry, Source, Uploaded,
    Verification, block_on,
};
use tus_service::{Config, FinishReply, Rejection};

use crate::{
    content::{assert_same, bytes},
    faulty::{Fault, Line},
    harness::{Server, Started},
};

const LENGTH: u64 = (5 << 20) + 3;

fn client(address: SocketAddr, options: Options) -> Builder {
    Client::builder(&format!("http://{address}/files")).options(options.protocol(Protocol::Draft))
}

/// Retries quickly, more often than a busy machine needs, and sends everything in one request.
fn eager() -> Options {
    let retry = Retry::default().retries(1000).delay(Duration::from_millis(1), Duration::from_millis(20));
    Options::default().retry(retry).chunk_size(None).verification(Verification::Off)
}

fn source(length: u64) -> Source {
    Source::bytes(bytes(1, 0..length))
}

#[track_caller]
fn arrived(started: &Started, uploaded: &Uploaded, length: u64) {
    assert_eq!((uploaded.offset, uploaded.length, uploaded.complete), (Some(length), Some(length), true));
    assert_same(&started.content(uploaded.url.path()), &bytes(1, 0..length));
    let record = started.upload(uploaded.url.path()).unwrap();
    assert!(record.is_complete() && record.dialect == tus_service::Dialect::Draft(9), "{record:?}");
}

/// Of any length, in one request and in many, with digests and without.
pub(crate) fn a_file_of_any_length_arrives(server: Server) {
    let started = server.start_with(|builder| builder.config(Config::default().checksums([Algorithm::Sha256])));
    let verified = Options::default().verification(Verification::Required(Algorithm::Sha256));
    for options in [Options::default(), eager(), verified, eager().data_in_creation(true)] {
        let client = client(started.running.address, options).build().unwrap();
        for length in [0, 1, 1 << 20, LENGTH] {
            let upload = client.upload(source(length)).metadata("filename", "größer.film").metadata("kind", "test");
            let uploaded = block_on(upload.metadata("filetype", "video/mp4").send()).unwrap();
            arrived(&started, &uploaded, length);
            let record = started.upload(uploaded.url.path()).unwrap();
            let text = |key| record.metadata.text(key);
            assert_eq!((text("filename"), text("filetype")), (Some("größer.film"), Some("video/mp4")));
            assert_eq!(text("kind"), Some("test"));
        }
    }
    // A stream.
    let client = client(started.running.address, Options::default()).build().unwrap();
    for length in [0, 1, 1 << 20, LENGTH] {
        let stream = std::io::Cursor::new(bytes(1, 0..length));
        let uploaded = block_on(client.upload(Source::stream(stream)).send()).unwrap();
        arrived(&started, &uploaded, length);
        // Its state and its deletion.
        let info = block_on(client.info(uploaded.url.clone())).unwrap();
        assert_eq!((info.offset, info.length, info.complete), (Some(length), Some(length), true));
        block_on(client.terminate(uploaded.url.clone())).unwrap();
        block_on(client.terminate(uploaded.url.clone())).unwrap();
        assert!(block_on(client.info(uploaded.url)).unwrap_err().is_gone());
    }
}

pub(crate) fn it_completes_over_connections_that_always_break(server: Server) {
    let started = server.start();
    for (fault, seed) in [(Fault::Breaks, 1), (Fault::Refuses, 6), (Fault::Slows, 11)] {
        let line = Line::to(started.running.address, fault, 40, 300_000, seed);
        let client = client(line.address, eager()).build().unwrap();
        let uploaded = block_on(client.upload(source(LENGTH)).send()).unwrap();
        arrived(&started, &uploaded, LENGTH);
        assert!(line.faults_left() < 30, "no connection failed");
        assert!(line.carried() < LENGTH * 2, "{} bytes for {LENGTH}", line.carried());
        let stream = std::io::Cursor::new(bytes(1, 0..LENGTH));
        let line = Line::to(started.running.address, fault, 10, 300_000, seed);
        let client = self::client(line.address, eager().chunk_size(Some(1 << 20))).build().unwrap();
        arrived(&started, &block_on(client.upload(Source::stream(stream)).send()).unwrap(), LENGTH);
    }
    let line = Line::to(started.running.address, Fault::FallsSilent, 3, 1 << 20, 2);
    let client = client(line.address, eager()).timeout(Duration::from_millis(300)).build().unwrap();
    arrived(&started, &block_on(client.upload(source(LENGTH)).send()).unwrap(), LENGTH);
    assert_eq!(line.faults_left(), 0);
}

/// The entry in the store determines the protocol of the upload, whatever the client's default is.
pub(crate) fn an_entry_stores_its_protocol(server: Server) {
    let started = server.start();
    let urls = server.directory.path().join("urls.json");
    let client = |options: Options| {
        let url = format!("http://{}/files", started.running.address);
        let store = JsonFile::new(&urls);
        Client::builder(&url).options(options).url_store(store, Fingerprint::Fast).build().unwrap()
    };
    for (created, resumed) in [
        (Some(Protocol::Draft), Some(Protocol::Draft)),
        (Some(Protocol::Draft), Some(Protocol::Tus)),
        (Some(Protocol::Draft), None),
        (Some(Protocol::Tus), Some(Protocol::Draft)),
    ] {
        let dialect = |path: &str| started.upload(path).unwrap().dialect;
        let first = client(eager().protocol(created));
        let first = block_on(first.upload(source(LENGTH)).stop_at(1000).send()).unwrap();
        assert_eq!((first.offset, first.complete), (Some(1000), false));
        let before = dialect(first.url.path());
        let second = client(eager().protocol(resumed));
        let uploaded = block_on(second.upload(source(LENGTH)).send()).unwrap();
        assert_eq!((uploaded.url.path(), dialect(uploaded.url.path())), (first.url.path(), before));
        assert!(uploaded.complete);
        assert_same(&started.content(uploaded.url.path()), &bytes(1, 0..LENGTH));
        assert_eq!(std::fs::read_to_string(&urls).unwrap(), "{}");
    }
    // An upload that is gone is started again.
    let draft = client(eager().protocol(Protocol::Draft));
    let first = block_on(draft.upload(source(LENGTH)).stop_at(1000).send()).unwrap();
    block_on(client(eager().protocol(Protocol::Draft)).terminate(first.url.clone())).unwrap();
    let second = block_on(draft.upload(source(LENGTH)).send()).unwrap();
    assert_ne!(second.url, first.url);
    arrived(&started, &second, LENGTH);
}

/// A client that asks uses the server's protocol.
pub(crate) fn the_server_may_choose_the_protocol(server: Server) {
    let ask = |started: &Started| {
        let url = format!("http://{}/files", started.running.address);
        let client = Client::builder(&url).options(eager().protocol(None)).build().unwrap();
        let uploaded = block_on(client.upload(source(LENGTH)).send()).unwrap();
        assert!(block_on(client.info(uploaded.url.clone())).unwrap().complete);
        uploaded
    };
    let both = server.start();
    let uploaded = ask(&both);
    assert_eq!(both.upload(uploaded.url.path()).unwrap().dialect, tus_service::Dialect::Tus);
    drop(both);
    let started = server.start_with(|builder| builder.config(Config::default().without_tus()));
    arrived(&started, &ask(&started), LENGTH);
    // The draft has no parts.
    let client = client(started.running.address, eager()).build().unwrap();
    let error = block_on(client.upload(source(LENGTH)).parts(4).send()).unwrap_err();
    assert!(matches!(&error, Error::Unsupported(what) if what.contains("parts")), "{error}");
}

/// "the client SHOULD respect any limits announced during the upload process".
pub(crate) fn limits_are_respected(server: Server) {
    let config = Config::default().max_size(LENGTH).max_append_size(1 << 20).min_append_size(1 << 16);
    let started = server.start_with(move |builder| builder.config(config));
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let noted = sizes.clone();
    let client = client(started.running.address, eager()).after_response(move |request, response| {
        if request.method() == http::Method::PATCH {
            noted.lock().unwrap().push((response.status(), request.headers()["upload-offset"].clone()));
        }
    });
    let client = client.build().unwrap();
    arrived(&started, &block_on(client.upload(source(LENGTH)).send()).unwrap(), LENGTH);
    let sizes = sizes.lock().unwrap();
    assert_eq!(sizes.len(), 6, "{sizes:?}");
    assert!(sizes.iter().all(|(status, _)| status.is_success()), "nothing was refused: {sizes:?}");
    drop(sizes);
    let small = self::client(started.running.address, Options::default().chunk_size(Some(1000))).build().unwrap();
    arrived(&started, &block_on(small.upload(source(1 << 20)).send()).unwrap(), 1 << 20);
    // An upload that is too large leaves nothing behind.
    let before = started.count();
    for too_large in [source(LENGTH + 1), Source::stream(std::io::Cursor::new(bytes(1, 0..LENGTH + 1)))] {
        let error = block_on(client.upload(too_large).send()).unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: LENGTH, .. }), "{error}");
        assert_eq!(started.count(), before);
    }
}

/// The response to the complete upload is the application's, and so is its rejection.
pub(crate) fn the_applications_response_is_the_result(server: Server) {
    let started = server.start_with(|builder| {
        builder.before_finish(|cx| async move {
            if cx.upload.offset == 3 {
                return Err(Rejection::new(StatusCode::UNPROCESSABLE_ENTITY, "no films of 3 bytes"));
            }
            let mut reply = FinishReply::default();
            reply.status = Some(StatusCode::ACCEPTED);
            reply.body = "{\"film\":7}".into();
            Ok(reply)
        })
    });
    let urls = server.directory.path().join("urls.json");
    let store = JsonFile::new(&urls);
    let client = client(started.running.address, eager()).url_store(store, Fingerprint::Fast).build().unwrap();
    let uploaded = block_on(client.upload(source(LENGTH)).send()).unwrap();
    let response = uploaded.response.unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::ACCEPTED, &b"{\"film\":7}"[..]));
    let error = block_on(client.upload(source(3)).send()).unwrap_err();
    assert_eq!((error.status(), error.is_final()), (Some(StatusCode::UNPROCESSABLE_ENTITY), true));
    assert!(error.to_string().ends_with("no films of 3 bytes"), "{error}");
    assert_eq!(std::fs::read_to_string(&urls).unwrap(), "{}", "neither is to be resumed");
    // A rejection by the server itself is a problem.
    let options = eager().retry(Retry::default().retries(0));
    let client = self::client(started.running.address, options).build().unwrap();
    let other = format!("http://{}/files/nothing", started.running.address);
    let error = block_on(client.resume(&*other, source(LENGTH)).send()).unwrap_err();
    assert!(error.is_gone() && !error.is_final(), "{error}");
    let tus = Client::new(&format!("http://{}/files", started.running.address)).unwrap();
    let tus = block_on(tus.upload(source(LENGTH)).stop_at(1000).send()).unwrap();
    let delete = block_on(client.terminate(tus.url)).unwrap_err();
    let Error::Refused(refused) = &delete else { panic!("{delete}") };
    let problem = refused.problem.as_ref().unwrap();
    assert_eq!((refused.status, &problem.kind), (StatusCode::FORBIDDEN, &ProblemType::Other("about:blank".into())));
    assert!(delete.to_string().contains("tus 1.0.0"), "{delete}");
}
