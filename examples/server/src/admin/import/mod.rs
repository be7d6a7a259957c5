//! Adds the uploads of a directory of tusd.
//!
//! An upload is [hidden](add::HIDDEN) until it has all its bytes; one last change shows it. An import that ends early
//! therefore leaves a complete upload, or one that nobody sees and that the next import, or a server, deletes.

mod add;
mod compare;
mod found;
#[cfg(test)]
mod tests;
mod tusd;

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, ensure};
use clap::Args;
use tus_service::{Failure, Memory, Storage, StorageError};
use tus_sqlite::Durability;

use self::{add::HIDDEN, found::Found, tusd::Directory};
use super::report::report;
use crate::settings::Settings;

/// Bytes that are read and written at once.
const PIECE: usize = 1024 * 1024;

/// What is imported.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// The directory that tusd was started with (-upload-dir). tusd must not run, nor a server with the new directory.
    directory: PathBuf,
    /// Only report what would be imported. A directory of an older version is migrated nevertheless.
    #[arg(long)]
    dry_run: bool,
    /// The server calls the hooks before_finish and finished for uploads that tusd finished. By default, it does not.
    #[arg(long)]
    notify: bool,
}

/// What became of an upload.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    /// It was added, with so many bytes.
    Imported(u64),
    /// It is here, with the same bytes.
    AlreadyHere,
    /// It is here, and the storage cannot read its bytes.
    NotCompared,
}

/// Imports from one directory into one storage.
struct Import<'a> {
    storage: &'a dyn Storage,
    settings: &'a Settings,
    options: &'a Options,
    directory: Directory,
}

/// Refuses to import into the directory of tusd, or into one in it: it is to stay as it is, and may be deleted afterwards.
fn check_apart(from: &Path, into: &Path) -> anyhow::Result<()> {
    let (Ok(from), Ok(real)) = (from.canonicalize(), into.canonicalize()) else {
        // What cannot be opened is reported when it is opened.
        return Ok(());
    };
    let is_apart = !real.starts_with(from);
    ensure!(is_apart, "{} is the directory of tusd, or in it: import into another directory", into.display());
    Ok(())
}

/// Opens the storage to import into. A server must not use its directory meanwhile: it would delete what is hidden.
pub(super) async fn open(settings: &Settings, options: &Options) -> anyhow::Result<Arc<dyn Storage>> {
    if !settings.is_directory() {
        return settings.open().await;
    }
    check_apart(&options.directory, Path::new(&settings.dir))?;
    if options.dry_run {
        // Opening it would create files.
        let is_new = !Path::new(&settings.dir).join("uploads.db").exists();
        return if is_new { Ok(Arc::new(Memory::new())) } else { settings.open().await };
    }
    // Nobody can send these bytes again.
    let directory = settings.open_directory(Durability::Synced).await?;
    ensure!(directory.is_shared() != Some(true), "a server or another command uses {}; stop it first", settings.dir);
    Ok(Arc::new(directory))
}

pub(super) async fn import(
    storage: &dyn Storage,
    settings: &Settings,
    options: &Options,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let directory = Directory::open(&options.directory)?;
    directory.check_stopped()?;
    if !options.dry_run {
        directory.lock()?;
    }
    let found = Found::of(&directory)?;
    let import = Import { storage, settings, options, directory };
    let would_be = if options.dry_run { "would be " } else { "" };
    let (mut imported, mut bytes, mut here, mut not_compared) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut refused = found.refused.len();
    for (name, error) in &found.refused {
        report(format_args!("{name:?} is not imported: {error:#}"));
    }
    let mut left = found.names.iter();
    for name in left.by_ref() {
        match import.one(name).await {
            Ok(Done::Imported(length)) => {
                (imported, bytes) = (imported + 1, bytes.saturating_add(length));
                writeln!(out, "{} {would_be}imported", name.with_extension("").display())?;
            }
            Ok(Done::AlreadyHere) => here += 1,
            Ok(Done::NotCompared) => {
                not_compared += 1;
                writeln!(out, "{} is here, but its bytes cannot be compared", name.with_extension("").display())?;
            }
            Err(error) => {
                refused += 1;
                report(format_args!("{name:?} is not imported: {error:#}"));
                if is_useless(&error) {
                    break;
                }
            }
        }
    }
    if left.len() > 0 {
        report(format_args!("the storage fails, so the import stops; not tried: {}", left.len()));
    }
    writeln!(
        out,
        "{imported} {would_be}imported ({bytes} bytes), {here} already here, {not_compared} here but not compared, \
         {refused} refused"
    )?;
    Ok(refused == 0)
}

/// Whether all that follows would fail, too.
fn is_useless(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref().map(StorageError::failure);
    matches!(failure, Some(Failure::Full | Failure::Unavailable))
}

impl Import<'_> {
    async fn one(&self, name: &Path) -> anyhow::Result<Done> {
        let source = self.directory.source(name)?;
        if let Some(there) = self.storage.load(&source.record.id).await? {
            if there.upload.expires != Some(HIDDEN) {
                // A final upload may still need a part that has expired: a server knows.
                ensure!(
                    !there.upload.is_expired(SystemTime::now()),
                    "an upload with its id has expired here; run `tus-serve admin expire`, and import it again"
                );
                return self.compare(&there, &source).await;
            }
            // An import that ended early has left it.
            if !self.options.dry_run {
                let removed = self.storage.remove(&there).await;
                removed.context("the remains of an interrupted import cannot be deleted")?;
            }
        }
        if !self.options.dry_run {
            self.add(&source).await?;
            for reason in &source.record.omitted {
                report(format_args!("{name:?} is imported without a part of its metadata: {reason}"));
            }
        }
        Ok(Done::Imported(source.offset()))
    }
}
