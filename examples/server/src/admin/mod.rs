//! The admin command: inspects and manages uploads. All of its commands except `import` work while a server runs.

mod check;
mod import;
mod list;
mod report;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use rustix::process::geteuid;
use tus_service::{Tus, UploadId};

use self::report::{Unread, report};
use crate::{
    settings::Settings,
    view,
    webhooks::{Hook, Notices},
};

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List uploads, one per line: id, phase, kind, offset/length, time of creation, name.
    List(list::Options),
    /// Show uploads as JSON.
    Show {
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Delete uploads, finished or not; requests that add to them are stopped.
    Delete {
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Delete the uploads that have expired.
    Expire,
    /// Compare records with stored bytes; reset unfinished uploads to the bytes that exist.
    Check(check::Options),
    /// Import the uploads of a directory of tusd. Stop tusd and the server first; the directory stays unchanged.
    Import(import::Options),
}

/// Does it. Whether all went well; what did not has been reported.
pub(crate) async fn run(settings: &Settings, command: Command, out: &mut impl Write) -> anyhow::Result<bool> {
    ensure!(
        !settings.is_memory(),
        "uploads in memory exist only in the server's process; admin commands cannot see them"
    );
    if settings.is_directory() {
        let directory = Path::new(&settings.dir);
        let is_import = matches!(command, Command::Import(_));
        ensure!(
            !is_import || directory.try_exists()?,
            "{} does not exist; create it as the user who runs the server",
            settings.dir
        );
        check_directory(directory)?;
        ensure!(
            is_import || directory.join("uploads.db").try_exists().with_context(|| settings.dir.clone())?,
            "there are no uploads in {}",
            settings.dir
        );
    }
    let storage = match &command {
        Command::Import(options) => import::open(settings, options).await?,
        _ => settings.open().await?,
    };
    let mut builder = settings.builder(storage.clone())?.background(false);
    let notices = Notices::default();
    if matches!(command, Command::Delete { .. } | Command::Expire) {
        // Those that a request or the server would call are not ours to call.
        builder = settings.attach_webhooks(builder, &notices, |hook| hook == Hook::Terminated)?;
    }
    let tus = builder.build();
    let done = match command {
        Command::List(options) => list::list(&tus, &options, out).await,
        Command::Show { ids } => show(&tus, &ids, out).await,
        Command::Delete { ids } => delete(&tus, &ids, &mut Unread::new(out)).await,
        Command::Expire => expire(&tus, &mut Unread::new(out)).await,
        Command::Check(options) => check::check(&*storage, &options, out).await,
        Command::Import(options) => import::import(&*storage, settings, &options, &mut Unread::new(out)).await,
    };
    notices.sent().await;
    done
}

/// Refuses a directory that is missing, or whose owner is another user: files that root makes there, SQLite's among them,
/// could not be written by the server.
fn check_directory(directory: &Path) -> anyhow::Result<()> {
    let name = directory.display();
    let owner = match fs::metadata(directory) {
        Ok(directory) => directory.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("there are no uploads in {name}, which does not exist")
        }
        Err(error) => return Err(error).context(name.to_string()),
    };
    let user = geteuid().as_raw();
    ensure!(
        user == owner,
        "{name} belongs to user {owner}, but this is user {user}; run the command as user {owner}, with the same settings"
    );
    Ok(())
}

/// The ids among these texts, and whether all are; the others are reported.
fn valid(texts: &[String]) -> (Vec<UploadId>, bool) {
    let parse = |text: &String| match text.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            report(format_args!("{text:?} is not the id of an upload: {error}"));
            None
        }
    };
    let ids: Vec<_> = texts.iter().filter_map(parse).collect();
    let all = ids.len() == texts.len();
    (ids, all)
}

async fn show(tus: &Tus, ids: &[String], out: &mut impl Write) -> anyhow::Result<bool> {
    let (ids, mut all_found) = valid(ids);
    for id in &ids {
        match tus.find(id).await {
            Ok(Some(found)) => writeln!(out, "{:#}", view::upload(&found))?,
            Ok(None) => all_found = report(format_args!("there is no upload {id}")),
            Err(error) => all_found = report(format_args!("{id} cannot be shown: {error}")),
        }
    }
    Ok(all_found)
}

async fn delete(tus: &Tus, ids: &[String], out: &mut impl Write) -> anyhow::Result<bool> {
    let (ids, mut all_deleted) = valid(ids);
    for id in &ids {
        match tus.terminate(id).await {
            Ok(()) => writeln!(out, "{id} deleted")?,
            Err(error) => all_deleted = report(format_args!("{id} could not be deleted: {error}")),
        }
    }
    Ok(all_deleted)
}

async fn expire(tus: &Tus, out: &mut impl Write) -> anyhow::Result<bool> {
    let count = tus.expire().await.context("not all expired uploads could be deleted")?;
    writeln!(out, "{count} {} deleted", if count == 1 { "upload" } else { "uploads" })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_the_directory_may_use_it() {
        let directory = tempfile::tempdir().unwrap();
        check_directory(directory.path()).unwrap();
        // Only root can give a directory away; the root directory is nobody else's.
        let foreign = match std::os::unix::fs::chown(directory.path(), Some(10001), None) {
            Ok(()) => directory.path(),
            Err(_) => Path::new("/"),
        };
        let said = check_directory(foreign).unwrap_err().to_string();
        assert!(said.contains(" belongs to user ") && said.contains("; run the command as user "), "{said}");
    }
}
