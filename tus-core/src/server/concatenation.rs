//! Concatenation: the parts of a final upload, the sum of their lengths, and final uploads that wait for a part.

use std::collections::{HashMap, HashSet};

use super::{
    Authorize, Create, Refusal, Step, TusExtension,
    ask::Creation,
    ending::Ending,
    exchange::{Exchange, usable},
    outcome::Outcome,
};
use crate::{Failure, Kind, MAX_LENGTH, Part, Phase, Stored, Upload, UploadId};

/// Fetch the records of the partial uploads that a final upload names.
#[must_use]
#[derive(Debug)]
pub struct LoadParts {
    exchange: Box<Exchange>,
    ids: Vec<UploadId>,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Create(Box<Creation>),
    Inspect(Box<Stored>),
    /// The final upload was stored; the part was not complete before.
    Recheck(Box<Stored>, Part, Ending),
}

impl LoadParts {
    pub(super) fn to_create(exchange: Box<Exchange>, creation: Creation) -> Step {
        let ids = distinct(&creation.named);
        Step::LoadParts(Self { exchange, ids, purpose: Purpose::Create(Box::new(creation)) })
    }

    pub(super) fn to_inspect(exchange: Box<Exchange>, stored: Box<Stored>) -> Step {
        let ids = distinct(named(&stored.upload).iter().map(|part| &part.id));
        Step::LoadParts(Self { exchange, ids, purpose: Purpose::Inspect(stored) })
    }

    /// A final upload was created before its parts were complete. The last of them may have become complete since it was
    /// loaded, and then nobody looks after the final upload. While one of them is incomplete, whoever completes it will.
    pub(super) fn to_recheck(exchange: Box<Exchange>, stored: Box<Stored>, parts: &[Stored], ending: Ending) -> Step {
        match parts.iter().rfind(|part| !part.upload.is_complete()) {
            Some(part) => {
                let (ids, part) = (vec![part.upload.id.clone()], Part::from(&part.upload));
                Step::LoadParts(Self { exchange, ids, purpose: Purpose::Recheck(stored, part, ending) })
            }
            None => Wake::final_upload(exchange, stored, ending),
        }
    }

    /// The uploads to fetch, each once.
    pub fn ids(&self) -> &[UploadId] {
        &self.ids
    }

    /// Continues with the records, in the order of [`LoadParts::ids`].
    pub fn done(self, loaded: Result<Vec<Option<Stored>>, Failure>) -> Step {
        let Self { exchange, ids, purpose } = self;
        let loaded = match (loaded, &purpose) {
            (Ok(loaded), _) => loaded,
            // The final upload is there nevertheless.
            (Err(_), Purpose::Recheck(..)) => Vec::new(),
            (Err(failure), _) => return exchange.refuse(failure),
        };
        match purpose {
            Purpose::Recheck(stored, part, ending) => match &loaded[..] {
                [Some(now)] if now.upload.phase == Phase::Receiving && Part::from(&now.upload) == part => {
                    exchange.respond(ending.outcome(&stored.upload))
                }
                _ => Wake::final_upload(exchange, stored, ending),
            },
            Purpose::Create(creation) => Authorize::parts(exchange, *creation, Parts { ids, loaded }),
            Purpose::Inspect(stored) => {
                // The length is unknown if a part is gone.
                let parts = in_order(named(&stored.upload), loaded);
                let length = parts.as_ref().and_then(|parts| total_length(parts).ok().flatten());
                match parts.is_some_and(|parts| parts.iter().all(|part| part.upload.is_complete())) {
                    true => Step::Await(Await { exchange, stored, length }),
                    false => exchange.respond(Outcome::Found(&stored.upload, length)),
                }
            }
        }
    }
}

/// Count the final uploads that wait for their parts or for their assembly. Their number is limited.
#[must_use]
#[derive(Debug)]
pub struct CountPending {
    exchange: Box<Exchange>,
    creation: Creation,
    parts: Vec<Stored>,
}

impl CountPending {
    pub(super) fn of(exchange: Box<Exchange>, creation: Creation, parts: Vec<Stored>) -> Step {
        Step::CountPending(Self { exchange, creation, parts })
    }

    /// How far to count. Those that wait for parts leave room for as many whose parts are complete, which are assembled
    /// soon.
    pub fn at_most(&self) -> usize {
        let most = self.exchange.config.max_pending_finals;
        let is_soon = self.parts.iter().all(|part| part.upload.is_complete());
        if is_soon { most.saturating_mul(2).max(1) } else { most }
    }

    /// Continues with their number.
    pub fn done(self, counted: Result<usize, Failure>) -> Step {
        let most = self.at_most();
        let Self { exchange, creation, parts } = self;
        match counted {
            Ok(pending) if pending < most => Create::of(exchange, creation, parts),
            Ok(_) => exchange.refuse(Failure::Overloaded),
            Err(failure) => exchange.refuse(failure),
        }
    }
}

/// Wait briefly for the assembly of a final upload whose parts are all complete, because the client may just have
/// sent the last byte. Then fetch its record again.
#[must_use]
#[derive(Debug)]
pub struct Await {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    length: Option<u64>,
}

impl Await {
    /// The final upload.
    pub fn id(&self) -> &UploadId {
        &self.stored.upload.id
    }

    /// Continues with the current record. If the upload is not assembled yet, or the record cannot be fetched, the
    /// response has no offset: "The Server MAY include the Upload-Offset header" only after the concatenation.
    pub fn done(self, loaded: Result<Option<Stored>, Failure>) -> Step {
        let Self { exchange, stored, length } = self;
        match loaded {
            Ok(Some(now)) if now.is_same_upload(&stored.upload) && now.upload.is_complete() => {
                exchange.respond(Outcome::Found(&now.upload, now.upload.length))
            }
            _ => exchange.respond(Outcome::Found(&stored.upload, length)),
        }
    }
}

/// The uploads that a new final upload names, each once, as loaded.
#[derive(Debug)]
pub(super) struct Parts {
    ids: Vec<UploadId>,
    loaded: Vec<Option<Stored>>,
}

impl Parts {
    /// The number of different parts.
    pub(super) fn count(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn upload(&self, at: usize) -> Option<&Upload> {
        self.loaded.get(at)?.as_ref().map(|stored| &stored.upload)
    }

    /// The records as named, if this server can concatenate them.
    pub(super) fn check(self, exchange: &Exchange, named: &[UploadId]) -> Result<Vec<Stored>, Refusal> {
        let Self { ids, loaded } = self;
        let mut parts = Vec::with_capacity(loaded.len());
        for (id, part) in ids.iter().zip(loaded) {
            let part = part.ok_or_else(|| Refusal::PartNotFound(id.clone()))?;
            usable(&part.upload, exchange.now)?;
            if part.upload.kind != Kind::Partial {
                return Err(Refusal::NotPart(id.clone()));
            }
            if !part.upload.is_complete() && !exchange.offers(TusExtension::ConcatenationUnfinished) {
                return Err(Refusal::PartIncomplete(id.clone()));
            }
            parts.push(part);
        }
        // Each is named once, as nearly always.
        if parts.len() == named.len() {
            return Ok(parts);
        }
        let found: HashMap<_, _> = ids.iter().zip(&parts).collect();
        let named = named.iter().map(|id| found.get(id).copied().cloned());
        named.collect::<Option<_>>().ok_or(Refusal::NotFound)
    }
}

/// The parts that a final upload names.
pub(super) fn named(upload: &Upload) -> &[Part] {
    match &upload.kind {
        Kind::Final(parts) => parts,
        Kind::Single | Kind::Partial => &[],
    }
}

/// Each of these once, in the order of first occurrence.
pub(super) fn distinct<'a>(named: impl IntoIterator<Item = &'a UploadId>) -> Vec<UploadId> {
    let mut seen = HashSet::new();
    named.into_iter().filter(|id| seen.insert(*id)).cloned().collect()
}

/// The records as often, and in the order, in which they are named; `None` if one is missing. They were loaded each once,
/// in the order of [`distinct`]. An upload that has the id of a part and is another one, or is no part, is missing: it was
/// not authorized.
pub(super) fn in_order(parts: &[Part], loaded: Vec<Option<Stored>>) -> Option<Vec<Stored>> {
    let loaded: Vec<_> = loaded.into_iter().collect::<Option<_>>()?;
    let is = |part: &Part, found: &Stored| {
        let Upload { id, incarnation, kind, .. } = &found.upload;
        *kind == Kind::Partial && (id, incarnation) == (&part.id, &part.incarnation)
    };
    // Each is named once, as nearly always.
    if parts.len() == loaded.len() {
        return parts.iter().zip(&loaded).all(|(part, found)| is(part, found)).then_some(loaded);
    }
    let found: HashMap<_, _> = loaded.iter().map(|stored| (&stored.upload.id, stored)).collect();
    parts.iter().map(|part| found.get(&part.id).copied().filter(|found| is(part, found)).cloned()).collect()
}

/// "The length of the final upload MUST be the sum of the length of all partial uploads." `None` if one of them is
/// unknown.
pub(super) fn total_length(parts: &[Stored]) -> Result<Option<u64>, Refusal> {
    let sum = known_length(parts)?;
    Ok(parts.iter().all(|part| part.upload.length.is_some()).then_some(sum))
}

fn known_length(parts: &[Stored]) -> Result<u64, Refusal> {
    let mut known = parts.iter().filter_map(|part| part.upload.length);
    let sum = known.try_fold(0u64, |sum, length| sum.checked_add(length).filter(|sum| *sum <= MAX_LENGTH));
    sum.ok_or(Refusal::TooLarge { limit: MAX_LENGTH })
}

/// The bytes of these parts, as far as their lengths are known; an error if they exceed the limit.
pub(super) fn assembled_length(upload: &Upload, parts: &[Stored]) -> Result<u64, Refusal> {
    let total = known_length(parts)?;
    match upload.max_size {
        Some(limit) if total > limit => Err(Refusal::TooLarge { limit }),
        _ => Ok(total),
    }
}

/// Look for final uploads that may have all of their parts now, beside the exchange. Each of them must be
/// [recovered](super::recover).
#[must_use]
#[derive(Debug)]
pub struct Wake {
    exchange: Box<Exchange>,
    stored: Box<Stored>,
    ending: Ending,
}

/// The final uploads that may have all of their parts now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting<'a> {
    /// Those that name this part.
    For(&'a UploadId),
    /// This one.
    Final(&'a UploadId),
}

impl Wake {
    /// A part is complete.
    pub(super) fn finals_of(exchange: Box<Exchange>, stored: Box<Stored>, ending: Ending) -> Step {
        if !exchange.offers(TusExtension::ConcatenationUnfinished) {
            return exchange.respond(ending.outcome(&stored.upload));
        }
        Step::Wake(Self { exchange, stored, ending })
    }

    /// All parts of a final upload may be complete, and nobody else looks after it.
    fn final_upload(exchange: Box<Exchange>, stored: Box<Stored>, ending: Ending) -> Step {
        Step::Wake(Self { exchange, stored, ending })
    }

    /// The final uploads to look for.
    pub fn waiting(&self) -> Waiting<'_> {
        match self.stored.upload.kind {
            Kind::Final(_) => Waiting::Final(&self.stored.upload.id),
            Kind::Single | Kind::Partial => Waiting::For(&self.stored.upload.id),
        }
    }

    /// Continues immediately.
    pub fn done(self) -> Step {
        self.exchange.respond(self.ending.outcome(&self.stored.upload))
    }
}
