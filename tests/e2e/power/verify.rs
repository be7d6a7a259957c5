//! Verifies that promises were kept.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tus_service::{Change, Kind, Phase, Storage, Stored, Upload, UploadFilter};
use tus_sqlite::Sqlite;

use super::{
    disk::Found,
    trace::{Call, Event},
};
use crate::{content::bytes, harness::id};

/// What a response promised, identified by its number on the connection from this port.
pub(super) struct Acknowledged {
    pub(super) port: u16,
    pub(super) response: usize,
    pub(super) path: String,
    pub(super) promise: Promise,
}

#[derive(Debug, Clone)]
pub(super) enum Promise {
    /// The upload exists and starts with these contents in order, each up to a length.
    Bytes(Vec<(u64, u64)>),
    Gone,
}

/// The promises so far.
pub(super) struct Verdict<'a> {
    store: &'a Path,
    by_response: HashMap<(u16, usize), &'a Acknowledged>,
    /// The expected bytes of each upload.
    contents: HashMap<&'a str, Vec<u64>>,
    to_be_removed: HashSet<&'a str>,
    responses: HashMap<u16, usize>,
    promised: BTreeMap<&'a str, &'a Promise>,
    /// Ids of the uploads that the application was notified of.
    finished: HashSet<String>,
}

impl<'a> Verdict<'a> {
    pub(super) fn new(store: &'a Path, acknowledged: &'a [Acknowledged]) -> Self {
        let mut contents: HashMap<_, Vec<_>> = HashMap::new();
        let mut to_be_removed = HashSet::new();
        for Acknowledged { path, promise, .. } in acknowledged {
            match promise {
                Promise::Gone => drop(to_be_removed.insert(&**path)),
                Promise::Bytes(parts) => {
                    let seeds: Vec<_> = parts.iter().map(|(seed, _)| *seed).collect();
                    let known = contents.entry(&**path).or_default();
                    if seeds.len() > known.len() {
                        *known = seeds;
                    }
                }
            }
        }
        let by_response = acknowledged.iter().map(|promise| ((promise.port, promise.response), promise)).collect();
        Self {
            store,
            by_response,
            contents,
            to_be_removed,
            responses: HashMap::new(),
            promised: BTreeMap::new(),
            finished: HashSet::new(),
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Begin(_, Call::Send { port, bytes }) if bytes.starts_with(b"HTTP/1.1 2") => {
                let response = self.responses.entry(*port).or_default();
                if let Some(promise) = self.by_response.get(&(*port, *response)) {
                    self.promised.insert(&promise.path, &promise.promise);
                }
                *response += 1;
            }
            Event::Begin(_, Call::Print { bytes }) => {
                let text = String::from_utf8_lossy(bytes);
                self.finished.extend(text.lines().filter_map(|line| line.strip_prefix("finished ")).map(str::to_owned));
            }
            _ => {}
        }
    }

    /// Opens the surviving state in a directory and compares it.
    pub(super) fn check(&self, found: &Found) -> Result<(), String> {
        // In memory if possible: nothing has to survive this.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let above = self.store.parent().and_then(Path::parent).unwrap();
        let here = |path: &Path| -> PathBuf { directory.path().join(path.strip_prefix(above).unwrap()) };
        for (path, bytes) in found {
            match bytes {
                None => std::fs::create_dir_all(here(path)).unwrap(),
                Some(bytes) => std::fs::write(here(path), bytes).unwrap(),
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.compare(&here(self.store)))
    }

    async fn compare(&self, store: &Path) -> Result<(), String> {
        let sqlite = Sqlite::open(store).map_err(|error| error.to_string())?;
        let rows = sqlite.list(UploadFilter::default(), None).try_collect::<Vec<_>>();
        let rows = rows.await.map_err(|error| error.to_string())?;
        let mut checked: HashMap<&str, &Upload> = HashMap::new();
        for stored in &rows {
            let row = &stored.upload;
            let path =
                self.contents.keys().find(|path| id(path) == row.id).ok_or("an upload that was never created")?;
            checked.insert(path, row);
            let loaded = sqlite.load(&row.id).await.map_err(|error| error.to_string())?;
            if loaded.as_ref() != Some(stored) {
                return Err(format!("{path}: the row has {row:?}, but the file {loaded:?}"));
            }
            let there = read(&sqlite, stored).await?;
            if there != self.content(path, row) {
                return Err(format!("{path}: other bytes before {}", row.offset));
            }
            if row.phase == Phase::Notified && !self.finished.contains(row.id.as_str()) {
                return Err(format!("{path}: the application was not notified that it is finished"));
            }
        }
        for (path, promise) in &self.promised {
            match (promise, checked.get(path)) {
                (Promise::Gone, None) => {}
                (Promise::Gone, Some(_)) => return Err(format!("{path}: it was removed, but has reappeared")),
                (Promise::Bytes(_), None) if self.to_be_removed.contains(path) => {}
                (Promise::Bytes(parts), Some(row)) if row.offset >= parts.iter().map(|(_, length)| length).sum() => {}
                (promise, row) => return Err(format!("{path}: {promise:?} was promised, but {row:?} was found")),
            }
        }
        resume(&sqlite, &rows).await
    }

    /// The expected bytes of an upload, up to its offset.
    fn content(&self, path: &str, row: &Upload) -> Vec<u8> {
        let seeds = &self.contents[path];
        match &row.kind {
            Kind::Final(_) if row.offset > 0 => {
                [bytes(seeds[0], 0..40_000), bytes(seeds[1], 0..30_000)].concat()[..row.offset as usize].to_vec()
            }
            Kind::Final(_) => Vec::new(),
            _ => bytes(seeds[0], 0..row.offset),
        }
    }
}

/// An incomplete upload accepts more bytes.
async fn resume(sqlite: &Sqlite, rows: &[Stored]) -> Result<(), String> {
    if let Some(row) = rows.iter().find(|row| row.upload.phase == Phase::Receiving) {
        let mut next = Change::of(&row.upload);
        next.offset += 1;
        let mut writer = sqlite.open(row).await.map_err(|error| error.to_string())?;
        writer.write(Bytes::from_static(b"!").into()).await.map_err(|error| error.to_string())?;
        let version = writer.commit(&next).await.map_err(|error| error.to_string())?;
        if read(sqlite, &row.clone().changed(&next, version)).await?.last() != Some(&b'!') {
            return Err("an upload cannot be resumed".into());
        }
    }
    Ok(())
}

async fn read(sqlite: &Sqlite, stored: &Stored) -> Result<Vec<u8>, String> {
    let bytes = sqlite.read(stored, 0..stored.upload.offset).await.map_err(|error| error.to_string())?;
    let pieces: Vec<Bytes> = bytes.try_collect().await.map_err(|error| error.to_string())?;
    Ok(pieces.concat())
}
