//! Joins the bytes of several uploads in one object.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream, FuturesOrdered},
};
use tus_service::{Change, Failure, StorageError, Stored};

use crate::{
    document::{Document, Multipart, Part, Piece, Status},
    keys,
    nonce::nonce,
    records::{Inner, Seen},
    refused::Refused,
};

/// The number of parts being uploaded at once.
const AT_ONCE: usize = 3;

/// Copies, which use no memory.
const COPIES_AT_ONCE: usize = 16;

/// The maximum number of parts of an object.
const MOST_PARTS: u64 = 10_000;

/// The location of a part's bytes.
struct Source {
    length: u64,
    /// The finished object, and its ETag.
    object: Option<(String, Option<String>)>,
}

impl Inner {
    /// Copies the bytes of the parts, one after the other, to where the final upload's object is made from them. The
    /// returned document is ready to be sealed.
    pub(crate) async fn concatenate(&self, seen: Seen, from: &[Stored], change: &Change) -> Result<Seen, StorageError> {
        let sources = self.sources(from).await?;
        let sum = sources.iter().map(|source| source.length).sum::<u64>();
        if sum != change.offset {
            let reason = format!("a final upload claims {} bytes, but its parts have {sum}", change.offset);
            return Err(StorageError::new(Failure::Internal, reason));
        }
        if sum <= seen.document.part_size(0) {
            return self.as_piece(seen, from, change).await;
        }
        let mut noted = self.begin(&seen).await?;
        let mut copied = None;
        if let Some(ranges) = self.copies_of(&sources) {
            match self.as_copies(&noted.document, &sources, ranges).await {
                Ok(parts) => copied = Some(parts),
                Err(refused) => {
                    tracing::warn!(upload = %noted.document.upload.id, %refused, "parts are uploaded again instead of being copied");
                    // A late copy may still arrive.
                    noted = self.begin(&noted).await?;
                }
            }
        }
        let multipart = noted.document.multipart.clone();
        let parts = match copied {
            Some(parts) => Ok(parts),
            None => self.as_parts(&noted.document, from, change).await,
        };
        let sealing = match parts {
            Ok(parts) => {
                let sealing = self.swap(&noted, |document| {
                    if document.multipart != multipart {
                        // Another process has started again.
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

    /// The locations of the bytes of all parts. Each must exist.
    async fn sources(&self, from: &[Stored]) -> Result<Vec<Source>, StorageError> {
        let found = stream::iter(from.to_vec()).map(|part| async move {
            let document = self.fetch(&part.upload.id).await?.ok_or(Failure::NotFound)?.document;
            if !part.is_same_upload(&document.upload) {
                return Err(Failure::NotFound.into());
            }
            let object = match document.status {
                Status::Done { etag, .. } => Some((document.key, etag)),
                _ => None,
            };
            Ok(Source { length: document.upload.offset, object })
        });
        found.buffered(crate::markers::AT_ONCE).try_collect().await
    }

    /// What to copy from each source, if the store can copy and accepts parts of these sizes.
    fn copies_of(&self, sources: &[Source]) -> Option<Vec<(usize, Range<u64>)>> {
        let last = sources.iter().rposition(|source| source.length > 0)?;
        let fits = |(at, source): (usize, &Source)| {
            source.length == 0
                || (source.object.is_some() && (source.length >= self.settings.smallest_part || at == last))
        };
        if !self.bucket.can_copy() || self.settings.equal_parts || !sources.iter().enumerate().all(fits) {
            return None;
        }
        let sum = sources.iter().map(|source| source.length).sum();
        let largest = self.settings.largest_copy.max(self.settings.part_size_of(Some(sum)));
        let of_one = |(at, source): (usize, &Source)| {
            let (length, count) = (u128::from(source.length), source.length.div_ceil(largest));
            let end = move |n: u64| (length * u128::from(n) / u128::from(count)) as u64;
            (0..count).map(move |n| (at, end(n)..end(n + 1)))
        };
        let ranges: Vec<_> = sources.iter().enumerate().flat_map(of_one).collect();
        (ranges.len() as u64 <= MOST_PARTS).then_some(ranges)
    }

    async fn as_copies(
        &self,
        document: &Document,
        sources: &[Source],
        ranges: Vec<(usize, Range<u64>)>,
    ) -> Result<Vec<Part>, Refused> {
        let id = document.multipart.as_ref().map_or("", |multipart| &multipart.id);
        let copied = stream::iter(ranges.into_iter().enumerate()).map(|(number, (at, range))| async move {
            let (key, etag) = sources[at].object.as_ref().ok_or(Refused::Absent)?;
            let from = (key.as_str(), &range, etag.as_deref());
            let etag = self.bucket.copy_part(from, (&document.key, id, number)).await?;
            Ok(Part { etag, length: range.end - range.start, piece: None })
        });
        copied.buffered(COPIES_AT_ONCE).try_collect().await
    }

    /// Starts a multipart upload and records it in the document before it is used, so that a crash leaves nothing
    /// without a reference.
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
                    // It belongs to a process that died or is slower, and now fails.
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
        let (mut on_the_way, mut parts, mut number, mut left) = (FuturesOrdered::new(), Vec::new(), 0, change.offset);
        while left > 0 {
            let memory = match self.try_gather(size.min(left)) {
                Some(memory) => Some(memory),
                // Others wait for what is on its way here.
                None => {
                    parts.extend(on_the_way.by_ref().try_collect::<Vec<_>>().await?);
                    Some(self.gather(size.min(left)).await?)
                }
            };
            let bytes = bytes_of_all.take(size.min(left)).await?;
            left -= size.min(left);
            on_the_way.push_back(async move {
                let _memory = memory;
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

    /// A small upload becomes one piece.
    async fn as_piece(&self, seen: Seen, from: &[Stored], change: &Change) -> Result<Seen, StorageError> {
        let _memory = self.gather(change.offset).await?;
        let bytes: Vec<Bytes> = self.concatenated(from).try_collect().await?;
        let mut pieces = Vec::new();
        if change.offset > 0 {
            let piece = Piece { nonce: nonce()?, length: change.offset };
            let key = keys::piece(&seen.document.upload, &piece.nonce);
            self.bucket.put_piece(&key, bytes.into_iter().collect()).await?;
            pieces.push(piece);
        }
        let sealing = |document: &mut Document| {
            // Another process may have written one as well.
            document.litter = true;
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

/// Reads bytes ahead of the parts that they form.
struct ReadAhead<'a> {
    stream: BoxStream<'a, Result<Bytes, StorageError>>,
    left: Bytes,
}

impl ReadAhead<'_> {
    /// The next `size` bytes, or all that remain.
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
