//! A handler that is called for an upload, and its failures.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream, stream::BoxStream};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::time::sleep;
use tower_service::Service;
use tus_service::{Memory, RelayedBody, RequestBody, Resumable, ResumableService, Resumed, Storage, Tus};

use crate::wrapped::Wrapped;

type Content = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;
type Handled = BoxFuture<'static, Response<Content>>;
type Handles = dyn Fn(usize, Request<RequestBody<Full<Bytes>>>) -> Handled + Send + Sync;

/// A handler that counts its calls.
#[derive(Clone)]
struct Handler {
    calls: Arc<AtomicUsize>,
    handles: Arc<Handles>,
}

impl Service<Request<RequestBody<Full<Bytes>>>> for Handler {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Content>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Full<Bytes>>>) -> Self::Future {
        let handled = (self.handles)(self.calls.fetch_add(1, SeqCst) + 1, request);
        Box::pin(async move { Ok(handled.await) })
    }
}

/// A server whose handler behaves as given for each call.
fn server<F, H>(storage: impl Storage, handles: F) -> ResumableService<Handler>
where
    F: Fn(usize, Request<RequestBody<Full<Bytes>>>) -> H + Send + Sync + 'static,
    H: Future<Output = Response<Content>> + Send + 'static,
{
    let handles: Arc<Handles> = Arc::new(move |call, request| Box::pin(handles(call, request)));
    let resumable = Resumable::new(Tus::builder(storage).build()).handler_timeout(Duration::from_secs(100));
    resumable.service(Handler { calls: Arc::default(), handles })
}

fn text(status: u16, text: &'static str) -> Response<Content> {
    in_pieces(status, Duration::ZERO, vec![Ok(text)])
}

/// A response whose content arrives in pieces, each after a pause.
fn in_pieces(status: u16, pause: Duration, pieces: Vec<io::Result<&'static str>>) -> Response<Content> {
    let pieces = stream::iter(pieces).then(move |piece| async move {
        sleep(pause).await;
        piece.map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())))
    });
    let mut response = Response::new(StreamBody::new(pieces.boxed()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

type Answer = Response<RelayedBody<Content>>;

async fn send(
    server: &ResumableService<Handler>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    content: &'static str,
) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-length", content.len());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    server.clone().call(request.body(Full::new(content.into())).unwrap()).await.unwrap()
}

async fn create(server: &ResumableService<Handler>) -> String {
    let created = send(server, "POST", "/photos", &[("upload-complete", "?0")], "hello ").await;
    assert_eq!(created.status(), 201);
    created.headers()["location"].to_str().unwrap().to_owned()
}

async fn complete(server: &ResumableService<Handler>, url: &str, offset: &str, content: &'static str) -> Answer {
    let headers =
        [("upload-complete", "?1"), ("upload-offset", offset), ("content-type", "application/partial-upload")];
    send(server, "PATCH", url, &headers, content).await
}

async fn assert_is(answer: Answer, status: u16, complete: &str, text: &str) {
    assert_eq!((answer.status().as_u16(), &answer.headers()["upload-complete"]), (status, &complete.parse().unwrap()));
    let content = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&content).contains(text), "{content:?}");
}

/// Over HTTP/2, content after a 204 would break the stream.
#[tokio::test]
async fn a_refusal_of_options_becomes_an_empty_announcement() {
    for (status, announced, left) in [(405, 204, ""), (200, 200, "text")] {
        let server = server(Memory::new(), move |_, _| async move {
            let mut response = text(status, "text");
            response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
            response
        });
        let response = send(&server, "OPTIONS", "/photos", &[], "").await;
        assert_eq!(response.status(), announced);
        assert!(response.headers().contains_key("upload-limit"));
        assert_eq!(response.headers().contains_key("content-type"), !left.is_empty());
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), left);
    }
}

#[tokio::test]
async fn an_owner_function_that_panics_fails_only_its_request() {
    let resumable = Resumable::new(Tus::builder(Memory::new()).build()).owner(|head| {
        assert!(!head.headers.contains_key("x-panic"), "as the test wants it");
        None
    });
    let handles: Arc<Handles> = Arc::new(|_, _| Box::pin(async { text(200, "done") }));
    let server = resumable.service(Handler { calls: Arc::default(), handles });
    let panics = send(&server, "POST", "/photos", &[("upload-complete", "?0"), ("x-panic", "1")], "hello ").await;
    assert_eq!(panics.status(), 500);
    let url = create(&server).await;
    assert_is(complete(&server, &url, "6", "world").await, 200, "?1", "done").await;
}

/// While a handler runs, however long, no other process calls its own.
#[tokio::test(start_paused = true)]
async fn the_claim_is_renewed_while_the_handler_runs() {
    let memory = Memory::new();
    let other = server(memory.another_process(), |_, _| async { text(200, "the other's") });
    let one = server(memory, |_, _| async {
        sleep(Duration::from_secs(90)).await;
        text(200, "the one's")
    });
    let url = create(&one).await;
    let asks = async {
        sleep(Duration::from_secs(80)).await;
        assert_is(complete(&other, &url, "11", "").await, 503, "?0", "").await;
    };
    let (done, ()) = tokio::join!(complete(&one, &url, "6", "world"), asks);
    assert_is(done, 200, "?1", "the one's").await;
    assert_is(complete(&other, &url, "11", "").await, 200, "?1", "the one's").await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_called_again() {
    let memory = Memory::new();
    let other = server(memory.another_process(), |_, _| async { text(200, "the other's") });
    let one = server(memory, |_, _| async {
        sleep(Duration::from_secs(101)).await;
        text(200, "never")
    });
    let url = create(&one).await;
    assert_is(complete(&one, &url, "6", "world").await, 500, "?0", "try again").await;
    assert_is(complete(&other, &url, "11", "").await, 200, "?1", "the other's").await;
}

/// The handler sees a request that breaks off. That is not the client's fault, whatever the handler responds.
#[tokio::test]
async fn bytes_that_cannot_be_read_are_not_the_clients_fault() {
    let storage = Wrapped { unreadable: AtomicUsize::new(1), ..Wrapped::new() };
    let server = server(storage, |_, request| async {
        match request.into_body().collect().await.map(|content| content.to_bytes()).as_deref() {
            Ok(b"hello world") => text(200, "all of it"),
            _ => text(400, "what is this?"),
        }
    });
    let url = create(&server).await;
    assert_is(complete(&server, &url, "6", "world").await, 500, "?0", "try again").await;
    assert_is(complete(&server, &url, "11", "").await, 200, "?1", "all of it").await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_repeated() {
    let server = server(Memory::new(), |call, _| async move {
        match call {
            1 => in_pieces(200, Duration::ZERO, vec![Ok("half"), Err(io::ErrorKind::BrokenPipe.into())]),
            _ => text(200, "whole"),
        }
    });
    let url = create(&server).await;
    assert_is(complete(&server, &url, "6", "world").await, 500, "?0", "try again").await;
    assert_is(complete(&server, &url, "11", "").await, 200, "?1", "whole").await;
}

/// The service waits for a response for a while, so that it can be stored. A longer one is forwarded and not stored.
#[tokio::test(start_paused = true)]
async fn a_streaming_response_is_forwarded() {
    for (pause, kept) in [(2, true), (3, false), (1000, false)] {
        let server = server(Memory::new(), move |_, _| async move {
            in_pieces(200, Duration::from_secs(pause), vec![Ok("a"), Ok("b")])
        });
        let url = create(&server).await;
        assert_is(complete(&server, &url, "6", "world").await, 200, "?1", "ab").await;
        let again = complete(&server, &url, "11", "").await;
        match kept {
            true => assert_is(again, 200, "?1", "ab").await,
            false => assert_is(again, 410, "?0", "too large to store").await,
        }
    }
}

/// The key by which a handler recognizes a repetition is the same each time.
#[tokio::test]
async fn a_repeated_call_has_the_same_key() {
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = keys.clone();
    let server = server(Memory::new(), move |call, request| {
        seen.lock().unwrap().push(request.extensions().get::<Resumed>().cloned().unwrap());
        async move {
            assert!(call == 2, "as the test wants it");
            text(200, "done")
        }
    });
    let url = create(&server).await;
    assert_is(complete(&server, &url, "6", "world").await, 500, "?0", "").await;
    assert_is(complete(&server, &url, "11", "").await, 200, "?1", "done").await;
    let keys = keys.lock().unwrap();
    assert!(keys.len() == 2 && keys[0] == keys[1] && url.ends_with(keys[0].id.as_str()), "{keys:?}");
}

/// The future of the client's request is dropped, and the handler continues.
#[tokio::test]
async fn the_handler_continues_without_its_client() {
    let (go, (began, begins)) = (Arc::new(tokio::sync::Notify::new()), tokio::sync::mpsc::unbounded_channel());
    let gate = go.clone();
    let mut begins = begins;
    let server = server(Memory::new(), move |_, _| {
        began.send(()).unwrap();
        let gate = gate.clone();
        async move {
            gate.notified().await;
            text(200, "done")
        }
    });
    let url = create(&server).await;
    tokio::select! {
        _ = complete(&server, &url, "6", "world") => panic!("it waits"),
        began = begins.recv() => began.unwrap(),
    }
    go.notify_one();
    assert_is(complete(&server, &url, "11", "").await, 200, "?1", "done").await;
    assert!(begins.try_recv().is_err(), "it was called once");
}
