//! Credentials go to their own origin only, and secrets are not shown.

use tus_reqwest::{
    Client, Entry, Fingerprint, MemoryStore, Source, UrlStore,
    reqwest::header::{AUTHORIZATION, HeaderValue},
};

use crate::{
    client, plain,
    server::{Server, answer, tus, tus_but},
};

fn nobody_got_any(server: &Server) {
    assert!(!server.requests().is_empty());
    for request in server.requests() {
        assert_eq!(request.header("authorization"), None, "{}", request.line());
    }
}

#[tokio::test]
async fn other_origins_get_no_credentials_unless_they_are_trusted() {
    let (_, home) = tus();
    let (elsewhere_tus, elsewhere) = tus();
    let secret = HeaderValue::from_static("Bearer secret");
    let builder = || client(&home).header(AUTHORIZATION, secret.clone());
    // Something is there.
    let there = client(&elsewhere).build().unwrap().upload(Source::bytes("hello")).stop_at(2).send().await.unwrap().url;
    let client = builder().build().unwrap();
    client.resume(there.as_str(), Source::bytes("hello")).send().await.unwrap();
    client.info(there.as_str()).await.unwrap();
    client.terminate(there.clone()).await.unwrap();
    assert_eq!(elsewhere.requests().len(), 6, "{:?}", elsewhere.lines());
    nobody_got_any(&elsewhere);
    // A store contains a URL elsewhere.
    let store = MemoryStore::default();
    store.set("the key", &Entry::new(elsewhere.url("/files/evil"))).unwrap();
    let client = builder().url_store(store, Fingerprint::Content).build().unwrap();
    client.upload(Source::bytes("hello")).key("the key").send().await.unwrap();
    assert_eq!(elsewhere.lines().last().unwrap(), "HEAD /files/evil");
    nobody_got_any(&elsewhere);
    assert!(home.requests().iter().all(|request| request.header("authorization") == Some("Bearer secret")));

    let client = builder().trust(elsewhere.url("/anything")).build().unwrap();
    let _ = client.info(there).await;
    assert_eq!(elsewhere.requests().last().unwrap().header("authorization"), Some("Bearer secret"));
    drop(elsewhere_tus);
}

#[tokio::test]
async fn a_password_in_a_url_is_used_and_never_shown() {
    let (_, elsewhere) = tus();
    let location = elsewhere.url("/files/1");
    let (_, server) = tus_but(move |request| {
        (request.method == "POST" && request.path == "/away").then(|| answer(201, &[("Location", &location)]))
    });
    let url = format!("http://user:secret@{}/files", server.address);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("urls.json");
    let store = tus_reqwest::JsonFile::new(&path);
    let builder = Client::builder(&url).options(plain()).url_store(store, Fingerprint::Content);
    assert!(!format!("{builder:?}").contains("secret"));
    let client = builder.build().unwrap();
    let upload = client.upload(Source::bytes("hello")).stop_at(3);
    assert!(!format!("{client:?} {upload:?}").contains("secret"));
    let uploaded = upload.send().await.unwrap();
    assert!(server.requests().iter().all(|request| request.header("authorization") == Some("Basic dXNlcjpzZWNyZXQ=")));
    assert!(!uploaded.url.as_str().contains("secret"));
    let stored = std::fs::read_to_string(&path).unwrap();
    assert!(stored.contains("/files/1") && !stored.contains("secret"), "{stored}");

    let resumed = client.resume(&*format!("http://a:secret@{}/files/1", server.address), Source::bytes("hello"));
    assert!(!format!("{resumed:?}").contains("secret"));
    resumed.send().await.unwrap();
    assert_eq!(server.requests().last().unwrap().header("authorization"), Some("Basic YTpzZWNyZXQ="));

    // Errors: a server that does not exist, and an invalid URL.
    let away = Client::builder(&url.replace("/files", "/away")).options(plain()).build().unwrap();
    let _ = away.upload(Source::bytes("hello")).send().await;
    nobody_got_any(&elsewhere);
    let nowhere = Client::builder("http://user:secret@127.0.0.1:1/").options(plain()).build().unwrap();
    let error = nowhere.info("http://user:secret@127.0.0.1:1/files/1").await.unwrap_err();
    assert!(!format!("{error:?} {}", error.with_causes()).contains("secret"), "{error:?}");
    let error = Client::new("ftp://user:secret@example.org").unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
    let error = Client::new("http://user:secret@:80:80/").unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn errors_do_not_contain_the_urls_of_uploads() {
    let (_, server) = tus_but(|request| (request.method == "HEAD").then_some(crate::server::Reply::Close));
    let client = client(&server).build().unwrap();
    let error = client.info(&*server.url("/files/unguessable")).await.unwrap_err();
    assert!(!format!("{error:?} {}", error.with_causes()).contains("unguessable"), "{error:?}");
}
