//! A real Chromium without a window, driven by Debian's chromedriver.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::packages::program;
use super::process::{Daemon, PATIENCE, free_port};
use super::requests::request;

/// What WebDriver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window of one browser, with a profile of its own.
pub struct Browser {
    driver: Daemon,
    addr: SocketAddr,
    session: String,
}

impl Browser {
    /// Starts it; its profile and its logs lie in this directory. `args` are Chromium's.
    pub fn start(dir: &Path, args: &[&str]) -> Self {
        let chromium = program("chromium", "chromium");
        let driver = program("chromedriver", "chromium-driver");
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let addr = SocketAddr::new(here, free_port(here));
        let port = format!("--port={}", addr.port());
        let mut driver =
            Daemon::start_to_end_by("TERM", "chromedriver", &driver, &[&port], &dir.join("chromedriver.log"));
        driver.wait_for_port(addr);
        let profile = format!("--user-data-dir={}", dir.join("profile").display());
        let mut own =
            vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000", &profile];
        if rustix::process::geteuid().is_root() {
            own.push("--no-sandbox");
        }
        own.extend(args);
        let options = json!({ "binary": chromium, "args": own });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let mut browser = Self { driver, addr, session: String::new() };
        let began =
            browser.call("POST", "/session", &wanted).unwrap_or_else(|e| panic!("Chromium does not start: {e}"));
        browser.session = format!("/session/{}", began["sessionId"].as_str().expect("a session"));
        browser
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let host = self.addr.to_string();
        let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
        let reply = request(self.addr, &format!("{method} {path}"), &headers, &body);
        let mut said: Value = serde_json::from_str(&reply.body).map_err(|e| format!("{e}: {}", reply.body))?;
        match reply.status {
            200 => Ok(said["value"].take()),
            _ => Err(said["value"]["message"].as_str().unwrap_or(&reply.body).to_owned()),
        }
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        let path = format!("{}{path}", self.session);
        self.call("POST", &path, &body).unwrap_or_else(|e| panic!("{path}: {e}\n{}", self.text()))
    }

    /// Goes to an address.
    pub fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url }));
    }

    /// Where it is.
    pub fn url(&self) -> String {
        let url = self.call("GET", &format!("{}/url", self.session), &Value::Null);
        url.ok().and_then(|url| Some(url.as_str()?.to_owned())).unwrap_or_default()
    }

    /// What a script returns.
    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub fn wait_for(&self, expression: &str) {
        let began = Instant::now();
        // A page that is on its way has none of what is asked for.
        while self.script(&format!("try {{ return Boolean({expression}) }} catch (e) {{ return false }}")) != true {
            assert!(began.elapsed() < PATIENCE, "never: {expression}\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the page says these words.
    #[track_caller]
    pub fn wait_for_words(&self, words: &str) {
        self.wait_for(&format!("document.body.innerText.includes({})", json!(words)));
    }

    /// All that can be read.
    pub fn text(&self) -> String {
        let script = json!({ "script": "return document.body ? document.body.innerText : ''", "args": [] });
        let text = self.call("POST", &format!("{}/execute/sync", self.session), &script);
        text.ok().and_then(|text| Some(text.as_str()?.to_owned())).unwrap_or_default()
    }

    #[track_caller]
    fn find(&self, css: &str) -> String {
        self.wait_for(&format!("document.querySelector({})", json!(css)));
        let found = self.post("/element", json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks as a person would: what is covered or disabled is not clicked.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let began = Instant::now();
        loop {
            // It may be drawn anew between being found and being clicked.
            let path = format!("{}/element/{}/click", self.session, self.find(css));
            match self.call("POST", &path, &json!({})) {
                Ok(_) => return,
                Err(e) => assert!(began.elapsed() < PATIENCE, "{css}: {e}\n{}", self.text()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types into a field.
    #[track_caller]
    pub fn type_into(&self, css: &str, text: &str) {
        let id = self.find(css);
        self.post(&format!("/element/{id}/value"), json!({ "text": text }));
    }

    /// Something of Chromium's own protocol.
    #[track_caller]
    pub fn protocol(&self, command: &str, params: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params }));
    }

    /// Keeps what is seen, in light or dark, at a width and a height, as PNG.
    pub fn picture(&self, path: &Path, dark: bool, (width, height): (u32, u32)) {
        let features = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.protocol("Emulation.setEmulatedMedia", json!({ "features": features }));
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.protocol("Emulation.setDeviceMetricsOverride", screen);
        std::thread::sleep(Duration::from_millis(400));
        let png = self.call("GET", &format!("{}/screenshot", self.session), &Value::Null).expect("a picture");
        let bytes = domain::utils::base64::decode::<Vec<u8>>(png.as_str().expect("a picture")).expect("base64");
        std::fs::write(path, bytes).expect("a picture is kept");
        self.protocol("Emulation.clearDeviceMetricsOverride", json!({}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It takes Chromium with it.
            let _ = self.call("DELETE", &self.session, &Value::Null);
        }
        self.driver.terminate();
    }
}
