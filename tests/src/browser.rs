//! Debian's chromium without a window, told what to do over its pipe (`--remote-debugging-pipe`: JSON, a null byte behind each message).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::WITHIN;

/// A browser with one page. Dropping it ends it.
pub struct Browser {
    child: Child,
    to: Mutex<File>,
    number: AtomicU64,
    heard: Arc<Heard>,
    /// The page's.
    session: String,
    /// Pipes and profile.
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Heard {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// What the page complains about: exceptions, and what its policy forbids.
    complaints: Mutex<Vec<String>>,
}

/// How wide the window is, and which colours its owner likes.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

impl Browser {
    /// Panics, with the reason, when there is none: no test may go on without.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
            assert!(made.success(), "mkfifo {}", path.display());
            // For both directions, so that neither end waits for the other to open it.
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            opened.expect("the pipe")
        };
        let (to, from) = (pipe("to"), pipe("from"));
        let child = Command::new("/bin/sh")
            .args(["-c", "exec chromium \"$@\" 3<\"$0/to\" 4>\"$0/from\""])
            .arg(folder.path())
            // As root there is no sandbox; the page is Tandem's own.
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
            ])
            .arg(format!(
                "--user-data-dir={}",
                folder.path().join("profile").display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let heard = Arc::new(Heard::default());
        let listening = Arc::clone(&heard);
        std::thread::spawn(move || listen(from, &listening));
        let mut browser = Self {
            child,
            to: Mutex::new(to),
            number: AtomicU64::new(1),
            heard,
            session: String::new(),
            _folder: folder,
        };
        let target = browser
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", target).await;
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({})).await;
        }
        browser
    }

    pub async fn open(&self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert_eq!(opened["errorText"], Value::Null, "{url}");
    }

    pub async fn resize(&self, window: Window) {
        let Window { width, height, dark } = window;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// The value of an expression in the page; null where it fails, which [`Self::complaints`] tells.
    pub async fn value(&self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked).await;
        answer["result"]["value"].clone()
    }

    /// The text of the element with this id, as it is shown.
    pub async fn text(&self, id: &str) -> String {
        let asked = format!("document.getElementById({id:?})?.textContent");
        let text = self.value(&asked).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the element's text has `words` in it; panics, with the whole page's text, when it takes longer.
    pub async fn wait_text(&self, id: &str, words: &str, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let text = self.text(id).await;
            if text.contains(words) {
                return;
            }
            if Instant::now() > deadline {
                let page = self.value("document.body.innerText").await;
                panic!("{words:?} is not in {id} within {within:?}: {text:?}\n{page}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until an expression is true in the page; panics, with the whole page's text, when it takes longer.
    pub async fn wait_true(&self, expression: &str, within: Duration) {
        let deadline = Instant::now() + within;
        while self.value(expression).await != true {
            if Instant::now() > deadline {
                let page = self.value("document.body.innerText").await;
                panic!("not within {within:?}: {expression}\n{page}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A picture of the window as a PNG.
    pub async fn picture(&self, file: &Path) {
        let shot = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await;
        let bytes = Base64::decode_vec(shot["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("written");
    }

    /// What went wrong in the page.
    pub fn complaints(&self) -> Vec<String> {
        locked(&self.heard.complaints).clone()
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        let id = self.number.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        locked(&self.heard.waiting).insert(id, answer);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = Value::from(self.session.as_str());
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        locked(&self.to).write_all(&bytes).expect("the browser listens");
        let answered = tokio::time::timeout(WITHIN, answered).await;
        let answer = answered
            .unwrap_or_else(|_| panic!("chromium does not answer {method} within {WITHIN:?}; is it installed (.ci/install browser)?"))
            .expect("an answer");
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Hands answers to who waits, until the browser has ended.
fn listen(from: File, heard: &Heard) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    while from.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
        bytes.pop();
        if let Ok(message) = serde_json::from_slice::<Value>(&bytes) {
            match message["id"].as_u64() {
                Some(id) => {
                    if let Some(waits) = locked(&heard.waiting).remove(&id) {
                        let _ = waits.send(message);
                    }
                }
                None => complain(&message, heard),
            }
        }
        bytes.clear();
    }
}

fn complain(event: &Value, heard: &Heard) {
    let entry = &event["params"]["entry"];
    let is_complaint = match event["method"].as_str() {
        Some("Runtime.exceptionThrown") => true,
        // That Tandem is not there any more is what a test may want.
        Some("Log.entryAdded") => entry["level"] == "error" && entry["source"] != "network",
        _ => false,
    };
    if is_complaint {
        locked(&heard.complaints).push(event["params"].to_string());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
