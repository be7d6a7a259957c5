mod bucket;
mod faulty;

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use futures_util::TryStreamExt;
use tempfile::TempDir;
use tus_service::{Incarnation, Kind, Phase, Upload, UploadFilter};

use self::faulty::{Call, Faulty};
use super::{add::HIDDEN, *};

/// A directory with one upload, of which 5 of 11 bytes are there.
struct Tusd(TempDir);

impl Tusd {
    fn new() -> Self {
        let tusd = Self(tempfile::tempdir().unwrap());
        tusd.write("a", "hello");
        tusd.write("a.info", r#"{"ID": "a", "Size": 11, "MetaData": {"filename": "a.txt"}}"#);
        tusd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// An upload with these fields in its record, beside its id.
    fn upload(&self, id: &str, bytes: &str, fields: &str) {
        self.write(id, bytes);
        self.write(&format!("{id}.info"), &format!(r#"{{"ID": "{id}", {fields}}}"#));
    }

    /// Writes a file until the system's clock shows the change.
    fn rewrite(&self, name: &str, text: &str) {
        let changed = || {
            let now = fs::metadata(self.path(name)).unwrap();
            (now.ctime(), now.ctime_nsec())
        };
        let before = changed();
        while changed() == before {
            self.write(name, text);
        }
    }

    fn import<'a>(&self, storage: &'a dyn Storage, settings: &'a Settings, options: &'a Options) -> Import<'a> {
        Import { storage, settings, options, directory: Directory::open(self.0.path()).unwrap() }
    }
}

fn settings() -> Settings {
    Settings::of_nothing().unwrap()
}

fn id(text: &str) -> tus_service::UploadId {
    text.parse().unwrap()
}

async fn uploads(storage: &dyn Storage) -> Vec<Upload> {
    let listed = storage.list(UploadFilter::default(), None);
    listed.map_ok(|stored| stored.upload).try_collect().await.unwrap()
}

/// Imports one, and returns what became of it or why not.
async fn one(import: &Import<'_>, id: &str) -> Result<Done, String> {
    import.one(Path::new(&format!("{id}.info"))).await.map_err(|error| format!("{error:#}"))
}

/// Imports all; returns the exit, and the last line of the output.
async fn all(storage: &dyn Storage, tusd: &Tusd) -> (bool, String) {
    let options = Options { directory: tusd.0.path().to_owned(), ..Options::default() };
    let mut out = Vec::new();
    let well = super::import(storage, &settings(), &options, &mut out).await.unwrap();
    (well, String::from_utf8(out).unwrap().lines().last().unwrap().to_owned())
}

/// Whatever changes while bytes are copied: nothing is imported, and no mixture of bytes.
#[tokio::test]
async fn an_upload_that_changes_is_not_imported_in_part() {
    let long: &'static str = "a".repeat(PIECE + 1).leak();
    let other: &'static str = "b".repeat(PIECE + 1).leak();
    type Disturb = Box<dyn Fn(&Tusd) + Send>;
    let changes: [(&str, Disturb); 7] = [
        ("more bytes", Box::new(move |tusd| tusd.write("a", &format!("{long}a")))),
        ("fewer bytes", Box::new(move |tusd| tusd.write("a", &long[1..]))),
        ("other bytes", Box::new(move |tusd| tusd.rewrite("a", other))),
        (
            "another file",
            Box::new(move |tusd| {
                tusd.write("b", long);
                fs::rename(tusd.path("b"), tusd.path("a")).unwrap();
            }),
        ),
        ("no file", Box::new(|tusd| fs::remove_file(tusd.path("a")).unwrap())),
        ("another record", Box::new(|tusd| tusd.write("a.info", r#"{"ID": "a", "Size": 9999999}"#))),
        ("a request", Box::new(|tusd| tusd.write("a.lock", &format!("{}\n", std::process::id())))),
    ];
    let (settings, options) = (settings(), Options::default());
    for (name, change) in changes {
        let tusd = Arc::new(Tusd::new());
        tusd.upload("a", long, r#""Size": 8888888"#);
        let changed = tusd.clone();
        // The first piece has been read and written, and the second one has not.
        let mut left = Some(change);
        let storage = Faulty::new(move |call| {
            if call == Call::Write {
                left.take().inspect(|change| change(&changed));
            }
            None
        });
        one(&tusd.import(&storage, &settings, &options), "a").await.expect_err(name);
        assert_eq!(uploads(&storage).await, [], "{name}");
    }
    // An empty one needs no copy.
    let (storage, tusd) = (Memory::new(), Tusd::new());
    tusd.write("a", "");
    let import = tusd.import(&storage, &settings, &options);
    let source = import.directory.source(Path::new("a.info")).unwrap();
    tusd.write("a", "hello");
    import.add(&source).await.unwrap_err();
    assert_eq!(uploads(&storage).await, []);
}

#[tokio::test]
async fn what_an_interrupted_import_left_is_replaced_and_nothing_else() {
    let (settings, options, tusd) = (settings(), Options::default(), Tusd::new());
    let there = |expires| {
        let mut upload = Upload::new(id("a"), Incarnation::from_random(1), Kind::Single);
        (upload.length, upload.expires) = (Some(7), Some(expires));
        upload
    };
    let storage = Memory::new();
    storage.create(&there(HIDDEN)).await.unwrap();
    let import = tusd.import(&storage, &settings, &options);
    assert_eq!(one(&import, "a").await, Ok(Done::Imported(5)));
    let imported = uploads(&storage).await.remove(0);
    assert_eq!((imported.offset, imported.length, imported.phase), (5, Some(11), Phase::Receiving));
    assert!(imported.incarnation != Incarnation::from_random(1));
    assert_eq!(imported.metadata.text("filename"), Some("a.txt"));
    assert_eq!(one(&import, "a").await, Ok(Done::AlreadyHere));

    let hour = Duration::from_secs(3600);
    for (expires, reason) in [
        (
            SystemTime::now() - hour,
            "an upload with its id has expired here; run `tus-serve admin expire`, and import it again",
        ),
        (SystemTime::now() + hour, "a different upload here has the same id"),
    ] {
        let storage = Memory::new();
        storage.create(&there(expires)).await.unwrap();
        assert_eq!(one(&tusd.import(&storage, &settings, &options), "a").await, Err(reason.to_owned()));
        assert_eq!(uploads(&storage).await[0].incarnation, Incarnation::from_random(1));
    }
}

/// What is complete in the directory must be complete here, or the directory must not be deleted.
#[tokio::test]
async fn what_is_not_complete_here_is_no_import() {
    let (settings, options, tusd) = (settings(), Options::default(), Tusd::new());
    tusd.upload("final", "hello", r#""Size": 5, "IsFinal": true, "PartialUploads": ["p"]"#);
    let storage = Memory::new();
    let import = tusd.import(&storage, &settings, &options);
    let kind = Kind::Final(vec![tus_service::Part::new(id("p"), Incarnation::from_random(2))]);
    for phase in [Phase::Invalid, Phase::Assembling, Phase::Receiving] {
        let mut upload = Upload::new(id("final"), Incarnation::from_random(1), kind.clone());
        (upload.length, upload.offset, upload.phase) = (Some(5), 5, phase);
        let there = tus_service::Stored::new(upload, tus_service::Version::from(1));
        let source = import.directory.source(Path::new("final.info")).unwrap();
        let error = import.compare(&there, &source).await.unwrap_err().to_string();
        assert!(error.contains(" here, but not in the directory; "), "{error}");
    }
}

/// An application moves a file away when it is notified, and not before.
#[tokio::test]
async fn only_a_notified_application_may_have_moved_a_file_away() {
    let (settings, tusd, target) = (settings(), Tusd::new(), tempfile::tempdir().unwrap());
    tusd.upload("done", "hello", r#""Size": 5"#);
    for notify in [false, true] {
        let (storage, options) = (Memory::new(), Options { notify, ..Options::default() });
        let import = tusd.import(&storage, &settings, &options);
        assert_eq!(one(&import, "done").await, Ok(Done::Imported(5)));
        storage.move_to(&id("done"), target.path().join("film")).await.unwrap();
        match one(&import, "done").await {
            Ok(Done::NotCompared) => assert!(!notify),
            other => assert!(notify && other.unwrap_err().starts_with("its bytes here cannot be read")),
        }
    }
}

/// A change may be made although its answer is an error.
#[tokio::test]
async fn an_upload_that_was_shown_is_not_deleted_after_an_error() {
    let (settings, options, tusd) = (settings(), Options::default(), Tusd::new());
    for (lost, expected) in [(Call::Update, Ok(Done::Imported(5))), (Call::Commit, Err("it failed".to_owned()))] {
        let storage = Faulty::new(move |call| (call == lost).then_some(Failure::Internal));
        let import = tusd.import(&storage, &settings, &options);
        assert_eq!(one(&import, "a").await, expected);
        assert_eq!(uploads(&storage).await.len(), usize::from(lost == Call::Update));
    }
}

/// Another storage failure concerns one upload.
#[tokio::test]
async fn an_import_stops_when_the_storage_is_full() {
    let tusd = Tusd::new();
    tusd.upload("b", "hello", r#""Size": 5"#);
    tusd.upload("c", "hello", r#""Size": 5"#);
    for (failure, refused) in [(Failure::Full, 1), (Failure::Unavailable, 1), (Failure::Conflict, 3)] {
        let storage = Faulty::new(move |call| (call == Call::Write).then_some(failure));
        let expected = format!("0 imported (0 bytes), 0 already here, 0 here but not compared, {refused} refused");
        assert_eq!(all(&storage, &tusd).await, (false, expected));
        assert_eq!(uploads(&storage).await, []);
    }
}

#[tokio::test]
async fn nothing_that_is_imported_expires() {
    let (storage, tusd) = (Memory::new(), Tusd::new());
    tusd.upload("done", "hello", r#""Size": 5"#);
    tusd.upload("part", "hello", r#""Size": 5, "IsPartial": true"#);
    assert!(all(&storage, &tusd).await.0);
    let expires: Vec<_> = uploads(&storage).await.iter().map(|upload| upload.expires).collect();
    assert_eq!(expires, [None; 3]);
}

/// The file of an upload that is refused is not that of another one.
#[tokio::test]
async fn a_file_belongs_to_one_record_even_if_that_is_refused() {
    let (storage, tusd) = (Memory::new(), Tusd::new());
    let thief = |file: &str| {
        let storage = format!(r#"{{"Type": "filestore", "Path": "{file}", "InfoPath": "thief.info"}}"#);
        tusd.write("thief.info", &format!(r#"{{"ID": "thief", "Size": 11, "Storage": {storage}}}"#));
    };
    for good in [r#"{"ID": "good", "Size": 5}"#, r#"{"ID": "#] {
        tusd.write("good", "hello world");
        tusd.write("good.info", good);
        thief("good");
        let expected = "1 imported (5 bytes), 0 already here, 0 here but not compared, 2 refused";
        assert_eq!(all(&storage, &tusd).await, (false, expected.to_owned()));
        let a = storage.load(&id("a")).await.unwrap().unwrap();
        storage.remove(&a).await.unwrap();
    }
}

#[tokio::test]
async fn one_import_at_a_time_reads_a_directory() {
    let tusd = Tusd::new();
    let (one, another) = (Directory::open(tusd.0.path()).unwrap(), Directory::open(tusd.0.path()).unwrap());
    one.lock().unwrap();
    let error = another.lock().unwrap_err().to_string();
    assert!(error.starts_with("another import reads "), "{error}");
    drop(one);
    another.lock().unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_one_refusal() {
    use std::os::unix::fs::PermissionsExt;
    let tusd = Tusd::new();
    let inner = tusd.path("lost+found");
    fs::create_dir(&inner).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read it nevertheless.
    let refused = usize::from(fs::read_dir(&inner).is_err());
    let expected = format!("1 imported (5 bytes), 0 already here, 0 here but not compared, {refused} refused");
    let imported = all(&Memory::new(), &tusd).await;
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(imported, (refused == 0, expected));
}
