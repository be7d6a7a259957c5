//! TUS_TOKENS=secret=anna,hidden=bert cargo run --release --example workers
//!
//! actix-web with several workers, and a middleware that finds the user by a bearer token. The hooks see the user, and share
//! data with the handlers: GET /finished counts the uploads that were finished since the start, whichever worker received
//! them.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::{Mutex, PoisonError},
};

use actix_web::{
    App, Error, HttpMessage, HttpServer,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::{Next, from_fn},
    web,
};
use actix_web_tus::{Incarnation, Rejection, Tus, scope_with};
use example_shared::{Failed, GRACE, Settings, pairs, stopped};

/// The user that sends the request.
#[derive(Clone)]
struct User(String);

/// Users by their tokens.
type Tokens = HashMap<String, User>;

/// The finished uploads: `finished` may be called again for the same one. A real application has a table of them.
type Uploads = Mutex<HashSet<Incarnation>>;

async fn count(finished: web::Data<Uploads>) -> String {
    finished.lock().unwrap_or_else(PoisonError::into_inner).len().to_string()
}

/// Identifies the user. The hooks decide what users may do; browsers send OPTIONS without a token.
async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let header = request.headers().get(header::AUTHORIZATION);
    let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let tokens = request.app_data::<web::Data<Tokens>>();
    let user = tokens.zip(token).and_then(|(tokens, token)| tokens.get(token)).cloned();
    if let Some(user) = user {
        request.extensions_mut().insert(user);
    }
    next.call(request).await
}

#[actix_web::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let tokens: Vec<_> = pairs("TUS_TOKENS", "secret=anna,hidden=bert")?;
    let tokens: Tokens = tokens.into_iter().map(|(token, user)| (token, User(user))).collect();
    let (tokens, finished) = (web::Data::new(tokens), web::Data::new(Uploads::default()));

    let noted = finished.clone();
    // Built once: the workers share the endpoint, so a request that reaches another worker takes over an upload.
    let tus = Tus::builder_shared(settings.open().await?)
        .config(settings.config)
        .authorize(|cx| async move {
            let Some(User(user)) = cx.request.extensions.get() else {
                return Err(Rejection::unauthorized("Bearer"));
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
        .finished(move |cx| {
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(cx.upload.incarnation);
            async { Ok::<_, Infallible>(()) }
        })
        .build();

    let files = tus.clone();
    let app = move || {
        // The hooks see what is in the request's extensions.
        let uploads = scope_with("/files", files.clone(), |request, extensions| {
            request.extensions().get::<User>().and_then(|user| extensions.insert(user.clone()));
        });
        App::new()
            .app_data(tokens.clone())
            .app_data(finished.clone())
            .service(uploads)
            .route("/finished", web::get().to(count))
            .wrap(from_fn(identify))
    };
    let server = HttpServer::new(app).workers(4).disable_signals().shutdown_timeout(GRACE.as_secs());
    let server = server.bind(&settings.address)?;
    for address in server.addrs() {
        eprintln!("listening on http://{address}");
    }
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        stopped(tus).await;
        handle.stop(true).await;
    });
    Ok(server.await?)
}
