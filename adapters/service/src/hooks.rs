//! The application's say.

use std::{error::Error, sync::Arc};

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
///
/// For one upload they come in this order: `authorize` and `before_create`, `created`, any number of
/// `progress`, `before_finish`, `finished`; and `before_terminate`, `terminated` at the end. Those that
/// come before something can refuse it. One of these that panics, or takes longer than the
/// [`hook_timeout`](crate::Builder::hook_timeout), counts as one that refused with `500`; of the others it is
/// logged. A hook that takes too long is dropped where it awaits, so that it must not leave work half done
/// there; one that blocks its thread cannot be stopped.
///
/// Where several processes serve one store, another one may find an upload untold while its `finished` is
/// still running, and call the same hooks.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// Whether this may be done. Asked before anything is created, changed, deleted or told of, and
    /// before an older request on the upload is stopped.
    ///
    /// `upload` is the one that it is to be done to; there is none for [`Operation::Create`], and where the
    /// client asks for one that is not there: allowed to ask, it is told so. For a final upload, each partial upload that it names is asked about as [`Operation::Concatenate`].
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

    /// An upload was created.
    async fn created(&self, upload: &Upload) {
        let _ = upload;
    }

    /// An upload is getting on: `upload.offset` is where it stands, of which the last bytes may not be
    /// committed yet. Called at most once in a [`checkpoint_interval`](crate::Builder::checkpoint_interval) while
    /// a body is coming; a call is left out while the one before is still running.
    async fn progress(&self, upload: &Upload) {
        let _ = upload;
    }

    /// An upload is whole, and the application has not been told yet. What is returned is added to the
    /// response of the request that made it so.
    ///
    /// Called again whenever `finished` is going to be called again. Partial uploads are left out.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead. The upload stays as it is, whole, and the application is
    /// asked again: when the client repeats its last request (for a creation the response has a `Location`
    /// all the same), within the sweep interval, and after a restart. To be rid of it, terminate it.
    async fn before_finish(&self, upload: &Upload) -> Result<Reply, Rejection> {
        let _ = upload;
        Ok(Reply::default())
    }

    /// An upload is whole.
    ///
    /// It is called **at least once** for every upload that becomes whole, partial uploads aside: again
    /// after a failure, and after the process died before the call was recorded. `upload.id` is the key by
    /// which a repeat is recognised.
    ///
    /// # Errors
    ///
    /// For the log. The client's upload is a success all the same, and the hook is called again within the
    /// sweep interval, and after a restart.
    async fn finished(&self, upload: &Upload) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = upload;
        Ok(())
    }

    /// A client wants to delete an upload, and was authorized to.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead; the upload stays.
    async fn before_terminate(&self, upload: &Upload, request: &Parts) -> Result<(), Rejection> {
        let _ = (upload, request);
        Ok(())
    }

    /// An upload is gone.
    async fn terminated(&self, upload: &Upload, cause: Cause) {
        let _ = (upload, cause);
    }
}

/// Why an upload is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// A client deleted it.
    Client,
    /// The application deleted it, by [`Tus::terminate`](crate::Tus::terminate).
    Application,
    /// Its time was over.
    Expired,
    /// The request that created it failed.
    Failed,
}

/// Everything is allowed, and nobody is told.
impl Hooks for () {}

pub(crate) type Authorize = Box<dyn Fn(Operation, Option<&Upload>, &Parts) -> Result<(), Rejection> + Send + Sync>;
pub(crate) type Finished = Box<
    dyn Fn(Upload) -> futures_util::future::BoxFuture<'static, Result<(), Box<dyn Error + Send + Sync>>> + Send + Sync,
>;

/// The application's hooks, and its closures for the two that most need.
pub(crate) struct AllHooks {
    pub(crate) hooks: Arc<dyn Hooks>,
    /// Whether these are the application's own.
    pub(crate) are_given: bool,
    pub(crate) authorize: Option<Authorize>,
    pub(crate) finished: Option<Finished>,
}

impl AllHooks {
    /// Nobody: who has no say and hears of nothing.
    pub(crate) fn none() -> Self {
        Self { hooks: Arc::new(()), are_given: false, authorize: None, finished: None }
    }

    /// Whether somebody is to be told that an upload is whole.
    pub(crate) fn tell(&self) -> bool {
        self.are_given || self.finished.is_some()
    }

    pub(crate) async fn authorize(
        &self,
        operation: Operation,
        upload: Option<&Upload>,
        request: &Parts,
    ) -> Result<(), Rejection> {
        if let Some(authorize) = &self.authorize {
            authorize(operation, upload, request)?;
        }
        self.hooks.authorize(operation, upload, request).await
    }

    pub(crate) async fn finished(&self, upload: &Upload) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(finished) = &self.finished {
            finished(upload.clone()).await?;
        }
        self.hooks.finished(upload).await
    }
}
