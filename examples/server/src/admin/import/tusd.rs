//! Reads a directory of tusd ([pkg/filestore](https://github.com/tus/tusd/tree/main/pkg/filestore)). Each upload has a
//! record, `ID.info` (JSON), and a file with its bytes: `ID`, unless a hook of tusd chose another path. The offset of an
//! upload is the length of that file. While a request uses it, `ID.lock` has the number of tusd's process.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open, openat},
    io::Errno,
    process::{Pid, test_kill_process},
};
use serde::Deserialize;
use tus_service::{InvalidMetadata, Metadata as Pairs, UploadId};

use crate::object::Object;

/// The largest record that is read, in bytes. The metadata of an upload came in one header.
const LARGEST_INFO: u64 = 4 * 1024 * 1024;

/// A name within the directory, and why it is not imported.
pub(super) type Refused = (PathBuf, anyhow::Error);

/// The directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

/// The record of an upload.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: UploadId,
    pub(super) kind: Kind,
    /// `None` if it is deferred.
    pub(super) length: Option<u64>,
    pub(super) metadata: Pairs,
    /// Why pairs of its metadata are left out.
    pub(super) omitted: Vec<InvalidMetadata>,
    /// When it was written, which is when the upload was created or its length declared.
    pub(super) written: SystemTime,
    /// The file with the bytes, by its name within the directory.
    pub(super) data: PathBuf,
    text: Vec<u8>,
}

/// What an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Partial,
    Final(Vec<UploadId>),
}

/// An upload with its open file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) record: Record,
    pub(super) file: File,
    stamp: Stamp,
}

/// What changes when a file is changed or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(rename = "ID")]
    id: String,
    size: i64,
    #[serde(default)]
    size_is_deferred: bool,
    #[serde(default)]
    meta_data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    is_partial: bool,
    #[serde(default)]
    is_final: bool,
    #[serde(default)]
    partial_uploads: Option<Vec<String>>,
    #[serde(default)]
    storage: Option<BTreeMap<String, String>>,
}

impl Directory {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let handle = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let handle = handle.with_context(|| format!("{path:?} cannot be read"))?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Keeps other imports on this machine out, as long as this is open. They would replace what this one has hidden.
    pub(super) fn lock(&self) -> anyhow::Result<()> {
        let locked = flock(&self.handle, FlockOperation::NonBlockingLockExclusive);
        // Not every file system has locks.
        ensure!(locked != Err(Errno::WOULDBLOCK), "another import reads {:?}", self.path);
        Ok(())
    }

    /// Refuses a directory that a running tusd uses. Without requests, tusd shows no sign of being there.
    pub(super) fn check_stopped(&self) -> anyhow::Result<()> {
        for lock in self.files("lock")?.0 {
            let Ok(holder) = self.holder(&lock) else { continue };
            ensure!(!is_alive(holder), self.running(&lock, holder));
        }
        Ok(())
    }

    fn running(&self, lock: &Path, holder: Pid) -> String {
        let lock = self.path.join(lock);
        format!(
            "tusd seems to be running: {lock:?} contains process id {}, and such a process is running. Stop tusd first. If \
             it has stopped, delete that file: the id may belong to another program by now, or to a process in a container",
            holder.as_raw_nonzero(),
        )
    }

    fn check_unlocked(&self, id: &UploadId) -> anyhow::Result<()> {
        let lock = PathBuf::from(format!("{id}.lock"));
        match self.holder(&lock) {
            Ok(holder) if is_alive(holder) => bail!(self.running(&lock, holder)),
            Ok(_) => Ok(()),
            Err(error)
                if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) =>
            {
                Ok(())
            }
            Err(error) => Err(error)
                .with_context(|| format!("{:?} cannot be read; stop tusd, and delete that file", self.path.join(lock))),
        }
    }

    /// The process whose number is in a lock file.
    fn holder(&self, lock: &Path) -> anyhow::Result<Pid> {
        let text = self.contents(lock)?.1;
        let number = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
        number.filter(|number| *number > 0).and_then(Pid::from_raw).context("it does not contain a process id")
    }

    /// The record in a file of the directory.
    pub(super) fn record(&self, name: &Path) -> anyhow::Result<Record> {
        let (metadata, text) = self.contents(name)?;
        let Object(info): Object<Info> = serde_json::from_slice(&text).context("it is not a record of tusd")?;
        let stem = name.to_str().and_then(|name| name.strip_suffix(".info"));
        ensure!(stem == Some(&info.id), "it is the record of {:?}, but has another name", info.id);
        let id = id(&info.id)?;
        let length = match info.size_is_deferred {
            true => None,
            false => Some(u64::try_from(info.size).ok().context("its size is negative")?),
        };
        let (kind, data) = (kind(&info)?, data(&info)?);
        let (pairs, omitted) = pairs(info.meta_data.unwrap_or_default())?;
        Ok(Record { id, kind, length, metadata: pairs, omitted, written: metadata.modified()?, data, text })
    }

    /// An upload with its bytes, if no request of tusd uses it.
    pub(super) fn source(&self, name: &Path) -> anyhow::Result<Source> {
        let record = self.record(name)?;
        self.check_unlocked(&record.id)?;
        let file = self.file(&record.data).map_err(|error| named(&self.path.join(&record.data), error))?;
        let stamp = Stamp::of(&file.metadata()?);
        let source = Source { record, file, stamp };
        source.check()?;
        Ok(source)
    }

    /// All files with this extension, by their names within the directory and in order, and the inner directories that
    /// cannot be read. tusd keeps an id with slashes in directories of its own.
    pub(super) fn files(&self, extension: &str) -> anyhow::Result<(Vec<PathBuf>, Vec<Refused>)> {
        let (mut left, mut found, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
        let mut list = |inner: &Path, left: &mut Vec<PathBuf>| -> io::Result<()> {
            for entry in fs::read_dir(self.path.join(inner))? {
                let entry = entry?;
                let name = inner.join(entry.file_name());
                match entry.file_type()?.is_dir() {
                    true => left.push(name),
                    false if name.extension() == Some(OsStr::new(extension)) => found.push(name),
                    false => {}
                }
            }
            Ok(())
        };
        list(Path::new(""), &mut left).with_context(|| format!("{:?} cannot be read", self.path))?;
        while let Some(inner) = left.pop() {
            if let Err(error) = list(&inner, &mut left) {
                unreadable.push((inner, anyhow::Error::new(error).context("it cannot be read")));
            }
        }
        found.sort();
        Ok((found, unreadable))
    }

    fn contents(&self, name: &Path) -> anyhow::Result<(Metadata, Vec<u8>)> {
        let file = self.file(name)?;
        let metadata = file.metadata()?;
        let mut text = Vec::new();
        file.take(LARGEST_INFO + 1).read_to_end(&mut text)?;
        ensure!(text.len() as u64 <= LARGEST_INFO, "it has more than {LARGEST_INFO} bytes");
        Ok((metadata, text))
    }

    /// Opens a file within the directory. Nothing on the way to it is a symbolic link.
    fn file(&self, name: &Path) -> anyhow::Result<File> {
        let mut directory: Option<OwnedFd> = None;
        let mut components = name.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(component) = component else { bail!("it is outside the directory") };
            let is_last = components.peek().is_none();
            // A pipe must not keep the program waiting.
            let kind = if is_last { OFlags::NONBLOCK } else { OFlags::DIRECTORY };
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
            let at = directory.as_ref().map_or(self.handle.as_fd(), AsFd::as_fd);
            let opened = match openat(at, component, flags, Mode::empty()) {
                Err(Errno::LOOP) => bail!("it is a symbolic link"),
                Err(Errno::NOTDIR) => bail!("a symbolic link or a file is where a directory should be"),
                opened => opened.map_err(io::Error::from)?,
            };
            if is_last {
                let file = File::from(opened);
                ensure!(file.metadata()?.is_file(), "it is not a regular file");
                return Ok(file);
            }
            directory = Some(opened);
        }
        bail!("it has no name")
    }
}

/// What is wrong with the file of an upload.
fn named(path: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.to_string().strip_prefix("it ") {
        Some(predicate) => anyhow!("its file {path:?} {predicate}"),
        None => error.context(format!("its file {path:?}")),
    }
}

impl Source {
    /// The number of bytes.
    pub(super) fn offset(&self) -> u64 {
        self.stamp.length
    }

    /// Whether all bytes are there.
    pub(super) fn is_complete(&self) -> bool {
        self.record.length == Some(self.offset())
    }

    fn check(&self) -> anyhow::Result<()> {
        let offset = self.offset();
        match (&self.record.kind, self.record.length) {
            (_, Some(length)) if offset > length => {
                bail!("its file has {offset} bytes, but the upload has a length of {length}")
            }
            (Kind::Final(_), _) if !self.is_complete() => {
                bail!("tusd did not finish concatenating its parts; its client has to repeat the concatenation")
            }
            _ => Ok(()),
        }
    }

    /// Fails if the upload has changed since it was opened.
    pub(super) fn check_unchanged(&self, directory: &Directory) -> anyhow::Result<()> {
        directory.check_unlocked(&self.record.id)?;
        let changed = "it was changed during its import; stop tusd first";
        let file = directory.file(&self.record.data).context(changed)?;
        ensure!(Stamp::of(&file.metadata()?) == self.stamp, changed);
        let (_, text) = directory.contents(Path::new(&format!("{}.info", self.record.id))).context(changed)?;
        ensure!(text == self.record.text, changed);
        Ok(())
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Whether a process runs, perhaps another user's.
fn is_alive(process: Pid) -> bool {
    test_kill_process(process) != Err(Errno::SRCH)
}

fn id(text: &str) -> anyhow::Result<UploadId> {
    // The error says what is possible.
    text.parse().with_context(|| format!("the id {text:?} is not valid here"))
}

/// The metadata, without pairs that cannot be in a header.
fn pairs(all: BTreeMap<String, String>) -> Result<(Pairs, Vec<InvalidMetadata>), InvalidMetadata> {
    let (mut pairs, mut omitted) = (Vec::new(), Vec::new());
    for (key, value) in all {
        match Pairs::from_pairs([(&*key, "")]) {
            Ok(_) => pairs.push((key, value)),
            Err(error) => omitted.push(error),
        }
    }
    Ok((Pairs::from_pairs(pairs)?, omitted))
}

fn kind(info: &Info) -> anyhow::Result<Kind> {
    let parts = info.partial_uploads.as_deref().unwrap_or_default();
    match (info.is_partial, info.is_final) {
        (false, false) => Ok(Kind::Single),
        (true, false) => Ok(Kind::Partial),
        (true, true) => bail!("it is both a partial and a final upload"),
        (false, true) => {
            ensure!(!parts.is_empty(), "it is a final upload without parts");
            let part = |part: &String| id(part).context("it is a final upload, and a part of it cannot be imported");
            Ok(Kind::Final(parts.iter().map(part).collect::<Result<_, _>>()?))
        }
    }
}

/// The file with the bytes, within the directory. The paths in a record are those of the time when tusd ran: they are
/// compared with each other, and not followed.
fn data(info: &Info) -> anyhow::Result<PathBuf> {
    let field = |name| info.storage.as_ref().and_then(|storage| storage.get(name)).filter(|text| !text.is_empty());
    if let Some(kind) = field("Type").filter(|kind| *kind != "filestore") {
        bail!("its bytes are not in a file, but in the storage {kind:?}");
    }
    let Some(path) = field("Path").map(Path::new) else { return Ok(info.id.clone().into()) };
    let own = format!("{}.info", info.id);
    let root = match field("InfoPath").map(Path::new) {
        Some(record) => record.parent().filter(|_| record.file_name() == Some(OsStr::new(&own))),
        // Before version 2.5, hooks could not choose the path.
        None => path.parent().filter(|_| path.file_name() == Some(OsStr::new(&info.id))),
    };
    let within = root.and_then(|root| path.strip_prefix(root).ok());
    let is_plain = |within: &&Path| within.components().all(|part| matches!(part, Component::Normal(_)));
    match within.filter(is_plain).filter(|within| within.components().next().is_some()) {
        Some(within) => Ok(within.to_owned()),
        None => bail!(
            "its bytes are outside the directory, in {path:?}; copy or hard-link that file to {:?} in the directory, and \
             delete `Storage` in its record",
            info.id
        ),
    }
}
