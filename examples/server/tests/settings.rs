//! File, environment, and what is refused.

use tus_reqwest::reqwest;

use crate::program::Setup;

async fn options(url: String) -> reqwest::Response {
    reqwest::Client::new().request(reqwest::Method::OPTIONS, url).send().await.unwrap()
}

#[tokio::test]
async fn a_variable_outranks_the_file() {
    let setup = Setup::new().file("path = \"/uploads\"\nmax_size = 5\nexpires = 0").set("TUS_MAX_SIZE", "7");
    let server = setup.start().await;
    let response = options(server.url("/uploads")).await;
    assert_eq!(response.headers()["tus-max-size"], "7");
    assert!(!response.headers()["tus-extension"].to_str().unwrap().contains("expiration"));
    assert_eq!(options(server.url("/files")).await.status(), 404);
    assert_eq!(options(server.url("/uploadsx")).await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn unknown_keys_are_refused_by_name() {
    let setup = Setup::new().file("max_sise = 5");
    for arguments in [&["--check-config"][..], &[]] {
        let (success, output, errors) = setup.run(arguments).await;
        assert!(!success && output.is_empty());
        let file = setup.path("server.toml");
        assert_eq!(
            errors,
            format!("tus-serve: {}: unknown setting `max_sise`; did you mean `max_size`?\n", file.display())
        );
    }
    assert!(!setup.path("uploads-data").exists(), "nothing was made");
}

#[tokio::test]
async fn check_config_checks_and_starts_nothing() {
    let setup = Setup::new().file("max_size = 5");
    let (success, output, errors) = setup.run(&["--check-config"]).await;
    assert!(success, "{errors}");
    assert_eq!(output, "the configuration is valid\n");
    assert!(!setup.path("uploads-data").exists());
    let (success, _, errors) = setup.set("TUS_DURABILITY", "fast").run(&["--check-config"]).await;
    assert!(!success);
    assert_eq!(errors, "tus-serve: `durability` is \"fast\", but it must be synced or buffered\n");
}

#[tokio::test]
async fn the_page_is_there_if_it_is_wanted() {
    for (path, page) in [("/files", "/"), ("/app/files/", "/app/")] {
        let server = Setup::new().set("TUS_PAGE", "on").set("TUS_PATH", path).start().await;
        let page = reqwest::get(server.url(page)).await.unwrap();
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(page.text().await.unwrap().contains("<title>Upload files</title>"));
        server.stop().await;
    }
    let server = Setup::new().start().await;
    assert_eq!(reqwest::get(server.url("/")).await.unwrap().status(), 404);
    server.stop().await;
}
