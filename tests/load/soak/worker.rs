//! The operations, by kind, at a fixed rate.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use load::{
    content::bytes,
    http::{Connection, OCTETS},
};
use sha1::{Digest, Sha1};

use crate::{
    ledger::Ledger,
    uploads::{Client, ENDPOINT, Upload},
};

/// When each operation starts.
pub(crate) struct Schedule {
    began: Instant,
    until: Instant,
    rate: f64,
    next: AtomicU64,
}

impl Schedule {
    /// `rate` is in operations a second.
    pub(crate) fn new(began: Instant, until: Instant, rate: f64) -> Self {
        Self { began, until, rate, next: AtomicU64::new(0) }
    }

    /// The number of the next operation, when it is due; `None` at the end.
    fn next(&self) -> Option<(u64, Instant)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.began + Duration::from_secs_f64(number as f64 / self.rate);
        (due < self.until).then_some((number, due))
    }
}

/// A silent connection, and since when.
struct Silent(#[expect(dead_code, reason = "it is only kept open")] Connection, Instant);

/// How long connections stay silent: longer than the server waits for a body.
const SILENCE: Duration = Duration::from_secs(45);

pub(crate) fn run(schedule: &Schedule, ledger: &Ledger, address: SocketAddr, files: &Path) {
    let client = Client { address, ledger, files };
    let mut silent: Vec<Silent> = Vec::new();
    while let Some((number, due)) = schedule.next() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = due.elapsed();
        silent.retain(|Silent(_, since)| since.elapsed() < SILENCE);
        let (kind, done) = perform(&client, number, &mut silent);
        ledger.operation(kind, late);
        if let Err(error) = done {
            ledger.violation(&format!("operation {number} ({kind}): {error}"));
        }
    }
}

fn perform(client: &Client<'_>, number: u64, silent: &mut Vec<Silent>) -> (&'static str, io::Result<()>) {
    let mut random = fastrand::Rng::with_seed(number);
    let small = random.u64(1..64 * 1024);
    let middle = random.u64(64 * 1024..2 * 1024 * 1024);
    match random.u32(0..1000) {
        0..400 => ("small uploads", in_pieces(client, number, small, 1)),
        400..550 => ("uploads in pieces", in_pieces(client, number, middle, random.u64(2..6))),
        550..555 => ("large uploads", in_pieces(client, number, 32 << 20, 4)),
        555..585 => ("empty uploads", in_pieces(client, number, 0, 1)),
        585..655 => ("creations with bytes", with_bytes(client, number, small)),
        655..695 => ("concatenations", concatenated(client, number, small)),
        695..735 => ("lengths declared at the end", deferred(client, number, small)),
        735..835 => ("bodies that break", broken(client, number, middle, &mut random)),
        835..885 => ("bodies taken over", taken_over(client, number, middle)),
        885..915 => ("wrong checksums", wrong_checksum(client, number, small)),
        915..945 => ("wrong offsets and repeated requests", wrong_offset(client, number, small)),
        945..970 => ("uploads left to expire", abandoned(client, number, small)),
        970..985 => ("garbage", garbage(client, &mut random)),
        _ => ("connections that fall silent", fall_silent(client, number, silent)),
    }
}

/// An upload in this number of requests.
fn in_pieces(client: &Client<'_>, seed: u64, length: u64, requests: u64) -> io::Result<()> {
    let mut upload = client.create(seed, length, "")?;
    for request in 1..=requests {
        client.send(&mut upload, length * request / requests, "")?;
    }
    finished(client, &mut upload)
}

fn finished(client: &Client<'_>, upload: &mut Upload) -> io::Result<()> {
    let length = upload.length;
    if client.inspect(upload, length)? != length {
        client.ledger.violation(&format!("{} was sent, but is not complete", upload.path));
    }
    client.check_and_delete(upload, &[(upload.seed, length)])
}

fn with_bytes(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    let headers = format!("Upload-Length: {length}\r\n{OCTETS}");
    let half = bytes(seed, 0, length / 2);
    let response = client.stubbornly(|connection| connection.request("POST", ENDPOINT, &headers, &half))?;
    let mut upload = client.created(&response, seed, length)?;
    upload.acknowledged = response.number("upload-offset").unwrap_or(0);
    client.send(&mut upload, length, "")?;
    finished(client, &mut upload)
}

fn concatenated(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    // Other operations use lower seeds.
    let seeds = [seed | 1 << 28, seed | 1 << 29];
    let mut parts = Vec::new();
    for seed in seeds {
        let mut part = client.create(seed, length, "Upload-Concat: partial\r\n")?;
        client.send(&mut part, length, "")?;
        parts.push(part);
    }
    let headers = format!("Upload-Concat: final;{} {}\r\n", parts[0].path, parts[1].path);
    let response = client.stubbornly(|connection| connection.request("POST", ENDPOINT, &headers, b""))?;
    let final_upload = client.created(&response, seed, 2 * length)?;
    client.check_and_delete(&final_upload, &seeds.map(|seed| (seed, length)))?;
    parts.iter().try_for_each(|part| client.delete(&part.path))
}

fn deferred(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    let headers = "Upload-Defer-Length: 1\r\n";
    let response = client.stubbornly(|connection| connection.request("POST", ENDPOINT, headers, b""))?;
    let mut upload = client.created(&response, seed, length)?;
    client.send(&mut upload, length / 2, "")?;
    client.send(&mut upload, length, &format!("Upload-Length: {length}\r\n"))?;
    finished(client, &mut upload)
}

/// A body that ends too early: by RST, or by FIN.
fn broken(client: &Client<'_>, seed: u64, length: u64, random: &mut fastrand::Rng) -> io::Result<()> {
    let mut upload = client.create(seed, length, "")?;
    let mut most = 0;
    for _ in 0..2 {
        let start = upload.acknowledged;
        let sent = random.u64(start..=length);
        // The first body may be read only after the second HEAD.
        most = sent.max(most);
        let mut connection = client.connect()?;
        let headers = format!("Upload-Offset: {start}\r\n{OCTETS}");
        let begun = connection.begin("PATCH", &upload.path, &headers, length - start);
        // The server may have been killed in the meantime.
        let _ = begun.and_then(|()| connection.send(&bytes(seed, start, sent)));
        drop(connection);
        client.inspect(&mut upload, most)?;
    }
    client.send(&mut upload, length, "")?;
    finished(client, &mut upload)
}

/// A body that stalls, and a second connection that takes over.
fn taken_over(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    let mut upload = client.create(seed, length, "")?;
    let mut stalled = client.connect()?;
    let begun = stalled.begin("PATCH", &upload.path, &format!("Upload-Offset: 0\r\n{OCTETS}"), length);
    let _ = begun.and_then(|()| stalled.send(&bytes(seed, 0, length / 2)));
    client.inspect(&mut upload, length / 2)?;
    client.send(&mut upload, length, "")?;
    finished(client, &mut upload)
}

fn wrong_checksum(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    let mut upload = client.create(seed, length, "")?;
    let checksum = |body: &[u8]| format!("Upload-Checksum: sha1 {}\r\n", BASE64_STANDARD.encode(Sha1::digest(body)));
    let headers = format!("Upload-Offset: 0\r\n{OCTETS}{}", checksum(b"something else"));
    let body = bytes(seed, 0, length);
    let response = client.stubbornly(|connection| connection.request("PATCH", &upload.path, &headers, &body))?;
    if response.status != 460 || client.inspect(&mut upload, 0)? != 0 {
        client.ledger.violation(&format!("a wrong checksum was answered {response:?}"));
    }
    client.send(&mut upload, length, &checksum(&body))?;
    finished(client, &mut upload)
}

fn wrong_offset(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    let mut upload = client.create(seed, length, "")?;
    client.send(&mut upload, length / 2, "")?;
    for offset in [0, length / 2 + 1] {
        if offset == upload.acknowledged {
            continue;
        }
        let headers = format!("Upload-Offset: {offset}\r\n{OCTETS}");
        let response = client.stubbornly(|connection| connection.request("PATCH", &upload.path, &headers, b"again"))?;
        if response.status != 409 {
            client.ledger.violation(&format!("offset {offset} of {} was answered {response:?}", length / 2));
        }
    }
    client.send(&mut upload, length, "")?;
    finished(client, &mut upload)
}

fn abandoned(client: &Client<'_>, seed: u64, length: u64) -> io::Result<()> {
    let mut upload = client.create(seed, length, "")?;
    client.send(&mut upload, length / 2, "")
}

fn garbage(client: &Client<'_>, random: &mut fastrand::Rng) -> io::Result<()> {
    let mut bytes = vec![0; random.usize(1..4096)];
    random.fill(&mut bytes);
    let mut connection = client.connect()?;
    // The request is refused, or the connection is closed at once.
    let _ = connection.send(b"PATCH /files/x HTTP/1.1\r\n").and_then(|()| connection.send(&bytes));
    Ok(())
}

fn fall_silent(client: &Client<'_>, seed: u64, silent: &mut Vec<Silent>) -> io::Result<()> {
    let upload = client.create(seed, 1000, "")?;
    let mut connection = client.connect()?;
    let begun = connection.begin("PATCH", &upload.path, &format!("Upload-Offset: 0\r\n{OCTETS}"), 1000);
    let _ = begun.and_then(|()| connection.send(&bytes(seed, 0, 500)));
    silent.push(Silent(connection, Instant::now()));
    Ok(())
}
