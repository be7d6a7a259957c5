//! Machines, clients and a bucket in one program, without sockets and without time: what happens when is drawn from a seed.
//!
//! Machines die between any two requests, or are cut off and come back past every patience; requests fail, their answers
//! are lost, they are done long after nobody waits any more. Their clocks differ. Clients reconnect to other machines while
//! the first one still receives, two of them compete, and delete the upload in between; uploads expire, and are
//! concatenated. Each attempt sends bytes of its own, so that no two of them can be mixed unseen.

mod clients;
mod judge;
mod service;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Line, Rules};
use fastrand::Rng;
use tokio::{
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep},
};
use tus_service::{Stored, UploadId};

use crate::{ObjectStore, settings::Rule};

const PART: u64 = 16;

/// The upload, or the final one that is concatenated.
const NAME: &str = "upload";

/// Its parts, where it is concatenated.
const PARTS: [&str; 2] = ["first", "second"];

/// What is known outside: by clients, and by the application.
#[derive(Default)]
struct Known {
    attempts: u64,
    incarnations: BTreeMap<u128, Life>,
}

#[derive(Default)]
struct Life {
    /// Ranges that were acknowledged, with the attempt whose bytes they are.
    acknowledged: Vec<(u64, u64, u64)>,
    /// Where each attempt began.
    began: BTreeMap<u64, u64>,
    /// The largest offset that a client knows.
    known_to_clients: u64,
    finished: u64,
    /// A client or a sweeper has asked for it.
    is_removed: bool,
}

/// The byte of an attempt at a position.
fn byte(attempt: u64, at: u64) -> u8 {
    let mixed = (attempt << 32 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// Clones are the same world.
#[derive(Clone)]
struct World(Arc<Setting>);

struct Setting {
    random: Mutex<Rng>,
    known: Mutex<Known>,
    bucket: Bucket,
    machines: Mutex<Vec<Machine>>,
    without: Option<Rule>,
    /// What clients send, and how much of it.
    sends: Vec<(UploadId, u64)>,
    /// Whether lengths are declared with the last bytes only.
    is_deferred: bool,
    /// For how long an upload lives after it was used last.
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
    /// Uploads that requests use.
    used: Arc<Mutex<Vec<UploadId>>>,
    /// By how much its clock is late.
    is_late: Duration,
}

/// Whether one run is replayed, and writes what happens.
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

    /// For one run that is replayed.
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

    /// How much of an upload clients send: nothing of one that is concatenated.
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
        let store = builder.with(|settings| {
            settings.part_size = PART;
            (settings.smallest_part, settings.largest_copy) = (1, 3 * PART);
            settings.window = 3;
            settings.without = self.without;
        });
        let is_late = self.draw(|random| Duration::from_millis(random.u64(0..5000)));
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

    /// What clients know of every incarnation so far.
    fn known_to_clients(&self) -> BTreeMap<u128, u64> {
        self.known.lock().unwrap().incarnations.iter().map(|(name, life)| (*name, life.known_to_clients)).collect()
    }

    /// A client learns an offset: not less than what any knew before it asked.
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

/// What becomes of requests; how rough it is differs from run to run.
fn fates(random: &mut Rng, began: Instant) -> impl FnMut(&bucket::Request<'_>) -> Fate + Send + use<> {
    let rough = random.u32(0..60);
    let mut fates = random.fork();
    move |request| {
        let mut milliseconds = |most| Duration::from_millis(fates.u64(0..most));
        let (short, long) = ((milliseconds(20), milliseconds(20)), (milliseconds(20_000), milliseconds(2000)));
        let fate = match fates.u32(0..1000) {
            n if n < rough => Fate::Failed,
            n if n < 2 * rough => Fate::AnswerLost,
            n if n < 5 * rough / 2 => Fate::Late(long.0),
            n if n < 4 * rough => Fate::Slow(long.0, long.1),
            _ => Fate::Slow(short.0, short.1),
        };
        if *IS_REPLAYED {
            eprintln!("{:?} {:?} {} {fate:?}", began.elapsed(), request.operation, request.key);
        }
        fate
    }
}

/// What was violated in the run of this seed, if anything was.
fn violation(seed: u64, without: Option<Rule>) -> Option<String> {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { World::new(seed, without).run().await });
    };
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<String>().cloned();
    Some(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// `TUS_SIMULATION_SEED=n` replays one run; `TUS_SIMULATION_RUNS=n` makes so many, from `TUS_SIMULATION_FROM` on.
#[test]
fn no_run_violates_anything() {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = variable("TUS_SIMULATION_SEED") {
        assert_eq!(violation(seed, None), None, "seed {seed}");
        return;
    }
    let from = variable("TUS_SIMULATION_FROM").unwrap_or(0);
    for seed in from..from + variable("TUS_SIMULATION_RUNS").unwrap_or(300) {
        assert_eq!(violation(seed, None), None, "TUS_SIMULATION_SEED={seed} replays it");
        if seed % 10_000 == 9999 {
            eprintln!("{} runs", seed + 1 - from);
        }
    }
}

/// How many runs it takes at most until the lack of a rule is found.
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
fn without_the_pieces_of_contested_parts_bytes_are_lost() {
    is_found(Rule::Contested);
}

#[test]
fn without_nonces_bytes_are_lost() {
    is_found(Rule::Nonce);
}

#[test]
fn without_the_order_of_commit_and_deletion_bytes_are_lost() {
    is_found(Rule::DeleteAfterCommit);
}

#[test]
fn without_sealing_first_bytes_are_lost() {
    is_found(Rule::Sealing);
}

#[test]
fn without_markers_what_is_due_is_not_done() {
    is_found(Rule::Marker);
}

#[test]
fn without_fences_bytes_are_lost() {
    is_found(Rule::Fence);
}

#[test]
fn without_the_question_uploads_outlive_their_time() {
    is_found(Rule::Question);
}
