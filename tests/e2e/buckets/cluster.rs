//! Several servers on one bucket behind a proxy that passes each connection to the next one.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use bucket::{Bucket, Operation};
use tests::{Framework, MOUNT};
use tus_reqwest::{Client, Options, Retry, Source, block_on};

use super::{read, server, servers::Foreign};
use crate::{
    client::Connection,
    content::{assert_same, bytes},
    harness::{self, Process, Server, comes},
    history::{LARGE, MANY, Servers, Size, fit, histories},
};

const LENGTH: u64 = 24 << 20;

/// Any client may reach any server with each of its requests. Histories are recorded concurrently, because they consist of
/// waiting. Returns how many parts their uploads have had.
fn parts_of_registers(count: usize, size: &Size, at_once: u64) -> u64 {
    let bucket = Bucket::default();
    let servers: Vec<_> = (0..count).map(|n| server(Framework::ALL[n % 3], &bucket)).collect();
    // Those that test the store.
    bucket.requests();
    let content = |path: &str| {
        let stored = super::loaded(&servers[0].1, path);
        harness::block_on(read(&servers[0].1, &stored))
    };
    let connect = |random: usize| Connection::open(servers[random % count].0.address);
    let all = Servers { connect: &connect, content: &content };
    let histories = histories().max(at_once);
    for first in (0..histories).step_by(at_once as usize) {
        thread::scope(|scope| {
            for seed in first..histories.min(first + at_once) {
                let all = &all;
                scope.spawn(move || fit(all, seed, size));
            }
        });
    }
    let requests = bucket.requests();
    eprintln!("{histories} histories on {count} servers: {requests:?}");
    requests.get(&Operation::Part).copied().unwrap_or(0) as u64
}

#[test]
fn an_upload_is_an_append_only_register_on_several_servers() {
    for count in [2, 3] {
        parts_of_registers(count, &MANY, 16);
    }
}

#[test]
fn an_upload_of_several_parts_is_an_append_only_register_on_several_servers() {
    for count in [2, 3] {
        let parts = parts_of_registers(count, &LARGE, 8);
        assert!(parts >= histories(), "{parts} parts");
    }
}

/// Passes each connection to the next server that accepts it.
struct RoundRobin {
    address: SocketAddr,
    shared: Arc<Mutex<Connections>>,
}

#[derive(Default)]
struct Connections {
    servers: Vec<SocketAddr>,
    next: usize,
    open: Vec<(SocketAddr, TcpStream)>,
}

impl RoundRobin {
    fn over(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Connections { servers, ..Connections::default() }));
        let accepting = shared.clone();
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = accepting.lock().unwrap().open(&client);
                if let Some(server) = server {
                    thread::spawn(move || carry(&client, &server));
                }
            }
        });
        Self { address, shared }
    }

    /// The server that got the last connection.
    fn last(&self) -> Option<SocketAddr> {
        self.shared.lock().unwrap().open.last().map(|open| open.0)
    }

    /// Replaces a server by another one or none. Its connections are closed, as load balancers do.
    fn replace(&self, server: SocketAddr, by: Option<SocketAddr>) {
        let mut shared = self.shared.lock().unwrap();
        shared.servers.retain(|address| *address != server);
        shared.servers.extend(by);
        for (_, client) in shared.open.extract_if(.., |open| open.0 == server) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl Connections {
    fn open(&mut self, client: &TcpStream) -> Option<TcpStream> {
        for _ in 0..self.servers.len() {
            self.next += 1;
            let address = self.servers[self.next % self.servers.len()];
            if let Ok(server) = TcpStream::connect(address) {
                self.open.push((address, client.try_clone().ok()?));
                return Some(server);
            }
        }
        None
    }
}

fn carry(client: &TcpStream, server: &TcpStream) {
    thread::scope(|scope| {
        for (mut from, mut to) in [(client, server), (server, client)] {
            scope.spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
            });
        }
    });
}

fn signal(process: &Process, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.number().to_string()]).status().unwrap().success());
}

/// What happens to a server while a client uploads.
#[derive(Clone, Copy)]
enum Trouble {
    /// It is killed, and another one replaces it.
    Killed,
    /// It is suspended until others have continued without it, beyond every timeout.
    Stopped,
}

/// A client uploads through the proxy while all servers, one after the other, have trouble.
fn survives(moto: &Foreign, count: usize, trouble: Trouble) {
    let server = moto.server(Framework::Axum);
    let processes: Vec<_> = (0..count).map(|_| server.spawn().unwrap()).collect();
    let proxy = RoundRobin::over(processes.iter().map(|process| process.address).collect());
    let retry = Retry::default().retries(1000).delay(Duration::from_millis(20), Duration::from_millis(200));
    let options = Options::default().retry(retry).chunk_size(Some(3 << 20));
    let client = Client::builder(&format!("http://{}{MOUNT}", proxy.address)).options(options).build().unwrap();
    let (uploads, is_done) = (server.uploads(), AtomicBool::new(false));
    let url = thread::scope(|scope| {
        let (uploads, is_done, proxy) = (&uploads, &is_done, &proxy);
        let troubled = scope.spawn(move || make_trouble(&server, proxy, processes, trouble, is_done, uploads));
        let uploaded = block_on(client.upload(Source::bytes(bytes(6, 0..LENGTH))).send()).unwrap();
        is_done.store(true, SeqCst);
        let processes = troubled.join().unwrap();
        // If the server was killed while it assembled the parts, another one does it when the claim has expired.
        assert!((0..3).any(|_| comes(|| uploads.is_finished(uploaded.url.path()))), "no server assembles it");
        drop(processes);
        uploaded.url
    });
    assert_same(&uploads.content(url.path()), &bytes(6, 0..LENGTH));
}

/// As many times as there are servers, the one that has the client's connection gets trouble.
fn make_trouble(
    server: &Server,
    proxy: &RoundRobin,
    mut processes: Vec<Process>,
    trouble: Trouble,
    is_done: &AtomicBool,
    uploads: &harness::Uploads,
) -> Vec<Process> {
    let goes_on = |by: u64| {
        let before = uploads.total();
        assert!(comes(|| uploads.total() >= before + by || is_done.load(SeqCst)), "no client continues");
    };
    for _ in 0..processes.len() {
        goes_on(1);
        let Some(at) = processes.iter().position(|process| Some(process.address) == proxy.last()) else { continue };
        let address = processes[at].address;
        match trouble {
            Trouble::Killed => {
                let new = server.spawn().unwrap();
                proxy.replace(address, Some(new.address));
                std::mem::replace(&mut processes[at], new).kill();
            }
            Trouble::Stopped => {
                signal(&processes[at], "-STOP");
                proxy.replace(address, None);
                goes_on(3 << 20);
                signal(&processes[at], "-CONT");
                proxy.replace(address, Some(address));
            }
        }
    }
    processes
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn an_upload_survives_servers_that_are_killed() {
    let moto = Foreign::moto();
    survives(&moto, 2, Trouble::Killed);
    survives(&moto, 3, Trouble::Killed);
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn an_upload_survives_servers_that_are_suspended_past_every_timeout() {
    let moto = Foreign::moto();
    survives(&moto, 2, Trouble::Stopped);
    survives(&moto, 3, Trouble::Stopped);
}
