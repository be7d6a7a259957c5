//! The endpoint as a service.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{OriginalUri, Request},
    response::Response,
};
use futures_util::{FutureExt, future::BoxFuture};
use tower_service::Service;
use tus_service::{Mount, Tus, mount_path};

/// The endpoint as a service, for [`Router::nest_service`] and [`Router::fallback_service`].
///
/// [`Router::nest_service`]: axum::Router::nest_service
/// [`Router::fallback_service`]: axum::Router::fallback_service
///
/// ```
/// use axum::{Router, routing::get};
/// use axum_tus::Tus;
///
/// fn app(tus: Tus) -> Router {
///     Router::new().route("/health", get(|| async { "ok" })).fallback_service(axum_tus::service(tus))
/// }
/// ```
pub fn service(tus: Tus) -> EndpointService {
    EndpointService { tus }
}

/// An endpoint as a service: see [`service`].
#[derive(Debug, Clone)]
pub struct EndpointService {
    tus: Tus,
}

impl Service<Request> for EndpointService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let tus = self.tus.clone();
        async move {
            // The router removed the path at which it is nested, but hooks and `Location` need the full path.
            let full = request.extensions().get().map(|OriginalUri(full)| full.clone());
            let full = full.unwrap_or_else(|| request.uri().clone());
            let mount = Mount::at(mount_path(full.path(), request.uri().path()).to_owned());
            *request.uri_mut() = full;
            #[cfg(feature = "interim")]
            crate::interim::hand_on(&mut request);
            Ok(Response::from(tus.handle(request, &mount).await.map(Body::new)))
        }
        .boxed()
    }
}
