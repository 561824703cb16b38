//! A session: writes and reads in a drawn order, and what it saw.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};

use super::means::Means;
use super::plan::{Plan, plan};
use super::question::Question;
use super::record::{History, Moment, Outcome, Read, Write};
use super::statement::Step;
use super::world::World;
use crate::Flavor;
use crate::differential::dice::Dice;

/// ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_TABLE_DEF_CHANGED and MariaDB's HA_ERR_TABLE_DEF_CHANGED (a snapshot is older
/// than the table): a server may refuse a statement so at any time.
const REFUSED: &[u16] = &[1205, 1213, 1412, 159];

/// Of a session's operations one in so many is a write. A quarter of the sessions writes much, a quarter now and then, and
/// half only read, so that nothing of their own keeps them from the standby.
const WRITES: [Option<usize>; 4] = [Some(3), None, Some(60), None];

/// For a third of the time writes come by all means; then by those only whose text tells what they write, or nothing
/// could be read from the standby.
const SEASON: Duration = Duration::from_millis(1200);

/// Users think, up to so many milliseconds.
const THINKS: usize = 16;

/// What one session did.
#[derive(Debug, Default)]
pub struct Log {
    pub history: History,
    pub means: BTreeMap<Means, usize>,
    pub refused: usize,
}

pub struct Player<'a> {
    pub world: &'a World,
    pub conn: Conn,
    pub flavor: Flavor,
    pub session: usize,
    pub dice: Dice,
    pub log: Log,
}

impl Player<'_> {
    pub async fn live(mut self, until: Instant) -> Log {
        let writes = WRITES[self.session % WRITES.len()];
        while Instant::now() < until {
            let writes = writes.is_some_and(|times| self.dice.once_in(times));
            if !(writes && self.write().await) {
                self.read().await;
            }
            let pause = self.dice.below(THINKS) as u64;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.conn.disconnect().await.expect("a goodbye");
        self.log
    }

    /// False if another session writes what was to be written.
    async fn write(&mut self) -> bool {
        let season = self.world.now().as_millis() / SEASON.as_millis();
        let means = Means::draw(self.flavor, season.is_multiple_of(3), &mut self.dice);
        let cells = means.cells(&mut self.dice);
        let Some(claim) = self.world.claim(&cells) else {
            return false;
        };
        let plan = plan(
            means,
            &claim.values,
            self.world.new_value(),
            self.flavor,
            &mut self.dice,
        );
        let done = self.carry_out(&plan).await;
        let (begun, outcome) = match done {
            Ok((begun, ended)) if !plan.rolled_back => (begun, Outcome::Acknowledged(ended)),
            Ok((begun, _)) => (begun, Outcome::RolledBack),
            Err(problem) => {
                self.undo(&plan, &problem).await;
                (self.world.now(), Outcome::RolledBack)
            }
        };
        if let Outcome::Acknowledged(_) = outcome {
            claim.changed(&plan.changes);
        }
        *self.log.means.entry(means).or_default() += 1;
        if means.ties() {
            self.conn.reset().await.expect("a reset");
        }
        self.log.history.writes.push(Write {
            session: self.session,
            begun,
            outcome,
            text: plan.shown(),
            changes: plan.changes,
        });
        true
    }

    /// When the step that commits was sent, and when its reply had come.
    async fn carry_out(&mut self, plan: &Plan) -> Result<(Moment, Moment), Error> {
        let mut times = (Moment::ZERO, Moment::ZERO);
        for (index, step) in plan.steps.iter().enumerate() {
            let sent = self.world.now();
            let reply = self.ask(step).await;
            match (reply, plan.error) {
                (Err(Error::Server(error)), Some(wanted)) if index == plan.commit && error.code == wanted => {
                }
                (Ok(_), Some(wanted)) if index == plan.commit => {
                    panic!("{} should have failed with {wanted}", plan.shown())
                }
                (reply, _) => drop(reply?),
            }
            if index == plan.commit {
                times = (sent, self.world.now());
            }
        }
        Ok(times)
    }

    /// A refused write has changed nothing, or the test can't go on.
    async fn undo(&mut self, plan: &Plan, problem: &Error) {
        let session = self.session;
        let (true, Some(undo)) = (is_refusal(problem), plan.undo) else {
            panic!("session {session}: {}: {problem}", plan.shown());
        };
        self.log.refused += 1;
        let undone = self.conn.query_drop(undo).await;
        undone.unwrap_or_else(|again| panic!("session {session}: {undo} after {problem}: {again}"));
    }

    async fn read(&mut self) {
        let question = Question::draw(&mut self.dice);
        let begun = self.world.now();
        let answer = self.ask(&question.step).await;
        let ended = self.world.now();
        let answer = match answer {
            Ok(answer) => answer,
            Err(problem) if is_refusal(&problem) => {
                self.log.refused += 1;
                return;
            }
            Err(problem) => panic!("session {}: {}: {problem}", self.session, question.step.shown()),
        };
        let (seen, server) = question.seen(&answer);
        self.log.history.reads.push(Read {
            session: self.session,
            begun,
            ended,
            seen,
            server,
            text: question.step.shown(),
        });
    }

    /// The rows of the first result; all of them are read to their end.
    async fn ask(&mut self, step: &Step) -> Result<Vec<Row>, Error> {
        match step.parameters.is_empty() {
            true => self.conn.query(&step.text).await,
            false => self.conn.exec(&step.text, step.parameters.clone()).await,
        }
    }
}

fn is_refusal(problem: &Error) -> bool {
    matches!(problem, Error::Server(error) if REFUSED.contains(&error.code))
}
