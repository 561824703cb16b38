//! WordPress as Debian ships it, unchanged, on a pair through Tandem.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tandem::demo::pair::APP;
use tandem_tests::site::{Site, missed};
use tandem_tests::{Cluster, Setup, Warnings};

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
    let warnings = Warnings::collect();
    let cluster = Cluster::start(Setup::default()).await;
    cluster.create_database("test_wordpress").await;
    let folder = tempfile::tempdir().expect("a folder");
    let site = wordpress(folder.path(), cluster.address()).await;
    let seen = site.visit("wordpress.py", &[POSTS]).await;
    drop(site);
    let missed = missed(&seen);
    assert!(missed <= MOST_MISSED, "{missed} pages came too early");

    let log = std::fs::read_to_string(folder.path().join("debug.log")).unwrap_or_default();
    let complaints: Vec<&str> = log.lines().filter(|line| !is_known(line)).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(cluster.assert_same("test_wordpress").await >= 12, "tables");
    cluster.assert_writes_on_a_reads_on_both().await;
    assert_eq!(warnings.text(), "", "Tandem has nothing to warn of");
    cluster.assert_logs_clean();
    cluster.stop().await;
}

/// Lines come as `[date] text`.
fn is_known(line: &str) -> bool {
    let text = line.split_once("] ").map_or(line, |(_, text)| text);
    KNOWN.iter().any(|known| text.starts_with(known))
}

/// A private copy of WordPress.
async fn wordpress(folder: &Path, database: SocketAddr) -> Site {
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
    Site::serve(Site::free_address(), folder, &root, Some(&router), &[]).await
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
