//! What a receiver answers.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use serde::Deserialize;
use tus_service::{FinishReply, Metadata, NewUpload, Rejection};

use crate::object::Object;

/// Headers that say how a response is sent: only the server knows that.
const FRAMING: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// An answer; an empty one agrees.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Answer {
    refuse: Option<Object<Response>>,
    upload: Option<Object<Changes>>,
    response: Option<Object<Response>>,
}

/// A response to a client.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Response {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
}

/// What a new upload is to be like; what is not named stays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Changes {
    id: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    max_size: Option<u64>,
    owner: Option<String>,
    /// In base64.
    private: Option<String>,
}

impl Answer {
    pub(super) fn read(body: &[u8]) -> anyhow::Result<Self> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let Object(answer) = serde_json::from_slice(body).context("the answer to a webhook is not valid")?;
        Ok(answer)
    }

    /// Itself, unless it refuses.
    pub(super) fn unless_refused(self) -> anyhow::Result<Result<Self, Rejection>> {
        let Some(Object(Response { status, headers, body })) = self.refuse else {
            return Ok(Ok(self));
        };
        let status = status.map_or(Ok(StatusCode::FORBIDDEN), StatusCode::from_u16)?;
        ensure!(
            (300..600).contains(&status.as_u16()),
            "a webhook refuses with {}; use a status from 300 to 599",
            status.as_u16()
        );
        let rejection = Rejection::new(status, body);
        let add = |rejection: Rejection, (name, value)| rejection.header(name, value);
        Ok(Err(read(headers)?.into_iter().fold(rejection, add)))
    }

    /// The upload as it is to be.
    pub(super) fn upload(self, mut upload: NewUpload) -> anyhow::Result<NewUpload> {
        let Object(Changes { id, metadata, max_size, owner, private }) = self.upload.unwrap_or_default();
        if let Some(id) = id {
            upload.id = Some(id.parse().context("a webhook chose an invalid id")?);
        }
        if let Some(metadata) = metadata {
            upload.metadata = Metadata::from_pairs(metadata).context("a webhook chose invalid metadata")?;
        }
        upload.max_size = max_size.or(upload.max_size);
        upload.owner = owner.or(upload.owner);
        if let Some(private) = private {
            let private = BASE64_STANDARD.decode(private).context("a webhook chose private data that is not base64")?;
            upload.private = private.into();
        }
        Ok(upload)
    }

    /// What is added to the response of the request that completed an upload.
    pub(super) fn response(self) -> anyhow::Result<FinishReply> {
        let Object(Response { status, headers, body }) = self.response.unwrap_or_default();
        let mut reply = FinishReply::default();
        reply.status = status.map(StatusCode::from_u16).transpose()?;
        if let Some(status) = reply.status {
            ensure!(status.is_success(), "a webhook responds with {status}, but the upload is complete: use `refuse`");
        }
        reply.headers = HeaderMap::from_iter(read(headers)?);
        reply.body = body.into();
        Ok(reply)
    }
}

fn read(headers: BTreeMap<String, String>) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let read = |(name, value): (String, String)| {
        let context = || format!("a webhook chose an invalid header, {name:?}");
        let name: HeaderName = name.parse().with_context(context)?;
        let is_of_protocol = name.as_str().starts_with("tus-") || name.as_str().starts_with("upload-");
        ensure!(
            !is_of_protocol && !FRAMING.contains(&name),
            "a webhook sets the header {name}, which only the server can set"
        );
        Ok((name, value.parse().with_context(context)?))
    };
    headers.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use tus_service::Kind;

    use super::*;

    fn answer(text: &str) -> anyhow::Result<Result<Answer, Rejection>> {
        Answer::read(text.as_bytes())?.unless_refused()
    }

    #[test]
    fn an_empty_answer_agrees() {
        for text in ["", " \n", "{}"] {
            let upload = NewUpload::new(Kind::Single, Some(5));
            assert_eq!(answer(text).unwrap().unwrap().upload(upload.clone()).unwrap(), upload);
        }
    }

    #[test]
    fn an_answer_refuses() {
        let refused = answer(r#"{"refuse": {}}"#).unwrap().unwrap_err();
        assert_eq!(refused.status(), 403);
        let text = r#"{"refuse": {"status": 307, "headers": {"Location": "https://cdn.example/1"}, "body": "there"}}"#;
        assert_eq!(answer(text).unwrap().unwrap_err().status(), 307);
    }

    #[test]
    fn an_answer_changes_the_upload() {
        let text =
            r#"{"upload": {"id": "a-1", "metadata": {"k": "v"}, "max_size": 7, "owner": "anna", "private": "aGk="}}"#;
        let upload = answer(text).unwrap().unwrap().upload(NewUpload::new(Kind::Single, Some(5))).unwrap();
        assert_eq!((upload.id.unwrap().as_str(), upload.metadata.text("k")), ("a-1", Some("v")));
        assert_eq!((upload.max_size, upload.owner.as_deref(), &*upload.private), (Some(7), Some("anna"), &b"hi"[..]));
    }

    #[test]
    fn what_was_not_agreed_on_is_an_error() {
        for text in [
            "yes",
            r#"{"reject": {}}"#,
            "[]",
            "null",
            r#"{"refuse": [401, {}, "no"]}"#,
            r#"{"upload": ["a-1"]}"#,
            r#"{"refuse": {"headers": {"Upload-Offset": "7"}}}"#,
            r#"{"refuse": {"headers": {"Tus-Resumable": "2.0.0"}}}"#,
            r#"{"refuse": {"status": 200}}"#,
            r#"{"refuse": {"headers": {"a b": ""}}}"#,
            r#"{"refuse": {"headers": {"Content-Length": "7"}}}"#,
        ] {
            assert!(answer(text).is_err(), "{text}");
        }
        for text in [r#"{"response": {"status": 404}}"#, r#"{"response": {"headers": {"connection": "close"}}}"#] {
            assert!(answer(text).unwrap().unwrap().response().is_err(), "{text}");
        }
        let reply = answer(r#"{"response": {"status": 202}}"#).unwrap().unwrap().response().unwrap();
        assert_eq!(reply.status, Some(StatusCode::ACCEPTED));
        for text in [r#"{"upload": {"id": "../a"}}"#, r#"{"upload": {"private": "*"}}"#] {
            assert!(answer(text).unwrap().unwrap().upload(NewUpload::new(Kind::Single, None)).is_err(), "{text}");
        }
    }
}
