//! The application behind the model, and its answers.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{Response, request::Parts};

use crate::{
    Failure, NewUpload, Rejection, UploadId,
    server::{FinishReply, Operation},
};

type Rejects = dyn FnMut(Operation, Option<&UploadId>) -> bool;
type Handler = dyn FnMut(&Parts, &[u8]) -> Result<Response<Option<Bytes>>, Failure>;
type Shape = dyn FnMut(&mut NewUpload) -> Result<(), Rejection>;

/// The application's answers; initially it allows everything.
#[non_exhaustive]
pub struct Application {
    /// Whether it rejects an operation on an upload.
    pub rejects: Box<Rejects>,
    /// The rejection: `403` by default.
    pub rejection: Rejection,
    /// What it does with a new upload.
    pub shape: Box<Shape>,
    /// What it adds to the response of the request that completed an upload, or its rejection.
    pub reply: Result<FinishReply, Rejection>,
    /// Whether a client may delete an upload.
    pub veto: Result<(), Rejection>,
    /// The response of the resource's handler, if it responds.
    pub handler: Box<Handler>,
    /// How long the handler takes to respond.
    pub handler_takes: Duration,
}

impl Default for Application {
    fn default() -> Self {
        Self {
            rejects: Box::new(|_, _| false),
            rejection: Rejection::forbidden("the application says no"),
            shape: Box::new(|_| Ok(())),
            reply: Ok(FinishReply::default()),
            veto: Ok(()),
            handler: Box::new(|_, _| Ok(Response::new(Some(Bytes::new())))),
            handler_takes: Duration::ZERO,
        }
    }
}

impl Application {
    pub(super) fn authorize(&mut self, operation: Operation, id: Option<&UploadId>) -> Result<(), Rejection> {
        match (self.rejects)(operation, id) {
            true => Err(self.rejection.clone()),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application").field("reply", &self.reply).field("veto", &self.veto).finish_non_exhaustive()
    }
}
