//! Markers find uploads other than by id: empty objects whose names contain the information. Each is written before
//! it becomes true and deleted after it is no longer true, so superfluous markers do no harm.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, future, stream::BoxStream};
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};
use tus_service::{Incarnation, Kind, StorageError, StoredStream, Upload, UploadFilter, UploadId};

use crate::{
    document::{Document, Status},
    keys,
    records::{Inner, Seen},
    refused::Refused,
    settings::Rule,
};

/// The number of documents that are read at once.
pub(crate) const AT_ONCE: usize = 16;

/// A marker without an upload is deleted at this age: its upload may be about to be created.
const STALE: Duration = Duration::from_secs(3600);

/// How long the document of a removed upload stays as a fence.
const FENCE: Duration = Duration::from_secs(24 * 3600);

/// The remains of a removed upload, in the content of its marker.
#[derive(Debug, Serialize, Deserialize)]
struct Leftovers {
    key: String,
    multipart: Option<String>,
}

/// A marker and the document of its upload, if it exists.
struct Marked {
    key: String,
    meta: ObjectMeta,
    seen: Option<Seen>,
}

impl Marked {
    fn id(&self) -> Option<(UploadId, Option<Incarnation>)> {
        keys::of(&self.key)
    }

    /// The document, if it has the marker's incarnation, even if that was removed.
    fn document(&self) -> Option<&Document> {
        let (_, incarnation) = self.id()?;
        self.seen
            .as_ref()
            .map(|seen| &seen.document)
            .filter(|document| Some(document.upload.incarnation) == incarnation)
    }

    fn is_stale(&self) -> bool {
        SystemTime::from(self.meta.last_modified).elapsed().is_ok_and(|age| age > STALE)
    }
}

impl Inner {
    /// Writes the markers for what a change is about to make true. A change that seals leaves work if this process
    /// dies before the end.
    pub(crate) async fn announce(
        &self,
        after: &Upload,
        before: Option<&Upload>,
        seals: bool,
    ) -> Result<(), StorageError> {
        self.announce_expiry(after, before).await?;
        let becomes_due = (seals || after.is_due()) && !before.is_some_and(Upload::is_due);
        if becomes_due && self.settings.keeps(Rule::Marker) {
            self.bucket.mark(&keys::todo(after), Bytes::new()).await?;
        }
        Ok(())
    }

    /// A later expiry is not announced: the sweeper moves the marker when it finds it.
    async fn announce_expiry(&self, after: &Upload, before: Option<&Upload>) -> Result<(), StorageError> {
        let known = before.and_then(|before| before.expires);
        if let Some(expires) = after.expires.filter(|expires| known.is_none_or(|known| *expires < known)) {
            self.bucket.mark(&keys::expiry(expires, after), Bytes::new()).await?;
        }
        Ok(())
    }

    pub(crate) async fn announce_parts(&self, upload: &Upload) -> Result<(), StorageError> {
        for part in parts(upload) {
            self.bucket.mark(&keys::waits(part, upload), Bytes::new()).await?;
        }
        Ok(())
    }

    /// Nothing is due any more, and the upload waits for no part.
    pub(crate) async fn nothing_due(&self, upload: &Upload) {
        let waits = parts(upload).into_iter().map(|part| keys::waits(part, upload));
        // Remaining markers cost only a check.
        let _ = self.bucket.delete(waits.chain([keys::todo(upload)]).collect()).await;
    }

    /// Announces the cleanup of an upload that is removed, in case this process dies before it has deleted
    /// everything, and the deletion of the fence.
    pub(crate) async fn announce_leftovers(&self, document: &Document) -> Result<(), StorageError> {
        let multipart = document.multipart.as_ref().map(|multipart| multipart.id.clone());
        let leftovers = serde_json::to_vec(&Leftovers { key: document.key.clone(), multipart });
        let leftovers = leftovers.map_err(|error| StorageError::new(tus_service::Failure::Internal, error))?;
        let later = SystemTime::now() + FENCE;
        Ok(self.bucket.mark(&keys::expiry(later, &document.upload), leftovers.into()).await?)
    }

    /// Deletes what belongs to an upload that is gone.
    pub(crate) async fn clear(&self, upload: &Upload, key: &str, multipart: Option<&str>) -> Result<(), Refused> {
        if let Some(multipart) = multipart {
            // Its absence is fine, and the bucket's own rule handles remains.
            let _ = self.bucket.abort(key, multipart).await;
        }
        let pieces = self.bucket.list(&keys::pieces(upload), None).map_ok(|(key, _)| key);
        let mut all: Vec<_> = pieces.try_collect().await?;
        if upload.kind == Kind::Partial {
            // Whatever waits for it waits in vain, or was never created. What waits for another upload with its id is
            // due.
            let waiting = self.bucket.list(&keys::waiting(&upload.id), None).map_ok(|(key, _)| key);
            all.extend(waiting.try_collect::<Vec<_>>().await?);
        }
        all.extend([key.to_owned(), keys::todo(upload)]);
        all.extend(parts(upload).into_iter().map(|part| keys::waits(part, upload)));
        all.extend(upload.expires.map(|expires| keys::expiry(expires, upload)));
        self.bucket.delete(all).await
    }

    pub(crate) fn list(&self, filter: UploadFilter, after: Option<&UploadId>) -> StoredStream<'_> {
        let names = self.bucket.list(keys::DOCUMENTS, after.map(UploadId::as_str));
        let seen = self
            .marked(names)
            .try_filter_map(|marked| future::ready(Ok(marked.seen.filter(|seen| !seen.document.is_gone()))));
        let stored = seen.map_ok(|seen| self.stored(&seen));
        stored.try_filter(move |stored| future::ready(filter.passes(&stored.upload))).boxed()
    }

    pub(crate) fn pending(&self, now: SystemTime) -> StoredStream<'_> {
        let due = self.marked(self.bucket.list(keys::TODO, None)).try_filter_map(move |marked| async move {
            match marked.document() {
                Some(document) if document.upload.is_due() && !document.is_gone() => {
                    Ok(marked.seen.as_ref().map(|seen| self.stored(seen)))
                }
                _ if marked.is_stale() => {
                    let _ = self.bucket.delete(vec![marked.key]).await;
                    Ok(None)
                }
                _ => Ok(None),
            }
        });
        let until = keys::milliseconds(now);
        let early = self
            .bucket
            .list(keys::EXPIRY, None)
            .try_take_while(move |(key, _)| future::ready(Ok(keys::expires_at(key).is_none_or(|at| at <= until))));
        let expired = self.marked(early).try_filter_map(move |marked| self.expired(marked, now));
        due.chain(expired).boxed()
    }

    /// The upload of a marker whose time has come, if it has expired. Uploads that are due were found by other
    /// markers.
    async fn expired(&self, marked: Marked, now: SystemTime) -> Result<Option<tus_service::Stored>, StorageError> {
        let document = match marked.document() {
            Some(document) if !document.is_gone() => document,
            _ => {
                self.clear_leftovers(&marked).await?;
                return Ok(None);
            }
        };
        let upload = &document.upload;
        if upload.is_expired(now) {
            let Some(seen) = marked.seen.as_ref().filter(|_| !upload.is_due()) else { return Ok(None) };
            return Ok(self.without_a_dead_owner(seen).await?.map(|seen| self.stored(&seen)));
        }
        // Its expiry was postponed or removed.
        if let Some(expires) = upload.expires {
            self.bucket.mark(&keys::expiry(expires, upload), Bytes::new()).await?;
        }
        let _ = self.bucket.delete(vec![marked.key]).await;
        Ok(None)
    }

    /// The upload of a marker was removed a day ago, or was never created.
    async fn clear_leftovers(&self, marked: &Marked) -> Result<(), StorageError> {
        let Some((id, Some(incarnation))) = marked.id() else { return Ok(()) };
        let content = match self.bucket.get(&marked.key).await {
            Ok((content, _)) => content,
            Err(Refused::Absent) => return Ok(()),
            Err(refused) => return Err(refused.into()),
        };
        let leftovers = serde_json::from_slice::<Leftovers>(&content).ok();
        match (&leftovers, &marked.seen) {
            (Some(Leftovers { key, multipart }), seen) => {
                let upload = Upload::new(id, incarnation, Kind::Single);
                let upload = marked.document().map_or(&upload, |document| &document.upload);
                self.clear(upload, key, multipart.as_deref()).await?;
                if let Some(seen) = seen
                    && marked.document().is_some()
                    && !self.let_go(seen, marked, content).await?
                {
                    return Ok(());
                }
            }
            // The expiry of an upload whose creation failed or is about to succeed, or that was removed before.
            (None, _) if marked.is_stale() || marked.document().is_some() => {}
            (None, _) => return Ok(()),
        }
        let _ = self.bucket.delete(vec![marked.key.clone()]).await;
        Ok(())
    }

    /// Deletes the document that served as a fence. It records this first, because nothing can be created in its
    /// place afterwards. Returns whether it is done.
    async fn let_go(&self, seen: &Seen, marked: &Marked, content: Bytes) -> Result<bool, StorageError> {
        let key = keys::document(&seen.document.upload.id);
        match seen.document.status {
            Status::Removed => {
                // From here on, the marker's age shows since when the fence is being deleted.
                self.bucket.mark(&marked.key, content).await?;
                let mut going = seen.document.clone();
                (going.status, going.nonce) = (Status::Going, crate::nonce::nonce()?);
                if self.bucket.put_if(&key, going.json()?.into(), &seen.tag, None).await.is_err() {
                    // An upload was created in its place, or another process is deleting it.
                    return Ok(false);
                }
            }
            // Another process has died at this point. After this time, it deletes nothing any more.
            Status::Going if marked.is_stale() => {}
            Status::Going => return Ok(false),
            _ => return Ok(true),
        }
        Ok(self.bucket.delete(vec![key]).await.is_ok())
    }

    /// Reads the documents of markers concurrently, in order.
    fn marked<'a>(
        &'a self,
        found: impl Stream<Item = Result<(String, ObjectMeta), Refused>> + Send + 'a,
    ) -> BoxStream<'a, Result<Marked, StorageError>> {
        let load = move |(key, meta): (String, ObjectMeta)| async move {
            let seen = match keys::of(&key) {
                Some((id, _)) => self.fetch_any(&id).await?,
                None => None,
            };
            Ok(Marked { key, meta, seen })
        };
        found.map_err(StorageError::from).map_ok(load).try_buffered(AT_ONCE).boxed()
    }
}

/// The distinct parts that an upload waits for.
fn parts(upload: &Upload) -> BTreeSet<&UploadId> {
    match &upload.kind {
        Kind::Final(parts) => parts.iter().map(|part| &part.id).collect(),
        _ => BTreeSet::new(),
    }
}
