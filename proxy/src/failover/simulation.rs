//! The real controller, judge and health of servers against two modelled ones ([`server`]) in a modelled network with clients
//! ([`world`]), under schedules of faults ([`faults`]) that follow from a seed. The clock is virtual and nothing runs beside
//! anything, so a seed always tells the same story.
//!
//! After a failure: `TANDEM_SEED=n cargo test --workspace --lib failover::simulation -- --nocapture` tells it.
//! `TANDEM_SEEDS=n` tries so many, from `TANDEM_FIRST_SEED` on.
//!
//! # What must hold
//! - Nobody acknowledges a write while another server is the active master.
//! - A new active master has every write that was acknowledged, unless an operator has forced it, or the answer was on its
//!   way from a server whose commits wait for nobody while that was given up; and has applied all that it has received. As long as it is active it applies nothing of the other's.
//! - Who is published stands in the journal.
//! - The controller comes back to look in bounded time, and answers commands in bounded time.
//! - When the faults have stopped the pair is whole again in bounded time: one is writable, both replicate, both have the
//!   same, under the same numbers; or the other is in quarantine and really has what the active one lacks. When that is made anew, it comes back.

mod dice;
mod faults;
mod hands;
mod server;
mod world;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::controller::Controller;
use super::judge::Rules;
use super::{Command, Request};
use crate::monitor::health::Health;
use crate::topology::ServerId;
use dice::Dice;
use faults::{CALM, Fault};
use hands::Reach;
use world::{Event, MS, SECOND, Setup, Time, World};

/// In an ordinary run.
const SEEDS: u64 = 5000;

/// After the faults the pair is whole within this time.
const WHOLE: Time = 90 * SECOND;

/// So many failed seeds are shown.
const SHOWN: usize = 12;

/// Between two looks of the controller, and beside what the operator allows a command.
const BUSY: Time = 45 * SECOND;

/// The running Tandem's controller.
struct Running {
    controller: Pin<Box<dyn Future<Output = ()>>>,
    requests: mpsc::Sender<Request>,
}

struct Asked {
    answer: oneshot::Receiver<Result<String, String>>,
    by: Time,
    forces: bool,
}

struct Simulation {
    reach: Reach,
    rules: Rules,
    running: Option<Running>,
    asked: Vec<Asked>,
    rebuilt: bool,
    over: bool,
}

impl Simulation {
    fn new(seed: u64, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let setup = Setup::roll(&mut dice);
        let rules = Rules {
            automatic: true,
            hang_time: Duration::from_secs(2),
            unreachable_time: Duration::from_secs(5),
            apply_timeout: Duration::from_secs(dice.pick(&[2, 20])),
            min_interval: Duration::from_secs(dice.pick(&[0, 1, 10])),
            switchover_timeout: Duration::from_secs(dice.pick(&[1, 5])),
            failback_window: None,
            failback: dice.percent(30).then(|| Duration::from_secs(dice.between(1, 8))),
        };
        let mut world = World::new(dice, setup, trace);
        let (setup, shown) = (format!("{:?}", world.setup), format!("{rules:?}"));
        world.note(|| format!("{setup}\n             {shown}"));
        Self {
            reach: Reach(Arc::new(Mutex::new(world))),
            rules,
            running: None,
            asked: Vec::new(),
            rebuilt: false,
            over: false,
        }
    }

    fn run(&mut self) {
        self.reach.world().plan();
        self.start();
        while !self.over {
            self.step();
        }
    }

    fn step(&mut self) {
        let event = self.reach.world().next().expect("there is always a next check");
        self.reach.world().handle(event);
        match event {
            Event::Fault(index) => self.operate(index),
            Event::FaultEnds(index) => self.operate_after(index),
            Event::StartProxy if self.running.is_none() => self.start(),
            Event::Calm => {
                self.start();
                self.order(Command::Resume, false);
            }
            Event::Check => self.check(),
            _ => {}
        }
        self.turn();
        self.over |= self.reach.world().violation.is_some();
    }

    fn turn(&mut self) {
        if self.reach.world().frozen.is_some() && !self.reach.world().killed {
            return;
        }
        while std::mem::take(&mut self.reach.world().stirred) {
            let Some(running) = &mut self.running else { break };
            let ended = running
                .controller
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if ended.is_ready() {
                self.reach.world().violated("the controller has ended");
            }
            if self.reach.world().killed {
                self.kill();
            }
        }
        if self.reach.world().killed {
            self.kill();
        }
        let now = self.reach.world().now;
        self.asked.retain_mut(|asked| match asked.answer.try_recv() {
            Ok(answer) => {
                let mut world = self.reach.world();
                world.note(|| format!("operator is told: {answer:?}"));
                world.answered(asked.forces);
                false
            }
            Err(oneshot::error::TryRecvError::Closed) => {
                self.reach.world().answered(asked.forces);
                false
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                if now > asked.by {
                    self.reach.world().violated("a command is not answered in time");
                }
                true
            }
        });
    }

    fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let mut world = self.reach.world();
        world.note(|| "tandem starts".to_owned());
        world.proxy = world::Proxy {
            up: true,
            life: world.proxy.life + 1,
            last_turn: world.now,
            ..world::Proxy::default()
        };
        let (told, health) = watch::channel(vec![Health::default(); 2]);
        world.proxy.health = Some(told);
        world.killed = false;
        world.stirred = true;
        let (requests, commands) = mpsc::channel(8);
        let names = vec!["a".to_owned(), "b".to_owned()];
        let (controller, _) = Controller::new(
            self.reach.clone(),
            self.rules,
            names,
            &world.journal,
            health,
            commands,
        );
        for server in 0..2 {
            let now = world.now;
            world.probe_at(server, now + 1);
        }
        drop(world);
        let controller = Box::pin(controller.run());
        self.running = Some(Running { controller, requests });
    }

    fn kill(&mut self) {
        self.running = None;
        let mut world = self.reach.world();
        world.note(|| "tandem is killed".to_owned());
        world.killed = false;
        world.proxy.up = false;
        world.thaw();
        world.let_all_go();
        let away = world.dice.between(1, 3000) * MS;
        world.after(away, Event::StartProxy);
    }

    fn order(&mut self, command: Command, forces: bool) {
        let Some(running) = &self.running else { return };
        let mut world = self.reach.world();
        world.note(|| format!("operator: {command:?}"));
        let (answer, answered) = oneshot::channel();
        if running.requests.try_send((command, answer)).is_ok() {
            world.forced |= forces;
            world.stirred = true;
            self.asked.push(Asked {
                answer: answered,
                by: world.now + 2 * BUSY,
                forces,
            });
        }
    }

    fn operate(&mut self, index: usize) {
        let fault = {
            let world = self.reach.world();
            if world.calm {
                return;
            }
            world.faults[index]
        };
        let switchover = |to: Option<usize>, force| Command::Switchover {
            to: to.map(ServerId),
            timeout: None,
            force,
            dry_run: false,
        };
        match fault {
            Fault::Switchover(to) => self.order(switchover(to, false), false),
            Fault::Force(to) => self.order(switchover(Some(to), true), true),
            Fault::Pause => self.order(Command::Pause, false),
            Fault::Drain(server) => self.order(Command::Drain(ServerId(server)), false),
            _ => {}
        }
    }

    fn operate_after(&mut self, index: usize) {
        let fault = self.reach.world().faults[index];
        match fault {
            Fault::Pause => self.order(Command::Resume, false),
            Fault::Drain(server) => self.order(Command::Open(ServerId(server)), false),
            _ => {}
        }
    }

    fn step_until(&mut self, time: Time) {
        while self.reach.world().now < time {
            self.step();
        }
    }

    /// Whether the pair is whole.
    fn check(&mut self) {
        // An operator who could not be heard says it again.
        let drained = self.reach.world().proxy.decided.drained;
        if let Some(server) = drained {
            self.order(Command::Open(server), false);
        }
        let mut world = self.reach.world();
        world.after(250 * MS, Event::Check);
        if world.now > world.proxy.last_turn + BUSY {
            world.violated("the controller does not come back to look");
        }
        match self.why_not_whole(&world) {
            None => {
                let active = world.active().unwrap_or_default();
                world.check_acknowledged(active);
                if !world.agree() {
                    world.violated("the servers have different commits under one number");
                }
                self.over = true;
            }
            Some(why) if world.now > CALM + WHOLE => {
                let shown = world.show();
                world.violated(format!("the pair is not whole: {why}; {shown}"));
            }
            Some(_) => {
                // Quarantine is an end too, and has a way out.
                if let Some(active) = world.active()
                    && world.quarantined
                    && !self.rebuilt
                    && world.now > CALM + 30 * SECOND
                {
                    let has = world.servers[active].executed;
                    let errant = world.servers[1 - active].executed;
                    if errant.iter().zip(has).all(|(&theirs, has)| theirs <= has)
                        && world.journal.blind.is_none()
                    {
                        let shown = world.show();
                        return world.violated(format!("quarantined for nothing; {shown}"));
                    }
                    world.rebuild(1 - active);
                    self.rebuilt = true;
                    if world.journal.blind.is_some() {
                        drop(world);
                        // And let in again by the next look.
                        self.order(Command::Drain(ServerId(1 - active)), false);
                    }
                }
            }
        }
    }

    fn why_not_whole(&self, world: &World) -> Option<&'static str> {
        let Some(active) = world.active() else {
            return Some("nobody is active");
        };
        let (active, standby) = (&world.servers[active], &world.servers[1 - active]);
        let problems = [
            (self.running.is_none(), "Tandem is down"),
            (world.proxy.decided.holding.is_some(), "clients are held"),
            (active.read_only, "the active master is read-only"),
            (!standby.read_only, "the standby is writable"),
            (!active.runs() || !standby.runs(), "a server is down"),
            (
                !standby.applier || standby.connection.is_none(),
                "the standby does not replicate",
            ),
            (
                !active.applier || active.connection.is_none(),
                "the active master does not replicate",
            ),
            (active.executed != standby.executed, "they differ"),
            (
                active.semi_sync != world.setup.semi_sync.then_some(true),
                "the active master's semi-sync replication is off",
            ),
            (
                world.journal.promoting.is_some(),
                "the journal says that somebody is being promoted",
            ),
        ];
        problems.iter().find(|(is, _)| *is).map(|(_, why)| *why)
    }
}

/// What is violated with this seed; the story is told if it is wanted.
fn violation(seed: u64, trace: bool) -> (Option<String>, u32) {
    let mut simulation = Simulation::new(seed, trace);
    simulation.run();
    simulation.running = None;
    let mut world = simulation.reach.world();
    if let Some(trace) = world.trace.take() {
        for line in trace {
            println!("{line}");
        }
    }
    (world.violation.take(), world.failovers)
}

/// Other Tandems may be late with what their clients were told of, while the new active master has applied everything already.
#[test]
fn a_failover_that_was_stopped_late_is_tried_again() {
    for seed in 1..=20 {
        let mut simulation = Simulation::new(seed, false);
        {
            let mut world = simulation.reach.world();
            world.setup.semi_sync = true;
            world.setup.semi_sync_timeout = None;
            world.setup.kill = 0;
            world.mute = 2;
        }
        simulation.start();
        let until = |simulation: &mut Simulation, time| {
            simulation.step_until(time);
            let world = simulation.reach.world();
            assert_eq!(world.violation, None, "seed {seed}");
            (world.active(), world.mute)
        };
        let (active, _) = until(&mut simulation, 5 * SECOND);
        let active = active.expect("somebody is active before the fault");
        simulation
            .reach
            .world()
            .begins_after(SECOND, Fault::Crash(active));
        let found = until(&mut simulation, 20 * SECOND);
        assert_eq!(found, (Some(1 - active), 0), "seed {seed}");
    }
}

/// Plays faults before servers that forget in a crash what the other has of them, each with its beginning and how long it lasts.
fn nothing_is_lost_by(faults: impl Fn(u64, usize) -> Vec<(Time, Time, Fault)>) {
    for seed in 1..=60 {
        let mut simulation = Simulation::new(seed, false);
        {
            let mut world = simulation.reach.world();
            world.setup.semi_sync = true;
            world.setup.semi_sync_timeout = None;
            world.setup.starts_replication = false;
            world.setup.forgets = true;
            world.setup.kill = 0;
        }
        simulation.start();
        simulation.step_until(5 * SECOND);
        let active = simulation.reach.world().active().expect("somebody is active");
        for (begins, lasts, fault) in faults(seed, active) {
            simulation.reach.world().plays(begins, lasts, fault);
        }
        simulation.step_until(40 * SECOND);
        let mut world = simulation.reach.world();
        let active = world.active().expect("somebody is active again");
        world.check_acknowledged(active);
        assert!(world.agree(), "seed {seed}");
        assert_eq!(world.violation, None, "seed {seed}");
    }
}

/// Tandem is killed right behind a switchover, and the new active master crashes before Tandem is back: that has commits which
/// waited for the other one, though its promotion is the last that the journal knows of.
#[test]
fn a_crash_right_behind_a_switchover_takes_nothing() {
    nothing_is_lost_by(|seed, active| {
        let to = 1 - active;
        vec![
            (SECOND, SECOND, Fault::Switchover(Some(to))),
            (SECOND + seed * 4 * MS, SECOND, Fault::KillProxy),
            (SECOND + 700 * MS, 1500 * MS, Fault::Crash(to)),
        ]
    });
}

/// The new active master crashes while the old one is being let back in, slowly: that has what the crash takes, and no fault of
/// its own.
#[test]
fn a_crash_while_the_other_is_let_back_in_takes_nothing() {
    nothing_is_lost_by(|seed, active| {
        let to = 1 - active;
        vec![
            (SECOND, 12 * SECOND, Fault::Slow(active, 2, 700 * MS)),
            (SECOND + 200 * MS, SECOND, Fault::Switchover(Some(to))),
            (5 * SECOND + seed * 50 * MS, SECOND, Fault::Crash(to)),
        ]
    });
}

/// A standby that was let back in just now, and missed a probe for it, is waited for by an operator's next switchover.
#[test]
fn a_switchover_waits_for_who_was_just_let_back_in() {
    for seed in 1..=60 {
        let mut simulation = Simulation::new(seed, false);
        simulation.reach.world().setup.kill = 0;
        simulation.start();
        simulation.step_until(5 * SECOND);
        let active = simulation.reach.world().active().expect("somebody is active");
        let to = 1 - active;
        for (begins, lasts, fault) in [
            (SECOND, SECOND, Fault::Switchover(Some(to))),
            (1100 * MS, 1500 * MS, Fault::Hang(active)),
            (2450 * MS + seed * MS, SECOND, Fault::Switchover(Some(active))),
        ] {
            simulation.reach.world().plays(begins, lasts, fault);
        }
        // Before the pair has been whole for long enough to fail back by itself.
        simulation.step_until(9 * SECOND);
        let world = simulation.reach.world();
        assert_eq!(world.violation, None, "seed {seed}");
        assert_eq!(world.active(), Some(active), "seed {seed}");
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect(name))
}

#[test]
fn no_schedule_of_faults_breaks_what_must_hold() {
    if let Some(seed) = number("TANDEM_SEED") {
        let (violation, _) = violation(seed, true);
        assert_eq!(violation, None, "seed {seed}");
        return;
    }
    let first = number("TANDEM_FIRST_SEED").unwrap_or(1);
    let seeds = number("TANDEM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let try_some = |thread: u64| {
        let mine = (first..first + seeds).filter(move |seed| seed % threads == thread);
        let (mut changes, mut failed) = (0, Vec::new());
        for seed in mine {
            let (violation, some) = violation(seed, false);
            changes += some;
            failed.extend(violation.map(|violation| format!("seed {seed}: {violation}")));
        }
        (changes, failed)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || try_some(thread)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let changes: u32 = results.iter().map(|(changes, _)| changes).sum();
    let failed: Vec<String> = results.into_iter().flat_map(|(_, failed)| failed).collect();
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed; one is told by TANDEM_SEED=n cargo test --workspace --lib failover::simulation -- --nocapture\n{}",
        failed.len(),
        failed[..failed.len().min(SHOWN)].join("\n"),
    );
    println!("{seeds} schedules, {changes} changes of the active master");
    assert!(
        u64::from(changes) > seeds / 10,
        "only {changes} changes of the active master"
    );
}
