//! Stores of URLs of unfinished uploads, so that another process can resume them.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use http::HeaderValue;
use tus_core::{Metadata, client::Protocol};

/// The stored information about an unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The upload's URL. Anyone who knows it can often read and delete the upload.
    pub url: String,
    /// When it was created. `None` if an earlier version of this crate has stored it.
    pub created: Option<SystemTime>,
    /// Length of the complete upload in bytes; `None` if unknown.
    pub length: Option<u64>,
    /// Its metadata, as in the header `Upload-Metadata`; empty if it has none.
    pub metadata: String,
    /// The protocol with which it was created and is continued.
    pub protocol: Protocol,
}

impl Entry {
    /// An entry created now, without length and metadata, for an upload of tus.
    pub fn new(url: impl Into<String>) -> Self {
        let (created, metadata, protocol) = (Some(SystemTime::now()), String::new(), Protocol::Tus);
        Self { url: url.into(), created, length: None, metadata, protocol }
    }

    /// The upload's metadata; empty if it is unreadable.
    pub fn read_metadata(&self) -> Metadata {
        let text = HeaderValue::from_str(&self.metadata).ok().filter(|text| !text.is_empty());
        text.and_then(|text| Metadata::parse(&text).ok()).unwrap_or_default()
    }
}

/// Stores one entry per key: by default the fingerprint of the source, the endpoint and the metadata. Calls may
/// block; they are made on blocking threads. URLs of uploads are secrets.
pub trait UrlStore: Send + Sync + 'static {
    /// The entry stored for the key.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn get(&self, key: &str) -> io::Result<Option<Entry>>;

    /// Stores an entry for the key, replacing any earlier one.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    fn set(&self, key: &str, entry: &Entry) -> io::Result<()>;

    /// Removes the entry of the key.
    ///
    /// # Errors
    ///
    /// If the store cannot be written.
    fn remove(&self, key: &str) -> io::Result<()>;

    /// All entries with their keys.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    fn list(&self) -> io::Result<Vec<(String, Entry)>>;

    /// Whether the store could be written now. By default nothing is checked.
    ///
    /// # Errors
    ///
    /// If it could not.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Stores URLs in memory, for the lifetime of the process.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<HashMap<String, Entry>>);

impl MemoryStore {
    fn with<T>(&self, use_it: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        // The map is consistent even after a thread has panicked.
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UrlStore for MemoryStore {
    fn get(&self, key: &str) -> io::Result<Option<Entry>> {
        Ok(self.with(|entries| entries.get(key).cloned()))
    }

    fn set(&self, key: &str, entry: &Entry) -> io::Result<()> {
        self.with(|entries| entries.insert(key.to_owned(), entry.clone()));
        Ok(())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.with(|entries| entries.remove(key));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        Ok(self.with(|entries| entries.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::JsonFile;

    fn keeps(store: &dyn UrlStore) {
        store.check().unwrap();
        assert_eq!(store.get("a").unwrap(), None);
        store.remove("a").unwrap();
        let mut entry = Entry::new("http://x/1");
        store.set("a", &entry).unwrap();
        store.set("b", &Entry::new("http://x/2")).unwrap();
        (entry.url, entry.length, entry.metadata) = ("http://x/3".into(), Some(7), "filename ZmlsbQ==".into());
        entry.protocol = Protocol::Draft;
        // Stores may have milliseconds.
        entry.created = Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123));
        store.set("a", &entry).unwrap();
        assert_eq!(store.get("a").unwrap().as_ref(), Some(&entry));
        assert_eq!(entry.read_metadata().text("filename"), Some("film"));
        let mut listed = store.list().unwrap();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(listed.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(listed[0].1, entry);
        store.remove("a").unwrap();
        assert_eq!((store.get("a").unwrap(), store.get("b").unwrap().unwrap().url), (None, "http://x/2".to_owned()));
    }

    #[test]
    fn every_store_keeps_entries() {
        let directory = tempfile::tempdir().unwrap();
        keeps(&MemoryStore::default());
        keeps(&JsonFile::new(directory.path().join("urls.json")));
        #[cfg(feature = "sqlite")]
        keeps(&crate::SqliteStore::open(directory.path().join("urls.db")).unwrap());
    }
}
