//! HTTP/2 over cleartext with prior knowledge: a stream may end while its connection continues.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use tokio::{net::TcpStream, task::JoinHandle};
use tus_service::{Config, Location};

use crate::{
    client::OCTETS,
    content::{assert_same, bytes},
    harness::{Server, Started},
    watched::Watch,
};

const LENGTH: u64 = 4 << 20;
const SENT: u64 = 3 << 20;

/// A connection. Clones share it.
#[derive(Clone)]
struct Session {
    requests: SendRequest<Bytes>,
    connection: Arc<JoinHandle<()>>,
}

/// A request whose body is being sent.
struct Stream {
    response: ResponseFuture,
    body: SendStream<Bytes>,
}

impl Session {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { requests, connection: Arc::new(connection) }
    }

    async fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], ends: bool) -> Stream {
        let mut request = Request::builder().method(method).uri(format!("http://tus.example.org{path}"));
        for (name, value) in [("tus-resumable", "1.0.0")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, body) = requests.send_request(request.body(()).unwrap(), ends).unwrap();
        Stream { response, body }
    }

    async fn create(&self, length: u64) -> String {
        let headers = [("upload-length", &*length.to_string()), ("content-length", "0")];
        let (status, headers) = self.begin("POST", "/files", &headers, true).await.answer().await;
        assert_eq!(status, 201);
        headers["location"].to_str().unwrap().to_owned()
    }

    async fn begin_patch(&self, path: &str, offset: u64) -> Stream {
        self.begin("PATCH", path, &[("upload-offset", &offset.to_string()), ("content-type", OCTETS)], false).await
    }

    async fn patch(&self, path: &str, offset: u64, content: Vec<u8>) -> (u16, HeaderMap) {
        let mut stream = self.begin_patch(path, offset).await;
        stream.send(content, true).await;
        stream.answer().await
    }

    async fn offset(&self, path: &str) -> u64 {
        let (status, headers) = self.begin("HEAD", path, &[], true).await.answer().await;
        assert_eq!(status, 200);
        headers["upload-offset"].to_str().unwrap().parse().unwrap()
    }
}

impl Stream {
    /// Sends bytes as fast as the server reads them. A server that rejects them may end the stream.
    async fn send(&mut self, content: Vec<u8>, ends: bool) {
        let mut content = Bytes::from(content);
        if content.is_empty() && ends {
            let _ = self.body.send_data(Bytes::new(), true);
        }
        while !content.is_empty() {
            self.body.reserve_capacity(content.len());
            let Some(Ok(room)) = std::future::poll_fn(|context| self.body.poll_capacity(context)).await else {
                return;
            };
            let next = content.split_to(room.min(content.len()));
            if self.body.send_data(next, ends && content.is_empty()).is_err() {
                return;
            }
        }
    }

    async fn answer(self) -> (u16, HeaderMap) {
        let response = self.response.await.unwrap();
        (response.status().as_u16(), response.headers().clone())
    }
}

/// With its own threads, so that the connection makes progress while a test waits for a storage.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(test)
}

/// Only the end of a stream commits its bytes.
fn start(server: &Server) -> (Started, Watch) {
    server.start_watched(|builder| builder.checkpoint_interval(Duration::from_secs(3600)))
}

/// An upload with a stream that has sent a part of it and then stalls.
async fn stalled(session: &Session, storage: &Watch) -> (String, Stream) {
    let path = session.create(LENGTH).await;
    let mut stream = session.begin_patch(&path, 0).await;
    stream.send(bytes(1, 0..SENT), false).await;
    // What is in the client's own buffers is lost with its stream.
    storage.wait_for_bytes(SENT);
    (path, stream)
}

async fn resumes(session: &Session, started: &Started, path: &str) {
    let (status, headers) = session.patch(path, SENT, bytes(1, SENT..LENGTH)).await;
    assert_eq!((status, headers["upload-offset"].to_str().unwrap()), (204, &*LENGTH.to_string()));
    let content = started.read_in_task(path).await;
    assert_same(&content, &bytes(1, 0..LENGTH));
}

pub(crate) fn a_reset_stream_loses_nothing(server: Server) {
    let (started, storage) = start(&server);
    run(async {
        let session = Session::open(started.running.address).await;
        let (path, mut stream) = stalled(&session, &storage).await;
        stream.body.send_reset(Reason::CANCEL);
        drop(stream);
        assert_eq!(session.offset(&path).await, SENT, "on the same connection");
        resumes(&session, &started, &path).await;
    });
}

pub(crate) fn a_broken_connection_loses_no_bytes_of_its_streams(server: Server) {
    let (started, storage) = start(&server);
    run(async {
        let session = Session::open(started.running.address).await;
        let (path, stream) = stalled(&session, &storage).await;
        session.connection.abort();
        drop((session, stream));
        let session = Session::open(started.running.address).await;
        assert_eq!(session.offset(&path).await, SENT);
        resumes(&session, &started, &path).await;
    });
}

pub(crate) fn a_stalled_stream_is_superseded_by_another_of_its_connection(server: Server) {
    let (started, storage) = start(&server);
    run(async {
        let session = Session::open(started.running.address).await;
        let (path, stream) = stalled(&session, &storage).await;
        resumes(&session, &started, &path).await;
        // Its client gets a response, or its stream is ended.
        if let Ok(response) = stream.response.await {
            assert_eq!(response.status(), 423);
        }
    });
}

pub(crate) fn a_refused_body_leaves_other_streams_alone(server: Server) {
    let (started, storage) = start(&server);
    run(async {
        let session = Session::open(started.running.address).await;
        let (path, _stream) = stalled(&session, &storage).await;
        let other = session.create(LENGTH).await;
        for (path, offset, expected) in [("/files/missing", 0, 404), (&*other, 7, 409)] {
            for _ in 0..5 {
                let (status, _) = session.patch(path, offset, bytes(2, 0..LENGTH)).await;
                assert_eq!(status, expected);
            }
        }
        assert_eq!(session.offset(&other).await, 0);
        resumes(&session, &started, &path).await;
    });
}

pub(crate) fn streams_of_one_connection_do_not_mix(server: Server) {
    const UPLOADS: u64 = 50;
    let started = server.start();
    run(async {
        let session = Session::open(started.running.address).await;
        let mut uploads = Vec::new();
        for seed in 0..UPLOADS {
            let session = session.clone();
            uploads.push(tokio::spawn(async move {
                let length = seed * seed * 97;
                let path = session.create(length).await;
                let (status, _) = session.patch(&path, 0, bytes(seed, 0..length)).await;
                assert_eq!(status, 204);
                (path, bytes(seed, 0..length))
            }));
        }
        for upload in uploads {
            let (path, content) = upload.await.unwrap();
            assert_same(&started.read_in_task(&path).await, &content);
        }
    });
}

/// The authority is in the target, not in a header.
pub(crate) fn a_location_names_the_authority_of_an_http2_request(server: Server) {
    let started = server.start_with(|builder| builder.config(Config::default().location(Location::Host)));
    run(async {
        let session = Session::open(started.running.address).await;
        let url = session.create(LENGTH).await;
        assert!(url.starts_with("http://tus.example.org/files/"), "{url}");
        let (status, headers) = session.patch("/files/missing", 0, bytes(2, 0..LENGTH)).await;
        assert_eq!((status, headers.get("connection")), (404, None), "only the stream ends");
    });
}
