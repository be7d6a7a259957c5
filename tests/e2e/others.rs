//! Other projects' clients with these servers, and this client with another project's server, over connections that
//! break.
//!
//! They are in the directory `TUS_TEST_OTHERS`: the packages of `others/package.json` and a Python environment `venv`
//! with `others/requirements.txt`. `.ci/run` creates it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tests::{Framework, Store};
use tus_reqwest::{Client, Options, Retry, Source, Verification, block_on};
use tus_service::{Dialect, Phase};

use crate::{
    content::{assert_same, bytes},
    faulty::{Fault, Line},
    harness::{Server, id, missing},
};

const LENGTH: u64 = (4 << 20) + 3;
const FAULTS: u64 = 8;
const MOST: u64 = 700_000;

/// The directory of the other projects.
pub(crate) fn installed() -> PathBuf {
    let directory = std::env::var_os("TUS_TEST_OTHERS").map(PathBuf::from);
    let missing = || missing("TUS_TEST_OTHERS does not name the directory of tus-js-client, tuspy and @tus/server");
    directory.unwrap_or_else(missing)
}

/// Node with a script that finds the installed packages.
pub(crate) fn node(others: &Path, script: &str) -> Command {
    let mut node = Command::new("node");
    node.args(["--input-type=module", "--eval", script, "--"]).current_dir(others);
    node
}

/// Lets a client upload a file to each framework, over files and over a bucket.
fn uploads(client: impl Fn(&str, &Path) -> Command) {
    for store in [Store::Buffered, Store::Bucket] {
        uploads_to(store, &client);
    }
}

fn uploads_to(store: Store, client: impl Fn(&str, &Path) -> Command) {
    let directory = TempDir::new().unwrap();
    let film = directory.path().join("film");
    std::fs::write(&film, bytes(1, 0..LENGTH)).unwrap();
    for (framework, seed) in Framework::ALL.into_iter().zip(1..) {
        let server = Server::new(framework, store);
        let started = server.start();
        let line = Line::to(started.running.address, Fault::Breaks, FAULTS, MOST, seed);
        let output =
            client(&format!("http://{}/files", line.address), &film).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{framework}");
        let url = String::from_utf8(output.stdout).unwrap();
        assert_same(&started.content(url.trim()), &bytes(1, 0..LENGTH));
        let upload = started.upload(url.trim()).unwrap();
        assert_eq!(upload.metadata.text("filename"), Some("größer.film"), "{framework}");
        assert!(line.faults_left() < FAULTS, "no connection failed");
    }
}

#[test]
#[cfg_attr(
    not(has_node),
    ignore = "TUS_TEST_OTHERS names no directory with tus-js-client and @tus/server, or node is missing"
)]
fn tus_js_client_uploads() {
    let others = installed();
    for parts in ["1", "3"] {
        uploads(|endpoint, film| {
            let mut client = node(&others, include_str!("others/tus_js_client.mjs"));
            client.args([endpoint, film.to_str().unwrap(), parts]);
            client
        });
    }
}

/// tus-js-client also supports interop versions 5 and 6 of the IETF's draft. It cannot receive interim responses, so
/// it creates its upload without content first.
#[test]
#[cfg_attr(
    not(has_node),
    ignore = "TUS_TEST_OTHERS names no directory with tus-js-client and @tus/server, or node is missing"
)]
fn tus_js_client_uploads_with_the_draft() {
    let others = installed();
    let directory = TempDir::new().unwrap();
    let film = directory.path().join("film");
    std::fs::write(&film, bytes(1, 0..LENGTH)).unwrap();
    for (protocol, version) in [("ietf-draft-03", 5), ("ietf-draft-05", 6)] {
        for (framework, seed) in Framework::ALL.into_iter().zip(1..) {
            let server = Server::new(framework, Store::Buffered);
            let started = server.start();
            let line = Line::to(started.running.address, Fault::Breaks, FAULTS, MOST, seed);
            let mut client = node(&others, include_str!("others/tus_js_client_draft.mjs"));
            client.arg(format!("http://{}/files", line.address)).arg(&film).arg(protocol);
            let output = client.stderr(Stdio::inherit()).output().unwrap();
            assert!(output.status.success(), "{framework} {protocol}");
            let urls = String::from_utf8(output.stdout).unwrap();
            let [empty, url] = urls.lines().collect::<Vec<_>>()[..] else {
                panic!("two URLs: {urls}");
            };
            for url in [empty, url] {
                let upload = started.upload(url).unwrap();
                assert_eq!((upload.dialect, upload.phase), (Dialect::Draft(version), Phase::Notified), "{framework}");
                assert_eq!(upload.metadata.text("filename"), Some("größer.film"), "{framework}");
            }
            assert!(started.content(empty).is_empty());
            assert_same(&started.content(url), &bytes(1, 0..LENGTH));
            assert!(line.faults_left() < FAULTS, "no connection failed");
        }
    }
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn tuspy_uploads() {
    let others = installed();
    uploads(|endpoint, film| {
        let mut client = Command::new(others.join("venv/bin/python"));
        client.args(["-c", include_str!("others/tuspy.py"), endpoint]).arg(film);
        client
    });
}

#[test]
#[cfg_attr(
    not(has_node),
    ignore = "TUS_TEST_OTHERS names no directory with tus-js-client and @tus/server, or node is missing"
)]
fn this_client_uploads_to_tus_node_server() {
    let others = installed();
    let directory = TempDir::new().unwrap();
    let mut server = node(&others, include_str!("others/tus_server.mjs"));
    let mut server =
        server.arg(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
    // Kept open until the end, so that the server may print more.
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let port = lines.find_map(|line| line.trim().parse::<u16>().ok()).expect("the port that it listens on");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let retry = Retry::default().retries(50).delay(Duration::from_millis(20), Duration::from_millis(100));
    for chunk_size in [None, Some(1 << 20)] {
        let line = Line::to(address, Fault::Breaks, FAULTS, MOST, 9);
        let options = Options::default().retry(retry.clone()).chunk_size(chunk_size);
        let options = options.verification(Verification::IfOffered(tus_reqwest::Algorithm::Sha1));
        let client = Client::builder(&format!("http://{}/files", line.address)).options(options).build().unwrap();
        let uploaded = block_on(client.upload(Source::bytes(bytes(1, 0..LENGTH))).send()).unwrap();
        let stored = directory.path().join(id(uploaded.url.path()).as_str());
        assert_same(&std::fs::read(stored).unwrap(), &bytes(1, 0..LENGTH));
        assert!(block_on(client.info(uploaded.url)).unwrap().complete);
    }
    drop(server.stdin.take());
    server.wait().unwrap();
}
