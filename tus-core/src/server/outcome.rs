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
    /// An upload was created, with or without a body to go with it.
    Created(&'a Upload, bool),
    Appended(&'a Upload),
    Terminated,
    /// A download: its bytes, or the requested range of them, are the body.
    Downloaded(&'a Upload, Option<Range<u64>>),
    /// The client already has the bytes.
    NotModified(&'a Upload),
    /// The upload is complete, and the application's answer to that is a rejection.
    Declined(&'a Upload, Rejection),
    /// The upload is complete, and this is the response of the application's handler to the request that created it;
    /// with whether the client asks by that request.
    Answered(&'a Upload, Response<Bytes>, bool),
    /// It was refused; with the time at which the upload expires, if the client may know it.
    Refused(Refusal, Option<SystemTime>),
}
