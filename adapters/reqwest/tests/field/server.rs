//! A server that behaves as a test wants: a small tus server, and what proxies and broken servers make of it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A request, with its body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// The number of the connection.
    pub(crate) connection: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The server's reaction.
#[derive(Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// The head of this response, and then nothing.
    HeadOf(Box<Reply>),
    /// The connection stays open without a byte.
    Nothing,
    Close,
}

/// A response of a tus server.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)]) -> Reply {
    said(status, &[&[("Tus-Resumable", "1.0.0")], headers].concat())
}

/// A response of a server with the IETF's draft.
pub(crate) fn said(status: u16, headers: &[(&str, &str)]) -> Reply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Reply::Answer { status, headers, body: Vec::new() }
}

/// A response of something other than a tus server.
pub(crate) fn foreign(status: u16, body: &str) -> Reply {
    Reply::Answer { status, headers: Vec::new(), body: body.into() }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// It ends with the process.
    pub(crate) fn start(behave: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (noted, counted) = (requests.clone(), connections.clone());
        let behave = Arc::new(behave);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let (noted, behave) = (noted.clone(), behave.clone());
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read(&mut stream, number) {
                        noted.lock().unwrap().push(request.clone());
                        // As IIS, Azure and Google's front ends do.
                        let lacks_length =
                            ["POST", "PATCH"].contains(&&*request.method) && request.header("content-length").is_none();
                        let answer = if lacks_length { foreign(411, "no length") } else { behave(&request) };
                        if !reply(stream.get_mut(), &answer, request.method == "HEAD") {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, requests, connections }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The methods and paths of the requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.requests().iter().filter(|request| request.method == method).count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn read(stream: &mut BufReader<TcpStream>, connection: usize) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, path, connection, ..Request::default() };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        request.headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// Whether the connection can be used again.
fn reply(stream: &mut TcpStream, reply: &Reply, is_head: bool) -> bool {
    match reply {
        Reply::Close => false,
        Reply::Nothing => {
            // Until the client disconnects.
            let _ = stream.read(&mut [0]);
            false
        }
        Reply::HeadOf(answer) => {
            if let Reply::Answer { status, headers, .. } = &**answer {
                let _ = stream.write_all(&head(*status, headers, 100));
            }
            let _ = stream.read(&mut [0]);
            false
        }
        Reply::Answer { status, headers, body } => {
            let mut bytes = head(*status, headers, body.len());
            if !is_head {
                bytes.extend(body);
            }
            stream.write_all(&bytes).is_ok()
        }
    }
}

fn head(status: u16, headers: &[(String, String)], length: usize) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Something\r\n");
    if status != 204 {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
    (text + "\r\n").into_bytes()
}

/// An upload on the small tus server.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) content: Vec<u8>,
    pub(crate) length: Option<u64>,
    pub(crate) metadata: String,
    pub(crate) concat: Option<String>,
}

/// A small tus server, without checks that no test needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tus {
    uploads: Arc<Mutex<BTreeMap<String, Stored>>>,
    /// The number of uploads that were ever created.
    created: Arc<AtomicUsize>,
}

impl Tus {
    pub(crate) fn uploads(&self) -> MutexGuard<'_, BTreeMap<String, Stored>> {
        self.uploads.lock().unwrap()
    }

    /// The content of the only upload.
    pub(crate) fn only(&self) -> Vec<u8> {
        let uploads = self.uploads();
        assert_eq!(uploads.len(), 1, "{:?}", uploads.keys());
        uploads.values().next().unwrap().content.clone()
    }

    pub(crate) fn answer(&self, request: &Request) -> Reply {
        let mut uploads = self.uploads();
        match request.header("x-http-method-override").unwrap_or(&request.method) {
            "OPTIONS" => answer(
                204,
                &[
                    ("Tus-Version", "1.0.0"),
                    ("Tus-Extension", "creation,creation-defer-length,checksum,termination,concatenation"),
                ],
            ),
            "POST" => {
                let number = |name| request.header(name).map(|length| length.parse().unwrap());
                let concat = request.header("upload-concat").map(str::to_owned);
                let metadata = request.header("upload-metadata").unwrap_or_default().to_owned();
                let mut stored = Stored { length: number("upload-length"), metadata, concat, ..Stored::default() };
                if let Some(parts) = stored.concat.as_ref().and_then(|concat| concat.strip_prefix("final;")) {
                    for part in parts.split(' ') {
                        let path = part.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap();
                        stored.content.extend(&uploads[&path].content);
                    }
                    stored.length = Some(stored.content.len() as u64);
                }
                let path = format!("/files/{}", self.created.fetch_add(1, Ordering::Relaxed) + 1);
                uploads.insert(path.clone(), stored);
                answer(201, &[("Location", &path)])
            }
            "DELETE" => answer(if uploads.remove(&request.path).is_some() { 204 } else { 404 }, &[]),
            method => {
                let Some(stored) = uploads.get_mut(&request.path) else {
                    return answer(404, &[]);
                };
                if method == "PATCH" {
                    if request.header("upload-offset") != Some(&*stored.content.len().to_string()) {
                        return answer(409, &[]);
                    }
                    stored.content.extend(&request.body);
                    stored.length = stored.length.or(request.header("upload-length").map(|text| text.parse().unwrap()));
                }
                let offset = stored.content.len().to_string();
                let length = stored.length.map(|length| length.to_string());
                let mut headers = vec![("Upload-Offset", &*offset), ("Upload-Metadata", &*stored.metadata)];
                headers.extend(length.as_ref().map(|length| ("Upload-Length", &**length)));
                headers.retain(|(_, value)| !value.is_empty());
                answer(if method == "HEAD" { 200 } else { 204 }, &headers)
            }
        }
    }
}

/// A small tus server.
pub(crate) fn tus() -> (Tus, Server) {
    tus_but(|_| None)
}

/// A small tus server that answers some requests differently.
pub(crate) fn tus_but(other: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> (Tus, Server) {
    let tus = Tus::default();
    let answering = tus.clone();
    let server = Server::start(move |request| other(request).unwrap_or_else(|| answering.answer(request)));
    (tus, server)
}
