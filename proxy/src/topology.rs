//! The one immutable picture of the pair that the data path and the control path share.
//!
//! The monitor publishes a new [`Topology`] after every round of probes; workers read the newest one
//! for each statement. A decision is made on one snapshot and never on two.

pub mod catalog;
pub mod derive;
pub mod external;
pub mod gtid;
pub mod ledger;
pub mod mark;
pub mod reports;
pub mod stamp;
pub mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use tandem_protocol::version::ServerVersion;

use crate::net::address::Endpoint;
use gtid::{Gtid, Position};
use mark::Mark;
use reports::{AtLogin, Reports};

/// Index of a server in the configuration file's order; stable while Tandem runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub usize);

impl ServerId {
    /// The other one of so many servers.
    pub fn other(self, servers: usize) -> Option<Self> {
        (0..servers).map(Self).find(|&id| id != self)
    }
}

/// Who makes the server, and so which dialect, GTID form and variables it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavor {
    MariaDb,
    MySql,
}

/// A server's version as it says it itself, and as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub flavor: Flavor,
    /// `10_11_14` as 101114, the form that versioned comments use.
    pub number: u32,
    /// What `@@version` says, for instance `10.11.14-MariaDB-0+deb12u2-log`.
    pub text: Arc<str>,
}

impl Version {
    /// Whether the server knows the collation of a login by its number. It takes its own default for one that it does not,
    /// where it refuses the name: libmysqlclient asks for `utf8mb4_0900_ai_ci`, which MariaDB has since 11.4.5 (measured on
    /// 10.11.19 and 11.8.9).
    pub fn knows_collation(&self, id: u16) -> bool {
        match (self.flavor, id) {
            (Flavor::MariaDb, GB18030_FIRST..=GB18030_LAST) => false,
            (Flavor::MariaDb, UNICODE_9_FIRST..=UNICODE_9_LAST) => self.number >= 110_405,
            (Flavor::MariaDb, UCA_14_FIRST..) => self.number >= 101_001,
            (Flavor::MySql, id) => id <= UNICODE_9_LAST,
            _ => true,
        }
    }
}

/// Numbers of MySQL's own collations.
const GB18030_FIRST: u16 = 248;
const GB18030_LAST: u16 = 250;
const UNICODE_9_FIRST: u16 = 255;
const UNICODE_9_LAST: u16 = 323;
/// MariaDB's of UCA 14.0.0, which 10.10.1 brought (its documentation).
const UCA_14_FIRST: u16 = 2048;

/// How long a server lets its clients sleep: its global `wait_timeout` and `interactive_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub wait: Duration,
    /// For clients that negotiated `CLIENT_INTERACTIVE`.
    pub interactive: Duration,
}

impl Timeouts {
    /// The servers' own defaults (MariaDB 10.11, MySQL 9.7), until one was asked.
    pub const BUILT_IN: Self = Self {
        wait: Duration::from_secs(28_800),
        interactive: Duration::from_secs(28_800),
    };
}

/// What Tandem lets a server do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes all writes, and its share of the reads.
    Active,
    /// Replicates from the active master and takes reads.
    Standby,
    /// Up, but its data are not known to follow the active master: no reads, no writes.
    Detached,
    /// Not reached.
    Down,
}

/// One direction of the ring, as the receiving server tells it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Replication {
    /// The receiver (I/O) thread is connected to its source.
    pub receiving: bool,
    /// The applier (SQL) thread runs.
    pub applying: bool,
    /// `Seconds_Behind_Master`; `None` is unknown, and unknown is infinite.
    pub lag: Option<Duration>,
    /// The last error of either thread.
    pub error: Option<Arc<str>>,
}

/// One server as the last probes saw it.
#[derive(Clone, Debug)]
pub struct Server {
    pub id: ServerId,
    pub name: Arc<str>,
    pub address: Endpoint,
    /// Share of the reads relative to the other server's; 0 takes none.
    pub weight: u32,
    pub role: Role,
    /// Since when it takes reads again after it took none; `None` if it never had to stop, or is no standby.
    pub standby_since: Option<Instant>,
    /// How much of its share of the reads it gets, in percent: less for a while after it comes back.
    pub share: u32,
    /// Why it has this role, in words for an operator.
    pub why: Arc<str>,
    pub version: Option<Version>,
    /// What it reports to clients that have not said what they want.
    pub reports: Option<Arc<Reports>>,
    pub timeouts: Option<Timeouts>,
    /// `None` from servers that say nothing of it at a login.
    pub at_login: Option<Arc<AtLogin>>,
    pub read_only: bool,
    pub replication: Option<Replication>,
    /// What the server has committed, of its own and of what it replicated.
    pub position: Position,
    /// When `position` was asked for: everything acknowledged before is in it.
    pub position_asked: Option<Instant>,
    /// How long the last successful probe took.
    pub probe_time: Option<Duration>,
    /// Why the last probe failed.
    pub error: Option<Arc<str>>,
}

/// The pair at one moment.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Grows by one each time the active master changes.
    pub epoch: u64,
    pub servers: Vec<Server>,
    pub active: Option<ServerId>,
    /// What needs the active master and is not under way there already waits.
    pub holding: Option<derive::Holding>,
    /// See [`derive::Decided::given_up`].
    pub given_up: Option<ServerId>,
    /// Goes on between probes; there is one while the active master's stream is known.
    pub mark: Option<Arc<Mark>>,
    /// The last mark, while there is none.
    pub former: Option<Arc<Mark>>,
}

impl Topology {
    /// Whether writes that would begin now wait for a switchover to have ended, or for the next attempt at it.
    pub fn is_held(&self) -> bool {
        self.holding.is_some_and(derive::Holding::is_moment)
    }

    pub fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.0]
    }

    /// What clients take Tandem for: the active master's version, or else the one that is known.
    pub fn version(&self) -> Option<&Version> {
        let active = self.active.map(|id| self.server(id));
        let mut candidates = active.into_iter().chain(&self.servers);
        candidates.find_map(|server| server.version.as_ref())
    }

    /// The same for the rules of the protocol; MariaDB's oldest until a server was reached.
    pub fn server_version(&self) -> ServerVersion {
        let version = self.version();
        ServerVersion {
            mariadb: version.is_none_or(|version| version.flavor == Flavor::MariaDb),
            number: version.map_or(0, |version| version.number),
        }
    }

    /// Who made the servers, as soon as one was reached.
    pub fn flavor(&self) -> Option<Flavor> {
        self.version().map(|version| version.flavor)
    }

    /// The mark, or the last one while there is none.
    pub fn last_mark(&self) -> Option<&Arc<Mark>> {
        self.mark.as_ref().or(self.former.as_ref())
    }

    /// Whether a server is known to have applied this commit.
    pub fn covers(&self, server: ServerId, gtid: &Gtid) -> bool {
        let marked = self.mark.as_ref().is_some_and(|mark| mark.covers(server, gtid));
        marked || self.server(server).position.covers(gtid)
    }

    /// What clients are told of their sessions' changes unless they want something else.
    pub fn reports(&self) -> Reports {
        let active = self.active.map(|id| self.server(id));
        let mut candidates = active.into_iter().chain(&self.servers);
        let known = candidates.find_map(|server| server.reports.as_deref().cloned());
        known.unwrap_or_else(|| Reports::built_in(self.flavor().unwrap_or(Flavor::MariaDb)))
    }

    /// What clients are told at their login, where the servers tell of it.
    pub fn at_login(&self) -> Option<&AtLogin> {
        self.server(self.active?).at_login.as_deref()
    }

    /// How long sessions that log in now may sleep.
    pub fn timeouts(&self) -> Timeouts {
        let active = self.active.map(|id| self.server(id));
        let mut candidates = active.into_iter().chain(&self.servers);
        let known = candidates.find_map(|server| server.timeouts);
        known.unwrap_or(Timeouts::BUILT_IN)
    }

    /// The server that takes reads beside the active master, where there is one.
    pub fn standby(&self) -> Option<&Server> {
        self.servers.iter().find(|server| server.role == Role::Standby)
    }
}

/// The place where the newest topology is found.
pub type Shared = Arc<ArcSwap<Topology>>;
