//! Which process does the background work on an upload: noted in its document, for a while.
//!
//! No clocks are compared: a claim has run out for somebody who has seen one and the same renewal for as long as it holds.

use std::time::Duration;

use tokio::time::Instant;
use tus_service::{Failure, StorageError, Upload};

use crate::{
    document::{Claim, Document},
    nonce::nonce,
    records::{Inner, lock},
};

/// How long the claim holds that comes with the change which makes something due.
const WITH_A_CHANGE: Duration = Duration::from_secs(15);

impl Inner {
    pub(crate) async fn claim(&self, upload: &Upload, duration: Duration) -> Result<bool, StorageError> {
        let is_it = |document: &Document| document.upload.incarnation == upload.incarnation && !document.is_gone();
        // A claim that came with our own change of a moment ago.
        let ours = self.remembered(&upload.id).filter(|seen| is_it(&seen.document));
        if !duration.is_zero()
            && duration <= WITH_A_CHANGE
            && let Some(claim) = ours.and_then(|seen| seen.document.claim)
            && lock(&self.fresh).remove(&claim.nonce).is_some()
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
        // A change of the record meanwhile says nothing about the claim.
        match Box::pin(claimed).await {
            Ok(_) => Ok(true),
            Err(error) => match error.failure() {
                Failure::Busy | Failure::NotFound => Ok(false),
                Failure::Conflict => Box::pin(self.claim(upload, duration)).await,
                _ => Err(error),
            },
        }
    }

    /// Claims what this process is making due: it goes on with it at once.
    pub(crate) fn claim_with(&self, document: &mut Document) -> Result<(), StorageError> {
        if document.upload.is_due() && !self.is_claimed_elsewhere(document) {
            let claim = self.new_claim(WITH_A_CHANGE)?;
            lock(&self.fresh).insert(claim.nonce.clone(), ());
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
        let now = Instant::now();
        let mut known = lock(&self.claims);
        match known.get(&claim.nonce) {
            Some(since) => now.duration_since(*since) < Duration::from_millis(claim.milliseconds),
            None => {
                known.insert(claim.nonce.clone(), now);
                claim.milliseconds > 0
            }
        }
    }
}
