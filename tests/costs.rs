//! The work that one request causes, including in the background, for each kind of request of less than 8 kB: a
//! number of allocations, which does not depend on the machine. No request makes more than ten times as many as a
//! HEAD, except those that name 128 parts.
//!
//! `cargo test --release -p tests --test costs -- --nocapture` prints the table of SECURITY.md, with processor time.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use std::{fmt::Write, sync::Arc, time::Duration};

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
const PARTS: usize = 128;
const FINALS: usize = 1000;
const OCTETS: (&str, &str) = ("content-type", "application/offset+octet-stream");

/// A request to measure; its preconditions are set up.
type Prepared = Request<Full<Bytes>>;

struct World {
    tus: Tus,
    /// Tasks that stay.
    alive: usize,
}

impl World {
    async fn over(storage: Arc<dyn Storage>) -> Self {
        let config = Config::default().download(Download::attachment()).max_parts(PARTS).max_pending_finals(4 * FINALS);
        let tus = Tus::builder_shared(storage).config(config).sweep_interval(Duration::from_secs(3600)).build();
        let mut world = Self { tus, alive: 1 };
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

    async fn part(&self) -> String {
        self.created(&[("upload-concat", "partial"), ("upload-length", "1")]).await
    }

    /// `Upload-Concat` with this many parts.
    async fn concat(&self, parts: usize) -> String {
        let mut concat = "final;".to_owned();
        for _ in 0..parts {
            write!(concat, "{} ", self.part().await).unwrap();
        }
        concat.trim_end().to_owned()
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

/// Each kind of request, the status of its response, and how many times the cost of a HEAD it may have.
const KINDS: &[(&str, u16, u64)] = &[
    ("HEAD", 200, 10),
    ("OPTIONS", 204, 10),
    ("HEAD of an unknown id", 404, 10),
    ("HEAD of a final upload that waits for 128 parts", 200, 70),
    ("POST", 201, 10),
    ("POST with a byte", 201, 10),
    ("POST of a part", 201, 10),
    ("POST of a final upload of 128 parts", 201, 220),
    ("POST of a final upload of 128 parts, the last of which is missing", 404, 80),
    ("POST with 7 kB of metadata", 400, 10),
    ("PATCH of a byte", 204, 10),
    ("PATCH at a wrong offset", 409, 10),
    ("PATCH of an unknown id", 404, 10),
    ("PATCH that completes an upload", 204, 10),
    ("PATCH that completes a part for which 1000 final uploads wait", 204, 10),
    ("GET", 200, 10),
    ("DELETE", 204, 10),
    ("DELETE of a final upload that waits for 128 parts", 204, 30),
    ("PUT, which is not allowed", 405, 10),
];

async fn prepared(world: &World, kind: &str) -> Prepared {
    let missing = "/files/00000000000000000000000000000000";
    match kind {
        "OPTIONS" => request("OPTIONS", "/files", &[], b""),
        "HEAD" => request("HEAD", &world.created(&[("upload-length", "5")]).await, &[], b""),
        "HEAD of an unknown id" => request("HEAD", missing, &[], b""),
        "HEAD of a final upload that waits for 128 parts" | "DELETE of a final upload that waits for 128 parts" => {
            let path = world.created(&[("upload-concat", &world.concat(PARTS).await)]).await;
            request(kind.split_once(' ').unwrap().0, &path, &[], b"")
        }
        "POST" => request("POST", "/files", &[("upload-length", "5")], b""),
        "POST with a byte" => request("POST", "/files", &[("upload-length", "5"), OCTETS], b"h"),
        "POST of a part" => request("POST", "/files", &[("upload-length", "5"), ("upload-concat", "partial")], b""),
        "POST of a final upload of 128 parts" => {
            request("POST", "/files", &[("upload-concat", &world.concat(PARTS).await)], b"")
        }
        "POST of a final upload of 128 parts, the last of which is missing" => {
            let concat = format!("{} {missing}", world.concat(PARTS - 1).await);
            request("POST", "/files", &[("upload-concat", &concat)], b"")
        }
        "POST with 7 kB of metadata" => {
            let metadata = format!("a {}", "YWFh".repeat(7 << 8));
            request("POST", "/files", &[("upload-length", "5"), ("upload-metadata", &metadata)], b"")
        }
        "PATCH of a byte" => patch(&world.created(&[("upload-length", "5")]).await, 0, b"h"),
        "PATCH at a wrong offset" => patch(&world.created(&[("upload-length", "5")]).await, 1, b"h"),
        "PATCH of an unknown id" => patch(missing, 0, b"h"),
        "PATCH that completes an upload" => patch(&world.created(&[("upload-length", "1")]).await, 0, b"h"),
        "PATCH that completes a part for which 1000 final uploads wait" => {
            let (part, other) = (world.part().await, world.part().await);
            for _ in 0..FINALS {
                world.created(&[("upload-concat", &format!("final;{part} {other}"))]).await;
            }
            patch(&part, 0, b"h")
        }
        "GET" => request("GET", &world.finished().await, &[], b""),
        "DELETE" => request("DELETE", &world.created(&[("upload-length", "5")]).await, &[], b""),
        "PUT, which is not allowed" => request("PUT", "/files", &[], b""),
        other => panic!("what is {other}?"),
    }
}

#[derive(Debug, Clone, Copy)]
struct Cost {
    /// The number of allocations.
    allocations: u64,
    /// Their total size in bytes.
    bytes: u64,
    /// Processor time, in microseconds.
    time: u64,
}

fn spent() -> Cost {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let time = time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000;
    let stats = dhat::HeapStats::get();
    Cost { allocations: stats.total_blocks, bytes: stats.total_bytes, time }
}

async fn cost(world: &World, kind: &str, status: u16) -> Cost {
    // Requests with long preparation are repeated less often.
    let times = if kind.contains("1000") { 2 } else { TIMES };
    let mut sum = Cost { allocations: 0, bytes: 0, time: 0 };
    for _ in 0..times {
        let request = prepared(world, kind).await;
        world.rest().await;
        let before = spent();
        let response = world.handle(request).await;
        assert_eq!(response.status(), status, "{kind}");
        drop(response.into_body().collect().await.unwrap());
        world.rest().await;
        let after = spent();
        sum.allocations += after.allocations - before.allocations;
        sum.bytes += after.bytes - before.bytes;
        sum.time += after.time - before.time;
    }
    Cost { allocations: sum.allocations / times, bytes: sum.bytes / times, time: sum.time / times }
}

#[test]
fn the_cost_of_each_kind_of_request_is_bounded() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut table = "| request | allocations | kB | µs |\n|---|---|---|---|\n".to_owned();
    let mut costs = Vec::new();
    runtime.block_on(async {
        let world = World::over(Store::Buffered.open(directory.path()).unwrap()).await;
        // Caches are warm.
        for (kind, status, _) in &KINDS[..8] {
            cost(&world, kind, *status).await;
        }
        for (kind, status, times) in KINDS {
            let cost = cost(&world, kind, *status).await;
            writeln!(table, "| {kind} | {} | {} | {} |", cost.allocations, cost.bytes / 1000, cost.time).unwrap();
            costs.push((kind, *times, cost));
        }
    });
    eprintln!("{table}");
    let head = costs[0].2;
    for (kind, times, cost) in costs {
        assert!(cost.allocations <= times * head.allocations, "{kind}: {cost:?}, and HEAD {head:?}");
    }
}
