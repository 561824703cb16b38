//! The standby takes the place of an active master that is dead.

use std::time::Duration;

use super::{ACT, Controller, Done, within};
use crate::failover::events::Kind;
use crate::failover::hands::{Acknowledged, Hands, Trouble};
use crate::failover::judge::Stopped;
use crate::topology::ServerId;

/// What is done to the old active master, if it can be reached at all: the rest does not wait for it longer.
pub(super) const FENCE: Duration = Duration::from_millis(300);

/// The operator's own means may take this long.
const FENCE_COMMAND: Duration = Duration::from_secs(60);

impl<H: Hands> Controller<H> {
    pub(super) async fn fail_over(&mut self, from: ServerId, to: ServerId, why: &str) -> Done {
        let begun = self.hands.now();
        self.tell(Kind::FailoverBegun, from, format!("dead: {why}"), None);
        let done = self.promote_instead(from, to).await;
        match done {
            Ok(()) => {
                self.standing.last_failover = Some(self.hands.now());
                let took = Some(self.hands.now() - begun);
                self.tell(
                    Kind::Promoted,
                    to,
                    format!("it is the active master, epoch {}", self.standing.epoch),
                    took,
                );
                Ok(())
            }
            Err(trouble) if self.standing.active == Some(to) => {
                self.standing.last_failover = Some(self.hands.now());
                self.publish(false);
                Err((
                    to,
                    format!("it is the active master, but could not be made writable yet: {trouble}"),
                ))
            }
            Err(trouble) => {
                // The old one may come back, and then it must be replicated from again.
                self.standing.away = Some(to);
                let before = self.standing.stopped.take();
                self.standing.stopped =
                    Some(Stopped::new(before.as_ref(), trouble.clone(), self.hands.now()));
                // If this fails, it is done before anything else: until then nobody is active.
                let _ = self.withdraw().await;
                self.publish(false);
                self.tell(
                    Kind::FailoverStopped,
                    to,
                    trouble.clone(),
                    Some(self.hands.now() - begun),
                );
                Err((to, trouble))
            }
        }
    }

    /// The steps of [the diagram](super), up to the promotion.
    pub(super) async fn promote_instead(&mut self, from: ServerId, to: ServerId) -> Result<(), Trouble> {
        // Of a restarted Tandem that carries on, the one before has known it.
        let known = self.hands.acknowledged();
        // Those of a Tandem that is lost are known to nobody: what waited for nobody, and was seen, may have been told to them.
        let seen = self.seen_of(from).filter(|_| self.standing.exposed);
        for known in [known, seen].into_iter().flatten() {
            self.standing.needed = Some(known.or_more(self.standing.needed));
        }
        self.record(self.standing.epoch, Some(from), Some(to)).await?;
        self.give_up(from);
        let begun = self.hands.now();
        let (fenced, stopped) = tokio::join!(
            within(&self.hands, FENCE, async {
                // In this order for what [`Self::close`] says.
                self.hands.end_sessions(from).await?;
                self.hands.set_read_only(from, true).await?;
                self.hands.end_sessions(from).await
            }),
            within(&self.hands, ACT, self.hands.stop_receiving(to)),
        );
        match fenced {
            Ok(()) => self.tell(
                Kind::Fenced,
                from,
                "read-only, its sessions ended",
                Some(self.hands.now() - begun),
            ),
            Err(_) => self.tell(
                Kind::Fenced,
                from,
                "not reached; it can't replicate what it still commits",
                Some(self.hands.now() - begun),
            ),
        }
        stopped?;
        within(&self.hands, FENCE_COMMAND, self.hands.fence(from)).await?;
        self.tell(Kind::ReceivingStopped, to, "", Some(self.hands.now() - begun));
        within(&self.hands, ACT, self.hands.set_semi_sync(to, false)).await?;
        self.catch_up(to).await?;
        self.promote(to, false).await?;
        self.standing.away = Some(from);
        self.standing.alone = Some(true);
        Ok(())
    }

    /// What the last probe that it has answered found of its own commits.
    fn seen_of(&self, server: ServerId) -> Option<Acknowledged> {
        let stream = self.stream_of(server)?;
        let health = self.health.borrow();
        let answer = health[server.0].answer.as_ref()?;
        let number = answer.seen.position.newest(&stream);
        Some(Acknowledged { stream, number })
    }

    /// Waits until all that was received is applied, and sees whether that is all that was acknowledged.
    pub(super) async fn catch_up(&mut self, to: ServerId) -> Result<(), Trouble> {
        let begun = self.hands.now();
        self.apply_all(to).await?;
        let mut needed = self.hands.told().await?;
        needed.extend(self.standing.needed);
        for needed in needed {
            let lacks = self.lacks(to, needed).await?;
            if lacks > 0 {
                return Err(format!(
                    "it has not received the newest {lacks} commits that clients were told of (semi-sync replication was off or had given \
                     up): promoting it would lose them. Bring the old master back, or accept the loss: SWITCHOVER TO {} FORCE",
                    self.names[to.0]
                ));
            }
        }
        self.tell(
            Kind::Applied,
            to,
            "all it has received",
            Some(self.hands.now() - begun),
        );
        Ok(())
    }

    /// All that it has received.
    pub(super) async fn apply_all(&self, server: ServerId) -> Result<(), Trouble> {
        let patience = self.rules.apply_timeout;
        let applied = self.hands.finish_applying(server, patience);
        match within(&self.hands, patience + ACT, applied).await? {
            true => Ok(()),
            false => Err(format!(
                "it did not apply what it has received within {patience:?} (failover.apply_timeout)"
            )),
        }
    }

    /// How many commits, up to these or what else clients have been told of meanwhile, a server has not.
    pub(super) async fn lacks(&self, server: ServerId, needed: Acknowledged) -> Result<u64, Trouble> {
        let newest = within(&self.hands, ACT, self.hands.newest(server, needed.stream)).await?;
        let since = self.hands.acknowledged();
        let since = since.filter(|told| told.stream == needed.stream);
        let number = since.map_or(needed.number, |told| told.number.max(needed.number));
        Ok(number.saturating_sub(newest))
    }

    /// The point of no return: from the record on, it is the active master. If its commits wait for the other one from the first on,
    /// a crash may take that from it.
    pub(super) async fn promote(&mut self, to: ServerId, waits: bool) -> Result<(), Trouble> {
        self.standing.drained = None;
        self.standing.stopped = None;
        let was_fresh = std::mem::replace(&mut self.standing.fresh, !waits);
        let was_exposed = std::mem::replace(&mut self.standing.exposed, !waits);
        let recorded = self.record(self.standing.epoch + 1, Some(to), None).await;
        if recorded.is_err() {
            self.standing.fresh = was_fresh;
            self.standing.exposed = was_exposed;
        }
        recorded?;
        self.standing.seen = false;
        self.standing.alone = None;
        self.standing.covering = None;
        self.standing.quarantined = None;
        within(&self.hands, ACT, self.hands.set_read_only(to, false)).await?;
        self.standing.opened = Some(self.hands.now());
        self.standing.seen = true;
        self.suspected = false;
        self.publish(false);
        Ok(())
    }
}
