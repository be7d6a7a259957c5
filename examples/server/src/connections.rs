//! Serves connections.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{
    Request, Response, Uri, header,
    uri::{Authority, Scheme},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tus_service::{InterimIo, ResponseBody};

use crate::{
    listen::{Listener, Stream},
    tls::Tls,
};

/// How long a handshake of TLS, the first request on a connection, and the head of each may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

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
        let began = Arc::new(Notify::new());
        let io = InterimIo::new(stream);
        let interim = io.interim();
        let begins = began.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            begins.notify_one();
            interim.attach(&mut request);
            if let Some(client) = client {
                request.extensions_mut().insert(Remote(client));
            }
            if is_secure {
                secure(&mut request);
            }
            let application = application.clone();
            async move { Ok::<_, Infallible>(application.respond(request).await) }
        });
        let mut connection = pin!(server.serve_connection(TokioIo::new(io), service));
        // hyper does not limit the time in which the first bytes come.
        let silent = async {
            if timeout(HEAD_TIMEOUT, began.notified()).await.is_ok() {
                std::future::pending().await
            }
        };
        tokio::select! {
            // Its errors are the client's.
            _ = connection.as_mut() => return,
            () = silent => return,
            () = closing.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
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
