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

impl Inner {
    /// Asks the owner in another process to leave, and waits for that.
    pub(crate) async fn settle(
        &self,
        stored: &Stored,
        access: Access,
        patience: Duration,
    ) -> Result<Option<Stored>, StorageError> {
        let (mine, began) = (nonce()?, Instant::now());
        let is_over = |since: Instant| since.checked_add(patience).is_some_and(|end| end <= Instant::now());
        // The writer that was asked.
        let mut asked: Option<String> = None;
        loop {
            let Some(seen) = self.fetch(&stored.upload.id).await? else { return Ok(None) };
            let (now, wanted) = (self.stored(&seen), seen.document.wanted.as_ref());
            if access == Access::Write && asked.is_some() && wanted.is_some_and(|wanted| *wanted != mine) {
                // A newer request gets it.
                return Err(Failure::Busy.into());
            }
            let incarnation = now.upload.incarnation;
            let Some(owner) = seen.document.owner.as_ref().filter(|_| now.held_elsewhere) else {
                lock(&self.asked).forget(incarnation);
                return Ok(Some(now));
            };
            match (&asked, wanted) {
                (Some(writer), None) if *writer != owner.writer && access == Access::Write => {
                    // The same, after the older owner has left.
                    return Err(Failure::Busy.into());
                }
                // It has left, and owns the upload again.
                (Some(_), None) => {
                    lock(&self.asked).forget(incarnation);
                    asked = None;
                }
                // A reader does not take the upload from a request that is already waiting.
                (_, Some(_)) if access == Access::Read => asked = Some(owner.writer.clone()),
                _ => {}
            }
            // Requests wait for a dead owner once, not each time.
            let since = lock(&self.asked).known(incarnation, &owner.writer).unwrap_or(began);
            if asked.is_some() && is_over(since) {
                if access == Access::Write {
                    lock(&self.unanswered).insert(owner.writer.clone(), mine);
                }
                return Ok(Some(now));
            }
            if asked.is_none() {
                if access == Access::Read && is_over(since) {
                    return Ok(Some(now));
                }
                if self.ask(&seen, access, &mine).await? {
                    asked = Some(owner.writer.clone());
                    continue;
                }
                if is_over(began) {
                    return Ok(Some(now));
                }
            }
            sleep(self.settings.waiter_looks).await;
        }
    }

    /// Records in the document who wants the upload. Returns whether that succeeded.
    async fn ask(&self, seen: &Seen, access: Access, mine: &str) -> Result<bool, StorageError> {
        let Some(owner) = &seen.document.owner else { return Ok(false) };
        let want = |document: &mut Document| {
            let is_taken = access == Access::Read && document.wanted.is_some();
            if is_taken || document.owner.as_ref() != Some(owner) {
                return Err(Failure::Conflict.into());
            }
            document.wanted = Some(mine.to_owned());
            Ok(())
        };
        match self.note(seen, want).await {
            Ok(_) => {
                lock(&self.asked).since(seen.document.upload.incarnation, &owner.writer);
                Ok(true)
            }
            // It has changed: the next check shows how.
            Err(error) if matches!(error.failure(), Failure::Conflict | Failure::NotFound | Failure::Busy) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How long an owner may take to answer that it is alive. It checks every second, unless it waits for memory and then for the
    /// store, on a line that all bytes of the process share.
    pub(crate) fn lives(&self) -> Duration {
        2 * self.bucket.patience.of_bytes(self.settings.memory as u64)
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
        let is_dead = asked.is_some_and(|asked| asked.elapsed() > self.lives());
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
