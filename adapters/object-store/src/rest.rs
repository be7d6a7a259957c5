//! An object that is read, as it comes.

use std::{io, ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{Error, path::Path};
use tokio::time::sleep;

use crate::{bucket::Bucket, patience::Weight, refused::Refused};

/// How often the rest is asked for again although nothing has come since, and after which pauses.
const TRIES: u32 = 2;
const PAUSE: Duration = Duration::from_millis(200);

/// What has still to come of an object. Where the answer breaks off or stays away, the rest is asked for again: a client takes
/// its time, and a store does not wait for it.
pub(crate) struct Rest {
    bucket: Bucket,
    path: Path,
    range: Range<u64>,
    /// Of the version that is read.
    etag: Option<String>,
    bytes: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Rest {
    /// Begins to read a range, optionally of this version only.
    pub(crate) async fn of(
        bucket: &Bucket,
        key: &str,
        range: Range<u64>,
        etag: Option<String>,
    ) -> Result<Self, Refused> {
        let path = bucket.path(key);
        let (etag, bytes) = bucket.read_range(&path, range.clone(), etag).await?;
        Ok(Self { bucket: bucket.clone(), path, range, etag, bytes })
    }

    pub(crate) fn into_stream(self) -> BoxStream<'static, Result<Bytes, Refused>> {
        let next = |mut rest: Self| async move { Ok(rest.next().await?.map(|bytes| (bytes, rest))) };
        stream::try_unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        let (mut tries, mut failed) = (0, None);
        while !self.range.is_empty() {
            let came = match failed.take() {
                Some(refused) => Err(refused),
                None => self.bucket.patience.with(Weight::Small, some(&mut self.bytes)).await,
            };
            let refused = match came {
                Ok(bytes) => {
                    self.range.start += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Err(refused) => refused,
            };
            if tries >= TRIES || self.etag.is_none() {
                return Err(refused);
            }
            sleep(PAUSE * tries).await;
            tries += 1;
            match self.bucket.read_range(&self.path, self.range.clone(), self.etag.clone()).await {
                Ok((_, bytes)) => self.bytes = bytes,
                Err(refused) if refused.is_unclear() => failed = Some(refused),
                Err(refused) => return Err(refused),
            }
        }
        Ok(None)
    }
}

/// The next bytes. That there are none is no answer.
async fn some(bytes: &mut BoxStream<'static, object_store::Result<Bytes>>) -> Result<Bytes, Refused> {
    while let Some(bytes) = bytes.try_next().await? {
        if !bytes.is_empty() {
            return Ok(bytes);
        }
    }
    let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "the answer ended too early");
    Err(Refused::Failed(Error::Generic { store: "store", source: ended.into() }))
}
