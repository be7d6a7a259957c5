//! Uploads of the draft with the digest of all their bytes, over a bucket. Parts cannot be read back before an upload is complete.

use base64::{Engine, prelude::BASE64_STANDARD};
use bucket::Bucket;
use tests::{Framework, Running};
use tus_service::{Algorithm, Checksum, Config, Phase};

use super::{Foreign, loaded, read, storage};
use crate::{
    content::{assert_same, bytes},
    draft,
    harness::block_on,
    urlsession::UrlSession,
};

/// One byte more than a part.
const LENGTH: u64 = (8 << 20) + 1;

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Checksum::of(Algorithm::Sha256, bytes).digest()))
}

/// In one request, and in two, the second of which continues behind a part or within the first one.
#[test]
fn digests_of_uploads_of_several_parts_are_verified() {
    for framework in Framework::ALL {
        let store = storage(&Bucket::default());
        let configure =
            |builder: tus_service::Builder| builder.config(Config::default().checksums([Algorithm::Sha256]));
        let server = Running::start(framework, store.clone(), configure).unwrap();
        let session = UrlSession::new(9, server.address);
        let content = bytes(3, 0..LENGTH);
        let (right, wrong) = (digest(&content), digest(b"something else"));
        for (sent, status) in [(&right, 201), (&wrong, 400)] {
            let one = session.request("POST", tests::MOUNT, &[session.complete(true), ("Repr-Digest", sent)], &content);
            assert_eq!(one.status, status, "{framework}: {one:?}");
            if status == 201 {
                let stored = loaded(&store, one.header("location"));
                assert_same(&block_on(read(&store, &stored)), &content);
            }
            for first in [5, LENGTH - 1, LENGTH] {
                let path = session.create(&[("Repr-Digest", sent)]);
                let appended = session.append(&path, 0, false, &content[..first as usize]);
                assert_eq!((appended.status, appended.offset()), (204, first), "{framework}: {appended:?}");
                let done = session.append(&path, first, true, &content[first as usize..]);
                let is_right = status == 201;
                assert_eq!((done.status, session.is_complete(&done)), (status, is_right), "{framework}: {done:?}");
                let phase = if is_right { Phase::Notified } else { Phase::Invalid };
                assert_eq!(loaded(&store, &path).upload.phase, phase);
            }
        }
    }
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn the_digest_of_an_upload_of_several_parts_survives_kills() {
    let moto = Foreign::moto();
    let all = digest(&bytes(4, 0..2 * LENGTH));
    draft::survives_kills(&moto.server(Framework::Axum), 2 * LENGTH, &[9 << 20, 1], &[("Repr-Digest", &all)]);
}
