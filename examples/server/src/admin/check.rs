//! Compares records with bytes.

use std::io::Write;

use clap::Args;
use futures_util::TryStreamExt;
use tus_service::{Storage, StorageError, Stored, UploadFilter};

/// How thoroughly.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Read every byte of finished uploads, not only the last one.
    #[arg(long)]
    read: bool,
}

/// What is wrong with an upload.
enum Problem {
    /// It had so many bytes more.
    Lost(u64),
    Unreadable(StorageError),
}

pub(super) async fn check(storage: &dyn Storage, options: &Options, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut listed = storage.list(UploadFilter::default(), None);
    let (mut uploads, mut problems) = (0_u64, 0_u64);
    while let Some(before) = listed.try_next().await? {
        let id = &before.upload.id;
        uploads += 1;
        let problem = match storage.load(id).await {
            Ok(Some(now)) => problem(storage, &before, &now, options).await,
            // Deleted since.
            Ok(None) => None,
            Err(error) => Some(Problem::Unreadable(error)),
        };
        problems += u64::from(problem.is_some());
        match problem {
            Some(Problem::Lost(bytes)) => writeln!(out, "{id}: {} missing", counted(bytes, "byte"))?,
            Some(Problem::Unreadable(error)) => writeln!(out, "{id}: {error}")?,
            None => {}
        }
    }
    writeln!(out, "{}, {}", counted(uploads, "upload"), counted(problems, "problem"))?;
    Ok(problems == 0)
}

/// A number of things.
fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

async fn problem(storage: &dyn Storage, before: &Stored, now: &Stored, options: &Options) -> Option<Problem> {
    if !now.is_same_upload(&before.upload) {
        return None;
    }
    // A record is made true when it is loaded.
    if now.upload.offset < before.upload.offset {
        return Some(Problem::Lost(before.upload.offset - now.upload.offset));
    }
    let end = now.upload.offset;
    if !now.upload.is_complete() || end == 0 {
        return None;
    }
    let from = if options.read { 0 } else { end - 1 };
    read(storage, now, from, end).await.err().map(Problem::Unreadable)
}

async fn read(storage: &dyn Storage, stored: &Stored, from: u64, end: u64) -> Result<(), StorageError> {
    let mut bytes = storage.read(stored, from..end).await?;
    while bytes.try_next().await?.is_some() {}
    Ok(())
}
