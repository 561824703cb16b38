//! Binary prepared statements answer as on the server: packet by packet, errors and numbers included, and also where
//! the statement had to be prepared again behind the client's back.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tandem::demo::pair::APP;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Cluster, Flavor, Proxy, Setup, memory_mib};
use tokio::sync::{Mutex, OnceCell};

const SCHEMA: &str = "test_prepared";
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
const SEND_LONG_DATA: u8 = 0x18;
const CLOSE: u8 = 0x19;
const RESET: u8 = 0x1a;
const FETCH: u8 = 0x1c;
const BULK_EXECUTE: u8 = 0xfa;
const LAST_PREPARED: u32 = u32::MAX;
/// `MYSQL_TYPE_BLOB`
const BLOB: [u8; 2] = [0xfc, 0];
/// `MYSQL_TYPE_LONGLONG`
const NUMBER: [u8; 2] = [8, 0];

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// A test that pins uses up what the others share: they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// One worker with two connections a server, so that sessions take them over from each other.
async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup {
            change: |config| {
                config.listener.workers = 1;
                config.pool.max_connections = 2;
                config.pool.queue_timeout = Duration::from_secs(20);
                config.pool.max_prepared = 4;
            },
            ..Setup::default()
        };
        setup.pair.extra.push("max_allowed_packet=64M".to_owned());
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        cluster.create_database("test_elsewhere").await;
        let mut conn = cluster.client_in(SCHEMA).await;
        for statement in [
            "CREATE TABLE numbers (n INT PRIMARY KEY)",
            "INSERT INTO numbers VALUES (1), (2), (3), (4), (5)",
            "CREATE TABLE changing (a INT)",
            "INSERT INTO changing VALUES (1)",
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// A client that notes what it is answered, with its statements' ids taken out.
struct Walk {
    raw: Raw,
    ids: Vec<u32>,
    seen: Vec<String>,
}

impl Walk {
    async fn begin(direct: bool, more: Capabilities) -> Self {
        let cluster = cluster().await;
        let address = match direct {
            true => cluster.a().address(),
            false => cluster.address(),
        };
        let mut capabilities = CAPABILITIES | more;
        // Set, it says that this is no client of MariaDB's.
        let extended = more.contains(Capabilities::MARIADB_STMT_BULK);
        capabilities.set(Capabilities::LONG_PASSWORD, !extended);
        Self {
            raw: Raw::log_in_with(address, &APP, SCHEMA, capabilities).await,
            ids: Vec::new(),
            seen: Vec::new(),
        }
    }

    fn note(&mut self, packets: Vec<(u8, Vec<u8>)>) {
        for (seq, payload) in packets {
            let mut text = payload.escape_ascii().to_string();
            for id in &self.ids {
                text = text.replace(&format!("({id})"), "(ID)");
            }
            self.seen.push(format!("{seq} {text}"));
        }
    }

    async fn query(&mut self, statement: &str) {
        let reply = self.raw.ask(3, statement.as_bytes(), Expect::Query).await;
        self.note(reply);
    }

    async fn prepare(&mut self, statement: &str) -> u32 {
        let mut reply = self.raw.ask(PREPARE, statement.as_bytes(), Expect::Prepare).await;
        let first = &mut reply[0].1;
        let mut id = 0;
        if first[0] == 0 {
            id = u32::from_le_bytes([first[1], first[2], first[3], first[4]]);
            first[1..5].fill(0);
            self.ids.push(id);
        }
        self.note(reply);
        id
    }

    async fn execute(&mut self, id: u32, cursor: u8, params: &[u8]) {
        let reply = self
            .raw
            .ask(EXECUTE, &execution(id, cursor, params), Expect::Execute)
            .await;
        self.note(reply);
    }

    async fn fetch(&mut self, id: u32, rows: u32) {
        let argument = [id.to_le_bytes(), rows.to_le_bytes()].concat();
        let reply = self.raw.ask(FETCH, &argument, Expect::Fetch).await;
        self.note(reply);
    }

    async fn single(&mut self, code: u8, id: u32) {
        let reply = self.raw.ask(code, &id.to_le_bytes(), Expect::Single).await;
        self.note(reply);
    }

    fn forget_ends(&mut self) {
        self.seen.retain(|packet| !packet.contains(" \\xfe"));
    }

    async fn long_data(&mut self, id: u32, param: u16, data: &[u8]) {
        let argument = [&id.to_le_bytes()[..], &param.to_le_bytes(), data].concat();
        self.raw.command(SEND_LONG_DATA, &argument).await;
    }
}

fn execution(id: u32, cursor: u8, params: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &[cursor], &1_u32.to_le_bytes(), params].concat()
}

/// The parameters of an execution that binds one number.
fn number(value: u64) -> Vec<u8> {
    [&[0, 1], &NUMBER[..], &value.to_le_bytes()].concat()
}

/// Runs the walk directly and through Tandem; both must see the same.
async fn compare(what: &str, more: Capabilities, walk: impl AsyncFn(&mut Walk)) -> Vec<String> {
    let _turn = TURN.lock().await;
    // MySQL lets an account in without TLS once it has seen it.
    let mut first = Walk::begin(false, Capabilities::empty()).await;
    first.query("SELECT 1 FROM numbers FOR UPDATE").await;
    drop(first);
    let mut direct = Walk::begin(true, more).await;
    walk(&mut direct).await;
    let mut proxied = Walk::begin(false, more).await;
    walk(&mut proxied).await;
    for (number, (found, expected)) in proxied.seen.iter().zip(&direct.seen).enumerate() {
        assert_eq!(found, expected, "{what}, packet {number}");
    }
    assert_eq!(proxied.seen.len(), direct.seen.len(), "{what}");
    direct.seen
}

async fn on_both_kinds_of_end(what: &str, walk: impl AsyncFn(&mut Walk)) -> Vec<String> {
    compare(what, Capabilities::DEPRECATE_EOF, &walk).await;
    compare(what, Capabilities::empty(), &walk).await
}

/// What is unknown, has no cursor or is malformed gets the server's own words; what the words are differs.
#[tokio::test]
async fn refusals_are_the_servers() {
    on_both_kinds_of_end("refusals", async |walk: &mut Walk| {
        for id in [0, 777, LAST_PREPARED] {
            walk.execute(id, 0, &[]).await;
            walk.fetch(id, 1).await;
            walk.single(RESET, id).await;
        }
        walk.prepare("SELEKT").await;
        walk.execute(LAST_PREPARED, 0, &[]).await;
        let one = walk.prepare("SELECT ? + 1").await;
        // Nothing bound, too little, a flag that says that it was bound before.
        for params in [&[][..], &[0], &[0, 0], &[0, 1], &[0, 1, 8], &[0, 1, 8, 0]] {
            walk.execute(one, 0, params).await;
        }
        walk.execute(one, 0, &number(41)).await;
        walk.execute(one, 0, &[&[0, 0][..], &7_u64.to_le_bytes()].concat())
            .await;
        walk.fetch(one, 1).await;
        walk.single(RESET, one).await;
        // Too short, and too long. What MariaDB reads behind a short one is whatever its buffer holds.
        let short = walk.raw.ask(EXECUTE, &one.to_le_bytes(), Expect::Execute).await;
        walk.note(short);
        let checks = cluster().await.a().engine().flavor() == Flavor::MySql;
        for code in [RESET, FETCH] {
            for argument in [&[][..], &[9], &[9, 9, 9, 9], &[9; 40]] {
                if checks || argument.len() > 4 {
                    let reply = walk.raw.ask(code, argument, Expect::Single).await;
                    walk.note(reply);
                }
            }
        }
        if checks {
            for code in [CLOSE, SEND_LONG_DATA] {
                let reply = walk.raw.ask(code, &[1, 0], Expect::Single).await;
                walk.note(reply);
            }
        }
        walk.long_data(one, 7, b"no such parameter").await;
        walk.execute(one, 0, &number(1)).await;
        walk.single(RESET, one).await;
        walk.execute(one, 0, &number(1)).await;
        walk.raw.command(CLOSE, &one.to_le_bytes()).await;
        walk.execute(one, 0, &number(1)).await;
    })
    .await;
}

/// MariaDB's clients execute what they have just prepared by the id −1; MySQL knows no such thing.
#[tokio::test]
async fn the_statement_prepared_last_has_a_name_on_mariadb() {
    let seen = on_both_kinds_of_end("last prepared", async |walk: &mut Walk| {
        // In one write, as MariaDB Connector/C and /J do it.
        let both = [
            tandem_tests::raw::command(PREPARE, b"SELECT 'pipelined', ?"),
            tandem_tests::raw::command(EXECUTE, &execution(LAST_PREPARED, 0, &number(5))),
        ];
        walk.raw.send(&both.concat()).await;
        let mut prepared = walk.raw.reply(Expect::Prepare).await;
        prepared[0].1[1..5].fill(0);
        walk.note(prepared);
        let executed = walk.raw.reply(Expect::Execute).await;
        walk.note(executed);
        walk.single(RESET, LAST_PREPARED).await;
        walk.prepare("SELECT n FROM numbers ORDER BY n").await;
        walk.execute(LAST_PREPARED, 1, &[]).await;
        walk.fetch(LAST_PREPARED, 2).await;
        walk.prepare("SELECT is not there").await;
        walk.execute(LAST_PREPARED, 0, &[]).await;
        walk.prepare("SELECT 1").await;
        walk.raw.command(CLOSE, &LAST_PREPARED.to_le_bytes()).await;
        walk.execute(LAST_PREPARED, 0, &[]).await;
    })
    .await;
    let works = !seen.iter().any(|packet| packet.contains("mysql_stmt_precheck"));
    assert_eq!(works, cluster().await.a().engine().flavor() == Flavor::MariaDb);
}

/// Cursors: fetched in parts, beside other statements, ended by a reset, and two of the same text side by side.
#[tokio::test]
async fn cursors_are_fetched_as_from_the_server() {
    on_both_kinds_of_end("cursors", async |walk: &mut Walk| {
        let query = "SELECT n FROM numbers WHERE n > ? ORDER BY n";
        let (one, two) = (walk.prepare(query).await, walk.prepare(query).await);
        walk.execute(one, 1, &number(0)).await;
        walk.fetch(one, 2).await;
        walk.execute(two, 1, &number(2)).await;
        walk.query("SELECT 'in between'").await;
        walk.fetch(one, 1).await;
        walk.fetch(two, 1).await;
        walk.fetch(one, 0).await;
        // More statements than a connection keeps: those with open cursors stay.
        for more in 0..6 {
            let id = walk.prepare(&format!("SELECT {more}")).await;
            walk.execute(id, 0, &[]).await;
        }
        walk.fetch(one, 100).await;
        walk.fetch(one, 1).await;
        walk.single(RESET, two).await;
        walk.fetch(two, 1).await;
        walk.execute(two, 1, &number(4)).await;
        if cluster().await.a().engine().flavor() == Flavor::MariaDb {
            // Executed again while its cursor is open: MySQL 9.7 sends half a reply then.
            walk.execute(two, 0, &number(3)).await;
            walk.fetch(two, 1).await;
        }
        walk.execute(one, 1, &number(1000)).await;
        walk.fetch(one, 1).await;
        walk.raw.command(CLOSE, &one.to_le_bytes()).await;
        walk.fetch(one, 1).await;
    })
    .await;
    cluster().await.wait_nothing_leased().await;
}

/// Long data: in pieces, of more than one packet's 16 MiB, for two statements of the same text, dropped by a reset.
#[tokio::test]
async fn long_data_of_any_length_arrive() {
    let seen = on_both_kinds_of_end("long data", async |walk: &mut Walk| {
        let query = "SELECT LENGTH(?), HEX(?)";
        let (one, two) = (walk.prepare(query).await, walk.prepare(query).await);
        let bound = [&[0, 1][..], &BLOB, &BLOB].concat();
        let large = vec![b'x'; 20 << 20];
        walk.long_data(one, 0, &large).await;
        walk.long_data(two, 0, b"second").await;
        walk.long_data(one, 1, b"a").await;
        walk.query("SELECT 'in between'").await;
        walk.long_data(one, 1, b"bc").await;
        walk.long_data(two, 1, b"").await;
        walk.execute(one, 0, &bound).await;
        walk.execute(two, 0, &bound).await;
        walk.long_data(one, 0, b"dropped").await;
        walk.single(RESET, one).await;
        let values = [&bound[..], b"\x02no", b"\x03yes"].concat();
        walk.execute(one, 0, &values).await;
    })
    .await;
    assert!(seen.iter().any(|packet| packet.contains("616263")), "{seen:?}");
}

/// Several statements in a packet, several results of a procedure, and its OUT parameters, which come as a row of their
/// own in the binary protocol: also where one of them fails in the middle.
#[tokio::test]
async fn several_results_are_the_servers() {
    let flags = Capabilities::MULTI_STATEMENTS | Capabilities::MULTI_RESULTS | Capabilities::PS_MULTI_RESULTS;
    let mut conn = cluster().await.client_in(SCHEMA).await;
    for procedure in [
        "CREATE PROCEDURE gives(IN a INT, OUT b INT, INOUT c VARCHAR(20)) BEGIN SELECT n FROM numbers WHERE n <= a; \
         SELECT 'second'; SET b = a * 2; SET c = CONCAT(c, '!'); END",
        "CREATE PROCEDURE fails() BEGIN SELECT 1; SELECT * FROM not_there; SELECT 2; END",
    ] {
        conn.query_drop(procedure).await.expect(procedure);
    }
    drop(conn);
    let steps = async |walk: &mut Walk| {
        for statement in [
            "SELECT 1; SELECT n FROM numbers WHERE n = 2; DO 0; SELECT 3",
            "SELECT 1; SELECT * FROM not_there; SELECT 2",
            "CALL fails()",
            "CALL gives(2, @b, @c)",
            "SET @c = 'c'; CALL gives(1, @b, @c); SELECT @b, @c",
        ] {
            walk.query(statement).await;
        }
        let call = walk.prepare("CALL gives(?, ?, ?)").await;
        let text = [0xfd, 0];
        let params = [
            &[0b010, 1][..],
            &NUMBER,
            &NUMBER,
            &text,
            &3_u64.to_le_bytes(),
            b"\x03out",
        ]
        .concat();
        walk.execute(call, 0, &params).await;
        walk.execute(call, 0, &params).await;
        let fails = walk.prepare("CALL fails()").await;
        walk.execute(fails, 0, &[]).await;
        walk.query("SELECT 'goes on'").await;
    };
    let seen = compare("several results", flags, steps).await;
    assert!(seen.iter().any(|packet| packet.contains("out!")), "{seen:#?}");
    compare("several results", flags | Capabilities::DEPRECATE_EOF, steps).await;
}

/// To prepare the question how many rows the statement before had found does not lose the answer.
#[tokio::test]
async fn a_question_about_the_statement_before_can_be_prepared() {
    on_both_kinds_of_end("found rows", async |walk: &mut Walk| {
        for _ in 0..3 {
            let finds = walk
                .prepare("SELECT SQL_CALC_FOUND_ROWS n FROM numbers LIMIT 2")
                .await;
            walk.execute(finds, 0, &[]).await;
            let asks = walk.prepare("SELECT FOUND_ROWS()").await;
            walk.execute(asks, 0, &[]).await;
            let warns = walk.prepare("SELECT CAST('x' AS SIGNED)").await;
            walk.execute(warns, 0, &[]).await;
            let shows = walk.prepare("SHOW WARNINGS").await;
            walk.execute(shows, 0, &[]).await;
        }
    })
    .await;
}

/// A statement longer than Tandem remembers can't be prepared, which is said, and the session goes on.
#[tokio::test]
async fn a_statement_too_long_to_be_prepared_is_refused() {
    let mut walk = Walk::begin(false, Capabilities::empty()).await;
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    walk.prepare(&long).await;
    assert!(
        walk.seen[0].contains("limits.statement_bytes"),
        "{}",
        walk.seen[0]
    );
    assert_eq!(walk.raw.value("SELECT 42").await, "42");
}

/// MariaDB's executions in bulk: with types and without, with NULL and DEFAULT, failing half-way, and by a client that
/// has not said that it knows them.
#[tokio::test]
async fn bulk_executions_are_the_servers() {
    if cluster().await.a().engine().flavor() == Flavor::MySql {
        // It has neither the flag nor the command, which `commands` tests.
        return;
    }
    // Each compared walk starts with the same table.
    let steps = async |walk: &mut Walk| {
        walk.query("CREATE OR REPLACE TABLE bulk (id INT PRIMARY KEY, v VARCHAR(9) DEFAULT 'default')")
            .await;
        let insert = walk.prepare("INSERT INTO bulk VALUES (?, ?)").await;
        let text = [0xfd, 0];
        let row = |id: u64, value: &[u8]| [&[0][..], &id.to_le_bytes(), value].concat();
        let with_types = |rows: &[Vec<u8>]| [&[0x80, 0][..], &NUMBER, &text, &rows.concat()].concat();
        let without = |rows: &[Vec<u8>]| [&[0, 0][..], &rows.concat()].concat();
        for body in [
            with_types(&[row(1, b"\0\x03one"), row(2, &[1]), row(3, &[2])]),
            without(&[row(4, b"\0\x04four")]),
            // The second row exists.
            without(&[row(5, b"\0\x04five"), row(1, b"\0\x03one"), row(6, b"\0\x03six")]),
            without(&[]),
            b"\x80".to_vec(),
            b"\x80\0\x08".to_vec(),
        ] {
            others_come_by().await;
            for id in [insert, 4711] {
                let argument = [&id.to_le_bytes()[..], &body].concat();
                let reply = walk.raw.ask(BULK_EXECUTE, &argument, Expect::Execute).await;
                walk.note(reply);
            }
        }
        let update = walk.prepare("UPDATE bulk SET v = ? WHERE id = ?").await;
        let rows = [b"\0\x03ONE", &row(1, b"")[..], b"\0\x03TWO", &row(2, b"")].concat();
        let argument = [&update.to_le_bytes()[..], &[0x80, 0], &text, &NUMBER, &rows].concat();
        let reply = walk.raw.ask(BULK_EXECUTE, &argument, Expect::Execute).await;
        walk.note(reply);
        let select = walk.prepare("SELECT ?").await;
        let argument = [&select.to_le_bytes()[..], &[0x80, 0], &NUMBER, &row(1, b"")].concat();
        let reply = walk.raw.ask(BULK_EXECUTE, &argument, Expect::Execute).await;
        walk.note(reply);
        walk.query("SELECT GROUP_CONCAT(id, IFNULL(v, 'NULL') ORDER BY id) FROM bulk")
            .await;
    };
    let seen = compare("bulk", Capabilities::MARIADB_STMT_BULK, steps).await;
    assert!(
        seen.iter()
            .any(|packet| packet.contains("1ONE,2TWO,3default,4four")),
        "{seen:#?}"
    );
    on_both_kinds_of_end("bulk without the flag", steps).await;
}

/// An execution that is itself larger than a packet streams through in both directions.
#[tokio::test]
async fn a_huge_parameter_is_not_held() {
    const SIZE: usize = 40 << 20;
    let _turn = TURN.lock().await;
    let mut walk = Walk::begin(false, Capabilities::empty()).await;
    let id = walk.prepare("SELECT ?").await;
    let mut length = vec![0xfe];
    length.extend_from_slice(&(SIZE as u64).to_le_bytes());
    let params = [&[0, 1][..], &BLOB, &length, &vec![b'x'; SIZE]].concat();
    let whole = tandem_tests::raw::command(EXECUTE, &execution(id, 0, &params));
    drop(params);
    walk.raw.run("DO 0").await;
    let before = memory_mib();
    let mut received = 0;
    let (mut most, mut reader) = (0, [0; 64 * 1024]);
    let (mut from, mut to) = walk.raw.socket.split();
    let send = async {
        tokio::io::AsyncWriteExt::write_all(&mut to, &whole)
            .await
            .expect("sent");
    };
    let receive = async {
        // The row, and around it a column, its definition and two ends.
        while received < SIZE + 50 {
            let read = tokio::io::AsyncReadExt::read(&mut from, &mut reader)
                .await
                .expect("a reply");
            assert_ne!(read, 0, "an end after {received} bytes");
            received += read;
            most = most.max(memory_mib());
        }
    };
    tokio::join!(send, receive);
    assert!(most < before + 20, "{most} MiB after {before}");
}

/// Has another session use the connections, and leave settings there that only a reset takes away.
async fn others_come_by() {
    let mut other = cluster().await.client_in(SCHEMA).await;
    for _ in 0..3 {
        other.query_drop("SET time_zone = '+07:00'").await.expect("set");
        other
            .query_drop("SELECT COUNT(*) FROM numbers FOR UPDATE")
            .await
            .expect("a row");
    }
}

/// A statement is read under the `sql_mode` and the character set, and in the schema, of its PREPARE, also where Tandem
/// prepares it again later; and a table that changed in between is seen as the server shows it.
#[tokio::test]
async fn what_changed_since_the_prepare_is_as_on_the_server() {
    let seen = on_both_kinds_of_end("changes", async |walk: &mut Walk| {
        walk.query("SET NAMES latin1").await;
        let plain = walk
            .prepare("SELECT \"x\", DATABASE(), HEX(CONVERT('\u{f6}' USING utf8mb4)), ?")
            .await;
        walk.query("SET sql_mode = 'ANSI_QUOTES'").await;
        walk.query("SET NAMES utf8mb4").await;
        let ansi = walk.prepare("SELECT \"n\" FROM numbers WHERE n = ?").await;
        walk.query("USE test_elsewhere").await;
        walk.query("SET sql_mode = DEFAULT").await;
        let table = walk
            .prepare("SELECT * FROM test_prepared.changing WHERE 0 < ?")
            .await;
        for round in 1..4 {
            others_come_by().await;
            walk.execute(ansi, 0, &number(round)).await;
            walk.execute(plain, 0, &number(round)).await;
            walk.execute(table, 0, &number(round)).await;
            walk.query("BEGIN").await;
            walk.execute(plain, 0, &number(round)).await;
            walk.execute(ansi, 0, &number(round)).await;
            walk.query("COMMIT").await;
            walk.query("SELECT @@sql_mode, @@character_set_client, @@collation_connection, DATABASE()")
                .await;
        }
        let mut other = cluster().await.client_in(SCHEMA).await;
        other
            .query_drop("ALTER TABLE changing ADD b INT DEFAULT 7")
            .await
            .expect("another column");
        walk.execute(table, 0, &number(1)).await;
        other
            .query_drop("ALTER TABLE changing DROP b")
            .await
            .expect("and none");
        walk.execute(table, 0, &number(1)).await;
        // Whether the server says in its status that the table has changed depends on when it was prepared there.
        walk.forget_ends();
    })
    .await;
    assert!(
        seen.iter()
            .any(|packet| packet.contains("\\x01x\\rtest_prepared")),
        "{seen:#?}"
    );
}

/// What ties a session, by the admin port.
async fn pins(conn: &Conn) -> String {
    let mut admin = cluster().await.admin().await;
    let rows: Vec<Row> = admin.query("SHOW SESSIONS").await.expect("sessions");
    let mine = rows.iter().find(|row| row.get::<u32, _>("id") == Some(conn.id()));
    mine.and_then(|row| row.get("pins")).expect("the session")
}

/// A statement with a name holds the connection until it is gone, and one without a name not at all, unless it leaves
/// something behind itself.
#[tokio::test]
async fn text_prepared_statements_hold_only_while_they_exist() {
    let _turn = TURN.lock().await;
    let is_mariadb = cluster().await.a().engine().flavor() == Flavor::MariaDb;
    let mut conn = cluster().await.client_in(SCHEMA).await;
    for (statement, expected) in [
        ("PREPARE s FROM 'SELECT 1'", "text_prepared"),
        ("EXECUTE S", "text_prepared"),
        ("PREPARE t FROM 'SELECT n FROM numbers'", "text_prepared"),
        ("DEALLOCATE PREPARE `s`", "text_prepared"),
        ("DROP PREPARE T", ""),
        ("EXECUTE t", ""),
        ("DEALLOCATE PREPARE t", ""),
        // A failed one takes the older one of its name with it.
        ("PREPARE s FROM 'SELECT 1'", "text_prepared"),
        ("PREPARE s FROM 'SELEKT'", ""),
        ("EXECUTE s", ""),
        ("PREPARE s FROM 'SELECT \\'x\\''", "text_prepared"),
        ("EXECUTE s", "text_prepared"),
        ("DEALLOCATE PREPARE s", ""),
        (
            "PREPARE s FROM 'INSERT INTO numbers SELECT n + 100 FROM numbers WHERE n = 1'",
            "text_prepared",
        ),
        ("EXECUTE s", "text_prepared"),
        ("DEALLOCATE PREPARE s", ""),
        ("DELETE FROM numbers WHERE n > 100", ""),
    ] {
        let failed = conn.query_drop(statement).await.err();
        assert_eq!(pins(&conn).await, expected, "{statement}: {failed:?}");
    }
    if is_mariadb {
        for statement in ["EXECUTE IMMEDIATE 'SELECT 1'", "EXECUTE IMMEDIATE 'SELEKT'"] {
            let failed = conn.query_drop(statement).await.err();
            assert_eq!(pins(&conn).await, "", "{statement}: {failed:?}");
        }
        let refused = conn.query_drop("EXECUTE IMMEDIATE 'SHUTDOWN'").await;
        assert!(matches!(refused, Err(mysql_async::Error::Server(error)) if error.code == 1047));
    }
    // What it left behind holds on, also when the statement is gone.
    for statement in [
        "PREPARE s FROM 'SELECT GET_LOCK(\\'prepared\\', 0)'",
        "EXECUTE s",
        "DEALLOCATE PREPARE s",
    ] {
        conn.query_drop(statement).await.expect(statement);
    }
    assert!(pins(&conn).await.contains("user_lock"));
    assert!(conn.reset().await.expect("a reset"));
    assert_eq!(pins(&conn).await, "");
    // Texts that are not known hold until the end.
    conn.query_drop("SET @text = 'SELECT 1'")
        .await
        .expect("a variable");
    conn.query_drop("PREPARE s FROM @text").await.expect("prepared");
    conn.query_drop("EXECUTE s").await.expect("executed");
    conn.query_drop("DEALLOCATE PREPARE s").await.expect("gone");
    let held = pins(&conn).await;
    assert!(
        held.contains("unknown") || held.contains("text_prepared"),
        "{held}"
    );
    drop(conn);
    cluster().await.wait_nothing_leased().await;
}

/// What all sessions have prepared is bounded in bytes: the next statement is refused with the key's name, and taken as soon
/// as there is room again, after a COM_STMT_CLOSE or the end of a session.
#[tokio::test]
async fn prepared_statements_are_bounded_in_bytes() {
    let _turn = TURN.lock().await;
    let change = |config: &mut tandem::config::Config| {
        config.listener.workers = 1;
        config.limits.prepared_bytes = 8000;
    };
    let proxy = Proxy::over(cluster().await.pair(), "", change).await;
    let used = || async {
        let question = "SELECT `limit`, current FROM limits WHERE name = 'limits.prepared_bytes'";
        let row: Option<(u64, u64)> = proxy.admin().await.query_first(question).await.expect("limits");
        row.expect("the limit")
    };
    let text = |n: u32| format!("SELECT ?, '{n}', '{}'", "x".repeat(1500));
    let connect = || async { Conn::new(proxy.opts(None)).await.expect("logged in") };
    let (mut one, mut two) = (connect().await, connect().await);
    let mut kept = Vec::new();
    let refused = loop {
        match one.prep(text(kept.len() as u32)).await {
            Ok(statement) => kept.push(statement),
            Err(error) => break error,
        }
        assert!(kept.len() < 9, "the limit holds");
    };
    let mysql_async::Error::Server(refused) = refused else {
        panic!("an error of the protocol, not {refused}");
    };
    assert_eq!(refused.code, 1461);
    assert!(refused.message.contains("limits.prepared_bytes"), "{refused}");
    let (limit, before) = used().await;
    assert!(limit == 8000 && (5000..=8000).contains(&before), "{before}");
    two.prep(text(0)).await.expect_err("it is for all sessions");
    let statement = kept.pop().expect("one of them");
    one.close(statement).await.expect("closed");
    two.prep(text(7)).await.expect("there is room");
    two.query_drop("DO 1").await.expect("the session goes on");
    one.disconnect().await.expect("ended");
    two.disconnect().await.expect("ended");
    tandem_tests::wait_until("all is given back", Duration::from_secs(20), || async {
        used().await.1 == 0
    })
    .await;
}
