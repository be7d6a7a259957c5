//! Fetches a record. It is used only to ask the application. An upload that is to be changed or shown is fetched
//! again when it is held.

use super::{
    Authorize, Step,
    ask::Action,
    dialect,
    exchange::{Exchange, check_present},
};
use crate::{Failure, Stored, UploadId};

/// Fetch an upload's record.
#[must_use]
#[derive(Debug)]
pub struct Load {
    exchange: Box<Exchange>,
    id: UploadId,
    action: Action,
}

impl Load {
    pub(super) fn of(exchange: Box<Exchange>, id: UploadId, action: Action) -> Step {
        Step::Load(Self { exchange, id, action })
    }

    /// The upload to fetch.
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Continues with the record; `None` if there is no such upload.
    pub fn done(self, loaded: Result<Option<Stored>, Failure>) -> Step {
        let Self { exchange, action, .. } = self;
        let stored = match loaded {
            // Uploads of an endpoint and of each resource are separate.
            Ok(found) => found.filter(|found| exchange.endpoint.has(&found.upload)),
            Err(failure) => return exchange.refuse(failure),
        };
        // A client that is not authorized must not learn whether the upload exists, nor what has become of it.
        let Some(stored) = stored.map(Box::new) else {
            return Authorize::absent(exchange, action.operation());
        };
        let (action, speech) = dialect::resolve(&exchange, &stored.upload, action);
        match check_present(&stored.upload, &action, exchange.now) {
            Ok(()) => Authorize::existing(exchange, stored, action, speech),
            Err(refusal) => Authorize::unusable(exchange, stored, action.operation(), speech, refusal),
        }
    }
}
