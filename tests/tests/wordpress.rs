//! WordPress as Debian ships it, unchanged, on a pair through Tandem.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem_tests::{Cluster, Flavor, Setup, external, wait_until};

const POSTS: &str = "20";

/// How the lines begin that WordPress 6.1 logs on PHP 8.2 without a network, whatever database it has.
const KNOWN: &[&str] = &[
    "PHP Deprecated:  ",
    "PHP Warning:  An unexpected error occurred. Something may be wrong with WordPress.org",
    "PHP Warning:  Undefined variable $upload_path in ",
    "PHP Warning:  Undefined variable $upload_url_path in ",
];

/// One session does not wait for another's writes yet, so a page may come too early. More than this would be
/// a fault; so far none was seen.
const MOST_MISSED: usize = 2;

#[tokio::test]
async fn wordpress_installs_publishes_comments_and_searches() {
    let tandem_log = collect_warnings();
    let cluster = Cluster::start(Setup::default()).await;
    cluster.create_database("test_wordpress").await;
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site::start(folder.path(), cluster.address()).await;

    let script = format!("{}/scripts/wordpress.py", env!("CARGO_MANIFEST_DIR"));
    let mut visit = tokio::process::Command::new("/usr/bin/python3");
    visit.args([&script, &format!("http://{}", site.address), POSTS]);
    let output = external::run(visit, site.address, "").await;
    println!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.status, Some(0), "PHP's log:\n{}", site.log());
    let php_log = site.log();
    drop(site);
    let missed = output
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("missed ")?.split(' ').next());
    let missed: usize = missed.and_then(|count| count.parse().ok()).expect("a count");
    assert!(missed <= MOST_MISSED, "{missed} pages came too early");
    assert!(
        !php_log.contains("PHP Fatal") && !php_log.contains("PHP Warning"),
        "{php_log}"
    );

    let log = std::fs::read_to_string(folder.path().join("debug.log")).unwrap_or_default();
    let complaints: Vec<&str> = log.lines().filter(|line| !is_known(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    cluster.wait_replicated().await;
    assert_eq!(
        sums(&cluster, 0).await,
        sums(&cluster, 1).await,
        "both servers hold the same site"
    );
    let (a, b) = (
        cluster.query_counts(cluster.a()).await,
        cluster.query_counts(cluster.b()).await,
    );
    println!(
        "reads: {} on a, {} on b; writes: {} on a, {} on b",
        a.reads, b.reads, a.writes, b.writes
    );
    assert!(
        a.writes > 0 && b.writes == 0,
        "every write goes to the active master"
    );
    assert!(a.reads > 0 && b.reads > 0, "reads go to both");
    assert_eq!(
        own_commits(&cluster).await,
        0,
        "nothing of any kind was committed by the standby itself"
    );
    println!("why reads went where they went: {}", reasons(&cluster).await);
    let log = String::from_utf8_lossy(&tandem_log.lock().expect("the log")).into_owned();
    assert_eq!(log, "", "Tandem has nothing to warn of");
    cluster.assert_logs_clean();
    cluster.stop().await;
}

/// Tandem runs in this process: what it logs as a warning or an error is collected here.
fn collect_warnings() -> Arc<Mutex<Vec<u8>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer({
            let log = Arc::clone(&log);
            move || Collector(Arc::clone(&log))
        })
        .init();
    tracing::warn!("the log is collected");
    let seen = std::mem::take(&mut *log.lock().expect("the log"));
    assert!(!seen.is_empty(), "a warning would be seen");
    log
}

struct Collector(Arc<Mutex<Vec<u8>>>);

impl Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lines come as `[date] text`.
fn is_known(line: &str) -> bool {
    let text = line.split_once("] ").map_or(line, |(_, text)| text);
    KNOWN.iter().any(|known| text.starts_with(known))
}

/// Kinds of commits in the standby's binary log that bear its own name.
async fn own_commits(cluster: &Cluster) -> usize {
    let question = match cluster.b().engine().flavor() {
        Flavor::MariaDb => "SELECT @@gtid_binlog_state, '-2-'",
        Flavor::MySql => "SELECT @@gtid_executed, @@server_uuid",
    };
    let mut conn = cluster.direct(cluster.b()).await;
    let state: Option<(String, String)> = conn.query_first(question).await.expect("a state");
    let (state, own) = state.expect("a state");
    assert!(!state.is_empty(), "something was committed: {state:?}");
    state.split(',').filter(|gtid| gtid.contains(&own)).count()
}

async fn reasons(cluster: &Cluster) -> String {
    let mut admin = cluster.admin().await;
    let rows: Vec<mysql_async::Row> = admin.query("SHOW COUNTERS").await.expect("counters");
    let counters = rows.into_iter().map(|row| {
        let name: String = row.get("counter").expect("a name");
        (name, row.get::<u64, _>("value").expect("a number"))
    });
    let routed = counters.filter(|(name, value)| name.starts_with("routed: ") && *value > 0);
    let routed: Vec<String> = routed
        .map(|(name, value)| format!("{} {value}", &name[8..]))
        .collect();
    routed.join(", ")
}

async fn sums(cluster: &Cluster, server: usize) -> Vec<(String, Option<u64>)> {
    let mut conn = cluster.direct(&cluster.pair().servers()[server]).await;
    conn.query_drop("USE test_wordpress").await.expect("the schema");
    let tables: Vec<String> = conn.query("SHOW TABLES").await.expect("tables");
    assert!(tables.len() >= 12, "{tables:?}");
    conn.query(format!("CHECKSUM TABLE {}", tables.join(",")))
        .await
        .expect("checksums")
}

/// A private copy of WordPress served by PHP itself; ends when dropped.
struct Site {
    address: SocketAddr,
    server: Child,
    log: std::path::PathBuf,
}

impl Site {
    async fn start(folder: &Path, database: SocketAddr) -> Self {
        let root = folder.join("site");
        // Debian's tree has links into other packages; the copy must not.
        let copied = Command::new("cp")
            .args(["-rL", "/usr/share/wordpress"])
            .arg(&root)
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the package `wordpress` is not installed (.ci/install)"
        );
        std::fs::write(root.join("wp-config.php"), config(folder, database)).expect("a configuration");
        let router = folder.join("router.php");
        std::fs::write(&router, ROUTER).expect("a router");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let log = folder.join("php.log");
        let file = std::fs::File::create(&log).expect("a log");
        let server = Command::new("php")
            .args(["-d", "opcache.enable_cli=1", "-S", &address.to_string(), "-t"])
            .args([&root, &router])
            .env("PHP_CLI_SERVER_WORKERS", "4")
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .spawn()
            .expect("PHP's own server");
        let site = Self { address, server, log };
        wait_until("PHP serves", Duration::from_secs(10), || async {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        site
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The whole group: PHP's workers outlive a parent that is killed.
        let group = format!("-{}", self.server.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.server.wait();
    }
}

fn config(folder: &Path, database: SocketAddr) -> String {
    let log = folder.join("debug.log");
    format!(
        "<?php
define('DB_NAME', 'test_wordpress');
define('DB_USER', '{}');
define('DB_PASSWORD', '{}');
define('DB_HOST', '{database}');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('WP_DEBUG', true);
define('WP_DEBUG_DISPLAY', false);
define('WP_DEBUG_LOG', '{}');
define('AUTOMATIC_UPDATER_DISABLED', true);
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $what) {{
    define($what . '_KEY', \"key of the test $what\");
    define($what . '_SALT', \"salt of the test $what\");
}}
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
",
        APP.user,
        APP.password,
        log.display()
    )
}

/// Files are served as they are, everything else by WordPress.
const ROUTER: &str = "<?php
$file = $_SERVER['DOCUMENT_ROOT'] . parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (is_file($file)) return false;
if (is_dir($file) && is_file(rtrim($file, '/') . '/index.php')) {
    $_SERVER['PHP_SELF'] = $_SERVER['SCRIPT_NAME'] = rtrim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/') . '/index.php';
    chdir(rtrim($file, '/'));
    require rtrim($file, '/') . '/index.php';
    return true;
}
require $_SERVER['DOCUMENT_ROOT'] . '/index.php';
";
