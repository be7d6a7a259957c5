//! The state of the model, and what a test sets up there.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{Application, Uploads, trouble::Trouble};
use crate::{
    Config, Failure, Incarnation, UploadId,
    server::{Access, Operation, Resource},
};

/// A server without sockets, over uploads in memory; see the [module](super).
#[derive(Debug)]
pub struct Model {
    /// How uploads are served.
    pub config: Arc<Config>,
    /// The path at which requests reach the endpoint; `/files` at first.
    pub mount: String,
    /// Treats the endpoint as a resource of the application.
    pub resource: Option<Resource>,
    /// Whether the trailers of requests reach the server.
    pub trailers: bool,
    /// The time. Only tests change it.
    pub now: SystemTime,
    /// The existing uploads.
    pub uploads: Uploads,
    /// The application's answers.
    pub application: Application,
    /// Whether checkpoints are committed.
    pub commits_checkpoints: bool,
    /// Whether interim responses can be sent.
    pub informs: bool,
    /// What happened in the last exchange.
    pub log: Log,
    /// The uploads whose completion the application was asked about, in all exchanges.
    pub finishing: Vec<UploadId>,
    /// The new uploads that the application allowed and that were not created, in all exchanges.
    pub abandoned: Vec<crate::Incarnation>,
    /// The uploads of which the application was notified, in all exchanges.
    pub notified: Vec<UploadId>,
    /// The requests that the application's handler received, in all exchanges.
    pub called: Vec<(Parts, Bytes)>,
    pub(super) trouble: Trouble,
    names: u128,
}

/// What happened in an exchange, or when an upload was recovered.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Log {
    /// The names of the steps in order, those of a completion after `Complete`.
    pub steps: Vec<&'static str>,
    /// The questions to the application.
    pub asked: Vec<(Operation, Option<UploadId>)>,
    /// How uploads were held.
    pub held: Vec<Access>,
    /// Groups of records that were fetched together.
    pub loaded: Vec<Vec<UploadId>>,
    /// The offset that a checkpoint could commit after each piece of the body.
    pub checkpoints: Vec<u64>,
    /// The interim responses that were sent.
    pub informed: Vec<Response<()>>,
    /// The final uploads that may have all of their parts now.
    pub woken: Vec<UploadId>,
}

impl Model {
    /// A server without uploads, at 15:00 on 25 June 2014: an hour before the time in the specification's example.
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            mount: "/files".to_owned(),
            resource: None,
            trailers: true,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_403_708_400),
            uploads: Uploads::default(),
            application: Application::default(),
            commits_checkpoints: false,
            informs: false,
            log: Log::default(),
            finishing: Vec::new(),
            abandoned: Vec::new(),
            notified: Vec::new(),
            called: Vec::new(),
            trouble: Trouble::default(),
            names: 0,
        }
    }

    /// The next step with this name fails. A question to the application is then rejected; at `Finish`,
    /// [`Failure::Busy`] means that another process is completing the upload.
    pub fn fail(&mut self, step: &'static str, failure: Failure) {
        self.trouble.fail(step, failure);
    }

    /// The step with this number in the next exchange fails, if the exchange gets that far. Steps are counted from 0.
    pub fn fail_at(&mut self, number: usize, failure: Failure) {
        self.trouble.fail_at(number, failure);
    }

    /// Changes the uploads just before the next step with this name, as a concurrent request would.
    pub fn meanwhile(&mut self, step: &'static str, act: impl FnOnce(&mut Uploads) + 'static) {
        self.trouble.meanwhile(step, Box::new(act));
    }

    /// The steps of the last exchange in one line.
    pub fn path(&self) -> String {
        self.log.steps.join(" ")
    }

    /// An id that no upload of the model has had.
    pub fn fresh_name(&mut self) -> (UploadId, Incarnation) {
        self.names += 1;
        (UploadId::from_random(self.names), Incarnation::from_random(u128::MAX - self.names))
    }
}
