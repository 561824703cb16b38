//! phpMyAdmin as Debian ships it, unchanged, on a pair through Tandem.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tandem::demo::pair::APP;
use tandem_tests::site::Site;
use tandem_tests::{Cluster, Setup, Warnings};

/// Who looks after the databases with it can browse, edit, export and import them, and sees a server like any other.
#[tokio::test]
async fn phpmyadmin_browses_edits_exports_and_imports() {
    let warnings = Warnings::collect();
    let cluster = Cluster::start(Setup::default()).await;
    cluster.create_database("test_birds").await;
    let folder = tempfile::tempdir().expect("a folder");
    let site = phpmyadmin(folder.path(), cluster.address()).await;
    site.visit("phpmyadmin.py", &[APP.user, APP.password, "test_birds"])
        .await;
    drop(site);

    assert_eq!(cluster.assert_same("test_birds").await, 2, "a table and a view");
    cluster.assert_writes_on_a_reads_on_both().await;
    assert_eq!(warnings.text(), "", "Tandem has nothing to warn of");
    cluster.assert_logs_clean();
    cluster.stop().await;
}

/// A private copy, since Debian's has one configuration for the whole machine.
async fn phpmyadmin(folder: &Path, database: SocketAddr) -> Site {
    let root = folder.join("site");
    let copied = Command::new("cp")
        .args(["-r", "/usr/share/phpmyadmin"])
        .arg(&root)
        .status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "the package `phpmyadmin` is not installed (.ci/install)"
    );
    let vendor = root.join("libraries/vendor_config.php");
    let text = std::fs::read_to_string(&vendor).expect("Debian's places");
    let own = format!("{}/", folder.display());
    let text = text
        .replace("/etc/phpmyadmin/", &own)
        .replace("/var/lib/phpmyadmin/", &own);
    std::fs::write(&vendor, text).expect("our own places");
    std::fs::create_dir(folder.join("tmp")).expect("a folder for its templates");
    std::fs::write(folder.join("config.inc.php"), config(database)).expect("a configuration");
    Site::serve(Site::free_address(), folder, &root, None, &[]).await
}

fn config(database: SocketAddr) -> String {
    format!(
        "<?php
$cfg['blowfish_secret'] = 'thirty-two bytes, as it asks for';
$cfg['Servers'][1]['host'] = '{}';
$cfg['Servers'][1]['port'] = '{}';
$cfg['Servers'][1]['auth_type'] = 'cookie';
",
        database.ip(),
        database.port()
    )
}
