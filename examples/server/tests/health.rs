//! Health and metrics.

use std::{fs::OpenOptions, io::Write};

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
    assert!(server.ended().await);
}

#[tokio::test]
async fn a_server_whose_storage_fails_is_not_ready() {
    let setup = Setup::new();
    let server = setup.start().await;
    assert_eq!(server.ask("/readyz").await.0, 200);
    // What SQLite has in memory of its files is not believed any more, and they are rubbish.
    for (name, byte) in [("uploads.db-wal", 0), ("uploads.db", 0x2a), ("uploads.db-shm", 0)] {
        let mut file = OpenOptions::new().write(true).open(setup.path("uploads-data").join(name)).unwrap();
        let length = file.metadata().unwrap().len();
        file.write_all(&vec![byte; length.try_into().unwrap()]).unwrap();
    }
    let (status, reason) = server.ask("/readyz").await;
    assert!(status == 503 && reason.starts_with("the storage fails: "), "{status} {reason}");
    assert_eq!(server.ask("/healthz").await.0, 200);
    server.kill().await;
}
