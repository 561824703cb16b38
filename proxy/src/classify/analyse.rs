//! The analysis of one packet's text, made once for each shape.

use super::facts::{Defines, Facts, Kind, Links, Pins, Purity, TableName, Tables};
use super::hint::Hints;
use super::identity::Identified;
use super::lexer::{self, Lexer, Token};
use super::matched::Matched;
use super::statement::{Findings, Statement};
use super::tally::Tally;
use super::{Dialect, leaves, looked_at, parsed, tables, variables, verbs};

/// Everything the text says. Uncached: [`super::Classifier`] is filled with this.
pub fn analyse(text: &[u8], dialect: Dialect) -> Facts {
    let (seen, whole) = looked_at(text);
    let mut lexer = Lexer::new(seen, dialect);
    // A token and the space before it have four bytes and more, mostly.
    let mut tokens: Vec<Token> = Vec::with_capacity(seen.len() / 4);
    tokens.extend(lexer.by_ref());
    if whole && lexer.broken() {
        return unreadable();
    }
    let statements = split(&Statement {
        text: seen,
        tokens: &tokens,
        dialect,
    });
    let mut found = match statements.as_slice() {
        [] => Findings::new(Kind::Empty),
        [one] => {
            let mut found = verbs::read(one);
            found.links |= leaves::links(one, &found);
            found
        }
        many => several(many),
    };
    if statements.iter().any(variables::concerns_trackers) {
        found.links |= Links::TRACKERS;
        if found.kind == Kind::Multi {
            // What is set beside them is not reported.
            found.pins |= Pins::UNKNOWN;
        }
    }
    if !whole {
        cut_short(&mut found);
    }
    if found.calls_unknown {
        found.links |= Links::CALLS_UNKNOWN;
    }
    let mut tables = match statements.as_slice() {
        [one] if whole => look_closer(one, &mut found),
        _ => Tables::default(),
    };
    tables.defines = found.defines;
    Facts {
        kind: found.kind,
        purity: found.reason.unwrap_or(Purity::Pure),
        pins: found.pins,
        unpins: found.unpins,
        links: found.links,
        unreported: found.unreported,
        tables,
        hints: lexer.hints(),
        tally: Tally::default(),
        matched: Matched::default(),
        parts: Identified::default(),
    }
}

/// What is assumed of a text that can't be read to its end.
pub(crate) fn unreadable() -> Facts {
    Facts {
        kind: Kind::Unknown,
        purity: Purity::Unreadable,
        pins: Pins::UNKNOWN,
        unpins: Pins::empty(),
        links: Links::empty(),
        unreported: Vec::new(),
        tables: Tables {
            defines: Defines::Surely,
            ..Tables::default()
        },
        hints: Hints::default(),
        tally: Tally::default(),
        matched: Matched::default(),
        parts: Identified::default(),
    }
}

/// The packet's statements, without the empty ones.
pub(super) fn split<'a>(all: &Statement<'a>) -> Vec<Statement<'a>> {
    let mut statements = Vec::new();
    let mut rest = *all;
    while rest.len() > 0 {
        let end = (0..rest.len())
            .find(|&at| rest.kind(at) == Some(lexer::Kind::Semicolon))
            .unwrap_or(rest.len());
        let one = rest.until(end);
        if verbs::is_compound(&one) {
            statements.push(rest);
            break;
        }
        if one.len() > 0 {
            statements.push(one);
        }
        rest = rest.rest(end + 1);
    }
    statements
}

fn several(statements: &[Statement<'_>]) -> Findings {
    let mut found = Findings::new(Kind::Multi);
    for one in statements {
        let one = verbs::read(one);
        match one.kind {
            // What is refused alone is refused in company, with all of it.
            Kind::Control | Kind::Replication => found.kind = Kind::Control,
            Kind::Kill if found.kind == Kind::Multi => found.kind = Kind::Kill,
            _ => {}
        }
        found.add(&one);
    }
    found
}

/// Only the beginning was looked at: anything may follow, but a change of data ends in an OK that reports it.
fn cut_short(found: &mut Findings) {
    found.blame(Purity::Unreadable);
    found.unpins = Pins::empty();
    let is_change = matches!(
        found.kind,
        Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Load
    );
    if !is_change {
        found.pins |= Pins::UNKNOWN;
    }
}

/// Finds the tables, and asks sqlparser for a second opinion of what our rules hold for a pure read and of the tables.
fn look_closer(one: &Statement<'_>, found: &mut Findings) -> Tables {
    let parsed = match found.kind {
        Kind::Select | Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Load => {
            parsed::parse(one)
        }
        Kind::Show | Kind::Explain => None,
        _ => return Tables::default(),
    };
    if found.kind == Kind::Select && parsed.as_ref().is_some_and(|parsed| !parsed.plain_query) {
        found.blame(Purity::Disagreement);
    }
    let Some(named) = tables::named(one) else {
        return Tables::default();
    };
    let ours = [&named.reads, &named.writes, &named.no_tables];
    let overlooked = |table: &TableName| !ours.iter().any(|list| list.contains(table));
    Tables {
        complete: !found.calls_unknown && !parsed.is_some_and(|parsed| parsed.tables.iter().any(overlooked)),
        reads: named.reads,
        writes: named.writes,
        ..Tables::default()
    }
    .keyed()
}
