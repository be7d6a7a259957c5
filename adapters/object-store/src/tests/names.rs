//! The names of finished objects, and prefixes.

use std::time::{Duration, SystemTime};

use bucket::Bucket;
use futures_util::TryStreamExt;
use tus_service::{Kind, Storage};

use super::{
    conformance::{PART, builder},
    uploads::*,
};

const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 3600);

/// Bucket events and lists have the same name as the application.
#[tokio::test]
async fn a_name_with_unusual_characters_is_that_of_the_object() {
    for name in ["größe/a b~[1]#{x}%2F^.mp4", "/at/the/ends/", "…/🎞"] {
        let bucket = Bucket::default();
        let store = builder(&bucket).prefix("größe/a+b%").key(move |_| name.to_owned()).open_unchecked().unwrap();
        for length in [5, 3 * PART] {
            let stored = created(&store, "a", Kind::Single, Some(length)).await;
            let stored = appended(&store, stored, bytes(length, 1)).await.unwrap();
            let key = store.key(&stored.upload.id).await.unwrap().unwrap();
            assert_eq!(key, name.trim_matches('/'));
            assert_eq!(bucket.object(&format!("größe/a+b%/{key}")).as_deref(), Some(&bytes(length, 1)[..]));
            assert_eq!(content(&store, &stored).await, bytes(length, 1));
            store.remove(&stored).await.unwrap();
            bucket.age(TWO_DAYS);
            let later = SystemTime::now() + TWO_DAYS;
            assert_eq!(store.pending(later).try_collect::<Vec<_>>().await.unwrap(), []);
            assert_eq!(bucket.keys(""), [] as [&str; 0]);
        }
    }
    for name in ["", "/", "a//b", "a/../b", "./a", "a\n", ".tus/u/a"] {
        let bucket = Bucket::default();
        let store = builder(&bucket).key(move |_| name.to_owned()).open_unchecked().unwrap();
        let refused = store.create(&upload("a", Kind::Single, Some(5))).await.unwrap_err();
        assert!(refused.to_string().contains("a name that no object can have"), "{refused}");
        assert_eq!(bucket.keys(""), [] as [&str; 0]);
    }
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn the_prefix_of_a_url_is_decoded_once() {
    for (url, prefix) in [
        ("s3://bucket", ""),
        ("s3://bucket/", ""),
        ("s3://bucket/a/b", "a/b"),
        ("s3://bucket//a//b-c_d.e/", "a/b-c_d.e"),
        ("s3://bucket/gr%C3%B6%C3%9Fe/a%20b%2525", "größe/a b%25"),
        ("s3://bucket/größe", "größe"),
    ] {
        let builder = format!("{:?}", crate::ObjectStore::from_url(url).unwrap());
        assert!(builder.contains(&format!("under \"{prefix}\"")), "{url}: {builder}");
    }
}
