//! "Security Considerations".

use super::*;
use crate::{Incarnation, Kind, Upload, server::Operation};

/// "the server SHOULD ensure that only authorized clients can access the upload resource." "the server SHOULD validate that
/// the user is still allowed to perform the requested action before finalizing the upload."
#[test]
fn the_application_decides_about_every_request() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    let missing = UploadId::from_random(0);
    let before = world.uploads.clone();
    world.application.rejects = Box::new(|_, _| true);
    for id in [&id, &missing] {
        let path = world.url(id);
        for (operation, refused) in [
            (Operation::Inspect, head(&mut world, DRAFT_12, id).send()),
            (Operation::Append, patch(&mut world, DRAFT_12, id, 5, true, b"!").send()),
            (Operation::Terminate, delete(&mut world, DRAFT_12, id).send()),
            (Operation::Inspect, world.request(Method::HEAD, &path).without("tus-resumable").send()),
            (Operation::Terminate, world.request(Method::DELETE, &path).without("tus-resumable").send()),
        ] {
            refused.is(403).lacks("upload-offset").lacks("upload-length");
            assert!(!world.passed("Hold"), "{operation:?}");
        }
    }
    post(&mut world, DRAFT_12, true, b"hello").send().is(403);
    assert_eq!(world.log.asked, [(Operation::Create, None)]);
    assert_eq!(world.uploads, before);
}

/// Only authorized clients learn whether an upload exists, and in which dialect.
#[test]
fn unauthorized_clients_learn_nothing_about_an_upload() {
    let mut world = World::new();
    let (tus, draft) = (world.upload(b"hel", 5), begun(&mut world, DRAFT_12, b"hel"));
    let missing = UploadId::from_random(0);
    world.application.rejects = Box::new(|_, _| true);
    for method in [Method::HEAD, Method::GET, Method::DELETE] {
        let mut of = |id: &UploadId| {
            let path = world.url(id);
            let answer = request(&mut world, DRAFT_12, method.clone(), &path).send();
            (answer.status(), answer.text().to_owned(), answer.0.headers().clone())
        };
        assert_eq!(of(&missing), of(&tus));
        assert_eq!(of(&missing), of(&draft));
    }
}

/// "If so, they MUST ensure that no internal information is leaked in the URI": the id is all that there is.
#[test]
fn the_url_contains_only_the_id() {
    let mut world = World::new();
    world.application.shape = Box::new(|new| {
        (new.owner, new.private) = (Some("anna".into()), "secret".into());
        Ok(())
    });
    let answer = post(&mut world, DRAFT_12, true, b"hello").send();
    let url = format!("/files/{}", answer.id());
    let headers = format!("{:?}", answer.has("location", url).0.headers());
    assert!(!headers.contains("anna") && !headers.contains("secret"));
}

#[test]
fn an_authorization_is_for_one_incarnation() {
    let mut world = World::new();
    let id = begun(&mut world, DRAFT_12, b"hello");
    let key = id.clone();
    world.meanwhile("Hold", move |uploads| {
        let other = Upload::new(key, Incarnation::from_random(7), Kind::Single);
        uploads.place(other, []);
    });
    patch(&mut world, DRAFT_12, &id, 5, true, b"!").send().is(404).lacks("upload-offset");
}
