//! DATABASE_URL=postgres:///films cargo run --release --example postgres
//!
//! The application has its own Postgres: uploads arrive in a directory, and each finished one becomes a row, exactly once.
//! GET /films lists the rows, to everybody: `session` shows how to list only what belongs to a user.

use std::{path::Path, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use axum_tus::{HookError, Sqlite, Tus, context::Finished};
use example_shared::{Failed, Settings, variable};
use sqlx::{PgPool, postgres::PgPoolOptions};

/// The upload's incarnation is the key: 128 random bits that no other upload has.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS films (
    incarnation TEXT PRIMARY KEY, owner TEXT, name TEXT, bytes BIGINT NOT NULL, file TEXT NOT NULL
)";

/// Called at least once for each upload: again after an error, and again if the process died before its success was
/// recorded. Each step may therefore have been done already.
async fn keep(cx: Finished, sqlite: Sqlite, films: PgPool, directory: Arc<Path>) -> Result<(), HookError> {
    let upload = cx.upload;
    // Named by the incarnation: the client's file name is untrusted text, not a path.
    let key = upload.incarnation.to_string();
    let file = directory.join(&key);
    sqlite.move_to(&upload.id, &file).await?;

    // Everything that must happen exactly once belongs in this transaction: a job for a worker, a used quota.
    let mut transaction = films.begin().await?;
    sqlx::query(
        "INSERT INTO films (incarnation, owner, name, bytes, file) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(&key)
    .bind(&upload.owner)
    // Text in Postgres cannot contain NUL, and a row that cannot be written would be retried forever.
    .bind(upload.metadata.text("filename").map(|name| name.replace('\0', "")))
    .bind(i64::try_from(upload.offset)?)
    .bind(file.to_string_lossy())
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

/// One film per line. A name is untrusted text that may contain line ends: it is quoted and escaped.
async fn films(State(films): State<PgPool>) -> Result<String, StatusCode> {
    let rows: Vec<(Option<String>, i64)> = sqlx::query_as("SELECT name, bytes FROM films ORDER BY name")
        .fetch_all(&films)
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let line = |(name, bytes): (Option<String>, i64)| format!("{:?} {bytes}\n", name.unwrap_or_default());
    Ok(rows.into_iter().map(line).collect())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    example_shared::log();
    let settings = Settings::from_env()?;
    let sqlite = settings.open_directory()?;
    let database = variable("DATABASE_URL")?.unwrap_or("postgres:///films".into());
    let pool = PgPoolOptions::new().max_connections(5).connect(&database).await?;
    // Several processes may start at once.
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(1)").execute(&mut *transaction).await?;
    sqlx::query(SCHEMA).execute(&mut *transaction).await?;
    transaction.commit().await?;

    let directory: Arc<Path> = settings.directory.join("films").into();
    let (taken, rows) = (sqlite.clone(), pool.clone());
    let finished = move |cx| keep(cx, taken.clone(), rows.clone(), directory.clone());
    let tus = Tus::builder(sqlite).config(settings.config).finished(finished).build();

    let app = Router::new().route("/films", get(films)).with_state(pool).merge(axum_tus::router("/files", tus.clone()));
    let listener = tokio::net::TcpListener::bind(&settings.address).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let server = |stop| axum::serve(listener, app).with_graceful_shutdown(stop);
    Ok(example_shared::serve(tus, server).await.transpose().map(drop)?)
}
