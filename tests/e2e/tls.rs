//! The client over https: which servers it trusts, and how it authenticates.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tests::{Framework, Store};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};
use tus_reqwest::{
    Client, Error, Options, Retry, Source, Uploaded, block_on,
    reqwest::{self, Certificate, ClientBuilder, Identity},
};

use crate::{
    content::{assert_same, bytes},
    harness::{Server, Started},
};

const LENGTH: u64 = (3 << 20) + 3;

/// The certificate authority that both sides trust.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn pem(&self) -> Certificate {
        Certificate::from_pem(self.0.pem().as_bytes()).unwrap()
    }
}

/// Terminates TLS before a server without it. If `clients` is given, only clients with a certificate of it are
/// accepted.
fn tls_before(server: SocketAddr, authority: &Authority, clients: Option<&Authority>) -> SocketAddr {
    Front::before(server, authority, clients, &[]).address
}

/// A front that terminates TLS.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// Offers these protocols (ALPN).
    pub(crate) fn before(
        server: SocketAddr,
        authority: &Authority,
        clients: Option<&Authority>,
        protocols: &[&str],
    ) -> Self {
        let (certificate, key) = authority.sign("localhost");
        let config = ServerConfig::builder();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der()).unwrap();
                config.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        let mut client = acceptor.accept(client).await?;
                        let mut server = tokio::net::TcpStream::connect(server).await?;
                        tokio::io::copy_bidirectional(&mut client, &mut server).await
                    });
                }
            });
        });
        Self { address, connections }
    }

    /// Its URL for a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn upload(address: SocketAddr, http: ClientBuilder) -> Result<Uploaded, Error> {
    let url = format!("https://localhost:{}/files", address.port());
    let options = Options::default().retry(Retry::default().retries(0));
    let client = Client::builder(&url).http(http).options(options).build()?;
    block_on(client.upload(Source::bytes(bytes(1, 0..LENGTH))).send())
}

#[track_caller]
fn arrives(started: &Started, uploaded: Result<Uploaded, Error>) {
    assert_same(&started.content(uploaded.unwrap().url.path()), &bytes(1, 0..LENGTH));
}

#[track_caller]
fn is_refused(uploaded: Result<Uploaded, Error>, word: &str) {
    let error = uploaded.unwrap_err();
    // It is not retried: a certificate does not change.
    let text = error.with_causes().to_lowercase();
    let hopeless = matches!(error, Error::Unreachable(_));
    // Its own certificate is rejected after the handshake, and the connection may break before the reason is read.
    let broken = word.is_empty() && matches!(error.last(), Error::Connection(_));
    assert!((hopeless || broken) && text.contains(word), "{error:?}");
}

fn started() -> Started {
    Server::new(Framework::Axum, Store::Memory).start()
}

#[test]
fn a_server_is_trusted_only_by_its_authority() {
    let (started, authority) = (started(), Authority::new());
    let address = tls_before(started.running.address, &authority, None);
    let http = reqwest::Client::builder;
    is_refused(upload(address, http()), "certificate");
    is_refused(upload(address, http().tls_certs_merge([Authority::new().pem()])), "certificate");
    arrives(&started, upload(address, http().tls_certs_merge([authority.pem()])));
    arrives(&started, upload(address, http().tls_danger_accept_invalid_certs(true)));
}

#[test]
fn a_client_presents_its_certificate() {
    let (started, authority, clients) = (started(), Authority::new(), Authority::new());
    let address = tls_before(started.running.address, &authority, Some(&clients));
    let http = || reqwest::Client::builder().tls_certs_merge([authority.pem()]);
    let identity = |authority: &Authority| {
        let (certificate, key) = authority.sign("client");
        Identity::from_pem((certificate.pem() + &key.serialize_pem()).as_bytes()).unwrap()
    };
    is_refused(upload(address, http()), "");
    is_refused(upload(address, http().identity(identity(&authority))), "");
    arrives(&started, upload(address, http().identity(identity(&clients))));
}
