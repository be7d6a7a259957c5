//! Adds an upload, or nothing.

use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use bytes::BytesMut;
use tokio::{fs::File, io::AsyncReadExt};
use tus_service::{Change, Hint, Incarnation, Kind, Part, Phase, Stored, Upload, UploadId, Version};

use super::{
    Import, PIECE,
    tusd::{self, Source},
};

/// When an upload expires that is being imported. No request sees an upload that has expired, and background work can only
/// delete it.
pub(super) const HIDDEN: SystemTime = SystemTime::UNIX_EPOCH;

impl Import<'_> {
    pub(super) async fn add(&self, source: &Source) -> anyhow::Result<()> {
        let mut upload = self.upload(source)?;
        let phase = self.phase(source, &upload.kind);
        (upload.phase, upload.expires) = (Phase::Receiving, Some(HIDDEN));
        if source.offset() == 0 {
            // It needs no bytes to be complete.
            source.check_unchanged(&self.directory)?;
            upload.phase = phase;
        }
        match self.add_hidden_and_show(source, &upload, phase).await {
            Ok(()) => Ok(()),
            Err(error) => self.undo(&upload, error).await,
        }
    }

    async fn add_hidden_and_show(&self, source: &Source, upload: &Upload, phase: Phase) -> anyhow::Result<()> {
        let mut stored = Stored::new(upload.clone(), self.storage.create(upload).await?);
        if source.offset() > 0 {
            let mut filled = Change::of(upload);
            (filled.offset, filled.phase) = (source.offset(), phase);
            let version = self.copy(source, &stored, &filled).await?;
            stored = stored.changed(&filled, version);
        }
        let mut shown = Change::of(&stored.upload);
        shown.expires = None;
        self.storage.update(&stored, &shown).await?;
        if stored.upload.is_due() {
            // Completing it has also claimed it, and a server should not wait until that ends.
            let _ = self.storage.claim(&stored.upload, Duration::ZERO).await;
        }
        Ok(())
    }

    /// What it is when all its bytes are there.
    fn phase(&self, source: &Source, kind: &Kind) -> Phase {
        match kind {
            _ if !source.is_complete() => Phase::Receiving,
            // The application is never notified of a part.
            Kind::Partial => Phase::Complete,
            _ if self.options.notify => Phase::Complete,
            _ => Phase::Notified,
        }
    }

    fn upload(&self, source: &Source) -> anyhow::Result<Upload> {
        let record = &source.record;
        let kind = match &record.kind {
            tusd::Kind::Single => Kind::Single,
            tusd::Kind::Partial => Kind::Partial,
            tusd::Kind::Final(parts) => Kind::Final(parts.iter().map(part).collect::<Result<_, _>>()?),
        };
        let mut upload = Upload::new(record.id.clone(), Incarnation::from_random(random()?), kind);
        upload.length = record.length;
        upload.metadata = record.metadata.clone();
        upload.created = record.written.max(SystemTime::UNIX_EPOCH);
        if upload.length.is_none() {
            upload.max_size = self.settings.max_size.map(|limit| limit.max(source.offset()));
        }
        Ok(upload)
    }

    /// Adds the bytes, and makes the change if the source has not changed since.
    async fn copy(&self, source: &Source, stored: &Stored, filled: &Change) -> anyhow::Result<Version> {
        let mut file = File::from_std(source.file.try_clone()?).take(filled.offset);
        let mut writer = self.storage.open(stored).await?;
        let mut recorded = Instant::now();
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if file.read_buf(&mut piece).await? == 0 {
                break;
            }
            writer.write(vec![piece.freeze()].into()).await?;
            if recorded.elapsed() >= self.settings.checkpoint_interval.0 {
                let mut change = Change::of(&stored.upload);
                change.offset = writer.stored();
                // Whether it was made does not matter: the last one is.
                let _ = writer.checkpoint(&change, Hint::Streaming).await?;
                recorded = Instant::now();
            }
        }
        source.check_unchanged(&self.directory)?;
        let read = writer.stored();
        ensure!(read == filled.offset, "only {read} of its {} bytes can be read", filled.offset);
        Ok(writer.commit(filled).await?)
    }

    /// After an error: deletes what was added, unless the upload is there nevertheless.
    async fn undo(&self, upload: &Upload, error: anyhow::Error) -> anyhow::Result<()> {
        let removed = match self.storage.load(&upload.id).await {
            Ok(Some(there)) if there.is_same_upload(upload) && there.upload.expires != Some(HIDDEN) => return Ok(()),
            Ok(Some(there)) if there.is_same_upload(upload) => self.storage.remove(&there).await,
            Ok(_) => Ok(()),
            Err(failed) => Err(failed),
        };
        if let Err(failed) = removed {
            tracing::warn!(upload = %upload.id, error = %failed, "an incomplete import of an upload could not be deleted; the next import deletes it");
        }
        Err(error)
    }
}

/// A part, by its id. The incarnation is of no upload: the final upload is complete and needs its parts no more, and
/// background work must not assemble it from them while it is hidden.
fn part(id: &UploadId) -> anyhow::Result<Part> {
    Ok(Part::new(id.clone(), Incarnation::from_random(random()?)))
}

fn random() -> anyhow::Result<u128> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    Ok(u128::from_ne_bytes(bits))
}
