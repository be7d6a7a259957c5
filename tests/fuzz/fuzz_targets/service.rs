//! Whatever bytes arrive on connections: the service survives, every upload has as many bytes as it reports, and a
//! complete new upload still works.

#![no_main]

use std::{convert::Infallible, sync::Arc, time::Duration};

use arbitrary::Arbitrary;
use futures_util::TryStreamExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tus_service::{Config, Download, Memory, Mount, Storage, Stored, Tus, Upload, UploadFilter};

#[derive(Debug, Arbitrary)]
struct Run<'a> {
    connections: Vec<Vec<Piece<'a>>>,
}

/// What a client writes next.
#[derive(Debug, Arbitrary)]
enum Piece<'a> {
    Raw(&'a [u8]),
    Create {
        length: u8,
        data: Option<&'a [u8]>,
    },
    Append {
        upload: u8,
        offset: u8,
        length: Option<u8>,
        body: &'a [u8],
    },
    Chunk(&'a [u8]),
    Inspect(u8),
    Delete(u8),
    Fetch(u8),
    Join(u8, u8),
    /// It is silent for some seconds.
    Wait(u8),
    Headers {
        names: Vec<u8>,
        value: &'a [u8],
    },
}

const NAMES: [&str; 12] = [
    "Upload-Length",
    "Upload-Offset",
    "Upload-Metadata",
    "Upload-Concat",
    "Upload-Checksum",
    "Upload-Defer-Length",
    "Content-Length",
    "Transfer-Encoding",
    "Tus-Resumable",
    "X-HTTP-Method-Override",
    "Expect",
    "Connection",
];

fuzz_target!(|run: Run| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let storage = Memory::new();
        let config = Config::default().download(Download::attachment()).max_size(4096);
        let tus = Tus::builder(storage.clone()).config(config.expire_after(Duration::from_secs(60))).build();
        for connection in run.connections.into_iter().take(6) {
            let mut client = connect(&tus);
            for piece in connection.into_iter().take(20) {
                let bytes = written(&storage, piece).await;
                if client.write_all(&bytes).await.is_err() {
                    break;
                }
                // Responses must not fill the pipe.
                let mut back = [0; 4096];
                while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_millis(1), client.read(&mut back)).await {}
            }
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        for stored in all(&storage).await {
            let upload = &stored.upload;
            assert!(upload.length.is_none_or(|length| upload.offset <= length), "{upload:?}");
            assert_eq!(content(&storage, &stored).await.len() as u64, upload.offset, "{upload:?}");
        }
        upload_completely(&tus, &storage).await;
    });
});

fn connect(tus: &Tus) -> DuplexStream {
    let (client, server) = duplex(16 * 1024);
    let tus = Arc::new(tus.clone());
    tokio::spawn(async move {
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let tus = tus.clone();
            async move { Ok::<_, Infallible>(tus.handle(request, &Mount::at("/files")).await) }
        });
        let _ = http1::Builder::new().serve_connection(TokioIo::new(server), service).await;
    });
    client
}

async fn written(storage: &Memory, piece: Piece<'_>) -> Vec<u8> {
    let uploads: Vec<Upload> = all(storage).await.into_iter().map(|stored| stored.upload).collect();
    let path = |number: u8| match uploads.get(usize::from(number) % uploads.len().max(1)) {
        Some(upload) => format!("/files/{}", upload.id),
        None => "/files/none".to_owned(),
    };
    let head = |method: &str, path: String, headers: String| {
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\n{headers}\r\n").into_bytes()
    };
    let octets = "Content-Type: application/offset+octet-stream\r\n";
    match piece {
        Piece::Raw(bytes) => bytes.to_vec(),
        Piece::Create { length, data: None } => head("POST", "/files".into(), format!("Upload-Length: {length}\r\n")),
        Piece::Create { length, data: Some(data) } => {
            let headers = format!("Upload-Length: {length}\r\nContent-Length: {}\r\n{octets}", data.len());
            [head("POST", "/files".into(), headers), data.to_vec()].concat()
        }
        Piece::Append { upload, offset, length, body } => {
            let framing = match length {
                Some(length) => format!("Content-Length: {length}\r\n"),
                None => "Transfer-Encoding: chunked\r\n".to_owned(),
            };
            // Mostly where it continues.
            let at = match offset {
                0..200 => uploads.get(usize::from(upload) % uploads.len().max(1)).map_or(0, |upload| upload.offset),
                other => other.into(),
            };
            let headers = format!("Upload-Offset: {at}\r\n{framing}{octets}");
            let body = if length.is_some() { body.to_vec() } else { chunk(body) };
            [head("PATCH", path(upload), headers), body].concat()
        }
        Piece::Chunk(bytes) => chunk(bytes),
        Piece::Inspect(upload) => head("HEAD", path(upload), String::new()),
        Piece::Delete(upload) => head("DELETE", path(upload), String::new()),
        Piece::Fetch(upload) => head("GET", path(upload), String::new()),
        Piece::Join(one, two) => {
            head("POST", "/files".into(), format!("Upload-Concat: final;{} {}\r\n", path(one), path(two)))
        }
        Piece::Wait(seconds) => {
            tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            Vec::new()
        }
        Piece::Headers { names, value } => {
            let mut text = b"POST /files HTTP/1.1\r\nHost: a\r\n".to_vec();
            for name in names.into_iter().take(12) {
                text.extend_from_slice(NAMES[usize::from(name) % NAMES.len()].as_bytes());
                text.extend_from_slice(b": ");
                text.extend_from_slice(value);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"\r\n");
            text
        }
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

async fn upload_completely(tus: &Tus, storage: &Memory) {
    let mut client = connect(tus);
    let request = "POST /files HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\nContent-Length: 5\r\n\
        Content-Type: application/offset+octet-stream\r\nConnection: close\r\n\r\nhello";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let location = answer.lines().find_map(|line| line.strip_prefix("location: /files/")).unwrap();
    let stored = storage.load(&location.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(content(storage, &stored).await, b"hello");
}

async fn all(storage: &Memory) -> Vec<Stored> {
    storage.list(UploadFilter::default(), None).try_collect().await.unwrap()
}

async fn content(storage: &Memory, stored: &Stored) -> Vec<u8> {
    let pieces: Vec<_> = storage.read(stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}
