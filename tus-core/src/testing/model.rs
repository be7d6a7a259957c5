//! What is in the model, and what a test arranges there.

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
    /// The endpoint is a resource of the application, wherever requests reach it.
    pub resource: Option<Resource>,
    /// Whether the trailers of requests reach the server.
    pub trailers: bool,
    /// The time; only a test moves it.
    pub now: SystemTime,
    /// The uploads that there are.
    pub uploads: Uploads,
    /// What the application says.
    pub application: Application,
    /// Whether what a checkpoint may commit is committed.
    pub commits_checkpoints: bool,
    /// Whether interim responses can be sent.
    pub informs: bool,
    /// What happened in the last exchange.
    pub log: Log,
    /// The uploads whose completion the application was asked about, ever.
    pub finishing: Vec<UploadId>,
    /// The new uploads that the application allowed and that were not created, ever.
    pub abandoned: Vec<crate::Incarnation>,
    /// The uploads of which the application was notified, ever.
    pub notified: Vec<UploadId>,
    /// The requests that the application's handler got, ever.
    pub called: Vec<(Parts, Bytes)>,
    pub(super) trouble: Trouble,
    names: u128,
}

/// What happened in an exchange, or when an upload was recovered.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Log {
    /// The names of the steps in their order, those of a completion after `Complete`.
    pub steps: Vec<&'static str>,
    /// What the application was asked.
    pub asked: Vec<(Operation, Option<UploadId>)>,
    /// How uploads were held.
    pub held: Vec<Access>,
    /// Several records that were fetched at once.
    pub loaded: Vec<Vec<UploadId>>,
    /// The offset up to which a checkpoint might commit after each piece of the body.
    pub checkpoints: Vec<u64>,
    /// The interim responses that were sent.
    pub informed: Vec<Response<()>>,
    /// The final uploads that may have all their parts now.
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

    /// The next step of that name fails. A question to the application is rejected then; at `Finish`,
    /// [`Failure::Busy`] means that another process is at it.
    pub fn fail(&mut self, step: &'static str, failure: Failure) {
        self.trouble.fail(step, failure);
    }

    /// The step of that number in the next exchange fails, if it gets so far. The first one is number 0.
    pub fn fail_at(&mut self, number: usize, failure: Failure) {
        self.trouble.fail_at(number, failure);
    }

    /// Somebody else changes the uploads just before the next step of that name.
    pub fn meanwhile(&mut self, step: &'static str, act: impl FnOnce(&mut Uploads) + 'static) {
        self.trouble.meanwhile(step, Box::new(act));
    }

    /// The steps of the last exchange in one line.
    pub fn path(&self) -> String {
        self.log.steps.join(" ")
    }

    /// A name that no upload here has had.
    pub fn fresh_name(&mut self) -> (UploadId, Incarnation) {
        self.names += 1;
        (UploadId::from_random(self.names), Incarnation::from_random(u128::MAX - self.names))
    }
}
