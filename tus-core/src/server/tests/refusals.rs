//! Every rejection has its status and a text that states what was wrong (R53).

use std::time::Duration;

use super::{
    super::{Interruption, Mount},
    request::Answer,
    world::World,
};
use crate::{Config, Failure, UploadId};

#[test]
fn malformed_requests_are_400() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    world.post().send().says(400, "upload-length");
    world.patch(&id).send().says(400, "upload-offset");
    world.post().length(5).header("upload-metadata", "a *").send().says(400, "upload-metadata");
    world.patch(&id).offset(5).header("upload-checksum", "sha1").send().says(400, "upload-checksum");
    world.post().header("upload-concat", "final;").send().says(400, "upload-concat");
    world.post().length(1).header("x-http-method-override", "a b").send().says(400, "x-http-method-override");
    world.post().concat(&[&id]).send().says(400, id.as_str());
}

#[test]
fn forbidden_requests_are_403() {
    let mut world = World::new();
    let part = world.partial(b"hello", 5);
    let final_upload = world.concatenate(&[&part]);
    world.patch(&final_upload).offset(5).send().says(403, "final upload");
    world.application.rejects = Box::new(|_, _| true);
    world.head(&part).send().says(403, "the application says no");
}

#[test]
fn missing_uploads_are_404_or_410() {
    let mut world = World::with(Config::default().expire_after(std::time::Duration::from_secs(1)));
    let id = world.upload(b"hello", 11);
    world.head(&UploadId::from_random(0)).send().says(404, "no such upload");
    world.wait(std::time::Duration::from_secs(1));
    world.head(&id).send().says(410, "expired");
}

#[test]
fn a_missing_part_is_named() {
    let mut world = World::new();
    let (part, missing) = (world.partial(b"hello", 5), UploadId::from_random(0));
    world.post().concat(&[&part, &missing]).send().says(404, missing.as_str());
}

#[test]
fn requests_that_do_not_match_the_state_are_409() {
    let mut world = World::with(Config::default().without(crate::TusExtension::ConcatenationUnfinished));
    let id = world.upload(b"hello", 11);
    let answer = world.patch(&id).offset(4).send().says(409, "upload-offset is 4");
    assert!(answer.text().contains("upload's offset is 5"));
    let part = world.partial(b"hello", 11);
    world.post().concat(&[&part]).send().says(409, part.as_str());
}

#[test]
fn bodies_of_wrong_size_or_type_are_413_or_415() {
    let mut world = World::with(Config::default().max_size(100));
    let id = world.upload(b"hello", 11);
    world.post().length(101).send().says(413, "100 bytes");
    world.patch(&id).offset(5).body(b" world!").send().says(413, "11 bytes");
    world.patch(&id).offset(5).without("content-type").send().says(415, "content-type");
}

#[test]
fn an_interruption_has_a_status_and_reports_the_offset() {
    let broken = |why| {
        let mut world = World::new();
        let id = world.upload(b"hello", 100);
        world.patch(&id).offset(5).stream(b" world").interrupted(why).send()
    };
    broken(Interruption::Disconnected).says(503, "upload's offset is 11").has("retry-after", 1);
    broken(Interruption::TimedOut).says(503, "upload's offset is 11").has("retry-after", 1);
    broken(Interruption::Superseded).says(423, "another request").has("retry-after", 1);
    broken(Interruption::ShuttingDown).says(503, "shutting down").has("retry-after", 1);
}

#[test]
fn a_failure_of_the_storage_has_a_status_at_every_step() {
    for (failure, status, word) in [
        (Failure::Conflict, 423, "the upload has changed"),
        (Failure::Exists, 409, "already exists"),
        (Failure::NotFound, 404, "no such upload"),
        (Failure::Busy, 423, "in use"),
        (Failure::Full, 507, "no room"),
        (Failure::Internal, 500, "the server failed"),
    ] {
        let check = |answer: Answer| {
            let answer = answer.says(status, word);
            assert_eq!(
                answer.header("retry-after"),
                matches!(failure, Failure::Busy | Failure::Conflict).then_some("1")
            );
        };
        let mut world = World::new();
        let (id, part) = (world.upload(b"hello", 11), world.partial(b"hello", 5));
        let before = world.uploads.clone();
        let mut failing = |step, send: &dyn Fn(&mut World) -> Answer| {
            world.fail(step, failure);
            check(send(&mut world));
            let steps: Vec<_> = world.log.steps.iter().filter(|step| **step != "Abandon").collect();
            assert_eq!(steps[steps.len() - 2..], [&step, &"Respond"]);
        };
        failing("Load", &|world| world.head(&id).send());
        failing("Hold", &|world| world.head(&id).send());
        failing("Hold", &|world| world.patch(&id).offset(5).send());
        failing("Commit", &|world| world.patch(&id).offset(5).body(b" world").send());
        failing("LoadParts", &|world| world.post().concat(&[&part]).send());
        failing("Store", &|world| world.post().length(5).send());
        if failure != Failure::NotFound {
            failing("Terminate", &|world| world.delete(&id).send());
        }
        let while_it_is_read = Interruption::Failed { failure, stored: 0 };
        check(world.patch(&id).offset(5).stream(b" world").interrupted(while_it_is_read).send());
        assert_eq!(world.uploads, before);
    }
}

/// What a page shows to people.
#[test]
fn a_user_learns_the_limit_and_what_to_do() {
    let mut world = World::with(Config::default().max_size(10 << 30).expire_after(Duration::from_secs(60)));
    world.post().length(11 << 30).send().says(413, "at most 10737418240 bytes (10 GiB); choose a smaller file");
    let id = world.upload(b"hello", 11);
    world.fail("Commit", Failure::Full);
    world.patch(&id).offset(5).body(b" world").send().says(507, "try again later");
    world.wait(Duration::from_secs(61));
    world.head(&id).send().says(410, "start a new one");
}

#[test]
fn the_driver_can_refuse_unread_requests() {
    let config = Config::default().cors(crate::Cors::Any).into();
    let head =
        http::Request::patch("/files/a").header("origin", "https://app.example").body(()).unwrap().into_parts().0;
    let fail = |failure| Answer(super::super::fail(&config, &head, &Mount::at("/files"), failure));
    let answer = fail(Failure::Busy).says(423, "in use").has("retry-after", 1);
    answer.has("tus-resumable", "1.0.0").has("access-control-allow-origin", "*");
    fail(Failure::Internal).says(500, "the server failed").lacks("retry-after");
    let answer = Answer(super::super::unreadable(&config, "its URL is no URL"));
    answer.says(400, "its URL is no URL").has("tus-resumable", "1.0.0");
}

#[test]
fn rejections_are_plain_text() {
    let mut world = World::new();
    let id = world.upload(b"hello", 11);
    for refusal in [
        world.post().send().is(400),
        world.head(&UploadId::from_random(0)).send().is(404),
        world.patch(&id).offset(0).send().is(409),
        world.head(&id).without("tus-resumable").send().is(412),
        world.patch(&id).offset(5).sha1_of(b"a").body(b"b").send().is(460),
    ] {
        assert!(refusal.text().ends_with('\n') && refusal.text().len() > 10);
        refusal.has("content-type", "text/plain; charset=utf-8").has("x-content-type-options", "nosniff");
    }
}

#[test]
fn a_rejection_is_sent_as_the_application_wrote_it() {
    let mut world = World::new();
    world.application.shape = Box::new(|_| {
        let json = http::Response::builder().status(401).header("www-authenticate", "Bearer");
        let json = json.header("content-type", "application/json").body("{\"why\":\"who are you?\"}".into());
        Err(json.unwrap().into())
    });
    let answer = world.post().length(5).send().is(401).has("www-authenticate", "Bearer");
    assert_eq!(answer.has("content-type", "application/json").text(), "{\"why\":\"who are you?\"}");
    assert_eq!(world.path(), "Authorize Create Respond");
    assert!(world.uploads.is_empty());
}
