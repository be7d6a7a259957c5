//! The power fails: acknowledged bytes survive (synced mode).
//!
//! A real server works for real clients while strace(1) records what it does to the disk and what it sends to the
//! clients. The recording is replayed on a disk that keeps what was synced and may lose the rest, with power cuts at
//! any point. The test also checks that a missing sync would be detected.

mod disk;
mod trace;
mod verify;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::SystemTime,
};

use tempfile::TempDir;

use self::{
    disk::{Disk, Spared},
    trace::{Call, Event},
    verify::{Acknowledged, Promise, Verdict},
};
use crate::{
    client::{Connection, Response, chunk},
    content::bytes,
    harness::{Process, SERVER, missing, wait_until},
};

/// The number of power cuts, unless `TUS_TEST_POWER_CUTS` gives another.
const CUTS: usize = 600;

/// Concurrent clients.
const CLIENTS: u64 = 4;

#[test]
#[cfg_attr(not(has_strace), ignore = "strace is missing, or may not attach to a process")]
fn acknowledged_bytes_survive_a_power_cut() {
    let Some(recording) = record() else {
        missing("strace is missing, or it may not be used");
    };
    let cuts = std::env::var("TUS_TEST_POWER_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let failed = replay(&recording, &recording.events, cuts, seed);
    assert!(failed.is_none(), "seed {seed}: {}", failed.unwrap());
    eprintln!("{cuts} power cuts within {} events", recording.events.len());

    // Leaving out any kind of sync is detected.
    let uploads = recording.store.join("uploads");
    let is_log = |path: &Path| path.ends_with("uploads.db-wal");
    let above = [recording.store.clone(), recording.store.parent().unwrap().to_owned()];
    missed(&recording, "of bytes", |path| path.starts_with(&uploads) && path != uploads);
    missed(&recording, "of the names of files", |path| path == uploads);
    missed(&recording, "of the database's log", is_log);
    missed(&recording, "of new directories", |path| above.iter().any(|above| above == path));
}

/// What servers did in order, and what they promised by it.
struct Recording {
    _directory: TempDir,
    store: PathBuf,
    events: Vec<Event>,
    acknowledged: Vec<Acknowledged>,
}

/// Cuts the power at points of `events` until a guarantee is violated.
fn replay(recording: &Recording, events: &[Event], cuts: usize, seed: u64) -> Option<String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut points: Vec<usize> = (0..cuts).map(|_| random.usize(0..=events.len())).collect();
    points.sort_unstable();
    let (mut disk, mut verdict) = (Disk::default(), Verdict::new(&recording.store, &recording.acknowledged));
    let mut at = 0;
    for point in points {
        for event in &events[at..point] {
            disk.apply(event);
            verdict.apply(event);
        }
        at = point;
        let spared = Spared::ALL[random.usize(0..Spared::ALL.len())];
        if let Err(broken) = verdict.check(&disk.cut(spared, &mut random)) {
            return Some(format!("power cut before event {point} of {}, {spared:?} survives: {broken}", events.len()));
        }
    }
    None
}

/// Leaves out the syncs of some files or directories, which must be detected.
fn missed(recording: &Recording, what: &str, left_out: impl Fn(&Path) -> bool) {
    let mut opened = HashMap::new();
    let mut removed = 0;
    let left = recording.events.iter().filter(|event| {
        match event {
            Event::Begin(_, Call::Open { fd, path, .. }) => drop(opened.insert(*fd, path.clone())),
            Event::Begin(_, Call::Sync { fd }) if opened.get(fd).is_some_and(|path| left_out(path)) => {
                removed += 1;
                return false;
            }
            _ => {}
        }
        true
    });
    let events: Vec<_> = left.cloned().collect();
    assert!(removed > 0, "there was no sync {what}");
    assert!(
        replay(recording, &events, CUTS, 1).is_some(),
        "{removed} syncs {what} were left out without being detected"
    );
}

/// Records the work of a server that is killed, and of one that takes over from it.
fn record() -> Option<Recording> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    if !Command::new("strace").args(["-f", "-yy", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success()) {
        return None;
    }
    let store = root.join("new").join("store");
    let mut events = Vec::new();
    let client = Client::default();
    for session in 0..2 {
        let written = root.join(format!("trace-{session}"));
        let mut command = trace::recorded(SERVER, &written);
        command.args(["axum", "synced"]).arg(&store);
        let process = Process::run(command);
        client.work(&process, &store, session);
        if session == 0 {
            kill_the_traced(&process);
        }
        process.stop();
        events.extend(trace::parse(&std::fs::read_to_string(written).unwrap(), &root));
    }
    let acknowledged = client.acknowledged.into_inner().unwrap();
    Some(Recording { _directory: directory, store, events, acknowledged })
}

/// Sends SIGKILL to the server alone, so that strace has time to record everything.
fn kill_the_traced(process: &Process) {
    let strace = process.number();
    let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    assert!(Command::new("kill").arg("-9").arg(children.trim()).status().unwrap().success());
}

/// Clients, and the promises that they received.
#[derive(Default)]
struct Client {
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// Uploads that the second server finds unfinished.
    left: Mutex<Vec<(String, u64)>>,
}

/// One connection.
struct Talk<'a> {
    client: &'a Client,
    connection: Connection,
    responses: usize,
}

impl Client {
    fn work(&self, process: &Process, store: &Path, session: u64) {
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let mut talk = Talk { client: self, connection: process.connect(), responses: 0 };
                scope.spawn(move || {
                    for round in 0..12 {
                        talk.upload((session * CLIENTS + number) * 100 + round);
                    }
                });
            }
        });
        let mut talk = Talk { client: self, connection: process.connect(), responses: 0 };
        for (path, seed) in std::mem::take(&mut *self.left.lock().unwrap()) {
            talk.finish(&path, seed);
        }
        talk.parts(session * 1000 + 900);
        self.stream(process, store, session * 1000 + 990);
    }

    /// A slow body with checkpoints, whose connection breaks.
    fn stream(&self, process: &Process, store: &Path, seed: u64) {
        let mut talk = Talk { client: self, connection: process.connect(), responses: 0 };
        let path = talk.create(300_000, &[], seed);
        talk.connection.begin_chunked_patch(&path, 0, &[]);
        let log = store.join("uploads.db-wal");
        for piece in 0..3 {
            let changed = || std::fs::metadata(&log).unwrap().modified().unwrap();
            let before = changed();
            talk.connection.send(&chunk(&bytes(seed, piece * 70_000..(piece + 1) * 70_000)));
            // A checkpoint.
            wait_until(|| changed() > before);
        }
        talk.connection.reset();
        let mut talk = Talk { client: self, connection: process.connect(), responses: 0 };
        talk.head(&path, seed);
        self.left.lock().unwrap().push((path, seed));
    }
}

impl Talk<'_> {
    /// One upload, by one of the possible methods.
    fn upload(&mut self, seed: u64) {
        let length = 1 + seed * 7919 % 60_000;
        match seed % 6 {
            0 => drop(self.create(0, &[], seed)),
            1 => {
                let path = self.create(length, &[], seed);
                self.patch(&path, 0..length / 2, seed);
                self.patch(&path, length / 2..length, seed);
            }
            2 => {
                let octets = ("Content-Type", crate::client::OCTETS);
                let half = bytes(seed, 0..length / 2);
                let length = length.to_string();
                let response =
                    self.connection.request("POST", tests::MOUNT, &[("Upload-Length", &length), octets], &half);
                let path = response.header("location").to_owned();
                self.promised(&response, &path, Promise::Bytes(vec![(seed, response.offset())]));
                self.client.left.lock().unwrap().push((path, seed));
            }
            3 => {
                let path = self.create(length, &[], seed);
                self.patch(&path, 0..length, seed);
                let response = self.connection.request("DELETE", &path, &[], b"");
                self.promised(&response, &path, Promise::Gone);
            }
            4 => {
                let path = self.create(length, &[], seed);
                self.connection.begin_chunked_patch(&path, 0, &[]);
                for start in (0..length).step_by(9000) {
                    self.connection.send(&chunk(&bytes(seed, start..length.min(start + 9000))));
                }
                self.connection.send(b"0\r\n\r\n");
                let response = self.connection.response("PATCH");
                self.promised(&response, &path, Promise::Bytes(vec![(seed, length)]));
            }
            _ => {
                let path = self.create(length, &[], seed);
                self.patch(&path, 0..length / 3, seed);
                self.client.left.lock().unwrap().push((path, seed));
            }
        }
    }

    /// Parts that are concatenated: one is complete before the final upload is created, one after.
    fn parts(&mut self, seed: u64) {
        let partial = ("Upload-Concat", "partial");
        let (one, two) = (self.create(40_000, &[partial], seed), self.create(30_000, &[partial], seed + 1));
        let names = format!("final;{one} {two}");
        let concat = [("Upload-Concat", &*names)];
        let early = self.connection.request("POST", tests::MOUNT, &concat, b"");
        let early_path = early.header("location").to_owned();
        self.promised(&early, &early_path, Promise::Bytes(Vec::new()));
        self.patch(&one, 0..40_000, seed);
        self.patch(&two, 0..30_000, seed + 1);
        let late = self.connection.request("POST", tests::MOUNT, &concat, b"");
        let late_path = late.header("location").to_owned();
        let complete = || Promise::Bytes(vec![(seed, 40_000), (seed + 1, 30_000)]);
        self.promised(&late, &late_path, complete());
        wait_until(|| {
            let response = self.connection.request("HEAD", &early_path, &[], b"");
            let concatenated = response.headers.get("upload-offset").is_some_and(|offset| offset == "70000");
            let promise = if concatenated { complete() } else { Promise::Bytes(Vec::new()) };
            self.promised(&response, &early_path, promise);
            concatenated
        });
    }

    fn finish(&mut self, path: &str, seed: u64) {
        let response = self.head(path, seed);
        let length = response.header("upload-length").parse().unwrap();
        self.patch(path, response.offset()..length, seed);
    }

    fn create(&mut self, length: u64, headers: &[(&str, &str)], seed: u64) -> String {
        let length = length.to_string();
        let headers = [&[("Upload-Length", &*length)], headers].concat();
        let response = self.connection.request("POST", tests::MOUNT, &headers, b"");
        let path = response.header("location").to_owned();
        self.promised(&response, &path, Promise::Bytes(vec![(seed, 0)]));
        path
    }

    fn patch(&mut self, path: &str, range: std::ops::Range<u64>, seed: u64) {
        let response = self.connection.patch(path, range.start, &bytes(seed, range.clone()));
        self.promised(&response, path, Promise::Bytes(vec![(seed, range.end)]));
    }

    fn head(&mut self, path: &str, seed: u64) -> Response {
        let response = self.connection.request("HEAD", path, &[], b"");
        self.promised(&response, path, Promise::Bytes(vec![(seed, response.offset())]));
        response
    }

    /// Records what a response promised.
    fn promised(&mut self, response: &Response, path: &str, promise: Promise) {
        assert!(response.status < 300, "{response:?}");
        let acknowledged =
            Acknowledged { port: self.connection.port(), response: self.responses, path: path.to_owned(), promise };
        self.client.acknowledged.lock().unwrap().push(acknowledged);
        self.responses += 1;
    }
}
