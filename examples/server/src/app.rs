//! What clients reach: the uploads, and a page.

use bytes::Bytes;
use example_shared::PAGE;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tus_service::{Mount, ResponseBody, Tus};

use crate::connections::Application;

/// The last segment of the endpoint's path, as the page knows it.
pub(crate) const PAGE_ENDPOINT: &str = "files";

/// The uploads at their path, and the page beside them if it is wanted.
#[derive(Debug, Clone)]
pub(crate) struct App {
    tus: Tus,
    mount: Mount<'static>,
    path: String,
    /// Where the page is.
    page: Option<String>,
}

impl App {
    pub(crate) fn new(tus: Tus, path: &str, has_page: bool) -> Self {
        let path = path.trim_end_matches('/').to_owned();
        let page = path.strip_suffix(PAGE_ENDPOINT).filter(|_| has_page).map(str::to_owned);
        Self { tus, mount: Mount::at(path.clone()), path, page }
    }

    /// Whether a path is that of the endpoint, or of an upload.
    fn is_ours(&self, path: &str) -> bool {
        path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Application for App {
    async fn respond(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let path = request.uri().path();
        if self.page.as_deref() == Some(path) && matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::OK, "text/html; charset=utf-8", PAGE);
        }
        if self.is_ours(path) {
            return self.tus.handle(request, &self.mount).await;
        }
        text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there is nothing here\n")
    }
}

/// A response of text.
pub(crate) fn text(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<ResponseBody> {
    let body: Bytes = body.into();
    let mut response = Response::new(ResponseBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
