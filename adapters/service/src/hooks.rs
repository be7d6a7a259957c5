//! The application's say.

use async_trait::async_trait;
use http::request::Parts;
use tus_core::{
    NewUpload, Rejection, Upload,
    server::{Operation, Reply},
};

/// What the application decides and is told. Every method has a default: whatever is asked is allowed.
///
/// `request` is the head of the request with its full path, its headers, and the extensions that the
/// framework and the application's middleware put there (the user, say).
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// Whether this may be done. Asked before anything is created, changed, deleted or told of, and
    /// before an older request on the upload is stopped.
    ///
    /// `upload` is the one that it is to be done to; there is none for [`Operation::Create`]. For a final
    /// upload, each partial upload that it names is asked about as [`Operation::Concatenate`].
    ///
    /// # Errors
    ///
    /// The response that the client gets instead.
    async fn authorize(&self, operation: Operation, upload: Option<&Upload>, request: &Parts) -> Result<(), Rejection> {
        let _ = (operation, upload, request);
        Ok(())
    }

    /// A new upload is about to be created. The application may change its metadata and its limit, and
    /// choose its id.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead; no upload is created then.
    async fn before_create(&self, upload: &mut NewUpload, request: &Parts) -> Result<(), Rejection> {
        let _ = (upload, request);
        Ok(())
    }

    /// An upload is whole. What is returned is added to the response of the request that made it so.
    ///
    /// It is called **at least once** for every upload that becomes whole, partial uploads aside: again
    /// after a failure, and after the process died before the call was recorded. `upload.id` is the key by
    /// which a repeat is recognised.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead. The upload stays whole, and the hook is called again
    /// when the client repeats its last request, within the sweep interval, and after a restart.
    async fn finished(&self, upload: &Upload) -> Result<Reply, Rejection> {
        let _ = upload;
        Ok(Reply::default())
    }
}

/// Everything is allowed, and nobody is told.
impl Hooks for () {}
