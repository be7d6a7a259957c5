//! Makes any handler resumable: requests to the application's own resources become uploads of the IETF's draft, and
//! the handler gets each complete one as the request that created it.

mod body;
mod call;
#[cfg(feature = "tower")]
mod request_body;
#[cfg(feature = "tower")]
mod service;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode, Uri, request::Parts};
use http_body::Body;
use tus_core::{
    Failure,
    server::{self, Mount, Resource},
};

pub use self::{body::RelayedBody, call::Responding};
#[cfg(feature = "tower")]
pub use self::{request_body::RequestBody, service::ResumableService};
use crate::{
    endpoint::Tus,
    handler::{self, StoredBody},
    interim::Interim,
    request::drain,
};

/// Makes requests to a resource of the application resumable, whatever its handler does: an ordinary upload of a form
/// or a file survives a broken connection if the client supports the IETF's "Resumable Uploads for HTTP" (**which is
/// a draft**), as every iPhone does. Each framework's crate has a function `resumable` that wraps a handler.
///
/// # What happens
///
/// A request without the draft's headers goes to the handler untouched. A request with them becomes an upload in the
/// storage of a [`Tus`]: at the URL of the resource itself, with a query (`/photos?resumable-upload=…`), so that the
/// application's middleware (for example authentication) sees each request of the upload. When the upload is
/// complete, the handler is called while the client waits: with the request that created the upload (and headers of
/// the completing one, [see below](#who-may)), the complete content, and its `Content-Length`. The handler's
/// response, whatever its status, is the response to the client.
///
/// Three kinds of requests with the draft's headers are also forwarded untouched. A client that sends everything at
/// once (`Upload-Complete: ?1`) can only resume an upload that it learned about before its request broke off: if the
/// server cannot send interim responses ([`InterimIo`](crate::InterimIo)), nothing would be gained. And content
/// smaller than [`min_size`](Self::min_size) is sent again faster than it is stored. The third kind are requests that
/// the limits of a request to an upload would refuse: content above
/// [`max_append_size`](crate::Config::max_append_size), metadata above
/// [`max_metadata`](crate::Config::max_metadata), or a head above 16 KiB.
///
/// # At least once
///
/// The handler is called **at least once** with exactly the bytes that were sent, and by one process at a time. It
/// continues if the client disconnects, and its response is stored for when the client asks again: up to 64 KiB of
/// headers and content. If the response is larger, or its content takes longer than five seconds, a client that asks
/// again only learns that the upload is complete (`410`, or `400` in versions up to 6). There is no response if the
/// server is killed while the handler runs, or if the handler panics, exceeds the
/// [`handler_timeout`](Self::handler_timeout), or cannot read the bytes. The client then gets `500` with
/// `Upload-Complete: ?0`, and the handler is called again when the client asks again. It is never called without a
/// client, because only a client's request has just been authorized. [`Resumed`](crate::Resumed) in the request's
/// extensions is the key by which it recognizes a repetition.
///
/// # Who may
///
/// Put the application's authentication around it: what is inside, including extractors, runs too late, because an
/// upload is stored before the handler is called. The [`Hooks`](crate::Hooks) of the [`Tus`] are called for each
/// request as usual; the handler replaces `before_finish` and `finished`. [`owner`](Self::owner) restricts an upload
/// to the user who created it.
///
/// The handler acts on the request that was authorized, which is the one that completed the upload: its extensions,
/// and its headers, which replace those of the creation. Headers that describe the content (`Content-*`,
/// `Repr-Digest`) are those of the creation. Credentials (`Authorization`, `Proxy-Authorization`, `Cookie`), `Host`,
/// `Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `Via`, `Origin`, `Referer` and `Sec-Fetch-*` are not stored: the
/// handler sees those of the completing request, or none. All other headers are stored (at most 16 KiB). `Set-Cookie`
/// of the response is not stored: only the client that was connected when the handler responded gets it.
///
/// Unfinished uploads are deleted after [`Config::expire_after`](crate::Config::expire_after), finished ones after
/// [`keep`](Self::keep). [`Config::max_size`](crate::Config::max_size) limits an upload. The framework's limits on
/// bodies apply to each request of the client, and to the complete content that the handler reads.
///
/// ```
/// use std::time::Duration;
///
/// use tus_service::{Memory, Resumable, Tus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let tus = Tus::builder(Memory::new()).build();
/// // For `resumable` of the framework's crate.
/// let photos = Resumable::new(tus).min_size(1 << 20).handler_timeout(Duration::from_secs(600));
/// # }
/// ```
#[derive(Clone)]
pub struct Resumable {
    tus: Tus,
    resource: Resource,
    owner: Option<Arc<Owner>>,
    handler_timeout: Duration,
}

/// What to do with a request to a resource: see [`Resumable::route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The handler handles it.
    Pass,
    /// The handler handles it, and the server [announces](Resumable::announce) uploads in the response.
    Announce,
    /// It may belong to an upload: [`Resumable::takes`] decides whether the handler handles it.
    Examine,
}

type Owner = dyn Fn(&Parts) -> Option<String> + Send + Sync;

impl From<Tus> for Resumable {
    fn from(tus: Tus) -> Self {
        Self { tus, resource: Resource::default(), owner: None, handler_timeout: Duration::from_secs(600) }
    }
}

impl Resumable {
    /// Uploads are kept in the storage of `tus`, with its configuration and hooks.
    pub fn new(tus: Tus) -> Self {
        tus.into()
    }

    /// Content smaller than this, in bytes, that is sent in one request does not become an upload; 1 MiB by default.
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.resource.min_size = bytes;
        self
    }

    /// How long an upload is kept after the handler has responded, so that a client that lost the response can get it
    /// again; one hour by default.
    pub fn keep(mut self, time: Duration) -> Self {
        self.resource.keep = time;
        self
    }

    /// How long the handler may take, 10 minutes by default.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// Determines the owner of an upload from the head of a request. Uploads that the request creates get this owner,
    /// and for everybody else they do not exist.
    ///
    /// ```
    /// use tus_service::{Memory, Resumable, Tus};
    ///
    /// /// The application's own middleware adds it to the request's extensions.
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// # async fn example() {
    /// let resumable = Resumable::new(Tus::builder(Memory::new()).build())
    ///     .owner(|head| head.extensions.get().map(|User(name)| name.clone()));
    /// # }
    /// ```
    pub fn owner(mut self, owner: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.owner = Some(Arc::new(owner));
        self
    }

    /// What to do with a request, decided quickly by its method, the query of its URL, and the presence of certain
    /// headers.
    pub fn route(method: &str, query: Option<&str>, has_header: impl Fn(&str) -> bool) -> Route {
        match method == "OPTIONS" {
            // The URL of an upload is not the handler's, but a page may ask with any headers what the resource offers.
            true if !server::may_resume(query, |_| false) => Route::Announce,
            _ if server::may_resume(query, has_header) => Route::Examine,
            _ => Route::Pass,
        }
    }

    /// Whether a request belongs to an upload or creates one. All others go to the handler. The request's URI must
    /// have the full path that the client sent.
    pub fn takes(&self, head: &Parts) -> bool {
        let informs = head.extensions.get::<Interim>().is_some();
        server::resumes(&self.tus.engine.config, head, &self.resource, informs)
    }

    /// Adds to the handler's response to OPTIONS what the server announces about uploads. Returns whether its status is
    /// 204 now: then drop its body.
    #[must_use]
    pub fn announce<B>(&self, response: &mut Response<B>) -> bool {
        server::announce_resource(&self.tus.engine.config, &self.resource, response);
        response.status() == StatusCode::NO_CONTENT
    }

    /// The URI for the handler, if the framework has one of its own besides the full one.
    pub fn handlers_uri(uri: &Uri) -> Uri {
        server::resource_of(uri)
    }

    /// The response to a request that cannot be expressed in the types of the crate `http`.
    pub fn unreadable<R>(&self, reason: impl fmt::Display) -> Response<RelayedBody<R>> {
        self.tus.unreadable(reason).map(RelayedBody::ours)
    }

    /// Handles a request that it [takes](Self::takes). The request's URI must have the full path that the client
    /// sent.
    ///
    /// `begin` is called when the upload is complete. It starts a task that calls the handler, and passes the result
    /// to the [`Responding`]. The task continues if this future is dropped.
    pub async fn handle<B, R>(
        &self,
        request: Request<B>,
        begin: impl FnOnce(Request<StoredBody>, Responding<R>),
    ) -> Response<RelayedBody<R>>
    where
        B: Body,
    {
        let (head, body) = request.into_parts();
        let mount = Mount::resource(self.resource.clone());
        let owner = catch_unwind(AssertUnwindSafe(|| self.owner.as_ref().map(|owner| owner(&head))));
        let Ok(owner) = owner else {
            tracing::error!("the function that determines the owner of an upload panicked");
            let response = server::fail(&self.tus.engine.config, &head, &mount, Failure::Internal);
            return drain(&head, pin!(body), response).await.map(|body| RelayedBody::ours(body.into()));
        };
        let (caller, called) = handler::caller(owner);
        let mut responds = pin!(self.tus.respond(Arc::new(head), body, mount, Some(caller)));
        let mut relayed = None;
        let response = tokio::select! {
            biased;
            response = &mut responds => response,
            Ok(called) = called => {
                let (request, responding, relay) = Responding::begin(called, self.handler_timeout);
                relayed = Some(relay);
                begin(request, responding);
                responds.await
            }
        };
        let (head, body) = response.into_parts();
        let body = match (body, relayed) {
            (Some(body), _) => RelayedBody::ours(body),
            (None, Some(relay)) => relay.await.unwrap_or_else(|_| RelayedBody::empty()),
            (None, None) => RelayedBody::empty(),
        };
        Response::from_parts(head, body)
    }
}

impl fmt::Debug for Resumable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumable").field("tus", &self.tus).field("resource", &self.resource).finish_non_exhaustive()
    }
}
