//! WordPress as Debian ships it, unchanged, on a pair through Tandem.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem_tests::{Cluster, Setup, external, wait_until};

const POSTS: &str = "20";

/// What WordPress 6.1 logs on PHP 8.2 without a network, whatever database it has.
const KNOWN: &[&str] = &["PHP Deprecated:", "WordPress.org", "Undefined variable $upload_"];

#[tokio::test]
async fn wordpress_installs_publishes_comments_and_searches() {
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
    drop(site);

    let log = std::fs::read_to_string(folder.path().join("debug.log")).unwrap_or_default();
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| !KNOWN.iter().any(|known| line.contains(known)))
        .collect();
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
    cluster.assert_logs_clean();
    cluster.stop().await;
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
