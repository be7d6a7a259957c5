//! How an exchange begins and ends. All responses are made here.

use bytes::Bytes;
use http::Response;

use super::{
    Authorize, FinishReply, Load, Refusal, Step,
    ask::{Action, Ask},
    dialect,
    exchange::Exchange,
    outcome::Outcome,
};
use crate::UploadId;

impl Exchange {
    pub(super) fn start(self: Box<Self>, ask: Ask) -> Step {
        match ask {
            Ask::Options => self.respond(Outcome::Options),
            Ask::Create(creation) => Authorize::creation(self, creation),
            Ask::Existing(id, action) => self.load(id, action),
        }
    }

    fn load(self: Box<Self>, id: UploadId, action: Action) -> Step {
        Load::of(self, id, action)
    }

    pub(super) fn respond(self: Box<Self>, outcome: Outcome<'_>) -> Step {
        Step::Respond(self.response(outcome))
    }

    pub(super) fn response(&self, outcome: Outcome<'_>) -> Response<Bytes> {
        let mut response = dialect::render(self, outcome);
        self.cors.add_to(&mut response);
        response
    }

    /// The response to a request that completed an upload: the application may add to it.
    pub(super) fn respond_with(self: Box<Self>, outcome: Outcome<'_>, reply: FinishReply) -> Step {
        let mut response = dialect::render(&self, outcome);
        reply.add_to(&mut response, self.needs_reply());
        self.cors.add_to(&mut response);
        Step::Respond(response)
    }

    pub(super) fn refuse(self: Box<Self>, refusal: impl Into<Refusal>) -> Step {
        let expires = self.expires;
        self.respond(Outcome::Refused(refusal.into(), expires))
    }

    pub(super) fn refusal(&self, refusal: Refusal) -> Response<Bytes> {
        self.response(Outcome::Refused(refusal, None))
    }
}
