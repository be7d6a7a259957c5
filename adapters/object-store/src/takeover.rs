//! The owner of an upload's bytes, and how another process asks for the upload.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tus_service::{Access, Failure, StorageError, Stored};

use crate::{
    document::Document,
    lock::lock,
    nonce::nonce,
    records::{Inner, Seen},
    settings::Rule,
};

/// How long an owner may take to answer that it is alive. It checks every second.
const LIVES: Duration = Duration::from_secs(30);

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
                // A newer request gets it.
                Access::Write if asked && wanted != Some(&mine) => return Err(Failure::Busy.into()),
                // A reader does not take the upload from a request that is already waiting.
                Access::Read => asked |= wanted.is_some(),
                Access::Write => {}
            }
            // Requests wait for a dead owner once, not each time.
            let since = lock(&self.asked).known(now.upload.incarnation, &owner.writer).unwrap_or(began);
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

    /// Records in the document who wants the upload. Returns whether that succeeded.
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
                lock(&self.asked).since(seen.document.upload.incarnation, &owner.writer);
                Ok(true)
            }
            // It has changed: the next check shows how.
            Err(error) if matches!(error.failure(), Failure::Conflict | Failure::NotFound | Failure::Busy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether bytes may be added although an owner elsewhere has not left: it was asked, did not answer, and nobody
    /// has asked since.
    pub(crate) fn may_take_over(&self, document: &Document) -> bool {
        let Some(owner) = document.owner.as_ref().filter(|owner| owner.process != self.process) else { return false };
        let unanswered = lock(&self.unanswered);
        unanswered.get(&owner.writer).is_some_and(|request| document.wanted.as_ref() == Some(request))
    }

    /// For a sweeper: an expired upload stays only as long as somebody is receiving it. An owner elsewhere is asked
    /// whether it is alive; if it does not answer, the upload is taken away from it. Returns the document without an
    /// owner.
    pub(crate) async fn without_a_dead_owner(&self, seen: &Seen) -> Result<Option<Seen>, StorageError> {
        let owner = seen.document.owner.clone().filter(|_| self.settings.keeps(Rule::Question));
        let Some(owner) = owner.filter(|owner| owner.process != self.process) else { return Ok(Some(seen.clone())) };
        let incarnation = seen.document.upload.incarnation;
        // It may be another sweeper's question.
        let asked = seen.document.question.as_ref().map(|question| lock(&self.questions).since(incarnation, question));
        let is_dead = asked.is_some_and(|asked| asked.elapsed() > LIVES);
        if asked.is_some() && !is_dead {
            return Ok(None);
        }
        let question = nonce()?;
        let asked = self.swap(seen, |document| {
            if document.owner.as_ref() != Some(&owner) || document.question != seen.document.question {
                return Err(Failure::Conflict.into());
            }
            if is_dead {
                document.release();
            } else {
                document.question = Some(question.clone());
            }
            Ok(())
        });
        match asked.await {
            Ok(asked) if is_dead => {
                lock(&self.questions).forget(incarnation);
                Ok(Some(asked))
            }
            Ok(_) => {
                lock(&self.questions).since(incarnation, &question);
                Ok(None)
            }
            Err(error) if matches!(error.failure(), Failure::Conflict | Failure::NotFound | Failure::Busy) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// For an owner that examines its document: it is alive.
    pub(crate) async fn answer(&self, seen: &Seen) {
        let is_mine = seen.document.owner.as_ref().is_some_and(|owner| owner.process == self.process);
        if seen.document.question.is_some() && is_mine {
            let answered = self.swap(seen, |document| {
                if document.owner != seen.document.owner {
                    return Err(Failure::Conflict.into());
                }
                document.question.take().map(drop).ok_or(Failure::Conflict.into())
            });
            // It is asked again.
            let _ = answered.await;
        }
    }
}
