//! KILL by the numbers that Tandem gave, from SQL, the command and the keyboard: it ends the right statement on the
//! right server, and nobody else's.

use std::process::Stdio;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};
use tandem::demo::pair::APP;
use tandem_tests::raw::Raw;
use tandem_tests::{Cluster, Flavor, Proxy, Setup, own_number, wait_until};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

const SCHEMA: &str = "test_kill";

/// A statement that is not killed would take this long; a test that waits for it has failed.
const ENDLESS: u32 = 300;
const SOON: Duration = Duration::from_secs(10);

async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup {
            toml: ["other", "ended"]
                .map(|name| format!("[[user]]\nname = \"{name}\"\npassword = \"{name}-secret\"\n"))
                .concat(),
            change: |config| config.listener.workers = 2,
            ..Setup::default()
        })
        .await;
        cluster
            .create_user("other", "other-secret", "SELECT ON test_kill.*")
            .await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY)")
            .await
            .expect("a table");
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// How often the statement runs, on both servers together.
async fn running(marker: &str) -> usize {
    let cluster = cluster().await;
    let mut count = 0;
    for server in cluster.pair().servers() {
        let mut root = cluster.direct(server).await;
        let rows: Vec<Option<String>> = root
            .query("SELECT info FROM information_schema.processlist WHERE info NOT LIKE '%processlist%'")
            .await
            .expect("a process list");
        count += rows.iter().flatten().filter(|info| info.contains(marker)).count();
    }
    count
}

async fn wait_running(marker: &str, wanted: usize) {
    let what = format!("{marker} runs {wanted} times");
    wait_until(&what, SOON, || async { running(marker).await == wanted }).await;
}

/// CR_SERVER_LOST, as clients call it when they are hung up on in the middle of a statement.
const LOST: u16 = 2013;

fn code(result: Result<(), Error>) -> Option<u16> {
    match result {
        Ok(()) => None,
        Err(Error::Server(error)) => Some(error.code),
        Err(Error::Io(_)) => Some(LOST),
        Err(other) => panic!("{other}"),
    }
}

/// Starts a statement that would not end by itself; it says what became of it, and gives the session back.
async fn endless(marker: &str, write: bool) -> (u32, tokio::task::JoinHandle<(Option<u16>, Conn)>) {
    let mut conn = cluster().await.client_in(SCHEMA).await;
    let id = conn.id();
    // A counting join is interrupted with an error, where SLEEP would return 1.
    let numbers = tandem_tests::numbers(99_999);
    let lock = if write { " FOR UPDATE" } else { "" };
    let text = format!(
        "SELECT /*+ {marker} */ COUNT(*) FROM t RIGHT JOIN (SELECT a.seq FROM {numbers} a, {numbers} b, \
         {numbers} c) AS x ON t.id = x.seq{lock}",
        numbers = numbers.replace(" AS numbers", "")
    );
    let task = tokio::spawn(async move {
        let result = conn.query_drop(text).await;
        (code(result), conn)
    });
    wait_running(marker, 1).await;
    (id, task)
}

/// What one is told who ends himself: ER_CONNECTION_KILLED, which MySQL has not.
fn killed() -> u16 {
    match tandem_tests::engine().flavor() {
        Flavor::MariaDb => 1927,
        Flavor::MySql => 1317,
    }
}

#[tokio::test]
async fn kill_query_ends_the_statement_and_the_session_goes_on() {
    for (marker, write) in [("read_1", false), ("write_1", true)] {
        let (id, task) = endless(marker, write).await;
        let mut killer = cluster().await.client().await;
        killer
            .query_drop(format!("KILL QUERY {id}"))
            .await
            .expect("killed");
        let (error, mut conn) = tokio::time::timeout(SOON, task)
            .await
            .expect("soon")
            .expect("a result");
        assert_eq!(error, Some(1317), "{marker}");
        wait_running(marker, 0).await;
        let one: Option<u8> = conn.query_first("SELECT 1").await.expect("the session goes on");
        assert_eq!(one, Some(1));
    }
}

/// Asleep or in the middle of a statement, who is ended by another is hung up on without a word, by the server itself and
/// by Tandem.
#[tokio::test]
async fn kill_hangs_up_without_a_word_and_ends_what_runs() {
    let cluster = cluster().await;
    for address in [cluster.a().address(), cluster.address()] {
        for (marker, text) in [
            ("asleep_2", None),
            ("awake_2", Some(b"SELECT /* awake_2 */ SLEEP(300)")),
        ] {
            let mut victim = Raw::log_in(address, SCHEMA).await;
            let id = victim.id;
            if let Some(text) = text {
                victim.command(3, text).await;
                wait_running(marker, 1).await;
            }
            let opts = tandem_tests::pair::client(address, APP.user, APP.password, None);
            let mut killer = Conn::new(opts).await.expect("a session");
            killer.query_drop(format!("KILL {id}")).await.expect("killed");
            let heard = tokio::time::timeout(SOON, victim.packet()).await.expect("soon");
            assert_eq!(heard, None, "{marker} at {address}");
            wait_running(marker, 0).await;
            assert_eq!(code(killer.query_drop(format!("KILL {id}")).await), Some(1094));
        }
    }
}

#[tokio::test]
async fn the_command_kills_too_and_ends_an_idle_session() {
    let cluster = cluster().await;
    let mut victim = cluster.client().await;
    let mut raw = Raw::log_in(cluster.address(), SCHEMA).await;
    raw.command(0x0c, &victim.id().to_le_bytes()).await;
    if cluster.a().engine().flavor() == Flavor::MySql {
        // ER_UNKNOWN_COM_ERROR: MySQL 9.7 has the statement only.
        assert_eq!(raw.error().await, Some(1047));
        return victim.ping().await.expect("it goes on");
    }
    let (_, payload) = raw.packet().await.expect("an answer");
    assert_eq!(payload[0], 0, "OK");
    let deadline = Instant::now() + SOON;
    while victim.ping().await.is_ok() {
        assert!(Instant::now() < deadline, "the victim goes on");
    }
}

#[tokio::test]
async fn only_the_owner_may_kill() {
    let (id, task) = endless("owned_4", false).await;
    let cluster = cluster().await;
    let opts = tandem_tests::pair::client(cluster.address(), "other", "other-secret", Some(SCHEMA));
    let mut other = Conn::new(opts).await.expect("a session");
    for statement in [format!("KILL {id}"), format!("KILL QUERY {id}")] {
        assert_eq!(code(other.query_drop(statement).await), Some(1095));
    }
    assert_eq!(code(other.query_drop("KILL QUERY 4000000000").await), Some(1094));
    assert_eq!(running("owned_4").await, 1);
    let mut owner = cluster.client().await;
    owner.query_drop(format!("KILL {id}")).await.expect("killed");
    assert_eq!(task.await.expect("ended").0, Some(LOST));
}

/// An administrator ends other users' statements and sessions; the right is that of the session, roles included.
#[tokio::test]
async fn who_has_the_servers_right_may_kill_others() {
    let cluster = cluster().await;
    let mut root = cluster.direct(cluster.a()).await;
    let right = match cluster.a().engine().flavor() {
        Flavor::MariaDb => "CONNECTION ADMIN",
        Flavor::MySql => "CONNECTION_ADMIN, SYSTEM_USER",
    };
    for statement in [
        "CREATE ROLE ender",
        &format!("GRANT {right} ON *.* TO ender"),
        "GRANT ender TO other",
    ] {
        root.query_drop(statement).await.expect("a role");
    }
    let (id, task) = endless("anyones_7", false).await;
    let opts = tandem_tests::pair::client(cluster.address(), "other", "other-secret", Some(SCHEMA));
    let mut other = Conn::new(opts).await.expect("a session");
    let kill = format!("KILL QUERY {id}");
    assert_eq!(code(other.query_drop(&kill).await), Some(1095));
    other.query_drop("SET ROLE ender").await.expect("the role");
    other.query_drop(&kill).await.expect("killed");
    let (error, mut conn) = tokio::time::timeout(SOON, task)
        .await
        .expect("soon")
        .expect("a result");
    assert_eq!(error, Some(1317));
    other.query_drop(format!("KILL {id}")).await.expect("killed");
    let deadline = Instant::now() + SOON;
    while conn.ping().await.is_ok() {
        assert!(Instant::now() < deadline, "the session goes on");
    }
    root.query_drop("DROP ROLE ender").await.expect("dropped");
}

#[tokio::test]
async fn who_kills_himself_is_told_as_by_the_servers() {
    let cluster = cluster().await;
    let mut conn = cluster.client().await;
    assert_eq!(
        code(conn.query_drop("KILL QUERY CONNECTION_ID()").await),
        Some(1317)
    );
    assert_eq!(
        code(conn.query_drop(format!("KILL QUERY {}", conn.id())).await),
        Some(1317)
    );
    assert_eq!(
        code(conn.query_drop("KILL CONNECTION_ID()").await),
        Some(killed())
    );
    assert!(conn.ping().await.is_err());
}

/// `CONNECTION_ID()` tells the server's number of the connection, and clients kill by it. Numbers that are nobody's
/// here are the server's to judge.
#[tokio::test]
async fn kill_takes_the_servers_own_numbers_too() {
    let cluster = cluster().await;
    let (mut killer, mut victim) = (cluster.client().await, cluster.client().await);
    // In a transaction nobody else gets the connection.
    victim.query_drop("BEGIN").await.expect("begun");
    let id: u32 = own_number(&mut victim).await;
    killer.query_drop(format!("KILL {id}")).await.expect("killed");
    assert!(victim.ping().await.is_err());
    let id = own_number(&mut killer).await;
    assert_eq!(
        code(killer.query_drop(format!("KILL {id}")).await),
        Some(killed())
    );
    let mut root = cluster.direct(cluster.a()).await;
    let id = own_number(&mut root).await;
    let mut other = cluster.client().await;
    assert_eq!(code(other.query_drop(format!("KILL {id}")).await), Some(1095));
}

/// What only the server can work out is asked there: a user variable, a query, a sum. So is what is nobody's number.
#[tokio::test]
async fn the_number_may_be_an_expression() {
    let cluster = cluster().await;
    let (mut killer, mut victim) = (cluster.client().await, cluster.client().await);
    let ender = format!("SET @victim = {}", victim.id());
    killer.query_drop(ender).await.expect("a variable");
    for wrong in [
        "KILL @nobody",
        "KILL -1",
        "KILL CONNECTION_ID() - CONNECTION_ID()",
    ] {
        assert_eq!(code(killer.query_drop(wrong).await), Some(1094), "{wrong}");
    }
    let mut direct = cluster.direct(cluster.a()).await;
    assert_eq!(
        code(killer.query_drop("KILL nonsense").await),
        code(direct.query_drop("KILL nonsense").await)
    );
    victim.ping().await.expect("nothing has happened to it");
    killer
        .query_drop("KILL (SELECT @victim + 0)")
        .await
        .expect("killed");
    assert!(victim.ping().await.is_err());
    assert_eq!(
        code(killer.query_drop("KILL QUERY CONNECTION_ID() + 0").await),
        Some(1317),
        "itself"
    );
    killer.ping().await.expect("the session goes on");
}

/// A prepared KILL ends a session by Tandem's number too, and not whichever connection has that number on a server; so
/// does one in company, which is refused.
#[tokio::test]
async fn a_binary_kill_means_tandems_numbers() {
    let cluster = cluster().await;
    let (mut killer, mut victim) = (cluster.client().await, cluster.client().await);
    let kill = format!("KILL {}", victim.id());
    assert_eq!(
        code(killer.query_drop(format!("SELECT 1; {kill}")).await),
        Some(1047)
    );
    victim.ping().await.expect("nothing has happened to it");
    let prepared = killer.prep(&kill).await;
    let mut direct = cluster.direct(cluster.a()).await;
    match direct.prep("KILL 0").await {
        Ok(_) => {
            let statement = prepared.expect("prepared");
            killer.exec_drop(&statement, ()).await.expect("killed");
            assert!(victim.ping().await.is_err());
        }
        Err(Error::Server(theirs)) => match prepared {
            Err(Error::Server(ours)) => assert_eq!(ours.code, theirs.code),
            other => panic!("{other:?}"),
        },
        Err(other) => panic!("{other}"),
    }
}

/// Drivers bind the number: whatever type it comes in, it is Tandem's, and not that of a connection of a server.
#[tokio::test]
async fn a_bound_number_is_tandems_too() {
    let cluster = cluster().await;
    let mut killer = cluster.client().await;
    let mut direct = cluster.direct(cluster.a()).await;
    if let Err(Error::Server(theirs)) = direct.prep("KILL ?").await {
        let ours = killer.exec_drop("KILL ?", (1,)).await;
        return assert_eq!(code(ours), Some(theirs.code), "the server's verdict");
    }
    for as_text in [false, true] {
        let mut victim = cluster.client().await;
        let id = victim.id();
        let bound: mysql_async::Value = match as_text {
            true => id.to_string().into(),
            false => id.into(),
        };
        let query = "KILL QUERY ?";
        killer.exec_drop(query, (bound.clone(),)).await.expect(query);
        victim.ping().await.expect("its statement, if there had been one");
        killer.exec_drop("KILL ? + 0", (bound,)).await.expect("killed");
        assert!(victim.ping().await.is_err(), "as text: {as_text}");
    }
    for wrong in [mysql_async::Value::NULL, "nobody".into(), (-1).into()] {
        let killed = killer.exec_drop("KILL ?", (wrong.clone(),)).await;
        assert_eq!(code(killed), Some(1094), "{wrong:?}");
    }
    // What is bound to a statement that text names is a variable.
    let mut victim = cluster.client().await;
    for statement in [
        format!("SET @victim = {}", victim.id()),
        "PREPARE s FROM 'KILL ?'".to_owned(),
        "EXECUTE s USING @victim".to_owned(),
    ] {
        killer.query_drop(&statement).await.expect(&statement);
    }
    assert!(victim.ping().await.is_err());
}

/// `KILL USER` ends the sessions of a name, asleep or not, and no others; who may not is told that there were none, as by
/// the server. MySQL does not know it, and says so itself.
#[tokio::test]
async fn kill_user_ends_all_sessions_of_a_name() {
    let cluster = cluster().await;
    cluster
        .create_user("ended", "ended-secret", "SELECT ON test_kill.*")
        .await;
    let opts = |name: &str| {
        let secret = format!("{name}-secret");
        tandem_tests::pair::client(cluster.address(), name, &secret, Some(SCHEMA))
    };
    let session = async |name: &str| Conn::new(opts(name)).await.expect("a session");
    let mut other = session("other").await;
    if cluster.a().engine().flavor() == Flavor::MySql {
        // ER_PARSE_ERROR
        return assert_eq!(code(other.query_drop("KILL USER ended").await), Some(1064));
    }
    let (mut asleep, mut awake, mut own) = (
        session("ended").await,
        session("ended").await,
        session("ended").await,
    );
    let sleeping =
        tokio::spawn(async move { code(awake.query_drop("SELECT /* ended_9 */ SLEEP(300)").await) });
    wait_running("ended_9", 1).await;
    for harmless in [
        "KILL USER ended",
        "KILL USER nobody",
        "KILL USER ENDED",
        "KILL USER other@'192.0.2.7'",
    ] {
        other.query_drop(harmless).await.expect(harmless);
        assert_eq!(other.affected_rows(), 0, "{harmless}");
    }
    asleep.ping().await.expect("nothing has happened to it");
    own.query_drop("KILL QUERY USER CURRENT_USER")
        .await
        .expect("its own");
    assert_eq!(own.affected_rows(), 3);
    assert_eq!(sleeping.await.expect("an end"), Some(1317));
    wait_running("ended_9", 0).await;
    own.ping().await.expect("the session goes on");
    own.query_drop("KILL USER ended@127.0.0.1")
        .await
        .expect("its own");
    assert!(own.affected_rows() >= 2, "{}", own.affected_rows());
    for mut gone in [own, asleep] {
        assert!(gone.ping().await.is_err(), "it goes on");
    }
    other.ping().await.expect("another's goes on");
}

/// What parts a pair is refused in every form; a server alone answers for itself.
#[tokio::test]
async fn replication_is_the_operators_where_there_is_a_pair() {
    let cluster = cluster().await;
    let alone = Proxy::over(cluster.pair(), "", |config| config.servers.truncate(1)).await;
    let stop = match cluster.a().engine().flavor() {
        Flavor::MariaDb => "STOP SLAVE",
        Flavor::MySql => "STOP REPLICA",
    };
    let mut conn = cluster.client().await;
    assert_eq!(code(conn.query_drop(stop).await), Some(1047));
    if let Ok(statement) = conn.prep(stop).await {
        assert_eq!(code(conn.exec_drop(&statement, ()).await), Some(1047));
    }
    let mut conn = Conn::new(alone.opts(None)).await.expect("a session");
    assert_eq!(
        code(conn.query_drop(stop).await),
        Some(1227),
        "the account lacks the right"
    );
    for statement in [format!("SELECT 1; {stop}"), "SHUTDOWN".to_owned()] {
        assert_eq!(code(conn.query_drop(&statement).await), Some(1047), "{statement}");
    }
}

/// What Tandem runs itself or refuses can be prepared as on the server; it is done, or refused, when it is executed.
#[tokio::test]
async fn a_kill_that_has_a_name_is_tandems_too() {
    let mut conn = cluster().await.client().await;
    for (statement, executed) in [("KILL 0", 1094), ("SHUTDOWN", 1047)] {
        let prepare = format!("PREPARE s FROM '{statement}'");
        let ours = code(conn.query_drop(&prepare).await);
        let mut root = cluster().await.direct(cluster().await.a()).await;
        assert_eq!(ours, code(root.query_drop(&prepare).await), "{statement}");
        if ours.is_none() {
            assert_eq!(
                code(conn.query_drop("EXECUTE s").await),
                Some(executed),
                "{statement}"
            );
        }
    }
    if cluster().await.a().engine().flavor() == Flavor::MariaDb {
        let mut victim = cluster().await.client().await;
        let kill = format!("EXECUTE IMMEDIATE 'KILL {}'", victim.id());
        conn.query_drop(kill).await.expect("killed");
        assert!(victim.ping().await.is_err());
    }
    conn.ping().await.expect("the session goes on");
}

/// What the clients themselves do at Ctrl-C: a second connection and `KILL QUERY`.
#[tokio::test]
async fn control_c_in_the_command_line_clients_ends_the_query() {
    let cluster = cluster().await;
    let mut clients = vec![("mariadb", std::process::Command::new("mariadb"))];
    if cluster.a().engine().flavor() == Flavor::MySql {
        clients.push((
            "mysql",
            cluster.a().engine().program("mysql").expect("its own client"),
        ));
    }
    for (name, program) in clients {
        let marker = format!("keyboard_{name}");
        let mut child = Command::from(program)
            .args([
                "--no-defaults",
                "--protocol=tcp",
                "--host=127.0.0.1",
                "-N",
                "--force",
                "--comments",
            ])
            .arg(format!("--port={}", cluster.address().port()))
            .arg(format!("--user={}", APP.user))
            .env("MYSQL_PWD", APP.password)
            .args([
                "-e",
                &format!("SELECT /* {marker} */ SLEEP({ENDLESS}); SELECT 'goes', 'on'"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|problem| panic!("{name}: {problem}"));
        wait_running(&marker, 1).await;
        let since = Instant::now();
        let pid = child.id().expect("it runs");
        let interrupt = format!("kill -s INT {pid}");
        let sent = std::process::Command::new("sh").args(["-c", &interrupt]).status();
        assert!(sent.expect("a shell").success());
        wait_running(&marker, 0).await;
        let ended = tokio::time::timeout(SOON, child.wait()).await;
        ended.unwrap_or_else(|_| panic!("{name} ends")).expect("a status");
        let mut said = String::new();
        let mut words = child.stdout.take().expect("piped");
        words.read_to_string(&mut said).await.expect("text");
        assert!(since.elapsed() < SOON, "{name}: {said}");
    }
}
