//! TUS_TOKENS=secret=anna,hidden=bert cargo run --release --example auth
//!
//! Authorization and quotas: each request needs a bearer token, an upload belongs to the user who created it, and a
//! user has at most TUS_QUOTA bytes (1 GiB) in at most TUS_UPLOADS uploads (1000), because even an empty one uses
//! space. Any number of processes may serve one directory.

mod quota;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::Response,
};
use axum_tus::{Hooks, NewUpload, Rejection, Tus, TusExtension, Upload, UploadFilter, UploadId, context};
use example_shared::{Failed, Settings, number, pairs};
use futures_util::TryStreamExt;

use crate::quota::{Exceeded, Quotas, Used};

/// The user who sends the request.
#[derive(Clone)]
struct User(String);

/// Users by token. The time of a lookup in a hash map reveals nothing about its keys.
type Tokens = Arc<HashMap<String, User>>;

/// Identifies the user. The hooks decide what users may do; browsers send OPTIONS without a token.
async fn identify(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    let token =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if let Some(user) = token.and_then(|token| tokens.get(token)).cloned() {
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

struct Policy(Quotas);

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
        let Some(bytes) = upload.length() else {
            return Err(Rejection::new(
                StatusCode::LENGTH_REQUIRED,
                "the quota requires the length of the upload in advance\n",
            ));
        };
        upload.owner = Some(user.clone());
        let id = upload.id.insert(random_id()?);
        match self.0.reserve(id, user, bytes).await {
            Ok(Ok(())) => Ok(upload),
            Ok(Err(exceeded)) => Err(refused(exceeded)),
            Err(error) => {
                tracing::error!(%error, "the quotas cannot be read");
                Err(StatusCode::INTERNAL_SERVER_ERROR.into())
            }
        }
    }

    /// Releases the reservation of an upload that was, for example, too large.
    async fn creation_failed(&self, cx: context::CreationFailed) {
        self.release(&cx.upload).await;
    }

    async fn terminated(&self, cx: context::Terminated) {
        self.release(&cx.upload).await;
    }
}

impl Policy {
    async fn release(&self, upload: &Upload) {
        // A row that stays in the table is found when its owner has no room left.
        if let Err(error) = self.0.release(&upload.id).await {
            tracing::error!(%error, "a deleted upload still counts towards the quota");
        }
    }
}

fn refused(exceeded: Exceeded) -> Rejection {
    match exceeded {
        Exceeded::Bytes(left) => {
            let text = format!("you have room for {left} bytes: delete an upload first, or choose a smaller file\n");
            Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
        Exceeded::Uploads(uploads) => Rejection::forbidden(format!("you have {uploads} uploads: delete one first\n")),
    }
}

/// Chosen before the upload is created, so that its row can contain it.
fn random_id() -> Result<UploadId, Rejection> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(UploadId::from_random(u128::from_be_bytes(bits)))
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let tokens: Vec<_> = pairs("TUS_TOKENS", "secret=anna,hidden=bert")?;
    let tokens: Tokens = Arc::new(tokens.into_iter().map(|(token, user)| (token, User(user))).collect());
    let quota = Used {
        bytes: number("TUS_QUOTA", "bytes")?.unwrap_or(1 << 30),
        uploads: number("TUS_UPLOADS", "uploads")?.unwrap_or(1000),
    };

    let storage = settings.open().await?;
    std::fs::create_dir_all(&settings.directory)?;
    let quotas = Quotas::open(&settings.directory.join("quotas.db"), storage.clone(), quota)?;
    // A quota needs the length of an upload at its creation, and parts would count twice.
    let config = settings.config.without(TusExtension::CreationDeferLength).without(TusExtension::Concatenation);
    let tus = Tus::builder_shared(storage).config(config).hooks(Policy(quotas.clone())).build();

    // Existing uploads count.
    let mut stored = tus.list(UploadFilter::default(), None);
    while let Some(upload) = stored.try_next().await? {
        quotas.count(&upload).await?;
    }
    drop(stored);

    let uploads = axum_tus::router("/files", tus.clone());
    let app = Router::new().merge(uploads).layer(middleware::from_fn_with_state(tokens, identify));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
