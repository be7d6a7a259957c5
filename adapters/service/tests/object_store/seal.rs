//! From committed parts and pieces to one object; and reading either.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tus_service::{ByteStream, Change, Failure, Kind, Phase, StorageError, Stored};

use crate::document::*;

impl Document {
    /// Clients see that it is being assembled from now on; what it becomes is known already.
    pub(crate) fn begin_sealing(&mut self, change: &Change) {
        self.change(change);
        self.status = Status::Sealing(std::mem::replace(&mut self.upload.phase, Phase::Assembling));
        (self.owner, self.wanted) = (None, None);
    }

    /// The object has these bytes.
    pub(crate) fn done(&mut self, change: &Change, object: &str, sealed: &str) {
        self.change(change);
        self.status = Status::Done { object: object.to_owned(), sealed: sealed.to_owned() };
        (self.parts, self.pieces, self.pending) = Default::default();
        (self.owner, self.wanted, self.multipart) = (None, None, None);
    }
}

impl Inner {
    /// Makes the object of a document that is being sealed, and then the change: by whoever committed it, or by whoever
    /// found it so. Doing it twice does no harm.
    pub(crate) async fn seal(&self, seen: &Seen, change: &Change) -> Result<Seen, StorageError> {
        let Seen { document, .. } = seen;
        let key = object_key(&document.upload.id);
        let object = match &document.multipart {
            Some(multipart) if !document.parts.is_empty() => {
                let mut tags: Vec<_> = document.parts.iter().map(|part| part.etag.clone()).collect();
                if !document.pieces.is_empty() {
                    tags.push(self.bucket.put_part(multipart, tags.len(), self.pieces(document).await?).await?);
                }
                match self.bucket.complete(multipart, &tags).await {
                    Ok(object) => object,
                    // Somebody may have done it, this one included. A longer look, at the parts, is left out.
                    Err(refused) => match self.bucket.head(&key).await? {
                        (length, object) if length == change.offset => object,
                        _ => return Err(refused.into()),
                    },
                }
            }
            _ => self.bucket.put(&key, self.pieces(document).await?.into_iter().flatten().collect()).await?,
        };
        let done = |now: &mut Document| now.done(change, &object, &document.version);
        let sealed = match self.swap(seen, done).await {
            Err(error) if error.failure() == Failure::Conflict => {
                let now = self.fetch(&document.upload.id).await?.ok_or(Failure::NotFound)?;
                let by_another =
                    matches!(&now.document.status, Status::Done { sealed, .. } if *sealed == document.version);
                if by_another { now } else { return Err(error) }
            }
            sealed => sealed?,
        };
        self.forget_pieces(document, &document.pieces).await;
        if !sealed.document.upload.is_due() {
            self.forget_todo(&document.upload.id).await;
        }
        Ok(sealed)
    }

    /// Puts the bytes of the parts, one after the other, as parts of the final upload's object.
    pub(crate) async fn concatenate(&self, seen: Seen, from: &[Stored], change: &Change) -> Result<Seen, StorageError> {
        let document = &seen.document;
        let Kind::Final(_) = document.upload.kind else { return Err(Failure::Conflict.into()) };
        let key = object_key(&document.upload.id);
        // The product notes the handle in the document first, so that a crash leaves nothing nameless.
        let multipart = self.bucket.begin(&key).await?;
        let (mut parts, mut held, mut length) = (Vec::new(), Vec::new(), 0);
        for part in from {
            let mut whole = self.bytes(part, 0..part.upload.offset).await?;
            while let Some(bytes) = whole.try_next().await? {
                length += bytes.len() as u64;
                held.push(bytes);
                if length >= self.settings.part_size {
                    let etag = self.bucket.put_part(&multipart, parts.len(), std::mem::take(&mut held)).await?;
                    parts.push(Part { etag, length: std::mem::take(&mut length) });
                }
            }
        }
        let etag = self.bucket.put_part(&multipart, parts.len(), held).await?;
        parts.push(Part { etag, length });
        if parts.iter().map(|part| part.length).sum::<u64>() != change.offset {
            return Err(Failure::Conflict.into());
        }
        let sealing = |document: &mut Document| {
            document.begin_sealing(change);
            (document.parts, document.multipart) = (parts.clone(), Some(multipart.clone()));
        };
        self.swap(&seen, sealing).await
    }

    pub(crate) async fn bytes(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        let id = &stored.upload.id;
        // A document that is done stays so, and the condition on the object tells whether it is gone.
        let serves = |document: &Document| {
            matches!(document.status, Status::Done { .. }) && stored.is_same_upload(&document.upload)
        };
        let known = self.seen.lock().unwrap().get(id).filter(|seen| serves(&seen.document)).cloned();
        let seen = match known {
            Some(seen) => seen,
            None => self.fetch(id).await?.ok_or(Failure::NotFound)?,
        };
        let document = &seen.document;
        if !stored.is_same_upload(&document.upload) {
            return Err(Failure::NotFound.into());
        }
        let end = range.end.min(document.upload.offset) as usize;
        let range = (range.start as usize).min(end)..end;
        let chunks: Vec<Bytes> = match &document.status {
            // One request, whose answer is read as it comes.
            Status::Done { object, .. } => vec![self.bucket.get_range(&object_key(id), object, range).await?],
            _ if document.parts.is_empty() => {
                let whole = Bytes::from_iter(self.pieces(document).await?.into_iter().flatten());
                vec![whole.slice(range)]
            }
            _ => {
                let reason = "a part of an upload that is not complete cannot be read back";
                return Err(StorageError::new(Failure::Conflict, reason));
            }
        };
        let split = |mut bytes: Bytes| {
            stream::iter(std::iter::from_fn(move || {
                let some = bytes.split_to(bytes.len().min(128 * 1024));
                (!some.is_empty()).then_some(Ok(some))
            }))
        };
        Ok(stream::iter(chunks).flat_map(split).boxed())
    }

    pub(crate) async fn pieces(&self, document: &Document) -> Result<Vec<Bytes>, StorageError> {
        let mut all = Vec::new();
        for piece in &document.pieces {
            all.push(self.bucket.get(&piece_key(&document.upload.id, &piece.nonce)).await?.0);
        }
        Ok(all)
    }

    /// After the document that no longer names them.
    pub(crate) async fn forget_pieces(&self, document: &Document, pieces: &[Piece]) {
        for piece in pieces {
            let _ = self.bucket.delete(&piece_key(&document.upload.id, &piece.nonce)).await;
        }
    }
}
