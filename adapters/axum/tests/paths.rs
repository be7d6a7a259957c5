//! The endpoint at every path that axum supports, including the root.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode},
    response::Response,
    routing::get,
};
use axum_tus::{Memory, Tus};
use tower_service::Service;

fn tus() -> Tus {
    Tus::builder(Memory::new()).build()
}

/// An application with a route of its own.
fn app() -> Router {
    Router::new().route("/health", get(|| async { "ok" }))
}

async fn send(app: &Router, method: Method, path: &str, headers: &[(&str, &str)], body: &'static str) -> Response {
    let mut request = Request::builder().method(method).uri(path).header("tus-resumable", "1.0.0");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.clone().call(request.body(Body::from(body)).unwrap()).await.unwrap()
}

/// Creates an upload at `endpoint` and continues it at the URL in the response.
async fn uploads_at(app: Router, endpoint: &str) {
    let created = send(&app, Method::POST, endpoint, &[("upload-length", "5")], "").await;
    assert_eq!(created.status(), StatusCode::CREATED, "{endpoint}");
    let location = created.headers()["location"].to_str().unwrap();
    let id = location.strip_prefix(endpoint.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    assert!(id.is_some_and(|id| id.len() == 32 && !id.contains('/')), "{location} is not below {endpoint}");
    let bytes = [("upload-offset", "0"), ("content-type", "application/offset+octet-stream")];
    assert_eq!(send(&app, Method::PATCH, location, &bytes, "hello").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(send(&app, Method::HEAD, location, &[], "").await.headers()["upload-offset"], "5");

    let health = send(&app, Method::GET, "/health", &[], "").await;
    assert_eq!(health.status(), StatusCode::OK);
    assert!(!health.headers().contains_key("tus-resumable"), "it is the application's own route");
}

#[tokio::test]
async fn a_router_is_merged_at_any_path() {
    uploads_at(app().merge(axum_tus::router("/", tus())), "/").await;
    uploads_at(app().merge(axum_tus::router("/files", tus())), "/files").await;
    uploads_at(app().merge(axum_tus::router("/a/b", tus())), "/a/b/").await;
    uploads_at(app().nest("/api", axum_tus::router("/", tus())), "/api").await;
    uploads_at(app().nest("/api/{user}", axum_tus::router("/files", tus())), "/api/anna/files").await;
}

#[tokio::test]
async fn a_service_can_be_nested_or_be_the_fallback() {
    uploads_at(app().fallback_service(axum_tus::service(tus())), "/").await;
    uploads_at(app().nest_service("/files", axum_tus::service(tus())), "/files").await;
    let nested = Router::new().route("/list", get(|| async {})).fallback_service(axum_tus::service(tus()));
    uploads_at(app().nest("/api", nested), "/api").await;
}

#[tokio::test]
async fn other_paths_at_the_root_are_not_found() {
    let app = app().merge(axum_tus::router("/", tus()));
    for path in ["/0123", "/a/b", "/health/x"] {
        assert_eq!(send(&app, Method::HEAD, path, &[], "").await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
