//! Reads an upload: one that is finished, or one whose bytes are all in pieces.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tus_service::{ByteStream, Failure, MAX_PIECE, StorageError, Stored};

use crate::{
    document::{Document, Status},
    keys,
    records::{Inner, Seen},
    refused::Refused,
    rest::Rest,
};

impl Inner {
    pub(crate) async fn read(&self, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
        // A document that is done stays so, and the response for its object shows whether it is gone.
        let known = self.remembered(&stored.upload.id).filter(|seen| serves(&seen.document, stored));
        let (seen, mut is_fresh) = match known {
            Some(seen) if range.start.min(seen.document.upload.offset) < range.end.min(seen.document.upload.offset) => {
                (seen, false)
            }
            _ => (self.look(stored).await?, true),
        };
        let document = seen.document;
        let end = range.end.min(document.upload.offset);
        let range = range.start.min(end)..end;
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let Status::Done { mut etag, .. } = document.status else { return Ok(self.in_pieces_of(&document, range)) };
        loop {
            match Rest::of(&self.bucket, &document.key, range.clone(), etag.clone()).await {
                Ok(rest) => return Ok(in_pieces(rest)),
                Err(refused @ (Refused::Changed | Refused::Absent)) => {
                    let now = if is_fresh { None } else { Some(self.look(stored).await?) };
                    is_fresh = true;
                    match (refused, now) {
                        // Two sealers made the same bytes; the document refers to one of them.
                        (Refused::Changed, _) if etag.is_some() => etag = None,
                        (_, Some(_)) => {}
                        (refused, None) => {
                            let reason = format!("the bytes of a finished upload cannot be read: {refused}");
                            // The application may move the object away, or a rule of the bucket may delete it.
                            let failure = match refused {
                                Refused::Absent => Failure::Gone,
                                _ => Failure::Internal,
                            };
                            return Err(StorageError::new(failure, reason));
                        }
                    }
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    /// Reads bytes from pieces.
    fn in_pieces_of(&self, document: &Document, range: Range<u64>) -> ByteStream {
        let mut start = 0;
        let mut all = Vec::new();
        for piece in &document.pieces {
            let end = start + piece.length;
            let within = range.start.max(start)..range.end.min(end);
            if !within.is_empty() {
                let key = keys::piece(&document.upload, &piece.nonce);
                all.push((key, within.start - start..within.end - start));
            }
            start = end;
        }
        let bucket = self.bucket.clone();
        let read = move |(key, range): (String, Range<u64>)| {
            let bucket = bucket.clone();
            async move { Ok::<_, StorageError>(in_pieces(Rest::of(&bucket, &key, range, None).await?)) }
        };
        stream::iter(all).then(read).try_flatten().boxed()
    }

    /// The current document, if it is that upload and can be read.
    async fn look(&self, stored: &Stored) -> Result<Seen, StorageError> {
        let seen = self.fetch(&stored.upload.id).await?.ok_or(Failure::NotFound)?;
        if !stored.is_same_upload(&seen.document.upload) {
            return Err(Failure::NotFound.into());
        }
        if !matches!(seen.document.status, Status::Done { .. }) && !seen.document.parts.is_empty() {
            // Parts cannot be read back.
            let reason = "the bytes of a large upload can be read when it is complete";
            return Err(StorageError::new(Failure::Conflict, reason));
        }
        Ok(seen)
    }
}

fn serves(document: &Document, stored: &Stored) -> bool {
    matches!(document.status, Status::Done { .. }) && stored.is_same_upload(&document.upload)
}

fn in_pieces(rest: Rest) -> ByteStream {
    let split = |mut bytes: Bytes| {
        stream::iter(std::iter::from_fn(move || {
            let piece = bytes.split_to(bytes.len().min(MAX_PIECE));
            (!piece.is_empty()).then_some(Ok(piece))
        }))
    };
    rest.into_stream().map_err(StorageError::from).map_ok(split).try_flatten().boxed()
}
