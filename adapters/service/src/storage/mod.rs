//! The guarantees of a storage.
//!
//! An upload is a record ([`Upload`](crate::Upload)) and bytes. The record is a small document that changes only by
//! compare-and-set, and **bytes past its offset do not exist**: a storage may hold more, and must behave as if it
//! didn't. A crash, a wrong checksum and an abort therefore have the same effect: the tail is discarded.
//!
//! Nothing here needs an append, a rename, a lock or an index, so an object store can be a storage: its writer
//! buffers bytes until they fill a part, or until no more arrive.

mod chunks;
mod error;
mod filter;
mod share;

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{self, BoxFuture},
    stream::BoxStream,
};
use tus_core::{Change, Stored, Upload, UploadId, Version, server::Access};

pub(crate) use self::share::Share;
pub use self::{chunks::Chunks, error::StorageError, filter::UploadFilter};

/// The most bytes in one piece of a [`ByteStream`]. A download that nobody reads holds one piece, and the framework's
/// buffers.
pub const MAX_PIECE: usize = 32 * 1024;

/// Bytes of an upload, in order. They are read on demand, in pieces of at most [`MAX_PIECE`].
pub type ByteStream = BoxStream<'static, Result<Bytes, StorageError>>;

/// Records, in the order that the method guarantees.
pub type StoredStream<'a> = BoxStream<'a, Result<Stored, StorageError>>;

/// Uploads, in the order that the method guarantees.
pub type UploadStream<'a> = BoxStream<'a, Result<Upload, StorageError>>;

/// Stores uploads.
///
/// Guarantees, within a process and among all processes that share the store:
///
/// - **Bytes past the committed offset do not exist.**
/// - **A change is compare-and-set**: it applies to the version that the caller saw, or not at all.
/// - **An acknowledged offset is durable**, as far as the storage guarantees durability.
/// - Every method either does what it promises or changes nothing.
///
/// Every change makes a new [`Version`]. Information that a storage keeps beside the record (which process adds
/// bytes, which one asks for the upload) does not.
///
/// An operation on a [`Stored`] applies to that [incarnation](tus_core::Incarnation) or not at all: an upload that
/// was removed and created again under the same id is a different one
/// ([`Failure::Conflict`](crate::Failure::Conflict)).
///
/// Times may be rounded to a millisecond.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Stores the record of a new upload, durably.
    ///
    /// An upload that is complete from the start has no bytes. This may take long if the storage has to process it;
    /// until then, [`Storage::load`] may return the record as [assembling](tus_core::Phase::Assembling).
    ///
    /// # Errors
    ///
    /// [`Failure::Exists`](crate::Failure::Exists) if there is already one with that id; it is not changed.
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError>;

    /// The record as last committed; `None` if it does not exist.
    ///
    /// It includes every change that was acknowledged before the call. The bytes up to its offset exist: if the
    /// storage finds fewer, it first makes the change of [`Upload::after_loss`].
    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError>;

    /// The same for many uploads, in the order of `ids`, in as few round trips as the store allows.
    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError>;

    /// Asks another process that is adding bytes to the upload to commit what it has and to leave, and waits for that for
    /// at most `patience`. Returns the record afterwards; it is still [`held_elsewhere`](Stored::held_elsewhere) if
    /// the other process did not leave. A change may be tried nevertheless ([`Storage::open`]).
    ///
    /// Of the requests that ask in order to [write](Access::Write), the newest wins: an older one fails immediately
    /// when a newer one asks, and therefore changes and deletes nothing that the newer one continues with. A request
    /// that [reads](Access::Read) only waits, and does not take the upload from a request that waits to write.
    ///
    /// If no other process holds the upload, this equals [`Storage::load`]. A storage for one process has nobody to
    /// ask.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`](crate::Failure::Busy) if a newer request that writes gets the upload.
    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        let _ = (access, patience);
        self.load(&stored.upload.id).await
    }

    /// Opens the upload for adding bytes at its offset. Bytes that were never committed are discarded.
    ///
    /// If `stored` is [`held_elsewhere`](Stored::held_elsewhere), its owner was asked to leave ([`Storage::settle`])
    /// and did not answer in time. A storage may take over the upload from an owner that did not answer.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`](crate::Failure::Busy) if a newer request waits for the upload, or if another writer is
    /// adding bytes and the storage can tell; it fails within a few seconds. A storage that cannot tell lets the first
    /// commit win. [`Failure::Conflict`](crate::Failure::Conflict) if the record has changed or is not
    /// [receiving](tus_core::Phase::Receiving), [`Failure::NotFound`](crate::Failure::NotFound) if it is gone, both
    /// if the storage can tell already.
    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError>;

    /// Durably makes a change that adds no bytes: the offset of `change` is that of the record. An open writer finds
    /// that the record has changed.
    ///
    /// A change that completes the upload (an empty one, or one whose length was unknown before) may take long; see
    /// [`Writer::commit`].
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) if the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) if it is gone.
    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError>;

    /// Makes many such changes. Changes of records that have changed or are gone are skipped.
    ///
    /// # Errors
    ///
    /// The first of other failures. The remaining changes are tried nevertheless.
    async fn update_all(&self, changes: &[(Stored, Change)]) -> Result<(), StorageError> {
        let mut all = Ok(());
        for (stored, change) in changes {
            match self.update(stored, change).await {
                Err(error) if error.failure().is_overtaken() => {}
                made => all = all.and(made.map(drop)),
            }
        }
        all
    }

    /// Completes an upload that is [assembling](tus_core::Phase::Assembling), and makes `change`: all or nothing. A
    /// final upload gets the bytes of `parts`, in order. For any other upload `parts` is empty, and the storage
    /// completes what it started when the bytes were committed.
    ///
    /// This may take long. Until it is done, [`Storage::load`] returns the old record. The parts do not change; one
    /// may occur several times. Their bytes add up to the offset of `change`.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) if the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) if it or a part is gone,
    /// [`Failure::Busy`](crate::Failure::Busy) if it is being assembled already, in this or another process.
    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError>;

    /// Deletes an upload. It is not found afterwards, and its space is freed immediately or soon. An open writer
    /// finds that the upload is gone.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`](crate::Failure::Busy) if a writer, in this or another process, adds bytes and the storage
    /// cannot delete the upload during that; [`Failure::Conflict`](crate::Failure::Conflict) if the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) if it is gone.
    async fn remove(&self, stored: &Stored) -> Result<(), StorageError>;

    /// Makes it possible to [read](Storage::read) an upload that is still [receiving](tus_core::Phase::Receiving) but has
    /// all its bytes, which are verified before it is complete. Returns the version of the record afterwards. Only the
    /// version may change: the upload stays as it is, accepts changes without bytes, and can be removed.
    ///
    /// This may take long, like [`Writer::commit`]. By default, nothing has to be done.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) if the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) if it is gone.
    async fn make_readable(&self, stored: &Stored) -> Result<Version, StorageError> {
        Ok(stored.version.clone())
    }

    /// Reads the committed bytes of the upload that lie within `range`, counted from its start. All are read through
    /// one handle, so that a download never mixes bytes of two uploads. Pieces have at most [`MAX_PIECE`] bytes and
    /// are read when the stream is polled.
    ///
    /// A storage need not be able to read incomplete uploads. Only finished uploads can be downloaded.
    ///
    /// # Errors
    ///
    /// Before the stream: [`Failure::NotFound`](crate::Failure::NotFound) if the incarnation is gone,
    /// [`Failure::Gone`](crate::Failure::Gone) if the upload is complete and the application moved its bytes away,
    /// and [`Failure::Conflict`](crate::Failure::Conflict) if the upload is not complete and the storage cannot read
    /// it. The stream ends with an error if bytes are missing.
    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError>;

    /// The uploads that match `filter`, ordered bytewise by id, starting after `after`. Uploads that are created or
    /// deleted during the listing may be included or not. [`held_elsewhere`](Stored::held_elsewhere) need not be
    /// determined.
    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_>;

    /// The uploads that need work at the time `now` without a request: those that have expired, and those that are
    /// [due](Upload::is_due). In no order. Other uploads must add little to its cost. An upload that this or another
    /// running process is currently changing may be omitted.
    fn pending(&self, now: SystemTime) -> StoredStream<'_>;

    /// The final uploads that name a part with this id and are not assembled yet, each once, and at most `at_most` of
    /// them. The incarnation of the part need not be compared. Other uploads must not add to its cost.
    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError>;

    /// The number of final uploads that are not assembled yet, counted up to `at_most`. Its cost must not grow with
    /// other uploads. A storage that cannot distinguish them from other [due](Upload::is_due) uploads may count these
    /// as well.
    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError>;

    /// Reserves the background work (assembling, hooks) of this incarnation for this storage's process for
    /// `duration`, so that one process at a time does it. Returns whether the claim succeeded: the upload was
    /// unclaimed, the claim had expired, or it was this process's already. A duration of zero releases the claim. A
    /// claim ends with its upload, and an incarnation that is gone cannot be claimed. A claim is renewed while the
    /// work runs, including during [`Storage::assemble`].
    ///
    /// The change or creation that makes an upload [complete](tus_core::Phase::Complete) and [due](Upload::is_due)
    /// also claims it for 15 s, unless another process holds a claim. Otherwise another process could call the hooks
    /// for the client that waits here.
    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError>;

    /// Frees the space of data that belongs to no upload, such as a crash leaves behind. It has no record, so
    /// [`Storage::pending`] cannot return it. Called at the start and with
    /// every sweep. It may do nothing most of the time.
    async fn tidy(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// About how many bytes a [write](Writer::write) should have if they arrive faster than they are written. As many
    /// wait in memory meanwhile, for each upload. 1 MiB by default, which keeps calls to a disk few. A storage that
    /// only copies them to memory of its own wants less. From 64 KiB to 128 MiB; other values are adjusted.
    fn batch(&self) -> usize {
        1024 * 1024
    }
}

/// Adds bytes to one upload.
///
/// Dropping it without a commit discards the bytes since the last commit. Other processes may see the upload as
/// [`held_elsewhere`](Stored::held_elsewhere) for a moment longer.
#[async_trait]
pub trait Writer: Send {
    /// Takes the next bytes: all chunks, in order. They exist only after a commit and may be buffered until then;
    /// their share of the memory budget is freed when the storage drops them. A storage that buffers bytes must
    /// release them when it is given [`Hint::Stalled`]: no more arrive. Otherwise all bodies together
    /// could wait for room forever.
    ///
    /// If it fails, [`Writer::stored`] reports how much was taken, and that much can still be committed.
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError>;

    /// The number of bytes taken since the upload was opened. It may decrease after a commit that discards some, and
    /// after a write, hint or commit that failed, but never below what is committed.
    fn stored(&self) -> u64;

    /// The version of the record that this writer saw or made last. A running checkpoint may not be included.
    fn version(&self) -> Version;

    /// A hint about how bytes arrive, called repeatedly while a body is received. The storage may commit now, while
    /// the next bytes arrive, or not at all.
    ///
    /// `change` is what may be committed now. It may cover fewer bytes than were taken, even none, and it
    /// never completes the upload. The hint applies nevertheless: a storage can release memory without committing.
    /// The offset never decreases from one hint to the next. If it equals that of the last commit, only the expiry
    /// may change.
    ///
    /// An upload may be reported as [`held_elsewhere`](Stored::held_elsewhere) only after the writer's first hint, so
    /// that a small body costs nothing but its commit.
    ///
    /// # Errors
    ///
    /// Those of [`Writer::commit`], including errors of an earlier hint.
    async fn checkpoint(&mut self, change: &Change, hint: Hint) -> Result<Checkpoint, StorageError>;

    /// Durably stores the bytes up to `change.offset` and then the change. Bytes beyond are discarded.
    ///
    /// The offset is either that of all bytes taken ([`Writer::stored`], also after a failed call) or that of the
    /// last commit, because the bytes of an interrupted body with a checksum are discarded. It is never in between.
    ///
    /// A change to [`Phase::Complete`](tus_core::Phase::Complete) or [`Phase::Notified`](tus_core::Phase::Notified)
    /// may take long if the storage has to assemble the pieces. Until then, [`Storage::load`] may return the record
    /// as [assembling](tus_core::Phase::Assembling).
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) if the record is not the one that this writer saw or made
    /// last, [`Failure::NotFound`](crate::Failure::NotFound) if the upload is gone,
    /// [`Failure::Full`](crate::Failure::Full) if there is no room.
    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError>;

    /// The offset that the record claims now, as far as that is known without waiting. Clients may learn that it is
    /// durable. `None`, the default, if it is not known.
    fn committed(&self) -> Option<u64> {
        None
    }

    /// Completes when another process wants the upload ([`Storage::settle`]): commit what has arrived, and drop the
    /// writer. Never by default. It is polled only while a body is received, not for example while a hook runs.
    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        future::pending().boxed()
    }
}

/// Whether bytes have arrived since the last hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Bytes have arrived; more are expected immediately.
    Streaming,
    /// None have arrived; the next ones may take long or never come.
    Stalled,
}

/// The result of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Checkpoint {
    /// Nothing remains to be done before more bytes arrive. What may be committed is committed, or will be without
    /// another call, even if the writer is dropped. The same applies to the memory of the bytes so far.
    Taken,
    /// Work remains: ask again.
    Declined,
}
