//! The servers that are measured.

use std::{
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    str::FromStr,
};

use load::process::{self, Process};
use tests::{Framework, Store};
use tus_service::Tus;

use crate::{bare, ours, peers::Peer};

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare server, which only writes bodies to files.
    Bare(Framework),
    /// Ours on a storage.
    Ours(Framework, Store),
    /// Another project's server.
    Peer(Peer),
}

impl Kind {
    /// All available ones that write to files.
    pub(crate) fn all(peers: &Path) -> Vec<Self> {
        let of = |framework| {
            [Self::Bare(framework), Self::Ours(framework, Store::Buffered), Self::Ours(framework, Store::Synced)]
        };
        let peers = Peer::ALL.into_iter().filter(|peer| peer.is_installed(peers)).map(Self::Peer);
        Framework::ALL.into_iter().flat_map(of).chain(peers).collect()
    }

    /// Whether it verifies checksums.
    pub(crate) fn verifies(self) -> bool {
        match self {
            Self::Bare(_) => false,
            Self::Ours(..) => true,
            Self::Peer(peer) => peer.verifies(),
        }
    }

    /// Where it stores the content of an upload.
    pub(crate) fn file(self, directory: &Path, id: &str) -> io::Result<PathBuf> {
        match self {
            Self::Bare(_) | Self::Ours(..) => Ok(directory.join("uploads").join(id)),
            Self::Peer(peer) => peer.file(directory, id),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(framework) => write!(f, "{framework}:bare"),
            Self::Ours(framework, store) => write!(f, "{framework}:{store}"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((framework, "bare")) => Ok(Self::Bare(framework.parse()?)),
            Some((framework, store)) => Ok(Self::Ours(framework.parse()?, store.parse()?)),
            None => text.parse().map(Self::Peer),
        }
    }
}

pub(crate) fn start(kind: Kind, peers: &Path, directory: &Path) -> Result<(Process, SocketAddr), Box<dyn Error>> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = match kind {
        Kind::Peer(peer) => peer.command(peers, directory, address)?,
        Kind::Bare(_) | Kind::Ours(..) => {
            let mut command = process::this_program()?;
            command.args(["--serve", &kind.to_string()]).arg(directory).arg(address.to_string());
            command
        }
    };
    Ok((Process::start(&mut command, address)?, address))
}

/// Serves until it is killed.
pub(crate) fn serve(kind: Kind, directory: &Path, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address)?;
        match kind {
            Kind::Bare(framework) => bare::serve(framework, listener, directory).await,
            Kind::Ours(framework, store) => {
                ours::serve(framework, listener, Tus::builder_shared(store.open(directory)?).build()).await
            }
            Kind::Peer(peer) => Err(format!("{peer} is another program").into()),
        }
    })
}
