//! A proxy between a client and a server that breaks connections and stalls them, as determined by its seed.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What happens to a connection after a number of bytes from the client.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It breaks.
    Breaks,
    /// It is slow from the start, and then breaks.
    Slows,
    /// It stays open and accepts bytes, but forwards nothing more in either direction.
    FallsSilent,
    /// An intermediary answers that the server is unavailable, and closes it.
    Refuses,
}

/// The maximum time of a slow line for 16 KiB.
const PACE: Duration = Duration::from_millis(2);

/// A line to a server.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    fault: Fault,
    /// The number of connections that will still fail; later ones work.
    faults: AtomicU64,
    /// Bytes from the client, in all connections.
    carried: AtomicU64,
    random: AtomicU64,
    /// The maximum number of bytes that a failing connection carries.
    most: u64,
}

impl Line {
    /// The first `faults` connections fail somewhere before `most` bytes from the client have been forwarded.
    pub(crate) fn to(server: SocketAddr, fault: Fault, faults: u64, most: u64, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (faults, random) = (AtomicU64::new(faults), AtomicU64::new(seed));
        let shared = Arc::new(Shared { server, fault, faults, carried: AtomicU64::new(0), random, most });
        let accepting = shared.clone();
        // It ends with the process: a test starts few of them.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = accepting.clone();
                std::thread::spawn(move || shared.carry(&client));
            }
        });
        Self { address, shared }
    }

    /// New connections work from now on.
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
                    // The server's response is ignored.
                    silent.store(true, Ordering::Relaxed);
                    let _ = server.shutdown(Shutdown::Read);
                    // Until the client gives up. What it sends is read, so that the size of socket buffers makes no
                    // difference.
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

/// Returns whether it ended because that many bytes were copied.
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
