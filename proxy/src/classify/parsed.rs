//! A second reading by sqlparser, on a miss only: which tables a statement names, and whether it agrees that a
//! statement is a plain query. It rejects much of ordinary MySQL; then our own rules stand alone.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sqlparser::ast::{
    Delete, Expr, FromTable, Function, Insert, ObjectName, Query, Select, SetExpr, Statement as Ast,
    TableFactor, TableObject, TableWithJoins, Update, Visit, Visitor,
};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::Dialect;
use super::facts::{TableName, Tables};
use super::functions::{self, Call};
use super::lexer::Lexer;
use super::normalise::sample;
use super::statement::Statement;

pub(crate) struct Parsed {
    /// A query that neither locks nor writes nor calls what isn't built in.
    pub(crate) plain_query: bool,
    pub(crate) tables: Tables,
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
    let mut seen = Seen {
        dialect,
        harmless: true,
        complete: true,
        names: Vec::new(),
    };
    let _ = statement.visit(&mut seen);
    let writes = match &statement {
        Ast::Query(_) => Vec::new(),
        Ast::Insert(insert) => inserted(insert)?,
        Ast::Update(update) => updated(update)?,
        Ast::Delete(delete) => deleted(delete)?,
        _ => return None,
    };
    let mut reads = seen.names;
    reads.sort_unstable();
    reads.dedup();
    Some(Parsed {
        plain_query: seen.harmless && matches!(statement, Ast::Query(_)),
        tables: Tables {
            reads,
            writes,
            complete: seen.complete,
        },
    })
}

/// Every relation that is named anywhere counts as read. The names of common table expressions are among them:
/// one more table to wait for does no harm, while leaving out a table of the same name would.
struct Seen {
    dialect: Dialect,
    harmless: bool,
    complete: bool,
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
        match table_name(relation) {
            Some(name) => self.names.push(name),
            None => self.complete = false,
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
            // Its name is not visited as a relation.
            SetExpr::Table(_) => self.complete = false,
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => {}
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

fn inserted(insert: &Insert) -> Option<Vec<TableName>> {
    match &insert.table {
        TableObject::TableName(name) => Some(vec![table_name(name)?]),
        _ => None,
    }
}

/// All tables of a joined update count as written.
fn updated(update: &Update) -> Option<Vec<TableName>> {
    joined(std::slice::from_ref(&update.table))
}

/// `DELETE a FROM t AS a` names an alias: the tables that it may stand for count as written.
fn deleted(delete: &Delete) -> Option<Vec<TableName>> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let mut written = joined(from)?;
    if let Some(using) = &delete.using {
        written.extend(joined(using)?);
    }
    for name in &delete.tables {
        written.push(table_name(name)?);
    }
    written.sort_unstable();
    written.dedup();
    Some(written)
}

fn joined(tables: &[TableWithJoins]) -> Option<Vec<TableName>> {
    let mut names = Vec::new();
    for table in tables {
        let joins = table.joins.iter().map(|join| &join.relation);
        for factor in std::iter::once(&table.relation).chain(joins) {
            match factor {
                TableFactor::Table { name, .. } => names.push(table_name(name)?),
                // What a derived table reads is among the reads.
                TableFactor::Derived { .. } => {}
                _ => return None,
            }
        }
    }
    Some(names)
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
