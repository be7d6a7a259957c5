//! Files that belong to no upload: what a killed process or a power cut left behind.
//!
//! They are looked for beside the uploads that go on, noted when they are seen first, and deleted when they are
//! still nobody's a day later. That day is for whoever has put back an old copy of the database. Files that were
//! there before the database are left alone.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tus_service::{StorageError, UploadId};

use crate::{asks, files::blocking, inner::Inner, leftovers};

/// How often files are looked for.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long a file is kept after it was seen first.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Files that are looked up at once.
const PAGE: usize = 512;

pub(crate) async fn tidy(storage: &Arc<Inner>) -> Result<(), StorageError> {
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
            note_strays(&inner, page, now)?;
        }
    })
    .await?;
    let seen_by = now.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH);
    let tidy_up = move |connection: &_| {
        leftovers::give_up_strays(connection, seen_by)?;
        asks::forget_old(connection)
    };
    storage.database.write(tidy_up).await?;
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

fn note_strays(storage: &Arc<Inner>, mut page: Vec<UploadId>, now: SystemTime) -> Result<(), StorageError> {
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
        storage.database.write_later(move |connection| {
            for id in &page {
                // An upload may have come or gone meanwhile.
                let is_stray = !leftovers::is_known(connection, id)? && inner.files.length(id)?.is_some();
                if is_stray && leftovers::note_stray(connection, id, Some(now))? {
                    tracing::warn!(file = %id, "a file belongs to no upload; it is deleted in a day");
                }
            }
            Ok(())
        });
    }
    Ok(())
}
