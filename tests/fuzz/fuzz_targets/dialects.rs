//! Both dialects at one endpoint, in every mix: the model's checks hold at each step, no request changes an upload of
//! the other dialect, and every response is in the dialect of its request.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use fuzz::{MOUNT, Trouble, failure};
use http::{HeaderValue, Request, Response, header::HeaderName};
use libfuzzer_sys::fuzz_target;
use tus_core::{
    Algorithm, Checksum, Config, Dialect, Download, Failure, Rejection, UploadId,
    server::{End, Interruption},
    testing::{Body, Model},
};

#[derive(Debug, Arbitrary)]
struct Run<'a> {
    without: Option<bool>,
    download: bool,
    max_size: Option<u8>,
    append_sizes: (Option<u8>, Option<u8>),
    expires: bool,
    unnotified: bool,
    acts: Vec<(Act<'a>, Odds)>,
}

#[derive(Debug, Arbitrary)]
enum Act<'a> {
    Request { method: u8, upload: Option<u8>, tus: bool, version: Option<u8>, fields: Fields<'a>, content: Content<'a> },
    Wait(u8),
    Lose { upload: u8, there: u8 },
    Restart,
    Turn { tus: bool, draft: bool },
}

/// The headers of a request, of either dialect.
#[derive(Debug, Arbitrary)]
struct Fields<'a> {
    complete: Option<bool>,
    incomplete: Option<bool>,
    offset: Option<i8>,
    length: Option<u8>,
    deferred: bool,
    media_type: u8,
    content_digest: Option<bool>,
    repr_digest: Option<bool>,
    /// Any value for a header.
    raw: Option<(u8, &'a [u8])>,
}

#[derive(Debug, Arbitrary)]
struct Content<'a> {
    bytes: &'a [u8],
    piece: u8,
    sized: bool,
    end: u8,
}

#[derive(Debug, Arbitrary)]
struct Odds {
    failure: Option<(u8, u8)>,
    rejects: Option<u8>,
    reply: Option<bool>,
    checkpoints: bool,
    informs: bool,
}

const METHODS: [&str; 7] = ["POST", "PATCH", "HEAD", "DELETE", "PUT", "GET", "OPTIONS"];

const MEDIA_TYPES: [&str; 3] = ["application/offset+octet-stream", "application/partial-upload", "image/png"];

const HEADERS: [&str; 12] = [
    "upload-complete",
    "upload-incomplete",
    "upload-offset",
    "upload-length",
    "upload-draft-interop-version",
    "content-digest",
    "repr-digest",
    "content-disposition",
    "content-type",
    "content-encoding",
    "content-length",
    "upload-metadata",
];

fuzz_target!(|run: Run| {
    let mut config = Config::default().checksums([Algorithm::Sha256]).notify(!run.unnotified);
    if run.download {
        config = config.download(Download::attachment());
    }
    if let Some(bytes) = run.max_size {
        config = config.max_size(bytes.into());
    }
    if let Some(bytes) = run.append_sizes.0 {
        config = config.min_append_size(bytes.into());
    }
    if let Some(bytes) = run.append_sizes.1 {
        config = config.max_append_size(bytes.into());
    }
    if run.expires {
        config = config.expire_after(Duration::from_secs(600));
    }
    let both = config.clone();
    config = match run.without {
        Some(true) => config.without_tus(),
        Some(false) => config.without_draft(),
        None => config,
    };
    let mut model = Model::new(config);
    let mut ids: Vec<UploadId> = Vec::new();
    for (act, odds) in run.acts.into_iter().take(40) {
        model.informs = odds.informs;
        model.application.reply = match odds.reply {
            None => Ok(Default::default()),
            Some(true) => Err(Rejection::forbidden("no")),
            Some(false) => Err(Rejection::new(http::StatusCode::SERVICE_UNAVAILABLE, "not now")),
        };
        let trouble = Trouble {
            checkpoints: odds.checkpoints,
            rejects: odds.rejects.map(|question| question % 4),
            failure: odds.failure.map(|(step, which)| (step % 16, failure(which))),
        };
        perform(&mut model, &ids, act, trouble, &both);
        ids.extend(model.uploads.ids().filter(|id| !ids.contains(id)).cloned().collect::<Vec<_>>());
    }
});

fn perform(model: &mut Model, ids: &[UploadId], act: Act<'_>, trouble: Trouble, both: &Config) {
    let pick = |number: u8| ids.get(usize::from(number) % ids.len().max(1)).cloned();
    match act {
        Act::Request { method, upload, tus, version, fields, content } => {
            let id = upload.and_then(pick);
            let method = METHODS[usize::from(method) % METHODS.len()];
            request(model, method, id, tus, version, &fields, &content, trouble);
        }
        Act::Wait(seconds) => model.now += Duration::from_secs(u64::from(seconds) * 4),
        Act::Lose { upload, there } => {
            if let Some(id) = pick(upload) {
                model.uploads.edit(&id, |upload, bytes| {
                    if u64::from(there) < upload.offset {
                        upload.after_loss(there.into()).apply(upload);
                        bytes.truncate(usize::try_from(upload.offset).unwrap());
                    }
                });
            }
        }
        Act::Restart => {
            trouble.befalls(model);
            for id in ids {
                model.recover(id);
            }
        }
        Act::Turn { tus, draft } => {
            let config = both.clone();
            let config = if tus { config } else { config.without_tus() };
            model.config = if draft { config } else { config.without_draft() }.into();
        }
    }
}

#[allow(clippy::too_many_arguments)] // what a request is made of
fn request(
    model: &mut Model,
    method: &str,
    id: Option<UploadId>,
    tus: bool,
    version: Option<u8>,
    fields: &Fields<'_>,
    content: &Content<'_>,
    trouble: Trouble,
) {
    let record = |model: &Model| id.as_ref().and_then(|id| model.uploads.get(id)).map(|stored| stored.upload.clone());
    let before = record(model);
    let url = id.as_ref().map_or(MOUNT.to_owned(), |id| format!("{MOUNT}/{id}"));
    let mut request = Request::builder().method(method).uri(url);
    if tus {
        request = request.header("tus-resumable", "1.0.0");
    }
    if let Some(version) = version {
        request = request.header("upload-draft-interop-version", u16::from(version % 13));
    }
    for (name, said) in [("upload-complete", fields.complete), ("upload-incomplete", fields.incomplete)] {
        if let Some(said) = said {
            request = request.header(name, if said { "?1" } else { "?0" });
        }
    }
    if let Some(away) = fields.offset {
        let stands_at = before.as_ref().map_or(0, |upload| upload.offset);
        request = request.header("upload-offset", stands_at.saturating_add_signed(away.into()));
    }
    if let Some(length) = fields.length {
        request = request.header("upload-length", u16::from(length));
    }
    if fields.deferred {
        request = request.header("upload-defer-length", "1");
    }
    if let Some(media_type) = MEDIA_TYPES.get(usize::from(fields.media_type) % 4) {
        request = request.header("content-type", *media_type);
    }
    let bytes = &content.bytes[..content.bytes.len().min(400)];
    let digest = |right: bool| {
        let sum = Checksum::of(Algorithm::Sha256, if right { bytes } else { b"something else" }).to_header();
        let base64 = sum.to_str().unwrap().split(' ').nth(1).unwrap().to_owned();
        format!("sha-256=:{base64}:")
    };
    if let Some(right) = fields.content_digest {
        request = request.header("content-digest", digest(right));
    }
    if let Some(right) = fields.repr_digest {
        request = request.header("repr-digest", digest(right));
    }
    if content.sized {
        request = request.header("content-length", bytes.len());
    }
    let mut head = request.body(()).unwrap().into_parts().0;
    if let Some((name, value)) = fields.raw
        && let Ok(value) = HeaderValue::from_bytes(value)
    {
        let name = HEADERS[usize::from(name) % HEADERS.len()];
        head.headers.insert(HeaderName::from_static(name), value);
    }
    let end = match content.end % 6 {
        0 | 1 => End::Complete(None),
        2 => End::Interrupted(Interruption::Disconnected),
        3 => End::Interrupted(Interruption::TimedOut),
        4 => End::Interrupted(Interruption::Superseded),
        _ => End::Interrupted(Interruption::Failed {
            failure: Failure::Full,
            stored: u64::from(content.end).min(bytes.len() as u64),
        }),
    };
    let body = Body::in_pieces(bytes, usize::from(content.piece).max(1)).ending(end);
    let response = trouble.exchange(model, &head, body);

    let says = |name: &str| response.headers().contains_key(name);
    if tus && method != "OPTIONS" {
        assert!(!says("upload-complete") && !says("upload-incomplete"), "{response:?} to a client of tus");
        assert!(model.log.informed.is_empty(), "a client of tus is informed");
    }
    let is_of = |dialect: bool| before.as_ref().is_some_and(|upload| (upload.dialect == Dialect::Tus) == dialect);
    let is_foreign = if tus { is_of(false) } else { says_draft(&response) && is_of(true) };
    if is_foreign && method != "GET" {
        assert_eq!(record(model), before, "a request changed an upload of the other dialect");
        assert!(!response.status().is_success() || method == "OPTIONS", "{response:?}");
        assert!(!says("upload-offset"), "{response:?}");
    }
    let has_version = head.headers.contains_key("upload-draft-interop-version");
    assert!(has_version || model.log.informed.is_empty(), "a client of no version is informed");
    if let (Some(before), Some(after)) = (&before, record(model))
        && before.incarnation == after.incarnation
    {
        assert!(before.offset <= after.offset, "the offset went back");
        assert_eq!(before.dialect, after.dialect);
    }
}

fn says_draft(response: &Response<bytes::Bytes>) -> bool {
    response.headers().contains_key("upload-complete") || response.headers().contains_key("upload-incomplete")
}
