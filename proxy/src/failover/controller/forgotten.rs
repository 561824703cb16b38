//! What a crash takes from a server, and what that means for the pair: MariaDB with `init_rpl_role=SLAVE` rolls back commits, some of which
//! clients were told of, and gives their numbers to others. The standby has what clients were told of, since they were told after it had
//! received it.

use std::time::Duration;

use super::{ACT, Controller, within};
use crate::failover::hands::{Acknowledged, Hands, Trouble};
use crate::topology::ServerId;
use crate::topology::gtid::Stream;

/// How often it is looked whether what was forgotten is back.
const FETCH_LOOK: Duration = Duration::from_millis(20);

impl<H: Hands> Controller<H> {
    /// Before an active master is opened that may have forgotten: it gets back what the other has of it. How many commits came back.
    pub(super) async fn fetch_back(&mut self, server: ServerId) -> Result<u64, Trouble> {
        let (Some(other), Some(stream)) = (server.other(self.names.len()), self.stream_of(server)) else {
            return Ok(0);
        };
        if self.standing.quarantined == Some(other)
            || !self.standing.semi_sync
            // Commits that waited for nobody were never rolled back (measured: 50 crashes under load).
            || self.standing.alone == Some(true)
            || !within(&self.hands, ACT, self.hands.forgets(server)).await?
        {
            return Ok(0);
        }
        let theirs = self.all_of(other, stream).await;
        // Afterwards: while the other was waited for it may have crashed once more.
        let own = within(&self.hands, ACT, self.hands.newest(server, stream)).await?;
        let needed = match theirs {
            Ok(theirs) => theirs,
            Err(trouble) => {
                return self
                    .open_unasked(other, Acknowledged { stream, number: own }, &trouble)
                    .await;
            }
        };
        if own >= needed {
            return Ok(0);
        }
        // What it applies would wait for the other's receipt.
        within(&self.hands, ACT, self.hands.set_semi_sync(server, false)).await?;
        within(&self.hands, ACT, self.hands.replicate(server, other)).await?;
        let deadline = self.hands.now() + self.rules.apply_timeout;
        while within(&self.hands, ACT, self.hands.newest(server, stream)).await? < needed {
            if self.hands.now() >= deadline {
                return Err(format!(
                    "it lacks {} commits that {} has of it, and did not get them back within failover.apply_timeout",
                    needed - own,
                    self.names[other.0]
                ));
            }
            self.hands.sleep_until(self.hands.now() + FETCH_LOOK).await;
        }
        Ok(needed - own)
    }

    /// That of the commits made on it, as the last probe saw it.
    pub(super) fn stream_of(&self, server: ServerId) -> Option<Stream> {
        let health = self.health.borrow();
        let answer = health[server.0].answer.as_ref();
        answer.and_then(|answer| answer.seen.stream)
    }

    /// The newest commit of the stream that a server has received of it, when it has applied all of that. What is still on its way there,
    /// from a server that has died since, must not come later: it takes the numbers of others.
    async fn all_of(&self, server: ServerId, stream: Stream) -> Result<u64, Trouble> {
        within(&self.hands, ACT, self.hands.stop_receiving(server)).await?;
        self.apply_all(server).await?;
        within(&self.hands, ACT, self.hands.newest(server, stream)).await
    }

    /// The other can't be asked. If the server has all that clients were told of it can be opened all the same, after a while: what nobody
    /// was told of the other may have and keeps under numbers that are others' from now on, so that is remembered.
    async fn open_unasked(
        &mut self,
        other: ServerId,
        own: Acknowledged,
        trouble: &Trouble,
    ) -> Result<u64, Trouble> {
        let now = self.hands.now();
        let until = *self.standing.unasked_since.get_or_insert(now) + self.rules.unreachable_time;
        let told = self.hands.acknowledged().filter(|told| told.stream == own.stream);
        let name = &self.names[other.0];
        match told {
            Some(told) if told.number <= own.number => {}
            _ => {
                return Err(format!(
                    "MariaDB may have forgotten in a crash (init_rpl_role=SLAVE) what clients were told of, and {name}, which has \
                     it, does not answer ({trouble}). It goes on when that is back; if that is lost, accept the loss by SET GLOBAL read_only=0 here"
                ));
            }
        }
        if now < until {
            return Err(format!(
                "it has all that clients were told of, but {name}, which may have more of it, does not answer ({trouble}): that is \
                 waited for (failover.unreachable_time)"
            ));
        }
        self.standing.blind = Some(own);
        self.note().await?;
        Ok(0)
    }

    /// Up to which of its own commits the active master has them, if a crash has taken some from it that the other has.
    async fn forgot(&self, active: ServerId, other: ServerId) -> Result<Option<Acknowledged>, Trouble> {
        let Some(stream) = self.stream_of(active) else {
            return Ok(None);
        };
        let theirs = within(&self.hands, ACT, self.hands.newest(other, stream)).await?;
        // Afterwards: it goes on.
        let number = within(&self.hands, ACT, self.hands.newest(active, stream)).await?;
        Ok((number < theirs).then_some(Acknowledged { stream, number }))
    }

    /// Why it can't be a standby: what it has and the active master has not, or the other way round for good.
    pub(super) async fn unfit(
        &mut self,
        server: ServerId,
        active: ServerId,
    ) -> Result<Option<String>, Trouble> {
        let errant = within(&self.hands, ACT, self.hands.errant(server, active)).await?;
        if errant.is_some()
            && let Some(own) = self.forgot(active, server).await?
        {
            if within(&self.hands, ACT, self.hands.is_read_only(active)).await? {
                return Err(format!(
                    "{} has crashed meanwhile, and lacks commits of its own that this one has: it gets them back first",
                    self.names[active.0]
                ));
            }
            // What was missing before is so all the more.
            let before = self
                .standing
                .blind
                .filter(|before| before.stream == own.stream && before.number < own.number);
            self.standing.blind = before.or(Some(own));
            self.note().await?;
        } else if let Some(errant) = errant {
            return Ok(Some(format!(
                "it has commits that the active master never got: {errant}. They were acknowledged to nobody through Tandem"
            )));
        }
        if let Some(Acknowledged { stream, number }) = self.standing.blind {
            let has = self.all_of(server, stream).await?;
            if has > number {
                return Ok(Some(format!(
                    "it has, or may have, commits of the active master that a crash has taken from that, which was opened \
                     without them: {} to {has}. Their numbers are others' now. Say DRAIN and OPEN when it is made anew",
                    stream.up_to(number + 1)
                )));
            }
        }
        let lost = within(&self.hands, ACT, self.hands.lost(server, active)).await?;
        Ok(lost.map(|lost| {
            format!(
                "a crash has taken commits of its own from it that the active master has: {lost}. It began to replicate by itself and has gone on \
                 behind them (skip_slave_start keeps it from that)"
            )
        }))
    }
}
