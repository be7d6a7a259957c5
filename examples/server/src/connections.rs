//! Serves connections.

use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request, Response, Uri, header,
    uri::{Authority, Scheme},
};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tus_service::{InterimIo, ResponseBody, StorageError};

use crate::{
    listen::{Listener, Stream},
    tls::Tls,
};

/// How long a handshake of TLS and the head of a request may take, and how long a connection may have no request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an idle connection of HTTP/2 may take to end: its client may still read the last bytes of a response.
const LAST_BYTES: Duration = Duration::from_secs(10 * 60);

/// How often a silent connection of HTTP/2 is tried.
const PING_INTERVAL: Duration = Duration::from_secs(60);

/// What answers the requests of a listener.
pub(crate) trait Application: Clone + Send + Sync + 'static {
    fn respond(&self, request: Request<Incoming>) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// The address of a request's client, in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote(pub(crate) SocketAddr);

/// The connections of a listener.
#[derive(Clone)]
pub(crate) struct Connections {
    server: auto::Builder<TokioExecutor>,
    /// Room for further ones.
    free: Arc<Semaphore>,
    open: TaskTracker,
    closing: CancellationToken,
}

impl Connections {
    /// At most so many at once.
    pub(crate) fn new(limit: usize) -> Self {
        let mut server = auto::Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        server.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
        let (open, closing) = (TaskTracker::new(), CancellationToken::new());
        Self { server, free: Arc::new(Semaphore::new(limit)), open, closing }
    }

    /// Accepts connections for ever.
    pub(crate) async fn serve(&self, listener: &Listener, tls: Option<Arc<Tls>>, application: impl Application) {
        // Nothing closes the semaphore.
        while let Ok(place) = self.free.clone().acquire_owned().await {
            let (stream, client) = listener.accept().await;
            let connection = Connection {
                server: self.server.clone(),
                closing: self.closing.clone(),
                client,
                is_secure: tls.is_some(),
                application: application.clone(),
            };
            let acceptor = tls.as_deref().map(Tls::acceptor);
            self.open.spawn(async move {
                match acceptor {
                    Some(acceptor) => connection.shake_hands(acceptor, stream).await,
                    None => connection.serve(stream).await,
                }
                drop(place);
            });
        }
    }

    /// Asks all to end when their requests are answered, and waits for that.
    pub(crate) async fn close(&self, grace: Duration) {
        self.closing.cancel();
        self.open.close();
        let _ = timeout(grace, self.open.wait()).await;
    }
}

struct Connection<A> {
    server: auto::Builder<TokioExecutor>,
    closing: CancellationToken,
    client: Option<SocketAddr>,
    is_secure: bool,
    application: A,
}

impl<A: Application> Connection<A> {
    async fn shake_hands(self, acceptor: TlsAcceptor, stream: impl Stream + 'static) {
        let closing = self.closing.clone();
        let handshake = timeout(HEAD_TIMEOUT, acceptor.accept(stream));
        // Its errors are the client's.
        if let Some(Ok(Ok(stream))) = closing.run_until_cancelled(handshake).await {
            self.serve(stream).await;
        }
    }

    async fn serve(self, stream: impl Stream + 'static) {
        let Self { server, closing, client, is_secure, application } = self;
        let io = InterimIo::new(stream);
        let interim = io.interim();
        let (requests, counted) = watch::channel(0);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let in_progress = InProgress::begin(&requests);
            interim.attach(&mut request);
            if let Some(client) = client {
                request.extensions_mut().insert(Remote(client));
            }
            if is_secure {
                secure(&mut request);
            }
            let application = application.clone();
            async move {
                let response = application.respond(request).await;
                Ok::<_, Infallible>(response.map(|body| Answer { body, _in_progress: in_progress }))
            }
        });
        let mut connection = pin!(server.serve_connection(TokioIo::new(io), service));
        // hyper does not limit the time until the first bytes, nor that between two requests of HTTP/2.
        let is_idle = tokio::select! {
            // Its errors are the client's.
            _ = connection.as_mut() => return,
            () = idle(counted.clone(), HEAD_TIMEOUT) => true,
            () = closing.cancelled() => false,
        };
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            () = idle(counted, LAST_BYTES), if is_idle => {}
        }
    }
}

/// A request that has no complete response yet.
struct InProgress(watch::Sender<usize>);

impl InProgress {
    fn begin(requests: &watch::Sender<usize>) -> Self {
        requests.send_modify(|count| *count += 1);
        Self(requests.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Waits until there has been no request for so long.
async fn idle(mut requests: watch::Receiver<usize>, limit: Duration) {
    while requests.wait_for(|count| *count == 0).await.is_ok() {
        // A request may begin and end before this is polled.
        match timeout(limit, requests.changed()).await {
            Err(_) => return,
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
        }
    }
    // The connection has ended.
    pending().await
}

/// A body of a response whose request is in progress until it is sent.
struct Answer {
    body: ResponseBody,
    _in_progress: InProgress,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = StorageError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Says in a request of HTTP/1.1, too, that it came over TLS: its target is the complete URL, as in HTTP/2.
fn secure(request: &mut Request<Incoming>) {
    if request.uri().scheme().is_some() {
        return;
    }
    let host = request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if let (Some(host), Some(path)) = (host, request.uri().path_and_query().cloned()) {
        let url = Uri::builder().scheme(Scheme::HTTPS).authority(host).path_and_query(path).build();
        *request.uri_mut() = url.unwrap_or_else(|_| request.uri().clone());
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::StatusCode;
    use http_body_util::BodyExt;
    use tokio::{io::DuplexStream, task::JoinHandle, time::Instant};

    use super::*;
    use crate::app::text;

    /// Responds when the request is complete.
    #[derive(Clone)]
    struct Reader;

    impl Application for Reader {
        async fn respond(&self, request: Request<Incoming>) -> Response<ResponseBody> {
            let _ = request.into_body().collect().await;
            text(StatusCode::OK, "text/plain", "ok\n")
        }
    }

    /// A connection that is served, and the task that serves it.
    fn connect() -> (DuplexStream, JoinHandle<()>) {
        let (client, stream) = tokio::io::duplex(1 << 16);
        let connections = Connections::new(1);
        let connection = Connection {
            server: connections.server,
            closing: connections.closing,
            client: None,
            is_secure: false,
            application: Reader,
        };
        (client, tokio::spawn(connection.serve(stream)))
    }

    /// HTTP/2, whose requests can be sent, and a task that ends with the connection.
    async fn connect_http2() -> (h2::client::SendRequest<Bytes>, JoinHandle<()>) {
        let (client, served) = connect();
        let (requests, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        (requests, served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        let began = Instant::now();
        let (_client, served) = connect();
        served.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_of_http2_is_closed() {
        let (mut requests, served) = connect_http2().await;
        for pause in [0, 20, 29] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            poll_fn(|context| requests.poll_ready(context)).await.unwrap();
            let request = Request::get("http://localhost/").body(()).unwrap();
            let (response, _) = requests.send_request(request, true).unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "ok\n");
        }
        let answered = Instant::now();
        served.await.unwrap();
        assert_eq!(answered.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_request_stays() {
        let (mut requests, served) = connect_http2().await;
        poll_fn(|context| requests.poll_ready(context)).await.unwrap();
        let request = Request::post("http://localhost/").body(()).unwrap();
        let (response, mut body) = requests.send_request(request, false).unwrap();
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            body.send_data("hello".into(), false).unwrap();
        }
        assert!(!served.is_finished());
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        served.await.unwrap();
    }
}
