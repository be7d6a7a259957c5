//! A server with the page, behind a proxy that answers in its place or replaces its error pages.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, StatusCode},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use example_shared::PAGE;
use futures_util::StreamExt;
use tus_reqwest::reqwest;
use tus_service::{Config, Download, Memory, Tus, UploadFilter};

pub(crate) async fn wait_until(mut come: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !come().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it comes within a minute");
}

type Rule = Box<dyn Fn(&Request) -> Option<Response> + Send>;

/// What a proxy does.
#[derive(Default)]
struct Proxy {
    /// What it answers itself.
    rule: Mutex<Option<Rule>>,
    /// Whether it replaces the server's error pages by its own.
    replaces: AtomicBool,
    /// How many DELETE it has answered itself.
    deletions: AtomicU64,
}

impl Proxy {
    async fn pass(&self, request: Request, next: Next) -> Response {
        let answer = self.rule.lock().unwrap().as_ref().and_then(|rule| rule(&request));
        if let Some(answer) = answer {
            self.deletions.fetch_add(u64::from(request.method() == Method::DELETE), Ordering::SeqCst);
            return answer;
        }
        let answer = next.run(request).await;
        let is_error = answer.status().is_client_error() || answer.status().is_server_error();
        if is_error && self.replaces.load(Ordering::SeqCst) { page(answer.status().as_u16()) } else { answer }
    }
}

/// A server with the page, behind a proxy.
pub(crate) struct Proxied {
    tus: Tus,
    pub(crate) page: String,
    proxy: Arc<Proxy>,
}

impl Proxied {
    pub(crate) async fn start() -> Self {
        let tus = Tus::builder(Memory::new()).config(Config::default().download(Download::attachment())).build();
        let proxy = Arc::new(Proxy::default());
        let passing = proxy.clone();
        let layer = middleware::from_fn(move |request: Request, next: Next| {
            let proxy = passing.clone();
            async move { proxy.pass(request, next).await }
        });
        let files = axum_tus::router("/files", tus.clone()).layer(layer);
        let login = get(Html("<h1>Log in</h1>")).post(Html("<h1>Log in</h1>"));
        let app = Router::new().route("/", get(Html(PAGE))).route("/login", login).merge(files);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, app).await });
        Self { tus, page, proxy }
    }

    /// The proxy replaces the server's error pages by its own, as nginx does with `proxy_intercept_errors`.
    pub(crate) fn replace_errors(&self) {
        self.proxy.replaces.store(true, Ordering::SeqCst);
    }

    /// The proxy answers some requests itself.
    pub(crate) fn answer(&self, rule: impl Fn(&Request) -> Option<Response> + Send + 'static) {
        *self.proxy.rule.lock().unwrap() = Some(Box::new(rule));
    }

    /// The proxy answers all requests with a page of its own.
    pub(crate) fn answer_all(&self, status: u16) {
        self.answer(move |_| Some(page(status)));
    }

    /// DELETE gets this status, from the server or from the proxy. All else is passed on.
    pub(crate) fn answer_deletions(&self, status: u16, is_servers: bool) {
        let answer = move || if is_servers { of_the_server(status) } else { page(status) };
        self.answer(move |request| (request.method() == Method::DELETE).then(answer));
    }

    pub(crate) fn pass_all(&self) {
        *self.proxy.rule.lock().unwrap() = None;
    }

    pub(crate) fn deletions(&self) -> u64 {
        self.proxy.deletions.load(Ordering::SeqCst)
    }

    /// How many uploads are stored.
    pub(crate) async fn uploads(&self) -> usize {
        self.tus.list(UploadFilter::default(), None).count().await
    }
}

/// A page of a proxy.
pub(crate) fn page(status: u16) -> Response {
    (StatusCode::from_u16(status).unwrap(), Html("<h1>page of a proxy</h1>")).into_response()
}

/// A proxy wants its users to log in.
pub(crate) fn login() -> Response {
    Redirect::to("/login").into_response()
}

/// An answer that the server itself might give.
pub(crate) fn of_the_server(status: u16) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), "no\n").into_response();
    response.headers_mut().insert("tus-resumable", HeaderValue::from_static("1.0.0"));
    response
}

pub(crate) async fn delete(url: &str) {
    let deleted = reqwest::Client::new().delete(url).header("tus-resumable", "1.0.0").send().await.unwrap();
    assert_eq!(deleted.status(), 204);
}
