//! How connections are made.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use reqwest::{Client, ClientBuilder, redirect::Policy};

/// How connections are made: for [`Builder::http`](crate::Builder::http).
///
/// - From a [`ClientBuilder`]: this crate turns off its redirects, since it follows them itself. Everything else stays in
///   force: its own timeouts (`timeout` limits each request, `read_timeout` the wait for each piece of a response), and
///   its default headers, which go to **every** origin: credentials belong in [`Builder::header`](crate::Builder::header).
/// - From a finished [`Client`]: the same, and its redirects stay in force, too. A client for uploads should have none
///   ([`Policy::none`]): a redirect that it follows may turn a request into a GET, and this crate does not see it.
/// - [`Connections::each`]: from a function that makes builders. Each of the parts that are sent at the same time then has
///   a connection of its own, also over HTTP/2. The default does so.
pub struct Connections(How);

enum How {
    Builder(Box<ClientBuilder>),
    Client(Client),
    Each(Box<Make>),
}

type Make = dyn Fn() -> ClientBuilder + Send + Sync;

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

/// Clients, by the number of the connection that a request needs for itself.
pub(crate) struct Pool {
    clients: Mutex<Vec<Client>>,
    first: Client,
    make: Option<Box<Make>>,
}

impl Pool {
    pub(crate) fn new(connections: Connections) -> reqwest::Result<Self> {
        let (first, make) = match connections.0 {
            How::Builder(builder) => (build(*builder)?, None),
            How::Client(client) => (client, None),
            How::Each(make) => (build(make())?, Some(make)),
        };
        Ok(Self { clients: Mutex::new(vec![first.clone()]), first, make })
    }

    /// The client for a connection: the first one if there cannot be more.
    pub(crate) fn client(&self, connection: usize) -> Client {
        let Some(make) = self.make.as_ref().filter(|_| connection > 0) else {
            return self.first.clone();
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        while clients.len() <= connection {
            match build(make()) {
                Ok(client) => clients.push(client),
                Err(error) => {
                    tracing::warn!(%error, "parts share a connection");
                    return self.first.clone();
                }
            }
        }
        clients[connection].clone()
    }
}

fn build(builder: ClientBuilder) -> reqwest::Result<Client> {
    builder.redirect(Policy::none()).build()
}
