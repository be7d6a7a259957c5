//! The example that hands finished uploads over to S3 and a queue.

use tempfile::TempDir;
use tests::CONTAINER;

use super::servers::Foreign;
use crate::{
    client::Connection,
    content::{assert_same, bytes},
    example::Example,
    harness::wait_until,
};

/// More than one part.
const LENGTH: u64 = (10 << 20) + 5;

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn handoff_puts_an_object_and_sends_a_message() {
    let moto = Foreign::moto();
    let bucket = format!("s3://{CONTAINER}/films");
    let variables = moto.variables("unused");
    let mut variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    variables.push(("TUS_BUCKET", &bucket));
    let directory = TempDir::new().unwrap();
    let example = Example::start("handoff", directory.path(), &variables);
    let uploads = rusqlite::Connection::open(directory.path().join("uploads.db")).unwrap();
    let phase = || uploads.query_row("SELECT phase FROM uploads", (), |row| row.get::<_, i64>(0)).unwrap();
    let application = rusqlite::Connection::open(directory.path().join("application.db")).unwrap();
    let waiting = || application.query_row("SELECT count(*) FROM outbox", (), |row| row.get::<_, i64>(0)).unwrap();

    let mut connection = example.connect();
    let path = connection.create(LENGTH);
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..LENGTH)).status, 204);
    wait_until(|| phase() == 3 && waiting() == 0);
    let objects = || {
        let listed =
            Connection::open(moto.address).request("GET", &format!("/{CONTAINER}?list-type=2"), &[], b"").text();
        let keys = listed.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    let [object] = &*objects() else { panic!("one object") };
    assert!(object.starts_with("films/"), "{object}");
    let object = format!("/{CONTAINER}/{object}");
    assert_same(&Connection::open(moto.address).request("GET", &object, &[], b"").body, &bytes(1, 0..LENGTH));

    // As if the process had died before the success was recorded.
    example.kill();
    assert_eq!(uploads.execute("UPDATE uploads SET phase = phase - 1", ()).unwrap(), 1);
    let _example = Example::start("handoff", directory.path(), &variables);
    wait_until(|| phase() == 3 && waiting() == 0);
    assert_eq!(objects().len(), 1, "the same object again");
}
