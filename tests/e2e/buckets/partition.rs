//! A server that is cut off from the bucket: nothing is refused, nothing is answered, and what it has sent arrives late.
//! New connections are silent, too, or their first packets are lost.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use socket2::SockRef;
use tempfile::TempDir;

use super::servers::Foreign;
use crate::{
    client::{Connection, Response},
    content::{assert_same, bytes},
    example::Example,
    harness::{id, wait_until},
};

const LENGTH: u64 = 40 << 20;
/// What the first server has received when it is cut off, and what it receives then.
const SENT: u64 = 28 << 20;
const MORE: u64 = 1 << 20;

/// The examples that are tried.
const EXAMPLES: [(&str, Cut); 4] =
    [("axum", Cut::Silent), ("actix_web", Cut::Silent), ("warp", Cut::Silent), ("axum", Cut::Unreachable)];

/// What a cut line does with new connections.
#[derive(Clone, Copy)]
enum Cut {
    /// It takes them.
    Silent,
    /// It loses their first packet (SYN).
    Unreachable,
}

/// How a line is cut, if it is.
type Changing = (Mutex<Option<Cut>>, Condvar);

fn wait_while(cut: &Changing, is_waiting: impl Fn(Option<Cut>) -> bool) {
    drop(cut.1.wait_while(cut.0.lock().unwrap(), |cut| is_waiting(*cut)).unwrap());
}

/// A line to a store. While it is cut, it takes a few bytes of each connection, and carries nothing.
struct Line {
    listener: TcpListener,
    address: SocketAddr,
    cut: Arc<Changing>,
    /// The system drops the first packet of more connections than these, which nobody accepts.
    waiting: Mutex<Vec<TcpStream>>,
}

impl Line {
    fn to(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cut = Arc::<Changing>::default();
        let (accepting, carried) = (listener.try_clone().unwrap(), cut.clone());
        // It ends with the process.
        thread::spawn(move || {
            for client in accepting.incoming().flatten() {
                wait_while(&carried, |cut| matches!(cut, Some(Cut::Unreachable)));
                let cut = carried.clone();
                thread::spawn(move || {
                    let Ok(store) = TcpStream::connect(store) else { return };
                    thread::scope(|scope| {
                        scope.spawn(|| carry(&client, &store, &cut));
                        scope.spawn(|| carry(&store, &client, &cut));
                    });
                });
            }
        });
        Self { listener, address, cut, waiting: Mutex::default() }
    }

    fn cut(&self, how: Cut) {
        self.set(Some(how));
        if matches!(how, Cut::Unreachable) {
            SockRef::from(&self.listener).listen(0).unwrap();
            let connect = || TcpStream::connect_timeout(&self.address, Duration::from_millis(500));
            self.waiting.lock().unwrap().extend(std::iter::from_fn(|| connect().ok()));
        }
    }

    /// Whether somebody is trying to connect, in vain so far.
    fn is_tried(&self) -> bool {
        const SYN_SENT: &str = "02";
        let port = format!(":{:04X}", self.address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().take(4).collect();
            matches!(fields[..], [_, _, to, state] if to.ends_with(&port) && state == SYN_SENT)
        })
    }

    fn mend(&self) {
        self.waiting.lock().unwrap().clear();
        SockRef::from(&self.listener).listen(128).unwrap();
        self.set(None);
    }

    fn set(&self, how: Option<Cut>) {
        *self.cut.0.lock().unwrap() = how;
        self.cut.1.notify_all();
    }
}

/// What has come is carried on when the line works, whether its sender is still there or not.
fn carry(mut from: &TcpStream, mut to: &TcpStream, cut: &Changing) {
    let mut some = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut some) {
        wait_while(cut, |cut| cut.is_some());
        if length == 0 || to.write_all(&some[..length]).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

/// An example whose line to the store is cut off while it receives an upload, and another one on the same bucket.
struct Pair {
    line: Line,
    cut_off: Example,
    other: Example,
    path: String,
    /// On which the upload comes.
    sending: Connection,
    _directory: TempDir,
}

impl Pair {
    fn start(moto: &Foreign, name: &str, how: Cut) -> Self {
        let line = Line::to(moto.address);
        let directory = TempDir::new().unwrap();
        let start = |endpoint: String| {
            let variables = moto.variables_by(&endpoint, name);
            let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            variables.push(("TUS_DOWNLOAD", "on"));
            Example::start(name, directory.path(), &variables)
        };
        let (cut_off, other) = (start(format!("http://{}", line.address)), start(moto.endpoint()));
        let path = cut_off.connect().create(LENGTH);
        let mut sending = cut_off.connect();
        sending.begin_patch(&path, 0, LENGTH);
        sending.send(&bytes(7, 0..SENT));
        // A HEAD would end the request.
        let document = format!("{name}/.tus/u/{}", id(&path));
        wait_until(|| {
            // The store answers one request at a time.
            thread::sleep(Duration::from_millis(100));
            moto.object(&document).contains(r#""parts":["#)
        });
        line.cut(how);
        // More of it comes, which has to go to the store.
        sending.send(&bytes(7, SENT..SENT + MORE));
        Self { line, cut_off, other, path, sending, _directory: directory }
    }

    /// A client goes on elsewhere, and completes the upload there.
    fn complete_elsewhere(&self) {
        let mut newer = self.other.connect();
        let offset = newer.offset(&self.path);
        assert!(offset < LENGTH);
        assert_eq!(newer.patch(&self.path, offset, &bytes(7, offset..LENGTH)).status, 204);
        self.is_undamaged(&self.other);
    }

    #[track_caller]
    fn is_undamaged(&self, server: &Example) {
        let ask = |method| server.connect().request(method, &self.path, &[], b"");
        assert_eq!(ask("HEAD").offset(), LENGTH);
        assert_same(&ask("GET").body, &bytes(7, 0..LENGTH));
    }

    /// The line is busy for a while with what has waited: until then, the server answers 503.
    fn reaches_the_bucket_again(&self, server: &Example) {
        for method in ["HEAD", "GET"] {
            wait_until(|| server.connect().request(method, &self.path, &[], b"").status != 503);
        }
    }
}

fn holds_nobody_up(moto: &Foreign, name: &str, how: Cut) {
    let mut pair = Pair::start(moto, name, how);
    pair.complete_elsewhere();
    // Its own clients are asked to come again, and the rest of the application answers.
    assert_eq!(pair.cut_off.connect().request("GET", "/", &[], b"").status, 200);
    let asked_to_come_again = |response: Response| {
        assert_eq!((response.status, response.header("retry-after")), (503, "1"), "{response:?}");
    };
    asked_to_come_again(pair.sending.response("PATCH"));
    let mut asking = pair.cut_off.connect();
    asking.head("HEAD", &pair.path, &[]);
    if cfg!(has_proc) && matches!(how, Cut::Unreachable) {
        wait_until(|| pair.line.is_tried());
    }
    asked_to_come_again(asking.response("HEAD"));
    // What was on its way arrives now.
    pair.line.mend();
    pair.reaches_the_bucket_again(&pair.cut_off);
    pair.is_undamaged(&pair.cut_off);
    pair.is_undamaged(&pair.other);
    let mut connection = pair.cut_off.connect();
    let next = connection.create(3 << 20);
    assert_eq!(connection.patch(&next, 0, &bytes(8, 0..3 << 20)).status, 204);
    assert_same(&pair.other.connect().request("GET", &next, &[], b"").body, &bytes(8, 0..3 << 20));
}

fn stops(moto: &Foreign, name: &str, how: Cut) {
    let mut pair = Pair::start(moto, name, how);
    let status = pair.cut_off.stops().expect("it still runs a minute after SIGTERM");
    assert!(status.success(), "{status}");
    pair.complete_elsewhere();
    pair.line.mend();
    pair.reaches_the_bucket_again(&pair.other);
    pair.is_undamaged(&pair.other);
}

fn with_each_example(test: impl Fn(&Foreign, &str, Cut) + Sync) {
    // They consist of waiting.
    thread::scope(|scope| {
        for (name, how) in EXAMPLES {
            let test = &test;
            scope.spawn(move || test(&Foreign::moto(), name, how));
        }
    });
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn a_server_that_is_cut_off_from_the_bucket_holds_nobody_up() {
    with_each_example(holds_nobody_up);
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn a_server_that_is_cut_off_from_the_bucket_stops() {
    with_each_example(stops);
}
