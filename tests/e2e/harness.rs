//! Runs a test on every server.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    ops::{Deref, Range},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

use bucket::Bucket;
use futures_util::{StreamExt, TryStreamExt};
use tempfile::TempDir;
use tests::{Framework, Interim, Running, Store};
use tus_service::{Builder, Memory, Phase, Storage, Upload, UploadFilter, UploadId};

use crate::{client::Connection, watched::Watch};

/// A framework over a storage, in a directory of its own.
pub(crate) struct Server {
    pub(crate) framework: Framework,
    pub(crate) store: Store,
    pub(crate) directory: TempDir,
    /// What storages in this process share instead of the directory.
    memory: Memory,
    bucket: Bucket,
}

/// One test per server: `module::function` becomes `axum_memory::function` and so on. `every` test runs on every
/// server. `outliving` kills processes, or needs a disk: not for storages in memory. `informing` needs what actix-web
/// cannot do: interim responses, or to read a body ahead of a slow storage. `noticing` needs a storage that notices a body
/// in another process before its first checkpoint; those over a bucket are in `buckets`.
macro_rules! on_every_server {
    (every: $every:tt outliving: $outliving:tt informing: $informing:tt noticing: $noticing:tt) => {
        $crate::harness::on_every_server!(@ axum_memory, Axum, Memory, $every $informing $noticing);
        $crate::harness::on_every_server!(@ axum_synced, Axum, Synced, $every $outliving $informing $noticing);
        $crate::harness::on_every_server!(@ axum_buffered, Axum, Buffered, $every $outliving $informing $noticing);
        $crate::harness::on_every_server!(@ axum_bucket, Axum, Bucket, $every $informing);
        $crate::harness::on_every_server!(@ actix_web_memory, ActixWeb, Memory, $every $noticing);
        $crate::harness::on_every_server!(@ actix_web_synced, ActixWeb, Synced, $every $outliving $noticing);
        $crate::harness::on_every_server!(@ actix_web_buffered, ActixWeb, Buffered, $every $outliving $noticing);
        $crate::harness::on_every_server!(@ actix_web_bucket, ActixWeb, Bucket, $every);
        $crate::harness::on_every_server!(@ warp_memory, Warp, Memory, $every $informing $noticing);
        $crate::harness::on_every_server!(@ warp_synced, Warp, Synced, $every $outliving $informing $noticing);
        $crate::harness::on_every_server!(@ warp_buffered, Warp, Buffered, $every $outliving $informing $noticing);
        $crate::harness::on_every_server!(@ warp_bucket, Warp, Bucket, $every $informing);
    };
    (@ $name:ident, $framework:ident, $store:ident, $({
        $($(#[$attribute:meta])* $module:ident :: $test:ident),* $(,)?
    })*) => {
        mod $name {
            $($(#[test]
            $(#[$attribute])*
            fn $test() {
                crate::$module::$test($crate::harness::Server::new(tests::Framework::$framework, tests::Store::$store));
            })*)*
        }
    };
}
pub(crate) use on_every_server;

impl Server {
    pub(crate) fn new(framework: Framework, store: Store) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { framework, store, directory, memory: Memory::new(), bucket: Bucket::default() }
    }

    /// Starts it in this process with the defaults.
    pub(crate) fn start(&self) -> Started {
        self.start_with(|builder| builder)
    }

    /// Starts it in this process with other settings.
    pub(crate) fn start_with(&self, configure: impl FnOnce(Builder) -> Builder + Send + 'static) -> Started {
        self.start_over(self.open(), configure)
    }

    /// Starts it in this process with other settings, so that clients get interim responses if the framework supports
    /// them.
    pub(crate) fn start_informing(&self, configure: impl FnOnce(Builder) -> Builder + Send + 'static) -> Started {
        let storage = self.open();
        let running = Running::start_with(self.framework, storage.clone(), Interim::On, configure).unwrap();
        Started { running, uploads: Uploads(storage) }
    }

    /// Starts it in this process over a watched storage.
    pub(crate) fn start_watched(
        &self,
        configure: impl FnOnce(Builder) -> Builder + Send + 'static,
    ) -> (Started, Watch) {
        let (watch, storage) = Watch::over(self.open());
        (self.start_over(storage, configure), watch)
    }

    /// Starts it in a process of its own that can be killed. `None` for a storage that does not survive its process.
    pub(crate) fn spawn(&self) -> Option<Process> {
        self.spawn_with(&[])
    }

    /// The same with environment variables.
    pub(crate) fn spawn_with(&self, variables: &[(&str, &str)]) -> Option<Process> {
        let start = || Process::start(self.framework, self.store, self.directory.path(), variables);
        self.outlives_its_process().then(start)
    }

    /// The uploads in its store, read independently of the process that serves it.
    pub(crate) fn uploads(&self) -> Uploads {
        Uploads(self.open())
    }

    /// The names of the files with bytes of uploads, if each upload has its own.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Ok(files) = std::fs::read_dir(self.directory.path().join("uploads")) else {
            return Vec::new();
        };
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Whether its uploads survive the process.
    pub(crate) fn outlives_its_process(&self) -> bool {
        !matches!(self.store, Store::Memory | Store::Bucket)
    }

    /// A storage that shares its uploads with the others of this server, as if each were in a process of its own.
    fn open(&self) -> Arc<dyn Storage> {
        match self.store {
            Store::Memory => Arc::new(self.memory.another_process()),
            Store::Bucket => tests::on_bucket(self.bucket.clone()).unwrap(),
            store => store.open(self.directory.path()).unwrap(),
        }
    }

    fn start_over(
        &self,
        storage: Arc<dyn Storage>,
        configure: impl FnOnce(Builder) -> Builder + Send + 'static,
    ) -> Started {
        let running = Running::start(self.framework, storage.clone(), configure).unwrap();
        Started { running, uploads: Uploads(storage) }
    }
}

/// A server in this process, and direct access to its uploads.
pub(crate) struct Started {
    pub(crate) running: Running,
    uploads: Uploads,
}

impl Started {
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.running.address)
    }
}

impl Deref for Started {
    type Target = Uploads;

    fn deref(&self) -> &Uploads {
        &self.uploads
    }
}

/// An address for a program that is given its port, or starts at it again. The system gives it to nobody else: it chooses
/// higher ports.
pub(crate) fn free_address() -> SocketAddr {
    // Above 10080, which browsers refuse.
    const PORTS: Range<u16> = 10_100..30_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Two test programs at once begin in different places.
    let first = std::process::id().wrapping_mul(997);
    let mut ports = std::iter::repeat_with(|| first.wrapping_add(NEXT.fetch_add(1, Relaxed).into()) % count);
    let address = ports.find_map(|port| {
        let address = SocketAddr::from(([127, 0, 0, 1], PORTS.start + port as u16));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    address.unwrap()
}

/// The uploads in a storage.
pub(crate) struct Uploads(Arc<dyn Storage>);

impl Uploads {
    /// The record of an upload.
    pub(crate) fn upload(&self, path: &str) -> Option<Upload> {
        block_on(self.0.load(&id(path))).unwrap().map(|stored| stored.upload)
    }

    /// Whether an upload is complete and the application has been notified, if it wants to be.
    pub(crate) fn is_finished(&self, path: &str) -> bool {
        self.upload(path).unwrap().phase == Phase::Notified
    }

    /// How many bytes of an upload wait while as many are written.
    pub(crate) fn batch(&self) -> u64 {
        self.0.batch() as u64
    }

    /// How many uploads there are.
    pub(crate) fn count(&self) -> usize {
        block_on(self.0.list(UploadFilter::default(), None).count())
    }

    /// How many bytes of all uploads are committed.
    pub(crate) fn total(&self) -> u64 {
        let all = self.0.list(UploadFilter::default(), None);
        block_on(all.try_fold(0, async |sum, stored| Ok(sum + stored.upload.offset))).unwrap()
    }

    /// The committed bytes of an upload.
    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        self.read(path, 0..u64::MAX)
    }

    /// The committed bytes of an upload within a range.
    pub(crate) fn read(&self, path: &str, range: Range<u64>) -> Vec<u8> {
        block_on(self.read_range(path, range))
    }

    /// The committed bytes of an upload, within a runtime.
    pub(crate) async fn read_in_task(&self, path: &str) -> Vec<u8> {
        self.read_range(path, 0..u64::MAX).await
    }

    async fn read_range(&self, path: &str, range: Range<u64>) -> Vec<u8> {
        let stored = self.0.load(&id(path)).await.unwrap().unwrap();
        let bytes = self.0.read(&stored, range).await.unwrap();
        let joined = bytes.try_fold(Vec::new(), async |mut content, piece| {
            content.extend_from_slice(&piece);
            Ok(content)
        });
        joined.await.unwrap()
    }

    /// The offset of an upload.
    pub(crate) fn offset(&self, path: &str) -> u64 {
        self.upload(path).unwrap().offset
    }

    /// Waits until an upload has reached an offset.
    #[track_caller]
    pub(crate) fn wait_for_offset(&self, path: &str, offset: u64) {
        let reached = comes(|| self.upload(path).is_some_and(|upload| upload.offset == offset));
        assert!(
            reached,
            "offset {offset} was not reached, it is at {:?}",
            self.upload(path).map(|upload| upload.offset)
        );
    }
}

/// The id of the upload at a path.
pub(crate) fn id(path: &str) -> UploadId {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

/// The program of the server process.
pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_server");

/// A server in a process of its own.
pub(crate) struct Process {
    child: Child,
    /// The lines that it prints, except its address.
    lines: mpsc::Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Process {
    fn start(framework: Framework, store: Store, directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(SERVER);
        command.args([framework.to_string(), store.to_string()]).arg(directory).envs(variables.iter().copied());
        Self::run(command)
    }

    /// Starts a command that runs a server, and waits until it listens.
    pub(crate) fn run(command: Command) -> Self {
        Self::try_run(command).expect("a server")
    }

    /// The same; `None` if it exits immediately.
    pub(crate) fn try_run(mut command: Command) -> Option<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (address_to, address) = mpsc::channel();
        let (line_to, lines) = mpsc::channel();
        // Hooks for what an earlier process left may print lines before the address. All output is read, so that the
        // server never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = match line.strip_prefix("listening on ") {
                    Some(address) => address_to.send(address.parse().unwrap()).is_ok(),
                    None => line_to.send(line).is_ok(),
                };
            }
        });
        let Ok(address) = address.recv() else {
            let _ = child.wait();
            return None;
        };
        Some(Self { child, lines, address })
    }

    /// Waits for the next line that it prints, except its address.
    pub(crate) fn line(&self) -> String {
        self.lines.recv().expect("a line")
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Connects to a server that may be gone.
    pub(crate) fn try_connect(&self) -> Option<Connection> {
        Connection::try_open(self.address).ok()
    }

    /// Stops it cleanly, and waits until it has exited.
    pub(crate) fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    pub(crate) fn number(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: it gets no chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has a file of this name open.
    pub(crate) fn has_open(&self, name: &str) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).into_iter().flatten().flatten();
        open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|file| file.ends_with(name))
    }

    /// How many connections it has open, from the kernel's table.
    pub(crate) fn connections(&self) -> usize {
        let (port, table) = (self.address.port(), std::fs::read_to_string("/proc/net/tcp").unwrap_or_default());
        let is_open = |row: &&str| {
            let row: Vec<_> = row.split_whitespace().collect();
            // One that was closed has no inode, although what was sent may still be on its way.
            row[1].ends_with(&format!(":{port:04X}")) && row[3] != "0A" && row[9] != "0"
        };
        table.lines().skip(1).filter(is_open).count()
    }

    /// A line of `/proc/PID/status` in KiB, if there is one: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(&self, field: &str) -> Option<u64> {
        memory(&self.child, field)
    }
}

/// A line of `/proc/PID/status` of a process in KiB, if there is one.
pub(crate) fn memory(process: &Child, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds, and fails if it does not.
#[track_caller]
pub(crate) fn wait_until(come: impl FnMut() -> bool) {
    assert!(comes(come), "the condition did not become true");
}

/// Whether a condition becomes true within a minute.
pub(crate) fn comes(mut come: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !come() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// A test that needs this was built where it exists (see `build.rs`), or must run in any case.
#[track_caller]
pub(crate) fn missing(why: &str) -> ! {
    panic!("{why}; a test that cannot run is ignored when the tests are built without TUS_TEST_NO_SKIP");
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}
