//! Clients for requests: one for each concurrent request, so that each has its own connection.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    connections::{Connections, How, Make, build},
    sockets::Sockets,
};

/// Where requests get their clients.
pub(crate) enum Pool {
    /// All share one.
    One(Client),
    Each {
        make: Box<Make>,
        idle: Mutex<Vec<Client>>,
    },
}

/// A client, and the sockets of its connections if they are known.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    sockets: Option<Sockets>,
    /// Counts the pool and each request that has it.
    users: Arc<()>,
}

/// Clients that are kept for later.
const MOST_IDLE: usize = 16;

impl Pool {
    pub(crate) fn new(connections: Connections) -> reqwest::Result<Self> {
        Ok(match connections.0 {
            How::Builder(builder) => Self::One(Client::new(*builder)?),
            How::Client(http) => Self::One(Client { http, sockets: None, users: Arc::default() }),
            How::Each(make) => {
                let first = Client::new(make())?;
                Self::Each { make, idle: Mutex::new(vec![first]) }
            }
        })
    }

    /// A client for one request, used by no other one at the same time if there can be several.
    pub(crate) fn client(&self) -> reqwest::Result<Client> {
        match self {
            Self::One(client) => Ok(client.clone()),
            Self::Each { make, idle } => {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                kept.map_or_else(|| Client::new(make()), Ok)
            }
        }
    }

    /// The request has ended on its own. If it hung, its connection is probably dead, but an HTTP/2 connection would
    /// be reused nevertheless: its client is not returned.
    pub(crate) fn give_back(&self, client: Client) {
        if let Self::Each { idle, .. } = self {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MOST_IDLE {
                idle.push(client);
            }
        }
    }

    /// A request has fallen silent. The network has probably changed, so the connections of all idle clients are dead,
    /// too: each would cost another silence.
    pub(crate) fn forget_idle(&self) {
        if let Self::Each { idle, .. } = self {
            idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

impl Client {
    fn new(builder: reqwest::ClientBuilder) -> reqwest::Result<Self> {
        let (http, sockets) = build(builder)?;
        Ok(Self { http, sockets: Some(sockets), users: Arc::default() })
    }

    /// Bytes of the only request that its connections have not sent yet; `None` if unknown.
    pub(crate) async fn unsent(&self) -> Option<Vec<u64>> {
        // The pool and this request.
        let is_only = Arc::strong_count(&self.users) <= 2;
        self.sockets.as_ref().filter(|_| is_only)?.unsent().await
    }
}
