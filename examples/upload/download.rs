//! Downloads a finished upload, or the missing rest of a file.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use tokio::{fs::File, io::AsyncWriteExt};
use tus_reqwest::{
    Error,
    reqwest::{Client, StatusCode},
};

/// Bytes before the end of the file that are compared with the download.
const COMPARED: u64 = 64 * 1024;

/// Downloads a URL to a file. The file's content is kept if its end matches the download.
pub(crate) async fn download(http: &Client, url: &str, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::unreadable(path.display().to_string(), error);
    let (have, end) = read_end(path).map_err(failed)?;
    let from = have - end.len() as u64;
    let request = http.get(url).header("range", format!("bytes={from}-"));
    let mut response = request.send().await.map_err(|error| Error::connection(error.without_url()))?;
    match response.status() {
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return Err(other(path)),
        // An empty upload.
        StatusCode::RANGE_NOT_SATISFIABLE if have == 0 => {}
        StatusCode::PARTIAL_CONTENT => {}
        // The complete upload follows; the file may be its beginning.
        StatusCode::OK if from == 0 => {}
        StatusCode::OK => {
            return Err(Error::Unsupported("ranges; delete the file to start again".into()));
        }
        status => return Err(Error::Invalid(format!("the server answered GET with {status}"))),
    }
    let is_empty = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
    let mut compared = &end[..];
    // The file is opened only when something has to be written.
    let mut file = None;
    while let Some(piece) = response.chunk().await.map_err(|error| Error::connection(error.without_url()))? {
        if is_empty {
            break;
        }
        let (same, new) = piece.split_at(piece.len().min(compared.len()));
        if same != &compared[..same.len()] {
            return Err(other(path));
        }
        compared = &compared[same.len()..];
        if !new.is_empty() {
            let file = match &mut file {
                Some(file) => file,
                None => file.insert(File::options().create(true).append(true).open(path).await.map_err(failed)?),
            };
            file.write_all(new).await.map_err(failed)?;
        }
    }
    if !compared.is_empty() {
        return Err(other(path));
    }
    match file {
        Some(file) => file.sync_all().await.map_err(failed),
        None if have == 0 => File::create(path).await.map(drop).map_err(failed),
        None => Ok(()),
    }
}

/// The length of a file and its last bytes; both empty if the file is missing.
fn read_end(path: &Path) -> std::io::Result<(u64, Vec<u8>)> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(COMPARED)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok((length, end))
}

fn other(path: &Path) -> Error {
    let problem = "is not the beginning of this download: name another file, or delete it";
    Error::Invalid(format!("{} {problem}", path.display()))
}
