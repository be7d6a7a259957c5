//! Detects when a request has fallen silent.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::pool::Client;

/// How often, within the silence timeout, the system is asked whether anything moves.
const LOOKS: u32 = 8;

/// When the connection last took or sent a byte.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Mutex<Instant>>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Activity {
    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the connection has accepted nothing for this long, and the system has sent nothing of what it
    /// accepted before, as far as that is known.
    pub(crate) async fn silence(&self, longest: Duration, client: &Client) {
        let mut unsent = None;
        loop {
            let (last, now) = (self.last(), Instant::now());
            let Some(end) = last.checked_add(longest) else {
                // It is beyond what the clock can represent.
                return std::future::pending().await;
            };
            if end <= now {
                return;
            }
            sleep_until(now.checked_add(longest / LOOKS).map_or(end, |look| look.min(end))).await;
            if self.last() != last {
                unsent = None;
                continue;
            }
            let before = std::mem::replace(&mut unsent, client.unsent().await);
            if before.is_some() && unsent.is_some() && before != unsent {
                self.note();
            }
        }
    }
}
