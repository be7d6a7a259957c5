//! An example as a process, as a user runs it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{LazyLock, mpsc},
    time::Duration,
};

use crate::{
    client::Connection,
    harness::{comes, free_address, memory},
};

/// A running example. It is killed when this is dropped.
pub(crate) struct Example {
    child: Child,
    pub(crate) address: SocketAddr,
}

/// The directory of the programs, built like the tests. The examples are in a directory of their own.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_BIN_EXE_server")).parent().unwrap();
    let release = directory.ends_with("release").then_some("--release");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--examples", "--bin", "tus-upload", "--bin", "tus-serve"])
        .args(release)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status();
    assert!(built.unwrap().success(), "the examples do not compile");
    directory.to_owned()
});

/// The program of an example.
pub(crate) fn path(name: &str) -> PathBuf {
    BUILT.join("examples").join(name)
}

/// The program `tus-upload`.
pub(crate) fn upload() -> PathBuf {
    BUILT.join("tus-upload")
}

/// The program `tus-serve`.
pub(crate) fn server() -> PathBuf {
    BUILT.join("tus-serve")
}

impl Example {
    /// Starts an example on a directory and a free port.
    pub(crate) fn start(name: &str, directory: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_at(name, &free_address().to_string(), directory, variables)
    }

    /// Starts an example at an address.
    pub(crate) fn start_at(name: &str, address: &str, directory: &Path, variables: &[(&str, &str)]) -> Self {
        Self::spawn(name, address, directory, variables, Stdio::inherit())
    }

    /// Starts an example on a directory and a free port, and gives what it prints on standard output.
    pub(crate) fn start_piped(name: &str, directory: &Path, variables: &[(&str, &str)]) -> (Self, ChildStdout) {
        let mut example = Self::spawn(name, "127.0.0.1:0", directory, variables, Stdio::piped());
        let output = example.child.stdout.take().unwrap();
        (example, output)
    }

    fn spawn(name: &str, address: &str, directory: &Path, variables: &[(&str, &str)], output: Stdio) -> Self {
        let mut child = Command::new(path(name))
            .env("TUS_ADDR", address)
            .env("TUS_DIR", directory)
            .envs(variables.iter().copied())
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        // The complete log is read, so that the example never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on http://") {
                    let _ = sender.send(address.parse().unwrap());
                }
                eprintln!("{line}");
            }
        });
        let address = receiver.recv_timeout(Duration::from_secs(60)).expect("the address that it listens on");
        Self { child, address }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// A line of `/proc/PID/status` in KiB, if there is one.
    pub(crate) fn memory(&self, field: &str) -> Option<u64> {
        memory(&self.child, field)
    }

    /// SIGTERM: it shuts down gracefully.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap()
    }

    /// SIGTERM. `None` if it does not end within a minute.
    pub(crate) fn stops(&mut self) -> Option<ExitStatus> {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let mut status = None;
        comes(|| {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status
    }

    /// SIGKILL: it gets no chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
