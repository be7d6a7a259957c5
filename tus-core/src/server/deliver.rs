//! The bytes of a finished upload are the body of the response. No lock is taken: it does not change any more.

use std::ops::Range;

use http::{HeaderMap, Response, header};

use super::{Step, exchange::Exchange, tus::Outcome};
use crate::{
    Failure, Refusal, Upload,
    download::entity_tag,
    range::{self, Wanted},
};

/// Send the response with bytes of the upload as its body; the exchange is over.
#[must_use]
#[derive(Debug)]
pub struct Deliver {
    exchange: Box<Exchange>,
    upload: Box<Upload>,
    range: Range<u64>,
}

/// The conditions of a request for a file (RFC 9110, sections 13 and 14).
#[derive(Debug)]
pub(super) struct Conditions(HeaderMap);

impl Deliver {
    pub(super) fn of(exchange: Box<Exchange>, upload: Box<Upload>, conditions: &Conditions) -> Step {
        // What is whole may still be refused by the application that is being told of it.
        if !upload.finished {
            return exchange.refuse(Refusal::NotFinished);
        }
        if conditions.has_it(&upload) {
            return exchange.respond(Outcome::NotModified(&upload));
        }
        let range = match conditions.wanted(&upload) {
            Wanted::All => 0..upload.offset,
            Wanted::Part(range) => range,
            Wanted::Nothing => return exchange.refuse(Refusal::RangeNotSatisfiable { length: upload.offset }),
        };
        Step::Deliver(Self { exchange, upload, range })
    }

    /// The upload.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// The bytes to send, from the start of the upload.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The response; the bytes are to be its body.
    pub fn response(self) -> Response<()> {
        let Self { exchange, upload, range } = self;
        exchange.response(Outcome::Delivered(&upload, range)).map(drop)
    }

    /// Goes on where the bytes cannot be had.
    pub fn failed(self, failure: Failure) -> Step {
        self.exchange.refuse(failure.into())
    }
}

impl Conditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let named = [header::RANGE, header::IF_RANGE, header::IF_NONE_MATCH];
        let all = named.into_iter().flat_map(|name| {
            let values = headers.get_all(&name).into_iter().cloned();
            values.map(move |value| (name.clone(), value)).collect::<Vec<_>>()
        });
        Self(all.collect())
    }

    /// Whether the client has the file already (RFC 9110, 13.1.2).
    fn has_it(&self, upload: &Upload) -> bool {
        let current = entity_tag(upload);
        let texts = self.0.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == current)
    }

    /// The range that is asked for, where the client's other bytes are of this file (RFC 9110, 13.1.5).
    fn wanted(&self, upload: &Upload) -> Wanted {
        match self.0.get(header::IF_RANGE) {
            Some(known) if known != entity_tag(upload) => Wanted::All,
            _ => range::wanted(self.0.get(header::RANGE), upload.offset),
        }
    }
}
