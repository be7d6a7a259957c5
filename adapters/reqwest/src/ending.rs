//! Ends the body of a request that is over: a server may answer before it has read all of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Context,
};

use futures_util::task::AtomicWaker;

/// A request whose body must not outlive it. Its end is when this is dropped.
#[derive(Default)]
pub(crate) struct Ending(Arc<State>);

/// What the body knows about its request.
pub(crate) struct Ended(Arc<State>);

#[derive(Default)]
struct State {
    over: AtomicBool,
    waker: AtomicWaker,
}

impl Ending {
    /// For the body.
    pub(crate) fn watch(&self) -> Ended {
        Ended(self.0.clone())
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        // The body may wait for its source.
        self.0.waker.wake();
    }
}

impl Ended {
    /// Whether the request is over; if not, the task is woken when it is.
    pub(crate) fn poll(&self, context: &Context<'_>) -> bool {
        self.0.waker.register(context.waker());
        self.0.over.load(Ordering::Acquire)
    }
}
