//! The tests that `DRAFT.md` names exist.
#![allow(clippy::unwrap_used)] // a test that cannot continue fails

use std::{fs, path::Path};

/// Links of the form [`name`](file), and whether they are in the table.
fn links(document: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for piece in document.split("[`").skip(1) {
        if let Some((name, rest)) = piece.split_once("`](")
            && let Some((file, _)) = rest.split_once(')')
        {
            found.push((name, file));
        }
    }
    found
}

#[test]
fn every_test_of_the_table_exists() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(here.join("DRAFT.md")).unwrap();
    let links = links(&document);
    assert!(links.len() > 90, "the table was not read: {} links", links.len());
    for (name, file) in links {
        let Ok(source) = fs::read_to_string(here.join(file)) else {
            panic!("{name} is said to be in {file}, which cannot be read");
        };
        let (test, on_every_server) = (format!("    #[test]\n    fn {name}("), format!("pub(crate) fn {name}("));
        let is_there = source.contains(&format!("fn {name}("));
        let runs = source.contains(&test)
            || source.contains(&format!("#[test]\nfn {name}("))
            || source.contains(&format!("    #[tokio::test]\n    async fn {name}("))
            || source.contains(&on_every_server);
        assert!(is_there && runs, "{file} has no test {name}");
    }
}

/// Each sentence states who must comply, and has a test or a reason for having none.
#[test]
fn every_sentence_of_the_table_has_a_test_or_a_reason() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("DRAFT.md")).unwrap();
    let (_, table) = document.split_once("| | sentence | test |\n|---|---|---|\n").unwrap();
    let mut rows = 0;
    for row in table.lines() {
        let [_, who, sentence, test, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("not three cells: {row}");
        };
        if who.is_empty() {
            assert!(sentence.starts_with("**") && test.is_empty(), "{row}");
            continue;
        }
        assert!(["server", "client"].contains(&who), "{row}");
        assert!(!sentence.is_empty() && !test.is_empty(), "{row}");
        rows += 1;
    }
    assert!(rows > 70, "{rows} rows");
}
