//! URLs of unfinished uploads in a JSON file.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value, json};
use tus_core::client::Protocol;

use crate::{Entry, UrlStore};

/// Stores URLs in a JSON file, which several threads and processes may share: each change is made under a lock and
/// replaces the file atomically. Only its owner can read it.
///
/// ```
/// use tus_reqwest::{Client, Fingerprint, JsonFile};
///
/// # fn main() -> Result<(), tus_reqwest::Error> {
/// let urls = JsonFile::new("uploads.json");
/// let client = Client::builder("https://example.org/files").url_store(urls, Fingerprint::Content).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    patience: Duration,
}

/// How long a process waits for another.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits before it looks again.
const PAUSE: Duration = Duration::from_millis(20);

type Entries = BTreeMap<String, Value>;

impl JsonFile {
    /// Uses the file of this name; `.tus_urls.json` is common. It is created by the first stored URL.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), patience: PATIENCE }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    /// The error with the name of the file.
    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("the store {}: {error}", self.path.display()))
    }

    fn read(&self) -> io::Result<Entries> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(error) => return Err(self.named(error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            let problem = format!("it is not a JSON object: {error}");
            self.named(io::Error::new(io::ErrorKind::InvalidData, problem))
        })
    }

    /// A separate file, because the JSON file is replaced. It is kept, so that all processes lock the same file.
    fn lock(&self) -> io::Result<File> {
        let lock = private().create(true).truncate(false).open(self.beside(".lock"))?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if began.elapsed() < self.patience => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let problem = format!("another process has locked it for {} s", self.patience.as_secs_f64());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
                }
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Entries) -> bool) -> io::Result<()> {
        let _lock = self.lock().map_err(|error| self.named(error))?;
        let mut entries = self.read()?;
        if !change(&mut entries) {
            return Ok(());
        }
        self.replace(&entries).map_err(|error| self.named(error))
    }

    fn replace(&self, entries: &Entries) -> io::Result<()> {
        let temporary = self.beside(".tmp");
        // An older one may be readable by others.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private().create_new(true).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(entries)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)
    }
}

/// Options for a file that only its owner can read.
fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// An entry as a document. Earlier versions of this crate stored the URL alone.
fn write(entry: &Entry) -> Value {
    let mut document = Map::new();
    document.insert("url".into(), json!(entry.url));
    document.insert("created".into(), json!(entry.created.and_then(milliseconds)));
    document.insert("length".into(), json!(entry.length));
    document.insert("metadata".into(), json!(entry.metadata));
    document.insert("protocol".into(), json!(entry.protocol.name()));
    document.into()
}

fn read(document: &Value) -> Option<Entry> {
    let mut entry = Entry::new(document.as_str().or_else(|| document["url"].as_str())?);
    let created = document["created"].as_u64().map(Duration::from_millis);
    entry.created = created.and_then(|created| SystemTime::UNIX_EPOCH.checked_add(created));
    entry.length = document["length"].as_u64();
    entry.metadata = document["metadata"].as_str().unwrap_or_default().to_owned();
    // Earlier versions supported only tus.
    entry.protocol = document["protocol"].as_str().and_then(Protocol::from_name).unwrap_or_default();
    Some(entry)
}

/// Milliseconds since the Unix epoch.
fn milliseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

impl UrlStore for JsonFile {
    fn get(&self, key: &str) -> io::Result<Option<Entry>> {
        Ok(self.read()?.get(key).and_then(read))
    }

    fn set(&self, key: &str, entry: &Entry) -> io::Result<()> {
        let document = write(entry);
        self.change(|entries| entries.insert(key.to_owned(), document.clone()) != Some(document))
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        // Most uploads leave nothing behind, and a missing file needs no lock.
        match self.read()?.contains_key(key) {
            true => self.change(|entries| entries.remove(key).is_some()),
            false => Ok(()),
        }
    }

    fn list(&self) -> io::Result<Vec<(String, Entry)>> {
        Ok(self.read()?.into_iter().filter_map(|(key, document)| Some((key, read(&document)?))).collect())
    }

    fn check(&self) -> io::Result<()> {
        let _lock = self.lock().map_err(|error| self.named(error))?;
        self.read()?;
        let temporary = self.beside(".tmp");
        private().create(true).truncate(true).open(&temporary).map_err(|error| self.named(error))?;
        fs::remove_file(&temporary).map_err(|error| self.named(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_change_is_lost_between_threads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.json");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for at in 0..20 {
                        let store = JsonFile { path: path.clone(), patience: Duration::from_secs(600) };
                        store.set(&format!("{thread}/{at}"), &Entry::new("http://x")).unwrap();
                    }
                });
            }
        });
        assert_eq!(JsonFile::new(&path).read().unwrap().len(), 160);
    }

    #[test]
    fn another_file_is_not_overwritten_and_the_error_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.json");
        for content in ["my diary", "", "[1]", "{\"a\": \"http"] {
            fs::write(&path, content).unwrap();
            let store = JsonFile::new(&path);
            let errors = [store.set("a", &Entry::new("http://x")), store.check(), store.get("a").map(drop)];
            for error in errors.map(Result::unwrap_err) {
                let error = error.to_string();
                assert!(error.contains("not a JSON object") && error.contains("urls.json"), "{error}");
            }
            assert_eq!(fs::read(&path).unwrap(), content.as_bytes());
        }
    }

    #[test]
    fn entries_of_an_earlier_version_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.json");
        fs::write(&path, r#"{"a": "http://x/1", "b": 7, "c": {"url": "http://x/2", "more": true}}"#).unwrap();
        let store = JsonFile::new(&path);
        let entry = store.get("a").unwrap().unwrap();
        assert_eq!((&*entry.url, entry.created, entry.length), ("http://x/1", None, None));
        assert_eq!(entry.protocol, Protocol::Tus);
        assert_eq!(store.get("b").unwrap(), None);
        assert_eq!(store.get("c").unwrap().unwrap().url, "http://x/2");
        store.remove("a").unwrap();
        let left: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(left, json!({"b": 7, "c": {"url": "http://x/2", "more": true}}), "nothing else is touched");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let store = JsonFile::new(directory.path().join("urls.json"));
        // What a killed process left.
        fs::write(store.beside(".tmp"), "").unwrap();
        fs::set_permissions(store.beside(".tmp"), fs::Permissions::from_mode(0o644)).unwrap();
        store.set("a", &Entry::new("http://x/secret")).unwrap();
        for file in fs::read_dir(directory.path()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }

    #[test]
    fn waiting_for_a_lock_is_limited() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("urls.json");
        let other = JsonFile::new(&path);
        let lock = other.lock().unwrap();
        let store = JsonFile { path: path.clone(), patience: Duration::ZERO };
        let error = store.set("a", &Entry::new("http://x")).unwrap_err();
        assert!(error.to_string().contains("locked") && error.to_string().contains("urls.json"), "{error}");
        drop(lock);
        store.set("a", &Entry::new("http://x")).unwrap();
    }
}
