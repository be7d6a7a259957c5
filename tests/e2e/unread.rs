//! Downloads that their clients do not read. They take little memory, and end.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use socket2::{Domain, SockAddr, Socket, Type};
use tests::{Framework, Store};

use crate::{
    client::Connection,
    content::bytes,
    harness::{Process, Server, block_on, id, missing, wait_until},
};

/// More than sockets buffer.
const LENGTH: u64 = 8 << 20;

const DOWNLOADS: usize = 200;

/// The memory that a download may use, in KiB.
const EACH: u64 = 160;

/// What a client's socket buffers, so that its download stalls soon.
const WINDOW: usize = 32 << 10;

/// The server gives up a client that reads nothing.
const GIVES_UP: &[(&str, &str)] = &[("DOWNLOAD_TIMEOUT_MS", "300")];

/// A server process that serves downloads, and the path of a finished upload.
fn serving(framework: Framework, variables: &[(&str, &str)]) -> (Server, Process, String) {
    let server = Server::new(framework, Store::Buffered);
    let process = server.spawn_with(&[&[("DOWNLOADS", "on")], variables].concat()).unwrap();
    let mut connection = process.connect();
    let path = connection.create(LENGTH);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..LENGTH)).status, 204);
    // When the hooks are done.
    wait_until(|| connection.request("GET", &path, &[], b"").status == 200);
    drop(connection);
    wait_until(|| process.connections() == 0);
    (server, process, path)
}

/// The same; a server that has had as many connections as will come has warmed up.
fn warm(framework: Framework) -> (Server, Process, String) {
    let (server, process, path) = serving(framework, &[]);
    let mut crowd: Vec<_> = (0..DOWNLOADS).map(|_| process.connect()).collect();
    for connection in &mut crowd {
        assert_eq!(connection.offset(&path), LENGTH);
    }
    (server, process, path)
}

/// A connection whose socket buffers little.
fn narrow(address: SocketAddr) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(WINDOW).unwrap();
    socket.connect(&SockAddr::from(address)).unwrap();
    Connection::over(TcpStream::from(socket))
}

/// Asserts that downloads increase the server's memory only a little.
fn assert_little(process: &Process, idle: Option<u64>) {
    let Some((idle, now)) = idle.zip(process.memory("VmRSS")) else {
        missing("/proc does not show how much memory a process uses");
    };
    let each = now.saturating_sub(idle) / DOWNLOADS as u64;
    eprintln!("{DOWNLOADS} unread downloads: {idle} KiB before, {now} KiB now, {each} KiB each");
    assert!(each <= EACH, "{each} KiB each: {idle} KiB before, {now} KiB now");
}

#[test]
#[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
fn unread_downloads_take_little_memory() {
    Framework::ALL.into_iter().for_each(unread_downloads);
}

fn unread_downloads(framework: Framework) {
    let (_server, process, path) = warm(framework);
    let idle = process.memory("VmRSS");
    let unread: Vec<_> = (0..DOWNLOADS)
        .map(|_| {
            let mut connection = narrow(process.address);
            connection.head("GET", &path, &[]);
            connection
        })
        .collect();
    for connection in &unread {
        if connection.wait_until_unread().is_none() {
            missing("/proc/net/tcp does not show what the server cannot send");
        }
    }
    assert_little(&process, idle);
}

#[test]
#[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
fn unread_streams_take_little_memory() {
    Framework::ALL.into_iter().for_each(unread_streams);
}

fn unread_streams(framework: Framework) {
    let (_server, process, path) = warm(framework);
    let idle = process.memory("VmRSS");
    for window in [0, 4096] {
        block_on(async {
            let stream = tokio::net::TcpStream::connect(process.address).await.unwrap();
            let (requests, connection) = h2::client::Builder::new()
                .initial_window_size(window)
                .initial_connection_window_size(1 << 24)
                .handshake::<_, Bytes>(stream)
                .await
                .unwrap();
            let connection = tokio::spawn(connection);
            let download = || {
                let mut requests = requests.clone();
                let request = Request::get(format!("http://tus.example.org{path}")).body(()).unwrap();
                async move {
                    requests = requests.ready().await.unwrap();
                    let (response, _) = requests.send_request(request, true).unwrap();
                    let mut response = response.await.unwrap();
                    assert_eq!(response.status(), 200);
                    if window > 0 {
                        assert!(!response.body_mut().data().await.unwrap().unwrap().is_empty());
                    }
                    response
                }
            };
            let unread = join_all((0..DOWNLOADS).map(|_| download())).await;
            assert_little(&process, idle);
            drop(unread);
            connection.abort();
        });
    }
}

#[test]
#[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
fn a_download_that_is_not_read_is_aborted() {
    for framework in Framework::ALL {
        let (_server, process, path) = serving(framework, GIVES_UP);
        let mut connection = narrow(process.address);
        connection.head("GET", &path, &[]);
        wait_until(|| connection.has_answered());
        wait_until(|| !process.has_open(id(&path).as_str()));
        // What the framework has buffered goes with the connection, although the client reads none of it.
        wait_until(|| process.connections() == 0);
        // What the sockets have buffered still arrives, and then the end: not all of it.
        let came = connection.text().len() as u64;
        assert!(came < LENGTH, "{framework}: {came} bytes came");
        assert_eq!(process.connect().offset(&path), LENGTH);
    }
}

/// Over HTTP/2 no framework gives up a stream whose client has no room for it.
#[test]
#[cfg_attr(not(has_proc), ignore = "/proc does not show sockets and memory")]
fn who_reads_no_stream_is_given_up() {
    for (framework, window) in Framework::ALL.into_iter().flat_map(|framework| [(framework, 0), (framework, 4096)]) {
        let (_server, process, path) = serving(framework, GIVES_UP);
        block_on(async {
            let stream = tokio::net::TcpStream::connect(process.address).await.unwrap();
            let builder = h2::client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(stream);
            let (requests, connection) = builder.await.unwrap();
            let connection = tokio::spawn(connection);
            let mut requests = requests.ready().await.unwrap();
            let request = Request::get(format!("http://tus.example.org{path}")).body(()).unwrap();
            let response = requests.send_request(request, true).unwrap().0.await.unwrap();
            assert_eq!(response.status(), 200);
            let ended = tokio::time::timeout(Duration::from_secs(60), connection).await;
            assert!(ended.is_ok(), "{framework}, window of {window}: the connection stays");
        });
        wait_until(|| process.connections() == 0 && !process.has_open(id(&path).as_str()));
        assert_eq!(process.connect().offset(&path), LENGTH);
    }
}
