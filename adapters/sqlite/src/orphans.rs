//! Files that belong to no upload: what a killed process or a power cut left behind.
//!
//! They are looked for while uploads continue, recorded when they are first noticed, and deleted if they are still
//! orphans one day later. That day leaves time to restore an old copy of the database. Files that are older than the
//! database are left alone.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tus_service::{StorageError, UploadId};

use crate::{asks, inner::Inner, lane::blocking, leftovers};

/// How often orphans are looked for.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long an orphan is kept after it was first noticed.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of files that are looked up at once.
const PAGE: usize = 512;

pub(crate) async fn tidy(storage: &Arc<Inner>) -> Result<(), StorageError> {
    let inner = storage.clone();
    // A removal may have used it; there may be room again now.
    if let Err(error) = blocking(move || Ok(inner.reserve.keep()?)).await {
        tracing::warn!(%error, "there is no room for uploads.reserve");
    }
    if !is_time(storage) {
        return Ok(());
    }
    let now = SystemTime::now();
    let inner = storage.clone();
    blocking(move || {
        let mut ids = inner.files.ids()?;
        loop {
            let page: Vec<_> = ids.by_ref().take(PAGE).collect();
            if page.is_empty() {
                return Ok(());
            }
            note_orphans(&inner, page, now)?;
        }
    })
    .await?;
    let seen_by = now.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH);
    let tidy_up = move |connection: &_| {
        leftovers::give_up_orphans(connection, seen_by)?;
        asks::forget_old(connection)
    };
    storage.database.remove(tidy_up).await?;
    let inner = storage.clone();
    blocking(move || inner.clean_all()).await
}

fn is_time(storage: &Inner) -> bool {
    let mut tidied = storage.tidied.lock().unwrap_or_else(PoisonError::into_inner);
    let is_time = tidied.is_none_or(|tidied| tidied.elapsed() >= INTERVAL);
    if is_time {
        *tidied = Some(Instant::now());
    }
    is_time
}

fn note_orphans(storage: &Arc<Inner>, mut page: Vec<UploadId>, now: SystemTime) -> Result<(), StorageError> {
    storage.database.read(|connection| {
        let mut known = Vec::new();
        for id in &page {
            known.push(leftovers::is_known(connection, id)?);
        }
        let mut known = known.into_iter();
        page.retain(|_| known.next() == Some(false));
        Ok(())
    })?;
    if !page.is_empty() {
        let inner = storage.clone();
        drop(storage.database.remove_later(false, move |connection| {
            for id in &page {
                // An upload may have been created or removed in the meantime.
                let is_orphan = !leftovers::is_known(connection, id)? && inner.files.length(id)?.is_some();
                if is_orphan && leftovers::note_orphan(connection, id, Some(now))? {
                    tracing::warn!(file = %id, "a file belongs to no upload; it will be deleted in one day");
                }
            }
            Ok(())
        }));
    }
    Ok(())
}
