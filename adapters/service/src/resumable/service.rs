//! A resumable [`tower_service::Service`] (feature `tower`).

use std::{
    error::Error,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Either, MapOk},
};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{RelayedBody, RequestBody, Resumable, Route};

/// A service whose requests are resumable: see [`Resumable::service`].
#[derive(Debug, Clone)]
pub struct ResumableService<S> {
    resumable: Resumable,
    inner: S,
}

impl Resumable {
    /// Makes the requests to a service resumable.
    ///
    /// The service must accept every method of the resource: it is called with the method of the request that created
    /// the upload, whichever request completed it. Therefore this is not a `Layer`: axum puts a layer around the
    /// handler of each method (`axum_tus::resumable` wraps all of them). The requests must have their full path.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::convert::Infallible;
    ///
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use tower_service::Service;
    /// use tus_service::{Memory, RequestBody, Resumable, Tus};
    ///
    /// # #[derive(Clone)]
    /// # struct Photos;
    /// # impl Service<Request<RequestBody<Full<Bytes>>>> for Photos {
    /// #     type Response = Response<Full<Bytes>>;
    /// #     type Error = Infallible;
    /// #     type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;
    /// #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
    /// #         std::task::Poll::Ready(Ok(()))
    /// #     }
    /// #     fn call(&mut self, request: Request<RequestBody<Full<Bytes>>>) -> Self::Future {
    /// #         Box::pin(async {
    /// #             let content = request.into_body().collect().await.unwrap().to_bytes();
    /// #             Ok(Response::new(Full::new(format!("{} bytes", content.len()).into())))
    /// #         })
    /// #     }
    /// # }
    /// // `Photos` responds with the number of bytes that it got.
    /// let mut service = Resumable::new(Tus::builder(Memory::new()).build()).service(Photos);
    /// let begin = Request::post("/photos").header("upload-complete", "?0").body(Full::new("hello ".into()));
    /// let begun = service.call(begin.unwrap()).await.unwrap();
    /// assert_eq!(begun.status(), 201);
    ///
    /// let end = Request::patch(begun.headers()["location"].to_str().unwrap())
    ///     .header("upload-offset", "6")
    ///     .header("upload-complete", "?1")
    ///     .header("content-type", "application/partial-upload")
    ///     .body(Full::new("world".into()));
    /// let ended = service.call(end.unwrap()).await.unwrap();
    /// assert_eq!((ended.status().as_u16(), &ended.headers()["upload-complete"]), (200, &"?1".parse().unwrap()));
    /// assert_eq!(ended.into_body().collect().await.unwrap().to_bytes(), "11 bytes");
    /// # }
    /// ```
    pub fn service<S>(self, inner: S) -> ResumableService<S> {
        ResumableService { resumable: self, inner }
    }
}

type Relayed<R, E> = Result<Response<RelayedBody<R>>, E>;

impl<S, B, R> Service<Request<B>> for ResumableService<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    B: Body<Data: Send, Error: Send> + Send + 'static,
    R: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<RelayedBody<R>>;
    type Error = S::Error;
    type Future =
        Either<MapOk<S::Future, fn(Response<R>) -> Response<RelayedBody<R>>>, BoxFuture<'static, Relayed<R, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let pass = |request: Request<B>| request.map(RequestBody::sent);
        let passed: fn(Response<R>) -> Response<RelayedBody<R>> = |response| response.map(RelayedBody::passed);
        let has_header = |name: &str| request.headers().contains_key(name);
        match Resumable::route(request.method().as_str(), request.uri().query(), has_header) {
            Route::Pass => return Either::Left(self.inner.call(pass(request)).map_ok(passed)),
            Route::Announce => {
                let (resumable, call) = (self.resumable.clone(), self.inner.call(pass(request)).map_ok(passed));
                let announced = call.map_ok(move |mut response| match resumable.announce(&mut response) {
                    true => response.map(|_| RelayedBody::empty()),
                    false => response,
                });
                return Either::Right(announced.boxed());
            }
            Route::Examine => {}
        }
        let (head, body) = request.into_parts();
        let (taken, request) = (self.resumable.takes(&head), Request::from_parts(head, body));
        if !taken {
            return Either::Left(self.inner.call(pass(request)).map_ok(passed));
        }
        // The ready service is this one, not its clone.
        let clone = self.inner.clone();
        let (resumable, mut inner) = (self.resumable.clone(), std::mem::replace(&mut self.inner, clone));
        let handled = async move {
            let begin = |request: Request<_>, responding: super::Responding<R>| {
                let call = inner.call(request.map(RequestBody::stored));
                tokio::spawn(responding.respond(call));
            };
            Ok(resumable.handle(request, begin).await)
        };
        Either::Right(handled.boxed())
    }
}
