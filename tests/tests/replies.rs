//! Replies through Tandem are those of the server, byte for byte, under what clients can negotiate.

use mysql_async::prelude::Queryable;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::MAX_PAYLOAD;
use tandem_protocol::handshake::Greeting;
use tandem_protocol::packet::ok::{OK_HEADER, OkPacket};
use tandem_protocol::packet::session_track::{Change, changes};
use tandem_protocol::response::Expect;
use tandem_tests::pair::APP;
use tandem_tests::raw::{CAPABILITIES, Raw, command};
use tandem_tests::{Cluster, Flavor, Setup, engine};
use tokio::sync::OnceCell;

const SCHEMA: &str = "test_replies";
const QUERY: u8 = 3;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup::default();
        let options = ["max_allowed_packet=64M", "interactive_timeout=1234"];
        setup.pair.extra.extend(options.map(str::to_owned));
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("CREATE TABLE t (a INT PRIMARY KEY)")
            .await
            .expect("a table");
        conn.query_drop("INSERT INTO t VALUES (1), (2)")
            .await
            .expect("rows");
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// Packets with their numbers.
type Packets = Vec<(u8, Vec<u8>)>;

/// The same client twice: at the active master, and at Tandem in front of it.
struct Twins {
    direct: Raw,
    through: Raw,
}

impl Twins {
    /// Logs both in, with `more` than the usual flags.
    async fn log_in(more: Capabilities) -> Self {
        let cluster = cluster().await;
        // Without bit 0, MariaDB's extended flags are heard.
        let capabilities = (CAPABILITIES - Capabilities::LONG_PASSWORD) | more;
        // So that MySQL has the account's password in its cache and lets the raw client in without TLS.
        Raw::log_in(cluster.address(), SCHEMA).await.run("DO 1").await;
        let through = Raw::log_in_with(cluster.address(), &APP, SCHEMA, capabilities).await;
        let direct = Raw::log_in_with(cluster.a().address(), &APP, SCHEMA, capabilities).await;
        Self { direct, through }
    }

    /// Sends both the same and returns the two replies, the server's first.
    async fn ask(&mut self, code: u8, argument: &[u8], expect: Expect) -> (Packets, Packets) {
        let bytes = command(code, argument);
        self.direct.send(&bytes).await;
        self.through.send(&bytes).await;
        (self.direct.reply(expect).await, self.through.reply(expect).await)
    }

    async fn same(&mut self, code: u8, argument: &[u8], expect: Expect) {
        let (direct, through) = self.ask(code, argument, expect).await;
        let what = String::from_utf8_lossy(&argument[..argument.len().min(200)]);
        assert!(
            direct == through,
            "command {code:#x} {what}\n direct {}\nthrough {}",
            readable(&direct),
            readable(&through)
        );
    }

    /// Prepares a statement; its ids, the server's first.
    async fn prepare(&mut self, text: &str) -> [u8; 2] {
        let (mut direct, mut through) = self.ask(0x16, text.as_bytes(), Expect::Prepare).await;
        // Each counts for itself. None of the tests comes to 256.
        let ids = [direct[0].1[1], through[0].1[1]];
        direct[0].1[1] = 0;
        through[0].1[1] = 0;
        assert_eq!(readable(&direct), readable(&through), "{text}");
        ids
    }

    /// Executes it; `rest` begins with the flags.
    async fn execute(&mut self, ids: [u8; 2], rest: &[u8]) -> (Packets, Packets) {
        let [direct, through] = ids.map(|id| [&[id, 0, 0, 0], rest].concat());
        self.direct.command(0x17, &direct).await;
        self.through.command(0x17, &through).await;
        let expect = Expect::Execute;
        (self.direct.reply(expect).await, self.through.reply(expect).await)
    }

    async fn same_execution(&mut self, ids: [u8; 2], rest: &[u8]) {
        let (direct, through) = self.execute(ids, rest).await;
        assert_eq!(readable(&direct), readable(&through), "{rest:?}");
    }

    /// As [`Self::same`], but for the order of reported variables, in which MariaDB follows nothing that can be seen.
    async fn same_report(&mut self, code: u8, argument: &[u8], expect: Expect) {
        let (direct, through) = self.ask(code, argument, expect).await;
        let capabilities = self.through.capabilities;
        let [direct, through] = [direct, through].map(|packets| readable(&in_order(packets, capabilities)));
        let what = argument.escape_ascii();
        assert!(
            direct == through,
            "{capabilities:?}: {code:#x} {what}\n direct {direct}\nthrough {through}"
        );
    }

    async fn query(&mut self, text: &str) {
        self.same(QUERY, text.as_bytes(), Expect::Query).await;
    }
}

/// The packets with the variables that an OK reports in the order of their names.
fn in_order(mut packets: Packets, capabilities: Capabilities) -> Packets {
    for (_, payload) in &mut packets {
        let Ok(ok) = OkPacket::decode(payload, capabilities) else {
            continue;
        };
        if ok.session_state.is_empty() {
            continue;
        }
        let mut all: Vec<_> = changes(ok.session_state)
            .map(|change| change.expect("a change"))
            .collect();
        all.sort_by_key(|change| match change {
            Change::SystemVariable { name, .. } => (0, name.to_vec()),
            _ => (1, Vec::new()),
        });
        let mut session_state = Vec::new();
        for change in all {
            change.encode(&mut session_state);
        }
        let sorted = OkPacket {
            session_state: &session_state,
            ..ok
        };
        let mut bytes = Vec::new();
        sorted.encode(payload[0], capabilities, &mut bytes);
        *payload = bytes;
    }
    packets
}

fn readable(packets: &Packets) -> String {
    let lines = packets
        .iter()
        .map(|(seq, payload)| format!("\n  {seq} {}", payload.escape_ascii()));
    lines.collect()
}

/// A command of several packets is answered with the number after its last one, by Tandem as by the server.
#[tokio::test]
async fn replies_count_on_from_the_last_packet_of_a_command() {
    let mut twins = Twins::log_in(Capabilities::empty()).await;
    let mut text = b"SELECT 1 AS ".to_vec();
    text.resize(MAX_PAYLOAD + 100, b'x');
    twins.same(QUERY, &text, Expect::Query).await;
    // Both give the first of their statements the number 1: this one is unknown to Tandem itself.
    let mut execute = b"\x2a\0\0\0\0\x01\0\0\0".to_vec();
    execute.resize(MAX_PAYLOAD + 100, 0);
    let (direct, through) = twins.ask(0x17, &execute, Expect::Execute).await;
    let head = |packets: &Packets| (packets[0].0, packets[0].1[..9].to_vec());
    assert_eq!(head(&direct), head(&through), "numbers and codes of the errors");
    assert_eq!(head(&through).0, 2);
    twins.query("SELECT 2").await;
}

/// The OK of a login without its text: a proof bound to a certificate, which each has of its own (`tls.rs` looks at it).
fn without_proof(login: &Raw) -> Vec<u8> {
    let mut ok = OkPacket::decode(&login.welcome, login.capabilities).expect("an OK");
    ok.info = b"";
    let mut out = Vec::new();
    ok.encode(OK_HEADER, login.capabilities, &mut out);
    out
}

/// What a client that asks for session tracking is told of its session is what the server would tell it: by default,
/// and after it has said itself what it wants to know. Tandem's own trackers do not show.
#[tokio::test]
async fn session_tracking_is_the_servers() {
    for more in [
        Capabilities::SESSION_TRACK,
        Capabilities::SESSION_TRACK | Capabilities::DEPRECATE_EOF,
        Capabilities::DEPRECATE_EOF,
        Capabilities::empty(),
    ] {
        let mut twins = Twins::log_in(more).await;
        let [direct, through] = [&twins.direct, &twins.through].map(without_proof);
        assert_eq!(direct, through, "{more:?}");
        let tracks = more.contains(Capabilities::SESSION_TRACK);
        // Who does not understand reports has no use for them. If it asks for them, MariaDB has the bit for changes in
        // the status of more EOFs than Tandem.
        let usual = |text: &&&str| tracks || !text.starts_with("SET session_track");
        for text in TRACKED.iter().chain(tracked_by_maker()).filter(usual) {
            twins.same_report(QUERY, text.as_bytes(), Expect::Query).await;
        }
        // COM_INIT_DB, COM_RESET_CONNECTION, and what is told after it.
        twins.same_report(2, SCHEMA.as_bytes(), Expect::Single).await;
        twins.same(0x1f, b"", Expect::Single).await;
        for text in [
            "SET NAMES utf8mb4",
            "BEGIN",
            "COMMIT",
            "SELECT @@session_track_schema",
        ] {
            twins.same_report(QUERY, text.as_bytes(), Expect::Query).await;
        }
        twins.same(2, SCHEMA.as_bytes(), Expect::Single).await;
    }
}

#[rustfmt::skip]
const TRACKED: &[&str] = &[
    "SELECT @@session_track_schema, @@session_track_state_change, @@session_track_system_variables",
    "SET NAMES latin1", "SET autocommit=0", "SET autocommit=1", "SET sql_mode='ANSI', time_zone='+01:00'",
    "SET sql_mode=''", "SET NAMES utf8mb4, time_zone='+02:00', autocommit=1", "USE test_replies", "SET @a=1",
    "BEGIN", "SELECT 1", "SELECT * FROM t", "COMMIT", "START TRANSACTION READ ONLY", "SELECT * FROM t", "ROLLBACK",
    "SET session_track_transaction_info='CHARACTERISTICS'",
    "BEGIN", "SELECT 1", "SELECT * FROM t", "SELECT 2", "COMMIT", "START TRANSACTION READ ONLY", "COMMIT",
    "SET session_track_state_change=1", "SET @a=1", "SET sql_mode='ANSI'", "CREATE TEMPORARY TABLE own (a INT)",
    "DROP TEMPORARY TABLE own", "SET session_track_state_change=0",
    "SET session_track_system_variables='sql_mode'", "SET time_zone='+03:00'", "SET sql_mode=''",
    "SHOW VARIABLES LIKE 'session_track%'",
    "SET session_track_schema=0, sql_select_limit=7, session_track_transaction_info='OFF'", "USE test_replies",
    "SELECT @@sql_select_limit, @@session_track_schema",
    "BEGIN", "SELECT @@session_track_transaction_info", "COMMIT",
    "SET session_track_system_variables='nosuch'", "SELECT @@session_track_system_variables",
    "SET session_track_schema=DEFAULT", "SET session_track_system_variables=DEFAULT", "SET NAMES utf8mb4",
    "SET SESSION session_track_schema=1, sql_select_limit=DEFAULT", "USE test_replies", "SET time_zone='+04:00'",
    "SELECT @@sql_select_limit, @@time_zone",
];

fn tracked_by_maker() -> &'static [&'static str] {
    match engine().flavor() {
        Flavor::MariaDb => &[
            "SET session_track_system_variables=''",
            "SET NAMES latin1",
            "SET session_track_system_variables='*'",
            "SET sql_mode='ANSI'",
            "SET sql_mode=''",
        ],
        // '*' reports a number of the statement, which differs by Tandem's own statements.
        Flavor::MySql => &[
            "SET session_track_system_variables='time_zone,sql_mode,autocommit'",
            "SET time_zone='+05:00', sql_mode='ANSI', autocommit=1",
            "SET sql_mode=''",
        ],
    }
}

/// What the greeting promises is what the server's greeting promises, but for what is named here.
#[tokio::test]
async fn the_greeting_is_the_servers() {
    let cluster = cluster().await;
    let mut greetings = Vec::new();
    for address in [cluster.a().address(), cluster.address()] {
        let mut raw = Raw::connect(address).await;
        let (seq, payload) = raw.packet().await.expect("a greeting");
        assert_eq!(seq, 0);
        greetings.push(payload);
    }
    let greetings: Vec<_> = greetings
        .iter()
        .map(|payload| Greeting::decode(payload).expect("a greeting"))
        .collect();
    let [direct, through] = greetings.as_slice() else {
        panic!("two greetings");
    };
    assert_eq!(
        direct.version.escape_ascii().to_string(),
        through.version.escape_ascii().to_string()
    );
    assert_eq!((direct.charset, direct.status), (through.charset, through.status));
    assert_eq!(direct.plugin, through.plugin);
    let differ = direct.capabilities ^ through.capabilities;
    let excused = EXCEPTIONS
        .iter()
        .fold(Capabilities::empty(), |all, (flag, _)| all | *flag);
    assert_eq!(differ - excused, Capabilities::empty(), "unexcused");
    let more = through.capabilities - direct.capabilities;
    assert_eq!(
        more,
        Capabilities::empty(),
        "offered without a server that offers it"
    );
}

const EXCEPTIONS: &[(Capabilities, &str)] = &[
    (
        Capabilities::COMPRESS,
        "Tandem's legs are compressed by its own settings",
    ),
    (
        Capabilities::ZSTD_COMPRESSION,
        "Tandem's legs are compressed by its own settings",
    ),
    (
        Capabilities::LOCAL_FILES,
        "only where an account is allowed to send files",
    ),
    (Capabilities::SSL, "only where Tandem has a certificate"),
    (Capabilities::SSL_VERIFY_SERVER_CERT, "goes with TLS"),
    (
        Capabilities::MULTI_FACTOR_AUTHENTICATION,
        "Tandem knows one password of each account",
    ),
    (
        Capabilities::MARIADB_STMT_BULK,
        "offered as soon as the command is carried",
    ),
    (
        Capabilities::MARIADB_BULK_UNIT_RESULTS,
        "goes with the bulk command",
    ),
];

/// Flags that change what statements mean or replies say reach the server that runs the statement.
#[tokio::test]
async fn flags_of_the_login_count_at_the_server() {
    for more in [
        Capabilities::FOUND_ROWS,
        Capabilities::IGNORE_SPACE,
        Capabilities::INTERACTIVE,
        Capabilities::MULTI_STATEMENTS | Capabilities::MULTI_RESULTS,
        Capabilities::MULTI_STATEMENTS | Capabilities::MULTI_RESULTS | Capabilities::DEPRECATE_EOF,
        Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS,
        Capabilities::LONG_FLAG | Capabilities::ODBC | Capabilities::NO_SCHEMA,
        Capabilities::empty(),
    ] {
        let mut twins = Twins::log_in(more).await;
        for text in [
            "UPDATE t SET a = 1 WHERE a = 1",
            "SELECT COUNT (*) FROM t",
            "SELECT @@wait_timeout, @@sql_mode",
            "SELECT a FROM test_replies.t WHERE a IS NULL",
            "SELECT 1; SELECT 2",
        ] {
            twins.query(text).await;
        }
        // COM_PING, after errors as well.
        twins.same(0x0e, b"", Expect::Single).await;
        // COM_SET_OPTION: multi-statements on and off; each time in the middle of a transaction and outside.
        for option in [0, 1] {
            twins.same(0x1b, &[option, 0], Expect::Single).await;
            twins.query("SELECT 1; SELECT 2").await;
            twins.query("BEGIN").await;
            twins.same(0x1b, &[1 - option, 0], Expect::Single).await;
            twins.query("SELECT 3; SELECT 4").await;
            twins.query("ROLLBACK").await;
            twins.query("SELECT 5; SELECT 6").await;
        }
    }
}

/// Statements with attributes are seen as statements and reach the server as they are. Only MySQL knows them.
#[tokio::test]
async fn query_attributes_reach_the_server() {
    let mut twins = Twins::log_in(Capabilities::QUERY_ATTRIBUTES).await;
    if engine().flavor() == Flavor::MariaDb {
        assert!(
            !twins
                .through
                .capabilities
                .contains(Capabilities::QUERY_ATTRIBUTES)
        );
        return;
    }
    // One attribute, a text named "trace".
    let attributes = b"\x01\x01\0\x01\xfe\0\x05trace\x02id".as_slice();
    for text in [
        "SELECT a FROM t",
        "UPDATE t SET a = 1 WHERE a = 1",
        "SET sql_mode='ANSI'",
        "SELECT \"a\" FROM t",
        "nonsense",
    ] {
        twins
            .same(QUERY, &[b"\0\x01", text.as_bytes()].concat(), Expect::Query)
            .await;
        twins
            .same(QUERY, &[attributes, text.as_bytes()].concat(), Expect::Query)
            .await;
    }
    // Not bound, and cut off.
    for broken in [
        b"\x01\x01\0\0\xfe\0\x05trace\x02idSELECT 1".as_slice(),
        b"\x01\x01\0",
    ] {
        let (direct, through) = twins.ask(QUERY, broken, Expect::Query).await;
        assert_eq!(direct[0].1[..9], through[0].1[..9], "{}", readable(&through));
    }
    // Tandem has seen the text: its own number stands for the session.
    let kill = format!("KILL QUERY {}", twins.through.id);
    twins
        .through
        .command(QUERY, &[attributes, kill.as_bytes()].concat())
        .await;
    assert_eq!(twins.through.error().await, Some(1317));

    let ids = twins.prepare("SELECT ? + a FROM t").await;
    // With the number of parameters.
    let execute = |rest: &[u8]| [b"\x08\x01\0\0\0", rest].concat();
    // The statement's parameter and an attribute; the parameter alone, as it was bound before; both again.
    for rest in [
        b"\x02\0\x01\x08\0\0\xfe\0\x05trace\x05\0\0\0\0\0\0\0\x02id".as_slice(),
        b"\x01\0\0\x07\0\0\0\0\0\0\0",
        b"\x02\0\x01\x08\0\0\xfe\0\x05trace\x06\0\0\0\0\0\0\0\x02id",
    ] {
        twins.same_execution(ids, &execute(rest)).await;
    }
    // Counted without the flag that says so, as mysql-connector-python does it.
    let unflagged = b"\0\x01\0\0\0\x01\0\x01\x08\0\0\x05\0\0\0\0\0\0\0";
    twins.same_execution(ids, unflagged).await;
    // Another connection, which has not seen the types: the session changes what it is known by.
    twins.same(0x1b, &[0, 0], Expect::Single).await;
    let alone = execute(b"\x01\0\0\x07\0\0\0\0\0\0\0");
    twins.same_execution(ids, &alone).await;
    let ids = twins.prepare("SELECT 1").await;
    let attribute = execute(b"\x01\0\x01\xfe\0\x05trace\x02id");
    twins.same_execution(ids, &attribute).await;
    twins.same_execution(ids, &execute(b"\0")).await;
}

/// An execution with one number, and its type.
const ONE: &[u8] = b"\0\x01\0\0\0\0\x01\x08\0\x05\0\0\0\0\0\0\0";

/// `resultset_metadata=NONE` leaves the definitions out, also of what is prepared, and Tandem's own questions on such a
/// connection are understood.
#[tokio::test]
async fn metadata_are_left_out_for_who_does_not_want_them() {
    for more in [Capabilities::empty(), Capabilities::DEPRECATE_EOF] {
        let mut twins = Twins::log_in(Capabilities::OPTIONAL_RESULTSET_METADATA | more).await;
        if engine().flavor() == Flavor::MariaDb {
            assert!(
                !twins
                    .through
                    .capabilities
                    .contains(Capabilities::OPTIONAL_RESULTSET_METADATA)
            );
            return;
        }
        for text in [
            "SELECT a FROM t",
            "SET resultset_metadata=NONE",
            "SELECT a, 1 FROM t",
            "SET NAMES latin1",
            "SELECT @@collation_connection",
            "SELECT LAST_INSERT_ID()",
            "SELECT a FROM t WHERE a > 9",
            "SHOW TABLES",
        ] {
            twins.query(text).await;
        }
        for text in ["SELECT ? + a FROM t", "SELECT a FROM t WHERE a > ?", "DO ?"] {
            let ids = twins.prepare(text).await;
            twins.same_execution(ids, ONE).await;
            twins.same_execution(ids, ONE).await;
        }
        twins.query("SET resultset_metadata=FULL").await;
        twins.query("SELECT a FROM t").await;
    }
    let mut without = Twins::log_in(Capabilities::empty()).await;
    without.query("SET resultset_metadata=NONE").await;
}

/// MariaDB's extended flags: types in definitions; definitions that need not be repeated, which Tandem always repeats.
#[tokio::test]
async fn extended_flags_of_mariadb_change_replies() {
    if engine().flavor() == Flavor::MySql {
        let more = Capabilities::MARIADB_EXTENDED_METADATA | Capabilities::MARIADB_CACHE_METADATA;
        let twins = Twins::log_in(more).await;
        assert_eq!(twins.through.capabilities.extended(), 0);
        return;
    }
    let types = "SELECT * FROM (SELECT JSON_ARRAY(1) a, CAST('::1' AS INET6) b) x";
    for more in [
        Capabilities::MARIADB_EXTENDED_METADATA,
        Capabilities::MARIADB_EXTENDED_METADATA | Capabilities::MARIADB_CACHE_METADATA,
        Capabilities::MARIADB_CACHE_METADATA | Capabilities::DEPRECATE_EOF,
        Capabilities::MARIADB_PROGRESS,
    ] {
        let mut twins = Twins::log_in(more).await;
        for text in [
            types,
            "SELECT a FROM t",
            "nonsense",
            "UPDATE t SET a = 1 WHERE a = 1",
        ] {
            twins.query(text).await;
        }
        let ids = twins.prepare("SELECT ? + a FROM t").await;
        twins.same_execution(ids, ONE).await;
        let (direct, through) = twins.execute(ids, ONE).await;
        if more.contains(Capabilities::MARIADB_CACHE_METADATA) {
            assert_eq!((&direct[0].1, &through[0].1), (&vec![1, 0], &vec![1, 1]));
            assert_eq!(
                direct.last().map(|last| &last.1),
                through.last().map(|last| &last.1)
            );
        } else {
            assert_eq!(direct, through);
        }
    }
}
