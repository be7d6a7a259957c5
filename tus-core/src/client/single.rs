//! Tasks of a single request: a server's capabilities, an upload's state, and its deletion.

use http::{Method, StatusCode};
use url::Url;

use super::{
    Capabilities, Error, Protocol,
    call::Call,
    response::Answer,
    step::{Moment, Task, Turn, Work},
};
use crate::{
    Metadata,
    header::{UPLOAD_LENGTH, UPLOAD_METADATA, single},
};

/// Asks for the capabilities of a server.
#[derive(Debug)]
pub struct Discover {
    pub(super) endpoint: Url,
    /// Whether temporary rejections are retried, because the protocol depends on the response.
    pub(super) decides: bool,
}

/// Asks for the state of an upload.
#[derive(Debug)]
pub struct Inspect {
    pub(super) url: Url,
}

/// Deletes an upload.
#[derive(Debug)]
pub struct Terminate {
    pub(super) url: Url,
}

/// The state of an upload, as the server reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The server's offset in bytes; `None` for a final upload that waits for its parts.
    pub offset: Option<u64>,
    /// Length of the complete upload in bytes; `None` if unknown.
    pub length: Option<u64>,
    /// The client's metadata. Servers of the draft do not repeat it.
    pub metadata: Metadata,
    /// Whether it is complete: in tus when the server has all bytes, in the draft when the server declares it (draft
    /// 12, "Completeness").
    pub complete: bool,
}

impl Info {
    pub(super) fn read(answer: &Answer<'_>) -> Result<Self, Error> {
        let length = answer.number(&UPLOAD_LENGTH)?;
        let pending = answer.headers().get(&crate::header::UPLOAD_CONCAT).is_some_and(|kind| kind != "partial");
        let offset = match answer.offset(0, length) {
            Err(_) if pending && !answer.headers().contains_key(&crate::header::UPLOAD_OFFSET) => None,
            offset => Some(offset?),
        };
        let text = single(answer.headers(), &UPLOAD_METADATA).ok().flatten();
        let metadata = text.filter(|text| !text.is_empty()).map(Metadata::parse).transpose();
        let metadata = metadata.map_err(|error| answer.misbehaved(&UPLOAD_METADATA, &error.to_string()))?;
        let complete = match answer.protocol {
            Protocol::Tus => offset.is_some() && offset == length,
            Protocol::Draft => answer.completeness() == Some(true),
        };
        Ok(Self { offset, length, metadata: metadata.unwrap_or_default(), complete })
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

    fn moved(&mut self, url: Url) {
        self.endpoint = url;
    }

    fn accept(&mut self, answer: Answer<'_>, _: Moment) -> Result<Turn<Capabilities>, Error> {
        match answer.success() {
            Ok(answer) => Ok(Turn::Done(Capabilities::read(&answer))),
            // These concern the request. Any other rejection or redirect probably does not come from the tus server.
            Err(error @ Error::Unsupported(_)) => Err(error),
            Err(error) if [401, 412].contains(&answer.status().as_u16()) => Err(error),
            // An upload in the wrong protocol fails, so the response is worth a wait.
            Err(error) if error.is_passing(true) && self.decides && !answer.is_last_try => Err(error),
            Err(error) if error.is_passing(true) => {
                Ok(Turn::Done(Capabilities { temporary: true, ..Capabilities::default() }))
            }
            Err(_) => Ok(Turn::Done(Capabilities::default())),
        }
    }
}

impl Task for Inspect {
    type Output = Info;
}

impl Work for Inspect {
    fn call(&self) -> Call {
        Call::new(Method::HEAD, &self.url)
    }

    fn moved(&mut self, url: Url) {
        self.url = url;
    }

    fn accept(&mut self, answer: Answer<'_>, _: Moment) -> Result<Turn<Info>, Error> {
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

    fn moved(&mut self, url: Url) {
        self.url = url;
    }

    fn accept(&mut self, answer: Answer<'_>, _: Moment) -> Result<Turn<()>, Error> {
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE if !answer.is_doubtful() => Ok(Turn::Done(())),
            _ => answer.success().map(|_| Turn::Done(())),
        }
    }
}
