//! Stores of URLs of unfinished uploads, so that another process can resume them.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

/// Stores a URL per key: the fingerprint of the source, and the endpoint. The calls may block for a moment.
pub trait UrlStore: Send + Sync + 'static {
    /// The URL stored for the key.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn get(&self, key: &str) -> io::Result<Option<String>>;

    /// Stores a URL for the key, replacing any earlier one.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    fn set(&self, key: &str, url: &str) -> io::Result<()>;

    /// Removes the URL of the key.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    fn remove(&self, key: &str) -> io::Result<()>;
}

/// Stores URLs in memory, for the lifetime of the process.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<HashMap<String, String>>);

impl MemoryStore {
    fn with<T>(&self, use_it: impl FnOnce(&mut HashMap<String, String>) -> T) -> T {
        // The map is consistent even after a thread has panicked.
        use_it(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl UrlStore for MemoryStore {
    fn get(&self, key: &str) -> io::Result<Option<String>> {
        Ok(self.with(|urls| urls.get(key).cloned()))
    }

    fn set(&self, key: &str, url: &str) -> io::Result<()> {
        self.with(|urls| urls.insert(key.to_owned(), url.to_owned()));
        Ok(())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.with(|urls| urls.remove(key));
        Ok(())
    }
}

/// Stores URLs in a JSON file, which several threads and processes may share: each change is made under a lock and
/// replaces the file atomically.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
}

impl JsonFile {
    /// Uses the file of this name; `.tus_urls.json` is common. It is created by the first stored URL.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned() }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    fn read(&self) -> io::Result<BTreeMap<String, String>> {
        match fs::read(&self.path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let problem = format!("{} is not a JSON object of strings: {error}", self.path.display());
                io::Error::new(io::ErrorKind::InvalidData, problem)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>) -> bool) -> io::Result<()> {
        // A separate file, since the JSON file is replaced. It is kept, so that all processes lock the same file.
        let lock = File::options().create(true).write(true).truncate(false).open(self.beside(".lock"))?;
        lock.lock()?;
        let mut urls = self.read()?;
        if !change(&mut urls) {
            return Ok(());
        }
        let temporary = self.beside(".tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&urls)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }
}

impl UrlStore for JsonFile {
    fn get(&self, key: &str) -> io::Result<Option<String>> {
        Ok(self.read()?.remove(key))
    }

    fn set(&self, key: &str, url: &str) -> io::Result<()> {
        self.change(|urls| urls.insert(key.to_owned(), url.to_owned()).as_deref() != Some(url))
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.change(|urls| urls.remove(key).is_some())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn keeps(store: &dyn UrlStore) {
        assert_eq!(store.get("a").unwrap(), None);
        store.remove("a").unwrap();
        store.set("a", "http://x/1").unwrap();
        store.set("b", "http://x/2").unwrap();
        store.set("a", "http://x/3").unwrap();
        assert_eq!(store.get("a").unwrap().as_deref(), Some("http://x/3"));
        store.remove("a").unwrap();
        assert_eq!((store.get("a").unwrap(), store.get("b").unwrap().as_deref()), (None, Some("http://x/2")));
    }

    #[test]
    fn every_store_keeps_urls() {
        let directory = tempfile::tempdir().unwrap();
        keeps(&MemoryStore::default());
        keeps(&JsonFile::new(directory.path().join("urls.json")));
        #[cfg(feature = "sqlite")]
        keeps(&crate::SqliteStore::open(directory.path().join("urls.db")).unwrap());
    }

    #[test]
    fn no_change_is_lost_between_threads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.json");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for at in 0..20 {
                        JsonFile::new(path).set(&format!("{thread}/{at}"), "http://x").unwrap();
                    }
                });
            }
        });
        assert_eq!(JsonFile::new(&path).read().unwrap().len(), 160);
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.json");
        fs::write(&path, "my diary").unwrap();
        let error = JsonFile::new(&path).set("a", "http://x").unwrap_err();
        assert!(error.to_string().contains("not a JSON object"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"my diary");
    }
}
