//! Commits, and their way to the other server.

use crate::failover::simulation::server::{Commit, Connection, Process};

use super::{Answer, CONNECT_RETRY, Event, MS, World, name};

impl World {
    pub(super) fn commit(&mut self, call: usize, write: u32) {
        let index = self.calls[call].server;
        let server = &mut self.servers[index];
        if server.read_only || !server.closing.is_empty() {
            return self.answer(call, Answer::Trouble("read-only (1290)"));
        }
        let number = server.executed[index] + 1;
        server.append(Commit {
            origin: index,
            number,
            write,
        });
        let waits = server.semi_sync == Some(true);
        if waits {
            server.waiting.push_back((number, call));
        }
        let life = server.life;
        self.ship(1 - index);
        match self.setup.semi_sync_timeout {
            _ if !waits => self.answer(call, Answer::Committed(number)),
            Some(limit) => self.after(limit, Event::SemiSyncTimeout(index, life, number)),
            None => {}
        }
    }

    /// Own commits up to a number need not wait any longer.
    pub(super) fn release(&mut self, index: usize, number: u64) {
        while let Some(&(first, call)) = self.servers[index].waiting.front() {
            if first > number {
                break;
            }
            self.servers[index].waiting.pop_front();
            self.answer(call, Answer::Committed(first));
        }
        self.close_if_quiet(index);
    }

    pub(super) fn semi_sync_timeout(&mut self, index: usize, life: u64, number: u64) {
        if self.servers[index].life == life && self.servers[index].runs() {
            self.release(index, number);
        }
    }

    /// What the source of `to` has and has not sent yet goes on its way.
    pub(super) fn ship(&mut self, to: usize) {
        let [a, b] = &mut self.servers;
        let (receiver, source) = if to == 0 { (a, b) } else { (b, a) };
        let Some(connection) = &mut receiver.connection else {
            return;
        };
        if !source.runs() || source.life != connection.source_life {
            return;
        }
        let (id, mut sent) = (connection.id, 0_u64);
        connection.has[to] = connection.has[to].max(receiver.executed[to]);
        for commit in &source.log[connection.sent..] {
            if commit.number > connection.has[commit.origin] {
                connection.has[commit.origin] = commit.number;
                connection.transit.push_back(*commit);
                sent += 1;
            }
        }
        connection.sent = source.log.len();
        for _ in 0..sent {
            let delay = self.latency(1 - to, to);
            self.after(delay, Event::Arrive(to, id));
        }
    }

    pub(super) fn is_connected(&self, to: usize, id: u64) -> bool {
        self.servers[to]
            .connection
            .as_ref()
            .is_some_and(|connection| connection.id == id)
    }

    pub(super) fn arrive(&mut self, to: usize, id: u64) {
        if !self.is_connected(to, id) {
            return;
        }
        let source = 1 - to;
        if self.cut[source][to] || !self.servers[to].runs() {
            return self.after(100 * MS, Event::Arrive(to, id));
        }
        let now = self.now;
        let server = &mut self.servers[to];
        server.heard += 1;
        let Some(connection) = &mut server.connection else {
            return;
        };
        connection.heard_at = now;
        let life = connection.source_life;
        let Some(commit) = connection.transit.pop_front() else {
            return;
        };
        server.relay.push_back(commit);
        self.start_applying(to);
        if commit.origin == source {
            let delay = self.latency(to, source);
            self.after(delay, Event::Ack(source, life, commit.number));
        }
    }

    pub(super) fn ack(&mut self, source: usize, life: u64, number: u64) {
        let server = &self.servers[source];
        if server.life != life || server.process == Process::Dead {
            return;
        }
        if self.cut[1 - source][source] || !server.runs() {
            return self.after(100 * MS, Event::Ack(source, life, number));
        }
        self.release(source, number);
    }

    /// What a connection hears without commits, and that it is broken.
    pub(super) fn tick(&mut self, to: usize, id: u64) {
        if !self.is_connected(to, id) {
            return;
        }
        self.after(self.setup.heartbeat.min(500 * MS), Event::Tick(to, id));
        let source = 1 - to;
        let alive = self.servers[source].process != Process::Dead;
        let (runs, life) = (self.servers[source].runs(), self.servers[source].life);
        let reached = !self.cut[source][to];
        let (now, setup) = (self.now, &self.setup);
        let server = &mut self.servers[to];
        let Some(connection) = &mut server.connection else {
            return;
        };
        if server.process != Process::Running {
            return;
        }
        let same = life == connection.source_life;
        if reached && runs && same && now - connection.heard_at >= setup.heartbeat {
            connection.heard_at = now;
            server.heard += 1;
        }
        let is_broken = reached && !(alive && same);
        if is_broken || now - connection.heard_at > setup.net_timeout {
            self.break_connection(to);
        }
    }

    pub(super) fn break_connection(&mut self, to: usize) {
        self.servers[to].connection = None;
        let life = self.servers[to].life;
        self.after(CONNECT_RETRY, Event::Connect(to, life));
    }

    pub(super) fn connect(&mut self, to: usize, life: u64) {
        let server = &self.servers[to];
        if server.life != life
            || !server.receiver
            || server.connection.is_some()
            || server.process == Process::Dead
        {
            return;
        }
        let source = 1 - to;
        let reached = !self.cut[to][source] && !self.cut[source][to];
        if !reached || !server.runs() || !self.servers[source].runs() {
            return self.after(CONNECT_RETRY, Event::Connect(to, life));
        }
        if self.servers[to].received()[source] > self.servers[source].executed[source] {
            self.note(|| format!("{} refuses {}: 1236", name(source), name(to)));
            let server = &mut self.servers[to];
            (server.receiver, server.refused) = (false, true);
            return;
        }
        self.order += 1;
        let id = self.order;
        let connection = Connection {
            id,
            source_life: self.servers[source].life,
            sent: 0,
            has: server.received(),
            transit: std::collections::VecDeque::new(),
            heard_at: self.now,
        };
        self.servers[to].connection = Some(connection);
        self.after(100 * MS, Event::Tick(to, id));
        self.ship(to);
    }

    pub(super) fn start_applying(&mut self, index: usize) {
        let server = &mut self.servers[index];
        if server.applier && !server.is_applying && !server.relay.is_empty() {
            server.is_applying = true;
            let life = server.life;
            let delay = self.dice.between(100, 2000) + self.slow_applier[index];
            self.after(delay, Event::Apply(index, life));
        }
    }

    pub(super) fn apply(&mut self, index: usize, life: u64) {
        let server = &mut self.servers[index];
        if server.life != life || server.process == Process::Dead {
            return;
        }
        if server.process == Process::Hung {
            return self.after(100 * MS, Event::Apply(index, life));
        }
        server.is_applying = false;
        if !server.applier {
            return;
        }
        let Some(commit) = server.relay.pop_front() else {
            return;
        };
        if commit.number != server.executed[commit.origin] + 1 {
            return self.violated(format!(
                "the model: {commit:?} applied on {} out of its order",
                name(index)
            ));
        }
        server.append(commit);
        if self.proxy.up && self.era.1 == Some(index) && !self.servers[index].read_only {
            self.violated(format!(
                "{} is the active master and applies what {} has committed",
                name(index),
                name(1 - index)
            ));
        }
        self.ship(1 - index);
        self.start_applying(index);
    }
}
