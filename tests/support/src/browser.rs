//! A real Chromium, driven through chromedriver: what it shows, what it asked for, and what it complained about.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Request};
use crate::process::{Program, free_port, installed, wait_for};

/// How long chromedriver and Chromium may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long something may take to show on a page that asks every other second.
const SHOW_LIMIT: Duration = Duration::from_secs(30);

/// What a desktop's window is like, and a phone's.
pub const DESKTOP: (u32, u32) = (1280, 900);
/// See [`DESKTOP`].
pub const PHONE: (u32, u32) = (360, 780);

/// The key that moves the focus, as WebDriver writes it.
pub const TAB: &str = "\u{e004}";
/// The key that follows a link.
pub const ENTER: &str = "\u{e007}";

/// A browser with one window. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    // Before the directory that they write to.
    _program: Program,
    _directory: TempDir,
}

impl Browser {
    /// Starts a browser that has nothing from earlier runs, and asks no proxy.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the browser");
        let driver = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(installed("chromedriver"));
        command.arg(format!("--port={}", driver.port()));
        // What it leaves behind goes with the directory.
        command.env("TMPDIR", directory.path()).env("HOME", directory.path());
        let program = Program::start(&mut command, &directory.path().join("chromedriver.log"));
        wait_for("chromedriver", START_LIMIT, || {
            let mut connection = http::Connection::open(driver).ok()?;
            let status = connection.send(&Request::get("/status")).ok()?;
            (status.status == 200).then_some(())
        });
        let arguments = [
            "--headless=new",
            // Tests run as root, in containers too.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            "--hide-scrollbars",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments, "binary": installed("chromium") },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let answer = call(driver, "/session", &wanted);
        let session = answer["sessionId"].as_str().expect("a session").to_owned();
        let browser = Self { driver, session, _program: program, _directory: directory };
        browser.resize(DESKTOP);
        browser
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        call(self.driver, &format!("/session/{}{path}", self.session), body)
    }

    /// Loads a page.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Loads the page anew.
    pub fn reload(&self) {
        self.command("/refresh", &json!({}));
    }

    /// What a function's body returns in the page.
    #[must_use]
    pub fn eval(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same, as text.
    #[must_use]
    pub fn text(&self, script: &str) -> String {
        self.eval(script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true in the page.
    pub fn wait_until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        wait_for(expression, SHOW_LIMIT, || (self.eval(&script) == true).then_some(()));
    }

    /// Types on the keyboard, whatever has the focus.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key.to_string() }))
        });
        let strokes: Vec<Value> = strokes.collect();
        self.command(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] }),
        );
    }

    /// Asks the browser itself for something, in the words of the DevTools protocol.
    pub fn devtools(&self, method: &str, parameters: &Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": method, "params": parameters }))
    }

    /// Prefers `light` or `dark` colours from now on.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Has a window of this width and height from now on.
    pub fn resize(&self, (width, height): (u32, u32)) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Keeps a picture of the whole page below `target/evidence`, and says where.
    pub fn keep_picture(&self, name: &str) {
        let parameters = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.devtools("Page.captureScreenshot", &parameters);
        let base64 = taken["data"].as_str().expect("a picture");
        let png = base64::prelude::BASE64_STANDARD.decode(base64).expect("a picture in base64");
        let path = evidence().join(format!("{name}.png"));
        fs::write(&path, png).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        println!("kept {}", path.display());
    }

    /// What the browser complained about since the last time: errors of scripts, what it refused to load, what is missing.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser");
        let told = entries.iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        told.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The URLs that it asked for since the last time.
    #[must_use]
    pub fn requested(&self) -> Vec<String> {
        let requests = self.events("Network.requestWillBeSent");
        requests.iter().map(|event| event["request"]["url"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the DevTools protocol told of something since the last time that anything was asked for.
    #[must_use]
    pub fn events(&self, method: &str) -> Vec<Value> {
        let entries = self.log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            (message["message"]["method"] == method).then(|| message["message"]["params"].clone())
        });
        entries.collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.command("/se/log", &json!({ "type": kind }));
        entries.as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session, and not with the driver. A driver that is gone has none.
        let request = Request::new("DELETE", &format!("/session/{}", self.session));
        let _ = http::Connection::open(self.driver).and_then(|mut connection| connection.send(&request));
    }
}

/// Where pictures are kept: `target/evidence`, beside the profile's directory.
fn evidence() -> PathBuf {
    let program = std::env::current_exe().expect("the running program's path");
    // target/<profile>/deps/<test>
    let target = program.ancestors().find(|path| path.join("CACHEDIR.TAG").is_file());
    let directory = target.expect("the program lies in a target directory").join("evidence");
    fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    directory
}

fn call(driver: SocketAddr, path: &str, body: &Value) -> Value {
    let request = Request::post(path, body.to_string()).header("Content-Type", "application/json");
    let response = http::send(driver, &request);
    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    assert_eq!(response.status, 200, "{path}: {}", answer["value"]);
    answer["value"].clone()
}
