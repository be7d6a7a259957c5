//! HTTP/1.1 by hand, since the load program has to break it.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A connection to the server.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

/// A response: its status, its headers with their names in lower case, and its body.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The header line for a body of bytes to append.
pub const OCTETS: &str = "Content-Type: application/offset+octet-stream\r\n";

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and reads the response. `headers` are complete lines.
    ///
    /// # Errors
    ///
    /// I/O errors, and invalid responses.
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Response> {
        self.begin(method, path, headers, body.len() as u64)?;
        self.send(body)?;
        self.response(method == "HEAD")
    }

    /// Sends the head of a request with a body of this length.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn begin(&mut self, method: &str, path: &str, headers: &str, length: u64) -> io::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: soak\r\nTus-Resumable: 1.0.0\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.send(head.as_bytes())
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Sends bytes of a file, from its beginning, without reading them.
    ///
    /// # Errors
    ///
    /// I/O errors.
    pub fn send_file(&mut self, file: &File, length: u64) -> io::Result<()> {
        let mut at = 0;
        while at < length {
            let left = (length - at) as usize;
            if rustix::fs::sendfile(self.0.get_ref(), file, Some(&mut at), left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Reads a response. One to HEAD has no body, whatever its length says.
    ///
    /// # Errors
    ///
    /// I/O errors, and invalid responses.
    pub fn response(&mut self, bodiless: bool) -> io::Result<Response> {
        let status = self.line()?;
        let status = status.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| invalid(&status))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if !bodiless && status != 204 {
            response.body = match response.header("transfer-encoding") {
                Some(_) => self.chunks()?,
                None => self.bytes(response.number("content-length").unwrap_or(0))?,
            };
        }
        Ok(response)
    }

    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Some peers do not give the length of even an empty body.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = u64::from_str_radix(&self.line()?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            body.extend(self.bytes(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
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
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The number in a header.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what:?} is not a status line"))
}
