//! HTTP/1.1 by hand, since the load has to break it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection to the server.
pub(crate) struct Connection(BufReader<TcpStream>);

/// A response: its status, its headers with their names in lower case, and its body.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const OCTETS: &str = "Content-Type: application/offset+octet-stream\r\n";

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads the response. `headers` are whole lines.
    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Response> {
        self.begin(method, path, headers, body.len() as u64)?;
        self.send(body)?;
        self.response(method == "HEAD")
    }

    /// Sends the head of a request with a body of this length.
    pub(crate) fn begin(&mut self, method: &str, path: &str, headers: &str, length: u64) -> io::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: soak\r\nTus-Resumable: 1.0.0\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.send(head.as_bytes())
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    pub(crate) fn response(&mut self, bodiless: bool) -> io::Result<Response> {
        let status = self.line()?;
        let status = status.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| invalid(&status))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        let length = response.number("content-length").unwrap_or(0);
        if !bodiless && status != 204 {
            response.body.resize(length as usize, 0);
            self.0.read_exact(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what:?} is no status line"))
}
