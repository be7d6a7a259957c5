//! The writer: bytes in hand become parts, or pieces where they wait; nothing counts before the document names it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tus_service::{Change, Checkpoint, Chunks, Failure, Hint, StorageError, Version, Writer, async_trait};

use crate::{document::*, held::Held};

pub(crate) struct PartWriter {
    store: Arc<Inner>,
    /// The document as this writer saw or set it last.
    seen: Seen,
    name: String,
    /// Where it was opened, and bytes taken since.
    opened_at: u64,
    taken: u64,
    /// Parts beyond the document's; without a tag while they are on their way.
    parts: Vec<Part>,
    on_the_way: JoinSet<Result<(usize, String), StorageError>>,
    /// Behind the parts: the document's pieces, then those put only to free memory; behind them, what is held.
    pieces: Vec<Piece>,
    held: Held,
    /// The last checkpoint: what may be committed behind the stream.
    allowed: Option<Change>,
    owns: Arc<AtomicBool>,
    asked: watch::Sender<bool>,
}

impl PartWriter {
    pub(crate) fn new(store: Arc<Inner>, seen: Seen) -> Self {
        let (pieces, opened_at) = (seen.document.pieces.clone(), seen.document.upload.offset);
        Self {
            store,
            seen,
            name: nonce(),
            opened_at,
            taken: 0,
            parts: Vec::new(),
            on_the_way: JoinSet::new(),
            pieces,
            held: Held::default(),
            allowed: None,
            owns: Arc::default(),
            asked: watch::Sender::new(false),
        }
    }

    /// The offset behind everything that was taken.
    fn end(&self) -> u64 {
        self.opened_at + self.taken
    }

    fn committed(&self) -> u64 {
        self.seen.document.upload.offset
    }

    /// Changes the document, unless another writer owns it since this one was opened.
    async fn swap(&mut self, edit: impl Fn(&mut Document)) -> Result<(), StorageError> {
        let known = self.seen.document.owner.clone();
        let mine = |owner: &Owner| owner.writer == self.name;
        let swapped = self.store.try_swap(&self.seen, |document| {
            let is_taken = document.owner.as_ref().is_some_and(|owner| !mine(owner)) && document.owner != known;
            let is_lost = known.as_ref().is_some_and(mine) && document.owner != known;
            if is_taken || is_lost {
                return Err(Failure::Conflict);
            }
            edit(document);
            Ok(())
        });
        self.seen = swapped.await?;
        let owns = self.seen.document.owner.as_ref().is_some_and(|owner| owner.writer == self.name);
        self.owns.store(owns, Relaxed);
        if owns && self.seen.document.wanted.is_some() {
            self.asked.send_replace(true);
        }
        Ok(())
    }

    /// At the first hint or the first part: until its bytes are committed, others can see that somebody has some.
    async fn own(&mut self, multipart: Option<String>) -> Result<(), StorageError> {
        if self.owns.load(Relaxed) && self.seen.document.multipart == multipart {
            return Ok(());
        }
        let owner = Owner { process: self.store.process.clone(), writer: self.name.clone() };
        self.swap(|document| {
            if document.owner.as_ref() != Some(&owner) {
                // Left out: contested numbers, where somebody else owned it who may yet put a part.
                document.epoch += u64::from(document.owner.is_some());
                (document.owner, document.wanted) = (Some(owner.clone()), None);
                document.pending.clear();
            }
            document.multipart.clone_from(&multipart);
        })
        .await
    }

    /// Puts all pieces and as much of what is held as makes a part, beside the stream.
    async fn put_part(&mut self, length: u64) -> Result<(), StorageError> {
        let multipart = match self.seen.document.multipart.clone() {
            Some(multipart) => multipart,
            None => self.store.bucket.begin(&object_key(&self.seen.document.upload.id)).await?,
        };
        self.own(Some(multipart.clone())).await?;
        let in_pieces: u64 = self.pieces.iter().map(|piece| piece.length).sum();
        let before = Document { pieces: std::mem::take(&mut self.pieces), ..self.seen.document.clone() };
        let payload = self.held.take(length - in_pieces);
        let number = self.parts.len();
        let place = self.seen.document.parts.len() + number;
        self.parts.push(Part { etag: String::new(), length });
        let store = self.store.clone();
        self.on_the_way.spawn(async move {
            let mut bytes = store.pieces(&before).await?;
            bytes.extend(payload.chunks().cloned());
            let etag = store.bucket.put_part(&multipart, place, bytes).await?;
            drop(payload);
            Ok((number, etag))
        });
        Ok(())
    }

    /// Puts what is held as a piece, which frees its memory.
    async fn put_piece(&mut self) -> Result<(), StorageError> {
        let length = self.held.length();
        if length > 0 {
            let piece = Piece { nonce: nonce(), length };
            let payload = self.held.take(length);
            let bytes = payload.chunks().flatten().copied().collect();
            let key = piece_key(&self.seen.document.upload.id, &piece.nonce);
            self.store.bucket.put_new(&key, bytes).await?;
            self.pieces.push(piece);
        }
        Ok(())
    }

    /// Waits for all parts. Where one is lost, so is all since the last commit, and [`Writer::stored`] says so.
    async fn land(&mut self) -> Result<(), StorageError> {
        while let Some(landed) = self.on_the_way.join_next().await {
            match landed.map_err(|error| StorageError::new(Failure::Internal, error)).flatten() {
                Ok((number, etag)) => self.parts[number].etag = etag,
                Err(error) => {
                    self.forget().await;
                    // Where somebody else went on, that is why.
                    self.swap(|_| ()).await?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The window is full: the document lists what has landed, and counts it where a checkpoint allowed that.
    async fn note_parts(&mut self) -> Result<(), StorageError> {
        self.land().await?;
        let landed = self.seen.document.parts.iter().chain(&self.parts).map(|part| part.length).sum::<u64>();
        match self.allowed.clone().filter(|change| change.offset >= landed) {
            Some(mut change) => {
                change.offset = landed;
                self.record(&change, Vec::new(), true).await
            }
            None => {
                let parts = self.parts.clone();
                self.swap(|document| document.pending.clone_from(&parts)).await
            }
        }
    }

    /// The document as it is when all parts that were put are committed, and these pieces.
    async fn record(&mut self, change: &Change, pieces: Vec<Piece>, keep: bool) -> Result<(), StorageError> {
        let parts = std::mem::take(&mut self.parts);
        let before = self.seen.document.clone();
        self.swap(|document| {
            document.change(change);
            document.parts.extend(parts.clone());
            document.pieces.clone_from(&pieces);
            document.pending.clear();
            if !keep {
                document.owner = None;
            }
        })
        .await?;
        let (old, new) = (before.pieces, &self.seen.document.pieces);
        let dead: Vec<_> = old.into_iter().filter(|piece| !new.contains(piece)).collect();
        self.store.forget_pieces(&self.seen.document, &dead).await;
        Ok(())
    }

    /// Forgets all since the last commit.
    async fn forget(&mut self) {
        self.on_the_way.shutdown().await;
        self.parts.clear();
        self.pieces.clone_from(&self.seen.document.pieces);
        self.held = Held::default();
        self.taken = self.committed() - self.opened_at;
    }

    /// Every byte is there: the object is made.
    async fn finish(&mut self, change: &Change) -> Result<(), StorageError> {
        let before = self.seen.document.clone();
        let mut after = before.upload.clone();
        change.apply(&mut after);
        self.store.announce(&after, Some(&before.upload)).await?;
        let has_parts = !before.parts.is_empty() || !self.parts.is_empty();
        if !has_parts {
            // Not more than a part: where nothing stands in its place, the object comes first, and one change is enough.
            let pieces = self.store.pieces(&Document { pieces: self.pieces.clone(), ..before.clone() }).await;
            if pieces.is_err() {
                // Where somebody else went on, that is why.
                self.swap(|_| ()).await?;
            }
            let pieces = pieces?;
            let payload = self.held.take(change.offset);
            let bytes = pieces.iter().chain(payload.chunks()).flatten().copied().collect();
            if let Ok(object) = self.store.bucket.put_new(&object_key(&after.id), bytes).await {
                self.swap(|document| document.done(change, &object, &before.version)).await?;
                self.store.forget_pieces(&before, &self.pieces).await;
                self.pieces.clear();
                return Ok(());
            }
            self.held.put_back(payload);
        }
        let tail = self.pieces.iter().map(|piece| piece.length).sum::<u64>() + self.held.length();
        match has_parts {
            true if tail > 0 => self.put_part(tail).await?,
            true => {}
            false => self.put_piece().await?,
        }
        self.land().await?;
        let (parts, pieces) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.pieces));
        self.swap(|document| {
            document.begin_sealing(change);
            document.parts.extend(parts.clone());
            document.pieces.clone_from(&pieces);
        })
        .await?;
        self.seen = self.store.seal(&self.seen, change).await?;
        self.store.forget_pieces(&before, &before.pieces).await;
        Ok(())
    }
}

#[async_trait]
impl Writer for PartWriter {
    async fn write(&mut self, chunks: Chunks) -> Result<(), StorageError> {
        self.taken += chunks.bytes() as u64;
        self.held.push(chunks);
        let part_size = self.store.settings.part_size;
        // The last part may be smaller, and the one that is full may be the last: it waits for the next byte.
        while self.pieces.iter().map(|piece| piece.length).sum::<u64>() + self.held.length() > part_size {
            if self.parts.len().saturating_sub(self.seen.document.pending.len()) >= self.store.settings.window {
                self.note_parts().await?;
            }
            self.put_part(part_size).await?;
        }
        Ok(())
    }

    fn stored(&self) -> u64 {
        self.taken
    }

    fn version(&self) -> Version {
        Version::from(self.seen.document.version.as_str())
    }

    async fn checkpoint(&mut self, change: &Change, hint: Hint) -> Result<Checkpoint, StorageError> {
        self.allowed = Some(change.clone());
        if hint == Hint::Streaming {
            self.own(self.seen.document.multipart.clone()).await?;
            return Ok(Checkpoint::Declined);
        }
        self.put_piece().await?;
        if change.offset == self.end() && change.offset > self.committed() {
            self.commit(change).await?;
        }
        // What may not count yet needs no memory any more.
        self.land().await?;
        // Where only some of it may count, that is left to the next commit: a piece is not divided.
        Ok(if change.offset == self.committed() { Checkpoint::Taken } else { Checkpoint::Declined })
    }

    async fn commit(&mut self, change: &Change) -> Result<Version, StorageError> {
        if change.offset == self.committed() {
            self.forget().await;
        } else if change.offset != self.end() {
            return Err(StorageError::new(Failure::Internal, "a commit of some of the bytes"));
        }
        let mut after = self.seen.document.upload.clone();
        change.apply(&mut after);
        if after.is_complete() {
            self.finish(change).await?;
        } else {
            self.put_piece().await?;
            self.land().await?;
            self.store.announce(&after, Some(&self.seen.document.upload)).await?;
            let pieces = self.pieces.clone();
            self.record(change, pieces, false).await?;
        }
        self.allowed = None;
        Ok(self.store.stored(&self.seen).version)
    }

    fn asked_to_leave(&self) -> BoxFuture<'static, ()> {
        let (store, id) = (self.store.clone(), self.seen.document.upload.id.clone());
        let (owns, mut asked) = (self.owns.clone(), self.asked.subscribe());
        async move {
            while timeout(store.settings.look, asked.wait_for(|asked| *asked)).await.is_err() {
                // An owner that waits for bytes looks by itself; a busy one meets it at its next change.
                if owns.load(Relaxed)
                    && let Ok(seen) = store.fetch(&id).await
                    && seen.is_none_or(|seen| seen.document.wanted.is_some())
                {
                    return;
                }
            }
        }
        .boxed()
    }
}

/// Without a commit, the ownership is given back beside whoever drops it, as far as that can be done.
impl Drop for PartWriter {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.owns.load(Relaxed), tokio::runtime::Handle::try_current()) {
            let (store, seen, name) = (self.store.clone(), self.seen.clone(), std::mem::take(&mut self.name));
            runtime.spawn(async move {
                let release = |document: &mut Document| {
                    document.owner.take_if(|owner| owner.writer == name).map(|_| ()).ok_or(Failure::Conflict)
                };
                let _ = store.try_swap(&seen, release).await;
            });
        }
    }
}
