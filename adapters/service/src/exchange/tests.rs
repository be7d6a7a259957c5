//! Requests in one process while another process holds or wants the same upload.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{self, Either};
use http::{Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tus_core::{
    Change, Incarnation, Kind, Rejection, Stored, Upload,
    server::{FinishReply, Mount},
};

use crate::{Hint, Memory, ResponseBody, Storage, Tus, Writer};

async fn send(tus: &Tus, head: request::Builder, body: &'static str) -> Response<ResponseBody> {
    let head = head.header("tus-resumable", "1.0.0").header("content-length", body.len());
    tus.handle(head.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap(), &Mount::at("/files")).await
}

fn patch(offset: u64) -> request::Builder {
    let patch = Request::patch("/files/a").header("upload-offset", offset);
    patch.header("content-type", "application/offset+octet-stream")
}

async fn created(memory: &Memory, length: u64) -> Stored {
    let mut upload = Upload::new("a".parse().unwrap(), Incarnation::from_random(1), Kind::Single);
    upload.length = Some(length);
    Stored::new(upload.clone(), memory.create(&upload).await.unwrap())
}

/// A writer in another process that has bytes and does not leave.
async fn held(memory: &Memory, stored: &Stored) -> Box<dyn Writer> {
    let mut writer = memory.open(stored).await.unwrap();
    writer.write(Bytes::from_static(b"hel").into()).await.unwrap();
    let _ = writer.checkpoint(&Change::of(&stored.upload), Hint::Streaming).await.unwrap();
    writer
}

#[tokio::test]
async fn a_superseded_deletion_deletes_nothing() {
    let memory = Memory::new();
    let stored = created(&memory, 5).await;
    let mut writer = held(&memory, &stored).await;
    let [second, third] = [(); 2].map(|()| Tus::builder(memory.another_process()).build());
    let deletion = send(&second, Request::delete("/files/a"), "");
    let asked = writer.asked_to_leave();
    let newer = Box::pin(async {
        // The deletion has asked.
        asked.await;
        send(&third, patch(3), "lo").await
    });
    let (deleted, newer) = match future::select(Box::pin(deletion), newer).await {
        Either::Left(ended) => ended,
        Either::Right(_) => panic!("nobody has left"),
    };
    assert_eq!((deleted.status(), &deleted.headers()["retry-after"]), (StatusCode::LOCKED, &"1".parse().unwrap()));
    let mut change = Change::of(&stored.upload);
    change.offset = 3;
    writer.commit(&change).await.unwrap();
    drop(writer);
    assert_eq!(newer.await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_deletion_takes_over_from_an_unresponsive_process() {
    tokio::time::pause();
    let memory = Memory::new();
    let stored = created(&memory, 5).await;
    let _writer = held(&memory, &stored).await;
    let second = Tus::builder(memory.another_process()).build();
    assert_eq!(send(&second, Request::delete("/files/a"), "").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(memory.load(&stored.upload.id).await.unwrap(), None);
}

/// The client waits for the hook. The sweep of another process comes at the worst moment.
#[tokio::test]
async fn only_the_process_of_the_waiting_client_calls_before_finish() {
    let memory = Memory::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let service = |memory: Memory, name: &'static str| {
        let asked = asked.clone();
        let hook = move |cx: crate::context::BeforeFinish| {
            asked.lock().unwrap().push((name, cx.request.is_some()));
            async move {
                // Other processes look for work repeatedly.
                sleep(Duration::from_millis(50)).await;
                match cx.request {
                    Some(_) => Err(Rejection::new(StatusCode::UNPROCESSABLE_ENTITY, "no film\n")),
                    None => Ok(FinishReply::default()),
                }
            }
        };
        Tus::builder(memory).before_finish(hook).sweep_interval(Duration::from_millis(10)).build()
    };
    let _others: Vec<_> = (0..3).map(|_| service(memory.another_process(), "other")).collect();
    let tus = service(memory.clone(), "own");
    created(&memory, 5).await;
    let refused = send(&tus, patch(0), "hello").await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.into_body().collect().await.unwrap().to_bytes(), "no film\n");
    let empty = send(&tus, Request::post("/files").header("upload-length", 0), "").await;
    assert_eq!(empty.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(asked.lock().unwrap()[..2], [("own", true), ("own", true)]);
}
