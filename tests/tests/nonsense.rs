//! A server that says what it should not: its connection is closed, and nobody is told what is another's.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tandem::demo::pair::{APP, Pair};
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::packet::err::ERR_HEADER;
use tandem_protocol::packet::ok::OK_HEADER;
use tandem_protocol::packet::prepare_ok::PrepareOk;
use tandem_protocol::response::Expect;
use tandem_tests::raw::Raw;
use tandem_tests::relay::Relay;
use tandem_tests::{Cluster, Setup};

const SCHEMA: &str = "test_nonsense";

/// A cluster with one connection to each server, and the relay before the active master.
async fn cluster() -> (Cluster, Arc<Relay>) {
    let pair = Pair::start(&Setup::default().pair).await.expect("a pair");
    let relay = Relay::start(pair.a().address(), APP.user).expect("a relay");
    let address = relay.address;
    let cluster = Cluster::over(pair, "", |config| {
        config.servers[0].address = address.into();
        config.pool.max_connections = 1;
        config.listener.workers = 1;
    })
    .await;
    cluster.create_database(SCHEMA).await;
    let mut raw = Raw::log_in(cluster.address(), SCHEMA).await;
    // Without an id that counts by itself: nothing is asked after that before the next statement.
    raw.run("CREATE TABLE t (word VARCHAR(80) PRIMARY KEY, n INT)")
        .await;
    raw.run("INSERT INTO t VALUES ('other', 0), ('own', 0)").await;
    raw.finish().await;
    (cluster, relay)
}

/// The id of a new statement is that of another session's: this one is not run in its place.
#[tokio::test]
async fn an_id_that_is_another_statements_runs_nothing() {
    let (cluster, relay) = cluster().await;
    let first = Arc::new(AtomicU32::new(0));
    relay.rewrite(move |command, said| {
        // Of a write, since reads may go to the other server.
        if command.first() != Some(&0x16) || !command.windows(6).any(|part| part == b"UPDATE") {
            return;
        }
        let at = HEADER_LEN + PrepareOk::STATEMENT_ID_AT;
        let id = u32::from_le_bytes(said[at..at + 4].try_into().expect("four bytes"));
        match first.compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {}
            Err(first) => said[at..at + 4].copy_from_slice(&first.to_le_bytes()),
        }
    });
    let parameter = b"\x01\0\0\0\0\x01\0\0\0\0\x01\x01\0\x01";
    let mut others = Raw::log_in(cluster.address(), SCHEMA).await;
    let statement = b"UPDATE t SET n = n + ? WHERE word = 'other'";
    others.ask(0x16, statement, Expect::Prepare).await;
    let reply = others.ask(0x17, parameter, Expect::Execute).await;
    assert_eq!(reply[0].1[0], OK_HEADER, "{reply:?}");
    let mut own = Raw::log_in(cluster.address(), SCHEMA).await;
    own.command(0x16, b"UPDATE t SET n = n + ? WHERE word = 'own'")
        .await;
    let told = own.packet().await;
    if told.is_some_and(|(_, payload)| payload[0] != ERR_HEADER) {
        own.command(0x17, parameter).await;
        own.packet().await;
    }
    let mut later = Raw::log_in(cluster.address(), SCHEMA).await;
    assert_eq!(
        later
            .value("SELECT n FROM t WHERE word = 'other' FOR UPDATE")
            .await,
        "1",
        "run once, by whom it is of"
    );
}

/// One OK too many behind Tandem's own `SET` is no answer to the statement for which that was set, and the answer of that, when it
/// comes, nobody else's.
#[tokio::test]
async fn an_answer_too_many_is_nobodys() {
    let (cluster, relay) = cluster().await;
    let mut own = Raw::log_in(cluster.address(), SCHEMA).await;
    own.run("SET div_precision_increment=7").await;
    let mut others = Raw::log_in(cluster.address(), SCHEMA).await;
    others.run("UPDATE t SET n = 7 WHERE word = 'other'").await;
    let doubles = Arc::new(AtomicBool::new(true));
    let (doubling, late) = (Arc::clone(&doubles), Mutex::new(Vec::new()));
    relay.rewrite(move |command, said| {
        let is_secret = command.ends_with(b"(secret)");
        let mut late = late.lock().expect("no panic under the lock");
        // A login is no command.
        if command.first() != Some(&3) || !doubling.load(Ordering::Relaxed) {
            said.splice(..0, late.drain(..));
            return;
        }
        let whole = std::mem::take(said);
        let mut rest = whole.as_slice();
        while let Some((header, payload)) = frame::packet(rest) {
            let (packet, behind) = rest.split_at(HEADER_LEN + header.len);
            match payload[0] {
                OK_HEADER => said.extend([packet, packet].concat()),
                ERR_HEADER if is_secret => late.extend_from_slice(packet),
                _ => said.extend_from_slice(packet),
            }
            rest = behind;
        }
    });
    // The connection has to be told of the setting first.
    own.command(3, b"UPDATE t SET n = (secret)").await;
    let told = own.packet().await;
    assert!(
        told.as_ref().is_none_or(|(_, payload)| payload[0] != OK_HEADER),
        "what failed succeeds: {told:?}"
    );
    doubles.store(false, Ordering::Relaxed);
    others.run("UPDATE t SET n = 7 WHERE word = 'other'").await;
}
