//! The guide's table of responses: tus-js-client gets each of them, and continues or stops as the table says.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tests::{Framework, Store};
use tus_service::{Builder, Config, Download, Failure, Operation, Rejection, TusExtension};

use crate::{
    client::{Connection, OCTETS},
    content::{assert_same, bytes},
    faulty::{Fault, Line},
    harness::{Server, Started, wait_until},
    others::{installed, node},
    watched::Watch,
};

/// Small enough for a server that rejects the body to read the rest of it.
const LENGTH: u64 = (300 << 10) + 3;

/// The most scenarios of one row.
const SCENARIOS: usize = 2;

/// The maximum number of attempts.
const TRIES: usize = 10;

/// A row of the table.
struct Row<'a> {
    happened: &'a str,
    statuses: Vec<&'a str>,
    goes_on: bool,
}

/// The cells of the guide's table that begins so.
fn cells(begins: &str) -> Vec<Vec<&'static str>> {
    let lines = include_str!("../../examples/guide/src/responses.md").lines();
    let rows = lines.skip_while(|line| !line.starts_with(begins)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn statuses(cell: &str) -> Vec<&str> {
    cell.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() == 3).collect()
}

fn table() -> Vec<Row<'static>> {
    let row = |cells: Vec<&'static str>| {
        let [happened, statuses_of, then] = cells[..] else { panic!("{cells:?}") };
        let goes_on = then.starts_with("continues");
        assert!(goes_on || then.starts_with("stops"), "{cells:?}");
        Row { happened, statuses: statuses(statuses_of), goes_on }
    };
    cells("| what happened | status | tus-js-client |").into_iter().map(row).collect()
}

struct Scenario {
    server: Server,
    started: Started,
    /// What the client connects to.
    address: SocketAddr,
    options: String,
    /// What happens after the client got a rejection.
    when_refused: Box<dyn FnMut()>,
}

impl Scenario {
    fn new(framework: Framework, options: &str, configure: impl FnOnce(Builder) -> Builder + Send + 'static) -> Self {
        let server = Server::new(framework, Store::Buffered);
        let started = server.start_with(configure);
        let address = started.running.address;
        Self { server, started, address, options: options.to_owned(), when_refused: Box::new(|| ()) }
    }

    /// The storage fails once.
    fn failing(framework: Framework, failure: Failure) -> Self {
        let server = Server::new(framework, Store::Buffered);
        let (started, watch): (Started, Watch) = server.start_watched(|builder| builder);
        watch.refuse(failure);
        let address = started.running.address;
        Self { server, started, address, options: "{}".to_owned(), when_refused: Box::new(|| ()) }
    }

    /// Another client changes the upload before the first bytes are added.
    fn interfering(framework: Framework, interfere: fn(&mut Connection, &str)) -> Self {
        let (first, address) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(None)));
        let known = address.clone();
        let scenario = Self::new(framework, "{}", move |builder| {
            builder.authorize(move |cx| {
                let is_first = cx.operation == Operation::Append && first.swap(false, Relaxed);
                let (known, path) = (known.clone(), cx.request.uri.path().to_owned());
                async move {
                    if is_first {
                        let address = known.lock().unwrap().unwrap();
                        let done = move || interfere(&mut Connection::open(address), &path);
                        tokio::task::spawn_blocking(done).await.unwrap();
                    }
                    Ok(())
                }
            })
        });
        *address.lock().unwrap() = Some(scenario.started.running.address);
        scenario
    }

    fn of(happened: &str, framework: Framework) -> Vec<Self> {
        let with_headers =
            |headers: &str| Self::new(framework, &format!(r#"{{"headers": {headers}}}"#), |builder| builder);
        match happened {
            "another request holds the upload or has changed it" => {
                [Failure::Busy, Failure::Conflict].map(|failure| Self::failing(framework, failure)).into()
            }
            "the offset is wrong" => {
                vec![Self::interfering(framework, |connection, path| {
                    assert_eq!(connection.patch(path, 0, &bytes(1, 0..5)).status, 204);
                })]
            }
            "the body was silent, too slow, or broke off; the server stops" => {
                // No gap is allowed, and the line has some.
                let mut scenario = Self::new(framework, "{}", |builder| builder.body_timeout(Duration::ZERO));
                scenario.address = Line::to(scenario.address, Fault::Slows, u64::MAX, u64::MAX, 1).address;
                vec![scenario]
            }
            "too many final uploads wait, or too many downloads run" => {
                vec![Self::failing(framework, Failure::Overloaded)]
            }
            "the disk is full" => vec![Self::failing(framework, Failure::Full)],
            "the bucket does not answer" => vec![Self::failing(framework, Failure::Unavailable)],
            "the storage or a hook failed" => {
                let failed = AtomicBool::new(false);
                let hook = Self::new(framework, "{}", move |builder| {
                    builder.authorize(move |_| {
                        let fails = !failed.swap(true, Relaxed);
                        async move { if fails { panic!("as the test wants it") } else { Ok(()) } }
                    })
                });
                vec![Self::failing(framework, Failure::Internal), hook]
            }
            "the request is wrong" => vec![with_headers(r#"{"Upload-Metadata": "a b c"}"#)],
            "the method is not allowed, for example because creation or deletion is turned off" => {
                let config = Config::default().without(TusExtension::Creation);
                vec![Self::new(framework, "{}", |builder| builder.config(config))]
            }
            "the request uses another version of the protocol" => vec![with_headers(r#"{"Tus-Resumable": "0.2.2"}"#)],
            "the body is not `application/offset+octet-stream`" => {
                let options = r#"{"patch": {"Content-Type": "application/octet-stream"}}"#;
                vec![Self::new(framework, options, |builder| builder)]
            }
            "the application chose an id that is in use" => {
                let scenario = Self::new(framework, r#"{"retryDelays": [5, 5]}"#, |builder| {
                    builder.before_create(async |cx| {
                        let mut upload = cx.upload;
                        upload.id = Some("chosen".parse().unwrap());
                        Ok(upload)
                    })
                });
                Connection::open(scenario.address).create(LENGTH);
                vec![scenario]
            }
            "the application refuses" => {
                let refuse = |rejection: fn() -> Rejection| {
                    Self::new(framework, "{}", move |builder| {
                        builder.authorize(move |_| async move { Err::<(), _>(rejection()) })
                    })
                };
                vec![refuse(|| Rejection::unauthorized("Bearer")), refuse(|| Rejection::forbidden("no\n"))]
            }
            "the upload is gone, or has expired" => {
                let deleted = Self::interfering(framework, |connection, path| {
                    assert_eq!(connection.request("DELETE", path, &[], b"").status, 204);
                });
                let expired = Self::new(framework, "{}", |builder| {
                    let config = Config::default().expire_after(Duration::ZERO);
                    builder.config(config).background(false).created(async |cx| {
                        let expires = cx.upload.expires.unwrap();
                        tokio::time::sleep(expires.duration_since(SystemTime::now()).unwrap_or_default()).await;
                    })
                });
                vec![deleted, expired]
            }
            "the upload is larger than allowed" => {
                vec![Self::new(framework, "{}", |builder| builder.config(Config::default().max_size(LENGTH - 1)))]
            }
            "the checksum does not match" => {
                vec![with_headers(r#"{"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#)]
            }
            other => panic!("nothing makes this row true: {other}"),
        }
    }
}

#[test]
#[cfg_attr(
    not(has_node),
    ignore = "TUS_TEST_OTHERS names no directory with tus-js-client and @tus/server, or node is missing"
)]
fn tus_js_client_retries_as_the_guide_says() {
    let others = installed();
    let directory = TempDir::new().unwrap();
    let film = directory.path().join("film");
    std::fs::write(&film, bytes(1, 0..LENGTH)).unwrap();
    let table = table();
    assert!(table.len() >= 10);
    let others_that_go_on: Vec<_> =
        table.iter().filter(|row| row.goes_on).flat_map(|row| row.statuses.clone()).collect();
    for (framework, row) in
        Framework::ALL.into_iter().flat_map(|framework| table.iter().map(move |row| (framework, row)))
    {
        let mut seen: Vec<String> = Vec::new();
        // A line that breaks in the meantime may lose a response.
        let scenarios = (0..TRIES).flat_map(|_| Scenario::of(row.happened, framework));
        for (tried, mut scenario) in scenarios.enumerate() {
            if tried >= SCENARIOS && row.statuses.iter().all(|status| seen.iter().any(|seen| seen == status)) {
                break;
            }
            let endpoint = format!("http://{}/files", scenario.address);
            let mut client = node(&others, include_str!("others/refused.mjs"));
            client.arg(endpoint).arg(&film).arg(&scenario.options).stdout(Stdio::piped());
            let mut client = client.spawn().unwrap();
            let mut end = String::new();
            for line in BufReader::new(client.stdout.take().unwrap()).lines().map_while(Result::ok) {
                match line.split_once(' ') {
                    Some(("done", _)) => end = line,
                    Some((_, status)) if !status.starts_with('2') => {
                        seen.push(status.to_owned());
                        (scenario.when_refused)();
                    }
                    Some(_) => {}
                    None => end = line,
                }
            }
            client.wait().unwrap();
            let goes_on = end.starts_with("done ");
            assert_eq!(goes_on, row.goes_on, "{framework}: {}: {seen:?}, {end}", row.happened);
            if let Some(url) = end.strip_prefix("done ") {
                assert_same(&scenario.started.content(url), &bytes(1, 0..LENGTH));
            }
            drop((scenario.started, scenario.server));
        }
        // A client that continues may get others on its way.
        seen.retain(|status| row.statuses.contains(&&**status) || !others_that_go_on.contains(&&**status));
        seen.sort();
        seen.dedup();
        assert_eq!(seen, row.statuses, "{framework}: {}", row.happened);
    }
}

/// What tus-js-client does not ask for, and the statuses of the responses.
fn answered(happened: &str, framework: Framework) -> Vec<u16> {
    let server = Server::new(framework, Store::Buffered);
    let start = |config: Config| server.start_with(move |builder| builder.config(config).background(false));
    let part =
        |connection: &mut Connection| connection.create_with(&[("Upload-Concat", "partial"), ("Upload-Length", "1")]);
    match happened {
        "the body has a transfer coding other than `chunked`" => {
            let started = start(Config::default());
            let mut connection = started.connect();
            let path = connection.create(5);
            let headers = [("Upload-Offset", "0"), ("Content-Type", OCTETS), ("Transfer-Encoding", "gzip, chunked")];
            let body = b"5\r\nhello\r\n0\r\n\r\n";
            let status = connection.request("PATCH", &path, &headers, body).status;
            // actix-web refuses it before the endpoint sees it.
            assert_eq!(status, if framework == Framework::ActixWeb { 400 } else { 501 }, "{framework}");
            vec![501, 400]
        }
        "bytes are sent to a final upload" => {
            let started = start(Config::default());
            let mut connection = started.connect();
            let concat = format!("final;{}", part(&mut connection));
            let path = connection.create_with(&[("Upload-Concat", &concat)]);
            vec![connection.patch(&path, 0, b"h").status]
        }
        "a tus request is sent to an upload that was created by the IETF's draft" => {
            let started = start(Config::default());
            let mut connection = started.connect();
            let draft = "Upload-Draft-Interop-Version: 8\r\nUpload-Complete: ?0\r\nContent-Length: 0";
            connection.send(format!("POST /files HTTP/1.1\r\nHost: tus.example.org\r\n{draft}\r\n\r\n").as_bytes());
            let path = connection.response("POST").header("location").to_owned();
            vec![connection.request("HEAD", &path, &[], b"").status]
        }
        "a final upload names an upload that does not exist, that is not a part, or that is not complete while `concatenation-unfinished` is turned off" =>
        {
            let started = start(Config::default().without(TusExtension::ConcatenationUnfinished));
            let mut connection = started.connect();
            let (single, part) = (connection.create(1), part(&mut connection));
            let names = ["/files/missing", &single, &part].map(|path| format!("final;{path}"));
            names.map(|concat| connection.request("POST", "/files", &[("Upload-Concat", &concat)], b"").status).into()
        }
        "an unfinished upload is downloaded" => {
            let started = start(Config::default().download(Download::attachment()));
            let mut connection = started.connect();
            let path = connection.create(5);
            vec![connection.request("GET", &path, &[], b"").status]
        }
        "a download asks for a range beyond the end, or for another file (`If-Match`)" => {
            let started = start(Config::default().download(Download::attachment()));
            let mut connection = started.connect();
            let path = connection.create(5);
            assert_eq!(connection.patch(&path, 0, b"hello").status, 204);
            // When the hooks are done.
            wait_until(|| connection.request("GET", &path, &[], b"").status == 200);
            let headers = [("Range", "bytes=5-"), ("If-Match", "\"another\"")];
            headers.map(|header| connection.request("GET", &path, &[header], b"").status).into()
        }
        other => panic!("nothing makes this row true: {other}"),
    }
}

#[test]
fn other_clients_meet_what_the_guide_says() {
    let table = cells("| what happened to another client | status |");
    assert!(table.len() >= 5);
    for (framework, row) in
        Framework::ALL.into_iter().flat_map(|framework| table.iter().map(move |row| (framework, row)))
    {
        let expected: Vec<u16> = statuses(row[1]).into_iter().map(|status| status.parse().unwrap()).collect();
        assert_eq!(answered(row[0], framework), expected, "{framework}: {}", row[0]);
    }
}
