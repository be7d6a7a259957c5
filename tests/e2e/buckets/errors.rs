//! A store that refuses requests for a moment, is slow, or loses its answers, so that its clients repeat what it has done.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tests::MOUNT;
use tus_reqwest::{Client, Source, block_on};

use super::{
    between::{Between, Fate, Plan, Request},
    servers::Foreign,
};
use crate::{
    content::{assert_same, bytes},
    example::Example,
    harness::id,
};

/// Three parts.
const LENGTH: u64 = (20 << 20) + 5;

/// What a request may meet that succeeds when it is sent again.
const FAULTS: [Fate; 5] = [
    Fate::Refused(500),
    Fate::Refused(503),
    Fate::Refused(429),
    Fate::Slow(Duration::from_millis(300)),
    Fate::AnswerLost,
];

/// The kinds of requests that an upload of several parts needs.
const KINDS: [&str; 6] = ["get", "put new", "put if", "begin", "part", "complete"];

/// A request meets a fault, and the next one of the same kind for the same object does not: usually it is the same one again. The requests of each kind meet the faults in turn, beginning
/// with this one.
struct InTurn {
    first: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: HashMap<&'static str, usize>,
    /// Requests that have met a fault and were not sent again.
    faulty: HashSet<String>,
    met: BTreeSet<(&'static str, Fate)>,
}

fn kind(request: &Request) -> &'static str {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let has = |parameter: &str| query.split('&').any(|pair| pair.split('=').next() == Some(parameter));
    match &*request.method {
        "GET" if has("list-type") => "list",
        "GET" => "get",
        "HEAD" => "head",
        "PUT" if has("partNumber") => "part",
        "PUT" if request.has_header("if-none-match") => "put new",
        "PUT" if request.has_header("if-match") => "put if",
        "PUT" => "put",
        "POST" if has("uploads") => "begin",
        "POST" if has("uploadId") => "complete",
        _ => "delete",
    }
}

impl InTurn {
    fn new(first: usize) -> Arc<Self> {
        Arc::new(Self { first, state: Mutex::default() })
    }
}

impl Plan for InTurn {
    fn fate(&self, request: &Request) -> Fate {
        let mut state = self.state.lock().unwrap();
        let (kind, name) = (kind(request), format!("{} {}", request.method, request.target));
        if state.faulty.remove(&name) {
            return Fate::Done;
        }
        state.faulty.insert(name);
        let count = state.counts.entry(kind).or_default();
        let fault = FAULTS[(self.first + *count) % FAULTS.len()];
        *count += 1;
        state.met.insert((kind, fault));
        fault
    }
}

/// Whatever its requests to the store meet, a server answers as if nothing had happened.
fn uploads(moto: &Foreign, number: usize) -> BTreeSet<(&'static str, Fate)> {
    let (between, plan) = (Between::to(moto.address), InTurn::new(number));
    let directory = TempDir::new().unwrap();
    let variables = moto.variables_by(&format!("http://{}", between.address), &number.to_string());
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let example = Example::start(["axum", "actix_web", "warp"][number % 3], directory.path(), &variables);
    between.follow(plan.clone());
    let is_whole = |path: &str| {
        assert_same(&moto.bytes(&format!("{number}/files/{}", id(path))), &bytes(number as u64, 0..LENGTH));
    };

    let path = example.connect().create(LENGTH);
    for (from, to) in [(0, LENGTH / 2), (LENGTH / 2, LENGTH)] {
        assert_eq!(example.connect().patch(&path, from, &bytes(number as u64, from..to)).status, 204);
        assert_eq!(example.connect().offset(&path), to);
    }
    is_whole(&path);

    let client = Client::new(&format!("http://{}{MOUNT}", example.address)).unwrap();
    let uploaded = block_on(client.upload(Source::bytes(bytes(number as u64, 0..LENGTH))).send()).unwrap();
    is_whole(uploaded.url.path());
    let state = plan.state.lock().unwrap();
    state.met.clone()
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn short_errors_of_the_store_reach_no_client() {
    let moto = Foreign::moto();
    let met: BTreeSet<_> = thread::scope(|scope| {
        let moto = &moto;
        let each: Vec<_> = (0..FAULTS.len()).map(|number| scope.spawn(move || uploads(moto, number))).collect();
        each.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    for kind in KINDS {
        for fault in FAULTS {
            assert!(met.contains(&(kind, fault)), "no request to {kind} met {fault:?}");
        }
    }
}
