//! A second reading by sqlparser, on a miss only: whether it agrees that a statement is a plain query, and whether it
//! sees a table that we don't. It rejects much of ordinary MySQL; then our own rules stand alone.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sqlparser::ast::{Expr, Function, ObjectName, Query, Select, SetExpr, Statement as Ast, Visit, Visitor};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::Dialect;
use super::facts::TableName;
use super::functions::{self, Call};
use super::lexer::Lexer;
use super::normalise::sample;
use super::statement::Statement;
use super::tables::NO_NAMES;

pub(crate) struct Parsed {
    /// A query that neither locks nor writes nor calls what isn't built in.
    pub(crate) plain_query: bool,
    /// The relations that it sees, also common table expressions. Not surely all.
    pub(crate) tables: Vec<TableName>,
}

/// What sqlparser makes of the statement, if it can read it.
pub(crate) fn parse(one: &Statement<'_>) -> Option<Parsed> {
    if outgrows_stack(one) {
        return None;
    }
    let text = sample(one.text, one.tokens, LONGEST)?;
    if Lexer::new(text.as_bytes(), one.dialect).count() > MOST_TOKENS {
        return None;
    }
    // The text comes from clients and the parser from elsewhere: a panic in it must cost the second opinion, not
    // the worker. Nothing is shared with the closure that a panic could leave half done.
    let parsed = catch_unwind(AssertUnwindSafe(|| {
        stacker::maybe_grow(ROOM, STACK, || read(&text, one.dialect))
    }));
    parsed.ok().flatten()
}

/// Whether sqlparser may need a stack that its recursion limit does not bound: it reads joins by recursion that it
/// does not count, and copies the whole left side of each `DIV`. (Found by feeding it long chains on a small
/// stack; an overflow would end the process.)
fn outgrows_stack(one: &Statement<'_>) -> bool {
    let count = |words: &[&str]| (0..one.len()).filter(|&at| one.is_one_of(at, words)).count();
    count(&["JOIN", "STRAIGHT_JOIN"]) > MOST_JOINS || count(&["DIV"]) > 0
}

fn read(text: &str, dialect: Dialect) -> Option<Parsed> {
    let mut statements = Parser::new(&MySqlDialect {})
        .with_recursion_limit(DEEPEST)
        .try_with_sql(text)
        .ok()?
        .parse_statements()
        .ok()?;
    let statement = statements.pop().filter(|_| statements.is_empty())?;
    if !matches!(
        statement,
        Ast::Query(_) | Ast::Insert(_) | Ast::Update(_) | Ast::Delete(_)
    ) {
        return None;
    }
    let mut seen = Seen {
        dialect,
        harmless: true,
        names: Vec::new(),
    };
    let _ = statement.visit(&mut seen);
    Some(Parsed {
        plain_query: seen.harmless && matches!(statement, Ast::Query(_)),
        tables: seen.names,
    })
}

struct Seen {
    dialect: Dialect,
    harmless: bool,
    names: Vec<TableName>,
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.harmless &= query.locks.is_empty() && query.for_clause.is_none();
        self.body(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.harmless &= select.into.is_none();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        // What it takes for the table of `UPDATE IGNORE t` is none.
        let is_reserved = relation.0.iter().filter_map(|part| part.as_ident()).any(|name| {
            name.quote_style.is_none() && NO_NAMES.iter().any(|word| name.value.eq_ignore_ascii_case(word))
        });
        if !is_reserved {
            self.names.extend(table_name(relation));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.harmless &= is_built_in(function, self.dialect);
        }
        ControlFlow::Continue(())
    }
}

impl Seen {
    fn body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.harmless = false;
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {}
        }
    }
}

fn is_built_in(function: &Function, dialect: Dialect) -> bool {
    match function.name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|name| {
            name.quote_style.is_none()
                && functions::look_up(&name.value.to_ascii_uppercase(), dialect) != Call::Unknown
        }),
        _ => false,
    }
}

fn table_name(name: &ObjectName) -> Option<TableName> {
    let mut parts = name.0.iter().rev();
    let table = parts.next()?.as_ident()?;
    let schema = match parts.next() {
        Some(part) => part.as_ident()?.value.as_str(),
        None => "",
    };
    parts.next().is_none().then(|| TableName {
        schema: schema.into(),
        name: table.value.as_str().into(),
    })
}

const LONGEST: usize = 64 << 10;

/// The stack that sqlparser's deepest recursion fits, and what must be left of the thread's own stack to do without.
///
/// Its own guard asks for 128 KiB before each step, but a step of an unoptimised build takes more than that, and
/// an overflow would end the process. Optimised, the chains of the tests pass on half of that room, and growing
/// the stack would cost five times what the parsing does.
const STACK: usize = 16 << 20;
const ROOM: usize = if cfg!(debug_assertions) { STACK } else { 1 << 20 };

/// A chain of operators makes a tree as deep as it is long, and dropping a tree recurses: this many tokens fit
/// [`STACK`] many times over.
const MOST_TOKENS: usize = 1500;

/// The servers join 61 tables at most (MySQL manual, "Limits on Joins").
const MOST_JOINS: usize = 61;

const DEEPEST: usize = 50;
