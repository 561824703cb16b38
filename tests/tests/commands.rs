//! Every command byte, known or not, with arguments too short, too long and right, is answered as the server answers
//! it.

use std::net::SocketAddr;
use std::time::Instant;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem_protocol::flags::Capabilities;
use tandem_tests::raw::{CAPABILITIES, Raw, command};
use tandem_tests::{Cluster, Flavor, Setup};
use tokio::sync::OnceCell;

const SCHEMA: &str = "test_commands";
const MARK: &str = "the end of the answer";
const STATISTICS: u8 = 0x09;
const PROCESS_INFO: u8 = 0x0a;
const BINLOG_DUMP: u8 = 0x12;
const REGISTER_SLAVE: u8 = 0x15;
const BINLOG_DUMP_GTID: u8 = 0x1e;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup::default();
        setup.pair.extra.push("interactive_timeout=4321".to_owned());
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        conn.query_drop("CREATE TABLE shop (a INT DEFAULT 3, b VARCHAR(7))")
            .await
            .expect("a table");
        cluster.wait_replicated().await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// A client that sends commands which may have no answer.
struct Asker {
    address: SocketAddr,
    raw: Raw,
}

impl Asker {
    async fn new(address: SocketAddr) -> Self {
        let raw = Raw::log_in_with(address, &APP, SCHEMA, CAPABILITIES).await;
        Self { address, raw }
    }

    /// All packets of the answer; those of a query behind it say where it ends.
    async fn ask(&mut self, code: u8, argument: &[u8]) -> Vec<String> {
        let mark = format!("SELECT '{MARK}' AS mark");
        let both = [command(code, argument), command(3, mark.as_bytes())].concat();
        self.raw.send(&both).await;
        let mut answer: Vec<String> = Vec::new();
        loop {
            let Some((seq, payload)) = self.raw.packet().await else {
                answer.push("closed".to_owned());
                *self = Self::new(self.address).await;
                return answer;
            };
            let is_mark = payload[1..] == *MARK.as_bytes();
            answer.push(format!("{seq} {}", payload.escape_ascii()));
            if is_mark {
                self.raw.packet().await.expect("the end of the mark");
                // Column count, column, end of columns, row.
                answer.truncate(answer.len() - 4);
                return answer;
            }
        }
    }
}

/// Without what is never the same twice.
fn comparable(code: u8, mut answer: Vec<String>) -> Vec<String> {
    match code {
        // Tandem says beside it what its own configuration lacks.
        BINLOG_DUMP | BINLOG_DUMP_GTID | REGISTER_SLAVE => answer.iter_mut().for_each(|text| {
            let end = text.find("; Tandem: ").unwrap_or(text.len());
            text.truncate(end);
        }),
        STATISTICS => answer.iter_mut().for_each(|text| {
            text.retain(|letter| !letter.is_ascii_digit() && letter != '.');
        }),
        // The columns; who is there differs.
        PROCESS_INFO if answer.len() > 1 => {
            let end = answer
                .iter()
                .position(|packet| packet.contains(" \\xfe"))
                .expect("an end");
            answer.truncate(end);
        }
        _ => {}
    }
    answer
}

/// What is not asked: the end, a change of user (tested elsewhere; MariaDB answers a malformed one with what its buffer
/// holds), and where MariaDB reads behind what is too short.
fn is_asked(flavor: Flavor, code: u8, argument: &[u8]) -> bool {
    const QUIT: u8 = 0x01;
    const CHANGE_USER: u8 = 0x11;
    const CLOSE: u8 = 0x19;
    let reads_on = match code {
        0x0c | CLOSE..=0x1a => 4,
        0x1b => 2,
        0x1c => 8,
        _ => 0,
    };
    code != QUIT && code != CHANGE_USER && (flavor == Flavor::MySql || argument.len() >= reads_on)
}

#[tokio::test]
async fn every_byte_is_answered_as_by_the_server() {
    let cluster = cluster().await;
    let flavor = cluster.a().engine().flavor();
    let mut proxied = Asker::new(cluster.address()).await;
    // MySQL lets an account in without TLS once it has seen it.
    proxied.ask(3, b"DO 0").await;
    let mut direct = Asker::new(cluster.a().address()).await;
    let mut wrong = Vec::new();
    for code in 0..=255 {
        for argument in [
            &b""[..],
            b"\0",
            b"\x01\0",
            b"\x01\x02\x03\x04",
            b"shop",
            b"shop\0",
            b"shop\0b\0",
            SCHEMA.as_bytes(),
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            if !is_asked(flavor, code, argument) {
                continue;
            }
            let expected = comparable(code, direct.ask(code, argument).await);
            let found = comparable(code, proxied.ask(code, argument).await);
            if found != expected {
                let argument = argument.escape_ascii();
                wrong.push(format!("0x{code:02x} {argument}:\n  {found:?}\n  {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "found, and expected:\n{}", wrong.join("\n"));
}

/// A packet without even a command byte, and a command of several packets that has no business being so long.
#[tokio::test]
async fn no_length_is_too_short_or_too_long() {
    let cluster = cluster().await;
    let mut direct = Asker::new(cluster.address()).await;
    direct.ask(3, b"DO 0").await;
    let mut answers = Vec::new();
    for address in [cluster.a().address(), cluster.address()] {
        let mut asker = Asker::new(address).await;
        asker.raw.send(&[0, 0, 0, 0]).await;
        let mut answer = vec![format!("{:?}", asker.raw.packet().await)];
        // More than limits.statement_bytes, less than any server's max_allowed_packet.
        let long = vec![0; 2 << 20];
        for code in [0x00, 0x05, 0x0e, 0x1f, 0x19, 0x1a, 0x55] {
            answer.extend(asker.ask(code, &long).await);
        }
        answers.push(answer);
    }
    assert_eq!(answers[1], answers[0]);
}

/// A session that sets `wait_timeout` is ended when it has slept so long, in the server's own way; a reset takes that
/// back; and an interactive client has the other timeout.
#[tokio::test]
async fn a_session_sleeps_as_long_as_it_says() {
    let cluster = cluster().await;
    let mut first = Asker::new(cluster.address()).await;
    first.ask(3, b"DO 0").await;
    let mut said = Vec::new();
    for address in [cluster.a().address(), cluster.address()] {
        let mut answers = Vec::new();
        for more in [Capabilities::empty(), Capabilities::INTERACTIVE] {
            let mut raw = Raw::log_in_with(address, &APP, SCHEMA, CAPABILITIES | more).await;
            answers.push(raw.value("SELECT @@wait_timeout = @@interactive_timeout").await);
            raw.run("SET SESSION wait_timeout = 1").await;
            let started = Instant::now();
            while let Some((seq, payload)) = raw.packet().await {
                answers.push(format!("{seq} {}", payload.escape_ascii()));
            }
            let slept = started.elapsed();
            assert!((0.5..5.0).contains(&slept.as_secs_f64()), "{slept:?}");
            // One that has taken it back outlives one that has not.
            let mut reset = Raw::log_in_with(address, &APP, SCHEMA, CAPABILITIES | more).await;
            reset.run("SET SESSION wait_timeout = 1").await;
            reset.command(0x1f, b"").await;
            reset.packet().await.expect("an OK");
            let mut raw = Raw::log_in_with(address, &APP, SCHEMA, CAPABILITIES | more).await;
            raw.run("SET SESSION wait_timeout = 1").await;
            raw.drain().await;
            // MariaDB forgets in a reset that it is interactive.
            assert_ne!(reset.value("SELECT @@wait_timeout").await, "1");
        }
        said.push(answers);
    }
    assert_eq!(said[1], said[0]);
}
