//! TUS_USERS=anna=secret,bert=hidden cargo run --release --example session
//!
//! Users log in by a form and are known by a signed cookie; the application's state is axum's. A user sees and continues
//! only their own uploads, and GET /uploads lists them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Extension, Form, Router,
    extract::{FromRef, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Redirect, Response},
    routing::{get, post},
};
use axum_extra::extract::cookie::{Cookie, Key, SameSite, SignedCookieJar};
use axum_tus::{Cors, Rejection, Tus, UploadFilter};
use example_shared::{Failed, Settings, pairs};
use futures_util::TryStreamExt;
use serde::Deserialize;

/// What the handlers share.
#[derive(Clone)]
struct App {
    tus: Tus,
    /// Signs the cookies. A real application keeps it: with a new one all users have to log in again.
    key: Key,
    /// Passwords by name. A real application stores hashes of them in its database.
    users: Arc<HashMap<String, String>>,
}

impl FromRef<App> for Key {
    fn from_ref(app: &App) -> Self {
        app.key.clone()
    }
}

/// The user that sends the request.
#[derive(Clone)]
struct User(String);

/// How long a user stays logged in.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Seconds since 1970.
fn seconds(time: SystemTime) -> Option<u64> {
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[derive(Deserialize)]
struct Login {
    name: String,
    password: String,
}

async fn login(
    State(app): State<App>,
    jar: SignedCookieJar,
    Form(login): Form<Login>,
) -> Result<(SignedCookieJar, Redirect), StatusCode> {
    if app.users.get(&login.name) != Some(&login.password) {
        return Err(StatusCode::FORBIDDEN);
    }
    // The expiry is part of what is signed: a browser deletes an expired cookie, and a thief does not.
    let until = seconds(SystemTime::now() + LIFETIME).ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let value = format!("{until}:{}", login.name);
    // `Strict`: the browser does not send it with requests from pages of other sites. Behind TLS, add `secure(true)`.
    let cookie = Cookie::build(("user", value)).http_only(true).same_site(SameSite::Strict).path("/");
    Ok((jar.add(cookie), Redirect::to("/uploads")))
}

/// Refuses what pages of other origins send. Neither the cookie nor CORS does that: pages on other ports and subdomains
/// are of the same site, so the cookie comes with their requests, and CORS keeps only the responses from them. A browser
/// says where a page comes from with all requests but simple reads; other programs do not have to.
async fn own_origin(headers: HeaderMap, request: Request, next: Next) -> Result<Response, StatusCode> {
    // Without the scheme, which a proxy that ends TLS does not pass on. The proxy must leave `Host` as it is.
    let is_own = |origin: &HeaderValue| {
        let (_, host) = origin.to_str().ok()?.split_once("://")?;
        Some(host.as_bytes() == headers.get(header::HOST)?.as_bytes())
    };
    match headers.get(header::ORIGIN) {
        Some(origin) if is_own(origin) != Some(true) => Err(StatusCode::FORBIDDEN),
        _ => Ok(next.run(request).await),
    }
}

/// The user that a cookie names, if the cookie has not expired and the user still exists.
fn user(app: &App, cookie: &Cookie<'_>) -> Option<User> {
    let (until, name) = cookie.value().split_once(':')?;
    let counts = until.parse::<u64>().ok()? > seconds(SystemTime::now())?;
    (counts && app.users.contains_key(name)).then(|| User(name.to_owned()))
}

/// Identifies the user for the handlers and the hooks.
async fn identify(State(app): State<App>, jar: SignedCookieJar, mut request: Request, next: Next) -> Response {
    if let Some(user) = jar.get("user").and_then(|cookie| user(&app, &cookie)) {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

/// The user's uploads, one a line.
async fn uploads(State(app): State<App>, user: Option<Extension<User>>) -> Result<String, StatusCode> {
    let Extension(User(user)) = user.ok_or(StatusCode::UNAUTHORIZED)?;
    let uploads = app.tus.list(UploadFilter::default().owner(user), None);
    let lines = uploads.map_ok(|upload| format!("{} {} bytes {:?}\n", upload.id, upload.offset, upload.phase));
    lines.try_collect().await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let users: HashMap<_, _> = pairs("TUS_USERS", "anna=secret,bert=hidden")?;

    // Pages of other origins get no permission; `own_origin` refuses what they send without asking for one.
    let config = settings.config.clone().cors(Cors::Off);
    let tus = Tus::builder_shared(settings.open().await?)
        .config(config)
        .authorize(|cx| async move {
            let Some(User(user)) = cx.request.extensions.get() else {
                return Err(StatusCode::UNAUTHORIZED.into());
            };
            match &cx.upload {
                Some(upload) if upload.owner.as_ref() != Some(user) => {
                    Err(Rejection::forbidden("this upload belongs to another user\n"))
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

    let state = App { tus: tus.clone(), key: Key::generate(), users: Arc::new(users) };
    let app = Router::new()
        .route("/login", post(login))
        .route("/uploads", get(uploads))
        .merge(axum_tus::router("/files", tus.clone()))
        .layer(middleware::from_fn_with_state(state.clone(), identify))
        .layer(middleware::from_fn(own_origin))
        .with_state(state);
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
