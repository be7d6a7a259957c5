//! TUS_TOKENS=secret=anna,hidden=bert cargo run --release --example recover
//!
//! warp with rejections: a filter of the application rejects requests with an invalid token, and `recover` turns the
//! rejections of all routes into responses. The endpoint itself never rejects. Pages of any origin may upload, and can read
//! the responses of `recover` as well.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use example_shared::{Failed, Settings, pairs};
use warp::{
    Filter, Rejection,
    http::{Extensions, HeaderValue, StatusCode, header},
    reject::{self, Reject},
    reply::{self, Reply},
};
use warp_tus::{Cors, Tus};

/// Users by their tokens.
type Tokens = Arc<HashMap<String, User>>;

/// The user that sends the request.
#[derive(Clone)]
struct User(String);

/// The request has an invalid token.
#[derive(Debug)]
struct Unauthorized;

impl Reject for Unauthorized {}

/// The text for those who are unknown.
const LOG_IN: &str = "log in first\n";

/// Identifies the user for the hooks. Browsers send OPTIONS without a token, and a header can turn OPTIONS into any
/// other request. So requests without a token pass, whatever their method, and `authorize` refuses them.
async fn identify(tokens: Tokens, header: Option<String>) -> Result<Extensions, Rejection> {
    let mut extensions = Extensions::new();
    if let Some(header) = header {
        let user = header.strip_prefix("Bearer ").and_then(|token| tokens.get(token));
        extensions.insert(user.ok_or_else(|| reject::custom(Unauthorized))?.clone());
    }
    Ok(extensions)
}

/// The response to a request that no route answered.
async fn recover(rejection: Rejection) -> Result<impl Reply, Infallible> {
    let (status, text) = match rejection.find::<Unauthorized>() {
        Some(Unauthorized) => (StatusCode::UNAUTHORIZED, LOG_IN),
        None if rejection.is_not_found() => (StatusCode::NOT_FOUND, "nothing is here\n"),
        None => (StatusCode::BAD_REQUEST, "this request makes no sense here\n"),
    };
    let mut response = reply::with_status(text, status).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    Ok(response)
}

/// The endpoint's own CORS would miss the responses of `recover`, so one layer covers all routes. It does not cover the
/// OPTIONS that a script itself sends: pages elsewhere can upload, but cannot read `Tus-Extension` or `Tus-Max-Size`. Where
/// only some origins are allowed, caches also need `Vary: Origin`, which warp does not send.
fn cors() -> warp::filters::cors::Cors {
    warp::cors()
        .allow_any_origin()
        .allow_methods(Cors::METHODS)
        .allow_headers(Cors::REQUEST_HEADERS)
        .expose_headers(Cors::RESPONSE_HEADERS)
        .build()
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let tokens: Vec<_> = pairs("TUS_TOKENS", "secret=anna,hidden=bert")?;
    let tokens: Tokens = Arc::new(tokens.into_iter().map(|(token, user)| (token, User(user))).collect());

    let tus = Tus::builder_shared(settings.open().await?)
        .config(settings.config.cors(Cors::Off))
        .authorize(|cx| async move {
            let Some(User(user)) = cx.request.extensions.get() else {
                let refused = warp_tus::Rejection::new(StatusCode::UNAUTHORIZED, LOG_IN);
                return Err(refused.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            };
            match &cx.upload {
                Some(upload) if upload.owner.as_ref() != Some(user) => {
                    Err(warp_tus::Rejection::forbidden("this upload belongs to another user\n"))
                }
                _ => Ok(()),
            }
        })
        .before_create(|cx| async move {
            let mut upload = cx.upload;
            upload.owner = cx.request.extensions.get().map(|User(user)| user.clone());
            Ok(upload)
        })
        .build();

    let user = warp::any().map(move || tokens.clone()).and(warp::header::optional("authorization")).and_then(identify);
    let health = warp::path("health").and(warp::path::end()).map(|| "ok\n");
    let files = warp::path("files").and(warp_tus::filter_with(tus.clone(), user.boxed()));
    let app = health.or(files).recover(recover).with(cors());

    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| warp::serve(app).incoming(listener).graceful(stop).run();
    example_shared::serve(tus, server).await;
    Ok(())
}
