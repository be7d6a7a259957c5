//! Machines, clients and a bucket in one program, without sockets and without time: what happens when is drawn from a seed.
//!
//! Machines die between any two requests, or are cut off and come back past every patience; requests fail, their answers
//! are lost, they are done long after nobody waits any more. Clients reconnect to other machines while the first one still
//! receives, two of them compete, and delete the upload in between. Each attempt sends bytes of its own, so that no two of
//! them can be mixed unseen.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bucket::{Bucket, Fate, Line, Rules};
use bytes::Bytes;
use fastrand::Rng;
use futures_util::TryStreamExt;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tus_service::{Access, Hint, Kind, Phase, Storage, StorageError, Stored, UploadId};

use super::uploads::*;
use crate::{ObjectStore, settings::Rule};

const PART: u64 = 16;
const NAME: &str = "upload";

/// What is known outside: by clients, and by the application.
#[derive(Default)]
struct Known {
    attempts: u64,
    incarnations: BTreeMap<String, Life>,
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
    is_removed: bool,
}

/// The byte of an attempt at a position.
fn byte(attempt: u64, at: u64) -> u8 {
    let mixed = (attempt << 32 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

#[derive(Clone)]
struct World {
    random: Arc<Mutex<Rng>>,
    known: Arc<Mutex<Known>>,
    bucket: Bucket,
    machines: Arc<Mutex<Vec<Machine>>>,
    without: Option<Rule>,
    length: u64,
    /// Whether the length is declared with the last bytes only.
    is_deferred: bool,
}

#[derive(Clone)]
struct Machine {
    store: ObjectStore,
    line: Line,
    tasks: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl World {
    fn new(seed: u64, without: Option<Rule>) -> Self {
        let mut random = Rng::with_seed(seed);
        let rules =
            Rules { generations: random.bool(), forgets_metadata_of_parts: random.u8(..) < 40, ..Rules::default() };
        let bucket = Bucket::with(rules);
        let mut fates = random.fork();
        // How rough it is differs from run to run.
        let rough = random.u32(0..60);
        let is_replayed = std::env::var_os("TUS_SIMULATION_SEED").is_some();
        let began = Instant::now();
        let mut fate = move || match fates.u32(0..1000) {
            n if n < rough => Fate::Failed,
            n if n < 2 * rough => Fate::AnswerLost,
            n if n < 5 * rough / 2 => Fate::Late(Duration::from_millis(fates.u64(1..20_000))),
            n if n < 4 * rough => {
                Fate::Slow(Duration::from_millis(fates.u64(0..20_000)), Duration::from_millis(fates.u64(0..2000)))
            }
            _ => Fate::Slow(Duration::from_millis(fates.u64(0..20)), Duration::from_millis(fates.u64(0..20))),
        };
        bucket.on_request(move |request| {
            let fate = fate();
            if is_replayed {
                eprintln!("{:?} {:?} {} {fate:?}", began.elapsed(), request.operation, request.key);
            }
            fate
        });
        let length = random.u64(1..14 * PART);
        let is_deferred = random.bool();
        let world = Self {
            random: Arc::new(Mutex::new(random)),
            known: Arc::default(),
            bucket,
            machines: Arc::default(),
            without,
            length,
            is_deferred,
        };
        for _ in 0..world.draw(|random| random.usize(2..=3)) {
            let machine = world.machine();
            world.machines.lock().unwrap().push(machine);
        }
        world
    }

    /// For one run that is replayed.
    fn log(&self, what: impl FnOnce() -> String) {
        if std::env::var_os("TUS_SIMULATION_SEED").is_some() {
            eprintln!("{}", what());
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap())
    }

    fn machine(&self) -> Machine {
        let (bucket, line) = self.bucket.line();
        let store = ObjectStore::builder(Arc::new(bucket)).with(|settings| {
            settings.part_size = PART;
            settings.window = 3;
            settings.without = self.without;
        });
        Machine { store: store.open_unchecked().unwrap(), line, tasks: Arc::default() }
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
        look(self.known.lock().unwrap().incarnations.entry(stored.upload.incarnation.to_string()).or_default())
    }

    /// Machines die and come back, or are cut off for a while.
    async fn trouble(self) {
        for _ in 0..self.draw(|random| random.usize(0..5)) {
            sleep(Duration::from_millis(self.draw(|random| random.u64(0..15_000)))).await;
            let at = {
                let machines = self.machines.lock().unwrap();
                self.draw(|random| random.usize(0..machines.len()))
            };
            let machine = self.machines.lock().unwrap()[at].clone();
            machine.line.cut();
            if self.draw(Rng::bool) {
                machine.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
                let new = self.machine();
                self.on(&new, self.clone().sweeps(new.clone()));
                self.machines.lock().unwrap()[at] = new;
            } else {
                sleep(Duration::from_millis(self.draw(|random| random.u64(0..25_000)))).await;
                machine.line.restore();
            }
        }
    }

    /// The background work of a machine.
    async fn sweeps(self, machine: Machine) {
        loop {
            sleep(Duration::from_millis(self.draw(|random| random.u64(1000..15_000)))).await;
            self.sweep(&machine.store, SystemTime::UNIX_EPOCH).await;
        }
    }

    async fn sweep(&self, store: &ObjectStore, now: SystemTime) -> Option<()> {
        let pending: Vec<_> = store.pending(now).try_collect().await.ok()?;
        for found in pending {
            if let Ok(Some(stored)) = store.load(&found.upload.id).await
                && let Err(error) = self.complete(store, stored).await
            {
                self.log(|| format!("completion failed: {error}"));
            }
        }
        Some(())
    }

    /// What the service does with an upload that is due.
    async fn complete(&self, store: &ObjectStore, mut stored: Stored) -> Result<(), StorageError> {
        if !stored.upload.is_due() || !store.claim(&stored.upload, Duration::from_secs(15)).await? {
            return Ok(());
        }
        if stored.upload.phase == Phase::Assembling {
            let mut change = more(&stored, 0);
            change.phase = Phase::Complete;
            let version = store.assemble(&stored, &[], &change).await?;
            stored = stored.changed(&change, version);
        }
        self.life(&stored, |life| life.finished += 1);
        let mut change = more(&stored, 0);
        change.phase = Phase::Notified;
        store.update(&stored, &change).await.map(drop)
    }

    /// A client that goes on until the upload is complete or gone.
    async fn client(self) {
        let until = Instant::now() + Duration::from_secs(120);
        while Instant::now() < until {
            let machine = self.any_machine();
            let world = self.clone();
            let at = machine.clone();
            let request = match self.draw(|random| random.u8(0..20)) {
                0..5 => self.on(&machine, async move { world.head(&at.store).await }),
                5 => self.on(&machine, async move { world.delete(&at.store).await }),
                _ => self.on(&machine, async move { world.patch(&at.store).await }),
            };
            // It may lose its patience, and the request goes on without it.
            let patience = Duration::from_millis(self.draw(|random| random.u64(100..30_000)));
            if let Ok(Ok(Ok(true))) = timeout(patience, request).await {
                return;
            }
            sleep(Duration::from_millis(self.draw(|random| random.u64(0..500)))).await;
        }
    }

    async fn head(&self, store: &ObjectStore) -> Result<bool, StorageError> {
        let before = self
            .known
            .lock()
            .unwrap()
            .incarnations
            .iter()
            .map(|(name, life)| (name.clone(), life.known_to_clients))
            .collect();
        let Some(mut stored) = store.load(&id()).await? else { return Ok(false) };
        if stored.held_elsewhere {
            match store.settle(&stored, Access::Read, Duration::from_secs(2)).await? {
                Some(now) => stored = now,
                None => return Ok(false),
            }
        }
        self.report(&stored, &before);
        Ok(false)
    }

    /// A client learns an offset: not less than what any knew before it asked.
    fn report(&self, stored: &Stored, before: &BTreeMap<String, u64>) {
        let known_to_clients = before.get(&stored.upload.incarnation.to_string()).copied().unwrap_or(0);
        assert!(
            stored.upload.offset >= known_to_clients,
            "an offset went back from {known_to_clients} to {}",
            stored.upload.offset
        );
        self.life(stored, |life| life.known_to_clients = life.known_to_clients.max(stored.upload.offset));
    }

    async fn delete(&self, store: &ObjectStore) -> Result<bool, StorageError> {
        if self.draw(Rng::bool) {
            return Ok(false);
        }
        let Some(stored) = store.load(&id()).await? else { return Ok(false) };
        // What is finished stays: the application has it.
        if stored.upload.phase != Phase::Receiving {
            return Ok(false);
        }
        self.life(&stored, |life| life.is_removed = true);
        store.remove(&stored).await?;
        self.create(store).await
    }

    /// Creates the upload, also where one of this id was there a moment ago.
    async fn create(&self, store: &ObjectStore) -> Result<bool, StorageError> {
        let mut upload = upload(NAME, Kind::Single, (!self.is_deferred).then_some(self.length));
        upload.incarnation = tus_service::Incarnation::from_random(self.draw(|random| random.u128(..)));
        upload.expires = self.draw(Rng::bool).then(|| SystemTime::now() + Duration::from_secs(600));
        let version = store.create(&upload).await?;
        self.life(&Stored::new(upload, version), |_| ());
        Ok(false)
    }

    async fn patch(&self, store: &ObjectStore) -> Result<bool, StorageError> {
        let Some(mut stored) = store.load(&id()).await? else {
            self.create(store).await?;
            return Ok(false);
        };
        if stored.held_elsewhere {
            match store.settle(&stored, Access::Write, Duration::from_secs(10)).await? {
                Some(now) => stored = now,
                None => return Ok(false),
            }
        }
        match stored.upload.phase {
            Phase::Receiving => self.receive(store, stored).await,
            Phase::Complete | Phase::Notified => Ok(true),
            _ => Ok(false),
        }
    }

    async fn receive(&self, store: &ObjectStore, stored: Stored) -> Result<bool, StorageError> {
        let attempt = {
            let mut known = self.known.lock().unwrap();
            known.attempts += 1;
            known.attempts
        };
        let base = stored.upload.offset;
        self.life(&stored, |life| life.began.insert(attempt, base));
        let wanted =
            self.draw(|random| if random.bool() { self.length } else { random.u64(base..=self.length) }) - base;
        let has_checksum = self.draw(|random| random.u8(0..5) == 0);
        let pace = self.draw(|random| [0, 0, 30, 800][random.usize(0..4)]);
        let mut writer = store.open(&stored).await?;
        self.log(|| format!("attempt {attempt} begins at {base}"));
        let mut asked = writer.asked_to_leave();
        let (mut sent, mut failed, mut is_asked) = (0, None, false);
        let mut next_hint = Instant::now() + Duration::from_millis(500);
        while sent < wanted && !is_asked {
            let some = self.draw(|random| random.u64(1..24)).min(wanted - sent);
            let chunk: Bytes = (base + sent..base + sent + some).map(|at| byte(attempt, at)).collect();
            if let Err(error) = writer.write(chunk.into()).await {
                sent = writer.stored();
                failed = Some(error);
                break;
            }
            sent += some;
            let pause = self.draw(|random| random.u64(0..=pace));
            is_asked = pause > 0 && timeout(Duration::from_millis(pause), &mut asked).await.is_ok();
            if Instant::now() >= next_hint {
                // The last byte is not allowed before the end is known.
                let is_allowed = !has_checksum && base + sent < self.length;
                let change = hinted(&stored, if is_allowed { sent } else { 0 });
                if let Err(error) = writer.checkpoint(&change, Hint::Streaming).await {
                    sent = writer.stored();
                    failed = Some(error);
                    break;
                }
                next_hint = Instant::now() + Duration::from_millis(500);
            }
        }
        if self.draw(|random| random.u8(0..4) == 0) {
            // The client is silent before the end.
            sleep(Duration::from_millis(self.draw(|random| random.u64(0..3000)))).await;
            let change = hinted(&stored, if has_checksum || base + sent == self.length { 0 } else { sent });
            if failed.is_none()
                && let Err(error) = writer.checkpoint(&change, Hint::Stalled).await
            {
                sent = writer.stored();
                failed = Some(error);
            }
        }
        if has_checksum && (sent < wanted || self.draw(Rng::bool)) {
            sent = 0;
        }
        let mut change = hinted(&stored, sent);
        if base + sent == self.length {
            (change.length, change.phase) = (Some(self.length), Phase::Complete);
        }
        let version = writer.commit(&change).await.map_err(|error| failed.unwrap_or(error))?;
        drop(writer);
        let stored = stored.changed(&change, version);
        self.log(|| format!("acknowledged {base}..{} to attempt {attempt}: {change:?}", base + sent));
        self.life(&stored, |life| {
            life.acknowledged.push((base, base + sent, attempt));
            life.known_to_clients = life.known_to_clients.max(base + sent);
        });
        if change.phase != Phase::Complete {
            return Ok(false);
        }
        self.complete(store, stored).await?;
        Ok(true)
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

    /// All machines are gone, and all that was late has come. A last machine finishes what is left, and finds what must be there.
    async fn judge(self) {
        for machine in self.machines.lock().unwrap().drain(..) {
            machine.line.cut();
            machine.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
        }
        self.bucket.on_request(|_| Fate::Done);
        sleep(Duration::from_secs(60)).await;
        let Machine { store, .. } = self.machine();
        let before = self
            .known
            .lock()
            .unwrap()
            .incarnations
            .iter()
            .map(|(name, life)| (name.clone(), life.known_to_clients))
            .collect();
        for _ in 0..200 {
            self.sweep(&store, SystemTime::UNIX_EPOCH).await.unwrap();
            match store.load(&id()).await.unwrap() {
                Some(stored) if stored.upload.phase == Phase::Notified => break,
                Some(stored) => self.report(&stored, &before),
                None => {}
            }
            if let Err(error) = self.patch(&store).await {
                self.log(|| format!("the last machine failed: {error}"));
            }
            sleep(Duration::from_secs(1)).await;
        }
        let stored = store.load(&id()).await.unwrap().expect("the upload is there");
        assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Notified, self.length), "it was not finished");
        self.report(&stored, &before);
        let content = content(&store, &stored).await;
        assert_eq!(content.len() as u64, self.length);
        self.life(&stored, |life| {
            assert!(life.finished > 0, "nobody was notified");
            for (from, to, attempt) in &life.acknowledged {
                for at in *from..*to {
                    let there = content[at as usize];
                    assert_eq!(there, byte(*attempt, at), "a byte at {at} that was acknowledged to attempt {attempt}");
                }
            }
            for (at, there) in (0..).zip(&content) {
                let is_of_one = life.began.iter().any(|(attempt, from)| at >= *from && byte(*attempt, at) == *there);
                assert!(is_of_one, "a byte at {at} that nobody sent");
            }
        });
        let known = std::mem::take(&mut *self.known.lock().unwrap());
        for (name, life) in known.incarnations.iter().filter(|life| *life.0 != stored.upload.incarnation.to_string()) {
            assert!(life.is_removed || life.acknowledged.is_empty(), "{name} is gone, and nobody removed it");
        }
        let objects = self.bucket.keys("files/");
        assert!(objects.contains(&store.key(&id()).await.unwrap().unwrap()), "{objects:?}");
        // Nothing is left after a removal and a sweep a day later, or two.
        store.remove(&stored).await.unwrap();
        for day in 2..5 {
            let now = SystemTime::now() + Duration::from_secs(day * 24 * 3600);
            self.bucket.age(Duration::from_secs(2 * 24 * 3600));
            self.sweep(&store, now).await.unwrap();
        }
        assert_eq!(self.bucket.keys(""), [] as [&str; 0], "something is left");
    }
}

fn id() -> UploadId {
    NAME.parse().unwrap()
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

/// `TUS_SIMULATION_SEED=n` replays one run; `TUS_SIMULATION_RUNS=n` makes so many.
#[test]
fn no_run_violates_anything() {
    let variable = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = variable("TUS_SIMULATION_SEED") {
        assert_eq!(violation(seed, None), None, "seed {seed}");
        return;
    }
    for seed in 0..variable("TUS_SIMULATION_RUNS").unwrap_or(300) {
        assert_eq!(violation(seed, None), None, "TUS_SIMULATION_SEED={seed} replays it");
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
