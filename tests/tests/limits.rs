//! What an account and a network may have, on real servers: who asks for more is told which key says so, others go on, and
//! the table `limits` shows it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use tandem_tests::pair::Pair;
use tandem_tests::{Cluster, Setup, wait_until};

use std::time::Duration;

fn refusal(error: Error) -> (u16, String) {
    match error {
        Error::Server(refused) => (refused.code, refused.message),
        other => panic!("not refused, but {other}"),
    }
}

/// `limit`, `current`, `highest` and `refused` of a key.
async fn limit(admin: &mut Conn, key: &str) -> (u64, u64, u64, u64) {
    let question = format!("SELECT `limit`, current, highest, refused FROM limits WHERE name = '{key}'");
    let row = admin.query_first(question).await.expect("the table");
    row.unwrap_or_else(|| panic!("no row {key}"))
}

#[tokio::test]
async fn a_noisy_account_is_bounded_while_it_runs_and_others_are_not() {
    let toml = "[[user]]\nname = \"quiet\"\npassword = \"qu13t\"\n\
        [[network]]\nname = \"here\"\naddresses = \"127.0.0.0/8\"\nmax_connections = 6\n";
    // A process of its own: its configuration can be another while it runs.
    let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
    let workers = ["listener.workers=2".to_owned()];
    let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &workers);
    cluster.create_user("quiet", "qu13t", "SELECT ON *.*").await;
    let quiet = || {
        OptsBuilder::from_opts(cluster.opts(None))
            .user(Some("quiet"))
            .pass(Some("qu13t"))
    };
    let file = cluster.pair().directory().join("tandem").join("tandem.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    std::fs::write(&file, format!("{text}\n{toml}")).expect("written");
    let mut admin = cluster.admin().await;
    admin.query_drop("RELOAD").await.expect("reloaded");
    let app = tandem::demo::pair::APP.user;
    let (sessions, rate) = (
        format!("user.{app}.max_connections"),
        format!("user.{app}.statement_rate"),
    );
    // Sessions, on whichever worker they are.
    admin
        .query_drop(format!("SET {sessions} = 3"))
        .await
        .expect("set");
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(Conn::new(cluster.opts(None)).await.expect("room"));
    }
    let (code, message) = refusal(Conn::new(cluster.opts(None)).await.expect_err("one too many"));
    assert_eq!(code, 1203, "{message}");
    assert!(message.contains(&sessions), "{message}");
    let mut other = Conn::new(quiet()).await.expect("another account");
    assert_eq!(limit(&mut admin, &sessions).await, (3, 3, 3, 1));
    // The network: three of the one account and one of the other are in it.
    let more = [
        Conn::new(quiet()).await.expect("room"),
        Conn::new(quiet()).await.expect("room"),
    ];
    let (code, message) = refusal(Conn::new(quiet()).await.expect_err("the network is full"));
    assert_eq!(code, 1203, "{message}");
    assert!(message.contains("network.here.max_connections"), "{message}");
    for conn in more {
        conn.disconnect().await.expect("left");
    }
    let mut noisy = kept.pop().expect("a session");
    for conn in kept {
        conn.disconnect().await.expect("left");
    }
    wait_until("places are given back", Duration::from_secs(5), || async {
        let mut admin = cluster.admin().await;
        limit(&mut admin, &sessions).await.1 == 1
    })
    .await;
    Conn::new(cluster.opts(None)).await.expect("room again");
    // Statements, in text and prepared, of a session that is there already.
    admin.query_drop(format!("SET {rate} = 5")).await.expect("set");
    let mut answered = 0;
    let refused = loop {
        let asked = match answered % 2 {
            0 => noisy.query_drop("SELECT 1").await,
            _ => noisy.exec_drop("SELECT ?", (1,)).await,
        };
        match asked {
            Ok(()) => answered += 1,
            Err(error) => break refusal(error),
        }
        assert!(answered < 100, "the rate holds");
        other
            .query_drop("SELECT 1")
            .await
            .expect("another account goes on");
    };
    assert_eq!(refused.0, 1226, "{}", refused.1);
    assert!(refused.1.contains(&rate), "{}", refused.1);
    let (most, _, highest, refusals) = limit(&mut admin, &rate).await;
    assert_eq!((most, highest), (5, 5));
    assert!(refusals >= 1);
    wait_until("the second is over", Duration::from_secs(5), || async {
        let mut admin = cluster.admin().await;
        limit(&mut admin, &rate).await.1 == 0
    })
    .await;
    noisy.query_drop("SELECT 1").await.expect("the next second");
    admin.query_drop(format!("SET {rate} = 0")).await.expect("set");
    for _ in 0..50 {
        noisy.query_drop("SELECT 1").await.expect("no limit any more");
    }
    cluster.assert_logs_clean();
    cluster.stop().await;
}

/// Who leaves a transaction open is hung up on and rolled back; a session without one sleeps on.
#[tokio::test]
async fn a_session_that_leaves_a_transaction_open_is_ended() {
    let cluster = Cluster::start(Setup {
        change: |config| config.limits.idle_transaction_timeout = Duration::from_millis(500),
        ..Setup::default()
    })
    .await;
    cluster.create_database("test_idle").await;
    let mut open = cluster.client_in("test_idle").await;
    let mut asleep = cluster.client_in("test_idle").await;
    open.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .expect("a table");
    open.query_drop("BEGIN").await.expect("begun");
    open.query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("inserted");
    wait_until("it is ended", Duration::from_secs(10), || async {
        let mut admin = cluster.admin().await;
        let left: Option<u64> = admin
            .query_first("SELECT COUNT(*) FROM sessions WHERE `transaction` = 'yes'")
            .await
            .expect("sessions");
        left == Some(0)
    })
    .await;
    open.query_drop("SELECT 1").await.expect_err("hung up on");
    let rows: Option<u64> = asleep
        .query_first("SELECT COUNT(*) FROM t")
        .await
        .expect("goes on");
    assert_eq!(rows, Some(0), "rolled back");
    asleep
        .query_drop("INSERT INTO t VALUES (1)")
        .await
        .expect("the lock is gone");
    cluster.stop().await;
}
