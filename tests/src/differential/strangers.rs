//! Others who use Tandem's connections between two steps: whatever a session had left on one is overwritten there.

use std::net::SocketAddr;

use tandem_protocol::flags::Capabilities;
use tandem_protocol::response::Expect;

use super::door;
use super::generate::OTHER;
use super::step::LogIn;
use crate::raw::Raw;

/// What each of them leaves on its connection, in turn.
const LEAVINGS: &[&str] = &[
    "INSERT INTO strangers (v) VALUES ('a'), ('b'), ('c'), ('d'), ('e')",
    "SELECT LAST_INSERT_ID(777777)",
    "SELECT 1 UNION SELECT 2 UNION SELECT 3",
    "SELECT * FROM no_such_strangers",
    "SELECT SQL_CALC_FOUND_ROWS id FROM strangers LIMIT 1",
    "INSERT IGNORE INTO strangers (id, v) VALUES (1, 'a'), (1, REPEAT('too long', 30))",
    "UPDATE strangers SET v = 'changed' ORDER BY id LIMIT 4",
];

/// As many as there are connections.
pub struct Strangers {
    crowd: Vec<Raw>,
    visits: usize,
}

impl Strangers {
    /// They must have the capabilities of the sessions whose connections they are to use.
    pub async fn gather(address: SocketAddr, capabilities: Capabilities, number: usize) -> Self {
        let mut crowd = Vec::new();
        let login = LogIn {
            schema: OTHER.to_owned(),
            capabilities,
            collation: 45,
        };
        for _ in 0..number {
            crowd.push(door::log_in(address, &login).await);
        }
        Self { crowd, visits: 0 }
    }

    /// All of them use a connection. Each has forgotten which it had last, and wants settings that none has,
    /// so that it gets the one that has been idle for longest.
    pub async fn come_by(&mut self) {
        for stranger in &mut self.crowd {
            self.visits += 1;
            let setting = format!("SET group_concat_max_len = {}", 10_000 + self.visits);
            let leaving = LEAVINGS[self.visits % LEAVINGS.len()];
            stranger.command(0x1f, b"").await;
            door::reply(stranger, Expect::Single).await.expect("a reset");
            for statement in [&setting, leaving] {
                stranger.command(0x03, statement.as_bytes()).await;
                door::reply(stranger, Expect::Query)
                    .await
                    .expect("a reply to a stranger");
            }
        }
    }

    pub async fn leave(mut self) {
        for stranger in &mut self.crowd {
            stranger.command(1, b"").await;
            stranger.drain().await;
        }
    }
}
