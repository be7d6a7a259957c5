//! Slow but not silent lines, and dead connections.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tus_reqwest::{Client, Connections, Error, Source, Waiting, client_builder};

use crate::{bytes, plain, server::tus};

/// The silence after which a request fails. With the default of 30 s, the line below would have 16 kbit/s.
const SILENCE: Duration = Duration::from_millis(1500);

/// What the line carries in each of its small steps: 40 kB/s.
const STEP: usize = 2 * 1024;
const STEPS: Duration = Duration::from_millis(50);

/// This takes four times the silence timeout.
const LENGTH: usize = 256 * 1024;

/// A line in front of a server. Its buffer is small, and the sender's is not: what the sender has written stays in
/// the sender's system for seconds. `deaths`: this many connections carry a part of that and then nothing.
fn slow_line(server: SocketAddr, deaths: usize) -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // Accepted connections inherit it.
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(100).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let deaths = Arc::new(AtomicUsize::new(deaths));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(server).unwrap();
            let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut to));
            let deaths = deaths.clone();
            std::thread::spawn(move || carry(client, server, &deaths));
        }
    });
    address
}

fn carry(mut from: TcpStream, mut to: TcpStream, deaths: &AtomicUsize) {
    let mut piece = [0; STEP];
    let mut carried = 0;
    while let Ok(length @ 1..) = from.read(&mut piece) {
        carried += length;
        let one_less = |left: usize| left.checked_sub(1);
        if carried > LENGTH / 8 && deaths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            loop {
                std::thread::park();
            }
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
        std::thread::sleep(STEPS);
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn over(line: SocketAddr) -> tus_reqwest::Builder {
    Client::builder(&format!("http://{line}/files")).options(plain().chunk_size(None)).timeout(SILENCE)
}

/// If the system does not report this, requests become smaller instead: see `a_silence_makes_requests_smaller`.
#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_slow_line_is_not_silent() {
    let (tus, server) = tus();
    for connections in [Connections::default(), Connections::from(client_builder())] {
        let client = over(slow_line(server.address, 0)).http(connections).build().unwrap();
        let before = server.count("PATCH");
        let uploaded = client.upload(Source::bytes(bytes(LENGTH))).send().await.unwrap();
        assert!(tus.uploads()[uploaded.url.path()].content == bytes(LENGTH));
        assert_eq!(server.count("PATCH") - before, 1, "{:?}", server.lines());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_dead_connection_with_full_buffers_is_silent() {
    let (tus, server) = tus();
    let client = over(slow_line(server.address, 1)).build().unwrap();
    let waits = Arc::new(Mutex::new(Vec::new()));
    let noted = waits.clone();
    let note = move |wait: &Waiting<'_>| noted.lock().unwrap().push(matches!(wait.reason, Error::Silent(_)));
    client.upload(Source::bytes(bytes(LENGTH))).on_wait(note).send().await.unwrap();
    assert!(tus.only() == bytes(LENGTH));
    assert_eq!(*waits.lock().unwrap(), [true]);
}
