//! The application's decisions and notifications.

mod closures;
pub mod context;
mod runner;

use std::error::Error;

use tus_core::{NewUpload, Rejection, server::FinishReply};

use self::context::{
    Authorize, BeforeCreate, BeforeFinish, BeforeTerminate, Created, CreationFailed, Finished, Progress, Terminated,
};
pub(crate) use self::{closures::Closures, runner::Runner};

/// Why a hook failed, for the log.
pub type HookError = Box<dyn Error + Send + Sync>;

/// The application's decisions and notifications. Every method has a default, which allows everything.
///
/// Each method takes one [context](mod@context), which may get more fields. Its `request` is the head of the request
/// with the full path, the headers, and the extensions that the framework and the application's middleware added (for
/// example the user). Implement the methods as async functions:
///
/// ```
/// use tus_service::{Hooks, Rejection, context};
///
/// struct Policy;
///
/// impl Hooks for Policy {
///     async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
///         match cx.request.headers.get("authorization").is_some_and(|value| value == "Bearer secret") {
///             true => Ok(()),
///             false => Err(Rejection::unauthorized("Bearer")),
///         }
///     }
/// }
/// ```
///
/// For one upload they are called in this order: `authorize` and `before_create`, `created` or `creation_failed`, any
/// number of `progress`, `before_finish`, `finished`; and at the end `before_terminate` and `terminated`, possibly
/// while `finished` runs. Hooks that run before an action can reject it. If one of these panics or exceeds the
/// [`hook_timeout`](crate::Builder::hook_timeout), this counts as a rejection with `500`; failures of the others are
/// logged. A hook that times out is dropped at its current await, so it must not leave work half done there. A hook
/// that blocks its thread cannot be stopped, and blocks everything else on that thread: use
/// `tokio::task::spawn_blocking`.
///
/// If several processes serve one store, one of them at a time calls `before_finish` and `finished` for an upload.
pub trait Hooks: Send + Sync + 'static {
    /// Decides whether an operation is allowed. Called before anything is created, changed, deleted or shown, and
    /// before an older request on the upload is stopped.
    ///
    /// There is no upload for [`Operation::Create`](crate::Operation::Create), and none if the client asks for one
    /// that does not exist: if the operation is allowed, the client learns that. An upload that has expired or can
    /// never be complete is there until it is removed, and its client learns what has become of it only if the
    /// operation is allowed. For a final upload, this is called
    /// with [`Operation::Concatenate`](crate::Operation::Concatenate) for each partial upload that it names.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead: usually a rejection, or a [redirect](Rejection::redirect) if the
    /// file to download has moved elsewhere.
    fn authorize(&self, cx: Authorize) -> impl Future<Output = Result<(), Rejection>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Decides about a new upload and returns the upload to create. The application may change its metadata, its
    /// limit and its owner, and choose its id.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead. No upload is created.
    fn before_create(&self, cx: BeforeCreate) -> impl Future<Output = Result<NewUpload, Rejection>> + Send {
        async { Ok(cx.upload) }
    }

    /// An upload that `before_create` allowed is not created after all: it is too large, its id is taken, or the
    /// storage failed. Release what was reserved for it. If the process is killed in between, this is not called:
    /// count what is stored, not what was allowed.
    ///
    /// If there are a closure and a method `before_create`, and the method rejects what the closure allowed, this is
    /// called as well, but only as a closure.
    fn creation_failed(&self, cx: CreationFailed) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// An upload was created.
    fn created(&self, cx: Created) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// An upload makes progress. Called at most once per [`checkpoint_interval`](crate::Builder::checkpoint_interval)
    /// while a body arrives; a call is skipped while the previous one is still running.
    fn progress(&self, cx: Progress) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// An upload is complete, and `finished` has not succeeded yet. The return value is added to the response of the
    /// request that completed it.
    ///
    /// Called again before a later sweep or a restart calls `finished` again, but not before the retries of the first
    /// half minute. Not called for partial uploads.
    ///
    /// The process that completes an upload calls this for its client, and no other process does at the same time.
    /// There is no client (`request` is `None`) if that process died, or if another process assembles a final upload.
    /// If a client repeats its last request, this hook is called again as long as it rejects the upload; after it has
    /// approved, the client gets a plain response.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead. The upload stays complete, and the hook is called again: when the
    /// client repeats its last request (a creation's response contains `Location` nevertheless), in later sweeps after
    /// waits that double up to an hour, and after a restart. To get rid of the upload, terminate it.
    fn before_finish(&self, cx: BeforeFinish) -> impl Future<Output = Result<FinishReply, Rejection>> + Send {
        let _ = cx;
        async { Ok(FinishReply::default()) }
    }

    /// An upload is complete: move it, convert it, insert a row.
    ///
    /// This is a job beside the response: no client waits for it (use `before_finish` for that). It may take any
    /// time, unless there is a [`finished_timeout`](crate::Builder::finished_timeout). It runs for up to 64 uploads
    /// at once, and in one process at a time for each upload.
    ///
    /// It is called **at least once** for every completed upload except partial ones: again after a failure, and
    /// again if the process stopped or died before the call was recorded. Recognize a repeated call by the upload's
    /// incarnation, or by its id unless the application reuses ids.
    ///
    /// Other requests on the upload continue: it may be deleted, and this hook may delete it
    /// ([`Tus::terminate`](crate::Tus::terminate)). It can be downloaded after the call has succeeded.
    ///
    /// # Errors
    ///
    /// For the log and the metrics. The client's upload succeeds nevertheless. The hook is called again after one
    /// second, and then after waits that double up to one hour.
    fn finished(&self, cx: Finished) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Decides whether an authorized client may delete an upload.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead. The upload stays.
    fn before_terminate(&self, cx: BeforeTerminate) -> impl Future<Output = Result<(), Rejection>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// An upload was deleted.
    fn terminated(&self, cx: Terminated) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }
}

/// Everything is allowed, and nobody is notified.
impl Hooks for () {}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use http::request::Parts;
    use tus_core::{Incarnation, Kind, NewUpload, Rejection};

    use super::*;

    struct Owners;

    impl Hooks for Owners {
        async fn before_create(&self, cx: BeforeCreate) -> Result<NewUpload, Rejection> {
            let user = cx.request.headers.get("x-user").ok_or_else(|| Rejection::unauthorized("Bearer"))?;
            let mut upload = cx.upload;
            upload.owner = user.to_str().ok().map(str::to_owned);
            Ok(upload)
        }
    }

    fn request(user: &str) -> Arc<Parts> {
        Arc::new(http::Request::post("/files").header("x-user", user).body(()).unwrap().into_parts().0)
    }

    #[tokio::test]
    async fn an_application_can_test_its_hooks() {
        let new = NewUpload::new(Kind::Single, Some(5));
        let cx = BeforeCreate::new(new.clone(), request("anna"));
        assert_eq!(Owners.before_create(cx).await.unwrap().owner.as_deref(), Some("anna"));
        let anonymous = Arc::new(http::Request::new(()).into_parts().0);
        assert_eq!(Owners.before_create(BeforeCreate::new(new, anonymous)).await.unwrap_err().status(), 401);
    }

    #[tokio::test]
    async fn closures_run_before_methods_and_panics_are_500() {
        let mut runner = Runner::new(Duration::from_secs(1));
        runner.set(Owners);
        runner.closures.before_create = Some(Box::new(|cx| {
            Box::pin(async move {
                assert_ne!(cx.request.headers["x-user"], "mallory", "as the test wants it");
                let mut upload = cx.upload;
                upload.max_size = Some(7);
                Ok(upload)
            })
        }));
        let mut upload = NewUpload::new(Kind::Single, Some(5));
        let before = upload.clone();
        let (id, incarnation) = ("a".parse().unwrap(), Incarnation::from_random(1));
        let name = (&id, incarnation);
        assert_eq!(runner.before_create(&mut upload, name, &request("mallory")).await.unwrap_err().status(), 500);
        assert_eq!(upload, before, "what was refused is not changed");
        runner.before_create(&mut upload, name, &request("anna")).await.unwrap();
        assert_eq!((upload.owner.as_deref(), upload.max_size), (Some("anna"), Some(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_closure_reserved_is_released_if_the_method_refuses() {
        struct Refuses(bool);

        impl Hooks for Refuses {
            async fn before_create(&self, _: BeforeCreate) -> Result<NewUpload, Rejection> {
                if self.0 { Err(Rejection::forbidden("no\n")) } else { std::future::pending().await }
            }

            async fn creation_failed(&self, _: CreationFailed) {
                panic!("the method has reserved nothing");
            }
        }

        for refuses in [true, false] {
            let released = Arc::new(Mutex::new(Vec::new()));
            let releases = released.clone();
            let mut runner = Runner::new(Duration::from_secs(1));
            runner.set(Refuses(refuses));
            runner.closures.before_create = Some(Box::new(|cx| {
                let mut upload = cx.upload;
                upload.owner = Some("anna".to_owned());
                Box::pin(
                    async move { if upload.length() == Some(5) { Ok(upload) } else { Err(Rejection::forbidden("")) } },
                )
            }));
            runner.closures.creation_failed = Some(Box::new(move |cx| {
                let upload = &cx.upload;
                releases.lock().unwrap().push((upload.id.to_string(), upload.owner.clone(), upload.length));
                Box::pin(async {})
            }));
            let id = "a".parse().unwrap();
            for length in [5, 6] {
                let mut upload = NewUpload::new(Kind::Single, Some(length));
                let name = (&id, Incarnation::from_random(1));
                runner.before_create(&mut upload, name, &request("anna")).await.unwrap_err();
            }
            assert_eq!(*released.lock().unwrap(), [("a".to_owned(), Some("anna".to_owned()), Some(5))]);
        }
    }
}
