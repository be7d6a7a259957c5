//! What is sent.

use std::{collections::BTreeMap, time::SystemTime};

use http::{HeaderName, header::COOKIE, request::Parts, uri::PathAndQuery};
use serde_json::{Value, json};
use tus_service::Upload;

use super::Hook;
use crate::{connections::Remote, view};

/// A message.
pub(super) struct Message {
    pub(super) hook: Hook,
    /// The key by which a receiver knows that it has the message already; none for one that is new each time.
    pub(super) key: Option<String>,
    data: Value,
}

impl Message {
    /// One that is new each time.
    pub(super) fn question(hook: Hook, data: Value) -> Self {
        Self { hook, key: None, data }
    }

    /// One that there is once for an upload, however often it is sent.
    pub(super) fn event(hook: Hook, upload: &Upload, data: Value) -> Self {
        let key = format!("{}_{}_{}", hook.name(), upload.id, upload.incarnation);
        Self { hook, key: Some(key), data }
    }

    /// Adds the request that it comes from, with these headers of it.
    pub(super) fn of(mut self, request: &Parts, headers: &[HeaderName]) -> Self {
        // HTTP/2 splits cookies into fields of their own.
        let value = |name: &HeaderName| {
            let values = request.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<_> = values.collect();
            (!values.is_empty()).then(|| (name.to_string(), values.join(if name == COOKIE { "; " } else { ", " })))
        };
        let headers: BTreeMap<_, _> = headers.iter().filter_map(value).collect();
        let client = request.extensions.get().map(|Remote(client)| client.to_string());
        self.data["request"] = json!({
            "method": request.method.as_str(),
            "uri": request.uri.path_and_query().map_or("/", PathAndQuery::as_str),
            "client": client,
            "headers": headers,
        });
        self
    }

    /// The body.
    pub(super) fn body(&self, now: SystemTime) -> String {
        json!({"type": self.hook.name(), "timestamp": view::time(now), "data": self.data}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_request_of_http2_looks_like_one_of_http1() {
        let request = Request::post("https://example.org/files?a=b").header("cookie", "a=1").header("cookie", "b=2");
        let request = request.header("x-tag", "a").header("x-tag", "b").body(()).unwrap();
        let headers = ["cookie", "x-tag", "x-none"].map(HeaderName::from_static);
        let message = Message::question(Hook::Authorize, json!({})).of(&request.into_parts().0, &headers);
        let request = &message.data["request"];
        assert_eq!(request["uri"], "/files?a=b");
        assert_eq!(request["headers"], json!({"cookie": "a=1; b=2", "x-tag": "a, b"}));
    }
}
