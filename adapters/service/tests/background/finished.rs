//! `finished` is a job beside the response.

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc};
use tus_service::{Config, FinishReply, Memory, Phase, Rejection, Storage, Tus};

use crate::{
    SOON, created, id, send,
    wrapped::{Late, Wrapped},
};

async fn phase(tus: &Tus, path: &str) -> Option<Phase> {
    tus.find(&id(path)).await.unwrap().map(|upload| upload.phase)
}

/// Waits for what is recorded after the hook.
async fn until(tus: &Tus, path: &str, phase_wanted: Phase) {
    while phase(tus, path).await != Some(phase_wanted) {
        tokio::time::sleep(SOON).await;
    }
}

/// A hook that never returns delays neither the response nor other uploads, requests or sweeps.
#[tokio::test]
async fn a_hanging_hook_delays_nobody_else() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let tus = Tus::builder(Memory::new())
        .config(Config::default().expire_after(Duration::from_millis(1)))
        .sweep_interval(SOON)
        .finished(move |cx| {
            let hangs = cx.upload.metadata.value("hangs").is_some();
            started.send(cx.upload.id.clone()).unwrap();
            async move {
                if hangs {
                    pending::<()>().await;
                }
                Ok::<_, io::Error>(())
            }
        })
        .build();
    let hanging = created(&tus, &[("upload-metadata", "hangs")], "hello").await;
    assert_eq!(starts.recv().await, Some(id(&hanging)));
    let other = created(&tus, &[], "hello").await;
    assert_eq!(starts.recv().await, Some(id(&other)));
    until(&tus, &other, Phase::Notified).await;
    // Expired uploads are removed.
    let response = send(&tus, "POST", "/files", &[("upload-length", "5")], "").await;
    let expired = response.headers()["location"].to_str().unwrap().to_owned();
    while phase(&tus, &expired).await.is_some() {
        tokio::time::sleep(SOON).await;
    }
    // Its last request is answered again, and it can be inspected and deleted.
    assert_eq!(send(&tus, "PATCH", &hanging, &[("upload-offset", "5")], "").await.status(), 204);
    assert_eq!(send(&tus, "HEAD", &hanging, &[], "").await.status(), 200);
    assert_eq!(phase(&tus, &hanging).await, Some(Phase::Complete));
    assert_eq!(send(&tus, "DELETE", &hanging, &[], "").await.status(), 204);
    assert!(starts.try_recv().is_err(), "each was called once");
}

/// `before_finish` is not called again while the job runs, which may have taken the file already.
#[tokio::test]
async fn before_finish_is_not_called_beside_finished() {
    let (started, mut starts) = mpsc::unbounded_channel();
    let asked = Arc::new(AtomicUsize::new(0));
    let asks = asked.clone();
    let tus =
        Tus::builder(Memory::new())
            .before_finish(move |_| {
                let again = asks.fetch_add(1, SeqCst) > 0;
                async move {
                    if again { Err(Rejection::forbidden("the file is gone\n")) } else { Ok(FinishReply::default()) }
                }
            })
            .finished(move |cx| {
                started.send(cx.upload.id.clone()).unwrap();
                pending::<Result<(), io::Error>>()
            })
            .build();
    let path = created(&tus, &[], "hello").await;
    assert_eq!(starts.recv().await, Some(id(&path)));
    assert_eq!(send(&tus, "PATCH", &path, &[("upload-offset", "5")], "").await.status(), 204);
    assert_eq!(asked.load(SeqCst), 1);
}

/// Nobody waits for the answer, so the waits grow: 1, 2, 4 s and so on. A client that asks again gets an answer at once.
#[tokio::test(start_paused = true)]
async fn a_rejected_upload_is_asked_about_less_and_less_often() {
    let (asked, approves) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (asks, approved) = (asked.clone(), approves.clone());
    let (started, mut starts) = mpsc::unbounded_channel();
    let tus = Tus::builder(Memory::new()).sweep_interval(Duration::from_millis(100));
    let tus = tus.before_finish(move |_| {
        asks.fetch_add(1, SeqCst);
        let answer = if approved.load(SeqCst) { Ok(FinishReply::default()) } else { Err(Rejection::forbidden("no")) };
        async { answer }
    });
    let tus = tus.finished(move |_| {
        started.send(()).unwrap();
        async { Ok::<_, io::Error>(()) }
    });
    let tus = tus.build();
    let response = send(&tus, "POST", "/files", &[("upload-length", "5")], "").await;
    let path = response.headers()["location"].to_str().unwrap().to_owned();
    let ask = async || send(&tus, "PATCH", &path, &[("upload-offset", "5")], "").await.status();
    assert_eq!(send(&tus, "PATCH", &path, &[("upload-offset", "0")], "hello").await.status(), 403);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let so_far = asked.load(SeqCst);
    assert!((5..=8).contains(&so_far), "{so_far}");
    assert_eq!(ask().await, 403);
    assert_eq!(asked.load(SeqCst), so_far + 1);
    // Whoever gets its approval is notified at once.
    approves.store(true, SeqCst);
    assert_eq!(ask().await, 204);
    tokio::time::timeout(Duration::from_secs(1), starts.recv()).await.unwrap().unwrap();
    assert_eq!(asked.load(SeqCst), so_far + 2);
}

/// A sweep loads the record during the call, and looks at it after the call.
#[tokio::test]
async fn an_outdated_record_does_not_repeat_the_call() {
    let late = Arc::new(Late::default());
    let storage = Wrapped { late: Some(late.clone()), ..Wrapped::new() };
    let (store, sweeps) = (storage.memory.clone(), storage.sweeps.clone());
    let (started, mut starts) = mpsc::unbounded_channel();
    let may_end = Arc::new(Notify::new());
    let end = may_end.clone();
    let tus = Tus::builder(storage).sweep_interval(SOON).finished(move |_| {
        started.send(()).unwrap();
        let end = end.clone();
        async move {
            end.notified().await;
            Ok::<_, io::Error>(())
        }
    });
    let tus = tus.build();
    let path = created(&tus, &[], "hello").await;
    starts.recv().await.unwrap();
    late.loaded.notified().await;
    may_end.notify_one();
    while store.load(&id(&path)).await.unwrap().unwrap().upload.phase != Phase::Notified {
        tokio::time::sleep(SOON).await;
    }
    late.returns.notify_one();
    let swept = sweeps.load(SeqCst);
    while sweeps.load(SeqCst) < swept + 3 {
        tokio::time::sleep(SOON).await;
    }
    assert!(starts.try_recv().is_err(), "it was called once");
}

#[tokio::test(start_paused = true)]
async fn a_failed_hook_is_called_again_after_growing_waits() {
    let tries = Arc::new(Mutex::new(Vec::new()));
    let seen = tries.clone();
    let tus = Tus::builder(Memory::new())
        .finished(move |cx| {
            seen.lock().unwrap().push((cx.attempt, tokio::time::Instant::now()));
            async move {
                match cx.attempt {
                    1..=5 => Err(io::Error::other("not yet")),
                    6 => panic!("as the test wants it"),
                    _ => Ok(()),
                }
            }
        })
        .build();
    let path = created(&tus, &[], "hello").await;
    until(&tus, &path, Phase::Notified).await;
    let tries = tries.lock().unwrap();
    assert_eq!(tries.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    let waits: Vec<_> = tries.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    assert!(waits.is_sorted() && waits[0] >= Duration::from_secs(1) && waits[4] >= 4 * waits[2], "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_times_out_is_dropped_and_repeated() {
    let (attempts, mut seen) = mpsc::unbounded_channel();
    let tus = Tus::builder(Memory::new())
        .finished_timeout(Duration::from_secs(100))
        .finished(move |cx| {
            attempts.send(cx.attempt).unwrap();
            async move {
                if cx.attempt == 1 {
                    pending::<()>().await;
                }
                Ok::<_, io::Error>(())
            }
        })
        .build();
    let path = created(&tus, &[], "hello").await;
    until(&tus, &path, Phase::Notified).await;
    assert_eq!((seen.recv().await, seen.recv().await), (Some(1), Some(2)));
}

/// Shutdown waits for running calls, but not for those that never return. The next start repeats these.
#[tokio::test]
async fn shutdown_waits_for_calls_and_abandons_hanging_ones() {
    let store = Memory::new();
    let (started, mut starts) = mpsc::unbounded_channel();
    let may_end = Arc::new(Notify::new());
    let end = may_end.clone();
    let first = Tus::builder(store.clone())
        .finished(move |cx| {
            let (hangs, end) = (cx.upload.metadata.value("hangs").is_some(), end.clone());
            started.send(()).unwrap();
            async move {
                match hangs {
                    true => pending::<()>().await,
                    false => end.notified().await,
                }
                Ok::<_, io::Error>(())
            }
        })
        .build();
    let hanging = created(&first, &[("upload-metadata", "hangs")], "hello").await;
    let slow = created(&first, &[], "hello").await;
    let _ = (starts.recv().await, starts.recv().await);
    let stop = async {
        may_end.notify_one();
        first.shutdown(20 * SOON).await;
    };
    stop.await;
    assert_eq!(
        (phase(&first, &slow).await, phase(&first, &hanging).await),
        (Some(Phase::Notified), Some(Phase::Complete))
    );
    drop(first);
    let (called, mut calls) = mpsc::unbounded_channel();
    let _second = Tus::builder(store)
        .sweep_interval(SOON)
        .finished(move |cx| {
            called.send((cx.upload.id.clone(), cx.attempt)).unwrap();
            async { Ok::<_, io::Error>(()) }
        })
        .build();
    assert_eq!(calls.recv().await, Some((id(&hanging), 1)));
}

/// One process at a time calls the hook for an upload, however long it takes.
#[tokio::test(start_paused = true)]
async fn one_process_at_a_time_calls_the_hook() {
    let store = Memory::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let may_end = Arc::new(Notify::new());
    let server = |store: Memory, name: &'static str| {
        let (called, may_end) = (called.clone(), may_end.clone());
        Tus::builder(store)
            .sweep_interval(Duration::from_secs(1))
            .finished(move |_| {
                called.send(name).unwrap();
                let may_end = may_end.clone();
                async move {
                    may_end.notified().await;
                    Ok::<_, io::Error>(())
                }
            })
            .build()
    };
    let (one, _two) = (server(store.clone(), "one"), server(store.another_process(), "two"));
    let path = created(&one, &[], "hello").await;
    assert_eq!(calls.recv().await, Some("one"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(calls.try_recv().is_err(), "the other process keeps out");
    may_end.notify_one();
    until(&one, &path, Phase::Notified).await;
}

/// An application that counts what it allows learns what was not created after all.
#[tokio::test]
async fn a_failed_creation_is_reported() {
    let (events, mut seen) = mpsc::unbounded_channel();
    let (allowed, failed, made) = (events.clone(), events.clone(), events);
    let tus = Tus::builder(Memory::new())
        .config(Config::default().max_size(3))
        .before_create(move |cx| {
            allowed.send("allowed").unwrap();
            async move { Ok(cx.upload) }
        })
        .creation_failed(move |cx| {
            assert_eq!(cx.upload.length, Some(5), "what was reserved");
            failed.send("failed").unwrap();
            async {}
        })
        .created(move |_| {
            made.send("created").unwrap();
            async {}
        })
        .build();
    assert_eq!(send(&tus, "POST", "/files", &[("upload-length", "5")], "").await.status(), 413);
    created(&tus, &[], "abc").await;
    let seen: Vec<_> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
    assert_eq!(seen, ["allowed", "failed", "allowed", "created"]);
}

/// A client that has just sent the last byte of the last part sees the final upload complete.
#[tokio::test]
async fn head_of_a_final_upload_waits_for_its_assembly() {
    let tus = Tus::builder(Memory::new()).build();
    let response = send(&tus, "POST", "/files", &[("upload-length", "5"), ("upload-concat", "partial")], "").await;
    let part = response.headers()["location"].to_str().unwrap().to_owned();
    let concat = format!("final;{part} {part}");
    let response = send(&tus, "POST", "/files", &[("upload-concat", &concat)], "").await;
    let path = response.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(send(&tus, "PATCH", &part, &[("upload-offset", "0")], "hello").await.status(), 204);
    let head = send(&tus, "HEAD", &path, &[], "").await;
    assert_eq!(
        (&head.headers()["upload-offset"], &head.headers()["upload-length"]),
        (&"10".parse().unwrap(), &"10".parse().unwrap())
    );
}
