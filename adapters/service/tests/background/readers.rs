//! Requests that only read do not wait for a holder that has nothing to commit.

use std::{
    future::pending,
    io,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tus_service::{
    FinishReply, Hooks, Incarnation, Kind, Memory, Mount, NewUpload, Phase, Rejection, Storage, Tus, Upload, context,
};

use crate::{id, send, wrapped::Wrapped};

/// Each request to a bucket costs time and money.
#[tokio::test(start_paused = true)]
async fn a_record_is_loaded_once_however_long_that_takes() {
    let storage = Wrapped { loading: Duration::from_millis(100), ..Wrapped::new() };
    let loads = storage.loads.clone();
    let tus = Tus::builder(storage).build();
    let response = send(&tus, "POST", "/files", &[("upload-length", "10")], "").await;
    let path = response.headers()["location"].to_str().unwrap();
    assert_eq!(loads.load(SeqCst), 0);
    assert_eq!(send(&tus, "HEAD", path, &[], "").await.status(), 200);
    assert_eq!(loads.load(SeqCst), 1);
    assert_eq!(send(&tus, "PATCH", path, &[("upload-offset", "0")], "hello").await.status(), 204);
    assert_eq!(loads.load(SeqCst), 2);
}

/// Each upload has the id `known`, and one hook never returns.
struct Hanging {
    hook: &'static str,
    called: mpsc::UnboundedSender<()>,
}

impl Hanging {
    async fn at(&self, hook: &str) {
        if hook == self.hook {
            self.called.send(()).unwrap();
            pending().await
        }
    }
}

impl Hooks for Hanging {
    async fn before_create(&self, cx: context::BeforeCreate) -> Result<NewUpload, Rejection> {
        let mut upload = cx.upload;
        upload.id = Some("known".parse().unwrap());
        Ok(upload)
    }

    async fn creation_failed(&self, _: context::CreationFailed) {
        self.at("creation_failed").await;
    }

    async fn created(&self, _: context::Created) {
        self.at("created").await;
    }

    async fn before_finish(&self, _: context::BeforeFinish) -> Result<FinishReply, Rejection> {
        self.at("before_finish").await;
        Ok(FinishReply::default())
    }

    async fn before_terminate(&self, _: context::BeforeTerminate) -> Result<(), Rejection> {
        self.at("before_terminate").await;
        Ok(())
    }

    async fn terminated(&self, _: context::Terminated) {
        self.at("terminated").await;
    }
}

const KNOWN: &str = "/files/known";

/// Whoever calls it: a client that creates, completes or deletes, the application, or a sweep.
#[tokio::test(start_paused = true)]
async fn head_waits_for_no_hook() {
    for (hook, caller, status) in [
        ("created", "a creation", 200),
        ("before_finish", "an empty creation", 200),
        ("creation_failed", "a second creation", 200),
        ("before_terminate", "a deletion", 200),
        ("terminated", "a deletion", 404),
        ("terminated", "the application", 404),
        ("before_finish", "a sweep", 200),
    ] {
        let (called, mut calls) = mpsc::unbounded_channel();
        let store = Memory::new();
        if caller == "a sweep" {
            let mut upload = Upload::new(id(KNOWN), Incarnation::from_random(1), Kind::Single);
            (upload.phase, upload.length) = (Phase::Complete, Some(0));
            store.create(&upload).await.unwrap();
        }
        let hooks = Hanging { hook, called };
        let tus = Tus::builder(store).hooks(hooks).hook_timeout(Duration::from_secs(3600)).build();
        let create = async |length| drop(send(&tus, "POST", "/files", &[("upload-length", length)], "").await);
        let works = async {
            match caller {
                "a sweep" => {}
                "an empty creation" => create("0").await,
                _ => create("5").await,
            }
            match caller {
                "a second creation" => create("5").await,
                "a deletion" => drop(send(&tus, "DELETE", KNOWN, &[], "").await),
                "the application" => tus.terminate(&id(KNOWN)).await.unwrap(),
                _ => {}
            }
            pending().await
        };
        let reads = async {
            calls.recv().await.unwrap();
            let head = timeout(Duration::from_secs(1), send(&tus, "HEAD", KNOWN, &[], "")).await;
            let head = head.unwrap_or_else(|_| panic!("HEAD waits for {hook}, called by {caller}"));
            assert_eq!(head.status(), status, "{hook}, called by {caller}");
        };
        tokio::select! {
            () = works => {}
            () = reads => {}
        }
    }
}

/// A reader does not end a request whose body is still to come.
#[tokio::test(start_paused = true)]
async fn a_body_after_a_slow_hook_is_not_cut_short() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let returns = Arc::new(Notify::new());
    let may_return = returns.clone();
    let tus = Tus::builder(Memory::new()).hooks(Hanging { hook: "", called: called.clone() }).created(move |_| {
        called.send(()).unwrap();
        let may_return = may_return.clone();
        async move { may_return.notified().await }
    });
    let tus = tus.build();
    // The second piece comes late.
    let pieces = stream::iter(["hel", "lo"]).then(async |piece| {
        sleep(Duration::from_secs(u64::from(piece == "lo"))).await;
        Ok::<_, io::Error>(Frame::data(Bytes::from(piece)))
    });
    let create = Request::post("/files").header("tus-resumable", "1.0.0").header("upload-length", 5);
    let create = create.header("content-type", "application/offset+octet-stream");
    let mount = Mount::at("/files");
    let created = tus.handle(create.body(StreamBody::new(Box::pin(pieces))).unwrap(), &mount);
    let reads = async {
        calls.recv().await.unwrap();
        let head = send(&tus, "HEAD", KNOWN, &[], "").await;
        assert_eq!(head.headers()["upload-offset"], "0");
        returns.notify_one();
    };
    let (created, ()) = tokio::join!(created, reads);
    assert_eq!((created.status().as_u16(), &created.headers()["upload-offset"]), (201, &"5".parse().unwrap()));
}
