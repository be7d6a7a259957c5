//! "Upload Cancellation", "Server Behavior".

use super::*;
use crate::{Config, Rejection, TusExtension, server::Access};

/// "Upon receiving a DELETE request, the server SHOULD deactivate the upload resource."
#[test]
fn a_deleted_upload_is_gone() {
    for version in VERSIONS {
        let mut world = World::new();
        for id in [begun(&mut world, version, b"hello"), completed(&mut world, version, b"hello")] {
            delete(&mut world, version, &id).send().is(204).lacks("tus-resumable");
            head(&mut world, version, &id).send().is(404);
            patch(&mut world, version, &id, 5, true, b"").send().is(404);
            delete(&mut world, version, &id).send().is(404);
        }
        assert!(world.uploads.is_empty());
    }
}

/// "The server SHOULD terminate any in-flight requests to the upload resource before sending the response".
#[test]
fn requests_on_the_upload_leave_before_it_is_deleted() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    delete(&mut world, DRAFT_12, &id).send().is(204);
    assert_eq!(world.log.held, [Access::Write]);
    assert_eq!(world.path(), "Load Authorize Hold Veto Terminate Respond");
}

#[test]
fn the_application_may_keep_an_upload_and_deletion_can_be_turned_off() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    world.application.veto = Err(Rejection::forbidden("it stays"));
    let refused = delete(&mut world, DRAFT_12, &id).send().is(403).complete(DRAFT_12, false);
    assert_eq!(refused.text(), "it stays");
    world.application.veto = Ok(());
    world.config = Config::default().without(TusExtension::Termination).into();
    delete(&mut world, DRAFT_12, &id).send().is(405).has("allow", "OPTIONS, HEAD, GET, PATCH").problem();
    assert_eq!(world.bytes(&id), b"hello");
}
