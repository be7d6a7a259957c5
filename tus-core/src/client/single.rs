//! Tasks of one request: what a server can do, where an upload stands, and an upload's end.

use http::{Method, StatusCode};
use url::Url;

use super::{
    Capabilities, Error,
    response::Answer,
    step::{Call, Task, Turn, Work},
};
use crate::{
    Metadata,
    header::{UPLOAD_LENGTH, UPLOAD_METADATA, single},
};

/// Asks what a server can do.
#[derive(Debug)]
pub struct Discover {
    pub(super) endpoint: Url,
}

/// Asks where an upload stands.
#[derive(Debug)]
pub struct Inspect {
    pub(super) url: Url,
}

/// Deletes an upload.
#[derive(Debug)]
pub struct Terminate {
    pub(super) url: Url,
}

/// What a server tells of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Bytes that are there; `None` for a final upload that waits for its parts.
    pub offset: Option<u64>,
    /// Bytes of the whole upload; `None` where that is not known.
    pub length: Option<u64>,
    /// What its client told of it.
    pub metadata: Metadata,
}

impl Info {
    /// Whether every byte is there.
    pub fn is_complete(&self) -> bool {
        self.offset.is_some() && self.offset == self.length
    }

    fn read(answer: &Answer<'_>) -> Result<Self, Error> {
        let length = answer.number(&UPLOAD_LENGTH)?;
        let pending = answer.headers().get(&crate::header::UPLOAD_CONCAT).is_some_and(|kind| kind != "partial");
        let offset = match answer.offset(0, length) {
            Err(_) if pending && !answer.headers().contains_key(&crate::header::UPLOAD_OFFSET) => None,
            offset => Some(offset?),
        };
        let told = single(answer.headers(), &UPLOAD_METADATA).ok().flatten();
        let metadata = told.filter(|told| !told.is_empty()).map(Metadata::parse).transpose();
        let metadata = metadata.map_err(|error| answer.misbehaved(&UPLOAD_METADATA, &error.to_string()))?;
        Ok(Self { offset, length, metadata: metadata.unwrap_or_default() })
    }
}

impl Task for Discover {
    type Output = Capabilities;
}

impl Work for Discover {
    fn call(&self) -> Call {
        // "The Client SHOULD NOT include the Tus-Resumable header in the request".
        Call::new(Method::OPTIONS, &self.endpoint)
    }

    fn accept(&mut self, answer: Answer<'_>) -> Result<Turn<Capabilities>, Error> {
        Capabilities::read(&answer.success()?).map(Turn::Done)
    }
}

impl Task for Inspect {
    type Output = Info;
}

impl Work for Inspect {
    fn call(&self) -> Call {
        Call::new(Method::HEAD, &self.url)
    }

    fn accept(&mut self, answer: Answer<'_>) -> Result<Turn<Info>, Error> {
        Info::read(&answer.success()?).map(Turn::Done)
    }
}

impl Task for Terminate {
    type Output = ();
}

impl Work for Terminate {
    fn call(&self) -> Call {
        Call::new(Method::DELETE, &self.url)
    }

    fn accept(&mut self, answer: Answer<'_>) -> Result<Turn<()>, Error> {
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Turn::Done(())),
            _ => answer.success().map(|_| Turn::Done(())),
        }
    }
}
