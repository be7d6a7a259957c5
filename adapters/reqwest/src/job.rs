//! The description of an upload, for those who send it.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;
use tus_core::{
    Algorithm, Checksum, Metadata,
    client::{Capabilities, Error, NewUpload, Options, Protocol, Step, Uploading, create, resume, resume_or_create},
};
use url::Url;

use crate::{Client, Entry, Source, keys::Key, progress::Reporter, waiting::OnWait};

/// The description of an upload.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) source: Source,
    /// The existing upload that the caller specified.
    pub(crate) url: Option<Url>,
    pub(crate) metadata: Metadata,
    /// The bytes of the source, for a separate partial upload.
    pub(crate) partial: Option<Range<u64>>,
    pub(crate) key: Option<String>,
    pub(crate) fresh: bool,
    pub(crate) keep_entry: bool,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) on_url: OnUrl,
    pub(crate) on_wait: OnWait,
}

/// An upload that was created before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) url: Url,
    pub(crate) protocol: Protocol,
}

type Report = dyn Fn(&Url) + Send + Sync;

/// Where the URL is reported.
#[derive(Default)]
pub(crate) struct OnUrl(pub(crate) Option<Box<Report>>);

impl Job {
    /// The key of its entry in the store; `None` if it is not stored, or if an upload with that key is running in
    /// this process.
    pub(crate) async fn claim(&self) -> Result<Option<Key>, Error> {
        let (Some(kept), None) = (&self.client.inner.kept, &self.url) else {
            return Ok(None);
        };
        let key = match &self.key {
            Some(key) => Some(key.clone()),
            None => kept.fingerprint.of(&self.source).await?.map(|fingerprint| self.key_of(&fingerprint)),
        };
        let claimed = key.and_then(Key::claim);
        if claimed.is_none() {
            tracing::debug!(
                "the URL of the upload is not stored: it has no key, or another upload with its key is running"
            );
        }
        Ok(claimed)
    }

    /// The same bytes with other metadata, or for another endpoint, are a different upload.
    fn key_of(&self, fingerprint: &str) -> String {
        let mut key = format!("{fingerprint}@{}", self.client.inner.endpoint);
        if let Some(range) = &self.partial {
            key.push_str(&format!("#{}-{}", range.start, range.end));
        }
        if let Some(metadata) = self.metadata.to_header() {
            let digest = Checksum::of(Algorithm::Sha256, metadata.as_bytes());
            key.push_str("#metadata:");
            digest.digest().iter().take(16).for_each(|byte| key.push_str(&format!("{byte:02x}")));
        }
        key
    }

    /// The stored upload; one with an invalid URL counts as missing.
    pub(crate) async fn stored(&self, key: Option<&str>) -> Result<Option<Known>, Error> {
        let (Some(key), Some(kept)) = (key, &self.client.inner.kept) else {
            return Ok(None);
        };
        let entry = kept.get(key).await?;
        let known = |entry: Entry| Some(Known { url: entry.url.parse().ok()?, protocol: entry.protocol });
        Ok(entry.filter(|_| !self.fresh).and_then(known))
    }

    pub(crate) async fn store(&self, key: Option<&str>, known: &Known) {
        if let (Some(key), Some(kept)) = (key, &self.client.inner.kept) {
            let mut entry = Entry::new(known.url.as_str());
            entry.protocol = known.protocol;
            entry.length = self.source.length();
            let metadata = self.metadata.to_header();
            entry.metadata = metadata.and_then(|text| text.to_str().ok().map(str::to_owned)).unwrap_or_default();
            kept.set(key, entry).await;
        }
    }

    /// Removes the entry of the upload at this URL.
    pub(crate) async fn forget(&self, key: Option<&str>, url: &Url) {
        if let (Some(key), Some(kept)) = (key, &self.client.inner.kept) {
            kept.remove_own(key, url).await;
        }
    }

    pub(crate) fn report_url(&self, url: &Url) {
        self.on_url.0.iter().for_each(|report| report(url));
    }

    /// The first step of an upload: an existing one is continued.
    pub(crate) async fn first_step(&self, upload: NewUpload, known: Option<&Known>) -> Result<Step<Uploading>, Error> {
        let mut options = self.options.clone();
        if let Some(known) = known {
            options = options.protocol(known.protocol);
        }
        let capabilities = self.capabilities(&upload, &options).await?;
        let (endpoint, capabilities) = (self.client.inner.endpoint.clone(), capabilities.as_ref());
        match (&self.url, known) {
            (Some(url), _) => resume(url.clone(), upload, options, capabilities),
            (None, Some(known)) => resume_or_create(known.url.clone(), endpoint, upload, options, capabilities),
            (None, None) => create(endpoint, upload, options, capabilities),
        }
    }

    /// What the server has said, if the upload depends on it.
    pub(crate) async fn capabilities(
        &self,
        upload: &NewUpload,
        options: &Options,
    ) -> Result<Option<Capabilities>, Error> {
        match upload.needs_capabilities(options) {
            true => self.client.known_capabilities(&self.on_wait).await.map(Some),
            false => Ok(None),
        }
    }

    /// The upload of the source, or of its part.
    pub(crate) fn upload(&self) -> NewUpload {
        let upload = match (&self.partial, self.source.length()) {
            (Some(range), _) => NewUpload::partial(range.clone()),
            (None, Some(length)) if self.source.is_stream() => NewUpload::stream(length),
            (None, length) => NewUpload::new(length),
        };
        upload.metadata(self.metadata.clone())
    }
}

/// The metadata of an upload, with the name of the file.
pub(crate) fn describe(mut pairs: Vec<(String, Bytes)>, name: Option<&str>) -> Result<Metadata, Error> {
    if let Some(name) = name
        && !pairs.iter().any(|(key, _)| key == "filename")
    {
        pairs.push(("filename".to_owned(), Bytes::copy_from_slice(name.as_bytes())));
    }
    Metadata::from_pairs(pairs).map_err(|error| Error::Invalid(format!("the metadata: {error}")))
}

impl fmt::Debug for OnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a function" } else { "nothing" })
    }
}
