//! The admin command: looks at uploads and changes them, whether their server runs or not.

mod check;
mod list;

use std::{io::Write, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use rustix::process::geteuid;
use tus_service::{Tus, UploadId};

use crate::{
    settings::Settings,
    view,
    webhooks::{Hook, Notices},
};

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List uploads, a line for each: id, phase, kind, offset/length, time of creation, name.
    List(list::Options),
    /// Show uploads as JSON.
    Show {
        #[arg(required = true)]
        ids: Vec<UploadId>,
    },
    /// Delete uploads, finished or not; requests that add to them are stopped.
    Delete {
        #[arg(required = true)]
        ids: Vec<UploadId>,
    },
    /// Delete the uploads that have expired.
    Expire,
    /// Compare the records with the bytes that there are; unfinished uploads go back to what is there.
    Check(check::Options),
}

/// Does it. Whether all went well; what did not has been reported.
pub(crate) async fn run(settings: &Settings, command: Command, out: &mut impl Write) -> anyhow::Result<bool> {
    ensure!(!settings.is_memory(), "uploads in memory are seen only by their server");
    if settings.is_directory() {
        let database = Path::new(&settings.dir).join("uploads.db");
        ensure!(database.exists(), "there are no uploads in {}", settings.dir);
    }
    if settings.is_directory() {
        check_user(Path::new(&settings.dir))?;
    }
    let storage = settings.open().await?;
    let builder = settings.builder(storage.clone())?.background(false);
    // Those that a request or the server would call are not ours to call.
    let notices = Notices::default();
    let tus = settings.attach_webhooks(builder, &notices, |hook| hook == Hook::Terminated)?.build();
    let done = match command {
        Command::List(options) => list::list(&tus, &options, out).await,
        Command::Show { ids } => show(&tus, &ids, out).await,
        Command::Delete { ids } => delete(&tus, &ids, out).await,
        Command::Expire => {
            writeln!(out, "{} uploads deleted", tus.expire().await?)?;
            Ok(true)
        }
        Command::Check(options) => check::check(&*storage, &options, out).await,
    };
    notices.sent().await;
    done
}

/// Refuses to work as another user than the owner of the directory: files that root makes there, SQLite's among them,
/// could not be written by the server.
fn check_user(directory: &Path) -> anyhow::Result<()> {
    let owner = std::fs::metadata(directory).with_context(|| directory.display().to_string())?.uid();
    let user = geteuid().as_raw();
    ensure!(
        user == owner,
        "{} belongs to user {owner}, but this is user {user}; use: sudo -u '#{owner}' tus-serve admin …",
        directory.display()
    );
    Ok(())
}

async fn show(tus: &Tus, ids: &[UploadId], out: &mut impl Write) -> anyhow::Result<bool> {
    for id in ids {
        let found = tus.find(id).await?.with_context(|| format!("there is no upload {id}"))?;
        writeln!(out, "{:#}", view::upload(&found))?;
    }
    Ok(true)
}

async fn delete(tus: &Tus, ids: &[UploadId], out: &mut impl Write) -> anyhow::Result<bool> {
    for id in ids {
        if let Err(error) = tus.terminate(id).await {
            bail!("{id} is not deleted: {error}");
        }
        writeln!(out, "{id} deleted")?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_the_directory_may_use_it() {
        let directory = tempfile::tempdir().unwrap();
        check_user(directory.path()).unwrap();
        // Only root can give a directory away; the root directory is nobody else's.
        let foreign = match std::os::unix::fs::chown(directory.path(), Some(10001), None) {
            Ok(()) => directory.path(),
            Err(_) => Path::new("/"),
        };
        let said = check_user(foreign).unwrap_err().to_string();
        assert!(said.contains("belongs to user ") && said.contains("; use: sudo -u '#"), "{said}");
    }
}
