//! Background work, and storages and processes that interfere with it.
#![allow(clippy::unwrap_used)]

mod finished;
mod readers;
mod resumable;
mod sweeps;
mod wrapped;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{sync::Notify, time::timeout};
use tus_service::{
    Config, Incarnation, Kind, Memory, Mount, Phase, ResponseBody, Storage, Tus, Upload, UploadFilter, UploadId,
};

use crate::wrapped::Wrapped;

const SOON: Duration = Duration::from_millis(10);

async fn send(
    tus: &Tus,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &'static str,
) -> Response<ResponseBody> {
    let request = Request::builder().method(method).uri(path).header("tus-resumable", "1.0.0");
    let request =
        request.header("content-type", "application/offset+octet-stream").header("content-length", body.len());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    tus.handle(request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap(), &Mount::at("/files")).await
}

/// Creates an upload of these bytes and returns its path.
async fn created(tus: &Tus, headers: &[(&str, &str)], body: &'static str) -> String {
    let length = body.len().to_string();
    let headers = [headers, &[("upload-length", &length)]].concat();
    let response = send(tus, "POST", "/files", &headers, body).await;
    assert_eq!(response.status(), 201);
    response.headers()["location"].to_str().unwrap().to_owned()
}

fn id(path: &str) -> UploadId {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

/// A storage may need for a claim what an assembly holds.
#[tokio::test(start_paused = true)]
async fn a_claim_is_renewed_beside_the_work_that_it_protects() {
    let storage = Wrapped { assembly: Duration::from_secs(60), ..Wrapped::new() };
    let claims = storage.claims.clone();
    let tus = Tus::builder(storage).build();
    let part = created(&tus, &[("upload-concat", "partial")], "hello").await;
    let concat = format!("final;{part}");
    let headers = [("upload-concat", &*concat)];
    let response = timeout(Duration::from_secs(300), send(&tus, "POST", "/files", &headers, "")).await;
    assert_eq!(response.expect("the assembly ends").status(), 201);
    assert!(claims.load(SeqCst) > 0, "a claim had to wait");
}

/// A handler, an assembly or the verification of a digest may take longer than its upload lives.
#[tokio::test]
async fn uploads_in_use_by_another_process_do_not_expire() {
    for phase in [Phase::Complete, Phase::Receiving] {
        does_not_expire_in_use(phase).await;
    }
}

async fn does_not_expire_in_use(phase: Phase) {
    let store = Memory::new();
    let mut upload = Upload::new("a".parse().unwrap(), Incarnation::from_random(1), Kind::Single);
    (upload.phase, upload.length, upload.expires) = (phase, Some(0), Some(SystemTime::UNIX_EPOCH));
    let elsewhere = store.another_process();
    elsewhere.create(&upload).await.unwrap();
    assert!(elsewhere.claim(&upload, Duration::from_secs(600)).await.unwrap());
    let sweeps = Arc::new(AtomicUsize::new(0));
    let storage = Wrapped { memory: store.clone(), sweeps: sweeps.clone(), ..Wrapped::new() };
    let _tus = Tus::builder(storage).sweep_interval(SOON).build();
    while sweeps.load(SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    assert!(store.load(&upload.id).await.unwrap().is_some());
    elsewhere.claim(&upload, Duration::ZERO).await.unwrap();
    while store.load(&upload.id).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
}

fn expired(id: &str) -> Upload {
    let mut upload = Upload::new(id.parse().unwrap(), Incarnation::from_random(1), Kind::Single);
    (upload.length, upload.expires) = (Some(5), Some(SystemTime::UNIX_EPOCH));
    upload
}

#[tokio::test]
async fn expire_deletes_the_others_and_returns_the_error_of_one() {
    let storage = Wrapped { unremovable: Some("b".parse().unwrap()), ..Wrapped::new() };
    let store = storage.memory.clone();
    for id in ["a", "b", "c"] {
        store.create(&expired(id)).await.unwrap();
    }
    let tus = Tus::builder(storage).background(false).build();
    assert_eq!(tus.expire().await.unwrap_err().to_string(), "the disk is broken");
    let mut left = tus.list(UploadFilter::default(), None);
    assert_eq!(left.try_next().await.unwrap().unwrap().id.as_str(), "b");
    assert!(left.try_next().await.unwrap().is_none());
}

/// A removal has happened when the list fails, and its hook has not been called to the end.
#[tokio::test]
async fn expire_ends_what_it_has_begun_when_the_list_fails() {
    let storage = Wrapped { list_fails: true, ..Wrapped::new() };
    let store = storage.memory.clone();
    store.create(&expired("a")).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let tus = Tus::builder(storage).background(false).terminated(move |_| {
        let count = count.clone();
        async move {
            tokio::task::yield_now().await;
            count.fetch_add(1, SeqCst);
        }
    });
    let tus = tus.build();
    assert_eq!(tus.expire().await.unwrap_err().to_string(), "the list is broken");
    assert_eq!(calls.load(SeqCst), 1);
    assert!(store.load(&"a".parse().unwrap()).await.unwrap().is_none());
}

/// A program that only inspects uploads must not prevent the application from being notified.
#[tokio::test]
async fn a_process_without_hooks_leaves_notifications_to_others() {
    let store = Memory::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, done) = (calls.clone(), Arc::new(Notify::new()));
    let notified = done.clone();
    let server = |store: Memory| Tus::builder(store).sweep_interval(SOON);
    // It fails until the other process has swept.
    let swept = Arc::new(AtomicUsize::new(0));
    let sweeps = swept.clone();
    let tus = server(store.clone())
        .finished(move |_| {
            counted.fetch_add(1, SeqCst);
            let may = sweeps.load(SeqCst) >= 3;
            if may {
                notified.notify_one();
            }
            async move { if may { Ok(()) } else { Err(io::Error::other("not yet")) } }
        })
        .build();
    let path = created(&tus, &[], "hello").await;
    let other = Wrapped { memory: store.another_process(), sweeps: swept.clone(), ..Wrapped::new() };
    let _other = Tus::builder(other).sweep_interval(SOON).build();
    done.notified().await;
    while tus.find(&id(&path)).await.unwrap().unwrap().phase != Phase::Notified {
        tokio::task::yield_now().await;
    }
    assert!(swept.load(SeqCst) >= 3 && calls.load(SeqCst) > 1);
}

#[tokio::test]
async fn a_program_without_background_work_never_sweeps() {
    let storage = Wrapped::new();
    let sweeps = storage.sweeps.clone();
    let _looks = Tus::builder(storage).background(false).sweep_interval(SOON).build();
    let storage = Wrapped::new();
    let others = storage.sweeps.clone();
    let _works = Tus::builder(storage).sweep_interval(SOON).build();
    while others.load(SeqCst) < 5 {
        tokio::time::sleep(SOON).await;
    }
    assert_eq!(sweeps.load(SeqCst), 0);
}

#[tokio::test]
async fn background_work_continues_after_a_panic() {
    let storage = Wrapped { panics: 2, ..Wrapped::new() };
    let sweeps = storage.sweeps.clone();
    let tus = Tus::builder(storage).config(Config::default().expire_after(Duration::from_millis(1)));
    let tus = tus.sweep_interval(SOON).build();
    let response = send(&tus, "POST", "/files", &[("upload-length", "5")], "").await;
    let id = id(response.headers()["location"].to_str().unwrap());
    while tus.find(&id).await.unwrap().is_some() {
        tokio::time::sleep(SOON).await;
    }
    assert!(sweeps.load(SeqCst) > 2);
}

/// The lost response to a part, with a storage that opens only uploads that are receiving bytes.
#[tokio::test]
async fn an_empty_patch_at_the_end_of_a_part_is_answered_again() {
    let tus = Tus::builder(Memory::new()).config(Config::default().expire_after(Duration::from_secs(3600))).build();
    let part = created(&tus, &[("upload-concat", "partial")], "hello").await;
    let before = tus.find(&id(&part)).await.unwrap().unwrap();
    let again = send(&tus, "PATCH", &part, &[("upload-offset", "5")], "").await;
    assert_eq!((again.status().as_u16(), &again.headers()["upload-offset"]), (204, &"5".parse().unwrap()));
    assert_eq!(tus.find(&id(&part)).await.unwrap().unwrap(), before);
}

/// A program without background work does not complete final uploads in place of the server.
#[tokio::test]
async fn a_program_without_background_work_leaves_final_uploads_to_the_server() {
    let store = Memory::new();
    let (finished, mut calls) = tokio::sync::mpsc::unbounded_channel();
    let server = Tus::builder(store.clone())
        .sweep_interval(SOON)
        .finished(move |cx| {
            finished.send(cx.upload.id.clone()).unwrap();
            async { Ok::<_, io::Error>(()) }
        })
        .build();
    let tool = Tus::builder(store.another_process()).background(false).build();
    let response = send(&server, "POST", "/files", &[("upload-concat", "partial"), ("upload-length", "5")], "").await;
    let part = response.headers()["location"].to_str().unwrap().to_owned();
    let concat = format!("final;{part}");
    let response = send(&server, "POST", "/files", &[("upload-concat", &concat)], "").await;
    let waiting = id(response.headers()["location"].to_str().unwrap());
    assert_eq!(send(&tool, "PATCH", &part, &[("upload-offset", "0")], "hello").await.status(), 204);
    assert_eq!(calls.recv().await, Some(waiting));
}

/// What another process has acknowledged survives a creation that failed.
#[tokio::test]
async fn a_failed_creation_removes_only_its_own_upload() {
    for grows in [true, false] {
        let tus = Tus::builder(Wrapped { grows, ..Wrapped::new() }).before_create(|cx| async move {
            let mut upload = cx.upload;
            upload.id = Some("known".parse().unwrap());
            Ok(upload)
        });
        let tus = tus.checkpoint_interval(SOON).build();
        let wrong = ("upload-checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let response = send(&tus, "POST", "/files", &[("upload-length", "10"), wrong], "hello").await;
        assert_eq!(response.status(), 460);
        let left = tus.find(&"known".parse().unwrap()).await.unwrap();
        assert_eq!(left.map(|left| left.offset), grows.then_some(3));
    }
}
