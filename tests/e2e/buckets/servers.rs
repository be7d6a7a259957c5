//! Other projects' object stores, each in a separate process: moto and Azurite, which the storage supports, and two
//! that it rejects. They are in the directory `TUS_TEST_OTHERS`, in its `node_modules` and in its Python environment
//! `venv`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tests::{AZURITE_ACCOUNT, AZURITE_KEY, CONTAINER, Framework, Store};

use crate::harness::{Server, free_address, missing, wait_until};

/// A running store. It is killed when this is dropped.
pub(crate) struct Foreign {
    child: Child,
    pub(super) address: SocketAddr,
    is_azure: bool,
    _directory: TempDir,
}

/// The Python of `TUS_TEST_OTHERS`.
fn python() -> PathBuf {
    let others = PathBuf::from(std::env::var_os("TUS_TEST_OTHERS").unwrap_or_default());
    let program = others.join("venv/bin/python");
    if !program.exists() {
        missing("TUS_TEST_OTHERS does not name a directory with a Python environment");
    }
    program
}

/// Node, in the directory with the installed packages.
fn node(package: &str) -> Command {
    let others = PathBuf::from(std::env::var_os("TUS_TEST_OTHERS").unwrap_or_default());
    if !others.join("node_modules").join(package).exists() {
        missing(&format!("TUS_TEST_OTHERS does not name a directory with {package}"));
    }
    let mut node = Command::new("node");
    node.current_dir(others);
    node
}

impl Foreign {
    /// An S3 server.
    pub(crate) fn moto() -> Self {
        let program = python();
        let start = |port: &str, _: &Path| {
            let mut moto = Command::new(program);
            moto.args(["-c", include_str!("../others/moto_server.py"), port]);
            moto
        };
        Self::start(start).with_bucket()
    }

    /// A server with Azure's protocol.
    pub(super) fn azurite() -> Self {
        let (program, mut azurite) = (python(), node("azurite"));
        let start = |port: &str, _: &Path| {
            azurite.args(["node_modules/azurite/dist/src/blob/main.js", "--inMemoryPersistence", "--silent"]);
            // Without the last option it sends telemetry to its makers.
            azurite.args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                port,
                "--skipApiVersionCheck",
                "--disableTelemetry",
            ]);
            azurite
        };
        let mut azurite = Self::start(start);
        azurite.is_azure = true;
        let mut create = Command::new(program);
        create.args(["-c", include_str!("../others/azurite_container.py")]);
        assert!(create.args([&azurite.address.port().to_string(), CONTAINER]).status().unwrap().success());
        azurite
    }

    /// An S3 server without conditional writes.
    pub(super) fn s3rver() -> Self {
        let mut s3rver = node("s3rver");
        let start = |port: &str, directory: &Path| {
            s3rver.args(["node_modules/s3rver/bin/s3rver.js", "-a", "127.0.0.1", "-p", port, "-s"]);
            s3rver.arg("-d").arg(directory).args(["--configure-bucket", CONTAINER, "--allow-mismatched-signatures"]);
            s3rver
        };
        Self::start(start)
    }

    /// Another one.
    pub(super) fn fauxqs() -> Self {
        let mut fauxqs = node("fauxqs");
        let start = |port: &str, _: &Path| {
            fauxqs.args(["--input-type=module", "--eval", include_str!("../others/fauxqs.mjs"), "--", port]);
            fauxqs
        };
        Self::start(start).with_bucket()
    }

    fn start(start: impl FnOnce(&str, &Path) -> Command) -> Self {
        let directory = TempDir::new().unwrap();
        let address = free_address();
        let mut command = start(&address.port().to_string(), directory.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let foreign = Self { child, address, is_azure: false, _directory: directory };
        wait_until(|| TcpStream::connect(address).is_ok());
        foreign
    }

    fn with_bucket(self) -> Self {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let head = format!("PUT /{CONTAINER} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n", self.address);
        connection.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut created = String::new();
        connection.read_to_string(&mut created).unwrap();
        assert!(created.contains(" 200 OK"), "{created}");
        self
    }

    /// An object of an S3 server that takes any signature; what it says where there is none.
    pub(super) fn object(&self, key: &str) -> String {
        String::from_utf8_lossy(&self.get(&format!("/{key}"))).into_owned()
    }

    /// The bytes of an object.
    pub(super) fn bytes(&self, key: &str) -> Vec<u8> {
        let mut answer = self.get(&format!("/{key}"));
        assert!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{:?}",
            String::from_utf8_lossy(&answer[..answer.len().min(300)])
        );
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        answer.split_off(head + 4)
    }

    /// How many objects have names that begin so.
    pub(crate) fn names(&self, prefix: &str) -> usize {
        let listed = self.get(&format!("?list-type=2&prefix={prefix}"));
        String::from_utf8_lossy(&listed).matches("<Key>").count()
    }

    fn get(&self, what: &str) -> Vec<u8> {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let signed =
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
        let head = format!("GET /{CONTAINER}{what} HTTP/1.1\r\nHost: {}\r\nAuthorization: {signed}\r\n", self.address);
        connection.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        answer
    }

    /// Where [`Store::Remote`] finds it.
    pub(super) fn endpoint(&self) -> String {
        let Self { address, .. } = self;
        if self.is_azure { format!("az+http://{address}/{AZURITE_ACCOUNT}") } else { format!("http://{address}") }
    }

    /// A server on its own prefix of the bucket.
    pub(super) fn server(&self, framework: Framework) -> Server {
        self.server_by(&self.endpoint(), framework)
    }

    /// The same through another address of this store.
    pub(super) fn server_by(&self, endpoint: &str, framework: Framework) -> Server {
        let server = Server::new(framework, Store::Remote);
        std::fs::write(server.directory.path().join("endpoint"), endpoint).unwrap();
        server
    }

    /// The environment of an example that uses a prefix of the bucket.
    pub(crate) fn variables(&self, prefix: &str) -> Vec<(&'static str, String)> {
        self.variables_by(&self.endpoint(), prefix)
    }

    /// The same through another address of this store.
    pub(super) fn variables_by(&self, endpoint: &str, prefix: &str) -> Vec<(&'static str, String)> {
        if let Some(endpoint) = endpoint.strip_prefix("az+") {
            return vec![
                ("TUS_STORE", format!("az://{CONTAINER}/{prefix}")),
                ("AZURE_STORAGE_ACCOUNT_NAME", AZURITE_ACCOUNT.to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", AZURITE_KEY.to_owned()),
                ("AZURE_STORAGE_ENDPOINT", endpoint.to_owned()),
                ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ];
        }
        vec![
            ("TUS_STORE", format!("s3://{CONTAINER}/{prefix}")),
            ("AWS_ENDPOINT", endpoint.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
