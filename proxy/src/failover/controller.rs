//! Looks, decides, acts, one thing after the other: the only task that changes who is the active master.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};

use super::events::{Event, Kind};
use super::hands::{Acknowledged, Hands, Trouble};
use super::journal::Entry;
use super::judge::{
    Intent, RETRY, Rules, Standing, Verdict, adopt, decide, is_whole, judge, obstacles, pair,
};
use super::{Command, Request};
use crate::monitor::health::{Health, State};
use crate::topology::ServerId;
use crate::topology::derive::Decided;

/// One statement to a server that answers.
const ACT: Duration = Duration::from_secs(3);

/// What is done to the old active master, if it can be reached at all: the rest does not wait for it longer.
const FENCE: Duration = Duration::from_millis(300);

/// The operator's own means may take this long.
const FENCE_COMMAND: Duration = Duration::from_secs(60);

/// So long are writes held to let the standby come closer, and so long they go on in between.
const MOMENT: Duration = Duration::from_millis(60);
const BREATH: Duration = Duration::from_millis(2);

/// After so many the moments are twice as long.
const MOMENTS: u32 = 16;
/// Whether a server in quarantine was repaired is seen after this time.
const QUARANTINE_LOOK: Duration = Duration::from_secs(10);

/// What fails in the same way again is told again after this time.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// How often a switchover looks whether the writes under way have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// What `SHOW FAILOVER` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub epoch: u64,
    pub active: Option<String>,
    /// Whom a failover would promote.
    pub standby: Option<String>,
    /// What Tandem does now.
    pub state: String,
    /// Why a failover would not be possible now; empty if it would.
    pub obstacles: Vec<String>,
}

/// See the module.
pub struct Controller<H> {
    hands: H,
    rules: Rules,
    names: Vec<String>,
    standing: Standing,
    suspected: bool,
    /// What was told last of something that fails again and again, and when.
    complained: Option<(Trouble, Instant)>,
    health: watch::Receiver<Vec<Health>>,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
}

async fn within<T>(
    hands: &impl Hands,
    limit: Duration,
    what: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let deadline = hands.now() + limit;
    tokio::select! {
        biased;
        done = what => done,
        () = hands.sleep_until(deadline) => Err(format!("not done within {limit:?}")),
    }
}

impl<H: Hands> Controller<H> {
    pub fn new(
        hands: H,
        rules: Rules,
        names: Vec<String>,
        remembered: &Entry,
        health: watch::Receiver<Vec<Health>>,
        requests: mpsc::Receiver<Request>,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, shown) = watch::channel(Status::default());
        let standing = Standing {
            epoch: remembered.epoch,
            active: remembered.active,
            promoting: remembered.promoting,
            semi_sync: remembered.semi_sync,
            needed: remembered.needed,
            // What was begun before the restart may have stopped a direction of the ring.
            away: remembered.active.and_then(|active| other_of(active, names.len())),
            ..Standing::default()
        };
        let controller = Self {
            hands,
            rules,
            names,
            standing,
            suspected: false,
            complained: None,
            health,
            requests,
            status,
        };
        (controller, shown)
    }

    pub async fn run(mut self) {
        self.publish(false);
        loop {
            let wait = self.turn().await;
            let timer = async {
                match wait {
                    Some(until) => self.hands.sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some((command, answer)) => {
                        // Who asked may have gone.
                        let _ = answer.send(self.command(command).await);
                    }
                    None => return,
                },
                changed = self.health.changed() => if changed.is_err() { return },
                () = timer => {}
            }
        }
    }

    /// Looks once and does what is to be done; returns when to look again if nothing new is seen.
    async fn turn(&mut self) -> Option<Instant> {
        // Remembered while it is there: it says what was acknowledged.
        self.hands.acknowledged();
        let health = self.health.borrow_and_update().clone();
        self.look(&health);
        let intent = decide(&self.standing, &health, &self.rules, self.hands.now());
        self.show(&health, &intent);
        let done = match intent {
            Intent::Wait(until) => return until,
            Intent::Adopt(server) => self.adopt(server).await,
            Intent::Open(server) => self.open(server).await,
            Intent::Guard(server) => self.guard(server).await,
            Intent::Withdraw => self.withdraw(),
            Intent::Rejoin(server) => self.rejoin(server).await,
            Intent::GoAlone(server) => self.go_alone(server).await,
            Intent::Together(server) => self.go_together(server).await,
            Intent::FailBack(server) => self.fail_back(server).await,
            Intent::FailOver { from, to, why } => self.fail_over(from, to, &why).await,
        };
        self.standing.retry_at = done.is_err().then(|| self.hands.now() + RETRY);
        match done {
            Ok(()) => self.complained = None,
            Err((server, trouble)) => self.complain(server, trouble),
        }
        self.standing.acted = Some(self.hands.now());
        // What was done is to be seen before more is decided.
        self.hands.look();
        self.health.borrow_and_update();
        self.standing.retry_at
    }

    /// Tells of what failed; of the same again only after a while, for it is tried every second.
    fn complain(&mut self, server: ServerId, trouble: Trouble) {
        let now = self.hands.now();
        let told = self.complained.as_ref();
        if told.is_some_and(|(known, at)| *known == trouble && now < *at + COMPLAIN_AGAIN) {
            return;
        }
        self.tell(Kind::Failed, server, &trouble, None);
        self.complained = Some((trouble, now));
    }

    /// Notes what can be seen of the servers.
    fn look(&mut self, health: &[Health]) {
        match is_whole(&self.standing, health, self.hands.now()) {
            true => self.standing.whole_since = self.standing.whole_since.or(Some(self.hands.now())),
            false => self.standing.whole_since = None,
        }
        let Some((active, other)) = pair(&self.standing, health) else {
            return;
        };
        if [active, other].iter().any(|id| health[id.0].state == State::Down) {
            // It may come back without replicating, and with what stands in its option file.
            self.standing.away = Some(other);
        }
        match judge(&health[active.0], &health[other.0], &self.rules, self.hands.now()) {
            Verdict::Alive => {
                let answer = health[active.0].answer.as_ref();
                self.standing.seen |= answer.is_some_and(|answer| !answer.seen.read_only);
                if std::mem::take(&mut self.suspected) {
                    self.tell(Kind::Recovered, active, "it answers again", None);
                }
            }
            Verdict::Suspect { why, .. } => {
                if self.standing.seen && !std::mem::replace(&mut self.suspected, true) {
                    self.tell(Kind::Suspected, active, why, None);
                }
                // Not only when the next probe is due.
                self.hands.look();
            }
            Verdict::Dead { .. } => {}
        }
    }

    fn show(&self, health: &[Health], intent: &Intent) {
        let name = |id: ServerId| self.names[id.0].clone();
        let pair = pair(&self.standing, health);
        let state = match intent {
            Intent::Wait(_) if self.standing.paused => "paused".to_owned(),
            Intent::Wait(_) => {
                match pair.map(|(a, b)| judge(&health[a.0], &health[b.0], &self.rules, self.hands.now())) {
                    None => match adopt(health) {
                        Ok(_) => "no active master is known yet".to_owned(),
                        Err(why) => format!("no active master is known: {why}"),
                    },
                    Some(Verdict::Alive) => "the active master lives".to_owned(),
                    Some(Verdict::Suspect { why, .. }) => format!("the active master is suspected: {why}"),
                    Some(Verdict::Dead { why }) => format!("the active master is dead: {why}"),
                }
            }
            Intent::Adopt(id) => format!("{} becomes active", name(*id)),
            Intent::Open(id) => format!("{} is made writable", name(*id)),
            Intent::Guard(id) => format!("{} is made read-only", name(*id)),
            Intent::Withdraw => "the journal is written".to_owned(),
            Intent::Rejoin(id) => format!("{} is let back in", name(*id)),
            Intent::GoAlone(id) => format!("{} is made to wait for nobody", name(*id)),
            Intent::Together(id) => format!("{} is made to wait for the standby", name(*id)),
            Intent::FailBack(id) => format!("{} becomes active again", name(*id)),
            Intent::FailOver { to, .. } => format!("{} is promoted", name(*to)),
        };
        let status = Status {
            epoch: self.standing.epoch,
            active: self.standing.active.map(name),
            standby: pair.map(|(_, other)| name(other)),
            state,
            obstacles: obstacles(&self.standing, health, &self.rules, self.hands.now()),
        };
        self.status.send_if_modified(|shown| {
            let differs = *shown != status;
            *shown = status;
            differs
        });
    }

    async fn adopt(&mut self, server: ServerId) -> Done {
        let semi_sync = within(&self.hands, ACT, self.hands.semi_sync(server)).await;
        self.standing.semi_sync = semi_sync.map_err(|trouble| (server, trouble))? == Some(true);
        self.record(self.standing.epoch + 1, Some(server), None)
            .map_err(|trouble| (server, trouble))?;
        self.standing.away = other_of(server, self.names.len());
        self.tell(Kind::Adopted, server, "it is the active master from now on", None);
        self.publish(false);
        Ok(())
    }

    async fn open(&mut self, server: ServerId) -> Done {
        self.withdraw()?;
        // A server that was started may receive by itself what the other has committed and nobody was told of. What it has
        // received is applied first; if that can't be, its applier does not run, and `rejoin` starts it or says why not.
        let _ = within(&self.hands, ACT, self.hands.stop_receiving(server)).await;
        let _ = within(&self.hands, 2 * ACT, self.hands.finish_applying(server, ACT)).await;
        let opened = within(&self.hands, ACT, self.hands.set_read_only(server, false)).await;
        opened.map_err(|trouble| (server, format!("it can't be made writable: {trouble}")))?;
        self.standing.opened = Some(self.hands.now());
        // It was started anew, and is as its option file says.
        self.standing.away = other_of(server, self.names.len());
        self.standing.alone = None;
        self.tell(Kind::Opened, server, "the active master was read-only", None);
        self.publish(false);
        Ok(())
    }

    /// What was begun in the active master's absence has not happened.
    fn withdraw(&mut self) -> Done {
        if self.standing.promoting.is_none() && !self.standing.unrecorded {
            return Ok(());
        }
        let active = self.standing.active;
        let recorded = self.record(self.standing.epoch, active, None);
        recorded.map_err(|trouble| (active.unwrap_or(ServerId(0)), trouble))?;
        self.publish(false);
        Ok(())
    }

    async fn guard(&mut self, server: ServerId) -> Done {
        let closed = self.close(server).await;
        closed.map_err(|trouble| {
            let text =
                format!("it is writable and not the active master, and can't be made read-only: {trouble}");
            (server, text)
        })?;
        self.tell(
            Kind::Guarded,
            server,
            "it was writable, and is not the active master",
            None,
        );
        Ok(())
    }

    /// Makes a server read-only whose sessions may be in the middle of something. Commits that wait for the other server to
    /// acknowledge them, as those of a master that was replaced do, would hold up `read_only`: their sessions end first.
    async fn close(&self, server: ServerId) -> Result<(), Trouble> {
        within(&self.hands, ACT, self.hands.end_sessions(server)).await?;
        // Nobody is left who could take it for an acknowledgement.
        within(&self.hands, ACT, self.hands.set_semi_sync(server, false)).await?;
        within(&self.hands, ACT, self.hands.set_read_only(server, true)).await?;
        within(&self.hands, ACT, self.hands.end_sessions(server)).await
    }

    /// Lets a server that was away replicate again, in both directions, if it has nothing that the pair lacks.
    async fn rejoin(&mut self, server: ServerId) -> Done {
        let Some(active) = self.standing.active else {
            return Ok(());
        };
        let fail = |trouble: Trouble| (server, format!("it can't be let back in: {trouble}"));
        // Only the active master's commits wait: else a standby's applier would wait for a dead master (measured on both kinds),
        // and switching that off takes MySQL 9.7 a second. Before all else, since what waits holds up `read_only`.
        within(&self.hands, ACT, self.hands.set_semi_sync(server, false))
            .await
            .map_err(fail)?;
        within(&self.hands, ACT, self.hands.set_read_only(server, true))
            .await
            .map_err(fail)?;
        let errant = within(&self.hands, ACT, self.hands.errant(server, active))
            .await
            .map_err(fail)?;
        if let Some(errant) = errant {
            // Neither direction: these commits must not spread, and what follows may build on what they are not.
            let _ = within(&self.hands, ACT, self.hands.stop_receiving(active)).await;
            let _ = within(&self.hands, ACT, self.hands.stop_receiving(server)).await;
            self.standing.look_again = Some(self.hands.now() + QUARANTINE_LOOK);
            if self.standing.quarantined.replace(server) != Some(server) {
                let advice = format!(
                    "it has commits that the active master never got: {errant}. They were acknowledged to nobody through Tandem. It serves \
                     nothing until it is made anew from the active master's data (mariadb-backup, clone); it is let back in when it is"
                );
                self.tell(Kind::Quarantined, server, advice, None);
            }
            return Ok(());
        }
        within(&self.hands, ACT, self.hands.replicate(server))
            .await
            .map_err(fail)?;
        within(&self.hands, ACT, self.hands.replicate(active))
            .await
            .map_err(fail)?;
        self.standing.away = None;
        self.standing.quarantined = None;
        if self.standing.given_up.take().is_some() {
            self.publish(false);
        }
        self.tell(
            Kind::Rejoined,
            server,
            "it has nothing that the active master lacks; both replicate",
            None,
        );
        Ok(())
    }

    async fn go_together(&mut self, active: ServerId) -> Done {
        let set = within(&self.hands, ACT, self.hands.set_semi_sync(active, true)).await;
        set.map_err(|trouble| {
            (
                active,
                format!("its commits can't be made to wait for the standby: {trouble}"),
            )
        })?;
        if self.standing.alone.replace(false) == Some(true) {
            let detail = "the standby receives again: semi-sync replication is on";
            self.tell(Kind::WaitsForStandby, active, detail, None);
        }
        Ok(())
    }

    /// A decision against safety and for service, which is therefore told.
    async fn go_alone(&mut self, active: ServerId) -> Done {
        let begun = self.hands.now();
        within(&self.hands, ACT, self.hands.set_semi_sync(active, false))
            .await
            .map_err(|trouble| {
                (
                    active,
                    format!(
                        "its commits wait for a standby that is gone, and that can't be changed: {trouble}"
                    ),
                )
            })?;
        self.standing.alone = Some(true);
        let detail = match self.standing.semi_sync {
            true => {
                "the standby is gone or does not receive: semi-sync replication is off, and commits are on one server only until it is back"
            }
            false => "the standby is gone: commits are on one server only until it is back",
        };
        self.tell(
            Kind::WaitsForNobody,
            active,
            detail,
            Some(self.hands.now() - begun),
        );
        Ok(())
    }

    /// `failover.failback`; what fails is told, undone, and tried again after the same time.
    async fn fail_back(&mut self, to: ServerId) -> Done {
        self.tell(
            Kind::Failback,
            to,
            "both servers have been whole for failover.failback_after",
            None,
        );
        self.standing.whole_since = None;
        let timeout = self.rules.switchover_timeout;
        let done = self.switch_over(Some(to), timeout, false).await;
        done.map(drop).map_err(|trouble| (to, trouble))
    }

    async fn fail_over(&mut self, from: ServerId, to: ServerId, why: &str) -> Done {
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
                // If this fails, it is done before anything else: until then nobody is active.
                let _ = self.withdraw();
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
    async fn promote_instead(&mut self, from: ServerId, to: ServerId) -> Result<(), Trouble> {
        // Of a restarted Tandem that carries on, the one before has known it.
        self.standing.needed = self.hands.acknowledged().or(self.standing.needed);
        self.record(self.standing.epoch, Some(from), Some(to))?;
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
        self.promote(to).await?;
        self.standing.away = Some(from);
        self.standing.alone = Some(true);
        Ok(())
    }

    /// Waits until all that was received is applied, and sees whether that is all that was acknowledged.
    async fn catch_up(&mut self, to: ServerId) -> Result<(), Trouble> {
        let begun = self.hands.now();
        let patience = self.rules.apply_timeout;
        if !within(
            &self.hands,
            patience + ACT,
            self.hands.finish_applying(to, patience),
        )
        .await?
        {
            return Err(format!(
                "it did not apply what it has received within {patience:?} (failover.apply_timeout)"
            ));
        }
        let needed = || self.hands.acknowledged().or(self.standing.needed);
        if let Some(Acknowledged { stream, .. }) = needed() {
            let newest = within(&self.hands, ACT, self.hands.newest(to, stream)).await?;
            // Once more: what was under way may have been told of since.
            let number = needed().map_or(0, |needed| needed.number);
            if newest < number {
                return Err(format!(
                    "it has not received the newest {} commits that clients were told of (semi-sync replication was off or had given \
                     up): promoting it would lose them. Bring the old master back, or accept the loss: SWITCHOVER TO {} FORCE",
                    number - newest,
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

    /// The point of no return: from the record on, it is the active master.
    async fn promote(&mut self, to: ServerId) -> Result<(), Trouble> {
        self.record(self.standing.epoch + 1, Some(to), None)?;
        self.standing.seen = false;
        self.standing.alone = None;
        self.standing.quarantined = None;
        within(&self.hands, ACT, self.hands.set_read_only(to, false)).await?;
        self.standing.opened = Some(self.hands.now());
        self.standing.seen = true;
        self.suspected = false;
        self.publish(false);
        Ok(())
    }

    async fn command(&mut self, command: Command) -> Result<String, String> {
        match command {
            Command::Pause => {
                self.standing.paused = true;
                self.tell_all(Kind::Paused, "no automatic failover until RESUME");
                Ok("paused: no automatic failover until RESUME".to_owned())
            }
            Command::Resume => {
                self.standing.paused = false;
                self.tell_all(Kind::Resumed, "automatic failover is possible again");
                Ok("resumed".to_owned())
            }
            Command::Switchover { to, timeout, force } => {
                let timeout = timeout.unwrap_or(self.rules.switchover_timeout);
                self.switch_over(to, timeout, force).await
            }
        }
    }

    async fn switch_over(
        &mut self,
        to: Option<ServerId>,
        timeout: Duration,
        force: bool,
    ) -> Result<String, String> {
        let health = self.health.borrow_and_update().clone();
        let Some((from, other)) = pair(&self.standing, &health) else {
            return Err("there is no active master to switch over from, or no other server".to_owned());
        };
        let to = to.unwrap_or(other);
        let name = self.names[to.0].clone();
        if to == from {
            return Err(format!("{name} is the active master already"));
        }
        if force && judge(&health[from.0], &health[to.0], &self.rules, self.hands.now()) != Verdict::Alive {
            return self.force(from, to).await;
        }
        // Whether failovers are automatic, paused or too many has nothing to do with what an operator asks for.
        let standing = Standing {
            paused: false,
            last_failover: None,
            seen: true,
            ..self.standing.clone()
        };
        let rules = Rules {
            automatic: true,
            ..self.rules
        };
        if self.standing.away == Some(to) {
            return Err(format!(
                "no switchover: {name} was away, or was the active master, and is not let back in yet (SHOW EVENTS); nothing was changed"
            ));
        }
        if let Some(obstacle) = obstacles(&standing, &health, &rules, self.hands.now()).first() {
            return Err(format!("no switchover: {obstacle}; nothing was changed"));
        }
        if judge(&health[from.0], &health[to.0], &self.rules, self.hands.now()) != Verdict::Alive {
            return Err("no switchover: the active master does not answer; SWITCHOVER … FORCE promotes the other all the same".to_owned());
        }
        let begun = self.hands.now();
        self.tell(
            Kind::SwitchoverBegun,
            from,
            format!("to {name}, at most {timeout:?}"),
            None,
        );
        match self.hand_over(from, to, begun + timeout).await {
            Ok(()) => {
                let took = self.hands.now() - begun;
                self.tell(
                    Kind::Promoted,
                    to,
                    format!("it is the active master, epoch {}", self.standing.epoch),
                    Some(took),
                );
                Ok(format!(
                    "{name} is the active master, after {} ms",
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
                let undone = within(&self.hands, ACT, self.hands.set_read_only(from, false)).await;
                self.standing.opened = Some(self.hands.now());
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

    /// Nothing that is recorded changes before its last step.
    async fn hand_over(&mut self, from: ServerId, to: ServerId, deadline: Instant) -> Result<(), Trouble> {
        self.come_close(from, to, deadline).await?;
        let begun = self.hands.now();
        while self.hands.is_writing() {
            if self.hands.now() >= deadline {
                return Err("transactions were open for longer than the switchover may take (failover.switchover_timeout, TIMEOUT n)".to_owned());
            }
            self.hands.sleep_until(self.hands.now() + DRAIN_LOOK).await;
        }
        self.tell(
            Kind::Drained,
            from,
            "no write is under way",
            Some(self.hands.now() - begun),
        );
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
        if self.standing.semi_sync {
            within(&self.hands, ACT, self.hands.set_semi_sync(to, true)).await?;
        }
        self.promote(to).await?;
        // The rest delays nobody.
        self.standing.away = Some(from);
        Ok(())
    }

    /// Holds writes as soon as the standby is so little behind that it has everything within a moment. For one that does not keep
    /// up by itself they are held for most of the time until then, a moment each, and longer ones if that is not enough.
    async fn come_close(&mut self, from: ServerId, to: ServerId, deadline: Instant) -> Result<(), Trouble> {
        let mut moment = MOMENT;
        for round in 1.. {
            self.publish(true);
            let position = within(&self.hands, ACT, self.hands.position(from)).await?;
            if within(
                &self.hands,
                moment + ACT,
                self.hands.applied(to, &position, moment),
            )
            .await?
            {
                break;
            }
            if self.hands.now() >= deadline {
                let reached = within(&self.hands, ACT, self.hands.position(to))
                    .await
                    .unwrap_or_default();
                return Err(format!(
                    "{} did not catch up in time (failover.switchover_timeout, TIMEOUT n): it is at {reached}, not at {position}",
                    self.names[to.0]
                ));
            }
            if round % MOMENTS == 0 {
                moment *= 2;
            }
            // Long enough for what was held to go on, and for little more.
            self.publish(false);
            self.hands.sleep_until(self.hands.now() + BREATH).await;
        }
        Ok(())
    }

    /// An operator accepts that what the dead master acknowledged may be lost.
    async fn force(&mut self, from: ServerId, to: ServerId) -> Result<String, String> {
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
            Ok(()) => {
                let patience = self.rules.apply_timeout;
                let _ = within(
                    &self.hands,
                    patience + ACT,
                    self.hands.finish_applying(to, patience),
                )
                .await;
                let _ = within(&self.hands, ACT, self.hands.set_semi_sync(to, false)).await;
                self.promote(to).await
            }
            Err(trouble) => Err(trouble),
        };
        self.standing.away = Some(from);
        if promoted.is_err() {
            self.publish(false);
        }
        promoted.map(|()| format!("{name} is the active master, by force"))
    }

    fn record(
        &mut self,
        epoch: u64,
        active: Option<ServerId>,
        promoting: Option<ServerId>,
    ) -> Result<(), Trouble> {
        let entry = |epoch, active, promoting: Option<ServerId>| Entry {
            epoch,
            active,
            promoting,
            semi_sync: self.standing.semi_sync,
            needed: self.standing.needed.filter(|_| promoting.is_some()),
        };
        let before = entry(self.standing.epoch, self.standing.active, self.standing.promoting);
        let recorded = self.hands.record(&entry(epoch, active, promoting));
        if recorded.is_err() && self.hands.recorded() != Some(before) {
            self.standing.unrecorded = true;
            self.publish(false);
        }
        recorded?;
        self.standing.unrecorded = false;
        self.standing.epoch = epoch;
        self.standing.active = active;
        self.standing.promoting = promoting;
        Ok(())
    }

    /// Nobody is active while the journal says, or may say, something else.
    fn publish(&self, holding: bool) {
        let is_certain = self.standing.promoting.is_none() && !self.standing.unrecorded;
        self.hands.publish(Decided {
            active: self.standing.active.filter(|_| is_certain),
            opened: self.standing.opened,
            holding,
            given_up: self
                .standing
                .given_up
                .filter(|_| self.standing.given_up != self.standing.active),
        });
    }

    /// From now on nobody is active, and what the server still answers reaches nobody: it is not known of when the next one is
    /// asked whether it has everything.
    fn give_up(&mut self, server: ServerId) {
        self.standing.given_up = Some(server);
        self.hands.publish(Decided {
            given_up: Some(server),
            ..Decided::default()
        });
    }

    fn tell(&self, kind: Kind, server: ServerId, detail: impl fmt::Display, took: Option<Duration>) {
        self.hands.tell(Event {
            at: SystemTime::now(),
            kind,
            server: self.names[server.0].clone(),
            detail: detail.to_string(),
            took,
        });
    }

    fn tell_all(&self, kind: Kind, detail: &str) {
        self.hands.tell(Event {
            at: SystemTime::now(),
            kind,
            server: String::new(),
            detail: detail.to_owned(),
            took: None,
        });
    }
}

type Done = Result<(), (ServerId, Trouble)>;

fn other_of(server: ServerId, servers: usize) -> Option<ServerId> {
    (0..servers).map(ServerId).find(|&id| id != server)
}
