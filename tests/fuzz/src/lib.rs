//! What the targets share: the [`Model`] of a server, which checks invariants at each step (see its documentation),
//! and the troubles that a fuzzer picks by number.

use bytes::Bytes;
use http::{Response, request::Parts};
use tus_core::{
    Failure,
    testing::{Body, Model},
};

/// The path of the endpoint.
pub const MOUNT: &str = "/files";

/// A failure of the storage, by a number that a fuzzer picks.
pub fn failure(which: u8) -> Failure {
    const FAILURES: [Failure; 7] = [
        Failure::Conflict,
        Failure::NotFound,
        Failure::Exists,
        Failure::Busy,
        Failure::Full,
        Failure::Unavailable,
        Failure::Internal,
    ];
    FAILURES[usize::from(which) % FAILURES.len()]
}

/// What goes wrong in an exchange.
#[derive(Debug, Default)]
pub struct Trouble {
    /// The number of the step that fails, and how.
    pub failure: Option<(u8, Failure)>,
    /// The number of the question that the application answers with no.
    pub rejects: Option<u8>,
    /// Whether checkpoints are committed.
    pub checkpoints: bool,
}

impl Trouble {
    /// Handles a request in a server with this trouble.
    pub fn exchange(self, model: &mut Model, head: &Parts, body: Body) -> Response<Bytes> {
        self.befalls(model);
        model.exchange(head, body)
    }

    /// The next exchange gets this trouble.
    pub fn befalls(self, model: &mut Model) {
        if let Some((step, failure)) = self.failure {
            model.fail_at(step.into(), failure);
        }
        let mut questions = self.rejects;
        model.application.rejects = Box::new(move |_, _| {
            let left = questions.map(|left| left.checked_sub(1));
            questions = left.flatten();
            left == Some(None)
        });
        model.commits_checkpoints = self.checkpoints;
    }
}
