//! The work that one request causes, including in the background, for each kind of request of less than 8 kB: a
//! number of allocations, which does not depend on the machine. No request makes more than ten times as many as a
//! HEAD; those that have a final upload assembled make at most twelve times as many.
//!
//! `cargo test --release -p tests --test costs -- --nocapture` prints the table of SECURITY.md, with processor time.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use rustix::time::{ClockId, clock_gettime};
use tests::Store;
use tokio::runtime::Handle;
use tus_service::{Config, Download, Mount, ResponseBody, Storage, Tus};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const TIMES: u64 = 20;
const PARTS: usize = 16;
const FINALS: usize = 1000;

/// How many times as much as a HEAD a request may cost.
const MOST: u64 = 10;

/// The same of one that has a final upload assembled: each part is a file that is opened, copied and let go.
const MOST_ASSEMBLING: u64 = 12;

const OCTETS: (&str, &str) = ("content-type", "application/offset+octet-stream");

/// A request to measure; its preconditions are set up.
type Prepared = Request<Full<Bytes>>;

struct World {
    tus: Tus,
    /// Tasks that stay.
    alive: usize,
    /// Incomplete parts for which many final uploads wait. One more part, which is not here, stays incomplete.
    awaited: Mutex<Vec<String>>,
}

impl World {
    async fn over(storage: Arc<dyn Storage>) -> Self {
        let config = Config::default().download(Download::attachment()).max_pending_finals(6 * FINALS);
        let tus = Tus::builder_shared(storage).config(config).sweep_interval(Duration::from_secs(3600)).build();
        let mut world = Self { tus, alive: 1, awaited: Mutex::default() };
        world.rest().await;
        world.alive = Handle::current().metrics().num_alive_tasks();
        world
    }

    /// Waits until no background work is running.
    async fn rest(&self) {
        while Handle::current().metrics().num_alive_tasks() > self.alive {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
    }

    async fn handle(&self, request: Prepared) -> Response<ResponseBody> {
        self.tus.handle(request, &Mount::at("/files")).await
    }

    async fn created(&self, headers: &[(&str, &str)]) -> String {
        let response = self.handle(request("POST", "/files", headers, b"")).await;
        assert_eq!(response.status(), 201);
        response.headers()["location"].to_str().unwrap().to_owned()
    }

    async fn part(&self, length: &str, metadata: Option<&str>) -> String {
        let metadata = metadata.map(|metadata| ("upload-metadata", metadata));
        let headers = [("upload-concat", "partial"), ("upload-length", length)];
        self.created(&headers.into_iter().chain(metadata).collect::<Vec<_>>()).await
    }

    /// `Upload-Concat` with this many parts.
    async fn concat(&self, parts: usize, length: &str, metadata: Option<&str>) -> String {
        let mut concat = "final;".to_owned();
        for _ in 0..parts {
            write!(concat, "{} ", self.part(length, metadata).await).unwrap();
        }
        concat.trim_end().to_owned()
    }

    /// A part for which many final uploads wait.
    async fn awaited(&self) -> String {
        if self.awaited.lock().unwrap().is_empty() {
            let concat = self.concat(PARTS, "1", None).await;
            for _ in 0..FINALS {
                self.created(&[("upload-concat", &concat)]).await;
            }
            let parts = concat["final;".len()..].split(' ').skip(1);
            self.awaited.lock().unwrap().extend(parts.map(str::to_owned));
        }
        self.awaited.lock().unwrap().pop().unwrap()
    }

    async fn finished(&self) -> String {
        let path = self.created(&[("upload-length", "5")]).await;
        let response = self.handle(patch(&path, 0, b"hello")).await;
        assert_eq!(response.status(), 204);
        path
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Prepared {
    let mut request = Request::builder().method(method).uri(path).header("tus-resumable", "1.0.0");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.header("content-length", body.len()).body(Full::from(body)).unwrap()
}

fn patch(path: &str, offset: u64, body: &'static [u8]) -> Prepared {
    request("PATCH", path, &[("upload-offset", &offset.to_string()), OCTETS], body)
}

/// Each kind, and the status of its response.
const KINDS: &[(&str, u16)] = &[
    ("HEAD", 200),
    ("HEAD of an unknown id", 404),
    ("HEAD of an upload with 4 kB of metadata", 200),
    ("HEAD of a final upload that waits for {} parts", 200),
    ("HEAD of a final upload that waits for {} parts with 4 kB of metadata each", 200),
    ("HEAD of a final upload that waits for one part {} times", 200),
    ("OPTIONS", 204),
    ("POST", 201),
    ("POST with a byte", 201),
    ("POST of a part", 201),
    ("POST with 4 kB of metadata", 201),
    ("POST with 7 kB of metadata", 400),
    ("POST of a final upload of {} parts", 201),
    ("POST of a final upload of {} parts, the last of which is missing", 404),
    ("POST of a final upload of one part {} times", 201),
    ("POST of a final upload of {} complete parts", 201),
    ("POST of a final upload of {} empty parts", 201),
    ("PATCH of a byte", 204),
    ("PATCH at a wrong offset", 409),
    ("PATCH of an unknown id", 404),
    ("PATCH that completes an upload", 204),
    ("PATCH that completes the last part of a final upload of {} parts", 204),
    ("PATCH that completes a part for which 1000 final uploads wait", 204),
    ("GET", 200),
    ("DELETE", 204),
    ("DELETE of a final upload that waits for {} parts", 204),
    ("PUT, which is not allowed", 405),
];

/// As much as an upload may have: pairs as small as can be.
fn metadata() -> String {
    let mut keys: Vec<_> = (0..4096 / 4).map(|key| format!("{key:03x}")).collect();
    keys.pop();
    keys.join(",")
}

async fn prepared(world: &World, kind: &str) -> Prepared {
    let missing = "/files/00000000000000000000000000000000";
    let (method, what) = kind.split_once(' ').unwrap_or((kind, ""));
    let of_concat = |concat: String| request("POST", "/files", &[("upload-concat", &concat)], b"");
    match (method, what) {
        ("OPTIONS", _) => request("OPTIONS", "/files", &[], b""),
        (_, "of an unknown id") => request(method, missing, &[("upload-offset", "0"), OCTETS], b""),
        ("HEAD" | "DELETE", "") => request(method, &world.created(&[("upload-length", "5")]).await, &[], b""),
        ("HEAD", "of an upload with 4 kB of metadata") => {
            let path = world.created(&[("upload-length", "5"), ("upload-metadata", &metadata())]).await;
            request(method, &path, &[], b"")
        }
        ("HEAD" | "DELETE", "of a final upload that waits for {} parts") => {
            let path = world.created(&[("upload-concat", &world.concat(PARTS, "1", None).await)]).await;
            request(method, &path, &[], b"")
        }
        ("HEAD", "of a final upload that waits for {} parts with 4 kB of metadata each") => {
            let path = world.created(&[("upload-concat", &world.concat(PARTS, "1", Some(&metadata())).await)]).await;
            request(method, &path, &[], b"")
        }
        ("HEAD", "of a final upload that waits for one part {} times") => {
            let path = world.created(&[("upload-concat", &repeated(&world.part("1", None).await))]).await;
            request(method, &path, &[], b"")
        }
        ("POST", "") => request("POST", "/files", &[("upload-length", "5")], b""),
        ("POST", "with a byte") => request("POST", "/files", &[("upload-length", "5"), OCTETS], b"h"),
        ("POST", "of a part") => {
            request("POST", "/files", &[("upload-length", "5"), ("upload-concat", "partial")], b"")
        }
        ("POST", "with 4 kB of metadata") => {
            request("POST", "/files", &[("upload-length", "5"), ("upload-metadata", &metadata())], b"")
        }
        ("POST", "with 7 kB of metadata") => {
            let metadata = format!("a {}", "YWFh".repeat(7 << 8));
            request("POST", "/files", &[("upload-length", "5"), ("upload-metadata", &metadata)], b"")
        }
        ("POST", "of a final upload of {} parts") => of_concat(world.concat(PARTS, "1", None).await),
        ("POST", "of a final upload of {} parts, the last of which is missing") => {
            of_concat(format!("{} {missing}", world.concat(PARTS - 1, "1", None).await))
        }
        ("POST", "of a final upload of one part {} times") => of_concat(repeated(&world.part("1", None).await)),
        ("POST", "of a final upload of {} complete parts") => {
            let concat = world.concat(PARTS, "1", None).await;
            for part in concat["final;".len()..].split(' ') {
                assert_eq!(world.handle(patch(part, 0, b"h")).await.status(), 204);
            }
            of_concat(concat)
        }
        ("POST", "of a final upload of {} empty parts") => of_concat(world.concat(PARTS, "0", None).await),
        ("PATCH", "of a byte") => patch(&world.created(&[("upload-length", "5")]).await, 0, b"h"),
        ("PATCH", "at a wrong offset") => patch(&world.created(&[("upload-length", "5")]).await, 1, b"h"),
        ("PATCH", "that completes an upload") => patch(&world.created(&[("upload-length", "1")]).await, 0, b"h"),
        ("PATCH", "that completes the last part of a final upload of {} parts") => {
            let concat = world.concat(PARTS, "1", None).await;
            world.created(&[("upload-concat", &concat)]).await;
            let (others, last) = concat["final;".len()..].rsplit_once(' ').unwrap();
            for part in others.split(' ') {
                assert_eq!(world.handle(patch(part, 0, b"h")).await.status(), 204);
            }
            patch(last, 0, b"h")
        }
        ("PATCH", "that completes a part for which 1000 final uploads wait") => patch(&world.awaited().await, 0, b"h"),
        ("GET", _) => request("GET", &world.finished().await, &[], b""),
        ("PUT,", _) => request("PUT", "/files", &[], b""),
        _ => panic!("what is {kind}?"),
    }
}

/// `Upload-Concat` of one part, again and again.
fn repeated(part: &str) -> String {
    format!("final;{}", vec![part; PARTS].join(" "))
}

#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// The number of allocations.
    allocations: u64,
    /// Their total size in bytes.
    bytes: u64,
    /// Processor time, in microseconds: the least of some tries, since the others are disturbed by other programs.
    time: u64,
}

fn time() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Sends requests of a kind, and measures each before and after.
async fn send<T>(world: &World, kind: &str, status: u16, measure: fn() -> T) -> Vec<(T, T)> {
    let mut measured = Vec::new();
    for _ in 0..TIMES {
        let request = prepared(world, kind).await;
        world.rest().await;
        let before = measure();
        let response = world.handle(request).await;
        assert_eq!(response.status(), status, "{kind}");
        drop(response.into_body().collect().await.unwrap());
        world.rest().await;
        measured.push((before, measure()));
    }
    measured
}

async fn cost(world: &World, kind: &str, status: u16) -> Cost {
    // Caches are warm.
    send(world, "HEAD", 200, || ()).await;
    send(world, kind, status, || ()).await;
    let times = send(world, kind, status, time).await;
    let time = times.into_iter().map(|(before, after)| after - before).min().unwrap();
    // To count takes time.
    let _profiler = dhat::Profiler::builder().testing().build();
    let counted = send(world, kind, status, dhat::HeapStats::get).await;
    let number = counted.len() as u64;
    let sum = |of: fn(&dhat::HeapStats) -> u64| {
        counted.iter().map(|(before, after)| of(after) - of(before)).sum::<u64>() / number
    };
    Cost { allocations: sum(|stats| stats.total_blocks), bytes: sum(|stats| stats.total_bytes), time }
}

#[test]
fn each_kind_of_request_has_its_bound() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut table = "| request | allocations | kB | µs | times a HEAD |\n|---|---|---|---|---|\n".to_owned();
    let mut costs: Vec<(String, Cost)> = Vec::new();
    for (kind, status) in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let cost = runtime.block_on(async {
            let world = World::over(Store::Buffered.open(directory.path()).unwrap()).await;
            cost(&world, kind, *status).await
        });
        let name = kind.replace("{}", &PARTS.to_string());
        let Cost { allocations, bytes, time } = cost;
        let times = time as f64 / costs.first().map_or(cost, |(_, head)| *head).time as f64;
        eprintln!("{name}: {cost:?}");
        writeln!(table, "| {name} | {allocations} | {} | {time} | {times:.1} |", bytes / 1000).unwrap();
        costs.push((name, cost));
    }
    eprintln!("{table}");
    let head = costs[0].1;
    for (kind, cost) in costs {
        let assembles = ["complete parts", "empty parts", "last part"].iter().any(|words| kind.contains(words));
        let most = if assembles { MOST_ASSEMBLING } else { MOST };
        assert!(cost.allocations <= most * head.allocations, "{kind}: {cost:?}, and HEAD {head:?}");
    }
}
