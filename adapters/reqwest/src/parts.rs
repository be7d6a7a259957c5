//! An upload in parts, which are sent in parallel and concatenated by the server (tus 1.0.0, "Concatenation").

use std::ops::Range;

use futures_util::future::try_join_all;
use tus_core::{
    Metadata,
    client::{Capabilities, Error, NewUpload, Options, Step, Uploaded, Uploading, create, resume_partial},
};
use url::Url;

use crate::{Upload, run::Run};

pub(crate) async fn send(upload: &Upload, metadata: Metadata) -> Result<Uploaded, Error> {
    let (options, capabilities) = upload.terms().await?;
    let length = upload.source.length().filter(|_| upload.source.is_file());
    let length = length.ok_or_else(|| Error::Invalid("only a file can be sent in parts".into()))?;
    if upload.stop_at.is_some() {
        return Err(Error::Invalid("an upload in parts cannot stop at a byte".into()));
    }
    let key = upload.key().await?;
    let ranges = split(length, u64::from(upload.parts));
    let count = ranges.len();
    let parts = ranges.into_iter().enumerate().map(|(at, range)| {
        // A different number of parts means different parts.
        let key = key.as_ref().map(|key| format!("{key}#{at}/{count}"));
        part(upload, range, key, options.clone(), capabilities)
    });
    let (urls, keys): (Vec<_>, Vec<_>) = try_join_all(parts).await?.into_iter().unzip();
    let concatenation = NewUpload::concatenation(urls).metadata(metadata);
    let step = create(upload.client.inner.endpoint.clone(), concatenation, options, capabilities)?;
    let mut uploaded = run(upload, step, |_| Ok(())).await?;
    upload.report_url(&uploaded.url);
    (uploaded.offset, uploaded.length) = (Some(length), Some(length));
    keys.iter().try_for_each(|key| upload.forget(key.as_deref()))?;
    Ok(uploaded)
}

/// Sends a part; its URL is stored until the complete upload exists.
async fn part(
    upload: &Upload,
    range: Range<u64>,
    key: Option<String>,
    options: Options,
    capabilities: Option<&Capabilities>,
) -> Result<(Url, Option<String>), Error> {
    let known = |url: &Url| upload.keep(key.as_deref(), url);
    if let Some(url) = upload.kept(key.as_deref())? {
        let step = resume_partial(url, range.clone(), options.clone(), capabilities)?;
        match run(upload, step, known).await {
            Err(error) if error.is_gone() => upload.forget(key.as_deref())?,
            result => return Ok((result?.url, key)),
        }
    }
    let step = create(upload.client.inner.endpoint.clone(), NewUpload::partial(range), options, capabilities)?;
    let uploaded = run(upload, step, known).await?;
    Ok((uploaded.url, key))
}

async fn run(
    upload: &Upload,
    step: Step<Uploading>,
    known: impl Fn(&Url) -> Result<(), Error>,
) -> Result<Uploaded, Error> {
    let mut run = Run::new(upload.reporter.lane());
    run.begin(step);
    run.finish(upload, known).await
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
}
