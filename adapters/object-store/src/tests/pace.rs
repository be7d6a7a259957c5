//! A store that allows one write per second to an object, like GCS and R2.

use std::time::Duration;

use bucket::{Bucket, Fate, Operation, Rules};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tus_service::{Access, Hint, Kind, Storage, Stored, Writer};

use super::{
    conformance::{PART, builder},
    uploads::*,
};
use crate::ObjectStore;

const SECOND: Duration = Duration::from_secs(1);

/// How much longer a request may take.
const MORE: Duration = Duration::from_millis(1200);

/// Two machines on a bucket: each request takes 20 ms, and a part 80 ms.
fn opened(write_interval: Option<Duration>) -> (Bucket, [ObjectStore; 2]) {
    let bucket = Bucket::with(Rules { generations: true, write_interval, ..Rules::default() });
    bucket.on_request(|request| {
        let takes = if request.operation == Operation::Part { 40 } else { 10 };
        Fate::Slow(Duration::from_millis(takes), Duration::from_millis(takes))
    });
    let stores = [(); 2].map(|()| {
        let builder = builder(&bucket).with(|settings| {
            settings.window = 4;
            settings.owner_looks = SECOND;
            settings.waiter_looks = SECOND / 4;
        });
        builder.write_interval(write_interval.unwrap_or_default()).open_unchecked().unwrap()
    });
    (bucket, stores)
}

/// As the service receives a body: a hint every half second.
async fn received(writer: &mut dyn Writer, stored: &Stored, all: &Bytes, pace: Duration) {
    let (mut sent, mut hint) = (0, Instant::now() + SECOND / 2);
    while sent < all.len() {
        let some = (all.len() - sent).min(PART as usize / 2);
        writer.write(all.slice(sent..sent + some).into()).await.unwrap();
        sent += some;
        sleep(pace).await;
        if Instant::now() >= hint {
            let _ = writer.checkpoint(&hinted(stored, sent as u64), Hint::Streaming).await.unwrap();
            hint = Instant::now() + SECOND / 2;
        }
    }
}

/// How long consecutive PATCHes of these lengths take, with this pause between them, and how often each writes the
/// document.
async fn times(
    write_interval: Option<Duration>,
    lengths: &[u64],
    (pace, between): (Duration, Duration),
) -> Vec<(Duration, u32)> {
    let (bucket, [store, _]) = opened(write_interval);
    let whole = bytes(lengths.iter().sum(), 1);
    let mut stored = created(&store, "a", Kind::Single, Some(whole.len() as u64)).await;
    let (mut times, mut left) = (Vec::new(), whole.clone());
    for length in lengths {
        let some = left.split_to(*length as usize);
        bucket.requests();
        let began = Instant::now();
        stored = loaded(&store, &stored).await;
        let mut writer = store.open(&stored).await.unwrap();
        received(&mut *writer, &stored, &some, pace).await;
        let change = more(&stored, *length);
        let version = writer.commit(&change).await.unwrap();
        stored = stored.changed(&change, version);
        let writes = bucket.requests().get(&Operation::PutIf).copied().unwrap_or(0);
        times.push((began.elapsed(), writes as u32));
        sleep(between).await;
    }
    assert_eq!(content(&store, &stored).await, whole);
    times
}

/// Each write of the document waits for at most a second after the previous one. An ordinary PATCH makes one, a PATCH
/// that completes a part makes two, and the last one of a large upload makes three. Writes behind a long stream delay
/// nobody.
#[tokio::test(start_paused = true)]
async fn each_write_takes_a_second_if_objects_can_be_written_once_a_second() {
    let (short, long) = (Duration::ZERO, Duration::from_millis(40));
    for (lengths, pace) in [
        (&[3000][..], short),
        (&[10, 10, 10, 10], short),
        (&[PART / 8; 20], short),
        (&[2 * PART + 1, 5, PART, PART, 10], short),
        (&[128 * PART], long),
        (&[20 * PART, 7], long),
        (&[PART, 40 * PART, PART], long),
    ] {
        for (between, follows) in [(SECOND, 0), (short, 1)] {
            let without = times(None, lengths, (pace, between)).await;
            let with = times(Some(SECOND), lengths, (pace, between)).await;
            for (n, ((with, _), (without, writes))) in with.iter().zip(&without).enumerate() {
                // The first one follows the creation immediately.
                let most = MORE * ((*writes).min(3) - 1 + if n == 0 { 1 } else { follows });
                assert!(
                    *with <= *without + most,
                    "{n} of {lengths:?}: {with:?} instead of {without:?}, {writes} writes"
                );
            }
        }
    }
}

/// From a request elsewhere until the older one has left.
async fn takeover(write_interval: Option<Duration>) -> Duration {
    let (_, [one, two]) = opened(write_interval);
    let all = bytes(20 * PART, 1);
    let stored = created(&one, "a", Kind::Single, Some(all.len() as u64)).await;
    let mut writer = one.open(&stored).await.unwrap();
    let sent = all.slice(..9 * PART as usize);
    received(&mut *writer, &stored, &sent, Duration::from_millis(100)).await;
    let owner = async {
        timeout(10 * SECOND, writer.asked_to_leave()).await.unwrap();
        writer.commit(&hinted(&stored, sent.len() as u64)).await.unwrap();
    };
    let asker = async {
        let began = Instant::now();
        let seen = loaded(&two, &stored).await;
        assert!(seen.held_elsewhere);
        let settled = two.settle(&seen, Access::Write, 10 * SECOND).await.unwrap().unwrap();
        assert_eq!((settled.held_elsewhere, settled.upload.offset), (false, sent.len() as u64));
        began.elapsed()
    };
    tokio::join!(owner, asker).1
}

#[tokio::test(start_paused = true)]
async fn a_takeover_waits_for_two_writes() {
    let without = takeover(None).await;
    assert!(without <= 3 * SECOND / 2, "{without:?}");
    let with = takeover(Some(SECOND)).await;
    assert!(with <= without + 2 * MORE, "{with:?} instead of {without:?}");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_from_a_dead_machine_waits_for_ten_seconds_and_once() {
    let (_, [one, two]) = opened(None);
    let all = bytes(9 * PART, 1);
    let stored = created(&one, "a", Kind::Single, Some(20 * PART)).await;
    let mut writer = one.open(&stored).await.unwrap();
    received(&mut *writer, &stored, &all, Duration::from_millis(100)).await;
    std::mem::forget(writer);
    let began = Instant::now();
    let seen = loaded(&two, &stored).await;
    let seen = two.settle(&seen, Access::Write, 10 * SECOND).await.unwrap().unwrap();
    assert!(began.elapsed() <= 21 * SECOND / 2, "{:?}", began.elapsed());
    // Everything except the last window of four parts and buffered bytes.
    assert!(seen.upload.offset + 5 * PART >= all.len() as u64, "{}", seen.upload.offset);
    let change = more(&seen, 10);
    let mut newer = two.open(&seen).await.unwrap();
    newer.write(bytes(10, 2).into()).await.unwrap();
    newer.commit(&change).await.unwrap();
    let began = Instant::now();
    assert!(!loaded(&two, &stored).await.held_elsewhere);
    assert!(began.elapsed() <= SECOND);
}
