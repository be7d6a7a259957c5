//! Servers on one bucket: a newer request in one takes over from an older one in another that still receives; and all
//! that a kill may show, over somebody else's S3 server.
//!
//! That is moto, in the Python environment `venv` of the directory `TUS_TEST_OTHERS`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bucket::Bucket;
use tests::{Framework, Running, Store};
use tus_object_store::ObjectStore;
use tus_service::{Storage, Stored};

use crate::{
    client::Connection,
    concatenation,
    content::{assert_same, bytes},
    harness::{Server, block_on, id, missing, wait_until},
    killed, processes,
};

const LENGTH: u64 = 40 << 20;

/// A server with a storage of its own on the bucket.
fn server(framework: Framework, bucket: &Bucket) -> (Running, Arc<dyn Storage>) {
    let store = block_on(ObjectStore::builder(Arc::new(bucket.clone())).open()).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(store);
    (Running::start(framework, storage.clone(), |builder| builder).unwrap(), storage)
}

fn loaded(storage: &Arc<dyn Storage>, path: &str) -> Stored {
    block_on(storage.load(&id(path))).unwrap().unwrap()
}

/// The first server receives all the time. A client that asks the second one gets all that arrived, and goes on there.
fn takes_over(framework: Framework) {
    let bucket = Bucket::default();
    let ((first, _), (second, storage)) = (server(framework, &bucket), server(framework, &bucket));
    let path = Connection::open(first.address).create(LENGTH);
    let mut stale = Connection::open(first.address);
    stale.begin_patch(&path, 0, LENGTH);
    let sender = std::thread::spawn({
        move || {
            let mut sent = 0;
            while sent < LENGTH - (1 << 20) && stale.try_send(&bytes(1, sent..sent + (256 << 10))).is_ok() {
                sent += 256 << 10;
                std::thread::sleep(Duration::from_millis(50));
            }
            sent
        }
    });
    wait_until(|| loaded(&storage, &path).held_elsewhere);
    let mut newer = Connection::open(second.address);
    let offset = newer.offset(&path);
    assert!(offset > 0, "what has arrived was committed");
    assert_eq!(newer.patch(&path, offset, &bytes(1, offset..LENGTH)).status, 204);
    assert!(sender.join().unwrap() < LENGTH, "the older request had to go");
    wait_until(|| loaded(&storage, &path).upload.is_complete());
    let stored = loaded(&storage, &path);
    assert_same(&block_on(read(&storage, &stored)), &bytes(1, 0..LENGTH));
}

async fn read(storage: &Arc<dyn Storage>, stored: &Stored) -> Vec<u8> {
    use futures_util::TryStreamExt;
    let pieces: Vec<_> = storage.read(stored, 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
    pieces.concat()
}

#[test]
fn a_request_takes_over_from_another_server_that_still_receives() {
    for framework in Framework::ALL {
        takes_over(framework);
    }
}

/// An S3 server of others.
struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    fn start() -> Self {
        let installed = std::env::var_os("TUS_TEST_OTHERS").map(|others| Path::new(&others).join("venv/bin/python"));
        let Some(program) = installed.filter(|program| program.exists()) else {
            missing("TUS_TEST_OTHERS does not name a directory with moto")
        };
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .args(["-c", include_str!("others/moto_server.py"), &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Self { child, address };
        wait_until(|| TcpStream::connect(address).is_ok());
        let mut connection = TcpStream::connect(address).unwrap();
        let create =
            format!("PUT /uploads HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        connection.write_all(create.as_bytes()).unwrap();
        let mut created = String::new();
        connection.read_to_string(&mut created).unwrap();
        assert!(created.contains(" 200 OK"), "{created}");
        moto
    }

    fn server(&self, framework: Framework) -> Server {
        let server = Server::new(framework, Store::Remote);
        std::fs::write(server.directory.path().join("endpoint"), format!("http://{}", self.address)).unwrap();
        server
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn servers_on_an_s3_server_of_others() {
    let moto = Moto::start();
    for framework in Framework::ALL {
        killed::acknowledged_bytes_survive_a_kill(moto.server(framework));
        killed::a_body_resumes_after_each_of_many_kills(moto.server(framework));
        killed::a_final_upload_is_concatenated_after_a_kill(moto.server(framework));
        processes::a_killed_process_holds_nobody_up(moto.server(framework));
        processes::one_process_at_a_time_notifies_the_application(moto.server(framework));
        concatenation::finished_parts_are_concatenated(moto.server(framework));
    }
    large(&moto);
}

/// In several parts, with a server that is killed in between.
fn large(moto: &Moto) {
    let server = moto.server(Framework::Axum);
    let process = server.spawn().unwrap();
    let path = process.connect().create(LENGTH);
    let half = LENGTH / 2 + 5;
    assert_eq!(process.connect().patch(&path, 0, &bytes(3, 0..half)).status, 204);
    process.kill();
    let process = server.spawn().unwrap();
    assert_eq!(process.connect().offset(&path), half);
    assert_eq!(process.connect().patch(&path, half, &bytes(3, half..LENGTH)).status, 204);
    assert_same(&server.uploads().content(&path), &bytes(3, 0..LENGTH));
}
