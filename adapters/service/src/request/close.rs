//! The connection below a request.

use std::{fmt, sync::Arc};

/// Closes the connection on which a request came.
///
/// If the client of a download reads nothing for too long, the [timeout](crate::Builder::download_timeout) closes the
/// upload's file. The framework may keep what it has buffered and wait for the client, over HTTP/2 forever. If one of
/// these is among the extensions of the request, the connection is closed then, with all other requests on it. Do not
/// use it behind a proxy that sends the requests of several clients over one HTTP/2 connection: one client that reads
/// nothing would interrupt the others.
///
/// [`InterimIo`](crate::InterimIo) has one for its connection, and `actix_web_tus::on_connect` makes one.
#[derive(Clone)]
pub struct CloseConnection(Arc<dyn Fn() + Send + Sync>);

impl CloseConnection {
    /// `close` ends the connection, so that the framework gets an error from it. It must not block.
    pub fn new(close: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(close))
    }

    pub(super) fn close(&self) {
        (self.0)();
    }
}

impl fmt::Debug for CloseConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseConnection").finish_non_exhaustive()
    }
}
