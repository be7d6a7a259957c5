//! Resumable resources.

use std::{
    cell::Cell,
    error::Error,
    future::{Ready, ready},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform},
    error::{InternalError, PayloadError},
    http::{Method, StatusCode, header},
    web::Bytes,
};
use futures_util::{
    FutureExt, StreamExt, TryFutureExt,
    future::{Either, LocalBoxFuture, MapOk},
};
use http_body::{Body, Frame, SizeHint};
use tus_service::{RelayedBody, Responding, Resumable, Resumed, Route, StoredBody, StreamBody};

use crate::translated;

/// Makes a resource of the application resumable: an ordinary upload of a form or a file survives a broken connection
/// if the client supports the IETF's "Resumable Uploads for HTTP" (**which is a draft**). Its handlers do not change;
/// [`Resumable`] describes what they can rely on.
///
/// ```
/// use actix_web::{App, web};
/// use actix_web_tus::Tus;
///
/// async fn photos(content: web::Bytes) -> String {
///     format!("{} bytes\n", content.len())
/// }
///
/// # async fn example(tus: Tus) {
/// let photos = web::resource("/photos").route(web::post().to(photos)).wrap(actix_web_tus::resumable(tus));
/// let app = App::new().service(photos);
/// # }
/// ```
///
/// Wrap the complete resource, because the other methods of an upload use the same path. What is wrapped around it
/// afterwards (for example authentication) sees each request of an upload; it must not keep a clone of the
/// `HttpRequest`, because actix-web panics when a shared request is changed. actix-web sends no interim responses, so
/// only clients that start with a part of their content (`Upload-Complete: ?0`) can resume.
///
/// `tus` is an endpoint, which need not be served itself, or a [`Resumable`] with other settings.
pub fn resumable(tus: impl Into<Resumable>) -> ResumableResource {
    ResumableResource { resumable: tus.into(), extend: |_, _| () }
}

/// The same; `extend` fills the extensions that the hooks and [`Resumable::owner`] see.
///
/// ```
/// use actix_web::{App, HttpMessage, web};
/// use actix_web_tus::{Resumable, Tus, resumable_with};
///
/// /// Put into the request's extensions by the application's own middleware.
/// #[derive(Clone)]
/// struct User(String);
///
/// async fn photos(content: web::Bytes) -> String {
///     format!("{} bytes\n", content.len())
/// }
///
/// # async fn example(tus: Tus) {
/// // An upload stays with the user that created it.
/// let owned = Resumable::new(tus).owner(|head| head.extensions.get().map(|User(user)| user.clone()));
/// let owned = resumable_with(owned, |request, extensions| {
///     request.extensions().get::<User>().and_then(|user| extensions.insert(user.clone()));
/// });
/// let app = App::new().service(web::resource("/photos").route(web::post().to(photos)).wrap(owned));
/// # }
/// ```
pub fn resumable_with<F>(tus: impl Into<Resumable>, extend: F) -> ResumableResource<F>
where
    F: Fn(&HttpRequest, &mut http::Extensions) + Clone + 'static,
{
    ResumableResource { resumable: tus.into(), extend }
}

/// A middleware for a resource: see [`resumable`].
#[derive(Debug, Clone)]
pub struct ResumableResource<F = fn(&HttpRequest, &mut http::Extensions)> {
    resumable: Resumable,
    extend: F,
}

/// The service of a resumable resource.
#[derive(Debug)]
pub struct ResumableService<S, F> {
    resource: ResumableResource<F>,
    inner: Rc<S>,
}

impl<S, B, F> Transform<S, ServiceRequest> for ResumableResource<F>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error, Future: 'static> + 'static,
    B: MessageBody + 'static,
    F: Fn(&HttpRequest, &mut http::Extensions) + Clone + 'static,
{
    type Response = Passed<B>;
    type Error = actix_web::Error;
    type Transform = ResumableService<S, F>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(ResumableService { resource: self.clone(), inner: Rc::new(inner) }))
    }
}

type Passed<B> = ServiceResponse<EitherBody<B>>;

impl<S, B, F> Service<ServiceRequest> for ResumableService<S, F>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error, Future: 'static> + 'static,
    B: MessageBody + 'static,
    F: Fn(&HttpRequest, &mut http::Extensions) + Clone + 'static,
{
    type Response = Passed<B>;
    type Error = actix_web::Error;
    type Future = Either<
        MapOk<S::Future, fn(ServiceResponse<B>) -> Passed<B>>,
        LocalBoxFuture<'static, Result<Passed<B>, actix_web::Error>>,
    >;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), actix_web::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let passed: fn(ServiceResponse<B>) -> Passed<B> = ServiceResponse::map_into_left_body;
        let has_header = |name: &str| request.headers().contains_key(name);
        match Resumable::route(request.method().as_str(), request.uri().query(), has_header) {
            Route::Pass => Either::Left(self.inner.call(request).map_ok(passed)),
            Route::Announce => {
                let (resumable, call) = (self.resource.resumable.clone(), self.inner.call(request).map_ok(passed));
                Either::Right(call.map_ok(move |response| announced(&resumable, response)).boxed_local())
            }
            Route::Examine => Either::Right(examined(self.resource.clone(), self.inner.clone(), request).boxed_local()),
        }
    }
}

fn announced<B: MessageBody>(resumable: &Resumable, mut response: Passed<B>) -> Passed<B> {
    let mut announced = http::Response::new(());
    *announced.status_mut() = http::StatusCode::from_u16(response.status().as_u16()).unwrap_or_default();
    if resumable.announce(&mut announced) {
        response = response.map_body(|_, _| EitherBody::right(BoxBody::new(())));
        for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
            response.headers_mut().remove(name);
        }
    }
    let head = response.response_mut().head_mut();
    head.status = StatusCode::from_u16(announced.status().as_u16()).unwrap_or(head.status);
    for (name, value) in announced.headers() {
        if let Some((name, value)) = field(name, value) {
            head.headers.insert(name, value);
        }
    }
    response
}

/// A header in the framework's types, which are from an older version.
fn field(name: &http::HeaderName, value: &http::HeaderValue) -> Option<(header::HeaderName, header::HeaderValue)> {
    let name = header::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
    Some((name, header::HeaderValue::from_bytes(value.as_bytes()).ok()?))
}

async fn examined<S, B, F>(
    resource: ResumableResource<F>,
    inner: Rc<S>,
    request: ServiceRequest,
) -> Result<Passed<B>, actix_web::Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error, Future: 'static> + 'static,
    B: MessageBody + 'static,
    F: Fn(&HttpRequest, &mut http::Extensions),
{
    let ResumableResource { resumable, extend } = resource;
    let (request, payload) = request.into_parts();
    let mut translated = match translated(&request, payload) {
        Ok(translated) => translated,
        Err(error) => {
            let response = respond(resumable.unreadable(error));
            return Ok(ServiceResponse::new(request, response).map_into_right_body());
        }
    };
    extend(&request, translated.extensions_mut());
    let (head, StreamBody(payload)) = translated.into_parts();
    if !resumable.takes(&head) {
        let passed = inner.call(ServiceRequest::from_parts(request, payload)).await?;
        return Ok(passed.map_into_left_body());
    }
    // The handler gets the framework's request and returns it with its response.
    let held = Rc::new(Cell::new(Some(request)));
    let begin = |stored, responding: Responding<Content>| {
        let held = held.clone();
        let call = async move {
            let request = held.take().ok_or("the request no longer exists")?;
            let response = match inner.call(handlers_request(request, stored)).await {
                Ok(response) => {
                    let (request, response) = response.into_parts();
                    held.set(Some(request));
                    response.map_into_boxed_body()
                }
                // As the framework would answer it.
                Err(error) => error.error_response(),
            };
            Ok::<_, Box<dyn Error + Send + Sync>>(relayed(response))
        };
        actix_web::rt::spawn(responding.respond(call));
    };
    let request = http::Request::from_parts(head, StreamBody(payload));
    let response = respond(resumable.handle(request, begin).await);
    match held.take() {
        Some(request) => Ok(ServiceResponse::new(request, response).map_into_right_body()),
        None => Err(InternalError::from_response("the handler of a resumable resource failed", response).into()),
    }
}

/// The framework's request for the handler, with the extensions of the request that completed the upload.
fn handlers_request(request: HttpRequest, stored: http::Request<StoredBody>) -> ServiceRequest {
    let (head, body) = stored.into_parts();
    let payload = body.map(|piece| piece.map_err(|error| PayloadError::Io(io::Error::other(error))));
    let mut request = ServiceRequest::from_parts(request, Payload::from(payload.boxed_local()));
    let seen = request.head_mut();
    seen.method = Method::from_bytes(head.method.as_str().as_bytes()).unwrap_or(Method::POST);
    seen.uri = head.uri.to_string().parse().unwrap_or_else(|_| seen.uri.clone());
    seen.headers.clear();
    for (name, value) in head.headers.iter().filter_map(|(name, value)| field(name, value)) {
        seen.headers.append(name, value);
    }
    if let Some(resumed) = head.extensions.get::<Resumed>() {
        request.extensions_mut().insert(resumed.clone());
    }
    request
}

/// The framework's response in the types that all frameworks share.
fn relayed(response: HttpResponse) -> http::Response<Content> {
    let mut relayed = http::Response::new(());
    *relayed.status_mut() = http::StatusCode::from_u16(response.status().as_u16()).unwrap_or_default();
    for (name, value) in response.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.as_bytes())) {
            relayed.headers_mut().append(name, value);
        }
    }
    relayed.map(|()| Content(response.into_body()))
}

fn respond(response: http::Response<RelayedBody<Content>>) -> HttpResponse {
    let (head, body) = response.into_parts();
    crate::respond_with(&head, BoxBody::new(Relayed(body)))
}

/// The body of a handler's response, for the service.
struct Content(BoxBody);

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = Pin::new(&mut self.0).poll_next(context);
        next.map_ok(Frame::data).map_err(|error| io::Error::other(error.to_string()))
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.size() {
            BodySize::None => SizeHint::with_exact(0),
            BodySize::Sized(bytes) => SizeHint::with_exact(bytes),
            BodySize::Stream => SizeHint::default(),
        }
    }
}

/// The body of a response, for the framework.
struct Relayed(RelayedBody<Content>);

impl MessageBody for Relayed {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.0.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        loop {
            let next = std::task::ready!(Pin::new(&mut self.0).poll_frame(context));
            match next.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => return Poll::Ready(Some(Ok(data))),
                // The framework carries no trailers.
                Some(Ok(Err(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}
