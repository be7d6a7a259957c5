//! tus 1.0.0, "Creation", "Upload-Metadata".

use super::world::World;
use crate::{Config, Metadata};

/// Clients send an empty value if there is none, and RFC 9110, 5.3, allows several lines for one list.
#[test]
fn empty_metadata_is_none_and_lines_are_one_list() {
    let mut world = World::new();
    for empty in ["", " "] {
        let id = world.post().length(5).header("upload-metadata", empty).send().is(201).id();
        world.head(&id).send().lacks("upload-metadata");
    }
    let post = world.post().length(5).header("upload-metadata", "name YQ==").also("upload-metadata", "");
    let id = post.also("upload-metadata", "type Yg==,flag").send().is(201).id();
    world.head(&id).send().has("upload-metadata", "name YQ==,type Yg==,flag");
    let metadata = &world.record(&id).metadata;
    assert_eq!((metadata.text("name"), metadata.text("type"), metadata.text("flag")), (Some("a"), Some("b"), Some("")));
}

/// tus 1.0.0, "Upload-Metadata": "The `Upload-Metadata` request and response header MUST consist of one or
/// more comma-separated key-value pairs." "The key and value MUST be separated by a space."
#[test]
fn metadata_is_pairs_of_a_key_and_a_value() {
    let mut world = World::new();
    let id = create(&mut world, "filename aGVsbG8=,type dGV4dA==").id();
    let metadata = &world.record(&id).metadata;
    let pairs: Vec<_> = metadata.iter().map(|(key, value)| (key, value.as_ref())).collect();
    assert_eq!(pairs, [("filename", b"hello".as_slice()), ("type", b"text")]);
    for wrong in [",", "a YQ==,", ",a YQ==", "a YQ==,,b YQ==", "a YQ== b YQ==", "a  YQ==", "a\tYQ=="] {
        create(&mut world, wrong).says(400, "upload-metadata");
    }
    assert_eq!(world.uploads.len(), 1);
}

/// tus 1.0.0, "Upload-Metadata": "The key MUST NOT contain spaces and commas and MUST NOT be empty." "All
/// keys MUST be unique."
#[test]
fn keys_are_not_empty_and_unique() {
    let mut world = World::new();
    create(&mut world, "a YQ==, ,b YQ==").says(400, "a key is empty");
    create(&mut world, "a YQ==,").says(400, "a key is empty");
    create(&mut world, "name YQ==,name Yg==").says(400, "\"name\"");
    create(&mut world, "name,name").says(400, "\"name\"");
    assert!(world.uploads.is_empty());
    create(&mut world, "name YQ==,Name Yg==").is(201);
}

/// tus 1.0.0, "Upload-Metadata": "The key MUST NOT contain spaces and commas and MUST NOT be empty." "The key
/// SHOULD be ASCII encoded and the value MUST be Base64 encoded."
///
/// The same rules apply to metadata from the application.
#[test]
fn the_applications_metadata_is_written_as_pairs() {
    for key in ["", "a b", "a,b", "größe", "a\r\nb"] {
        assert!(Metadata::from_pairs([(key, "value")]).is_err(), "{key:?}");
    }
    assert!(Metadata::from_pairs([("name", "a"), ("name", "b")]).is_err());
    let mut world = World::new();
    world.application.shape = Box::new(|new| {
        new.metadata = Metadata::from_pairs([("name", "Größe\r\nSet-Cookie: a=b"), ("flag", "")]).unwrap();
        Ok(())
    });
    let id = create(&mut world, "name YQ==").id();
    world.head(&id).send().has("upload-metadata", "name R3LDtsOfZQ0KU2V0LUNvb2tpZTogYT1i,flag");
}

/// tus 1.0.0, "Upload-Metadata": "The key SHOULD be ASCII encoded and the value MUST be Base64 encoded."
#[test]
fn keys_are_ascii_and_values_are_base64() {
    let mut world = World::new();
    create(&mut world, "größe YQ==").says(400, "ASCII");
    for wrong in ["name YQ", "name YQ=", "name Y", "name _-8=", "name YR==", "name YQ==YQ==", "name a b", "name *"] {
        create(&mut world, wrong).says(400, "\"name\"");
    }
    assert!(world.uploads.is_empty());
}

/// tus 1.0.0, "Upload-Metadata": "The value MAY be empty. In these cases, the space, which would normally
/// separate the key and the value, MAY be left out."
#[test]
fn a_value_may_be_empty_with_and_without_the_space() {
    let mut world = World::new();
    let id = create(&mut world, "bare,spaced ,last YQ==").id();
    let metadata = &world.record(&id).metadata;
    assert_eq!(metadata.text("bare"), Some(""));
    assert_eq!(metadata.text("spaced"), Some(""));
    world.head(&id).send().has("upload-metadata", "bare,spaced ,last YQ==");
}

/// tus 1.0.0, "Upload-Metadata": "Since metadata can contain arbitrary binary values, Servers SHOULD carefully
/// validate metadata values or sanitize them before using them as header values to avoid header smuggling."
#[test]
fn a_value_cannot_become_a_header() {
    let mut world = World::new();
    // "a\r\nSet-Cookie: a=b", and bytes that are not text.
    let smuggled = "name YQ0KU2V0LUNvb2tpZTogYT1i,bytes AP/+DQo=";
    let id = create(&mut world, smuggled).id();
    let answer = world.head(&id).send().has("upload-metadata", smuggled).lacks("set-cookie");
    let known = ["tus-resumable", "cache-control", "upload-offset", "upload-length", "upload-metadata"];
    assert!(answer.0.headers().keys().all(|name| known.contains(&name.as_str())), "{answer:?}");
}

/// tus 1.0.0, "POST": "If an upload contains additional metadata, responses to `HEAD` requests MUST include
/// the `Upload-Metadata` header and its value as specified by the Client during the creation."
#[test]
fn head_repeats_the_metadata_as_it_was_sent() {
    let mut world = World::new();
    for sent in ["a YQ==", "b Yg==, a YQ==,c", "zero AA==,empty ", "X-Y_z.1! Kio="] {
        let id = create(&mut world, sent).id();
        world.head(&id).send().has("upload-metadata", sent);
        world.patch(&id).offset(0).body(b"hello").header("upload-metadata", "other YQ==").send().is(204);
        world.head(&id).send().has("upload-metadata", sent);
    }
    let without = world.upload(b"", 5);
    assert!(world.record(&without).metadata.is_empty());
    world.head(&without).send().lacks("upload-metadata");
}

/// tus 1.0.0, "POST": "The Server MAY decide to ignore or use this information to further process the request
/// or to reject it."
#[test]
fn metadata_is_limited_to_4096_bytes_or_as_configured() {
    let of = |bytes: usize| format!("{:k<1$}", "", bytes);
    let mut world = World::new();
    create(&mut world, &of(4096)).is(201);
    create(&mut world, &of(4097)).says(400, "4097");
    let mut world = World::with(Config::default().max_metadata(10));
    create(&mut world, &of(10)).is(201);
    create(&mut world, &of(11)).says(400, "10 are allowed");
    assert_eq!(world.uploads.len(), 1);
}

fn create(world: &mut World, metadata: &str) -> super::request::Answer {
    world.post().length(5).header("upload-metadata", metadata).send()
}
