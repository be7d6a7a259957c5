//! Whatever clients do in sequence, and whatever fails: an upload is an append-only register, and acknowledged bytes
//! stay. (The model's documentation has the list of invariants; they are checked at each step.)

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use fuzz::{MOUNT, Trouble, failure};
use http::{HeaderMap, HeaderValue, Request, Response, header::HeaderName};
use libfuzzer_sys::fuzz_target;
use tus_core::{
    Algorithm, Checksum, Config, Download, Failure, TusExtension, UploadId,
    server::{End, Interruption},
    testing::{Body, Model},
};

#[derive(Debug, Arbitrary)]
struct Run<'a> {
    without: Option<u8>,
    max_size: Option<u8>,
    expires: bool,
    unnotified: bool,
    acts: Vec<(Act<'a>, Odds)>,
}

#[derive(Debug, Arbitrary)]
enum Act<'a> {
    Create {
        length: Option<u8>,
        deferred: bool,
        partial: bool,
        body: Option<Bytes<'a>>,
    },
    Join {
        parts: Vec<u8>,
    },
    Append {
        upload: u8,
        offset: Option<i8>,
        length: Option<u8>,
        body: Bytes<'a>,
    },
    Inspect {
        upload: u8,
    },
    Fetch {
        upload: u8,
        range: Option<(u8, u8)>,
    },
    Delete {
        upload: u8,
    },
    /// Seconds, possibly backwards.
    Wait(i16),
    /// Another process holds or releases an upload.
    Hold {
        upload: u8,
        held: bool,
    },
    /// Another server starts.
    Restart,
}

#[derive(Debug, Arbitrary)]
struct Bytes<'a> {
    bytes: &'a [u8],
    piece: u8,
    sized: bool,
    checksum: Option<Sum>,
    end: Ending,
}

#[derive(Debug, Arbitrary)]
struct Sum {
    algorithm: u8,
    right: bool,
    trails: bool,
}

#[derive(Debug, Arbitrary)]
enum Ending {
    Complete,
    Disconnected,
    TimedOut,
    Superseded,
    ShuttingDown,
    Full { stored: u8 },
}

#[derive(Debug, Arbitrary)]
struct Odds {
    failure: Option<(u8, u8)>,
    rejects: Option<u8>,
    checkpoints: bool,
}

const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5, Algorithm::Crc32];

fuzz_target!(|run: Run| {
    let mut config = Config::default().download(Download::attachment()).checksums(ALGORITHMS).notify(!run.unnotified);
    if let Some(without) = run.without {
        config = config.without(TusExtension::ALL[usize::from(without) % TusExtension::ALL.len()]);
    }
    if let Some(bytes) = run.max_size {
        config = config.max_size(bytes.into());
    }
    if run.expires {
        config = config.expire_after(Duration::from_secs(600));
    }
    let mut model = Model::new(config);
    let mut ids: Vec<UploadId> = Vec::new();
    for (act, odds) in run.acts.into_iter().take(40) {
        perform(&mut model, &ids, act, &odds);
        ids.extend(model.uploads.ids().filter(|id| !ids.contains(id)).cloned().collect::<Vec<_>>());
    }
});

fn perform(model: &mut Model, ids: &[UploadId], act: Act<'_>, odds: &Odds) {
    let trouble = Trouble {
        checkpoints: odds.checkpoints,
        rejects: odds.rejects.map(|question| question % 4),
        failure: odds.failure.map(|(step, which)| (step % 16, failure(which))),
    };
    let pick = |number: u8| ids.get(usize::from(number) % ids.len().max(1)).cloned();
    let url = |number: u8| pick(number).map_or(format!("{MOUNT}/none"), |id| format!("{MOUNT}/{id}"));
    let request = Request::builder().header("tus-resumable", "1.0.0");
    match act {
        Act::Create { length, deferred, partial, body } => {
            let mut request = request.method("POST").uri(MOUNT);
            if let Some(length) = length {
                request = request.header("upload-length", u64::from(length));
            }
            if deferred {
                request = request.header("upload-defer-length", "1");
            }
            if partial {
                request = request.header("upload-concat", "partial");
            }
            send(model, request, body, trouble);
        }
        Act::Join { parts } => {
            let parts: Vec<_> = parts.into_iter().take(6).map(url).collect();
            let request =
                request.method("POST").uri(MOUNT).header("upload-concat", format!("final;{}", parts.join(" ")));
            send(model, request, None, trouble);
        }
        Act::Append { upload, offset, length, body } => {
            let stands_at = pick(upload).and_then(|id| Some(model.uploads.get(&id)?.upload.offset)).unwrap_or(0);
            let at = stands_at.saturating_add_signed(offset.unwrap_or(0).into());
            let mut request = request.method("PATCH").uri(url(upload)).header("upload-offset", at);
            if let Some(length) = length {
                request = request.header("upload-length", u64::from(length));
            }
            let response = send(model, request, Some(body), trouble);
            assert!(at == stands_at || !response.status().is_success(), "bytes were taken at a wrong offset");
        }
        Act::Inspect { upload } => drop(send(model, request.method("HEAD").uri(url(upload)), None, trouble)),
        Act::Fetch { upload, range } => {
            let mut request = request.method("GET").uri(url(upload));
            if let Some((first, last)) = range {
                request = request.header("range", format!("bytes={first}-{last}"));
            }
            send(model, request, None, trouble);
        }
        Act::Delete { upload } => {
            let response = send(model, request.method("DELETE").uri(url(upload)), None, trouble);
            let is_there = pick(upload).is_some_and(|id| model.uploads.contains(&id));
            assert!(!(response.status() == 204 && is_there), "it was said to be deleted");
        }
        Act::Wait(seconds) => {
            let by = Duration::from_secs(seconds.unsigned_abs().into());
            model.now = if seconds < 0 { model.now - by } else { model.now + by };
        }
        Act::Hold { upload, held } => {
            if let Some(id) = pick(upload) {
                model.uploads.hold_elsewhere(&id, held);
            }
        }
        Act::Restart => {
            trouble.befalls(model);
            for id in ids {
                model.recover(id);
            }
        }
    }
}

fn send(
    model: &mut Model,
    request: http::request::Builder,
    bytes: Option<Bytes<'_>>,
    trouble: Trouble,
) -> Response<bytes::Bytes> {
    let mut head = request.body(()).unwrap().into_parts().0;
    let mut body = Body::default();
    if let Some(sent) = bytes {
        let bytes = &sent.bytes[..sent.bytes.len().min(400)];
        head.headers.insert("content-type", HeaderValue::from_static("application/offset+octet-stream"));
        if sent.sized {
            head.headers.insert("content-length", bytes.len().into());
        }
        let mut trailers = None;
        if let Some(sum) = sent.checksum {
            let algorithm = ALGORITHMS[usize::from(sum.algorithm) % ALGORITHMS.len()];
            let of: &[u8] = if sum.right { bytes } else { b"something else" };
            let (name, value) = (HeaderName::from_static("upload-checksum"), Checksum::of(algorithm, of).to_header());
            if sum.trails {
                head.headers.insert("trailer", HeaderValue::from_static("Upload-Checksum"));
                trailers = Some(HeaderMap::from_iter([(name, value)]));
            } else {
                head.headers.insert(name, value);
            }
        }
        let end = match sent.end {
            Ending::Complete => End::Complete(trailers),
            Ending::Disconnected => End::Interrupted(Interruption::Disconnected),
            Ending::TimedOut => End::Interrupted(Interruption::TimedOut),
            Ending::Superseded => End::Interrupted(Interruption::Superseded),
            Ending::ShuttingDown => End::Interrupted(Interruption::ShuttingDown),
            Ending::Full { stored } => End::Interrupted(Interruption::Failed {
                failure: Failure::Full,
                stored: u64::from(stored).min(bytes.len() as u64),
            }),
        };
        body = Body::in_pieces(bytes, usize::from(sent.piece).max(1)).ending(end);
    }
    trouble.exchange(model, &head, body)
}
