//! The outcome of a request, independent of its dialect.

use std::{ops::Range, time::SystemTime};

use bytes::Bytes;
use http::Response;

use super::{Refusal, Rejection};
use crate::Upload;

/// The outcome of a request.
pub(super) enum Outcome<'a> {
    Options,
    /// The upload's state, and separately its length, which is calculated for a final upload.
    Found(&'a Upload, Option<u64>),
    /// An upload was created, with or without a body.
    Created(&'a Upload, bool),
    Appended(&'a Upload),
    Terminated,
    /// A download: the body is the complete upload or the requested range.
    Downloaded(&'a Upload, Option<Range<u64>>),
    /// The client already has the bytes.
    NotModified(&'a Upload),
    /// The upload is complete, and the application rejected it.
    Declined(&'a Upload, Rejection),
    /// The upload is complete, and this is the response of the application's handler to the request that created it;
    /// also, whether this request is the one that created it.
    Answered(&'a Upload, Response<Bytes>, bool),
    /// The request was rejected; also, when the upload expires, if the client may know it.
    Refused(Refusal, Option<SystemTime>),
}
