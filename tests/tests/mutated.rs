//! Sessions that are almost right, replies that are almost right, and noise: each harms itself at the most.
//!
//! What drivers send is recorded by a relay and replayed with mutations; other relays, between Tandem and the servers,
//! tell what arrives there and twist what comes back. Everything follows from seeds. The long run (`make soak`):
//! `TANDEM_MUTATIONS=1000000 TANDEM_NOISE_MB=24`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tandem::demo::pair::{APP, Pair, client};
use tandem::net::buffer::{BUFFER_SIZE, Slab};
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_tests::mutation::Dice;
use tandem_tests::raw::{Raw, command};
use tandem_tests::relay::{Relay, Replies};
use tandem_tests::{Cluster, Footprint, Setup, WITHIN, wait_until};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

const SCHEMA: &str = "test_mutated";
/// Sessions at a time. Most of them wait, for the rest of a packet that never comes or for the end of [`QUIET`]: with
/// fewer, a run takes longer and the processor has nothing to do.
const CROWD: usize = 192;
/// Sessions between two looks at what has become of them. The first of these fill caches and pools.
const FIRST: u64 = 1_000;
const NEXT: u64 = 20_000;
/// Who hears nothing for so long goes.
const QUIET: Duration = Duration::from_millis(500);
/// How long Tandem waits for the rest of a command.
const PATIENCE: Duration = Duration::from_secs(2);
/// What may be allocated more than behind the first of them, however many come: caches that were not yet full, and what
/// the connections in the pools know (1.7 MB after 61,000 sessions). Of a million sessions that is two bytes each.
const GROWTH_BYTES: usize = 2 << 20;
/// What the kernel may have given more: what is allocated at most at one time, in pieces that the allocator keeps.
const GROWTH_KIB: usize = 48 << 10;
/// Open files may differ by the connections that the pools keep.
const FILES: usize = 2 * CONNECTIONS + 20;
const WORKERS: usize = 2;
const CONNECTIONS: usize = 60;
/// What the session beside the others asks.
const BESIDE: &str = "SELECT 40 + 2";
/// The words that Tandem's own statements begin with.
const OWN: &[&str] = &[
    "SET NAMES ",
    "SET `",
    "SET session_track_",
    "SET last_insert_id=",
    "SELECT @@session.`",
    "SET sql_mode=CONCAT_WS(",
    "SELECT LAST_INSERT_ID()",
    "SELECT FOUND_ROWS()",
    "SHOW WARNINGS",
    "SELECT 1 FROM DUAL WHERE 0",
    "KILL ",
];
/// Commands that may reach a server, beside statements: no quitting others, no shutdown, no dump of the binlog. What the
/// account has no right to (0x07, 0x0d) the server refuses itself.
const HARMLESS: [u8; 14] = [
    0x01, 0x02, 0x04, 0x07, 0x09, 0x0a, 0x0d, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1f,
];

static RELAYS: Mutex<Vec<Arc<Relay>>> = Mutex::new(Vec::new());
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
/// One test at a time: they look at the whole process.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn cluster() -> &'static Cluster {
    let start = || async {
        let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
        let overrides = through_relays(&pair);
        let cluster = Cluster::apart(env!("CARGO_BIN_EXE_proxy"), pair, &overrides);
        let before = cluster.footprint();
        cluster.create_database(SCHEMA).await;
        let mut conn = cluster.client_in(SCHEMA).await;
        let table = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT, word VARCHAR(80))";
        conn.query_drop(table).await.expect(table);
        conn.query_drop("INSERT INTO t VALUES (1, 10, 'one'), (2, 20, 'two')")
            .await
            .expect("rows");
        conn.disconnect().await.expect("it ends");
        cluster.wait_replicated().await;
        fill_stock(&cluster, before).await;
        cluster
    };
    let cluster = CLUSTER.get_or_init(start).await;
    twist(Replies::Honest);
    cluster
}

fn twist(replies: Replies) {
    RELAYS
        .lock()
        .expect("relays")
        .iter()
        .for_each(|relay| relay.set(replies));
}

/// Relays before the servers, and what is set so that Tandem goes through them.
fn through_relays(pair: &Pair) -> Vec<String> {
    let mut overrides: Vec<String> = [
        &format!("listener.write_timeout={}ms", PATIENCE.as_millis()),
        "listener.handshake_timeout=1s",
        "limits.statement_cache=500",
        "statistics.digests=200",
        // The machine may be busy with something else.
        "pool.connect_timeout=20s",
        "pool.queue_timeout=20s",
        "monitor.timeout=5s",
    ]
    .map(str::to_owned)
    .into();
    overrides.push(format!("pool.max_connections={CONNECTIONS}"));
    overrides.push(format!("listener.workers={WORKERS}"));
    for server in pair.servers() {
        let relay = Relay::start(server.address(), APP.user).expect("a relay");
        overrides.push(format!("server.{}.address={}", server.name(), relay.address));
        RELAYS.lock().expect("relays").push(relay);
    }
    overrides
}

fn number(variable: &str, usually: u64) -> u64 {
    std::env::var(variable).map_or(usually, |text| text.parse().expect("a number"))
}

/// What clients have sent, and what arrived at a server without having been sent.
#[derive(Default)]
struct Told {
    statements: Mutex<HashSet<Vec<u8>>>,
    strangers: Mutex<Vec<String>>,
}

/// What a client can have sent where Tandem has put values in the place of calls: without these, and without any of
/// the names that it gives to keep those of the columns.
fn originals(text: &[u8]) -> Vec<Vec<u8>> {
    let text: Vec<char> = text.iter().map(|&byte| char::from(byte)).collect();
    let text: String = text.into_iter().collect();
    let mut whole = String::new();
    let mut rest = text.as_str();
    let mut changed = false;
    while let Some((before, inside)) = rest.split_once("IFNULL(") {
        let value = inside.strip_prefix("CAST(").unwrap_or(inside);
        let Some((value, behind)) = value.split_once(", ") else {
            break;
        };
        let Some((call, behind)) = behind.split_once("))") else {
            break;
        };
        if !value
            .trim_end_matches(" AS UNSIGNED)")
            .trim_start_matches('-')
            .bytes()
            .all(|b| b.is_ascii_digit())
        {
            break;
        }
        changed = true;
        whole += &format!("{before}{call})");
        rest = behind;
    }
    whole += rest;
    let mut found = vec![String::new()];
    for (index, part) in whole.split(" AS `").enumerate() {
        let with = |text: &String| match index {
            0 => format!("{text}{part}"),
            _ => format!("{text} AS `{part}"),
        };
        let without = part.split_once('`').filter(|_| index > 0);
        let longer = found.iter().flat_map(|text| {
            let bare = without.map(|(_, behind)| format!("{text}{behind}"));
            std::iter::once(with(text)).chain(bare)
        });
        found = longer.take(64).collect();
    }
    let bytes = |text: String| text.chars().map(|c| c as u8).collect();
    found.into_iter().filter(|_| changed).map(bytes).collect()
}

impl Told {
    /// Notes every statement in the frames of a stream.
    fn note(&self, mut stream: &[u8]) {
        while let Some((header, payload)) = frame::packet(stream) {
            if let Some((0x03 | 0x16, text)) = payload.split_first() {
                self.statements.lock().expect("statements").insert(text.to_vec());
            }
            stream = &stream[HEADER_LEN + header.len..];
        }
    }

    fn arrived(&self, payload: &[u8]) {
        let known = match payload.split_first() {
            Some((0x03 | 0x16, text)) => {
                // Behind the count of no query attributes, where a login has asked for these.
                let bare = text.strip_prefix(b"\0\x01").unwrap_or(text);
                let own = OWN.iter().any(|own| bare.starts_with(own.as_bytes()));
                let statements = self.statements.lock().expect("statements");
                own || statements.contains(text)
                    || originals(text).iter().any(|text| statements.contains(text))
            }
            Some((code, _)) => HARMLESS.contains(code),
            None => false,
        };
        if !known {
            self.strangers
                .lock()
                .expect("strangers")
                .push(format!("{:?}", String::from_utf8_lossy(payload)));
        }
    }

    /// From now on all servers' relays tell here.
    fn listen() -> Arc<Self> {
        let told = Arc::new(Self::default());
        for relay in &*RELAYS.lock().expect("relays") {
            let told = Arc::clone(&told);
            relay.watch(move |payload| told.arrived(payload));
        }
        told
    }

    /// Those who sent it are gone, but for the bystander.
    fn forget(&self) {
        let mut statements = self.statements.lock().expect("statements");
        statements.retain(|text| text == BESIDE.as_bytes());
    }

    fn assert_no_strangers(&self) {
        let strangers = self.strangers.lock().expect("strangers");
        assert!(
            strangers.is_empty(),
            "servers got what nobody sent: {strangers:#?}"
        );
    }
}

/// The workers keep so many buffers as were in use at once, up to a limit: this reaches the limit, so that what is kept
/// does not depend on how many sessions happen to have one at a time.
async fn fill_stock(cluster: &Cluster, before: Footprint) {
    let limit = WORKERS * Slab::MOST_BYTES;
    let most = (BUFFER_SIZE - HEADER_LEN) as u32;
    let begun = [&most.to_le_bytes()[..3], &[0], &vec![3; BUFFER_SIZE - 100]].concat();
    wait_until("the stock of buffers is full", 2 * WITHIN, || async {
        let mut sessions = Vec::new();
        for _ in 0..limit / BUFFER_SIZE + CROWD {
            sessions.push(Raw::log_in(cluster.address(), SCHEMA).await);
        }
        for session in &mut sessions {
            session.send(&begun).await;
        }
        let held = before.bytes + sessions.len() * BUFFER_SIZE;
        // In vain where the machine is so busy that the first go before the last are heard.
        let all_held = async {
            while cluster.footprint().bytes < held {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all_held).await;
        drop(sessions);
        wait_sessions(cluster, 0).await;
        cluster.footprint().bytes >= before.bytes + limit
    })
    .await;
}

/// All sessions are over, no connection is lent, nothing panicked, and nothing has grown.
async fn assert_kept(cluster: &Cluster, before: Footprint) {
    cluster.wait_nothing_leased().await;
    wait_until("files are closed", WITHIN, || async {
        cluster.footprint().files <= before.files + FILES
    })
    .await;
    let now = cluster.footprint();
    assert!(
        now.bytes <= before.bytes + GROWTH_BYTES && now.kib <= before.kib + GROWTH_KIB,
        "{now:?}, and it was {before:?}"
    );
    assert_eq!(cluster.counter("panics").await, 0, "panics");
}

/// Runs `session` with each number below `count`, in portions of which the first is small, and looks after each at what
/// it has left.
async fn portions<S, F>(count: u64, told: &Told, beside: Option<&JoinHandle<()>>, session: S)
where
    S: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let (cluster, session, started) = (cluster().await, Arc::new(session), Instant::now());
    let (mut done, mut before) = (0, None);
    while done < count {
        let end = count.min(done + if done == 0 { FIRST } else { NEXT });
        crowd(done..end, Arc::clone(&session)).await;
        done = end;
        wait_sessions(cluster, usize::from(beside.is_some())).await;
        cluster.wait_nothing_leased().await;
        told.assert_no_strangers();
        told.forget();
        assert!(
            beside.is_none_or(|beside| !beside.is_finished()),
            "the session beside them is over"
        );
        shorten(cluster).await;
        let now = cluster.footprint();
        println!("{done} sessions after {:.0?}: {now:?}", started.elapsed());
        assert_kept(cluster, *before.get_or_insert(now)).await;
    }
}

/// Takes the rows away that sessions have added: else every portion would get longer replies than the one before.
async fn shorten(cluster: &Cluster) {
    let mut conn = cluster.direct(cluster.a()).await;
    let delete = format!("DELETE FROM {SCHEMA}.t WHERE id > 2");
    conn.query_drop(&delete).await.expect(&delete);
    cluster.wait_replicated().await;
}

/// Runs `session` with each of the numbers, many at a time.
async fn crowd<S, F>(numbers: Range<u64>, session: Arc<S>)
where
    S: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let next = Arc::new(AtomicU64::new(numbers.start));
    let members: Vec<_> = (0..CROWD)
        .map(|_| {
            let (next, session) = (Arc::clone(&next), Arc::clone(&session));
            tokio::spawn(async move {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        number if number < numbers.end => session(number).await,
                        _ => return,
                    }
                }
            })
        })
        .collect();
    for member in members {
        member.await.expect("a member of the crowd that ended well");
    }
}

/// Reads what comes until the other side closes or is quiet.
async fn hear(raw: &mut Raw) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(Ok(count)) = tokio::time::timeout(QUIET, raw.socket.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        heard.extend_from_slice(&buffer[..count]);
    }
    heard
}

/// The commands of sessions that drivers and we lead, in order, each a packet.
async fn record(address: SocketAddr) -> Vec<Vec<Vec<u8>>> {
    let relay = Relay::start(address, APP.user).expect("a relay");
    let opts = client(relay.address, APP.user, APP.password, Some(SCHEMA));
    let mut sessions = Vec::new();
    for scenario in 0..3 {
        let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let hearing = Arc::clone(&heard);
        relay.watch(move |payload| {
            hearing
                .lock()
                .expect("heard")
                .push(command(payload[0], &payload[1..]));
        });
        lead(opts.clone(), scenario)
            .await
            .expect("a session that goes well");
        sessions.push(std::mem::take(&mut *heard.lock().expect("heard")));
    }
    sessions.push(vec![
        command(0x16, b"SELECT id, v FROM t WHERE word > ?"),
        command(0x18, b"\x01\0\0\0\0\0long data"),
        command(0x17, b"\x01\0\0\0\x01\x01\0\0\0\0\x01\xfd\0"),
        command(0x1c, b"\x01\0\0\0\x01\0\0\0"),
        command(0x1a, b"\x01\0\0\0"),
        command(0x19, b"\x01\0\0\0"),
        command(0x04, b"t\0"),
        command(0x09, b""),
        command(0x02, SCHEMA.as_bytes()),
        command(0x1b, b"\0\0"),
        command(0x03, b"SELECT 1; SELECT v FROM t; SET @x = 5"),
        command(0x0e, b""),
    ]);
    sessions
}

async fn lead(opts: Opts, scenario: usize) -> mysql_async::Result<()> {
    let mut conn = Conn::new(opts.clone()).await?;
    match scenario {
        0 => {
            for statement in [
                "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
                "SELECT v, word FROM t WHERE id = 1",
                "INSERT INTO t (v, word) VALUES (7, 'it''s \\\\ new')",
                "SELECT LAST_INSERT_ID(), ROW_COUNT()",
                "UPDATE t SET v = v + 1 WHERE id > 1000000",
                "SHOW WARNINGS",
                "SELECT /*!50001 v */ FROM t -- all of them",
                "SET time_zone = '+03:00', sql_mode = 'ANSI_QUOTES'",
                "SELECT \"v\" FROM t LIMIT 2",
                "USE test_mutated",
            ] {
                conn.query_drop(statement).await?;
            }
        }
        1 => {
            let query = "SELECT id, v FROM t WHERE id = ? OR word = ?";
            conn.exec_drop(query, (1, "one")).await?;
            conn.exec_drop(query, (2, None::<String>)).await?;
            conn.exec_drop("INSERT INTO t (v, word) VALUES (?, ?)", (3.5, "x".repeat(60)))
                .await?;
            let statement = conn.prep("SELECT ?").await?;
            conn.exec_drop(&statement, (1_u64 << 40,)).await?;
            conn.close(statement).await?;
        }
        _ => {
            for statement in [
                "BEGIN",
                "SET @x = 1",
                "SAVEPOINT s",
                "SELECT @x, v FROM t",
                "ROLLBACK",
            ] {
                conn.query_drop(statement).await?;
            }
            conn.query_drop("CREATE TEMPORARY TABLE own (id INT)").await?;
            conn.ping().await?;
            conn.reset().await?;
            conn.change_user(Default::default()).await?;
            conn.query_drop("SELECT 1").await?;
        }
    }
    conn.disconnect().await
}

/// Replays a recorded session as `seed` changes it, and its login sometimes.
async fn replay(address: SocketAddr, sessions: &[Vec<Vec<u8>>], seed: u64, told: &Told) {
    let mut dice = Dice::new(seed);
    let mut packets = sessions[dice.below(sessions.len())].clone();
    dice.mutate_session(&mut packets);
    let mut raw = Raw::connect(address).await;
    let mut stream = raw.login(SCHEMA).await;
    if dice.below(4) == 0 {
        dice.mutate(&mut stream);
    }
    packets.iter().for_each(|packet| stream.extend_from_slice(packet));
    // Many, since a length that was changed swallows some.
    stream.extend_from_slice(&command(1, b"").repeat(40));
    told.note(&stream);
    raw.send(&stream).await;
    hear(&mut raw).await;
}

/// A session beside the others, which must not notice them.
async fn bystander(address: SocketAddr, told: Arc<Told>) {
    let mut raw = Raw::log_in(address, SCHEMA).await;
    told.note(&command(3, BESIDE.as_bytes()));
    loop {
        assert_eq!(raw.value(BESIDE).await, "42");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_sessions_harm_nobody_else() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let address = cluster.address();
    let sessions = Arc::new(record(address).await);
    assert!(
        sessions.iter().all(|session| session.len() > 5),
        "recorded: {sessions:?}"
    );
    let told = Told::listen();
    let beside = tokio::spawn(bystander(address, Arc::clone(&told)));
    let count = number("TANDEM_MUTATIONS", 3_000);
    let telling = Arc::clone(&told);
    portions(count, &told, Some(&beside), move |number| {
        let (sessions, told) = (Arc::clone(&sessions), Arc::clone(&telling));
        async move { replay(address, &sessions, number, &told).await }
    })
    .await;
    beside.abort();
}

/// Waits until no more sessions are open than so many.
async fn wait_sessions(cluster: &Cluster, most: usize) {
    wait_until("sessions end", WITHIN, || async {
        let open: Vec<mysql_async::Row> = cluster
            .admin()
            .await
            .query("SHOW SESSIONS")
            .await
            .expect("sessions");
        open.len() <= most
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_at_the_port_harms_nobody() {
    const EACH: usize = 4096;
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let address = cluster.address();
    let told = Told::listen();
    let count = number("TANDEM_NOISE_MB", 1) * 1_000_000 / EACH as u64 + 1;
    let listening = Arc::clone(&told);
    portions(count, &told, None, move |seed| {
        let told = Arc::clone(&listening);
        async move {
            let mut dice = Dice::new(seed);
            let mut raw = Raw::connect(address).await;
            // Before the login, behind it, or in frames that are right.
            let mut stream = match dice.below(3) {
                0 => Vec::new(),
                _ => raw.login(SCHEMA).await,
            };
            let framed = dice.below(2) == 0;
            while stream.len() < EACH {
                let length = 1 + dice.below(200);
                let bytes = dice.bytes(length);
                match framed {
                    true => frame::write_packet(&mut stream, &mut 0, &bytes),
                    false => stream.extend_from_slice(&bytes),
                }
            }
            told.note(&stream);
            raw.send(&stream).await;
            hear(&mut raw).await;
        }
    })
    .await;
}

fn tag(seed: u64) -> String {
    format!("tag-{:016x}", Dice::new(seed + 77).roll())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_nonsense_leaks_nothing_to_other_sessions() {
    let _turn = TURN.lock().await;
    let cluster = cluster().await;
    let address = cluster.address();
    Told::listen();
    let count = number("TANDEM_MUTATIONS", 3_000) / 5;
    let tags: Arc<HashSet<String>> = Arc::new((0..count).map(tag).collect());
    let mut before = None;
    let started = Instant::now();
    for replies in [Replies::Doubled, Replies::Mutated] {
        twist(replies);
        let tags = Arc::clone(&tags);
        let session = move |seed| {
            let tags = Arc::clone(&tags);
            async move {
                let own = tag(seed);
                let mut raw = Raw::connect(address).await;
                let mut stream = raw.login(SCHEMA).await;
                for query in [
                    "SELECT 'TAG'",
                    "SELECT word, 'TAG' FROM t LIMIT 3",
                    "UPDATE t SET v = 'TAG'",
                    "TAG",
                ] {
                    stream.extend(command(3, query.replace("TAG", &own).as_bytes()));
                }
                stream.extend(command(0x16, format!("SELECT '{own}', ?").as_bytes()));
                stream.extend(command(0x17, b"\x01\0\0\0\0\x01\0\0\0\0\x01\xfd\0\x01x"));
                stream.extend(command(1, b""));
                raw.send(&stream).await;
                let heard = hear(&mut raw).await;
                for at in heard
                    .windows(4)
                    .enumerate()
                    .filter(|(_, window)| window == b"tag-")
                    .map(|(at, _)| at)
                {
                    let seen = String::from_utf8_lossy(heard.get(at..at + own.len()).unwrap_or_default());
                    assert!(
                        *seen == *own || !tags.contains(&*seen),
                        "{own} was told of {seen}"
                    );
                }
            }
        };
        crowd(0..count, Arc::new(session)).await;
        twist(Replies::Honest);
        wait_sessions(cluster, 0).await;
        // What is left in the pools answers as it should.
        wait_until("a write goes well again", WITHIN, || async {
            let mut raw = Raw::log_in(address, SCHEMA).await;
            raw.command(3, b"UPDATE t SET v = v WHERE id = 1").await;
            raw.packet().await.is_some_and(|(_, payload)| payload[0] == 0)
        })
        .await;
        for round in 0..2 * CONNECTIONS {
            let mut raw = Raw::log_in(address, SCHEMA).await;
            assert_eq!(
                raw.value(&format!("SELECT {round} FROM t WHERE id = 1")).await,
                round.to_string()
            );
            raw.command(1, b"").await;
        }
        assert_kept(cluster, *before.get_or_insert_with(|| cluster.footprint())).await;
    }
    println!(
        "{count} sessions with each kind of nonsense in {:?}",
        started.elapsed()
    );
}
