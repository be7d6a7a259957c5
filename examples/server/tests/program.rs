//! Runs the program.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use tus_reqwest::reqwest;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tus-serve");

/// For what a busy machine delays.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the program is started with.
pub(crate) struct Setup {
    directory: Arc<TempDir>,
    variables: Vec<(String, String)>,
}

impl Setup {
    /// A directory of its own, and free ports.
    pub(crate) fn new() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let uploads = directory.path().join("uploads-data").display().to_string();
        let setup = Self { directory, variables: Vec::new() };
        setup.set("TUS_DIR", &uploads).set("TUS_ADDR", "127.0.0.1:0").set("TUS_MONITOR_ADDR", "127.0.0.1:0")
    }

    /// With this variable.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these settings in a file.
    pub(crate) fn file(self, text: &str) -> Self {
        let path = self.path("server.toml");
        std::fs::write(&path, text).unwrap();
        self.set("TUS_CONFIG", &path.display().to_string())
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command, without anything from the environment of the test.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_clear().envs(self.variables.iter().cloned()).current_dir(self.directory.path());
        command.kill_on_drop(true);
        command
    }

    /// Runs a command to its end: whether it succeeded, its output, and its errors.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = timeout(PATIENCE, self.command(arguments).output()).await.expect("it ends").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Starts a server and waits until it listens.
    pub(crate) async fn start(&self) -> Server {
        let mut child = self.command(&[]).env("TUS_LOG_FORMAT", "json").stderr(Stdio::piped()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stderr.take().unwrap()).lines());
        let mut server =
            Server { child, lines, address: String::new(), monitor: None, _directory: self.directory.clone() };
        loop {
            let line = server.line().await;
            let Some(address) = line["fields"]["address"].as_str() else { continue };
            match line["fields"]["message"].as_str() {
                Some("health and metrics") => server.monitor = Some(address.parse().unwrap()),
                Some("listening") => {
                    server.address = address.to_owned();
                    return server;
                }
                _ => {}
            }
        }
    }
}

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    /// Its log, while somebody reads it.
    lines: Option<Lines<BufReader<ChildStderr>>>,
    pub(crate) address: String,
    monitor: Option<SocketAddr>,
    /// It stays as long as the server runs.
    _directory: Arc<TempDir>,
}

impl Server {
    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The URL of a path of the monitor.
    pub(crate) fn monitor(&self, path: &str) -> String {
        format!("http://{}{path}", self.monitor.expect("a monitor"))
    }

    /// Status and text of what the monitor says.
    pub(crate) async fn ask(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(self.monitor(path)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The next line of its log.
    pub(crate) async fn line(&mut self) -> serde_json::Value {
        let lines = self.lines.as_mut().expect("a log");
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line in time").unwrap();
        let line = line.expect("the server goes on");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"))
    }

    /// Waits for a line of its log with this message.
    pub(crate) async fn says(&mut self, message: &str) -> serde_json::Value {
        loop {
            let line = self.line().await;
            if line["fields"]["message"] == message {
                return line;
            }
        }
    }

    /// From now on, it cannot write its log.
    pub(crate) fn close_the_log(&mut self) {
        self.lines = None;
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("it runs");
        kill_process(Pid::from_raw(id.try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// Waits for its end: whether it succeeded.
    pub(crate) async fn ended(mut self) -> bool {
        timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap().success()
    }

    /// Stops it.
    pub(crate) async fn stop(self) {
        self.signal(Signal::TERM);
        assert!(self.ended().await);
    }

    /// SIGKILL: it gets no chance to clean up.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
