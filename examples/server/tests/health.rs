//! Health and metrics.

use rustix::process::Signal;
use tokio::time::timeout;
use tus_reqwest::{Client, Source, reqwest};

use crate::program::{PATIENCE, Setup};

#[tokio::test]
async fn metrics_show_an_upload() {
    let server = Setup::new().start().await;
    assert_eq!(server.ask("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(server.ask("/readyz").await, (200, "ready\n".to_owned()));
    let client = Client::new(&server.url("/files")).unwrap();
    client.upload(Source::bytes("hello")).send().await.unwrap();
    let (status, metrics) = server.ask("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "# TYPE tus_uploads_created_total counter",
        "tus_uploads_created_total 1",
        "tus_uploads_finished_total 1",
        "tus_received_bytes_total 5",
        "# TYPE tus_request_seconds histogram",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line} is missing in {metrics}");
    }
    assert!(metrics.contains("tus_request_seconds_bucket{method=\"POST\",le=\"+Inf\"} 1"), "{metrics}");
    assert_eq!(server.ask("/").await.0, 404);
    // They are not where clients come.
    assert_eq!(reqwest::get(server.url("/metrics")).await.unwrap().status(), 404);
    server.stop().await;
}

/// Load balancers learn of it while uploads go on.
#[tokio::test]
async fn a_server_that_is_to_stop_is_not_ready_and_still_serves() {
    let mut server = Setup::new().set("TUS_DRAIN", "3600").start().await;
    server.signal(Signal::TERM);
    server.says("stopping").await;
    let stopping = async { while server.ask("/readyz").await.0 == 200 {} };
    timeout(PATIENCE, stopping).await.expect("/readyz shows it");
    assert_eq!(server.ask("/readyz").await, (503, "the server is stopping\n".to_owned()));
    assert_eq!(server.ask("/healthz").await.0, 200);
    let client = Client::new(&server.url("/files")).unwrap();
    client.upload(Source::bytes("hello")).send().await.unwrap();
    // Whoever does not want to wait says so again.
    server.signal(Signal::INT);
    server.says("stopped at once by a second signal").await;
    assert!(!server.ended().await);
}

/// A storage that hangs: here another process has locked its database, and the server would wait for a day.
async fn ends_while_its_storage_hangs(grace: &str, signals: &[(Signal, &str)]) {
    let setup = Setup::new().set("TUS_BUSY_TIMEOUT", "86400").set("TUS_GRACE", grace);
    let mut server = setup.start().await;
    let http = reqwest::Client::new();
    let created = http.post(server.url("/files")).header("tus-resumable", "1.0.0").header("upload-length", "5");
    let created = created.send().await.unwrap();
    let database = rusqlite::Connection::open(setup.path("uploads-data/uploads.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let append = http.patch(server.url(created.headers()["location"].to_str().unwrap())).body("hello");
    let append = append.header("tus-resumable", "1.0.0").header("upload-offset", "0");
    let append = tokio::spawn(append.header("content-type", "application/offset+octet-stream").send());
    let begun = async { while !server.ask("/metrics").await.1.contains("\ntus_uploads_in_flight 1\n") {} };
    timeout(PATIENCE, begun).await.expect("it is begun");
    for (signal, said) in signals {
        server.signal(*signal);
        server.says(said).await;
    }
    // A second one ends it before it has finished.
    assert_eq!(server.ended().await, signals.len() == 1);
    // Nothing was committed. Perhaps the server had time to say so.
    if let Ok(response) = append.await.unwrap() {
        assert_eq!(response.status(), 503);
    }
    drop(database);
}

#[tokio::test]
async fn a_server_ends_while_its_storage_hangs() {
    ends_while_its_storage_hangs("0.1", &[(Signal::TERM, "stopping")]).await;
    let twice = [(Signal::TERM, "stopping"), (Signal::TERM, "stopped at once by a second signal")];
    ends_while_its_storage_hangs("86400", &twice).await;
}

#[tokio::test]
async fn a_server_whose_storage_fails_is_not_ready() {
    let setup = Setup::new();
    let server = setup.start().await;
    assert_eq!(server.ask("/readyz").await.0, 200);
    let database = rusqlite::Connection::open(setup.path("uploads-data/uploads.db")).unwrap();
    database.execute_batch("DROP TABLE uploads").unwrap();
    let (status, reason) = server.ask("/readyz").await;
    assert!(status == 503 && reason.starts_with("the storage fails: "), "{status} {reason}");
    assert_eq!(server.ask("/healthz").await.0, 200);
    server.kill().await;
}
