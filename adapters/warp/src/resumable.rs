//! Resumable applications.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;
use tus_service::Resumable;
use warp::{Filter, Rejection, Reply};

/// Makes the requests that an application handles resumable: an ordinary upload of a form or a file survives a broken
/// connection if the client supports the IETF's "Resumable Uploads for HTTP" (**which is a draft**), as every iPhone
/// does. Its filters do not change; [`Resumable`] describes what they can rely on.
///
/// ```
/// use warp::Filter;
/// use warp_tus::Tus;
///
/// # fn example<B>(tus: Tus) -> impl tower_service::Service<http::Request<B>>
/// # where
/// #     B: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send>
/// #         + Send + Sync + Unpin + 'static,
/// # {
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
pub fn resumable<F, T, B>(
    tus: impl Into<Resumable>,
    filter: F,
) -> impl Service<
    Request<B>,
    Response = Response<impl Body<Data = Bytes, Error = Box<dyn Error + Send + Sync>> + Send + 'static>,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static
where
    F: Filter<Extract = (T,), Error = Rejection> + Clone + Send + Sync + 'static,
    T: Reply + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>> + Send> + Send + Sync + Unpin + 'static,
{
    tus.into().service(warp::service(filter.boxed()))
}
