//! Resumable applications.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;
use tus_service::Resumable;
use warp::{Filter, Rejection, Reply};

/// Makes the requests that an application takes resumable: an ordinary upload of a form or a file survives a connection
/// that breaks, where the client speaks the IETF's "Resumable Uploads for HTTP" (**which is a draft**), as each iPhone
/// does. Its filters stay as they are; [`Resumable`] says what they can rely on.
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
/// It is a service, since a filter cannot be called with a request; serve it with hyper, over
/// [`InterimIo`](tus_service::InterimIo), so that clients which send everything in one request can resume. It is around
/// all of the application's filters, those that authenticate included, so that the [`Hooks`](crate::Hooks) of the
/// [`Tus`](crate::Tus) have to say who may upload, and where: by default, whoever asks may, at every path.
///
/// `tus` is an endpoint, which need not be served by itself, or a [`Resumable`] with other settings.
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
