//! tus 1.0.0, "Termination".

use super::world::World;
use crate::{Config, Failure, TusExtension, UploadId};

/// tus 1.0.0, "Termination": "If this extension is supported by the Server, it MUST be announced by adding
/// `termination` to the `Tus-Extension` header."
#[test]
fn termination_is_announced() {
    let announces = |config: Config| World::with(config).announces("termination");
    assert!(announces(Config::default()));
    assert!(!announces(Config::default().without(TusExtension::Termination)));
}

/// tus 1.0.0, "Termination", "Example": "DELETE /files/24e533e02ec3bc40c387f1a0e460e216 HTTP/1.1"
#[test]
fn the_example_of_termination() {
    let mut world = World::new();
    world.choose_id("24e533e02ec3bc40c387f1a0e460e216");
    let id = world.upload(b"hello", 100);
    let answer = world.delete(&id).header("content-length", "0").send();
    answer.is(204).has("tus-resumable", "1.0.0").lacks("upload-offset");
    assert_eq!(world.path(), "Load Authorize Hold Veto Terminate Respond");
}

/// tus 1.0.0, "DELETE": "When receiving a `DELETE` request for an existing upload the Server SHOULD free
/// associated resources and MUST respond with the `204 No Content` status confirming that the upload was
/// terminated."
/// tus 1.0.0, "Termination": "This extension defines a way for the Client to terminate completed and unfinished
/// uploads allowing the Server to free up used resources."
#[test]
fn delete_frees_an_upload_of_any_kind() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let unfinished_part = world.partial(b"hel", 5);
    let ids = [
        world.upload(b"", 5),
        world.upload(b"hel", 5),
        world.upload(b"hello", 5),
        world.deferred(b""),
        world.concatenate(&[&part]),
        world.concatenate(&[&part, &unfinished_part]),
        part,
        unfinished_part,
    ];
    for id in ids {
        let others = world.uploads.len() - 1;
        world.delete(&id).send().is(204);
        assert!(!world.uploads.contains(&id));
        assert_eq!(world.uploads.len(), others);
    }
}

/// tus 1.0.0, "DELETE": "For all future requests to this URL, the Server SHOULD respond with the `404 Not
/// Found` or `410 Gone` status."
#[test]
fn a_terminated_upload_is_not_found() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    world.delete(&id).send().is(204);
    world.head(&id).send().is(404);
    world.patch(&id).offset(5).body(b"!").send().is(404);
    world.delete(&id).send().is(404);
    let part = world.partial(b"hello", 5);
    world.delete(&part).send().is(204);
    world.post().concat(&[&part]).send().is(404);
    assert!(world.uploads.is_empty());
}

/// tus 1.0.0, "DELETE": "When receiving a `DELETE` request for an existing upload the Server SHOULD free
/// associated resources and MUST respond with the `204 No Content` status confirming that the upload was
/// terminated."
///
/// 204 is sent only for an upload that is really gone.
#[test]
fn a_failed_delete_is_not_confirmed() {
    let mut world = World::new();
    let id = world.upload(b"hello", 100);
    world.fail("Terminate", Failure::Internal);
    world.delete(&id).send().is(500);
    world.fail("Hold", Failure::Busy);
    world.delete(&id).send().is(423);
    assert_eq!(world.bytes(&id), b"hello");
    world.fail("Terminate", Failure::NotFound);
    world.delete(&id).send().is(204);
    world.delete(&UploadId::from_random(0)).send().is(404);
}
