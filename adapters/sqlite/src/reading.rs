//! Reads in pieces: the bytes of an upload, and lists of records.

use std::{fs::File, io, ops::Range, sync::Arc, time::SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use rusqlite::Connection;
use tus_service::{ByteStream, Failure, Kind, MAX_PIECE, StorageError, Stored, StoredStream, UploadFilter, UploadId};

use crate::{
    files,
    inner::Inner,
    lane::{blocking, quick},
    queries,
    row::{Name, Records},
};

/// The bytes of one incarnation, through one open file.
pub(crate) async fn bytes(inner: &Arc<Inner>, stored: &Stored, range: Range<u64>) -> Result<ByteStream, StorageError> {
    let (opening, stored) = (inner.clone(), stored.clone());
    let Some(open) = quick(move || open(&opening, &stored, range)).await? else {
        return Ok(stream::empty().boxed());
    };
    let pieces = stream::try_unfold((inner.clone(), open), |(inner, open)| async move {
        let Open { stored, file, left } = open;
        if left.is_empty() {
            return Ok(None);
        }
        let reading = inner.clone();
        let next = move || {
            let most = (left.end - left.start).min(MAX_PIECE as u64);
            let piece = files::read_at(&file, left.start, most as usize);
            let piece = piece.map_err(|error| reading.missing(&stored.upload.id, error))?;
            let left = left.start + most..left.end;
            Ok((piece, Open { stored, file, left }))
        };
        let (piece, open) = quick(next).await?;
        Ok(Some((piece, (inner, open))))
    });
    Ok(pieces.boxed())
}

/// An upload whose bytes are being read.
struct Open {
    stored: Stored,
    file: File,
    left: Range<u64>,
}

/// Opens the file if there is anything to read.
fn open(inner: &Inner, stored: &Stored, range: Range<u64>) -> Result<Option<Open>, StorageError> {
    let file = inner.files.read(&stored.upload.id);
    // Checked after the file was opened, so that it is not the file of a later upload.
    let now = inner.same(stored)?;
    if file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        && now.upload.is_complete()
        && now.upload.kind != Kind::Partial
    {
        let reason = format!("{} is missing: moved or deleted", inner.files.path(&now.upload.id).display());
        return Err(StorageError::new(Failure::Gone, reason));
    }
    let left = range.start..range.end.min(now.upload.offset);
    if left.is_empty() {
        return Ok(None);
    }
    let file = file.map_err(|error| inner.missing(&stored.upload.id, error))?;
    Ok(Some(Open { stored: now, file, left }))
}

pub(crate) fn list(inner: Arc<Inner>, filter: UploadFilter, after: Option<UploadId>) -> StoredStream<'static> {
    let page = move |connection: &Connection, after: Option<&_>| queries::list(connection, &filter, after);
    pages(inner, after.as_ref().map(Name::from), page)
}

pub(crate) fn pending(inner: Arc<Inner>, now: SystemTime) -> StoredStream<'static> {
    let expired = move |connection: &Connection, after: Option<&_>| queries::expired(connection, now, after);
    let due = move |connection: &Connection, after: Option<&_>| queries::due(connection, now, after);
    let (expired, due) = (pages(inner.clone(), None, expired), pages(inner.clone(), None, due));
    // Adding bytes to an upload keeps it from expiring, even in another process.
    let looked = expired.and_then(move |stored| {
        let inner = inner.clone();
        async move { blocking(move || Ok(inner.look(stored, || inner.files.is_alone())?.0)).await }
    });
    looked.chain(due).boxed()
}

/// Pages of records, each starting after the last row of the previous one.
fn pages<P: Send + 'static>(
    inner: Arc<Inner>,
    after: Option<P>,
    page: impl Fn(&Connection, Option<&P>) -> Result<Records<P>, StorageError> + Send + Sync + 'static,
) -> StoredStream<'static> {
    let page = Arc::new(page);
    let pages = stream::try_unfold(Some(after), move |after| {
        let (inner, page) = (inner.clone(), page.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let read = move || inner.database.read(|connection| page(connection, after.as_ref()));
            let Records { records, rows, last } = blocking(read).await?;
            let next = (rows == queries::PAGE).then_some(last);
            Ok::<_, StorageError>(Some((stream::iter(records.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
