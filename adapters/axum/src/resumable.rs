//! Resumable routes.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{OriginalUri, Request},
    handler::Handler,
    http::Uri,
    response::Response,
    routing::{MethodRouter, any},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either},
};
use tus_service::{Responding, Resumable, Route, StoredBody};

/// Makes a route of the application resumable: an ordinary upload of a form or a file survives a broken connection if
/// the client supports the IETF's "Resumable Uploads for HTTP" (**which is a draft**), as every iPhone does. Its
/// handlers do not change; [`Resumable`] describes what they can rely on.
///
/// ```
/// use axum::{Router, extract::Multipart, routing::post};
/// use axum_tus::Tus;
///
/// async fn photos(mut form: Multipart) -> String {
///     let mut fields = 0;
///     while let Ok(Some(_)) = form.next_field().await {
///         fields += 1;
///     }
///     format!("{fields} fields\n")
/// }
///
/// fn app(tus: Tus) -> Router {
///     Router::new().route("/photos", axum_tus::resumable(tus, post(photos)))
/// }
/// ```
///
/// It wraps all methods of a route, because those of the upload use the same path; a [layer](MethodRouter::layer)
/// would wrap each method separately. Put layers around the result, for example authentication. Layers that limit the
/// body or the duration of a request also limit uploads. An extractor that authenticates runs too late. Serve it with
/// `Informing` (feature `interim`), so that clients that send everything in one request can resume.
///
/// `tus` is an endpoint, which need not be served itself, or a [`Resumable`] with other settings.
pub fn resumable<S>(tus: impl Into<Resumable>, route: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    any(ResumableRoute { resumable: tus.into(), route: Arc::new(route) })
}

#[derive(Clone)]
struct ResumableRoute<S> {
    resumable: Resumable,
    /// Shared, because axum clones a handler several times for a request.
    route: Arc<MethodRouter<S>>,
}

type Passed<S> = <MethodRouter<S> as Handler<(), S>>::Future;

impl<S> Handler<(), S> for ResumableRoute<S>
where
    S: Clone + Send + Sync + 'static,
{
    type Future = Either<Passed<S>, BoxFuture<'static, Response>>;

    fn call(self, request: Request, state: S) -> Self::Future {
        let Self { resumable, route } = self;
        let route = MethodRouter::clone(&route);
        let has_header = |name: &str| request.headers().contains_key(name);
        match Resumable::route(request.method().as_str(), request.uri().query(), has_header) {
            Route::Pass => Either::Left(Handler::call(route, request, state)),
            Route::Announce => {
                let announced = async move {
                    let mut response = Handler::call(route, request, state).await;
                    if resumable.announce(&mut response) {
                        *response.body_mut() = Body::empty();
                    }
                    response
                };
                Either::Right(announced.boxed())
            }
            Route::Examine => Either::Right(examined(resumable, route, request, state).boxed()),
        }
    }
}

async fn examined<S>(resumable: Resumable, route: MethodRouter<S>, mut request: Request, state: S) -> Response
where
    S: Clone + Send + Sync + 'static,
{
    #[cfg(feature = "interim")]
    crate::interim::hand_on(&mut request);
    // A router may have removed the path at which it nests the route, but the URL of an upload needs the full path.
    let full = request.extensions().get().map(|OriginalUri(full)| full.clone());
    let seen = request.uri().clone();
    *request.uri_mut() = full.unwrap_or_else(|| seen.clone());
    let (head, body) = request.into_parts();
    let (taken, mut request) = (resumable.takes(&head), Request::from_parts(head, body));
    if !taken {
        *request.uri_mut() = seen;
        return Handler::call(route, request, state).await;
    }
    let begin = |request, responding: Responding<Body>| {
        let request = handlers_request(request, &seen);
        let call = async { Ok::<_, std::convert::Infallible>(Handler::call(route, request, state).await) };
        tokio::spawn(responding.respond(call));
    };
    Response::from(resumable.handle(request, begin).await.map(Body::new))
}

/// The request as the route of the original request sees it.
fn handlers_request(request: axum::http::Request<StoredBody>, seen: &Uri) -> Request {
    let mut request = request.map(Body::new);
    let full = std::mem::replace(request.uri_mut(), Resumable::handlers_uri(seen));
    request.extensions_mut().insert(OriginalUri(full));
    request
}
