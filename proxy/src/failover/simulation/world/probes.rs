//! Tandem's probes, and what they see.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Answer, Ask, By, Event, PROBE_GAP, PROBE_INTERVAL, PROBE_TIMEOUT, Time, World, name, position, stream,
};
use crate::monitor::health::History;
use crate::monitor::observation::{Link, Observation, ProbeError, Receiver, Seen};
use crate::topology::ServerId;

impl World {
    pub(in crate::failover::simulation) fn look(&mut self) {
        for server in 0..2 {
            match self.proxy.probers[server].call {
                Some(_) => self.proxy.probers[server].woken = true,
                None => self.probe_at(server, self.proxy.probers[server].ended + PROBE_GAP),
            }
        }
    }

    pub(in crate::failover::simulation) fn probe_at(&mut self, server: usize, time: Time) {
        let time = time.max(self.now);
        let prober = &mut self.proxy.probers[server];
        if prober.due > self.now && prober.due <= time {
            return;
        }
        prober.due = time;
        let life = self.proxy.life;
        self.after(time - self.now, Event::Probe(server, life));
    }

    pub(super) fn probe(&mut self, server: usize, life: u64) {
        let prober = &self.proxy.probers[server];
        if !self.proxy.up || life != self.proxy.life || prober.call.is_some() || prober.due != self.now {
            return;
        }
        let asked_at = self.now;
        let call = self.send(server, Ask::Probe, By::Probe { life, asked_at });
        self.proxy.probers[server].call = Some(call);
        self.after(PROBE_TIMEOUT, Event::ProbeTimeout(call));
    }

    pub(super) fn probe_timeout(&mut self, call: usize) {
        if let By::Probe { life, asked_at } = self.calls[call].by {
            let timeout = ProbeError::Timeout(Duration::from_micros(PROBE_TIMEOUT));
            self.observe(call, life, asked_at, Err(timeout));
        }
    }

    pub(super) fn probed(&mut self, call: usize, life: u64, asked_at: Time, answer: Answer) {
        let result = match answer {
            Answer::Seen(seen) => Ok(*seen),
            Answer::Refused => Err(ProbeError::Refused(String::new())),
            _ => Err(ProbeError::Lost(String::new())),
        };
        self.observe(call, life, asked_at, result);
    }

    pub(super) fn observe(
        &mut self,
        call: usize,
        life: u64,
        asked_at: Time,
        result: Result<Seen, ProbeError>,
    ) {
        let server = self.calls[call].server;
        if !self.proxy.up || life != self.proxy.life || self.proxy.probers[server].call != Some(call) {
            return;
        }
        let before = self.proxy.histories[server].state();
        self.proxy.histories[server].record(Observation {
            server: ServerId(server),
            asked_at: self.at(asked_at),
            took: Duration::from_micros(self.now - asked_at),
            result,
        });
        let after = self.proxy.histories[server].state();
        if before != after {
            self.note(|| format!("tandem sees {}: {after:?}", name(server)));
        }
        self.proxy.probers[server].call = None;
        self.proxy.probers[server].ended = self.now;
        let woken = std::mem::take(&mut self.proxy.probers[server].woken);
        let wait = if woken { PROBE_GAP } else { PROBE_INTERVAL };
        self.probe_at(server, self.now + wait);
        self.derive();
        if let Some(health) = &self.proxy.health {
            health.send_replace(self.proxy.histories.iter().map(History::health).collect());
        }
        self.stirred = true;
    }

    pub(super) fn seen(&self, index: usize, unacknowledged: bool) -> Seen {
        let server = &self.servers[index];
        let visible = if unacknowledged {
            server.executed
        } else {
            server.visible(index)
        };
        let receiver = match (server.receiver, &server.connection) {
            (false, _) => Receiver::Stopped,
            (true, None) => Receiver::Connecting,
            (true, Some(_)) => Receiver::Connected,
        };
        Seen {
            version: self.version.clone(),
            reports: Arc::clone(&self.reports),
            timeouts: None,
            at_login: None,
            server_id: u32::try_from(index).unwrap() + 1,
            read_only: server.read_only,
            position: position(visible),
            stream: Some(stream(index)),
            links: vec![Link {
                source_server_id: 2 - u32::try_from(index).unwrap(),
                receiver,
                applying: server.applier,
                received: position(server.received()),
                heard: server.heard,
                lag: None,
                applier_error: None,
                receiver_error: server.refused.then(|| "1236".into()),
            }],
            unfit: Vec::new(),
            untold: Vec::new(),
        }
    }
}
