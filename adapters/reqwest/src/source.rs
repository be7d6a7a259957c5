//! Sources of uploads: bytes that can be read again from the server's offset, for as long as the server may need them.

use std::{
    collections::VecDeque,
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll, ready},
    time::SystemTime,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt},
    sync::{
        Mutex,
        mpsc::{self, Receiver, Sender},
    },
};
use tus_core::{Algorithm, Checksum, Hasher, client::Error};

use crate::file_reader::FileReader;

/// What is uploaded.
#[derive(Clone)]
pub struct Source(Kind);

#[derive(Clone)]
enum Kind {
    File(Arc<File>),
    Seekable(Arc<Mutex<dyn Reader>>, u64),
    Stream(Arc<Mutex<Stream>>),
}

/// A file, as it was when the source was created.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    length: u64,
    modified: Option<SystemTime>,
}

/// A stream, and the bytes read from it that may be needed again.
struct Stream {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    kept: BytesMut,
    /// The position of the first byte of `kept`.
    start: u64,
}

trait Reader: AsyncRead + AsyncSeek + Send + Unpin {}

impl<T: AsyncRead + AsyncSeek + Send + Unpin> Reader for T {}

/// Bytes of a stream that are read at once.
const PIECE: u64 = 256 * 1024;

/// The maximum number of bytes of a request that are kept in memory between digest and sending.
const KEPT: u64 = 4 * 1024 * 1024;

impl Source {
    /// A file. Its name becomes the `filename` in the upload's metadata, unless there is one.
    ///
    /// # Errors
    ///
    /// When its metadata cannot be read, or it is a directory.
    pub async fn path(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let named = |error: io::Error| Error::Source(format!("{} cannot be read: {error}", path.display()));
        let metadata = tokio::fs::metadata(&path).await.map_err(named)?;
        if metadata.is_dir() {
            return Err(Error::Source(format!("{} is a directory", path.display())));
        }
        let (length, modified) = (metadata.len(), metadata.modified().ok());
        Ok(Self(Kind::File(Arc::new(File { path, length, modified }))))
    }

    /// A reader that can seek, from start to end. Nothing else may read it during the upload.
    ///
    /// # Errors
    ///
    /// When seeking to its end fails.
    pub async fn seekable(mut reader: impl AsyncRead + AsyncSeek + Send + Unpin + 'static) -> Result<Self, Error> {
        let length = reader.seek(io::SeekFrom::End(0)).await.map_err(unreadable)?;
        Ok(Self(Kind::Seekable(Arc::new(Mutex::new(reader)), length)))
    }

    /// A stream of unknown length. Bytes that were read but not acknowledged are kept in memory: at most a chunk
    /// ([`Options::chunk_size`](crate::Options::chunk_size)). Another process cannot resume it.
    pub fn stream(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Self(Kind::Stream(Arc::new(Mutex::new(Stream { reader: Box::new(reader), kept: BytesMut::new(), start: 0 }))))
    }

    /// Bytes in memory.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        let length = bytes.len() as u64;
        Self(Kind::Seekable(Arc::new(Mutex::new(io::Cursor::new(bytes))), length))
    }

    /// Its length in bytes; `None` for a stream.
    pub fn length(&self) -> Option<u64> {
        match &self.0 {
            Kind::File(file) => Some(file.length),
            Kind::Seekable(_, length) => Some(*length),
            Kind::Stream(_) => None,
        }
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::File(file) => file.path.file_name()?.to_str(),
            Kind::Seekable(..) | Kind::Stream(_) => None,
        }
    }

    /// Whether several ranges can be read at the same time.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.0, Kind::File(_))
    }

    /// The number of bytes that exist in the range, their digest, and the bytes themselves if they are few.
    pub(crate) async fn look(&self, range: Range<u64>, algorithm: Option<Algorithm>) -> Result<Looked, Error> {
        let end = match &self.0 {
            Kind::Stream(stream) => range.end.min(stream.lock().await.fill(&range).await?),
            _ => range.end.min(self.length().unwrap_or(range.end)),
        };
        if end < range.start {
            return Err(Error::Source(format!("ends at byte {end}, but the upload already has {}", range.start)));
        }
        let there = range.start..end;
        let bytes = there.end - there.start;
        let Some(algorithm) = algorithm else {
            return Ok(Looked { bytes, checksum: None, kept: None });
        };
        let mut hasher = Hasher::new(algorithm);
        let mut kept = (bytes <= KEPT).then(Vec::new);
        let mut pieces = self.pieces(there.clone());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(Error::Source)?;
            hasher.update(&piece);
            kept.iter_mut().for_each(|kept| kept.push(piece.clone()));
        }
        Ok(Looked { bytes, checksum: Some(hasher.finish()), kept: kept.map(|kept| (there, kept)) })
    }

    /// The bytes of the range, piece by piece.
    pub(crate) fn pieces(&self, range: Range<u64>) -> Pieces {
        let left = range.end - range.start;
        let from = match self.0.clone() {
            _ if left == 0 => From::Kept(VecDeque::new()),
            Kind::File(file) => From::File(FileReader::open(file, range)),
            Kind::Seekable(reader, _) => From::channel(|sender| async move {
                if let Err(why) = read(&mut *reader.lock().await, range, &sender).await {
                    let _ = sender.send(Err(why)).await;
                }
            }),
            Kind::Stream(stream) => From::channel(|sender| async move {
                let kept = stream.lock().await.slice(range);
                let _ = sender.send(kept).await;
            }),
        };
        Pieces { from, left }
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

impl File {
    pub(crate) fn failed(&self, error: io::Error) -> String {
        format!("{} cannot be read: {error}", self.path.display())
    }

    /// The file at a position, if it has not changed since the upload began.
    pub(crate) fn open_at(&self, start: u64) -> Result<std::fs::File, String> {
        use std::io::Seek;
        let failed = |error| self.failed(error);
        let mut file = std::fs::File::open(&self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.len() != self.length || metadata.modified().ok() != self.modified {
            return Err(format!("{} has changed since its upload began", self.path.display()));
        }
        file.seek(io::SeekFrom::Start(start)).map_err(failed)?;
        Ok(file)
    }
}

async fn read(
    reader: &mut dyn Reader,
    range: Range<u64>,
    sender: &Sender<Result<Bytes, String>>,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    reader.seek(io::SeekFrom::Start(range.start)).await.map_err(failed)?;
    let mut left = range.end - range.start;
    while left > 0 {
        let mut piece = vec![0; left.min(PIECE) as usize];
        reader.read_exact(&mut piece).await.map_err(failed)?;
        left -= piece.len() as u64;
        if sender.send(Ok(piece.into())).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl Stream {
    /// Reads until the range or the stream ends; discards what is before it. Returns the position after the bytes in
    /// memory.
    async fn fill(&mut self, range: &Range<u64>) -> Result<u64, Error> {
        if range.start < self.start {
            return Err(Error::Source(format!("is past byte {}, but the server needs it again", range.start)));
        }
        loop {
            let before = usize::try_from(range.start - self.start).map_or(self.kept.len(), |n| n.min(self.kept.len()));
            self.kept.advance(before);
            self.start += before as u64;
            let wanted = range.end.saturating_sub(self.start + self.kept.len() as u64).min(PIECE);
            if wanted == 0 {
                break;
            }
            let mut limited = (&mut self.reader).take(wanted);
            self.kept.reserve(wanted as usize);
            if limited.read_buf(&mut self.kept).await.map_err(unreadable)? == 0 {
                break;
            }
        }
        Ok(self.start + self.kept.len() as u64)
    }

    fn slice(&self, range: Range<u64>) -> Result<Bytes, String> {
        let kept = self.start..self.start + self.kept.len() as u64;
        if range.start < kept.start || range.end > kept.end {
            return Err(format!("is past byte {}, but the server needs it again", range.start));
        }
        let (from, to) = ((range.start - kept.start) as usize, (range.end - kept.start) as usize);
        Ok(Bytes::copy_from_slice(&self.kept[from..to]))
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::Source(format!("cannot be read: {error}"))
}

/// Bytes of a source in transit.
#[derive(Debug)]
pub(crate) struct Pieces {
    from: From,
    left: u64,
}

#[derive(Debug)]
enum From {
    /// They have been read already.
    Kept(VecDeque<Bytes>),
    File(FileReader),
    /// A task reads ahead.
    Task(Receiver<Result<Bytes, String>>),
}

impl From {
    fn channel<R>(read: impl FnOnce(Sender<Result<Bytes, String>>) -> R) -> Self
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(read(sender));
        Self::Task(receiver)
    }
}

impl Pieces {
    /// Bytes that have been read already.
    pub(crate) fn kept(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { from: From::Kept(pieces.into()), left }
    }

    /// The remaining bytes.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    async fn next(&mut self) -> Option<Result<Bytes, String>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = match &mut self.from {
            From::Kept(pieces) => pieces.pop_front().map(Ok),
            From::File(reader) => Some(ready!(reader.poll_next(context))),
            From::Task(receiver) => ready!(receiver.poll_recv(context)),
        };
        let next = next.unwrap_or_else(|| Err("could not be read".to_owned()));
        // Nothing follows an error.
        self.left = next.as_ref().map_or(0, |piece| self.left - piece.len() as u64);
        Poll::Ready(Some(next))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::File(file) => write!(f, "Source({})", file.path.display()),
            Kind::Seekable(_, length) => write!(f, "Source({length} bytes)"),
            Kind::Stream(_) => write!(f, "Source(a stream)"),
        }
    }
}
