//! Fetching records. What is loaded here is only good for asking the application; an upload that is
//! to be changed, or told of, is fetched again when it is held.

use super::{
    Authorize, Join, Operation, Step,
    exchange::{Creation, Exchange, present},
    hold::Then,
    tus::Outcome,
};
use crate::{Extension, Failure, Kind, MAX_LENGTH, Refusal, Upload, UploadId};

/// Fetch an upload's record.
#[must_use]
#[derive(Debug)]
pub struct Load {
    exchange: Box<Exchange>,
    id: UploadId,
    then: Then,
}

impl Load {
    pub(super) fn of(exchange: Box<Exchange>, id: UploadId, then: Then) -> Step {
        Step::Load(Self { exchange, id, then })
    }

    /// The upload to fetch.
    pub fn id(&self) -> &UploadId {
        &self.id
    }

    /// Goes on with the record; `None` where there is no such upload.
    pub fn done(self, loaded: Result<Option<Upload>, Failure>) -> Step {
        let Self { exchange, then, .. } = self;
        match loaded.map_err(Refusal::from).and_then(|upload| present(upload, exchange.now)) {
            Ok(upload) => Authorize::existing(exchange, Box::new(upload), then),
            // Who may not ask is not to learn whether there is such an upload.
            Err(refusal @ (Refusal::NotFound | Refusal::Expired)) => {
                Authorize::absent(exchange, then.operation(), refusal)
            }
            Err(refusal) => exchange.refuse(refusal),
        }
    }
}

/// Fetch the records of the partial uploads that a final upload names.
#[must_use]
#[derive(Debug)]
pub struct LoadPartials {
    exchange: Box<Exchange>,
    ids: Vec<UploadId>,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Create(Box<Creation>),
    Inspect(Box<Upload>),
    Join(Box<Upload>),
}

impl LoadPartials {
    pub(super) fn to_create(exchange: Box<Exchange>, creation: Creation, ids: Vec<UploadId>) -> Step {
        Step::LoadPartials(Self { exchange, ids, purpose: Purpose::Create(Box::new(creation)) })
    }

    pub(super) fn to_inspect(exchange: Box<Exchange>, upload: Box<Upload>, ids: Vec<UploadId>) -> Step {
        Step::LoadPartials(Self { exchange, ids, purpose: Purpose::Inspect(upload) })
    }

    pub(super) fn to_join(exchange: Box<Exchange>, upload: Box<Upload>, ids: Vec<UploadId>) -> Step {
        Step::LoadPartials(Self { exchange, ids, purpose: Purpose::Join(upload) })
    }

    /// The uploads to fetch, in order; one may be there several times.
    pub fn ids(&self) -> &[UploadId] {
        &self.ids
    }

    /// Goes on with the records, in the order of [`LoadPartials::ids`].
    pub fn done(self, loaded: Result<Vec<Option<Upload>>, Failure>) -> Step {
        let Self { exchange, ids, purpose } = self;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(failure) => return exchange.refuse(failure.into()),
        };
        match purpose {
            Purpose::Create(creation) => {
                let named = ids.into_iter().zip(loaded);
                let partials: Result<Vec<_>, _> = named
                    .map(|(id, partial)| {
                        let there = partial.ok_or(Refusal::PartialNotFound(id))?;
                        present(Some(there), exchange.now)
                    })
                    .collect();
                match partials {
                    Ok(partials) => Authorize::partials(exchange, *creation, partials),
                    Err(refusal) => Authorize::absent(exchange, Operation::Concatenate, refusal),
                }
            }
            Purpose::Inspect(upload) => {
                // A part that is gone makes the length unknown.
                let partials: Option<Vec<_>> = loaded.into_iter().collect();
                let length = partials.and_then(|partials| total_length(&partials).ok().flatten());
                exchange.respond(Outcome::Found(&upload, length))
            }
            Purpose::Join(upload) => match loaded.into_iter().collect::<Option<Vec<_>>>() {
                Some(partials) if partials.iter().all(Upload::is_complete) => {
                    Join::of(exchange, upload, partials, false)
                }
                _ => exchange.respond(Outcome::Silence),
            },
        }
    }
}

/// Whether these uploads can be made one by this server.
pub(super) fn check_partials(exchange: &Exchange, partials: &[Upload]) -> Result<(), Refusal> {
    for partial in partials {
        if partial.kind != Kind::Partial {
            return Err(Refusal::NotPartial(partial.id.clone()));
        }
        if !partial.is_complete() && !exchange.config.offers(Extension::ConcatenationUnfinished) {
            return Err(Refusal::PartialIncomplete(partial.id.clone()));
        }
    }
    Ok(())
}

/// "The length of the final upload MUST be the sum of the length of all partial uploads." `None`
/// while one of them is not known.
pub(super) fn total_length(partials: &[Upload]) -> Result<Option<u64>, Refusal> {
    let too_large = Refusal::TooLarge { limit: MAX_LENGTH };
    let known = partials.iter().filter_map(|partial| partial.length);
    let sum = known.into_iter().try_fold(0u64, |sum, length| sum.checked_add(length).filter(|sum| *sum <= MAX_LENGTH));
    let sum = sum.ok_or(too_large)?;
    Ok(partials.iter().all(|partial| partial.length.is_some()).then_some(sum))
}
