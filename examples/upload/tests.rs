//! A server that answers as a test wants, and what the program makes of it.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use clap::Parser;

use crate::{arguments::Arguments, run};

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// All lines before the body.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Sends the bytes of a response, or nothing. What follows an incomplete one never arrives.
    pub(crate) fn start(behave: impl Fn(&Request) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (noted, behave) = (requests.clone(), Arc::new(behave));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, behave) = (noted.clone(), behave.clone());
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read(&mut stream) {
                        noted.lock().unwrap().push(request.clone());
                        if let Some(response) = behave(&request) {
                            let _ = stream.get_mut().write_all(response.as_bytes());
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value).next();
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(Request { method, path, head, body })
}

#[tokio::test]
async fn a_file_may_change_before_its_own_upload_begins() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("first"), "film").unwrap();
    std::fs::write(path("second"), "draft").unwrap();
    let changed = path("second");
    let server = Server::start(move |request| {
        // The creation of the first upload, and then of the second.
        if request.head.contains("Upload-Length: 4") || request.head.contains("upload-length: 4") {
            std::fs::write(&changed, "a longer text").unwrap();
        }
        let (status, header) = match &*request.method {
            "POST" => ("201 Created", "Location: /files/1".to_owned()),
            "PATCH" => ("204 No Content", format!("Upload-Offset: {}", request.body.len())),
            _ => ("404 Not Found", "Content-Length: 0".to_owned()),
        };
        let length = if request.method == "POST" { "Content-Length: 0\r\n" } else { "" };
        Some(format!("HTTP/1.1 {status}\r\nTus-Resumable: 1.0.0\r\n{length}{header}\r\n\r\n"))
    });
    let to = format!("http://{}/files", server.address);
    let arguments = ["tus-upload", &*path("first"), &*path("second"), "--to", &*to, "--quiet", "--checksum", "off"];
    assert!(run(&Arguments::parse_from(arguments)).await.unwrap());
    let bodies: Vec<_> = server.requests().into_iter().filter(|request| request.method == "PATCH").collect();
    assert_eq!(bodies.iter().map(|request| &*request.body).collect::<Vec<_>>(), [b"film", &b"a longer text"[..]]);
}
