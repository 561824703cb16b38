//! What a broken or hostile client does ends its own session and nothing else.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem::topology::Flavor;
use tandem_protocol::compression::{self, Algorithm, MIN_LENGTH, Method, Packer, Stock, Unpacker};
use tandem_protocol::frame::{self, HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::err::ErrPacket;
use tandem_protocol::response::Expect;
use tandem_tests::raw::{CAPABILITIES, Raw, command};
use tandem_tests::{Cluster, Setup, WITHIN, engine, memory_mib, numbers, wait_until};
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, OnceCell};

const SCHEMA: &str = "test_abuse";
const MIB: usize = 1024 * 1024;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// Who measures memory must not have those beside who fill it.
static MEMORY: Mutex<()> = Mutex::const_new(());

async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup {
            change: |config| {
                config.listener.handshake_timeout = Duration::from_secs(2);
                config.listener.write_timeout = Duration::from_secs(2);
                config.limits.command_bytes = 64 * MIB;
                config.pool.max_connections = 20;
            },
            ..Setup::default()
        };
        setup.pair.extra.push("max_allowed_packet=128M".to_owned());
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        let fill = format!(
            "INSERT INTO many SELECT seq, REPEAT('x', 200) FROM {}",
            numbers(50_000)
        );
        for statement in [
            "CREATE TABLE big (id INT PRIMARY KEY, data LONGBLOB)",
            "CREATE TABLE many (id INT PRIMARY KEY, word CHAR(200))",
            &fill,
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// Tandem still serves others.
async fn serves() {
    let mut raw = Raw::log_in(cluster().await.address(), SCHEMA).await;
    assert_eq!(raw.value("SELECT 42").await, "42");
}

#[tokio::test]
async fn garbage_instead_of_a_login() {
    let address = cluster().await.address();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 300],
        &[0; 300],
        &[5, 0, 0, 1, 1, 2, 3, 4, 5],
        b"\x01\0\0\x01\0",
    ] {
        let mut raw = Raw::connect(address).await;
        raw.packet().await.expect("a greeting");
        raw.send(garbage).await;
        raw.drain().await;
    }
    serves().await;
}

#[tokio::test]
async fn every_prefix_of_a_login_ends_without_harm() {
    let address = cluster().await.address();
    let whole = Raw::connect(address).await.login(SCHEMA).await;
    for cut in 0..whole.len() {
        let mut raw = Raw::connect(address).await;
        let login = raw.login(SCHEMA).await;
        raw.send(&login[..cut]).await;
        // The half that was sent is all there is.
        tokio::io::AsyncWriteExt::shutdown(&mut raw.socket)
            .await
            .expect("a shutdown");
        raw.drain().await;
    }
    serves().await;
}

#[tokio::test]
async fn silence_is_bounded() {
    let address = cluster().await.address();
    let mut before_login = Raw::connect(address).await;
    before_login.packet().await.expect("a greeting");
    let mut half_login = Raw::connect(address).await;
    let login = half_login.login(SCHEMA).await;
    half_login.send(&login[..20]).await;
    let mut half_command = Raw::log_in(address, SCHEMA).await;
    half_command.send(&command(3, b"SELECT 1")[..6]).await;
    assert_eq!(before_login.error().await, Some(1159), "told why");
    assert_eq!(half_login.error().await, Some(1159));
    half_command.drain().await;
    let mut half_header = Raw::log_in(address, SCHEMA).await;
    half_header.send(&command(3, b"SELECT 1")[..2]).await;
    half_header.drain().await;
    serves().await;
}

#[tokio::test]
async fn a_declared_size_is_not_memory() {
    let _turn = MEMORY.lock().await;
    let address = cluster().await.address();
    let before = memory_mib();
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut raw = Raw::log_in(address, SCHEMA).await;
        raw.send(
            &Header {
                len: MAX_PAYLOAD - 1,
                seq: 0,
            }
            .encode(),
        )
        .await;
        raw.send(b"\x03SELECT").await;
        waiting.push(raw);
    }
    assert!(memory_mib() < before + 50, "{} MiB after {before}", memory_mib());
    for mut raw in waiting {
        raw.drain().await;
    }
    cluster().await.wait_nothing_leased().await;
}

#[tokio::test]
async fn a_statement_without_end_meets_the_limit() {
    let _turn = MEMORY.lock().await;
    let address = cluster().await.address();
    let before = memory_mib();
    let mut raw = Raw::log_in(address, SCHEMA).await;
    let mut frame = Header {
        len: MAX_PAYLOAD,
        seq: 0,
    }
    .encode()
    .to_vec();
    frame.resize(4 + MAX_PAYLOAD, b' ');
    frame[4..12].copy_from_slice(b"\x03SELECT ");
    for seq in 0..8 {
        frame[3] = seq;
        raw.send(&frame).await;
    }
    // The limit is 64 MiB. Tandem closes with bytes unread, but Linux keeps what came before a reset readable.
    let code = raw.error().await;
    assert_eq!(code, Some(1153));
    assert!(memory_mib() < before + 60, "{} MiB after {before}", memory_mib());
    cluster().await.wait_nothing_leased().await;
    serves().await;
}

#[tokio::test]
async fn every_command_byte_is_answered_or_ends_the_session() {
    let address = cluster().await.address();
    for code in 0..=255 {
        for argument in [
            &b""[..],
            b"\x01\0\0\0",
            b"\x01\0\0\0\0\x01\0\0\0garbage and more of it",
        ] {
            let mut raw = Raw::log_in(address, SCHEMA).await;
            raw.command(code, argument).await;
            // Commands without a reply are followed by one that has one.
            raw.command(0x0e, b"").await;
            let _ = raw.packet().await;
        }
    }
    serves().await;
    cluster().await.wait_nothing_leased().await;
}

#[tokio::test]
async fn what_is_not_supported_keeps_the_connection() {
    let mut raw = Raw::log_in(cluster().await.address(), SCHEMA).await;
    // COM_DEBUG, COM_BINLOG_DUMP, COM_TABLE_DUMP and nonsense; `commands` compares the errors with the servers'.
    for code in [0x0d, 0x12, 0x13, 0x77, 0xfe] {
        raw.command(code, b"\x01\0\0\0").await;
        assert!(raw.error().await.is_some(), "command {code:#x}");
    }
    raw.send(&[0, 0, 0, 0]).await;
    assert!(raw.error().await.is_some(), "an empty command");
    assert_eq!(raw.value("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_packet_out_of_order_ends_the_session() {
    let mut raw = Raw::log_in(cluster().await.address(), SCHEMA).await;
    let mut wrong = command(3, b"SELECT 1");
    wrong[3] = 7;
    raw.send(&wrong).await;
    assert_eq!(raw.error().await, Some(1156), "as both servers say it");
    raw.drain().await;
    serves().await;
}

/// MariaDB does not look whether the id of a statement is all there, and takes what is missing for zeros.
#[tokio::test]
async fn an_id_that_is_cut_short_is_nobody_elses_trouble() {
    let cluster = cluster().await;
    for code in [0x1a, 0x1c, 0x17, 0x18, 0x19] {
        let mut raw = Raw::log_in(cluster.address(), SCHEMA).await;
        let id = raw.prepare("SELECT ? FROM many LIMIT 3").await;
        match code {
            0x1c => {
                // A string, and a cursor.
                let argument = [&id[..], b"\x01\x01\0\0\0\0\x01\xfd\0\x01x"].concat();
                raw.ask(0x17, &argument, Expect::Execute).await;
            }
            _ => raw.command(0x18, &[&id[..], b"\0\0long"].concat()).await,
        }
        for cut in 0..id.len() {
            raw.command(code, &id[..cut]).await;
        }
        // The first that is not cut short is answered, or what comes behind those without an answer is.
        raw.command(0x0e, b"").await;
        let _ = raw.packet().await.expect("an answer");
    }
    assert_eq!(cluster.counter("panics").await, 0, "panics");
    serves().await;
    cluster.wait_nothing_leased().await;
}

#[tokio::test]
async fn commands_written_at_once_are_answered_in_order() {
    let mut raw = Raw::log_in(cluster().await.address(), SCHEMA).await;
    let all: Vec<u8> = (1..=50)
        .flat_map(|n| command(3, format!("SELECT {n}").as_bytes()))
        .collect();
    raw.send(&all).await;
    for n in 1..=50 {
        let mut packets = Vec::new();
        for _ in 0..5 {
            packets.push(raw.packet().await.expect("a packet").1);
        }
        assert_eq!(&packets[3][1..], n.to_string().as_bytes());
    }
}

#[tokio::test]
async fn a_client_killed_in_the_middle_of_a_reply_leaks_nothing() {
    let address = cluster().await.address();
    for _ in 0..100 {
        let mut raw = Raw::log_in(address, SCHEMA).await;
        raw.command(3, b"SELECT * FROM many").await;
        let mut some = [0; 5000];
        raw.socket
            .read_exact(&mut some)
            .await
            .expect("the beginning of a reply");
        raw.abort();
    }
    cluster().await.wait_nothing_leased().await;
    serves().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_ends_alone() {
    let _turn = MEMORY.lock().await;
    let cluster = cluster().await;
    let before = memory_mib();
    let mut stuck = Raw::log_in(cluster.address(), SCHEMA).await;
    // Five times 50,000 rows of 200 bytes: 50 MB.
    stuck
        .command(3, format!("SELECT word FROM many JOIN {}", numbers(5)).as_bytes())
        .await;
    let (_, first) = stuck.packet().await.expect("the reply begins");
    assert_eq!(first, [1], "one column");
    let mut other = Raw::log_in(cluster.address(), SCHEMA).await;
    assert_eq!(other.value("SELECT COUNT(*) FROM many").await, "50000");
    assert!(memory_mib() < before + 30, "{} MiB after {before}", memory_mib());
    // listener.write_timeout is two seconds; then the connection to the server is free again.
    cluster.wait_nothing_leased().await;
    assert_eq!(other.value("SELECT 1").await, "1", "the others go on");
    let mut rows = 0;
    while stuck.packet().await.is_some() {
        rows += 1;
    }
    assert!(rows < 250_000, "the stuck session was ended in mid-reply");
    assert!(memory_mib() < before + 30, "{} MiB after {before}", memory_mib());
}

#[tokio::test]
async fn large_statements_and_rows_pass_intact() {
    let _turn = MEMORY.lock().await;
    let opts = mysql_async::OptsBuilder::from_opts(cluster().await.opts(Some(SCHEMA)))
        .max_allowed_packet(Some(100 * MIB));
    let mut conn = mysql_async::Conn::new(opts).await.expect("a connection");
    for (id, size) in [
        (1, MIB - 30),
        (2, MIB + 1),
        (3, 5 * MIB),
        (4, MAX_PAYLOAD - 40),
        (5, 20 * MIB),
    ] {
        let data: Vec<u8> = (0..size).map(|index| b'a' + (index % 23) as u8).collect();
        let text = String::from_utf8(data.clone()).expect("letters");
        conn.query_drop(format!("INSERT INTO big VALUES ({id}, '{text}')"))
            .await
            .expect("as text");
        conn.exec_drop("INSERT INTO big VALUES (?, ?)", (id + 10, &data))
            .await
            .expect("prepared");
        let rows: Vec<Vec<u8>> = conn
            .query(format!("SELECT data FROM big WHERE id IN ({id}, {id} + 10)"))
            .await
            .expect("rows");
        assert!(
            rows.len() == 2 && rows.iter().all(|row| *row == data),
            "{size} bytes"
        );
    }
    // What arrived, by the servers' own word, and past Tandem.
    let cluster = cluster().await;
    cluster.wait_replicated().await;
    let same = format!(
        "SELECT COUNT(*) FROM {SCHEMA}.big WHERE id < 20 AND data = BINARY LEFT(REPEAT('abcdefghijklmnopqrstuvw', LENGTH(data) DIV 23 + 1), LENGTH(data))"
    );
    for server in cluster.pair().servers() {
        let mut direct = cluster.direct(server).await;
        let count = direct.query_first(&same).await.expect("a count");
        assert_eq!(count, Some(10), "server {}", server.name());
    }
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let cluster = Cluster::start(Setup {
        change: |config| config.listener.max_connections = 10,
        ..Setup::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(cluster.address()).await;
        raw.packet().await.expect("a greeting");
        held.push(raw);
    }
    assert_eq!(Raw::connect(cluster.address()).await.error().await, Some(1040));
    drop(held);
    wait_until("room again", WITHIN, || async {
        let (_, payload) = Raw::connect(cluster.address())
            .await
            .packet()
            .await
            .expect("an answer");
        payload[0] != 0xff
    })
    .await;
    cluster.stop().await;
}

/// What clients may ask for in front of these servers.
fn algorithms() -> &'static [Algorithm] {
    match engine().flavor() {
        Flavor::MariaDb => &[Algorithm::Zlib],
        Flavor::MySql => &[Algorithm::Zlib, Algorithm::Zstd],
    }
}

async fn compressing(algorithm: Algorithm) -> Raw {
    let capabilities = CAPABILITIES | algorithm.flag();
    let raw = Raw::log_in_with(cluster().await.address(), &APP, SCHEMA, capabilities).await;
    assert!(
        raw.capabilities.contains(algorithm.flag()),
        "{algorithm:?} was agreed on"
    );
    raw
}

/// The body of a compressed packet.
fn body(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
    let method = Method {
        algorithm,
        level: algorithm.default_level(),
        threshold: MIN_LENGTH,
    };
    let mut packet = Vec::new();
    Packer::default().pack(method, 0, plain, &mut packet);
    packet.split_off(compression::HEADER_LEN)
}

fn packed(len: usize, seq: u8, plain: usize, body: &[u8]) -> Vec<u8> {
    [&compression::Header { len, seq, plain }.encode()[..], body].concat()
}

/// Reads compressed packets to the end of the session: the code of the error in the last one, if it is an error.
async fn last_words(raw: &mut Raw, algorithm: Algorithm) -> Option<u16> {
    let mut heard = Vec::new();
    // A reset takes nothing from what was read.
    let read = raw.socket.read_to_end(&mut heard);
    let _ = tokio::time::timeout(WITHIN, read).await.expect("an end");
    let (mut rest, mut last) = (&heard[..], None);
    while let Some(header) = compression::Header::peek(rest) {
        let (body, behind) = rest[compression::HEADER_LEN..].split_at_checked(header.len)?;
        last = Some((header, body));
        rest = behind;
    }
    let (header, body) = last?;
    let mut plain = body.to_vec();
    if header.plain > 0 {
        plain.resize(header.plain, 0);
        let (mut stock, mut unpacker) = (Stock::default(), Unpacker::new(algorithm));
        unpacker.begin(header, &mut stock).expect("a context");
        unpacker
            .unpack(&mut stock, body, &mut plain)
            .expect("a whole packet");
    }
    let (_, payload) = frame::packet(&plain)?;
    ErrPacket::decode(payload).ok().map(|error| error.code)
}

/// MariaDB closes without a word where it can't unpack something, and MySQL does not even close (measured on 10.11 and
/// 9.7); Tandem says what both have an error for. Numbers that are wrong are told by all.
#[tokio::test]
async fn broken_compressed_packets_end_their_session_with_its_reason() {
    const OUT_OF_ORDER: Option<u16> = Some(1156);
    const UNREADABLE: Option<u16> = Some(1157);
    let mut beside = Raw::log_in(cluster().await.address(), SCHEMA).await;
    for &algorithm in algorithms() {
        let query = command(3, format!("SELECT {}1", "1+".repeat(200)).as_bytes());
        let (plain, whole) = (query.len(), body(algorithm, &query));
        let len = whole.len();
        let with = |at: usize, byte: u8| {
            let mut body = whole.clone();
            body[at] ^= byte;
            body
        };
        let half = packed(6, 0, 0, &query[..6]);
        for (what, bytes, reason) in [
            ("junk", packed(8, 0, 100, b"no such!"), UNREADABLE),
            (
                "a broken beginning",
                packed(len, 0, plain, &with(0, 0xff)),
                UNREADABLE,
            ),
            (
                "a broken middle",
                packed(len, 0, plain, &with(len / 2, 0xff)),
                UNREADABLE,
            ),
            (
                "less than declared",
                packed(len, 0, plain + 1, &whole),
                UNREADABLE,
            ),
            (
                "more than declared",
                packed(len, 0, plain - 1, &whole),
                UNREADABLE,
            ),
            (
                "16 MiB in 10 bytes",
                packed(10, 0, MAX_PAYLOAD, &whole[..10]),
                UNREADABLE,
            ),
            ("something in nothing", packed(0, 0, 50, b""), UNREADABLE),
            (
                "something behind it",
                packed(len + 2, 0, plain, &[&whole[..], b"xy"].concat()),
                UNREADABLE,
            ),
            ("a wrong number", packed(len, 3, plain, &whole), OUT_OF_ORDER),
            (
                "a wrong number on plain bytes",
                packed(plain, 1, 0, &query),
                OUT_OF_ORDER,
            ),
            (
                "junk behind half a command",
                [&half[..], &packed(8, 1, 100, b"no such!")].concat(),
                UNREADABLE,
            ),
            (
                "a number left out",
                [&half[..], &packed(plain - 6, 2, 0, &query[6..])].concat(),
                OUT_OF_ORDER,
            ),
            ("half a packet", packed(len, 0, plain, &whole[..len / 2]), None),
            ("half a header", packed(len, 0, plain, &whole)[..5].to_vec(), None),
        ] {
            if what == "a broken middle" && algorithm == Algorithm::Zstd {
                // Without a checksum it may pass for something else.
                continue;
            }
            let mut raw = compressing(algorithm).await;
            raw.send(&bytes).await;
            assert_eq!(
                last_words(&mut raw, algorithm).await,
                reason,
                "{what}, {algorithm:?}"
            );
            assert_eq!(beside.value("SELECT 42").await, "42", "beside {what}");
        }
        // Sent ahead, while the reply to a good command is on its way: that is heard to its end first.
        let mut raw = compressing(algorithm).await;
        let all = command(3, b"SELECT word FROM many LIMIT 3000");
        raw.send(&packed(all.len(), 0, 0, &all)).await;
        raw.send(&packed(8, 0, 100, b"no such!")).await;
        assert_eq!(
            last_words(&mut raw, algorithm).await,
            UNREADABLE,
            "behind a reply, {algorithm:?}"
        );
    }
    assert_eq!(cluster().await.counter("panics").await, 0, "panics");
    cluster().await.wait_nothing_leased().await;
}

/// Whether it is declared or really comes out: of what a client has sent in few bytes, no more is held than a statement
/// that is looked at, and what the algorithm looks back over.
#[tokio::test]
async fn bombs_take_no_memory() {
    const BOMBS: usize = 30;
    let _turn = MEMORY.lock().await;
    let mut statement = Header {
        len: MAX_PAYLOAD - 1,
        seq: 0,
    }
    .encode()
    .to_vec();
    statement.extend_from_slice(b"\x03SELECT ");
    statement.resize(HEADER_LEN + MAX_PAYLOAD - 1, b' ');
    for &algorithm in algorithms() {
        let bomb = body(algorithm, &statement[..MAX_PAYLOAD]);
        assert!(bomb.len() < 200_000, "{} bytes of 16 MiB", bomb.len());
        let before = memory_mib();
        let mut waiting = Vec::new();
        for number in 0..2 * BOMBS {
            let mut raw = compressing(algorithm).await;
            let part = match number % 2 {
                0 => &bomb[..bomb.len() / 2],
                _ => &bomb[..20],
            };
            raw.send(&packed(bomb.len(), 0, MAX_PAYLOAD, part)).await;
            waiting.push(raw);
        }
        let most = before + 4 * BOMBS;
        assert!(
            memory_mib() < most,
            "{} MiB after {before}, {algorithm:?}",
            memory_mib()
        );
        for mut raw in waiting {
            last_words(&mut raw, algorithm).await;
        }
        assert!(
            memory_mib() < most,
            "{} MiB after {before}, {algorithm:?}",
            memory_mib()
        );
        // One that explodes whole is a statement like any other: what the server says of it arrives.
        let mut raw = compressing(algorithm).await;
        raw.send(&packed(bomb.len(), 0, MAX_PAYLOAD, &bomb)).await;
        raw.send(&packed(3, 1, 0, &statement[MAX_PAYLOAD..])).await;
        raw.send(&packed(5, 0, 0, &command(1, b""))).await;
        assert_eq!(last_words(&mut raw, algorithm).await, Some(1064), "{algorithm:?}");
        assert!(
            memory_mib() < most,
            "{} MiB after {before}, {algorithm:?}",
            memory_mib()
        );
    }
    cluster().await.wait_nothing_leased().await;
    serves().await;
}

/// With all of a reply still on its way, a client that goes leaves nothing behind, however its bytes were packed.
#[tokio::test]
async fn a_compressing_client_killed_in_the_middle_of_a_reply_leaks_nothing() {
    for &algorithm in algorithms() {
        for _ in 0..30 {
            let mut raw = compressing(algorithm).await;
            let all = command(3, b"SELECT * FROM many");
            raw.send(&packed(all.len(), 0, 0, &all)).await;
            let mut some = [0; 1000];
            raw.socket
                .read_exact(&mut some)
                .await
                .expect("the beginning of a reply");
            raw.abort();
        }
    }
    cluster().await.wait_nothing_leased().await;
    serves().await;
}
