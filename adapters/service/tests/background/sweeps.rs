//! Sweeps while something takes long.

use std::{
    io,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, future::join_all};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tus_service::{
    Change, Config, Download, Incarnation, Kind, Memory, Part, Phase, Storage, Tus, Upload, UploadFilter,
};

use crate::{SOON, created, expired, id, send, wrapped::Wrapped};

fn upload(id: &str, kind: Kind, phase: Phase) -> Upload {
    let mut upload = Upload::new(id.parse().unwrap(), Incarnation::from_random(1), kind);
    (upload.phase, upload.length) = (phase, Some(0));
    upload
}

/// Waits until something has happened, but not for ever.
async fn until(mut happened: impl AsyncFnMut() -> bool) {
    let happens = async {
        while !happened().await {
            sleep(SOON).await;
        }
    };
    timeout(Duration::from_secs(24 * 3600), happens).await.expect("it happens within a day");
}

/// More final uploads that can be assembled than a sweep processes at once.
async fn finals(store: &Memory, count: usize) {
    let part = upload("part", Kind::Partial, Phase::Complete);
    store.create(&part).await.unwrap();
    for at in 0..count {
        let parts = Kind::Final(vec![Part::from(&part)]);
        let mut waiting = upload(&format!("final-{at}"), parts, Phase::Assembling);
        waiting.length = None;
        store.create(&waiting).await.unwrap();
    }
}

/// Neither expiry nor hooks, nor the next sweeps.
#[tokio::test(start_paused = true)]
async fn assemblies_that_take_long_delay_no_other_work() {
    let storage = Wrapped { hangs: true, ..Wrapped::new() };
    let (store, sweeps, tidied) = (storage.memory.clone(), storage.sweeps.clone(), storage.tidied.clone());
    let assemblies = storage.assemblies.clone();
    finals(&store, 40).await;
    let (called, mut calls) = mpsc::unbounded_channel();
    let tus = Tus::builder(storage).finished(move |cx| {
        called.send(cx.upload.id.clone()).unwrap();
        async { Ok::<_, io::Error>(()) }
    });
    let _tus = tus.build();
    until(async || assemblies.load(SeqCst) > 0).await;
    for round in 1..4 {
        let due = upload(&format!("x-due-{round}"), Kind::Single, Phase::Complete);
        store.create(&due).await.unwrap();
        until(async || calls.try_recv().is_ok_and(|called| called == due.id)).await;
        let gone = expired(&format!("x-expired-{round}"));
        store.create(&gone).await.unwrap();
        until(async || store.load(&gone.id).await.unwrap().is_none()).await;
    }
    until(async || sweeps.load(SeqCst) > 3 && tidied.load(SeqCst) > 3).await;
    assert_eq!(assemblies.load(SeqCst), 4, "as many as are assembled at once");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_takes_long_delays_no_removal() {
    let store = Memory::new();
    for at in 0..100 {
        store.create(&expired(&format!("expired-{at}"))).await.unwrap();
    }
    let (called, mut calls) = mpsc::unbounded_channel();
    let tus = Tus::builder(store.clone()).hook_timeout(Duration::from_secs(3600)).terminated(move |cx| {
        called.send(cx.upload.id.clone()).unwrap();
        std::future::pending()
    });
    let tus = tus.build();
    for _ in 0..100 {
        timeout(Duration::from_secs(60), calls.recv()).await.expect("within the first sweep").unwrap();
    }
    assert_eq!(tus.list(UploadFilter::default(), None).count().await, 0);
}

/// More uploads have expired than hooks are called at once.
#[tokio::test(start_paused = true)]
async fn removal_continues_when_calls_have_ended() {
    const UPLOADS: usize = 3000;
    let store = Memory::new();
    for at in 0..UPLOADS {
        store.create(&expired(&format!("expired-{at}"))).await.unwrap();
    }
    let (called, mut calls) = mpsc::unbounded_channel();
    let tus = Tus::builder(store.clone()).sweep_interval(Duration::from_secs(3600)).terminated(move |_| {
        let called = called.clone();
        async move {
            sleep(Duration::from_secs(2)).await;
            called.send(()).unwrap();
        }
    });
    let _tus = tus.build();
    for _ in 0..UPLOADS {
        timeout(Duration::from_secs(60), calls.recv()).await.expect("long before the next interval").unwrap();
    }
}

/// A part wakes a final upload that is to be removed while too many calls are running.
#[tokio::test(start_paused = true)]
async fn a_woken_upload_is_removed_when_calls_have_ended() {
    const CALLS: usize = 1024;
    let hour = Duration::from_secs(3600);
    let storage = Wrapped { is_full: true, ..Wrapped::new() };
    let (store, assemblies) = (storage.memory.clone(), storage.assemblies.clone());
    for at in 0..CALLS {
        store.create(&expired(&format!("expired-{at}"))).await.unwrap();
    }
    let (called, mut calls) = mpsc::unbounded_channel();
    let may_end = Arc::new(Semaphore::new(0));
    let ends = may_end.clone();
    let tus = Tus::builder(storage).sweep_interval(hour).hook_timeout(hour).terminated(move |_| {
        called.send(()).unwrap();
        let ends = ends.clone();
        async move { ends.acquire().await.unwrap().forget() }
    });
    let tus = tus.build();
    for _ in 0..CALLS {
        calls.recv().await.unwrap();
    }
    let mut part = upload("part", Kind::Partial, Phase::Receiving);
    part.length = Some(5);
    let mut gone = upload("gone", Kind::Final(vec![Part::from(&part)]), Phase::Assembling);
    (gone.length, gone.expires) = (None, Some(SystemTime::UNIX_EPOCH));
    for upload in [&part, &gone] {
        store.create(upload).await.unwrap();
    }
    assert_eq!(send(&tus, "PATCH", "/files/part", &[("upload-offset", "0")], "hello").await.status(), 204);
    until(async || assemblies.load(SeqCst) == 1).await;
    assert!(store.load(&gone.id).await.unwrap().is_some());
    may_end.add_permits(CALLS + 1);
    let removed = until(async || store.load(&gone.id).await.unwrap().is_none());
    timeout(Duration::from_secs(60), removed).await.expect("long before the next interval");
}

/// Final uploads that never fit would keep their parts for ever, and the disk full.
#[tokio::test(start_paused = true)]
async fn a_final_upload_without_room_expires_with_its_parts() {
    let storage = Wrapped { is_full: true, ..Wrapped::new() };
    let store = storage.memory.clone();
    let mut part = upload("part", Kind::Partial, Phase::Complete);
    let mut lasting = upload("lasting", Kind::Final(vec![Part::from(&part)]), Phase::Assembling);
    let mut gone = upload("gone", lasting.kind.clone(), Phase::Assembling);
    (lasting.length, gone.length) = (None, None);
    let past = Some(SystemTime::UNIX_EPOCH);
    (part.expires, gone.expires) = (past, past);
    for upload in [&part, &lasting, &gone] {
        store.create(upload).await.unwrap();
    }
    let is_there = async |upload: &Upload| store.load(&upload.id).await.unwrap().is_some();
    let _tus = Tus::builder(storage).build();
    until(async || !is_there(&gone).await).await;
    assert!(is_there(&lasting).await && is_there(&part).await, "it has not expired, and needs its part");
    let stored = store.load(&lasting.id).await.unwrap().unwrap();
    let mut change = Change::of(&stored.upload);
    change.expires = past;
    store.update(&stored, &change).await.unwrap();
    until(async || !is_there(&lasting).await && !is_there(&part).await).await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_in_progress_is_not_started_again() {
    let storage = Wrapped { hangs: true, ..Wrapped::new() };
    let (store, sweeps, assemblies) = (storage.memory.clone(), storage.sweeps.clone(), storage.assemblies.clone());
    finals(&store, 1).await;
    let _tus = Tus::builder(storage).build();
    until(async || sweeps.load(SeqCst) >= 5).await;
    assert_eq!(assemblies.load(SeqCst), 1);
}

/// What is in progress then still uses the storage.
#[tokio::test(start_paused = true)]
async fn sweeps_end_with_the_endpoint() {
    let storage = Wrapped { hangs: true, ..Wrapped::new() };
    let (store, sweeps, tidied) = (storage.memory.clone(), storage.sweeps.clone(), storage.tidied.clone());
    finals(&store, 40).await;
    let tus = Tus::builder(storage).build();
    until(async || sweeps.load(SeqCst) >= 3 && tidied.load(SeqCst) >= 3).await;
    drop(tus);
    // The sweep that is running may end.
    let (begun, tidied_before) = (sweeps.load(SeqCst), tidied.load(SeqCst));
    sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!((sweeps.load(SeqCst), tidied.load(SeqCst)), (begun, tidied_before));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_ends_is_not_started_again() {
    // It waits for a removal.
    let storage = Wrapped { list_fails: true, ..Wrapped::new() };
    let (sweeps, tidied) = (storage.sweeps.clone(), storage.tidied.clone());
    let _tus = Tus::builder(storage).build();
    until(async || tidied.load(SeqCst) >= 5).await;
    assert_eq!(sweeps.load(SeqCst), 1);
}

/// The job waits for its turn for so long that another process does it.
#[tokio::test(start_paused = true)]
async fn a_job_that_waited_for_its_turn_does_not_repeat_a_call() {
    let store = Memory::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let may_end = Arc::new(Notify::new());
    let server = |store: Memory, name: &'static str| {
        let (called, may_end) = (called.clone(), may_end.clone());
        let tus = Tus::builder(store).sweep_interval(Duration::from_secs(1)).finished(move |cx| {
            called.send((name, cx.upload.id.clone())).unwrap();
            let (hangs, may_end) = (cx.upload.metadata.value("hangs").is_some(), may_end.clone());
            async move {
                if hangs {
                    may_end.notified().await;
                }
                Ok::<_, io::Error>(())
            }
        });
        tus.build()
    };
    let one = server(store.clone(), "one");
    // As many as run at once.
    let hanging = join_all((0..64).map(|_| created(&one, &[("upload-metadata", "hangs")], "hello"))).await;
    for _ in &hanging {
        assert_eq!(calls.recv().await.unwrap().0, "one");
    }
    let waits = id(&created(&one, &[], "hello").await);
    let upload = one.find(&waits).await.unwrap().unwrap();
    // Its claim runs out.
    assert!(store.claim(&upload, Duration::ZERO).await.unwrap());
    let other = store.another_process();
    let _two = server(other.clone(), "two");
    assert_eq!(calls.recv().await, Some(("two", waits.clone())));
    until(async || one.find(&waits).await.unwrap().unwrap().phase == Phase::Notified).await;
    other.claim(&upload, Duration::ZERO).await.unwrap();
    may_end.notify_waiters();
    for path in &hanging {
        until(async || one.find(&id(path)).await.unwrap().unwrap().phase == Phase::Notified).await;
    }
    one.shutdown(Duration::from_secs(600)).await;
    assert_eq!(calls.try_recv().ok(), None, "it was called once");
}

/// A job waits for its next attempt, and the upload is complete again meanwhile.
#[tokio::test(start_paused = true)]
async fn a_job_does_not_call_with_an_outdated_record() {
    let store = Memory::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let tus = Tus::builder(store.clone()).finished(move |cx| {
        called.send(cx.attempt).unwrap();
        async { Err(io::Error::other("not yet")) }
    });
    let tus = tus.build();
    let path = created(&tus, &[], "hello").await;
    assert_eq!(calls.recv().await, Some(1));
    let stored = store.load(&id(&path)).await.unwrap().unwrap();
    store.update(&stored, &Change::of(&stored.upload)).await.unwrap();
    assert_eq!(calls.recv().await, Some(1), "a job for the new version");
}

/// HEAD waits briefly for an assembly, whichever process does it.
#[tokio::test(start_paused = true)]
async fn head_waits_for_the_assembly_of_another_process() {
    for works in [true, false] {
        let storage = Wrapped { assembly: Duration::from_millis(600), ..Wrapped::new() };
        let (store, assemblies) = (storage.memory.clone(), storage.assemblies.clone());
        let one = Tus::builder(storage).build();
        let two = Tus::builder(store.another_process()).background(works).build();
        let response = send(&one, "POST", "/files", &[("upload-length", "5"), ("upload-concat", "partial")], "").await;
        let part = response.headers()["location"].to_str().unwrap().to_owned();
        let concat = format!("final;{part}");
        let response = send(&one, "POST", "/files", &[("upload-concat", &concat)], "").await;
        let path = response.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(send(&one, "PATCH", &part, &[("upload-offset", "0")], "hello").await.status(), 204);
        while assemblies.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let head = send(&two, "HEAD", &path, &[], "").await;
        assert_eq!(head.headers().get("upload-offset"), Some(&"5".parse().unwrap()));
    }
}

/// Every clock can add what the settings allow.
#[tokio::test(start_paused = true)]
async fn the_longest_settings_are_valid() {
    let (called, mut calls) = mpsc::unbounded_channel();
    let tus = Tus::builder(Memory::new())
        .config(Config::default().expire_after(Duration::MAX).download(Download::attachment()))
        .body_timeout(Duration::MAX)
        .body_rate(u64::MAX)
        .download_timeout(Duration::MAX)
        .checkpoint_interval(Duration::MAX)
        .sweep_interval(Duration::MAX)
        .hook_timeout(Duration::MAX)
        .finished_timeout(Duration::MAX)
        .max_downloads(usize::MAX)
        .finished(move |_| {
            called.send(()).unwrap();
            async { Ok::<_, io::Error>(()) }
        })
        .build();
    let path = created(&tus, &[], "hello").await;
    calls.recv().await.unwrap();
    until(async || tus.find(&id(&path)).await.unwrap().unwrap().phase == Phase::Notified).await;
    assert_eq!(send(&tus, "GET", &path, &[], "").await.status(), 200);
    tus.shutdown(Duration::MAX).await;
}
