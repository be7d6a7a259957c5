//! OPTIONS is a hint, not a condition.

use super::{
    super::{Capabilities, Error, NewUpload, Options, Protocol, Retry, Verification, create, discover, discover_again},
    script::{Script, answer, broken},
    wire::endpoint,
};
use crate::{Algorithm, TusExtension};

fn found(status: u16, headers: &[(&str, &str)]) -> Result<Capabilities, Error> {
    Script::new([answer(status, headers)]).run(discover(endpoint(), Options::default()))
}

#[test]
fn what_the_server_does_not_state_is_unknown() {
    for status in [200, 204, 301, 302, 400, 403, 404, 405, 429, 500, 501, 503] {
        let mut capabilities = found(status, &[]).unwrap();
        assert_eq!(std::mem::take(&mut capabilities.temporary), [429, 500, 503].contains(&status), "{status}");
        assert_eq!(capabilities, Capabilities::default(), "{status}");
        assert_eq!(capabilities.offers(TusExtension::Creation), None);
        assert_eq!(capabilities.verifies(Algorithm::Sha1), None);
        for upload in [NewUpload::new(Some(5)), NewUpload::new(None), NewUpload::partial(0..5)] {
            create(endpoint(), upload, Options::default(), Some(&capabilities)).map(drop).unwrap();
        }
    }
    let foreign = http::Response::builder().status(204).body(bytes::Bytes::new()).unwrap();
    let capabilities = Script::new([Ok(foreign)]).run(discover(endpoint(), Options::default())).unwrap();
    assert_eq!(capabilities, Capabilities::default(), "a CORS layer");
}

#[test]
fn rejections_of_the_caller_or_the_version_are_errors() {
    assert_eq!(found(401, &[]).unwrap_err().status().unwrap(), 401);
    assert_eq!(found(412, &[]).unwrap_err().status().unwrap(), 412);
    assert!(matches!(found(412, &[("tus-version", "0.2.2")]), Err(Error::Unsupported(_))));
}

#[test]
fn invalid_limits_are_ignored() {
    for size in ["0", "-1", "many", "", "99999999999999999999"] {
        assert_eq!(found(204, &[("tus-max-size", size)]).unwrap().max_size, None, "{size:?}");
    }
    assert_eq!(found(204, &[("tus-max-size", "7"), ("tus-max-size", "8")]).unwrap().max_size, None);
}

#[test]
fn an_upload_is_tried_even_if_creation_is_not_listed() {
    let capabilities = found(204, &[("tus-extension", "Termination")]).unwrap();
    assert_eq!(capabilities.offers(TusExtension::Termination), Some(true));
    create(endpoint(), NewUpload::new(Some(5)), Options::default(), Some(&capabilities)).map(drop).unwrap();
    let deferred = create(endpoint(), NewUpload::new(None), Options::default(), Some(&capabilities)).map(drop);
    assert!(matches!(deferred, Err(Error::Unsupported(_))));
    let required = Options::default().verification(Verification::Required(Algorithm::Sha1));
    let required = create(endpoint(), NewUpload::new(Some(5)), required, Some(&capabilities)).map(drop);
    assert!(matches!(required, Err(Error::Unsupported(_))));
}

#[test]
fn only_uploads_that_need_capabilities_request_them() {
    let plain = Options::default().verification(Verification::Off);
    let needs = |upload: NewUpload, options: &Options| upload.needs_capabilities(options);
    assert!(!needs(NewUpload::new(Some(5)), &plain));
    assert!(needs(NewUpload::new(None), &plain));
    assert!(needs(NewUpload::partial(0..5), &plain));
    assert!(needs(NewUpload::new(Some(5)), &plain.clone().data_in_creation(true)));
    assert!(needs(NewUpload::new(Some(5)), &Options::default()));
    assert!(!needs(NewUpload::new(None), &Options::default().discovery(false)));
}

#[test]
fn a_protocol_is_not_chosen_because_of_a_temporary_failure() {
    let options = || Options::default().protocol(None).retry(Retry::default().retries(2));
    let draft = || answer(204, &[("upload-limit", "min-size=0")]);
    for status in [429, 500, 502, 503] {
        let mut script = Script::new([answer(status, &[]), answer(status, &[]), draft()]);
        let capabilities = script.run(discover(endpoint(), options())).unwrap();
        assert_eq!(capabilities.protocol(), Some(Protocol::Draft), "{status}");
        assert_eq!(script.waits, [1.0, 2.0]);
    }
    // A server may always answer like this.
    let mut script = Script::new([500, 500, 500].map(|status| answer(status, &[])));
    let capabilities = script.run(discover(endpoint(), options())).unwrap();
    assert_eq!((capabilities.protocol(), capabilities.temporary), (None, true));
    let mut script = Script::new((0..9).map(|_| answer(500, &[])));
    let endless = options().retry(Retry::default().retries(u32::MAX));
    assert!(script.run(discover(endpoint(), endless)).unwrap().temporary);
    // Asked again soon, it costs one request. A connection that breaks is no answer.
    let mut script = Script::new([broken(), answer(503, &[])]);
    let again = script.run(discover_again(endpoint(), options())).unwrap();
    assert_eq!((again.temporary, script.waits.len()), (true, 1));
    // A rejection that stays the same decides at once.
    let mut script = Script::new([answer(405, &[])]);
    assert_eq!(script.run(discover(endpoint(), options())).unwrap(), Capabilities::default());
}
