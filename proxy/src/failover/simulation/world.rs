//! The two servers, the network between them and Tandem, Tandem's probes and clients: events in the order of a virtual clock.

mod probes;
mod replication;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::dice::Dice;
use super::faults::Fault;
use super::server::{Process, Server};
use crate::failover::journal::Entry;
use crate::failover::pulse::{Awaits, Stall};
use crate::monitor::health::{Health, History, State};
use crate::monitor::observation::Seen;
use crate::topology::derive::{Decided, Holding, is_open};
use crate::topology::gtid::{Gtid, Position, Stream};
use crate::topology::reports::Reports;
use crate::topology::{Flavor, ServerId, Version};

/// Microseconds since the beginning.
pub(super) type Time = u64;
pub(super) const MS: Time = 1000;
pub(super) const SECOND: Time = 1000 * MS;

/// Beside the servers 0 and 1, in the network.
const PROXY: usize = 2;

pub(super) const CLIENTS: usize = 3;
const PROBE_INTERVAL: Time = 250 * MS;
const PROBE_TIMEOUT: Time = SECOND;
const PROBE_GAP: Time = 20 * MS;
const CONNECT_RETRY: Time = SECOND;
const LOCK_WAIT: Time = 2 * SECOND;
/// What could not be delivered is sent again after this time, then after twice that and so on, so often.
const RESEND: Time = 200 * MS;
const RESENDS: u32 = 7;

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// Reaches its server, or comes back.
    Request(usize),
    Reply(usize),
    Probe(usize, u64),
    ProbeTimeout(usize),
    Client(usize),
    /// The next commit of a connection reaches the receiver with this number.
    Arrive(usize, u64),
    /// A source learns that the other has received its commits up to a number.
    Ack(usize, u64, u64),
    Tick(usize, u64),
    Connect(usize, u64),
    Apply(usize, u64),
    LockTimeout(usize),
    SemiSyncTimeout(usize, u64, u64),
    /// The controller may have something to do.
    Stir,
    Fault(usize),
    FaultEnds(usize),
    StartProxy,
    Calm,
    StopClients,
    Check,
}

impl Event {
    /// It happens in Tandem's process.
    fn concerns_tandem(self) -> bool {
        matches!(
            self,
            Self::Reply(_) | Self::Probe(..) | Self::ProbeTimeout(_) | Self::Client(_) | Self::Stir
        )
    }
}

/// What a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Probe,
    Write(u32),
    ReadOnly(bool),
    EndSessions,
    IsReadOnly,
    SemiSync,
    SetSemiSync(bool),
    StopReceiving,
    Replicate,
    StartApplying,
    StopApplying,
    Position,
    Link,
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Refused,
    Lost,
    Trouble(&'static str),
    Done,
    IsReadOnly(bool),
    SemiSync(Option<bool>),
    Position([u64; 2]),
    Link { applies: bool, drained: bool },
    Seen(Box<Seen>),
    Committed(u64),
}

pub(super) struct Call {
    begun: Time,
    server: usize,
    ask: Ask,
    by: By,
    attempts: u32,
    answer: Option<Answer>,
    /// It has come back.
    pub(super) done: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Controller,
    Probe { life: u64, asked_at: Time },
    Client(usize),
}

/// What one schedule is about.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) semi_sync: bool,
    /// Then semi-sync replication gives up.
    pub(super) semi_sync_timeout: Option<Time>,
    /// Replication begins with the server.
    pub(super) starts_replication: bool,
    /// A crash takes commits from a server that the other had acknowledged: MariaDB with `init_rpl_role=SLAVE`. Not those that the
    /// other has received and not applied, since that forgets them too if it crashes at the same time.
    pub(super) forgets: bool,
    /// A probe sees commits before they are acknowledged, as on MariaDB.
    pub(super) sees_unacknowledged: bool,
    pub(super) heartbeat: Time,
    pub(super) net_timeout: Time,
    /// In percent of what the controller does.
    pub(super) kill: u64,
}

#[derive(Debug, Default)]
pub(super) struct Prober {
    call: Option<usize>,
    ended: Time,
    woken: bool,
    /// Of the event that asks next; an older one does nothing.
    due: Time,
}

/// Tandem, without its controller.
#[derive(Default)]
pub(super) struct Proxy {
    pub(super) up: bool,
    pub(super) life: u64,
    pub(super) histories: [History; 2],
    pub(super) decided: Decided,
    pub(super) health: Option<watch::Sender<Vec<Health>>>,
    pub(super) probers: [Prober; 2],
    /// The last active master, and the newest of its commits that clients were told of.
    pub(super) mark: Option<(usize, u64)>,
    pub(super) active: Option<usize>,
    pub(super) last_turn: Time,
}

pub(super) struct World {
    pub(super) now: Time,
    begun: Instant,
    order: u64,
    events: BTreeMap<(Time, u64), Event>,
    pub(super) dice: Dice,
    pub(super) setup: Setup,
    pub(super) servers: [Server; 2],
    pub(super) cut: [[bool; 3]; 3],
    pub(super) slow: [[Time; 3]; 3],
    pub(super) slow_applier: [Time; 2],
    pub(super) calls: Vec<Call>,
    pub(super) proxy: Proxy,
    pub(super) journal: Entry,
    pub(super) journal_broken: bool,
    /// So many times the other Tandems will not say in time what their clients were told of.
    pub(super) mute: u32,
    /// Of each client, the call that it waits for.
    clients: [Option<usize>; CLIENTS],
    clients_stopped: bool,
    writes: u32,
    /// Writes that clients were told of, and where.
    pub(super) acknowledged: Vec<u32>,
    era: (u64, Option<usize>),
    /// An operator has accepted losses.
    pub(super) forced: bool,
    pub(super) calm: bool,
    pub(super) stirred: bool,
    /// Tandem is to be killed now.
    pub(super) killed: bool,
    /// What has come while Tandem stands still.
    pub(super) frozen: Option<Vec<Event>>,
    pub(super) quarantined: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) failovers: u32,
    pub(super) violation: Option<String>,
    pub(super) trace: Option<Vec<String>>,
    version: Version,
    reports: Arc<Reports>,
}

impl World {
    pub(super) fn new(mut dice: Dice, setup: Setup, trace: bool) -> Self {
        let first = dice.below(3);
        let servers = [0, 1].map(|index| Server::new(first != index, setup.semi_sync));
        let mut world = Self {
            now: 0,
            begun: Instant::now() + Duration::from_secs(3600),
            order: 0,
            events: BTreeMap::new(),
            dice,
            setup,
            servers,
            cut: [[false; 3]; 3],
            slow: [[0; 3]; 3],
            slow_applier: [0; 2],
            calls: Vec::new(),
            proxy: Proxy::default(),
            journal: Entry::default(),
            journal_broken: false,
            mute: 0,
            clients: [None; CLIENTS],
            clients_stopped: false,
            writes: 0,
            acknowledged: Vec::new(),
            era: (0, None),
            forced: false,
            calm: false,
            stirred: false,
            killed: false,
            frozen: None,
            quarantined: false,
            faults: Vec::new(),
            failovers: 0,
            violation: None,
            trace: trace.then(Vec::new),
            version: Version {
                flavor: Flavor::MariaDb,
                number: 101_114,
                text: "10.11.14-MariaDB".into(),
            },
            reports: Arc::new(Reports::built_in(Flavor::MariaDb)),
        };
        for server in 0..2 {
            world.after(MS, Event::Connect(server, 0));
        }
        for client in 0..CLIENTS {
            world.after(SECOND, Event::Client(client));
        }
        world
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let (seconds, micros) = (self.now / SECOND, self.now % SECOND);
            trace.push(format!("{seconds:>3}.{micros:06}  {}", what()));
        }
    }

    pub(super) fn violated(&mut self, what: impl fmt::Display) {
        self.note(|| format!("VIOLATED: {what}"));
        self.violation.get_or_insert_with(|| what.to_string());
    }

    pub(super) fn after(&mut self, delay: Time, event: Event) {
        self.order += 1;
        self.events.insert((self.now + delay, self.order), event);
    }

    pub(super) fn at(&self, time: Time) -> Instant {
        self.begun + Duration::from_micros(time)
    }

    pub(super) fn time(&self, at: Instant) -> Time {
        let since = at.saturating_duration_since(self.begun);
        u64::try_from(since.as_micros()).unwrap_or(Time::MAX)
    }

    /// The next event, with the clock put forward to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }

    fn latency(&mut self, from: usize, to: usize) -> Time {
        self.dice.between(100, 600) + self.slow[from][to]
    }

    pub(super) fn handle(&mut self, event: Event) {
        if let Some(waiting) = &mut self.frozen
            && event.concerns_tandem()
        {
            return waiting.push(event);
        }
        match event {
            Event::Request(call) => self.deliver(call),
            Event::Reply(call) => self.come_back(call),
            Event::Probe(server, life) => self.probe(server, life),
            Event::ProbeTimeout(call) => self.probe_timeout(call),
            Event::Client(client) => self.client(client),
            Event::Arrive(to, id) => self.arrive(to, id),
            Event::Ack(source, life, number) => self.ack(source, life, number),
            Event::Tick(to, id) => self.tick(to, id),
            Event::Connect(server, life) => self.connect(server, life),
            Event::Apply(server, life) => self.apply(server, life),
            Event::LockTimeout(call) => self.lock_timeout(call),
            Event::SemiSyncTimeout(server, life, number) => self.semi_sync_timeout(server, life, number),
            Event::Stir => self.stirred = true,
            Event::StopClients => self.clients_stopped = true,
            Event::Fault(index) => self.begin(index),
            Event::FaultEnds(index) => self.end(index),
            Event::Calm => self.calm_down(),
            Event::StartProxy | Event::Check => {}
        }
    }

    pub(super) fn freeze(&mut self) {
        self.frozen.get_or_insert_default();
    }

    /// A probe of several questions may be over before the second is asked: the limit may come before the answer.
    pub(super) fn thaw(&mut self) {
        let Some(waiting) = self.frozen.take() else {
            return;
        };
        let timeouts_first = self.dice.percent(50);
        let is_timeout = |event: &Event| matches!(event, Event::ProbeTimeout(_));
        let (timeouts, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_timeout);
        let (first, second) = match timeouts_first {
            true => (timeouts, others),
            false => (others, timeouts),
        };
        for event in first.into_iter().chain(second) {
            match event {
                Event::Probe(server, life) if life == self.proxy.life => self.probe_at(server, self.now),
                Event::Probe(..) => {}
                event => self.handle(event),
            }
        }
        self.stirred = true;
    }

    // Calls: from Tandem to a server and back.

    pub(super) fn call(&mut self, server: usize, ask: Ask) -> usize {
        self.note(|| format!("tandem → {}: {ask:?}", name(server)));
        self.send(server, ask, By::Controller)
    }

    fn send(&mut self, server: usize, ask: Ask, by: By) -> usize {
        let index = self.calls.len();
        self.calls.push(Call {
            begun: self.now,
            server,
            ask,
            by,
            attempts: 0,
            answer: None,
            done: None,
        });
        let delay = self.latency(PROXY, server);
        self.after(delay, Event::Request(index));
        index
    }

    /// Sent again later, as TCP does it; false when it gives up.
    fn resend(&mut self, call: usize, event: Event) -> bool {
        let attempts = self.calls[call].attempts;
        self.calls[call].attempts += 1;
        if attempts < RESENDS {
            self.after(RESEND << attempts, event);
        }
        attempts < RESENDS
    }

    fn deliver(&mut self, call: usize) {
        let server = self.calls[call].server;
        if self.cut[PROXY][server] {
            if !self.resend(call, Event::Request(call)) {
                self.calls[call].answer = Some(Answer::Lost);
                self.settle(call);
            }
            return;
        }
        self.calls[call].attempts = 0;
        match self.servers[server].process {
            Process::Dead => self.answer(call, Answer::Refused),
            Process::Hung => self.servers[server].inbox.push(call),
            Process::Running => self.execute(call),
        }
    }

    fn answer(&mut self, call: usize, answer: Answer) {
        let server = self.calls[call].server;
        self.calls[call].answer = Some(answer);
        let delay = self.latency(server, PROXY);
        self.after(delay, Event::Reply(call));
    }

    fn come_back(&mut self, call: usize) {
        let server = self.calls[call].server;
        if self.cut[server][PROXY] {
            if !self.resend(call, Event::Reply(call)) {
                self.calls[call].answer = Some(Answer::Lost);
                self.settle(call);
            }
            return;
        }
        self.settle(call);
    }

    /// The answer is here.
    fn settle(&mut self, call: usize) {
        let Some(answer) = self.calls[call].answer.take() else {
            return;
        };
        match self.calls[call].by {
            By::Controller => {
                self.calls[call].done = Some(answer);
                self.stirred = true;
            }
            By::Probe { life, asked_at } => self.probed(call, life, asked_at, answer),
            By::Client(client) => self.told(client, call, &answer),
        }
    }

    fn execute(&mut self, call: usize) {
        let (index, ask) = (self.calls[call].server, self.calls[call].ask);
        let visible = self.setup.sees_unacknowledged;
        let server = &mut self.servers[index];
        let answer = match ask {
            Ask::Probe => Answer::Seen(Box::new(self.seen(index, visible))),
            Ask::Write(write) => return self.commit(call, write),
            Ask::ReadOnly(true) if !server.waiting.is_empty() => {
                server.closing.push(call);
                return self.after(LOCK_WAIT, Event::LockTimeout(call));
            }
            Ask::ReadOnly(on) => {
                server.read_only = on;
                Answer::Done
            }
            Ask::EndSessions => {
                for (_, broken) in std::mem::take(&mut server.waiting) {
                    self.answer(broken, Answer::Lost);
                }
                Answer::Done
            }
            Ask::IsReadOnly => Answer::IsReadOnly(server.read_only),
            Ask::SemiSync => Answer::SemiSync(server.semi_sync),
            Ask::SetSemiSync(on) => {
                server.semi_sync = server.semi_sync.map(|_| on);
                if !on {
                    self.release(index, u64::MAX);
                }
                Answer::Done
            }
            Ask::StopReceiving => {
                server.receiver = false;
                server.connection = None;
                Answer::Done
            }
            Ask::Replicate => {
                (server.receiver, server.refused, server.applier) = (true, false, true);
                let life = server.life;
                self.after(MS, Event::Connect(index, life));
                self.start_applying(index);
                Answer::Done
            }
            Ask::StartApplying => {
                server.applier = true;
                self.start_applying(index);
                Answer::Done
            }
            Ask::StopApplying => {
                server.applier = false;
                Answer::Done
            }
            Ask::Position => Answer::Position(server.executed),
            Ask::Link => Answer::Link {
                applies: server.applier,
                drained: server.relay.is_empty(),
            },
        };
        self.answer(call, answer);
        self.close_if_quiet(index);
    }

    fn close_if_quiet(&mut self, index: usize) {
        if self.servers[index].waiting.is_empty() {
            for call in std::mem::take(&mut self.servers[index].closing) {
                self.servers[index].read_only = true;
                self.answer(call, Answer::Done);
            }
        }
    }

    fn lock_timeout(&mut self, call: usize) {
        let server = &mut self.servers[self.calls[call].server];
        if server.closing.contains(&call) {
            server.closing.retain(|&other| other != call);
            self.answer(call, Answer::Trouble("Lock wait timeout exceeded (1205)"));
        }
    }

    // Tandem's topology and its clients.

    pub(super) fn publish(&mut self, decided: Decided) {
        self.note(|| format!("published: {decided:?}"));
        self.proxy.decided = decided;
        if let Some(ServerId(active)) = decided.active {
            if self.journal.active != Some(ServerId(active)) {
                self.violated(format!("{} is published and not in the journal", name(active)));
            }
            if self.era.1.is_some_and(|before| before != active) {
                self.check_change(active);
            }
            if self.era.1 != Some(active) {
                self.era = (self.era.0 + 1, Some(active));
            }
        }
        self.derive();
        self.look();
    }

    /// An operator's command has come to an end, or Tandem has. What it has decided may be published by the next Tandem only.
    pub(super) fn answered(&mut self, forces: bool) {
        let is_published = self.journal.active.map(|active| active.0) == self.era.1;
        self.forced &= !(forces && is_published);
    }

    /// The active master is another one.
    fn check_change(&mut self, active: usize) {
        self.failovers += 1;
        if !self.servers[active].relay.is_empty() && !self.forced {
            self.violated(format!(
                "{} is promoted and has not applied all it has received",
                name(active)
            ));
        }
        self.check_acknowledged(active);
    }

    pub(super) fn check_acknowledged(&mut self, active: usize) {
        let lost = self.strike_out(&[active]);
        if lost > 0 && !self.forced {
            self.violated(format!("{lost} acknowledged writes are not on {}", name(active)));
        }
    }

    /// Of the acknowledged writes those that none of these servers has; how many they are.
    fn strike_out(&mut self, servers: &[usize]) -> usize {
        let mut known = vec![false; self.writes as usize + 1];
        for commit in servers.iter().flat_map(|&index| &self.servers[index].log) {
            known[commit.write as usize] = true;
        }
        let all = self.acknowledged.len();
        self.acknowledged.retain(|&write| known[write as usize]);
        all - self.acknowledged.len()
    }

    /// Whether a number stands for the same commit on both, where both have it.
    pub(super) fn agree(&self) -> bool {
        let commits = |server: &Server| -> BTreeMap<(usize, u64), u32> {
            let commits = server.log.iter();
            commits
                .map(|commit| ((commit.origin, commit.number), commit.write))
                .collect()
        };
        let [a, b] = &self.servers;
        let theirs = commits(b);
        commits(a)
            .iter()
            .all(|(number, write)| theirs.get(number).is_none_or(|other| other == write))
    }

    /// Who is the active master for clients.
    pub(super) fn active(&self) -> Option<usize> {
        let decided = &self.proxy.decided;
        let open = |&id: &ServerId| is_open(id, &self.proxy.histories, decided.opened);
        decided.active.filter(open).map(|id| id.0)
    }

    fn derive(&mut self) {
        let active = self.active();
        if active != self.proxy.active {
            self.proxy.active = active;
            // A mark begins with what its server has.
            if let Some(index) = active
                && let Some(answer) = self.proxy.histories[index].last()
            {
                let floor = answer.seen.position.newest(&stream(index));
                let known = self.proxy.mark.filter(|&(server, _)| server == index);
                self.proxy.mark = Some((index, floor.max(known.map_or(0, |(_, number)| number))));
            }
        }
        for client in 0..CLIENTS {
            let Some(call) = self.clients[client] else {
                continue;
            };
            let server = self.calls[call].server;
            let is_down = self.proxy.histories[server].state() == State::Down;
            if active.is_some_and(|active| active != server) && is_down {
                self.let_go(client);
            }
        }
    }

    /// The client does something else; what became of its write is not known.
    fn let_go(&mut self, client: usize) {
        self.clients[client] = None;
        self.after(20 * MS, Event::Client(client));
    }

    pub(super) fn let_all_go(&mut self) {
        for client in 0..CLIENTS {
            if self.clients[client].is_some() {
                self.let_go(client);
            }
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        let active = self.proxy.mark.map(|(server, _)| server);
        let mut waiting = self.clients.iter().flatten();
        waiting.any(|&call| Some(self.calls[call].server) == active)
    }

    /// What a write and a look on the active master would find, if Tandem reaches it.
    pub(super) fn stalled(&self) -> Option<Stall> {
        let active = self.active()?;
        let server = &self.servers[active];
        let is_reached = server.runs() && !self.cut[PROXY][active] && !self.cut[active][PROXY];
        let &(_, call) = server.waiting.front().filter(|_| is_reached)?;
        Some(Stall {
            since: self.at(self.calls[call].begun),
            awaits: Awaits::Receipt,
            what: String::new(),
        })
    }

    fn client(&mut self, client: usize) {
        if self.clients[client].is_some() || self.clients_stopped {
            return;
        }
        let is_held = self.proxy.decided.holding.is_some_and(Holding::is_moment);
        match self.active().filter(|_| self.proxy.up && !is_held) {
            Some(server) => {
                self.writes += 1;
                let call = self.send(server, Ask::Write(self.writes), By::Client(client));
                self.clients[client] = Some(call);
            }
            None => self.after(50 * MS, Event::Client(client)),
        }
    }

    fn told(&mut self, client: usize, call: usize, answer: &Answer) {
        if self.clients[client] != Some(call) {
            return;
        }
        self.clients[client] = None;
        let pause = self.dice.between(20, 500) * MS;
        self.after(pause, Event::Client(client));
        let (&Answer::Committed(number), Ask::Write(write)) = (answer, self.calls[call].ask) else {
            return;
        };
        let server = self.calls[call].server;
        // Nothing is promised for what is on its way while a server is given up that waits for nobody.
        let waits = self.setup.semi_sync_timeout.is_none() && self.servers[server].semi_sync == Some(true);
        if !waits && self.proxy.decided.active != Some(ServerId(server)) {
            return;
        }
        self.acknowledged.push(write);
        if let Some((known, newest)) = &mut self.proxy.mark
            && *known == server
        {
            *newest = (*newest).max(number);
        }
        // An answer may have been long on its way: if the active master has it too, it is true.
        if let Some(active) = self.era.1.filter(|&active| active != server)
            && !self.servers[active]
                .log
                .iter()
                .any(|commit| commit.write == write)
        {
            self.violated(format!(
                "{} acknowledges a write that the active master {} does not have",
                name(server),
                name(active)
            ));
        }
    }

    pub(super) fn wake(&mut self, index: usize) {
        if self.servers[index].process == Process::Hung {
            self.servers[index].process = Process::Running;
            for call in std::mem::take(&mut self.servers[index].inbox) {
                self.execute(call);
            }
            self.ship(1 - index);
        }
    }

    pub(super) fn crash(&mut self, index: usize) {
        if self.setup.forgets && self.servers[index].process != Process::Dead {
            let (theirs, spare) = (self.servers[1 - index].executed[index], self.dice.below(3));
            let forgotten = self.servers[index].forget(index, theirs, spare);
            self.note(|| format!("{} forgets {forgotten} commits", name(index)));
            // It has not waited for the other's receipt. The README asks for a timeout that never comes.
            if self.setup.semi_sync_timeout.is_some() {
                self.strike_out(&[0, 1]);
            }
        }
        for call in self.servers[index].crash() {
            self.answer(call, Answer::Lost);
        }
        let other = 1 - index;
        if !self.cut[index][other] && self.servers[other].connection.is_some() && self.servers[other].runs() {
            self.break_connection(other);
        }
    }

    pub(super) fn start(&mut self, index: usize) {
        if self.servers[index].process == Process::Dead {
            self.servers[index].start(self.setup.semi_sync, self.setup.starts_replication);
            let server = &mut self.servers[index];
            server.lasting = server.executed[index];
            let life = server.life;
            self.after(10 * MS, Event::Connect(index, life));
        }
    }

    /// An operator makes the one that is not active anew from the other.
    pub(super) fn rebuild(&mut self, index: usize) {
        self.note(|| format!("{} is made anew from the other's data", name(index)));
        let [a, b] = &mut self.servers;
        let (server, other) = if index == 0 { (a, b) } else { (b, a) };
        server.rebuild(other);
    }

    pub(super) fn show(&self) -> String {
        let servers = self.servers.iter().enumerate().map(|(index, server)| {
            format!(
                "\n  {}: {:?}{}, executed {:?}, relay {}, receiver {}, applier {}, {}semi-sync {:?}, {} wait",
                name(index),
                server.process,
                if server.read_only {
                    ", read-only"
                } else {
                    ", writable"
                },
                server.executed,
                server.relay.len(),
                server.receiver,
                server.applier,
                if server.connection.is_some() {
                    "connected, "
                } else {
                    ""
                },
                server.semi_sync,
                server.waiting.len(),
            )
        });
        let servers: String = servers.collect();
        format!(
            "journal {:?}, published {:?}{servers}",
            self.journal, self.proxy.decided
        )
    }
}

pub(super) fn name(server: usize) -> &'static str {
    ["a", "b"][server]
}

pub(super) fn stream(index: usize) -> Stream {
    let number = u32::try_from(index).unwrap() + 1;
    Stream::of_mariadb(number, number)
}

fn position(executed: [u64; 2]) -> Position {
    let mut position = Position::default();
    for (index, &sequence) in executed.iter().enumerate() {
        let number = u32::try_from(index).unwrap() + 1;
        if sequence > 0 {
            position.insert(&Gtid::MariaDb {
                domain: number,
                server: number,
                sequence,
            });
        }
    }
    position
}
