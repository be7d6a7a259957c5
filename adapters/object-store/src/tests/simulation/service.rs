//! The background work of the service.

use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::time::sleep;
use tus_service::{Change, Kind, Phase, Storage, StorageError, Stored, UploadId};

use super::{Machine, World};
use crate::{ObjectStore, tests::uploads::more};

/// A request uses an upload, so background work ignores it.
pub(super) struct Using<'a>(&'a Machine, UploadId);

impl Machine {
    pub(super) fn uses(&self, id: &UploadId) -> Using<'_> {
        self.used.lock().unwrap().push(id.clone());
        Using(self, id.clone())
    }
}

impl Drop for Using<'_> {
    fn drop(&mut self) {
        let mut used = self.0.used.lock().unwrap();
        let at = used.iter().position(|id| *id == self.1).unwrap();
        used.swap_remove(at);
    }
}

impl World {
    /// The background work of a machine.
    pub(super) async fn sweeps(self, machine: Machine) {
        loop {
            sleep(self.draw(|random| Duration::from_millis(random.u64(1000..15_000)))).await;
            if let Err(error) = self.sweep(&machine).await {
                self.log(|| format!("a sweep failed: {error}"));
            }
        }
    }

    pub(super) async fn sweep(&self, machine: &Machine) -> Result<(), StorageError> {
        let pending: Vec<_> = machine.store.pending(self.now() - machine.is_late).try_collect().await?;
        for found in pending {
            if let Err(error) = self.look_after(machine, &found.upload.id).await {
                self.log(|| format!("what was due failed: {error}"));
            }
        }
        Ok(())
    }

    async fn look_after(&self, machine: &Machine, id: &UploadId) -> Result<(), StorageError> {
        if machine.used.lock().unwrap().contains(id) {
            return Ok(());
        }
        let _using = machine.uses(id);
        let Some(stored) = machine.store.load(id).await?.filter(|stored| !stored.held_elsewhere) else {
            return Ok(());
        };
        let has_expired = stored.upload.is_expired(self.now() - machine.is_late);
        if has_expired && self.parts(&machine.store, &stored).await?.is_none() {
            self.log(|| format!("{id} has expired"));
            self.life(&stored, |life| life.is_removed = true);
            return machine.store.remove(&stored).await;
        }
        self.complete(&machine.store, stored).await
    }

    /// The parts of a final upload that is to be assembled, if all of them are complete.
    async fn parts(&self, store: &ObjectStore, stored: &Stored) -> Result<Option<Vec<Stored>>, StorageError> {
        let (Kind::Final(parts), Phase::Assembling) = (&stored.upload.kind, stored.upload.phase) else {
            return Ok(None);
        };
        let ids: Vec<_> = parts.iter().map(|part| part.id.clone()).collect();
        let loaded: Option<Vec<_>> = store.load_all(&ids).await?.into_iter().collect();
        Ok(loaded.filter(|loaded| loaded.iter().all(|part| part.upload.is_complete())))
    }

    /// What the service does with an upload that is due.
    pub(super) async fn complete(&self, store: &ObjectStore, mut stored: Stored) -> Result<(), StorageError> {
        if !stored.upload.is_due() {
            return Ok(());
        }
        let mut change = Change::of(&stored.upload);
        (change.phase, change.expires) = (Phase::Complete, None);
        let parts = match (&stored.upload.kind, stored.upload.phase) {
            (Kind::Final(_), Phase::Assembling) => self.parts(store, &stored).await?,
            _ => Some(Vec::new()),
        };
        let Some(parts) = parts else { return Ok(()) };
        if !store.claim(&stored.upload, Duration::from_secs(15)).await? {
            return Ok(());
        }
        if stored.upload.phase == Phase::Assembling {
            if !parts.is_empty() {
                change.offset = parts.iter().map(|part| part.upload.offset).sum();
                change.length = Some(change.offset);
            }
            let version = store.assemble(&stored, &parts, &change).await?;
            stored = stored.changed(&change, version);
        }
        if stored.upload.kind == Kind::Partial {
            return self.wake(store, &stored).await;
        }
        self.life(&stored, |life| life.finished += 1);
        let mut change = more(&stored, 0);
        change.phase = Phase::Notified;
        store.update(&stored, &change).await.map(drop)
    }

    /// A part is complete: what waits for it may continue.
    pub(super) async fn wake(&self, store: &ObjectStore, part: &Stored) -> Result<(), StorageError> {
        for waiting in store.waiting_for(&part.upload.id, usize::MAX).await? {
            if let Some(stored) = store.load(&waiting).await? {
                Box::pin(self.complete(store, stored)).await?;
            }
        }
        Ok(())
    }
}
