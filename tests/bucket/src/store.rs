//! The bucket with the interface of the crate `object_store`.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, multipart::MultipartStore,
    multipart::PartId, path::Path,
};
use tokio::task::yield_now;

use crate::{Bucket, Ending, Operation, objects::PAGE, unavailable};

/// The number of bytes of an object that arrive at once.
const CHUNK: usize = 64 * 1024;

fn not_needed(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "bucket".to_owned() }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let key = location.to_string();
        let PutOptions { mode, attributes, .. } = options;
        let _sending = self.sending(payload.content_length());
        let operation = match mode {
            PutMode::Overwrite => Operation::Put,
            PutMode::Create => Operation::PutNew,
            PutMode::Update(_) => Operation::PutIf,
        };
        let rules = self.shared.rules;
        if rules.races {
            self.state().objects.check(&rules, &key, &mode)?;
            yield_now().await;
        }
        let put = move |rules: &crate::Rules, objects: &mut crate::objects::Objects| {
            if !rules.races {
                objects.check(rules, &key, &mode)?;
            }
            objects.put(rules, &key, payload.into(), attributes)
        };
        self.run(operation, location.as_ref(), put).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_needed("put_multipart_opts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.to_string();
        let is_head = options.head;
        let operation = if is_head { Operation::Head } else { Operation::Get };
        let get =
            move |rules: &crate::Rules, objects: &mut crate::objects::Objects| objects.read(rules, &key, &options);
        let read = self.run(operation, location.as_ref(), get).await?;
        let mut bytes = if is_head { Bytes::new() } else { read.bytes };
        let ends = if is_head { None } else { self.state().downloads.pop_front() };
        if let Some((after, _)) = ends {
            bytes.truncate(after);
        }
        let chunks = std::iter::from_fn(move || {
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            (!chunk.is_empty()).then_some(Ok(chunk))
        });
        let end = match ends {
            Some((_, Ending::Breaks)) => stream::iter([Err(unavailable())]).boxed(),
            Some((_, Ending::Hangs)) => stream::pending().boxed(),
            Some((_, Ending::Stops)) | None => stream::empty().boxed(),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter(chunks).chain(end).boxed()),
            meta: read.meta,
            range: read.range,
            attributes: read.attributes,
            extensions: Default::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        let pages = locations.try_chunks(PAGE).map_err(|error| error.1);
        let deleted = pages.and_then(move |page| {
            let bucket = bucket.clone();
            async move {
                let first = page.first().map_or(String::new(), Path::to_string);
                let delete = move |_: &crate::Rules, objects: &mut crate::objects::Objects| {
                    page.iter().for_each(|path| objects.delete(path.as_ref()));
                    Ok(page)
                };
                let page = bucket.run(Operation::Delete, &first, delete).await?;
                Ok(stream::iter(page).map(Ok))
            }
        });
        deleted.try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_with_offset(prefix, &Path::default())
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.filter(|prefix| !prefix.as_ref().is_empty()).map_or(String::new(), |p| format!("{p}/"));
        let bucket = self.clone();
        let pages = stream::try_unfold(Some(offset.to_string()), move |after| {
            let (bucket, prefix) = (bucket.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let under = prefix.clone();
                let list = move |rules: &crate::Rules, objects: &mut crate::objects::Objects| {
                    Ok(objects.page(rules, &under, &after))
                };
                let (page, is_last) = bucket.run(Operation::List, &prefix, list).await?;
                let next = page.last().filter(|_| !is_last).map(|meta| meta.location.to_string());
                Ok::<_, Error>(Some((stream::iter(page).map(Ok), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_needed("list_with_delimiter"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_needed("copy_opts"))
    }
}

#[async_trait]
impl MultipartStore for Bucket {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(path, PutMultipartOptions::default()).await
    }

    async fn create_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<MultipartId> {
        let key = path.to_string();
        self.run(Operation::Begin, path.as_ref(), move |_, objects| Ok(objects.begin(&key, options.attributes))).await
    }

    async fn put_part(&self, path: &Path, id: &MultipartId, number: usize, payload: PutPayload) -> Result<PartId> {
        let (key, id, _sending) = (path.to_string(), id.clone(), self.sending(payload.content_length()));
        let put = move |rules: &crate::Rules, objects: &mut crate::objects::Objects| {
            objects.put_part(rules, (&key, &id, number), payload)
        };
        let content_id = self.run(Operation::Part, &format!("{path}#{number}"), put).await?;
        Ok(PartId { content_id })
    }

    async fn complete_multipart(&self, path: &Path, id: &MultipartId, parts: Vec<PartId>) -> Result<PutResult> {
        let (key, id) = (path.to_string(), id.clone());
        let tags: Vec<_> = parts.into_iter().map(|part| part.content_id).collect();
        let complete = move |rules: &crate::Rules, objects: &mut crate::objects::Objects| {
            objects.complete(rules, &key, &id, &tags)
        };
        self.run(Operation::Complete, path.as_ref(), complete).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let id = id.clone();
        self.run(Operation::Abort, path.as_ref(), move |rules, objects| objects.abort(rules, &id)).await
    }
}
