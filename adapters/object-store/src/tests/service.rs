//! Requests to a service with this storage.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream};
use http::{HeaderMap, Request, Response, request};
use object_store::ObjectStoreExt;
use tokio::{sync::mpsc, time::sleep};
use tus_service::{
    Access, Change, Config, Download, Failure, Hint, Kind, Mount, Phase, ResponseBody, Storage, StreamBody, Tus,
};

use bucket::Bucket;

use super::{conformance::builder, uploads::*};
use crate::ObjectStore;

/// Two processes on one bucket.
fn two() -> (Bucket, ObjectStore, ObjectStore) {
    let bucket = Bucket::default();
    let (one, two) = (builder(&bucket).open_unchecked().unwrap(), builder(&bucket).open_unchecked().unwrap());
    (bucket, one, two)
}

fn patch(id: &str) -> request::Builder {
    Request::patch(format!("/files/{id}"))
        .header("tus-resumable", "1.0.0")
        .header("upload-offset", "0")
        .header("content-type", "application/offset+octet-stream")
}

async fn send(
    tus: &Tus,
    head: request::Builder,
    body: impl Stream<Item = Result<Bytes, Infallible>> + Send + Unpin + 'static,
) -> Response<ResponseBody> {
    tus.handle(head.body(StreamBody(body)).unwrap(), &Mount::at("/files")).await
}

fn service(store: &ObjectStore) -> Tus {
    Tus::builder(store.clone()).checkpoint_interval(Duration::from_millis(10)).build()
}

/// Bodies that wait for each other's memory, each holding bytes that may not be committed yet.
#[tokio::test(start_paused = true)]
async fn a_stalled_body_holds_no_memory_even_if_it_cannot_be_committed() {
    let (bucket, store, _) = two();
    let tus = service(&store);
    let all = bytes(1000, 1);
    // Because of a checksum, or because the last byte has arrived and the end has not.
    for (id, sent, headers) in [
        ("verified", 600, HeaderMap::from_iter([("trailer".parse().unwrap(), "upload-checksum".parse().unwrap())])),
        ("last-byte", 1000, HeaderMap::new()),
    ] {
        let stored = created(&store, id, Kind::Partial, Some(1000)).await;
        let (sender, mut body) = mpsc::unbounded_channel();
        sender.send(Ok(all.slice(..sent))).unwrap();
        let body = stream::poll_fn(move |context| body.poll_recv(context));
        let mut head = patch(id);
        head.headers_mut().unwrap().extend(headers);
        let mut response = Box::pin(send(&tus, head, body));
        while bucket.keys(&format!(".tus/w/{id}.")).is_empty() {
            assert!((&mut response).now_or_never().is_none(), "the body has not ended");
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(loaded(&store, &stored).await, stored, "nothing of it counts");
        drop(sender);
        let response = response.await;
        match id {
            "verified" => assert_eq!(response.status(), 400, "there was no checksum"),
            _ => {
                assert_eq!(response.status(), 204);
                assert_eq!(content(&store, &loaded(&store, &stored).await).await, all);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_taken_over_from_an_unresponsive_process() {
    let (_, one, two) = two();
    let stored = created(&one, "frozen", Kind::Partial, Some(1000)).await;
    let mut frozen = one.open(&stored).await.unwrap();
    frozen.write(bytes(600, 1).into()).await.unwrap();
    let _ = frozen.checkpoint(&hinted(&stored, 600), Hint::Streaming).await.unwrap();
    assert!(loaded(&two, &stored).await.held_elsewhere);
    let tus = service(&two);
    let head = send(&tus, Request::head("/files/frozen").header("tus-resumable", "1.0.0"), stream::empty()).await;
    assert_eq!((head.status().as_u16(), &head.headers()["upload-offset"]), (200, &"0".parse().unwrap()));
    let response = send(&tus, patch("frozen"), stream::iter([Ok(bytes(1000, 1))])).await;
    assert_eq!(response.status(), 204);
    assert_eq!(frozen.commit(&hinted(&stored, 600)).await.unwrap_err().failure(), Failure::Conflict);
    assert_eq!(content(&one, &loaded(&one, &stored).await).await, bytes(1000, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_yields_to_a_newer_one() {
    let (_, one, two) = two();
    let stored = created(&one, "frozen", Kind::Partial, Some(1000)).await;
    let mut frozen = one.open(&stored).await.unwrap();
    let _ = frozen.checkpoint(&hinted(&stored, 0), Hint::Streaming).await.unwrap();
    let tus = service(&two);
    let earlier = send(&tus, patch("frozen"), stream::iter([Ok(bytes(1000, 1))]));
    let later = async {
        sleep(Duration::from_millis(100)).await;
        let seen = loaded(&two, &stored).await;
        two.settle(&seen, Access::Write, Duration::from_secs(5)).await.unwrap().unwrap()
    };
    let (refused, settled) = tokio::join!(earlier, later);
    assert_eq!(refused.status(), 423);
    assert_eq!((settled.held_elsewhere, settled.upload.offset), (true, 0));
}

/// If the application moves the object elsewhere, or a rule of the bucket deletes it.
#[tokio::test]
async fn downloading_a_moved_object_is_gone() {
    let (bucket, one, two) = two();
    let stored = created(&one, "moved", Kind::Single, Some(1000)).await;
    let mut stored = appended(&one, stored, bytes(1000, 1)).await.unwrap();
    let mut notified = Change::of(&stored.upload);
    notified.phase = Phase::Notified;
    let version = one.update(&stored, &notified).await.unwrap();
    stored = stored.changed(&notified, version);
    let services = [&one, &two]
        .map(|store| Tus::builder(store.clone()).config(Config::default().download(Download::attachment())).build());
    for tus in &services {
        assert_eq!(send(tus, Request::get("/files/moved"), stream::empty()).await.status(), 200);
    }
    bucket.delete(&"files/moved".into()).await.unwrap();
    for tus in &services {
        for head in [Request::get("/files/moved"), Request::head("/files/moved")] {
            assert_eq!(send(tus, head, stream::empty()).await.status(), 410);
        }
        let ranged = Request::get("/files/moved").header("range", "bytes=9-");
        assert_eq!(send(tus, ranged, stream::empty()).await.status(), 410);
        let inspected = Request::head("/files/moved").header("tus-resumable", "1.0.0");
        assert_eq!(send(tus, inspected, stream::empty()).await.headers()["upload-offset"], "1000");
    }
    assert_eq!(loaded(&two, &stored).await, stored);
    one.remove(&stored).await.unwrap();
}
