//! OPTIONS is a hint, not a condition.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tus_reqwest::{Algorithm, Options, Retry, Source, Verification};

use crate::{
    client, plain,
    server::{Reply, answer, foreign, said, tus_but},
};

#[tokio::test]
async fn the_upload_is_tried_whatever_the_response_to_options() {
    let answers: [fn() -> Reply; 10] = [
        || foreign(204, ""),
        || answer(204, &[]),
        || foreign(400, "no"),
        || foreign(403, "no"),
        || foreign(404, "no"),
        || foreign(405, "no"),
        || foreign(500, "no"),
        || answer(204, &[("Tus-Max-Size", "0")]),
        || answer(204, &[("Tus-Max-Size", "no")]),
        || answer(308, &[("Location", "/other")]),
    ];
    for odd in answers {
        let (tus, server) = tus_but(move |request| (request.method == "OPTIONS" && request.path == "/files").then(odd));
        let client = client(&server).options(Options::default()).build().unwrap();
        client.upload(Source::bytes("hello")).send().await.unwrap();
        assert_eq!(tus.only(), b"hello");
        assert_eq!(server.lines()[0], "OPTIONS /files", "{:?}", odd());
    }
}

#[tokio::test]
async fn a_rejection_of_the_caller_is_an_error() {
    let (_, server) = tus_but(|request| (request.method == "OPTIONS").then(|| answer(401, &[])));
    let client = client(&server).options(Options::default()).build().unwrap();
    let error = client.upload(Source::bytes("hello")).send().await.unwrap_err();
    assert_eq!(error.status().unwrap(), 401);
}

#[tokio::test]
async fn capabilities_are_requested_once_and_only_if_needed() {
    let (_, server) = tus_but(|_| None);
    let plain_client = client(&server).build().unwrap();
    plain_client.upload(Source::bytes("hello")).send().await.unwrap();
    assert_eq!(server.count("OPTIONS"), 0);
    let never = client(&server).options(Options::default().discovery(false)).build().unwrap();
    never.upload(Source::stream(&b"hello"[..])).send().await.unwrap();
    assert_eq!(server.count("OPTIONS"), 0);
    let asking = client(&server).options(plain().verification(Verification::IfOffered(Algorithm::Sha1)));
    let asking = asking.build().unwrap();
    for _ in 0..3 {
        asking.upload(Source::bytes("hello")).send().await.unwrap();
    }
    assert_eq!(server.count("OPTIONS"), 1);
    assert!(server.requests().last().unwrap().header("upload-checksum").is_some());
}

#[tokio::test]
async fn a_temporary_failure_is_forgotten() {
    let asked = AtomicUsize::new(0);
    let (_, server) = tus_but(move |request| {
        let fails = request.method == "OPTIONS" && asked.fetch_add(1, Ordering::Relaxed) == 0;
        fails.then(|| foreign(503, "busy"))
    });
    let asking = client(&server).options(plain().verification(Verification::IfOffered(Algorithm::Sha1)));
    let asking = asking.build().unwrap();
    for verifies in [false, true, true] {
        asking.upload(Source::bytes("hello")).send().await.unwrap();
        let last = server.requests().pop().unwrap();
        assert_eq!(last.header("upload-checksum").is_some(), verifies);
    }
    assert_eq!(server.count("OPTIONS"), 2);
}

/// A connection that breaks is retried nevertheless.
#[tokio::test]
async fn a_temporary_failure_is_waited_for_once_and_asked_about_again() {
    let asked = AtomicUsize::new(0);
    let (_, server) = tus_but(move |request| match &*request.method {
        "OPTIONS" => Some(match asked.fetch_add(1, Ordering::Relaxed) {
            0..4 => foreign(503, "busy"),
            4 => Reply::Close,
            _ => said(204, &[("Upload-Limit", "min-size=0")]),
        }),
        _ => Some(said(
            200,
            &[("Upload-Offset", "5"), ("Upload-Length", "5"), ("Upload-Complete", "?1"), ("Tus-Resumable", "1.0.0")],
        )),
    });
    let options = plain().protocol(None).retry(Retry::default().delays([Duration::from_millis(1); 2]));
    let client = client(&server).options(options).build().unwrap();
    let mut counts = Vec::new();
    for _ in 0..4 {
        client.info(&*server.url("/files/1")).await.unwrap();
        counts.push(server.count("OPTIONS"));
    }
    assert_eq!(counts, [3, 4, 6, 6]);
    assert!(server.requests().last().unwrap().header("tus-resumable").is_none(), "it is asked in the draft");
}

#[tokio::test]
async fn uploads_that_begin_together_wait_for_one_answer() {
    let (_, server) = tus_but(|request| (request.method == "OPTIONS").then(|| foreign(503, "busy")));
    let options = plain().protocol(None).retry(Retry::default().delays([Duration::from_millis(1); 2]));
    let client = client(&server).options(options).build().unwrap();
    let uploads = (0..10).map(|_| client.upload(Source::bytes("hello")).send());
    for uploaded in join_all(uploads).await {
        uploaded.unwrap();
    }
    assert_eq!(server.count("OPTIONS"), 3);
}

/// Each waits for its own retries, and not for those of the others as well.
#[tokio::test]
async fn uploads_that_begin_together_fail_together() {
    const OTHERS: usize = 9;
    let (asked, together) = (AtomicUsize::new(0), Barrier::new(OTHERS));
    let (_, server) = tus_but(move |request| {
        (request.method == "OPTIONS").then(|| {
            // After the tries of the first one, nobody gets an answer before all the others have asked.
            if asked.fetch_add(1, Ordering::Relaxed) >= 3 {
                together.wait();
            }
            Reply::Close
        })
    });
    let options = plain().protocol(None).retry(Retry::default().delays([Duration::from_millis(1); 2]));
    let client = client(&server).options(options).build().unwrap();
    let uploads = (0..=OTHERS).map(|_| client.upload(Source::bytes("hello")).send());
    let ended = tokio::time::timeout(Duration::from_secs(60), join_all(uploads)).await.expect("they do not queue");
    assert!(ended.iter().all(Result::is_err));
    assert_eq!(server.count("OPTIONS"), 3 * (OTHERS + 1));
}

#[tokio::test]
async fn an_answer_after_a_failure_is_kept() {
    const OTHERS: usize = 3;
    for status in [204, 404] {
        let (asked, together) = (AtomicUsize::new(0), Barrier::new(OTHERS));
        let (_, server) = tus_but(move |request| {
            (request.method == "OPTIONS").then(|| {
                let at = asked.fetch_add(1, Ordering::Relaxed);
                if (1..=OTHERS).contains(&at) {
                    together.wait();
                }
                if at == 0 { Reply::Close } else { foreign(status, "") }
            })
        });
        let options = plain().protocol(None).retry(Retry::default().retries(0));
        let client = client(&server).options(options).build().unwrap();
        let upload = || client.upload(Source::bytes("hello")).send();
        let ended = join_all((0..=OTHERS).map(|_| upload())).await;
        assert_eq!(ended.iter().filter(|ended| ended.is_err()).count(), 1);
        upload().await.unwrap();
        assert_eq!(server.count("OPTIONS"), 1 + OTHERS, "{status}");
    }
}

#[tokio::test]
async fn the_protocol_waits_for_an_answer() {
    let asked = AtomicUsize::new(0);
    let (_, server) = tus_but(move |request| match &*request.method {
        "OPTIONS" if asked.fetch_add(1, Ordering::Relaxed) == 0 => Some(foreign(503, "busy")),
        "OPTIONS" => Some(said(204, &[("Upload-Limit", "min-size=0")])),
        "POST" => Some(said(201, &[("Location", "/files/1"), ("Upload-Complete", "?0")])),
        _ => Some(said(200, &[("Upload-Complete", "?1")])),
    });
    let client = client(&server).options(plain().protocol(None)).build().unwrap();
    assert!(client.upload(Source::bytes("hello")).send().await.unwrap().complete);
    assert_eq!(server.lines(), ["OPTIONS /files", "OPTIONS /files", "POST /files", "PATCH /files/1"]);
    assert_eq!(server.requests()[2].header("upload-complete"), Some("?0"));
}
