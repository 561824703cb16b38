//! The dashboard in a real browser, on a real pair whose active master is killed under load: what somebody would see who has been
//! woken up.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem_tests::browser::{Browser, Window};
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::{Cluster, Setup, WITHIN, roles, wait_until};

const DESK: Window = Window {
    width: 1280,
    height: 1000,
    dark: false,
};
const PHONE: Window = Window {
    width: 390,
    height: 844,
    dark: false,
};

/// Where the pictures go, for somebody to look at: the folder that TANDEM_PICTURES names, or one that is removed.
struct Pictures {
    folder: PathBuf,
    _removed: Option<tempfile::TempDir>,
}

impl Pictures {
    fn new() -> Self {
        match std::env::var_os("TANDEM_PICTURES") {
            Some(folder) => Self {
                folder: folder.into(),
                _removed: None,
            },
            None => {
                let folder = tempfile::tempdir().expect("a folder");
                Self {
                    folder: folder.path().to_owned(),
                    _removed: Some(folder),
                }
            }
        }
    }

    /// At a desk and on a phone, by day and by night. On the phone nothing is wider than it.
    async fn take(&self, browser: &Browser, name: &str) {
        for (place, window) in [("desk", DESK), ("phone", PHONE)] {
            for (time, dark) in [("day", false), ("night", true)] {
                browser.resize(Window { dark, ..window }).await;
                // The next second is drawn for this width.
                browser.value("window.seen = null").await;
                wait_until("the page is drawn for its new width", WITHIN, || async {
                    let drawn = "document.querySelector('#topology svg')?.viewBox.baseVal.width";
                    let drawn = browser.value(drawn).await.as_f64().unwrap_or_default();
                    let room = browser
                        .value("document.getElementById('topology').clientWidth")
                        .await;
                    (room.as_f64().unwrap_or_default() - drawn).abs() < 40.0
                })
                .await;
                let wide = browser.value("document.documentElement.scrollWidth").await;
                assert!(
                    wide.as_u64() <= Some(u64::from(window.width)),
                    "{name}, {place}: {wide}"
                );
                let file = self.folder.join(format!("{name}-{place}-{time}.png"));
                browser.picture(&file).await;
            }
        }
        browser.resize(DESK).await;
    }
}

/// True in the page when it shows all three at once: how bad it is, what, and what that means.
fn shown(level: &str, headline: &str, meaning: &str) -> String {
    let text =
        |id: &str, words: &str| format!("document.getElementById({id:?}).textContent.includes({words:?})");
    let level = format!("document.getElementById('verdict').className === {level:?}");
    [level, text("headline", headline), text("meaning", meaning)].join(" && ")
}

/// What `tandem top --once` says of it.
fn in_a_terminal(cluster: &Cluster) -> String {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let text = tandem::demo::config_text(cluster.pair(), any, any);
    file.write_all(text.as_bytes()).expect("written");
    let shown = Command::new(env!("CARGO_BIN_EXE_proxy"))
        .env_clear()
        .args(["top", "--once", "--config"])
        .arg(file.path())
        .args(["--set", &format!("metrics.address={}", cluster.metrics_address())])
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&shown.stderr);
    assert!(shown.status.success(), "{errors}");
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

/// The page says that all is well, then by itself that the master is down, who took over and how long writes waited, and at last
/// that nobody answers any more.
#[tokio::test]
async fn an_operator_sees_a_failover_as_it_happens() {
    let pictures = Pictures::new();
    let mut setup = Setup::with_failover();
    setup.change = |config| {
        config.metrics.address = Some(([127, 0, 0, 1], 0).into());
        // A busy machine's standby falls behind, which is another story.
        config.monitor.max_lag = Duration::from_secs(3600);
    };
    let cluster = Cluster::start(setup).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    roles::wait_ready(&cluster, WITHIN).await;
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 1);
    ledger::wait_rows(cluster.opts(Some("shop")), 100, WITHIN).await;
    let mut pinned = cluster.client_in("shop").await;
    let statement = "CREATE TEMPORARY TABLE draft (id INT)";
    pinned.query_drop(statement).await.expect(statement);

    let browser = Browser::start().await;
    browser.resize(DESK).await;
    browser
        .open(&format!("http://{}/", cluster.metrics_address()))
        .await;
    browser
        .wait_true(&shown("ok", "All is well", "a takes writes"), WITHIN)
        .await;
    browser
        .wait_true(&shown("ok", "All is well", "b could take over now"), WITHIN)
        .await;
    browser.wait_text("topology", "ACTIVE MASTER", WITHIN).await;
    browser.wait_text("topology", "STANDBY", WITHIN).await;
    browser.wait_text("holding", "temporary table", WITHIN).await;
    browser.wait_text("roles", "a active", WITHIN).await;
    pictures.take(&browser, "well").await;
    // Under load on a busy machine the standby may be late for a moment.
    wait_until("a terminal shows the same", WITHIN, || async {
        let told = in_a_terminal(&cluster);
        assert!(told.contains("temporary table"), "{told}");
        told.starts_with("OK: All is well\n")
    })
    .await;

    // The page is not loaded again from here on.
    browser.value("window.same = true").await;
    cluster.a().kill9().expect("killed");
    browser
        .wait_true(&shown("warn", "a is down", "served by b alone"), WITHIN)
        .await;
    browser.wait_text("notes", "Failover from a to b", WITHIN).await;
    browser.wait_text("roles", "failover, ", WITHIN).await;
    browser.wait_text("topology", "DOWN", WITHIN).await;
    browser.wait_text("events", "promoted", WITHIN).await;
    let title = browser.value("document.title").await;
    assert!(
        title
            .as_str()
            .is_some_and(|title| title.starts_with("! a is down")),
        "{title}"
    );
    assert_eq!(browser.value("window.same").await, true);
    pictures.take(&browser, "failed-over").await;
    let told = in_a_terminal(&cluster);
    assert!(told.starts_with("LOOK: a is down"), "{told}");
    assert!(told.contains("\nFailover "), "{told}");
    println!("{told}");

    let mut survivor = cluster.direct(cluster.b()).await;
    load.settle(&mut survivor).await.assert_nothing_lost();
    drop((pinned, survivor));
    cluster.stop().await;
    browser
        .wait_text("headline", "Tandem does not answer", WITHIN)
        .await;
    browser.wait_text("meaning", " old.", WITHIN).await;
    pictures.take(&browser, "gone").await;
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
