//! Other users can read neither uploads nor the database.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use tests::{Framework, Store};

use crate::{
    client::Connection,
    harness::{Process, SERVER, Server, id},
};

fn modes(data: &Path, upload: &str) -> Vec<(String, u32)> {
    let upload = format!("uploads/{upload}");
    let names = ["", "uploads", "uploads.db", "uploads.db-wal", "uploads.db-shm", "uploads.reserve", &upload];
    names.map(|name| (name.to_owned(), data.join(name).metadata().unwrap().mode() & 0o7777)).into()
}

fn begun(connection: &mut Connection) -> String {
    let path = connection.create(5);
    assert_eq!(connection.patch(&path, 0, b"hell").status, 204);
    path
}

#[test]
fn permissions_do_not_depend_on_the_umask() {
    for store in [Store::Synced, Store::Buffered] {
        for umask in ["000", "022", "077"] {
            let server = Server::new(Framework::Axum, store);
            let data = server.directory.path().join("above/data");
            let start = || {
                let script = format!("umask {umask} && exec \"$0\" \"$@\"");
                let mut command = Command::new("sh");
                command.args(["-c", &script, SERVER, "axum", &store.to_string()]).arg(&data);
                Process::run(command)
            };
            let (directory, file) = if umask == "077" { (0o700, 0o600) } else { (0o750, 0o640) };
            let process = start();
            let path = begun(&mut process.connect());
            for (name, mode) in modes(&data, id(&path).as_str()) {
                let right = if ["", "uploads"].contains(&&*name) { directory } else { file };
                assert_eq!(mode, right, "{name} has {mode:o} with the umask {umask}");
            }
            assert_eq!(data.parent().unwrap().metadata().unwrap().mode() & 0o777, directory);
            process.stop();

            // As an older version created them.
            for (name, mode) in [("uploads", 0o755), ("uploads.db", 0o644)] {
                fs::set_permissions(data.join(name), Permissions::from_mode(mode)).unwrap();
            }
            let process = start();
            let path = begun(&mut process.connect());
            for (name, mode) in modes(&data, id(&path).as_str()) {
                assert_eq!(mode & 0o007, 0, "{name} has {mode:o}");
            }
        }
    }
}
