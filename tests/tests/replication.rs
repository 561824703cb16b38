//! Replication clients through Tandem: binlogs are read as from the server, and a third server replicates from whichever
//! of the pair is the active master, with acknowledgements and all.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem::demo::pair::{Pair, REPLICATION};
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, external, wait_until};
use tokio::process::Command;
use tokio::sync::{Mutex, OnceCell};

const SCHEMA: &str = "test_replication";
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// One of the tests makes the other server the active one.
static TURN: Mutex<()> = Mutex::const_new(());

async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup {
            toml: format!(
                "[[user]]\nname = \"{}\"\npassword = \"{}\"\nreplication = true\n",
                REPLICATION.user, REPLICATION.password
            ),
            ..Setup::default()
        };
        // Programs send it the files' names only; the first one must hold everything.
        setup.pair.extra.push("max_binlog_size=1G".to_owned());
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
            .await
            .expect("a table");
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

async fn run(conn: &mut Conn, statement: &str) {
    conn.query_drop(statement)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The servers' own programs read the same from Tandem as from the active master: several files, one after the other,
/// and events larger than a packet.
#[tokio::test]
async fn binlogs_are_read_as_from_the_server() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let engine = cluster.a().engine();
    let mut direct = cluster.direct(cluster.a()).await;
    run(&mut direct, "SET GLOBAL max_allowed_packet = 1 << 26").await;
    let mut direct = cluster.direct(cluster.a()).await;
    run(
        &mut direct,
        "INSERT INTO test_replication.t VALUES (1, REPEAT('x', 17 << 20))",
    )
    .await;
    run(&mut direct, "FLUSH BINARY LOGS").await;
    run(&mut direct, "INSERT INTO test_replication.t VALUES (2, 'small')").await;
    cluster.wait_replicated().await;
    let (name, more) = match engine.flavor() {
        Flavor::MariaDb => ("mariadb-binlog", "--skip-ssl-verify-server-cert"),
        Flavor::MySql => ("mysqlbinlog", "--get-server-public-key"),
    };
    let program = external::words(&engine.program(name).expect("the server's own program"));
    let ask = async |address: std::net::SocketAddr| {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!(
            "set -o pipefail; {program} --no-defaults {more} --read-from-remote-server -h{} -P{} -u{} -p{} \
             binlog.000001 binlog.000002 2>&1 | grep -v 'Using a password on' | tee >(wc -c) >(md5sum) >/dev/null | sort",
            address.ip(),
            address.port(),
            REPLICATION.user,
            REPLICATION.password
        ));
        external::run(command, address, "").await.clean()
    };
    // The server itself adds to its newest file, when the engine has made a checkpoint: what is read in between is the same
    // only where nothing was added before and after.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let directly = loop {
        let before = ask(cluster.a().address()).await;
        let through = ask(cluster.address()).await;
        let after = ask(cluster.a().address()).await;
        if before == after {
            assert_eq!(through, before);
            break before;
        }
        assert!(std::time::Instant::now() < deadline, "the binlog goes on growing");
    };
    let size = directly
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok())
        .max();
    assert!(size > Some(17 << 20), "{directly}");
    run(&mut direct, "DELETE FROM test_replication.t").await;
    cluster.wait_nothing_leased().await;
}

/// Statements that make a server the third one, behind Tandem.
fn follow(flavor: Flavor, address: std::net::SocketAddr) -> Vec<String> {
    let (host, port) = (address.ip(), address.port());
    let (user, password) = (REPLICATION.user, REPLICATION.password);
    let texts: &[&str] = match flavor {
        Flavor::MariaDb => &[
            "STOP ALL SLAVES",
            "RESET SLAVE ALL",
            "RESET MASTER",
            "SET GLOBAL gtid_slave_pos = ''",
            "SET GLOBAL server_id = 31",
            "SET GLOBAL read_only = 0",
            "CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{user}', \
             MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
            "START SLAVE",
        ],
        Flavor::MySql => &[
            "STOP REPLICA",
            "RESET REPLICA ALL",
            "RESET BINARY LOGS AND GTIDS",
            "SET GLOBAL server_id = 31",
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, SOURCE_USER='{user}', \
             SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_SSL=0, \
             GET_SOURCE_PUBLIC_KEY=1",
            "START REPLICA",
        ],
    };
    let fill = |text: &&str| {
        text.replace("{host}", &host.to_string())
            .replace("{port}", &port.to_string())
            .replace("{user}", user)
            .replace("{password}", password)
    };
    texts.iter().map(fill).collect()
}

/// Waits until the third server has as many rows.
async fn wait_rows(third: &mut Conn, wanted: u64) {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        let count: Result<Option<u64>, _> =
            third.query_first("SELECT COUNT(*) FROM test_replication.t").await;
        if matches!(count, Ok(Some(count)) if count == wanted) {
            return;
        }
        if tokio::time::Instant::now() > deadline {
            let status = match tandem_tests::engine().flavor() {
                Flavor::MariaDb => "SHOW SLAVE STATUS",
                Flavor::MySql => "SHOW REPLICA STATUS",
            };
            let status: Option<mysql_async::Row> = third.query_first(status).await.unwrap_or(None);
            panic!("{count:?} rows and not {wanted}: {status:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A third server replicates through Tandem, acknowledging commits, and goes on from the other server when that has
/// become the active master.
#[tokio::test]
async fn a_third_server_replicates_from_the_active_master() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let flavor = cluster.a().engine().flavor();
    // Another pair lends one of its servers.
    let lender = Pair::start(&tandem_tests::options()).await.expect("another pair");
    let mut third = cluster.direct(lender.a()).await;
    for statement in follow(flavor, cluster.address()) {
        run(&mut third, &statement).await;
    }
    let mut conn = cluster.client_in(SCHEMA).await;
    run(&mut conn, "DELETE FROM t").await;
    for id in 1..=20 {
        run(&mut conn, &format!("INSERT INTO t VALUES ({id}, 'row')")).await;
    }
    wait_rows(&mut third, 20).await;
    let mut admin = cluster.admin().await;
    let sessions: Vec<mysql_async::Row> = admin.query("SHOW SESSIONS").await.expect("sessions");
    let dumps = |row: &&mysql_async::Row| row.get::<String, _>("command").as_deref() == Some("Binlog Dump");
    assert_eq!(sessions.iter().filter(dumps).count(), 1, "{sessions:?}");
    // The other server becomes the active one: the dump ends there and begins here.
    cluster.wait_replicated().await;
    let (mut a, mut b) = (
        cluster.direct(cluster.a()).await,
        cluster.direct(cluster.b()).await,
    );
    run(&mut a, "SET GLOBAL read_only = 1").await;
    run(&mut b, "SET GLOBAL read_only = 0").await;
    wait_until("writes go to b", WITHIN, || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("INSERT INTO t VALUES (21, 'on b')").await.is_ok()
    })
    .await;
    wait_rows(&mut third, 21).await;
    let stop = match flavor {
        Flavor::MariaDb => "STOP SLAVE",
        Flavor::MySql => "STOP REPLICA",
    };
    run(&mut third, stop).await;
    run(&mut b, "SET GLOBAL read_only = 1").await;
    run(&mut a, "SET GLOBAL read_only = 0").await;
    wait_until("writes go to a", WITHIN, || async {
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("DELETE FROM t").await.is_ok()
    })
    .await;
    cluster.wait_nothing_leased().await;
    lender.stop().await.expect("the lender stops");
}
