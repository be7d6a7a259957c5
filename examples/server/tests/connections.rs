//! The number of connections, and their end.

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::program::{PATIENCE, Server, Setup};

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(&*server.address).await.unwrap()
}

async fn ask(connection: &mut TcpStream) {
    connection.write_all(b"OPTIONS /files HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
}

/// Reads the head of a response, which has no body.
async fn answered(connection: &mut TcpStream) {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, read).await.expect("a response in time");
    assert!(head.starts_with(b"HTTP/1.1 204 "), "{}", String::from_utf8_lossy(&head));
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_for_another_to_end() {
    let server = Setup::new().set("TUS_MAX_CONNECTIONS", "1").start().await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    ask(&mut first).await;
    answered(&mut first).await;
    ask(&mut second).await;
    for _ in 0..20 {
        ask(&mut first).await;
        answered(&mut first).await;
        assert!(second.try_read(&mut [0]).is_err(), "the second connection is served as well");
    }
    drop(first);
    answered(&mut second).await;
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_ends_as_soon_as_the_server_stops() {
    let server = Setup::new().set("TUS_GRACE", "3600").start().await;
    let (mut idle, mut silent) = (connect(&server).await, connect(&server).await);
    ask(&mut idle).await;
    answered(&mut idle).await;
    server.signal(Signal::TERM);
    for connection in [&mut idle, &mut silent] {
        assert_eq!(timeout(PATIENCE, connection.read(&mut [0])).await.expect("it ends").unwrap_or(0), 0);
    }
    assert!(server.ended().await);
}
