//! Tests whether a store keeps the guarantees that the storage depends on. Some stores ignore conditions, or check
//! them before the bytes have arrived.

use futures_util::future;
use tus_service::Failure;

use crate::{bucket::Bucket, nonce::nonce, refused::Refused};

/// The number of concurrent writers, and of rounds.
const WRITERS: usize = 8;
const ROUNDS: usize = 2;

/// What a store did that it must not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it replaced an existing object, although the condition was that there is none")]
    Overwrites,
    #[error("it replaced a newer version, although the condition named an older one")]
    IgnoresVersions,
    #[error("it let {0} of {WRITERS} concurrent writers replace the same version, although at most one may")]
    Races(usize),
    #[error("it made an object from a part other than the named one")]
    MixesParts,
    #[error("it does not store the metadata of objects")]
    ForgetsMetadata,
    #[error("it is a directory bucket (S3 Express), which lists in no order: use a general purpose bucket")]
    IsDirectoryBucket,
    #[error("it gave an unexpected response: {0}")]
    Fails(String),
}

impl From<Refused> for Unfit {
    fn from(refused: Refused) -> Self {
        Self::Fails(refused.to_string())
    }
}

/// Tests the store with two small objects, which are deleted afterwards.
pub(crate) async fn check(bucket: &Bucket) -> Result<(), Unfit> {
    if bucket.is_directory_bucket() {
        return Err(Unfit::IsDirectoryBucket);
    }
    let name = nonce().map_err(|error| Unfit::Fails(error.to_string()))?;
    let (document, object) = (format!(".tus/test/{name}"), format!(".tus/test/{name}-parts"));
    let checked = async {
        conditions(bucket, &document).await?;
        parts(bucket, &object).await
    };
    let checked = checked.await;
    let _ = bucket.delete(vec![document, object]).await;
    checked
}

async fn conditions(bucket: &Bucket, key: &str) -> Result<(), Unfit> {
    let text = |text: &str| bytes::Bytes::copy_from_slice(text.as_bytes());
    let first = bucket.put_new(key, text("one").into(), Some("test")).await?;
    if bucket.head(key).await?.seal.as_deref() != Some("test") {
        return Err(Unfit::ForgetsMetadata);
    }
    match bucket.put_new(key, text("two").into(), None).await {
        Ok(_) => return Err(Unfit::Overwrites),
        Err(refused) if refused.is_unclear() => return Err(refused.into()),
        Err(_) => {}
    }
    let mut last = bucket.put_if(key, text("three").into(), &first, None).await?;
    match bucket.put_if(key, text("four").into(), &first, None).await {
        Ok(_) => return Err(Unfit::IgnoresVersions),
        Err(refused) if refused.is_unclear() => return Err(refused.into()),
        Err(_) => {}
    }
    for round in 0..ROUNDS {
        let last_now = &last;
        let writers = (0..WRITERS).map(|writer| async move {
            bucket.put_if(key, text(&format!("{round}-{writer}")).into(), last_now, None).await
        });
        let put = future::join_all(writers).await;
        let succeeded = put.iter().filter(|put| put.is_ok()).count();
        if succeeded > 1 {
            return Err(Unfit::Races(succeeded));
        }
        // One that failed has not been refused because of the condition.
        if let Some(Err(refused)) = put.into_iter().find(|put| put.as_ref().is_err_and(Refused::is_unclear)) {
            return Err(refused.into());
        }
        last = bucket.get(key).await?.1;
    }
    Ok(())
}

/// The completion must use the named part, even if another one was uploaded in its place later.
async fn parts(bucket: &Bucket, key: &str) -> Result<(), Unfit> {
    let id = bucket.begin(key, "test").await?;
    let checked = completions(bucket, key, &id).await;
    if checked.is_err() {
        let _ = bucket.abort(key, &id).await;
    }
    checked
}

async fn completions(bucket: &Bucket, key: &str, id: &str) -> Result<(), Unfit> {
    let named = bucket.put_part(key, id, 0, "named".into()).await?;
    let other = bucket.put_part(key, id, 0, "other".into()).await?;
    let used = match bucket.complete(key, id, vec![named]).await {
        // Some stores keep both, and use the named one.
        Ok(_) => "named",
        Err(refused) if refused.failure() == Failure::Unavailable => return Err(refused.into()),
        Err(_) => {
            // Only if it accepts the part that is there, it has refused the other one because of the part.
            bucket.complete(key, id, vec![other]).await?;
            "other"
        }
    };
    if bucket.get(key).await?.0 == used { Ok(()) } else { Err(Unfit::MixesParts) }
}
