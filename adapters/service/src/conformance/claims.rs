//! Conformance tests for claims: one process at a time does the background work on an upload.

use std::time::Duration;

use futures_util::future;
use tokio::time::sleep;
use tus_core::{Kind, Phase, Upload};

use super::{Fixture, uploads::*};
use crate::Storage;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);

/// [`Storage::claim`]: a process keeps its claim until it expires, and can claim again after releasing it.
pub async fn a_claim_lasts_until_it_expires(fixture: Fixture) {
    let stored = created(fixture.one(), single("claimed")).await;
    for duration in [LONG, SHORT, Duration::MAX, LONG, Duration::ZERO, LONG, Duration::ZERO] {
        assert!(fixture.one().claim(&stored.upload, duration).await.unwrap(), "{duration:?}");
    }
    fixture.assert_is(&stored).await;
}

/// While one process has claimed an upload, no other process can claim it. It can claim others.
pub async fn a_claim_keeps_another_process_out(fixture: Fixture) {
    let upload = created(fixture.one(), single("claimed")).await.upload;
    let other = created(fixture.one(), single("other")).await.upload;
    assert!(claim(fixture.one(), &upload, LONG).await);
    assert!(!claim(fixture.two(), &upload, LONG).await);
    assert!(claim(fixture.one(), &upload, LONG).await, "it is ours already");
    assert!(!claim(fixture.two(), &upload, SHORT).await);
    assert!(claim(fixture.two(), &other, LONG).await);
    assert!(!claim(fixture.one(), &other, LONG).await);
}

/// [`Storage::claim`]: the process that completes an upload has claimed it, so that no other process calls the hooks for a client
/// that waits here. Parts, and uploads of which nobody is to be notified, are not work.
pub async fn the_change_that_completes_an_upload_claims_it(fixture: Fixture) {
    let stored = created(fixture.one(), single("appended")).await;
    let appended = appended(fixture.one(), &stored, "hello world").await;
    assert_eq!(appended.upload.phase, Phase::Complete);
    let declared = created(fixture.one(), upload("declared", Kind::Single, None)).await;
    let declared = updated(fixture.one(), &declared, &to_phase(&declared, Phase::Complete)).await;
    let mut empty = upload("empty", Kind::Single, Some(0));
    empty.phase = Phase::Complete;
    let empty = created(fixture.one(), empty).await;
    for stored in [&appended, &declared, &empty] {
        assert!(!claim(fixture.two(), &stored.upload, LONG).await, "{stored:?}");
        assert!(claim(fixture.one(), &stored.upload, LONG).await, "{stored:?}");
        assert!(!claim(fixture.two(), &stored.upload, LONG).await, "{stored:?}");
        assert!(claim(fixture.one(), &stored.upload, Duration::ZERO).await, "{stored:?}");
        assert!(claim(fixture.two(), &stored.upload, LONG).await, "{stored:?}");
    }
    let later = created(fixture.one(), upload("left", Kind::Single, None)).await;
    let left = updated(fixture.one(), &later, &to_phase(&later, Phase::Complete)).await;
    assert!(claim(fixture.one(), &left.upload, Duration::ZERO).await);
    assert!(claim(fixture.two(), &left.upload, LONG).await, "it is given back without having been asked for");
}

/// A duration of zero releases a claim.
pub async fn a_released_claim_is_free(fixture: Fixture) {
    let upload = created(fixture.one(), single("claimed")).await.upload;
    for (one, two) in [(fixture.one(), fixture.two()), (fixture.two(), fixture.one())] {
        assert!(claim(one, &upload, LONG).await);
        assert!(!claim(two, &upload, LONG).await);
        assert!(claim(one, &upload, Duration::ZERO).await);
        assert!(claim(two, &upload, LONG).await);
        assert!(!claim(one, &upload, LONG).await);
        assert!(claim(two, &upload, Duration::ZERO).await);
    }
}

/// A claim expires, so that the work of a killed process continues; renewing it extends it.
pub async fn a_claim_expires(fixture: Fixture) {
    let upload = created(fixture.one(), single("claimed")).await.upload;
    assert!(claim(fixture.one(), &upload, SHORT).await);
    let mut tries = 0;
    while !claim(fixture.two(), &upload, LONG).await {
        tries += 1;
        assert!(tries < 1000, "a claim of 50 ms has not run out after 10 s");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!claim(fixture.one(), &upload, LONG).await);
    assert!(claim(fixture.two(), &upload, SHORT).await && claim(fixture.two(), &upload, LONG).await);
    sleep(2 * SHORT).await;
    assert!(!claim(fixture.one(), &upload, LONG).await, "it was renewed");
}

/// A process can release only its own claim.
pub async fn a_process_releases_only_its_own_claim(fixture: Fixture) {
    let upload = created(fixture.one(), single("claimed")).await.upload;
    assert!(claim(fixture.one(), &upload, LONG).await);
    assert!(!claim(fixture.two(), &upload, Duration::ZERO).await);
    assert!(!claim(fixture.two(), &upload, LONG).await);
    assert!(claim(fixture.one(), &upload, LONG).await);
}

/// Of concurrent claims of an upload, those of one process succeed.
pub async fn one_of_many_claiming_processes_succeeds(fixture: Fixture) {
    let upload = created(fixture.one(), single("claimed")).await.upload;
    let claims =
        [fixture.one(), fixture.two()].into_iter().cycle().take(8).map(|storage| claim(storage, &upload, LONG));
    let claims = future::join_all(claims).await;
    let of = |process| claims.iter().skip(process).step_by(2).filter(|ours| **ours).count();
    assert!(matches!((of(0), of(1)), (4, 0) | (0, 4)), "{claims:?}");
}

/// A claim ends with its upload: it does not apply to a later upload with the same id, and belongs to nobody from
/// then on.
pub async fn a_claim_ends_with_its_upload(fixture: Fixture) {
    let old = created(fixture.one(), single("claimed")).await;
    assert!(claim(fixture.one(), &old.upload, LONG).await);
    fixture.one().remove(&old).await.unwrap();
    for storage in [fixture.one(), fixture.two()] {
        assert!(!claim(storage, &old.upload, LONG).await, "there is nothing to do for it");
    }
    let new = created(fixture.two(), single("claimed")).await;
    assert!(claim(fixture.two(), &new.upload, LONG).await);
    for duration in [LONG, Duration::ZERO] {
        assert!(!claim(fixture.one(), &old.upload, duration).await);
        assert!(!claim(fixture.two(), &old.upload, duration).await);
    }
    assert!(!claim(fixture.one(), &new.upload, LONG).await, "the claim of the new one is as it was");
}

async fn claim(storage: &dyn Storage, upload: &Upload, duration: Duration) -> bool {
    storage.claim(upload, duration).await.unwrap()
}
