//! Random sequences of steps: several sessions, each in the middle of something, take turns.
//!
//! A session's doings come as scripts (begin, insert, savepoint, …), whose actions are played in their order with
//! those of other sessions in between. What a session locks is its own: no step waits for another session.
//!
//! Session state, where it is made here, and where else it is tested (`session`: tests/tests/session.rs, `cases`:
//! proxy/src/classify/cases.txt):
//!
//! | state | here | else |
//! |---|---|---|
//! | default schema, `USE`, `COM_INIT_DB` | `state::schema`, `commands` | session |
//! | character set, collation | `state::names`, logins | session |
//! | `sql_mode` that changes lexing | `state::modes` | session, cases |
//! | other variables, `SET @@name` without a scope | `state::SETTINGS` | session |
//! | expressions in `SET` | `state::expressions` | cases |
//! | autocommit, transactions, savepoints | `transactions` | session |
//! | one-shot `SET TRANSACTION` | `transactions::one_shot` | session |
//! | XA | `transactions::distributed` | cases |
//! | user variables, temporary tables | `state` | session |
//! | `GET_LOCK`, `LOCK TABLES` | `state::locks`, `state::table_locks` | session |
//! | `HANDLER` | `state::handler` | session |
//! | `SET ROLE` | `state::roles` | cases |
//! | text and binary prepared statements, long data, cursors | `prepared` | session |
//! | multi-statements, `COM_SET_OPTION` | `data::several`, `commands` | |
//! | `COM_RESET_CONNECTION`, `COM_CHANGE_USER` | `commands` | session |
//! | `LAST_INSERT_ID()` | `inquiries` | session |
//! | `ROW_COUNT()` | `inquiries` | session |
//! | `FOUND_ROWS()`, warnings | `inquiries`, where the statement before tells them | session |
//! | `CONNECTION_ID()` | `inquiries`, masked: two sessions have two numbers | session |

mod commands;
mod data;
mod inquiries;
mod mistakes;
mod prepared;
mod state;
mod transactions;

use std::collections::VecDeque;

use tandem::topology::Flavor;
use tandem_protocol::flags::Capabilities;

use super::dice::Dice;
use super::step::{Action, LogIn, Mask, Step};
use crate::raw::CAPABILITIES;

/// How many sessions take part.
pub const SESSIONS: usize = 4;

/// The default schema, and another one.
pub const SCHEMA: &str = "test_differential";
pub const OTHER: &str = "test_differential_too";

/// Before what part of the steps strangers come by.
const STRANGERS: usize = 4;

/// What the makers of scripts have at hand.
pub(super) struct Maker<'a> {
    pub dice: &'a mut Dice,
    pub flavor: Flavor,
    /// Whose script it is.
    pub session: usize,
    /// The types with which each prepared statement was executed last.
    pub bound: &'a mut Vec<Vec<u8>>,
}

/// An action and how its reply is compared.
pub(super) type Scripted = (Action, Option<Mask>);

impl Maker<'_> {
    /// A table that only this session writes.
    fn own(&self) -> String {
        format!("t{}", self.session)
    }

    /// A table to read. Never another session's own: whoever reads it in a transaction would make its definitions wait.
    fn any(&mut self) -> String {
        match self.dice.once_in(2) {
            true => "shared".to_owned(),
            false => self.own(),
        }
    }

    fn one_of(&mut self, among: &[&str]) -> Vec<Scripted> {
        vec![query(self.dice.pick(among))]
    }
}

pub(super) fn query(text: impl Into<String>) -> Scripted {
    (Action::Query(text.into()), None)
}

pub(super) fn queries(texts: &[&str]) -> Vec<Scripted> {
    texts.iter().copied().map(query).collect()
}

/// A sequence of about `len` steps. The same seed and flavor always make the same.
pub fn sequence(seed: u64, flavor: Flavor, len: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed);
    let capabilities = capabilities(&mut dice);
    let mut scripts: [VecDeque<Scripted>; SESSIONS] = Default::default();
    let mut bound: [Vec<Vec<u8>>; SESSIONS] = Default::default();
    let mut steps = Vec::new();
    for session in 0..SESSIONS {
        let login = log_in(&mut dice, capabilities);
        for scripted in begin(Action::LogIn(login)) {
            steps.push(step(session, scripted, false));
        }
    }
    while steps.len() < len || scripts.iter().any(|script| !script.is_empty()) {
        let session = dice.below(SESSIONS);
        if scripts[session].is_empty() && steps.len() < len {
            let mut maker = Maker {
                dice: &mut dice,
                flavor,
                session,
                bound: &mut bound[session],
            };
            scripts[session].extend(script(&mut maker, capabilities));
        }
        if let Some(scripted) = scripts[session].pop_front() {
            let strangers = dice.once_in(STRANGERS);
            steps.push(step(session, scripted, strangers));
        }
    }
    steps
}

fn step(session: usize, (action, mask): Scripted, strangers: bool) -> Step {
    Step {
        session,
        action,
        mask,
        strangers,
    }
}

/// All sessions of a sequence have the same: only then they share connections.
fn capabilities(dice: &mut Dice) -> Capabilities {
    let mut capabilities = CAPABILITIES | Capabilities::MULTI_RESULTS | Capabilities::PS_MULTI_RESULTS;
    for optional in [Capabilities::DEPRECATE_EOF, Capabilities::FOUND_ROWS] {
        capabilities.set(optional, dice.once_in(2));
    }
    // Without it, half of the statements of a script that wants it are errors.
    capabilities.set(Capabilities::MULTI_STATEMENTS, !dice.once_in(4));
    capabilities
}

fn log_in(dice: &mut Dice, capabilities: Capabilities) -> LogIn {
    // latin1_swedish_ci, utf8mb4_general_ci, utf8mb4_bin
    let collation = [8, 45, 46][dice.below(3)];
    let schema = dice.pick(&[SCHEMA, SCHEMA, SCHEMA, OTHER]).to_owned();
    LogIn {
        schema,
        capabilities,
        collation,
    }
}

/// What a session does next.
fn script(maker: &mut Maker<'_>, capabilities: Capabilities) -> Vec<Scripted> {
    let mut script = match maker.dice.below(40) {
        0..10 => data::script(maker),
        10..15 => transactions::script(maker),
        15..24 => state::script(maker),
        24..30 => prepared::script(maker),
        30..34 => mistakes::script(maker),
        34..37 => commands::script(maker),
        37 => anew(maker, capabilities),
        _ => inquiries::script(maker),
    };
    if maker.dice.once_in(3) {
        script.extend(inquiries::script(maker));
    }
    script
}

/// The session ends and begins again. What it holds is given back first: how long a server takes to notice the
/// end is nobody's promise.
fn anew(maker: &mut Maker<'_>, capabilities: Capabilities) -> Vec<Scripted> {
    maker.bound.clear();
    let mut script = queries(&["ROLLBACK", "UNLOCK TABLES", "DO RELEASE_ALL_LOCKS()"]);
    script.extend(begin(Action::LogIn(log_in(maker.dice, capabilities))));
    script
}

/// `FOUND_ROWS()` of a session that has asked nothing yet is what another left behind in the server's memory.
fn begin(action: Action) -> [Scripted; 2] {
    [(action, None), query("SELECT 1")]
}
