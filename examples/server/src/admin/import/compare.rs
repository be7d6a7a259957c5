//! Compares an upload that is here with that in the directory.

use anyhow::{Context, ensure};
use futures_util::TryStreamExt;
use tokio::{
    fs::File,
    io::{AsyncReadExt, BufReader},
};
use tus_service::{Failure, Kind, Phase, Stored};

use super::{
    Done, Import, PIECE,
    tusd::{self, Source},
};
use crate::view;

impl Import<'_> {
    /// Fails unless the upload that is here is the one in the directory, or what became of it since.
    pub(super) async fn compare(&self, there: &Stored, source: &Source) -> anyhow::Result<Done> {
        let (upload, record) = (&there.upload, &source.record);
        let has_length = record.length.is_none() || upload.length == record.length;
        ensure!(
            has_length && is_kind(&upload.kind, &record.kind) && upload.metadata == record.metadata,
            "a different upload here has the same id"
        );
        let (offset, here) = (source.offset(), upload.offset);
        let again = format!("`tus-serve admin delete {}`, and import it again", upload.id);
        ensure!(
            here >= offset,
            "{offset} bytes are in the directory, but only {here} here; if tusd was used after the import, run {again}"
        );
        let is_behind = upload.phase == Phase::Invalid || source.is_complete() && !upload.is_complete();
        ensure!(
            !is_behind,
            "it is {} here, but not in the directory; if that stays so when a server runs, run {again}",
            view::phase(upload.phase)
        );
        let mut ours = match self.storage.read(there, 0..offset).await {
            Ok(bytes) => bytes,
            // The application has moved it away, after it was notified.
            Err(error) if error.failure() == Failure::Gone && upload.phase == Phase::Notified => {
                return Ok(Done::NotCompared);
            }
            // The storage cannot read it before it is complete.
            Err(error) if error.failure() == Failure::Conflict && !upload.is_complete() => {
                return Ok(Done::NotCompared);
            }
            Err(error) => return Err(error).context("its bytes here cannot be read"),
        };
        let mut file = BufReader::with_capacity(PIECE, File::from_std(source.file.try_clone()?));
        let (mut compared, mut theirs) = (0, Vec::new());
        while let Some(piece) = ours.try_next().await.context("its bytes here cannot be read")? {
            theirs.resize(piece.len(), 0);
            file.read_exact(&mut theirs).await?;
            ensure!(theirs == piece, "it has different bytes here");
            compared += piece.len() as u64;
        }
        ensure!(compared == offset, "only {compared} of its {offset} bytes here can be read");
        source.check_unchanged(&self.directory)?;
        Ok(Done::AlreadyHere)
    }
}

fn is_kind(here: &Kind, there: &tusd::Kind) -> bool {
    match (here, there) {
        (Kind::Single, tusd::Kind::Single) | (Kind::Partial, tusd::Kind::Partial) => true,
        (Kind::Final(parts), tusd::Kind::Final(ids)) => parts.iter().map(|part| &part.id).eq(ids),
        _ => false,
    }
}
