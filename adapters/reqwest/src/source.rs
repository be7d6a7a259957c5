//! Sources of uploads: bytes that can be read again from the server's offset, for as long as the server may need them.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{Stream as Items, StreamExt, TryStreamExt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt},
    sync::{Mutex, mpsc::Sender},
    task::spawn_blocking,
};
use tokio_util::io::ReaderStream;
use tus_core::{
    Algorithm, Checksum, Hasher,
    client::{Error, SourceProblem},
};

use crate::{
    file::File,
    pieces::Pieces,
    stream::{Stream, blocking},
};

/// What is uploaded.
///
/// ```
/// use tus_reqwest::Source;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tus_reqwest::Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("film.mp4");
/// # std::fs::write(&path, "film").unwrap();
/// let file = Source::path(path).await?;
/// assert_eq!(file.length(), Some(4));
/// // A stream can be read once: it is not begun again where the server has lost the upload.
/// let stream = Source::reader(std::io::stdin());
/// assert_eq!(stream.length(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Source(Kind);

#[derive(Clone)]
enum Kind {
    File(Arc<File>),
    Bytes(Bytes),
    Seekable(Arc<Mutex<dyn Reader>>, u64),
    /// A stream, and its promised length in bytes.
    Stream(Arc<Mutex<Stream>>, Option<u64>),
}

trait Reader: AsyncRead + AsyncSeek + Send + Unpin {}

impl<T: AsyncRead + AsyncSeek + Send + Unpin> Reader for T {}

/// The number of bytes that a reader reads at once.
const PIECE: u64 = 256 * 1024;

/// The maximum number of bytes of a request that are kept in memory between digest and sending.
const KEPT: u64 = 4 * 1024 * 1024;

impl Source {
    /// A file. Its name becomes the `filename` in the upload's metadata, unless there is one.
    ///
    /// Whatever has no length of its own is a [stream](Self::reader) without a name: pipes, devices, sockets, and
    /// files that the system generates, such as those in `/proc`.
    ///
    /// # Errors
    ///
    /// If its metadata cannot be read, or it is a directory.
    pub async fn path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let name = path.display().to_string();
        let opened = spawn_blocking(move || Self::open(path)).await.map_err(Error::local)?;
        opened.map_err(|error| Error::unreadable(name, error))
    }

    fn open(path: PathBuf) -> io::Result<Self> {
        let metadata = std::fs::metadata(&path)?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let is_empty = metadata.is_file() && metadata.len() == 0;
        // Such a file may have content nevertheless, which only reading shows.
        let is_made_up = is_empty && io::Read::read(&mut std::fs::File::open(&path)?, &mut [0])? > 0;
        Ok(match metadata.is_file() && !is_made_up {
            true => Self(Kind::File(Arc::new(File::new(path, &metadata)))),
            false => Self::items(blocking(|| std::fs::File::open(path)).boxed()),
        })
    }

    /// A reader that can seek, from start to end. Nothing else may read it during the upload.
    ///
    /// # Errors
    ///
    /// If seeking to its end fails.
    pub async fn seekable(mut reader: impl AsyncRead + AsyncSeek + Send + Unpin + 'static) -> Result<Self, Error> {
        let length = reader.seek(io::SeekFrom::End(0)).await.map_err(|error| Error::unreadable("reader", error))?;
        Ok(Self(Kind::Seekable(Arc::new(Mutex::new(reader)), length)))
    }

    /// A stream of unknown length. Bytes that were read but not acknowledged are kept in memory: at most a chunk
    /// ([`Options::chunk_size`](crate::Options::chunk_size)), and what was read at once.
    pub fn stream(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::items(ReaderStream::with_capacity(reader, PIECE as usize).boxed())
    }

    /// The same from a stream of pieces. An error ends the upload.
    ///
    /// ```
    /// # use tus_reqwest::Source;
    /// let pieces = ["hello ", "world"].map(|text| Ok::<_, std::io::Error>(text.into()));
    /// let source = Source::pieces(futures_util::stream::iter(pieces)).with_length(11);
    /// ```
    pub fn pieces<E>(pieces: impl Items<Item = Result<Bytes, E>> + Send + 'static) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        Self::items(pieces.map_err(io::Error::other).boxed())
    }

    /// The same from a blocking reader, such as [`std::io::stdin`]; a separate thread reads it.
    pub fn reader(reader: impl io::Read + Send + 'static) -> Self {
        Self::items(blocking(|| Ok(reader)).boxed())
    }

    fn items(items: crate::stream::Items) -> Self {
        Self(Kind::Stream(Arc::new(Mutex::new(Stream::new(items))), None))
    }

    /// The number of bytes that a stream has, so that the server knows it from the start. A stream with fewer or more
    /// bytes is an error. For other sources it changes nothing.
    pub fn with_length(mut self, bytes: u64) -> Self {
        if let Kind::Stream(_, length) = &mut self.0 {
            *length = Some(bytes);
        }
        self
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Bytes(bytes.into()))
    }

    /// Its length in bytes; `None` for a stream.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::File(file) => Some(file.length),
            Kind::Bytes(bytes) => Some(bytes.len() as u64),
            Kind::Seekable(_, length) => Some(*length),
            Kind::Stream(_, length) => *length,
        }
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::File(file) => file.path.file_name()?.to_str(),
            Kind::Bytes(_) | Kind::Seekable(..) | Kind::Stream(..) => None,
        }
    }

    /// Whether several ranges can be read at the same time.
    pub(crate) fn is_random_access(&self) -> bool {
        matches!(self.0, Kind::File(_) | Kind::Bytes(_))
    }

    /// Whether its bytes can be read only once.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.0, Kind::Stream(..))
    }

    /// The same source for one upload: the files that it opens are closed with it.
    pub(crate) fn for_one(self) -> Self {
        match self.0 {
            Kind::File(file) => Self(Kind::File(Arc::new(file.again()))),
            kind => Self(kind),
        }
    }

    /// The number of existing bytes in the range, their digest, and the bytes themselves if they are few.
    pub(crate) async fn look(&self, range: Range<u64>, algorithm: Option<Algorithm>) -> Result<Looked, Error> {
        let end = match &self.0 {
            Kind::Stream(stream, _) => range.end.min(stream.lock().await.fill(&range).await?),
            _ => range.end.min(self.length().unwrap_or(range.end)),
        };
        if end < range.start {
            return Err(Error::source_is(SourceProblem::Behind { end, offset: range.start }));
        }
        let there = range.start..end;
        let bytes = there.end - there.start;
        let Some(algorithm) = algorithm else {
            return Ok(Looked { bytes, checksum: None, kept: None });
        };
        let mut hasher = Hasher::new(algorithm);
        let mut kept = (bytes <= KEPT).then(Vec::new);
        let mut pieces = self.read(there.clone());
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            hasher.update(&piece);
            kept.iter_mut().for_each(|kept| kept.push(piece.clone()));
        }
        Ok(Looked { bytes, checksum: Some(hasher.finish()), kept: kept.map(|kept| (there, kept)) })
    }

    /// The bytes of the range, piece by piece.
    pub(crate) fn read(&self, range: Range<u64>) -> Pieces {
        let left = range.end - range.start;
        match self.0.clone() {
            _ if left == 0 => Pieces::kept(Vec::new()),
            Kind::File(file) => Pieces::file(file, range),
            Kind::Bytes(bytes) => match (usize::try_from(range.start), usize::try_from(range.end)) {
                (Ok(start), Ok(end)) if end <= bytes.len() => Pieces::kept(vec![bytes.slice(start..end)]),
                _ => Pieces::failed(
                    left,
                    Error::source_is(SourceProblem::Short { end: bytes.len() as u64, length: range.end }),
                ),
            },
            Kind::Seekable(reader, _) => Pieces::task(left, |sender| async move {
                if let Err(error) = read(&mut *reader.lock().await, range, &sender).await {
                    let _ = sender.send(Err(Error::unreadable("reader", error))).await;
                }
            }),
            Kind::Stream(stream, _) => Pieces::task(left, |sender| async move {
                let kept = stream.lock().await.slice(&range);
                let pieces = kept.map_or_else(|error| vec![Err(error)], |kept| kept.into_iter().map(Ok).collect());
                for piece in pieces {
                    if sender.send(piece).await.is_err() {
                        break;
                    }
                }
            }),
        }
    }
}

/// The result of reading a range.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The number of bytes that exist.
    pub(crate) bytes: u64,
    pub(crate) checksum: Option<Checksum>,
    /// Those bytes, if kept so that they need not be read again.
    pub(crate) kept: Option<(Range<u64>, Vec<Bytes>)>,
}

async fn read(reader: &mut dyn Reader, range: Range<u64>, sender: &Sender<Result<Bytes, Error>>) -> io::Result<()> {
    reader.seek(io::SeekFrom::Start(range.start)).await?;
    let mut left = range.end - range.start;
    while left > 0 {
        let mut piece = vec![0; left.min(PIECE) as usize];
        reader.read_exact(&mut piece).await?;
        left -= piece.len() as u64;
        if sender.send(Ok(piece.into())).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(file) => write!(f, "Source({})", file.path.display()),
            Kind::Bytes(bytes) => write!(f, "Source({} bytes)", bytes.len()),
            Kind::Seekable(_, length) => write!(f, "Source({length} bytes)"),
            Kind::Stream(..) => write!(f, "Source(a stream)"),
        }
    }
}
