//! The servers that are measured.

use std::{
    error::Error,
    fmt,
    net::{SocketAddr, TcpListener},
    path::Path,
    str::FromStr,
};

use load::process::Process;
use tests::{Framework, Store};
use tokio::sync::oneshot;
use tus_service::Tus;

use crate::bare;

/// A framework over a storage, or a bare one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) framework: Framework,
    /// `None` for the server that only writes bodies to files.
    pub(crate) store: Option<Store>,
}

impl Kind {
    /// All that write to files.
    pub(crate) fn all() -> Vec<Self> {
        let stores = [None, Some(Store::Buffered), Some(Store::Synced)];
        let of = |framework| stores.map(|store| Self { framework, store });
        Framework::ALL.into_iter().flat_map(of).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store {
            Some(store) => write!(f, "{}:{store}", self.framework),
            None => write!(f, "{}:bare", self.framework),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (framework, store) =
            text.split_once(':').ok_or(format!("{text:?} is not like axum:synced or axum:bare"))?;
        let store = if store == "bare" { None } else { Some(store.parse()?) };
        Ok(Self { framework: framework.parse()?, store })
    }
}

pub(crate) fn start(kind: Kind, directory: &Path) -> Result<(Process, SocketAddr), Box<dyn Error>> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let directory = directory.to_str().ok_or("the directory's name is not text")?;
    let process = Process::start(&["--serve", &kind.to_string(), directory, &address.to_string()], address)?;
    Ok((process, address))
}

/// Serves until it is killed.
pub(crate) fn serve(kind: Kind, directory: &Path, address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address)?;
        match kind.store {
            None => bare::serve(kind.framework, listener, directory).await,
            Some(store) => {
                let tus = Tus::builder_shared(store.open(directory)?).build();
                let (_stop, stopped) = oneshot::channel();
                Ok(tests::serve(kind.framework, listener, tus, stopped).await?)
            }
        }
    })
}
