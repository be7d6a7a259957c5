//! Receives webhooks.

use std::{convert::Infallible, sync::Mutex};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use crate::program::{PATIENCE, Setup};

/// What messages are signed with.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A message.
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    body: Bytes,
    pub(crate) json: Value,
}

/// An application that receives webhooks.
pub(crate) struct Receiver {
    pub(crate) url: String,
    messages: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// One that answers each message with a status and a text.
    pub(crate) async fn start(mut answer: impl FnMut(&Value) -> (u16, String) + Send + 'static) -> Self {
        Self::respond(move |message| {
            let (status, text) = answer(message);
            Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap()
        })
        .await
    }

    /// One that redirects each message to another one.
    pub(crate) async fn redirect(status: u16, other: &Self) -> Self {
        let url = other.url.clone();
        Self::respond(move |_| {
            Response::builder().status(status).header("location", &url).body(Full::default()).unwrap()
        })
        .await
    }

    async fn respond(answer: impl FnMut(&Value) -> Response<Full<Bytes>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, sender, Mutex::new(answer)));
        Self { url, messages }
    }

    /// Lets a server send these webhooks to it.
    pub(crate) fn of(&self, setup: Setup, hooks: &str) -> Setup {
        let setup = setup.set("TUS_WEBHOOKS_URL", &self.url).set("TUS_WEBHOOKS_HOOKS", hooks);
        setup.set("TUS_WEBHOOKS_SECRETS", SECRET)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.messages.recv()).await.expect("a message in time").unwrap()
    }

    /// A message that is there already, if any.
    pub(crate) fn try_next(&mut self) -> Option<Received> {
        self.messages.try_recv().ok()
    }
}

async fn serve(
    listener: TcpListener,
    sender: mpsc::UnboundedSender<Received>,
    answer: Mutex<impl FnMut(&Value) -> Response<Full<Bytes>> + Send + 'static>,
) {
    let answer = std::sync::Arc::new(answer);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (sender, answer) = (sender.clone(), answer.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (sender, answer) = (sender.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/hooks"));
                let body = body.collect().await.unwrap().to_bytes();
                let json: Value = serde_json::from_slice(&body).unwrap();
                let response = (*answer.lock().unwrap())(&json);
                let _ = sender.send(Received { headers: head.headers, body, json });
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The signature that it should have.
    pub(crate) fn signature(&self, secret: &str) -> String {
        let secret = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
        mac.update(format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}
