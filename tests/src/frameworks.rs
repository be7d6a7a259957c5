//! How each framework serves.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::TcpListener,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming, service::Service as _, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tower_service::Service;
use tus_service::{InterimIo, Tus};

use crate::{Interim, MOUNT, PATIENCE, USER, User, photos};

pub(crate) async fn serve_axum(
    listener: TcpListener,
    tus: Tus,
    interim: Interim,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Also nested two levels deep, and with the path in a parameter.
    use axum::{Router, extract::Request, middleware};
    let know_user = middleware::from_fn(async |mut request: Request, next: middleware::Next| {
        let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
        if let Some(user) = user.map(|user| User(user.to_owned())) {
            request.extensions_mut().insert(user);
        }
        next.run(request).await
    });
    let photos = || {
        use axum::{body::Body, extract::Extension, http::HeaderMap, routing::post};
        type Extensions = (Option<Extension<tus_service::Resumed>>, HeaderMap);
        let handler = async |(resumed, headers): Extensions, request: Request<Body>| {
            let (head, body) = request.into_parts();
            let action = headers.get(ACTION).and_then(|action| action.to_str().ok());
            let (method, uri) = (head.method.as_str(), head.uri.to_string());
            let resumed = resumed.map(|Extension(resumed)| resumed);
            let handled = photos::handle(resumed, method, &uri, action, body.into_data_stream()).await;
            response::<String>(handled.unwrap_or_else(|error| (400, error.to_string())))
        };
        axum_tus::resumable(photos::resumable(tus.clone()), post(handler).put(handler))
    };
    let app = Router::new()
        .merge(axum_tus::router(MOUNT, tus.clone()))
        .route(photos::PHOTOS, photos())
        .nest("/api/{user}", Router::new().route(photos::PHOTOS, photos()).merge(axum_tus::router("/up", tus.clone())))
        .layer(know_user);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    match interim {
        Interim::Off => axum::serve(listener, app).with_graceful_shutdown(stopped).await,
        Interim::On => {
            let app = app.into_make_service_with_connect_info::<axum_tus::Informed>();
            axum::serve(axum_tus::Informing(listener), app).with_graceful_shutdown(stopped).await
        }
    }
}

/// What the header `X-Do` is called in this file.
const ACTION: &str = "x-do";

fn response<B: From<String>>((status, text): (u16, String)) -> Response<B> {
    let mut response = Response::new(B::from(text));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}

pub(crate) async fn serve_actix_web(
    listener: TcpListener,
    tus: Tus,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    use actix_web::{App, HttpMessage, HttpRequest, HttpResponse, HttpServer, dev::Service, http::StatusCode, web};
    let photos = |tus: &Tus| {
        let handler = async |request: HttpRequest, payload: web::Payload| {
            let resumed = request.extensions().get::<tus_service::Resumed>().cloned();
            let action = request.headers().get(ACTION).and_then(|action| action.to_str().ok());
            let (method, uri) = (request.method().as_str(), request.uri().to_string());
            let (status, text) = photos::handle(resumed, method, &uri, action, payload).await?;
            let status = StatusCode::from_u16(status).unwrap_or_default();
            Ok::<_, actix_web::Error>(HttpResponse::build(status).body(text))
        };
        let resumable = actix_web_tus::resumable_with(photos::resumable(tus.clone()), |request, extensions| {
            if let Some(user) = request.extensions().get::<User>() {
                extensions.insert(user.clone());
            }
        });
        let resource = web::resource(photos::PHOTOS).route(web::post().to(handler)).route(web::put().to(handler));
        resource.wrap(resumable)
    };
    let app = move || {
        let files = actix_web_tus::scope_with(MOUNT, tus.clone(), |request, extensions| {
            if let Some(user) = request.extensions().get::<User>() {
                extensions.insert(user.clone());
            }
        });
        let user = web::scope("/api/{user}").service(actix_web_tus::scope("/up", tus.clone())).service(photos(&tus));
        App::new().service(files).service(user).service(photos(&tus)).wrap_fn(|request, next| {
            let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
            if let Some(user) = user.map(|user| User(user.to_owned())) {
                request.extensions_mut().insert(user);
            }
            next.call(request)
        })
    };
    let server = HttpServer::new(app)
        .on_connect(actix_web_tus::on_connect)
        .workers(2)
        .disable_signals()
        .keep_alive(PATIENCE)
        .client_request_timeout(PATIENCE)
        // It waits for idle connections, too; received bytes have been committed before.
        .shutdown_timeout(1)
        .listen_auto_h2c(listener)?
        .run();
    let handle = server.handle();
    tokio::spawn(async move {
        stopped.await;
        handle.stop(true).await;
    });
    server.await
}

pub(crate) async fn serve_warp(
    listener: TcpListener,
    tus: Tus,
    interim: Interim,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    use warp::{Filter, path};
    let user = path("api").and(path::param()).and(path("up")).and(warp_tus::filter(tus.clone()));
    let user = user.map(|_: String, response| response);
    let known = warp::header::optional(USER).map(|user: Option<String>| {
        let mut extensions = warp::http::Extensions::new();
        user.and_then(|user| extensions.insert(User(user)));
        extensions
    });
    let photos = photos_of_warp(tus.clone());
    let files = warp_tus::filter_with(tus, known.boxed());
    let app = path(MOUNT.trim_start_matches('/')).and(files).or(user);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    match interim {
        Interim::Off => warp::serve(app).incoming(listener).graceful(stopped).run().await,
        Interim::On => serve_hyper(&listener, &Either { photos, others: warp::service(app) }, stopped).await,
    }
    Ok(())
}

/// The handler of photos.
fn photos_of_warp(tus: Tus) -> warp_tus::ResumableApp {
    use warp::{Filter, reject::not_found};
    let handler = warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::optional::<String>(ACTION))
        .and(warp::ext::optional::<tus_service::Resumed>())
        .and(warp::body::stream())
        .and_then(
            async |method: warp::http::Method, path: warp::path::FullPath, query: String, action, resumed, body| {
                let action: Option<String> = action;
                let uri =
                    if query.is_empty() { path.as_str().to_owned() } else { format!("{}?{query}", path.as_str()) };
                let handled = photos::handle(resumed, method.as_str(), &uri, action.as_deref(), body).await;
                handled.map(response::<String>).map_err(|_| not_found())
            },
        );
    let app = warp::path("photos").and(warp::post().or(warp::put()).unify()).and(handler);
    warp_tus::resumable(photos::resumable(tus), app)
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Two services: one for photos, which knows the user, and one for the rest.
#[derive(Clone)]
struct Either<P, O> {
    photos: P,
    others: O,
}

impl<P, O, B, C> Service<Request<Incoming>> for Either<P, O>
where
    P: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    O: Service<Request<Incoming>, Response = Response<C>, Error = Infallible, Future: Send + 'static>,
    B: hyper::body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    C: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        if request.uri().path() != photos::PHOTOS {
            let call = self.others.call(request);
            return call.map_ok(|response| response.map(|body| body.map_err(Into::into).boxed_unsync())).boxed();
        }
        let user = request.headers().get(USER).and_then(|user| user.to_str().ok());
        if let Some(user) = user.map(|user| User(user.to_owned())) {
            request.extensions_mut().insert(user);
        }
        let call = self.photos.call(request);
        call.map_ok(|response| response.map(BodyExt::boxed_unsync)).boxed()
    }
}

/// Plain hyper, over connections that carry interim responses.
async fn serve_hyper<S, B>(listener: &tokio::net::TcpListener, service: &S, stopped: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let (server, connections) = (auto::Builder::new(TokioExecutor::new()), GracefulShutdown::new());
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (stream, _) = tokio::select! {
            Ok(accepted) = listener.accept() => accepted,
            () = &mut stopped => break,
            else => continue,
        };
        let io = InterimIo::new(stream);
        let (interim, service) = (io.interim(), TowerToHyperService::new(service.clone()));
        let service = service_fn(move |mut request: Request<Incoming>| {
            interim.attach(&mut request);
            service.call(request)
        });
        let connection = server.serve_connection(TokioIo::new(io), service).into_owned();
        tokio::spawn(connections.watch(connection));
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), connections.shutdown()).await;
}
