//! A thousand interruptions: every upload arrives as it was sent, or fails with an error that shows whose fault it
//! is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tus_reqwest::{Error, Options, Retry, Source, Verification};

use crate::{
    bytes, client,
    server::{Reply, Server, Tus, answer, foreign},
};

const INTERRUPTIONS: u64 = 1000;

/// Splitmix64.
fn random(seed: &AtomicU64) -> u64 {
    let mut z = seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A server behind a line that fails for about every second request, and the number of failures.
fn stormy(seed: u64) -> (Tus, Server, Arc<AtomicU64>) {
    let (tus, interruptions) = (Tus::default(), Arc::new(AtomicU64::new(0)));
    let (behind, counted) = (tus.clone(), interruptions.clone());
    let seed = AtomicU64::new(seed);
    let server = Server::start(move |request| {
        let fault = random(&seed) % 16;
        counted.fetch_add(u64::from(fault < 9), Ordering::Relaxed);
        match fault {
            // The request does not arrive.
            0 => Reply::Close,
            // The request arrives, but the response does not.
            1 => {
                behind.answer(request);
                Reply::Close
            }
            2 => {
                behind.answer(request);
                Reply::Nothing
            }
            // The request is truncated.
            3 | 4 => {
                let mut cut = request.clone();
                cut.body.truncate(random(&seed) as usize % (cut.body.len() + 1));
                behind.answer(&cut);
                Reply::Close
            }
            5 => foreign([500, 502, 503, 504][random(&seed) as usize % 4], "a proxy"),
            // The request arrives twice.
            6 => {
                behind.answer(request);
                behind.answer(request)
            }
            7 => {
                std::thread::sleep(Duration::from_millis(random(&seed) % 20));
                behind.answer(request)
            }
            // The offset is wrong.
            8 if request.method == "HEAD" => {
                let offset = (random(&seed) % 40_000).to_string();
                answer(200, &[("Upload-Offset", &offset), ("Upload-Length", "40000")])
            }
            8 => answer(409, &[]),
            _ => behind.answer(request),
        }
    });
    (tus, server, interruptions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_interruptions_end_in_success_or_a_clear_error() {
    let content = bytes(40_000);
    let (mut met, mut uploads, mut arrived, mut requests) = (0, 0, 0, 0);
    for seed in 0.. {
        if met >= INTERRUPTIONS {
            break;
        }
        let (tus, server, interruptions) = stormy(seed);
        let retry = Retry::default().retries(20).delay(Duration::from_millis(1), Duration::from_millis(2));
        let chunk_size = [Some(1000), Some(7000), None][seed as usize % 3];
        let options = Options::default().retry(retry).verification(Verification::Off).chunk_size(chunk_size);
        let client = client(&server).options(options).timeout(Duration::from_millis(100)).build().unwrap();
        let sent = client.upload(Source::bytes(content.clone())).send().await;
        match &sent {
            Ok(uploaded) => {
                assert!(tus.uploads()[uploaded.url.path()].content == content, "seed {seed}");
                arrived += 1;
            }
            // The server has acknowledged bytes that were never sent.
            Err(Error::Misbehaved { by_server: true, .. }) => {}
            Err(error) => panic!("seed {seed}: {}", error.with_causes()),
        }
        // What the server has is a prefix of the source, whatever happened.
        assert!(tus.uploads().values().all(|stored| content.starts_with(&stored.content)), "seed {seed}");
        requests += server.requests().len() as u64;
        met += interruptions.load(Ordering::Relaxed);
        uploads += 1;
    }
    eprintln!("{uploads} uploads, {arrived} arrived, {met} interruptions, {requests} requests");
    assert!(arrived > uploads / 2, "{arrived} of {uploads}");
    assert!(requests < uploads * 100 + met * 3, "{requests} requests");
}
