//! HTTP/1.1 by hand, because tests break it in the middle.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::harness::wait_until;

/// A connection to a server.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    client: SocketAddr,
    server: SocketAddr,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// How long a test waits for a response before it fails. A store that does one request at a time may be busy for a minute.
const PATIENCE: Duration = Duration::from_secs(180);

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap()
    }

    /// Connects to a server that may be gone.
    pub(crate) fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        TcpStream::connect(address).map(Self::over)
    }

    /// A connection over this stream.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let (client, server) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        Self { client, server, stream: BufReader::new(stream) }
    }

    /// The local port, which identifies the connection to the server.
    pub(crate) fn port(&self) -> u16 {
        self.client.port()
    }

    /// Sends a request with its body and reads the response. `Host`, `Tus-Resumable` and
    /// `Content-Length` are added if they are missing.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        self.try_request(method, path, headers, body).expect("a response")
    }

    /// The same for a server that may be gone before it responds.
    pub(crate) fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Response> {
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        let framed = headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if !framed {
            headers.push(("Content-Length", &length));
        }
        // If the server does not read everything, it may have responded.
        let _ = self.try_send(&head(method, path, &headers)).and_then(|()| self.try_send(body));
        self.try_response(method)
    }

    /// Sends the head of a request.
    pub(crate) fn head(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        self.send(&head(method, path, headers));
    }

    /// Sends raw bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends raw bytes to a server that may no longer accept them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads a response, skipping interim ones.
    #[track_caller]
    pub(crate) fn response(&mut self, method: &str) -> Response {
        self.try_response(method).expect("a response")
    }

    /// Reads a response, skipping interim ones; `None` if the connection is closed instead.
    pub(crate) fn try_response(&mut self, method: &str) -> Option<Response> {
        loop {
            let response = self.any_response(method)?;
            if response.status >= 200 {
                return Some(response);
            }
        }
    }

    /// Reads a response, also `100 Continue`; `None` if the connection is closed instead.
    pub(crate) fn any_response(&mut self, method: &str) -> Option<Response> {
        let status_line = self.line()?;
        let status = status_line.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().unwrap();
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap());
        }
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        assert!(!headers.contains_key("transfer-encoding"), "every body has its length");
        let mut body = vec![0; if bodiless { 0 } else { length }];
        unless_broken(self.stream.read_exact(&mut body))?;
        Some(Response { status, headers, body })
    }

    /// Everything that the server sends until it closes the connection.
    pub(crate) fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the server has closed the connection and sent nothing more.
    pub(crate) fn is_closed(&mut self) -> bool {
        unless_broken(self.stream.fill_buf()).is_none_or(<[u8]>::is_empty)
    }

    /// Whether the next bytes are these. They are not read.
    pub(crate) fn begins(&mut self, with: &str) -> bool {
        self.stream.fill_buf().unwrap().starts_with(with.as_bytes())
    }

    /// Whether unread bytes from the server have arrived, without waiting for them.
    pub(crate) fn has_answered(&mut self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let answered = stream.peek(&mut [0]).is_ok();
        stream.set_nonblocking(false).unwrap();
        answered
    }

    /// Waits until the server's kernel has received everything that was sent. `None` if that cannot be observed.
    pub(crate) fn wait_until_received(&self) -> Option<()> {
        self.queued()?;
        wait_until(|| self.queued().is_some_and(|(unacknowledged, _)| unacknowledged == 0));
        Some(())
    }

    /// Waits until the server has read everything that was sent. `None` if that cannot be observed.
    pub(crate) fn wait_until_read(&self) -> Option<()> {
        self.queued()?;
        wait_until(|| self.queued() == Some((0, 0)));
        Some(())
    }

    /// Waits until the server cannot send more, because nothing is read here. `None` if that cannot be observed.
    pub(crate) fn wait_until_unread(&self) -> Option<()> {
        self.queues()?;
        wait_until(|| self.queues().is_some_and(|[client, server]| client.1 > 0 && server.0 > 0));
        Some(())
    }

    /// Bytes in transit to the server, and bytes waiting there, from the kernel's table.
    fn queued(&self) -> Option<(u64, u64)> {
        self.queues().map(|[client, server]| (client.0, server.1))
    }

    /// Bytes to be sent and to be read, at the client and at the server, from the kernel's table.
    fn queues(&self) -> Option<[(u64, u64); 2]> {
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        // A closed socket has no row.
        let queues = |local: SocketAddr, remote: SocketAddr| {
            let is = |field: &str, address: SocketAddr| field.ends_with(&format!(":{:04X}", address.port()));
            let row = rows.iter().find(|row| is(row[1], local) && is(row[2], remote))?;
            let (sending, receiving) = row[4].split_once(':')?;
            Some((u64::from_str_radix(sending, 16).ok()?, u64::from_str_radix(receiving, 16).ok()?))
        };
        Some([(self.client, self.server), (self.server, self.client)].map(|(a, b)| queues(a, b).unwrap_or_default()))
    }

    /// Closes the connection cleanly: FIN.
    pub(crate) fn finish(&self) {
        self.stream.get_ref().shutdown(Shutdown::Both).unwrap();
    }

    /// Breaks the connection: RST.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = unless_broken(self.stream.read_line(&mut line))?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    // Helpers for most tests.

    /// Creates an upload, and returns its path.
    pub(crate) fn create(&mut self, length: u64) -> String {
        self.create_with(&[("Upload-Length", &length.to_string())])
    }

    /// Creates an upload as the headers say, and returns its path.
    #[track_caller]
    pub(crate) fn create_with(&mut self, headers: &[(&str, &str)]) -> String {
        let response = self.request("POST", tests::MOUNT, headers, b"");
        assert_eq!(response.status, 201, "{response:?}");
        response.header("location").to_owned()
    }

    /// Adds bytes to an upload.
    pub(crate) fn patch(&mut self, path: &str, offset: u64, body: &[u8]) -> Response {
        let offset = offset.to_string();
        self.request("PATCH", path, &[("Upload-Offset", &offset), ("Content-Type", OCTETS)], body)
    }

    /// Starts a request that adds bytes to an upload, without sending any yet.
    pub(crate) fn begin_patch(&mut self, path: &str, offset: u64, length: u64) {
        let (offset, length) = (offset.to_string(), length.to_string());
        self.head("PATCH", path, &[("Upload-Offset", &offset), ("Content-Type", OCTETS), ("Content-Length", &length)]);
    }

    /// Starts a chunked request that adds bytes to an upload, without sending any yet.
    pub(crate) fn begin_chunked_patch(&mut self, path: &str, offset: u64, more: &[(&str, &str)]) {
        let offset = offset.to_string();
        let mut headers = vec![("Upload-Offset", &*offset), ("Content-Type", OCTETS), CHUNKED];
        headers.extend(more);
        self.head("PATCH", path, &headers);
    }

    /// Sends one chunk of a body. One without bytes ends it, when the lines of its trailer have followed.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) {
        self.send(&chunk(bytes));
    }

    /// The offset of an upload.
    #[track_caller]
    pub(crate) fn offset(&mut self, path: &str) -> u64 {
        let response = self.request("HEAD", path, &[], b"");
        assert_eq!(response.status, 200, "{response:?}");
        response.offset()
    }
}

/// The head of a request.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    let mut push = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
    for (name, value) in [("Host", "tus.example.org"), ("Tus-Resumable", "1.0.0")] {
        if !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            push(name, value);
        }
    }
    headers.iter().for_each(|(name, value)| push(name, value));
    head.push_str("\r\n");
    head.into_bytes()
}

/// The media type of bytes to append.
pub(crate) const OCTETS: &str = "application/offset+octet-stream";

/// The header of a chunked body.
pub(crate) const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

/// One chunk of a body. The last one has no bytes, and the lines of the trailer and an empty one come after it.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let end: &[u8] = if bytes.is_empty() { b"" } else { b"\r\n" };
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, end].concat()
}

/// A body in one chunk, without a trailer.
pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    [&*chunk(body), b"0\r\n\r\n"].concat()
}

/// The result of a read; `None` if the connection is broken. A timeout fails the test.
fn unless_broken<T>(read: std::io::Result<T>) -> Option<T> {
    match read {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => panic!("no response came"),
        read => read.ok(),
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} in {self:?}")).to_str().unwrap()
    }

    pub(crate) fn offset(&self) -> u64 {
        self.header("upload-offset").parse().unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
