//! An active master that answers and does not write: its disk is full, or somebody holds a lock for a backup.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use tandem_tests::ledger::{self, Load, Manner};
use tandem_tests::pair::{Pair, Server};
use tandem_tests::{Cluster, Setup, WITHIN, roles};

/// What a server's data need and some room beside it, in MiB.
const DISK: u32 = 700;

/// A disk of its own under a folder, taken away when dropped. Needs the right to mount.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Moves a stopped server's data there.
    fn under(server: &Server) -> Self {
        let at = server.directory().join("data");
        let aside = server.directory().join("aside");
        std::fs::rename(&at, &aside).expect("moved aside");
        std::fs::create_dir(&at).expect("a folder");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK}m"), "tmpfs"])
            .arg(&at));
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&at));
        let owner = Command::new("chown")
            .arg("--reference")
            .arg(&aside)
            .arg(&at)
            .status();
        assert!(owner.expect("chown runs").success());
        Self { at }
    }

    /// Leaves no room.
    fn fill(&self) -> PathBuf {
        let file = self.at.join("filler");
        // Ends with an error when nothing more goes in.
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=64k"])
            .arg(format!("of={}", file.display()))
            .output();
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=512", "oflag=append", "conv=notrunc"])
            .arg(format!("of={}", file.display()))
            .output();
        file
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the command can be started");
    assert!(
        output.status.success(),
        "{command:?} (as root?): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Waits until an event has these words.
async fn wait_event(cluster: &Cluster, words: &str) {
    let deadline = Instant::now() + WITHIN;
    loop {
        let events = roles::said(cluster, "EVENTS").await;
        if events.contains(words) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "no {words:?} within {WITHIN:?}:\n{events}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Writes whose effect is not known, while commits that the active master has already counted never get to its disk: neither one
/// that fails nor one whose client has gone says that anybody was told of these.
async fn fail_and_leave(cluster: &Cluster) {
    let mut conn = cluster.client_in("shop").await;
    let fails = "CREATE TABLE left_behind (id INT)";
    let failed = conn.query_drop(fails).await;
    assert!(failed.is_err(), "the disk is full, and there is room for a table");
    // It waits, or is told that the table is full.
    let waits = conn.query_drop("INSERT INTO ledger (writer, n) VALUES (1000, 1)");
    let waited = tokio::time::timeout(Duration::from_millis(500), waits).await;
    assert!(
        !matches!(waited, Ok(Ok(()))),
        "the disk is full, and a write succeeds"
    );
}

/// Its place is taken by the standby, which has everything that was acknowledged.
#[tokio::test]
async fn a_master_whose_disk_is_full_is_replaced() {
    let setup = Setup::with_failover();
    let pair = Pair::start(&setup.pair).await.expect("a pair");
    pair.a().stop().await.expect("stopped");
    let disk = Disk::under(pair.a());
    pair.a().restart().await.expect("started on its own disk");
    let cluster = Cluster::over(pair, "", |_| {}).await;
    ledger::prepare(&cluster).await;
    wait_event(&cluster, "rejoined").await;
    let load = Load::start(&cluster.opts(Some("shop")), &Manner::ALL, 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let filler = disk.fill();
    wait_event(&cluster, "suspected").await;
    fail_and_leave(&cluster).await;
    wait_event(&cluster, "promoted").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut conn = cluster.direct(cluster.b()).await;
    let report = load.settle(&mut conn).await;
    println!("{}\n{report}", roles::said(&cluster, "EVENTS").await);
    for error in &report.errors {
        println!("    {error}");
    }
    assert!(
        report.writes > 0 && report.missing.is_empty() && report.doubled.is_empty(),
        "{report}"
    );
    assert_eq!(report.stale, 0, "{report}");
    remove(&filler);
}

/// A lock is no death, however long it is held: nothing is decided, and writes go on when it is given back.
#[tokio::test]
async fn a_master_that_is_locked_for_a_backup_is_not_replaced() {
    let cluster = Cluster::start(Setup::with_failover()).await;
    ledger::prepare(&cluster).await;
    wait_event(&cluster, "rejoined").await;
    let load = Load::start(&cluster.opts(Some("shop")), &[Manner::ALL[0]], 2);
    let mut backup = cluster.a().connect().await.expect("connected");
    backup
        .query_drop("FLUSH TABLES WITH READ LOCK")
        .await
        .expect("locked");
    // Longer than failover.unreachable_time.
    tokio::time::sleep(Duration::from_secs(7)).await;
    backup.query_drop("UNLOCK TABLES").await.expect("unlocked");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut conn = cluster.direct(cluster.a()).await;
    let report = load.settle(&mut conn).await;
    let events = roles::said(&cluster, "EVENTS").await;
    assert!(
        !events.contains("promoted") && !events.contains("suspected"),
        "{events}"
    );
    assert!(
        report.errors.is_empty() && report.missing.is_empty(),
        "{report} {:?}",
        report.errors
    );
}

fn remove(file: &Path) {
    // So that the server can be stopped.
    std::fs::remove_file(file).expect("removed");
}
