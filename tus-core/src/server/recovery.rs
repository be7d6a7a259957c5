//! Background work on an upload, without a request: it has expired, or a request or server ended and left work
//! unfinished.

use std::{sync::Arc, time::SystemTime};

use super::{
    Completion, Config,
    concatenation::{distinct, in_order},
};
use crate::{Change, Kind, Part, Phase, Stored, UploadId};

/// The most final uploads of one part that are examined before the part is removed.
const FINALS: usize = 16;

/// The background work for an upload.
#[must_use]
#[derive(Debug)]
pub enum Recovery {
    /// Nothing.
    Nothing,
    /// Fetch the final uploads that wait for this part.
    LoadFinals(LoadFinals),
    /// Fetch the parts of final uploads.
    LoadParts(LoadRelated),
    /// It has expired: remove exactly this version.
    Remove(Stored),
    /// It stays as long as the uploads that it belongs to: change its record.
    Keep(Keep),
    /// It is due: complete it.
    Complete(Completion),
}

/// The background work due at `now` for an upload whose record was just loaded and is held. A part or a final upload
/// that would expire before `soon` stays as long as the uploads that it belongs to are in progress. `soon` must be
/// later than the driver's next sweep.
pub fn recover(config: &Arc<Config>, stored: Stored, now: SystemTime, soon: SystemTime) -> Recovery {
    let upload = &stored.upload;
    match (&upload.kind, upload.phase) {
        (Kind::Partial, phase) if upload.is_expired(soon) && phase != Phase::Invalid => {
            Recovery::LoadFinals(LoadFinals { stored, now })
        }
        (Kind::Final(parts), Phase::Assembling) if upload.is_expired(soon) => {
            let parts = parts.clone();
            Related::of_final(config, stored, parts, now)
        }
        _ if upload.is_expired(now) => Recovery::Remove(stored),
        _ if upload.is_due() => Recovery::Complete(Completion::of_due(config, now, Box::new(stored))),
        _ => Recovery::Nothing,
    }
}

/// Fetch the final uploads that wait for a part.
#[must_use]
#[derive(Debug)]
pub struct LoadFinals {
    stored: Stored,
    now: SystemTime,
}

impl LoadFinals {
    /// The part.
    pub fn part(&self) -> &UploadId {
        &self.stored.upload.id
    }

    /// Continues with their records, or with some of them. If they cannot be loaded, nothing is done.
    pub fn done(self, mut finals: Vec<Stored>) -> Recovery {
        let Self { stored, now } = self;
        let part = Part::from(&stored.upload);
        let waits = |found: &Stored| {
            let is_named = matches!(&found.upload.kind, Kind::Final(parts) if parts.contains(&part));
            is_named && found.upload.phase == Phase::Assembling
        };
        finals.retain(waits);
        finals.truncate(FINALS);
        let latest = finals.iter().filter_map(|found| found.upload.expires).max();
        let parts = finals.into_iter().filter_map(|found| match found.upload.kind {
            Kind::Final(parts) => Some(parts),
            Kind::Single | Kind::Partial => None,
        });
        let finals: Vec<_> = parts.collect();
        if finals.iter().all(Vec::is_empty) {
            return expired(stored, now);
        }
        Recovery::LoadParts(LoadRelated {
            ids: ids(finals.iter().flatten()),
            related: Related { stored, finals, now, latest, config: None },
        })
    }
}

/// Fetch the parts of final uploads.
#[must_use]
#[derive(Debug)]
pub struct LoadRelated {
    ids: Vec<UploadId>,
    related: Related,
}

impl LoadRelated {
    /// The parts, each once.
    pub fn ids(&self) -> &[UploadId] {
        &self.ids
    }

    /// Continues with their records, in the order of [`LoadRelated::ids`]. If they cannot be loaded, nothing is done.
    pub fn done(self, loaded: Vec<Option<Stored>>) -> Recovery {
        self.related.judge(loaded)
    }
}

#[derive(Debug)]
struct Related {
    stored: Stored,
    /// The parts of each final upload that waits, including this upload if it is final.
    finals: Vec<Vec<Part>>,
    now: SystemTime,
    /// When the latest of the final uploads expires.
    latest: Option<SystemTime>,
    /// Present for a final upload, which is assembled if its parts are complete.
    config: Option<Arc<Config>>,
}

impl Related {
    fn of_final(config: &Arc<Config>, stored: Stored, parts: Vec<Part>, now: SystemTime) -> Recovery {
        let config = Some(config.clone());
        Recovery::LoadParts(LoadRelated {
            ids: ids(&parts),
            related: Self { stored, finals: vec![parts], now, latest: None, config },
        })
    }

    fn judge(self, loaded: Vec<Option<Stored>>) -> Recovery {
        let Self { stored, finals, now, latest, config } = self;
        let named = |found: &&Stored| finals.iter().flatten().any(|part| *part == Part::from(&found.upload));
        let latest = loaded.iter().flatten().filter(named).filter_map(|found| found.upload.expires).chain(latest).max();
        match config {
            Some(config) => {
                let parts = finals.into_iter().next().unwrap_or_default();
                match in_order(&parts, loaded) {
                    // A part that is gone never comes back.
                    None => return expired(stored, now),
                    Some(parts) if parts.iter().all(|part| part.upload.is_complete()) => {
                        return Recovery::Complete(Completion::of_parts(&config, now, Box::new(stored), parts));
                    }
                    Some(_) => {}
                }
            }
            None => {
                let complete: Vec<_> = loaded.iter().flatten().filter(|found| found.upload.is_complete()).collect();
                let is_complete = |part: &Part| complete.iter().any(|found| *part == Part::from(&found.upload));
                // The final upload is being assembled, however long that takes, or will be soon.
                if finals.iter().any(|parts| parts.iter().all(is_complete)) {
                    return Recovery::Nothing;
                }
            }
        }
        match latest {
            Some(latest) if latest > now && Some(latest) > stored.upload.expires => {
                let mut change = Change::of(&stored.upload);
                change.expires = Some(latest);
                Recovery::Keep(Keep { stored, change })
            }
            _ => expired(stored, now),
        }
    }
}

/// Keep an upload as long as the uploads that it belongs to.
#[must_use]
#[derive(Debug)]
pub struct Keep {
    stored: Stored,
    change: Change,
}

impl Keep {
    /// The upload.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// The change to its record.
    pub fn change(&self) -> &Change {
        &self.change
    }
}

fn expired(stored: Stored, now: SystemTime) -> Recovery {
    if stored.upload.is_expired(now) { Recovery::Remove(stored) } else { Recovery::Nothing }
}

fn ids<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<UploadId> {
    distinct(parts.into_iter().map(|part| &part.id))
}
