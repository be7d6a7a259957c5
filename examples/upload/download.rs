//! Downloads a finished upload, or the missing rest of a file.

use std::{
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use tokio::{fs::File, io::AsyncWriteExt};
use tus_reqwest::{
    Error,
    reqwest::{
        Client, ClientBuilder, Method, Response, StatusCode, Url,
        header::{HeaderMap, LOCATION, RANGE},
        redirect::Policy,
    },
};

/// Bytes before the end of the file that are compared with the download.
const COMPARED: u64 = 64 * 1024;

/// Redirects in a row.
const MOST_REDIRECTS: usize = 5;

/// How downloads are requested.
pub(crate) struct Downloads {
    http: Client,
    /// The caller's, which may be secrets.
    headers: HeaderMap,
}

impl Downloads {
    /// `timeout`: how long a server may take to accept a connection, and to send each piece of its response.
    pub(crate) fn new(http: ClientBuilder, headers: HeaderMap, timeout: Duration) -> Result<Self, Error> {
        let http = http.redirect(Policy::none()).connect_timeout(timeout).read_timeout(timeout);
        Ok(Self { http: http.build().map_err(Error::local)?, headers })
    }

    /// The response to a request for the bytes from an offset. Redirects are followed, but only the first origin gets
    /// the caller's headers.
    async fn get(&self, url: &Url, from: u64) -> Result<Response, Error> {
        let mut to = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.http.get(to.clone());
            if to.origin() == url.origin() {
                request = request.headers(self.headers.clone());
            }
            let request = request.header(RANGE, format!("bytes={from}-"));
            let response = request.send().await.map_err(|error| Error::connection(error.without_url()))?;
            let location = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(location) = location else {
                return Ok(response);
            };
            to = redirect(&to, &String::from_utf8_lossy(location.as_bytes()))?;
        }
        Err(Error::Invalid(format!("the server answered GET with more than {MOST_REDIRECTS} redirects")))
    }
}

/// Where a redirect leads. Never from https to http.
fn redirect(from: &Url, location: &str) -> Result<Url, Error> {
    let to = from.join(location).ok().filter(|to| to.scheme() == "https" || to.scheme() == from.scheme());
    to.ok_or_else(|| Error::Redirected { method: Method::GET, location: location.to_owned() })
}

/// Downloads a URL to a file. The file's content is kept if its end matches the download.
pub(crate) async fn download(downloads: &Downloads, url: &Url, path: &Path) -> Result<(), Error> {
    let failed = |error| Error::unreadable(path.display().to_string(), error);
    let (have, end) = read_end(path).map_err(failed)?;
    let from = have - end.len() as u64;
    let mut response = downloads.get(url, from).await?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tus_reqwest::reqwest::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::tests::{Request, Server};

    fn url(server: &Server, path: &str) -> Url {
        format!("http://{}{path}", server.address).parse().unwrap()
    }

    fn downloads(timeout: Duration) -> Downloads {
        let headers = [("authorization", "Bearer secret"), ("x-own", "secret")]
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Downloads::new(tus_reqwest::client_builder(), headers.into_iter().collect(), timeout).unwrap()
    }

    #[tokio::test]
    async fn other_origins_get_no_headers() {
        let film = "HTTP/1.1 206 Partial\r\nContent-Length: 4\r\n\r\nfilm";
        let elsewhere = Server::start(move |_| Some(film.to_owned()));
        let away = format!("http://{}/film", elsewhere.address);
        let home = Server::start(move |request: &Request| {
            let to = if request.path == "/files/1" { "/files/2" } else { &*away };
            Some(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
        });
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("film");
        download(&downloads(Duration::from_secs(60)), &url(&home, "/files/1"), &path).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"film");
        let own = |server: &Server| -> Vec<_> {
            let has = |request: &Request, name| request.head.to_lowercase().contains(name);
            server.requests().iter().map(|request| has(request, "authorization:") || has(request, "x-own:")).collect()
        };
        assert_eq!((own(&home), own(&elsewhere)), (vec![true, true], vec![false]));
    }

    #[test]
    fn https_is_never_left() {
        let (secure, open): (Url, Url) = ("https://a/b".parse().unwrap(), "http://a/b".parse().unwrap());
        assert_eq!(redirect(&secure, "/c").unwrap().as_str(), "https://a/c");
        assert_eq!(redirect(&open, "https://d/").unwrap().as_str(), "https://d/");
        assert!(matches!(redirect(&secure, "http://a/c"), Err(Error::Redirected { .. })));
        assert!(redirect(&secure, "file:///etc/passwd").is_err());
        assert!(redirect(&open, "file:///etc/passwd").is_err());
    }

    #[tokio::test]
    async fn a_download_ends_where_the_server_is_silent() {
        let head = "HTTP/1.1 206 Partial\r\nContent-Length: 4\r\n\r\nfi";
        let silences = [None, Some(head.to_owned())];
        for silence in silences {
            let server = Server::start(move |_| silence.clone());
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("film");
            let downloads = downloads(Duration::from_millis(100));
            let url = url(&server, "/files/1");
            let ended = tokio::time::timeout(Duration::from_secs(60), download(&downloads, &url, &path)).await;
            let error = ended.expect("it ends").unwrap_err();
            assert!(matches!(error, Error::Connection(_)), "{error:?}");
        }
    }

    #[tokio::test]
    async fn redirects_end() {
        let server =
            Server::start(|_| Some("HTTP/1.1 307 Again\r\nLocation: /files/1\r\nContent-Length: 0\r\n\r\n".to_owned()));
        let path = Path::new("/nowhere/at/all");
        assert!(download(&downloads(Duration::from_secs(60)), &url(&server, "/files/1"), path).await.is_err());
        assert_eq!(server.requests().len(), MOST_REDIRECTS + 1);
    }
}
