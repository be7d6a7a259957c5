//! A proxy between servers and a store that decides what becomes of each request.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, RwLock},
    thread,
    time::Duration,
};

/// A request to the store.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path and the query.
    pub(super) target: String,
    /// The rest of its head.
    head: String,
    body: Vec<u8>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Done,
    /// The store does not get it, and the answer has this status.
    Refused(u16),
    /// The store gets it after this time.
    Slow(Duration),
    /// The store does not get it, and the answer says that it is done: a part, or the completion of parts.
    Swallowed,
    /// The store does it, and the connection breaks instead of an answer. The store's client may send it again.
    AnswerLost,
}

/// Decides.
pub(super) trait Plan: Send + Sync {
    fn fate(&self, request: &Request) -> Fate;

    /// The store has answered.
    fn answered(&self, _request: &Request, _status: u16) {}
}

/// The proxy. Each connection carries one request.
pub(super) struct Between {
    pub(super) address: SocketAddr,
    plan: Arc<RwLock<Option<Arc<dyn Plan>>>>,
}

impl Between {
    /// Every request is done until there is a plan.
    pub(super) fn to(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::<RwLock<Option<Arc<dyn Plan>>>>::default();
        let current = plan.clone();
        // It ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = current.clone();
                thread::spawn(move || {
                    // A client that has gone away gets no answer.
                    let _ = carry(&client, store, || plan.read().unwrap().clone());
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, plan }
    }

    pub(super) fn follow(&self, plan: Arc<dyn Plan>) {
        *self.plan.write().unwrap() = Some(plan);
    }
}

fn carry(mut client: &TcpStream, store: SocketAddr, plan: impl Fn() -> Option<Arc<dyn Plan>>) -> std::io::Result<()> {
    let Some(request) = Request::read(client)? else { return Ok(()) };
    let plan = plan();
    let fate = plan.as_ref().map_or(Fate::Done, |plan| plan.fate(&request));
    match fate {
        Fate::Refused(status) => {
            let code = if status == 500 { "InternalError" } else { "SlowDown" };
            let body = format!("<Error><Code>{code}</Code></Error>");
            let head = format!("HTTP/1.1 {status} Refused\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
            // The body of an answer to HEAD is never read.
            return client.write_all(format!("{head}\r\n{body}").as_bytes());
        }
        Fate::Swallowed => {
            let body = "<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>";
            let head = format!("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n", body.len());
            return client.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
        }
        Fate::Slow(time) => thread::sleep(time),
        Fate::Done | Fate::AnswerLost => {}
    }
    let answer = request.answer(store)?;
    let status = answer.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    if let (Some(plan), Some(status)) = (plan, status) {
        plan.answered(&request, status);
    }
    if fate == Fate::AnswerLost { Ok(()) } else { client.write_all(&answer) }
}

impl Request {
    /// `None` if there is none.
    fn read(client: &TcpStream) -> std::io::Result<Option<Self>> {
        let mut reader = BufReader::new(client);
        let (mut first, mut head, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut first)?;
        let mut words = first.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        // To a proxy, the client sends the complete URL.
        let target = match target.strip_prefix("http://") {
            Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => target,
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse().unwrap(),
                "host" | "connection" => continue,
                _ => {}
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { method: method.to_owned(), target: target.to_owned(), head, body }))
    }

    pub(super) fn has_header(&self, name: &str) -> bool {
        self.head.lines().any(|line| line.split(':').next().is_some_and(|known| known.eq_ignore_ascii_case(name)))
    }

    /// What the store answers.
    fn answer(&self, store: SocketAddr) -> std::io::Result<Vec<u8>> {
        let Self { method, target, head, body } = self;
        let mut connection = TcpStream::connect(store)?;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {store}\r\nConnection: close\r\n{head}\r\n");
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        Ok(answer)
    }
}
