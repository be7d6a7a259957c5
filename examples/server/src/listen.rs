//! Sockets that listen.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::settings::Address;

/// Where descriptors run out there will be some again.
const PAUSE: Duration = Duration::from_millis(100);

/// Failures in a row of which one is in the log: a line in ten seconds.
const SILENT_FAILURES: u64 = 100;

/// The shortest time in which a client may take nothing: shorter interruptions of the network are usual.
pub(crate) const SHORTEST_SILENCE: Duration = Duration::from_secs(30);

/// The longest one: the kernel counts milliseconds in 31 bits.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 24 * 60 * 60);

/// A connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    /// On a port, and how long a client may take nothing of what was sent.
    Tcp(TcpListener, Duration),
    /// In the file system.
    Unix(UnixListener, SocketFile),
}

/// The file of a socket. It is removed with its server, unless another server has replaced it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: PathBuf) -> io::Result<Self> {
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Listener {
    pub(crate) async fn bind(address: &Address, silence: Duration) -> anyhow::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let bound = TcpListener::bind(address).await;
                Ok(Self::Tcp(bound.with_context(|| format!("cannot listen on {address}"))?, silence))
            }
            Address::Unix(path, mode) => {
                let bound = bind_file(path, *mode).await;
                let (listener, file) = bound.with_context(|| format!("cannot listen on {}", path.display()))?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// The next connection, and the address of its client.
    pub(crate) async fn accept(&self) -> (Box<dyn Stream>, Option<SocketAddr>) {
        let mut failures = 0_u64;
        loop {
            let accepted: io::Result<(Box<dyn Stream>, _)> = match self {
                Self::Tcp(listener, silence) => listener.accept().await.map(|(stream, client)| {
                    prepare(&stream, *silence);
                    (Box::new(stream) as _, Some(client))
                }),
                Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| (Box::new(stream) as _, None)),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) => {
                    if failures.is_multiple_of(SILENT_FAILURES) {
                        tracing::error!(%error, "cannot accept connections");
                    }
                    failures += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener, _) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(error) => write!(f, "{error}"),
            },
            Self::Unix(_, file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

/// Responses go out at once, and the kernel ends a connection whose client takes nothing: what the server holds for it is
/// let go of then, also where hyper waits for ever. A connection that cannot be prepared is served all the same.
fn prepare(stream: &TcpStream, silence: Duration) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(silence.clamp(SHORTEST_SILENCE, LONGEST_SILENCE)));
    #[cfg(not(target_os = "linux"))]
    let _ = silence;
}

/// A killed server leaves its socket behind, which nobody answers: that one is replaced, and nothing else.
async fn bind_file(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is not a socket already exists there",
            ));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server listens there")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // It appears under its name with its permissions.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let listener = UnixListener::bind(&temporary)?;
    let mut file = SocketFile::at(temporary)?;
    fs::set_permissions(&file.path, PermissionsExt::from_mode(mode))?;
    fs::rename(&file.path, path)?;
    path.clone_into(&mut file.path);
    Ok((listener, file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
