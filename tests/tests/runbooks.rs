//! `docs/runbooks.md`, its lines one after the other, while clients write: none gets an error, and nothing of theirs is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::pair::{Pair, Server};
use tandem_tests::roles::{self, Settled};
use tandem_tests::{Cluster, Engine, Flavor, Setup, wait_until};

const WITHIN: Duration = Duration::from_secs(60);

async fn pair() -> Pair {
    let mut setup = Setup::with_failover();
    if setup.pair.engine.flavor() == Flavor::MySql {
        setup.pair.extra.push("plugin_load_add=mysql_clone.so".to_owned());
    }
    Pair::start(&setup.pair).await.expect("a pair")
}

async fn cluster() -> Cluster {
    begun(
        Cluster::over(pair().await, "", |config| {
            let failover = config.failover.as_mut().expect("Tandem decides");
            failover.min_interval = Duration::ZERO;
        })
        .await,
    )
    .await
}

/// With Tandem as a program of its own.
async fn cluster_apart() -> Cluster {
    let overrides = ["failover.min_interval=0s".to_owned()];
    begun(Cluster::apart(
        env!("CARGO_BIN_EXE_proxy"),
        pair().await,
        &overrides,
    ))
    .await
}

async fn begun(cluster: Cluster) -> Cluster {
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    ledger::prepare(&cluster).await;
    could_bear_a_loss(&cluster).await;
    cluster
}

/// `until tandem status --check; do sleep 1; done`
async fn could_bear_a_loss(cluster: &Cluster) {
    assert_eq!(roles::wait_settled(cluster, WITHIN).await, Settled::Whole);
    roles::wait_ready(cluster, WITHIN).await;
}

async fn load(cluster: &Cluster) -> Load {
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 1);
    goes_on(cluster).await;
    load
}

/// Clients write on.
async fn goes_on(cluster: &Cluster) {
    ledger::wait_rows(cluster.opts(Some("shop")), 30, WITHIN).await;
}

async fn tell(cluster: &Cluster, command: &str) {
    cluster.admin().await.query_drop(command).await.expect(command);
}

/// `tandem switchover --to …`, which clients hardly notice.
async fn switch_over(cluster: &Cluster, to: &str) {
    could_bear_a_loss(cluster).await;
    // It is refused, and undone, while the standby is behind by more than it catches up with in a moment.
    wait_until("a switchover", WITHIN, async || {
        let mut admin = cluster.admin().await;
        admin.query_drop(format!("SWITCHOVER TO {to}")).await.is_ok()
    })
    .await;
    could_bear_a_loss(cluster).await;
    goes_on(cluster).await;
}

async fn nothing_was_lost(cluster: &Cluster, load: Load) {
    could_bear_a_loss(cluster).await;
    let active = roles::wait_active(cluster, None, WITHIN).await;
    let mut survivor = cluster.direct(roles::server(cluster, &active)).await;
    let report = load.settle(&mut survivor).await;
    println!("{report}");
    report.assert_nothing_lost();
    cluster.wait_replicated().await;
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn say(server: &Server, statements: &[&str]) {
    let mut conn = server.connect().await.expect("connected");
    for statement in statements {
        conn.query_drop(*statement).await.expect(statement);
    }
}

/// "Back up a database server", to a folder beside its own.
async fn back_up(server: &Server) -> PathBuf {
    let backup = server.directory().join("backup");
    match server.engine().flavor() {
        Flavor::MariaDb => {
            let option_file = format!("--defaults-file={}", server.directory().join("my.cnf").display());
            let target = format!("--target-dir={}", backup.display());
            let socket = format!("--socket={}", server.socket().display());
            run(Command::new("mariadb-backup").args([
                &option_file,
                "--backup",
                &target,
                "--user=root",
                &socket,
            ]));
            run(Command::new("mariadb-backup").args([&option_file, "--prepare", &target]));
        }
        Flavor::MySql => {
            let statement = format!("CLONE LOCAL DATA DIRECTORY = '{}'", backup.display());
            say(server, &[&statement]).await;
        }
    }
    backup
}

/// "Restore a database server" from such a backup, of whichever of the two, into the running pair.
async fn restore(cluster: &Cluster, server: &Server, backup: &Path) {
    tell(cluster, &format!("DRAIN {}", server.name())).await;
    server.stop().await.expect("stopped");
    let data = server.directory().join("data");
    fs::rename(&data, server.directory().join("old")).expect("its data are put aside");
    run(Command::new("cp").arg("--archive").arg(backup).arg(&data));
    server.restart().await.expect("started");
    match server.engine().flavor() {
        Flavor::MariaDb => {
            let position = fs::read_to_string(backup.join("xtrabackup_binlog_info")).expect("its position");
            let gtids = position.split_whitespace().nth(2).expect("a third word");
            let state = format!("SET GLOBAL gtid_binlog_state = '{gtids}'");
            let applied = format!("SET GLOBAL gtid_slave_pos = '{gtids}'");
            say(server, &["RESET MASTER", &state, &applied]).await;
        }
        Flavor::MySql => say(server, &["RESET REPLICA ALL"]).await,
    }
    tell(cluster, &format!("OPEN {}", server.name())).await;
    roles::wait_ready(cluster, WITHIN).await;
    could_bear_a_loss(cluster).await;
    goes_on(cluster).await;
}

/// Each becomes the active master, once by a switchover and once since the other has stopped.
async fn either_replaces_the_other(cluster: &Cluster) {
    let active = roles::wait_active(cluster, None, WITHIN).await;
    let standby = roles::other(cluster, &active).name();
    switch_over(cluster, standby).await;
    switch_over(cluster, &active).await;
    // A MySQL that stops tells clients so, and has commits afterwards that nobody was told of.
    if cluster.a().engine().flavor() == Flavor::MySql {
        return;
    }
    for (dies, takes_over) in [(active.as_str(), standby), (standby, active.as_str())] {
        let server = roles::server(cluster, dies);
        server.stop().await.expect("stopped");
        roles::wait_active(cluster, Some(takes_over), WITHIN).await;
        goes_on(cluster).await;
        server.restart().await.expect("started");
        could_bear_a_loss(cluster).await;
    }
}

/// mariadb-backup must be of the server's own version.
fn can_back_up() -> bool {
    let engine = tandem_tests::engine();
    let can = engine.flavor() == Flavor::MySql || matches!(engine, Engine::MariaDb);
    if !can {
        eprintln!("not tested: this machine has no mariadb-backup of that version");
    }
    can
}

#[tokio::test]
async fn the_standby_is_restored_from_its_backup() {
    if !can_back_up() {
        return;
    }
    let cluster = cluster().await;
    let load = load(&cluster).await;
    let backup = back_up(cluster.b()).await;
    goes_on(&cluster).await;
    restore(&cluster, cluster.b(), &backup).await;
    either_replaces_the_other(&cluster).await;
    nothing_was_lost(&cluster, load).await;
    cluster.stop().await;
}

/// The new machine has another number. Its data are those of the active master.
#[tokio::test]
async fn a_server_is_replaced_for_good() {
    if !can_back_up() {
        return;
    }
    let cluster = cluster().await;
    let load = load(&cluster).await;
    cluster.b().kill9().expect("it is gone");
    goes_on(&cluster).await;
    let file = cluster.b().directory().join("my.cnf");
    let text = fs::read_to_string(&file).expect("its option file");
    fs::write(&file, text.replace("server_id=2", "server_id=7")).expect("its option file");
    let backup = back_up(cluster.a()).await;
    restore(&cluster, cluster.b(), &backup).await;
    either_replaces_the_other(&cluster).await;
    nothing_was_lost(&cluster, load).await;
    cluster.stop().await;
}

/// A server that was replaced as active master comes back with a commit that the other has not: it is made anew.
#[tokio::test]
async fn a_quarantine_is_resolved() {
    if !can_back_up() {
        return;
    }
    let cluster = cluster().await;
    cluster.a().kill9().expect("it is gone");
    roles::wait_active(&cluster, Some("b"), WITHIN).await;
    tell(&cluster, "PAUSE").await;
    cluster.a().restart().await.expect("started");
    let waits_for_nobody = match cluster.a().engine().flavor() {
        Flavor::MariaDb => "SET GLOBAL rpl_semi_sync_master_enabled = 0",
        Flavor::MySql => "SET GLOBAL rpl_semi_sync_source_enabled = 0",
    };
    let stray = [
        waits_for_nobody,
        "SET GLOBAL read_only = 0",
        "CREATE DATABASE stray",
    ];
    say(cluster.a(), &stray).await;
    tell(&cluster, "RESUME").await;
    wait_until("a is in quarantine", WITHIN, async || {
        roles::said(&cluster, "EVENTS").await.contains("quarantined | a")
    })
    .await;
    let load = load(&cluster).await;
    let backup = back_up(cluster.b()).await;
    restore(&cluster, cluster.a(), &backup).await;
    either_replaces_the_other(&cluster).await;
    nothing_was_lost(&cluster, load).await;
    cluster.stop().await;
}

/// "Work on a database server, or upgrade it": the standby, then the other.
#[tokio::test]
async fn both_servers_are_upgraded_one_after_the_other() {
    let cluster = cluster().await;
    let load = load(&cluster).await;
    for name in ["b", "a"] {
        let server = roles::server(&cluster, name);
        tell(&cluster, &format!("DRAIN {name}")).await;
        server.stop().await.expect("stopped");
        goes_on(&cluster).await;
        server.restart().await.expect("started");
        tell(&cluster, &format!("OPEN {name}")).await;
        could_bear_a_loss(&cluster).await;
        switch_over(&cluster, name).await;
    }
    nothing_was_lost(&cluster, load).await;
    cluster.stop().await;
}

/// "Everything was switched off", in good order, and comes back in each order there is.
#[tokio::test]
async fn everything_that_was_switched_off_comes_back_in_any_order() {
    let mut cluster = cluster_apart().await;
    let mut rows = 0;
    for order in ["a b t", "a t b", "b a t", "b t a", "t a b", "t b a"] {
        let mut conn = cluster.client_in("shop").await;
        conn.query_drop(format!("INSERT INTO ledger (writer, n) VALUES (9, {rows})"))
            .await
            .expect("a write");
        rows += 1;
        let before = roles::wait_active(&cluster, None, WITHIN).await;
        drop(conn);
        cluster.process().kill9();
        for server in cluster.pair().servers() {
            server.stop().await.expect("stopped");
        }
        for part in order.split(' ') {
            match part {
                "t" => cluster.process_mut().restart(),
                name => roles::server(&cluster, name).restart().await.expect("started"),
            }
        }
        roles::wait_active(&cluster, Some(&before), WITHIN).await;
        could_bear_a_loss(&cluster).await;
        cluster.wait_replicated().await;
        for server in cluster.pair().servers() {
            let mut direct = cluster.direct(server).await;
            let found: Option<u32> = direct
                .query_first("SELECT COUNT(*) FROM shop.ledger WHERE writer = 9")
                .await
                .expect("a count");
            assert_eq!(found, Some(rows), "{} after {order}", server.name());
        }
    }
    cluster.stop().await;
}
