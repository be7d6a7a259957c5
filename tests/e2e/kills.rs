//! SIGKILL at random moments, repeatedly: no acknowledged byte is missing or misplaced, and every upload can be
//! resumed. One server on a store, and several.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use tests::{Framework, Store};

use crate::{
    client::{Connection, OCTETS},
    content::{assert_same, bytes},
    harness::{Process, Server, Uploads},
};

/// How often all servers on a store are killed, unless `TUS_TEST_KILLS` gives another number.
const KILLS: u64 = 12;

/// Concurrent clients, each with uploads of its own.
const CLIENTS: u64 = 4;

/// The longest time between kills.
const LIFE: Duration = Duration::from_millis(60);

#[test]
fn a_synced_server_loses_nothing() {
    kill_again_and_again(Store::Synced, 1);
}

#[test]
fn a_buffered_server_loses_nothing() {
    kill_again_and_again(Store::Buffered, 1);
}

#[test]
fn three_synced_servers_on_one_store_lose_nothing() {
    kill_again_and_again(Store::Synced, 3);
}

#[test]
fn three_buffered_servers_on_one_store_lose_nothing() {
    kill_again_and_again(Store::Buffered, 3);
}

fn kill_again_and_again(store: Store, servers: usize) {
    let server = Server::new(Framework::Axum, store);
    let kills = std::env::var("TUS_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut clients: Vec<_> = (0..CLIENTS).map(Client::new).collect();
    let acknowledged = AtomicU64::new(0);
    for kill in 0..kills {
        let processes: Vec<_> = (0..servers).map(|_| server.spawn().unwrap()).collect();
        let addresses: Vec<_> = processes.iter().map(|process| process.address).collect();
        thread::scope(|scope| {
            for client in &mut clients {
                let (addresses, acknowledged) = (&addresses, &acknowledged);
                scope.spawn(move || while client.act(addresses, acknowledged).is_some() {});
            }
            thread::sleep(LIFE.mul_f64(fastrand::f64()));
            processes.into_iter().for_each(Process::kill);
        });
        let uploads = server.uploads();
        for client in &mut clients {
            client.check(&uploads, kill);
        }
    }
    eprintln!("{kills} kills of {servers} servers, {} responses acknowledged something", acknowledged.into_inner());
}

/// A client, and what it knows of its uploads.
struct Client {
    number: u64,
    made: u64,
    uploads: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    path: String,
    content: Content,
    length: u64,
    acknowledged: u64,
    /// The maximum that a server can have received.
    sent: u64,
    /// Whether a deletion was requested, and whether it was confirmed.
    deleted: Option<bool>,
}

#[derive(Debug, Clone)]
enum Content {
    Seed(u64),
    /// Complete parts: their seeds and lengths.
    Parts(Vec<(u64, u64)>),
}

impl Content {
    fn bytes(&self, range: Range<u64>) -> Vec<u8> {
        match self {
            Self::Seed(seed) => bytes(*seed, range),
            Self::Parts(parts) => {
                let concatenated: Vec<u8> = parts.iter().flat_map(|(seed, length)| bytes(*seed, 0..*length)).collect();
                concatenated[range.start as usize..range.end as usize].to_vec()
            }
        }
    }
}

impl Client {
    fn new(number: u64) -> Self {
        Self { number, made: 0, uploads: Vec::new() }
    }

    /// Performs one operation. `None` if the server is gone.
    fn act(&mut self, servers: &[SocketAddr], acknowledged: &AtomicU64) -> Option<()> {
        // An upload may change servers.
        let mut connection = Connection::try_open(servers[fastrand::usize(0..servers.len())]).ok()?;
        if self.uploads.len() < 3 {
            self.create(&mut connection, "", None)?;
        } else if fastrand::u32(0..8) == 0 {
            self.concatenate(&mut connection)?;
        } else {
            let at = fastrand::usize(0..self.uploads.len());
            let upload = &mut self.uploads[at];
            if upload.acknowledged == upload.length {
                upload.deleted = Some(false);
                if !matches!(connection.try_request("DELETE", &upload.path, &[], b"")?.status, 204 | 404) {
                    return None;
                }
                upload.deleted = Some(true);
            } else {
                append(upload, &mut connection)?;
            }
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
        // Some deleted uploads are checked after the kill.
        self.uploads.retain(|upload| upload.deleted != Some(true) || fastrand::bool());
        Some(())
    }

    fn create(&mut self, connection: &mut Connection, concat: &str, content: Option<Content>) -> Option<usize> {
        self.made += 1;
        let seed = self.number << 32 | self.made;
        let is_final = content.is_some();
        let length = match &content {
            Some(Content::Parts(parts)) => parts.iter().map(|(_, length)| length).sum(),
            _ => fastrand::u64(0..300_000),
        };
        let text = length.to_string();
        let mut headers = Vec::new();
        if !is_final {
            headers.push(("Upload-Length", &*text));
        }
        if !concat.is_empty() {
            headers.push(("Upload-Concat", concat));
        }
        let response = connection.try_request("POST", tests::MOUNT, &headers, b"")?;
        if response.status != 201 {
            return None;
        }
        self.uploads.push(Known {
            path: response.header("location").to_owned(),
            content: content.unwrap_or(Content::Seed(seed)),
            length,
            acknowledged: if is_final { length } else { 0 },
            sent: if is_final { length } else { 0 },
            deleted: None,
        });
        Some(self.uploads.len() - 1)
    }

    /// Two parts, and an upload that concatenates them.
    fn concatenate(&mut self, connection: &mut Connection) -> Option<()> {
        let mut parts = Vec::new();
        for _ in 0..2 {
            let at = self.create(connection, "partial", None)?;
            let part = &mut self.uploads[at];
            while part.acknowledged < part.length {
                append(part, connection)?;
            }
            let Content::Seed(seed) = part.content else { return None };
            parts.push((part.path.clone(), seed, part.length));
        }
        let concat = format!("final;{} {}", parts[0].0, parts[1].0);
        let content = Content::Parts(parts.into_iter().map(|(_, seed, length)| (seed, length)).collect());
        self.create(connection, &concat, Some(content)).map(drop)
    }

    /// Acknowledged bytes must exist, and nothing that was not sent.
    fn check(&mut self, uploads: &Uploads, kill: u64) {
        self.uploads.retain_mut(|known| {
            let upload = uploads.upload(&known.path);
            let Some(upload) = upload.filter(|_| known.deleted != Some(true)) else {
                assert!(known.deleted.is_some(), "kill {kill}: {known:?} is gone");
                return false;
            };
            let there = known.acknowledged..=known.sent;
            assert!(there.contains(&upload.offset), "kill {kill}: {known:?} is at {}", upload.offset);
            assert_same(&uploads.content(&known.path), &known.content.bytes(0..upload.offset));
            known.acknowledged = upload.offset;
            true
        });
    }
}

/// Sends more of an upload, in one body of a known or an unknown length.
fn append(upload: &mut Known, connection: &mut Connection) -> Option<()> {
    let start = upload.acknowledged;
    let end = fastrand::u64(start + 1..=upload.length);
    upload.sent = upload.sent.max(end);
    let body = upload.content.bytes(start..end);
    let offset = start.to_string();
    let headers = [("Upload-Offset", &*offset), ("Content-Type", OCTETS)];
    let response = if fastrand::bool() {
        connection.try_request("PATCH", &upload.path, &headers, &body)?
    } else {
        let headers = [&headers[..], &[crate::client::CHUNKED]].concat();
        connection.try_request("PATCH", &upload.path, &headers, &crate::client::chunked(&body))?
    };
    // Uploads of the killed server may for a moment be in use in another one, or be further than known.
    if response.status == 204 {
        assert_eq!(response.offset(), end);
        upload.acknowledged = end;
    }
    Some(())
}
