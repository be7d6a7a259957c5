//! A bucket in memory: the operations of an object store that the design uses, counted, and some of its faults.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::task::yield_now;
use tus_service::{Failure, StorageError};

/// Why the bucket did not do it, or did not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Exists,
    Changed,
    Absent,
    Lost,
}

impl From<Refused> for StorageError {
    fn from(refused: Refused) -> Self {
        let failure = match refused {
            Refused::Exists => Failure::Exists,
            Refused::Changed => Failure::Conflict,
            Refused::Absent => Failure::NotFound,
            Refused::Lost => Failure::Internal,
        };
        Self::new(failure, format!("the bucket said {refused:?}"))
    }
}

type Answer<T> = Result<T, Refused>;

#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Bytes>,
    uploads: BTreeMap<String, (String, BTreeMap<usize, Bytes>)>,
    counts: BTreeMap<&'static str, usize>,
    begun: usize,
    /// The next operation of each name fails (`false`), or succeeds without saying so (`true`).
    faults: Vec<(&'static str, bool)>,
}

/// The digest of the bytes, as in S3: the same bytes have the same one again.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Bucket {
    /// What was asked for since the last call, by operation.
    pub(crate) fn requests(&self) -> Vec<(&'static str, usize)> {
        std::mem::take(&mut self.0.lock().unwrap().counts).into_iter().collect()
    }

    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        state.objects.range(prefix.to_owned()..).map(|o| o.0.clone()).take_while(|k| k.starts_with(prefix)).collect()
    }

    pub(crate) fn fail_next(&self, operation: &'static str, is_done: bool) {
        self.0.lock().unwrap().faults.push((operation, is_done));
    }

    pub(crate) async fn put(&self, key: &str, bytes: Bytes) -> Answer<String> {
        self.run("put", |state| Ok(state.store(key, bytes))).await
    }

    pub(crate) async fn put_new(&self, key: &str, bytes: Bytes) -> Answer<String> {
        let absent = |state: &mut State| !state.objects.contains_key(key);
        self.run("put_new", |s| if absent(s) { Ok(s.store(key, bytes)) } else { Err(Refused::Exists) }).await
    }

    pub(crate) async fn put_if(&self, key: &str, bytes: Bytes, tag: &str) -> Answer<String> {
        let same = |state: &State| state.objects.get(key).is_some_and(|stored| etag(stored) == tag);
        self.run("put_if", |s| if same(s) { Ok(s.store(key, bytes)) } else { Err(Refused::Changed) }).await
    }

    pub(crate) async fn get(&self, key: &str) -> Answer<(Bytes, String)> {
        self.run("get", |s| s.objects.get(key).map(|o| (o.clone(), etag(o))).ok_or(Refused::Absent)).await
    }

    /// One ranged request: what it answers is one object, whatever is put under the key meanwhile.
    pub(crate) async fn get_range(&self, key: &str, tag: &str, range: Range<usize>) -> Answer<Bytes> {
        self.run("get", |s| match s.objects.get(key) {
            Some(object) if etag(object) == tag => Ok(object.slice(range)),
            _ => Err(Refused::Absent),
        })
        .await
    }

    /// The length and the version of an object.
    pub(crate) async fn head(&self, key: &str) -> Answer<(u64, String)> {
        self.run("head", |s| s.objects.get(key).map(|o| (o.len() as u64, etag(o))).ok_or(Refused::Absent)).await
    }

    pub(crate) async fn delete(&self, key: &str) -> Answer<()> {
        self.run("delete", |s| s.objects.remove(key).map(|_| ()).ok_or(Refused::Absent)).await
    }

    /// The keys of a prefix, after that of this name.
    pub(crate) async fn list(&self, prefix: &str, after: &str) -> Answer<Vec<String>> {
        self.run("list", |_| Ok(())).await?;
        Ok(self.keys(prefix).into_iter().filter(|key| after.is_empty() || key[prefix.len()..] > *after).collect())
    }

    pub(crate) async fn begin(&self, key: &str) -> Answer<String> {
        self.run("begin", |state| {
            state.begun += 1;
            let id = format!("multipart-{}", state.begun);
            state.uploads.insert(id.clone(), (key.to_owned(), BTreeMap::new()));
            Ok(id)
        })
        .await
    }

    pub(crate) async fn put_part(&self, id: &str, number: usize, bytes: Vec<Bytes>) -> Answer<String> {
        let bytes = Bytes::from(bytes.concat());
        self.run("part", |state| {
            let tag = etag(&bytes);
            state.uploads.get_mut(id).ok_or(Refused::Absent)?.1.insert(number, bytes);
            Ok(tag)
        })
        .await
    }

    pub(crate) async fn complete(&self, id: &str, tags: &[String]) -> Answer<String> {
        self.run("complete", |state| {
            let (key, parts) = state.uploads.get(id).ok_or(Refused::Absent)?;
            let part = |(number, tag): (usize, &String)| {
                parts.get(&number).filter(|part| etag(part) == *tag).ok_or(Refused::Changed)
            };
            let parts = tags.iter().enumerate().map(part).collect::<Answer<Vec<_>>>()?;
            let (key, bytes) = (key.clone(), parts.into_iter().flatten().copied().collect::<Bytes>());
            state.uploads.remove(id);
            Ok(state.store(&key, bytes))
        })
        .await
    }

    pub(crate) async fn abort(&self, id: &str) -> Answer<()> {
        self.run("abort", |state| state.uploads.remove(id).map(|_| ()).ok_or(Refused::Absent)).await
    }

    async fn run<T>(&self, name: &'static str, operation: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        yield_now().await;
        let answer = {
            let mut state: MutexGuard<'_, State> = self.0.lock().unwrap();
            *state.counts.entry(name).or_default() += 1;
            let fault = state.faults.iter().position(|fault| fault.0 == name).map(|n| state.faults.remove(n));
            match fault {
                Some((_, false)) => Err(Refused::Lost),
                Some((_, true)) => operation(&mut state).and(Err(Refused::Lost)),
                None => operation(&mut state),
            }
        };
        yield_now().await;
        answer
    }
}

impl State {
    fn store(&mut self, key: &str, bytes: Bytes) -> String {
        let tag = etag(&bytes);
        self.objects.insert(key.to_owned(), bytes);
        tag
    }
}
