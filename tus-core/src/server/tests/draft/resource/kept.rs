//! The response of the handler is kept with the upload, and replayed.

use super::*;

/// "The server can choose to replay the final response to the client if the request to append to the completed upload is
/// valid."
#[test]
fn a_lost_response_is_replayed() {
    for version in VERSIONS {
        let mut world = world();
        let url = create(&mut world, version, b"hello");
        append(&mut world, version, &url, 5, true, b"").send().is(202);
        request(&mut world, version, Method::HEAD, &url).send().is(204).complete(version, true).has("upload-offset", 5);
        for _ in 0..2 {
            let again = append(&mut world, version, &url, 5, true, b"").send().is(202).complete(version, true);
            assert_eq!((again.text(), again.header("x-photo")), ("5 bytes", Some("7")));
        }
        assert_eq!(world.called.len(), 1);
        append(&mut world, version, &url, 5, true, b"!").send().is(400);
        append(&mut world, version, &url, 4, true, b"").send().is(409);
        append(&mut world, version, &url, 5, false, b"").send().is(400);
        assert_eq!(world.called.len(), 1);
    }
}

/// Cookies belong to the client that was connected when the handler responded.
#[test]
fn cookies_are_not_replayed() {
    let mut world = world();
    world.application.handler = Box::new(|_, _| {
        let mut response = Response::new(Some(Bytes::from_static(b"hello")));
        for (name, value) in
            [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("set-cookie2", "c=3"), ("www-authenticate", "Basic")]
        {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        Ok(response)
    });
    let url = create(&mut world, 9, b"hello");
    let done = append(&mut world, 9, &url, 5, true, b"").send().is(200);
    assert_eq!(done.0.headers().get_all("set-cookie").iter().count(), 2);
    assert_eq!((done.header("set-cookie2"), done.header("www-authenticate")), (Some("c=3"), Some("Basic")));
    let again = append(&mut world, 9, &url, 5, true, b"").send().is(200).lacks("set-cookie").lacks("set-cookie2");
    assert_eq!((again.text(), again.header("www-authenticate")), ("hello", Some("Basic")));
    assert_eq!(world.called.len(), 1);
}

/// 64 KiB are stored.
#[test]
fn a_response_too_large_to_store_is_not_replayed() {
    let long = "x".repeat(65_000);
    for (content, headers, kept) in [
        (Some(vec![b'\n'; 65_536]), "", true),
        (Some(vec![0; 65_537]), "", false),
        (Some(vec![0; 1000]), &*long, false),
        (None, "", false),
    ] {
        let mut world = world();
        let (body, header) = (content.clone().map(Bytes::from), headers.to_owned());
        world.application.handler = Box::new(move |_, _| {
            let mut response = Response::new(body.clone());
            if !header.is_empty() {
                response.headers_mut().insert("x-long", header.parse().unwrap());
            }
            Ok(response)
        });
        let url = create(&mut world, 9, b"hello");
        append(&mut world, 9, &url, 5, true, b"").send().is(200).complete(9, true);
        request(&mut world, 9, Method::HEAD, &url).send().complete(9, true);
        let again = append(&mut world, 9, &url, 5, true, b"").send();
        match kept {
            true => assert_eq!(again.is(200).0.into_body(), content.unwrap()),
            false => drop(again.says(410, "too large to store")),
        }
        assert_eq!(world.called.len(), 1);
    }
}

/// The handler is never called without a client. Uploads that no client asks for expire.
#[test]
fn uploads_that_no_client_asks_for_expire() {
    let mut world = with(Config::default().expire_after(Duration::from_secs(100)));
    world.application.handler = Box::new(|_, _| Err(Failure::Internal));
    let url = create(&mut world, 6, b"hello");
    append(&mut world, 6, &url, 5, true, b"").send().is(500);
    assert!(!world.recover(&id(&url)) && world.called.len() == 1);
    world.wait(Duration::from_secs(99));
    request(&mut world, 6, Method::HEAD, &url).send().is(204);
    world.wait(Duration::from_secs(1));
    request(&mut world, 6, Method::HEAD, &url).send().is(404);
    assert!(world.recover(&id(&url)) && world.uploads.get(&id(&url)).is_none());

    let mut world = self::world();
    let url = create(&mut world, 6, b"hello");
    append(&mut world, 6, &url, 5, true, b"").send().is(202);
    world.wait(Duration::from_secs(3599));
    append(&mut world, 6, &url, 5, true, b"").send().is(202);
    world.wait(Duration::from_secs(1));
    append(&mut world, 6, &url, 5, true, b"").send().is(404);
    assert!(world.recover(&id(&url)) && world.uploads.get(&id(&url)).is_none());
}

/// A request may take longer than a response is kept.
#[test]
fn a_response_is_kept_from_the_time_it_was_made() {
    let minute = Duration::from_secs(60);
    let mut world = world();
    world.application.handler_takes = minute * 70;
    let (url, began) = (create(&mut world, 6, b"hello"), world.now);
    append(&mut world, 6, &url, 5, true, b"").send().is(202).complete(6, true);
    assert_eq!(world.record(&id(&url)).expires, Some(began + minute * 130));
    world.wait(minute * 60 - Duration::from_secs(1));
    append(&mut world, 6, &url, 5, true, b"").send().is(202);
    world.wait(Duration::from_secs(1));
    append(&mut world, 6, &url, 5, true, b"").send().is(404);
    assert_eq!(world.called.len(), 1);
}
