//! `SET` in all its forms.

use super::Dialect;
use super::body;
use super::facts::{Kind, Links, Pins, Purity};
use super::lexer::{self, Lexer, Token};
use super::statement::{Findings, Statement};
use super::variables;

/// `SET …`, with the verb at 0.
pub(crate) fn set(all: &Statement<'_>) -> Findings {
    let reach = Reach::at(all, 1);
    let after_scope = if reach == Reach::Unsaid { 1 } else { 2 };
    if all.is(after_scope, "TRANSACTION") {
        return transaction(reach);
    }
    match all.keyword(1).as_str() {
        "PASSWORD" => changes_logins(Findings::because(Kind::Ddl, Purity::Writes)),
        "DEFAULT" if all.is(2, "ROLE") => changes_logins(Findings::because(Kind::Ddl, Purity::Writes)),
        "ROLE" => Findings::because(Kind::Set, Purity::SessionState).pinning(Pins::IDENTITY),
        "SESSION" if all.is(2, "AUTHORIZATION") => {
            Findings::because(Kind::Set, Purity::SessionState).pinning(Pins::IDENTITY)
        }
        "RESOURCE" if all.is(2, "GROUP") => {
            Findings::because(Kind::Admin, Purity::Writes).pinning(Pins::UNKNOWN)
        }
        "STATEMENT" if !is_assigned(all, 2) => for_statement(all),
        _ => assignments(all, 1),
    }
}

pub(crate) fn changes_logins(mut found: Findings) -> Findings {
    found.links |= Links::CHANGES_LOGINS;
    found
}

fn is_assigned(all: &Statement<'_>, at: usize) -> bool {
    all.is_mark(at, b'=') || all.kind(at) == Some(lexer::Kind::Assign)
}

/// `SET TRANSACTION …`: without a scope it is for the next transaction only.
fn transaction(reach: Reach) -> Findings {
    match reach {
        Reach::Global | Reach::Persist | Reach::PersistOnly => {
            changes_logins(Findings::because(Kind::Admin, Purity::Writes))
        }
        Reach::Session => Findings::because(Kind::Set, Purity::SessionState),
        Reach::Unsaid => Findings::because(Kind::Set, Purity::SessionState).pinning(Pins::NEXT_TRANSACTION),
    }
}

/// MariaDB's `SET STATEMENT a=1, b=2 FOR <statement>`: the statement counts, the values are gone after it.
fn for_statement(all: &Statement<'_>) -> Findings {
    let Some(at) = all.find_outside(2, &["FOR"]) else {
        return Findings::because(Kind::Set, Purity::SessionState).pinning(Pins::UNKNOWN);
    };
    let values = assignments(&all.until(at), 2);
    let inner = all.rest(at + 1);
    if inner.starts(0, &["SET", "STATEMENT"]) {
        // Looked through once only: a long chain of them would need a deep stack.
        return Findings::because(Kind::Set, Purity::SessionState).pinning(Pins::UNKNOWN);
    }
    let mut found = super::verbs::read(&inner);
    // Plain values change how a statement runs, not what it does; any other reason counts.
    let tied = !values.pins.is_empty() || values.reason != Some(Purity::SessionState);
    if tied {
        found.blame(values.reason.unwrap_or(Purity::SessionState));
    }
    found.pins |= values.pins & Pins::USER_VARIABLE;
    found.links |= values.links;
    found.calls_unknown |= values.calls_unknown;
    found
}

/// `a = 1, @b = 2, @@session.c = 3, NAMES utf8mb4`
fn assignments(all: &Statement<'_>, from: usize) -> Findings {
    let mut found = Findings::new(Kind::Set);
    let mut global = false;
    let mut carried = Reach::Unsaid;
    let mut start = from;
    while start < all.len() {
        let end = end_of_assignment(all, start);
        let one = all.until(end).rest(start);
        global |= assignment(&one, &mut carried, &mut found).is_global();
        start = end + 1;
    }
    if global {
        found.kind = Kind::Admin;
        found.links |= Links::CHANGES_DEFAULTS;
        found.reason = Some(Purity::Writes);
    }
    if found.calls_unknown {
        // The function's effects end with the SET's own OK, which tells what can be told.
        found.reason = Some(Purity::UnknownFunction);
    }
    found.blame(Purity::SessionState);
    found
}

/// For whom a `SET` changes a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// No scope was said: the session, or with a direct `@@name` some the next transaction.
    Unsaid,
    Session,
    Global,
    Persist,
    PersistOnly,
}

impl Reach {
    /// What a word says of it.
    fn at(all: &Statement<'_>, at: usize) -> Self {
        match all.keyword(at).as_str() {
            "GLOBAL" => Self::Global,
            "PERSIST" => Self::Persist,
            "PERSIST_ONLY" => Self::PersistOnly,
            "SESSION" | "LOCAL" => Self::Session,
            _ => Self::Unsaid,
        }
    }

    fn is_global(self) -> bool {
        matches!(self, Self::Global | Self::Persist | Self::PersistOnly)
    }
}

/// A variable that a `SET` names, in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) reach: Reach,
    pub(crate) name: String,
    /// Of one with parts, as MyISAM's key caches are.
    pub(crate) part: Option<String>,
}

/// What a `SET` names, but for user variables. Of `SET TRANSACTION` that is `transaction`.
pub(crate) fn targets(text: &[u8], dialect: Dialect) -> Vec<Target> {
    let tokens: Vec<Token> = Lexer::new(text, dialect).collect();
    let all = Statement {
        text,
        tokens: &tokens,
        dialect,
    };
    let mut targets = Vec::new();
    if !all.is(0, "SET") {
        return targets;
    }
    let mut carried = Reach::Unsaid;
    let mut start = 1;
    while start < all.len() {
        let end = end_of_assignment(&all, start);
        let one = all.until(end).rest(start);
        start = end + 1;
        if is_names(&one) {
            targets.extend(NAMES.map(|name| Target {
                reach: Reach::Session,
                name: name.to_owned(),
                part: None,
            }));
            continue;
        }
        let (reach, at) = head(&one, &mut carried);
        let name = one.name(at);
        if !name.is_empty() {
            targets.push(Target {
                reach,
                name,
                part: one.is_mark(at + 1, b'.').then(|| one.name(at + 2)),
            });
        }
    }
    targets
}

/// The session variables that a `SET` names: what to ask for where the server does not report them.
pub(crate) fn assigned(text: &[u8], dialect: Dialect) -> Vec<String> {
    let of_session = |target: Target| {
        let is_own = matches!(target.reach, Reach::Unsaid | Reach::Session);
        is_own.then_some(target.name)
    };
    let targets = targets(text, dialect).into_iter();
    targets.filter_map(of_session).collect()
}

/// What `SET NAMES` and `SET CHARACTER SET` change.
const NAMES: [&str; 4] = [
    "character_set_client",
    "character_set_results",
    "character_set_connection",
    "collation_connection",
];

fn end_of_assignment(all: &Statement<'_>, start: usize) -> usize {
    let mut at = start;
    while at < all.len() && !all.is_mark(at, b',') {
        at = if all.is_mark(at, b'(') {
            all.past_group(at)
        } else {
            at + 1
        };
    }
    at.min(all.len())
}

fn is_names(one: &Statement<'_>) -> bool {
    one.is_one_of(0, &["NAMES", "CHARACTER", "CHARSET"]) && !is_assigned(one, 1)
}

fn is_direct(one: &Statement<'_>) -> bool {
    one.kind(0) == Some(lexer::Kind::SystemVariable)
}

/// The reach of an assignment, and where its name stands.
///
/// `carried` is that of the keyword before, which goes on for the assignments after it, but for those to a direct `@@name`.
fn head(one: &Statement<'_>, carried: &mut Reach) -> (Reach, usize) {
    let direct = is_direct(one);
    let at = usize::from(direct);
    match (Reach::at(one, at), direct) {
        (Reach::Unsaid, true) => (Reach::Unsaid, at),
        (Reach::Unsaid, false) => (*carried, at),
        (own, true) => (own, at + 2),
        (own, false) => {
            *carried = own;
            (own, at + 1)
        }
    }
}

/// One assignment: what it sets goes to `found`, and its reach comes back. For `carried` see [`head`].
fn assignment(one: &Statement<'_>, carried: &mut Reach, found: &mut Findings) -> Reach {
    if is_names(one) {
        body_of(one, 1, found);
        return Reach::Unsaid;
    }
    if one.kind(0) == Some(lexer::Kind::UserVariable) {
        found.pins |= Pins::USER_VARIABLE;
        found.blame(Purity::UserVariable);
        body_of(one, 1, found);
        return Reach::Unsaid;
    }
    let (reach, at) = head(one, carried);
    let name = one.name(at);
    if !reach.is_global() {
        found.pins |= variables::setting(&name);
    }
    if is_direct(one) && reach == Reach::Unsaid {
        match variables::is_transaction_characteristic(&name) {
            true => found.pins |= Pins::NEXT_TRANSACTION,
            false => found.unreported.push(name.into_boxed_str()),
        }
    }
    body_of(one, at + 1, found);
    reach
}

fn body_of(one: &Statement<'_>, at: usize, found: &mut Findings) {
    let mut value = Findings::new(Kind::Set);
    body::scan(&one.rest(at), &mut value);
    // A value may be copied from any variable: what is read leaves no trace but the value.
    if value.reason == Some(Purity::ServerLocal) {
        value.reason = None;
    }
    found.add(&value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_set_are_its_session_variables() {
        let assigned = |text: &str| assigned(text.as_bytes(), Dialect::MARIADB);
        assert_eq!(
            assigned("SET sql_mode='a,b', @x=1, @@session.time_zone=IF(1,2,3), GLOBAL a=1, b=2, @@c=3"),
            ["sql_mode", "time_zone", "c"]
        );
        assert_eq!(
            assigned("SET SESSION `Session_Track_Schema`=0"),
            ["session_track_schema"]
        );
        assert_eq!(assigned("SET NAMES utf8mb4, autocommit=1").len(), 5);
    }
}
