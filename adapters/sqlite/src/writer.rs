//! Adding bytes to one file: data first, and then the row that claims it.

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
    files::{self, blocking},
    inner::Inner,
    lane::quick,
    takeover,
    writers::Entered,
};

pub(crate) struct FileWriter {
    inner: Arc<Inner>,
    held: Arc<Held>,
    opened_at: u64,
    stored: u64,
    /// The record as this writer saw or set it last.
    seen: Stored,
    /// A checkpoint that is under way beside the stream.
    saving: Option<Saving>,
    /// Whether a sync failed.
    lost: bool,
}

/// A file that others are kept from writing to. It is closed before its writer counts as gone, so that this storage
/// does not take itself for another process.
struct Held {
    file: File,
    entered: Entered,
}

/// A checkpoint that is under way, and the record that it sets. Its row is tried until it is dropped.
struct Saving {
    task: JoinHandle<Result<Stored, NotSaved>>,
    try_no_more: oneshot::Sender<()>,
}

/// What of a save failed.
enum NotSaved {
    Sync(StorageError),
    Row(StorageError),
}

/// Whether another try would fail as well: somebody else changed or removed the upload.
fn is_final(failure: Failure) -> bool {
    matches!(failure, Failure::Conflict | Failure::NotFound)
}

fn lost() -> StorageError {
    StorageError::new(Failure::Internal, "bytes could not be made durable; go on from what was committed before")
}

/// Bytes that a commit to the database may need.
const HEADROOM: u64 = 256 * 1024;

/// How long an open waits for a writer in another process that was not asked to leave, or for a checkpoint of a
/// writer that was dropped; and the longest pause between two looks.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How long a checkpoint whose row could not be written waits before it tries again.
const AGAIN: Duration = Duration::from_millis(500);

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

    /// The disk is full to the last block. The row that claims what is there needs a little of it, too,
    /// so the last bytes that nothing claims yet are given back.
    async fn make_headroom(&mut self) -> Result<(), StorageError> {
        self.saved().await?;
        let claimed = self.claimed();
        self.cut(self.opened_at + self.stored.saturating_sub(HEADROOM).max(claimed)).await
    }

    /// Bytes since the opening that the row claims.
    fn claimed(&self) -> u64 {
        self.seen.upload.offset - self.opened_at
    }

    async fn cut(&mut self, length: u64) -> Result<(), StorageError> {
        self.stored = length - self.opened_at;
        let held = self.held.clone();
        blocking(move || Ok(files::cut(&held.file, length)?)).await
    }

    /// Waits for the checkpoint that is under way.
    ///
    /// Where only its row failed, things are as they were before it. Where its sync failed, the system may
    /// say of the next one that all is well although bytes are lost: nothing more of this writer counts.
    async fn saved(&mut self) -> Result<(), StorageError> {
        let Some(saving) = self.saving.take() else {
            return if self.lost { Err(lost()) } else { Ok(()) };
        };
        let Saving { task, try_no_more } = saving;
        drop(try_no_more);
        match task.await.map_err(std::io::Error::other)? {
            Ok(saved) => self.seen = saved,
            Err(NotSaved::Row(error)) if is_final(error.failure()) => return Err(self.outdone(error).await),
            Err(NotSaved::Row(_)) => {}
            Err(NotSaved::Sync(error)) => {
                self.lost = true;
                self.stored = self.claimed();
                return Err(error);
            }
        }
        Ok(())
    }

    /// The upload is not the one any more that this writer saw. Where another one has its name by now, the file is
    /// that one's: nothing of ours is left in it.
    async fn outdone(&mut self, error: StorageError) -> StorageError {
        if let Err(error) = self.cut(self.seen.upload.offset).await {
            tracing::warn!(upload = %self.seen.upload.id, %error, "bytes of a writer that came too late stay in the file");
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
        // Everything that may be committed is.
        if change.offset == self.seen.upload.offset && change.expires == self.seen.upload.expires {
            return Ok(Checkpoint::Taken);
        }
        let Ok(turn) = self.inner.checkpoints.clone().try_acquire_owned() else {
            return Ok(Checkpoint::Declined);
        };
        let (inner, held) = (self.inner.clone(), self.held.clone());
        let (seen, change) = (self.seen.clone(), change.clone());
        let (try_no_more, mut given_up) = oneshot::channel();
        let task = tokio::spawn(async move {
            let _turn = turn;
            let mut saved = save(inner.clone(), held, seen.clone(), change.clone()).await;
            // No other bytes may come that would bring another checkpoint.
            while let Err(NotSaved::Row(error)) = &saved
                && !is_final(error.failure())
            {
                tracing::warn!(upload = %seen.upload.id, %error, "a checkpoint failed");
                match timeout(AGAIN, &mut given_up).await {
                    Ok(_) => break,
                    Err(_) => saved = save_row(inner.clone(), seen.clone(), change.clone()).await,
                }
            }
            saved
        });
        self.saving = Some(Saving { task, try_no_more });
        Ok(Checkpoint::Taken)
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        match self.saved().await {
            // Up to what an earlier commit made durable it is as good as ever.
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
            Err(NotSaved::Row(error)) if is_final(error.failure()) => return Err(self.outdone(error).await),
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
        // The name of a new file, too, must outlive a power cut.
        let is_new = seen.upload.offset == 0;
        let name = async { if is_new { inner.sync_name().await } else { Ok(()) } };
        let synced = async { tokio::try_join!(data, name) };
        synced.await.map_err(NotSaved::Sync)?;
    }
    save_row(inner, seen, change).await
}

async fn save_row(inner: Arc<Inner>, seen: Stored, change: Change) -> Result<Stored, NotSaved> {
    let changed = inner.change(&seen, &change).await;
    if seen.upload.offset == 0 && changed.as_ref().is_err_and(|error| error.failure() == Failure::NotFound) {
        // The upload may have been removed before the file was made.
        inner.give_up(seen.upload.id.clone());
    }
    changed.map(|version| seen.changed(&change, version)).map_err(NotSaved::Row)
}

/// Opens the upload's file at the offset, with nothing beyond it, and keeps others out.
async fn open(inner: &Arc<Inner>, stored: &Stored) -> Result<Held, StorageError> {
    let since = inner.writers.right_since(&stored.upload.id);
    let (began, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        // A request that was not given the upload does not get in before one that asked later.
        if stored.held_elsewhere && takeover::is_wanted(inner, &stored.upload.id).await? {
            return Err(StorageError::new(Failure::Busy, "somebody else asked for the upload later"));
        }
        let (again, stored) = (inner.clone(), stored.clone());
        if let Some(held) = quick(move || try_open(&again, &stored, since)).await? {
            return Ok(held);
        }
        if began.elapsed() >= LOCK_PATIENCE {
            return Err(StorageError::new(Failure::Busy, "another process adds bytes to the upload"));
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
    // First: what finds the file locked must know that it is by us.
    let entered = inner.writers.enter(&upload.id, since);
    if !files::lock(&file)? {
        return Ok(None);
    }
    let held = Held { file, entered };
    let metadata = held.file.metadata()?;
    if metadata.nlink() == 0 {
        // It was deleted between opening and locking it: what is written to it is lost.
        inner.unchanged(stored)?;
        return Ok(None);
    }
    // From here on nobody else writes. Where the file ends at the offset and more is to come, its row can only be what
    // it was, or gone, or another upload's, as the first commit finds out.
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
