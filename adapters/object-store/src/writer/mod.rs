//! The writer: buffered bytes become parts, or pieces if they must wait. Nothing counts before the document refers to
//! it.
//!
//! The order of bytes is: the document's parts and pieces, the parts that this writer has uploaded ([`parts`]), its
//! pieces, and what it [holds](held). A commit makes the document refer to them in this order.

mod held;
mod parts;
mod pieces;
mod watch;

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet, time::Instant};
use tus_service::{Change, Checkpoint, Chunks, Failure, Hint, StorageError, Upload, Version, Writer, async_trait};

use self::{
    held::Held,
    parts::{Landed, Putting},
    watch::Watch,
};
use crate::{
    document::{Document, Multipart, Owner, Piece, Status, length},
    nonce::nonce,
    records::{Inner, Seen},
    seal::Gathered,
    settings::Rule,
};

pub(crate) struct PartWriter {
    store: Arc<Inner>,
    /// The document that this writer saw or made last.
    seen: Seen,
    /// The name of this writer.
    name: String,
    /// The owner that did not answer, from which this writer takes over the upload.
    replaces: Option<Owner>,
    /// The offset at which it was opened, and the bytes taken since.
    opened_at: u64,
    taken: u64,
    /// The parts after those in the document, in order.
    parts: VecDeque<Putting>,
    on_the_way: JoinSet<Landed>,
    /// An abandoned request of this writer may still upload part numbers below this.
    given_up: usize,
    pieces: Vec<Piece>,
    /// Whether other writers, or a failed request of this one, may have left pieces to which nothing refers.
    litter: bool,
    /// Pieces that became parts or other pieces, or were discarded. They are deleted after the next change of the
    /// document.
    dead: Vec<String>,
    held: Held,
    /// Memory for what is on its way to this writer.
    ahead: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
    /// The last hint: what may be committed behind the stream.
    allowed: Option<Change>,
    /// The times when bytes were last recorded, or written as a piece since they may not be recorded yet, and of the last
    /// change of the document.
    recorded: Instant,
    changed: Instant,
    watch: Arc<Watch>,
}

impl PartWriter {
    pub(crate) fn new(store: Arc<Inner>, seen: Seen) -> Result<Self, StorageError> {
        let (pieces, opened_at) = (seen.document.pieces.clone(), seen.document.upload.offset);
        let document = &seen.document;
        let litter = opened_at > 0 || document.owner.is_some() || document.reserved > 0 || document.litter;
        Ok(Self {
            store,
            replaces: seen.document.owner.clone(),
            seen,
            name: nonce()?,
            opened_at,
            taken: 0,
            parts: VecDeque::new(),
            on_the_way: JoinSet::new(),
            given_up: 0,
            pieces,
            litter,
            dead: Vec::new(),
            held: Held::default(),
            ahead: None,
            allowed: None,
            recorded: Instant::now(),
            changed: Instant::now(),
            watch: Arc::default(),
        })
    }

    /// The offset after all bytes taken.
    fn end(&self) -> u64 {
        self.opened_at + self.taken
    }

    fn committed(&self) -> u64 {
        self.seen.document.upload.offset
    }

    /// The upload after a change.
    fn after(&self, change: &Change) -> Upload {
        let mut after = self.seen.document.upload.clone();
        change.apply(&mut after);
        after
    }

    /// A checkpoint has recorded all bytes and released the upload, and this change adds at most another expiry. A newer
    /// request may have opened the upload by now: another version would push it out.
    fn has_recorded(&self, change: &Change) -> bool {
        let upload = &self.seen.document.upload;
        let mut rest = change.clone();
        rest.expires = upload.expires;
        self.taken > 0 && rest == Change::of(upload) && self.end() == self.committed() && !self.watch.owns()
    }

    /// Changes the expiry without a new version, unless another request owns or has changed the upload.
    async fn postpone(&mut self, change: &Change) -> Result<(), StorageError> {
        self.store.announce(&self.after(change), Some(&self.seen.document.upload), false).await?;
        self.swap(|document| {
            document.upload.expires = change.expires;
            Ok(())
        })
        .await
    }

    /// The bytes after the last part.
    fn tail(&self) -> u64 {
        length(&self.pieces) + self.held.length()
    }

    /// Changes the document, unless another writer has changed it since this one was opened.
    async fn swap(
        &mut self,
        mut edit: impl FnMut(&mut Document) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let (replaces, name, owned) = (&self.replaces, &self.name, self.watch.owns());
        // Also by a request that this change meets, even if it releases the upload: the body of this writer may go on.
        let mut is_wanted = false;
        let swapped = self.store.swap(&self.seen, |document| {
            is_wanted = document.is_owned_by(name) && document.wanted.is_some();
            match &document.owner {
                Some(owner) if owner.writer != *name && Some(owner) != replaces.as_ref() => {
                    Err(Failure::Conflict.into())
                }
                None if owned => Err(Failure::Conflict.into()),
                _ => {
                    document.question = None;
                    edit(document)
                }
            }
        });
        self.seen = swapped.await?;
        self.changed = Instant::now();
        let document = &self.seen.document;
        let owns = document.is_owned_by(&self.name);
        self.watch.looked(owns, is_wanted || (owns && document.wanted.is_some()));
        Ok(())
    }

    /// The same for a writer that continues: the change may have been made, and the upload taken over since.
    async fn swap_and_own(
        &mut self,
        edit: impl FnMut(&mut Document) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        self.swap(edit).await?;
        self.replaces = None;
        if self.watch.owns() { Ok(()) } else { Err(Failure::Conflict.into()) }
    }

    /// At the first hint or the first part: until its bytes are committed, others can see that somebody has some. A
    /// multipart upload is recorded if there is none.
    async fn own(&mut self, multipart: Option<&Multipart>) -> Result<(), StorageError> {
        if self.watch.owns() && multipart.is_none() {
            return Ok(());
        }
        let owner = Owner { process: self.store.process.clone(), writer: self.name.clone() };
        let settings = self.store.settings.clone();
        let given_up = self.given_up;
        self.swap_and_own(|document| {
            document.contest(&owner.writer);
            if document.owner.as_ref() != Some(&owner) {
                (document.owner, document.wanted) = (Some(owner.clone()), None);
            }
            document.contested = document.contested.max(given_up);
            document.reserved = document.reserved.max(document.parts.len() + settings.ahead());
            if document.multipart.is_none() {
                document.multipart = multipart.cloned();
            }
            Ok(())
        })
        .await
    }

    /// Changes the document so that it refers to the first parts (which must all have been uploaded) and to these
    /// pieces.
    async fn record(
        &mut self,
        change: &Change,
        count: usize,
        pieces: Vec<Piece>,
        keep: bool,
    ) -> Result<(), StorageError> {
        let parts: Vec<_> = self.parts.iter().take(count).filter_map(|putting| putting.part.clone()).collect();
        if parts.len() != count {
            return Err(StorageError::new(Failure::Internal, "a part to commit is still being sent"));
        }
        if !self.store.settings.keeps(Rule::DeleteAfterCommit) {
            self.dead.extend(self.parts.iter().take(count).flat_map(|putting| putting.pieces.iter().cloned()));
            let dead = std::mem::take(&mut self.dead);
            let upload = &self.seen.document.upload;
            let _ = self.store.forget_pieces(upload, dead.iter().map(String::as_str)).await;
        }
        self.store.announce(&self.after(change), Some(&self.seen.document.upload), false).await?;
        let (ahead, given_up, next) = (self.store.settings.ahead(), self.given_up, self.next_number());
        let name = self.name.clone();
        let is_clean = self.parts.len() == count;
        let needs_pieces = self.store.settings.keeps(Rule::Contested);
        let edit = |document: &mut Document| {
            document.contest(&name);
            let mut numbered = (document.parts.len()..).zip(&parts);
            if needs_pieces && numbered.any(|(number, part)| part.piece.is_none() && number < document.contested) {
                // Another process had the upload in between, and may still overwrite it.
                return Err(Failure::Conflict.into());
            }
            document.change(change)?;
            document.parts.extend(parts.iter().cloned());
            document.pieces.clone_from(&pieces);
            document.contested = document.contested.max(given_up);
            if keep {
                document.reserved = document.reserved.max(document.parts.len() + ahead).max(next + (ahead / 2).max(2));
            } else {
                document.release();
                if is_clean {
                    document.reserved = document.parts.len().max(document.contested);
                }
            }
            Ok(())
        };
        self.swap(edit).await?;
        self.replaces = None;
        // The document refers to them now, even if another writer owns it: they must not be added again.
        self.dead.extend(self.parts.drain(..count).flat_map(|putting| putting.pieces));
        self.recorded = Instant::now();
        self.bury().await;
        if keep && !self.watch.owns() { Err(Failure::Conflict.into()) } else { Ok(()) }
    }

    /// After a change of the document: deletes what it no longer refers to.
    async fn bury(&mut self) {
        let mut dead = std::mem::take(&mut self.dead);
        let (named, mine) = (&self.seen.document.pieces, &self.pieces);
        dead.retain(|nonce| !named.iter().chain(mine).any(|piece| piece.nonce == *nonce));
        let upload = &self.seen.document.upload;
        if self.store.forget_pieces(upload, dead.iter().map(String::as_str)).await.is_err() {
            // After the next change.
            self.dead = dead;
        }
    }

    /// Makes all bytes taken durable, and the change.
    async fn record_all(&mut self, change: &Change, keep: bool) -> Result<(), StorageError> {
        self.put_piece().await?;
        self.land().await?;
        let (count, pieces) = (self.parts.len(), self.pieces.clone());
        self.record(change, count, pieces, keep).await
    }

    /// Bytes are arriving, and some have been waiting for long.
    async fn record_behind(&mut self, change: &Change) -> Result<(), StorageError> {
        self.land_what_has().await?;
        if self.store.settings.write_interval.is_some_and(|interval| self.changed.elapsed() < interval) {
            return Ok(());
        }
        let is_late = self.recorded.elapsed() >= self.store.settings.linger;
        let (count, offset) = self.committable();
        if is_late && change.offset == self.end() {
            self.record_all(change, true).await
        } else if count >= 2 || (is_late && count > 0) {
            let mut change = change.clone();
            change.offset = offset;
            self.record(&change, count, Vec::new(), true).await
        } else if is_late {
            // What may not be committed yet needs no memory any more, and not again for as long.
            self.put_piece().await?;
            self.recorded = Instant::now();
            Ok(())
        } else {
            Ok(())
        }
    }

    /// All bytes are recorded, and none arrive: others need not wait for this writer.
    async fn release(&mut self) -> Result<(), StorageError> {
        if !self.watch.owns() {
            return Ok(());
        }
        let given_up = self.given_up;
        let released = self.swap(|document| {
            document.contested = document.contested.max(given_up);
            document.reserved = document.parts.len().max(document.contested);
            document.release();
            Ok(())
        });
        released.await
    }

    /// Whether there may be pieces that have to be deleted when the object exists.
    fn may_leave_pieces(&self) -> bool {
        let of_parts = self.parts.iter().flat_map(|putting| &putting.pieces);
        self.litter || !self.pieces.is_empty() || of_parts.chain(&self.dead).next().is_some()
    }

    /// All bytes have arrived: makes the object.
    async fn finish(&mut self, change: &Change) -> Result<(), StorageError> {
        let before = self.seen.document.clone();
        let after = self.after(change);
        let has_parts = !before.parts.is_empty() || !self.parts.is_empty();
        let litter = self.may_leave_pieces();
        self.store.announce(&after, Some(&before.upload), has_parts || litter).await?;
        if !has_parts && self.finish_small(change, &before, litter).await? {
            return Ok(());
        }
        let tail = self.tail();
        if has_parts && tail > 0 {
            self.put_part(tail).await?;
        } else if !has_parts {
            self.store.announce(&after, Some(&before.upload), !litter).await?;
            self.put_piece().await?;
        }
        self.land().await?;
        let parts: Vec<_> = self.parts.iter().filter_map(|putting| putting.part.clone()).collect();
        let pieces = self.pieces.clone();
        self.swap(|document| {
            document.litter = litter || !has_parts;
            document.begin_sealing(change)?;
            document.parts.extend(parts.iter().cloned());
            document.pieces.clone_from(&pieces);
            Ok(())
        })
        .await?;
        self.dead.extend(self.parts.drain(..).flat_map(|putting| putting.pieces));
        self.bury().await;
        self.seen = self.store.seal(&self.seen, change).await?;
        self.pieces.clear();
        Ok(())
    }

    /// At most one part: if no object exists yet, it is written first, and one change is enough.
    async fn finish_small(&mut self, change: &Change, before: &Document, litter: bool) -> Result<bool, StorageError> {
        let store = self.store.clone();
        let Gathered { bytes, memory: _memory } = match store.bytes_of(&before.upload, &self.pieces).await {
            Ok(gathered) => gathered,
            Err(error) => {
                // If another writer took over, that is the reason.
                self.swap(|_| Ok(())).await?;
                return Err(error);
            }
        };
        let payload = bytes.into_iter().chain(self.held.bytes()).collect();
        let seal = nonce()?;
        let Some(tag) = self.store.publish_first(before, payload, &seal).await? else { return Ok(false) };
        self.swap(|document| {
            document.litter = litter;
            document.done(change, tag.etag(), &before.version)?;
            store.claim_with(document)
        })
        .await?;
        self.held = Held::default();
        self.dead.extend(self.pieces.drain(..).map(|piece| piece.nonce));
        if self.seen.document.upload.is_due() {
            // Whoever finds nothing due any more deletes what remains.
            self.bury().await;
        } else if litter {
            self.store.nothing_due(&self.seen.document).await;
        }
        if let Some(multipart) = &before.multipart {
            let _ = self.store.bucket.abort(&before.key, &multipart.id).await;
        }
        Ok(true)
    }
}

#[async_trait]
impl Writer for PartWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        self.keep_memory_ahead();
        let memory = self.memory_for(chunks.bytes()).await?;
        self.taken += chunks.bytes() as u64;
        self.held.push(self.store.blocks.copy(chunks), memory);
        // The last part may be smaller, and a full one may be the last: it waits for the next byte.
        while self.tail() > self.next_size() {
            self.put_part(self.next_size()).await?;
        }
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.taken
    }

    fn version(&self) -> Version {
        self.store.stored(&self.seen).version
    }

    async fn checkpoint(&mut self, change: &Change, hint: Hint) -> Result<Checkpoint, StorageError> {
        self.allowed = Some(change.clone());
        if hint == Hint::Streaming {
            self.own(None).await?;
            self.record_behind(change).await?;
            return Ok(Checkpoint::Declined);
        }
        if change.offset == self.end() && change.offset > self.committed() {
            self.record_all(change, false).await?;
        } else if self.end() == self.committed() {
            self.release().await?;
        } else {
            // What may not be committed yet needs no memory any more.
            self.put_piece().await?;
            self.land().await?;
        }
        // If only some of it may be committed, that is left to the next commit: a piece is not divided.
        Ok(if change.offset == self.committed() { Checkpoint::Taken } else { Checkpoint::Declined })
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        if self.has_recorded(change) {
            if change.expires != self.seen.document.upload.expires {
                // The bytes are recorded, whether this succeeds or not.
                let _ = self.postpone(change).await;
            }
            return Ok(self.version());
        }
        if change.offset == self.committed() {
            self.forget().await;
        } else if change.offset != self.end() {
            let reason = format!("a commit at {} of bytes that end at {}", change.offset, self.end());
            return Err(StorageError::new(Failure::Internal, reason));
        }
        let after = self.after(change);
        let is_sealed = matches!(self.seen.document.status, Status::Done { .. });
        if after.is_complete() && !is_sealed {
            self.finish(change).await?;
        } else {
            self.record_all(change, false).await?;
        }
        self.allowed = None;
        Ok(self.store.stored(&self.seen).version)
    }

    fn committed(&self) -> Option<u64> {
        Some(self.seen.document.upload.offset)
    }

    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        watch::asked(self.store.clone(), self.seen.document.upload.clone(), self.watch.clone()).boxed()
    }
}

/// If there was no commit, ownership is released in the background, as far as possible.
impl Drop for PartWriter {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.watch.owns(), tokio::runtime::Handle::try_current()) {
            let (store, seen, name) = (self.store.clone(), self.seen.clone(), std::mem::take(&mut self.name));
            runtime.spawn(async move {
                let release = |document: &mut Document| {
                    if !document.is_owned_by(&name) {
                        return Err(Failure::Conflict.into());
                    }
                    document.release();
                    Ok(())
                };
                let _ = store.swap(&seen, release).await;
            });
        }
    }
}
