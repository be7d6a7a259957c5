//! Interim responses on HTTP/1.1 connections. hyper has no API for servers to send one, so they are written below it,
//! by a wrapper around the connection.
//!
//! hyper flushes a connection only when nothing of its own remains to be written. This is the boundary between two
//! responses: queued interim responses are written there and nowhere else. What is queued for a request never
//! outlives the request: its [`Session`] is closed before the final response, and what has not been started by then
//! is withdrawn.

use std::{
    fmt, io,
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use http::{Request, Response, Version, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::timeout,
};

use crate::CloseConnection;

/// How long a request waits until its client has been informed.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection whose requests may also be answered by interim responses (`104 Upload Resumption Supported`), so that
/// clients of the IETF's draft, including iPhones, learn the URL of their upload before a request breaks off. The
/// connection is [closed](CloseConnection) if the client of a download reads nothing for too long, over HTTP/2 too.
///
/// Wrap each connection before passing it to hyper, and [attach](Interim::attach) its [`Interim`] to each of its
/// requests. In axum, `axum_tus::Informing` does both.
///
/// ```
/// use http::Request;
/// use tus_service::{Interim, InterimIo};
///
/// # fn example(stream: tokio::io::DuplexStream, mut request: Request<()>) {
/// let io = InterimIo::new(stream);
/// let interim = io.interim();
/// // For each request that comes on this connection:
/// interim.attach(&mut request);
/// # }
/// ```
///
/// Only HTTP/1.1 requests get interim responses. Some proxies cannot handle them: see
/// [`Config::interim_through_proxies`](tus_core::Config::interim_through_proxies).
#[derive(Debug)]
pub struct InterimIo<T> {
    inner: T,
    connection: Arc<Connection>,
    /// The rest of an interim response that was started.
    writing: Bytes,
    written: Option<oneshot::Sender<()>>,
}

/// Sends interim responses on a connection. Clones share the connection.
#[derive(Clone)]
pub struct Interim(Arc<Connection>);

#[derive(Default)]
struct Connection {
    sessions: AtomicU64,
    state: Mutex<State>,
    closing: Closing,
}

/// Whether the connection is to be closed.
#[derive(Default)]
struct Closing {
    is_closed: AtomicBool,
    waker: AtomicWaker,
}

impl Closing {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// An error if it is, or else the task of the connection is woken when it is to be.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        self.waker.register(context.waker());
        match self.is_closed.load(Ordering::Acquire) {
            true => Err(io::Error::new(io::ErrorKind::TimedOut, "the client of a download took nothing for too long")),
            false => Ok(()),
        }
    }
}

#[derive(Default)]
struct State {
    /// The request that may send interim responses now.
    open: Option<u64>,
    queued: Option<(Bytes, Option<oneshot::Sender<()>>)>,
    /// Wakes the task that owns the connection.
    waker: Option<Waker>,
}

impl Connection {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").finish_non_exhaustive()
    }
}

impl Interim {
    /// Adds what [closes](CloseConnection) the connection to the extensions of a request that came on it, and this
    /// connection itself if it speaks HTTP/1.1.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        let connection = self.0.clone();
        request.extensions_mut().insert(CloseConnection::new(move || connection.closing.close()));
        if request.version() == Version::HTTP_11 {
            request.extensions_mut().insert(self.clone());
        }
    }
}

impl<T> InterimIo<T> {
    /// Wraps a connection.
    pub fn new(inner: T) -> Self {
        Self { inner, connection: Arc::default(), writing: Bytes::new(), written: None }
    }

    /// The sender of interim responses on this connection.
    pub fn interim(&self) -> Interim {
        Interim(self.connection.clone())
    }

    /// The wrapped connection.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }
}

impl<T: AsyncWrite + Unpin> InterimIo<T> {
    /// Writes the rest of an interim response that was started. Nothing else may come in between.
    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.writing.has_remaining() {
            match ready!(Pin::new(&mut self.inner).poll_write(context, &self.writing))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.writing.advance(bytes),
            }
        }
        if let Some(written) = self.written.take() {
            let _ = written.send(());
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what is queued. Leaves a waker for later responses.
    fn take_queued(&mut self, context: &Context<'_>) -> bool {
        let mut state = self.connection.state();
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        let Some((bytes, written)) = state.queued.take() else {
            return false;
        };
        drop(state);
        (self.writing, self.written) = (bytes, written);
        true
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for InterimIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.closing.check(context)?;
        Pin::new(&mut self.inner).poll_read(context, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for InterimIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.closing.check(context)?;
        ready!(self.poll_finish(context))?;
        Pin::new(&mut self.inner).poll_write(context, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.closing.check(context)?;
        ready!(self.poll_finish(context))?;
        Pin::new(&mut self.inner).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_finish(context))?;
            if !self.take_queued(context) {
                return Pin::new(&mut self.inner).poll_flush(context);
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_finish(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The interim responses of one request. When it is dropped, no more are sent.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Arc<Connection>,
    number: u64,
}

impl Session {
    /// Opens the session of a request, if its connection can carry interim responses.
    pub(crate) fn of(head: &Parts) -> Option<Self> {
        let Interim(connection) = head.extensions.get().filter(|_| head.version == Version::HTTP_11)?;
        let number = connection.sessions.fetch_add(1, Ordering::Relaxed);
        let mut state = connection.state();
        (state.open, state.queued) = (Some(number), None);
        drop(state);
        Some(Self { connection: connection.clone(), number })
    }

    /// The sender of its interim responses.
    pub(crate) fn sender(&self) -> InterimSender {
        InterimSender { connection: self.connection.clone(), number: self.number }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        if state.open == Some(self.number) {
            (state.open, state.queued) = (None, None);
        }
    }
}

/// Sends the interim responses of one request, until its session ends.
#[derive(Debug, Clone)]
pub(crate) struct InterimSender {
    connection: Arc<Connection>,
    number: u64,
}

impl InterimSender {
    /// Sends an interim response and waits until it is written. Returns whether the client may receive it.
    pub(crate) async fn send(&self, response: &Response<()>) -> bool {
        let (written, is_written) = oneshot::channel();
        if !self.queue(response, Some(written)) {
            return false;
        }
        match timeout(PATIENCE, is_written).await {
            Ok(result) => result.is_ok(),
            // A response that was started will be finished.
            Err(_) => !self.withdraw(),
        }
    }

    /// Sends an interim response when the connection has room, replacing one that is still queued.
    pub(crate) fn offer(&self, response: &Response<()>) {
        self.queue(response, None);
    }

    fn queue(&self, response: &Response<()>, written: Option<oneshot::Sender<()>>) -> bool {
        let bytes = encoded(response);
        let mut state = self.connection.state();
        if state.open != Some(self.number) {
            return false;
        }
        state.queued = Some((bytes, written));
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Withdraws what is queued. Returns whether it had not been started.
    fn withdraw(&self) -> bool {
        let mut state = self.connection.state();
        state.open == Some(self.number) && state.queued.take().is_some()
    }
}

/// An interim response in HTTP/1.1 syntax (RFC 9112, sections 4 and 5).
fn encoded(response: &Response<()>) -> Bytes {
    let mut bytes = BytesMut::new();
    let reason = response.status().canonical_reason().unwrap_or_default();
    bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", response.status().as_u16()).as_bytes());
    for (name, value) in response.headers() {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(piece);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn connection(room: usize) -> (InterimIo<DuplexStream>, DuplexStream, Interim) {
        let (server, client) = duplex(room);
        let io = InterimIo::new(server);
        let interim = io.interim();
        (io, client, interim)
    }

    fn session(interim: &Interim, version: Version) -> Option<Session> {
        let request = Request::post("/").version(version).extension(interim.clone()).body(()).unwrap();
        Session::of(&request.into_parts().0)
    }

    fn response(offset: u64) -> Response<()> {
        Response::builder().status(104).header("upload-offset", offset).body(()).unwrap()
    }

    fn text(offset: u64) -> String {
        format!("HTTP/1.1 104 \r\nupload-offset: {offset}\r\n\r\n")
    }

    async fn read(client: &mut DuplexStream, bytes: usize) -> String {
        let mut read = vec![0; bytes];
        client.read_exact(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    #[tokio::test]
    async fn a_flush_writes_queued_responses() {
        let (mut io, mut client, interim) = connection(1000);
        let session = session(&interim, Version::HTTP_11).unwrap();
        let sender = session.sender();
        io.write_all(b"before ").await.unwrap();
        let (first, second) = (response(1), response(2));
        let (sent, flushed) = tokio::join!(sender.send(&first), io.flush());
        assert!(sent && flushed.is_ok());
        sender.offer(&second);
        io.write_all(b"between ").await.unwrap();
        io.flush().await.unwrap();
        let expected = format!("before {}between {}", text(1), text(2));
        assert_eq!(read(&mut client, expected.len()).await, expected);
    }

    #[tokio::test]
    async fn a_later_response_replaces_a_queued_one() {
        let (mut io, mut client, interim) = connection(1000);
        let session = session(&interim, Version::HTTP_11).unwrap();
        (1..5).for_each(|offset| session.sender().offer(&response(offset)));
        io.flush().await.unwrap();
        io.write_all(b"end").await.unwrap();
        let expected = format!("{}end", text(4));
        assert_eq!(read(&mut client, expected.len()).await, expected);
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_session() {
        let (mut io, mut client, interim) = connection(1000);
        let old = session(&interim, Version::HTTP_11).unwrap();
        let sender = old.sender();
        sender.offer(&response(1));
        drop(old);
        io.flush().await.unwrap();
        assert!(!sender.send(&response(2)).await);
        // Nor during the next one, nor if the older one ends only then.
        let late = session(&interim, Version::HTTP_11).unwrap();
        let newer = session(&interim, Version::HTTP_11).unwrap();
        assert!(!sender.send(&response(3)).await);
        newer.sender().offer(&response(4));
        drop(late);
        io.flush().await.unwrap();
        io.write_all(b"end").await.unwrap();
        let expected = format!("{}end", text(4));
        assert_eq!(read(&mut client, expected.len()).await, expected);
    }

    /// A client that does not read: a started response is finished before anything else, and nobody waits forever.
    #[tokio::test(start_paused = true)]
    async fn a_started_response_is_finished_first() {
        let (mut io, mut client, interim) = connection(10);
        let session = session(&interim, Version::HTTP_11).unwrap();
        let sender = session.sender();
        let first = response(1);
        let (sent, _) = tokio::join!(sender.send(&first), timeout(Duration::from_millis(1), io.flush()));
        assert!(sent, "the client may get it");
        drop(session);
        let reading = tokio::spawn(async move {
            let mut read = String::new();
            client.read_to_string(&mut read).await.unwrap();
            read
        });
        io.write_all(b"HTTP/1.1 201 Created\r\n\r\n").await.unwrap();
        io.shutdown().await.unwrap();
        drop(io);
        assert_eq!(reading.await.unwrap(), format!("{}HTTP/1.1 201 Created\r\n\r\n", text(1)));
    }

    /// A connection that never flushes: the response is withdrawn.
    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_never_started_is_withdrawn() {
        let (mut io, mut client, interim) = connection(100);
        let session = session(&interim, Version::HTTP_11).unwrap();
        assert!(!session.sender().send(&response(1)).await);
        io.write_all(b"end").await.unwrap();
        io.flush().await.unwrap();
        assert_eq!(read(&mut client, 3).await, "end");
    }

    #[test]
    fn only_requests_of_http_1_1_have_a_session() {
        let interim = Interim(Arc::default());
        for version in [Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
            assert!(session(&interim, version).is_none());
        }
        let plain = Request::new(()).into_parts().0;
        assert!(Session::of(&plain).is_none());
    }
}
