//! Interim responses in axum (feature `interim`).

use std::{fmt, io, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, Request, connect_info::Connected},
    serve::{IncomingStream, Listener},
};
#[cfg(unix)]
use tokio::net::unix;
use tus_service::{Interim, InterimIo};

/// A listener whose connections support interim responses (`104 Upload Resumption Supported`), so that clients of the
/// IETF's draft, including iPhones, learn the URL of their upload before a request breaks off.
///
/// ```no_run
/// use axum::Router;
/// use axum_tus::{Informed, Informing, Memory, Tus};
///
/// #[tokio::main]
/// async fn main() -> anyhow::Result<()> {
///     let tus = Tus::builder(Memory::new()).build();
///     let app = Router::new().merge(axum_tus::router("/files", tus));
///     let listener = Informing(tokio::net::TcpListener::bind("127.0.0.1:8080").await?);
///     Ok(axum::serve(listener, app.into_make_service_with_connect_info::<Informed>()).await?)
/// }
/// ```
///
/// Only HTTP/1.1 requests get them, and none that came through a proxy, unless
/// [`Config::interim_through_proxies`](crate::Config::interim_through_proxies) is set.
#[derive(Debug)]
pub struct Informing<L>(
    /// The listener itself.
    pub L,
);

/// What [`Informing`] adds to a connection: `ConnectInfo<Informed>` in a request's extensions. For a Unix socket, it is
/// `ConnectInfo<Informed<tokio::net::unix::SocketAddr>>`.
#[derive(Debug, Clone)]
pub struct Informed<A = SocketAddr> {
    /// The address of the client.
    pub remote_addr: A,
    interim: Interim,
}

/// An address of a client below [`Informed`]: of TCP, or of a Unix socket. Others are not found in a request.
pub trait Address: Clone + fmt::Debug + Send + Sync + 'static + sealed::Sealed {}

impl Address for SocketAddr {}

#[cfg(unix)]
impl Address for unix::SocketAddr {}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::SocketAddr {}

    #[cfg(unix)]
    impl Sealed for super::unix::SocketAddr {}
}

impl<L: Listener<Addr: fmt::Debug>> Listener for Informing<L> {
    type Io = InterimIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, address) = self.0.accept().await;
        (InterimIo::new(io), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl<L> Connected<IncomingStream<'_, Informing<L>>> for Informed<L::Addr>
where
    L: Listener<Addr: Address>,
{
    fn connect_info(stream: IncomingStream<'_, Informing<L>>) -> Self {
        Self { remote_addr: stream.remote_addr().clone(), interim: stream.io().interim() }
    }
}

/// Passes on the sender of a request's interim responses.
pub(crate) fn hand_on(request: &mut Request) {
    let interim = found::<SocketAddr>(request);
    #[cfg(unix)]
    let interim = interim.or_else(|| found::<unix::SocketAddr>(request));
    if let Some(interim) = interim {
        interim.attach(request);
    }
}

fn found<A: Address>(request: &Request) -> Option<Interim> {
    let ConnectInfo(informed) = request.extensions().get::<ConnectInfo<Informed<A>>>()?;
    Some(informed.interim.clone())
}
