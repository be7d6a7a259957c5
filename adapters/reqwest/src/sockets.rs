//! The sockets of a client's connections, and their unsent bytes.
//!
//! What a connection accepts is not sent yet: the system buffers megabytes, which take minutes on a slow line.
//! Whether the line moves is visible only if the system reports how much it has not sent. Linux does, for any socket,
//! in `/proc/net/tcp`.

use std::{
    collections::VecDeque,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::Extensions;
use hyper_util::client::legacy::connect::{Connection, HttpInfo};
use tower_layer::Layer;
use tower_service::Service;

/// The addresses of a client's latest connections, as a layer of its connector.
#[derive(Clone, Default)]
pub(crate) struct Sockets(Arc<Mutex<VecDeque<Pair>>>);

/// The local address and the remote one.
type Pair = (SocketAddr, SocketAddr);

/// The number of connections that are remembered. A client has one for each server that redirects lead to, and uses
/// the latest ones.
const MOST: usize = 8;

impl Sockets {
    fn note(&self, connection: &impl Connection) {
        let mut extras = Extensions::new();
        connection.connected().get_extras(&mut extras);
        if let Some(info) = extras.get::<HttpInfo>() {
            let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            pairs.truncate(MOST - 1);
            pairs.push_front((info.local_addr(), info.remote_addr()));
        }
    }

    /// For each connection, the bytes that the other side has not acknowledged yet; `None` if the system does not
    /// report it.
    pub(crate) async fn unsent(&self) -> Option<Vec<u64>> {
        let pairs: Vec<_> = self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        match cfg!(any(target_os = "linux", target_os = "android")) && !pairs.is_empty() {
            true => tokio::task::spawn_blocking(move || queues(&pairs)).await.ok().flatten(),
            false => None,
        }
    }
}

/// The queues of those of the sockets that are open.
fn queues(pairs: &[Pair]) -> Option<Vec<u64>> {
    let mut queues = Vec::new();
    for version in ["tcp", "tcp6"] {
        // A system without IPv6 has one table.
        let table = std::fs::read_to_string(format!("/proc/self/net/{version}")).unwrap_or_default();
        queues.extend(table.lines().filter_map(row).filter(|(pair, _)| pairs.contains(pair)).map(|(_, unsent)| unsent));
    }
    Some(queues).filter(|queues| !queues.is_empty())
}

/// The addresses in a row, and the bytes in its queue (Linux, "proc_net_tcp": `sl local_address rem_address st
/// tx_queue:rx_queue …`), if the connection can still send.
fn row(line: &str) -> Option<(Pair, u64)> {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote, state, queues) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if ![ESTABLISHED, CLOSE_WAIT].contains(&state) {
        return None;
    }
    let unsent = u64::from_str_radix(queues.split(':').next()?, 16).ok()?;
    Some(((address(local)?, address(remote)?), unsent))
}

/// An address: its 32-bit words in the byte order of the machine, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..ip.len()).step_by(8).map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok());
    let octets: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    if let Ok(octets) = <[u8; 4]>::try_from(&octets[..]) {
        return Some((octets, port).into());
    }
    Some((<[u8; 16]>::try_from(&octets[..]).ok()?, port).into())
}

impl<S> Layer<S> for Sockets {
    type Service = Connecting<S>;

    fn layer(&self, inner: S) -> Connecting<S> {
        Connecting { inner, sockets: self.clone() }
    }
}

/// Makes connections, and remembers their addresses.
#[derive(Clone)]
pub(crate) struct Connecting<S> {
    inner: S,
    sockets: Sockets,
}

impl<S, R> Service<R> for Connecting<S>
where
    S: Service<R, Response: Connection, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (connecting, sockets) = (self.inner.call(request), self.sockets.clone());
        Box::pin(async move {
            let connection = connecting.await?;
            sockets.note(&connection);
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_have_addresses_and_queues() {
        let line = "   3: 0100007F:1F90 0200007F:C350 01 000186A0:00000000 01:00000014 00000000  0 0 7 2 0";
        let pair = ("127.0.0.1:8080".parse().unwrap(), "127.0.0.2:50000".parse().unwrap());
        assert_eq!(row(line), Some((pair, 100_000)));
        assert_eq!(row(&line.replace(" 01 0", " 04 0")), None, "it is closed");
        let line = "0: B80D0120000000000000000001000000:1F90 B80D0120000000000000000002000000:01BB 08 0000000A:0 0";
        let pair = ("[2001:db8::1]:8080".parse().unwrap(), "[2001:db8::2]:443".parse().unwrap());
        assert_eq!(row(line), Some((pair, 10)));
        for odd in
            ["", "  sl  local_address rem_address   st tx_queue rx_queue", "0: 00:0 0:0 01 x:0", "0: é:1 é:1 01 0:0"]
        {
            assert_eq!(row(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_system_reports_unsent_bytes() {
        use hyper_util::rt::TokioIo;
        use tokio::net::{TcpListener, TcpStream};
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A system without IPv6.
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let stream = TokioIo::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (other, _) = listener.accept().await.unwrap();
            let sockets = Sockets::default();
            assert_eq!(sockets.unsent().await, None, "no connection");
            sockets.note(&stream);
            assert_eq!(sockets.unsent().await, Some(vec![0]));
            let stream = stream.into_inner();
            stream.writable().await.unwrap();
            // Until the buffers of both sides are full.
            while stream.try_write(&[0; 1 << 16]).is_ok() {}
            let unsent = sockets.unsent().await.unwrap();
            assert!(unsent.len() == 1 && unsent[0] > 0, "{unsent:?}");
            drop((stream, other));
            assert_eq!(sockets.unsent().await, None, "it is closed");
        }
    }
}
