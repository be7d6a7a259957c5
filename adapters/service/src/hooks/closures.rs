//! Hooks as closures, which an application passes to the builder one by one.

use futures_util::future::BoxFuture;
use tus_core::{NewUpload, Rejection, server::FinishReply};

use super::{
    HookError,
    context::{
        Authorize, BeforeCreate, BeforeFinish, BeforeTerminate, Created, CreationFailed, Finished, Progress, Terminated,
    },
};

type Closure<C, T> = Box<dyn Fn(C) -> BoxFuture<'static, T> + Send + Sync>;

/// One for each hook, if the application passed one. They are called before the methods of the
/// application's [`Hooks`](super::Hooks).
#[derive(Default)]
pub(crate) struct Closures {
    pub(crate) authorize: Option<Closure<Authorize, Result<(), Rejection>>>,
    pub(crate) before_create: Option<Closure<BeforeCreate, Result<NewUpload, Rejection>>>,
    pub(crate) creation_failed: Option<Closure<CreationFailed, ()>>,
    pub(crate) created: Option<Closure<Created, ()>>,
    pub(crate) progress: Option<Closure<Progress, ()>>,
    pub(crate) before_finish: Option<Closure<BeforeFinish, Result<FinishReply, Rejection>>>,
    pub(crate) finished: Option<Closure<Finished, Result<(), HookError>>>,
    pub(crate) before_terminate: Option<Closure<BeforeTerminate, Result<(), Rejection>>>,
    pub(crate) terminated: Option<Closure<Terminated, ()>>,
}
