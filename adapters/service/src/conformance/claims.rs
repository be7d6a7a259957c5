//! Truths about claims: background work on an upload is done by one process at a time.

use std::time::Duration;

use futures_util::future;
use tokio::time::sleep;

use super::{Fixture, uploads::*};
use crate::Storage;

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(50);

/// [`Storage::claim`]: what is ours stays ours, and can be claimed again when it was given back.
pub async fn a_claim_is_ours_until_it_runs_out(fixture: Fixture) {
    let stored = created(fixture.one(), single("claimed")).await;
    let id = &stored.upload.id;
    for duration in [LONG, SHORT, Duration::MAX, LONG, Duration::ZERO, LONG, Duration::ZERO] {
        assert!(fixture.one().claim(id, duration).await.unwrap(), "{duration:?}");
    }
    fixture.assert_is(&stored).await;
}

/// While one process has claimed an upload, no other can; it can claim others.
pub async fn a_claim_keeps_another_process_out(fixture: Fixture) {
    for name in ["claimed", "other"] {
        created(fixture.one(), single(name)).await;
    }
    assert!(claim(fixture.one(), LONG).await);
    assert!(!claim(fixture.two(), LONG).await);
    assert!(claim(fixture.one(), LONG).await, "it is ours already");
    assert!(!claim(fixture.two(), SHORT).await);
    assert!(fixture.two().claim(&id("other"), LONG).await.unwrap());
    assert!(!fixture.one().claim(&id("other"), LONG).await.unwrap());
}

/// A duration of zero gives a claim back.
pub async fn a_claim_that_is_given_back_is_free(fixture: Fixture) {
    created(fixture.one(), single("claimed")).await;
    for (one, two) in [(fixture.one(), fixture.two()), (fixture.two(), fixture.one())] {
        assert!(claim(one, LONG).await);
        assert!(!claim(two, LONG).await);
        assert!(claim(one, Duration::ZERO).await);
        assert!(claim(two, LONG).await);
        assert!(!claim(one, LONG).await);
        assert!(claim(two, Duration::ZERO).await);
    }
}

/// A claim runs out, so that the work of a killed process goes on; a claim that was renewed runs out later.
pub async fn a_claim_runs_out(fixture: Fixture) {
    created(fixture.one(), single("claimed")).await;
    assert!(claim(fixture.one(), SHORT).await);
    let mut tries = 0;
    while !claim(fixture.two(), LONG).await {
        tries += 1;
        assert!(tries < 1000, "a claim of 50 ms has not run out after 10 s");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(!claim(fixture.one(), LONG).await);
    assert!(claim(fixture.two(), SHORT).await && claim(fixture.two(), LONG).await);
    sleep(2 * SHORT).await;
    assert!(!claim(fixture.one(), LONG).await, "it was renewed");
}

/// A process can give back nothing but its own claim.
pub async fn nobody_gives_back_the_claim_of_another_process(fixture: Fixture) {
    created(fixture.one(), single("claimed")).await;
    assert!(claim(fixture.one(), LONG).await);
    assert!(!claim(fixture.two(), Duration::ZERO).await);
    assert!(!claim(fixture.two(), LONG).await);
    assert!(claim(fixture.one(), LONG).await);
}

/// Of many who claim an upload at once, those of one process have it.
pub async fn of_many_claims_one_process_has_its_own(fixture: Fixture) {
    created(fixture.one(), single("claimed")).await;
    let claims = [fixture.one(), fixture.two()].into_iter().cycle().take(8).map(|storage| claim(storage, LONG));
    let claims = future::join_all(claims).await;
    let of = |process| claims.iter().skip(process).step_by(2).filter(|ours| **ours).count();
    assert!(matches!((of(0), of(1)), (4, 0) | (0, 4)), "{claims:?}");
}

async fn claim(storage: &dyn Storage, duration: Duration) -> bool {
    storage.claim(&id("claimed"), duration).await.unwrap()
}
