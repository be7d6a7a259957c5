//! Uploads in memory: records with versions, and their bytes.

use std::collections::BTreeMap;

use crate::{Change, Failure, Kind, Phase, Stored, Upload, UploadId, Version};

/// The existing uploads with their bytes. A change applies to the version that it was based on, or not at all.
#[derive(Debug, Clone, Default)]
pub struct Uploads {
    all: BTreeMap<UploadId, (Stored, Vec<u8>)>,
    versions: u64,
}

/// Uploads that were created and deleted again are ignored.
impl PartialEq for Uploads {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Eq for Uploads {}

/// The driver's operations.
impl Uploads {
    /// The record of an upload.
    pub fn get(&self, id: &UploadId) -> Option<&Stored> {
        self.all.get(id).map(|(stored, _)| stored)
    }

    /// The bytes of an upload.
    pub fn bytes(&self, id: &UploadId) -> Option<&[u8]> {
        self.all.get(id).map(|(_, bytes)| bytes.as_slice())
    }

    /// The records of several uploads, in their order.
    pub(super) fn get_all(&self, ids: &[UploadId]) -> Vec<Option<Stored>> {
        ids.iter().map(|id| self.get(id).cloned()).collect()
    }

    pub(super) fn create(&mut self, upload: &Upload) -> Result<Version, Failure> {
        if self.contains(&upload.id) {
            return Err(Failure::Exists);
        }
        let version = self.fresh();
        self.all.insert(upload.id.clone(), (Stored::new(upload.clone(), version.clone()), Vec::new()));
        Ok(version)
    }

    /// Changes the record in this version, and adds bytes.
    pub(crate) fn change(&mut self, seen: &Stored, change: &Change, more: &[u8]) -> Result<Version, Failure> {
        let version = self.fresh();
        let (stored, bytes) = self.current(seen)?;
        change.apply(&mut stored.upload);
        stored.version = version.clone();
        bytes.extend_from_slice(more);
        Ok(version)
    }

    /// Deletes an upload: this incarnation, in any version.
    pub(super) fn remove(&mut self, upload: &Upload) -> Result<(), Failure> {
        match self.get(&upload.id) {
            Some(now) if now.is_same_upload(upload) => {
                self.all.remove(&upload.id);
                Ok(())
            }
            _ => Err(Failure::NotFound),
        }
    }

    /// Deletes an upload in this version.
    pub(super) fn remove_exactly(&mut self, seen: &Stored) -> Result<(), Failure> {
        self.current(seen)?;
        self.remove(&seen.upload)
    }

    /// The final uploads that wait for a part.
    pub(super) fn waiting_for(&self, part: &UploadId) -> Vec<UploadId> {
        let waits = |upload: &Upload| {
            let named = matches!(&upload.kind, Kind::Final(parts) if parts.iter().any(|named| named.id == *part));
            named && upload.phase == Phase::Assembling
        };
        self.all.iter().filter(|(_, (stored, _))| waits(&stored.upload)).map(|(id, _)| id.clone()).collect()
    }

    /// The number of final uploads that are not assembled yet.
    pub(super) fn pending_finals(&self) -> usize {
        let pending = |upload: &Upload| matches!(upload.kind, Kind::Final(_)) && upload.phase == Phase::Assembling;
        self.all.values().filter(|(stored, _)| pending(&stored.upload)).count()
    }

    fn current(&mut self, seen: &Stored) -> Result<&mut (Stored, Vec<u8>), Failure> {
        let there = self.all.get_mut(&seen.upload.id).ok_or(Failure::NotFound)?;
        if there.0.version == seen.version { Ok(there) } else { Err(Failure::Conflict) }
    }

    fn fresh(&mut self) -> Version {
        self.versions += 1;
        self.versions.into()
    }
}

/// Concurrent changes, and inspection by tests.
impl Uploads {
    /// Puts an upload in place, replacing an existing one, with a new version.
    pub fn place(&mut self, upload: Upload, bytes: impl Into<Vec<u8>>) {
        let version = self.fresh();
        self.all.insert(upload.id.clone(), (Stored::new(upload, version), bytes.into()));
    }

    /// Changes an upload as a concurrent request would, with a new version. Does nothing if it does not exist.
    pub fn edit(&mut self, id: &UploadId, change: impl FnOnce(&mut Upload, &mut Vec<u8>)) {
        let version = self.fresh();
        if let Some((stored, bytes)) = self.all.get_mut(id) {
            change(&mut stored.upload, bytes);
            stored.version = version;
        }
    }

    /// Sets whether a request in another process is adding bytes that the record does not include yet.
    pub fn hold_elsewhere(&mut self, id: &UploadId, held: bool) {
        if let Some((stored, _)) = self.all.get_mut(id) {
            stored.held_elsewhere = held;
        }
    }

    /// Deletes an upload. Returns whether it existed.
    pub fn forget(&mut self, id: &UploadId) -> bool {
        self.all.remove(id).is_some()
    }

    /// Whether an upload with this id exists.
    pub fn contains(&self, id: &UploadId) -> bool {
        self.all.contains_key(id)
    }

    /// The ids in order.
    pub fn ids(&self) -> impl Iterator<Item = &UploadId> {
        self.all.keys()
    }

    /// The number of uploads.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are no uploads.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}
