//! Machines, clients and a bucket in one program, without sockets and in simulated time. A seed determines the
//! schedule.
//!
//! Machines die between any two requests, or are cut off and come back after every timeout. Requests fail, conflict with
//! others, lose their responses, or take effect long after anybody waits for them. Clocks differ. Clients reconnect to other machines
//! while the first one is still receiving, two of them compete, and they delete the upload in between. Uploads expire
//! and are concatenated. Each attempt sends distinct bytes, so that mixing is detected.

mod clients;
mod judge;
mod service;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Line, Operation, Rules};
use fastrand::Rng;
use tokio::{
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tus_service::{Stored, UploadId};

use crate::{ObjectStore, settings::Rule};

const PART: u64 = 16;

/// The upload, or the final upload of a concatenation.
const NAME: &str = "upload";

/// Its parts, if it is concatenated.
const PARTS: [&str; 2] = ["first", "second"];

/// What is known outside: to clients and to the application.
#[derive(Default)]
struct Known {
    attempts: u64,
    incarnations: BTreeMap<u128, Life>,
}

#[derive(Default)]
struct Life {
    /// Acknowledged ranges, each with the attempt whose bytes they are.
    acknowledged: Vec<(u64, u64, u64)>,
    /// The offset at which each attempt began.
    began: BTreeMap<u64, u64>,
    /// The largest offset that a client knows.
    known_to_clients: u64,
    finished: u64,
    /// A client or a sweeper has requested its removal.
    is_removed: bool,
}

/// The byte of an attempt at an offset.
fn byte(attempt: u64, at: u64) -> u8 {
    let mixed = (attempt << 32 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Clones share the world.
#[derive(Clone)]
struct World(Arc<Setting>);

struct Setting {
    random: Mutex<Rng>,
    known: Mutex<Known>,
    bucket: Bucket,
    machines: Mutex<Vec<Machine>>,
    without: Option<Rule>,
    /// The uploads that clients send, and their lengths.
    sends: Vec<(UploadId, u64)>,
    /// Whether lengths are declared only with the last bytes.
    is_deferred: bool,
    /// How long an upload lives after its last use.
    expires: Option<Duration>,
    /// Whether the store can copy.
    copies: bool,
    began: (Instant, SystemTime),
}

#[derive(Clone)]
struct Machine {
    store: ObjectStore,
    line: Line,
    tasks: Arc<Mutex<Vec<AbortHandle>>>,
    /// Uploads in use by requests.
    used: Arc<Mutex<Vec<UploadId>>>,
    /// How much its clock is behind.
    is_late: Duration,
}

/// Whether a single run is replayed and logged.
static IS_REPLAYED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("TUS_SIMULATION_SEED").is_some());

impl World {
    fn new(seed: u64, without: Option<Rule>) -> Self {
        let mut random = Rng::with_seed(seed);
        let rules =
            Rules { generations: random.bool(), forgets_metadata_of_parts: random.u8(..) < 40, ..Rules::default() };
        let bucket = Bucket::with(rules);
        let began = (Instant::now(), SystemTime::now());
        bucket.on_request(fates(&mut random, began.0));
        let is_concatenated = random.u8(..) < 64;
        let names = if is_concatenated { &PARTS[..] } else { &[NAME] };
        let world = Self(Arc::new(Setting {
            known: Mutex::default(),
            bucket,
            machines: Mutex::default(),
            without,
            sends: names.iter().map(|name| (id(name), random.u64(1..14 * PART / names.len() as u64))).collect(),
            is_deferred: random.bool(),
            expires: random.bool().then(|| Duration::from_secs(random.u64(10..100))),
            copies: is_concatenated && random.bool(),
            began,
            random: Mutex::new(random),
        }));
        for _ in 0..world.draw(|random| random.usize(2..=3)) {
            let machine = world.machine();
            world.machines.lock().unwrap().push(machine);
        }
        world
    }

    /// Logs during a replay.
    fn log(&self, what: impl FnOnce() -> String) {
        if *IS_REPLAYED {
            eprintln!("{:?} {}", self.began.0.elapsed(), what());
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap())
    }

    fn is_concatenated(&self) -> bool {
        self.sends.len() > 1
    }

    /// The number of bytes that clients send of an upload: none of one that is concatenated.
    fn length(&self, id: &UploadId) -> u64 {
        self.sends.iter().find(|sent| sent.0 == *id).map_or(0, |sent| sent.1)
    }

    fn now(&self) -> SystemTime {
        self.began.1 + self.began.0.elapsed()
    }

    fn machine(&self) -> Machine {
        let (bucket, line) = self.bucket.line();
        let bucket = Arc::new(bucket);
        #[allow(unused_mut)] // without the feature `aws`
        let mut builder = ObjectStore::builder(bucket.clone());
        #[cfg(feature = "aws")]
        if self.copies {
            let client = object_store::client::HttpClient::new(bucket::Bucket::clone(&bucket));
            builder = builder.copies(bucket, client, bucket::NAME);
        }
        let is_late = self.draw(|random| Duration::from_millis(random.u64(0..5000)));
        let began = self.began;
        let store = builder.with(|settings| {
            settings.clock = Arc::new(move || began.1 + began.0.elapsed() - is_late);
            settings.part_size = PART;
            (settings.smallest_part, settings.largest_copy) = (1, 3 * PART);
            settings.window = 3;
            settings.waiter_looks = Duration::from_millis(500);
            settings.without = self.without;
        });
        Machine { store: store.open_unchecked().unwrap(), line, tasks: Arc::default(), used: Arc::default(), is_late }
    }

    fn any_machine(&self) -> Machine {
        let machines = self.machines.lock().unwrap();
        machines[self.draw(|random| random.usize(0..machines.len()))].clone()
    }

    fn on<T: Send + 'static>(
        &self,
        machine: &Machine,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let task = tokio::spawn(work);
        machine.tasks.lock().unwrap().push(task.abort_handle());
        task
    }

    fn life<T>(&self, stored: &Stored, look: impl FnOnce(&mut Life) -> T) -> T {
        look(self.known.lock().unwrap().incarnations.entry(incarnation(stored)).or_default())
    }

    /// What clients know about each incarnation so far.
    fn known_to_clients(&self) -> BTreeMap<u128, u64> {
        self.known.lock().unwrap().incarnations.iter().map(|(name, life)| (*name, life.known_to_clients)).collect()
    }

    /// A client learns an offset: it must not be less than what any client knew before the question.
    fn report(&self, stored: &Stored, before: &BTreeMap<u128, u64>) {
        let least = before.get(&incarnation(stored)).copied().unwrap_or(0);
        assert!(stored.upload.offset >= least, "an offset went back from {least} to {}", stored.upload.offset);
        self.life(stored, |life| life.known_to_clients = life.known_to_clients.max(stored.upload.offset));
    }

    /// Machines die and come back, or are cut off for a while.
    async fn trouble(self) {
        for _ in 0..self.draw(|random| random.usize(0..5)) {
            sleep(self.draw(|random| Duration::from_millis(random.u64(0..15_000)))).await;
            let at = self.draw(|random| random.usize(0..self.machines.lock().unwrap().len()));
            let machine = self.machines.lock().unwrap()[at].clone();
            machine.line.cut();
            if self.draw(Rng::bool) {
                machine.die();
                let new = self.machine();
                self.on(&new, self.clone().sweeps(new.clone()));
                self.machines.lock().unwrap()[at] = new;
            } else {
                sleep(self.draw(|random| Duration::from_millis(random.u64(0..25_000)))).await;
                machine.line.restore();
            }
        }
    }

    async fn run(self) {
        let mut all = JoinSet::new();
        let machines = self.machines.lock().unwrap().clone();
        for machine in machines {
            self.on(&machine, self.clone().sweeps(machine.clone()));
        }
        for _ in 0..self.draw(|random| random.usize(1..=2)) {
            all.spawn(self.clone().client());
        }
        all.spawn(self.clone().trouble());
        while let Some(done) = all.join_next().await {
            done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
        self.judge().await;
    }
}

impl std::ops::Deref for World {
    type Target = Setting;

    fn deref(&self) -> &Setting {
        &self.0
    }
}

impl Machine {
    fn die(&self) {
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

fn id(name: &str) -> UploadId {
    name.parse().unwrap()
}

fn incarnation(stored: &Stored) -> u128 {
    stored.upload.incarnation.to_bits()
}

/// The fates of requests; their severity differs from run to run.
fn fates(random: &mut Rng, began: Instant) -> impl FnMut(&bucket::Request<'_>) -> Fate + Send + use<> {
    let rough = random.u32(0..60);
    let mut fates = random.fork();
    move |request| {
        let mut milliseconds = |most| Duration::from_millis(fates.u64(0..most));
        let is_conditional = matches!(request.operation, Operation::PutNew | Operation::PutIf);
        let (short, long) = ((milliseconds(20), milliseconds(20)), (milliseconds(20_000), milliseconds(2000)));
        let fate = match fates.u32(0..1000) {
            n if n < rough => Fate::Failed,
            n if n < 2 * rough => Fate::AnswerLost,
            n if n < 5 * rough / 2 => Fate::Late(long.0),
            n if n < 4 * rough => Fate::Slow(long.0, long.1),
            n if n < 9 * rough / 2 && is_conditional => Fate::Conflict,
            _ => Fate::Slow(short.0, short.1),
        };
        if *IS_REPLAYED {
            eprintln!("{:?} {:?} {} {fate:?}", began.elapsed(), request.operation, request.key);
        }
        fate
    }
}

/// The violation in the run with this seed, if any.
fn violation(seed: u64, without: Option<Rule>) -> Option<String> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { World::new(seed, without).run().await });
    };
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// `TUS_SIMULATION_SEED=n` replays one run; `TUS_SIMULATION_RUNS=n` makes that many, starting at
/// `TUS_SIMULATION_FROM`, on `TUS_SIMULATION_THREADS` threads (one for each processor by default).
#[test]
fn no_run_violates_an_invariant() {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = variable("TUS_SIMULATION_SEED") {
        assert_eq!(violation(seed, None), None, "seed {seed}");
        return;
    }
    let from = variable("TUS_SIMULATION_FROM").unwrap_or(0);
    let end = from + variable("TUS_SIMULATION_RUNS").unwrap_or(300);
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let next = AtomicU64::new(from);
    std::thread::scope(|scope| {
        for _ in 0..variable("TUS_SIMULATION_THREADS").unwrap_or(processors) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        break;
                    }
                    assert_eq!(violation(seed, None), None, "TUS_SIMULATION_SEED={seed} replays it");
                    if (seed + 1 - from).is_multiple_of(10_000) {
                        eprintln!("{} runs", seed + 1 - from);
                    }
                }
            });
        }
    });
}

/// The most runs until the lack of a rule is detected.
const UNTIL_FOUND: u64 = 20_000;

fn is_found(rule: Rule) {
    let found = (0..UNTIL_FOUND).find_map(|seed| Some((seed, violation(seed, Some(rule))?)));
    let (seed, what) = found.expect("the simulation does not need this rule");
    eprintln!("without {rule:?}, seed {seed}: {what}");
}

#[test]
fn without_the_window_bytes_are_lost() {
    is_found(Rule::Window);
}

#[test]
fn without_pieces_of_contested_parts_bytes_are_lost() {
    is_found(Rule::Contested);
}

#[test]
fn without_nonces_bytes_are_lost() {
    is_found(Rule::Nonce);
}

#[test]
fn deleting_before_the_commit_loses_bytes() {
    is_found(Rule::DeleteAfterCommit);
}

#[test]
fn replacing_objects_before_sealing_loses_bytes() {
    is_found(Rule::Sealing);
}

#[test]
fn without_markers_due_work_is_not_done() {
    is_found(Rule::Marker);
}

#[test]
fn without_fences_bytes_are_lost() {
    is_found(Rule::Fence);
}

#[test]
fn without_the_question_uploads_do_not_expire() {
    is_found(Rule::Question);
}
