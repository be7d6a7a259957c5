//! Requests and responses of warp, in the types that all frameworks share.

use http::{
    HeaderMap, Method, Request, Response, Uri, Version, header,
    uri::{Authority, Scheme},
};
use tus_service::ResponseBody;
use warp::{Filter, Reply as _, filters::BoxedFilter, path::FullPath, reply};

/// A request without its body, if it has a valid target.
pub(crate) type Head = Result<Request<()>, http::Error>;

/// The head of a request. warp provides its pieces one by one, except the version.
pub(crate) fn head() -> BoxedFilter<(Head,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let authority = warp::host::optional().or(warp::any().map(|| None)).unify();
    let pieces = warp::method().and(warp::path::full()).and(query).and(authority).and(warp::header::headers_cloned());
    pieces.map(translated).boxed()
}

fn translated(method: Method, path: FullPath, query: String, authority: Option<Authority>, headers: HeaderMap) -> Head {
    let target = if query.is_empty() { path.as_str().to_owned() } else { format!("{}?{query}", path.as_str()) };
    let mut request = Request::builder().method(method).body(())?;
    *request.uri_mut() = match authority {
        // Every request of HTTP/1.1 has the header; over HTTP/2 the authority is a part of the target.
        Some(authority) if !headers.contains_key(header::HOST) => {
            *request.version_mut() = Version::HTTP_2;
            Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(target).build()?
        }
        _ => target.try_into()?,
    };
    *request.headers_mut() = headers;
    Ok(request)
}

pub(crate) fn respond(response: Response<ResponseBody>) -> reply::Response {
    let (head, body) = response.into_parts();
    let mut response = match body.try_into_bytes() {
        Ok(bytes) => Response::new(bytes.into()),
        Err(body) => reply::stream(body).into_response(),
    };
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
