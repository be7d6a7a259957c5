//! The way of a body from the framework to the exchange that stores it.
//!
//! The framework may drop the request's future, and with it the [`Pump`], at any time. What it had
//! handed over stays with the [`Intake`], and since the end of a body is an event of its own, the exchange
//! can tell an end from an interruption.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};
use tus_core::server::{End, Interruption};

/// Bytes of one body that wait or are being written, at most: one batch of each.
const IN_FLIGHT: u32 = 2 * BATCH as u32;

/// The same of all bodies together.
const ALL_IN_FLIGHT: usize = 256 * 1024 * 1024;

/// Bytes that are handed to the storage at once, about.
const BATCH: usize = 1024 * 1024;

/// The least room that a chunk takes, in bytes.
const CHUNK_OVERHEAD: u32 = 1024;

/// Bytes that are taken of a body before it is wanted: a small one is then there although its client
/// leaves before the application has made its mind up.
const EARLY: u32 = 64 * 1024;

/// What bounds the bytes of all bodies that are in flight. A clone is the same bound.
#[derive(Debug, Clone)]
pub(crate) struct Total(Arc<Semaphore>);

impl Default for Total {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ALL_IN_FLIGHT)))
    }
}

/// A way for one body. One that is `asked_for` (`Expect: 100-continue`) is not polled before it is wanted:
/// that would make the server say `100 Continue`.
pub(crate) fn pump(asked_for: bool, total: &Total) -> (Pump, Intake) {
    let (want, wanted) = oneshot::channel();
    let (sender, receiver) = unbounded_channel();
    let room = Arc::new(Semaphore::new(EARLY as usize));
    let pump = Pump { wanted: asked_for.then_some(wanted), sender, room: room.clone(), total: total.clone() };
    (pump, Intake { way: Some(Way { want: Some(want), receiver, room }), ended: None })
}

/// The framework's side.
#[derive(Debug)]
pub(crate) struct Pump {
    /// What has to be waited for before the body is polled.
    wanted: Option<oneshot::Receiver<()>>,
    sender: UnboundedSender<Box<Event>>,
    /// Bounds the bytes in the channel.
    room: Arc<Semaphore>,
    total: Total,
}

/// Goes in a box: the channel has room for many, and an upload that waits for bytes holds all of it.
#[derive(Debug)]
enum Event {
    /// With its share of what all bodies have; without one where it was taken from a request that is gone.
    Data(Bytes, Option<OwnedSemaphorePermit>),
    /// With its trailers.
    Complete(Option<HeaderMap>),
    Broken,
}

impl Pump {
    /// Moves the body over, until its end or until nobody wants more. Whether it came to its end.
    pub(crate) async fn run<B: Body>(self, body: Pin<&mut B>) -> bool {
        if let Some(wanted) = self.wanted
            && wanted.await.is_err()
        {
            return false;
        }
        let mut feed = Feed { body, sender: self.sender, in_hand: None, ended: false };
        loop {
            let event = poll_fn(|context| feed.poll_event(context)).await;
            let complete = matches!(event, Event::Complete(_));
            let needed = if let Event::Data(data, _) = &event { permits(data) } else { 0 };
            feed.in_hand = Some(event);
            if needed > 0 {
                let Ok(permit) = self.room.acquire_many(needed).await else {
                    return false;
                };
                permit.forget();
                let share = self.total.0.clone().acquire_many_owned(needed).await.ok();
                if let Some(Event::Data(_, place)) = &mut feed.in_hand {
                    *place = share;
                }
            }
            if !feed.hand_over() || feed.ended {
                return complete;
            }
        }
    }
}

/// A body on its way. When the framework drops it, what the framework has already read goes on.
struct Feed<'a, B: Body> {
    body: Pin<&'a mut B>,
    sender: UnboundedSender<Box<Event>>,
    /// What was taken from the body and waits for room.
    in_hand: Option<Event>,
    ended: bool,
}

impl<B: Body> Feed<'_, B> {
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

    /// Whether somebody still wants it.
    fn hand_over(&mut self) -> bool {
        self.in_hand.take().is_none_or(|event| self.sender.send(Box::new(event)).is_ok())
    }
}

/// A server may drop the request when its client is gone although the last bytes of the body are there
/// already, read from the connection and not yet taken from it. They have reached the server.
impl<B: Body> Drop for Feed<'_, B> {
    fn drop(&mut self) {
        let mut left = IN_FLIGHT;
        while !self.sender.is_closed() && self.hand_over() && !self.ended && left > 0 {
            let Poll::Ready(event) = self.poll_event(&mut Context::from_waker(Waker::noop())) else {
                return;
            };
            if let Event::Data(data, _) = &event {
                left = left.saturating_sub(permits(data));
            }
            self.in_hand = Some(event);
        }
    }
}

/// The exchange's side.
#[derive(Debug)]
pub(crate) struct Intake {
    way: Option<Way>,
    ended: Option<End>,
}

#[derive(Debug)]
struct Way {
    want: Option<oneshot::Sender<()>>,
    receiver: UnboundedReceiver<Box<Event>>,
    room: Arc<Semaphore>,
}

/// Bytes that came, in order. The room that they take is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) chunks: Vec<Bytes>,
    permits: u32,
    room: Arc<Semaphore>,
    share: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// That of a body of no bytes.
    pub(crate) fn empty() -> Self {
        Self { way: None, ended: Some(End::Complete(None)) }
    }

    /// Lets the body come.
    pub(crate) fn open(&mut self) {
        if let Some(way) = &mut self.way
            && let Some(want) = way.want.take()
        {
            // Without a receiver the body is coming already, or its request is gone, as the channel will say.
            let _ = want.send(());
            way.room.add_permits((IN_FLIGHT - EARLY) as usize);
        }
    }

    /// All that has come, up to about a batch, as soon as there is anything; then the end.
    pub(crate) async fn next(&mut self) -> Result<Batch, End> {
        if self.ended.is_none()
            && let Some(way) = &mut self.way
        {
            let event = way.receiver.recv().await;
            let (batch, ended) = way.gather(event);
            self.ended = ended;
            if !batch.chunks.is_empty() {
                return Ok(batch);
            }
        }
        Err(self.ended.take().unwrap_or(End::Interrupted(Interruption::Disconnected)))
    }

    /// All that has come already, up to about a batch.
    #[cfg(test)]
    fn ready(&mut self) -> Option<Batch> {
        futures_util::FutureExt::now_or_never(self.next())?.ok()
    }
}

impl Way {
    /// What has come already, up to about a batch, and the end if that has come.
    fn gather(&mut self, first: Option<Box<Event>>) -> (Batch, Option<End>) {
        let mut batch = Batch { chunks: Vec::new(), permits: 0, room: self.room.clone(), share: None };
        let mut event = first.map_or(Event::Broken, |event| *event);
        loop {
            match event {
                Event::Data(data, share) => {
                    batch.permits += permits(&data);
                    batch.chunks.push(data);
                    match (&mut batch.share, share) {
                        (Some(all), Some(more)) => all.merge(more),
                        (none, Some(share)) => *none = Some(share),
                        (_, None) => {}
                    }
                }
                Event::Complete(trailers) => return (batch, Some(End::Complete(trailers))),
                Event::Broken => return (batch, Some(End::Interrupted(Interruption::Disconnected))),
            }
            if batch.permits as usize >= BATCH {
                return (batch, None);
            }
            match self.receiver.try_recv() {
                Ok(next) => event = *next,
                Err(_) => return (batch, None),
            }
        }
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.room.add_permits(self.permits as usize);
    }
}

/// The room that data takes. A chunk larger than all of it has to wait for all of it, and a tiny one
/// takes more than its bytes: the memory is bounded also for a body of one byte a chunk.
fn permits(data: &Bytes) -> u32 {
    u32::try_from(data.len()).unwrap_or(IN_FLIGHT).clamp(CHUNK_OVERHEAD, IN_FLIGHT)
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

    /// So many chunks, and then the end, or silence.
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
    async fn a_body_that_is_asked_for_is_not_polled_before_it_is_wanted() {
        let (pump, mut intake) = pump(true, &Total::default());
        let mut body = pin!(hello(true));
        {
            let mut run = pin!(pump.run(body.as_mut()));
            poll(&mut run).await;
            assert!(intake.ready().is_none());
        }
        assert_eq!(body.left, 1);
    }

    #[tokio::test]
    async fn only_a_little_is_taken_before_it_is_wanted() {
        let (pump, mut intake) = super::pump(false, &Total::default());
        let body = pin!(Chunks { chunk: Bytes::from(vec![0; EARLY as usize / 4]), left: 10, ends: true });
        let mut run = pin!(pump.run(body));
        poll(&mut run).await;
        assert_eq!(intake.ready().unwrap().chunks.len(), 4);
        intake.open();
        poll(&mut run).await;
        assert_eq!(intake.ready().unwrap().chunks.len(), 6);
    }

    #[tokio::test]
    async fn an_end_is_told_from_an_interruption() {
        let (pump, mut intake) = super::pump(false, &Total::default());
        intake.open();
        assert!(pump.run(pin!(hello(true))).await);
        assert_eq!(intake.next().await.unwrap().chunks, ["hello"]);
        assert!(matches!(intake.next().await, Err(End::Complete(None))));

        let (pump, mut intake) = super::pump(false, &Total::default());
        intake.open();
        {
            let body = pin!(hello(false));
            let mut run = pin!(pump.run(body));
            poll(&mut run).await;
        }
        assert_eq!(intake.next().await.unwrap().chunks, ["hello"], "what came before the future was dropped");
        assert!(matches!(intake.next().await, Err(End::Interrupted(Interruption::Disconnected))));
    }

    #[tokio::test]
    async fn tiny_chunks_are_bounded_in_number() {
        let (pump, mut intake) = super::pump(false, &Total::default());
        intake.open();
        let body = pin!(Chunks { chunk: Bytes::from_static(b"x"), left: 1_000_000, ends: true });
        let mut run = pin!(pump.run(body));
        for _ in 0..100 {
            poll(&mut run).await;
            // The runtime lets a task do only so much at once.
            tokio::task::yield_now().await;
        }
        let held: Vec<_> = std::iter::from_fn(|| intake.ready()).collect();
        assert_eq!(held.iter().map(|batch| batch.chunks.len()).sum::<usize>(), 2048);
    }

    #[tokio::test]
    async fn what_is_there_when_the_request_is_dropped_has_arrived() {
        let (pump, mut intake) = super::pump(false, &Total::default());
        intake.open();
        let body = pin!(Chunks { chunk: Bytes::from(vec![0; BATCH / 2]), left: 6, ends: true });
        {
            let mut run = pin!(pump.run(body));
            poll(&mut run).await;
            // Four halves fill the room, the fifth is in hand, the sixth is still in the body.
        }
        let mut bytes = 0;
        let end = loop {
            match intake.next().await {
                Ok(batch) => bytes += batch.chunks.iter().map(Bytes::len).sum::<usize>(),
                Err(end) => break end,
            }
        };
        assert!(matches!(end, End::Complete(None)));
        assert_eq!(bytes, 3 * BATCH);
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_not_read_for_ever_when_it_is_dropped() {
        let (pump, mut intake) = super::pump(false, &Total::default());
        intake.open();
        let mut body = pin!(Chunks { chunk: Bytes::from(vec![0; BATCH]), left: 1000, ends: true });
        {
            let mut run = pin!(pump.run(body.as_mut()));
            poll(&mut run).await;
        }
        assert_eq!(body.left, 1000 - 5, "two that fill the room, one in hand, and as much as the room again");
    }

    #[tokio::test]
    async fn all_bodies_share_what_is_in_flight() {
        let total = Total(Arc::new(Semaphore::new(3 * BATCH)));
        let (first, mut first_intake) = pump(false, &total);
        let (second, mut second_intake) = pump(false, &total);
        first_intake.open();
        second_intake.open();
        let bodies = [(); 2].map(|()| Chunks { chunk: Bytes::from(vec![0; BATCH]), left: 2, ends: true });
        let [first_body, second_body] = &mut bodies.map(Box::pin);
        let mut first_run = Box::pin(first.run(first_body.as_mut()));
        let mut second_run = Box::pin(second.run(second_body.as_mut()));
        poll(&mut first_run).await;
        poll(&mut second_run).await;
        assert_eq!(first_intake.ready().unwrap().chunks.len(), 1);
        let one = second_intake.ready().unwrap();
        assert!(second_intake.ready().is_none(), "the first has two of three");
        poll(&mut second_run).await;
        drop(one);
        assert!(second_intake.ready().is_some(), "what the first has given back is there for the second");
    }

    #[tokio::test]
    async fn no_more_than_two_batches_are_in_flight() {
        let (pump, mut intake) = super::pump(false, &Total::default());
        intake.open();
        let body = Chunks { chunk: Bytes::from(vec![0; BATCH / 2]), left: 9, ends: true };
        let body = pin!(body);
        let mut run = pin!(pump.run(body));
        poll(&mut run).await;
        let first = intake.ready().unwrap();
        let second = intake.ready().unwrap();
        assert_eq!((first.chunks.len(), second.chunks.len()), (2, 2));
        poll(&mut run).await;
        assert!(intake.ready().is_none(), "the room is taken until a batch is dropped");
        drop(first);
        poll(&mut run).await;
        assert_eq!(intake.ready().unwrap().chunks.len(), 2);
    }
}
