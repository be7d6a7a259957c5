//! Fetches a record. It is used only to ask the application. An upload that is to be changed or shown is fetched
//! again when it is held.

use super::{
    Authorize, Refusal, Step,
    ask::Action,
    dialect,
    exchange::{Exchange, present},
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
        let Self { mut exchange, mut action, .. } = self;
        // Uploads of an endpoint and of each resource are separate.
        let loaded = loaded.map(|stored| stored.filter(|stored| exchange.endpoint.has(&stored.upload)));
        if let Ok(Some(stored)) = &loaded {
            action = dialect::resolve(&mut exchange, &stored.upload, action);
        }
        match loaded.map_err(Refusal::from).and_then(|stored| present(stored, &action, exchange.now)) {
            Ok(stored) => Authorize::existing(exchange, Box::new(stored), action),
            Err(Refusal::Storage(failure)) => exchange.refuse(failure),
            // A client that is not authorized must not learn whether the upload exists.
            Err(refusal) => Authorize::absent(exchange, action.operation(), refusal),
        }
    }
}
