//! Webhooks: the hooks as requests to a URL, signed according to [Standard Webhooks](https://www.standardwebhooks.com).

mod answer;
mod message;
mod secrets;
mod sender;

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use http::{HeaderName, HeaderValue, StatusCode, header::RETRY_AFTER};
use metrics::{Unit, counter, describe_counter};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;
use tus_service::{
    Builder, Cause, FinishReply, HookError, NewUpload, Operation, Rejection,
    context::{
        Authorize, BeforeCreate, BeforeFinish, BeforeTerminate, Created, CreationFailed, Finished, Progress, Terminated,
    },
};

use self::{answer::Answer, message::Message, sender::Sender};
pub(crate) use self::{secrets::Secrets, sender::Timeouts};
use crate::view;

/// A hook that can be a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Authorize,
    BeforeCreate,
    CreationFailed,
    Created,
    Progress,
    BeforeFinish,
    Finished,
    BeforeTerminate,
    Terminated,
}

impl Hook {
    pub(crate) const ALL: [Self; 9] = [
        Self::Authorize,
        Self::BeforeCreate,
        Self::CreationFailed,
        Self::Created,
        Self::Progress,
        Self::BeforeFinish,
        Self::Finished,
        Self::BeforeTerminate,
        Self::Terminated,
    ];

    /// Its name in the settings and in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::BeforeCreate => "before_create",
            Self::CreationFailed => "creation_failed",
            Self::Created => "created",
            Self::Progress => "progress",
            Self::BeforeFinish => "before_finish",
            Self::Finished => "finished",
            Self::BeforeTerminate => "before_terminate",
            Self::Terminated => "terminated",
        }
    }
}

/// What a hook takes beside the answer that it waits for.
const MARGIN: Duration = Duration::from_secs(5);

/// Questions that wait for their answers at once; the next ones wait for their turn.
const QUESTIONS: usize = 256;

/// Messages that nobody waits for, on their way at once; further ones are dropped.
const NOTICES: usize = 256;

/// Counts webhooks that fail; the label `hook` is the name of each.
const FAILED: &str = "tus_webhooks_failed_total";

/// Messages that nobody waits for and that are on their way.
#[derive(Debug, Clone)]
pub(crate) struct Notices {
    tasks: TaskTracker,
    free: Arc<Semaphore>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { tasks: TaskTracker::new(), free: Arc::new(Semaphore::new(NOTICES)) }
    }
}

impl Notices {
    /// Waits until those that are on their way have arrived or failed.
    pub(crate) async fn sent(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Sends webhooks.
pub(crate) struct Webhooks {
    sender: Arc<Sender>,
    /// Headers of clients' requests that are passed on.
    headers: Vec<HeaderName>,
    questions: Semaphore,
    notices: Notices,
}

/// Calls a method of [`Webhooks`] as a hook.
macro_rules! attach {
    ($builder:ident, $webhooks:ident, $hooks:ident, $($hook:ident $method:ident)*) => {$(
        if $hooks.contains(&Hook::$hook) {
            let webhooks = $webhooks.clone();
            $builder = $builder.$method(move |cx| {
                let webhooks = webhooks.clone();
                async move { webhooks.$method(cx).await }
            });
        }
    )*};
}

impl Webhooks {
    pub(crate) fn new(
        url: &str,
        secrets: Secrets,
        timeouts: Timeouts,
        headers: Vec<HeaderName>,
        notices: Notices,
    ) -> anyhow::Result<Self> {
        let sender = Arc::new(Sender::new(url, secrets, timeouts)?);
        Ok(Self { sender, headers, questions: Semaphore::new(QUESTIONS), notices })
    }

    /// Adds them to an endpoint.
    pub(crate) fn attach(self, builder: Builder, hooks: &[Hook]) -> Builder {
        // Its own timeout comes first: then the client is asked to try again.
        let mut builder = builder.hook_timeout(self.sender.timeouts().others + MARGIN);
        describe_counter!(FAILED, Unit::Count, "Webhooks that got no valid answer in time, or were dropped");
        // Prometheus ignores the first value of a series: without the 0, the first failure would raise no alert.
        hooks.iter().for_each(|hook| counter!(FAILED, "hook" => hook.name()).increment(0));
        let webhooks = Arc::new(self);
        attach! {builder, webhooks, hooks,
            Authorize authorize
            BeforeCreate before_create
            CreationFailed creation_failed
            Created created
            Progress progress
            BeforeFinish before_finish
            Finished finished
            BeforeTerminate before_terminate
            Terminated terminated
        }
        builder
    }

    async fn authorize(&self, cx: Authorize) -> Result<(), Rejection> {
        let upload = cx.upload.map(|upload| view::upload(&upload));
        let data = json!({"operation": operation(cx.operation), "upload": upload});
        self.ask(Message::question(Hook::Authorize, data).of(&cx.request, &self.headers)).await.map(drop)
    }

    async fn before_create(&self, cx: BeforeCreate) -> Result<NewUpload, Rejection> {
        let data = json!({"upload": view::new_upload(&cx.upload)});
        let answer = self.ask(Message::question(Hook::BeforeCreate, data).of(&cx.request, &self.headers)).await?;
        answer.upload(cx.upload).map_err(|error| refusal(Hook::BeforeCreate, error))
    }

    async fn creation_failed(&self, cx: CreationFailed) {
        let data = json!({"upload": view::upload(&cx.upload)});
        self.notify(Message::event(Hook::CreationFailed, &cx.upload, data).of(&cx.request, &self.headers));
    }

    async fn created(&self, cx: Created) {
        let data = json!({"upload": view::upload(&cx.upload)});
        self.notify(Message::event(Hook::Created, &cx.upload, data).of(&cx.request, &self.headers));
    }

    async fn progress(&self, cx: Progress) {
        let data = json!({"upload": view::upload(&cx.upload)});
        self.notify(Message::question(Hook::Progress, data).of(&cx.request, &self.headers));
    }

    async fn before_finish(&self, cx: BeforeFinish) -> Result<FinishReply, Rejection> {
        let data = json!({"upload": view::upload(&cx.upload)});
        let mut message = Message::question(Hook::BeforeFinish, data);
        if let Some(request) = &cx.request {
            message = message.of(request, &self.headers);
        }
        self.ask(message).await?.response().map_err(|error| refusal(Hook::BeforeFinish, error))
    }

    async fn finished(&self, cx: Finished) -> Result<(), HookError> {
        let data = json!({"upload": view::upload(&cx.upload), "attempt": cx.attempt});
        let sent = self.sender.notify(&Message::event(Hook::Finished, &cx.upload, data)).await;
        // The log shows the text of an error without its causes.
        sent.map_err(|error| {
            count_failure(Hook::Finished);
            format!("{error:#}").into()
        })
    }

    async fn before_terminate(&self, cx: BeforeTerminate) -> Result<(), Rejection> {
        let data = json!({"upload": view::upload(&cx.upload)});
        self.ask(Message::question(Hook::BeforeTerminate, data).of(&cx.request, &self.headers)).await.map(drop)
    }

    async fn terminated(&self, cx: Terminated) {
        let data = json!({"upload": view::upload(&cx.upload), "cause": cause(cx.cause)});
        self.notify(Message::event(Hook::Terminated, &cx.upload, data));
    }

    /// Asks. Where the answer is not as agreed, clients get 503 and try again.
    async fn ask(&self, message: Message) -> Result<Answer, Rejection> {
        let limit = self.sender.timeouts().others;
        let asked = async {
            let _turn = self.questions.acquire().await?;
            self.sender.ask(&message).await
        };
        let unanswered = |_| Err(anyhow!("the webhook {} was not answered within {limit:?}", message.hook.name()));
        let answered = timeout(limit, asked).await.unwrap_or_else(unanswered);
        let answer = answered.and_then(|body| Answer::read(&body)?.unless_refused());
        answer.map_err(|error| refusal(message.hook, error))?
    }

    /// Sends a message beside the request that it is about: neither the client nor a sweep waits for it.
    fn notify(&self, message: Message) {
        let Ok(place) = self.notices.free.clone().try_acquire_owned() else {
            count_failure(message.hook);
            tracing::warn!(hook = message.hook.name(), "a webhook was dropped: {NOTICES} others are pending");
            return;
        };
        let sender = self.sender.clone();
        self.notices.tasks.spawn(async move {
            if let Err(error) = sender.notify(&message).await {
                count_failure(message.hook);
                tracing::warn!(hook = message.hook.name(), error = format!("{error:#}"), "a webhook failed");
            }
            drop(place);
        });
    }
}

fn count_failure(hook: Hook) {
    counter!(FAILED, "hook" => hook.name()).increment(1);
}

/// What a client gets if a question has no valid answer.
fn refusal(hook: Hook, error: anyhow::Error) -> Rejection {
    count_failure(hook);
    tracing::error!(hook = hook.name(), error = format!("{error:#}"), "a webhook failed");
    let text = "the application did not answer; try again later\n";
    Rejection::new(StatusCode::SERVICE_UNAVAILABLE, text).header(RETRY_AFTER, HeaderValue::from_static("5"))
}

fn operation(operation: Operation) -> Value {
    let name = match operation {
        Operation::Create => "create",
        Operation::Concatenate => "concatenate",
        Operation::Inspect => "inspect",
        Operation::Append => "append",
        Operation::Download => "download",
        Operation::Terminate => "terminate",
        _ => return Value::Null,
    };
    name.into()
}

fn cause(cause: Cause) -> Value {
    let name = match cause {
        Cause::Client => "client",
        Cause::Application => "application",
        Cause::Expired => "expired",
        Cause::Failed => "failed",
        _ => return Value::Null,
    };
    name.into()
}
