//! "its value as specified by the Client during the creation", "as received in the upload creation request": what was
//! sent is repeated verbatim while it is still true.

use super::world::World;
use crate::Metadata;

const SPACED: &str = "b Yg==,\ta YQ== ,empty , flag";

#[test]
fn metadata_keeps_its_spaces() {
    let mut world = World::new();
    for sent in [SPACED, "empty ", " a YQ==", "a YQ==\t", "a YQ==,b Yg=="] {
        let id = world.post().length(5).header("upload-metadata", sent).send().id();
        world.head(&id).send().is(200).has("upload-metadata", sent);
        let is_kept = !world.record(&id).verbatim.as_bytes().is_empty();
        assert_eq!(is_kept, sent != "a YQ==,b Yg==", "{sent:?}: what can be written again is not stored twice");
    }
}

#[test]
fn metadata_changed_by_the_application_is_reported_as_changed() {
    let mut world = World::new();
    world.application.shape = Box::new(|new| {
        new.metadata.set("a", "c").unwrap();
        Ok(())
    });
    let id = world.post().length(5).header("upload-metadata", SPACED).send().id();
    world.head(&id).send().has("upload-metadata", "b Yg==,a Yw==,empty,flag");
    assert!(world.record(&id).verbatim.as_bytes().is_empty());
    // Removed.
    world.application.shape = Box::new(|new| {
        new.metadata = Metadata::default();
        Ok(())
    });
    let id = world.post().length(5).header("upload-metadata", SPACED).send().id();
    world.head(&id).send().lacks("upload-metadata");
    // Set to its old value.
    world.application.shape = Box::new(|new| {
        let same: Vec<_> = new.metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        new.metadata = Metadata::from_pairs(same).unwrap();
        Ok(())
    });
    let id = world.post().length(5).header("upload-metadata", SPACED).send().id();
    world.head(&id).send().has("upload-metadata", SPACED);
}

#[test]
fn the_list_of_parts_keeps_its_spaces_if_the_metadata_changes() {
    let mut world = World::new();
    world.application.shape = Box::new(|new| {
        new.metadata.set("mine", "").unwrap();
        Ok(())
    });
    let (complete, part) = (world.partial(b"hello", 5), world.partial(b"wo", 5));
    for sent in [
        format!("final; /files/{complete}"),
        format!("final;/files/{complete}  "),
        format!("final;  files/{complete} http://other.example/files/{complete}/ "),
        format!("final;/files/{complete} /files/{part}"),
    ] {
        let post = world.post().header("upload-concat", &sent).header("upload-metadata", SPACED);
        let id = post.send().id();
        let head = world.head(&id).send().is(200).has("upload-concat", &sent);
        head.has("upload-metadata", "b Yg==,a YQ==,empty,flag,mine");
    }
}
