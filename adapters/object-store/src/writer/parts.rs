//! Parts that are being uploaded.

use futures_util::{FutureExt, future};
use object_store::PutPayload;
use tokio::task::JoinSet;
use tus_service::{Failure, StorageError};

use super::{PartWriter, held::Held};
use crate::{
    document::{Document, Multipart, Part, length},
    keys,
    nonce::nonce,
    refused::Refused,
    seal::Gathered,
    settings::Rule,
};

/// The number of parts of one upload that are uploaded at once.
const AT_ONCE: usize = 4;

/// A part that was uploaded or is being uploaded.
#[derive(Debug)]
pub(super) struct Putting {
    pub(super) length: u64,
    /// The pieces from which it was made.
    pub(super) pieces: Vec<String>,
    /// Present when it has been uploaded.
    pub(super) part: Option<Part>,
}

/// The number of a part whose upload has ended, and the result.
pub(super) type Landed = (usize, Result<Part, StorageError>);

impl PartWriter {
    /// The number of the next part.
    pub(super) fn next_number(&self) -> usize {
        self.seen.document.parts.len() + self.parts.len()
    }

    /// The size of the next part in bytes, unless it is the last one.
    pub(super) fn next_size(&self) -> u64 {
        self.seen.document.part_size(self.next_number())
    }

    /// Uploads all pieces and as many buffered bytes as make a part of this length, beside the stream.
    pub(super) async fn put_part(&mut self, length_of_part: u64) -> Result<(), StorageError> {
        self.own_multipart().await?;
        self.reserve().await?;
        while self.on_the_way.len() >= AT_ONCE {
            self.land_one().await?;
        }
        let number = self.next_number();
        let Some(from_held) = length_of_part.checked_sub(length(&self.pieces)) else {
            return Err(StorageError::new(Failure::Internal, "the pieces of an upload are larger than its next part"));
        };
        let pieces = std::mem::take(&mut self.pieces);
        let payload = self.held.take(from_held);
        let nonces = pieces.iter().map(|piece| piece.nonce.clone()).collect();
        self.parts.push_back(Putting { length: length_of_part, pieces: nonces, part: None });
        let store = self.store.clone();
        let Document { upload, key, multipart, contested, .. } = &self.seen.document;
        let is_contested = number < (*contested).max(self.given_up) && store.settings.keeps(Rule::Contested);
        let beside = if is_contested { Some(nonce()?) } else { None };
        let id = multipart.as_ref().map_or(String::new(), |multipart| multipart.id.clone());
        let (upload, key) = (upload.clone(), key.clone());
        self.on_the_way.spawn(async move {
            let put = async {
                let Gathered { bytes: before, memory } = store.bytes_of(&upload, &pieces).await?;
                let bytes: PutPayload = before.into_iter().chain(payload.bytes()).collect();
                let kept = match &beside {
                    Some(nonce) => {
                        let key = keys::piece(&upload, nonce);
                        let store = &store;
                        let bytes = bytes.clone();
                        async move { store.bucket.put_piece(&key, bytes).await }.left_future()
                    }
                    None => future::ready(Ok(())).right_future(),
                };
                let put = future::try_join(store.bucket.put_part(&key, &id, number, bytes), kept).await;
                let (etag, ()) = match put {
                    Ok(landed) => landed,
                    Err(refused) => {
                        if let Refused::Absent = refused {
                            store.lose(&upload, &id, false).await?;
                        }
                        let reason = format!("part {number} of {key} cannot be written: {refused}");
                        return Err(StorageError::new(refused.failure(), reason));
                    }
                };
                drop((payload, memory));
                Ok(Part { etag, length: length_of_part, piece: beside.clone() })
            };
            (number, put.await)
        });
        Ok(())
    }

    /// Owns the upload, and has a multipart upload for its parts.
    async fn own_multipart(&mut self) -> Result<(), StorageError> {
        if self.seen.document.multipart.is_none() {
            let (key, seal) = (self.seen.document.key.clone(), nonce()?);
            let multipart = Multipart { id: self.store.bucket.begin(&key, &seal).await?, seal };
            let owned = self.own(Some(&multipart)).await;
            match &owned {
                Ok(()) if self.seen.document.multipart.as_ref() == Some(&multipart) => {}
                Ok(()) => drop(self.store.bucket.abort(&key, &multipart.id).await),
                Err(error) => self.store.abort_unnamed(&self.seen.document, &multipart, error).await,
            }
            return owned;
        }
        self.own(None).await
    }

    /// A part number is in the document before a part with that number is uploaded, so that a process that takes over
    /// knows which parts may still arrive.
    async fn reserve(&mut self) -> Result<(), StorageError> {
        let number = self.next_number();
        if number < self.seen.document.reserved || !self.store.settings.keeps(Rule::Window) {
            return Ok(());
        }
        // About two more parts for each change of the document.
        while self.parts.iter().take(2).any(|putting| putting.part.is_none()) {
            self.land_one().await?;
        }
        let (count, offset) = self.committable();
        if count > 0
            && let Some(mut allowed) = self.allowed.clone()
        {
            allowed.offset = offset;
            self.record(&allowed, count, Vec::new(), true).await?;
        }
        if number >= self.seen.document.reserved {
            let ahead = self.store.settings.ahead();
            self.swap_and_own(|document| {
                document.reserved = document.reserved.max(number + ahead);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// The number of the first parts that have been uploaded and may be committed, and the offset after them.
    pub(super) fn committable(&self) -> (usize, u64) {
        let allowed = self.allowed.as_ref().map_or(0, |change| change.offset);
        let mut offset = self.committed() - length(&self.seen.document.pieces);
        let mut count = 0;
        for putting in &self.parts {
            if putting.part.is_none() || offset + putting.length > allowed {
                break;
            }
            offset += putting.length;
            count += 1;
        }
        (count, offset)
    }

    /// Waits for all parts.
    pub(super) async fn land(&mut self) -> Result<(), StorageError> {
        while !self.on_the_way.is_empty() {
            self.land_one().await?;
        }
        Ok(())
    }

    /// Records which have been uploaded by now.
    pub(super) async fn land_what_has(&mut self) -> Result<(), StorageError> {
        while let Some(landed) = self.on_the_way.try_join_next() {
            self.note(landed.map_err(|error| StorageError::new(Failure::Internal, error))).await?;
        }
        Ok(())
    }

    async fn land_one(&mut self) -> Result<(), StorageError> {
        match self.on_the_way.join_next().await {
            None => Ok(()),
            Some(landed) => self.note(landed.map_err(|error| StorageError::new(Failure::Internal, error))).await,
        }
    }

    /// A part has been uploaded or lost. If it was lost, so is what follows it, and
    /// [`stored`](tus_service::Writer::stored) reports that.
    async fn note(&mut self, landed: Result<Landed, StorageError>) -> Result<(), StorageError> {
        let (number, part) = match landed {
            Ok((number, part)) => (number - self.seen.document.parts.len(), part),
            Err(error) => (0, Err(error)),
        };
        match part {
            Ok(part) => {
                if let Some(putting) = self.parts.get_mut(number) {
                    putting.part = Some(part);
                }
                Ok(())
            }
            Err(error) => {
                self.litter = true;
                self.give_up_from(number).await;
                // If another writer took over, that is the reason.
                self.swap(|_| Ok(())).await?;
                Err(error)
            }
        }
    }

    /// Discards the part at this place, and all after it.
    async fn give_up_from(&mut self, first: usize) {
        // Waits for the parts before it that are being uploaded; they may be lost, too.
        let start = self.seen.document.parts.len();
        let mut first = first;
        while self.parts.iter().take(first).any(|putting| putting.part.is_none()) {
            let Some(Ok((number, part))) = self.on_the_way.join_next().await else {
                first = 0;
                break;
            };
            match (number.checked_sub(start), part) {
                (Some(at), Ok(part)) => {
                    if let Some(putting) = self.parts.get_mut(at) {
                        putting.part = Some(part);
                    }
                }
                (Some(at), Err(_)) => first = first.min(at),
                (None, _) => {}
            }
        }
        self.given_up = self.given_up.max(self.next_number());
        self.on_the_way = JoinSet::new();
        self.dead.extend(self.parts.drain(first..).flat_map(|putting| putting.pieces));
        self.dead.extend(self.pieces.drain(..).map(|piece| piece.nonce));
        self.pieces = if first == 0 { self.seen.document.pieces.clone() } else { Vec::new() };
        self.held = Held::default();
        let parts: u64 = self.parts.iter().map(|putting| putting.length).sum();
        let base = match first {
            0 => self.committed(),
            _ => self.committed() - length(&self.seen.document.pieces),
        };
        self.taken = base + parts - self.opened_at;
    }

    /// Discards everything since the last commit.
    pub(super) async fn forget(&mut self) {
        if self.parts.is_empty() {
            self.dead.extend(self.pieces.drain(..).map(|piece| piece.nonce));
            self.pieces.clone_from(&self.seen.document.pieces);
            self.held = Held::default();
            self.taken = self.committed() - self.opened_at;
        } else {
            self.give_up_from(0).await;
        }
    }
}
