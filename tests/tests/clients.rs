//! Real clients can't tell Tandem from a server: each script runs once past Tandem and once through it, on
//! two copies of the same data, and prints the same.

use std::net::SocketAddr;

use mysql_async::prelude::Queryable;
use tandem_tests::external::{self, Output};
use tandem_tests::{Cluster, Flavor, Setup, numbers};
use tokio::process::Command;
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| Cluster::start(Setup::default())).await
}

/// A new schema with the data that the scripts expect.
async fn schema(name: &str) -> String {
    let cluster = cluster().await;
    cluster.create_database(name).await;
    let mut conn = cluster.direct(cluster.a()).await;
    conn.query_drop(format!("USE {name}")).await.expect("the schema");
    let script = include_str!("../scripts/clients.sql").replace("{numbers}", &numbers(5000));
    for line in script.lines() {
        conn.query_drop(line.trim_end_matches(';')).await.expect(line);
    }
    cluster.wait_replicated().await;
    name.to_owned()
}

fn script(name: &str) -> String {
    format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn run(program: &[&str], address: SocketAddr, schema: &str) -> Output {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).env("TANDEM_SCHEMA", schema);
    external::run(command, address, "").await
}

/// Runs the program against server a and through Tandem; both must print the same.
async fn compare(name: &str, program: &[&str]) {
    let cluster = cluster().await;
    let (direct, proxied) = (
        schema(&format!("test_{name}_1")).await,
        schema(&format!("test_{name}_2")).await,
    );
    let expected = run(program, cluster.a().address(), &direct).await.clean();
    let found = run(program, cluster.address(), &proxied).await.clean();
    let expected = expected.replace(&direct, "SCHEMA");
    let found = found.replace(&proxied, "SCHEMA");
    for (line, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {}", line + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{name}");
    assert!(
        expected.lines().count() > 15,
        "the script went through:\n{expected}"
    );
    cluster.wait_replicated().await;
    cluster.assert_logs_clean();
}

#[tokio::test]
async fn mysqli() {
    compare(
        "mysqli",
        &["php", "-d", "display_errors=stderr", &script("mysqli.php")],
    )
    .await;
}

#[tokio::test]
async fn pdo() {
    compare("pdo", &["php", "-d", "display_errors=stderr", &script("pdo.php")]).await;
}

#[tokio::test]
async fn pymysql() {
    compare("pymysql", &["/usr/bin/python3", &script("pymysql_walk.py")]).await;
}

#[tokio::test]
async fn the_mariadb_client() {
    let cluster = cluster().await;
    let schema = schema("test_cli").await;
    let input = "\\s\nSHOW TABLES;\nUSE information_schema\nUSE test_cli\ndelimiter //\nSELECT 1; SELECT 2//\n\
                 delimiter ;\nCALL two();\nSELECT * FROM nope;\nSHOW WARNINGS;\nKILL QUERY 4000000000;\nSELECT 'still here';\n";
    // Rehashing asks for the columns of every table with COM_FIELD_LIST.
    let output = external::mariadb(
        cluster.address(),
        &["--force", "--auto-rehash", "--table", &schema],
        input,
    )
    .await;
    assert_eq!(output.status, Some(0), "--force goes on: {output:?}");
    let version: Option<String> = cluster
        .client()
        .await
        .query_first("SELECT @@version")
        .await
        .unwrap();
    let version = version.unwrap();
    for wanted in ["Server version:", &version, "test_cli", "many", "still here"] {
        assert!(output.stdout.contains(wanted), "{wanted} in:\n{}", output.stdout);
    }
    assert!(output.stderr.contains("ERROR 1146 (42S02)"), "{}", output.stderr);
    assert!(output.stderr.contains("ERROR 1094 (HY000)"), "{}", output.stderr);
}

#[tokio::test]
async fn a_dump_through_tandem_and_back_is_the_same_on_both_servers() {
    let cluster = cluster().await;
    let megabytes: u32 = std::env::var("TANDEM_DUMP_MB").map_or(8, |text| text.parse().expect("a number"));
    schema("test_dump_1").await;
    if cluster.a().engine().flavor() == Flavor::MySql {
        // mysqldump wants these for a consistent dump.
        for server in cluster.pair().servers() {
            let mut direct = cluster.direct(server).await;
            for statement in ["SET sql_log_bin=0", "GRANT RELOAD, PROCESS ON *.* TO app@'%'"] {
                direct.query_drop(statement).await.unwrap();
            }
        }
    }
    let mut conn = cluster.client_in("test_dump_1").await;
    conn.query_drop(
        "CREATE TABLE rows_ (id INT PRIMARY KEY, h CHAR(64), t TIMESTAMP NULL, d DOUBLE, b BLOB)",
    )
    .await
    .unwrap();
    // About 1 KiB a row: the blob is binary, so the dump has every byte to escape.
    let fill = "INSERT INTO rows_ SELECT seq, SHA2(seq, 256), FROM_UNIXTIME(1600000000 + seq), RAND(seq) * 1e9, \
                REPEAT(UNHEX(SHA2(seq, 512)), 14) FROM ";
    conn.query_drop(format!("{fill}{}", numbers(megabytes * 1024)))
        .await
        .unwrap();
    conn.query_drop("CREATE VIEW seen AS SELECT id, h FROM rows_")
        .await
        .unwrap();
    cluster.create_database("test_dump_2").await;
    let engine = cluster.a().engine();
    let (dump, client, more) = match engine.flavor() {
        Flavor::MariaDb => ("mariadb-dump", "mariadb", ""),
        Flavor::MySql => (
            "mysqldump",
            "mysql",
            "--set-gtid-purged=OFF --skip-masking-policies",
        ),
    };
    // The clients of 11.8 say that they can't verify a server without TLS.
    let tls = match engine.flavor() {
        Flavor::MariaDb => "--skip-ssl-verify-server-cert",
        Flavor::MySql => "",
    };
    let program = |name| external::words(&engine.program(name).expect("the server's own program"));
    let (dump, client) = (program(dump), program(client));
    let mut command = Command::new("bash");
    command.arg("-c").arg(format!(
        "set -o pipefail; export MYSQL_PWD=$TANDEM_PASSWORD; \
         o=\"--no-defaults {tls} -h$TANDEM_HOST -P$TANDEM_PORT -u$TANDEM_USER\"; \
         {dump} $o {more} --single-transaction --no-tablespaces test_dump_1 | {client} $o test_dump_2"
    ));
    external::run(command, cluster.address(), "").await.clean();
    cluster.wait_replicated().await;
    let mut sums = Vec::new();
    for server in cluster.pair().servers() {
        let mut direct = cluster.direct(server).await;
        for schema in ["test_dump_1", "test_dump_2"] {
            direct.query_drop(format!("USE {schema}")).await.unwrap();
            let rows: Vec<(String, Option<u64>)> =
                direct.query("CHECKSUM TABLE rows_, x, many, seen").await.unwrap();
            sums.push(rows.into_iter().map(|(_, sum)| sum).collect::<Vec<_>>());
        }
    }
    assert!(sums[0][0].is_some());
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    cluster.assert_logs_clean();
}
