//! The example `upload`, as a user and a script call it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    content::{assert_same, bytes},
    example::{Example, path},
    faulty::{Fault, Line},
    harness::{id, wait_until},
};

const LENGTH: u64 = 32 << 20;

fn upload(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path("upload"));
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
fn downloads_resume_at_the_end_of_the_file() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[("TUS_DOWNLOAD", "on")]);
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    let (_, url, _) = run(here.path(), &["film", "--to", &format!("http://{}/files", server.address)]);
    let copy = here.path().join("copy");
    for have in [0, 1000, LENGTH] {
        std::fs::write(&copy, bytes(1, 0..have)).unwrap();
        let (code, _, err) = run(here.path(), &["copy", "--download", url.trim()]);
        assert_eq!(code, 0, "{err}");
        assert_same(&std::fs::read(&copy).unwrap(), &bytes(1, 0..LENGTH));
    }
    let (code, _, err) = run(here.path(), &["copy2", "--download", &url.trim().replace("/files/", "/files/no")]);
    assert!(code == 1 && err.contains("404"), "{code} {err}");
}

#[test]
fn a_stopped_upload_resumes() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = Example::start("axum", there.path(), &[]);
    std::fs::write(here.path().join("film"), bytes(1, 0..LENGTH)).unwrap();
    let line = Line::to(server.address, Fault::FallsSilent, u64::MAX, 1 << 20, 7);
    let to = format!("http://{}/files", line.address);
    let arguments = ["film", "--to", &to, "--chunk-size", "all", "--checksum", "off"];
    let stopped = upload(here.path(), &arguments).spawn().unwrap();
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
        (&["a", "--to", nowhere, "--header", "nothing"], 2, "colon"),
        (&["a", "--to", nowhere, "--parallel", "0"], 2, "parallel"),
        (&["a", "--to", nowhere, "--chunk-size", "many"], 1, "--chunk-size"),
        (&["a", "--to", nowhere, "--checksum", "md4"], 1, "--checksum"),
        (&["a", "--to", nowhere, "--ca", "nothing.pem"], 1, "nothing.pem"),
        (&["b", "--to", nowhere], 1, "cannot be read"),
    ] {
        let (exit, _, err) = run(here.path(), arguments);
        assert_eq!(exit, code, "{arguments:?}: {err}");
        assert!(err.contains(word), "{arguments:?}: {err}");
    }
}
