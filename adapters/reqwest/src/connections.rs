//! How connections are made.

use std::fmt;

use reqwest::{Client, ClientBuilder, redirect::Policy};

use crate::sockets::Sockets;

/// How connections are made: for [`Builder::http`](crate::Builder::http).
///
/// - [`Connections::each`]: from a function that makes builders. Concurrent requests then have a connection each,
///   over HTTP/2 too, and a connection that failed is not reused. This is the default. This crate turns off the
///   redirects of each builder, because it follows them itself. Everything else stays in force: timeouts (`timeout`
///   limits each request, `read_timeout` the wait for each piece of a response), and default headers, which go to
///   **every** origin: credentials belong in [`Builder::header`](crate::Builder::header).
/// - From a single [`ClientBuilder`]: the same, but concurrent requests may share an HTTP/2 connection, and a retry
///   may get the one that failed.
/// - From a finished [`Client`]: the same, and its redirects stay in force, too. A client for uploads should follow
///   none ([`Policy::none`]): a redirect that it follows may turn a request into a GET without this crate noticing.
///   On a slow line its requests become smaller, instead of waiting for what the system has not sent yet
///   ([`Builder::timeout`](crate::Builder::timeout)).
pub struct Connections(pub(crate) How);

pub(crate) enum How {
    Builder(Box<ClientBuilder>),
    Client(Client),
    Each(Box<Make>),
}

/// Makes a builder for each client.
pub(crate) type Make = dyn Fn() -> ClientBuilder + Send + Sync;

/// The builder that is used by default: its `User-Agent` is the name and version of this crate.
pub fn client_builder() -> ClientBuilder {
    Client::builder().user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
}

impl Connections {
    /// From a function that makes builders.
    pub fn each(make: impl Fn() -> ClientBuilder + Send + Sync + 'static) -> Self {
        Self(How::Each(Box::new(make)))
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::each(client_builder)
    }
}

impl From<ClientBuilder> for Connections {
    fn from(builder: ClientBuilder) -> Self {
        Self(How::Builder(Box::new(builder)))
    }
}

impl From<Client> for Connections {
    fn from(client: Client) -> Self {
        Self(How::Client(client))
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            How::Builder(_) => "Connections(a builder)",
            How::Client(_) => "Connections(a client)",
            How::Each(_) => "Connections(each)",
        })
    }
}

/// A client, and the sockets of its connections.
pub(crate) fn build(builder: ClientBuilder) -> reqwest::Result<(Client, Sockets)> {
    let sockets = Sockets::default();
    let client = builder.redirect(Policy::none()).connector_layer(sockets.clone()).build()?;
    Ok((client, sockets))
}
