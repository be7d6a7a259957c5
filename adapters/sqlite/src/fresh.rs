//! Claims that this storage need not make again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tus_service::Incarnation;

/// For this long after the change, the upload need not be claimed again.
const FRESH: Duration = Duration::from_secs(1);

/// Claims that came with recent changes.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Mutex<HashMap<Incarnation, Instant>>);

impl Fresh {
    pub(crate) fn add(&self, incarnation: Incarnation) {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody asked for.
        known.retain(|_, since| now.duration_since(*since) < FRESH);
        known.insert(incarnation, now);
    }

    pub(crate) fn take(&self, incarnation: Incarnation) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&incarnation);
        known.is_some_and(|since| since.elapsed() < FRESH)
    }
}
