//! Markers find uploads other than by id: empty objects whose names contain the information. Each is written before
//! it becomes true and deleted after it is no longer true, so superfluous markers do no harm.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt, TryStreamExt, future,
    stream::{self, BoxStream},
};
use object_store::ObjectMeta;
use tokio::time::Instant;
use tus_service::{Incarnation, Kind, Phase, StorageError, Stored, StoredStream, Upload, UploadFilter, UploadId};

use crate::{
    document::{Document, Status},
    keys,
    lock::lock,
    nonce::up_to,
    records::{Inner, Seen},
    refused::Refused,
    settings::Rule,
};

/// The number of documents that are read at once.
pub(crate) const AT_ONCE: usize = 16;

/// The number of markers that a sweep processes at once. Each costs up to eight requests, one after the other, and thousands may
/// come in a minute.
const SWEPT_AT_ONCE: usize = 64;

/// The number of superfluous markers that are deleted together.
const DELETED_AT_ONCE: usize = 1000;

/// As many markers as a store lists at once.
const MANY: usize = 1000;

/// A marker without an upload is deleted at this age: its upload may be about to be created.
const STALE: Duration = Duration::from_secs(3600);

/// The name of a marker, and what the list says about it.
type Listed = Result<(String, ObjectMeta), StorageError>;

/// A marker and the document of its upload, if it exists.
pub(crate) struct Marked {
    pub key: String,
    meta: ObjectMeta,
    /// The document was read after this time.
    pub read: Instant,
    pub seen: Option<Seen>,
}

/// What a sweep does about a marker.
enum Found {
    Upload(Box<Stored>),
    /// It leads to nothing any more.
    Superfluous(String),
    Nothing,
}

impl Marked {
    pub(crate) fn id(&self) -> Option<(UploadId, Option<Incarnation>)> {
        keys::of(&self.key)
    }

    /// The document, if it has the marker's incarnation, even if that was removed.
    pub(crate) fn document(&self) -> Option<&Document> {
        let (_, incarnation) = self.id()?;
        self.seen
            .as_ref()
            .map(|seen| &seen.document)
            .filter(|document| Some(document.upload.incarnation) == incarnation)
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.modified().elapsed().is_ok_and(|age| age > STALE)
    }

    /// When it was written last.
    pub(crate) fn modified(&self) -> SystemTime {
        self.meta.last_modified.into()
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

    /// Nothing is due any more, and the upload waits for no part. Pieces that a process may have left when it died are deleted
    /// first.
    pub(crate) async fn nothing_due(&self, document: &Document) {
        let upload = &document.upload;
        if document.litter && self.forget_all_pieces(upload).await.is_err() {
            // The sweep finds the marker and tries again.
            return;
        }
        let waits = parts(upload).into_iter().map(|part| keys::waits(part, upload));
        // Remaining markers cost only a check.
        let _ = self.bucket.delete(waits.chain([keys::todo(upload)]).collect()).await;
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
        let due =
            self.found(self.bucket.list(keys::TODO, None).map_err(StorageError::from), move |marked| self.due(marked));
        let early = stream::once(self.early(keys::milliseconds(now))).try_flatten();
        let expired = self.found(early, move |marked| self.expired(marked, now));
        due.chain(expired).boxed()
    }

    /// The markers of the index of expiry up to this time. If there are many, each sweep takes them in another order, so that
    /// servers that sweep at the same time share the work: a part of the index that another one has processed is empty.
    async fn early(&self, until: u64) -> Result<BoxStream<'_, Listed>, StorageError> {
        let first: Vec<_> = self.early_from(None, until).take(MANY).try_collect().await?;
        let time = |listed: Option<&(String, ObjectMeta)>| listed.and_then(|(key, _)| keys::expires_at(key));
        let (Some(middle), Some(last), MANY) = (time(first.get(MANY / 2)), time(first.last()), first.len()) else {
            return Ok(stream::iter(first.into_iter().map(Ok)).boxed());
        };
        // Each part has about as many. A few old ones, which wait for something, say nothing about the rest.
        let length = (2 * (last - middle)).max((until - middle) / MANY as u64) + 1;
        let starts = (middle..=until).step_by(usize::try_from(length).unwrap_or(usize::MAX));
        let mut parts: Vec<_> = starts.map(|start| (Some(start), until.min(start + (length - 1)))).collect();
        parts.push((None, middle.saturating_sub(1)));
        for at in (1..parts.len()).rev() {
            parts.swap(at, up_to(at as u64)? as usize);
        }
        Ok(stream::iter(parts).flat_map(|(start, end)| self.early_from(start, end)).boxed())
    }

    fn early_from(&self, start: Option<u64>, until: u64) -> impl Stream<Item = Listed> + Send + use<> {
        let listed = self.bucket.list(keys::EXPIRY, start.map(keys::at).as_deref()).map_err(StorageError::from);
        listed.try_take_while(move |(key, _)| future::ready(Ok(keys::expires_at(key).is_none_or(|at| at <= until))))
    }

    /// What markers lead to, in no order.
    fn found<'a, F>(
        &'a self,
        markers: impl Stream<Item = Listed> + Send + 'a,
        look: impl Fn(Marked) -> F + Copy + Send + Sync + 'a,
    ) -> StoredStream<'a>
    where
        F: Future<Output = Result<Found, StorageError>> + Send + 'a,
    {
        let load = move |(key, meta)| async move { look(self.load_marked(key, meta).await?).await };
        let found = markers.map_ok(load).try_buffer_unordered(SWEPT_AT_ONCE);
        let superfluous: Arc<Mutex<Vec<String>>> = Arc::default();
        let last = superfluous.clone();
        let uploads = found.try_filter_map(move |found| {
            let mut full = None;
            let mut upload = None;
            match found {
                Found::Upload(stored) => upload = Some(*stored),
                Found::Superfluous(key) => {
                    let mut superfluous = lock(&superfluous);
                    superfluous.push(key);
                    full = (superfluous.len() >= DELETED_AT_ONCE).then(|| std::mem::take(&mut *superfluous));
                }
                Found::Nothing => {}
            }
            async move {
                // Remaining ones are found again.
                let _ = self.bucket.delete(full.unwrap_or_default()).await;
                Ok(upload)
            }
        });
        let rest = stream::once(async move {
            let keys = std::mem::take(&mut *lock(&last));
            let _ = self.bucket.delete(keys).await;
        });
        uploads.chain(rest.filter_map(|()| future::ready(None))).boxed()
    }

    /// The upload of a marker, if it is due.
    async fn due(&self, marked: Marked) -> Result<Found, StorageError> {
        match marked.document() {
            Some(document) if document.upload.is_due() && !document.is_gone() => {
                return Ok(self.found_upload(marked.seen.as_ref()));
            }
            _ if !marked.is_stale() => return Ok(Found::Nothing),
            // It may become due at any time, and then it needs its marker.
            Some(document) if document.upload.phase == Phase::Receiving && !document.is_gone() => {
                return Ok(Found::Nothing);
            }
            // A writer may be about to record some.
            Some(document) if !matches!(document.status, Status::Done { .. }) => {}
            _ => {
                if let Some((id, Some(incarnation))) = marked.id() {
                    self.forget_all_pieces(&Upload::new(id, incarnation, Kind::Single)).await?;
                }
            }
        }
        let _ = self.bucket.delete(vec![marked.key]).await;
        Ok(Found::Nothing)
    }

    /// The upload of a marker whose time has come, if it has expired. Uploads that are due were found by other
    /// markers.
    async fn expired(&self, marked: Marked, now: SystemTime) -> Result<Found, StorageError> {
        let document = match marked.document() {
            Some(document) if !document.is_gone() => document,
            _ if self.clear_leftovers(&marked).await? => return Ok(Found::Superfluous(marked.key)),
            _ => return Ok(Found::Nothing),
        };
        let upload = &document.upload;
        if upload.is_expired(now) {
            let Some(seen) = marked.seen.as_ref().filter(|_| !upload.is_due()) else { return Ok(Found::Nothing) };
            if !upload.is_expired((self.settings.clock)()) {
                // It is only about to expire: nobody who receives it is disturbed.
                return Ok(self.found_upload(Some(seen)));
            }
            return Ok(self.found_upload(self.without_a_dead_owner(seen).await?.as_ref()));
        }
        // Its expiry was postponed or removed.
        if let Some(expires) = upload.expires {
            let later = keys::expiry(expires, upload);
            if later == marked.key {
                // It expires within this millisecond.
                return Ok(Found::Nothing);
            }
            self.bucket.mark(&later, Bytes::new()).await?;
        }
        Ok(Found::Superfluous(marked.key))
    }

    fn found_upload(&self, seen: Option<&Seen>) -> Found {
        seen.map_or(Found::Nothing, |seen| Found::Upload(Box::new(self.stored(seen))))
    }

    /// Reads the documents of markers concurrently, in order.
    fn marked<'a>(
        &'a self,
        found: impl Stream<Item = Result<(String, ObjectMeta), Refused>> + Send + 'a,
    ) -> BoxStream<'a, Result<Marked, StorageError>> {
        let load = move |(key, meta): (String, ObjectMeta)| self.load_marked(key, meta);
        found.map_err(StorageError::from).map_ok(load).try_buffered(AT_ONCE).boxed()
    }

    async fn load_marked(&self, key: String, meta: ObjectMeta) -> Result<Marked, StorageError> {
        let read = Instant::now();
        let seen = match keys::of(&key) {
            Some((id, _)) => self.fetch_any(&id).await?,
            None => None,
        };
        Ok(Marked { key, meta, read, seen })
    }
}

/// The distinct parts that an upload waits for.
pub(crate) fn parts(upload: &Upload) -> BTreeSet<&UploadId> {
    match &upload.kind {
        Kind::Final(parts) => parts.iter().map(|part| &part.id).collect(),
        _ => BTreeSet::new(),
    }
}
