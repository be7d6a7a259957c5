//! Adds bytes to one file: first the data, then the row that refers to it.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tus_service::{
    Change, Checkpoint, Chunks, Failure, Hint, Phase, StorageError, Stored, Version, Writer, async_trait,
};

use crate::{
    asks::Tick,
    files,
    inner::Inner,
    lane::{blocking, quick},
    takeover,
    writers::Entered,
};

pub(crate) struct FileWriter {
    inner: Arc<Inner>,
    held: Arc<Held>,
    opened_at: u64,
    stored: u64,
    /// The record that this writer saw or made last.
    seen: Stored,
    /// A running checkpoint, beside the stream.
    saving: Option<Saving>,
    /// Whether a sync failed.
    lost: bool,
}

/// A file that others are kept from writing to. It is closed before its writer is deregistered, so that this storage
/// does not mistake itself for another process.
struct Held {
    file: File,
    entered: Entered,
}

/// A running checkpoint and the record that it makes. Its row is retried until the writer takes over.
struct Saving {
    task: JoinHandle<Result<Stored, NotSaved>>,
    take_over: oneshot::Sender<()>,
}

/// The part of a save that failed.
enum NotSaved {
    Sync(StorageError),
    Row(StorageError),
}

fn lost() -> StorageError {
    StorageError::new(Failure::Internal, "bytes could not be made durable; the upload continues from the last commit")
}

/// Bytes that a commit to the database may need.
const HEADROOM: u64 = 256 * 1024;

/// How long an open waits for a writer in another process that was not asked to leave, or for a checkpoint of a
/// dropped writer; and the longest pause between two checks.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How long a checkpoint whose row could not be written waits before it is retried.
const AGAIN: Duration = Duration::from_millis(500);

/// For how long that is done after the writer was dropped. Nobody else can add bytes during that time.
const AFTER_ALL: Duration = Duration::from_secs(10);

impl FileWriter {
    pub(crate) async fn open(inner: Arc<Inner>, stored: Stored) -> Result<Self, StorageError> {
        if stored.upload.phase != Phase::Receiving {
            return Err(Failure::Conflict.into());
        }
        let held = Arc::new(open(&inner, &stored).await?);
        takeover::watch(&inner);
        let opened_at = stored.upload.offset;
        Ok(Self { inner, held, opened_at, stored: 0, seen: stored, saving: None, lost: false })
    }

    /// The disk is completely full. The row also needs some space, so the last bytes that no row claims yet are given
    /// up.
    async fn make_headroom(&mut self) -> Result<(), StorageError> {
        self.saved().await?;
        let claimed = self.claimed();
        self.cut(self.opened_at + self.stored.saturating_sub(HEADROOM).max(claimed)).await
    }

    /// The bytes since the opening that the row claims.
    fn claimed(&self) -> u64 {
        self.seen.upload.offset - self.opened_at
    }

    async fn cut(&mut self, length: u64) -> Result<(), StorageError> {
        self.stored = length - self.opened_at;
        let held = self.held.clone();
        blocking(move || Ok(files::cut(&held.file, length)?)).await
    }

    /// Waits for the running checkpoint.
    ///
    /// If only its row failed, the state is as before. If its sync failed, the system may report success for the next
    /// one although bytes are lost, so nothing more of this writer counts.
    async fn saved(&mut self) -> Result<(), StorageError> {
        let Some(saving) = self.saving.take() else {
            return if self.lost { Err(lost()) } else { Ok(()) };
        };
        let Saving { task, take_over } = saving;
        // It may have ended.
        let _ = take_over.send(());
        match task.await.map_err(std::io::Error::other)? {
            Ok(saved) => self.seen = saved,
            Err(NotSaved::Row(error)) if error.failure().is_overtaken() => return Err(self.outdone(error).await),
            Err(NotSaved::Row(_)) => {}
            Err(NotSaved::Sync(error)) => {
                self.lost = true;
                self.stored = self.claimed();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The upload is no longer the one that this writer saw. If another one has its id by now, the file belongs to
    /// that one, and none of this writer's bytes may remain in it.
    async fn outdone(&mut self, error: StorageError) -> StorageError {
        if let Err(error) = self.cut(self.seen.upload.offset).await {
            tracing::warn!(
                upload = %self.seen.upload.id, %error,
                "uncommitted bytes of a superseded request could not be removed from the file"
            );
        }
        error
    }
}

#[async_trait]
impl Writer for FileWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        let (inner, held) = (self.inner.clone(), self.held.clone());
        let write = move || {
            inner.reserve.keep()?;
            Ok(files::write_all(&held.file, &chunks))
        };
        let (written, result) = quick(write).await?;
        self.stored += written;
        match result.map_err(StorageError::from) {
            Err(error) if error.failure() == Failure::Full => {
                self.make_headroom().await?;
                Err(error)
            }
            result => result,
        }
    }

    fn stored(&self) -> u64 {
        self.stored
    }

    fn version(&self) -> Version {
        self.seen.version.clone()
    }

    async fn checkpoint(&mut self, change: &Change, _: Hint) -> Result<Checkpoint, StorageError> {
        if self.saving.as_ref().is_some_and(|saving| !saving.task.is_finished()) {
            return Ok(Checkpoint::Declined);
        }
        self.saved().await?;
        // Everything that may be committed is committed.
        if change.offset == self.seen.upload.offset && change.expires == self.seen.upload.expires {
            return Ok(Checkpoint::Taken);
        }
        let Ok(turn) = self.inner.checkpoints.clone().try_acquire_owned() else {
            return Ok(Checkpoint::Declined);
        };
        let (inner, held) = (self.inner.clone(), self.held.clone());
        let (seen, change) = (self.seen.clone(), change.clone());
        let (take_over, taken_over) = oneshot::channel();
        let task = tokio::spawn(async move {
            let _turn = turn;
            let saved = save(inner.clone(), held.clone(), seen.clone(), change.clone()).await;
            // Until it ends, nobody else writes to the file.
            let saved = retry(&inner, &seen, &change, saved, taken_over).await;
            drop(held);
            saved
        });
        self.saving = Some(Saving { task, take_over });
        Ok(Checkpoint::Taken)
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        match self.saved().await {
            // Up to the last durable commit it is still valid.
            Err(_) if self.lost && change.offset == self.seen.upload.offset => {}
            result => result?,
        }
        if change.offset < self.opened_at + self.stored {
            self.cut(change.offset).await?;
        }
        let saved = match self.lost {
            false => save(self.inner.clone(), self.held.clone(), self.seen.clone(), change.clone()).await,
            true => save_row(self.inner.clone(), self.seen.clone(), change.clone()).await,
        };
        match saved {
            Ok(saved) => self.seen = saved,
            Err(NotSaved::Row(error)) if error.failure().is_overtaken() => return Err(self.outdone(error).await),
            Err(NotSaved::Row(error)) => return Err(error),
            Err(NotSaved::Sync(error)) => {
                self.lost = true;
                return Err(error);
            }
        }
        Ok(self.seen.version.clone())
    }

    fn committed(&self) -> Option<u64> {
        Some(self.seen.upload.offset)
    }

    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        self.held.entered.asked().boxed()
    }
}

/// Makes the bytes durable, and then the change.
async fn save(inner: Arc<Inner>, held: Arc<Held>, seen: Stored, change: Change) -> Result<Stored, NotSaved> {
    if inner.is_synced() {
        let data = blocking(move || Ok(held.file.sync_data()?));
        // The name of a new file must survive a power cut, too.
        let is_new = seen.upload.offset == 0;
        let name = async { if is_new { inner.sync_name().await } else { Ok(()) } };
        let synced = async { tokio::try_join!(data, name) };
        synced.await.map_err(NotSaved::Sync)?;
    }
    save_row(inner, seen, change).await
}

/// Writes a row that could not be written again and again, because no more bytes may arrive that would cause another
/// checkpoint. The writer may take over; if it is dropped, this continues for a while.
async fn retry(
    inner: &Arc<Inner>,
    seen: &Stored,
    change: &Change,
    mut saved: Result<Stored, NotSaved>,
    mut taken_over: oneshot::Receiver<()>,
) -> Result<Stored, NotSaved> {
    let mut dropped: Option<Instant> = None;
    while let Err(NotSaved::Row(error)) = &saved
        && !error.failure().is_overtaken()
    {
        tracing::warn!(upload = %seen.upload.id, %error, "a checkpoint failed");
        match dropped {
            Some(since) if since.elapsed() >= AFTER_ALL => break,
            Some(_) => sleep(AGAIN).await,
            None => match timeout(AGAIN, &mut taken_over).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => dropped = Some(Instant::now()),
                Err(_) => {}
            },
        }
        saved = save_row(inner.clone(), seen.clone(), change.clone()).await;
    }
    saved
}

async fn save_row(inner: Arc<Inner>, seen: Stored, change: Change) -> Result<Stored, NotSaved> {
    let changed = inner.change(&seen, &change).await;
    if seen.upload.offset == 0 && changed.as_ref().is_err_and(|error| error.failure() == Failure::NotFound) {
        // The upload may have been removed before the file was created.
        inner.give_up(seen.upload.id.clone());
    }
    changed.map(|version| seen.changed(&change, version)).map_err(NotSaved::Row)
}

/// Opens the upload's file at the offset, truncates it there, and keeps others out.
async fn open(inner: &Arc<Inner>, stored: &Stored) -> Result<Held, StorageError> {
    let since = inner.writers.right_since(stored.upload.incarnation);
    let (began, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        // A request that lost the upload must not open it before a newer one.
        if stored.held_elsewhere && takeover::is_wanted(inner, &stored.upload.id).await? {
            return Err(StorageError::new(Failure::Busy, "a newer request asked for the upload"));
        }
        let (again, stored) = (inner.clone(), stored.clone());
        if let Some(held) = quick(move || try_open(&again, &stored, since)).await? {
            return Ok(held);
        }
        if began.elapsed() >= LOCK_PATIENCE {
            return Err(StorageError::new(Failure::Busy, "another process is adding bytes to the upload"));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LOCK_PAUSE);
    }
}

fn try_open(inner: &Inner, stored: &Stored, since: Tick) -> Result<Option<Held>, StorageError> {
    let upload = &stored.upload;
    let file = match upload.offset {
        0 => Some(inner.files.create(&upload.id)?),
        _ => inner.files.write(&upload.id)?,
    };
    let Some(file) = file else {
        return inner.unchanged(stored).and(Err(Failure::Conflict.into()));
    };
    // First, so that others that find the file locked know that this storage holds it.
    let entered = inner.writers.enter(&upload.id, since);
    if !files::lock(&file)? {
        return Ok(None);
    }
    let held = Held { file, entered };
    let metadata = held.file.metadata()?;
    if metadata.nlink() == 0 {
        // It was deleted between opening and locking: what is written to it would be lost.
        inner.unchanged(stored)?;
        return Ok(None);
    }
    // From here on nobody else writes. If the file ends at the offset and more bytes will come, the row can only be
    // unchanged, gone, or another upload's, as the first commit will find out.
    let length = metadata.len();
    if length < upload.offset {
        return Err(Failure::Conflict.into());
    }
    if length > upload.offset || upload.length.is_none_or(|length| length == upload.offset) {
        inner.unchanged(stored)?;
    }
    if length > upload.offset {
        files::cut(&held.file, upload.offset)?;
    } else if length > 0 {
        files::go_to(&held.file, length)?;
    }
    Ok(Some(held))
}
