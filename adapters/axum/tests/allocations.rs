//! How many allocations a request costs that a resumable route forwards untouched, compared with the plain route.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use axum::{Router, body::Body, extract::Request, routing::post};
use axum_tus::{Memory, Tus};
use tower_service::Service;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[tokio::test]
async fn forwarded_requests_add_few_allocations() {
    let handler = || post(|content: String| async { content });
    let tus = Tus::builder(Memory::new()).build();
    let plain = Router::new().route("/photos", handler());
    let resumable = Router::new().route("/photos", axum_tus::resumable(tus, handler()));
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut counted = Vec::new();
    for app in [plain, resumable] {
        let mut app: Router = app.with_state(());
        // The first request may initialize something.
        for _ in 0..2 {
            let request = Request::post("/photos?album=7").header("content-length", "5").body(Body::from("hello"));
            let before = dhat::HeapStats::get().total_blocks;
            let response = app.call(request.unwrap()).await.unwrap();
            drop(response);
            counted.push(dhat::HeapStats::get().total_blocks - before);
        }
    }
    let [_, plain, _, resumable] = counted[..] else { panic!("two requests to each") };
    assert!(resumable <= plain + 5, "{resumable} times, and {plain} times the plain route");
}
