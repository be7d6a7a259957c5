//! The bodies of requests and responses: the only code that knows [`http_body::Body`].

mod drain;
mod persistent;
mod pump;
mod response_body;
mod sending;
mod stream_body;

pub(crate) use self::{
    drain::drain,
    persistent::Persistent,
    pump::{Batch, BodyReceiver, Budget, Share, pump},
    sending::Sending,
};
pub use self::{response_body::ResponseBody, stream_body::StreamBody};
