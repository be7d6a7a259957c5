//! Scripts of the repository.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use tempfile::TempDir;

/// Builds anything, and its fuzzers end with the status in `FUZZER`.
const CARGO: &str = "#!/bin/sh\nif [ \"$2\" = run ]; then echo 'Done 7 runs'; echo 'why' >&2; exit \"$FUZZER\"; fi\n";

#[test]
fn a_fuzzer_that_fails_without_a_crash_fails_the_run() {
    let directory = TempDir::new().unwrap();
    let (fuzz, programs) = (directory.path().join("tests/fuzz"), directory.path().join("programs"));
    fs::create_dir_all(&fuzz).unwrap();
    fs::create_dir(&programs).unwrap();
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/run"), fuzz.join("run")).unwrap();
    fs::write(programs.join("cargo"), CARGO).unwrap();
    fs::set_permissions(programs.join("cargo"), Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let run = |status: &str| {
        let mut run = Command::new(fuzz.join("run"));
        let output = run.args(["1", "parsers", "client"]).env("PATH", &path).env("FUZZER", status).output().unwrap();
        let [said, why] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), said, why)
    };
    let all = "-- parsers\nDone 7 runs\n-- client\nDone 7 runs\n";
    assert_eq!(run("0"), (Some(0), all.to_owned(), String::new()));
    let first = "-- parsers\nDone 7 runs\n";
    assert_eq!(run("137"), (Some(137), first.to_owned(), "Done 7 runs\nwhy\n".to_owned()));
}
