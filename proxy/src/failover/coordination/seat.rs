//! What the leader decides with beside statements to the servers: the decision in etcd, what the other Tandems go by, and
//! what they say.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use tokio::sync::watch;

use super::link::{Post, Sight, Trouble, is_of, put_leased};
use super::notes::{Member, Published};
use crate::failover::hands::Acknowledged;
use crate::failover::journal::{Entry, Journal};
use crate::topology::derive::{Decided, Holding};

/// How long a switchover waits for the others to say that they hold writes too. One that does not say it in time meets
/// `read_only`, and holds what met that.
const HOLD_PATIENCE: Duration = Duration::from_millis(300);

/// Between two attempts to publish.
const PAUSE: Duration = Duration::from_millis(50);

/// Longer than a lease, a member that was lost is one no more.
const GRACE: Duration = Duration::from_secs(2);

/// The right to decide, as long as the leader's key is the one that was made for it.
pub(in crate::failover) struct Seat {
    post: Post,
    names: Vec<String>,
    lease: i64,
    /// See [`super::link::Leading::created`].
    created: i64,
    /// How long a member that says nothing may be one.
    patience: Duration,
    /// Of the decision's key: who records anew rules out what may be under way of before.
    recorded: AtomicI64,
    journal: std::sync::Arc<Journal>,
    /// The standby has what anybody was told of.
    covered: AtomicBool,
    /// What is to be published, and which publication that is.
    wanted: watch::Sender<(u64, Published)>,
    /// The newest publication that etcd has, and its revision.
    stored: watch::Sender<(u64, i64)>,
    opened: Mutex<Option<Instant>>,
    holding_since: Mutex<Option<Instant>>,
}

impl Seat {
    pub(super) fn new(
        post: Post,
        names: Vec<String>,
        (lease, created): (i64, i64),
        term: Duration,
        (recorded, covered): (i64, bool),
        journal: std::sync::Arc<Journal>,
    ) -> Self {
        Self {
            post,
            names,
            lease,
            created,
            patience: term + GRACE,
            recorded: AtomicI64::new(recorded),
            journal,
            covered: AtomicBool::new(covered),
            wanted: watch::Sender::default(),
            stored: watch::Sender::default(),
            opened: Mutex::default(),
            holding_since: Mutex::default(),
        }
    }

    fn is_ours(&self) -> Compare {
        is_of(&self.post.keys.leader, self.created)
    }

    /// In etcd when it returns, and then in this Tandem's own journal too, for the day on which etcd has lost it.
    ///
    /// # Errors
    /// When that is not certain.
    pub(in crate::failover) async fn record(&self, entry: &Entry) -> Result<(), Trouble> {
        let keys = &self.post.keys;
        let text = entry.to_text(&self.names);
        loop {
            let known = self.recorded.load(Ordering::Relaxed);
            // Written at the revision that is known, or a transaction of before, whose answer was lost, comes in between.
            let unchanged = Compare::mod_revision(keys.decision.as_str(), CompareOp::Equal, known);
            let txn = Txn::new()
                .when([self.is_ours(), unchanged])
                .and_then([TxnOp::put(keys.decision.as_str(), text.as_str(), None)])
                .or_else([
                    TxnOp::get(keys.leader.as_str(), None),
                    TxnOp::get(keys.decision.as_str(), None),
                ]);
            let done = self.post.transact(txn).await;
            let done = done.map_err(|trouble| format!("the decision can't be written to etcd: {trouble}"))?;
            let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
            if done.succeeded() {
                self.recorded.store(revision, Ordering::Relaxed);
                self.covered.store(entry.covers(), Ordering::Relaxed);
                break;
            }
            let mut found = done.op_responses().into_iter().map(|response| match response {
                etcd_client::TxnOpResponse::Get(got) => got
                    .kvs()
                    .first()
                    .map(|kv| (kv.create_revision(), kv.mod_revision())),
                _ => None,
            });
            let (leader, decision) = (found.next().flatten(), found.next().flatten());
            if leader.map(|(created, _)| created) != Some(self.created) {
                return Err("another Tandem has the lease in etcd: this one decides no more".to_owned());
            }
            self.recorded
                .store(decision.map_or(0, |(_, changed)| changed), Ordering::Relaxed);
        }
        if let Err(error) = self.journal.record(entry) {
            tracing::warn!(
                "the journal (failover.journal), a copy of what etcd has, can't be written: {error}"
            );
        }
        Ok(())
    }

    /// What a failed [`Self::record`] has left is not known: it may still be under way.
    pub(in crate::failover) fn recorded() -> Option<Entry> {
        None
    }

    /// Has the others go by it, as soon as they hear of it.
    pub(in crate::failover) fn publish(&self, decided: &Decided) {
        let mut last = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let is_opened = decided.opened.is_some() && *last != decided.opened;
        *last = decided.opened;
        drop(last);
        let mut since = self.holding_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_moment = decided.holding.is_some_and(Holding::is_moment);
        *since = is_moment.then(|| since.unwrap_or_else(Instant::now));
        drop(since);
        self.wanted.send_modify(|(number, published)| {
            // Not the same twice, whoever leads.
            let opened = match is_opened {
                true => (u64::try_from(self.created).unwrap_or(0) << 20) + *number + 1,
                false => published.opened,
            };
            *published = Published {
                active: decided.active,
                opened,
                holding: decided.holding,
                given_up: decided.given_up,
            };
            *number += 1;
        });
    }

    /// Brings what is published into etcd, until it is dropped.
    pub(super) async fn keep_published(&self) {
        let mut wanted = self.wanted.subscribe();
        loop {
            let (number, text) = {
                let wanted = wanted.borrow_and_update();
                (wanted.0, wanted.1.to_text(&self.names))
            };
            // The first one is the controller's.
            if number > 0 {
                let put = put_leased(&self.post.keys.published, text, self.lease);
                let txn = Txn::new().when([self.is_ours()]).and_then([put]);
                match self.post.transact(txn).await {
                    Ok(done) if done.succeeded() => {
                        let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
                        self.stored.send_replace((number, revision));
                    }
                    // It is no longer the leader, and will be told.
                    Ok(_) => return std::future::pending().await,
                    Err(trouble) => {
                        tracing::debug!(trouble, "not published");
                        tokio::time::sleep(PAUSE).await;
                        wanted.mark_changed();
                    }
                }
            }
            if wanted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The revision of the newest publication, once etcd has it.
    fn revision(&self) -> Option<i64> {
        let (number, revision) = *self.stored.borrow();
        (number >= self.wanted.borrow().0).then_some(revision)
    }

    /// Whether a session of another Tandem writes, or may: it has not said yet that it holds.
    pub(in crate::failover) fn others_write(&self) -> bool {
        let since = *self.holding_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_waited_for = since.is_some_and(|since| since.elapsed() < HOLD_PATIENCE);
        let Some(revision) = self.revision() else {
            return is_waited_for;
        };
        let sight = self.post.sight.borrow();
        self.others(&sight).any(|member| match member.seen >= revision {
            true => member.writing,
            false => is_waited_for,
        })
    }

    /// What the clients of all other Tandems were told of, once these go by the newest publication. One that is lost is waited
    /// for until its lease has ended.
    ///
    /// # Errors
    /// When one lives and says nothing.
    pub(in crate::failover) async fn told(&self) -> Result<Vec<Acknowledged>, Trouble> {
        let wait = async {
            let mut stored = self.stored.subscribe();
            let number = self.wanted.borrow().0;
            let revision = match stored.wait_for(|(stored, _)| *stored >= number).await {
                Ok(stored) => stored.1,
                Err(_) => return (Vec::new(), Vec::new()),
            };
            let waited_for = self.names_of_others(&self.post.sight.borrow());
            let mut sight = self.post.sight.clone();
            let ready = |sight: &Sight| {
                // All members of that moment are known, and have said it.
                sight.revision >= revision && self.others(sight).all(|member| member.seen >= revision)
            };
            let Ok(sight) = sight.wait_for(ready).await else {
                return (Vec::new(), Vec::new());
            };
            let answered = self.names_of_others(&sight);
            let lost = waited_for.into_iter().filter(|name| !answered.contains(name));
            let told = self.others(&sight).filter_map(|member| member.told).collect();
            (told, lost.collect())
        };
        match tokio::time::timeout(self.patience, wait).await {
            Ok((_, lost)) if !lost.is_empty() && !self.covered.load(Ordering::Relaxed) => Err(format!(
                "what the clients of {} were told of is not known, since it is lost; without semi-sync replication, or while that is off, \
                 the standby may lack it. Bring the old master back, or accept the loss: SWITCHOVER … FORCE",
                lost.join(", ")
            )),
            Ok((told, _)) => Ok(told),
            Err(_) => Err(self.silence()),
        }
    }

    /// Who has said nothing, and of which publication they have heard.
    fn silence(&self) -> String {
        let patience = self.patience;
        let Some(revision) = self.revision() else {
            return format!("etcd has not taken within {patience:?} what the other Tandems are to go by");
        };
        let sight = self.post.sight.borrow();
        let silent = self.others(&sight).filter(|member| member.seen < revision);
        let silent: Vec<String> = silent
            .map(|member| format!("{}, which has heard of {}", member.name, member.seen))
            .collect();
        match silent.is_empty() {
            true => format!(
                "etcd has told this Tandem within {patience:?} of its revision {} only, and not of {revision}",
                sight.revision
            ),
            false => format!(
                "other Tandems have not said within {patience:?} what their clients were told of before etcd's revision {revision}: {}",
                silent.join("; ")
            ),
        }
    }

    /// The Tandems beside this one.
    fn others<'a>(&'a self, sight: &'a Sight) -> impl Iterator<Item = &'a Member> {
        let others = sight.members.iter().filter(|(lease, _)| **lease != self.lease);
        others.map(|(_, member)| member)
    }

    fn names_of_others(&self, sight: &Sight) -> Vec<String> {
        self.others(sight).map(|member| member.name.clone()).collect()
    }
}
