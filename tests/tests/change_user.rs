//! `COM_CHANGE_USER` is refused as the server refuses it, and leaves what it leaves there.

use std::net::SocketAddr;

use futures_util::future::join_all;
use tandem::demo::pair::{self, APP};
use tandem_protocol::handshake::auth_switch::AUTH_SWITCH_HEADER;
use tandem_protocol::response::Expect;
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Cluster, Flavor, Setup};
use tokio::sync::OnceCell;

const SCHEMA: &str = "test_change_user";
const CHANGE_USER: u8 = 0x11;
const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;

/// What a session has that a change of user takes or leaves.
const STATE: &str = "SELECT @mine, CURRENT_USER(), DATABASE(), @@sort_buffer_size, @@character_set_client, \
    @@collation_connection, @@autocommit";

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup::default();
        // Seldom what clients log in with.
        let defaults = [
            "character_set_server=latin2",
            "collation_server=latin2_general_ci",
        ];
        setup.pair.extra.extend(defaults.map(str::to_owned));
        let cluster = Cluster::start(setup).await;
        cluster.create_database(SCHEMA).await;
        // MySQL lets an account in without TLS once it has seen it.
        let account = pair::client(cluster.a().address(), APP.user, APP.password, None);
        mysql_async::Conn::new(account).await.expect("logged in");
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// One attempt to become somebody else.
#[derive(Clone)]
struct Attempt {
    user: String,
    password: &'static str,
    schema: &'static str,
}

impl Attempt {
    fn new(user: &str, password: &'static str, schema: &'static str) -> Self {
        Self {
            user: user.to_owned(),
            password,
            schema,
        }
    }

    fn argument(&self) -> Vec<u8> {
        let parts = [
            self.user.as_bytes(),
            b"\0",
            b"\0",
            self.schema.as_bytes(),
            b"\0",
            &[33, 0],
            b"mysql_native_password\0",
        ];
        parts.concat()
    }
}

/// All that comes back of some attempts in a session that has some state, and what is left of that.
async fn play(address: SocketAddr, attempts: &[Attempt]) -> Vec<String> {
    let flavor = tandem_tests::engine().flavor();
    let mut raw = Raw::log_in_with(address, &APP, SCHEMA, CAPABILITIES).await;
    for statement in [
        "SET NAMES cp1250",
        "SET @mine = 5, sort_buffer_size = 100000, autocommit = 0",
    ] {
        raw.run(statement).await;
    }
    raw.command(PREPARE, b"SELECT 1").await;
    for _ in 0..3 {
        raw.packet().await.expect("an answer to the preparation");
    }
    let mut seen = Vec::new();
    for attempt in attempts {
        raw.command(CHANGE_USER, &attempt.argument()).await;
        let packets = raw.prove(attempt.password).await;
        let Some((_, last)) = packets.last() else {
            seen.push("closed".to_owned());
            return seen;
        };
        match flavor {
            Flavor::MariaDb => seen.extend(packets.iter().map(|(seq, payload)| comparable(*seq, payload))),
            // How it asks depends on what it has in its cache, and for names that are none on chance.
            Flavor::MySql => seen.push(comparable(0, last)),
        }
        raw.command(QUERY, STATE.as_bytes()).await;
        let Some((seq, first)) = raw.packet().await else {
            seen.push("closed".to_owned());
            return seen;
        };
        seen.push(comparable(seq, &first));
        for _ in 0..10 {
            let (seq, payload) = raw.packet().await.expect("the rest of an answer");
            seen.push(comparable(seq, &payload));
        }
    }
    for (seq, payload) in raw
        .ask(EXECUTE, &[1, 0, 0, 0, 0, 1, 0, 0, 0], Expect::Execute)
        .await
    {
        seen.push(comparable(seq, &payload));
    }
    seen
}

/// A packet without what is never the same twice.
fn comparable(seq: u8, payload: &[u8]) -> String {
    match payload {
        [AUTH_SWITCH_HEADER, rest @ ..] if rest.len() > 8 => {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            format!("{seq} switch to {}", rest[..end].escape_ascii())
        }
        payload => format!("{seq} {}", payload.escape_ascii()),
    }
}

/// Every way of being refused is told in the server's words, and the session that MariaDB leaves open has the same
/// account, schema and settings as on the server.
#[tokio::test]
async fn a_refused_change_of_user_leaves_what_it_leaves_on_the_server() {
    let cluster = cluster().await;
    let right = |schema| Attempt::new(APP.user, APP.password, schema);
    let long = "n".repeat(200);
    let cases = [
        vec![right(SCHEMA), right("")],
        vec![Attempt::new(APP.user, "wrong", SCHEMA)],
        vec![Attempt::new("nobody", "", SCHEMA)],
        vec![Attempt::new(&long, "", "")],
        vec![right("nosuch"), right("")],
        // MariaDB counts failures, successes in between or not, and then hears nothing any more.
        vec![
            Attempt::new(APP.user, "wrong", SCHEMA),
            right(SCHEMA),
            right("nosuch"),
            Attempt::new(APP.user, "", SCHEMA),
            right(SCHEMA),
        ],
    ];
    let compared = cases.iter().map(|attempts| async move {
        let (ours, theirs) = tokio::join!(
            play(cluster.address(), attempts),
            play(cluster.a().address(), attempts)
        );
        assert_eq!(ours, theirs);
        ours
    });
    let all = join_all(compared).await;
    let is_open = all.last().expect("the last").last().expect("an answer") != "closed";
    assert_eq!(is_open, cluster.a().engine().flavor() == Flavor::MariaDb);
    cluster.wait_nothing_leased().await;
}

/// What can't be read as a change of user is an unknown command: it ends the session with MySQL, and counts as a failure
/// with MariaDB.
#[tokio::test]
async fn a_change_of_user_that_is_none_is_an_unknown_command() {
    let cluster = cluster().await;
    let ask = |address: SocketAddr, argument: &'static [u8]| async move {
        let mut raw = Raw::log_in(address, SCHEMA).await;
        raw.command(CHANGE_USER, argument).await;
        let refusal = raw.packet().await.expect("a refusal");
        raw.command(QUERY, b"DO 1").await;
        (refusal, raw.packet().await)
    };
    let cases: [&[u8]; 5] = [
        b"app",
        b"app\0",
        b"app\0\x14abc",
        b"app\0\0nosuch\0",
        b"app\0\0\0\x2d\0",
    ];
    let compared = cases.iter().map(|argument| async move {
        let (ours, theirs) = tokio::join!(
            ask(cluster.address(), argument),
            ask(cluster.a().address(), argument)
        );
        assert_eq!(ours, theirs, "{}", argument.escape_ascii());
    });
    join_all(compared).await;
}

/// An answer with the wrong number is told so, in a login and in a change of user, and is the last one.
#[tokio::test]
async fn answers_out_of_order_end_the_session() {
    let cluster = cluster().await;
    for (address, is_server) in [(cluster.address(), false), (cluster.a().address(), true)] {
        let mut raw = Raw::connect(address).await;
        let mut login = raw.login(SCHEMA).await;
        login[3] = 5;
        raw.send(&login).await;
        let (seq, refusal) = raw.packet().await.expect("a refusal");
        assert_eq!(seq, 1);
        assert_eq!(refusal, b"\xff\x84\x04#08S01Got packets out of order");
        assert_eq!(raw.packet().await, None);
        let mut raw = Raw::log_in(address, SCHEMA).await;
        raw.command(CHANGE_USER, &Attempt::new(APP.user, "", "").argument())
            .await;
        raw.packet().await.expect("a question");
        raw.send(b"\x01\0\0\x09x").await;
        let (seq, refusal) = raw.packet().await.expect("a refusal");
        assert_eq!(seq, 2);
        assert_eq!(refusal, b"\xff\x84\x04#08S01Got packets out of order");
        // MariaDB does not hang up, and does not answer either.
        if !is_server || cluster.a().engine().flavor() == Flavor::MySql {
            assert_eq!(raw.packet().await, None);
        }
    }
}
