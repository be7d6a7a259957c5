//! What an exchange knows of the handler of a resource: how it is called, and with which request.

mod stored_body;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::oneshot;
use tus_core::{Failure, Incarnation, Upload, UploadId};

pub use self::stored_body::StoredBody;

/// The response, and its content if all of it was read.
pub(crate) type Responded = Result<Response<Option<Bytes>>, Failure>;

/// Calls the handler for an exchange.
pub(crate) struct Caller {
    called: oneshot::Sender<Called>,
    /// The owner of the request, if the application determines owners of requests.
    owner: Option<Option<String>>,
}

/// A call of the handler.
pub(crate) struct Called {
    pub(crate) request: Request<StoredBody>,
    pub(crate) responded: oneshot::Sender<Responded>,
}

pub(crate) fn caller(owner: Option<Option<String>>) -> (Caller, oneshot::Receiver<Called>) {
    let (called, calls) = oneshot::channel();
    (Caller { called, owner }, calls)
}

impl Caller {
    /// The owner of the request, if the application determines owners of requests.
    pub(crate) fn owner(&self) -> Option<&Option<String>> {
        self.owner.as_ref()
    }

    /// Calls the handler, while the client is connected.
    pub(crate) async fn call(self, request: Request<StoredBody>) -> Responded {
        let (responded, response) = oneshot::channel();
        if self.called.send(Called { request, responded }).is_err() {
            tracing::debug!("the client disconnected before the handler was called");
            return Err(Failure::Busy);
        }
        response.await.unwrap_or(Err(Failure::Internal))
    }
}

/// In the extensions of a request that a handler gets because an upload is complete: the key by which it recognizes a
/// repetition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Resumed {
    /// The upload's id.
    pub id: UploadId,
    /// Distinguishes uploads that have had this id: an incarnation never returns.
    pub incarnation: Incarnation,
}

impl From<&Upload> for Resumed {
    fn from(upload: &Upload) -> Self {
        Self { id: upload.id.clone(), incarnation: upload.incarnation }
    }
}
