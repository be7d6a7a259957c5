//! The client's URL store, off the async threads. It never blocks an upload, unless it is required.

use std::{io, sync::Arc};

use tokio::task::spawn_blocking;
use tus_core::client::Error;
use url::Url;

use crate::{Entry, Fingerprint, UrlStore};

pub(crate) struct Kept {
    pub(crate) store: Arc<dyn UrlStore>,
    pub(crate) fingerprint: Fingerprint,
    /// If the store cannot be used, an upload fails before anything is created.
    pub(crate) required: bool,
}

impl Kept {
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn UrlStore) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        spawn_blocking(move || call(&*store)).await.map_err(Error::local)?.map_err(Error::local)
    }

    /// The entry of a key.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let key = key.to_owned();
        let required = self.required;
        let got = self.call(move |store| {
            if required {
                store.check()?;
            }
            store.get(&key)
        });
        match got.await {
            Err(error) if !required => {
                warn(&error);
                Ok(None)
            }
            got => got,
        }
    }

    pub(crate) async fn set(&self, key: &str, entry: Entry) {
        let key = key.to_owned();
        self.call(move |store| store.set(&key, &entry)).await.unwrap_or_else(|error| warn(&error));
    }

    pub(crate) async fn remove(&self, key: &str) {
        let key = key.to_owned();
        self.call(move |store| store.remove(&key)).await.unwrap_or_else(|error| warn(&error));
    }

    /// Removes the entry of a key if it has this URL. Another process may have stored its own there.
    pub(crate) async fn remove_own(&self, key: &str, url: &Url) {
        let (key, url) = (key.to_owned(), url.clone());
        let removed = self.call(move |store| match store.get(&key)? {
            Some(entry) if entry.url == url.as_str() => store.remove(&key),
            _ => Ok(()),
        });
        removed.await.unwrap_or_else(|error| warn(&error));
    }

    pub(crate) async fn list(&self) -> Result<Vec<(String, Entry)>, Error> {
        self.call(|store| store.list()).await
    }

    /// Removes the entries with a URL.
    pub(crate) async fn remove_url(&self, url: String) {
        let removed = self.call(move |store| {
            let all = store.list()?;
            all.iter().filter(|(_, entry)| entry.url == url).try_for_each(|(key, _)| store.remove(key))
        });
        removed.await.unwrap_or_else(|error| warn(&error));
    }
}

fn warn(error: &Error) {
    tracing::warn!(error = error.with_causes(), "an upload continues without the URL store");
}
