//! Lists uploads.

use std::io::Write;

use clap::Args;
use futures_util::TryStreamExt;
use tus_service::{Phase, Tus, Upload, UploadFilter};

use crate::view;

/// Which uploads are listed, and how.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only those of this owner.
    #[arg(long)]
    owner: Option<String>,
    /// Only those in this phase: receiving, assembling, complete, finished, invalid. Can be given several times.
    #[arg(long, value_parser = phase)]
    phase: Vec<Phase>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

fn phase(name: &str) -> Result<Phase, String> {
    let found = Phase::ALL.into_iter().find(|phase| view::phase(*phase) == name);
    found.ok_or_else(|| "it must be receiving, assembling, complete, finished or invalid".to_owned())
}

pub(super) async fn list(tus: &Tus, options: &Options, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut filter = options.phase.iter().fold(UploadFilter::default(), |filter, phase| filter.phase(*phase));
    filter.owner = options.owner.clone();
    let mut uploads = tus.list(filter, None);
    while let Some(upload) = uploads.try_next().await? {
        match options.json {
            true => writeln!(out, "{}", view::upload(&upload))?,
            false => writeln!(out, "{}", line(&upload))?,
        }
    }
    Ok(true)
}

fn line(upload: &Upload) -> String {
    let name = ["filename", "name"].iter().find_map(|key| upload.metadata.text(key)).unwrap_or("-");
    let length = upload.length.map_or("?".to_owned(), |length| length.to_string());
    let bytes = format!("{}/{length}", upload.offset);
    let created = view::time(upload.created).unwrap_or_default();
    let (phase, kind) = (view::phase(upload.phase), view::kind(&upload.kind));
    format!("{:32}  {phase:10}  {kind:7}  {bytes:>25}  {created}  {}", upload.id.as_str(), clean(name))
}

/// A name is the client's: nothing in it moves the cursor.
fn clean(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
