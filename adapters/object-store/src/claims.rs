//! Which process does the background work on an upload: recorded in its document for a limited time.
//!
//! Clocks are not compared: a claim has expired for a process that has seen one and the same renewal for the claim's
//! duration.

use std::time::Duration;

use tokio::time::Instant;
use tus_service::{Failure, StorageError, Upload};

use crate::{
    document::{Claim, Document},
    lock::lock,
    nonce::nonce,
    records::Inner,
};

/// The duration of the claim that comes with a change that makes an upload due.
const WITH_A_CHANGE: Duration = Duration::from_secs(15);

/// How long this process relies on such a claim without another request. Later, it may be about to expire, or the process was
/// suspended and another one has it.
const IS_FRESH: Duration = Duration::from_secs(5);

impl Inner {
    pub(crate) async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        let is_it = |document: &Document| document.upload.incarnation == upload.incarnation && !document.is_gone();
        // A claim that came with this process's own recent change.
        let ours = self.remembered(&upload.id).filter(|seen| is_it(&seen.document));
        if !duration.is_zero()
            && duration <= WITH_A_CHANGE
            && let Some(claim) = ours.and_then(|seen| seen.document.claim)
            && lock(&self.fresh).remove(&claim.nonce).is_some_and(|since| since.elapsed() < IS_FRESH)
        {
            return Ok(true);
        }
        let Some(seen) = self.fetch(&upload.id).await?.filter(|seen| is_it(&seen.document)) else { return Ok(false) };
        let claimed = self.swap(&seen, |document| {
            if self.is_claimed_elsewhere(document) || !is_it(document) {
                return Err(Failure::Busy.into());
            }
            document.claim = if duration.is_zero() { None } else { Some(self.new_claim(duration)?) };
            Ok(())
        });
        // A concurrent change of the record says nothing about the claim.
        match Box::pin(claimed).await {
            Ok(_) => {
                lock(&self.claims).forget(upload.incarnation);
                Ok(true)
            }
            Err(error) => match error.failure() {
                Failure::Busy | Failure::NotFound => Ok(false),
                Failure::Conflict => Box::pin(self.claim(upload, duration)).await,
                _ => Err(error),
            },
        }
    }

    /// Claims an upload that this process makes due, because it continues with it immediately.
    pub(crate) fn claim_with(&self, document: &mut Document) -> Result<(), StorageError> {
        if document.upload.is_due() && !self.is_claimed_elsewhere(document) {
            let claim = self.new_claim(WITH_A_CHANGE)?;
            lock(&self.fresh).insert(claim.nonce.clone(), Instant::now());
            document.claim = Some(claim);
        }
        Ok(())
    }

    fn new_claim(&self, duration: Duration) -> Result<Claim, StorageError> {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(Claim { process: self.process.clone(), nonce: nonce()?, milliseconds })
    }

    fn is_claimed_elsewhere(&self, document: &Document) -> bool {
        let Some(claim) = document.claim.as_ref().filter(|claim| claim.process != self.process) else { return false };
        let since = lock(&self.claims).since(document.upload.incarnation, &claim.nonce);
        claim.milliseconds > 0 && since.elapsed() < Duration::from_millis(claim.milliseconds)
    }
}
