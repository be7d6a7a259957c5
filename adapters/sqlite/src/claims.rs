//! Which process does the background work on an upload. The change that completes an upload also claims it in the
//! same transaction, so that no other process intervenes.

use std::time::Duration;

use rusqlite::Connection;
use tus_service::{Change, Incarnation, Kind, Phase, StorageError, Stored, Upload, Version};

use crate::{asks, inner::Inner, row};

/// How long the claim lasts that comes with a change.
const WITH_A_CHANGE: Duration = Duration::from_secs(15);

impl Inner {
    /// Changes a row.
    pub(crate) async fn change(&self, seen: &Stored, change: &Change) -> Result<Version, StorageError> {
        let completes = is_work(&seen.upload, change.phase) && seen.upload.phase != Phase::Complete;
        let (incarnation, claimant) = (seen.upload.incarnation, *self.database.name());
        // The response of an application's handler is stored in the row.
        let bytes = change.verbatim.as_ref().map_or(0, |verbatim| verbatim.as_bytes().len());
        let (seen, change) = (seen.clone(), change.clone());
        let changing = move |connection: &Connection| {
            let version = row::change(connection, &seen, &change)?;
            Ok((version, completes && claim(connection, &seen.upload, &claimant)?))
        };
        let (version, is_claimed) = self.database.write_large(bytes, changing).await?;
        self.note(incarnation, is_claimed);
        Ok(version)
    }

    /// Inserts a row, if `check` allows it.
    pub(crate) async fn insert(
        &self,
        upload: &Upload,
        mut check: impl FnMut() -> Result<bool, StorageError> + Send + 'static,
    ) -> Result<Option<Version>, StorageError> {
        let (record, claimant) = (upload.clone(), *self.database.name());
        let inserting = move |connection: &Connection| {
            if !check()? {
                return Ok(None);
            }
            let version = row::insert(connection, &record)?;
            Ok(Some((version, is_work(&record, record.phase) && claim(connection, &record, &claimant)?)))
        };
        let inserted = self.database.write_large(row::bytes(upload), inserting).await?;
        Ok(inserted.map(|(version, is_claimed)| {
            self.note(upload.incarnation, is_claimed);
            version
        }))
    }

    pub(crate) async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        let (id, incarnation, claimant) = (upload.id.clone(), upload.incarnation, *self.database.name());
        if self.fresh.take(incarnation) && !duration.is_zero() && duration <= WITH_A_CHANGE {
            return Ok(true);
        }
        // On a full disk, too: an upload is claimed before it is removed.
        self.database.remove(move |connection| asks::claim(connection, &id, incarnation, &claimant, duration)).await
    }

    fn note(&self, incarnation: Incarnation, is_claimed: bool) {
        if is_claimed {
            self.fresh.add(incarnation);
        }
    }
}

/// Whether hooks have work once an upload is in this phase.
fn is_work(upload: &Upload, phase: Phase) -> bool {
    phase == Phase::Complete && upload.kind != Kind::Partial
}

/// Whether no other process has claimed it.
fn claim(connection: &Connection, upload: &Upload, claimant: &[u8]) -> Result<bool, StorageError> {
    asks::claim(connection, &upload.id, upload.incarnation, claimant, WITH_A_CHANGE)
}
