//! Background work on an upload without a request: it has expired, or a request or server ended and left work
//! unfinished.

use std::{sync::Arc, time::SystemTime};

use super::{Completion, Config};
use crate::Stored;

/// The background work for an upload.
#[must_use]
#[derive(Debug)]
pub enum Recovery {
    /// Nothing.
    Nothing,
    /// It has expired: remove exactly this version.
    Remove(Stored),
    /// It is due: complete it.
    Complete(Completion),
}

/// The background work due at `now` for an upload whose record was just loaded and is held.
pub fn recover(config: &Arc<Config>, stored: Stored, now: SystemTime) -> Recovery {
    if stored.upload.is_expired(now) {
        Recovery::Remove(stored)
    } else if stored.upload.is_due() {
        Recovery::Complete(Completion::of_due(config, now, Box::new(stored)))
    } else {
        Recovery::Nothing
    }
}
