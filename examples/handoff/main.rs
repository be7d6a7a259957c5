//! TUS_BUCKET=s3://bucket/films cargo run --release --example handoff
//!
//! Hands finished uploads over: the bytes go to a bucket, part by part, and a message about them goes into a queue. The queue
//! is a table, an "outbox": a worker takes messages from there and sends them on, at least once each.
//!
//! Give the bucket a lifecycle rule that aborts incomplete multipart uploads (`AbortIncompleteMultipartUpload`) after a
//! day: a process that is stopped or killed leaves the parts that it has sent, and they cost money until they are aborted.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use axum_tus::{HookError, Sqlite, Tus, context::Finished};
use example_shared::{Failed, Settings, required, variable};
use object_store::{
    ClientConfigKey, MultipartUpload, ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path as Key,
};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::{
    fs::File,
    io::AsyncReadExt,
    sync::{Notify, Semaphore},
    task::spawn_blocking,
    time::sleep,
};
use url::Url;

/// How many uploads are handed over at once. Each holds one part in memory, all of them 40 MiB. Beyond 97 GiB, parts are
/// larger: 4 x 100 MiB at a time for uploads of 977 GiB.
const AT_ONCE: usize = 4;

/// The size of a part in bytes, unless an upload would have too many of them.
const PART: u64 = 10 << 20;

/// How many parts S3 takes.
const MOST_PARTS: u64 = 10_000;

/// How long one request may take, and how long after its beginning it may be tried again. The crate's defaults, 30 s and
/// 3 minutes, are too short for a part on a slow line: the upload would be sent again from its beginning, for ever. These
/// allow parts of 10 MiB at 18 kB/s. `AWS_TIMEOUT` changes the first. A repeated request has the signature of the first one,
/// and S3 refuses it after 15 minutes.
const REQUEST: Duration = Duration::from_secs(600);
const REPETITIONS: Duration = Duration::from_secs(840);

/// How long to wait before a message that could not be sent is sent again.
const RETRY: Duration = Duration::from_secs(5);

/// The application's database, with the messages that are still to be sent.
struct Outbox {
    database: Mutex<Connection>,
    added: Notify,
}

impl Outbox {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.execute_batch("CREATE TABLE IF NOT EXISTS outbox (key TEXT PRIMARY KEY, message TEXT NOT NULL)")?;
        Ok(Self { database: Mutex::new(database), added: Notify::new() })
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message unless it is already there. An application would write its own rows in the same transaction.
    fn add(&self, key: &str, message: &str) -> rusqlite::Result<()> {
        self.database().execute("INSERT INTO outbox VALUES (?, ?) ON CONFLICT DO NOTHING", params![key, message])?;
        self.added.notify_one();
        Ok(())
    }

    /// The key and the text of the oldest message.
    fn first(&self) -> rusqlite::Result<Option<(String, String)>> {
        let row = "SELECT key, message FROM outbox ORDER BY rowid LIMIT 1";
        self.database().query_row(row, (), |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    /// Sends all messages in their order, until one cannot be sent. A message is deleted only after it was sent, so it may
    /// be sent again after a crash: consumers recognize it by its key.
    fn send(&self, send: impl Fn(&str, &str) -> io::Result<()>) -> Result<(), HookError> {
        while let Some((key, message)) = self.first()? {
            send(&key, &message)?;
            self.database().execute("DELETE FROM outbox WHERE key = ?", [key])?;
        }
        Ok(())
    }
}

/// Here a real worker sends to its queue: it returns when the queue has confirmed the message.
fn send(key: &str, message: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{key} {message}")
}

/// Where finished uploads come from, and where they go.
struct HandOff {
    sqlite: Sqlite,
    bucket: Arc<dyn ObjectStore>,
    prefix: Key,
    outbox: Arc<Outbox>,
    turns: Semaphore,
}

impl HandOff {
    /// Called at least once for each upload. A second call overwrites the object with the same bytes.
    async fn take(&self, cx: Finished) -> Result<(), HookError> {
        let _turn = self.turns.acquire().await?;
        // The incarnation is unique; the client's file name is untrusted text.
        let key = cx.upload.incarnation.to_string();
        let object = self.prefix.clone().join(key.as_str());
        let mut file = File::open(self.sqlite.path(&cx.upload.id)).await?;
        let length = cx.upload.offset;
        if length <= PART {
            self.bucket.put(&object, part(&mut file, length).await?.into()).await?;
        } else {
            let mut upload = self.bucket.put_multipart(&object).await?;
            if let Err(error) = send_parts(&mut file, length, &mut *upload).await {
                // Parts that are not aborted cost money forever. The first error matters more than this one.
                if let Err(error) = upload.abort().await {
                    eprintln!("the parts of {object} stay in the bucket: {error}");
                }
                return Err(error);
            }
        }
        let outbox = self.outbox.clone();
        spawn_blocking(move || outbox.add(&key, object.as_ref())).await??;
        Ok(())
    }
}

/// The next bytes of a file.
async fn part(file: &mut File, size: u64) -> Result<Vec<u8>, HookError> {
    let mut bytes = vec![0; size.try_into()?];
    file.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn send_parts(file: &mut File, length: u64, upload: &mut dyn MultipartUpload) -> Result<(), HookError> {
    let size = length.div_ceil(MOST_PARTS).max(PART);
    let mut sent = 0;
    while sent < length {
        let size = size.min(length - sent);
        upload.put_part(part(file, size).await?.into()).await?;
        sent += size;
    }
    upload.complete().await?;
    Ok(())
}

/// Sends messages as they are added, and tries again later where that fails.
async fn work(outbox: Arc<Outbox>) {
    loop {
        let messages = outbox.clone();
        match spawn_blocking(move || messages.send(send)).await.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(()) => outbox.added.notified().await,
            Err(error) => {
                eprintln!("a message waits for {} s: {error}", RETRY.as_secs());
                sleep(RETRY).await;
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let url = Url::parse(&required("TUS_BUCKET", "s3://bucket/films")?)?;
    let (_, prefix) = ObjectStoreScheme::parse(&url)?;
    // Credentials and the region are in the environment, in variables that begin with AWS_: AWS_ACCESS_KEY_ID, …
    let retry = RetryConfig { retry_timeout: REPETITIONS, ..RetryConfig::default() };
    let mut bucket = AmazonS3Builder::from_env().with_url(url).with_retry(retry);
    if variable("AWS_TIMEOUT")?.is_none() {
        bucket =
            bucket.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), format!("{} s", REQUEST.as_secs()));
    }
    let bucket: Arc<dyn ObjectStore> = Arc::new(bucket.build()?);
    let sqlite = settings.open_directory()?;
    let outbox = Arc::new(Outbox::open(&settings.directory.join("application.db"))?);

    let turns = Semaphore::new(AT_ONCE);
    let hand_off = Arc::new(HandOff { sqlite: sqlite.clone(), bucket, prefix, outbox: outbox.clone(), turns });
    let finished = move |cx| {
        let hand_off = hand_off.clone();
        async move { hand_off.take(cx).await }
    };
    // The record and the file stay for a day: a client that missed the last response learns that its upload is complete.
    let config = settings.config.remove_finished_after(Duration::from_secs(86400));
    let tus = Tus::builder(sqlite).config(config).finished(finished).build();

    tokio::spawn(work(outbox));
    let app = Router::new().merge(axum_tus::router("/files", tus.clone()));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
