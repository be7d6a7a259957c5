//! Sends messages.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use reqwest::{Client, Response, Url, redirect::Policy};

use super::{Hook, Secrets, message::Message};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a message may take that nobody waits for.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
const LARGEST_ANSWER: usize = 64 * 1024;

pub(super) struct Sender {
    client: Client,
    url: Url,
    secrets: Secrets,
    timeouts: Timeouts,
}

/// How long answers may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Those to [`Hook::Finished`]; `None` for as long as it takes.
    pub(crate) finished: Option<Duration>,
    /// Those to questions.
    pub(crate) others: Duration,
}

impl Sender {
    pub(super) fn new(url: &str, secrets: Secrets, timeouts: Timeouts) -> anyhow::Result<Self> {
        let parsed = url.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = parsed.context("`webhooks.url` must be an http or https URL")?;
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // What is signed goes where it was meant to go, and nowhere else.
            .redirect(Policy::none())
            .user_agent(concat!("tus-serve/", env!("CARGO_PKG_VERSION")));
        Ok(Self { client: client.build()?, url, secrets, timeouts })
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Sends a question and returns the body of the answer, however long that takes.
    pub(super) async fn ask(&self, message: &Message) -> anyhow::Result<Vec<u8>> {
        let asked = async { read(self.post(message, None).await?).await };
        asked.await.with_context(|| context(message))
    }

    /// Sends a message whose answer is a status. The body of the answer does not matter, and is not read.
    pub(super) async fn notify(&self, message: &Message) -> anyhow::Result<()> {
        let limit = if message.hook == Hook::Finished { self.timeouts.finished } else { Some(NOTICE_TIMEOUT) };
        self.post(message, limit).await.map(drop).with_context(|| context(message))
    }

    async fn post(&self, message: &Message, limit: Option<Duration>) -> anyhow::Result<Response> {
        let now = SystemTime::now();
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let id = message.key.clone().map_or_else(random, Ok)?;
        let body = message.body(now);
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secrets.sign(&id, timestamp, &body)?)
            .body(body);
        let request = limit.into_iter().fold(request, reqwest::RequestBuilder::timeout);
        // The URL may have credentials.
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if !status.is_success() {
            bail!("was answered with {status}");
        }
        Ok(response)
    }
}

fn context(message: &Message) -> String {
    format!("the webhook {}", message.hook.name())
}

async fn read(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        ensure!(answer.len() + piece.len() <= LARGEST_ANSWER, "was answered with more than {LARGEST_ANSWER} bytes");
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// The id of a message that is sent once.
fn random() -> anyhow::Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)))
}
