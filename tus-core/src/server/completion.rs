//! What follows when all bytes of an upload have been received: it is assembled or verified if necessary, and the
//! application is asked. A request that completes the upload and a server that finds unfinished work take the same
//! steps:
//!
//! ```text
//! (LoadParts) → (Assemble) → (Finish) → Done
//! LoadParts → Record → Done                     an upload that can never be complete
//! Verify → Record → (Finish) → Done
//! ```
//!
//! `Finish` is omitted if the application need not be asked. Any step that fails leads to `Done`. Beside the response,
//! [`Notify`] follows: the application is notified, and then that is recorded.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use super::{
    Config, FinishReply, Refusal, Rejection,
    concatenation::{assembled_length, distinct, in_order, named},
};
use crate::{Change, Checksum, Failure, Hasher, Kind, Phase, Stored, Upload, UploadId, Version};

/// The next step to complete an upload.
#[must_use]
#[derive(Debug)]
pub enum Completion {
    /// Fetch the records of the parts of a final upload.
    LoadParts(PartsNeeded),
    /// Assemble the upload.
    Assemble(Assemble),
    /// Compare the bytes of the upload with their digest.
    Verify(Verify),
    /// Ask the application for its part of the response. It may reject the upload.
    Finish(Finish),
    /// Record the result: the upload is complete, or can never be.
    Record(Record),
    /// The completion is finished. What remains is a job beside the response ([`Done::notify`]).
    Done(Done),
}

impl Completion {
    /// The completion of an upload that is due: see [`Upload::is_due`].
    pub(super) fn of_due(config: &Arc<Config>, now: SystemTime, stored: Box<Stored>) -> Self {
        let plan = Plan { config: config.clone(), now };
        match (stored.upload.phase, &stored.upload.kind) {
            (Phase::Assembling, Kind::Final(parts)) => {
                let ids = distinct(parts.iter().map(|part| &part.id));
                Self::LoadParts(PartsNeeded { plan, stored, ids })
            }
            (Phase::Assembling, _) => Assemble::of(plan, stored, Vec::new()),
            // If this process notifies nobody, another process may.
            (Phase::Complete, _) if config.notifies() => Self::of_complete(stored),
            _ => Self::ended(stored, Ok(None)),
        }
    }

    /// The completion of a final upload whose parts are loaded, authorized and complete.
    pub(super) fn of_parts(config: &Arc<Config>, now: SystemTime, stored: Box<Stored>, parts: Vec<Stored>) -> Self {
        Assemble::of(Plan { config: config.clone(), now }, stored, parts)
    }

    /// The completion of an upload about which the application must still be notified.
    pub(super) fn of_complete(stored: Box<Stored>) -> Self {
        let upload = &stored.upload;
        // The application is not asked about parts. At a resource, its handler is called instead, for a request.
        match upload.phase == Phase::Complete && upload.kind != Kind::Partial && !upload.is_at_resource() {
            true => Self::Finish(Finish { stored }),
            false => Self::ended(stored, Ok(None)),
        }
    }

    /// The completion of an upload that has received all bytes and has a digest to verify.
    pub(super) fn of_unverified(config: &Arc<Config>, now: SystemTime, stored: Box<Stored>, digest: Checksum) -> Self {
        let hasher = Hasher::new(digest.algorithm());
        Self::Verify(Verify { plan: Plan { config: config.clone(), now }, stored, digest, hasher, bytes: 0 })
    }

    /// Ends with the application's addition to the response; `None` if the application was not asked here.
    fn ended(stored: Box<Stored>, result: Result<Option<FinishReply>, Refusal>) -> Self {
        Self::Done(Done { stored, result, notifies: false })
    }
}

#[derive(Debug)]
struct Plan {
    config: Arc<Config>,
    now: SystemTime,
}

/// Fetch the records of the parts of a final upload.
#[must_use]
#[derive(Debug)]
pub struct PartsNeeded {
    plan: Plan,
    stored: Box<Stored>,
    ids: Vec<UploadId>,
}

impl PartsNeeded {
    /// The parts to fetch, each once.
    pub fn ids(&self) -> &[UploadId] {
        &self.ids
    }

    /// Continues with the records, in the order of [`PartsNeeded::ids`].
    pub fn done(self, loaded: Result<Vec<Option<Stored>>, Failure>) -> Completion {
        let Self { plan, stored, .. } = self;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(failure) => return Completion::ended(stored, Err(failure.into())),
        };
        match in_order(named(&stored.upload), loaded) {
            // A part that is gone never comes back.
            None => Record::invalid(stored, Then::End),
            // A part that can never be complete makes the final upload incomplete for good.
            Some(parts) if parts.iter().any(|part| part.upload.phase == Phase::Invalid) => {
                Record::invalid(stored, Then::End)
            }
            // The parts may exceed the limit while they are being uploaded; the remaining ones only add to it.
            Some(parts) if assembled_length(&stored.upload, &parts).is_err() => Record::invalid(stored, Then::End),
            Some(parts) if !parts.iter().all(|part| part.upload.is_complete()) => {
                // It waits until the last part is complete, or until it expires.
                Completion::ended(stored, Ok(None))
            }
            Some(parts) => Assemble::of(plan, stored, parts),
        }
    }
}

/// Assemble an upload: a final upload from its parts, any other upload from what its storage holds.
///
/// This may take long. Until then, a final upload is shown without an offset (tus 1.0.0, "Concatenation").
#[must_use]
#[derive(Debug)]
pub struct Assemble {
    stored: Box<Stored>,
    parts: Vec<Stored>,
    change: Change,
    parts_expire: Option<SystemTime>,
}

impl Assemble {
    fn of(plan: Plan, stored: Box<Stored>, parts: Vec<Stored>) -> Completion {
        let upload = &stored.upload;
        let mut change = Change::of(upload);
        if let Kind::Final(_) = upload.kind {
            match assembled_length(upload, &parts) {
                Ok(total) => (change.offset, change.length) = (total, Some(total)),
                Err(refusal) => return Completion::ended(stored, Err(refusal)),
            }
        }
        change.phase = plan.config.complete_phase(upload);
        change.expires = plan.config.expiry(upload, change.phase, plan.now);
        let parts_expire = plan.config.part_expiry(plan.now);
        Completion::Assemble(Self { stored, parts, change, parts_expire })
    }

    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The parts in order, all complete; a part may be repeated. Empty for an upload that is not final.
    pub fn parts(&self) -> &[Stored] {
        &self.parts
    }

    /// The change to its record.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The changes to the records of the parts after the assembly, beside the response: the parts are no longer
    /// needed. Each change applies to this version or not at all.
    pub fn release(&self) -> Vec<(Stored, Change)> {
        let mut seen = HashSet::new();
        let distinct = self.parts.iter().filter(|part| seen.insert(&part.upload.id));
        let earlier = |part: &&Stored| part.upload.expires.is_none_or(|expires| Some(expires) > self.parts_expire);
        let released = distinct.filter(earlier).filter_map(|part| {
            let mut change = Change::of(&part.upload);
            change.expires = Some(self.parts_expire?);
            Some((part.clone(), change))
        });
        released.collect()
    }

    /// Continues when the upload is assembled.
    pub fn done(self, assembled: Result<Version, Failure>) -> Completion {
        let Self { mut stored, change, .. } = self;
        match assembled {
            Ok(version) => {
                change.apply(&mut stored.upload);
                stored.version = version;
                Completion::of_complete(stored)
            }
            // Another process was faster or is working on it. This one looks at the upload again later.
            Err(Failure::Conflict | Failure::Busy) => Completion::ended(stored, Ok(None)),
            Err(failure) => Completion::ended(stored, Err(failure.into())),
        }
    }
}

/// Read all bytes of the upload, and compare them with the digest of the complete upload (RFC 9530, "Repr-Digest").
///
/// The upload becomes complete only after that.
#[must_use]
#[derive(Debug)]
pub struct Verify {
    plan: Plan,
    stored: Box<Stored>,
    digest: Checksum,
    hasher: Hasher,
    bytes: u64,
}

impl Verify {
    /// The upload. Read its bytes up to its offset.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The record has another version, because the storage had to do something before its bytes could be read.
    pub fn has_version(&mut self, version: Version) {
        self.stored.version = version;
    }

    /// Adds the next bytes.
    pub fn data(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Continues when all bytes have been added, or cannot be read.
    pub fn done(self, read: Result<(), Failure>) -> Completion {
        let Self { plan, stored, digest, hasher, bytes } = self;
        let read = read.and(if bytes == stored.upload.offset { Ok(()) } else { Err(Failure::Internal) });
        if let Err(failure) = read {
            return Completion::ended(stored, Err(failure.into()));
        }
        if hasher.finish() != digest {
            return Record::invalid(stored, Then::Refuse(Refusal::ReprDigestMismatch));
        }
        let mut change = Change::of(&stored.upload);
        change.phase = plan.config.complete_phase(&stored.upload);
        change.expires = plan.config.expiry(&stored.upload, change.phase, plan.now);
        Completion::Record(Record { stored, change, then: Then::Finish })
    }
}

/// Ask the application for its part of the response to the request that completed the upload.
#[must_use]
#[derive(Debug)]
pub struct Finish {
    stored: Box<Stored>,
}

impl Finish {
    /// The complete upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Continues with the application's addition to the response.
    pub fn done(self, answer: Result<FinishReply, Rejection>) -> Completion {
        let Self { stored } = self;
        match answer {
            Ok(reply) => Completion::Done(Done { stored, result: Ok(Some(reply)), notifies: true }),
            Err(rejection) => Completion::ended(stored, Err(Refusal::Rejected(rejection))),
        }
    }

    /// Continues if another process is doing this for the upload at the moment. The upload is complete nevertheless.
    pub fn claimed_elsewhere(self) -> Completion {
        Completion::ended(self.stored, Ok(None))
    }
}

/// Record the result of a completion.
#[must_use]
#[derive(Debug)]
pub struct Record {
    stored: Box<Stored>,
    change: Change,
    then: Then,
}

/// What follows the record.
#[derive(Debug)]
enum Then {
    /// The application is asked about the upload, which is now complete.
    Finish,
    /// The upload can never be complete.
    Refuse(Refusal),
    /// Nothing; nobody waits for the result.
    End,
}

impl Record {
    /// The upload can never be complete.
    fn invalid(stored: Box<Stored>, then: Then) -> Completion {
        let mut change = Change::of(&stored.upload);
        change.phase = Phase::Invalid;
        Completion::Record(Self { stored, change, then })
    }

    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The change to its record.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Continues when the change has been made. If it failed, the upload remains due or incomplete.
    pub fn done(self, recorded: Result<Version, Failure>) -> Completion {
        let Self { mut stored, change, then } = self;
        let failure = match recorded {
            Ok(version) => {
                change.apply(&mut stored.upload);
                stored.version = version;
                None
            }
            Err(failure) => Some(failure),
        };
        match (then, failure) {
            (Then::End, _) => Completion::ended(stored, Ok(None)),
            (Then::Refuse(refusal), _) => Completion::ended(stored, Err(refusal)),
            (Then::Finish, None) => Completion::of_complete(stored),
            (Then::Finish, Some(failure)) => Completion::ended(stored, Err(failure.into())),
        }
    }
}

/// A finished completion.
#[derive(Debug)]
pub struct Done {
    stored: Box<Stored>,
    result: Result<Option<FinishReply>, Refusal>,
    notifies: bool,
}

impl Done {
    /// The current upload.
    pub fn upload(&self) -> &Upload {
        &self.stored.upload
    }

    /// Whether the storage had no room to assemble it.
    pub fn lacks_room(&self) -> bool {
        matches!(self.result, Err(Refusal::Storage(Failure::Full)))
    }

    /// The remaining job beside the response: the application approved the upload and must be notified of it.
    pub fn notify(&self) -> Option<Notify> {
        self.notifies.then(|| Notify { stored: self.stored.clone() })
    }

    pub(super) fn into_parts(self) -> (Box<Stored>, Result<Option<FinishReply>, Refusal>) {
        (self.stored, self.result)
    }
}

/// Notify the application that the upload is complete, and then record that.
///
/// Delivery is at least once: if notifying or recording fails, the upload stays due, and the application is notified
/// again. The upload's incarnation is the same each time; use it to recognize a repetition.
#[must_use]
#[derive(Debug, Clone)]
pub struct Notify {
    stored: Box<Stored>,
}

impl Notify {
    /// The complete upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The change to its record after the application has been notified at the time `now`.
    pub fn change(&self, config: &Config, now: SystemTime) -> Change {
        let mut change = Change::of(&self.stored.upload);
        change.phase = Phase::Notified;
        change.expires = config.expiry(&self.stored.upload, change.phase, now);
        change
    }
}
