//! Calls the hooks with their timeout. A panic fails only its own call.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::{StatusCode, request::Parts};
use tokio::time::timeout;
use tus_core::{
    Incarnation, NewUpload, Rejection, Upload, UploadId,
    server::{FinishReply, Operation},
};

use super::{
    Closures, HookError, Hooks,
    context::{
        Authorize, BeforeCreate, BeforeFinish, BeforeTerminate, Created, CreationFailed, Finished, Progress, Terminated,
    },
};
use crate::{cause::Cause, observe};

/// [`Hooks`] behind a pointer.
pub(super) trait ErasedHooks: Send + Sync {
    fn authorize(&self, cx: Authorize) -> BoxFuture<'_, Result<(), Rejection>>;
    fn before_create(&self, cx: BeforeCreate) -> BoxFuture<'_, Result<NewUpload, Rejection>>;
    fn creation_failed(&self, cx: CreationFailed) -> BoxFuture<'_, ()>;
    fn created(&self, cx: Created) -> BoxFuture<'_, ()>;
    fn progress(&self, cx: Progress) -> BoxFuture<'_, ()>;
    fn before_finish(&self, cx: BeforeFinish) -> BoxFuture<'_, Result<FinishReply, Rejection>>;
    fn finished(&self, cx: Finished) -> BoxFuture<'_, Result<(), HookError>>;
    fn before_terminate(&self, cx: BeforeTerminate) -> BoxFuture<'_, Result<(), Rejection>>;
    fn terminated(&self, cx: Terminated) -> BoxFuture<'_, ()>;
}

impl<H: Hooks> ErasedHooks for H {
    fn authorize(&self, cx: Authorize) -> BoxFuture<'_, Result<(), Rejection>> {
        Box::pin(Hooks::authorize(self, cx))
    }

    fn before_create(&self, cx: BeforeCreate) -> BoxFuture<'_, Result<NewUpload, Rejection>> {
        Box::pin(Hooks::before_create(self, cx))
    }

    fn creation_failed(&self, cx: CreationFailed) -> BoxFuture<'_, ()> {
        Box::pin(Hooks::creation_failed(self, cx))
    }

    fn created(&self, cx: Created) -> BoxFuture<'_, ()> {
        Box::pin(Hooks::created(self, cx))
    }

    fn progress(&self, cx: Progress) -> BoxFuture<'_, ()> {
        Box::pin(Hooks::progress(self, cx))
    }

    fn before_finish(&self, cx: BeforeFinish) -> BoxFuture<'_, Result<FinishReply, Rejection>> {
        Box::pin(Hooks::before_finish(self, cx))
    }

    fn finished(&self, cx: Finished) -> BoxFuture<'_, Result<(), HookError>> {
        Box::pin(Hooks::finished(self, cx))
    }

    fn before_terminate(&self, cx: BeforeTerminate) -> BoxFuture<'_, Result<(), Rejection>> {
        Box::pin(Hooks::before_terminate(self, cx))
    }

    fn terminated(&self, cx: Terminated) -> BoxFuture<'_, ()> {
        Box::pin(Hooks::terminated(self, cx))
    }
}

/// The application's hooks. If there are none, nothing is called and nothing is copied for them.
pub(crate) struct Runner {
    hooks: Option<Box<dyn ErasedHooks>>,
    pub(crate) closures: Closures,
    pub(crate) timeout: Duration,
    pub(crate) finished_timeout: Duration,
}

impl Runner {
    /// No hooks, and the timeout of each.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { hooks: None, closures: Closures::default(), timeout, finished_timeout: Duration::MAX }
    }

    pub(crate) fn set(&mut self, hooks: impl Hooks) {
        self.hooks = Some(Box::new(hooks));
    }

    /// Whether the application wants to be notified of complete uploads.
    pub(crate) fn notifies(&self) -> bool {
        self.hooks.is_some() || self.closures.before_finish.is_some() || self.closures.finished.is_some()
    }

    /// Whether the application determines part of the response to the request that completes an upload.
    pub(crate) fn shapes_responses(&self) -> bool {
        self.hooks.is_some() || self.closures.before_finish.is_some()
    }

    /// Whether the application wants to know the progress of uploads.
    pub(crate) fn wants_progress(&self) -> bool {
        self.hooks.is_some() || self.closures.progress.is_some()
    }

    pub(crate) async fn authorize(
        &self,
        operation: Operation,
        upload: Option<&Upload>,
        request: &Arc<Parts>,
    ) -> Result<(), Rejection> {
        if self.hooks.is_none() && self.closures.authorize.is_none() {
            return Ok(());
        }
        let cx = Authorize::new(operation, upload.cloned().map(Arc::new), request.clone());
        let asked = async {
            if let Some(closure) = &self.closures.authorize {
                closure(cx.clone()).await?;
            }
            match &self.hooks {
                Some(hooks) => hooks.authorize(cx).await,
                None => Ok(()),
            }
        };
        self.guarded("authorize", self.timeout, asked).await.flatten()
    }

    /// The application may have changed `upload`, unless it rejected it. `name` is what the upload gets if the
    /// application chooses no id.
    ///
    /// If the closure allowed the upload and the method of [`Hooks`] does not, the closure `creation_failed` is called.
    pub(crate) async fn before_create(
        &self,
        upload: &mut NewUpload,
        name: (&UploadId, Incarnation),
        request: &Arc<Parts>,
    ) -> Result<(), Rejection> {
        if self.hooks.is_none() && self.closures.before_create.is_none() {
            return Ok(());
        }
        let mut allowed = None;
        let asked = async {
            let mut upload = upload.clone();
            if let Some(closure) = &self.closures.before_create {
                upload = closure(BeforeCreate::new(upload, request.clone())).await?;
                allowed = self.hooks.is_some().then(|| upload.clone());
            }
            match &self.hooks {
                Some(hooks) => hooks.before_create(BeforeCreate::new(upload, request.clone())).await,
                None => Ok(upload),
            }
        };
        match self.guarded("before_create", self.timeout, asked).await.flatten() {
            Ok(changed) => *upload = changed,
            Err(rejection) => {
                if let (Some(allowed), Some(closure)) = (allowed, &self.closures.creation_failed) {
                    let cx = CreationFailed::new(Arc::new(never_created(allowed, name)), request.clone());
                    let _ = self.guarded("creation_failed", self.timeout, closure(cx)).await;
                }
                return Err(rejection);
            }
        }
        Ok(())
    }

    pub(crate) async fn creation_failed(&self, upload: &Upload, request: &Arc<Parts>) {
        if self.hooks.is_none() && self.closures.creation_failed.is_none() {
            return;
        }
        let cx = CreationFailed::new(Arc::new(upload.clone()), request.clone());
        let call = async {
            if let Some(closure) = &self.closures.creation_failed {
                closure(cx.clone()).await;
            }
            if let Some(hooks) = &self.hooks {
                hooks.creation_failed(cx).await;
            }
        };
        let _ = self.guarded("creation_failed", self.timeout, call).await;
    }

    pub(crate) async fn created(&self, upload: &Upload, request: &Arc<Parts>) {
        if self.hooks.is_none() && self.closures.created.is_none() {
            return;
        }
        let cx = Created::new(Arc::new(upload.clone()), request.clone());
        let call = async {
            if let Some(closure) = &self.closures.created {
                closure(cx.clone()).await;
            }
            if let Some(hooks) = &self.hooks {
                hooks.created(cx).await;
            }
        };
        let _ = self.guarded("created", self.timeout, call).await;
    }

    pub(crate) async fn progress(&self, upload: Upload, request: Arc<Parts>) {
        let cx = Progress::new(Arc::new(upload), request);
        let call = async {
            if let Some(closure) = &self.closures.progress {
                closure(cx.clone()).await;
            }
            if let Some(hooks) = &self.hooks {
                hooks.progress(cx).await;
            }
        };
        let _ = self.guarded("progress", self.timeout, call).await;
    }

    pub(crate) async fn before_finish(
        &self,
        upload: &Upload,
        request: Option<&Arc<Parts>>,
    ) -> Result<FinishReply, Rejection> {
        let cx = BeforeFinish::new(Arc::new(upload.clone()), request.cloned());
        let asked = async {
            let mut reply = FinishReply::default();
            if let Some(closure) = &self.closures.before_finish {
                reply = closure(cx.clone()).await?;
            }
            if let Some(hooks) = &self.hooks {
                let more = hooks.before_finish(cx).await?;
                reply.status = more.status.or(reply.status);
                reply.headers.extend(more.headers);
                if !more.body.is_empty() {
                    reply.body = more.body;
                }
            }
            Ok(reply)
        };
        self.guarded("before_finish", self.timeout, asked).await.flatten()
    }

    /// Whether the application was notified.
    pub(crate) async fn finished(&self, upload: &Upload, attempt: u32) -> bool {
        let cx = Finished::new(Arc::new(upload.clone()), attempt);
        let call = async {
            if let Some(closure) = &self.closures.finished {
                closure(cx.clone()).await?;
            }
            match &self.hooks {
                Some(hooks) => hooks.finished(cx).await,
                None => Ok(()),
            }
        };
        match self.guarded("finished", self.finished_timeout, call).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                observe::hook_failed("finished");
                tracing::error!(upload = %upload.id, attempt, %error, "the hook finished failed; it will be called again");
                false
            }
            Err(_) => false,
        }
    }

    pub(crate) async fn before_terminate(&self, upload: &Upload, request: &Arc<Parts>) -> Result<(), Rejection> {
        if self.hooks.is_none() && self.closures.before_terminate.is_none() {
            return Ok(());
        }
        let cx = BeforeTerminate::new(Arc::new(upload.clone()), request.clone());
        let asked = async {
            if let Some(closure) = &self.closures.before_terminate {
                closure(cx.clone()).await?;
            }
            match &self.hooks {
                Some(hooks) => hooks.before_terminate(cx).await,
                None => Ok(()),
            }
        };
        self.guarded("before_terminate", self.timeout, asked).await.flatten()
    }

    pub(crate) async fn terminated(&self, upload: &Upload, cause: Cause) {
        if self.hooks.is_none() && self.closures.terminated.is_none() {
            return;
        }
        let cx = Terminated::new(Arc::new(upload.clone()), cause);
        let call = async {
            if let Some(closure) = &self.closures.terminated {
                closure(cx.clone()).await;
            }
            if let Some(hooks) = &self.hooks {
                hooks.terminated(cx).await;
            }
        };
        let _ = self.guarded("terminated", self.timeout, call).await;
    }

    /// The hook's result, or a `500` if it panics or times out.
    async fn guarded<T>(
        &self,
        hook: &'static str,
        limit: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, Rejection> {
        match timeout(limit, AssertUnwindSafe(call).catch_unwind()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(_)) => tracing::error!(hook, "a hook panicked"),
            Err(_) => tracing::error!(hook, "a hook timed out"),
        }
        observe::hook_failed(hook);
        Err(Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "the application could not handle the request\n"))
    }
}

/// The record that an upload would have had.
fn never_created(new: NewUpload, (id, incarnation): (&UploadId, Incarnation)) -> Upload {
    let mut upload = Upload::new(new.id.clone().unwrap_or_else(|| id.clone()), incarnation, new.kind().clone());
    (upload.length, upload.max_size) = (new.length(), new.max_size);
    (upload.metadata, upload.owner, upload.private) = (new.metadata, new.owner, new.private);
    upload
}
