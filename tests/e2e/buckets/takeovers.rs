//! A newer request takes over from an older one on another server: with every byte that arrived, or with all but the last
//! ones if that server was killed.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bucket::Bucket;
use tempfile::TempDir;
use tests::{Framework, Running};
use tus_service::Storage;

use super::{Foreign, LENGTH, loaded, read, server, storage};
use crate::{
    client::Connection,
    content::{assert_same, bytes},
    example::Example,
    harness::{block_on, id, wait_until},
    watched::Watch,
};

const PART: u64 = 8 << 20;

/// Two servers on a bucket, and an upload whose bytes the first one receives.
struct Pair {
    first: Running,
    watch: Watch,
    second: Running,
    storage: Arc<dyn Storage>,
    path: String,
}

impl Pair {
    fn start(framework: Framework) -> Self {
        let bucket = Bucket::default();
        let (watch, watched) = Watch::over(storage(&bucket));
        let first = Running::start(framework, watched, |builder| builder).unwrap();
        let (second, storage) = server(framework, &bucket);
        let path = Connection::open(first.address).create(LENGTH);
        Self { first, watch, second, storage, path }
    }

    fn send_to_the_first(&self) -> Connection {
        let mut older = Connection::open(self.first.address);
        older.begin_patch(&self.path, 0, LENGTH);
        older
    }

    fn connect_to_the_second(&self) -> Connection {
        Connection::open(self.second.address)
    }

    fn is_completed_from(&self, offset: u64) {
        let rest = bytes(1, offset..LENGTH);
        let patched = self.connect_to_the_second().patch(&self.path, offset, &rest);
        assert_eq!(patched.status, 204, "{patched:?}");
        wait_until(|| loaded(&self.storage, &self.path).upload.is_complete());
        let stored = loaded(&self.storage, &self.path);
        assert_same(&block_on(read(&self.storage, &stored)), &bytes(1, 0..LENGTH));
    }
}

/// The first server is still receiving. A client that asks the second one gets everything that arrived before it asked, and
/// continues there.
fn takes_over_from_a_stream(framework: Framework) {
    let pair = Pair::start(framework);
    let mut older = pair.send_to_the_first();
    let sender = thread::spawn(move || {
        // Slower after what the other server waits for: it ends when it is refused, and not by itself.
        let (mut sent, until) = (0, Instant::now() + Duration::from_secs(60));
        while sent < LENGTH && Instant::now() < until {
            let step = if sent < PART + PART / 2 { 256 << 10 } else { 4 << 10 };
            if older.try_send(&bytes(1, sent..(sent + step).min(LENGTH))).is_err() {
                return true;
            }
            sent += step;
            thread::sleep(Duration::from_millis(50));
        }
        false
    });
    // In the middle of the second part.
    pair.watch.wait_for_bytes(PART + PART / 2);
    let (received, began) = (pair.watch.received(), Instant::now());
    assert!(loaded(&pair.storage, &pair.path).held_elsewhere);
    let mut newer = pair.connect_to_the_second();
    newer.offset(&pair.path);
    // On a busy machine, the older request may need longer to leave than the newer one waits.
    wait_until(|| !loaded(&pair.storage, &pair.path).held_elsewhere);
    let offset = newer.offset(&pair.path);
    eprintln!("{framework}: {offset} of at least {received} bytes after {:?}", began.elapsed());
    assert!(offset >= received, "{received} bytes had arrived, {offset} are stored");
    assert!(sender.join().unwrap(), "the older request had to go");
    pair.is_completed_from(offset);
}

/// The first server has received this much, and its client is silent. What arrived is all there on the second one.
fn takes_over_from_silence(framework: Framework) {
    const SENT: u64 = 3 * PART + 5;
    let pair = Pair::start(framework);
    let mut older = pair.send_to_the_first();
    older.send(&bytes(1, 0..SENT));
    pair.watch.wait_for_bytes(SENT);
    let began = Instant::now();
    // At once, without asking for the offset. It is refused if the last byte is missing.
    pair.is_completed_from(SENT);
    eprintln!("{framework}: PATCH took over, and completed the upload, after {:?}", began.elapsed());
    let _ = older.try_send(&bytes(9, SENT..LENGTH));
    assert!(older.try_response("PATCH").is_none_or(|response| response.status == 423));

    // Less than a part: for half a second nobody else knows of it.
    for sent in [SENT, 5, PART - 5] {
        let pair = Pair::start(framework);
        let mut older = pair.send_to_the_first();
        older.send(&bytes(1, 0..sent));
        pair.watch.wait_for_bytes(sent);
        let (mut newer, began) = (pair.connect_to_the_second(), Instant::now());
        wait_until(|| {
            let offset = newer.offset(&pair.path);
            assert!(offset <= sent, "{offset}");
            offset == sent
        });
        eprintln!("{framework}: HEAD returned {sent} after {:?}", began.elapsed());
        pair.is_completed_from(sent);
    }
}

fn a_deletion_reaches_the_other_server(framework: Framework) {
    let pair = Pair::start(framework);
    let mut older = pair.send_to_the_first();
    older.send(&bytes(1, 0..PART + 5));
    pair.watch.wait_for_bytes(PART + 5);
    let mut newer = pair.connect_to_the_second();
    assert_eq!(newer.request("DELETE", &pair.path, &[], b"").status, 204);
    assert_eq!(newer.request("HEAD", &pair.path, &[], b"").status, 404);
    let _ = older.try_send(&bytes(9, PART + 5..LENGTH));
    let answer = older.try_response("PATCH");
    assert!(answer.as_ref().is_none_or(|response| [404, 410, 423].contains(&response.status)), "{answer:?}");
    assert_eq!(Connection::open(pair.first.address).request("HEAD", &pair.path, &[], b"").status, 404);
}

fn for_each_framework(test: impl Fn(Framework) + Sync) {
    // They consist of waiting.
    thread::scope(|scope| {
        for framework in Framework::ALL {
            let test = &test;
            scope.spawn(move || test(framework));
        }
    });
}

#[test]
fn a_request_takes_over_from_a_receiving_server() {
    for_each_framework(takes_over_from_a_stream);
}

#[test]
fn a_request_takes_over_every_byte_of_a_silent_client() {
    for_each_framework(takes_over_from_silence);
}

#[test]
fn a_deletion_stops_a_request_on_another_server() {
    for_each_framework(a_deletion_reaches_the_other_server);
}

/// A server is killed within a request of many parts. Another one has everything but the parts that nothing refers to yet.
#[test]
#[cfg_attr(
    not(all(has_python, has_proc)),
    ignore = "TUS_TEST_OTHERS names no directory with a Python environment, or /proc does not show sockets"
)]
fn a_killed_server_loses_only_the_last_parts() {
    const STEP: u64 = 1 << 20;
    const PACE: Duration = Duration::from_millis(60);
    const SENT: u64 = 8 * PART;
    const LENGTH: u64 = SENT + PART;
    // The window, the part that is being gathered, and what comes in the half second between two changes of the document.
    const MOST_LOST: u64 = 4 * PART + PART + PART;
    assert!(STEP * (500 / PACE.as_millis() as u64) <= PART);

    let (moto, directory) = (Foreign::moto(), TempDir::new().unwrap());
    let variables = moto.variables("killed");
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // As over TLS.
    variables.push(("AWS_UNSIGNED_PAYLOAD", "true"));
    let [killed, other] = [(); 2].map(|()| Example::start("axum", directory.path(), &variables));
    let path = killed.connect().create(LENGTH);
    let mut sending = killed.connect();
    sending.begin_patch(&path, 0, LENGTH);
    // Never silent and not for five seconds, or all of it would be recorded.
    for at in (0..SENT).step_by(STEP as usize) {
        thread::sleep(PACE);
        sending.send(&bytes(2, at..at + STEP));
        sending.wait_until_read();
    }
    killed.kill();
    let dead_since = Instant::now();
    let mut first_head = None;
    let offset = loop {
        // A refused body may break its connection.
        let mut newer = other.connect();
        let offset = newer.offset(&path);
        let answered = *first_head.get_or_insert_with(|| dead_since.elapsed());
        let patched = newer.patch(&path, offset, &bytes(2, offset..LENGTH));
        if patched.status == 204 {
            eprintln!("{offset} of {SENT} bytes: HEAD after {answered:?}, complete after {:?}", dead_since.elapsed());
            break offset;
        }
        // What the dead server had sent to the store may have come since.
        assert_eq!(patched.status, 409, "{patched:?}");
    };
    assert!(offset + MOST_LOST >= SENT, "{offset} of {SENT} bytes");
    assert_same(&moto.bytes(&format!("killed/files/{}", id(&path))), &bytes(2, 0..LENGTH));
}
