//! A headless Chromium, driven by its chromedriver.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{Client, ClientBuilder, Locator, error::CmdError, wd::WebDriverCompatibleCommand};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page. It ends when this is dropped.
pub(crate) struct Chromium {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

/// How long a test waits for the page before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the page is polled.
const LOOK: Duration = Duration::from_millis(20);

impl Chromium {
    /// `None` if Chromium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stdin(Stdio::null()).spawn();
        let mut driver = driver.ok()?;
        let mut lines = BufReader::new(driver.stdout.take()?).lines().map_while(Result::ok);
        let said = lines.find_map(|line| Some(line.split_once("started successfully on port ")?.1.to_owned()))?;
        // Its later output is read, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = TempDir::new().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        // Tests run as root in containers, where Chromium's sandbox does not work.
        let arguments = json!({ "goog:chromeOptions": { "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", data,
        ] } });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(arguments.as_object()?.clone())
            .connect(&format!("http://127.0.0.1:{}", said.trim_end_matches('.')))
            .await;
        match client {
            Ok(client) => Some(Self { client, driver, _profile: profile }),
            Err(error) => {
                let _ = driver.kill();
                let _ = driver.wait();
                panic!("chromedriver is installed, but its browser does not start: {error}");
            }
        }
    }

    /// Opens or reloads a page, and records the errors of its scripts.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
        let keep = "window.errors = []; \
            addEventListener('error', (event) => errors.push(event.message)); \
            addEventListener('unhandledrejection', (event) => errors.push(String(event.reason)))";
        self.client.execute(keep, Vec::new()).await.unwrap();
    }

    /// The errors of the page's scripts.
    pub(crate) async fn errors(&self) -> Value {
        self.client.execute("return window.errors", Vec::new()).await.unwrap()
    }

    /// Limits the page's upload rate.
    pub(crate) async fn throttle(&self, bytes_per_second: u64) {
        let conditions = json!({
            "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second,
        });
        self.client.issue_cmd(DevTools("Network.enable", json!({}))).await.unwrap();
        self.client.issue_cmd(DevTools("Network.emulateNetworkConditions", conditions)).await.unwrap();
    }

    /// Chooses files in an input.
    pub(crate) async fn choose(&self, css: &str, files: &[&Path]) {
        let paths: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
        self.client.find(Locator::Css(css)).await.unwrap().send_keys(&paths.join("\n")).await.unwrap();
    }

    /// Clicks the element that a script returns.
    pub(crate) async fn click(&self, found: &str) {
        self.client.execute(&format!("({found}).click()"), Vec::new()).await.unwrap();
    }

    /// Waits until a script returns the expected value.
    pub(crate) async fn wait_for<T>(&self, script: &str, right: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.client.execute(script, Vec::new()).await.unwrap();
            if let Some(found) = right(&value) {
                return found;
            }
            assert!(Instant::now() < deadline, "the expected value did not appear; the last one was {value:#}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes the browser cleanly.
    pub(crate) async fn close(self) -> Result<(), CmdError> {
        self.client.clone().close().await
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A command of Chromium's developer tools, which WebDriver does not have.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}
