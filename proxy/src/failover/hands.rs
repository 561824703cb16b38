//! What a decision acts with: statements to the servers, the journal, the authority that the topology follows. [`super::sql`] has them
//! for real servers.

use std::time::{Duration, Instant};

use super::events::Event;
use super::journal::Entry;
use super::pulse::Stall;
use crate::topology::ServerId;
use crate::topology::derive::Decided;
use crate::topology::gtid::Stream;
use crate::topology::mark::Mark;

/// What a server refused or did not do in time, in words.
pub type Trouble = String;

/// The commits that clients were told of: all of `stream` up to `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub stream: Stream,
    pub number: u64,
}

impl Acknowledged {
    pub(super) fn of(mark: &Mark) -> Self {
        Self {
            stream: mark.stream(),
            number: mark.told(),
        }
    }

    /// What includes both, where they count the same.
    pub(super) fn or_more(self, other: Option<Self>) -> Self {
        let same = other.filter(|other| other.stream == self.stream);
        Self {
            number: same.map_or(self.number, |other| other.number.max(self.number)),
            ..self
        }
    }
}

/// All that a decision can do; the simulation has its own. Each act is bounded in time by who does it.
pub trait Hands: Send + Sync + 'static {
    /// The time, which the simulation holds.
    fn now(&self) -> Instant;
    /// By the local clock.
    fn minute_of_day(&self) -> u16;
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> + Send;
    fn set_read_only(&self, server: ServerId, on: bool) -> impl Future<Output = Result<(), Trouble>> + Send;
    fn is_read_only(&self, server: ServerId) -> impl Future<Output = Result<bool, Trouble>> + Send;
    /// Ends all sessions but those of replication and Tandem's own account.
    fn end_sessions(&self, server: ServerId) -> impl Future<Output = Result<(), Trouble>> + Send;
    /// Whether its commits wait for the other server's word that it has received them; `None` where there is no semi-sync
    /// replication.
    fn semi_sync(&self, server: ServerId) -> impl Future<Output = Result<Option<bool>, Trouble>> + Send;
    /// Sets it, if it is not so already.
    fn set_semi_sync(&self, server: ServerId, on: bool) -> impl Future<Output = Result<(), Trouble>> + Send;
    fn stop_receiving(&self, server: ServerId) -> impl Future<Output = Result<(), Trouble>> + Send;
    /// Both threads; where nothing is set up, it is.
    fn replicate(&self, server: ServerId, from: ServerId)
    -> impl Future<Output = Result<(), Trouble>> + Send;
    /// Has all applied that was received, and ends applying: what it has then is final. False if it takes longer.
    fn finish_applying(
        &self,
        server: ServerId,
        patience: Duration,
    ) -> impl Future<Output = Result<bool, Trouble>> + Send;
    /// The number of the newest commit of `stream` that it has.
    fn newest(&self, server: ServerId, stream: Stream) -> impl Future<Output = Result<u64, Trouble>> + Send;
    /// What it has committed, in its own words.
    fn position(&self, server: ServerId) -> impl Future<Output = Result<String, Trouble>> + Send;
    /// Waits until it has applied a position in the servers' words; false if that takes longer.
    fn applied(
        &self,
        server: ServerId,
        position: &str,
        patience: Duration,
    ) -> impl Future<Output = Result<bool, Trouble>> + Send;
    /// What `server` has committed and `other` has not; `None` is nothing.
    fn errant(
        &self,
        server: ServerId,
        other: ServerId,
    ) -> impl Future<Output = Result<Option<String>, Trouble>> + Send;
    /// Whether a crash takes from it what clients were told of, if the other server was not asked for it: MariaDB with
    /// `init_rpl_role=SLAVE` rolls back what its engine has not committed yet, which is after the other's receipt.
    fn forgets(&self, server: ServerId) -> impl Future<Output = Result<bool, Trouble>> + Send;
    /// The commits of its own that a crash has taken from `server`, that `other` has, and that it will not ask for any more, since it has
    /// gone on behind them; `None` is nothing.
    fn lost(
        &self,
        server: ServerId,
        other: ServerId,
    ) -> impl Future<Output = Result<Option<String>, Trouble>> + Send;
    /// The operator's own means; `Ok` where there are none.
    fn fence(&self, server: ServerId) -> impl Future<Output = Result<(), Trouble>> + Send;
    /// On the disk when it returns.
    ///
    /// # Errors
    /// When that is not certain.
    fn record(&self, entry: &Entry) -> impl Future<Output = Result<(), Trouble>> + Send;
    /// What the journal says, if it can be read: after a failure of [`Self::record`] it may be either.
    fn recorded(&self) -> impl Future<Output = Option<Entry>> + Send;
    fn publish(&self, decided: Decided);
    fn tell(&self, event: Event);
    /// Has both servers asked at once.
    fn look(&self);
    /// Of the last active master; `None` if nobody was told of anything.
    fn acknowledged(&self) -> Option<Acknowledged>;
    /// The same of all Tandems, once none of them lets anything reach a client that a given-up master still answers.
    fn told(&self) -> impl Future<Output = Result<Vec<Acknowledged>, Trouble>> + Send;
    /// Whether anybody writes, or has a transaction open that has written.
    fn is_writing(&self) -> bool;
    /// Whether writes at the active master do not come to an end.
    fn stalled(&self) -> Option<Stall>;
}
