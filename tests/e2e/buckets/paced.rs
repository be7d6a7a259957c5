//! A store that allows one write a second to an object, like R2, with the settings that its address gives.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    between::{Between, Fate, Plan, Request},
    servers::Foreign,
};
use crate::{
    client::Connection,
    content::{assert_same, bytes},
    example::Example,
    harness::id,
};

const SECOND: Duration = Duration::from_secs(1);

/// More than two parts.
const LENGTH: u64 = (17 << 20) + 5;

/// What a client sends before it goes to another server.
const STEP: u64 = 5 << 20;

/// Refuses a write within a second of the last one to the same name.
#[derive(Default)]
struct OneASecond {
    written: Mutex<HashMap<String, Written>>,
    refused: AtomicUsize,
}

/// When a name was written last, and before that.
#[derive(Clone, Copy)]
struct Written {
    last: Instant,
    before: Option<Instant>,
}

/// The name that a request writes.
fn writes(request: &Request) -> Option<&str> {
    let (name, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let writes = match &*request.method {
        "PUT" => !query.contains("partNumber="),
        "POST" => query.contains("uploadId="),
        _ => false,
    };
    writes.then_some(name)
}

impl Plan for OneASecond {
    fn fate(&self, request: &Request) -> Fate {
        let Some(name) = writes(request) else { return Fate::Done };
        let (mut written, now) = (self.written.lock().unwrap(), Instant::now());
        let last = written.get(name).map(|written| written.last);
        if last.is_some_and(|last| now < last + SECOND) {
            // As R2 and GCS, or as S3 says it.
            return Fate::Refused(if self.refused.fetch_add(1, SeqCst).is_multiple_of(2) { 429 } else { 503 });
        }
        written.insert(name.to_owned(), Written { last: now, before: last });
        Fate::Done
    }

    /// A write whose condition does not hold is none.
    fn answered(&self, request: &Request, status: u16) {
        let (Some(name), 300..) = (writes(request), status) else { return };
        let mut written = self.written.lock().unwrap();
        match written.get(name).and_then(|written| written.before) {
            Some(before) => drop(written.insert(name.to_owned(), Written { last: before, before: None })),
            None => drop(written.remove(name)),
        }
    }
}

/// Three servers that take the store for R2.
struct Cluster {
    moto: Foreign,
    plan: Arc<OneASecond>,
    servers: Vec<Example>,
    _between: Between,
    _directory: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let (moto, plan) = (Foreign::moto(), Arc::<OneASecond>::default());
        let (between, directory) = (Between::to(moto.address), TempDir::new().unwrap());
        between.follow(plan.clone());
        let proxy = format!("http://{}", between.address);
        let variables = moto.variables_by("http://account.r2.cloudflarestorage.com", "paced");
        let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        variables.extend([("AWS_PROXY_URL", &*proxy), ("AWS_UNSIGNED_PAYLOAD", "true")]);
        let start = &|name| Example::start(name, directory.path(), &variables);
        // Each tests the store first, at its pace.
        let servers = thread::scope(|scope| {
            let starting = ["axum", "actix_web", "warp"].map(|name| scope.spawn(move || start(name)));
            starting.into_iter().map(|server| server.join().unwrap()).collect()
        });
        plan.refused.store(0, SeqCst);
        Self { moto, plan, servers, _between: between, _directory: directory }
    }

    fn connect(&self, number: usize) -> Connection {
        self.servers[number % self.servers.len()].connect()
    }

    fn has_all(&self, path: &str, length: u64) {
        assert_same(&self.moto.bytes(&format!("paced/files/{}", id(path))), &bytes(1, 0..length));
        eprintln!("{} writes came too early", self.plan.refused.load(SeqCst));
    }
}

/// Each request follows the previous one immediately, on another server.
#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn requests_that_follow_immediately_succeed_with_one_write_a_second() {
    const EACH: u64 = 100_000;
    const COUNT: u64 = 6;
    let cluster = Cluster::start();
    let path = cluster.connect(0).create(COUNT * EACH);
    for number in 0..COUNT {
        let (at, began) = (number * EACH, Instant::now());
        let patched = cluster.connect(number as usize).patch(&path, at, &bytes(1, at..at + EACH));
        assert_eq!((patched.status, patched.offset()), (204, at + EACH), "{patched:?}");
        // The goal is at most 1.2 s for each write. The tests of the storage assert it in simulated time.
        eprintln!("PATCH {number}: {:?}", began.elapsed());
        assert_eq!(cluster.connect(number as usize + 1).offset(&path), at + EACH);
    }
    cluster.has_all(&path, COUNT * EACH);
}

/// A client that goes to the next server again and again, and leaves its older requests behind without ending them.
fn wanders(cluster: &Cluster, path: &str, first: usize) {
    let mut left = Vec::new();
    for turn in first.. {
        let (mut connection, began) = (cluster.connect(turn), Instant::now());
        // 200, or it fails.
        let offset = connection.offset(path);
        if offset == LENGTH {
            break;
        }
        eprintln!("HEAD {turn}: {offset} after {:?}", began.elapsed());
        connection.begin_patch(path, offset, LENGTH - offset);
        let end = LENGTH.min(offset + STEP);
        let mut at = offset;
        while at < end && !connection.has_answered() {
            let next = end.min(at + (256 << 10));
            // Another request may take over at any moment.
            if connection.try_send(&bytes(1, at..next)).is_err() {
                break;
            }
            at = next;
        }
        if at == LENGTH {
            answers_well(connection, &[204, 409, 423]);
        } else {
            left.push(connection);
        }
    }
    // 503: a silent body, whose bytes are recorded.
    left.into_iter().for_each(|connection| answers_well(connection, &[204, 409, 423, 503]));
}

fn answers_well(mut connection: Connection, statuses: &[u16]) {
    let response = connection.try_response("PATCH");
    // None: the connection was closed because a newer request took over while the body was not complete.
    assert!(response.as_ref().is_none_or(|response| statuses.contains(&response.status)), "{response:?}");
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn servers_that_contend_for_an_upload_succeed_with_one_write_a_second() {
    let cluster = Cluster::start();
    let path = cluster.connect(0).create(LENGTH);
    thread::scope(|scope| {
        for first in 0..2 {
            let (cluster, path) = (&cluster, &path);
            scope.spawn(move || wanders(cluster, path, first));
        }
    });
    cluster.has_all(&path, LENGTH);
    assert!(cluster.plan.refused.load(SeqCst) > 0, "no write came too early");
}
