//! Programs whose log says where they listen.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    example,
    log::{self, Lines},
};

/// A process with a log in JSON. It is killed when this is dropped.
pub(super) struct Program {
    child: Child,
    log: Lines,
}

impl Program {
    /// `None` if it is not installed.
    pub(super) fn start(command: &mut Command) -> Option<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        let log = log::read(child.stderr.take()?);
        Some(Self { child, log })
    }

    /// The address in the next line of the log for which `find` returns one.
    pub(super) fn address(&self, find: impl Fn(&Value) -> Option<&Value>) -> SocketAddr {
        let address = |line: &str| find(&serde_json::from_str(line).ok()?)?.as_str()?.parse().ok();
        self.log.find(address)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line with this message.
fn said<'a>(line: &'a Value, message: &str) -> Option<&'a Value> {
    let fields = line.get("fields")?;
    if fields["message"] == message { fields.get("address") } else { None }
}

/// The program tus-serve. It is killed when this is dropped.
pub(super) struct TusServe {
    _program: Program,
    /// Where clients upload.
    pub(super) address: SocketAddr,
    /// Where `/metrics` is.
    pub(super) monitor: SocketAddr,
}

impl TusServe {
    /// Starts it on free ports.
    pub(super) fn start(uploads: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(example::server());
        command.env("TUS_ADDR", "127.0.0.1:0").env("TUS_MONITOR_ADDR", "127.0.0.1:0").env("TUS_DIR", uploads);
        command.env("TUS_LOG_FORMAT", "json").envs(variables.iter().copied());
        let program = Program::start(&mut command).expect("tus-serve");
        let monitor = program.address(|line| said(line, "health and metrics"));
        let address = program.address(|line| said(line, "listening"));
        Self { _program: program, address, monitor }
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}/files", self.address)
    }
}
