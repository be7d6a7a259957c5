//! What a kill may affect, over other projects' object stores; and stores that are rejected.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use tests::{Framework, foreign};
use tus_object_store::object_store::client::{HttpClient, HttpError, HttpRequest, HttpResponse, HttpService};
use tus_service::{Storage, async_trait};

use super::{LENGTH, read, servers::Foreign};
use crate::{
    concatenation,
    content::{assert_same, bytes},
    draft,
    example::Example,
    harness::{block_on, id},
    hooks, killed, network, processes, resumable,
};

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn servers_on_moto() {
    let moto = Foreign::moto();
    on_every_framework(&moto);
    large(&moto);
}

#[test]
#[cfg_attr(
    not(all(has_python, has_node)),
    ignore = "node is missing, or TUS_TEST_OTHERS names no directory with packages for it and a Python environment"
)]
fn servers_on_azurite() {
    let azurite = Foreign::azurite();
    on_every_framework(&azurite);
    large(&azurite);
}

/// What else kills processes, and needs no directory. Uploads have several parts where that could matter.
#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn other_kills_of_servers_on_moto() {
    const KILLS: [usize; 3] = [1, (9 << 20) + 1, 12 << 20];
    let moto = Foreign::moto();
    let [axum, actix_web, warp] = Framework::ALL.map(|framework| moto.server(framework));
    thread::scope(|scope| {
        scope.spawn(|| network::changes_servers(&axum, LENGTH, (7 << 20) + 5));
        scope.spawn(|| draft::survives_kills(&actix_web, LENGTH, &KILLS, &[]));
        scope.spawn(|| resumable::gets_exactly_the_bytes(&warp, LENGTH, (9 << 20) + 5));
        scope.spawn(|| resumable::one_process_at_a_time_calls_the_handler(moto.server(Framework::Axum)));
        scope.spawn(|| hooks::finished_is_called_again_after_a_kill(moto.server(Framework::ActixWeb)));
        scope.spawn(|| network::many_stalled_clients_do_not_block_others(moto.server(Framework::Warp)));
    });
}

fn on_every_framework(store: &Foreign) {
    for framework in Framework::ALL {
        killed::acknowledged_bytes_survive_a_kill(store.server(framework));
        killed::a_body_resumes_after_each_of_many_kills(store.server(framework));
        killed::a_final_upload_is_concatenated_after_a_kill(store.server(framework));
        processes::a_killed_process_delays_nobody(store.server(framework));
        processes::one_process_at_a_time_notifies_the_application(store.server(framework));
        concatenation::finished_parts_are_concatenated(store.server(framework));
    }
}

/// In several parts, with a server that is killed in between.
fn large(store: &Foreign) {
    let server = store.server(Framework::Axum);
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

/// Counts the requests that copy.
#[derive(Debug)]
struct Counting(HttpClient, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl HttpService for Counting {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.1.fetch_add(1, SeqCst);
        self.2.lock().unwrap().push(request.uri().to_string());
        self.0.execute(request).await
    }
}

#[test]
#[cfg_attr(not(has_python), ignore = "TUS_TEST_OTHERS names no directory with a Python environment")]
fn moto_copies_the_parts_of_a_concatenation() {
    let moto = Foreign::moto();
    let (copies, sent) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let counting = |client: &HttpClient| HttpClient::new(Counting(client.clone(), copies.clone(), Arc::clone(&sent)));
    let builder = foreign(&moto.endpoint(), counting).unwrap().prefix("copies/ü b");
    let storage: Arc<dyn Storage> = Arc::new(block_on(builder.open()).unwrap());
    let running = tests::Running::start(Framework::Axum, storage.clone(), |builder| builder).unwrap();
    let mut connection = crate::client::Connection::open(running.address);
    let (mut paths, mut at) = (Vec::new(), 0);
    for length in [5 << 20, 6 << 20, 100] {
        let path = connection.create_with(&[("Upload-Concat", "partial"), ("Upload-Length", &length.to_string())]);
        assert_eq!(connection.patch(&path, 0, &bytes(4, at..at + length)).status, 204);
        at += length;
        paths.push(path);
    }
    let concat = format!("final;{}", paths.join(" "));
    let path = connection.create_with(&[("Upload-Concat", &concat)]);
    crate::harness::wait_until(|| block_on(storage.load(&id(&path))).unwrap().unwrap().upload.is_complete());
    let stored = block_on(storage.load(&id(&path))).unwrap().unwrap();
    assert_same(&block_on(read(&storage, &stored)), &bytes(4, 0..at));
    assert_eq!(copies.load(SeqCst), 3, "{sent:?}");
}

#[test]
#[cfg_attr(not(has_node), ignore = "node is missing, or TUS_TEST_OTHERS names no directory with packages for it")]
fn stores_without_conditional_writes_are_rejected() {
    for store in [Foreign::s3rver(), Foreign::fauxqs()] {
        let opened = block_on(foreign(&store.endpoint(), HttpClient::clone).unwrap().open());
        let refused = opened.expect_err("it is not to be used").to_string();
        assert!(refused.contains("although"), "{refused}");
    }
}

/// As a user starts it, with the variables of the store's own tools in the environment.
#[test]
#[cfg_attr(
    not(all(has_python, has_node)),
    ignore = "node is missing, or TUS_TEST_OTHERS names no directory with packages for it and a Python environment"
)]
fn an_example_uploads_to_a_bucket() {
    for store in [Foreign::moto(), Foreign::azurite()] {
        let directory = tempfile::TempDir::new().unwrap();
        let variables = store.variables("from/the example");
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let variables = [&variables[..], &[("TUS_DOWNLOAD", "on")]].concat();
        let mut first = Example::start("axum", directory.path(), &variables);
        let path = first.connect().create(LENGTH);
        let half = LENGTH / 2 + 1;
        assert_eq!(first.connect().patch(&path, 0, &bytes(5, 0..half)).status, 204);
        assert!(first.stop().success());
        let second = Example::start("axum", directory.path(), &variables);
        assert_eq!(second.connect().offset(&path), half);
        assert_eq!(second.connect().patch(&path, half, &bytes(5, half..LENGTH)).status, 204);
        let downloaded = second.connect().request("GET", &path, &[], b"");
        assert_same(&downloaded.body, &bytes(5, 0..LENGTH));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is on this machine");
    }
}
