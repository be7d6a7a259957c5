//! TUS_TOKENS=secret=anna,hidden=bert cargo run --release --example auth
//!
//! Uploads for users, and how much: each request needs a bearer token, an upload belongs to the user that created it, and
//! a user has at most TUS_QUOTA bytes (1 GiB) in at most TUS_UPLOADS uploads (1000): an empty one takes room, too.

use std::{
    collections::HashMap,
    env,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::Response,
};
use axum_tus::{Hooks, NewUpload, Rejection, Tus, TusExtension, Upload, UploadFilter, context};
use example_shared::{Failed, Settings};
use futures_util::TryStreamExt;

/// The user that sends the request.
#[derive(Clone)]
struct User(String);

/// Users by their tokens. How long a look into a hash map takes says nothing of its keys.
type Tokens = Arc<HashMap<String, User>>;

/// Finds the user that sends a request. Whether they may do what they want is the hooks' to say; a browser asks by OPTIONS
/// without a token.
async fn identify(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    let token =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Some(user) = token.and_then(|token| tokens.get(token)).cloned() {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

#[derive(Clone)]
struct Policy {
    quota: Used,
    used: Arc<Mutex<HashMap<String, Used>>>,
}

/// Uploads of a user, and the bytes that they have or will have.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    bytes: u64,
    uploads: u64,
}

impl Used {
    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.uploads += 1;
    }
}

impl Policy {
    /// Reserves room for an upload of a user. Only here is it decided, and so two requests at once do not get the same room.
    fn reserve(&self, user: &str, bytes: u64) -> Result<(), Rejection> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry(user.to_owned()).or_default();
        let left = self.quota.bytes.saturating_sub(used.bytes);
        if bytes > left {
            return Err(Rejection::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("your quota has room for {left} bytes\n"),
            ));
        }
        if used.uploads >= self.quota.uploads {
            return Err(Rejection::forbidden(format!("you have {} uploads: delete one first\n", used.uploads)));
        }
        used.add(bytes);
        Ok(())
    }
}

impl Policy {
    fn release(&self, upload: &Upload) {
        let owner = upload.owner.clone().unwrap_or_default();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.entry(owner).or_default();
        used.bytes = used.bytes.saturating_sub(upload.length.unwrap_or(u64::MAX));
        used.uploads = used.uploads.saturating_sub(1);
    }
}

fn user(request: &Parts) -> Result<&User, Rejection> {
    request.extensions.get().ok_or_else(|| Rejection::unauthorized("Bearer"))
}

impl Hooks for Policy {
    async fn authorize(&self, cx: context::Authorize) -> Result<(), Rejection> {
        let User(user) = user(&cx.request)?;
        match &cx.upload {
            Some(upload) if upload.owner.as_ref() != Some(user) => {
                Err(Rejection::forbidden("this is somebody else's upload\n"))
            }
            _ => Ok(()),
        }
    }

    async fn before_create(&self, cx: context::BeforeCreate) -> Result<NewUpload, Rejection> {
        let User(user) = user(&cx.request)?;
        let mut upload = cx.upload;
        upload.owner = Some(user.clone());
        self.reserve(user, upload.length().unwrap_or(u64::MAX))?;
        Ok(upload)
    }

    /// What was reserved for an upload that is too large, say, is free again.
    async fn creation_failed(&self, cx: context::CreationFailed) {
        self.release(&cx.upload);
    }

    async fn terminated(&self, cx: context::Terminated) {
        self.release(&cx.upload);
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let tokens = env::var("TUS_TOKENS").unwrap_or_default();
    let tokens = tokens.split(',').filter_map(|pair| pair.split_once('='));
    let tokens: Tokens = Arc::new(tokens.map(|(token, user)| (token.to_owned(), User(user.to_owned()))).collect());
    let number = |name, default| env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default);
    let quota = Used { bytes: number("TUS_QUOTA", 1 << 30), uploads: number("TUS_UPLOADS", 1000) };

    let policy = Policy { quota, used: Arc::default() };
    // A quota needs to know the length of an upload when it is created, and parts would count twice.
    let storage = settings.open().await?;
    let config = settings.config.without(TusExtension::CreationDeferLength).without(TusExtension::Concatenation);
    let tus = Tus::builder_shared(storage).config(config).hooks(policy.clone()).build();

    // What is there already counts.
    let mut stored = tus.list(UploadFilter::default(), None);
    while let Some(upload) = stored.try_next().await? {
        let mut used = policy.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.entry(upload.owner.unwrap_or_default()).or_default().add(upload.length.unwrap_or(0));
    }
    drop(stored);

    let uploads = axum_tus::router("/files", tus.clone());
    let app = Router::new().merge(uploads).layer(middleware::from_fn_with_state(tokens, identify));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
