//! The bodies of requests and responses: the only code that knows [`http_body::Body`].

mod close;
mod drain;
mod persistent;
mod pump;
mod response_body;
mod sending;
mod stream_body;

#[cfg(all(test, feature = "metrics"))]
pub(crate) use self::pump::ALL_IN_FLIGHT;
pub use self::{close::CloseConnection, response_body::ResponseBody, stream_body::StreamBody};
pub(crate) use self::{
    drain::drain,
    persistent::Persistent,
    pump::{Batch, BodyReceiver, Budget, pump},
    response_body::piece,
    sending::Sending,
};
