//! A server in a process of its own, and its resource usage.

use std::{
    error::Error,
    fs, io,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A server process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

/// Another instance of this program, for other arguments.
///
/// # Errors
///
/// If the system does not report its path.
pub fn this_program() -> io::Result<Command> {
    std::env::current_exe().map(Command::new)
}

impl Process {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it exits instead.
    pub fn start(command: &mut Command, address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let mut child = command.stdin(Stdio::null()).spawn()?;
        loop {
            if TcpStream::connect(address).is_ok() {
                return Ok(Self(child));
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("the server exited: {status}: {command:?}").into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    ///
    /// If the system reports an error.
    pub fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// A line of `/proc/PID/status`: `VmRSS` and `VmHWM` in KiB, `Threads`.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn status(&self, field: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
    }

    /// Open file descriptors.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub fn descriptors(&self) -> io::Result<u64> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0.id()))?.count() as u64)
    }

    /// Processor time that it has used, user and system.
    ///
    /// # Errors
    ///
    /// If the system does not report it.
    pub fn processor(&self) -> io::Result<Duration> {
        ticks(&format!("/proc/{}/stat", self.0.id()), 11)
    }
}

/// Processor time of the children of this process that have ended, user and system.
///
/// # Errors
///
/// If the system does not report it.
pub fn children() -> io::Result<Duration> {
    ticks("/proc/self/stat", 13)
}

/// The sum of two fields after the process's name.
fn ticks(stat: &str, first: usize) -> io::Result<Duration> {
    let stat = fs::read_to_string(stat)?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(first).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux.
    Ok(Duration::from_millis(ticks * 10))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
