//! What a storage promises.
//!
//! An upload is a record ([`Upload`](crate::Upload)) and bytes. The record is one small document that changes only by
//! compare-and-set, and **bytes past its offset do not exist**: a storage may hold more, and must then behave as if
//! it didn't. So a crash, a broken checksum and an abort share one path: the tail is forgotten.
//!
//! Nothing here needs an append, a rename, a lock or an index, so that an object store can be a storage: its writer
//! holds bytes back until they fill a part, or until no more come.

mod chunks;
mod error;
mod filter;

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

pub use self::{chunks::Chunks, error::StorageError, filter::UploadFilter};

/// The most bytes in one piece of a [`ByteStream`]: a download that nobody reads holds one, and what a framework makes
/// of it.
pub const MAX_PIECE: usize = 32 * 1024;

/// Bytes of an upload, in order. They are read when they are asked for, in pieces of [`MAX_PIECE`] at the most.
pub type ByteStream = BoxStream<'static, Result<Bytes, StorageError>>;

/// Records, in the order that the method which gives them promises.
pub type StoredStream<'a> = BoxStream<'a, Result<Stored, StorageError>>;

/// Uploads, in the order that the method which gives them promises.
pub type UploadStream<'a> = BoxStream<'a, Result<Upload, StorageError>>;

/// Where uploads are kept.
///
/// Guarantees, within a process and among all that share the store:
///
/// - **Bytes past the committed offset do not exist.**
/// - **A change is compare-and-set**: it is made to the version that the caller saw, or not at all.
/// - **An acknowledged offset is durable**, as far as the storage promises durability.
/// - Every method either does what it says or changes nothing.
///
/// Every change makes a new [`Version`]. Notes that a storage keeps beside the record (who adds bytes, who asks for the
/// upload) make none.
///
/// What was done to a [`Stored`] is done to that [incarnation](tus_core::Incarnation) or not at all: an upload that
/// was removed and created again under the same id is another one ([`Failure::Conflict`](crate::Failure::Conflict)).
///
/// Times may be rounded to a millisecond.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// Stores the record of a new upload, durably.
    ///
    /// One that is complete from the start has no bytes. It may take long where the storage has to make something of
    /// that; meanwhile, [`Storage::load`] may give the record as [assembling](tus_core::Phase::Assembling).
    ///
    /// # Errors
    ///
    /// [`Failure::Exists`](crate::Failure::Exists) where there is one of that id; it is left as it was.
    async fn create(&self, upload: &Upload) -> Result<Version, StorageError>;

    /// The record as it was last committed; `None` where there is none.
    ///
    /// It sees every change that was acknowledged before the call. Up to its offset the bytes are there: where the
    /// storage finds fewer, it makes the change of [`Upload::after_loss`] first.
    async fn load(&self, id: &UploadId) -> Result<Option<Stored>, StorageError>;

    /// The same for many uploads, in the order of `ids`, in as few round trips as the store allows.
    async fn load_all(&self, ids: &[UploadId]) -> Result<Vec<Option<Stored>>, StorageError>;

    /// Asks whoever adds bytes to the upload in another process to commit what it has and to leave, and waits for
    /// that, `patience` at the most. Returns the record as it is then; it is still
    /// [`held_elsewhere`](Stored::held_elsewhere) where the other did not leave. A change may be tried all the same
    /// ([`Storage::open`]).
    ///
    /// Of the requests that ask in order to [write](Access::Write), the newest wins: an older one fails at once when a
    /// newer one asks, and so changes and deletes nothing that the newer one goes on with. One that
    /// [reads](Access::Read) only waits: it takes the upload from no request that waits to write.
    ///
    /// Where nobody holds the upload any more, this is [`Storage::load`]. A storage of one process has nothing to ask.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`](crate::Failure::Busy) where a newer request that writes is to get the upload.
    async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        let _ = (access, patience);
        self.load(&stored.upload.id).await
    }

    /// Opens the upload for adding bytes at its offset; bytes that were never committed are forgotten.
    ///
    /// Where `stored` says [`held_elsewhere`](Stored::held_elsewhere), its owner was asked to leave ([`Storage::settle`])
    /// and did not answer in time. From an owner that did not answer a storage may take the upload over.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`](crate::Failure::Busy) where a newer request waits for the upload, and where somebody else is
    /// adding bytes and the storage can tell; it says so within a few seconds. One that cannot tell lets the first
    /// commit win. [`Failure::Conflict`](crate::Failure::Conflict) where the record has changed
    /// or is not [receiving](tus_core::Phase::Receiving), [`Failure::NotFound`](crate::Failure::NotFound) where it is
    /// gone, if the storage can tell already.
    async fn open(&self, stored: &Stored) -> Result<Box<dyn Writer>, StorageError>;

    /// Makes a change that adds no bytes, durably: the offset of `change` is that of the record. A writer that is open
    /// meanwhile finds that the record has changed.
    ///
    /// A change that completes the upload (an empty one, or one whose length was unknown until now) may take long; see
    /// [`Writer::commit`].
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) where the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) where it is gone.
    async fn update(&self, stored: &Stored, change: &Change) -> Result<Version, StorageError>;

    /// Puts an upload together that is [assembling](tus_core::Phase::Assembling), and makes `change`: all or nothing.
    /// A final upload gets the bytes of `parts`, in order; for any other, `parts` is empty, and the storage completes
    /// what it had begun when its bytes were committed.
    ///
    /// It may take long; until it is done, [`Storage::load`] gives the old record. The parts stay as they are; one
    /// may be there several times. Their bytes add up to the offset of `change`.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) where the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) where it or a part is gone,
    /// [`Failure::Busy`](crate::Failure::Busy) where somebody else is at it.
    async fn assemble(&self, stored: &Stored, parts: &[Stored], change: &Change) -> Result<Version, StorageError>;

    /// Deletes an upload: it is not found from now on, and its space is given back now or soon. A writer that is open
    /// meanwhile finds that the upload is gone.
    ///
    /// # Errors
    ///
    /// [`Failure::Busy`](crate::Failure::Busy) where somebody else adds bytes and the storage cannot delete it meanwhile;
    /// [`Failure::Conflict`](crate::Failure::Conflict) where the record has changed,
    /// [`Failure::NotFound`](crate::Failure::NotFound) where it is gone.
    async fn remove(&self, stored: &Stored) -> Result<(), StorageError>;

    /// Reads committed bytes of the upload: all of `range` (from its start) that there are, over one opened handle, so
    /// that a download never mixes the bytes of two uploads. Pieces have at most [`MAX_PIECE`] bytes and are
    /// read when the stream is polled.
    ///
    /// A storage need not be able to read an upload that is not complete. Of tus, only finished ones are served.
    ///
    /// # Errors
    ///
    /// At once: [`Failure::NotFound`](crate::Failure::NotFound) where the incarnation is gone,
    /// [`Failure::Gone`](crate::Failure::Gone) where the upload is complete and the application moved its bytes away, and
    /// [`Failure::Conflict`](crate::Failure::Conflict) where the upload is not complete and the storage cannot read it.
    /// The stream ends with an error where bytes are missing.
    async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError>;

    /// The uploads that pass `filter`, in the order of their ids (by their bytes), beginning after `after`. Uploads
    /// that come or go meanwhile may be among them or not. Whether an upload is
    /// [`held_elsewhere`](Stored::held_elsewhere) need not be found out.
    fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_>;

    /// The uploads for which something is to be done by `now` without a request: those that have expired, and those
    /// that are [due](Upload::is_due). In no order; it costs little more where there are many others. An upload that
    /// this or another running process is changing just now may be left out.
    fn pending(&self, now: SystemTime) -> StoredStream<'_>;

    /// The final uploads that are not assembled yet and name a part of this id, each once and `at_most` so many of them;
    /// whether it is the same incarnation need not be found out. It costs no more where there are many others.
    async fn waiting_for(&self, part: &UploadId, at_most: usize) -> Result<Vec<UploadId>, StorageError>;

    /// How many final uploads are not assembled yet, counted no further than `at_most`: what it costs does not grow with
    /// the other uploads. A storage that cannot tell them from others that are [due](Upload::is_due) may count these,
    /// too.
    async fn pending_finals(&self, at_most: usize) -> Result<usize, StorageError>;

    /// Reserves the background work (assembling, hooks) of this incarnation of an upload for this storage's process for
    /// so long, so that it is done by one process at a time. Whether it is ours: it was free, had run out, or was ours
    /// already. A duration of zero gives it back. A claim ends with its upload; where the incarnation is gone, it is
    /// nobody's. A claim is renewed while the work runs, also while [`Storage::assemble`] does.
    ///
    /// The change or creation that makes an upload [complete](tus_core::Phase::Complete) and [due](Upload::is_due) also
    /// claims it for 15 s, unless somebody else has: or else another process might call the hooks for the client that
    /// waits here.
    async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError>;

    /// Gives back the space of what belongs to no upload: what a crash has left. It is called at the start and
    /// then with every sweep, and may do nothing most of the time.
    async fn tidy(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Adds bytes to one upload.
///
/// Dropping it without a commit forgets what was written since the last one. For a moment, others may still see the
/// upload as [`held_elsewhere`](Stored::held_elsewhere) then.
#[async_trait]
pub trait Writer: Send {
    /// Takes the next bytes: all chunks, in order. They exist only after a commit, and may be held back
    /// until then: their share of the memory budget is free again when the storage drops them. A storage that holds
    /// bytes back lets go of them at the latest at a hint that no more come ([`Hint::Stalled`]), or all bodies
    /// together might wait for room for ever.
    ///
    /// Where it fails, [`Writer::stored`] says how much was taken, and that much can still be committed.
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError>;

    /// Bytes that were taken since the upload was opened. After a commit that forgets some, and after a write, a hint or
    /// a commit that failed, it may be less than before, but never less than what is committed.
    fn stored(&self) -> u64;

    /// The version of the record that this writer saw or made last; a checkpoint that is under way may not be in it.
    fn version(&self) -> Version;

    /// A hint of how the bytes come, again and again while a body is received. The storage may commit now, while the next
    /// bytes come, or not at all.
    ///
    /// `change` is what may be committed now: its offset may be less than all bytes, even none of them, and it never
    /// completes the upload. The hint holds all the same: a storage can let go of memory without committing. From one
    /// hint to the next the offset becomes no less. Where it is that of the last commit, nothing changes but when the
    /// upload expires.
    ///
    /// An upload may be seen as [`held_elsewhere`](Stored::held_elsewhere) only from the writer's first hint on, so that
    /// a small body costs nothing but its commit.
    ///
    /// # Errors
    ///
    /// Those of [`Writer::commit`], also of an earlier hint.
    async fn checkpoint(&mut self, change: &Change, hint: Hint) -> Result<Checkpoint, StorageError>;

    /// Makes the bytes up to `change.offset`, and then the change, durable. Bytes beyond are forgotten.
    ///
    /// The offset is that of all bytes that were taken ([`Writer::stored`], also after a call that failed), or that of
    /// the last commit: those of a body with a checksum that broke off are forgotten. Nothing in between is asked for.
    ///
    /// A change to [`Phase::Complete`](tus_core::Phase::Complete) or [`Phase::Notified`](tus_core::Phase::Notified) may
    /// take long where the storage has to put its pieces together; meanwhile, [`Storage::load`] may give the record as
    /// [assembling](tus_core::Phase::Assembling).
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`](crate::Failure::Conflict) where the record is not the one that this writer saw or set
    /// last, [`Failure::NotFound`](crate::Failure::NotFound) where the upload is gone,
    /// [`Failure::Full`](crate::Failure::Full) where there is no room.
    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError>;

    /// The offset up to which the record claims bytes by now, as far as that is known without waiting: clients may be
    /// learn that it is durable. `None`, by default, where it is not known.
    fn committed(&self) -> Option<u64> {
        None
    }

    /// Ends when another process wants the upload ([`Storage::settle`]): what came is to be committed, and the writer
    /// to be dropped. Never, by default. It is polled only while a body is received: not while a hook runs, say.
    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        future::pending().boxed()
    }
}

/// Whether bytes have come since the last hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Bytes have come: more of them can be expected at once.
    Streaming,
    /// None have come: the next ones may take long, or never come.
    Stalled,
}

/// What became of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Checkpoint {
    /// There is nothing more to do before more bytes come. What may be committed is, or will be without another call,
    /// also where the writer is dropped; and so it is with the memory that the bytes so far took.
    Taken,
    /// There is: ask again.
    Declined,
}
