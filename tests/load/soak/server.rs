//! The server: another instance of this program, in a process that can be killed and inspected.

use std::{
    error::Error,
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use load::process::{self, Process};
use tests::{Framework, Store};
use tokio::sync::oneshot;
use tus_service::{Config, Tus};

/// Abandoned uploads expire after this time.
pub(crate) const EXPIRES: Duration = Duration::from_secs(120);

pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    framework: Framework,
    store: Store,
}

/// The server's resources. Sizes are in bytes.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) memory: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Files of uploads, and the bytes in them.
    pub(crate) files: u64,
    pub(crate) file_bytes: u64,
    /// `uploads.db` and `uploads.db-wal`.
    pub(crate) database: u64,
    pub(crate) log: u64,
}

/// Serves forever.
pub(crate) fn serve(
    framework: Framework,
    store: Store,
    directory: &Path,
    address: SocketAddr,
) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = Config::default().expire_after(EXPIRES);
        let builder = Tus::builder_shared(store.open(directory)?).config(config);
        let tus = builder.sweep_interval(Duration::from_secs(5)).build();
        let (_stop, stopped) = oneshot::channel();
        Ok(tests::serve(framework, TcpListener::bind(address)?, tus, tests::Interim::Off, stopped).await?)
    })
}

impl Server {
    pub(crate) fn start(framework: Framework, store: Store, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let process = spawn(framework, store, directory, address)?;
        Ok(Self { process, address, directory: directory.to_owned(), framework, store })
    }

    /// Sends SIGKILL, and starts another server in its place.
    pub(crate) fn kill_and_start(&mut self) -> Result<(), Box<dyn Error>> {
        self.process.kill()?;
        self.process = spawn(self.framework, self.store, &self.directory, self.address)?;
        Ok(())
    }

    pub(crate) fn usage(&self) -> io::Result<Usage> {
        let (mut files, mut file_bytes) = (0, 0);
        for file in fs::read_dir(self.directory.join("uploads"))? {
            // A file may be gone by now.
            if let Ok(metadata) = file.and_then(|file| file.metadata()) {
                files += 1;
                file_bytes += metadata.len();
            }
        }
        let size = |name: &str| fs::metadata(self.directory.join(name)).map_or(0, |metadata| metadata.len());
        Ok(Usage {
            memory: self.process.status("VmRSS")? * 1024,
            descriptors: self.process.descriptors()?,
            threads: self.process.status("Threads")?,
            files,
            file_bytes,
            database: size("uploads.db"),
            log: size("uploads.db-wal"),
        })
    }
}

fn spawn(framework: Framework, store: Store, directory: &Path, address: SocketAddr) -> Result<Process, Box<dyn Error>> {
    let mut command = process::this_program()?;
    command.args(["--framework", &framework.to_string(), "--store", &store.to_string(), "--serve"]);
    Process::start(command.arg(directory).arg(address.to_string()), address)
}
