//! phpMyAdmin as Debian ships it, unchanged, on a pair through Tandem.

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
    let site = Site::phpmyadmin(folder.path(), cluster.address()).await;
    site.visit("phpmyadmin.py", &[APP.user, APP.password, "test_birds"])
        .await;
    drop(site);

    assert_eq!(cluster.assert_same("test_birds").await, 2, "a table and a view");
    cluster.assert_writes_on_a_reads_on_both().await;
    assert_eq!(warnings.text(), "", "Tandem has nothing to warn of");
    cluster.assert_logs_clean();
    cluster.stop().await;
}
