//! Several Tandems in front of one pair (`[coordination]`): the one that has a lease in etcd decides.
//!
//! ```text
//!               wins the key that goes with its lease
//!     Follows ───────────────────────────────────────▶ Leads: a Controller, begun from what etcd has of the decision
//!      ▲  │ ◀─────────────────────────────────────────  │
//!      │  │      the key is another's, or Tandem stops  │ no word of etcd's for 4/5 of the lease
//!      │  └──────────────────────▶ CutOff ◀─────────────┘
//!      └── etcd is back ────────────┘
//! ```
//! - [`link`] keeps the lease and watches the keys ([`notes`]); [`role`] is the pure part; [`seat`] is what a leader decides with.
//! - Leading ends at once, in the middle of whatever is being done, as when Tandem is killed: the next leader carries it on or takes it
//!   back from the decision, which was in etcd before it took effect, as from the journal. Nobody records a decision whose leader's
//!   key is not the one that etcd has.
//! - Followers go by what the leader publishes. What only they know, namely what their clients were told of, they say under their
//!   own keys, and the leader waits for that before it promotes anybody ([`seat::Seat::told`]).
//! - Without etcd nobody decides, and the last decision holds ([`role::alone`]). One that could not be asked yet follows `read_only`.

mod link;
mod notes;
mod role;
mod seat;
mod tls;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use etcd_client::{Txn, TxnOp};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::controller::{Controller, Status};
use super::events::{Event, Events, Kind};
use super::hands::Acknowledged;
use super::journal::{Entry, Journal};
use super::judge::Rules;
use super::pulse::Pulse;
use super::sql::{Memory, Sql};
use super::{COMMANDS, Command, Request, TOO_MANY_COMMANDS, send_if_new};
use crate::config::{Config, Coordination, Failover};
use crate::monitor::Sources;
use crate::monitor::health::State;
use crate::topology::ServerId;
use crate::topology::derive::{Authority, Decided};
use link::{Leading, Link, Post, Sight, is_of, put_leased};
use notes::{Leader, Member};
use role::Role;
pub(super) use seat::Seat;
pub use tls::Error;

/// How long a Tandem that starts waits for etcd before it follows `read_only`.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// A worker that was passing on an answer when the server was given up has noted that by then.
const SETTLING: Duration = Duration::from_millis(20);

/// The topology follows a decision within this, or something is wrong with the monitor.
const TAKEN_IN: Duration = Duration::from_secs(1);

/// How often it is looked whether writes that were under way when they were held have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(2);

/// After a failed attempt to win the lease.
const CAMPAIGN_AGAIN: Duration = Duration::from_millis(500);

/// What `SHOW FAILOVER` shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub name: String,
    pub role: &'static str,
    pub leader: Option<String>,
    pub members: Vec<String>,
    pub etcd: String,
}

/// What others see of a running coordination.
#[derive(Clone, Debug)]
pub(super) struct View {
    name: String,
    post: Post,
}

impl View {
    pub(super) fn membership(&self) -> Membership {
        let sight = self.post.sight.borrow();
        let until = *self.post.until.borrow();
        let role = role::role(until, sight.leader_lease(), sight.lease, Instant::now());
        let member = |(lease, member): (&i64, &Member)| match Some(*lease) == sight.lease {
            true => format!("{} (this one)", member.name),
            false => member.name.clone(),
        };
        Membership {
            name: self.name.clone(),
            role: match role {
                Role::Leads => "leader: it decides",
                Role::Follows => "follower",
                Role::CutOff => "cut off from etcd: it decides nothing, and goes by the last decision",
            },
            leader: sight.leader.as_ref().map(|leading| leading.leader.name.clone()),
            members: sight.members.iter().map(member).collect(),
            etcd: match &sight.reached {
                Some(url) => format!("reached at {url}"),
                None => format!("not reached: {}", sight.trouble),
            },
        }
    }
}

/// Everything that following and leading need.
pub(super) struct Coordinator {
    config: Arc<Config>,
    settings: Coordination,
    failover: Failover,
    names: Vec<String>,
    post: Post,
    member: watch::Sender<Option<Member>>,
    /// Of a Tandem that may lead, and what it says.
    journal: Option<(Arc<Journal>, Entry)>,
    authority: watch::Sender<Authority>,
    sources: Sources,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Status>,
    events: Arc<Events>,
    stopping: watch::Receiver<bool>,
    leaving: oneshot::Receiver<()>,
    /// What was last gone by that came from etcd; `None`: nothing has.
    decided: Option<Decided>,
    /// See [`notes::Published::opened`], and when it changed.
    opened: (u64, Option<Instant>),
    /// The active master that was seen alive and writable, and in which epoch.
    seen: Option<(u64, ServerId)>,
    /// What was told of last: etcd is away; why this one can't decide.
    told_away: bool,
    told_barred: Option<String>,
    campaign_at: Instant,
}

/// The means with which a [`Coordinator`] is made.
pub(super) struct Means<'a> {
    pub(super) config: &'a Config,
    pub(super) settings: &'a Coordination,
    pub(super) failover: &'a Failover,
    pub(super) sources: Sources,
    pub(super) authority: watch::Sender<Authority>,
    pub(super) journal: Option<(Journal, Entry)>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) status: watch::Sender<Status>,
    pub(super) events: Arc<Events>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) leaving: oneshot::Receiver<()>,
}

/// Begins to follow, and to lead where that is allowed and won.
///
/// # Errors
/// When a file for TLS can't be read.
pub(super) fn start(means: Means<'_>) -> Result<(View, JoinHandle<()>), Error> {
    let Means { config, settings, .. } = means;
    let names = config.server_names();
    let (member, said) = watch::channel(None);
    let (link, post) = Link::new(settings, &names, said)?;
    let view = View {
        name: settings.name.clone(),
        post: post.clone(),
    };
    let coordinator = Coordinator {
        config: Arc::new(config.clone()),
        settings: settings.clone(),
        failover: means.failover.clone(),
        names,
        post,
        member,
        journal: means.journal.map(|(journal, entry)| (Arc::new(journal), entry)),
        authority: means.authority,
        sources: means.sources,
        requests: means.requests,
        status: means.status,
        events: means.events,
        stopping: means.stopping,
        leaving: means.leaving,
        decided: None,
        opened: (0, None),
        seen: None,
        told_away: false,
        told_barred: None,
        campaign_at: Instant::now(),
    };
    let task = tokio::spawn(async move {
        tokio::select! {
            () = link.run() => {}
            () = coordinator.run() => {}
        }
    });
    Ok((view, task))
}

/// Why following or leading has ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The role may be another one.
    Look,
    /// Tandem has stopped.
    Leave,
}

impl Coordinator {
    async fn run(mut self) {
        let first = self.post.sight.clone();
        let mut first = pin!(first);
        let reached = first.wait_for(|sight| sight.reached.is_some());
        if tokio::time::timeout(FIRST_LOOK, reached).await.is_err() {
            self.goes_by(Authority::Servers);
        }
        loop {
            let next = match self.role() {
                Role::Leads if !*self.stopping.borrow() => self.lead().await,
                _ => self.follow().await,
            };
            if next == Next::Leave {
                break;
            }
        }
        let lease = self.post.sight.borrow().lease;
        if let Some(lease) = lease {
            // If it fails, the lease ends by itself.
            let _ = self.post.revoke(lease).await;
        }
    }

    fn role(&self) -> Role {
        let sight = self.post.sight.borrow();
        role::role(
            *self.post.until.borrow(),
            sight.leader_lease(),
            sight.lease,
            Instant::now(),
        )
    }

    fn goes_by(&self, authority: Authority) {
        if send_if_new(&self.authority, authority) {
            self.sources.signals.look();
        }
    }

    fn tell(&self, kind: Kind, detail: impl Into<String>) {
        self.events
            .add(Event::of_now(kind, String::new(), detail.into(), None));
    }
}

// Following.
impl Coordinator {
    /// Until this Tandem leads.
    async fn follow(&mut self) -> Next {
        let mut drains = false;
        loop {
            let role = self.role();
            if role == Role::Leads && !*self.stopping.borrow() {
                return Next::Look;
            }
            let sight = self.post.sight.borrow_and_update().clone();
            self.note_seen(sight.decision.as_ref().map(|(entry, _)| entry));
            match role {
                Role::CutOff => self.go_on_alone(),
                Role::Leads | Role::Follows => drains = self.take_in(&sight).await,
            }
            self.show(role, &sight);
            if role == Role::Follows && sight.reached.is_some() && sight.leader.is_none() {
                self.campaign(&sight).await;
            }
            if role == Role::Leads {
                self.resign(&sight).await;
            }
            let until = *self.post.until.borrow_and_update();
            let alarm = async {
                let campaign = (sight.leader.is_none() && role == Role::Follows).then_some(self.campaign_at);
                let drain = drains.then(|| Instant::now() + DRAIN_LOOK);
                let at = [until.filter(|_| role != Role::CutOff), campaign, drain];
                match at.into_iter().flatten().min() {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut self.leaving => return Next::Leave,
                _ = self.post.sight.changed() => {}
                _ = self.post.until.changed() => {}
                changed = self.sources.health.changed() => if changed.is_err() { return Next::Leave },
                request = self.requests.recv() => match request {
                    Some((command, answer)) => {
                        // Who asked may have gone.
                        let _ = answer.send(Err(self.refusal(role, &command)));
                    }
                    None => return Next::Leave,
                },
                () = alarm => {}
            }
        }
    }

    /// What this process has seen of the active master while another Tandem decided counts when this one does.
    fn note_seen(&mut self, decision: Option<&Entry>) {
        let Some(entry) = decision else { return };
        let Some(active) = entry.active else { return };
        let health = self.sources.health.borrow_and_update();
        let is_alive = health.get(active.0).is_some_and(|health| {
            let answer = health.answer.as_ref();
            health.state == State::Up
                && health.failure.is_none()
                && answer.is_some_and(|answer| !answer.seen.read_only)
        });
        if is_alive {
            self.seen = Some((entry.epoch, active));
        }
    }

    /// Goes by what etcd says; true if writes are held here and some are still under way.
    async fn take_in(&mut self, sight: &Sight) -> bool {
        if std::mem::take(&mut self.told_away) {
            self.tell(Kind::EtcdBack, "etcd is reached again");
        }
        let Some((entry, _)) = &sight.decision else {
            self.decided = None;
            self.goes_by(Authority::Servers);
            self.say(sight).await;
            return false;
        };
        self.copy(entry);
        let published = sight.published.as_ref().map(|(published, _)| published);
        if let Some(published) = published
            && published.opened != self.opened.0
        {
            self.opened = (published.opened, (published.opened > 0).then(Instant::now));
        }
        let before = self.decided.unwrap_or_default();
        let decided = role::decided(entry, published, self.opened.1, &before);
        self.decided = Some(decided);
        self.goes_by(Authority::Tandem(decided));
        self.say(sight).await;
        let member = self.member.borrow();
        decided.holding.is_some() && member.as_ref().is_some_and(|member| member.writing)
    }

    /// Confirms to the leader what is gone by, once that is so.
    async fn say(&mut self, sight: &Sight) {
        let seen = sight.published.as_ref().map_or(0, |(_, revision)| *revision);
        let before = self.member.borrow().as_ref().map_or(-1, |member| member.seen);
        let decided = self.decided.unwrap_or_default();
        if seen > before {
            self.taken_in(&decided).await;
            if decided.given_up.is_some() && decided.active.is_none() {
                tokio::time::sleep(SETTLING).await;
            }
        }
        let topology = self.sources.topology.load();
        let mark = topology.last_mark();
        let member = Member {
            name: self.settings.name.clone(),
            seen: seen.max(before),
            writing: decided.holding.is_some() && mark.is_some_and(|mark| mark.ledger().is_writing()),
            // Only when it matters: it changes with each commit.
            told: match decided.active {
                None => mark.map(|mark| Acknowledged::of(mark)),
                Some(_) => None,
            },
            epoch: self.journal.as_ref().map_or(0, |(_, entry)| entry.epoch),
        };
        send_if_new(&self.member, Some(member));
    }

    /// Waits until the sessions' picture shows it.
    async fn taken_in(&self, decided: &Decided) {
        let shown = async {
            loop {
                let mut published = pin!(self.sources.signals.published());
                published.as_mut().enable();
                let topology = self.sources.topology.load();
                if topology.holding == decided.holding && topology.given_up == decided.given_up {
                    return;
                }
                drop(topology);
                published.await;
            }
        };
        let _ = tokio::time::timeout(TAKEN_IN, shown).await;
    }

    /// Keeps the journal as new as etcd, for the day on which that has lost it.
    fn copy(&mut self, entry: &Entry) {
        let Some((journal, known)) = &mut self.journal else {
            return;
        };
        if known == entry || known.epoch > entry.epoch {
            return;
        }
        match journal.record(entry) {
            Ok(()) => *known = entry.clone(),
            Err(error) => {
                tracing::warn!(
                    "the journal (failover.journal), a copy of what etcd has, can't be written: {error}"
                );
            }
        }
    }

    fn go_on_alone(&mut self) {
        let Some(decided) = self.decided else {
            return self.goes_by(Authority::Servers);
        };
        if !std::mem::replace(&mut self.told_away, true) {
            let trouble = self.post.sight.borrow().trouble.clone();
            self.tell(
                Kind::EtcdLost,
                format!("no failover until it is back; traffic goes on by the last decision ({trouble})"),
            );
        }
        let decided = role::alone(&decided, &self.sources.health.borrow_and_update());
        self.goes_by(Authority::Tandem(decided));
    }

    fn refusal(&self, role: Role, command: &Command) -> String {
        if *self.stopping.borrow() {
            return "Tandem is stopping".to_owned();
        }
        let sight = self.post.sight.borrow();
        let what = match command {
            Command::Switchover { .. } => "no switchover",
            _ => "nothing was changed",
        };
        match &sight.leader {
            _ if role == Role::CutOff => format!(
                "{what}: etcd is not reached ({}), and without it nobody decides",
                sight.trouble
            ),
            Some(Leading { leader, .. }) => format!(
                "{what}: {} decides, ask it there (its admin port is {})",
                leader.name, leader.admin
            ),
            None => format!("{what}: nobody has the lease in etcd now; try again in a moment"),
        }
    }

    /// What `SHOW FAILOVER` shows of one that does not decide.
    fn show(&self, role: Role, sight: &Sight) {
        let decision = sight.decision.as_ref().map(|(entry, _)| entry);
        let name = |id: ServerId| self.names[id.0].clone();
        let active = self.decided.and_then(|decided| decided.active);
        let leader = sight.leader.as_ref().map(|leading| &leading.leader);
        let (state, obstacle) = match (role, leader) {
            (Role::CutOff, _) => (
                "etcd is not reached: the last decision holds".to_owned(),
                format!(
                    "etcd is not reached, and without it nobody decides: {}",
                    sight.trouble
                ),
            ),
            (_, Some(leader)) => (
                format!("follows {}", leader.name),
                format!(
                    "{} decides; its own SHOW FAILOVER tells (admin port {})",
                    leader.name, leader.admin
                ),
            ),
            (_, None) => {
                let barred = self.told_barred.clone();
                let why = barred.unwrap_or_else(|| "nobody has the lease in etcd now".to_owned());
                ("follows the last decision".to_owned(), why)
            }
        };
        let status = Status {
            epoch: decision.map_or(0, |entry| entry.epoch),
            active: active.map(name),
            standby: active.and_then(|active| active.other(self.names.len())).map(name),
            state,
            obstacles: vec![obstacle],
        };
        send_if_new(&self.status, status);
    }

    /// Tries to win the lease's key, where this Tandem may decide.
    async fn campaign(&mut self, sight: &Sight) {
        let (Some((_, own)), Some(lease)) = (&self.journal, sight.lease) else {
            return;
        };
        let now = Instant::now();
        if *self.stopping.borrow() || now < self.campaign_at {
            return;
        }
        self.campaign_at = now + CAMPAIGN_AGAIN;
        let members: Vec<u64> = sight.members.values().map(|member| member.epoch).collect();
        let decision = sight.decision.as_ref().map(|(entry, _)| entry);
        let unreadable = sight.unreadable.iter().next();
        let may = match unreadable {
            Some((key, problem)) => Err(format!("the key {key} in etcd can't be understood: {problem}")),
            None => role::candidacy(decision, own.epoch, &members),
        };
        if let Err(why) = may {
            if self.told_barred.as_ref() != Some(&why) {
                self.tell(Kind::Failed, why.clone());
                self.told_barred = Some(why);
            }
            return;
        }
        self.told_barred = None;
        let leader = Leader {
            name: self.settings.name.clone(),
            admin: self.config.admin.address.to_string(),
        };
        let keys = &self.post.keys;
        let txn = Txn::new().when([is_of(&keys.leader, 0)]).and_then([put_leased(
            &keys.leader,
            leader.to_text(),
            lease,
        )]);
        // Whoever has won, the watch tells.
        if let Err(trouble) = self.post.transact(txn).await {
            tracing::debug!(trouble, "not won");
        }
    }

    /// Gives the right to decide back: this Tandem stops.
    async fn resign(&mut self, sight: &Sight) {
        let Some(leading) = &sight.leader else { return };
        let keys = &self.post.keys;
        let txn = Txn::new()
            .when([is_of(&keys.leader, leading.created)])
            .and_then([TxnOp::delete(keys.leader.as_str(), None)]);
        if let Err(trouble) = self.post.transact(txn).await {
            tracing::debug!(trouble, "not resigned");
        }
    }
}

// Leading.
impl Coordinator {
    /// As long as the lease is trusted and the leader's key is ours.
    async fn lead(&mut self) -> Next {
        let sight = self.post.sight.borrow().clone();
        let (Some(leading), Some((journal, own))) = (sight.leader.clone(), self.journal.clone()) else {
            return Next::Look;
        };
        // The watch tells all in order: what others have recorded before is in it, and nobody can since.
        let (remembered, revision) = sight.decision.clone().unwrap_or((own, 0));
        self.tell(
            Kind::LeaseWon,
            format!(
                "{} decides from now on, from epoch {}",
                self.settings.name, remembered.epoch
            ),
        );
        let seat = Arc::new(Seat::new(
            self.post.clone(),
            self.names.clone(),
            (leading.lease, leading.created),
            self.settings.lease,
            (revision, remembered.covers()),
            journal,
        ));
        let why = tokio::select! {
            biased;
            why = self.post.clone().ends(&leading) => why,
            next = self.decide(&seat, &remembered) => match next {
                Next::Leave => return Next::Leave,
                Next::Look => "Tandem stops".to_owned(),
            },
        };
        self.tell(
            Kind::LeaseLost,
            format!("{} decides no more: {why}", self.settings.name),
        );
        // Gone on from: what was published last, by this one.
        if let Authority::Tandem(decided) = *self.authority.borrow() {
            self.decided = Some(decided);
        }
        Next::Look
    }

    async fn decide(&mut self, seat: &Arc<Seat>, remembered: &Entry) -> Next {
        let memory = Memory::Shared(Arc::clone(seat));
        let (pulse, stall) = Pulse::new(&self.sources);
        let hands = Sql::new(
            &self.sources,
            self.authority.clone(),
            memory,
            Arc::clone(&self.events),
            stall,
        );
        let (commands, taken) = mpsc::channel(COMMANDS);
        let rules = Rules::new(&self.failover);
        let (controller, mut shown) = Controller::new(
            hands,
            rules,
            self.names.clone(),
            remembered,
            self.sources.health.clone(),
            taken,
        );
        // What the leader before has acknowledged, if it is dead, is on the standby only where that is recorded.
        let has_seen = remembered.covers()
            && remembered
                .active
                .is_some_and(|active| self.seen == Some((remembered.epoch, active)));
        let controller = match has_seen {
            true => controller.having_seen(),
            false => controller,
        };
        let controller = controller.following(self.sources.newer.clone());
        let until = self.post.until.clone();
        let mut deciding = pin!(controller.run());
        // Looked at before each step too: the timer may come late when the process was stopped.
        let mut deciding = poll_fn(move |cx| match *until.borrow() {
            Some(until) if Instant::now() < until => deciding.as_mut().poll(cx),
            _ => Poll::Pending,
        });
        let mut publishing = pin!(seat.keep_published());
        let mut watching = pin!(pulse.run());
        let mut stopping = self.stopping.clone();
        let mut stopped = pin!(async move {
            let _ = stopping.wait_for(|stop| *stop).await;
        });
        loop {
            tokio::select! {
                biased;
                _ = &mut self.leaving => return Next::Leave,
                () = &mut stopped => return Next::Look,
                () = &mut publishing => {}
                () = &mut watching => {}
                () = &mut deciding => return Next::Leave,
                _ = shown.changed() => {
                    let status = shown.borrow_and_update().clone();
                    self.status.send_replace(status);
                }
                _ = self.sources.health.changed() => {
                    let decision = self.post.sight.borrow().decision.clone();
                    self.note_seen(decision.as_ref().map(|(entry, _)| entry));
                }
                request = self.requests.recv() => match request {
                    Some((command, answer)) => {
                        if let Err(refused) = commands.try_send((command, answer)) {
                            let (_, answer) = refused.into_inner();
                            let _ = answer.send(Err(TOO_MANY_COMMANDS.to_owned()));
                        }
                    }
                    None => return Next::Leave,
                },
            }
        }
    }
}

impl Post {
    /// Ready when this leadership is over, with the reason.
    async fn ends(mut self, leading: &Leading) -> String {
        loop {
            let until = *self.until.borrow_and_update();
            let Some(until) = until.filter(|&until| Instant::now() < until) else {
                let trouble = self.sight.borrow().trouble.clone();
                return format!(
                    "etcd has not been reached for so long that the lease may have ended ({trouble})"
                );
            };
            let is_ours = {
                let sight = self.sight.borrow_and_update();
                let same = |known: &Leading| known.created == leading.created && known.lease == leading.lease;
                sight.leader.as_ref().is_some_and(same)
            };
            if !is_ours {
                return "the key in etcd is gone, or another's".to_owned();
            }
            tokio::select! {
                _ = self.sight.changed() => {}
                _ = self.until.changed() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }
}
