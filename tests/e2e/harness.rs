//! Runs a test on every server.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tests::{Framework, Running, Store};
use tus_service::{Builder, Storage, Upload, UploadId};

use crate::client::Connection;

/// A framework over a storage, in a directory of its own.
pub(crate) struct Server {
    pub(crate) framework: Framework,
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
}

/// One test a server: `module::function` becomes `axum_memory::function` and so on.
macro_rules! on_every_server {
    ($($module:ident :: $test:ident),* $(,)?) => {
        $crate::harness::on_every_server!(@ axum_memory, Axum, Memory, $($module::$test),*);
        $crate::harness::on_every_server!(@ axum_synced, Axum, Synced, $($module::$test),*);
        $crate::harness::on_every_server!(@ axum_buffered, Axum, Buffered, $($module::$test),*);
    };
    (@ $name:ident, $framework:ident, $store:ident, $($module:ident :: $test:ident),*) => {
        mod $name {
            $(#[test]
            fn $test() {
                crate::$module::$test($crate::harness::Server::new(tests::Framework::$framework, tests::Store::$store));
            })*
        }
    };
}
pub(crate) use on_every_server;

impl Server {
    pub(crate) fn new(framework: Framework, store: Store) -> Self {
        Self { framework, store, directory: tempfile::tempdir().unwrap() }
    }

    /// Starts it in this process with the defaults.
    pub(crate) fn start(&self) -> Started {
        self.start_with(|builder| builder)
    }

    /// Starts it in this process with other settings.
    pub(crate) fn start_with(&self, configure: impl FnOnce(Builder) -> Builder + Send + 'static) -> Started {
        let storage = self.store.open(self.directory.path()).unwrap();
        let running = Running::start(self.framework, storage.clone(), configure).unwrap();
        Started { running, storage }
    }

    /// Starts it in a process of its own, to be killed. `None` for a storage that goes with its process.
    pub(crate) fn spawn(&self) -> Option<Process> {
        (self.store != Store::Memory).then(|| Process::start(self.framework, self.store, self.directory.path()))
    }
}

/// A server in this process.
pub(crate) struct Started {
    pub(crate) running: Running,
    /// Its storage, to look behind the scenes.
    pub(crate) storage: Arc<dyn Storage>,
}

impl Started {
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.running.address)
    }

    /// The record of an upload.
    pub(crate) fn upload(&self, path: &str) -> Option<Upload> {
        let id: UploadId = path.rsplit('/').next().unwrap().parse().unwrap();
        block_on(self.storage.load(&id)).unwrap()
    }

    /// The committed bytes of an upload.
    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        let upload = self.upload(path).unwrap();
        let mut content = Vec::new();
        while (content.len() as u64) < upload.offset {
            let more = block_on(self.storage.read(&upload, content.len() as u64..upload.offset)).unwrap();
            content.extend_from_slice(&more);
        }
        content
    }

    /// Waits until an upload stands at an offset.
    pub(crate) fn wait_for_offset(&self, path: &str, offset: u64) {
        wait_until(|| self.upload(path).is_some_and(|upload| upload.offset == offset));
    }
}

/// A server in a process of its own.
pub(crate) struct Process {
    child: Child,
    /// Kept open, so that the server can write to it.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Process {
    fn start(framework: Framework, store: Store, directory: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_server"))
            .args([framework.to_string(), store.to_string()])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        Self { child, _output: output, address: line.trim().parse().unwrap() }
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// SIGKILL: it gets no chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A line of `/proc/PID/status` in KiB, where there is one: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that will come, and fails where it does not within a minute.
pub(crate) fn wait_until(mut come: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !come() {
        assert!(Instant::now() < deadline, "it did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
