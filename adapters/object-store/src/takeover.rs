//! The owner of an upload's bytes, and how another process asks for it.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tus_service::{Access, Failure, StorageError, Stored};

use crate::{
    document::Document,
    nonce::nonce,
    records::{Inner, Seen, lock},
};

impl Inner {
    /// Asks the owner in another process to leave, and waits for that.
    pub(crate) async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        let (mine, began, mut asked) = (nonce()?, Instant::now(), false);
        loop {
            let Some(seen) = self.fetch(&stored.upload.id).await? else { return Ok(None) };
            let now = self.stored(&seen);
            let Some(owner) = seen.document.owner.as_ref().filter(|_| now.held_elsewhere) else { return Ok(Some(now)) };
            let wanted = seen.document.wanted.as_ref();
            match access {
                // Somebody asked later, and is to get it.
                Access::Write if asked && wanted != Some(&mine) => return Err(Failure::Busy.into()),
                // A reader takes the upload from nobody who waits already.
                Access::Read => asked |= wanted.is_some(),
                Access::Write => {}
            }
            // An owner that is dead is waited for once, not by each request again.
            let since = lock(&self.asked).get(&owner.writer).copied().unwrap_or(began);
            let is_over = since.checked_add(patience).is_some_and(|end| end <= Instant::now());
            match (asked, is_over) {
                (true, true) => {
                    if access == Access::Write {
                        lock(&self.unanswered).insert(owner.writer.clone(), mine);
                    }
                    return Ok(Some(now));
                }
                (false, true) if access == Access::Read => return Ok(Some(now)),
                (false, _) => asked = self.ask(&seen, &mine).await?,
                (true, false) => sleep(self.settings.waiter_looks).await,
            }
        }
    }

    /// Notes in the document who wants the upload. Whether that is done.
    async fn ask(&self, seen: &Seen, mine: &str) -> Result<bool, StorageError> {
        let Some(owner) = &seen.document.owner else { return Ok(false) };
        let want = |document: &mut Document| {
            if document.owner.as_ref() != Some(owner) {
                return Err(Failure::Conflict.into());
            }
            document.wanted = Some(mine.to_owned());
            Ok(())
        };
        match self.swap(seen, want).await {
            Ok(_) => {
                let mut known = lock(&self.asked);
                if known.get(&owner.writer).is_none() {
                    known.insert(owner.writer.clone(), Instant::now());
                }
                Ok(true)
            }
            // It has changed: the next look shows how.
            Err(error) if matches!(error.failure(), Failure::Conflict | Failure::NotFound | Failure::Busy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether bytes may be added although an owner elsewhere has not left: it was asked, did not answer, and nobody has
    /// asked since.
    pub(crate) fn may_take_over(&self, document: &Document) -> bool {
        let Some(owner) = document.owner.as_ref().filter(|owner| owner.process != self.process) else { return false };
        let unanswered = lock(&self.unanswered);
        unanswered.get(&owner.writer).is_some_and(|request| document.wanted.as_ref() == Some(request))
    }
}
