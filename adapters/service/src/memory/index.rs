//! Indexes of uploads other than by id.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::SystemTime,
};

use tus_core::{Kind, Part, Phase, Upload, UploadId};

/// When an upload expires, and its id.
pub(super) type Expiry = (SystemTime, UploadId);

#[derive(Default)]
pub(super) struct Index {
    expiring: BTreeSet<Expiry>,
    due: BTreeSet<UploadId>,
    /// Pairs of a part and a final upload that is to be assembled from it.
    waiting: BTreeMap<UploadId, BTreeSet<UploadId>>,
    /// The number of final uploads that are to be assembled.
    finals: usize,
}

impl Index {
    pub(super) fn add(&mut self, upload: &Upload) {
        self.expiring.extend(Expiry::of(upload));
        if upload.is_due() {
            self.due.insert(upload.id.clone());
        }
        self.finals += usize::from(is_pending(upload));
        for Part { id, .. } in parts(upload) {
            self.waiting.entry(id.clone()).or_default().insert(upload.id.clone());
        }
    }

    pub(super) fn forget(&mut self, upload: &Upload) {
        if let Some(expiry) = Expiry::of(upload) {
            self.expiring.remove(&expiry);
        }
        self.due.remove(&upload.id);
        self.finals -= usize::from(is_pending(upload));
        for Part { id, .. } in parts(upload) {
            if let Some(finals) = self.waiting.get_mut(id) {
                finals.remove(&upload.id);
                if finals.is_empty() {
                    self.waiting.remove(id);
                }
            }
        }
    }

    pub(super) fn next_expired(&self, after: Option<&Expiry>, now: SystemTime) -> Option<&UploadId> {
        let (expires, id) = self.expiring.range((beyond(after), Bound::Unbounded)).next()?;
        (*expires <= now).then_some(id)
    }

    pub(super) fn due_after(&self, after: Option<&UploadId>) -> impl Iterator<Item = &UploadId> {
        self.due.range((beyond(after), Bound::Unbounded))
    }

    pub(super) fn waiting_for(&self, part: &UploadId, at_most: usize) -> Vec<UploadId> {
        self.waiting.get(part).into_iter().flatten().take(at_most).cloned().collect()
    }

    pub(super) fn pending_finals(&self) -> usize {
        self.finals
    }
}

fn is_pending(upload: &Upload) -> bool {
    matches!(upload.kind, Kind::Final(_)) && upload.phase == Phase::Assembling
}

/// The parts that an upload waits for.
fn parts(upload: &Upload) -> &[Part] {
    match &upload.kind {
        Kind::Final(parts) if is_pending(upload) => parts,
        _ => &[],
    }
}

/// Where a search starts that continues after a place.
pub(super) fn beyond<P>(after: Option<&P>) -> Bound<&P> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// The place of an upload in one of the indexes.
pub(super) trait Place: Clone + Send {
    fn of(upload: &Upload) -> Option<Self>;
}

impl Place for UploadId {
    fn of(upload: &Upload) -> Option<Self> {
        Some(upload.id.clone())
    }
}

impl Place for Expiry {
    fn of(upload: &Upload) -> Option<Self> {
        Some((upload.expires?, upload.id.clone()))
    }
}
