//! What a service manager hears of Tandem, on a socket of the test's own: systemd's sd_notify(3).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tandem_tests::{WITHIN, config_without_servers};
use tempfile::TempDir;

/// Of the watchdog: Tandem has to be heard so often.
const LIMIT: Duration = Duration::from_millis(900);

/// The socket and what runs under it. Dropping it kills that.
struct Manager {
    socket: UnixDatagram,
    child: Child,
    heard: Vec<String>,
}

impl Manager {
    /// Tandem under a watchdog, in front of servers of which none is there.
    fn start(folder: &TempDir) -> Self {
        let config = folder.path().join("tandem.toml");
        fs::write(&config, config_without_servers("127.0.0.1:0")).expect("its configuration");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let child = Command::new(env!("CARGO_BIN_EXE_proxy"))
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", LIMIT.as_micros().to_string())
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        Self {
            socket,
            child,
            heard: Vec::new(),
        }
    }

    /// What comes within a time: one message has one line or more.
    fn hear(&mut self, within: Duration) -> Option<Vec<String>> {
        let mut message = [0; 4096];
        self.socket.set_read_timeout(Some(within)).expect("a timeout");
        let length = self.socket.recv(&mut message).ok()?;
        let text = std::str::from_utf8(&message[..length]).expect("UTF-8");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.heard.extend_from_slice(&lines);
        Some(lines)
    }

    /// Waits for a message that has a line which begins so.
    fn wait_for(&mut self, start: &str) -> Vec<String> {
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            let lines = self.hear(WITHIN).unwrap_or_default();
            if lines.iter().any(|line| line.starts_with(start)) {
                return lines;
            }
        }
        panic!("no {start} within {WITHIN:?}: {:?}", self.heard);
    }

    fn signal(&self, name: &str) {
        let number = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &number]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It is told when Tandem is ready and what it serves with, is kept informed while all is well, hears nothing while Tandem hangs,
/// and learns that it stops on purpose and how long that may take.
#[test]
fn the_manager_is_told_from_ready_to_stopping() {
    let folder = TempDir::new().expect("a folder");
    let mut manager = Manager::start(&folder);
    let first = manager.wait_for("READY=1");
    let status = first.iter().find(|line| line.starts_with("STATUS=127.0.0.1:"));
    let status = status.unwrap_or_else(|| panic!("{first:?}"));
    assert!(status.contains("no active master: a is down: "), "{status}");

    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    manager.signal("STOP");
    // What was under way before it stood still.
    while manager.hear(LIMIT / 2).is_some() {}
    assert_eq!(manager.hear(LIMIT), None, "nothing is heard of one that hangs");
    manager.signal("CONT");
    manager.wait_for("WATCHDOG=1");

    manager.signal("HUP");
    let reloading = manager.wait_for("RELOADING=1");
    let since = reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC="));
    assert!(since, "{reloading:?}");
    manager.wait_for("READY=1");

    manager.signal("TERM");
    let last = manager.wait_for("STOPPING=1");
    let extended = last.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=20000000");
    assert!(extended, "shutdown_timeout and what else it takes: {last:?}");
    let deadline = Instant::now() + WITHIN;
    let ended = loop {
        if let Some(ended) = manager.child.try_wait().expect("its state") {
            break ended;
        }
        assert!(Instant::now() < deadline, "it does not end");
        manager.hear(Duration::from_millis(50));
    };
    assert_eq!(ended.code(), Some(0));
}
