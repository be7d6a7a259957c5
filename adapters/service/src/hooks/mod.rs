//! What the application decides and learns.

mod closures;
pub mod context;
mod runner;

use std::error::Error;

use tus_core::{NewUpload, Rejection, server::FinishReply};

pub use self::context::Cause;
use self::context::{
    Authorize, BeforeCreate, BeforeFinish, BeforeTerminate, Created, CreationFailed, Finished, Progress, Terminated,
};
pub(crate) use self::{closures::Closures, runner::Runner};

/// Why a hook failed; for the log.
pub type HookError = Box<dyn Error + Send + Sync>;

/// What the application decides and learns. Every method has a default: whatever is asked is allowed.
///
/// Each takes one [context](mod@context), which may grow. `request` in it is the head of the request with its full
/// path, its headers, and the extensions that the framework and the application's middleware put there (the user,
/// say). Implement them as async functions:
///
/// ```
/// use tus_service::{Hooks, Rejection, context};
///
/// struct Policy;
///
/// impl Hooks for Policy {
///     async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
///         match cx.request.headers.contains_key("authorization") {
///             true => Ok(()),
///             false => Err(Rejection::unauthorized("Bearer")),
///         }
///     }
/// }
/// ```
///
/// For one upload they are called in this order: `authorize` and `before_create`, `created` or `creation_failed`, any
/// number of `progress`, `before_finish`, `finished`; and `before_terminate`, `terminated` at the end, which may come
/// while `finished` runs. Those that
/// come before something can refuse it. One of these that panics, or takes longer than the
/// [`hook_timeout`](crate::Builder::hook_timeout), counts as one that refused with `500`; of the others it is
/// logged. A hook that takes too long is dropped where it awaits, so that it must not leave work half done
/// there. One that blocks its thread cannot be stopped: it stops whatever else that thread serves. Use
/// `tokio::task::spawn_blocking`.
///
/// Where several processes serve one store, one of them at a time calls `before_finish` and `finished` for an upload.
pub trait Hooks: Send + Sync + 'static {
    /// Decides whether something may be done. Called before anything is created, changed, deleted or shown, and
    /// before an older request on the upload is stopped.
    ///
    /// There is no upload for [`Operation::Create`](crate::Operation::Create), and where the client asks for one that
    /// does not exist: if it may ask, it learns that. For a final upload, each partial upload that it names is asked
    /// about as [`Operation::Concatenate`](crate::Operation::Concatenate).
    ///
    /// # Errors
    ///
    /// The response that the client gets instead: mostly a refusal, and a [redirect](Rejection::redirect) where a file
    /// that is to be downloaded was moved elsewhere.
    fn authorize(&self, cx: Authorize) -> impl Future<Output = Result<(), Rejection>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Decides about a new upload, and returns it as it is to be created: the application may change its metadata, its
    /// limit and its owner, and choose its id.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead; no upload is created then.
    fn before_create(&self, cx: BeforeCreate) -> impl Future<Output = Result<NewUpload, Rejection>> + Send {
        async { Ok(cx.upload) }
    }

    /// An upload that `before_create` allowed is not created after all: it is too large, its id is taken, or the
    /// storage failed. What was reserved for it is to be released. Where the process is killed in between, nobody calls
    /// this: count what is stored, not what was allowed.
    fn creation_failed(&self, cx: CreationFailed) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// An upload was created.
    fn created(&self, cx: Created) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// An upload is getting on. Called at most once in a
    /// [`checkpoint_interval`](crate::Builder::checkpoint_interval) while a body is coming; a call is left out while
    /// the one before is still running.
    fn progress(&self, cx: Progress) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }

    /// An upload is complete, and `finished` has not been called for it. What is returned is added to the
    /// response of the request that completed it.
    ///
    /// Called again whenever `finished` is going to be called again. Partial uploads are left out.
    ///
    /// The process that completes an upload asks for its client, and no other process does meanwhile. There is no client
    /// (`request` is `None`) where that process died, and for a final upload that another process assembles. A client that
    /// repeats its last request is answered by this hook as long as it refuses, and plainly when it has agreed.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead. The upload stays as it is, complete, and the hook is called
    /// again: when the client repeats its last request (for a creation the response has a `Location`
    /// all the same), within the sweep interval, and after a restart. To be rid of it, terminate it.
    fn before_finish(&self, cx: BeforeFinish) -> impl Future<Output = Result<FinishReply, Rejection>> + Send {
        let _ = cx;
        async { Ok(FinishReply::default()) }
    }

    /// An upload is complete: move it, convert it, write a row.
    ///
    /// This is a job: it runs beside the response, so no client waits for it (one that should waits for
    /// `before_finish`). It may take as long as it likes, unless there is a
    /// [`finished_timeout`](crate::Builder::finished_timeout). 64 uploads at once have their call, and one process at a
    /// time calls it for an upload.
    ///
    /// It is called **at least once** for every upload that is completed, partial uploads aside: again
    /// after a failure, and after the process stopped or died before the call was recorded. The upload's incarnation is
    /// the key by which a repeat is recognised; its id is, too, unless the application uses ids again.
    ///
    /// Requests on the upload go on meanwhile: it may be deleted, and this hook may delete it
    /// ([`Tus::terminate`](crate::Tus::terminate)). It can be downloaded when the call has succeeded.
    ///
    /// # Errors
    ///
    /// For the log and the metrics. The client's upload is a success all the same. The hook is called again after a
    /// second, and then after waits that double, to an hour at the most.
    fn finished(&self, cx: Finished) -> impl Future<Output = Result<(), HookError>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Decides whether a client that is authorized to may delete an upload.
    ///
    /// # Errors
    ///
    /// The response that the client gets instead; the upload stays.
    fn before_terminate(&self, cx: BeforeTerminate) -> impl Future<Output = Result<(), Rejection>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// An upload is gone.
    fn terminated(&self, cx: Terminated) -> impl Future<Output = ()> + Send {
        let _ = cx;
        async {}
    }
}

/// Everything is allowed, and nobody is notified.
impl Hooks for () {}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http::request::Parts;
    use tus_core::{Kind, NewUpload, Rejection};

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
    async fn a_closure_is_called_before_the_method_and_a_panic_is_500() {
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
        assert_eq!(runner.before_create(&mut upload, &request("mallory")).await.unwrap_err().status(), 500);
        assert_eq!(upload, before, "what was refused is not changed");
        runner.before_create(&mut upload, &request("anna")).await.unwrap();
        assert_eq!((upload.owner.as_deref(), upload.max_size), (Some("anna"), Some(7)));
    }
}
