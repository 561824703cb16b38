//! What operators ask for: the active master is changed while both live, or by force.

use std::time::{Duration, Instant};

use super::promotion::FENCE;
use super::{ACT, Controller, within};
use crate::failover::Command;
use crate::failover::events::Kind;
use crate::failover::hands::{Hands, Trouble};
use crate::failover::judge::{Rules, Standing, Verdict, is_fresh, obstacles, pair};
use crate::monitor::health::Health;
use crate::topology::ServerId;

/// So long are writes held at most to let the standby have the rest. With what follows (a commit took up to 50 ms under the load of
/// `--test failover` on MySQL) a pause stays below 100 ms: longer ones are for the second half of the time.
const MOMENT: Duration = Duration::from_millis(40);

/// So long each write waits first while the standby is not close.
const PACE: Duration = Duration::from_millis(25);

/// How often it is looked whether the standby will have caught up in time; else each waits for twice as long.
const LOOK: Duration = Duration::from_millis(400);

/// A standby that lacks so few commits is close: it has them within a moment. How often it is looked for that; and what is worth a try if
/// it has not come closer by the next [`LOOK`].
const CLOSE: u64 = 5;
const CLOSE_LOOK: Duration = Duration::from_millis(5);
const NEAR: u64 = 50;

/// A server that something was done to is given so long to answer a probe: MySQL answers none while it switches semi-sync replication
/// off, which takes it a second.
const SEEN_AFTER: Duration = Duration::from_secs(2);

/// How often a switchover looks whether the writes under way have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

impl<H: Hands> Controller<H> {
    pub(super) async fn command(&mut self, command: Command) -> Result<String, String> {
        match command {
            Command::Pause => {
                let rest = "no automatic failover until RESUME";
                Ok(self.pause(true, Kind::Paused, rest).await)
            }
            Command::Resume => {
                let rest = "automatic failover is possible again";
                Ok(self.pause(false, Kind::Resumed, rest).await)
            }
            Command::Switchover {
                to, dry_run: true, ..
            } => self.examine(to).map(|(_, to)| {
                let name = &self.names[to.0];
                format!("{name} could become the active master now; nothing was changed")
            }),
            Command::Switchover {
                to, timeout, force, ..
            } => {
                let timeout = timeout.unwrap_or(self.rules.switchover_timeout);
                self.switch_over(to, timeout, force).await
            }
            Command::Drain(server) => self.drain(server).await,
            Command::Open(server) => self.let_in(server).await,
        }
    }

    /// Whom a switchover would be from and to.
    ///
    /// # Errors
    /// Why there can be none now.
    fn examine(&self, to: Option<ServerId>) -> Result<(ServerId, ServerId), String> {
        let health = self.health.borrow().clone();
        let (from, to) = self.between(to, &health)?;
        // Whether failovers are automatic, paused or too many has nothing to do with what an operator asks for.
        let standing = Standing {
            paused: false,
            last_failover: None,
            stopped: None,
            seen: true,
            ..self.standing.clone()
        };
        let rules = Rules {
            automatic: true,
            ..self.rules
        };
        let obstacles = obstacles(&standing, &health, &rules, self.hands.now());
        if self.standing.away == Some(to) && self.standing.drained.is_none() {
            return Err(format!(
                "no switchover: {} was away, or was the active master, and is not let back in yet (SHOW EVENTS); nothing was changed",
                self.names[to.0]
            ));
        }
        if let Some(obstacle) = obstacles.first() {
            return Err(format!("no switchover: {obstacle}; nothing was changed"));
        }
        if self.is_closed(from) {
            return Err(format!(
                "no switchover: {} is read-only, as after a crash, and is made writable first (SHOW EVENTS); nothing was changed",
                self.names[from.0]
            ));
        }
        if self.verdict(&health) != Some(Verdict::Alive) {
            return Err("no switchover: the active master does not answer; SWITCHOVER … FORCE promotes the other all the same".to_owned());
        }
        Ok((from, to))
    }

    /// The same; a server that has just been let back in, and was not seen to answer since, is waited for.
    async fn examine_soon(&mut self, to: Option<ServerId>) -> Result<(ServerId, ServerId), String> {
        let until = self.standing.acted.map(|at| at + SEEN_AFTER);
        loop {
            let now = self.hands.now();
            let health = self.health.borrow_and_update().clone();
            let is_silent = self
                .between(to, &health)
                .is_ok_and(|(_, to)| !is_fresh(&health[to.0], now));
            match until {
                Some(until) if is_silent && now < until => {
                    tokio::select! {
                        biased;
                        changed = self.health.changed() => if changed.is_err() { return self.examine(to) },
                        () = self.hands.sleep_until(until) => {}
                    }
                }
                _ => return self.examine(to),
            }
        }
    }

    fn between(&self, to: Option<ServerId>, health: &[Health]) -> Result<(ServerId, ServerId), String> {
        let Some((from, other)) = pair(&self.standing, health) else {
            return Err("there is no active master to switch over from, or no other server".to_owned());
        };
        let to = to.unwrap_or(other);
        match to == from {
            true => Err(format!("{} is the active master already", self.names[to.0])),
            false => Ok((from, to)),
        }
    }

    pub(super) async fn switch_over(
        &mut self,
        to: Option<ServerId>,
        timeout: Duration,
        force: bool,
    ) -> Result<String, String> {
        let health = self.health.borrow_and_update().clone();
        if force && self.verdict(&health) != Some(Verdict::Alive) {
            let (from, to) = self.between(to, &health)?;
            return self.force(from, to).await;
        }
        let (from, to) = self.examine_soon(to).await?;
        let name = self.names[to.0].clone();
        let begun = self.hands.now();
        self.moments.forget_longest();
        self.tell(
            Kind::SwitchoverBegun,
            from,
            format!("to {name}, at most {timeout:?}"),
            None,
        );
        let mut is_closed = false;
        match self.hand_over(from, to, begun + timeout, &mut is_closed).await {
            Ok(()) => {
                let took = self.hands.now() - begun;
                let held = self.moments.longest();
                self.tell(
                    Kind::Promoted,
                    to,
                    format!("it is the active master, epoch {}; {held}", self.standing.epoch),
                    Some(took),
                );
                Ok(format!(
                    "{name} is the active master, after {} ms; {held}",
                    took.as_millis()
                ))
            }
            // Past the point of no return it is carried on: the new one is made writable as soon as that works.
            Err(trouble) if self.standing.active == Some(to) => {
                self.standing.away = Some(from);
                self.publish(false);
                let result =
                    format!("{name} is the active master, but could not be made writable yet: {trouble}");
                self.tell(Kind::Failed, to, &result, Some(self.hands.now() - begun));
                Err(result)
            }
            Err(trouble) => {
                let undone = match is_closed {
                    true => self.reopen(from).await,
                    false => Ok(()),
                };
                self.publish(false);
                let result = match undone {
                    Ok(()) => format!(
                        "{trouble}; undone, {} is the active master as before",
                        self.names[from.0]
                    ),
                    Err(undo) => format!(
                        "{trouble}; and {} could not be made writable again yet: {undo}",
                        self.names[from.0]
                    ),
                };
                self.tell(
                    Kind::SwitchoverUndone,
                    from,
                    result.clone(),
                    Some(self.hands.now() - begun),
                );
                Err(result)
            }
        }
    }

    /// Whether the last probe found it read-only.
    fn is_closed(&self, server: ServerId) -> bool {
        let health = self.health.borrow();
        let answer = health[server.0].answer.as_ref();
        answer.is_some_and(|answer| answer.seen.read_only)
    }

    /// Undoes that it was closed. One that has crashed meanwhile is opened as any that has ([`Controller::open`]).
    async fn reopen(&mut self, server: ServerId) -> Result<(), Trouble> {
        if let Some(told) = self.hands.acknowledged() {
            let lacks = self.lacks(server, told).await?;
            if lacks > 0 {
                return Err(format!("it lacks {lacks} commits that clients were told of"));
            }
        }
        within(&self.hands, ACT, self.hands.set_read_only(server, false)).await?;
        self.standing.opened = Some(self.hands.now());
        Ok(())
    }

    /// Nothing that is recorded changes before its last step. `is_closed` tells whether the old one may be read-only.
    async fn hand_over(
        &mut self,
        from: ServerId,
        to: ServerId,
        deadline: Instant,
        is_closed: &mut bool,
    ) -> Result<(), Trouble> {
        self.come_close(from, to, deadline).await?;
        let begun = self.hands.now();
        if !self.drained(deadline).await {
            return Err("transactions were open for longer than the switchover may take (failover.switchover_timeout, TIMEOUT n)".to_owned());
        }
        self.tell(
            Kind::Drained,
            from,
            "no write is under way",
            Some(self.hands.now() - begun),
        );
        if self.is_closed(from) {
            return Err(format!("{} has crashed meanwhile", self.names[from.0]));
        }
        *is_closed = true;
        within(&self.hands, ACT, self.hands.set_read_only(from, true)).await?;
        let position = within(&self.hands, ACT, self.hands.position(from)).await?;
        let patience = ACT.max(deadline.saturating_duration_since(self.hands.now()));
        if !within(
            &self.hands,
            patience + ACT,
            self.hands.applied(to, &position, patience),
        )
        .await?
        {
            return Err(format!("{} did not apply everything in time", self.names[to.0]));
        }
        if let Some(told) = self.hands.acknowledged()
            && self.lacks(to, told).await? > 0
        {
            return Err(format!(
                "{} has crashed meanwhile, and {} has not all that clients were told of",
                self.names[from.0], self.names[to.0]
            ));
        }
        if self.standing.semi_sync {
            within(&self.hands, ACT, self.hands.set_semi_sync(to, true)).await?;
        }
        self.promote(to, self.standing.semi_sync).await?;
        // The rest delays nobody.
        self.standing.away = Some(from);
        Ok(())
    }

    /// Holds writes, once the standby is so little behind that it has everything within a moment. For one that is not, fewer begin until
    /// then: each waits for a while, and for longer if that does not bring it close in time.
    pub(super) async fn come_close(
        &mut self,
        from: ServerId,
        to: ServerId,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let begun = self.hands.now();
        let timeout = deadline.saturating_duration_since(begun);
        let (mut pace, mut moment) = (PACE, MOMENT);
        loop {
            let before = self.commits_behind(to).await?;
            let after = self.until_close(to, before, pace).await?;
            let is_tried = after.is_none_or(|(_, lacks)| lacks <= NEAR);
            if is_tried && self.has_all_within(from, to, moment).await? {
                return Ok(());
            }
            let now = self.hands.now();
            if now >= deadline {
                let position = within(&self.hands, ACT, self.hands.position(from)).await?;
                let reached = within(&self.hands, ACT, self.hands.position(to))
                    .await
                    .unwrap_or_default();
                return Err(format!(
                    "{} did not catch up in time (failover.switchover_timeout, TIMEOUT n): it is at {reached}, not at {position}",
                    self.names[to.0]
                ));
            }
            let longest = if now - begun < timeout / 2 {
                MOMENT
            } else {
                timeout
            };
            if is_tried {
                moment = (moment * 2).min(longest);
            }
            if !is_in_time(before, after, deadline) {
                pace = (pace * 2).min(longest);
            }
            // Long enough for what was held to go on.
            self.publish_paced(pace);
            self.hands.sleep_until(self.hands.now() + CLOSE_LOOK).await;
        }
    }

    /// Waits, while writes begin at this pace, until the standby lacks few commits, at most until it is time to look what the pace
    /// has brought. `lag` is how it is now; returns how it is then. If that is not known, trying is the way to know.
    async fn until_close(
        &mut self,
        to: ServerId,
        mut lag: Option<(Instant, u64)>,
        pace: Duration,
    ) -> Result<Option<(Instant, u64)>, Trouble> {
        let look_at = self.hands.now() + LOOK;
        let is_far = |lag: Option<(Instant, u64)>| lag.is_some_and(|(_, lacks)| lacks > CLOSE);
        if is_far(lag) {
            self.publish_paced(pace);
        }
        while is_far(lag) && self.hands.now() < look_at {
            self.hands.sleep_until(self.hands.now() + CLOSE_LOOK).await;
            lag = self.commits_behind(to).await?;
        }
        Ok(lag)
    }

    /// Holds writes until the standby has all that was under way, for a moment at most. They are held on.
    async fn has_all_within(
        &mut self,
        from: ServerId,
        to: ServerId,
        moment: Duration,
    ) -> Result<bool, Trouble> {
        self.publish(true);
        let until = self.hands.now() + moment;
        // What is under way now has to reach the standby within this moment too; a long transaction may end later.
        self.drained(until - moment / 2).await;
        let position = within(&self.hands, ACT, self.hands.position(from)).await?;
        let rest = until.saturating_duration_since(self.hands.now()).max(moment / 4);
        within(&self.hands, rest + ACT, self.hands.applied(to, &position, rest)).await
    }

    /// Whether the writes under way have all ended, by `until`.
    async fn drained(&mut self, until: Instant) -> bool {
        while self.hands.is_writing() {
            if self.hands.now() >= until {
                return false;
            }
            self.hands.sleep_until(self.hands.now() + DRAIN_LOOK).await;
        }
        self.moments.note_quiet(self.hands.now());
        true
    }

    /// How many of the commits that clients were told of it has not applied yet, and when that was so.
    async fn commits_behind(&self, server: ServerId) -> Result<Option<(Instant, u64)>, Trouble> {
        let Some(told) = self.hands.acknowledged() else {
            return Ok(None);
        };
        let lacks = self.lacks(server, told).await?;
        Ok(Some((self.hands.now(), lacks)))
    }

    /// One whose applier is broken may lack what it has received; one that is at work must not go on with that as the active master.
    async fn promote_by_force(&mut self, to: ServerId) -> Result<(), Trouble> {
        let patience = self.rules.apply_timeout;
        let applied = self.hands.finish_applying(to, patience);
        if within(&self.hands, patience + ACT, applied).await == Ok(false) {
            return Err(format!(
                "{} still applies what it has received, which took longer than {patience:?} (failover.apply_timeout): say it again",
                self.names[to.0]
            ));
        }
        let _ = within(&self.hands, ACT, self.hands.set_semi_sync(to, false)).await;
        self.promote(to, false).await
    }

    /// An operator accepts that what the dead master acknowledged may be lost.
    pub(super) async fn force(&mut self, from: ServerId, to: ServerId) -> Result<String, String> {
        let name = self.names[to.0].clone();
        self.tell(
            Kind::FailoverBegun,
            from,
            format!("{name} is promoted by force, by an operator"),
            None,
        );
        self.give_up(from);
        let (_, stopped) = tokio::join!(
            within(&self.hands, FENCE, self.hands.set_read_only(from, true)),
            within(&self.hands, ACT, self.hands.stop_receiving(to)),
        );
        let promoted = match stopped {
            Ok(()) => self.promote_by_force(to).await,
            Err(trouble) => Err(trouble),
        };
        self.standing.away = Some(from);
        if promoted.is_err() {
            self.publish(false);
        }
        promoted.map(|()| format!("{name} is the active master, by force"))
    }
}

/// Whether a standby that lacked so many commits at one time and so many at another catches up by half of what is left until the
/// deadline, if it goes on like that. Of which it is not known it does not.
fn is_in_time(before: Option<(Instant, u64)>, now: Option<(Instant, u64)>, deadline: Instant) -> bool {
    let (Some((then, lacked)), Some((now, lacks))) = (before, now) else {
        return false;
    };
    let gained = u128::from(lacked.saturating_sub(lacks));
    let left = deadline.saturating_duration_since(now) / 2;
    u128::from(lacks) * (now - then).as_micros() <= gained * left.as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_grow_only_for_a_standby_that_would_be_late() {
        let then = Instant::now();
        let at = |seconds| then + Duration::from_secs(seconds);
        let in_time = |lacked, lacks| is_in_time(Some((then, lacked)), Some((at(1), lacks)), at(9));
        assert!(in_time(1000, 800), "200 a second: 4 s of the 8 that are left");
        assert!(!in_time(1000, 810));
        assert!(!in_time(1000, 1000), "it gains nothing");
        assert!(!in_time(1000, 1200), "it falls behind");
        assert!(in_time(10, 0), "it has everything");
        assert!(
            !is_in_time(None, Some((at(1), 5)), at(9)),
            "nothing to compare with"
        );
        assert!(
            !is_in_time(Some((then, 9)), Some((at(1), 8)), then),
            "too late anyway"
        );
    }
}
