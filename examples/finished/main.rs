//! cargo run --release --example finished
//!
//! Finished uploads: their files are moved to films/, and the application's own database gets a row.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::Router;
use axum_tus::{HookError, Sqlite, Tus, context::Finished};
use example_shared::{Failed, Settings};
use rusqlite::{Connection, params};

type Films = Arc<Mutex<Connection>>;

/// The application's database. The upload's incarnation is the key: no other upload ever has it, not even a later one with
/// the same id.
fn open(path: &Path) -> rusqlite::Result<Films> {
    let films = Connection::open(path)?;
    films.pragma_update(None, "journal_mode", "WAL")?;
    films.execute_batch(
        "CREATE TABLE IF NOT EXISTS films (incarnation TEXT PRIMARY KEY, name TEXT, bytes INTEGER NOT NULL)",
    )?;
    Ok(Arc::new(Mutex::new(films)))
}

/// Called at least once for each upload: again if it failed, and again if the process died before the call was
/// recorded. Each step may therefore have been done already.
async fn keep(cx: Finished, sqlite: Sqlite, films: Films, directory: Arc<Path>) -> Result<(), HookError> {
    let upload = cx.upload;
    // Named by the incarnation: the client's file name is untrusted text, not a path.
    let key = upload.incarnation.to_string();
    sqlite.move_to(&upload.id, directory.join(&key)).await?;
    tokio::task::spawn_blocking(move || {
        let name = upload.metadata.text("filename");
        let bytes = i64::try_from(upload.offset)?;
        films.lock().unwrap_or_else(PoisonError::into_inner).execute(
            "INSERT INTO films (incarnation, name, bytes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            params![key, name, bytes],
        )?;
        Ok(())
    })
    .await?
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let sqlite = settings.open_directory()?;
    // Within one file system the move is a rename; otherwise the bytes are copied.
    let directory: Arc<Path> = settings.directory.join("films").into();
    let films = open(&settings.directory.join("films.db"))?;

    let taken = sqlite.clone();
    let finished = move |cx| keep(cx, taken.clone(), films.clone(), directory.clone());
    let tus = Tus::builder(sqlite).config(settings.config).finished(finished).build();

    let app = Router::new().merge(axum_tus::router("/files", tus.clone()));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
