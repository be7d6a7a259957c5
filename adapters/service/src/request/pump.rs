//! Moves a body from the framework to the exchange that stores it.
//!
//! The framework may drop the request's future, and with it the [`Pump`], at any time. What it has sent stays with the
//! [`BodyReceiver`], and since the end of a body is an event of its own, the exchange can distinguish an end from an
//! interruption.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};
use tus_core::server::{End, Interruption};

use crate::storage::{Chunks, Share};

/// Maximum number of bytes of all bodies together that wait, are being written, or are kept by the storage.
pub(crate) const ALL_IN_FLIGHT: usize = 256 * 1024 * 1024;

/// The minimum share of the budget that a chunk uses, in bytes.
const CHUNK_OVERHEAD: u32 = 1024;

/// Bytes of a body that are read before the exchange asks for it, so that a small body is not lost if its client
/// disconnects before the application has decided.
const EARLY: u32 = 64 * 1024;

/// Limits the bytes in flight, of each body and of all together. Clones share the limit of all.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    all: Arc<Semaphore>,
    /// Approximate size of a write to the storage, in bytes.
    batch: u32,
}

impl Budget {
    /// Writes have about `batch` bytes, at least as many as are read early.
    pub(crate) fn new(batch: usize) -> Self {
        let batch = batch.clamp(EARLY as usize, ALL_IN_FLIGHT / 2);
        Self { all: Arc::new(Semaphore::new(ALL_IN_FLIGHT)), batch: batch as u32 }
    }

    /// Maximum number of bytes of one body that wait or are being written: one batch each.
    fn of_one(&self) -> u32 {
        2 * self.batch
    }

    /// The share of a body's limit that data needs. A larger chunk waits for all of it.
    fn room_for(&self, data: &Bytes) -> u32 {
        share_of(data).min(self.of_one())
    }
}

/// The share of the limit of all bodies that data needs. A tiny chunk counts for more than its bytes: memory is bounded
/// even for a body with one byte per chunk.
fn share_of(data: &Bytes) -> u32 {
    data.len().clamp(CHUNK_OVERHEAD as usize, ALL_IN_FLIGHT) as u32
}

#[cfg(test)]
impl Budget {
    /// Takes all of it.
    pub(crate) async fn exhaust(&self) -> tokio::sync::OwnedSemaphorePermit {
        self.all.clone().acquire_many_owned(ALL_IN_FLIGHT as u32).await.unwrap()
    }
}

/// A channel for one body. A body that is `asked_for` (`Expect: 100-continue`) is not polled before the exchange
/// wants it, because that would make the server send `100 Continue`.
pub(crate) fn pump(asked_for: bool, budget: &Budget) -> (Pump, BodyReceiver) {
    let (want, wanted) = oneshot::channel();
    let (sender, receiver) = unbounded_channel();
    let room = Arc::new(Semaphore::new(EARLY as usize));
    let waits = Arc::new(AtomicBool::new(false));
    let (room_too, waits_too) = (room.clone(), waits.clone());
    let wanted = asked_for.then_some(wanted);
    let pump = Pump { wanted, sender, room: room_too, budget: budget.clone(), waits: waits_too };
    let channel = Channel { want: Some(want), receiver, room, budget: budget.clone(), waits };
    (pump, BodyReceiver { channel: Some(channel), ended: None })
}

/// The framework's end of the channel.
#[derive(Debug)]
pub(crate) struct Pump {
    /// Resolves when the body may be polled.
    wanted: Option<oneshot::Receiver<()>>,
    sender: UnboundedSender<Box<Event>>,
    /// Limits the bytes in the channel.
    room: Arc<Semaphore>,
    budget: Budget,
    /// Whether bytes wait for their share of the budget.
    waits: Arc<AtomicBool>,
}

/// Boxed: the channel reserves space for many events, and an idle upload keeps all of it.
#[derive(Debug)]
enum Event {
    /// With its share of the budget of all bodies; `None` if it was read after the request was dropped.
    Data(Bytes, Option<Share>),
    /// With its trailers.
    Complete(Option<HeaderMap>),
    Broken,
}

impl Pump {
    /// Moves the body until it ends or the receiver is gone. Returns whether it ended.
    pub(crate) async fn run<B: Body>(self, body: Pin<&mut B>) -> bool {
        if let Some(wanted) = self.wanted
            && wanted.await.is_err()
        {
            return false;
        }
        let mut source = Source { body, sender: self.sender, budget: self.budget, in_hand: None, ended: false };
        loop {
            let event = poll_fn(|context| source.poll_event(context)).await;
            let complete = matches!(event, Event::Complete(_));
            let needed = match &event {
                Event::Data(data, _) => Some((source.budget.room_for(data), share_of(data))),
                _ => None,
            };
            source.in_hand = Some(event);
            if let Some((room, needed)) = needed {
                let Ok(permit) = self.room.acquire_many(room).await else {
                    return false;
                };
                permit.forget();
                self.waits.store(true, Relaxed);
                let share = source.budget.all.clone().acquire_many_owned(needed).await.ok().map(Share::of);
                self.waits.store(false, Relaxed);
                if let Some(Event::Data(_, place)) = &mut source.in_hand {
                    *place = share;
                }
            }
            if !source.hand_over() || source.ended {
                return complete;
            }
        }
    }
}

/// The source: a body being moved. When the framework drops it, what the framework has already read is still sent.
struct Source<'a, B: Body> {
    body: Pin<&'a mut B>,
    sender: UnboundedSender<Box<Event>>,
    budget: Budget,
    /// What was read from the body and waits for budget.
    in_hand: Option<Event>,
    ended: bool,
}

impl<B: Body> Source<'_, B> {
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let event = match ready!(self.body.as_mut().poll_frame(context)) {
            None => Event::Complete(None),
            Some(Err(_)) => Event::Broken,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(mut data) => Event::Data(data.copy_to_bytes(data.remaining()), None),
                Err(frame) => Event::Complete(frame.into_trailers().ok()),
            },
        };
        self.ended = !matches!(event, Event::Data(..));
        Poll::Ready(event)
    }

    /// Sends the event in hand. Returns whether the receiver still exists.
    fn hand_over(&mut self) -> bool {
        self.in_hand.take().is_none_or(|event| self.sender.send(Box::new(event)).is_ok())
    }
}

/// A server may drop the request after its client has disconnected, although the last bytes of the body have been
/// read from the connection and only wait in the body. They have reached the server.
impl<B: Body> Drop for Source<'_, B> {
    fn drop(&mut self) {
        let mut left = self.budget.of_one();
        while !self.sender.is_closed() && self.hand_over() && !self.ended && left > 0 {
            let Poll::Ready(event) = self.poll_event(&mut Context::from_waker(Waker::noop())) else {
                return;
            };
            if let Event::Data(data, _) = &event {
                left = left.saturating_sub(self.budget.room_for(data));
            }
            self.in_hand = Some(event);
        }
    }
}

/// The exchange's end of the channel.
#[derive(Debug)]
pub(crate) struct BodyReceiver {
    channel: Option<Channel>,
    ended: Option<End>,
}

#[derive(Debug)]
struct Channel {
    want: Option<oneshot::Sender<()>>,
    receiver: UnboundedReceiver<Box<Event>>,
    room: Arc<Semaphore>,
    budget: Budget,
    waits: Arc<AtomicBool>,
}

/// Received bytes, in order. Dropping this frees their place in the channel; their share of the budget is freed when
/// the storage has also dropped their chunks.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) chunks: Chunks,
    permits: u32,
    room: Arc<Semaphore>,
}

impl BodyReceiver {
    /// The receiver of an empty body.
    pub(crate) fn empty() -> Self {
        Self { channel: None, ended: Some(End::Complete(None)) }
    }

    /// Starts the body.
    pub(crate) fn open(&mut self) {
        if let Some(channel) = &mut self.channel
            && let Some(want) = channel.want.take()
        {
            // Without a receiver the body has started already, or its request is gone, as the channel will report.
            let _ = want.send(());
            channel.room.add_permits((channel.budget.of_one() - EARLY) as usize);
        }
    }

    /// Waits for the next bytes and returns all that have arrived, up to about a batch; then the end.
    pub(crate) async fn next(&mut self) -> Result<Batch, End> {
        if self.ended.is_none()
            && let Some(channel) = &mut self.channel
        {
            let event = channel.receiver.recv().await;
            let (batch, ended) = channel.gather(event);
            self.ended = ended;
            if !batch.chunks.is_empty() {
                return Ok(batch);
            }
        }
        Err(self.ended.take().unwrap_or(End::Interrupted(Interruption::Disconnected)))
    }

    /// Whether bytes have arrived that wait for memory, because the other bodies use all of it. Their client is not
    /// silent.
    pub(crate) fn waits_for_memory(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.waits.load(Relaxed))
    }

    /// All bytes that have arrived already, up to about a batch.
    #[cfg(test)]
    fn ready(&mut self) -> Option<Batch> {
        futures_util::FutureExt::now_or_never(self.next())?.ok()
    }
}

impl Channel {
    /// The bytes that have arrived already, up to about a batch, and the end if it has arrived.
    fn gather(&mut self, first: Option<Box<Event>>) -> (Batch, Option<End>) {
        let (mut chunks, mut permits, mut share): (Vec<_>, _, Option<Share>) = (Vec::new(), 0, None);
        let mut event = first.map_or(Event::Broken, |event| *event);
        let end = loop {
            match event {
                Event::Data(data, more) => {
                    permits += self.budget.room_for(&data);
                    chunks.push(data);
                    match (&mut share, more) {
                        (Some(all), Some(more)) => all.merge(more),
                        (none, Some(more)) => *none = Some(more),
                        (_, None) => {}
                    }
                }
                Event::Complete(trailers) => break Some(End::Complete(trailers)),
                Event::Broken => break Some(End::Interrupted(Interruption::Disconnected)),
            }
            if permits >= self.budget.batch {
                break None;
            }
            match self.receiver.try_recv() {
                Ok(next) => event = *next,
                Err(_) => break None,
            }
        };
        (Batch { chunks: Chunks::with_share(chunks, share), permits, room: self.room.clone() }, end)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.room.add_permits(self.permits as usize);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        future::{Future, ready},
        pin::pin,
        task::{Context, Poll},
    };

    use http_body::Frame;

    use super::*;

    const BATCH: usize = 1024 * 1024;

    fn budget() -> Budget {
        Budget::new(BATCH)
    }

    /// A body of this many chunks, and then the end, or silence.
    struct Chunks {
        chunk: Bytes,
        left: usize,
        ends: bool,
    }

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.left.checked_sub(1) {
                Some(left) => {
                    self.left = left;
                    Poll::Ready(Some(Ok(Frame::data(self.chunk.clone()))))
                }
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn hello(ends: bool) -> Chunks {
        Chunks { chunk: Bytes::from_static(b"hello"), left: 1, ends }
    }

    async fn poll(future: &mut (impl Future<Output = bool> + Unpin)) {
        tokio::select! { biased; _ = future => {}, () = ready(()) => {} }
    }

    #[tokio::test]
    async fn an_expected_body_is_not_polled_before_it_is_wanted() {
        let (pump, mut receiver) = pump(true, &budget());
        let mut body = pin!(hello(true));
        {
            let mut run = pin!(pump.run(body.as_mut()));
            poll(&mut run).await;
            assert!(receiver.ready().is_none());
        }
        assert_eq!(body.left, 1);
    }

    #[tokio::test]
    async fn only_a_few_bytes_are_read_before_the_body_is_wanted() {
        let (pump, mut receiver) = super::pump(false, &budget());
        let body = pin!(Chunks { chunk: Bytes::from(vec![0; EARLY as usize / 4]), left: 10, ends: true });
        let mut run = pin!(pump.run(body));
        poll(&mut run).await;
        assert_eq!(receiver.ready().unwrap().chunks.len(), 4);
        receiver.open();
        poll(&mut run).await;
        assert_eq!(receiver.ready().unwrap().chunks.len(), 6);
    }

    #[tokio::test]
    async fn an_end_is_distinguished_from_an_interruption() {
        let (pump, mut receiver) = super::pump(false, &budget());
        receiver.open();
        assert!(pump.run(pin!(hello(true))).await);
        assert_eq!(receiver.next().await.unwrap().chunks[..], ["hello"]);
        assert!(matches!(receiver.next().await, Err(End::Complete(None))));

        let (pump, mut receiver) = super::pump(false, &budget());
        receiver.open();
        {
            let body = pin!(hello(false));
            let mut run = pin!(pump.run(body));
            poll(&mut run).await;
        }
        assert_eq!(receiver.next().await.unwrap().chunks[..], ["hello"], "what arrived before the future was dropped");
        assert!(matches!(receiver.next().await, Err(End::Interrupted(Interruption::Disconnected))));
    }

    #[tokio::test]
    async fn tiny_chunks_are_bounded_in_number() {
        let (pump, mut receiver) = super::pump(false, &budget());
        receiver.open();
        let body = pin!(Chunks { chunk: Bytes::from_static(b"x"), left: 1_000_000, ends: true });
        let mut run = pin!(pump.run(body));
        for _ in 0..100 {
            poll(&mut run).await;
            // The runtime makes a task yield after some work.
            tokio::task::yield_now().await;
        }
        let held: Vec<_> = std::iter::from_fn(|| receiver.ready()).collect();
        assert_eq!(held.iter().map(|batch| batch.chunks.len()).sum::<usize>(), 2048);
    }

    #[tokio::test]
    async fn bytes_available_when_the_request_is_dropped_are_kept() {
        let (pump, mut receiver) = super::pump(false, &budget());
        receiver.open();
        let body = pin!(Chunks { chunk: Bytes::from(vec![0; BATCH / 2]), left: 6, ends: true });
        {
            let mut run = pin!(pump.run(body));
            poll(&mut run).await;
            // Four halves fill the channel, the fifth is in hand, the sixth is still in the body.
        }
        let mut bytes = 0;
        let end = loop {
            match receiver.next().await {
                Ok(batch) => bytes += batch.chunks.bytes(),
                Err(end) => break end,
            }
        };
        assert!(matches!(end, End::Complete(None)));
        assert_eq!(bytes, 3 * BATCH);
    }

    #[tokio::test]
    async fn a_dropped_endless_body_is_not_read_forever() {
        let (pump, mut receiver) = super::pump(false, &budget());
        receiver.open();
        let mut body = pin!(Chunks { chunk: Bytes::from(vec![0; BATCH]), left: 1000, ends: true });
        {
            let mut run = pin!(pump.run(body.as_mut()));
            poll(&mut run).await;
        }
        assert_eq!(
            body.left,
            1000 - 5,
            "two that fill the channel, one in hand, and as much as the channel holds again"
        );
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget() {
        let budget = Budget { all: Arc::new(Semaphore::new(3 * BATCH)), batch: BATCH as u32 };
        let (first, mut first_receiver) = pump(false, &budget);
        let (second, mut second_receiver) = pump(false, &budget);
        first_receiver.open();
        second_receiver.open();
        let bodies = [(); 2].map(|()| Chunks { chunk: Bytes::from(vec![0; BATCH]), left: 2, ends: true });
        let [first_body, second_body] = &mut bodies.map(Box::pin);
        let mut first_run = Box::pin(first.run(first_body.as_mut()));
        let mut second_run = Box::pin(second.run(second_body.as_mut()));
        poll(&mut first_run).await;
        poll(&mut second_run).await;
        assert_eq!(first_receiver.ready().unwrap().chunks.len(), 1);
        let one = second_receiver.ready().unwrap();
        assert!(second_receiver.ready().is_none(), "the first has two of three");
        poll(&mut second_run).await;
        drop(one);
        assert!(second_receiver.ready().is_some(), "the second can use what the first has released");
    }

    #[tokio::test]
    async fn no_more_than_two_batches_are_in_flight() {
        let (pump, mut receiver) = super::pump(false, &budget());
        receiver.open();
        let body = Chunks { chunk: Bytes::from(vec![0; BATCH / 2]), left: 9, ends: true };
        let body = pin!(body);
        let mut run = pin!(pump.run(body));
        poll(&mut run).await;
        let first = receiver.ready().unwrap();
        let second = receiver.ready().unwrap();
        assert_eq!((first.chunks.len(), second.chunks.len()), (2, 2));
        poll(&mut run).await;
        assert!(receiver.ready().is_none(), "the channel is full until a batch is dropped");
        drop(first);
        poll(&mut run).await;
        assert_eq!(receiver.ready().unwrap().chunks.len(), 2);
    }
}
