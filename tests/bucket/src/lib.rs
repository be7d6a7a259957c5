//! A bucket in memory, for tests: an object store that counts requests by operation and can fail.
//!
//! It is deterministic: nothing depends on chance or the clock, unless a test says so ([`Bucket::on_request`]).

mod copies;
mod objects;
mod store;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use object_store::{Error, Result};
use tokio::{sync::Notify, task::yield_now, time::sleep};

pub use crate::copies::NAME;
use crate::objects::Objects;

/// A bucket. Clones share it.
#[derive(Clone, Default)]
pub struct Bucket {
    shared: Arc<Shared>,
    line: Option<Line>,
}

/// The connection of one machine to the bucket.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Connection>);

#[derive(Debug, Default)]
struct Connection {
    is_cut: AtomicBool,
    restored: Notify,
}

impl Line {
    /// From here on nothing arrives, and no response comes back. What arrived before is done. What is sent in the meantime arrives
    /// when the line works again, even if its sender is gone.
    pub fn cut(&self) {
        self.0.is_cut.store(true, Relaxed);
    }

    /// The connection works again, and everything that waited continues in order.
    pub fn restore(&self) {
        self.0.is_cut.store(false, Relaxed);
        self.0.restored.notify_waiters();
    }

    async fn works(&self) {
        while self.0.is_cut.load(Relaxed) {
            self.0.restored.notified().await;
        }
    }
}

#[derive(Default)]
struct Shared {
    rules: Rules,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: Objects,
    requests: BTreeMap<Operation, usize>,
    faults: Vec<(Operation, Fate)>,
    downloads: VecDeque<(usize, Ending)>,
    /// The bytes of requests that are on their way: now, and at most.
    sending: usize,
    peak: usize,
    on_request: Option<OnRequest>,
}

/// A request with so many bytes, until its caller has the response.
pub(crate) struct Sending(Arc<Shared>, usize);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).sending -= self.1;
    }
}

type OnRequest = Box<dyn FnMut(&Request<'_>) -> Fate + Send>;

/// Behaviour that differs between stores.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// A version is an increasing number (as in GCS) instead of a digest of the bytes (as in S3).
    pub generations: bool,
    /// Objects are written whatever the condition says.
    pub ignores_conditions: bool,
    /// A condition is checked before the bytes arrive: two concurrent writers may both succeed.
    pub races: bool,
    /// A completion uses the existing part, whichever version was named.
    pub ignores_part_tags: bool,
    /// All parts except the last have the same size (as in R2).
    pub equal_parts: bool,
    /// Parts cannot be copied from objects, as in stores that support only some of S3's protocol.
    pub copies_nothing: bool,
    /// The smallest part but the last, in bytes.
    pub smallest_part: usize,
    /// A name can be written once in this time (a second in GCS and R2). Who comes too soon comes again after a pause of 200
    /// ms, and again, as the clients of the crate `object_store` do if they are set up so.
    pub write_interval: Option<Duration>,
    /// The user's metadata of all objects is lost.
    pub forgets_metadata: bool,
    /// The user's metadata of objects that were put in parts is lost (as with this interface to Azure).
    pub forgets_metadata_of_parts: bool,
    /// How parts that are gone are reported.
    pub dialect: Dialect,
}

/// How a store reports that it does not have the parts that a completion names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// 404 if the multipart upload is gone, which the client reports as such, and 400 if a part is.
    #[default]
    S3,
    /// The same, but the client reports the 404 like any other failure.
    Gcs,
    /// Parts belong to no multipart upload: each can be uploaded at any time, and a completion with one that is gone gets 400.
    Azure,
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// An object is written whether it exists or not.
    Put,
    /// An object is written if it does not exist.
    PutNew,
    /// An object is written in place of a certain version.
    PutIf,
    /// An object, or a range of it, is read.
    Get,
    /// The metadata of an object is read.
    Head,
    /// Up to a thousand objects are deleted.
    Delete,
    /// Up to a thousand names are listed.
    List,
    /// A multipart upload is started.
    Begin,
    /// A part is uploaded.
    Part,
    /// A part is copied from an object.
    Copy,
    /// A multipart upload becomes an object.
    Complete,
    /// A multipart upload is aborted.
    Abort,
}

/// A request that is about to be handled.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its kind.
    pub operation: Operation,
    /// The name of the object, the prefix of a list, or the first of several names; for a part, with its number.
    pub key: &'a str,
}

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// It is done.
    #[default]
    Done,
    /// It fails and is not done.
    Failed,
    /// It is done, but fails.
    AnswerLost,
    /// It is done, its response is lost, and the client of the store repeats it: a condition does not hold any more.
    Repeated,
    /// It is refused because of another request to the same name (409), and is not done. The clients of the crate
    /// `object_store` report this like an object that exists, whatever was requested.
    Conflict,
    /// It takes this long to arrive, and its response takes this long. The caller may go away; it is done
    /// nevertheless.
    Slow(Duration, Duration),
    /// It fails immediately, and is done after this time.
    Late(Duration),
    /// It is neither done nor does it end.
    Hangs,
}

/// How a download ends that does not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The connection breaks.
    Breaks,
    /// It is closed as if all had been sent.
    Stops,
    /// Nothing more comes.
    Hangs,
}

impl Operation {
    /// Whether it makes a new version of an object.
    fn writes(self) -> bool {
        matches!(self, Self::Put | Self::PutNew | Self::PutIf | Self::Complete)
    }
}

impl Bucket {
    /// An empty bucket with these rules.
    pub fn with(rules: Rules) -> Self {
        Self { shared: Arc::new(Shared { rules, state: Mutex::default() }), line: None }
    }

    /// The same bucket through a connection of its own.
    pub fn line(&self) -> (Self, Line) {
        let line = Line::default();
        (Self { shared: self.shared.clone(), line: Some(line.clone()) }, line)
    }

    /// The requests since the last call, by operation.
    pub fn requests(&self) -> BTreeMap<Operation, usize> {
        std::mem::take(&mut self.state().requests)
    }

    /// The most bytes that requests carried at the same time since the last call.
    pub fn peak(&self) -> usize {
        let mut state = self.state();
        let now = state.sending;
        std::mem::replace(&mut state.peak, now)
    }

    pub(crate) fn sending(&self, bytes: usize) -> Sending {
        let mut state = self.state();
        state.sending += bytes;
        state.peak = state.peak.max(state.sending);
        Sending(self.shared.clone(), bytes)
    }

    /// The names of all objects with this prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.state().objects.keys(prefix)
    }

    /// The bytes of an object.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.state().objects.bytes(key).map(|bytes| bytes.to_vec())
    }

    /// The number of multipart uploads that are neither completed nor aborted.
    pub fn multiparts(&self) -> usize {
        self.state().objects.multiparts()
    }

    /// All parts that are not in an object yet expire: after a week in Azure and R2, or by a rule of the bucket.
    pub fn forget_parts(&self) {
        self.state().objects.forget_parts();
    }

    /// Makes all objects older by this time.
    pub fn age(&self, by: Duration) {
        self.state().objects.age(by);
    }

    /// The next request of this kind gets this fate; several are used in order.
    pub fn next(&self, operation: Operation, fate: Fate) {
        self.state().faults.push((operation, fate));
    }

    /// The next read of an object is answered, and its bytes end so after this many of them; several are met in order.
    pub fn next_download(&self, after: usize, ending: Ending) {
        self.state().downloads.push_back((after, ending));
    }

    /// Calls a function for the fate of each request.
    pub fn on_request(&self, fate: impl FnMut(&Request<'_>) -> Fate + Send + 'static) {
        self.state().on_request = Some(Box::new(fate));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles a request according to its fate.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        execute: impl FnOnce(&Rules, &mut Objects) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(line) = &self.line else { return self.done(operation, key, execute).await };
        if line.0.is_cut.load(Relaxed) {
            let (late, line, key) = (self.clone(), line.clone(), key.to_owned());
            let sent = tokio::spawn(async move {
                line.works().await;
                late.done(operation, &key, execute).await
            });
            return sent.await.unwrap_or_else(|_| Err(unavailable()));
        }
        let answer = self.done(operation, key, execute).await;
        line.works().await;
        answer
    }

    async fn done<T: Send + 'static>(
        &self,
        operation: Operation,
        key: &str,
        execute: impl FnOnce(&Rules, &mut Objects) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let fate = {
            let mut state = self.state();
            *state.requests.entry(operation).or_default() += 1;
            match state.faults.iter().position(|fault| fault.0 == operation) {
                Some(planned) => state.faults.remove(planned).1,
                None => state.on_request.as_mut().map_or(Fate::Done, |ask| ask(&Request { operation, key })),
            }
        };
        let pauses = self.shared.rules.write_interval.is_some() && operation.writes();
        while pauses && self.state().objects.is_too_soon(&self.shared.rules, key) {
            sleep(Duration::from_millis(200)).await;
            *self.state().requests.entry(operation).or_default() += 1;
        }
        let shared = self.shared.clone();
        let now = move || {
            let Shared { rules, state } = &*shared;
            execute(rules, &mut state.lock().unwrap_or_else(PoisonError::into_inner).objects)
        };
        match fate {
            Fate::Done => {
                yield_now().await;
                let done = now();
                yield_now().await;
                done
            }
            Fate::Failed => {
                yield_now().await;
                Err(unavailable())
            }
            Fate::AnswerLost => {
                yield_now().await;
                now().and(Err(unavailable()))
            }
            Fate::Repeated => {
                yield_now().await;
                now().and(Err(repeated(operation, key)))
            }
            Fate::Conflict => {
                yield_now().await;
                Err(Error::AlreadyExists { path: key.to_owned(), source: "409 Conflict".into() })
            }
            Fate::Slow(before, after) => {
                let slow = tokio::spawn(async move {
                    sleep(before).await;
                    let done = now();
                    sleep(after).await;
                    done
                });
                slow.await.unwrap_or_else(|_| Err(unavailable()))
            }
            Fate::Late(time) => {
                tokio::spawn(async move {
                    sleep(time).await;
                    // Nobody waits for it any more.
                    drop(now());
                });
                yield_now().await;
                Err(unavailable())
            }
            Fate::Hangs => std::future::pending().await,
        }
    }
}

/// The fault of a store: 500, 503, 429, or no answer.
fn unavailable() -> Error {
    answered("503 Service Unavailable: SlowDown")
}

/// A status without a meaning of its own, as the clients of the crate `object_store` report it.
pub(crate) fn answered(status: &str) -> Error {
    Error::Generic { store: "bucket", source: format!("Server returned non-2xx status code: {status}").into() }
}

/// What the same write gets after it has been done.
fn repeated(operation: Operation, key: &str) -> Error {
    let (path, source) = (key.to_owned(), "412 Precondition Failed".into());
    match operation {
        Operation::PutNew => Error::AlreadyExists { path, source },
        Operation::PutIf => Error::Precondition { path, source },
        _ => unavailable(),
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a bucket with {} objects", self.keys("").len())
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bucket")
    }
}
