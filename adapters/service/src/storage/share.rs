//! The memory that bytes use.

use tokio::sync::OwnedSemaphorePermit;

use crate::observe;

/// A share of the budget. Dropping it frees it.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

impl Share {
    pub(crate) fn of(permit: OwnedSemaphorePermit) -> Self {
        observe::bytes_in_flight(permit.num_permits() as f64);
        Self(permit)
    }

    pub(crate) fn merge(&mut self, mut more: Self) {
        let all = more.0.num_permits();
        if let Some(permit) = more.0.split(all) {
            self.0.merge(permit);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        observe::bytes_in_flight(-(self.0.num_permits() as f64));
    }
}
