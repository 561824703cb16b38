//! The first light: every kind of client reaches the pair through Tandem.

use mysql_async::prelude::Queryable;
use tandem_tests::{Cluster, Setup, external};
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| Cluster::start(Setup::default())).await
}

#[tokio::test]
async fn a_write_reaches_both_servers() {
    let cluster = cluster().await;
    cluster.create_database("test_write").await;
    let mut conn = cluster.client_in("test_write").await;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .unwrap();
    conn.query_drop("INSERT INTO t VALUES (7)").await.unwrap();
    cluster.wait_replicated().await;
    for server in cluster.pair().servers() {
        let mut direct = cluster.direct(server).await;
        let rows: Vec<u32> = direct.query("SELECT id FROM test_write.t").await.unwrap();
        assert_eq!(rows, [7], "server {}", server.name());
    }
    assert!(cluster.query_counts(cluster.a()).await.writes >= 2);
    assert_eq!(cluster.query_counts(cluster.b()).await.writes, 0);
    cluster.assert_logs_clean();
}

#[tokio::test]
async fn the_mariadb_client_connects() {
    let cluster = cluster().await;
    let output = external::mariadb(cluster.address(), &["-N"], "SELECT 6 * 7;\n").await;
    assert_eq!(output.clean(), "42\n");
}

#[tokio::test]
async fn php_connects() {
    let cluster = cluster().await;
    let mysqli = r#"$db = new mysqli(getenv("TANDEM_HOST"), getenv("TANDEM_USER"),
        getenv("TANDEM_PASSWORD"), "", getenv("TANDEM_PORT"));
        echo $db->query("SELECT 6 * 7")->fetch_row()[0];"#;
    assert_eq!(external::php(cluster.address(), mysqli).await.clean(), "42");
    let pdo = r#"$db = new PDO("mysql:host=".getenv("TANDEM_HOST").";port=".getenv("TANDEM_PORT"),
        getenv("TANDEM_USER"), getenv("TANDEM_PASSWORD"));
        $db->setAttribute(PDO::ATTR_EMULATE_PREPARES, false);
        $s = $db->prepare("SELECT ? * 7"); $s->execute([6]); echo (int) $s->fetchColumn();"#;
    assert_eq!(external::php(cluster.address(), pdo).await.clean(), "42");
}

#[tokio::test]
async fn python_connects() {
    let cluster = cluster().await;
    let code = r#"
import os, pymysql
e = os.environ
db = pymysql.connect(host=e["TANDEM_HOST"], port=int(e["TANDEM_PORT"]), user=e["TANDEM_USER"],
                     password=e["TANDEM_PASSWORD"])
with db.cursor() as cursor:
    cursor.execute("SELECT %s * 7", (6,))
    print(cursor.fetchone()[0])
"#;
    let output = external::python(cluster.address(), code).await;
    assert_eq!(output.clean(), "42\n");
}
