//! A headless Chromium, driven by its chromedriver.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    error::CmdError,
    wd::{WebDriverCompatibleCommand, WindowHandle},
};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page. It ends when this is dropped.
pub(crate) struct Chromium {
    client: Client,
    driver: Child,
    _profile: TempDir,
}

/// How a page is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// CSS pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    /// The reader's font size in CSS pixels. The usual one is 16.
    pub(crate) font_size: u32,
    /// Device pixels of a CSS pixel.
    pub(crate) scale: u32,
}

impl Look {
    pub(crate) const DESKTOP: Self = Self { width: 1100, height: 800, dark: false, font_size: 16, scale: 1 };
    pub(crate) const PHONE: Self = Self { width: 360, height: 740, ..Self::DESKTOP };

    pub(crate) const fn dark(self) -> Self {
        Self { dark: true, ..self }
    }

    /// Text of 200 %.
    pub(crate) const fn large_text(self) -> Self {
        Self { font_size: 32, ..self }
    }
}

/// How long a test waits for the page before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the page is polled.
const LOOK: Duration = Duration::from_millis(20);

impl Chromium {
    /// `None` if Chromium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_as(Look::DESKTOP).await
    }

    /// The same with another look.
    pub(crate) async fn start_as(look: Look) -> Option<Self> {
        let (mut driver, port) = start_driver()?;
        let profile = TempDir::new().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        // Tests run as root in containers, where Chromium's sandbox does not work.
        let arguments = json!({ "goog:chromeOptions": { "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", data,
        ], "prefs": { "webkit.webprefs.default_font_size": look.font_size } } });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(arguments.as_object()?.clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await;
        match client {
            Ok(client) => {
                let browser = Self { client, driver, _profile: profile };
                browser.show_as(look).await;
                Some(browser)
            }
            Err(error) => {
                end(&mut driver);
                panic!("chromedriver is installed, but its browser does not start: {error}");
            }
        }
    }

    /// Opens or reloads a page, and records the errors of its scripts.
    pub(crate) async fn open(&self, url: &str) {
        self.go(url).await;
        let keep = "window.errors = []; \
            addEventListener('error', (event) => errors.push(event.message)); \
            addEventListener('unhandledrejection', (event) => errors.push(String(event.reason)))";
        self.run(keep).await;
    }

    /// Opens a page that may run no scripts.
    pub(crate) async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// The errors of the page's scripts.
    pub(crate) async fn errors(&self) -> Value {
        self.run("return window.errors").await
    }

    /// Sets all of a look but the font size, without transitions: a picture shows the end of each.
    pub(crate) async fn show_as(&self, look: Look) {
        let (dark, still) = (if look.dark { "dark" } else { "light" }, "reduce");
        let size = json!({ "width": look.width, "height": look.height, "deviceScaleFactor": look.scale, "mobile": look.width < 500 });
        self.command("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": dark }, { "name": "prefers-reduced-motion", "value": still },
        ] });
        self.command("Emulation.setEmulatedMedia", features).await;
    }

    /// Sends a command of Chromium's developer tools.
    pub(crate) async fn command(&self, name: &'static str, parameters: Value) -> Value {
        self.client.issue_cmd(DevTools(name, parameters)).await.unwrap()
    }

    /// Limits the page's upload rate.
    pub(crate) async fn throttle(&self, bytes_per_second: u64) {
        self.set_network(false, json!(bytes_per_second)).await;
    }

    /// Disconnects the page, or connects it without a limit.
    pub(crate) async fn set_offline(&self, offline: bool) {
        self.set_network(offline, json!(-1)).await;
    }

    async fn set_network(&self, offline: bool, rate: Value) {
        let conditions =
            json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": rate });
        self.command("Network.enable", json!({})).await;
        self.command("Network.emulateNetworkConditions", conditions).await;
    }

    /// Chooses files in an input.
    pub(crate) async fn choose(&self, css: &str, files: &[&Path]) {
        let paths: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
        self.client.find(Locator::Css(css)).await.unwrap().send_keys(&paths.join("\n")).await.unwrap();
    }

    /// Drops files and folders on an element.
    pub(crate) async fn drop_on(&self, css: &str, paths: &[&Path]) {
        let middle = format!(
            "const box = document.querySelector('{css}').getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]"
        );
        let middle = self.run(&middle).await;
        // A drag that may be copied.
        let data = json!({ "items": [], "files": paths, "dragOperationsMask": 1 });
        for event in ["dragEnter", "dragOver", "drop"] {
            let event = json!({ "type": event, "x": middle[0], "y": middle[1], "data": data });
            self.command("Input.dispatchDragEvent", event).await;
        }
    }

    /// Presses keys, which the focused element gets.
    pub(crate) async fn press(&self, keys: &str) {
        self.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// What a script returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// What a script gives to the function that is its first argument.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        self.client.execute_async(script, Vec::new()).await.unwrap()
    }

    /// Opens another tab and goes there.
    pub(crate) async fn new_tab(&self) -> WindowHandle {
        let tab = self.client.new_window(true).await.unwrap().handle;
        self.client.switch_to_window(tab.clone()).await.unwrap();
        tab
    }

    /// The tab that the other functions are about.
    pub(crate) async fn tab(&self) -> WindowHandle {
        self.client.window().await.unwrap()
    }

    pub(crate) async fn go_to(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Closes the tab that it is in. Then it is in none.
    pub(crate) async fn close_tab(&self) {
        self.client.close_window().await.unwrap();
    }

    /// Clicks the element that a script returns, as soon as it is there and not hidden.
    pub(crate) async fn click(&self, found: &str) {
        let click = format!("const it = {found}; return it && !it.hidden ? (it.click(), true) : false");
        self.wait_for(&click, |clicked| (clicked == true).then_some(())).await;
    }

    /// Waits until a script returns the expected value.
    pub(crate) async fn wait_for<T>(&self, script: &str, right: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.run(script).await;
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
        end(&mut self.driver);
    }
}

/// Ends chromedriver and its browser, which would survive it.
fn end(driver: &mut Child) {
    let group = Pid::from_child(driver);
    let _ = kill_process_group(group, Signal::KILL);
    let _ = driver.wait();
}

/// Starts chromedriver on a free port. `None` if it is not installed.
fn start_driver() -> Option<(Child, String)> {
    // It listens on one port of IPv4 and IPv6, and ends if somebody else has taken it on one of them.
    for _ in 0..20 {
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").process_group(0).stdout(Stdio::piped()).stdin(Stdio::null());
        let mut driver = driver.spawn().ok()?;
        let mut lines = BufReader::new(driver.stdout.take()?).lines().map_while(Result::ok);
        let said = lines.find_map(|line| Some(line.split_once("started successfully on port ")?.1.to_owned()));
        if let Some(port) = said {
            // Its later output is read, so that it never blocks on a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Some((driver, port.trim_end_matches('.').to_owned()));
        }
        let _ = driver.wait();
    }
    panic!("chromedriver is installed, but finds no free port");
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
