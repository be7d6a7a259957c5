//! Responses that arrive before the request was read.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Barrier,
        mpsc::{Receiver, Sender, channel},
    },
};

use tus_reqwest::{Client, Source};

use crate::plain;

/// More than the buffers of both systems hold.
const LENGTH: usize = 64 << 20;

/// A server that rejects requests of more than half of that, before it reads them. It reads the rest after the upload
/// is complete, and reports how much came.
fn early(done: Arc<Barrier>) -> (SocketAddr, Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (report, reports) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (done, report) = (done.clone(), report.clone());
            std::thread::spawn(move || serve(BufReader::new(stream), &done, &report));
        }
    });
    (address, reports)
}

fn serve(mut stream: BufReader<TcpStream>, done: &Barrier, report: &Sender<usize>) -> Option<()> {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).ok().filter(|read| *read > 0)?;
        }
        let head = head.to_lowercase();
        let number = |name: &str| -> usize {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(given, _)| *given == name).find_map(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        let (length, offset) = (number("content-length"), number("upload-offset"));
        if length > LENGTH / 2 {
            let refusal = "HTTP/1.1 413 Too Large\r\nTus-Resumable: 1.0.0\r\nContent-Length: 0\r\n\r\n";
            stream.get_mut().write_all(refusal.as_bytes()).ok()?;
            done.wait();
            let mut buffer = vec![0; 1 << 16];
            let mut came = 0;
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                came += read;
            }
            report.send(came).ok()?;
            return None;
        }
        std::io::copy(&mut (&mut stream).take(length as u64), &mut std::io::sink()).ok()?;
        let answer = match head.starts_with("post") {
            true => "HTTP/1.1 201 Created\r\nLocation: /files/1\r\nContent-Length: 0\r\n".to_owned(),
            false => format!("HTTP/1.1 204 No Content\r\nUpload-Offset: {}\r\n", offset + length),
        };
        stream.get_mut().write_all(format!("{answer}Tus-Resumable: 1.0.0\r\n\r\n").as_bytes()).ok()?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_an_answered_request_is_not_sent() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(LENGTH as u64).unwrap();
    for source in [Source::path(file.path()).await.unwrap(), Source::bytes(vec![0; LENGTH])] {
        let done = Arc::new(Barrier::new(2));
        let (address, reports) = early(done.clone());
        let client = Client::builder(&format!("http://{address}/files")).options(plain().chunk_size(None));
        let uploaded = client.build().unwrap().upload(source).send().await.unwrap();
        assert_eq!(uploaded.offset, Some(LENGTH as u64));
        let came = tokio::task::spawn_blocking(move || {
            done.wait();
            reports.recv().unwrap()
        });
        let came = came.await.unwrap();
        assert!(came < LENGTH, "{came} bytes of a request that was answered");
    }
}
