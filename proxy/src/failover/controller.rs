//! Looks, decides, acts, one thing after the other: the only task that changes who is the active master. [`care`] keeps the pair as
//! decided, [`promotion`] replaces a dead master, [`switchover`] a living one;
//! [`maintenance`] leaves a server to an operator.

mod care;
mod forgotten;
mod maintenance;
mod moments;
mod promotion;
mod switchover;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use self::moments::Moments;
use super::events::{Event, Kind};
use super::hands::{Hands, Trouble};
use super::journal::Entry;
use super::judge::{
    Intent, RETRY, Rules, Standing, Verdict, adopt, decide, is_whole, judge_active, obstacles, pair,
};
use super::{Request, send_if_new};
use crate::config::Config;
use crate::monitor::health::{Health, State};
use crate::topology::ServerId;
use crate::topology::derive::{Decided, Holding};

/// One statement to a server that answers.
const ACT: Duration = Duration::from_secs(3);

/// What fails in the same way again is told again after this time.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

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
    /// In which writes were held.
    moments: Moments,
    health: watch::Receiver<Vec<Health>>,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
    /// Where newer rules come from.
    newer: Option<watch::Receiver<Arc<Config>>>,
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
            drained: remembered.drained,
            paused: remembered.paused,
            blind: remembered.blind,
            fresh: remembered.fresh,
            exposed: remembered.exposed,
            // What was begun before the restart may have stopped a direction of the ring.
            away: remembered.active.and_then(|active| active.other(names.len())),
            ..Standing::default()
        };
        let controller = Self {
            hands,
            rules,
            names,
            standing,
            suspected: false,
            complained: None,
            moments: Moments::default(),
            health,
            requests,
            status,
            newer: None,
        };
        (controller, shown)
    }

    /// The active master that is remembered was seen alive by this process, before this began.
    pub fn having_seen(mut self) -> Self {
        self.standing.seen = true;
        self
    }

    /// From now on it goes by what the newest configuration says.
    pub fn following(mut self, newer: watch::Receiver<Arc<Config>>) -> Self {
        self.newer = Some(newer);
        self
    }

    fn follow(&mut self) {
        let Some(newer) = &mut self.newer else { return };
        if newer.has_changed().unwrap_or(false)
            && let Some(settings) = &newer.borrow_and_update().failover
        {
            self.rules = Rules::new(settings);
        }
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
                        self.follow();
                        // Who asked may have gone.
                        let _ = answer.send(self.command(command).await);
                        self.standing.acted = Some(self.hands.now());
                        self.hands.look();
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
        self.follow();
        // Remembered while it is there: it says what was acknowledged.
        self.hands.acknowledged();
        self.standing.stall = self.hands.stalled();
        self.standing.minute = self.hands.minute_of_day();
        let health = self.health.borrow_and_update().clone();
        self.look(&health);
        let intent = decide(&self.standing, &health, &self.rules, self.hands.now());
        self.show(&health, &intent);
        let done = match intent {
            Intent::Wait(until) => return until,
            Intent::Adopt(server) => self.adopt(server).await,
            Intent::Open(server) => self.open(server).await,
            Intent::Guard(server) => self.guard(server).await,
            Intent::Withdraw => self.withdraw().await,
            Intent::Settle => self.settle().await,
            Intent::Rejoin(server) => self.rejoin(server).await,
            Intent::GoAlone(server) => self.go_alone(server).await,
            Intent::Together(server) => self.go_together(server).await,
            Intent::Cover(standby) => self.cover(standby).await,
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
        if health[other.0].state == State::Down {
            self.standing.stopped = None;
        }
        match self.verdict(health) {
            None | Some(Verdict::Dead { .. }) => {}
            Some(Verdict::Alive) => {
                let answer = health[active.0].answer.as_ref();
                self.standing.seen |= answer.is_some_and(|answer| !answer.seen.read_only);
                self.standing.stopped = None;
                if std::mem::take(&mut self.suspected) {
                    self.tell(Kind::Recovered, active, "it answers again", None);
                }
            }
            Some(Verdict::Suspect { why, .. }) => {
                if self.standing.seen && !std::mem::replace(&mut self.suspected, true) {
                    self.tell(Kind::Suspected, active, why, None);
                }
                // Not only when the next probe is due.
                self.hands.look();
            }
        }
    }

    fn verdict(&self, health: &[Health]) -> Option<Verdict> {
        judge_active(&self.standing, health, &self.rules, self.hands.now())
    }

    fn show(&self, health: &[Health], intent: &Intent) {
        let name = |id: ServerId| self.names[id.0].clone();
        let pair = pair(&self.standing, health);
        let state = match intent {
            Intent::Wait(_) if self.standing.paused => "paused".to_owned(),
            Intent::Wait(_) => match self.verdict(health) {
                None => match adopt(health) {
                    Ok(_) => "no active master is known yet".to_owned(),
                    Err(why) => format!("no active master is known: {why}"),
                },
                Some(Verdict::Alive) => "the active master lives".to_owned(),
                Some(Verdict::Suspect { why, .. }) => format!("the active master is suspected: {why}"),
                Some(Verdict::Dead { why }) => format!("the active master is dead: {why}"),
            },
            Intent::Adopt(id) => format!("{} becomes active", name(*id)),
            Intent::Open(id) => format!("{} is made writable", name(*id)),
            Intent::Guard(id) => format!("{} is made read-only", name(*id)),
            Intent::Withdraw | Intent::Settle => "the journal is written".to_owned(),
            Intent::Rejoin(id) => format!("{} is let back in", name(*id)),
            Intent::GoAlone(id) => format!("{} is made to wait for nobody", name(*id)),
            Intent::Together(id) => format!("{} is made to wait for the standby", name(*id)),
            Intent::Cover(_) => "the active master lives".to_owned(),
            Intent::FailBack(id) => format!("{} becomes active again", name(*id)),
            Intent::FailOver { to, .. } => format!("{} is promoted", name(*to)),
        };
        let mut obstacles = obstacles(&self.standing, health, &self.rules, self.hands.now());
        if self.standing.semi_sync && self.standing.exposed && obstacles.is_empty() {
            obstacles.push(
                "the standby is not known to have all that was committed while it was away: a failover would be tried, and be refused if it \
                 has not"
                    .to_owned(),
            );
        }
        let status = Status {
            epoch: self.standing.epoch,
            active: self.standing.active.map(name),
            standby: pair.map(|(_, other)| name(other)),
            state,
            obstacles,
        };
        send_if_new(&self.status, status);
    }

    async fn record(
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
            drained: self.standing.drained,
            paused: self.standing.paused,
            blind: self.standing.blind,
            fresh: self.standing.fresh,
            exposed: self.standing.exposed,
        };
        let before = entry(self.standing.epoch, self.standing.active, self.standing.promoting);
        let next = entry(epoch, active, promoting);
        let recorded = self.hands.record(&next).await;
        // Where it is not about who is active, either may stand there.
        if recorded.is_err() && next != before && self.hands.recorded().await != Some(before) {
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
    fn publish(&mut self, holding: bool) {
        let moment = self.moments.note(holding, self.hands.now());
        self.publish_holding(moment.map(Holding::Moment));
    }

    /// The same, and each write that begins waits for so long.
    fn publish_paced(&mut self, pace: Duration) {
        self.moments.note(false, self.hands.now());
        self.publish_holding(Some(Holding::Paced(pace)));
    }

    fn publish_holding(&mut self, holding: Option<Holding>) {
        let is_certain = self.standing.promoting.is_none() && !self.standing.unrecorded;
        self.hands.publish(Decided {
            active: self.standing.active.filter(|_| is_certain),
            opened: self.standing.opened,
            holding,
            given_up: self
                .standing
                .given_up
                .filter(|_| self.standing.given_up != self.standing.active),
            drained: self.standing.drained,
        });
    }

    /// From now on nobody is active, and what the server still answers reaches nobody: it is not known of when the next one is
    /// asked whether it has everything.
    fn give_up(&mut self, server: ServerId) {
        self.standing.given_up = Some(server);
        self.hands.publish(Decided {
            given_up: Some(server),
            drained: self.standing.drained,
            ..Decided::default()
        });
    }

    fn tell(&self, kind: Kind, server: ServerId, detail: impl fmt::Display, took: Option<Duration>) {
        let server = self.names[server.0].clone();
        self.hands
            .tell(Event::of_now(kind, server, detail.to_string(), took));
    }

    fn tell_all(&self, kind: Kind, detail: &str) {
        self.hands
            .tell(Event::of_now(kind, String::new(), detail.to_owned(), None));
    }
}

type Done = Result<(), (ServerId, Trouble)>;
