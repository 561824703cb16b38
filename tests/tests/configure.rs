//! The configuration of a running Tandem: what is set, reloaded and saved acts on its sessions at once, and what is wrong changes
//! nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use tandem::demo::pair::monitor_grant;
use tandem::demo::{ADMIN_PASSWORD, ADMIN_USER};
use tandem_tests::authority::Authority;
use tandem_tests::external::mariadb;
use tandem_tests::pair::{Pair, client};
use tandem_tests::{Cluster, Setup, WITHIN, engine, roles, wait_until};

const EXAMPLE: &str = include_str!("../../tandem.example.toml");
/// A pair with Tandem as a process of its own, which has a file.
struct Stand {
    cluster: Cluster,
    file: PathBuf,
    text: String,
}

impl Stand {
    async fn new() -> Self {
        Self::of(&Setup::default()).await
    }

    async fn of(setup: &Setup) -> Self {
        let pair = Pair::start(&setup.pair).await.expect("a pair");
        let overrides = ["listener.workers=2".to_owned()];
        let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &overrides);
        let file = cluster.pair().directory().join("tandem").join("tandem.toml");
        let text = std::fs::read_to_string(&file).expect("its file");
        Self { cluster, file, text }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).expect("written");
    }

    /// Every key with its value, as the admin port shows them.
    async fn shown(&self, admin: &mut Conn) -> Vec<(String, Option<String>)> {
        let rows = admin.query("SELECT `key`, value FROM config").await;
        let rows: Vec<(String, Option<String>)> = rows.expect("the table");
        assert!(rows.len() > 80, "{rows:?}");
        rows
    }

    async fn value(&self, key: &str) -> Option<String> {
        let mut admin = self.cluster.admin().await;
        let shown = self.shown(&mut admin).await;
        let found = shown.into_iter().find(|(known, _)| known == key);
        found.unwrap_or_else(|| panic!("no key {key}")).1
    }
}

async fn run(admin: &mut Conn, statement: &str) {
    admin
        .query_drop(statement)
        .await
        .unwrap_or_else(|problem| panic!("{statement}: {problem}"));
}

/// What a statement is refused with.
async fn refusal(conn: &mut Conn, statement: &str) -> String {
    match conn.query_drop(statement).await {
        Ok(()) => panic!("{statement} is not refused"),
        Err(Error::Server(refused)) => refused.message,
        Err(other) => panic!("{statement}: {other}"),
    }
}

/// `key before → after, when` for each row.
async fn reload(admin: &mut Conn) -> Vec<String> {
    type Told = (String, Option<String>, Option<String>, String);
    let told: Vec<Told> = admin.query("RELOAD").await.expect("reloaded");
    let line = |(key, before, after, acts): Told| {
        let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        format!("{key} {} → {}, {acts}", shown(before), shown(after))
    };
    told.into_iter().map(line).collect()
}

/// Which servers answer this session's reads.
async fn readers(conn: &mut Conn) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for _ in 0..20 {
        found.extend(
            conn.query_first::<u32, _>("SELECT id FROM shop.who")
                .await
                .expect("a read"),
        );
    }
    found
}

#[tokio::test]
async fn what_is_set_acts_at_once_and_is_saved() {
    let stand = Stand::new().await;
    let cluster = &stand.cluster;
    let (mut admin, mut conn) = (cluster.admin().await, cluster.client().await);

    // Who answers the reads of a session that was there before.
    for (id, server) in cluster.pair().servers().iter().enumerate() {
        let mut root = cluster.direct(server).await;
        run(&mut root, "SET sql_log_bin = 0").await;
        run(&mut root, "CREATE DATABASE IF NOT EXISTS shop").await;
        run(&mut root, "CREATE TABLE shop.who (id INT)").await;
        run(&mut root, &format!("INSERT INTO shop.who VALUES ({id})")).await;
    }
    run(&mut admin, "SET server.b.weight = 0").await;
    let only_a = readers(&mut conn).await;
    assert_eq!(only_a.len(), 1);
    run(
        &mut admin,
        "UPDATE config SET value = 1 - (entry = 'a') WHERE name = 'weight'",
    )
    .await;
    let only_b = readers(&mut conn).await;
    assert_eq!(only_b.len(), 1);
    assert_ne!(only_a, only_b);
    let refused = refusal(&mut admin, "UPDATE config SET value = 0 WHERE name = 'weight'").await;
    assert!(refused.contains("nobody would take reads"), "{refused}");

    // A statement that waits for a connection gets the room that there is more of.
    run(
        &mut admin,
        "SET pool.max_connections = 2, pool.queue_timeout = 60s",
    )
    .await;
    let mut holders = Vec::new();
    for name in ["first", "second"] {
        let mut conn = cluster.client().await;
        run(&mut conn, &format!("DO GET_LOCK('{name}', 1)")).await;
        holders.push(conn);
    }
    let mut third = cluster.client().await;
    let waiting = tokio::spawn(async move { third.query_drop("DO GET_LOCK('third', 1)").await });
    wait_until("it waits", WITHIN, async || {
        let mut admin = cluster.admin().await;
        let waits: Option<u64> = admin
            .query_first("SELECT SUM(waiting) FROM pools")
            .await
            .expect("pools");
        waits > Some(0)
    })
    .await;
    run(&mut admin, "SET pool.max_connections = 40").await;
    let served = tokio::time::timeout(WITHIN, waiting).await;
    assert!(matches!(served, Ok(Ok(Ok(())))), "{served:?}");
    let limits: Vec<u64> = admin
        .query("SELECT SUM(`limit`) FROM pools GROUP BY server")
        .await
        .expect("pools");
    assert_eq!(limits, [40, 40]);

    // A client of C shows what the OK says.
    let port = cluster.admin_address().port().to_string();
    let shown = std::process::Command::new("mariadb")
        .args(["--no-defaults", "-h127.0.0.1", "-P", &port, "-vvv"])
        .args([format!("-u{ADMIN_USER}"), format!("-p{ADMIN_PASSWORD}")])
        .args([
            "-e",
            "SET pool.idle_timeout = 7m; SET pool.idle_timeout = DEFAULT; SELECT 1",
        ])
        .output()
        .expect("the client runs");
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("pool.idle_timeout: 5m -> 7m, at once"), "{shown:?}");
    assert!(shown.status.success(), "{shown:?}");

    // What differs from the file, and what is left of that when it was saved.
    std::fs::set_permissions(&stand.file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    stand.write(&format!(
        "# Ours\n{}",
        stand.text.replace("name = \"b\"", "name = \"b\" # the second")
    ));
    let differs: Vec<Row> = admin.query("SHOW CONFIG DIFF").await.expect("shown");
    assert_eq!(differs.len(), 3, "{differs:?}");
    run(&mut admin, "SAVE CONFIG").await;
    let text = std::fs::read_to_string(&stand.file).expect("its file");
    for part in [
        "# Ours\n",
        "name = \"b\" # the second\n",
        "weight = 1",
        "max_connections = 40",
        "\"60s\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let mode = std::fs::metadata(&stand.file)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let differs: Vec<Row> = admin.query("SHOW CONFIG DIFF").await.expect("shown");
    assert!(differs.is_empty(), "{differs:?}");
    assert_eq!(reload(&mut admin).await, [""; 0]);
    drop(holders);
    cluster.wait_nothing_leased().await;
}

#[tokio::test]
async fn a_reload_takes_all_of_the_file_and_says_what_needs_a_restart() {
    let stand = Stand::new().await;
    let cluster = &stand.cluster;
    let mut admin = cluster.admin().await;
    cluster.create_user("late", "secret", "SELECT ON shop.*").await;
    let late = || Conn::new(client(cluster.address(), "late", "secret", None));
    assert!(late().await.is_err(), "nobody knows it");

    stand.write(&format!(
        "{}[[user]]\nname = \"late\"\npassword = \"secret\"\n[metrics]\naddress = \"127.0.0.1:1\"\n[monitor.x]\n",
        stand.text
    ));
    let before = stand.shown(&mut admin).await;
    let refused = refusal(&mut admin, "RELOAD").await;
    assert!(refused.contains("monitor.x is not known"), "{refused}");
    assert_eq!(stand.shown(&mut admin).await, before);
    assert!(late().await.is_err(), "nothing of a wrong file is taken");

    let text = format!(
        "{}[[user]]\nname = \"late\"\npassword = \"secret\"\n[metrics]\naddress = \"127.0.0.1:1\"\n",
        stand.text
    );
    stand.write(&text);
    let metrics = "metrics.address - → 127.0.0.1:1, after a restart";
    assert_eq!(
        reload(&mut admin).await,
        [metrics, "user.late - → (new), at once"]
    );
    let mut kept = late().await.expect("it is known now");
    assert_eq!(reload(&mut admin).await, [metrics], "and is said again");
    let differs: Vec<Row> = admin.query("SHOW CONFIG DIFF").await.expect("shown");
    assert_eq!(differs.len(), 1, "{differs:?}");

    // By SIGHUP as well.
    stand.write(&stand.text);
    let number = i32::try_from(cluster.process().number()).expect("a number");
    let hung_up = std::process::Command::new("kill")
        .args(["-HUP", &number.to_string()])
        .status();
    assert!(hung_up.is_ok_and(|status| status.success()));
    wait_until("nobody knows it any more", WITHIN, async || late().await.is_err()).await;
    kept.query_drop("SELECT 1").await.expect("its session goes on");
    cluster
        .client()
        .await
        .query_drop("SELECT 1")
        .await
        .expect("so do all others");

    // And by itself, if asked for.
    run(&mut admin, "SET admin.watch_file = true").await;
    let watched = text.replace("[admin]\n", "[admin]\nwatch_file = true\n");
    stand.write(&watched);
    wait_until("the file is taken", WITHIN, async || late().await.is_ok()).await;
    stand.write(&format!("{watched}\n[pool]\nqueue_limit = \"many\"\n"));
    wait_until("the log says why not", WITHIN, async || {
        let told = cluster.process().told();
        told.iter()
            .any(|line| line.contains("is not taken") && line.contains("pool.queue_limit must be"))
    })
    .await;
    assert_eq!(stand.value("pool.queue_limit").await.as_deref(), Some("10000"));
}

#[tokio::test]
async fn who_decides_goes_by_what_is_set() {
    let stand = Stand::of(&Setup::with_failover()).await;
    let cluster = &stand.cluster;
    roles::wait_active(cluster, Some("a"), WITHIN).await;
    roles::wait_settled(cluster, WITHIN).await;
    let (mut admin, mut conn) = (cluster.admin().await, cluster.client().await);
    run(&mut conn, "CREATE DATABASE IF NOT EXISTS shop").await;
    run(&mut conn, "BEGIN").await;
    run(&mut conn, "CREATE TEMPORARY TABLE shop.held (id INT)").await;
    run(&mut admin, "SET failover.switchover_timeout = 200ms").await;
    let begun = Instant::now();
    let refused = refusal(&mut admin, "SWITCHOVER").await;
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "as if nothing had been set: {refused}"
    );
    drop(conn);

    // Whether it is done without being asked for, and what is run then.
    run(&mut admin, "SET failover.mode = manual").await;
    wait_until("it would not be", WITHIN, async || {
        roles::property(&mut cluster.admin().await, "why_not").await == "failover.mode is \"manual\""
    })
    .await;
    let done = cluster.pair().directory().join("done");
    run(
        &mut admin,
        &format!(
            "SET failover.fence_command = 'echo fenced $TANDEM_SERVER >> {0}', \
             failover.event_command = 'echo $TANDEM_EVENT >> {0}'",
            done.display()
        ),
    )
    .await;
    cluster.a().kill9().expect("killed");
    wait_until("it is seen", WITHIN, async || {
        roles::property(&mut cluster.admin().await, "state")
            .await
            .contains("dead")
    })
    .await;
    run(&mut admin, "SET failover.mode = automatic").await;
    roles::wait_active(cluster, Some("b"), WITHIN).await;
    wait_until("both commands were run", WITHIN, async || {
        let done = std::fs::read_to_string(&done).unwrap_or_default();
        done.contains("fenced a\n") && done.contains("promoted\n")
    })
    .await;
}

/// The account of `[monitor]` can be another, as after a change of its password, and how often it asks; an account that the servers
/// do not know harms nobody while the connections last.
#[tokio::test]
async fn the_monitor_goes_by_what_is_set() {
    let stand = Stand::new().await;
    let cluster = &stand.cluster;
    let grant = monitor_grant(engine().flavor()).trim_start_matches("GRANT ");
    cluster.create_user("second_monitor", "other", grant).await;
    let mut admin = cluster.admin().await;
    let asked = async || {
        let mut least = u64::MAX;
        for server in cluster.pair().servers() {
            let counts = cluster.query_counts_of(server, "second_monitor").await;
            least = least.min(counts.reads);
        }
        least
    };
    run(
        &mut admin,
        "SET monitor.user = second_monitor, monitor.password = other, monitor.interval = 50ms",
    )
    .await;
    wait_until("both are asked by the other account", WITHIN, async || {
        asked().await > 0
    })
    .await;
    let (before, begun) = (asked().await, Instant::now());
    wait_until("they are asked", WITHIN, async || asked().await > before + 100).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "as every 250 ms: {took:?}");

    run(&mut admin, "SET monitor.password = wrong").await;
    wait_until("the log says that it does not work", WITHIN, async || {
        let told = cluster.process().told();
        let lines = told
            .iter()
            .filter(|line| line.contains("new account") && line.contains("(1045)"));
        lines.count() == 2
    })
    .await;
    let before = asked().await;
    wait_until("they are asked as before", WITHIN, async || {
        asked().await > before + 20
    })
    .await;
    let mut conn = cluster.client().await;
    run(&mut conn, "CREATE DATABASE IF NOT EXISTS shop").await;
    cluster.wait_nothing_leased().await;
}

/// TLS on both legs is for connections that come or are opened from then on; files that can't be used change nothing.
#[tokio::test]
async fn tls_goes_by_what_is_set() {
    let authority = Authority::new("the authority of what is set");
    let server = authority.sign("server", &["db.example"]);
    let mut setup = Setup::default();
    setup.pair.extra.extend([
        format!("ssl_ca={}", authority.file().display()),
        format!("ssl_cert={}", server.certificate.display()),
        format!("ssl_key={}", server.key.display()),
    ]);
    let stand = Stand::of(&setup).await;
    let cluster = &stand.cluster;
    let mut admin = cluster.admin().await;
    let mut early = cluster.client().await;

    let ca = format!("--ssl-ca={}", authority.file().display());
    let comes_in = async |by: &[&str]| {
        let arguments = [by, &["-e", "SELECT 1"]].concat();
        mariadb(cluster.address(), &arguments, "").await.status == Some(0)
    };
    let by_tls = [ca.as_str(), "--ssl-verify-server-cert"];
    let in_clear = ["--skip-ssl"];
    assert!(!comes_in(&by_tls).await && comes_in(&in_clear).await);
    let identity = authority.sign("tandem", &["127.0.0.1"]);
    let certificate = format!(
        "SET client_tls.certificate = '{}'",
        identity.certificate.display()
    );
    let refused = refusal(
        &mut admin,
        &format!("{certificate}, client_tls.key = '/nowhere/key.pem'"),
    )
    .await;
    assert!(
        refused.contains("SET client_tls.key: client_tls.key /nowhere/key.pem can't be read"),
        "{refused}"
    );
    assert!(!comes_in(&by_tls).await);
    let key = format!("client_tls.key = '{}'", identity.key.display());
    run(&mut admin, &format!("{certificate}, {key}")).await;
    assert!(comes_in(&by_tls).await && comes_in(&in_clear).await);
    run(&mut admin, "SET client_tls.mode = required").await;
    assert!(comes_in(&by_tls).await && !comes_in(&in_clear).await);
    run(&mut admin, "SET client_tls.mode = disabled").await;
    assert!(!comes_in(&by_tls).await && comes_in(&in_clear).await);

    let spoken = async || {
        let mut conn = cluster.client().await;
        let version = conn.query_first("SHOW STATUS LIKE 'Ssl_version'").await;
        let version: Option<(String, String)> = version.expect("shown");
        version.expect("a variable").1
    };
    assert_eq!(spoken().await, "", "on the way to this machine itself");
    run(&mut admin, "SET server_tls.mode = required").await;
    assert_eq!(spoken().await, "TLSv1.3");
    run(&mut admin, "SET server_tls.mode = disabled").await;
    assert_eq!(spoken().await, "");
    run(&mut early, "SELECT 1").await;
    assert_eq!(
        reload(&mut admin).await.len(),
        4,
        "back to what the file says, without a restart"
    );
}

/// One mistake in one line, and what the error has to name.
struct Mutation {
    text: String,
    line: usize,
    key: Option<String>,
}

/// Each key of the example, with each of five mistakes.
fn mutations() -> Vec<Mutation> {
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(setting) if setting.contains("  # ") => setting.to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = EXAMPLE.lines().map(uncommented).collect();
    let mut found = Vec::new();
    let mut section = "";
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        }
        let is_key = |key: &str| {
            key.bytes()
                .all(|letter| letter.is_ascii_lowercase() || letter == b'_')
        };
        let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_key(key)) else {
            continue;
        };
        // What the harness has over the file counts, and not what the file says of it.
        if [("listener", "workers"), ("log", "level")].contains(&(section, key)) {
            continue;
        }
        for (wrong, named) in [
            (format!("{key} = {{ a = 1 }}"), Some(key.to_owned())),
            (line.replacen(key, &format!("{key}_"), 1), Some(format!("{key}_"))),
            (format!("{key} ="), None),
            (format!("{key} = \"\\u0000\""), Some(key.to_owned())),
            (format!("\"\"\n{line}"), None),
        ] {
            let mut text = lines.clone();
            text[index] = wrong;
            found.push(Mutation {
                text: text.join("\n"),
                line: index + 1,
                key: named,
            });
        }
    }
    found
}

#[tokio::test]
async fn broken_files_are_refused_with_key_and_line_and_change_nothing() {
    let mutations = mutations();
    assert!(mutations.len() >= 200, "{} mutations", mutations.len());
    let stand = Stand::new().await;
    let (mut admin, mut conn) = (stand.cluster.admin().await, stand.cluster.client().await);
    let before = stand.shown(&mut admin).await;
    let mut wrong = Vec::new();
    for mutation in &mutations {
        stand.write(&mutation.text);
        let told = match admin.query_drop("RELOAD").await {
            Err(Error::Server(refused)) => refused.message,
            other => format!("{other:?}"),
        };
        let named = mutation
            .key
            .as_ref()
            .is_none_or(|key| told.contains(&format!(".{key} ")));
        if !(named && told.contains(&format!(":{}: ", mutation.line))) {
            let line = mutation.text.lines().nth(mutation.line - 1);
            wrong.push(format!("line {}, {line:?}: {told}", mutation.line));
        }
        conn.query_drop("SELECT 1").await.expect("it serves");
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        mutations.len()
    );
    assert_eq!(stand.shown(&mut admin).await, before);
    stand.write(&stand.text);
    assert_eq!(reload(&mut admin).await, [""; 0]);
}
