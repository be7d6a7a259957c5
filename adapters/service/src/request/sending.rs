//! The bytes of a download on their way to the client, one piece at a time. The download ends if the client reads
//! nothing.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::{
    sync::OwnedSemaphorePermit,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};
use tus_core::Failure;

use super::CloseConnection;
use crate::{
    observe::{self, InFlight},
    storage::{ByteStream, StorageError},
};

/// The most bytes that are passed on at once. A framework that copies them into a buffer of its own, as actix-web
/// does, exceeds its limit by little.
const SLICE: usize = 8 * 1024;

/// How long a framework has to end an aborted download.
const GRACE: Duration = Duration::from_secs(1);

/// A download. The next piece is read when the framework has released the previous one, so that no connection holds
/// more than one, however much the framework would buffer.
///
/// A framework does not poll the body of a client that reads nothing. A timer therefore ends such a download: it
/// closes the upload's file and releases the permit. If the framework waits for the next piece, as hyper does for
/// HTTP/1, it gets an error and closes the connection. Otherwise a [`CloseConnection`] closes it, if there is one.
pub(crate) struct Sending {
    shared: Arc<Shared>,
    timer: Option<AbortHandle>,
}

struct Shared {
    reading: Mutex<Reading>,
    gate: Arc<Gate>,
}

struct Reading {
    /// `None` after the client read nothing for too long.
    open: Option<Open>,
    /// Since when the download waits for the client; `None` while it waits for the storage.
    waits_since: Option<Instant>,
}

struct Open {
    bytes: ByteStream,
    /// The rest of the piece that was read last.
    rest: Bytes,
    turn: Arc<Turn>,
}

/// The permit of a download. Each piece keeps it.
struct Turn {
    _permit: OwnedSemaphorePermit,
    _counted: InFlight,
}

/// Closed while the framework has a piece.
#[derive(Default)]
struct Gate {
    is_closed: AtomicBool,
    waker: AtomicWaker,
}

/// A piece that the framework holds.
struct Piece {
    bytes: Bytes,
    gate: Arc<Gate>,
    _turn: Arc<Turn>,
}

impl Sending {
    /// Sends `bytes`; `permit` is the download's turn. A client may take nothing for so long as `timeout`; then `close`
    /// ends the connection.
    pub(crate) fn new(
        bytes: ByteStream,
        permit: OwnedSemaphorePermit,
        timeout: Duration,
        close: Option<CloseConnection>,
    ) -> Self {
        let turn = Arc::new(Turn { _permit: permit, _counted: observe::download() });
        let now = Instant::now();
        let reading = Reading { open: Some(Open { bytes, rest: Bytes::new(), turn }), waits_since: Some(now) };
        let shared = Arc::new(Shared { reading: Mutex::new(reading), gate: Arc::default() });
        // A time beyond what the clock can represent never comes.
        let watched =
            now.checked_add(timeout).map(|first| tokio::spawn(watch(Arc::downgrade(&shared), first, timeout, close)));
        Self { shared, timer: watched.map(|task| task.abort_handle()) }
    }

    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StorageError>>> {
        let gate = &self.shared.gate;
        // Even if no piece is being sent: the timer wakes it.
        gate.waker.register(context.waker());
        let mut reading = self.shared.reading();
        let Reading { open, waits_since } = &mut *reading;
        let Some(Open { bytes, rest, turn }) = open else {
            let reason = "the client read nothing for too long";
            return Poll::Ready(Some(Err(StorageError::new(Failure::Overloaded, reason))));
        };
        if rest.is_empty() {
            if gate.is_closed.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            *waits_since = None;
            match ready!(bytes.as_mut().poll_next(context)) {
                Some(Ok(bytes)) => {
                    gate.is_closed.store(true, Ordering::Release);
                    *rest = Bytes::from_owner(Piece { bytes, gate: gate.clone(), _turn: turn.clone() });
                }
                end => return Poll::Ready(end),
            }
        }
        *waits_since = Some(Instant::now());
        Poll::Ready(Some(Ok(rest.split_to(rest.len().min(SLICE)))))
    }
}

impl Shared {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to check again; `None` if there is nothing more to check.
    fn look(&self, now: Instant, timeout: Duration) -> Option<Instant> {
        // If it is locked, it is being polled now. The poller may wait for a disk; do not wait for it.
        let since = match self.reading.try_lock() {
            Ok(mut reading) => match reading.waits_since {
                Some(since) if now.duration_since(since) >= timeout => {
                    let open = reading.open.take();
                    drop(reading);
                    drop(open);
                    return None;
                }
                since => since,
            },
            Err(_) => None,
        };
        since.unwrap_or(now).checked_add(timeout)
    }
}

/// Ends a download whose client reads nothing.
async fn watch(shared: Weak<Shared>, first: Instant, timeout: Duration, close: Option<CloseConnection>) {
    let mut next = Some(first);
    while let Some(at) = next {
        sleep_until(at).await;
        let Some(shared) = shared.upgrade() else { return };
        next = shared.look(Instant::now(), timeout);
        if next.is_none() {
            tracing::debug!(?timeout, "a download was aborted: its client read nothing");
            shared.gate.waker.wake();
        }
    }
    // Where the framework gives the body up by itself, this task ends.
    sleep(GRACE).await;
    if let Some(close) = close {
        tracing::debug!("the connection is closed: it keeps what a download has sent");
        close.close();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.gate.is_closed.store(false, Ordering::Release);
        self.gate.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use futures_util::{StreamExt, poll, stream};
    use tokio::{
        sync::Semaphore,
        time::{advance, sleep},
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// Resources that are open as long as the stream is.
    fn sending(downloads: &Arc<Semaphore>, file: &Arc<()>, wait: Duration) -> Sending {
        let (permit, file) = (downloads.clone().try_acquire_owned().unwrap(), file.clone());
        let pieces = stream::iter(["hello", " world"]).then(move |piece| {
            let file = file.clone();
            async move {
                sleep(wait).await;
                drop(file);
                Ok(Bytes::from(piece))
            }
        });
        Sending::new(pieces.boxed(), permit, TIMEOUT, None)
    }

    async fn next(sending: &Sending) -> Option<Result<Bytes, StorageError>> {
        poll_fn(|context| sending.poll_next(context)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_read_when_the_previous_one_was_dropped() {
        let (downloads, file) = (Arc::new(Semaphore::new(1)), Arc::new(()));
        let sending = sending(&downloads, &file, Duration::ZERO);
        let first = next(&sending).await.unwrap().unwrap();
        let mut second = Box::pin(next(&sending));
        assert!(poll!(&mut second).is_pending());
        assert_eq!(first, "hello");
        let kept = first.slice(4..);
        drop(first);
        assert!(poll!(&mut second).is_pending(), "a slice of a piece is the piece");
        drop(kept);
        assert_eq!(second.await.unwrap().unwrap(), " world");
        assert!(next(&sending).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn downloads_to_clients_that_read_nothing_are_aborted() {
        for takes in [false, true] {
            let (downloads, file) = (Arc::new(Semaphore::new(1)), Arc::new(()));
            let sending = sending(&downloads, &file, Duration::ZERO);
            let first = if takes { Some(next(&sending).await.unwrap().unwrap()) } else { None };
            advance(TIMEOUT / 2).await;
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&file), 2);
            // As hyper does if it has room.
            let mut second = Box::pin(next(&sending));
            assert!(!takes || poll!(&mut second).is_pending());
            sleep(TIMEOUT).await;
            assert_eq!(Arc::strong_count(&file), 1, "it is closed without being polled");
            assert!(second.await.unwrap().is_err(), "and then an error");
            // Memory that is still held keeps its permit.
            assert_eq!(downloads.available_permits(), usize::from(!takes));
            drop(first);
            assert_eq!(downloads.available_permits(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_is_closed_where_the_framework_does_not_end_it() {
        for ends in [false, true] {
            let (downloads, closed) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicBool::new(false)));
            let pieces = stream::iter(["hello", " world"]).map(|piece| Ok(Bytes::from(piece)));
            let (permit, close) = (downloads.try_acquire_owned().unwrap(), closed.clone());
            let close = CloseConnection::new(move || close.store(true, Ordering::Relaxed));
            let sending = Sending::new(pieces.boxed(), permit, TIMEOUT, Some(close));
            // As over HTTP/2: it has a piece, and waits for the client alone.
            let piece = next(&sending).await;
            sleep(TIMEOUT + GRACE / 2).await;
            let kept = (!ends).then_some(sending);
            sleep(2 * GRACE).await;
            assert_eq!(closed.load(Ordering::Relaxed), !ends);
            drop((piece, kept));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_storage_is_no_slow_client() {
        let (downloads, file) = (Arc::new(Semaphore::new(1)), Arc::new(()));
        let sending = sending(&downloads, &file, 10 * TIMEOUT);
        for piece in ["hello", " world"] {
            assert_eq!(next(&sending).await.unwrap().unwrap(), piece);
            sleep(TIMEOUT * 3 / 4).await;
        }
        assert!(next(&sending).await.is_none());
    }

    #[tokio::test]
    async fn a_download_that_ends_leaves_no_task() {
        let (downloads, file) = (Arc::new(Semaphore::new(1)), Arc::new(()));
        let metrics = tokio::runtime::Handle::current().metrics();
        let before = metrics.num_alive_tasks();
        drop(sending(&downloads, &file, Duration::ZERO));
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
        assert_eq!((Arc::strong_count(&file), downloads.available_permits()), (1, 1));
    }
}
