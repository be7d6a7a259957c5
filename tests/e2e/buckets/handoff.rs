//! The example that hands finished uploads over to S3 and a queue.

use std::{
    io::{BufRead, BufReader},
    process::ChildStdout,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tempfile::TempDir;
use tests::CONTAINER;
use tus_object_store::object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, path::Path};

use super::servers::Foreign;
use crate::{
    content::{assert_same, bytes},
    example::Example,
    harness::{block_on, wait_until},
};

/// More than one part.
const LENGTH: u64 = (10 << 20) + 5;

/// The names and the bytes of all objects.
fn objects(moto: &Foreign) -> Vec<(Path, Bytes)> {
    let store = AmazonS3Builder::new().with_endpoint(moto.endpoint()).with_allow_http(true).with_region("us-east-1");
    let store = store.with_bucket_name(CONTAINER).with_access_key_id("test").with_secret_access_key("test");
    let store = store.build().unwrap();
    let store = &store;
    let objects = store.list(None).and_then(async |object| {
        let bytes = store.get(&object.location).await?.bytes().await?;
        Ok((object.location, bytes))
    });
    block_on(objects.try_collect()).unwrap()
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn handoff_puts_an_object_and_sends_a_message() {
    let moto = Foreign::moto();
    let bucket = format!("s3://{CONTAINER}/films");
    // Uploads arrive in the directory.
    let variables = moto.variables("unused");
    let variables = variables.iter().filter(|(name, _)| *name != "TUS_STORE");
    let mut variables: Vec<_> = variables.map(|(name, value)| (*name, &**value)).collect();
    variables.push(("TUS_BUCKET", &bucket));
    // Variables of other programs, whose names are options of the store without a prefix.
    variables.extend([("TOKEN", "foreign"), ("ENDPOINT", "http://127.0.0.1:1")]);
    let directory = TempDir::new().unwrap();
    // Nobody reads what it prints, so the message cannot be sent.
    let (example, output) = Example::start_piped("handoff", directory.path(), &variables);
    drop(output);
    let uploads = rusqlite::Connection::open(directory.path().join("uploads.db")).unwrap();
    let phase = || uploads.query_row("SELECT phase FROM uploads", (), |row| row.get::<_, i64>(0)).unwrap();
    let application = rusqlite::Connection::open(directory.path().join("application.db")).unwrap();
    let waiting = || application.query_row("SELECT count(*) FROM outbox", (), |row| row.get::<_, i64>(0)).unwrap();

    let mut connection = example.connect();
    let path = connection.create(LENGTH);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..LENGTH)).status, 204);
    wait_until(|| phase() == 3);
    assert_eq!(waiting(), 1);
    let there = objects(&moto);
    let [(name, stored)] = &*there else { panic!("one object: {}", there.len()) };
    assert!(name.as_ref().starts_with("films/"), "{name}");
    assert_same(stored, &bytes(1, 0..LENGTH));

    example.kill();
    let (example, output) = Example::start_piped("handoff", directory.path(), &variables);
    wait_until(|| waiting() == 0);
    let message = |output: ChildStdout| BufReader::new(output).lines().next().unwrap().unwrap();
    let key = name.filename().unwrap();
    assert_eq!(message(output), format!("{key} {name}"));

    // As if the process had died before the success was recorded.
    example.kill();
    assert_eq!(uploads.execute("UPDATE uploads SET phase = phase - 1", ()).unwrap(), 1);
    let (_example, output) = Example::start_piped("handoff", directory.path(), &variables);
    wait_until(|| phase() == 3 && waiting() == 0);
    assert_eq!(objects(&moto).len(), 1, "the same object again");
    assert_eq!(message(output), format!("{key} {name}"), "the same key again");
}
