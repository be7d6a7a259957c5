//! Makes one object from committed parts and pieces.
//!
//! An object carries a seal that identifies it: that of its multipart upload, or the state of the record from which
//! it was made. A sealer, even a late or a second one, makes the same object or finds it. If a store accepts no metadata
//! with a multipart upload, its object is recognized by having no seal: objects that were written in one request have
//! one.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::PutPayload;
use tokio::sync::SemaphorePermit;
use tus_service::{Change, Failure, Phase, StorageError, Upload};

use crate::{
    bucket::{Head, Tag},
    document::{Document, Multipart, Piece, Status},
    keys,
    markers::AT_ONCE,
    records::{Inner, Seen},
    refused::Refused,
    settings::Rule,
};

/// How often a completion is tried: a process that lost the upload may upload a part again, a few times at most.
const TRIES: usize = 5;

/// Bytes that were read back, and their memory: keep it as long as the bytes.
#[derive(Default)]
pub(crate) struct Gathered<'a> {
    pub bytes: Vec<Bytes>,
    pub memory: Option<SemaphorePermit<'a>>,
}

impl Inner {
    /// Makes the object of a document that is being sealed, and then the change, for the process that committed it or
    /// for one that found it.
    pub(crate) async fn seal(&self, seen: &Seen, change: &Change) -> Result<Seen, StorageError> {
        let document = &seen.document;
        let made = match &document.multipart {
            Some(_) if !document.parts.is_empty() => self.complete(document, change.offset).await,
            _ => match self.bytes_of(&document.upload, &document.pieces).await {
                Ok(Gathered { bytes, memory: _memory }) => {
                    let published = self.publish(document, bytes.into_iter().collect(), &document.version);
                    published.await.map(|tag| tag.etag())
                }
                Err(error) => Err(error),
            },
        };
        let etag = match made {
            Ok(etag) => etag,
            // Another process may have sealed it and deleted the pieces.
            Err(error) => return self.sealed_by_another(document).await?.ok_or(error),
        };
        let done = |now: &mut Document| {
            now.done(change, etag.clone(), &document.version)?;
            self.claim_with(now)
        };
        let sealed = match self.swap(seen, done).await {
            Err(error) if error.failure() == Failure::Conflict => {
                self.sealed_by_another(document).await?.ok_or(error)?
            }
            sealed => sealed?,
        };
        let forgotten = self.forget_pieces(&document.upload, document.all_pieces()).await;
        if let (Some(multipart), true) = (&document.multipart, document.parts.is_empty()) {
            let _ = self.bucket.abort(&document.key, &multipart.id).await;
        }
        // If some remain, the sweep finds the marker. Where an upload is still receiving, another request may be about to make
        // it due.
        let upload = &sealed.document.upload;
        if upload.phase != Phase::Receiving && !upload.is_due() && forgotten.is_ok() {
            self.nothing_due(&sealed.document).await;
        }
        Ok(sealed)
    }

    /// Makes the object of an upload that is not complete yet, but has all its bytes: parts cannot be read. Its phase stays
    /// as it is, so nothing is due if this process dies; the next request that completes the upload continues here.
    pub(crate) async fn made_readable(&self, seen: Seen) -> Result<Seen, StorageError> {
        let upload = &seen.document.upload;
        if matches!(seen.document.status, Status::Done { .. }) {
            return Ok(seen);
        }
        let has_all = upload.phase == Phase::Receiving && upload.length == Some(upload.offset);
        // For the pieces that it leaves if it dies.
        self.announce(upload, Some(upload), true).await?;
        let sealing = match seen.document.status {
            Status::Sealing(Phase::Receiving) => seen,
            Status::Open if has_all => {
                let change = Change::of(upload);
                let sealing = self.swap(&seen, |document| {
                    document.litter = true;
                    document.begin_sealing(&change)?;
                    document.upload.phase = Phase::Receiving;
                    Ok(())
                });
                sealing.await?
            }
            _ => return Err(Failure::Conflict.into()),
        };
        let sealed = self.seal(&sealing, &Change::of(&sealing.document.upload)).await?;
        // Another process may have sealed it and continued.
        if sealed.document.upload == sealing.document.upload { Ok(sealed) } else { Err(Failure::Conflict.into()) }
    }

    async fn sealed_by_another(&self, document: &Document) -> Result<Option<Seen>, StorageError> {
        let now = self.fetch(&document.upload.id).await?.ok_or(Failure::NotFound)?;
        let is_it = now.document.upload.incarnation == document.upload.incarnation
            && matches!(&now.document.status, Status::Done { sealed, .. } if *sealed == document.version);
        Ok(is_it.then_some(now))
    }

    /// Completes the multipart upload. Its last part is made from pieces. A part that was replaced is uploaded again
    /// from its piece. Returns the object's ETag.
    async fn complete(&self, document: &Document, size: u64) -> Result<Option<String>, StorageError> {
        let Some(multipart) = &document.multipart else { return Err(Failure::Internal.into()) };
        let mut etags: Vec<_> = document.parts.iter().map(|part| part.etag.clone()).collect();
        let mut attempt = 0;
        loop {
            let refused = match self.put_pieces(document, &mut etags, attempt > 0).await? {
                Ok(()) => match self.bucket.complete(&document.key, &multipart.id, etags.clone()).await {
                    Ok(tag) => return Ok(tag.etag()),
                    Err(refused) => refused,
                },
                // If the object exists already, no part can be uploaded any more.
                Err(refused) => refused,
            };
            // It may have been done nevertheless, by this process or another one.
            let mut is_absent = false;
            match self.bucket.head(&document.key).await {
                Ok(Head { tag, seal: Some(seal), .. }) if seal == multipart.seal => return Ok(tag.etag()),
                Ok(Head { tag, seal: None, size: there, .. }) if there == size => return Ok(tag.etag()),
                // Neither the parts nor an object. That the object was made and moved since is not known.
                Err(Refused::Absent) if matches!(refused, Refused::Absent) => {
                    self.lose(&document.upload, &multipart.id, true).await?;
                    return Err(refused.into());
                }
                Err(Refused::Absent) => is_absent = true,
                Err(unclear) if unclear.failure() == Failure::Unavailable => return Err(unclear.into()),
                _ => {}
            }
            attempt += 1;
            // Only a completion that the store has refused because of a part is worth another one at once.
            let may_help = !document.pieces.is_empty() || document.parts.iter().any(|part| part.piece.is_some());
            if refused.failure() == Failure::Unavailable || !may_help || attempt == TRIES {
                if is_absent && refused.is_of_the_parts() {
                    // Neither: uncommitted parts expire in some stores.
                    self.lose(&document.upload, &multipart.id, true).await?;
                }
                return Err(refused.unsettled().into());
            }
        }
    }

    /// Uploads the parts that are in pieces: the last one, and on request those that are kept beside contested parts.
    async fn put_pieces(
        &self,
        document: &Document,
        etags: &mut Vec<String>,
        contested: bool,
    ) -> Result<Result<(), Refused>, StorageError> {
        etags.truncate(document.parts.len());
        let beside =
            document.parts.iter().enumerate().filter_map(|(number, part)| Some((number, part.piece.as_ref()?)));
        for (number, piece) in beside.filter(|_| contested) {
            let piece = Piece { nonce: piece.clone(), length: document.parts[number].length };
            let Gathered { bytes, memory: _memory } = self.bytes_of(&document.upload, [&piece]).await?;
            match self.put_part(document, number, bytes).await {
                Ok(etag) => etags[number] = etag,
                Err(refused) => return Ok(Err(refused)),
            }
        }
        if document.pieces.is_empty() {
            return Ok(Ok(()));
        }
        let Gathered { bytes, memory: _memory } = self.bytes_of(&document.upload, &document.pieces).await?;
        Ok(self.put_part(document, etags.len(), bytes).await.map(|etag| etags.push(etag)))
    }

    /// The store does not know the multipart upload in the document: a rule of the bucket may have aborted it, and
    /// what was uploaded is lost. During sealing, another process may have completed it: it is lost only if there is
    /// no object either.
    pub(crate) async fn lose(&self, upload: &Upload, multipart: &str, seals: bool) -> Result<(), StorageError> {
        let Some(seen) = self.fetch(&upload.id).await? else { return Ok(()) };
        let lost = self.swap(&seen, |document| {
            let is_it = document.upload.incarnation == upload.incarnation
                && document.multipart.as_ref().is_some_and(|now| now.id == multipart)
                && (document.status == Status::Open || (seals && matches!(document.status, Status::Sealing(_))));
            if !is_it {
                return Err(Failure::Conflict.into());
            }
            document.release();
            document.multipart = None;
            (document.reserved, document.contested) = (0, 0);
            if !document.parts.is_empty() {
                (document.parts, document.pieces, document.status) = (Vec::new(), Vec::new(), Status::Open);
                document.litter = true;
                document.change(&document.upload.after_loss(0))?;
                tracing::error!(upload = %upload.id, "the object store has lost the parts of an upload");
            }
            Ok(())
        });
        match lost.await {
            Err(error) if !error.failure().is_overtaken() => Err(error),
            _ => Ok(()),
        }
    }

    /// Aborts a multipart upload that could not be recorded. If the document may refer to it nevertheless, it is left
    /// to a rule of the bucket.
    pub(crate) async fn abort_unnamed(&self, document: &Document, multipart: &Multipart, error: &StorageError) {
        if !error.failure().is_overtaken() {
            return;
        }
        let names_it = |seen: &Seen| seen.document.multipart.as_ref().is_some_and(|now| now.id == multipart.id);
        match self.fetch(&document.upload.id).await {
            Ok(now) if !now.as_ref().is_some_and(names_it) => {
                let _ = self.bucket.abort(&document.key, &multipart.id).await;
            }
            _ => {}
        }
    }

    pub(crate) async fn put_part(
        &self,
        document: &Document,
        number: usize,
        bytes: Vec<Bytes>,
    ) -> Result<String, Refused> {
        let id = document.multipart.as_ref().map_or("", |multipart| &multipart.id);
        self.bucket.put_part(&document.key, id, number, bytes.into_iter().collect()).await
    }

    /// Writes the object in one request and replaces an existing one. Only a sealer may change the document at this
    /// point.
    async fn publish(&self, document: &Document, payload: PutPayload, seal: &str) -> Result<Tag, StorageError> {
        let key = &document.key;
        let mut refused = match self.bucket.put_new(key, payload.clone(), Some(seal)).await {
            Ok(tag) => return Ok(tag),
            Err(refused) => refused,
        };
        for _ in 0..TRIES {
            let head = match self.bucket.head(key).await {
                Ok(head) => head,
                // Another write of it may be on its way, or another process made it, and the application has moved it.
                Err(Refused::Absent) => return Err(refused.unsettled().into()),
                Err(other) => return Err(other.into()),
            };
            if head.seal.as_deref() == Some(seal) {
                return Ok(head.tag);
            }
            refused = match self.bucket.put_if(key, payload.clone(), &head.tag, Some(seal)).await {
                Ok(tag) => return Ok(tag),
                Err(refused) => refused,
            };
        }
        Err(refused.unsettled().into())
    }

    /// Writes the object of a small upload before the document refers to it, unless there is one already; then
    /// returns `None`.
    pub(crate) async fn publish_first(
        &self,
        document: &Document,
        payload: PutPayload,
        seal: &str,
    ) -> Result<Option<Tag>, StorageError> {
        let refused = match self.bucket.put_new(&document.key, payload.clone(), Some(seal)).await {
            Ok(tag) => return Ok(Some(tag)),
            Err(refused) => refused,
        };
        match self.bucket.head(&document.key).await {
            Ok(head) if head.seal.as_deref() == Some(seal) => Ok(Some(head.tag)),
            Ok(head) if !self.settings.keeps(Rule::Sealing) => {
                let put = self.bucket.put_if(&document.key, payload, &head.tag, Some(seal)).await;
                Ok(put.ok())
            }
            Ok(_) => Ok(None),
            Err(Refused::Absent) => Err(refused.unsettled().into()),
            Err(other) => Err(other.into()),
        }
    }

    /// The bytes of pieces, in order. This waits for memory.
    pub(crate) async fn bytes_of<'a>(
        &self,
        upload: &Upload,
        pieces: impl IntoIterator<Item = &'a Piece>,
    ) -> Result<Gathered<'_>, StorageError> {
        let (mut keys, mut length) = (Vec::new(), 0);
        for piece in pieces {
            keys.push(keys::piece(upload, &piece.nonce));
            length += piece.length;
        }
        if keys.is_empty() {
            return Ok(Gathered::default());
        }
        let memory = Some(self.gather(length).await?);
        let got = stream::iter(keys).map(|key| async move {
            let got = self.bucket.get(&key).await;
            let failed =
                |refused: Refused| StorageError::new(refused.failure(), format!("{key} cannot be read: {refused}"));
            Ok::<_, StorageError>(got.map_err(failed)?.0)
        });
        Ok(Gathered { bytes: got.buffered(AT_ONCE).try_collect().await?, memory })
    }

    /// Call this after the document no longer refers to them.
    pub(crate) async fn forget_pieces<'a>(
        &self,
        upload: &Upload,
        nonces: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Refused> {
        let keys = nonces.into_iter().map(|nonce| keys::piece(upload, nonce)).collect();
        self.bucket.delete(keys).await
    }

    /// Deletes all pieces of an upload that refers to none any more, also those of processes that died before the document
    /// referred to them.
    pub(crate) async fn forget_all_pieces(&self, upload: &Upload) -> Result<(), Refused> {
        let found = self.bucket.list(&keys::pieces(upload), None).map_ok(|(key, _)| key);
        let keys = found.try_collect().await?;
        self.bucket.delete(keys).await
    }
}
