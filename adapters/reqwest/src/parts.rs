//! An upload in parts, which are sent at the same time and concatenated by the server (tus 1.0.0, "Concatenation").

use std::ops::Range;

use futures_util::{StreamExt, TryStreamExt, stream};
use tus_core::{
    Metadata,
    client::{Error, NewUpload, Protocol, SourceProblem, Uploaded, inspect, resume},
};
use url::Url;

use crate::{
    job::{Job, Known},
    keys::Key,
    run::Run,
};

/// How a source is divided.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) count: u32,
    pub(crate) boundaries: Vec<u64>,
    pub(crate) at_once: usize,
    pub(crate) remove: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self { count: 1, boundaries: Vec::new(), at_once: 4, remove: false }
    }
}

/// A part that the server has.
struct Part {
    at: usize,
    url: Url,
    key: Option<String>,
}

pub(crate) async fn send(job: &Job, parts: &Parts, metadata: &Metadata) -> Result<Uploaded, Error> {
    let length = job.source.length().filter(|_| job.source.is_random_access());
    let length = length.ok_or_else(|| Error::Invalid("only a file or bytes can be sent in parts".into()))?;
    if parts.at_once == 0 {
        return Err(Error::Invalid("at least one part must be sent at a time".into()));
    }
    if job.options.get_stop_at().is_some() {
        return Err(Error::Invalid("an upload in parts cannot stop at an offset".into()));
    }
    let ranges = parts.ranges(length)?;
    let claimed = job.claim().await?;
    let key = claimed.as_ref().map(Key::as_str);
    if let Some(uploaded) = finished(job, key, length).await? {
        if !job.keep_entry {
            job.forget(key, &uploaded.url).await;
        }
        return Ok(uploaded);
    }
    check_size(job, length).await?;
    // Each part is started when an earlier one is done: parts that wait need neither memory nor descriptors.
    let sent = stream::iter(ranges.into_iter().enumerate()).map(|(at, range)| {
        let key = key.map(|key| format!("{key}#{}-{}", range.start, range.end));
        async move {
            let url = part(job, metadata, range, key.clone()).await?;
            Ok::<_, Error>(Part { at, url, key })
        }
    });
    let mut sent: Vec<_> = sent.buffer_unordered(parts.at_once).try_collect().await?;
    sent.sort_unstable_by_key(|part| part.at);
    let uploaded = concatenate(job, &sent, length).await?;
    for Part { key, url, .. } in &sent {
        if parts.remove
            && let Err(error) = job.client.terminate(url.clone()).await
        {
            tracing::debug!(%error, "a concatenated part could not be deleted");
        }
        job.forget(key.as_deref(), url).await;
    }
    if job.keep_entry {
        let known = Known { url: uploaded.url.clone(), protocol: Protocol::Tus };
        job.store(key, &known).await;
    }
    Ok(uploaded)
}

/// The server would refuse their concatenation only after all bytes have been sent.
async fn check_size(job: &Job, length: u64) -> Result<(), Error> {
    let capabilities = job.capabilities(&NewUpload::partial(0..length), &job.options).await?;
    match capabilities.and_then(|known| known.max_size) {
        Some(limit) if length > limit => Err(Error::TooLarge { length, limit }),
        _ => Ok(()),
    }
}

/// The upload that an earlier call has finished and left in the store ([`keep_entry`](crate::Upload::keep_entry)).
async fn finished(job: &Job, key: Option<&str>, length: u64) -> Result<Option<Uploaded>, Error> {
    let Some(known) = job.stored(key).await? else {
        return Ok(None);
    };
    let options = job.options.clone().protocol(known.protocol);
    let exchanges = &job.client.inner.exchanges;
    match exchanges.run(inspect(known.url.clone(), options.clone()), &job.on_wait).await {
        // An unfinished upload in one piece has the same key.
        Ok(info) if !info.complete || info.length != Some(length) => return Ok(None),
        Ok(_) => {}
        Err(error) if error.is_gone() => {
            job.forget(key, &known.url).await;
            return Ok(None);
        }
        // What is stored is not the URL of an upload.
        Err(Error::Invalid(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    let step = resume(known.url.clone(), NewUpload::new(Some(length)), options, None)?;
    let mut run = Run::new(job.reporter.lane(), key.map(str::to_owned));
    run.begin(step);
    match run.finish(job).await {
        // It has gone since.
        Err(error) if error.is_gone() => Ok(None),
        finished => finished.map(Some),
    }
}

/// Sends a part; its URL is stored until the complete upload exists.
async fn part(job: &Job, metadata: &Metadata, range: Range<u64>, key: Option<String>) -> Result<Url, Error> {
    let stored = job.stored(key.as_deref()).await?;
    let upload = NewUpload::partial(range).metadata(metadata.clone());
    let mut run = Run::new(job.reporter.lane(), key).part();
    run.begin(job.first_step(upload, stored.as_ref()).await?);
    Ok(run.finish(job).await?.url)
}

async fn concatenate(job: &Job, parts: &[Part], length: u64) -> Result<Uploaded, Error> {
    let urls = parts.iter().map(|part| part.url.clone()).collect();
    let upload = NewUpload::concatenation(urls).metadata(job.metadata.clone());
    let step = job.first_step(upload, None).await?;
    let mut uploaded = job.client.inner.exchanges.run(step, &job.on_wait).await?;
    job.report_url(&uploaded.url);
    match uploaded.length {
        Some(declared) if declared != length => Err(Error::source_is(SourceProblem::Other { length, declared })),
        _ => {
            uploaded.length = Some(length);
            Ok(uploaded)
        }
    }
}

impl Parts {
    /// The ranges, none of them empty.
    fn ranges(&self, length: u64) -> Result<Vec<Range<u64>>, Error> {
        if self.boundaries.is_empty() {
            return Ok(split(length, u64::from(self.count)));
        }
        let ends = || self.boundaries.iter().copied().chain([length]);
        let ranges: Vec<_> = std::iter::once(0).chain(ends()).zip(ends()).map(|(start, end)| start..end).collect();
        match ranges.iter().any(|range| range.is_empty()) {
            true => {
                Err(Error::Invalid(format!("the boundaries of the parts must be ascending, between 0 and {length}")))
            }
            false => Ok(ranges),
        }
    }
}

/// At most this many ranges of about the same size, none of them empty.
fn split(length: u64, parts: u64) -> Vec<Range<u64>> {
    let parts = parts.clamp(1, length.max(1));
    (0..parts).map(|at| at_share(length, at, parts)..at_share(length, at + 1, parts)).collect()
}

/// The start of a part. The product may overflow 64 bits.
fn at_share(length: u64, at: u64, parts: u64) -> u64 {
    u64::try_from(u128::from(length) * u128::from(at) / u128::from(parts)).unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_and_none_is_empty() {
        assert_eq!(split(10, 3), [0..3, 3..6, 6..10]);
        assert_eq!(split(2, 5), [0..1, 1..2]);
        assert_eq!(split(1, 1), vec![Range { start: 0, end: 1 }]);
        let large = split(i64::MAX as u64, 1000);
        assert_eq!((large[0].start, large[999].end), (0, i64::MAX as u64));
        assert!(large.windows(2).all(|pair| pair[0].end == pair[1].start));
    }

    #[test]
    fn the_caller_chooses_the_boundaries() {
        let ranges = |boundaries: &[u64]| {
            let parts = Parts { boundaries: boundaries.to_vec(), ..Parts::default() };
            parts.ranges(10).ok()
        };
        assert_eq!(ranges(&[1, 4]), Some(vec![0..1, 1..4, 4..10]));
        for odd in [&[0][..], &[10], &[4, 4], &[4, 1], &[11]] {
            assert_eq!(ranges(odd), None, "{odd:?}");
        }
    }
}
