//! The operations of an object store that this crate uses, with errors that determine the next step.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetResult, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, UpdateVersion, multipart::MultipartStore, multipart::PartId, path::Path,
};
use tokio::time::sleep;
use tus_service::async_trait;

use crate::{
    failures, observe,
    patience::{Patience, Weight},
    refused::Refused,
};

/// How often a piece is written whose name the store claims to be in use, and the first of the growing pauses in between.
const PIECE_TRIES: u32 = 4;
const PIECE_PAUSE: Duration = Duration::from_millis(100);

/// Memory that an object gets before it has come, at most, in bytes.
const MOST_AT_ONCE: usize = 64 * 1024 * 1024;

/// How long a small request may take by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

type Answer<T> = Result<T, Refused>;

/// The version of an object.
#[derive(Debug, Clone)]
pub(crate) struct Tag(UpdateVersion);

/// The metadata of an object.
#[derive(Debug)]
pub(crate) struct Head {
    pub tag: Tag,
    pub size: u64,
    pub modified: SystemTime,
    /// The seal that identifies it; `None` if it was uploaded in parts and the store accepts no metadata with them.
    pub seal: Option<String>,
}

/// The metadata key of the seal. Azure allows neither hyphens nor dots in it.
const SEAL: &str = "tusseal";

/// Makes parts of objects in the same bucket, if the store supports that.
#[async_trait]
pub(crate) trait Copier: fmt::Debug + Send + Sync {
    /// Copies this version of an object, or a range of it. Returns the part's ETag.
    async fn copy_part(
        &self,
        from: &Path,
        range: &Range<u64>,
        etag: Option<&str>,
        to: &Target<'_>,
    ) -> Result<String, Refused>;
}

/// The part to make.
#[derive(Debug)]
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only the client of S3 copies"))]
pub(crate) struct Target<'a> {
    pub path: &'a Path,
    pub multipart: &'a str,
    /// From zero.
    pub number: usize,
}

#[derive(Clone)]
pub(crate) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    copies: Option<Arc<dyn Copier>>,
    prefix: Path,
    pub patience: Arc<Patience>,
}

impl Bucket {
    pub(crate) fn new<S: ObjectStore + MultipartStore>(store: Arc<S>) -> Self {
        let patience = Arc::new(Patience::new(PATIENCE));
        Self { objects: store.clone(), parts: store, copies: None, prefix: Path::default(), patience }
    }

    pub(crate) fn set_patience(&mut self, limit: Duration) {
        self.patience = Arc::new(Patience::new(limit));
    }

    #[cfg(feature = "aws")]
    pub(crate) fn set_copies(&mut self, copies: impl Copier + 'static) {
        self.copies = Some(Arc::new(copies));
    }

    pub(crate) fn can_copy(&self) -> bool {
        self.copies.is_some()
    }

    /// Whether it is an S3 Express bucket: only their names have this suffix.
    pub(crate) fn is_directory_bucket(&self) -> bool {
        self.objects.to_string().trim_end_matches(')').ends_with("--x-s3")
    }

    pub(crate) fn set_prefix(&mut self, prefix: &str) {
        self.prefix = literal(prefix);
    }

    pub(crate) fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(literal(key).parts()).collect()
    }

    pub(crate) async fn put_new(&self, key: &str, payload: PutPayload, seal: Option<&str>) -> Answer<Tag> {
        let put = self.put(key, payload, PutMode::Create, seal).await;
        observe::request("put_new", put)
    }

    /// Writes an object whose name has a new nonce. If it exists, this request made it: the client of the store has
    /// repeated it after a lost response. A conflict of the two writes is reported in the same way, and both may have
    /// failed: only an object that is there counts.
    pub(crate) async fn put_piece(&self, key: &str, payload: PutPayload) -> Answer<()> {
        let length = payload.content_length() as u64;
        for attempt in 0..PIECE_TRIES {
            sleep(PIECE_PAUSE * attempt).await;
            match self.put_new(key, payload.clone(), None).await {
                Err(Refused::Exists) => {}
                put => return put.map(drop),
            }
            match self.head(key).await {
                Ok(head) if head.size == length => return Ok(()),
                Ok(_) => return Err(Refused::Exists),
                Err(Refused::Absent) => {}
                Err(refused) => return Err(refused),
            }
        }
        Err(Refused::Unsettled)
    }

    pub(crate) async fn put_if(&self, key: &str, payload: PutPayload, tag: &Tag, seal: Option<&str>) -> Answer<Tag> {
        let put = self.put(key, payload, PutMode::Update(tag.0.clone()), seal).await.map_err(|refused| match refused {
            // 409: another writer was writing it at the same time.
            Refused::Exists | Refused::Absent => Refused::Changed,
            other => other,
        });
        observe::request("put_if", put)
    }

    /// Writes a marker, whether it exists already or not.
    pub(crate) async fn mark(&self, key: &str, content: Bytes) -> Answer<()> {
        let put = self.put(key, content.into(), PutMode::Overwrite, None).await.map_err(Refused::unsettled);
        observe::request("put", put).map(drop)
    }

    async fn put(&self, key: &str, payload: PutPayload, mode: PutMode, seal: Option<&str>) -> Answer<Tag> {
        let options = PutOptions { mode, attributes: sealed(seal), ..PutOptions::default() };
        let weight = Weight::Bytes(payload.content_length() as u64);
        let path = self.path(key);
        let put = async { Ok(Tag::from(self.objects.put_opts(&path, payload, options).await?)) };
        self.patience.with(weight, put).await
    }

    pub(crate) async fn get(&self, key: &str) -> Answer<(Bytes, Tag)> {
        let (path, options) = (self.path(key), GetOptions::default());
        let get = async {
            let result = self.patience.read(|| self.begin_get(&path, &options)).await?;
            let (tag, weight) = (Tag::of(&result.meta), Weight::Bytes(result.meta.size));
            let mut bytes = Vec::with_capacity(usize::try_from(result.meta.size).unwrap_or(0).min(MOST_AT_ONCE));
            let read = async {
                let mut chunks = result.into_stream();
                while let Some(chunk) = chunks.try_next().await? {
                    bytes.extend_from_slice(&chunk);
                }
                Ok(Bytes::from(bytes))
            };
            Ok((self.patience.with(weight, read).await?, tag))
        };
        observe::request("get", get.await)
    }

    async fn begin_get(&self, path: &Path, options: &GetOptions) -> Answer<GetResult> {
        Ok(self.objects.get_opts(path, options.clone()).await?)
    }

    /// One ranged request, optionally for this version only: the version that is read, and its bytes, which come as the
    /// stream is polled.
    pub(crate) async fn read_range(
        &self,
        path: &Path,
        range: Range<u64>,
        etag: Option<String>,
    ) -> Answer<(Option<String>, BoxStream<'static, object_store::Result<Bytes>>)> {
        let options = GetOptions { range: Some(range.into()), if_match: etag, ..GetOptions::default() };
        let result = observe::request("get", self.patience.read(|| self.begin_get(path, &options)).await)?;
        Ok((result.meta.e_tag.clone(), result.into_stream()))
    }

    pub(crate) async fn head(&self, key: &str) -> Answer<Head> {
        let (path, options) = (self.path(key), GetOptions { head: true, ..GetOptions::default() });
        let head = self.patience.read(|| self.begin_get(&path, &options)).await;
        let GetResult { meta, attributes, .. } = observe::request("head", head)?;
        let seal = attributes.get(&Attribute::Metadata(SEAL.into())).map(|seal| seal.as_ref().to_owned());
        Ok(Head { tag: Tag::of(&meta), size: meta.size, modified: meta.last_modified.into(), seal })
    }

    /// Deletes objects, a thousand per request if the store supports that. Missing objects are not errors.
    pub(crate) async fn delete(&self, keys: Vec<String>) -> Answer<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = keys.iter().map(|key| Ok(self.path(key))).collect();
        let mut deleted = self.objects.delete_stream(stream::iter(paths).boxed());
        let delete = async {
            let mut answer = Ok(());
            while let Some(one) = deleted.next().await {
                match one {
                    Ok(_) | Err(Error::NotFound { .. }) => {}
                    Err(error) => answer = Err(Refused::from(error)),
                }
            }
            answer
        };
        let deleted = self.patience.with(Weight::Many(keys.len()), delete).await;
        observe::request("delete", deleted.map_err(Refused::unsettled))
    }

    /// The objects under a prefix (a path without its last slash), ordered by name, after this name. Pages are
    /// requested on demand.
    pub(crate) fn list(&self, under: &str, after: Option<&str>) -> BoxStream<'static, Answer<(String, ObjectMeta)>> {
        let path = self.path(under);
        let listed = match after {
            None => self.objects.list(Some(&path)),
            Some(after) => self.objects.list_with_offset(Some(&path), &self.path(&format!("{under}/{after}"))),
        };
        let (prefix, patience) = (self.prefix.to_string(), self.patience.clone());
        let answered = stream::try_unfold(listed, move |mut listed| {
            let patience = patience.clone();
            async move {
                let next = async { listed.try_next().await.map_err(Refused::from) };
                Ok(patience.with(Weight::Small, next).await?.map(|meta| (meta, listed)))
            }
        });
        let named = answered.map_ok(move |meta| {
            let key = meta.location.as_ref();
            (key.strip_prefix(&prefix).unwrap_or(key).trim_start_matches('/').to_owned(), meta)
        });
        let mut pages = observe::Pages::default();
        named.inspect(move |named| pages.note(named)).boxed()
    }

    pub(crate) async fn begin(&self, key: &str, seal: &str) -> Answer<String> {
        let path = self.path(key);
        let begin = async {
            let options = PutMultipartOptions { attributes: sealed(Some(seal)), ..PutMultipartOptions::default() };
            match self.parts.create_multipart_opts(&path, options).await {
                // A store without attributes of multipart uploads.
                Err(Error::NotSupported { .. }) => Ok(self.parts.create_multipart(&path).await?),
                begun => Ok(begun?),
            }
        };
        observe::request("begin", self.patience.with(Weight::Small, begin).await.map_err(Refused::unsettled))
    }

    pub(crate) async fn put_part(&self, key: &str, id: &str, number: usize, payload: PutPayload) -> Answer<String> {
        let (path, id, weight) = (self.path(key), id.to_owned(), Weight::Bytes(payload.content_length() as u64));
        let put = async { Ok(self.parts.put_part(&path, &id, number, payload).await?.content_id) };
        observe::request("part", self.patience.with(weight, put).await.map_err(Refused::unsettled))
    }

    /// Makes a part from a range of an object in this bucket, optionally of this version only.
    pub(crate) async fn copy_part(
        &self,
        (from, range, etag): (&str, &Range<u64>, Option<&str>),
        (key, id, number): (&str, &str, usize),
    ) -> Answer<String> {
        let Some(copies) = &self.copies else { return Err(Refused::Absent) };
        let (from, to) = (self.path(from), Target { path: &self.path(key), multipart: id, number });
        let copy = copies.copy_part(&from, range, etag, &to);
        observe::request("copy", self.patience.with(Weight::Copy(range.end - range.start), copy).await)
    }

    pub(crate) async fn complete(&self, key: &str, id: &str, etags: Vec<String>) -> Answer<Tag> {
        let (path, id, weight) = (self.path(key), id.to_owned(), Weight::Completion(etags.len()));
        let parts = etags.into_iter().map(|content_id| PartId { content_id }).collect();
        let complete = async {
            match self.parts.complete_multipart(&path, &id, parts).await {
                Ok(completed) => Ok(Tag::from(completed)),
                Err(error) if failures::is_absent(&error) => Err(Refused::Absent),
                Err(error) => Err(error.into()),
            }
        };
        observe::request("complete", self.patience.with(weight, complete).await.map_err(Refused::unsettled))
    }

    pub(crate) async fn abort(&self, key: &str, id: &str) -> Answer<()> {
        let (path, id) = (self.path(key), id.to_owned());
        let abort = async { Ok(self.parts.abort_multipart(&path, &id).await?) };
        observe::request("abort", self.patience.with(Weight::Small, abort).await.map_err(Refused::unsettled))
    }
}

/// The path of a name as it is. One that no path can have, for example because of two slashes side by side, is adjusted.
fn literal(name: &str) -> Path {
    Path::parse(name).unwrap_or_else(|_| Path::from(name))
}

fn sealed(seal: Option<&str>) -> Attributes {
    let seal = seal.map(|seal| (Attribute::Metadata(SEAL.into()), seal.to_owned()));
    seal.into_iter().collect()
}

impl Tag {
    fn of(meta: &ObjectMeta) -> Self {
        Self(UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() })
    }

    /// The version that a download compares.
    pub(crate) fn etag(&self) -> Option<String> {
        self.0.e_tag.clone()
    }
}

impl From<PutResult> for Tag {
    fn from(put: PutResult) -> Self {
        Self(put.into())
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} under \"{}\"", self.objects, self.prefix)
    }
}
