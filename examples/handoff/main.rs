//! TUS_BUCKET=s3://bucket/films cargo run --release --example handoff
//!
//! What becomes of a finished upload: its bytes go to a bucket, as a stream, and a message about it goes into a queue. The
//! queue is a table, an "outbox": a worker takes messages from there and sends them on, at least once each.

use std::{
    env,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use axum_tus::{HookError, Sqlite, Tus, context::Finished};
use example_shared::{Failed, Settings};
use object_store::{ObjectStore, buffered::BufWriter};
use rusqlite::{Connection, params};
use tokio::{fs::File, io::AsyncWriteExt, sync::Notify};
use url::Url;

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

    /// Adds a message, unless it waits already. Rows of the application would be written in the same transaction.
    fn add(&self, key: &str, message: &str) -> rusqlite::Result<()> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.execute("INSERT INTO outbox VALUES (?, ?) ON CONFLICT DO NOTHING", params![key, message])?;
        self.added.notify_one();
        Ok(())
    }

    /// Sends all that waits. A message is deleted after it was sent, so one may be sent again after a crash: consumers
    /// know it by its key.
    fn send(&self, send: impl Fn(&str, &str)) -> rusqlite::Result<()> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = database.prepare("SELECT key, message FROM outbox ORDER BY rowid")?;
        let waiting = waiting.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (key, message) in waiting.collect::<rusqlite::Result<Vec<(String, String)>>>()? {
            send(&key, &message);
            database.execute("DELETE FROM outbox WHERE key = ?", [key])?;
        }
        Ok(())
    }
}

/// It is called at least once for each upload. A second call overwrites the object with the same bytes.
async fn hand_off(
    cx: Finished,
    sqlite: Sqlite,
    bucket: Arc<dyn ObjectStore>,
    prefix: object_store::path::Path,
    outbox: Arc<Outbox>,
) -> Result<(), HookError> {
    // The incarnation is unique; the client's file name is untrusted text.
    let key = cx.upload.incarnation.to_string();
    let object = prefix.join(key.as_str());
    let mut file = File::open(sqlite.path(&cx.upload.id)).await?;
    // A multipart upload with parts of 10 MiB, where the file is larger than that.
    let mut writer = BufWriter::new(bucket, object.clone());
    if let Err(error) = tokio::io::copy(&mut file, &mut writer).await {
        writer.abort().await?;
        return Err(error.into());
    }
    writer.shutdown().await?;
    tokio::task::spawn_blocking(move || outbox.add(&key, object.as_ref())).await??;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let url = Url::parse(&env::var("TUS_BUCKET").unwrap_or("s3://bucket/films".into()))?;
    // Credentials and the region are in the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT, …
    let (bucket, prefix) =
        object_store::parse_url_opts(&url, env::vars().map(|(name, value)| (name.to_lowercase(), value)))?;
    let bucket: Arc<dyn ObjectStore> = bucket.into();
    let sqlite = Sqlite::options().durability(settings.durability).open(&settings.directory)?;
    let outbox = Arc::new(Outbox::open(&settings.directory.join("application.db"))?);

    let (taken, messages) = (sqlite.clone(), outbox.clone());
    let finished = move |cx| hand_off(cx, taken.clone(), bucket.clone(), prefix.clone(), messages.clone());
    // The record and the file stay for a day: a client that missed the last response learns that its upload is complete.
    let config = settings.config.remove_finished_after(std::time::Duration::from_secs(86400));
    let tus = Tus::builder(sqlite).config(config).finished(finished).build();

    tokio::spawn(async move {
        loop {
            let messages = outbox.clone();
            // Here a real worker sends to its queue, and tries again later where that fails.
            let send = move || messages.send(|key, message| println!("{key} {message}"));
            if let Ok(Err(error)) = tokio::task::spawn_blocking(send).await {
                eprintln!("the outbox cannot be read: {error}");
            }
            outbox.added.notified().await;
        }
    });
    let app = Router::new().merge(axum_tus::router("/files", tus.clone()));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
