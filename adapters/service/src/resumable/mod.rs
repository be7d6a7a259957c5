//! Any handler, resumable: requests to the application's own resources become uploads by the IETF's dialect, and the
//! handler gets each complete one as the request that it was meant to be.

mod body;
mod call;
#[cfg(feature = "tower")]
mod service;

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response, Uri, request::Parts};
use http_body::Body;
use tus_core::{
    Incarnation, Upload, UploadId,
    server::{self, Mount, Resource},
};

pub(crate) use self::call::Caller;
#[cfg(feature = "tower")]
pub use self::service::ResumableService;
pub use self::{
    body::{RelayedBody, RequestBody, StoredBody},
    call::Responding,
};
use crate::{Interim, Tus};

/// Makes requests to a resource of the application resumable, whatever its handler does: an ordinary upload of a form or
/// a file survives a connection that breaks, where the client speaks the IETF's "Resumable Uploads for HTTP" (**which is
/// a draft**), as each iPhone does. The crate of each framework has a function `resumable` that puts it around a handler.
///
/// # What happens
///
/// A request without the headers of the draft passes to the handler untouched. One with them becomes an upload in the
/// storage of a [`Tus`]: at the URL of the resource itself, with a query (`/photos?resumable-upload=…`), so that the
/// application's middleware (authentication, say) sees each request of the upload. When the upload is complete, the
/// handler is called with the request that created it (and what the completing one says, [see below](#who-may)), all of
/// its content, and its `Content-Length`, while the client waits; and the handler's response, whatever its status, is the response to the client.
///
/// Two kinds of requests with the draft's headers pass untouched as well. A client that sends everything at once
/// (`Upload-Complete: ?1`) can only go on with an upload of which it was informed before its request broke: where the
/// server cannot send interim responses ([`InterimIo`](crate::InterimIo)), nothing would be gained. And what is smaller
/// than [`min_size`](Self::min_size) is sent again faster than it is stored.
///
/// # At least once
///
/// The handler is called **at least once** with exactly the bytes that were sent, and by one process at a time. It goes
/// on where the client leaves meanwhile, and its response is kept for when the client asks again: up to 64 KiB of headers
/// and content; of a larger one, or one whose content takes longer than five seconds, the client then only learns that
/// the upload is complete (`409`). Where the server is killed while the handler runs, where the handler panics, takes
/// longer than the [`handler_timeout`](Self::handler_timeout), or cannot read the bytes, there is no response (the client
/// gets `500` with `Upload-Complete: ?0`), and it is called again when the client asks again: never without a client,
/// since only then somebody was authorized just now. [`Resumed`] in the request's extensions is the key by which it
/// recognises a repeat.
///
/// # Who may
///
/// Put the application's authentication around it: what is inside, extractors included, comes too late, since an upload
/// is stored before the handler is called. The [`Hooks`](crate::Hooks) of the [`Tus`] are asked about each request as
/// usual; in place of `before_finish` and `finished`, the handler is called. [`owner`](Self::owner) keeps an upload to
/// whoever created it.
///
/// The handler acts on the request that was authorized, which is the one that completed the upload: its extensions, and
/// its headers, which replace those of the creation. What describes the content (`Content-*`, `Repr-Digest`) is that of
/// the creation. Credentials (`Authorization`, `Proxy-Authorization`, `Cookie`), `Host`, `Forwarded`, `X-Forwarded-*`,
/// `X-Real-IP`, `Via`, `Origin`, `Referer` and `Sec-Fetch-*` are not stored: the handler sees those of the completing
/// request, or none. All other headers are (16 KiB at the most). Of the response, `Set-Cookie` is not kept: only the
/// client that was there when the handler responded gets it.
///
/// Uploads that are left unfinished go as [`Config::expire_after`](crate::Config::expire_after) says, finished ones after
/// [`keep`](Self::keep). [`Config::max_size`](crate::Config::max_size) limits an upload; limits of the framework on a
/// body count for one request of the client, and again for all of the content that the handler reads.
#[derive(Clone)]
pub struct Resumable {
    tus: Tus,
    resource: Resource,
    owner: Option<Arc<Owner>>,
    handler_timeout: Duration,
}

type Owner = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// In the extensions of a request that a handler gets because an upload is complete: the key by which it recognises a
/// repeat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Resumed {
    /// The upload's id.
    pub id: UploadId,
    /// Which of the uploads that have had this id: this never comes back.
    pub incarnation: Incarnation,
}

impl From<&Upload> for Resumed {
    fn from(upload: &Upload) -> Self {
        Self { id: upload.id.clone(), incarnation: upload.incarnation }
    }
}

impl From<Tus> for Resumable {
    fn from(tus: Tus) -> Self {
        Self { tus, resource: Resource::default(), owner: None, handler_timeout: Duration::from_secs(600) }
    }
}

impl Resumable {
    /// Uploads are kept in the storage of `tus`, by its configuration and its hooks.
    pub fn new(tus: Tus) -> Self {
        tus.into()
    }

    /// Content that is smaller than this, in bytes, and comes in one request is not made an upload; 1 MiB by default.
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.resource.min_size = bytes;
        self
    }

    /// How long an upload is kept after the handler has responded, so that a client that lost the response gets it
    /// again; an hour by default.
    pub fn keep(mut self, time: Duration) -> Self {
        self.resource.keep = time;
        self
    }

    /// How long the handler may take, 10 minutes by default.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// Whose an upload is, by the head of a request: it becomes the owner of the uploads that the request creates, and
    /// whoever is another one is told that they do not exist.
    ///
    /// ```
    /// use tus_service::{Memory, Resumable, Tus};
    ///
    /// /// Put into the request's extensions by the application's own middleware.
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

    /// Whether a request may be more than one for the handler, at a glance: by the query of its URL, and by whether it
    /// has certain headers. What it says no to passes to the handler.
    pub fn may_take(query: Option<&str>, has_header: impl Fn(&str) -> bool) -> bool {
        server::may_resume(query, has_header)
    }

    /// Whether a request is one of an upload, or creates one. Any other passes to the handler. Its URI has the full path
    /// that the client sent.
    pub fn takes(&self, head: &Parts) -> bool {
        let informs = head.extensions.get::<Interim>().is_some();
        server::resumes(&self.tus.engine.config, head, &self.resource, informs)
    }

    /// Adds to the handler's response to OPTIONS what clients may know of uploads.
    pub fn announce<B>(&self, response: &mut Response<B>) {
        server::announce_resource(&self.tus.engine.config, &self.resource, response);
    }

    /// The URI that the handler is to see, where the framework has one of its own beside the full one.
    pub fn handlers_uri(uri: &Uri) -> Uri {
        server::resource_of(uri)
    }

    /// The response to a request that cannot be expressed in the types of the crate `http`.
    pub fn unreadable<R>(&self, reason: impl fmt::Display) -> Response<RelayedBody<R>> {
        self.tus.unreadable(reason).map(RelayedBody::Ours)
    }

    /// Handles a request that it [takes](Self::takes). Its URI has the full path that the client sent.
    ///
    /// `begin` is called when the upload is complete: it begins a task that calls the handler, and lets the
    /// [`Responding`] respond with what comes of it. That goes on where this future is dropped.
    pub async fn handle<B, R>(
        &self,
        request: Request<B>,
        begin: impl FnOnce(Request<StoredBody>, Responding<R>),
    ) -> Response<RelayedBody<R>>
    where
        B: Body,
    {
        let (head, body) = request.into_parts();
        let owner = self.owner.as_ref().map(|owner| owner(&head));
        let (caller, called) = call::caller(owner);
        let mount = Mount::resource(self.resource.clone());
        let mut responds = pin!(self.tus.respond(Arc::new(head), body, mount, Some(caller)));
        let mut relayed = None;
        let response = tokio::select! {
            biased;
            response = &mut responds => response,
            Ok(called) = called => {
                let (request, responding, relay) = called.begin(self.handler_timeout);
                relayed = Some(relay);
                begin(request, responding);
                responds.await
            }
        };
        let (head, body) = response.into_parts();
        let body = match (body, relayed) {
            (Some(body), _) => RelayedBody::Ours(body),
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
