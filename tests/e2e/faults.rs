//! Each system call of a server fails once: acknowledged bytes stay, and the upload resumes after the fault.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use tests::{Framework, Store};

use crate::{
    client::{Connection, Response},
    content::{assert_same, bytes},
    harness::{Process, SERVER, Server, missing},
};

const LENGTH: u64 = 3000;

/// The calls that fail, how they fail, and how often each thread makes them at most: during start, and while serving.
const FAULTS: [(&str, &str, usize, usize); 9] = [
    ("fdatasync", "EIO", 1, 4),
    ("fsync", "EIO", 20, 12),
    ("pwrite64", "EIO", 40, 24),
    ("pwrite64", "ENOSPC", 40, 24),
    ("pread64", "EIO", 12, 4),
    ("openat", "EMFILE", 30, 6),
    ("openat", "EROFS", 30, 6),
    ("lseek", "EIO", 2, 4),
    ("flock", "EIO", 1, 4),
];

#[test]
#[cfg_attr(not(has_strace), ignore = "strace is missing, or may not attach to a process")]
fn each_system_call_may_fail_once() {
    if !Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success()) {
        missing("strace is missing, or it may not be used");
    }
    // Each call, or a sample if time is short.
    let every = if std::env::var_os("TUS_TEST_EVERY_FAULT").is_some() { 1 } else { 7 };
    let mut answers: BTreeMap<u16, u32> = BTreeMap::new();
    let mut runs = 0;
    let mut run = |call: &str, error: &str, when: usize, is_started: bool| {
        let server = Server::new(Framework::Axum, Store::Synced);
        let fault = [format!("trace={call}"), format!("inject={call}:error={error}:when={when}")];
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &fault[0], "-e", &fault[1]]);
        let (process, attached) = if is_started {
            let process = server.spawn().unwrap();
            let Some(attached) = attach(strace, &process) else {
                return false;
            };
            (Some(process), Some(attached))
        } else {
            strace.args(["-qq", SERVER, "axum", "synced"]).arg(server.directory.path());
            // A server that fails to start reports the reason and changes nothing.
            (Process::try_run(strace), None)
        };
        runs += 1;
        let path = process.as_ref().and_then(|process| upload(process, &mut answers));
        assert!(path.is_some() || !is_started, "{call} {when}: a past fault still has effects");
        process.into_iter().for_each(Process::stop);
        attached.into_iter().for_each(|mut strace| drop(strace.wait()));
        let process = server.spawn().unwrap();
        let again = upload(&process, &mut BTreeMap::new()).expect("without faults");
        for path in path.iter().chain([&again]) {
            assert_same(&server.uploads().content(path), &bytes(8, 0..LENGTH));
            assert_eq!(process.connect().request("DELETE", path, &[], b"").status, 204, "{call} {when}");
        }
        true
    };
    for (call, error, at_start, serving) in FAULTS {
        for (most, is_started) in [(at_start, false), (serving, true)] {
            for when in (fastrand::usize(1..=every)..=most).step_by(every) {
                if !run(call, error, when, is_started) {
                    missing("strace may not attach to a process");
                }
            }
        }
    }
    eprintln!("{runs} faults; answers, 0 for none: {answers:?}");
    assert!(every > 1 || answers.keys().any(|status| *status >= 500), "no fault was met: {answers:?}");
}

/// Attaches strace to a process. `None` if that is not allowed.
pub(crate) fn attach(mut strace: Command, process: &Process) -> Option<Child> {
    let mut strace = strace.args(["-p", &process.number().to_string()]).stderr(Stdio::piped()).spawn().ok()?;
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines().map_while(Result::ok);
    if lines.any(|line| line.contains("attached")) {
        // It reports each new thread, and would exit if nothing read its output.
        std::thread::spawn(move || lines.for_each(drop));
        return Some(strace);
    }
    strace.wait().unwrap();
    None
}

/// Uploads in three pieces, and retries where the server fails. `None` if the upload could not be created.
fn upload(process: &Process, answers: &mut BTreeMap<u16, u32>) -> Option<String> {
    let mut connection = process.try_connect()?;
    let length = LENGTH.to_string();
    let ask = |answers: &mut BTreeMap<u16, u32>,
               connection: &mut Connection,
               method: &str,
               path: &str,
               headers: &[(&str, &str)]| {
        // The fault may hit each of the server's threads once.
        for _ in 0..12 {
            let response: Option<Response> = connection.try_request(method, path, headers, b"");
            *answers.entry(response.as_ref().map_or(0, |response| response.status)).or_default() += 1;
            match response {
                Some(response) if response.status < 500 => return Some(response),
                // It can be asked again on a working connection.
                _ => *connection = process.try_connect()?,
            }
        }
        None
    };
    let created = ask(answers, &mut connection, "POST", tests::MOUNT, &[("Upload-Length", &length)])?;
    assert_eq!(created.status, 201, "{created:?}");
    let path = created.header("location").to_owned();
    let mut acknowledged = 0;
    while acknowledged < LENGTH {
        let stands = ask(answers, &mut connection, "HEAD", &path, &[]).expect("a past fault still has effects");
        assert_eq!(stands.status, 200, "{stands:?}");
        assert!(
            stands.offset() >= acknowledged,
            "{acknowledged} bytes were acknowledged, {} are stored",
            stands.offset()
        );
        let start = stands.offset();
        let end = LENGTH.min(start + 1000);
        if start == end {
            break;
        }
        let offset = start.to_string();
        let headers = [("Upload-Offset", &*offset), ("Content-Type", crate::client::OCTETS)];
        let response = connection.try_request("PATCH", &path, &headers, &bytes(8, start..end));
        *answers.entry(response.as_ref().map_or(0, |response| response.status)).or_default() += 1;
        match response {
            Some(response) if response.status == 204 => acknowledged = end,
            _ => {
                acknowledged = start;
                connection = process.try_connect()?;
            }
        }
    }
    Some(path)
}

#[test]
fn descriptors_may_run_out() {
    let server = Server::new(Framework::Axum, Store::Synced);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 48 && exec \"$0\" \"$@\"", SERVER, "axum", "synced"]).arg(server.directory.path());
    let process = Process::run(command);
    let mut first = process.connect();
    let path = first.create(LENGTH);
    assert_eq!(first.patch(&path, 0, &bytes(8, 0..1000)).status, 204);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.extend(process.try_connect().map(|mut connection| {
            let _ = connection.try_send(b"PATCH /files/x HTTP/1.1\r\n");
            connection
        }));
    }
    // No descriptor is left for a file: the request may be rejected, but stored bytes stay.
    let refused = first.patch(&path, 1000, &bytes(8, 1000..2000));
    assert!([204, 500].contains(&refused.status), "{refused:?}");
    drop(crowd);
    let mut connection = process.connect();
    let offset = connection.offset(&path);
    assert!(offset >= 1000, "{offset}");
    assert_eq!(connection.patch(&path, offset, &bytes(8, offset..LENGTH)).status, 204);
    assert_same(&server.uploads().content(&path), &bytes(8, 0..LENGTH));
}
