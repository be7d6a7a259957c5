//! The guide's table of responses: tus-js-client gets each of them, and continues or stops as the table says.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tempfile::TempDir;
use tests::{Framework, Store};
use tus_service::{Builder, Config, Failure, Operation, Rejection};

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    faulty::{Fault, Line},
    harness::{Server, Started},
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

fn table() -> Vec<Row<'static>> {
    let lines = include_str!("../../examples/guide/src/responses.md").lines();
    let rows = lines.skip_while(|line| !line.starts_with("| what happened | status |")).skip(2);
    let row = |line: &'static str| {
        let [_, happened, statuses, then, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let statuses = statuses.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() == 3).collect();
        let goes_on = then.starts_with("continues");
        assert!(goes_on || then.starts_with("stops"), "{line}");
        Row { happened, statuses, goes_on }
    };
    rows.take_while(|line| line.starts_with('|')).map(row).collect()
}

/// How a row's situation is caused.
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
            "the application refuses" => {
                let refuse = |rejection: fn() -> Rejection| {
                    Self::new(framework, "{}", move |builder| {
                        builder.authorize(move |_| async move { Err::<(), _>(rejection()) })
                    })
                };
                vec![refuse(|| Rejection::unauthorized("Bearer")), refuse(|| Rejection::forbidden("no\n"))]
            }
            "the upload is gone" => {
                vec![Self::interfering(framework, |connection, path| {
                    assert_eq!(connection.request("DELETE", path, &[], b"").status, 204);
                })]
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
