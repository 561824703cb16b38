//! Where a statement goes, and why: a pure decision over facts, session and topology.

pub mod allowance;
pub mod balance;
pub mod explain;
pub mod freshness;
pub mod rules;

use std::time::{Duration, Instant};

use crate::classify::facts::{Facts, Purity};
use crate::config::Level;
use crate::topology::derive::Holding;
use crate::topology::gtid::Gtid;
use crate::topology::table::NameKey;
use crate::topology::{ServerId, Topology};
use freshness::Stale;

/// Why a statement went where it went. Metrics, `SHOW SESSIONS` and `EXPLAIN ROUTE` name it the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// A pure read, balanced over both servers.
    Balanced,
    /// A pure read, and a rule says where.
    Rule,
    /// A pure read whose reply was kept, as a rule wants it: no server was asked.
    Cache,
    /// A pure read, and no standby takes reads now.
    NoStandby,
    /// A pure read, but the standby has not applied this session's last write yet.
    OwnWrite,
    /// A pure read, but a table that it reads is being written.
    WriteInFlight,
    /// A pure read, but the standby has not applied the newest write to a table that it reads.
    TableHot,
    /// A pure read, but the standby has not applied the newest write that may have changed any table.
    StandbyLags,
    /// A pure read of unknown tables, and the standby has not applied everything.
    UnknownReach,
    /// Inside a transaction.
    Transaction,
    /// `autocommit=0`: every statement belongs to a transaction.
    AutocommitOff,
    /// The session's state can't leave its connection.
    Pinned,
    /// The statement asks for what the one before it left on the connection.
    PreviousStatement,
    /// Reads under `SERIALIZABLE` lock.
    Serializable,
    Writes,
    LockingRead,
    SelectInto,
    UnknownFunction,
    UserLock,
    Sequence,
    UserVariable,
    ServerLocal,
    SessionState,
    Executes,
    Disagreement,
    Unreadable,
}

impl Reason {
    pub const ALL: [Self; 26] = [
        Self::Balanced,
        Self::Rule,
        Self::Cache,
        Self::NoStandby,
        Self::OwnWrite,
        Self::WriteInFlight,
        Self::TableHot,
        Self::StandbyLags,
        Self::UnknownReach,
        Self::Transaction,
        Self::AutocommitOff,
        Self::Pinned,
        Self::PreviousStatement,
        Self::Serializable,
        Self::Writes,
        Self::LockingRead,
        Self::SelectInto,
        Self::UnknownFunction,
        Self::UserLock,
        Self::Sequence,
        Self::UserVariable,
        Self::ServerLocal,
        Self::SessionState,
        Self::Executes,
        Self::Disagreement,
        Self::Unreadable,
    ];

    /// The names in the order of the reasons, for counters.
    pub const NAMES: [&str; 26] = {
        let mut names = [""; 26];
        let mut index = 0;
        while index < names.len() {
            names[index] = Self::ALL[index].name();
            index += 1;
        }
        names
    };

    /// The name that operators and dashboards see; stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Rule => "rule",
            Self::Cache => "cache",
            Self::NoStandby => "no_standby",
            Self::OwnWrite => "own_write_not_applied",
            Self::WriteInFlight => "write_in_flight",
            Self::TableHot => "table_hot",
            Self::StandbyLags => "standby_lags",
            Self::UnknownReach => "unknown_reach",
            Self::Transaction => "transaction",
            Self::AutocommitOff => "autocommit_off",
            Self::Pinned => "pinned",
            Self::PreviousStatement => "previous_statement",
            Self::Serializable => "serializable",
            Self::Writes => "writes",
            Self::LockingRead => "locking_read",
            Self::SelectInto => "select_into",
            Self::UnknownFunction => "unknown_function",
            Self::UserLock => "user_lock",
            Self::Sequence => "sequence",
            Self::UserVariable => "user_variable",
            Self::ServerLocal => "server_local",
            Self::SessionState => "session_state",
            Self::Executes => "executes",
            Self::Disagreement => "disagreement",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether the standby may answer such a read as soon as it has applied more.
    pub const fn passes(self) -> bool {
        matches!(
            self,
            Self::OwnWrite | Self::WriteInFlight | Self::TableHot | Self::StandbyLags | Self::UnknownReach
        )
    }

    fn of(purity: Purity) -> Option<Self> {
        Some(match purity {
            Purity::Pure => return None,
            Purity::Writes => Self::Writes,
            Purity::LockingRead => Self::LockingRead,
            Purity::SelectInto => Self::SelectInto,
            Purity::UnknownFunction => Self::UnknownFunction,
            Purity::UserLock => Self::UserLock,
            Purity::Sequence => Self::Sequence,
            Purity::UserVariable => Self::UserVariable,
            Purity::PreviousStatement => Self::PreviousStatement,
            Purity::ServerLocal => Self::ServerLocal,
            Purity::SessionState => Self::SessionState,
            Purity::Executes => Self::Executes,
            Purity::Disagreement => Self::Disagreement,
            Purity::Unreadable => Self::Unreadable,
        })
    }
}

/// The position of a session's last write: what a server must have applied before the session may read there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    #[default]
    Nothing,
    At(Gtid),
    /// Something may have been written at this moment, and no position was reported for it.
    Somewhere(Instant),
}

/// What the decision needs to know of a session.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// The connection the session can't leave, and whose server therefore answers.
    pub held: Option<Held>,
    /// `autocommit=0`: a read begins a transaction.
    pub autocommit_off: bool,
    /// Its reads lock: isolation level `SERIALIZABLE`.
    pub serializable: bool,
    /// The default schema is one that each server has of its own, such as `information_schema`.
    pub system_schema: bool,
    /// The default schema, if there is one whose name can be compared.
    pub schema: Option<NameKey>,
    /// How new what it reads has to be.
    pub level: Level,
    /// While there is no active master it can wait for one.
    pub waits: bool,
    /// How it was held already.
    pub delayed: Option<Delayed>,
    pub written: Written,
    /// Where a rule wants a pure read to be answered.
    pub aim: Aim,
}

/// Where a pure read should be answered. It is only a wish: what a server lacks it does not answer, and what writes or belongs to
/// a connection goes its way all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    #[default]
    Any,
    Active,
    /// Also one of weight 0.
    Standby,
    Server(ServerId),
}

impl Aim {
    /// Whether that is `server`.
    pub fn is_met_by(self, server: ServerId, topology: &Topology) -> bool {
        match self {
            Self::Any => true,
            Self::Active => topology.active == Some(server),
            Self::Standby => topology.active != Some(server),
            Self::Server(id) => id == server,
        }
    }

    fn names_active(self, topology: &Topology) -> bool {
        self != Self::Any
            && topology
                .active
                .is_some_and(|active| self.is_met_by(active, topology))
    }

    fn names_standby(self, standby: ServerId) -> bool {
        self == Self::Standby || self == Self::Server(standby)
    }
}

/// Why a session has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub server: ServerId,
    pub reason: Reason,
}

/// A target and a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub server: ServerId,
    pub reason: Reason,
    pub target: Target,
}

/// What the chosen server is in the topology that the decision was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Active,
    /// Not the active master, which could answer instead.
    Standby,
    /// There is no active master.
    Alone,
}

impl Decision {
    fn new(server: ServerId, reason: Reason, topology: &Topology) -> Self {
        let target = match topology.active {
            Some(active) if active == server => Target::Active,
            Some(_) => Target::Standby,
            None => Target::Alone,
        };
        Self {
            server,
            reason,
            target,
        }
    }
}

/// No server may take the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoActive;

/// Decides where a statement goes.
///
/// `balance` chooses between the active master and a standby that is fresh enough.
///
/// # Errors
/// [`NoActive`] when the statement needs the active master and there is none.
pub fn decide(
    facts: &Facts,
    situation: &Situation,
    topology: &Topology,
    balance: impl FnOnce(ServerId, ServerId) -> ServerId,
) -> Result<Decision, NoActive> {
    if let Some(Held { server, reason }) = situation.held {
        return Ok(Decision::new(server, reason, topology));
    }
    let reads = facts.purity == Purity::Pure && !situation.autocommit_off && !situation.serializable;
    let on_active = |reason| {
        // While a switchover is under way nothing new may begin there that writes.
        let waits = topology.holding.filter(|_| !reads);
        let active = topology.active.filter(|_| has_waited(situation.delayed, waits));
        let server = active.ok_or(NoActive)?;
        Ok(Decision::new(server, reason, topology))
    };
    if let Some(reason) = Reason::of(facts.purity) {
        return on_active(reason);
    }
    if situation.autocommit_off {
        return on_active(Reason::AutocommitOff);
    }
    if situation.serializable {
        return on_active(Reason::Serializable);
    }
    if situation.system_schema {
        return on_active(Reason::ServerLocal);
    }
    if situation.aim.names_active(topology) {
        return on_active(Reason::Rule);
    }
    let is_wanted = |server: ServerId| situation.aim.names_standby(server);
    let takes_reads = |standby: &&crate::topology::Server| standby.weight > 0 || is_wanted(standby.id);
    let Some(standby) = topology.standby().filter(takes_reads) else {
        return on_active(Reason::NoStandby);
    };
    if let Some(reason) = staleness(facts, situation, topology, standby.id) {
        return on_active(reason);
    }
    if is_wanted(standby.id) {
        return Ok(Decision::new(standby.id, Reason::Rule, topology));
    }
    let server = match topology.active {
        Some(active) => balance(active, standby.id),
        // Reads go on while the pair has no writer: a standby that has this session's writes is not stale to it.
        None => standby.id,
    };
    Ok(Decision::new(server, Reason::Balanced, topology))
}

/// How a statement was held that could not be sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delayed {
    pub by: Duration,
    /// The first moment of a switchover that it was held in, if that was so from the first on.
    pub moment: Option<u64>,
}

/// Whether a statement may go on that was held so, or was not. Nobody is held twice, for however long a standby needs.
pub fn has_waited(delayed: Option<Delayed>, holding: Option<Holding>) -> bool {
    match holding {
        None => true,
        Some(Holding::Paced(pace)) => delayed.is_some_and(|delayed| delayed.by >= pace),
        Some(Holding::Moment(moment)) => delayed.is_some_and(|delayed| delayed.moment != Some(moment)),
    }
}

/// Why what `standby` would answer may be older than the session's level allows.
fn staleness(facts: &Facts, situation: &Situation, topology: &Topology, standby: ServerId) -> Option<Reason> {
    let own = || (!has_applied(situation.written, topology, standby)).then_some(Reason::OwnWrite);
    match situation.level {
        Level::Eventual => None,
        Level::Session => own(),
        Level::Strict => match &topology.mark {
            // With all its tables covered by the ledger, the session's own writes are too.
            Some(mark) => freshness::check(&facts.tables, situation.schema, mark, standby)
                .err()
                .map(|stale| match stale {
                    Stale::Writing => Reason::WriteInFlight,
                    Stale::Hot => Reason::TableHot,
                    Stale::Lagging => Reason::StandbyLags,
                    Stale::UnknownReach => Reason::UnknownReach,
                }),
            // The next active master will have everything; until then nobody knows.
            None if situation.waits => Some(Reason::StandbyLags),
            // Nobody writes, and what the active master had acknowledged and not sent on when it went is known to
            // nobody: the session's own writes are all that can be asked for.
            None => own(),
        },
    }
}

/// Whether `server` is known to have applied what the session wrote.
fn has_applied(written: Written, topology: &Topology, server: ServerId) -> bool {
    match written {
        Written::Nothing => true,
        Written::At(gtid) => topology.covers(server, &gtid),
        Written::Somewhere(moment) => has_spread(moment, topology),
    }
}

/// Whether a write of unknown position at `moment` is on every server that takes reads.
///
/// It is when the active master was asked for its position after the write, and the standby's position,
/// also asked for after the write, includes all of it.
fn has_spread(moment: Instant, topology: &Topology) -> bool {
    let (Some(active), Some(standby)) = (topology.active, topology.standby()) else {
        return false;
    };
    let active = topology.server(active);
    let asked_after = active.position_asked.is_some_and(|asked| asked > moment);
    asked_after && standby.position.includes(&active.position)
}

#[cfg(test)]
mod tests;
