//! The endpoint as a [`tower_service::Service`] (feature `tower`), for plain hyper and every framework that accepts
//! one.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;
use tus_core::server::Mount;

use crate::{ResponseBody, Tus};

/// An endpoint as a service at a path: see [`Tus::service`].
#[derive(Debug, Clone)]
pub struct TusService {
    tus: Tus,
    mount: Mount<'static>,
}

impl Tus {
    /// The endpoint as a service for requests with their full path, which begins with that of `mount`.
    ///
    /// A router that removes the path at which it nests a service hides what `Location` must contain. Use that
    /// framework's crate (`axum-tus`) or [`Tus::handle`] instead.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Empty;
    /// use tower_service::Service;
    /// use tus_service::{Memory, Mount, Tus};
    ///
    /// let mut service = Tus::builder(Memory::new()).build().service(Mount::at("/files"));
    /// let request = Request::options("/files").body(Empty::<Bytes>::new()).unwrap();
    /// let response = service.call(request).await.unwrap();
    /// assert_eq!(response.headers()["tus-version"], "1.0.0");
    /// # }
    /// ```
    pub fn service(&self, mount: Mount<'_>) -> TusService {
        TusService { tus: self.clone(), mount: mount.into_owned() }
    }
}

impl<B> Service<Request<B>> for TusService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { tus, mount } = self.clone();
        async move { Ok(tus.handle(request, &mount).await) }.boxed()
    }
}
