//! One object of the bytes of several uploads.

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream, FuturesOrdered},
};
use tus_service::{Change, Failure, StorageError, Stored};

use crate::{
    document::{Document, Multipart, Part, Piece},
    keys,
    nonce::nonce,
    records::{Inner, Seen},
};

/// Parts that are on their way at once.
const AT_ONCE: usize = 3;

impl Inner {
    /// Copies the bytes of the parts, one after the other, to where the final upload's object is made of them. The document is
    /// one that is to be sealed then.
    pub(crate) async fn concatenate(&self, seen: Seen, from: &[Stored], change: &Change) -> Result<Seen, StorageError> {
        let sum = self.sum(from).await?;
        if sum != change.offset {
            let reason = format!("a final upload claims {} bytes, and its parts have {sum}", change.offset);
            return Err(StorageError::new(Failure::Internal, reason));
        }
        if sum <= seen.document.part_size(0) {
            return self.as_piece(seen, from, change).await;
        }
        let noted = self.begin(&seen).await?;
        let multipart = noted.document.multipart.clone();
        let sealing = match self.as_parts(&noted.document, from, change).await {
            Ok(parts) => {
                let sealing = self.swap(&noted, |document| {
                    if document.multipart != multipart {
                        // Another process has begun again.
                        return Err(Failure::Busy.into());
                    }
                    document.begin_sealing(change)?;
                    document.parts.clone_from(&parts);
                    Ok(())
                });
                sealing.await
            }
            Err(error) => Err(error),
        };
        if let (Err(error), Some(begun)) = (&sealing, &multipart)
            && matches!(error.failure(), Failure::NotFound | Failure::Conflict | Failure::Busy)
        {
            let dropped = self.swap(&noted, |document| {
                document.multipart.take_if(|other| *other == *begun).map(drop).ok_or(Failure::Conflict.into())
            });
            let _ = dropped.await;
            let _ = self.bucket.abort(&noted.document.key, &begun.id).await;
        }
        sealing
    }

    /// The length of all parts, each of which is there.
    async fn sum(&self, from: &[Stored]) -> Result<u64, StorageError> {
        let found = stream::iter(from.to_vec()).map(|part| async move {
            let seen = self.fetch(&part.upload.id).await?.ok_or(Failure::NotFound)?;
            let is_it = part.is_same_upload(&seen.document.upload);
            if is_it { Ok(seen.document.upload.offset) } else { Err(Failure::NotFound.into()) }
        });
        found.buffered(crate::markers::AT_ONCE).try_fold(0, |sum, length| async move { Ok(sum + length) }).await
    }

    /// Begins a multipart upload, which is noted in the document before it is used: a crash leaves nothing without a name.
    async fn begin(&self, seen: &Seen) -> Result<Seen, StorageError> {
        let (key, seal) = (&seen.document.key, nonce()?);
        let multipart = Multipart { id: self.bucket.begin(key, &seal).await?, seal };
        let mut before = None;
        let noted = self.swap(seen, |document| {
            before = document.multipart.replace(multipart.clone());
            Ok(())
        });
        match noted.await {
            Ok(noted) => {
                if let Some(before) = before {
                    // Of a process that died, or is slower: it fails now.
                    let _ = self.bucket.abort(key, &before.id).await;
                }
                Ok(noted)
            }
            Err(error) => {
                self.abort_unnamed(&seen.document, &multipart, &error).await;
                Err(error)
            }
        }
    }

    async fn as_parts(&self, document: &Document, from: &[Stored], change: &Change) -> Result<Vec<Part>, StorageError> {
        let size = self.settings.part_size_of(Some(change.offset));
        let mut bytes_of_all = ReadAhead { stream: self.concatenated(from), left: Bytes::new() };
        let (mut on_the_way, mut parts, mut number) = (FuturesOrdered::new(), Vec::new(), 0);
        loop {
            let bytes = bytes_of_all.take(size).await?;
            if bytes.is_empty() {
                break;
            }
            on_the_way.push_back(async move {
                let length = bytes.iter().map(|bytes| bytes.len() as u64).sum();
                let etag = self.put_part(document, number, bytes).await?;
                Ok::<_, StorageError>(Part { etag, length, piece: None })
            });
            number += 1;
            if on_the_way.len() >= AT_ONCE {
                parts.extend(on_the_way.try_next().await?);
            }
        }
        parts.extend(on_the_way.try_collect::<Vec<_>>().await?);
        Ok(parts)
    }

    /// A small upload is one piece.
    async fn as_piece(&self, seen: Seen, from: &[Stored], change: &Change) -> Result<Seen, StorageError> {
        let bytes: Vec<Bytes> = self.concatenated(from).try_collect().await?;
        let mut pieces = Vec::new();
        if change.offset > 0 {
            let piece = Piece { nonce: nonce()?, length: change.offset };
            let key = keys::piece(&seen.document.upload, &piece.nonce);
            self.bucket.put_new(&key, bytes.into_iter().collect(), None).await?;
            pieces.push(piece);
        }
        let sealing = |document: &mut Document| {
            document.begin_sealing(change)?;
            document.pieces.clone_from(&pieces);
            Ok(())
        };
        self.swap(&seen, sealing).await
    }

    fn concatenated<'a>(&'a self, from: &[Stored]) -> BoxStream<'a, Result<Bytes, StorageError>> {
        let each =
            stream::iter(from.to_vec()).then(move |part| async move { self.read(&part, 0..part.upload.offset).await });
        each.try_flatten().boxed()
    }
}

/// Bytes that are read ahead of the parts that they make.
struct ReadAhead<'a> {
    stream: BoxStream<'a, Result<Bytes, StorageError>>,
    left: Bytes,
}

impl ReadAhead<'_> {
    /// The next bytes, so many, or all that there are.
    async fn take(&mut self, size: u64) -> Result<Vec<Bytes>, StorageError> {
        let (mut taken, mut missing) = (Vec::new(), usize::try_from(size).unwrap_or(usize::MAX));
        while missing > 0 {
            if self.left.is_empty() {
                match self.stream.try_next().await? {
                    Some(bytes) => self.left = bytes,
                    None => break,
                }
            }
            let some = self.left.split_to(self.left.len().min(missing));
            missing -= some.len();
            taken.push(some);
        }
        Ok(taken)
    }
}
