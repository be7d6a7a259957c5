//! TLS, with certificates that can be exchanged while the server runs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context, anyhow, ensure};
use tokio::signal::unix::Signal;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
};

/// What is spoken over TLS.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS with the certificate of two files.
#[derive(Debug)]
pub(crate) struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub(crate) fn read(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let current = RwLock::new(config(cert, key)?);
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), current })
    }

    /// For a new connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone().into()
    }

    fn reload(&self) -> anyhow::Result<()> {
        let config = config(&self.cert, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}

/// Reads the files again at each SIGHUP, which ends nothing. Connections keep what they began with.
pub(crate) async fn reload(tls: Option<&Tls>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        match tls.map(Tls::reload) {
            Some(Ok(())) => tracing::info!("certificate reloaded for new connections"),
            Some(Err(error)) => {
                tracing::error!(error = format!("{error:#}"), "reload failed; the previous certificate stays in use");
            }
            None => tracing::info!("SIGHUP ignored: TLS is off"),
        }
    }
}

fn config(cert: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| unreadable("tls.cert", error))?;
    ensure!(!chain.is_empty(), "the file of `tls.cert` contains no certificate");
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("tls.key", error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret);
    let mut config = config.context("the files of `tls.cert` and `tls.key` cannot be used together")?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// Neither the name of the file nor a line of it is shown: both may be a key, by mistake.
fn unreadable(setting: &str, error: pem::Error) -> anyhow::Error {
    let wrong = match error {
        pem::Error::Io(error) => return anyhow!("the file of `{setting}` cannot be read: {error}"),
        pem::Error::NoItemsFound => "contains no private key",
        _ => "is not valid PEM",
    };
    anyhow!("the file of `{setting}` {wrong}")
}
