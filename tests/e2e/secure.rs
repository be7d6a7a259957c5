//! The client over https: what is never sent over http, where credentials go, and HTTP/2 connections.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tests::{Framework, Store};
use tus_reqwest::{
    Builder, Client, Connections, Error, Options, Retry, Source, Uploaded, Verification, block_on, client_builder,
    reqwest::header::{AUTHORIZATION, HeaderValue},
};
use tus_service::{Config, Location};

use crate::{
    content::{assert_same, bytes},
    faulty::{Fault, Line},
    harness::Server,
    tls::{Authority, Front},
};

const LENGTH: u64 = (3 << 20) + 3;

/// A server that answers as a test wants, and the heads of the requests that it received.
struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// `answer` makes the status line and the headers of a response from the method of the request.
    fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (noted, answer) = (heads.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (noted, answer) = (noted.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, &noted, &*answer));
            }
        });
        Self { address, heads }
    }

    /// A tus server with one upload that has this URL.
    fn with_upload_at(location: String) -> Self {
        Self::start(move |method| match method {
            "POST" => format!("201 Created\r\nTus-Resumable: 1.0.0\r\nLocation: {location}"),
            "PATCH" => "204 No Content\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 5".to_owned(),
            _ => "200 OK\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nUpload-Length: 5".to_owned(),
        })
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The methods of the requests, and their credentials.
    fn credentials(&self) -> Vec<(String, Option<String>)> {
        let one = |head: &String| {
            let line = head.lines().find_map(|line| line.strip_prefix("authorization: "));
            (head.split(' ').next().unwrap().to_owned(), line.map(str::to_owned))
        };
        self.heads().iter().map(one).collect()
    }
}

fn serve(stream: TcpStream, heads: &Mutex<Vec<String>>, answer: &dyn Fn(&str) -> String) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(stream.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        let reply = format!("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", answer(head.split(' ').next().unwrap()));
        heads.lock().unwrap().push(head);
        if stream.get_mut().write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// A port to which a connection would send bytes in clear text, and how many arrived.
fn clear_text() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counted = connections.clone();
    std::thread::spawn(move || {
        for _ in listener.incoming() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, connections)
}

/// Each concurrent request has its own connection.
fn client(url: &str, authority: &Authority) -> Builder {
    let pem = authority.pem();
    let http = Connections::each(move || client_builder().tls_certs_merge([pem.clone()]));
    let retry = Retry::default().retries(10).delay(Duration::from_millis(1), Duration::from_millis(5));
    let options = Options::default().verification(Verification::Off).retry(retry);
    Client::builder(url).http(http).options(options)
}

fn send(builder: Builder) -> Result<Uploaded, Error> {
    block_on(builder.build()?.upload(Source::bytes("hello")).send())
}

#[test]
fn a_redirect_to_http_is_not_followed() {
    let (authority, (port, clear)) = (Authority::new(), clear_text());
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        for host in ["localhost", "127.0.0.1"] {
            let location = format!("http://{host}:{port}/files");
            let answer = format!("{status}\r\nLocation: {location}");
            let scripted = Scripted::start(move |_| answer.clone());
            let front = Front::before(scripted.address, &authority, None, &[]);
            let error = send(client(&front.url("/files"), &authority)).unwrap_err();
            assert!(matches!(&error, Error::Redirected { location: to, .. } if *to == location), "{error:?}");
            assert!(error.to_string().contains("is not followed"), "{error}");
            assert_eq!(scripted.heads().len(), 1, "it is not tried again");
        }
    }
    assert_eq!(clear.load(Ordering::Relaxed), 0);
}

#[test]
fn an_upload_on_another_host_over_http_is_an_error() {
    let (authority, (port, clear)) = (Authority::new(), clear_text());
    let location = format!("http://127.0.0.1:{port}/files/1");
    let scripted = Scripted::with_upload_at(location.clone());
    let front = Front::before(scripted.address, &authority, None, &[]);
    let error = send(client(&front.url("/files"), &authority)).unwrap_err();
    assert!(matches!(&error, Error::Redirected { location: to, .. } if *to == location), "{error:?}");
    assert_eq!(clear.load(Ordering::Relaxed), 0);
}

#[test]
fn a_server_unaware_of_tls_works_over_https() {
    let authority = Authority::new();
    // A port other than the front's; none; and the front's.
    let (port, clear) = clear_text();
    for base in [format!("http://localhost:{port}/files"), "http://localhost/files".into(), String::new()] {
        let location = match &*base {
            // http, and the host of the request.
            "" => Location::Host,
            base => Location::base(base).unwrap(),
        };
        let server = Server::new(Framework::Axum, Store::Memory);
        let started = server.start_with(|builder| builder.config(Config::default().location(location)));
        let front = Front::before(started.running.address, &authority, None, &[]);
        let client = client(&front.url("/files"), &authority).build().unwrap();
        let uploaded = block_on(client.upload(Source::bytes(bytes(1, 0..LENGTH))).send()).unwrap();
        assert!(uploaded.url.as_str().starts_with(&front.url("/files/")), "{}", uploaded.url);
        assert_same(&started.content(uploaded.url.path()), &bytes(1, 0..LENGTH));
    }
    assert_eq!(clear.load(Ordering::Relaxed), 0);
}

#[test]
fn credentials_go_to_named_origins_only() {
    let authority = Authority::new();
    let elsewhere = Scripted::with_upload_at("/files/1".into());
    let away = Front::before(elsewhere.address, &authority, None, &[]);
    let home = Scripted::with_upload_at(away.url("/files/1"));
    let front = Front::before(home.address, &authority, None, &[]);
    let some = |method: &str, value: &str| (method.to_owned(), Some(value.to_owned()));
    let none = |method: &str| (method.to_owned(), None);

    let bearer = |url: &str| client(url, &authority).header(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    let uploaded = send(bearer(&front.url("/files"))).unwrap();
    assert!(uploaded.url.as_str().starts_with(&away.url("")));
    let password = front.url("/files").replace("localhost", "user:pass@localhost");
    send(client(&password, &authority)).unwrap();
    assert_eq!(home.credentials(), [some("POST", "Bearer secret"), some("POST", "Basic dXNlcjpwYXNz")]);
    assert_eq!(elsewhere.credentials(), [none("PATCH"), none("PATCH")]);

    send(bearer(&front.url("/files")).trust(away.url("/"))).unwrap();
    assert_eq!(elsewhere.credentials()[2..], [some("PATCH", "Bearer secret")]);
    // The same, where a later process starts.
    let resumed = bearer(&front.url("/files")).build().unwrap();
    block_on(resumed.resume(&*away.url("/files/1"), Source::bytes("hello")).send()).unwrap();
    assert_eq!(elsewhere.credentials()[3..], [none("HEAD"), none("PATCH")]);
}

#[test]
fn parts_have_their_own_connections_over_http2() {
    const AT_ONCE: usize = 4;
    let (authority, started) = (Authority::new(), Server::new(Framework::Axum, Store::Memory).start());
    let front = Front::before(started.running.address, &authority, None, &["h2"]);
    let client = client(&front.url("/files"), &authority).build().unwrap();
    let upload = client.upload(Source::bytes(bytes(1, 0..LENGTH))).parts(12).parts_at_once(AT_ONCE);
    let uploaded = block_on(upload.send()).unwrap();
    assert_same(&started.content(uploaded.url.path()), &bytes(1, 0..LENGTH));
    assert_eq!(front.connections(), AT_ONCE);
}

#[test]
fn a_dead_http2_connection_is_not_reused() {
    let (authority, started) = (Authority::new(), Server::new(Framework::Axum, Store::Memory).start());
    let front = Front::before(started.running.address, &authority, None, &["h2"]);
    // The first connection falls silent before the server has received everything.
    let line = Line::to(front.address, Fault::FallsSilent, 1, LENGTH, 3);
    let url = format!("https://localhost:{}/files", line.address.port());
    let client = client(&url, &authority).timeout(Duration::from_secs(1)).build().unwrap();
    let uploaded = block_on(client.upload(Source::bytes(bytes(1, 0..LENGTH))).send()).unwrap();
    assert_same(&started.content(uploaded.url.path()), &bytes(1, 0..LENGTH));
    assert_eq!((line.faults_left(), front.connections()), (0, 2));
}
