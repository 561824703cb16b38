//! The admin port over real sockets, with mysql_async as the client.

use std::sync::Mutex;

use arc_swap::ArcSwap;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::view::{Answer, Explanation, Question, SessionRow, WorkerView};
use super::*;
use crate::config;
use crate::config::live::Live;
use crate::configurator::Holders;
use crate::firewall::keeper::Keeper;
use crate::mirror::Mirrors;
use crate::net::tls::Tls;
use crate::quota::Quotas;
use crate::statistics::digest::Counted;
use crate::topology::gtid::Position;
use crate::topology::{Role, Server, ServerId, Topology};
use crate::worker::accounts::Accounts;
use crate::worker::failed_logins::FailedLogins;
use crate::worker::kill::{Order, Outcome};
use crate::worker::remote::Workers;
use view::Details;

/// A data path with one session that can be killed.
#[derive(Default)]
struct Fake {
    killed: Mutex<Vec<u32>>,
    panics: bool,
}

impl DataPath for Fake {
    fn views(&self) -> Answer<Vec<WorkerView>> {
        assert!(!self.panics, "a bug in a handler");
        let session = SessionRow {
            id: 7,
            worker: 0,
            user: "app".to_owned(),
            client: "127.0.0.1:40000".to_owned(),
            tls: None,
            compression: None,
            schema: "shop".to_owned(),
            command: "Query",
            target: Some("a".to_owned()),
            backend_id: Some(33),
            pins: "user variable".to_owned(),
            transaction: true,
            since: Duration::from_millis(12),
            statements: 3,
            last_reason: "write",
            statement: None,
            held_by: String::new(),
            pinned_by: None,
            held: None,
        };
        let view = WorkerView {
            sessions: vec![session],
            ..WorkerView::default()
        };
        Box::pin(async move { vec![view] })
    }

    fn digests(&self, _: usize) -> Answer<Vec<Counted>> {
        Box::pin(async { Vec::new() })
    }

    fn details(&self) -> Answer<Vec<Details>> {
        Box::pin(async { Vec::new() })
    }

    fn trace(&self, _: u32, _: u32) -> Answer<bool> {
        Box::pin(async { false })
    }

    fn reset_statistics(&self) -> Answer<()> {
        Box::pin(async {})
    }

    fn empty_cache(&self) -> Answer<usize> {
        Box::pin(async { 0 })
    }

    fn explain(&self, question: Question) -> Answer<Explanation> {
        let rows = vec![("statement".to_owned(), question.statement)];
        Box::pin(async move { Explanation { rows } })
    }

    fn kill(&self, order: Order) -> Answer<Outcome> {
        self.killed.lock().expect("not poisoned").push(order.session);
        let outcome = match order.session {
            7 => Outcome::Done,
            _ => Outcome::Unknown,
        };
        Box::pin(async move { outcome })
    }
}

fn topology() -> topology::Shared {
    let server = Server {
        id: ServerId(0),
        name: Arc::from("a"),
        address: SocketAddr::from(([127, 0, 0, 1], 3306)).into(),
        weight: 1,
        role: Role::Active,
        standby_since: None,
        share: 100,
        why: Arc::from("the first that is writable"),
        version: None,
        reports: None,
        timeouts: None,
        at_login: None,
        read_only: false,
        replication: None,
        position: Position::default(),
        position_asked: None,
        probe_time: Some(Duration::from_millis(1)),
        error: None,
    };
    Arc::new(ArcSwap::from_pointee(Topology {
        epoch: 1,
        holding: None,
        given_up: None,
        servers: vec![server],
        active: Some(ServerId(0)),
        mark: None,
        former: None,
    }))
}

const CONFIG: &str = r#"
listener.address = "127.0.0.1:6446"
admin = { address = "127.0.0.1:6447", user = "admin", password = "s3cret" }
monitor = { user = "tandem", password = "hunter-monitor" }
server = [{ name = "a", address = "127.0.0.1:3306" }, { name = "b", address = "127.0.0.1:3307" }]
user = [{ name = "app", password = "hunter-app" }]
admin_user = [
    { name = "watcher", password = "w4tch" },
    { name = "robot", password = "r0bot", rights = "act" },
]
"#;

async fn start(data: Fake) -> (SocketAddr, Arc<Fake>, watch::Sender<bool>) {
    let admin = Admin::bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
    let address = admin.local_address().expect("address");
    let config = config::parse(CONFIG).expect("a configuration");
    let (publish, _) = watch::channel(Arc::new(config.clone()));
    let tls = Tls::new(&config).expect("no files are named");
    let certificates = Arc::clone(&tls.clients);
    let holders = Holders {
        tls: tls.clone(),
        firewall: Keeper::open(&config).expect("no file"),
        accounts: Arc::new(Accounts::new(&[], None)),
        failed_logins: Arc::new(FailedLogins::new(0, Duration::from_secs(60))),
        quotas: Arc::new(Quotas::new(&Arc::new(config.clone()))),
        mirrors: Arc::new(Mirrors::new(&config, tls.servers)),
        workers: Arc::new(Workers::new(&[])),
    };
    let configurator = Configurator::new(Live::fixed(config), publish, holders);
    let data = Arc::new(data);
    let (stop, shutdown) = watch::channel(false);
    let path: Arc<dyn DataPath> = Arc::clone(&data) as _;
    tokio::spawn(admin.run(configurator, certificates, topology(), path, None, shutdown));
    (address, data, stop)
}

async fn connect(address: SocketAddr, user: &str, password: &str) -> mysql_async::Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some("tandem"))
        .prefer_socket(false);
    Conn::new(options).await
}

fn server_error(error: mysql_async::Error) -> (u16, String) {
    match error {
        mysql_async::Error::Server(error) => (error.code, error.message),
        other => panic!("not from the server: {other}"),
    }
}

#[tokio::test]
async fn an_administrator_sees_and_acts() {
    let (address, data, _stop) = start(Fake::default()).await;
    let mut conn = connect(address, "admin", "s3cret").await.expect("login");
    conn.ping().await.expect("ping");

    let row: Row = conn
        .query_first("SHOW SERVERS;")
        .await
        .expect("servers")
        .expect("a row");
    assert_eq!(row.get::<String, _>("name").as_deref(), Some("a"));
    assert_eq!(row.get::<String, _>("role").as_deref(), Some("active"));
    assert_eq!(row.get::<u64, _>("probe_ms"), Some(1));
    assert_eq!(row.get::<Option<u64>, _>("lag_ms"), Some(None));

    let row: Row = conn
        .query_first("show sessions")
        .await
        .expect("sessions")
        .expect("a row");
    assert_eq!(row.get::<u32, _>("id"), Some(7));
    assert_eq!(row.get::<String, _>("pins").as_deref(), Some("user variable"));

    let explained: Vec<(String, String)> = conn
        .query("EXPLAIN ROUTE SELECT /* hint */ 1;")
        .await
        .expect("explained");
    assert_eq!(
        explained,
        [("statement".to_owned(), "SELECT /* hint */ 1".to_owned())]
    );
    let pools: Vec<Row> = conn.query("SHOW POOLS").await.expect("pools");
    assert!(pools.is_empty());

    let joined = "SELECT s.id, s.since_ms / 8.0, v.name FROM sessions s JOIN servers v ON v.name = s.target";
    let row: Option<(u32, f64, String)> = conn.query_first(joined).await.expect("a join");
    assert_eq!(row, Some((7, 1.5, "a".to_owned())));

    conn.query_drop("KILL 7").await.expect("killed");
    let unknown = conn.query_drop("KILL 8").await.expect_err("no such session");
    assert_eq!(server_error(unknown).0, 1094);
    assert_eq!(*data.killed.lock().expect("not poisoned"), [7, 8]);

    let (code, message) = server_error(conn.query_drop("DROP TABLE t").await.expect_err("refused"));
    assert_eq!(code, 1064);
    assert!(message.contains("SHOW SERVERS"), "{message}");
    let prepared = conn.prep("SHOW NOTHING").await.expect_err("refused");
    assert_eq!(server_error(prepared).0, 1064);
    conn.query_drop("SET NAMES utf8mb4").await.expect("still there");
    conn.disconnect().await.expect("quit");
}

#[tokio::test]
async fn a_wrong_login_is_1045() {
    let (address, _, _stop) = start(Fake::default()).await;
    for (user, password) in [("admin", "wrong"), ("admin", ""), ("root", "s3cret")] {
        let refused = connect(address, user, password).await.expect_err("refused");
        let (code, message) = server_error(refused);
        assert_eq!(code, 1045, "{user} {password}");
        assert!(message.starts_with("Access denied"), "{message}");
        assert!(!message.contains("native"), "{message}");
    }
}

/// What is prepared answers as what is said, with the values of its parameters in their own types.
#[tokio::test]
async fn statements_can_be_prepared() {
    let (address, data, _stop) = start(Fake::default()).await;
    let mut conn = connect(address, "admin", "s3cret").await.expect("login");
    let statement = conn
        .prep(
            "SELECT id, user, since_ms / 8.0, id - 100, NULL FROM sessions WHERE user = ? AND id > ? LIMIT ?",
        )
        .await
        .expect("prepared");
    assert_eq!((statement.num_params(), statement.num_columns()), (3, 5));
    let rows: Vec<(u32, String, f64, i64, Option<u32>)> =
        conn.exec(&statement, ("app", 6, 1)).await.expect("executed");
    assert_eq!(rows, [(7, "app".to_owned(), 1.5, -93, None)]);
    let rows: Vec<Row> = conn
        .exec(&statement, ("it's \\", 6.5, 1))
        .await
        .expect("executed");
    assert!(rows.is_empty());
    let shown: Option<Row> = conn
        .exec_first("SHOW SESSIONS LIKE ?", ("a_p",))
        .await
        .expect("shown");
    assert_eq!(shown.and_then(|row| row.get::<u64, _>("since_ms")), Some(12));
    conn.exec_drop("KILL ?", (7,)).await.expect("killed");
    assert_eq!(*data.killed.lock().expect("not poisoned"), [7]);
    let explained: Option<Row> = conn
        .exec_first("EXPLAIN ROUTE SELECT ?", ())
        .await
        .expect("explained");
    assert_eq!(explained.and_then(|row| row.get(1)), Some("SELECT ?".to_owned()));
    conn.close(statement).await.expect("closed");
}

/// Who may look may not act, who may act need not see, and both are told what they lack; what was tried is written down.
#[tokio::test]
async fn rights_are_separate_and_actions_audited() {
    let (address, data, _stop) = start(Fake::default()).await;
    let mut watcher = connect(address, "watcher", "w4tch").await.expect("login");
    let mut robot = connect(address, "robot", "r0bot").await.expect("login");
    watcher
        .query_drop("SELECT * FROM sessions")
        .await
        .expect("may look");
    for statement in ["KILL 7", "/* x */ kill 7", "PAUSE"] {
        let (code, message) = server_error(watcher.query_drop(statement).await.expect_err("refused"));
        assert_eq!(code, 1227, "{message}");
        assert!(message.contains("right \"act\""), "{message}");
    }
    assert!(data.killed.lock().expect("not poisoned").is_empty());
    for statement in [
        "SHOW SESSIONS",
        "SELECT 1 FROM sessions",
        "EXPLAIN ROUTE SELECT 1",
    ] {
        let (code, message) = server_error(robot.query_drop(statement).await.expect_err("refused"));
        assert_eq!(code, 1227, "{message}");
        assert!(message.contains("right \"read\""), "{message}");
    }
    for statement in [
        "SELECT @@version_comment LIMIT 1",
        "SHOW COMMANDS",
        "SHOW VARIABLES",
    ] {
        robot.query_drop(statement).await.expect(statement);
    }
    robot.query_drop("KILL 7").await.expect("may act");
    robot.query_drop("KILL 8").await.expect_err("no such session");
    connect(address, "watcher", "r0bot")
        .await
        .expect_err("another's password");
    let granted: Option<String> = robot.query_first("SHOW GRANTS").await.expect("granted");
    assert_eq!(granted.as_deref(), Some("GRANT EXECUTE ON *.* TO `robot`@`%`"));

    let told: Vec<(String, String, String)> = watcher
        .query("SELECT user, what, outcome FROM audit ORDER BY at, what")
        .await
        .expect("audit");
    let entry =
        |user: &str, what: &str, outcome: &str| (user.to_owned(), what.to_owned(), outcome.to_owned());
    for expected in [
        entry("watcher", "KILL 7", "denied"),
        entry("watcher", "PAUSE", "denied"),
        entry("robot", "KILL 7", "done"),
        entry("robot", "KILL 8", "failed"),
        entry("robot", "SHOW SESSIONS", "denied"),
        entry("watcher", "LOGIN", "denied"),
    ] {
        assert!(told.contains(&expected), "{expected:?} in {told:?}");
    }
}

#[tokio::test]
async fn nonces_differ_and_garbage_hurts_nobody() {
    let (address, _, _stop) = start(Fake::default()).await;
    let mut greetings = Vec::new();
    for garbage in [&b""[..], b"\xff\xff\xff\x01", b"GET / HTTP/1.1\r\n\r\n", &[0; 64]] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let mut greeting = [0; 60];
        stream.read_exact(&mut greeting).await.expect("greeting");
        greetings.push(greeting);
        stream.write_all(garbage).await.expect("sent");
    }
    greetings.dedup_by(|a, b| a[20..] == b[20..]);
    assert_eq!(greetings.len(), 4);
    connect(address, "admin", "s3cret").await.expect("login");
}

#[tokio::test]
async fn a_panic_costs_one_connection() {
    let (address, _, _stop) = start(Fake {
        panics: true,
        ..Fake::default()
    })
    .await;
    let mut first = connect(address, "admin", "s3cret").await.expect("login");
    let mut second = connect(address, "admin", "s3cret").await.expect("login");
    first.query_drop("SHOW SESSIONS").await.expect_err("panicked");
    second.query_drop("SHOW SERVERS").await.expect("goes on");
}

#[tokio::test]
async fn connections_are_bounded_and_end_with_the_port() {
    let (address, _, stop) = start(Fake::default()).await;
    let mut open = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.read_u8().await.expect("greeting");
        open.push(stream);
    }
    let refused = connect(address, "admin", "s3cret").await.expect_err("refused");
    assert!(refused.to_string().contains("1040"), "{refused}");
    stop.send(true).expect("running");
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), open[0].read_to_end(&mut rest))
        .await
        .expect("closed")
        .expect("closed cleanly");
}

/// The `mariadb` client itself, where it is installed.
#[tokio::test]
async fn the_mariadb_client_connects() {
    let (address, _, _stop) = start(Fake::default()).await;
    let client = |password: &str, statement: &str| {
        tokio::process::Command::new("mariadb")
            .args(["--no-defaults", "-h127.0.0.1", "-uadmin"])
            .arg(format!("-P{}", address.port()))
            .arg(format!("-p{password}"))
            .args(["-t", "-e", statement])
            .output()
    };
    let Ok(shown) = client("s3cret", "SHOW SERVERS; USE tandem; SELECT DATABASE()").await else {
        eprintln!("skipped: no mariadb client");
        return;
    };
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success(), "{shown:?}");
    assert!(text.contains("| a    | 127.0.0.1:3306 | active |"), "{text}");
    assert!(text.contains("| tandem     |"), "{text}");
    let refused = client("wrong", "SHOW SERVERS").await.expect("runs");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("ERROR 1045 (28000)"), "{text}");
}
