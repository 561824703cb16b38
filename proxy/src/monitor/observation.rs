//! What one probe saw: plain values, without judgement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::topology::gtid::{Position, Stream};
use crate::topology::reports::{AtLogin, Reports};
use crate::topology::{ServerId, Timeouts, Version};

/// The outcome of one probe of one server.
#[derive(Clone, Debug)]
pub struct Observation {
    pub server: ServerId,
    /// Just before the question was sent: every commit acknowledged until then is in `Seen::position`.
    pub asked_at: Instant,
    pub took: Duration,
    pub result: Result<Seen, ProbeError>,
}

/// What a server said about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub version: Version,
    /// Its global `session_track_*`.
    pub reports: Arc<Reports>,
    pub timeouts: Option<Timeouts>,
    pub at_login: Option<Arc<AtLogin>>,
    pub server_id: u32,
    /// `read_only`; on MySQL also `super_read_only` or `offline_mode`.
    pub read_only: bool,
    pub position: Position,
    /// That of the commits made on it; `None` if it could not be read.
    pub stream: Option<Stream>,
    /// One for each source that this server is set up to replicate from.
    pub links: Vec<Link>,
    /// Settings that a master of a pair should not have, in words.
    pub unfit: Vec<&'static str>,
    /// Settings that hide from its binary log whether a statement without an answer took effect.
    pub untold: Vec<&'static str>,
}

impl Seen {
    /// The channel by which this server receives from the one with this `server_id`, as far as that is known.
    pub fn link_from(&self, server_id: Option<u32>) -> Option<&Link> {
        let named = self
            .links
            .iter()
            .find(|link| Some(link.source_server_id) == server_id);
        // It isn't known to us, or not yet to the receiver: a channel that is alone is the one.
        named.or_else(|| match self.links.as_slice() {
            [link] if server_id.is_none() || link.source_server_id == 0 => Some(link),
            _ => None,
        })
    }
}

/// One replication channel, as the receiving server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `Master_Server_Id`: 0 until the receiver has been connected once since it was set up or the server started.
    pub source_server_id: u32,
    pub receiver: Receiver,
    pub applying: bool,
    /// What it has received, applied or not: whole transactions only.
    pub received: Position,
    /// Grows with everything that the receiver hears of its source, heartbeats included where the server counts them.
    pub heard: u64,
    /// `Seconds_Behind_Master`. The servers give NULL while either thread does not run or the receiver isn't connected.
    pub lag: Option<Duration>,
    /// Why the applier has stopped, if not because somebody told it to.
    pub applier_error: Option<Arc<str>>,
    /// The same of the receiver, or why it can't connect.
    pub receiver_error: Option<Arc<str>>,
}

impl Link {
    /// The last error of either thread: the applier's first, which does not go away by itself.
    pub fn error(&self) -> Option<&Arc<str>> {
        self.applier_error.as_ref().or(self.receiver_error.as_ref())
    }
}

/// `Slave_IO_Running`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    Connected,
    /// Wants to be connected: `Connecting`, or `Preparing`.
    Connecting,
    Stopped,
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// Nothing listens there, or no way leads there.
    #[error("connection refused: {0}")]
    Refused(String),
    /// It did not answer in time, or not in a way that could be understood.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// The server answers, but not to this account.
    #[error("{message}; {hint}")]
    Denied { message: String, hint: &'static str },
    /// The server answers that it is full: capacity, not death (DESIGN, The control path).
    #[error("no connection left for the monitor: {0}")]
    Full(String),
    /// The connection broke, and so did a second one.
    #[error("connection lost: {0}")]
    Lost(String),
}
