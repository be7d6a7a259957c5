//! The application's own CORS layer around the endpoint, with the provided lists.

use std::{collections::HashSet, fmt::Debug};

use axum::Router;
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::Empty;
use tower_http::cors::{Any, CorsLayer};
use tower_service::Service;
use tus_service::{Cors, Memory, Tus};
use warp::Filter;

use crate::harness::block_on;

const APP: &str = "https://app.example";

#[test]
fn the_cors_layer_of_tower_http_works() {
    block_on(async {
        let tus = Tus::builder(Memory::new()).build();
        let layer = CorsLayer::new()
            .allow_origin(Any)
            .allow_methods(Cors::METHODS)
            .allow_headers(Cors::REQUEST_HEADERS.map(HeaderName::from_static))
            .expose_headers(Cors::RESPONSE_HEADERS.map(HeaderName::from_static));
        serves_pages(Router::new().merge(axum_tus::router(tests::MOUNT, tus)).layer(layer)).await;
    });
}

#[test]
fn the_cors_filter_of_warp_works() {
    block_on(async {
        let tus = Tus::builder(Memory::new()).build();
        let cors = warp::cors()
            .allow_any_origin()
            .allow_methods(Cors::METHODS)
            .allow_headers(Cors::REQUEST_HEADERS)
            .expose_headers(Cors::RESPONSE_HEADERS);
        serves_pages(warp::service(warp::path("files").and(warp_tus::filter(tus)).with(cors))).await;
    });
}

/// What a page of another origin does with an upload.
async fn serves_pages<S, B>(mut service: S)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Debug>,
{
    for method in Cors::METHODS {
        let preflight = Request::options(tests::MOUNT)
            .header("access-control-request-method", method.as_str())
            .header("access-control-request-headers", Cors::REQUEST_HEADERS.join(","));
        let allowed = sent(&mut service, preflight).await;
        assert!(allowed.status().is_success(), "{method}: {}", allowed.status());
        assert!(list(&allowed, "access-control-allow-methods").contains(&*method.as_str().to_ascii_lowercase()));
        assert_eq!(list(&allowed, "access-control-allow-headers"), Cors::REQUEST_HEADERS.map(str::to_owned).into());
    }
    let options = sent(&mut service, Request::options(tests::MOUNT)).await;
    // `CorsLayer` answers every OPTIONS request itself. Clients do not depend on its response.
    assert!(options.status().is_success(), "{}", options.status());
    let created = Request::post(tests::MOUNT).header("tus-resumable", "1.0.0").header("upload-length", 5);
    let created = sent(&mut service, created).await;
    assert_eq!(created.status(), 201);
    assert_eq!(list(&created, "access-control-expose-headers"), Cors::RESPONSE_HEADERS.map(str::to_owned).into());
    let refused = sent(&mut service, Request::head(created.headers()["location"].to_str().unwrap())).await;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key("access-control-allow-origin")), (412, true));
}

async fn sent<S, B>(service: &mut S, request: http::request::Builder) -> Response<B>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Debug>,
{
    std::future::poll_fn(|context| service.poll_ready(context)).await.unwrap();
    service.call(request.header("origin", APP).body(Empty::new()).unwrap()).await.unwrap()
}

/// The names in a header, in lower case.
fn list<B>(response: &Response<B>, name: &str) -> HashSet<String> {
    let values = response.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_ascii_lowercase());
    values.flat_map(|list| list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect()
}
