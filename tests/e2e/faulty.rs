//! A line between a client and a server that breaks and falls silent as its seed wants it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What becomes of a connection when so many bytes of it have come from the client.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It breaks.
    Breaks,
    /// It is slow from its beginning, and breaks then.
    Slows,
    /// It stays and takes all that comes, and no byte comes through any more, in neither direction.
    FallsSilent,
    /// Somebody on the way answers that the server is not there, and closes it.
    Refuses,
}

/// How long a slow line takes for 16 KiB at the most.
const PACE: Duration = Duration::from_millis(2);

/// A line to a server.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    fault: Fault,
    /// Connections that still go wrong; those after them do not.
    faults: AtomicU64,
    /// Bytes from the client, in all connections.
    carried: AtomicU64,
    random: AtomicU64,
    /// The most that one that goes wrong carries.
    most: u64,
}

impl Line {
    /// The first connections, so many, go wrong somewhere before `most` bytes have come from the client.
    pub(crate) fn to(server: SocketAddr, fault: Fault, faults: u64, most: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (faults, random) = (AtomicU64::new(faults), AtomicU64::new(seed));
        let shared = Arc::new(Shared { server, fault, faults, carried: AtomicU64::new(0), random, most });
        let accepting = shared.clone();
        // It ends with the process: a test has few of them.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = accepting.clone();
                std::thread::spawn(move || shared.carry(&client));
            }
        });
        Self { address, shared }
    }

    /// From now on it is a good line for those who come.
    pub(crate) fn mend(&self) {
        self.shared.faults.store(0, Ordering::Relaxed);
    }

    pub(crate) fn faults_left(&self) -> u64 {
        self.shared.faults.load(Ordering::Relaxed)
    }

    /// Bytes that came from the client.
    pub(crate) fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn carry(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else {
            return;
        };
        let one_less = |left: u64| left.checked_sub(1);
        let faulty = self.faults.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        let until = if faulty { self.random() % self.most } else { u64::MAX };
        let silent = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                copy(&server, client, u64::MAX, |_| {});
                if !silent.load(Ordering::Relaxed) {
                    let _ = client.shutdown(Shutdown::Both);
                }
            });
            let broke = copy(client, &server, until, |bytes| {
                self.carried.fetch_add(bytes, Ordering::Relaxed);
                if faulty && matches!(self.fault, Fault::Slows) {
                    std::thread::sleep(PACE);
                }
            });
            match self.fault {
                Fault::FallsSilent if broke => {
                    // The server may say what it likes.
                    silent.store(true, Ordering::Relaxed);
                    let _ = server.shutdown(Shutdown::Read);
                    // Until the client has had enough of it. What it sends is taken, so that it makes no difference
                    // how much the sockets on the way would hold.
                    let mut ignored = [0; 4096];
                    while matches!((&*client).read(&mut ignored), Ok(1..)) {}
                }
                Fault::Refuses if broke => {
                    let _ = (&*client).write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
                }
                _ => {}
            }
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    }

    /// Splitmix64.
    fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Whether it ended because so many bytes were copied.
fn copy(mut from: &TcpStream, mut to: &TcpStream, until: u64, count: impl Fn(u64)) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut copied = 0;
    while copied < until {
        let room = usize::try_from(until - copied).map_or(buffer.len(), |left| left.min(buffer.len()));
        let Ok(read @ 1..) = from.read(&mut buffer[..room]) else {
            return false;
        };
        copied += read as u64;
        count(read as u64);
        if to.write_all(&buffer[..read]).is_err() {
            return false;
        }
    }
    true
}
