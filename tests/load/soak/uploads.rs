//! One upload as its client sees it: what the server reported, and whether it is true.

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use load::{
    content::bytes,
    http::{Connection, OCTETS, Response},
};

use crate::ledger::{Ledger, Timed};

/// What a client needs.
pub(crate) struct Client<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) ledger: &'a Ledger,
    /// The directory of the server's files.
    pub(crate) files: &'a Path,
}

/// An upload.
pub(crate) struct Upload {
    pub(crate) path: String,
    pub(crate) seed: u64,
    pub(crate) length: u64,
    /// What the server acknowledged.
    pub(crate) acknowledged: u64,
}

/// How long a killed server may be unavailable.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that may have been abandoned.
const MOVES: u32 = 5;

/// PATCHes up to this size are timed.
const SMALL: u64 = 64 * 1024;

pub(crate) const ENDPOINT: &str = tests::MOUNT;

impl Client<'_> {
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Connection::open(self.address) {
                Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                opened => return opened,
            }
        }
    }

    /// Retries on a new connection if one broke: the server may have been killed.
    pub(crate) fn stubbornly<T>(&self, mut act: impl FnMut(&mut Connection) -> io::Result<T>) -> io::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.connect().and_then(|mut connection| act(&mut connection)) {
                Err(_) if Instant::now() < until => self.ledger.count("requests that broke and were sent again"),
                done => return done,
            }
        }
    }

    /// Creates an upload with additional headers.
    pub(crate) fn create(&self, seed: u64, length: u64, headers: &str) -> io::Result<Upload> {
        let headers = format!("Upload-Length: {length}\r\n{headers}");
        let response = self.stubbornly(|connection| connection.request("POST", ENDPOINT, &headers, b""))?;
        self.created(&response, seed, length)
    }

    /// The upload that a response names.
    pub(crate) fn created(&self, response: &Response, seed: u64, length: u64) -> io::Result<Upload> {
        match (response.status, response.header("location")) {
            (201, Some(path)) => Ok(Upload { path: path.to_owned(), seed, length, acknowledged: 0 }),
            _ => Err(io::Error::other(format!("no upload was created: {response:?}"))),
        }
    }

    /// Asks for the offset of an upload. Acknowledged bytes must exist, and none that were not sent.
    pub(crate) fn inspect(&self, upload: &mut Upload, sent: u64) -> io::Result<u64> {
        let began = Instant::now();
        let mut tries = 0;
        let response = self.stubbornly(|connection| {
            tries += 1;
            connection.request("HEAD", &upload.path, "", b"")
        })?;
        if tries == 1 {
            self.ledger.timed(Timed::Head, began);
        }
        let Some(offset) = response.number("upload-offset").filter(|_| response.status == 200) else {
            return Err(io::Error::other(format!("HEAD of {} said {response:?}", upload.path)));
        };
        if offset < upload.acknowledged || offset > sent {
            let Upload { path, acknowledged, .. } = upload;
            self.ledger.violation(&format!("{path} is at {offset}; {acknowledged} were acknowledged, {sent} sent"));
        }
        upload.acknowledged = offset;
        Ok(offset)
    }

    /// Sends the upload up to `end` in one request, and resumes if that breaks.
    pub(crate) fn send(&self, upload: &mut Upload, end: u64, headers: &str) -> io::Result<()> {
        let mut connection = self.connect()?;
        let mut moved = 0;
        while upload.acknowledged < end {
            let start = upload.acknowledged;
            let began = Instant::now();
            let body = bytes(upload.seed, start, end);
            let headers = format!("Upload-Offset: {start}\r\n{OCTETS}{headers}");
            match connection.request("PATCH", &upload.path, &headers, &body) {
                Ok(response) if response.status == 204 && response.number("upload-offset") == Some(end) => {
                    if end - start <= SMALL {
                        self.ledger.timed(Timed::SmallPatch, began);
                    }
                    self.ledger.bytes(end - start);
                    upload.acknowledged = end;
                }
                // An abandoned request may have been read only after the response to HEAD.
                Ok(response) if matches!(response.status, 409 | 423) && moved < MOVES => {
                    moved += 1;
                    self.ledger.count("offsets that had moved on");
                    self.inspect(upload, end)?;
                }
                Ok(response) => return Err(io::Error::other(format!("PATCH of {} said {response:?}", upload.path))),
                Err(_) => {
                    self.ledger.count("bodies that broke and went on");
                    self.inspect(upload, end)?;
                    connection = self.connect()?;
                }
            }
        }
        Ok(())
    }

    /// Compares the file with what was sent, and deletes the upload.
    pub(crate) fn check_and_delete(&self, upload: &Upload, parts: &[(u64, u64)]) -> io::Result<()> {
        let name = upload.path.rsplit('/').next().unwrap_or_default();
        let mut file = File::open(self.files.join(name))?;
        for (seed, length) in parts {
            let mut start = 0;
            while start < *length {
                let end = (start + (1 << 20)).min(*length);
                let mut there = vec![0; (end - start) as usize];
                file.read_exact(&mut there)?;
                if there != bytes(*seed, start, end) {
                    self.ledger.violation(&format!("{}: other bytes between {start} and {end}", upload.path));
                }
                start = end;
            }
        }
        if file.read(&mut [0])? > 0 {
            self.ledger.violation(&format!("{}: the file is longer than the upload", upload.path));
        }
        self.delete(&upload.path)
    }

    pub(crate) fn delete(&self, path: &str) -> io::Result<()> {
        let response = self.stubbornly(|connection| connection.request("DELETE", path, "", b""))?;
        // A deletion whose response was lost is answered by 404 the second time.
        match response.status {
            204 | 404 => Ok(()),
            _ => Err(io::Error::other(format!("DELETE of {path} said {response:?}"))),
        }
    }
}
