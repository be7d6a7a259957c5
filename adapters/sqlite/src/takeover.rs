//! A newer request in another process wins: it asks for the upload, and the writer that adds bytes to it commits what
//! it has and leaves.
//!
//! A writer keeps a lock on its file, which the system releases even if the process is killed. A request for the
//! upload writes a row into the database and tries the lock until it is free. A storage with writers checks for such
//! rows four times a second; a storage without writers does nothing.

use std::{
    fs::File,
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tus_service::{Access, Failure, StorageError, Stored, UploadId};

use crate::{
    asks::{self, Tick},
    files,
    inner::{Found, Inner},
    lane::quick,
};

/// How often a storage with writers checks what others want.
const LOOK: Duration = Duration::from_millis(250);

/// How often a request for an upload checks whether it is free.
const TRY: Duration = Duration::from_millis(15);

/// After this many checks, it looks for newer requests.
const TRIES: u32 = 8;

/// Asks for an upload and waits until it is free, at most `patience`. A request to write waits only until a newer one
/// asks.
pub(crate) async fn settle(
    inner: &Arc<Inner>,
    stored: &Stored,
    access: Access,
    patience: Duration,
) -> Result<Option<Found>, StorageError> {
    let (began, id) = (Instant::now(), &stored.upload.id);
    let asking = Asking::new(inner, id, access);
    let end = match file_of(inner, id).await? {
        None => End::Free,
        // It was opened here in the meantime.
        Some(_) if inner.writers.has(id) => End::Impatient,
        Some(file) => asking.ask(file, began, patience).await?,
    };
    if end == End::Outdone {
        return Err(StorageError::new(Failure::Busy, "a newer request asked for the upload"));
    }
    if end == End::Impatient {
        // Before its upload is opened nevertheless.
        asking.withdraw().await?;
    }
    if end == End::Free && access == Access::Write {
        inner.writers.note_left(stored.upload.incarnation, asking.since);
    }
    let (again, id) = (inner.clone(), id.clone());
    quick(move || again.load(&id)).await
}

/// The result of asking for an upload.
#[derive(PartialEq, Eq)]
enum End {
    /// Nobody is adding bytes to it any more.
    Free,
    /// A newer request gets it.
    Outdone,
    /// It took too long, or this storage is adding bytes to it by now.
    Impatient,
}

/// Whether a request waits for an upload in order to add bytes.
pub(crate) async fn is_wanted(inner: &Arc<Inner>, id: &UploadId) -> Result<bool, StorageError> {
    let (inner_too, id) = (inner.clone(), id.clone());
    let look = move || inner_too.database.read(|connection| asks::is_wanted(connection, &id));
    quick(look).await
}

async fn file_of(inner: &Arc<Inner>, id: &UploadId) -> Result<Option<File>, StorageError> {
    let (inner_too, id) = (inner.clone(), id.clone());
    let open = move || match inner_too.files.read(&id) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => Ok(Some(file?)),
    };
    quick(open).await
}

/// A request for an upload. Dropping it deletes its row.
struct Asking {
    inner: Arc<Inner>,
    id: UploadId,
    access: Access,
    since: Tick,
    asker: [u8; 24],
}

impl Asking {
    fn new(inner: &Arc<Inner>, id: &UploadId, access: Access) -> Self {
        let mut asker = [0; 24];
        asker[..16].copy_from_slice(inner.database.name());
        asker[16..].copy_from_slice(&inner.asked.fetch_add(1, Relaxed).to_be_bytes());
        Self { inner: inner.clone(), id: id.clone(), access, since: Tick::now(), asker }
    }

    /// Asks, and waits until nobody has the file locked.
    async fn ask(&self, file: File, began: Instant, patience: Duration) -> Result<End, StorageError> {
        let (id, access, since, asker) = (self.id.clone(), self.access, self.since, self.asker);
        self.inner.database.remove(move |connection| asks::want(connection, &id, access, since, &asker)).await?;
        let (mut tries, file) = (0, Arc::new(file));
        loop {
            let locked = file.clone();
            let is_free = quick(move || Ok(files::is_free(&locked)?)).await?;
            tries += 1;
            if (is_free || tries % TRIES == 0) && self.is_outdone().await? {
                return Ok(End::Outdone);
            }
            let left = patience.saturating_sub(began.elapsed());
            match is_free {
                true => return Ok(End::Free),
                false if left.is_zero() || self.inner.writers.has(&self.id) => return Ok(End::Impatient),
                false => sleep(TRY.min(left)).await,
            }
        }
    }

    /// From here on only others ask for it.
    async fn withdraw(&self) -> Result<(), StorageError> {
        let (id, asker) = (self.id.clone(), self.asker);
        self.inner.database.remove(move |connection| asks::want_no_more(connection, &id, &asker)).await
    }

    async fn is_outdone(&self) -> Result<bool, StorageError> {
        if self.access == Access::Read {
            return Ok(false);
        }
        let (inner, id, since, asker) = (self.inner.clone(), self.id.clone(), self.since, self.asker);
        let look = move || inner.database.read(|connection| asks::is_outdone(connection, &id, since, &asker));
        quick(look).await
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let (id, asker) = (self.id.clone(), self.asker);
        drop(self.inner.database.remove_later(false, move |connection| asks::want_no_more(connection, &id, &asker)));
    }
}

/// Checks what others want while there are writers here. Call it after a writer was registered.
pub(crate) fn watch(inner: &Arc<Inner>) {
    if !inner.writers.begin_watch() {
        return;
    }
    // A thread, not a task: it belongs to the storage, which may outlive the runtime of the first request.
    let storage = Arc::downgrade(inner);
    let watching = move || {
        loop {
            thread::sleep(LOOK);
            let Some(inner) = storage.upgrade() else { return };
            if !inner.writers.go_on_watching() {
                return;
            }
            inner.looks.fetch_add(1, Relaxed);
            match inner.database.read(asks::wanted) {
                Ok(wanted) => inner.writers.ask(&wanted),
                Err(error) => tracing::warn!(%error, "the requests of other processes could not be read"),
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("tus-sqlite-asked".into()).spawn(watching) {
        tracing::warn!(%error, "other processes cannot take over uploads: no thread can be started");
        inner.writers.end_watch();
    }
}
