//! OPTIONS announces exactly the extensions that work (R30).

use std::{collections::HashSet, time::Duration};

use super::{request::Answer, world::World};
use crate::{Config, TusExtension};

#[test]
fn an_extension_is_announced_exactly_if_it_works() {
    for off in 0..1u32 << TusExtension::ALL.len() {
        let turned_off = |at: usize| off & (1 << at) != 0;
        let off: Vec<_> =
            (0..TusExtension::ALL.len()).filter(|at| turned_off(*at)).map(|at| TusExtension::ALL[at]).collect();
        let config = off.iter().fold(Config::default(), |config, extension| config.without(*extension));
        let announced = announced(&config);
        for extension in TusExtension::ALL {
            let mut world = World::with(config.clone());
            let answer = used(&mut world, extension);
            let (works, refused) = statuses(extension);
            if announced.contains(extension.name()) {
                answer.is(works);
                assert!(!off.contains(&extension));
            } else {
                assert!(answer.status() >= 400, "{extension:?} runs without {off:?}");
                assert!(!(world.passed("Store") || world.passed("Receive") || world.passed("Terminate")));
                if off == [extension] {
                    answer.is(refused);
                }
            }
        }
    }
}

#[test]
fn turning_an_extension_off_turns_off_those_that_need_it() {
    let all: HashSet<_> = TusExtension::ALL.map(TusExtension::name).into_iter().map(str::to_owned).collect();
    assert_eq!(announced(&Config::default()), all);
    for extension in TusExtension::ALL {
        let gone: HashSet<_> = all.difference(&announced(&Config::default().without(extension))).cloned().collect();
        let expected: &[&str] = match extension {
            TusExtension::Creation => &[
                "creation",
                "creation-with-upload",
                "creation-defer-length",
                "concatenation",
                "concatenation-unfinished",
            ],
            TusExtension::Checksum => &["checksum", "checksum-trailer"],
            TusExtension::Concatenation => &["concatenation", "concatenation-unfinished"],
            other => &[other.name()],
        };
        assert_eq!(gone, expected.iter().map(|name| (*name).to_owned()).collect());
    }
}

#[test]
fn a_refusal_names_the_missing_extension() {
    for extension in TusExtension::ALL {
        let mut world = World::with(Config::default().without(extension));
        let answer = used(&mut world, extension);
        match extension {
            TusExtension::Creation => answer.says(405, "POST").has("allow", "OPTIONS"),
            TusExtension::Termination => answer.says(405, "DELETE").has("allow", "OPTIONS, HEAD, PATCH"),
            TusExtension::ConcatenationUnfinished => answer.says(409, "is not complete yet"),
            named => answer.says(400, named.name()),
        };
    }
}

#[test]
fn a_final_upload_is_rejected_if_concatenation_is_off() {
    let mut world = World::with(Config::default().without(TusExtension::Concatenation));
    let part = world.place_partial(5, 5);
    world.post().concat(&[&part]).send().says(400, "concatenation");
    assert_eq!(world.path(), "Respond");
}

#[test]
fn expiration_is_announced_exactly_if_uploads_expire() {
    let config = Config::default().expire_after(Duration::from_secs(60));
    assert!(announced(&config).contains("expiration"));
    let mut world = World::with(config);
    let id = world.post().length(5).send().has("upload-expires", "Wed, 25 Jun 2014 15:01:00 GMT").id();
    world.wait(Duration::from_secs(60));
    world.head(&id).send().is(410);

    assert!(!announced(&Config::default()).contains("expiration"));
    let mut world = World::new();
    let id = world.post().length(5).send().lacks("upload-expires").id();
    world.wait(Duration::from_secs(1 << 32));
    world.head(&id).send().is(200).lacks("upload-expires");
}

/// What OPTIONS announces.
fn announced(config: &Config) -> HashSet<String> {
    let answer = World::with(config.clone()).options().send().is(204);
    answer.header("tus-extension").into_iter().flat_map(|list| list.split(',')).map(str::to_owned).collect()
}

/// A request that needs this extension.
fn used(world: &mut World, extension: TusExtension) -> Answer {
    let id = world.place(0, Some(5), None);
    let part = world.place_partial(2, 5);
    match extension {
        TusExtension::Creation => world.post().length(5).send(),
        TusExtension::CreationWithUpload => world.post().length(5).body(b"hello").send(),
        TusExtension::CreationDeferLength => world.post().header("upload-defer-length", "1").send(),
        TusExtension::Checksum => world.patch(&id).offset(0).body(b"hello").sha1_of(b"hello").send(),
        TusExtension::ChecksumTrailer => world.patch(&id).offset(0).stream(b"hello").trailing_sha1_of(b"hello").send(),
        TusExtension::Termination => world.delete(&id).send(),
        TusExtension::Concatenation => world.post().length(5).header("upload-concat", "partial").send(),
        TusExtension::ConcatenationUnfinished => world.post().concat(&[&part]).send(),
    }
}

/// The status of that request if the extension is on, and if it alone is off.
fn statuses(extension: TusExtension) -> (u16, u16) {
    match extension {
        TusExtension::Creation => (201, 405),
        TusExtension::Termination => (204, 405),
        TusExtension::Checksum | TusExtension::ChecksumTrailer => (204, 400),
        TusExtension::ConcatenationUnfinished => (201, 409),
        _ => (201, 400),
    }
}
