//! The time limit of a complete task.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tus_core::client::{Error, Options};

/// When a task must be done, and the limit that determines this.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// The limit counts from now.
    pub(crate) fn from_now(options: &Options) -> Self {
        // A time beyond what the clock can represent never comes.
        let limit = options.get_retry().get_deadline();
        Self(limit.and_then(|limit| Some((Instant::now().checked_add(limit)?, limit))))
    }

    /// The result, if it arrives in time.
    pub(crate) async fn bound<T>(self, task: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.0 {
            None => task.await,
            Some((end, limit)) => match timeout_at(end, task).await {
                Ok(result) => result,
                Err(_) => Err(Error::Late { limit, last: None }),
            },
        }
    }
}
