//! The program `tus-upload`, as a user and a script call it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    content::{assert_same, bytes},
    example::{self, Example},
    faulty::{Fault, Line},
    harness::{id, wait_until},
};

const LENGTH: u64 = 32 << 20;

fn upload(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(example::upload());
    command.args(arguments).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    outcome(upload(directory, arguments).output().unwrap())
}

fn outcome(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn files_are_uploaded_inspected_and_deleted() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    let to = format!("http://{}/files", server.address);
    for (name, length) in [("a", 3 << 20), ("b", 0), ("c", 5)] {
        std::fs::write(here.path().join(name), bytes(1, 0..length)).unwrap();
    }
    let header = "X-Something: other";
    let (code, out, err) = run(here.path(), &["a", "b", "c", "--to", &to, "--parallel", "2", "--header", header]);
    assert_eq!(code, 0, "{err}");
    let urls: Vec<_> = out.lines().collect();
    assert_eq!(urls.len(), 3, "{out}");
    for (url, length) in urls.iter().zip([3 << 20, 0, 5]) {
        let stored = std::fs::read(there.path().join("uploads").join(id(url).as_str())).unwrap();
        assert_same(&stored, &bytes(1, 0..length));
    }
    assert!(err.contains("a: ") && err.contains('%'), "plain lines without a terminal: {err}");
    let (code, out, _) = run(here.path(), &["--info", urls[2]]);
    assert_eq!((code, &*out), (0, "offset 5\nlength 5\nfilename c\n"));
    assert_eq!(run(here.path(), &["--terminate", urls[2]]).0, 0);
    let (code, _, err) = run(here.path(), &["--info", urls[2]]);
    assert!(code == 1 && err.contains("404"), "{code} {err}");
}

#[test]
fn the_protocol_is_chosen() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    let to = format!("http://{}/files", server.address);
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    // Everything in one request, which breaks again and again.
    let line = Line::to(server.address, Fault::Breaks, 3, 4 << 20, 7);
    let broken = format!("http://{}/files", line.address);
    for (protocol, to) in [("draft", &to), ("draft", &broken), ("auto", &to), ("tus", &to)] {
        let arguments = ["film", "--to", to, "--protocol", protocol, "--chunk-size", "all", "--checksum", "off"];
        let (code, out, err) = run(here.path(), &arguments);
        assert_eq!(code, 0, "{err}");
        let url = out.trim().replace(&line.address.to_string(), &server.address.to_string());
        let stored = std::fs::read(there.path().join("uploads").join(id(&url).as_str())).unwrap();
        assert_same(&stored, &bytes(1, 0..LENGTH));
        let (own, other) = if protocol == "draft" { ("draft", "tus") } else { ("tus", "draft") };
        let (code, out, _) = run(here.path(), &["--info", &url, "--protocol", own]);
        assert!(code == 0 && out.starts_with(&format!("offset {LENGTH}\nlength {LENGTH}\n")), "{out}");
        let (code, _, err) = run(here.path(), &["--info", &url, "--protocol", other]);
        assert!(code == 1 && err.contains("403"), "{code} {err}");
        assert_eq!(run(here.path(), &["--terminate", &url, "--protocol", own]).0, 0);
    }
    assert_eq!(line.faults_left(), 0);
    let (code, _, err) = run(here.path(), &["film", "--to", &to, "--protocol", "draft", "--parallel", "2"]);
    assert!(code == 1 && err.contains("parts"), "{code} {err}");
}

#[test]
fn a_file_that_is_too_large_for_the_server_is_not_sent() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[("TUS_MAX_SIZE", "99")]);
    let to = format!("http://{}/files", server.address);
    std::fs::write(here.path().join("film"), bytes(1, 0..100)).unwrap();
    for parallel in ["1", "4"] {
        let (code, _, err) = run(here.path(), &["film", "--to", &to, "--parallel", parallel]);
        assert!(code == 1 && err.contains("the server accepts at most 99"), "{code} {err}");
    }
    assert_eq!(std::fs::read_dir(there.path().join("uploads")).map_or(0, Iterator::count), 0);
}

#[test]
fn downloads_resume_at_the_end_of_the_file() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[("TUS_DOWNLOAD", "on")]);
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    let (_, url, _) = run(here.path(), &["film", "--to", &format!("http://{}/files", server.address)]);
    let copy = here.path().join("copy");
    for have in [None, Some(0), Some(1000), Some(LENGTH - 5), Some(LENGTH)] {
        let _ = std::fs::remove_file(&copy);
        have.iter().for_each(|have| std::fs::write(&copy, bytes(1, 0..*have)).unwrap());
        let (code, _, err) = run(here.path(), &["copy", "--download", url.trim()]);
        assert_eq!(code, 0, "{err}");
        assert_same(&std::fs::read(&copy).unwrap(), &bytes(1, 0..LENGTH));
    }
    let (code, _, err) = run(here.path(), &["copy2", "--download", &url.trim().replace("/files/", "/files/no")]);
    assert!(code == 1 && err.contains("404"), "{code} {err}");
    assert!(!here.path().join("copy2").exists(), "a download that fails leaves no file");
    // Another file, and a longer one.
    for other in [bytes(2, 0..1000), bytes(1, 0..LENGTH + 1), bytes(1, 0..LENGTH + (1 << 20))] {
        std::fs::write(&copy, &other).unwrap();
        let (code, _, err) = run(here.path(), &["copy", "--download", url.trim()]);
        assert!(code == 1 && err.contains("not the beginning"), "{code} {err}");
        assert_same(&std::fs::read(&copy).unwrap(), &other);
    }
}

#[test]
fn a_stopped_upload_resumes() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    let line = Line::to(server.address, Fault::FallsSilent, u64::MAX, 1 << 20, 7);
    let to = format!("http://{}/files", line.address);
    let arguments = ["film", "--to", &to, "--chunk-size", "all", "--checksum", "off"];
    let stopped = upload(here.path(), &[&arguments[..], &["--resume"]].concat()).spawn().unwrap();
    wait_until(|| {
        std::fs::read_to_string(here.path().join(".tus_urls.json")).is_ok_and(|urls| urls.contains("/files/"))
    });
    Command::new("kill").args(["-INT", &stopped.id().to_string()]).status().unwrap();
    let (code, out, err) = outcome(stopped.wait_with_output().unwrap());
    assert_eq!((code, &*out), (130, ""));
    assert!(err.contains("with --resume"), "{err}");

    line.mend();
    let (code, out, err) = run(here.path(), &[&arguments[..], &["--resume"]].concat());
    assert_eq!(code, 0, "{err}");
    let uploads = there.path().join("uploads");
    assert_same(&std::fs::read(uploads.join(id(out.trim()).as_str())).unwrap(), &bytes(1, 0..LENGTH));
    assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 1, "it is the same upload");
}

#[test]
fn invalid_arguments_and_failures_have_different_exit_codes() {
    let here = TempDir::new().unwrap();
    std::fs::write(here.path().join("a"), "hello").unwrap();
    let nowhere = "http://127.0.0.1:1/files";
    for (arguments, code, word) in [
        (&["a"][..], 2, "--to"),
        (&["--to", nowhere], 2, "FILES"),
        (&["a", "--to", "nowhere"], 2, "relative URL"),
        (&["a", "--to", "ftp://example.org"], 2, "http://"),
        (&["a", "--to", nowhere, "--header", "nothing"], 2, "colon"),
        (&["a", "--to", nowhere, "--metadata", "nothing"], 2, "equals sign"),
        (&["a", "--to", nowhere, "--parallel", "0"], 2, "parallel"),
        (&["a", "--to", nowhere, "--timeout", "0"], 2, "timeout"),
        (&["a", "--to", nowhere, "--chunk-size", "many"], 2, "--chunk-size"),
        (&["a", "--to", nowhere, "--chunk-size", "0"], 2, "--chunk-size"),
        (&["a", "--to", nowhere, "--checksum", "md4"], 2, "--checksum"),
        (&["a", "--to", nowhere, "--protocol", "http"], 2, "tus, draft, or auto"),
        (&["a", "--to", nowhere, "--ca", "nothing.pem"], 1, "nothing.pem"),
        (&["b", "--to", nowhere], 1, "cannot be read: No such file"),
        (&["a", "--to", nowhere, "--max-retries", "0"], 1, "refused"),
        (&["--help"], 0, ""),
    ] {
        let (exit, _, err) = run(here.path(), arguments);
        assert_eq!(exit, code, "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: {err}");
    }
    assert!(!here.path().join(".tus_urls.json").exists(), "nobody asked for it");
}

#[test]
fn one_missing_file_does_not_stop_the_others() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    let to = format!("http://{}/files", server.address);
    std::fs::write(here.path().join("a"), "hello").unwrap();
    let odd = "b\u{1b}[2J";
    let arguments = [odd, "a", "--to", &to, "--metadata", "kind=a=b", "--request-id", "--override-method"];
    let (code, out, err) = run(here.path(), &arguments);
    assert_eq!((code, out.lines().count()), (1, 1), "{err}");
    assert!(err.contains("b\\u{1b}[2J: ") && !err.contains('\u{1b}'), "escaped: {err:?}");
    let (code, info, _) = run(here.path(), &["--info", out.trim()]);
    assert_eq!((code, &*info), (0, "offset 5\nlength 5\nkind a=b\nfilename a\n"));
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 1, "no store unless asked for");

    let (code, out, err) = run(here.path(), &["a", "--to", &to, "--quiet"]);
    assert_eq!((code, &*out, &*err), (0, "", ""));
    let (code, out, err) = run(here.path(), &["a", "--to", &to, "--no-progress"]);
    assert_eq!((code, out.lines().count(), &*err), (0, 1, ""));
}

#[test]
fn standard_input_and_pipes_are_uploaded() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    let to = format!("http://{}/files", server.address);
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    for file in ["-", "/dev/stdin"] {
        let mut command = upload(here.path(), &[file, "--to", &to]);
        let mut cat = Command::new("cat").arg("film").current_dir(here.path()).stdout(Stdio::piped()).spawn().unwrap();
        let (code, out, err) = outcome(command.stdin(cat.stdout.take().unwrap()).output().unwrap());
        cat.wait().unwrap();
        assert_eq!(code, 0, "{err}");
        let stored = std::fs::read(there.path().join("uploads").join(id(out.trim()).as_str())).unwrap();
        assert_same(&stored, &bytes(1, 0..LENGTH));
    }
}

#[test]
fn ctrl_c_works_while_a_pipe_is_silent() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    let to = format!("http://{}/files", server.address);
    let mut stopped = upload(here.path(), &["-", "--to", &to]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = stopped.stdin.take().unwrap();
    input.write_all(&bytes(1, 0..3 << 20)).unwrap();
    wait_until(|| std::fs::read_dir(there.path().join("uploads")).is_ok_and(|uploads| uploads.count() == 1));
    Command::new("kill").args(["-INT", &stopped.id().to_string()]).status().unwrap();
    let (code, _, err) = outcome(stopped.wait_with_output().unwrap());
    assert_eq!(code, 130);
    assert!(err.contains("was started with --resume"), "{err}");
    drop(input);
}

#[test]
fn waits_are_visible() {
    let here = TempDir::new().unwrap();
    std::fs::write(here.path().join("a"), "hello").unwrap();
    let (code, _, err) = run(here.path(), &["a", "--to", "http://127.0.0.1:1/files", "--max-retries", "1"]);
    assert!(code == 1 && err.contains("a: waiting ") && err.contains("refused"), "{code} {err}");
}

/// A line with a thirtieth of the default silence and thirty times 16 kbit/s, in its own network namespace.
const SLOW_LINE: &str = "
    ip link set lo mtu 1500 up && tc qdisc add dev lo root tbf rate 480kbit burst 3000 limit 8000 || exit
    $SERVER & server=$!
    trap 'kill $server' EXIT
    until ss -ltn | grep -q :8080; do kill -0 $server || exit 78; sleep 0.05; done
    $UPLOAD film --to http://127.0.0.1:8080/files --timeout 1 --no-progress
";

#[test]
#[cfg_attr(not(has_shaped_lines), ignore = "there is no network namespace with a shaped line: unshare, ip, tc and ss")]
fn a_line_of_16_kbit_a_second_finishes_with_the_defaults() {
    const LENGTH: u64 = 300_000;
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-Urn", "sh", "-c", SLOW_LINE]).current_dir(here.path()).stdin(Stdio::null());
    command.env("SERVER", example::path("axum")).env("UPLOAD", example::upload());
    command.env("TUS_ADDR", "127.0.0.1:8080").env("TUS_DIR", there.path());
    let (code, out, err) = outcome(command.output().expect("unshare is missing"));
    assert_eq!(code, 0, "{err}");
    let stored = std::fs::read(there.path().join("uploads").join(id(out.trim()).as_str())).unwrap();
    assert_same(&stored, &bytes(1, 0..LENGTH));
    assert!(!err.contains(": waiting "), "bytes left all the time: {err}");
}
