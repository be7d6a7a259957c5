//! The workloads.

use std::{
    error::Error,
    fmt,
    fs::File,
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Barrier, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::ValueEnum;
use load::{
    content::bytes,
    http::{Connection, OCTETS, Response},
};
use sha1::{Digest, Sha1};
use tests::MOUNT;

use crate::servers::Kind;

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One upload in one PATCH.
    Large,
    /// One upload in successive PATCHes of 1 MiB on one connection.
    Pieces,
    /// New uploads of one PATCH of 1 KiB, on 16 connections.
    Small,
    /// 64 uploads of one PATCH at the same time.
    Crowd,
    /// HEAD of uploads at random, on 16 connections.
    Inspect,
    /// The same with 50 times as many uploads; only on request.
    InspectMany,
    /// 9,500 concurrent uploads (each needs two descriptors), a KiB of each at a time; only on request.
    Slow,
    /// One upload in PATCHes of 8 MiB.
    Plain,
    /// The same with a SHA-1 of each.
    Verified,
}

/// The size of a workload.
#[derive(Debug)]
pub(crate) struct Sizes {
    pub(crate) large: u64,
    pieces: u64,
    small: u64,
    crowd: u64,
    uploads: u64,
    inspections: u64,
    slow: u64,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        large: 2 << 30,
        pieces: 512 * MIB,
        small: 8000,
        crowd: 32 * MIB,
        uploads: 20_000,
        inspections: 100_000,
        slow: 9500,
    };
    pub(crate) const QUICK: Self = Self {
        large: 200 * MIB,
        pieces: 50 * MIB,
        small: 800,
        crowd: 3 * MIB,
        uploads: 2000,
        inspections: 10_000,
        slow: 1000,
    };
}

const KIB: usize = 1024;
const MIB: u64 = 1 << 20;

/// Bytes of a slow upload.
const SLOW: u64 = 16 * KIB as u64;

const CONNECTIONS: u64 = 16;

/// The result of a workload.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) elapsed: Duration,
    /// Bytes sent.
    pub(crate) bytes: u64,
    pub(crate) latencies: Vec<Duration>,
    /// Complete uploads, and their lengths.
    uploads: Vec<(String, u64)>,
}

/// A workload whose uploads are created.
pub(crate) struct Work<'a> {
    workload: Workload,
    address: SocketAddr,
    sizes: &'a Sizes,
    content: &'a File,
    paths: Vec<String>,
    /// The beginning of the content, and the header with its checksum.
    piece: Vec<u8>,
    checksum: String,
}

impl Workload {
    /// Workloads without a long preparation.
    pub(crate) const USUAL: [Self; 7] =
        [Self::Large, Self::Pieces, Self::Small, Self::Crowd, Self::Inspect, Self::Plain, Self::Verified];

    /// Bare servers verify nothing, nor do some peers.
    pub(crate) fn runs_on(self, kind: Kind) -> bool {
        self != Self::Verified || kind.verifies()
    }

    /// Whether requests are counted, or bytes.
    pub(crate) fn counts_requests(self) -> bool {
        matches!(self, Self::Small | Self::Inspect | Self::InspectMany | Self::Slow)
    }

    pub(crate) fn prepare<'a>(
        self,
        address: SocketAddr,
        sizes: &'a Sizes,
        content: &'a File,
    ) -> Result<Work<'a>, Box<dyn Error>> {
        let (uploads, length) = match self {
            Self::Large => (1, sizes.large),
            Self::Pieces | Self::Plain | Self::Verified => (1, sizes.pieces),
            Self::Crowd => (64, sizes.crowd),
            Self::Inspect => (sizes.uploads, 1000),
            Self::InspectMany => (50 * sizes.uploads, 1000),
            Self::Slow => (sizes.slow, SLOW),
            Self::Small => (0, 0),
        };
        let (_, paths) = on_connections(address, uploads, |connection, _| create(connection, length).map(Some))?;
        let mut piece = vec![0; PIECE as usize];
        content.read_exact_at(&mut piece, 0)?;
        let checksum = format!("Upload-Checksum: sha1 {}\r\n", BASE64_STANDARD.encode(Sha1::digest(&piece)));
        Ok(Work { workload: self, address, sizes, content, paths, piece, checksum })
    }

    /// Offsets and contents.
    pub(crate) fn check(
        self,
        address: SocketAddr,
        kind: Kind,
        directory: &Path,
        done: &Done,
        content: &File,
    ) -> Result<(), Box<dyn Error>> {
        let mut connection = Connection::open(address)?;
        for (path, length) in &done.uploads {
            let response = connection.request("HEAD", path, "", b"")?;
            if response.number("upload-offset") != Some(*length) {
                return Err(format!("{self}: {path} should be at {length}: {response:?}").into());
            }
            let name = path.rsplit('/').next().unwrap_or_default();
            let mut file = File::open(kind.file(directory, name)?)?;
            // Every request starts at the beginning of the content.
            let request = self.request_bytes(*length);
            let mut expected = vec![0; request.min(PIECE) as usize];
            let mut there = expected.clone();
            content.read_exact_at(&mut expected, 0)?;
            if file.metadata()?.len() != *length || file.read_exact(&mut there).is_err() || there != expected {
                return Err(format!("{self}: {path} has wrong content").into());
            }
        }
        Ok(())
    }

    fn request_bytes(self, length: u64) -> u64 {
        match self {
            Self::Pieces => MIB.min(length),
            Self::Plain | Self::Verified => PIECE.min(length),
            _ => length,
        }
    }
}

/// Bytes of a PATCH with a checksum.
const PIECE: u64 = 8 * MIB;

impl Work<'_> {
    pub(crate) fn run(self) -> io::Result<Done> {
        match self.workload {
            Workload::Large => self.appends(self.sizes.large, ""),
            Workload::Pieces => self.appends(MIB, ""),
            Workload::Plain => self.appends(PIECE, ""),
            Workload::Verified => self.appends(PIECE, &self.checksum),
            Workload::Crowd => self.crowd(),
            Workload::Small => self.on_connections(self.sizes.small, |connection, _| {
                let path = create(connection, 1000)?;
                let headers = format!("Upload-Offset: 0\r\n{OCTETS}");
                appended(&connection.request("PATCH", &path, &headers, &self.piece[..1000])?, 1000)?;
                Ok(Some((path, 1000)))
            }),
            Workload::Slow => self.slow(),
            Workload::Inspect | Workload::InspectMany => {
                self.on_connections(self.sizes.inspections, |connection, number| {
                    let at = fastrand::Rng::with_seed(number).usize(0..self.paths.len());
                    let response = connection.request("HEAD", &self.paths[at], "", b"")?;
                    if response.status == 200 { Ok(None) } else { Err(refused(&response)) }
                })
            }
        }
    }

    /// One upload, in requests of a size.
    fn appends(&self, size: u64, headers: &str) -> io::Result<Done> {
        let mut connection = Connection::open(self.address)?;
        let length = if self.workload == Workload::Large { self.sizes.large } else { self.sizes.pieces / size * size };
        let mut latencies = Vec::new();
        let began = Instant::now();
        for offset in (0..length).step_by(size as usize) {
            let sent = Instant::now();
            append(&mut connection, &self.paths[0], offset, size, headers, self.content)?;
            latencies.push(sent.elapsed());
        }
        Ok(Done { elapsed: began.elapsed(), bytes: length, latencies, uploads: vec![(self.paths[0].clone(), length)] })
    }

    fn crowd(&self) -> io::Result<Done> {
        let start = Barrier::new(self.paths.len() + 1);
        let length = self.sizes.crowd;
        thread::scope(|scope| {
            let senders: Vec<_> = self
                .paths
                .iter()
                .map(|path| {
                    let start = &start;
                    scope.spawn(move || {
                        let connection = Connection::open(self.address);
                        start.wait();
                        let sent = Instant::now();
                        append(&mut connection?, path, 0, length, "", self.content)?;
                        Ok(sent.elapsed())
                    })
                })
                .collect();
            start.wait();
            let began = Instant::now();
            let latencies: io::Result<Vec<_>> = senders.into_iter().map(result_of).collect();
            let uploads: Vec<_> = self.paths.iter().map(|path| (path.clone(), length)).collect();
            let bytes = length * uploads.len() as u64;
            Ok(Done { elapsed: began.elapsed(), bytes, latencies: latencies?, uploads })
        })
    }

    /// Every upload gets a KiB, and then every upload gets the next one.
    fn slow(&self) -> io::Result<Done> {
        let began = Instant::now();
        let mut connections = Vec::new();
        for path in &self.paths {
            let mut connection = Connection::open(self.address)?;
            connection.begin("PATCH", path, &format!("Upload-Offset: 0\r\n{OCTETS}"), SLOW)?;
            connections.push(connection);
        }
        for at in (0..SLOW as usize).step_by(KIB) {
            for connection in &mut connections {
                connection.send(&self.piece[at..at + KIB])?;
            }
        }
        let mut latencies = Vec::new();
        for connection in &mut connections {
            appended(&connection.response(false)?, SLOW)?;
            latencies.push(began.elapsed());
        }
        let uploads: Vec<_> = self.paths.iter().map(|path| (path.clone(), SLOW)).collect();
        Ok(Done { elapsed: began.elapsed(), bytes: SLOW * uploads.len() as u64, latencies, uploads })
    }

    /// Repeats an operation. Those that add an upload return it.
    fn on_connections(
        &self,
        count: u64,
        act: impl Fn(&mut Connection, u64) -> io::Result<Option<(String, u64)>> + Sync,
    ) -> io::Result<Done> {
        let began = Instant::now();
        let (latencies, uploads) = on_connections(self.address, count, act)?;
        let elapsed = began.elapsed();
        let bytes = uploads.iter().map(|(_, length)| length).sum();
        Ok(Done { elapsed, bytes, latencies, uploads })
    }
}

/// Repeats an operation on several connections: how long each took, and what each created.
fn on_connections<T: Send>(
    address: SocketAddr,
    count: u64,
    act: impl Fn(&mut Connection, u64) -> io::Result<Option<T>> + Sync,
) -> io::Result<(Vec<Duration>, Vec<T>)> {
    let (next, all_made) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let latencies: io::Result<Vec<Vec<_>>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address)?;
                    let (mut latencies, mut made) = (Vec::new(), Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            break;
                        }
                        let sent = Instant::now();
                        made.extend(act(&mut connection, number)?);
                        latencies.push(sent.elapsed());
                    }
                    all_made.lock().map_err(|_| io::ErrorKind::Other)?.extend(made);
                    Ok(latencies)
                })
            })
            .collect();
        workers.into_iter().map(result_of).collect()
    });
    Ok((latencies?.concat(), all_made.into_inner().map_err(|_| io::ErrorKind::Other)?))
}

/// New files of a KiB per second, one after the other, each synced with its name: the limit of a server that syncs for
/// each upload separately.
pub(crate) fn synced_files(directory: &Path) -> io::Result<f64> {
    const FILES: u32 = 500;
    let directory = tempfile::tempdir_in(directory)?;
    let names = File::open(directory.path())?;
    let began = Instant::now();
    for number in 0..FILES {
        let mut file = File::create(directory.path().join(number.to_string()))?;
        file.write_all(&[0; KIB])?;
        file.sync_data()?;
        names.sync_all()?;
    }
    Ok(f64::from(FILES) / began.elapsed().as_secs_f64())
}

/// An unnamed file with the content to send.
pub(crate) fn content(length: u64) -> io::Result<File> {
    let memory = Path::new("/dev/shm");
    let mut file = tempfile::tempfile_in(if memory.is_dir() { memory } else { Path::new(".") })?;
    let piece = bytes(1, 0, PIECE);
    for _ in 0..length.div_ceil(PIECE) {
        file.write_all(&piece)?;
    }
    file.set_len(length)?;
    file.rewind()?;
    Ok(file)
}

pub(crate) fn create(connection: &mut Connection, length: u64) -> io::Result<String> {
    let response = connection.request("POST", MOUNT, &format!("Upload-Length: {length}\r\n"), b"")?;
    let url = response.header("location").filter(|_| response.status == 201);
    url.map(|url| path_of(url).to_owned()).ok_or_else(|| refused(&response))
}

/// Some peers send an absolute URL.
fn path_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]))
}

fn append(
    connection: &mut Connection,
    path: &str,
    offset: u64,
    length: u64,
    headers: &str,
    content: &File,
) -> io::Result<()> {
    connection.begin("PATCH", path, &format!("Upload-Offset: {offset}\r\n{OCTETS}{headers}"), length)?;
    connection.send_file(content, length)?;
    appended(&connection.response(false)?, offset + length)
}

fn appended(response: &Response, end: u64) -> io::Result<()> {
    match response.status == 204 && response.number("upload-offset") == Some(end) {
        true => Ok(()),
        false => Err(refused(response)),
    }
}

fn refused(response: &Response) -> io::Error {
    io::Error::other(format!("the server said {response:?}"))
}

fn result_of<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Large => "one large PATCH",
            Self::Pieces => "PATCHes of 1 MiB",
            Self::Small => "create and PATCH 1 KB, 16 connections",
            Self::Crowd => "64 uploads at once",
            Self::Inspect => "HEAD, 16 connections",
            Self::InspectMany => "HEAD, 16 connections, 50 times the uploads",
            Self::Slow => "9,500 uploads at once, a KiB at a time",
            Self::Plain => "PATCHes of 8 MiB",
            Self::Verified => "PATCHes of 8 MiB with SHA-1",
        })
    }
}
