//! Resumable applications.

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use tower_service::Service;
use tus_service::{Resumable, ResumableService};
use warp::{Filter, Rejection, Reply, filters::BoxedFilter, reply};

/// Makes the requests that an application handles resumable: an ordinary upload of a form or a file survives a broken
/// connection if the client supports the IETF's "Resumable Uploads for HTTP" (**which is a draft**), as every iPhone
/// does. Its filters do not change; [`Resumable`] describes what they can rely on.
///
/// ```
/// use warp::Filter;
/// use warp_tus::Tus;
///
/// # fn example(tus: Tus) -> warp_tus::ResumableApp {
/// let photos = warp::path("photos").and(warp::post()).and(warp::body::bytes());
/// let app = photos.map(|content: bytes::Bytes| format!("{} bytes\n", content.len()));
/// let service = warp_tus::resumable(tus, app);
/// # service
/// # }
/// ```
///
/// It is a service, because a filter cannot be called with a request. Serve it with hyper, over
/// [`InterimIo`](tus_service::InterimIo), so that clients that send everything in one request can resume. It wraps
/// all of the application's filters, including those that authenticate, so the [`Hooks`](crate::Hooks) of the
/// [`Tus`](crate::Tus) must decide who may upload, and where: by default, everybody may, at every path.
///
/// `tus` is an endpoint, which need not be served itself, or a [`Resumable`] with other settings.
pub fn resumable<F, T>(tus: impl Into<Resumable>, filter: F) -> ResumableApp
where
    F: Filter<Extract = (T,), Error = Rejection> + Clone + Send + Sync + 'static,
    T: Reply + Send + 'static,
{
    let filter = filter.map(Reply::into_response).boxed();
    ResumableApp { service: tus.into().service(Filtered { filter }) }
}

/// An application as a service whose requests are resumable: see [`resumable`].
#[derive(Debug, Clone)]
pub struct ResumableApp {
    service: ResumableService<Filtered>,
}

impl<B> Service<Request<B>> for ResumableApp
where
    B: Body<Data = Bytes, Error: Into<BoxError> + Send> + Send + Sync + Unpin + 'static,
{
    type Response = <ResumableService<Filtered> as Service<Request<B>>>::Response;
    type Error = Infallible;
    type Future = <ResumableService<Filtered> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.service, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.service.call(request)
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// The application's filters as a service: that of warp has no name.
#[derive(Clone)]
pub struct Filtered {
    filter: BoxedFilter<(reply::Response,)>,
}

impl<B> Service<Request<B>> for Filtered
where
    B: Body<Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Response = reply::Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<reply::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(warp::service(self.filter.clone()).call(request))
    }
}

impl fmt::Debug for Filtered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filtered").finish_non_exhaustive()
    }
}
