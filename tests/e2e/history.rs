//! Many clients use one upload: their observations match an append-only register in which every operation takes
//! effect at one moment between its start and its end (it is linearizable).

use std::{
    collections::HashSet,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    client::{Connection, OCTETS, Response},
    harness::Server,
};

/// The number of histories to record and check, unless `TUS_TEST_HISTORIES` gives another.
const HISTORIES: u64 = 2;

/// How large a history is.
pub(crate) struct Size {
    clients: u8,
    /// Operations of each client.
    operations: u8,
    /// The bytes of a request.
    bytes: Range<u64>,
    /// Whether the upload is completed in the end: in a bucket, an upload of several parts can be read only then.
    completes: bool,
}

pub(crate) const MANY: Size = Size { clients: 5, operations: 12, bytes: 1..20_000, completes: false };

/// Fewer requests, of which many have more than a part of a bucket.
pub(crate) const LARGE: Size = Size { clients: 4, operations: 8, bytes: 1..12 << 20, completes: true };

/// More than all of them can add.
const LENGTH: u64 = 1 << 30;

pub(crate) fn an_upload_is_an_append_only_register(server: Server) {
    let started = server.start();
    let servers = Servers { connect: &|_| started.connect(), content: &|path| started.content(path) };
    (0..histories()).for_each(|seed| fit(&servers, seed, &MANY));
}

/// The number of histories.
pub(crate) fn histories() -> u64 {
    std::env::var("TUS_TEST_HISTORIES").map_or(HISTORIES, |histories| histories.parse().unwrap())
}

/// Where the clients find the upload.
pub(crate) struct Servers<'a> {
    /// A connection to one of the servers, chosen by a random number.
    pub(crate) connect: &'a (dyn Fn(usize) -> Connection + Sync),
    /// The committed bytes at a path.
    pub(crate) content: &'a (dyn Fn(&str) -> Vec<u8> + Sync),
}

/// Records a history, and checks that it fits.
pub(crate) fn fit(servers: &Servers<'_>, seed: u64, size: &Size) {
    let history = record(servers, seed, size);
    assert!(fits(&history), "seed {seed}: {history:#?}");
}

/// An operation, and when it began and ended by a logical clock.
#[derive(Debug, Clone)]
struct Operation {
    began: u64,
    /// `None` if the client did not wait for a response.
    ended: Option<u64>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// The reported offset.
    Inspect(u64),
    /// Bytes were added at an offset, as the content shows.
    Append(u64, u64),
    /// The offset that was rejected as wrong.
    Refused(u64),
}

/// Whether there is an order in which each operation happens between its start and its end and gets the response that
/// it got.
fn fits(history: &[Operation]) -> bool {
    assert!(history.len() <= 128);
    let all = (0..history.len()).fold(0u128, |all, operation| all | 1 << operation);
    let mut seen = HashSet::new();
    // The operations that have happened, and the register's offset after them.
    let mut open = vec![(0u128, 0u64)];
    while let Some((done, offset)) = open.pop() {
        // An operation without a response may not have happened: if it had added bytes, the content would show it.
        if done == all {
            return true;
        }
        let left = || (0..history.len()).filter(|operation| done & 1 << operation == 0);
        let first_end = left().filter_map(|operation| history[operation].ended).min().unwrap_or(u64::MAX);
        for next in left().filter(|operation| history[*operation].began <= first_end) {
            let after = match history[next].what {
                What::Inspect(offset_seen) if offset_seen == offset => offset,
                What::Append(at, bytes) if at == offset => offset + bytes,
                What::Refused(at) if at != offset => offset,
                _ => continue,
            };
            if seen.insert((done | 1 << next, after)) {
                open.push((done | 1 << next, after));
            }
        }
    }
    false
}

/// A request, and what its client saw of it.
struct Seen {
    began: u64,
    ended: Option<u64>,
    request: Request,
    response: Option<Response>,
}

enum Request {
    Inspect,
    /// A number of bytes whose value no other request has.
    Append {
        at: u64,
        bytes: u64,
        value: u8,
    },
}

/// What clients saw of one upload.
fn record(servers: &Servers<'_>, seed: u64, size: &Size) -> Vec<Operation> {
    let length = ("Upload-Length", &*LENGTH.to_string());
    let length = if size.completes { ("Upload-Defer-Length", "1") } else { length };
    let path = (servers.connect)(0).create_with(&[length]);
    let clock = AtomicU64::new(0);
    let seen = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..size.clients {
            let random = fastrand::Rng::with_seed(seed << 8 | u64::from(number));
            let bytes = size.bytes.clone();
            let mut client =
                Client { servers, path: &path, clock: &clock, random, bytes, offset: 0, stalled: Vec::new() };
            let seen = &seen;
            scope.spawn(move || {
                for operation in 0..size.operations {
                    let done = client.operate(1 + number * size.operations + operation);
                    seen.lock().unwrap().push(done);
                }
            });
        }
    });
    let (mut began, mut offset) = (tick(&clock), (servers.connect)(0).offset(&path));
    while size.completes && !completes(&mut (servers.connect)(0), &path, offset) {
        (began, offset) = (tick(&clock), (servers.connect)(0).offset(&path));
    }
    let last = Operation { began, ended: Some(tick(&clock)), what: What::Inspect(offset) };
    // An abandoned request may be read only now.
    let content = (servers.content)(&path);
    assert!(content.len() as u64 >= offset);
    assert!(!size.completes || content.len() as u64 == offset, "bytes that belong to no request");
    let content = &content[..offset as usize];
    let mut counts = [0; 256];
    content.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let seen = seen.into_inner().unwrap();
    seen.into_iter().filter_map(|seen| resolve(seen, content, &counts)).chain([last]).collect()
}

/// Completes an upload at this offset, unless an abandoned request has added to it.
fn completes(connection: &mut Connection, path: &str, offset: u64) -> bool {
    let offset = offset.to_string();
    let headers = [("Upload-Offset", &*offset), ("Upload-Length", &*offset), ("Content-Type", OCTETS)];
    let response = connection.request("PATCH", path, &headers, b"");
    assert!([204, 409, 423].contains(&response.status), "{response:?}");
    response.status == 204
}

fn tick(clock: &AtomicU64) -> u64 {
    clock.fetch_add(1, Ordering::SeqCst)
}

struct Client<'a> {
    servers: &'a Servers<'a>,
    path: &'a str,
    clock: &'a AtomicU64,
    random: fastrand::Rng,
    bytes: Range<u64>,
    /// The offset that the client assumes.
    offset: u64,
    /// Connections with a stalled body.
    stalled: Vec<Connection>,
}

impl Client<'_> {
    fn operate(&mut self, value: u8) -> Seen {
        let mut connection = (self.servers.connect)(self.random.usize(..));
        let began = tick(self.clock);
        let kind = self.random.u32(0..100);
        if kind < 35 {
            let response = connection.request("HEAD", self.path, &[], b"");
            self.offset = response.offset();
            return Seen { began, ended: Some(tick(self.clock)), request: Request::Inspect, response: Some(response) };
        }
        let at = if kind < 45 { self.offset + 1 } else { self.offset };
        let bytes = self.random.u64(self.bytes.clone());
        let body = vec![value; bytes as usize];
        let (offset, length) = (at.to_string(), bytes.to_string());
        let headers = [("Upload-Offset", &*offset), ("Content-Type", OCTETS), ("Content-Length", &length)];
        let request = Request::Append { at, bytes, value };
        if kind < 75 {
            let response = connection.request("PATCH", self.path, &headers, &body);
            let ended = Some(tick(self.clock));
            if response.status == 204 {
                self.offset = response.offset();
            }
            return Seen { began, ended, request, response: Some(response) };
        }
        connection.head("PATCH", self.path, &headers);
        // The server may have rejected it already.
        let _ = connection.try_send(&body[..self.random.usize(0..=body.len())]);
        if kind < 88 {
            self.stalled.push(connection);
        }
        Seen { began, ended: None, request, response: None }
    }
}

/// What an operation did, according to the content and how often it has each byte. `None` if it did nothing that could be
/// out of order.
fn resolve(seen: Seen, content: &[u8], counts: &[u64; 256]) -> Option<Operation> {
    let Seen { began, ended, request, response } = seen;
    let status = response.as_ref().map(|response| response.status);
    let what = match request {
        Request::Inspect => What::Inspect(response?.offset()),
        Request::Append { at, bytes, value } => {
            let added = counts[usize::from(value)];
            if added == 0 {
                assert_ne!(status, Some(204), "{bytes} bytes were acknowledged at {at} but are missing");
                (status == Some(409)).then_some(What::Refused(at))?
            } else {
                let range = at as usize..(at + added) as usize;
                assert!(content[range].iter().all(|byte| *byte == value), "{added} bytes for {at} are in pieces");
                assert!(added <= bytes && status != Some(409), "{added} of {bytes} bytes were added: {response:?}");
                if let Some(response) = response.filter(|response| response.status == 204) {
                    assert_eq!((added, response.offset()), (bytes, at + bytes));
                }
                What::Append(at, added)
            }
        }
    };
    Some(Operation { began, ended, what })
}

#[test]
fn the_checker_rejects_invalid_histories() {
    let operation = |began, ended, what| Operation { began, ended: Some(ended), what };
    let append = |began, ended, at, bytes| operation(began, ended, What::Append(at, bytes));
    let inspect = |began, ended, offset_seen| operation(began, ended, What::Inspect(offset_seen));
    // During an operation, both the state before it and the state after it may be seen.
    assert!(fits(&[append(0, 5, 0, 10), inspect(1, 2, 0), inspect(3, 4, 10)]));
    assert!(!fits(&[append(0, 5, 0, 10), inspect(1, 2, 10), inspect(3, 4, 0)]), "the offset decreases");
    assert!(!fits(&[append(0, 1, 0, 10), inspect(2, 3, 0)]), "what was acknowledged is missing");
    assert!(!fits(&[append(0, 3, 0, 10), append(1, 2, 0, 10)]), "two at one offset");
    assert!(!fits(&[append(0, 1, 0, 10), operation(2, 3, What::Refused(10))]), "the current offset is refused");
    // A body whose client does not wait may be added later, or earlier.
    let left = Operation { began: 0, ended: None, what: What::Append(0, 5) };
    assert!(fits(&[left.clone(), inspect(1, 2, 0), inspect(3, 4, 5)]));
    assert!(!fits(&[left, inspect(1, 2, 5), inspect(3, 4, 0)]));
}
