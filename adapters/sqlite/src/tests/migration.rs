//! A directory that the first version of this crate created (commit 7aeb760, schema 2) is migrated. Its file of the
//! upload `taken` was moved away, and one upload was removed.

use std::collections::BTreeMap;

use tus_service::{Dialect, Incarnation, Metadata, Part};

use super::*;

/// The directory, copied.
fn of_the_first_edition() -> TempDir {
    let (from, directory) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/schema_2"), directory());
    fs::create_dir(directory.path().join("uploads")).unwrap();
    fs::copy(from.join("uploads.db"), directory.path().join("uploads.db")).unwrap();
    for file in fs::read_dir(from.join("uploads")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directory.path().join("uploads").join(file.file_name())).unwrap();
    }
    directory
}

fn pairs(pairs: &[(&'static str, &'static str)]) -> Metadata {
    Metadata::from_pairs(pairs.iter().copied()).unwrap()
}

fn expected() -> Vec<(Upload, &'static str)> {
    let record = |name, kind, phase, bytes: &'static str, length| {
        let mut upload = of_kind(name, kind, length);
        (upload.phase, upload.offset) = (phase, bytes.len() as u64);
        upload.created = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        (upload, bytes)
    };
    // Their incarnations are determined when the directory is opened.
    let part = |text: &&str| Part::new(id(text), Incarnation::from_random(0));
    let parts = |ids: &[&str]| Kind::Final(ids.iter().map(part).collect());
    use {Kind::*, Phase::*};
    let mut all = vec![
        record("untouched", Single, Receiving, "", Some(11)),
        record("half", Single, Receiving, "hello ", Some(11)),
        record("deferred", Single, Receiving, "hello", None),
        record("expired", Single, Receiving, "old", Some(11)),
        record("untold", Single, Complete, "hello", Some(5)),
        record("told", Single, Notified, "world", Some(5)),
        record("taken", Single, Notified, "hello", Some(5)),
        record("empty", Single, Complete, "", Some(0)),
        record("part-1", Partial, Complete, "hello ", Some(6)),
        record("part-2", Partial, Complete, "world", Some(5)),
        record("part-3", Partial, Receiving, "wor", Some(5)),
        record("pending", parts(&["part-1", "part-3", "part-1"]), Assembling, "", None),
        record("joined", parts(&["part-1", "part-2"]), Complete, "hello world", Some(11)),
        record("joined-told", parts(&["part-1", "part-2"]), Notified, "hello world", Some(11)),
    ];
    let mut of: BTreeMap<_, _> = all.iter_mut().map(|(upload, _)| (upload.id.to_string(), upload)).collect();
    let mut change = |name: &str, change: fn(&mut Upload)| change(of.get_mut(name).unwrap());
    change("half", |upload| upload.max_size = Some(100));
    change("expired", |upload| upload.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_060)));
    change("untold", |upload| {
        upload.metadata = pairs(&[("filename", "film.mp4"), ("flag", "")]);
        upload.expires = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    });
    let verbatim = |upload: &mut Upload, text: &'static str| {
        upload.verbatim = tus_service::Verbatim::from_bytes(text);
    };
    let notified = of.get_mut("told").unwrap();
    notified.metadata = pairs(&[("a", "a"), ("flag", ""), ("b", "b")]);
    verbatim(notified, "upload-metadata:a YQ==,  flag ,b Yg==\n");
    let pending = of.get_mut("pending").unwrap();
    pending.metadata = pairs(&[("x", "x")]);
    verbatim(pending, "upload-concat:final;/files/part-1  http://h/files/part-3 /files/part-1\n");
    for name in ["joined", "joined-told"] {
        let joined = of.get_mut(name).unwrap();
        joined.metadata = pairs(&[("x", "x"), ("y", "")]);
        verbatim(joined, "upload-concat:final;/files/part-1 /files/part-2\nupload-metadata:x eA== , y\n");
    }
    all
}

#[tokio::test]
async fn every_record_and_byte_of_the_first_version_is_migrated() {
    let directory = of_the_first_edition();
    let sqlite = Sqlite::open(&directory).unwrap();
    let all: Vec<_> = sqlite.list(UploadFilter::default(), None).try_collect().await.unwrap();
    let mut found: BTreeMap<_, _> = all.into_iter().map(|stored| (stored.upload.id.to_string(), stored)).collect();
    let mut incarnations = std::collections::HashSet::new();
    let incarnation_of: BTreeMap<_, _> =
        found.values().map(|stored| (stored.upload.id.clone(), stored.upload.incarnation)).collect();
    for (mut upload, bytes) in expected() {
        let stored = found.remove(upload.id.as_str()).unwrap();
        upload.incarnation = stored.upload.incarnation;
        if let Kind::Final(parts) = &mut upload.kind {
            parts.iter_mut().for_each(|part| part.incarnation = incarnation_of[&part.id]);
        }
        assert!(incarnations.insert(upload.incarnation));
        assert_eq!(stored.upload, upload);
        assert_eq!((stored.version.as_number(), stored.upload.dialect), (Some(1), Dialect::Tus));
        assert_eq!(loaded(&sqlite, &stored).await.as_ref(), Some(&stored), "no byte is missing");
        if upload.id != id("taken") {
            assert_eq!(content(&sqlite, &stored).await, bytes, "{}", upload.id);
        }
    }
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [""; 0]);

    let pending = pending(&sqlite).await;
    let mut pending: Vec<_> = pending.iter().map(|stored| stored.upload.id.as_str()).collect();
    pending.sort();
    assert_eq!(pending, ["empty", "expired", "joined", "pending", "untold"]);
    for (part, finals) in [("part-1", &["pending"][..]), ("part-2", &[]), ("part-3", &["pending"])] {
        let waiting = sqlite.waiting_for(&id(part), usize::MAX).await.unwrap();
        assert_eq!(waiting.iter().map(UploadId::as_str).collect::<Vec<_>>(), finals);
    }
    let half = sqlite.load(&id("half")).await.unwrap().unwrap();
    let complete = appended(&sqlite, &half, b"world").await.unwrap();
    assert_eq!(content(&sqlite, &complete).await, "hello world");
}

#[tokio::test]
async fn a_second_open_changes_nothing_and_old_programs_are_locked_out() {
    let directory = of_the_first_edition();
    let old = Connection::open(directory.path().join("uploads.db")).unwrap();
    let mut finish = old.prepare("UPDATE uploads SET finished = 1, due = 0 WHERE id = 'untold'").unwrap();
    let records = async || {
        let sqlite = Sqlite::open(&directory).unwrap();
        sqlite.list(UploadFilter::default(), None).try_collect::<Vec<_>>().await.unwrap()
    };
    let first = records().await;
    assert_eq!(records().await, first);
    assert!(finish.execute([]).is_err(), "a program that was still running");
}
