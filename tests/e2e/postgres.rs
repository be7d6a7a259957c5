//! The example with the application's own Postgres.

use std::{
    cmp::Ordering,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    client::Connection,
    content::{assert_same, bytes},
    example::Example,
    harness::{id, missing, wait_until},
};

/// A Postgres of its own, which listens on a socket in its directory. It is stopped when this is dropped.
struct Postgres {
    programs: PathBuf,
    /// The user it runs as, where that may not be this one: it refuses to run as root.
    user: Option<u32>,
    directory: TempDir,
    server: Child,
}

impl Postgres {
    /// `None` if Postgres is not installed.
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.map(|version| version.unwrap().path());
        let installed = versions.filter(|version| version.join("bin/initdb").exists());
        let number = |version: &PathBuf| version.file_name()?.to_str()?.parse::<f64>().ok();
        let newest =
            installed.max_by(|one, other| number(one).partial_cmp(&number(other)).unwrap_or(Ordering::Equal))?;
        let programs = newest.join("bin");
        let directory = TempDir::new().unwrap();
        let user = rustix::process::getuid().is_root().then(|| {
            let id = Command::new("id").args(["-u", "postgres"]).output().unwrap().stdout;
            String::from_utf8(id).unwrap().trim().parse().expect("the user postgres")
        });
        chown(directory.path(), user, None).unwrap();
        let data = directory.path().join("data");
        let mut initdb = command(&programs, user, "initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=films", "--encoding=UTF8", "--pgdata"]).arg(&data);
        assert!(initdb.stdout(Stdio::null()).status().unwrap().success());
        let server = serve(&programs, user, &directory);
        Some(Self { programs, user, directory, server })
    }

    fn url(&self) -> String {
        format!("postgres://films@localhost/postgres?host={}", self.directory.path().display())
    }

    fn stop(&mut self) {
        assert!(Command::new("kill").args(["-INT", &self.server.id().to_string()]).status().unwrap().success());
        self.server.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.server = serve(&self.programs, self.user, &self.directory);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-QUIT", &self.server.id().to_string()]).status();
        let _ = self.server.wait();
    }
}

fn command(programs: &std::path::Path, user: Option<u32>, name: &str) -> Command {
    let mut command = Command::new(programs.join(name));
    if let Some(user) = user {
        command.uid(user);
    }
    command.current_dir("/");
    command
}

fn serve(programs: &std::path::Path, user: Option<u32>, directory: &TempDir) -> Child {
    let mut postgres = command(programs, user, "postgres");
    postgres.args(["-F", "-c", "listen_addresses=", "-k"]).arg(directory.path());
    let server = postgres.arg("-D").arg(directory.path().join("data")).stderr(Stdio::null()).spawn().unwrap();
    let is_ready = || {
        let mut ready = command(programs, user, "pg_isready");
        ready.args(["--quiet", "--host"]).arg(directory.path()).status().unwrap().success()
    };
    wait_until(is_ready);
    server
}

/// The name has a path and a line end.
const FILM: &str = "\"../film\\na\" 500\n";

fn films(connection: &mut Connection) -> String {
    connection.request("GET", "/films", &[], b"").text()
}

#[test]
#[cfg_attr(not(has_postgres), ignore = "postgresql is not installed")]
fn a_finished_upload_becomes_a_row_exactly_once() {
    let Some(mut postgres) = Postgres::start() else {
        missing("postgresql is not installed");
    };
    let directory = TempDir::new().unwrap();
    let url = postgres.url();
    let start = || Example::start("postgres", directory.path(), &[("DATABASE_URL", &url)]);
    let example = start();
    let mut connection = example.connect();
    let path = connection.create_with(&[("Upload-Length", "500"), ("Upload-Metadata", "filename Li4vZmlsbQph")]);

    // The client does not wait for the database.
    postgres.stop();
    assert_eq!(connection.patch(&path, 0, &bytes(1, 0..500)).status, 204);
    postgres.start_again();
    wait_until(|| films(&mut connection) == FILM);
    let uploads = rusqlite::Connection::open(directory.path().join("uploads.db")).unwrap();
    let phase = || uploads.query_row("SELECT phase FROM uploads", (), |row| row.get::<_, i64>(0)).unwrap();
    wait_until(|| phase() == 3);
    let moved: Vec<_> = std::fs::read_dir(directory.path().join("films")).unwrap().map(Result::unwrap).collect();
    let [film] = &*moved else { panic!("one file: {moved:?}") };
    assert_same(&std::fs::read(film.path()).unwrap(), &bytes(1, 0..500));
    assert!(!directory.path().join("uploads").join(id(&path).as_str()).exists());

    // As if the process had died before the success was recorded.
    example.kill();
    assert_eq!(uploads.execute("UPDATE uploads SET phase = phase - 1", ()).unwrap(), 1);
    let example = start();
    wait_until(|| phase() == 3);
    assert_eq!(films(&mut example.connect()), FILM);
}
