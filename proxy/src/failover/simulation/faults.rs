//! What goes wrong, and what operators do, in one schedule.

use super::dice::Dice;
use super::server::Process;
use super::world::{Event, MS, SECOND, Setup, Time, World, name};

/// Until then things go wrong.
pub(super) const CALM: Time = 15 * SECOND;

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Crash(usize),
    Hang(usize),
    /// Nothing goes from one to another any more; 2 is Tandem.
    Cut(usize, usize),
    CutBoth(usize, usize),
    /// From everybody else.
    Isolate(usize),
    Slow(usize, usize, Time),
    SlowApplier(usize, Time),
    KillProxy,
    /// Tandem stands still, as when its machine is moved: its clock jumps, and what came meanwhile comes at once.
    Freeze,
    /// Both servers and Tandem at once.
    Power,
    JournalBroken,
    Switchover(Option<usize>),
    Force(usize),
    Pause,
    /// For an operator's work on it.
    Drain(usize),
}

impl Setup {
    pub(super) fn roll(dice: &mut Dice) -> Self {
        let semi_sync = dice.percent(75);
        let forgets = semi_sync && dice.percent(40);
        Self {
            semi_sync,
            semi_sync_timeout: dice.percent(40).then(|| dice.between(500, 5000) * MS),
            // The README forbids it there.
            starts_replication: !forgets && dice.percent(70),
            forgets,
            sees_unacknowledged: dice.percent(50),
            heartbeat: dice.pick(&[500 * MS, SECOND, 5 * SECOND]),
            net_timeout: dice.pick(&[2 * SECOND, 10 * SECOND]),
            kill: if dice.percent(30) { dice.between(1, 10) } else { 0 },
        }
    }
}

fn roll(dice: &mut Dice) -> Fault {
    let (server, other) = (dice.server(), dice.pick(&[0, 1, 2]));
    let other = if other == server { 2 } else { other };
    match dice.below(100) {
        0..20 => Fault::Crash(server),
        20..35 => Fault::Hang(server),
        35..43 => Fault::Cut(server, other),
        43..50 => Fault::Cut(other, server),
        50..57 => Fault::CutBoth(server, other),
        57..64 => Fault::Isolate(server),
        64..70 => Fault::Slow(server, other, dice.between(20, 800) * MS),
        70..76 => Fault::SlowApplier(server, dice.between(50, 800) * MS),
        76..80 => Fault::KillProxy,
        80..82 => Fault::Freeze,
        82..84 => Fault::Power,
        84..87 => Fault::JournalBroken,
        87..94 => Fault::Switchover(dice.percent(50).then_some(server)),
        94..96 => Fault::Force(server),
        96..98 => Fault::Drain(server),
        _ => Fault::Pause,
    }
}

impl World {
    pub(super) fn plan(&mut self) {
        let many = self.dice.between(1, 5);
        for _ in 0..many {
            let fault = roll(&mut self.dice);
            let begins = self.dice.between(1000, 14_000) * MS;
            let lasts = match self.dice.below(3) {
                0 => self.dice.between(20, 600),
                1 => self.dice.between(600, 4000),
                _ => self.dice.between(4000, 14_000),
            } * MS;
            // No server starts between two probes.
            let lasts = match fault {
                Fault::Crash(_) | Fault::Power => lasts.max(SECOND),
                _ => lasts,
            };
            self.plays(begins, lasts, fault);
        }
        self.after(CALM, Event::Calm);
        self.after(CALM + 2 * SECOND, Event::StopClients);
        self.after(CALM + 3 * SECOND, Event::Check);
    }

    /// It does not end.
    pub(super) fn begins_after(&mut self, delay: Time, fault: Fault) {
        self.faults.push(fault);
        let index = self.faults.len() - 1;
        self.after(delay, Event::Fault(index));
    }

    pub(super) fn plays(&mut self, begins: Time, lasts: Time, fault: Fault) {
        self.begins_after(begins, fault);
        self.after(begins + lasts, Event::FaultEnds(self.faults.len() - 1));
    }

    fn cut_off(&mut self, one: usize, on: bool) {
        for other in 0..3 {
            if other != one {
                self.cut[one][other] = on;
                self.cut[other][one] = on;
            }
        }
    }

    /// What concerns Tandem's controller is done where that is.
    pub(super) fn begin(&mut self, index: usize) {
        if self.calm {
            return;
        }
        let fault = self.faults[index];
        self.note(|| format!("FAULT {fault:?}"));
        match fault {
            Fault::Crash(server) => self.crash(server),
            Fault::Hang(server) => {
                if self.servers[server].runs() {
                    self.servers[server].process = Process::Hung;
                }
            }
            Fault::Cut(from, to) => self.cut[from][to] = true,
            Fault::CutBoth(from, to) => {
                self.cut[from][to] = true;
                self.cut[to][from] = true;
            }
            Fault::Isolate(server) => self.cut_off(server, true),
            Fault::Slow(from, to, delay) => self.slow[from][to] = delay,
            Fault::SlowApplier(server, delay) => self.slow_applier[server] = delay,
            Fault::JournalBroken => self.journal_broken = true,
            Fault::KillProxy => self.killed = true,
            Fault::Freeze => self.freeze(),
            Fault::Power => {
                self.killed = true;
                self.crash(0);
                self.crash(1);
            }
            Fault::Switchover(_) | Fault::Force(_) | Fault::Pause | Fault::Drain(_) => {}
        }
    }

    pub(super) fn end(&mut self, index: usize) {
        let fault = self.faults[index];
        self.note(|| format!("over: {fault:?}"));
        match fault {
            Fault::Crash(server) => self.start(server),
            Fault::Hang(server) => self.wake(server),
            Fault::Cut(from, to) => self.cut[from][to] = false,
            Fault::CutBoth(from, to) => {
                self.cut[from][to] = false;
                self.cut[to][from] = false;
            }
            Fault::Isolate(server) => self.cut_off(server, false),
            Fault::Slow(from, to, _) => self.slow[from][to] = 0,
            Fault::SlowApplier(server, _) => self.slow_applier[server] = 0,
            Fault::JournalBroken => self.journal_broken = false,
            Fault::Freeze => self.thaw(),
            Fault::Power => {
                self.start(0);
                self.start(1);
            }
            Fault::KillProxy | Fault::Switchover(_) | Fault::Force(_) | Fault::Pause | Fault::Drain(_) => {}
        }
    }

    /// All faults stop.
    pub(super) fn calm_down(&mut self) {
        self.note(|| "all faults are over".to_owned());
        self.calm = true;
        self.thaw();
        self.journal_broken = false;
        self.setup.kill = 0;
        self.cut = [[false; 3]; 3];
        self.slow = [[0; 3]; 3];
        self.slow_applier = [0; 2];
        for server in 0..2 {
            self.wake(server);
            if self.servers[server].process == Process::Dead {
                self.note(|| format!("{} is started", name(server)));
                self.start(server);
            }
        }
    }
}
