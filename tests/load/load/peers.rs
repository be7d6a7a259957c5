//! The servers of other projects, as `tests/load/peers/install` leaves them in a directory. Each is configured as its
//! documentation proposes for one server and a local disk; comments explain deviations.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
};

use tests::MOUNT;

/// A server of another project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The crates salvo and salvo-tus.
    SalvoTus,
    /// The crates tus-axum and tus-protocol.
    TusAxum,
    /// The program rustus, on actix-web.
    Rustus,
    /// @tus/server and @tus/file-store, on Node.js.
    TusNode,
    /// The program of the Python package resumable-upload: a thread for each connection.
    ResumableUpload,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] =
        [Self::SalvoTus, Self::TusAxum, Self::Rustus, Self::TusNode, Self::ResumableUpload];

    /// Whether it supports the extension checksum.
    pub(crate) fn verifies(self) -> bool {
        !matches!(self, Self::SalvoTus | Self::TusNode)
    }

    /// A file that exists if it is installed.
    fn installed(self, peers: &Path) -> PathBuf {
        match self {
            Self::SalvoTus | Self::TusAxum | Self::Rustus => peers.join("bin").join(self.to_string()),
            Self::TusNode => peers.join("node/node_modules/@tus/server"),
            Self::ResumableUpload => peers.join("python/bin/resumable-upload"),
        }
    }

    pub(crate) fn is_installed(self, peers: &Path) -> bool {
        self.installed(peers).exists()
    }

    /// Serves uploads at the mount, from this directory.
    pub(crate) fn command(self, peers: &Path, directory: &Path, address: SocketAddr) -> Result<Command, String> {
        let installed = self.installed(peers);
        if !installed.exists() {
            return Err(format!("{self} is not in {peers}: tests/load/peers/install {peers}", peers = peers.display()));
        }
        let uploads = directory.join("uploads");
        let mut command = Command::new(match self {
            Self::TusNode => Path::new("node"),
            _ => &installed,
        });
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        match self {
            Self::SalvoTus | Self::TusAxum => command.arg(uploads).arg(address.to_string()),
            Self::TusNode => command.arg(peers.join("node/tus_server.mjs")).arg(uploads).arg(address.to_string()),
            // It reads a request's complete body first, and rejects more than 256 KiB by default.
            Self::Rustus => command
                .args(["--host", &host, "--port", &port, "--url", MOUNT, "--log-level", "OFF"])
                .args(["--max-body-size", &(1_u64 << 40).to_string(), "--data-dir"])
                .arg(uploads)
                .arg("--info-dir")
                .arg(directory.join("infos")),
            Self::ResumableUpload => command
                .args(["serve", "--host", &host, "--port", &port, "--base-path", MOUNT, "--log-level", "ERROR"])
                .arg("--upload-dir")
                .arg(uploads)
                .arg("--db-path")
                .arg(directory.join("uploads.db")),
        };
        command.env("NODE_ENV", "production").stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Where it keeps the content of an upload.
    pub(crate) fn file(self, directory: &Path, id: &str) -> io::Result<PathBuf> {
        let uploads = directory.join("uploads");
        Ok(match self {
            Self::SalvoTus => uploads.join("data").join(id).with_extension("bin"),
            Self::TusAxum => {
                let state = fs::read_to_string(uploads.join("state").join(id).with_extension("json"))?;
                let mut values = state.split('"');
                let name = values.find(|value| value.ends_with(".upload")).ok_or(io::ErrorKind::NotFound)?;
                uploads.join("data").join(name)
            }
            Self::Rustus | Self::TusNode | Self::ResumableUpload => uploads.join(id),
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SalvoTus => "salvo-tus",
            Self::TusAxum => "tus-axum",
            Self::Rustus => "rustus",
            Self::TusNode => "tus-node",
            Self::ResumableUpload => "resumable-upload",
        })
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|peer| peer.to_string() == text);
        named.ok_or_else(|| {
            format!(
                "{text:?} is neither like axum:synced or axum:bare nor {}",
                Self::ALL.map(|peer| peer.to_string()).join(", ")
            )
        })
    }
}
