//! MediaWiki as Debian ships it, unchanged, on a pair through Tandem.

use std::net::SocketAddr;
use std::path::Path;

use tandem::demo::pair::APP;
use tandem_tests::site::{Site, missed};
use tandem_tests::{Cluster, Setup, Warnings, external};

const ROOT: &str = "/usr/share/mediawiki";
const PAGES: &str = "10";

/// One session does not wait for another's writes yet, so a page may come too early. More than this would be
/// a fault.
const MOST_MISSED: usize = 2;

/// Its own installer, its API and its pages find nothing unusual in Tandem, and what was written is read at once.
#[tokio::test]
async fn mediawiki_installs_is_edited_and_searched() {
    let warnings = Warnings::collect();
    let cluster = Cluster::start(Setup::default()).await;
    cluster.create_database("test_mediawiki").await;
    let folder = tempfile::tempdir().expect("a folder");
    let address = Site::free_address();
    install(folder.path(), address, cluster.address()).await;

    let settings = folder.path().join("LocalSettings.php");
    let variables = [("MW_CONFIG_FILE", settings.as_os_str())];
    let site = Site::serve(address, folder.path(), Path::new(ROOT), None, &variables).await;
    let seen = site.visit("mediawiki.py", &[PAGES]).await;
    drop(site);
    let missed = missed(&seen);
    assert!(missed <= MOST_MISSED, "{missed} pages came too early");

    assert!(cluster.assert_same("test_mediawiki").await >= 50, "tables");
    cluster.assert_writes_on_a_reads_on_both().await;
    assert_eq!(warnings.text(), "", "Tandem has nothing to warn of");
    cluster.assert_logs_clean();
    cluster.stop().await;
}

async fn install(folder: &Path, address: SocketAddr, database: SocketAddr) {
    let mut install = tokio::process::Command::new("php");
    install
        .args(["-d", "display_errors=stderr"])
        .arg(format!("{ROOT}/maintenance/install.php"))
        .args([
            "--dbtype=mysql",
            "--dbname=test_mediawiki",
            &format!("--dbserver={database}"),
        ])
        .args([
            format!("--dbuser={}", APP.user),
            format!("--dbpass={}", APP.password),
        ])
        .args([format!("--server=http://{address}"), "--scriptpath=".to_owned()])
        .arg(format!("--confpath={}", folder.display()))
        .args(["--pass=a long password 1", "Through Tandem", "Owner"]);
    let output = external::run(install, database, "").await;
    assert!(
        output.status == Some(0) && folder.join("LocalSettings.php").exists(),
        "is the package `mediawiki` installed (.ci/install)? {}{}",
        output.stdout,
        output.stderr
    );
}
