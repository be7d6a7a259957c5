//! Sources that are not regular files, that are streams, and that change.

use std::{io::Write, path::Path, process::Command, time::Duration};

use futures_util::stream;
use tus_reqwest::{Error, Source, SourceProblem};

use crate::{
    bytes, client, plain,
    server::{Tus, tus, tus_but},
};

async fn arrives(source: Source) -> Vec<u8> {
    let (tus, server) = tus();
    let uploaded = client(&server).build().unwrap().upload(source).send().await.unwrap();
    assert_eq!(uploaded.offset, uploaded.length);
    tus.only()
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_is_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writing = path.clone();
    let writer = std::thread::spawn(move || std::fs::write(writing, bytes(300_000)).unwrap());
    let source = Source::path(&path).await.unwrap();
    assert_eq!(source.length(), None);
    assert_eq!(arrives(source).await, bytes(300_000));
    writer.join().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn generated_files_are_streams() {
    for path in ["/proc/version", "/proc/self/mounts"] {
        let content = std::fs::read(path).unwrap();
        assert!(!content.is_empty());
        assert_eq!(arrives(Source::path(path).await.unwrap()).await, content, "{path}");
    }
    assert_eq!(arrives(Source::path("/dev/null").await.unwrap()).await, b"");
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let source = Source::path(file.path()).await.unwrap();
    assert_eq!(source.length(), Some(0));
    assert_eq!(arrives(source).await, b"");
}

#[tokio::test]
async fn directories_and_missing_files_are_different_errors() {
    let directory = tempfile::tempdir().unwrap();
    for (path, kind) in [
        (directory.path().to_owned(), std::io::ErrorKind::IsADirectory),
        (directory.path().join("missing"), std::io::ErrorKind::NotFound),
    ] {
        let error = Source::path(&path).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(cause.kind(), kind);
        let name = path.display().to_string();
        assert_eq!(error.with_causes().matches(&name).count(), 1, "{}", error.with_causes());
    }
}

#[tokio::test]
async fn every_kind_of_source_arrives() {
    let pieces =
        || bytes(300_000).chunks(70_000).map(|piece| Ok::<_, String>(piece.to_vec().into())).collect::<Vec<_>>();
    assert_eq!(arrives(Source::pieces(stream::iter(pieces()))).await, bytes(300_000));
    assert_eq!(arrives(Source::pieces(stream::iter(pieces())).with_length(300_000)).await, bytes(300_000));
    assert_eq!(arrives(Source::reader(std::io::Cursor::new(bytes(300_000)))).await, bytes(300_000));
    assert_eq!(arrives(Source::stream(std::io::Cursor::new(bytes(300_000)))).await, bytes(300_000));
    assert_eq!(arrives(Source::seekable(std::io::Cursor::new(bytes(300_000))).await.unwrap()).await, bytes(300_000));
    assert_eq!(arrives(Source::bytes(bytes(300_000))).await, bytes(300_000));
    assert_eq!(arrives(Source::stream(tokio::io::empty()).with_length(0)).await, b"");
}

#[tokio::test]
async fn a_stream_of_known_length_declares_it_and_must_match_it() {
    let (_, server) = tus();
    let client = client(&server).options(plain().chunk_size(Some(3))).build().unwrap();
    let send = |length| client.upload(Source::stream(&b"hello"[..]).with_length(length)).send();
    send(5).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].header("upload-length"), Some("5"));
    assert_eq!(requests[0].header("upload-defer-length"), None);
    let error = send(6).await.unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Short { end: 5, length: 6 }, .. }), "{error}");
    let error = send(4).await.unwrap_err();
    assert!(matches!(error, Error::Source { problem: SourceProblem::Long { length: 4 }, .. }), "{error}");
}

#[tokio::test]
async fn an_error_of_a_stream_keeps_its_cause() {
    let pieces = stream::iter([Ok("hello".into()), Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))]);
    let (_, server) = tus();
    let error = client(&server).build().unwrap().upload(Source::pieces(pieces)).send().await.unwrap_err();
    assert!(error.with_causes().contains("broken pipe"), "{}", error.with_causes());
}

/// Uploads a file in one request and changes it after the server has received some of it.
async fn changes(change: impl Fn(&Path) + Send + Sync + 'static) -> (Result<tus_reqwest::Uploaded, Error>, Tus) {
    const LENGTH: usize = 32 << 20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film");
    std::fs::write(&path, vec![1; LENGTH]).unwrap();
    let (tus, server) = tus_but(|_| None);
    let client = client(&server).options(plain().chunk_size(None)).timeout(Duration::from_secs(60)).build().unwrap();
    let upload = client.upload(Source::path(&path).await.unwrap());
    let changed = std::sync::Once::new();
    let upload = upload.on_progress(move |progress| {
        if progress.sent > 0 {
            changed.call_once(|| change(&path));
        }
    });
    (upload.send().await, tus)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_during_a_request_is_noticed() {
    let changed: [fn(&Path); 3] = [
        |path| {
            let mut file = std::fs::File::options().write(true).open(path).unwrap();
            file.write_all(&[2; 100]).unwrap();
        },
        |path| std::fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap(),
        |path| std::fs::File::options().write(true).open(path).unwrap().set_len(1 << 20).unwrap(),
    ];
    for change in changed {
        let (sent, tus) = changes(change).await;
        let error = sent.unwrap_err();
        let found =
            matches!(&error, Error::Source { problem: SourceProblem::Changed(_) | SourceProblem::Unreadable(_), .. });
        assert!(found, "{error}");
        assert!(tus.only().is_empty(), "the server never got a complete request");
    }
    assert!(changes(|_| ()).await.0.is_ok());
}
