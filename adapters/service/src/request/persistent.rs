//! Work that outlives the request that started it.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{FutureExt, future::CatchUnwind};
use tokio::runtime::Handle;

/// A future that runs within the request's own task, the cheapest place, and continues in a task of its own when the
/// framework drops the request. Resolves to `None` if it panicked.
pub(crate) struct Persistent<F>(Option<CatchUnwind<AssertUnwindSafe<F>>>)
where
    F: Future<Output: Send> + Send + Unpin + 'static;

impl<F> Persistent<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    pub(crate) fn new(work: F) -> Self {
        Self(Some(AssertUnwindSafe(work).catch_unwind()))
    }
}

impl<F> Future for Persistent<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        let Some(work) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let done = ready!(work.poll_unpin(context));
        self.0 = None;
        Poll::Ready(logged(done))
    }
}

impl<F> Drop for Persistent<F>
where
    F: Future<Output: Send> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        // Without a runtime the server is about to exit.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            drop(runtime.spawn(work.map(|done| drop(logged(done)))));
        }
    }
}

fn logged<T>(done: Result<T, Box<dyn Any + Send>>) -> Option<T> {
    match done {
        Ok(value) => Some(value),
        Err(panic) => {
            let words = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(panic = words.unwrap_or("without a message"), "an exchange panicked");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::Arc};

    use futures_util::poll;
    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn dropped_work_continues_in_its_own_task() {
        let (go, (sender, receiver)) = (Arc::new(Notify::new()), oneshot::channel());
        let waits = go.clone();
        let mut work = Persistent::new(Box::pin(async move {
            waits.notified().await;
            sender.send(()).unwrap();
        }));
        assert!(poll!(&mut work).is_pending());
        drop(work);
        go.notify_one();
        receiver.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_resolves_to_none() {
        let panics = Box::pin(async { panic!("as a test wants it") });
        assert!(Persistent::<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>::new(panics).await.is_none());
    }

    #[test]
    fn without_a_runtime_work_is_abandoned() {
        drop(Persistent::new(Box::pin(pending::<()>())));
    }
}
