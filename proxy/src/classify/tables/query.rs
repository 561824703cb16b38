//! The walk over a statement's tokens: at each parenthesis depth it is known whether a table may be named next.

use super::super::facts::TableName;
use super::super::lexer::Kind;
use super::super::statement::{SELECT_OPTIONS, Statement};
use super::{Named, identifier, past, table_name};
use crate::topology::Flavor;

/// What may stand next at one depth of parentheses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A query has to begin: `SELECT`, `VALUES`, `TABLE`, `WITH`, or one in parentheses.
    Query,
    /// The first word in a parenthesis: a query, or an expression.
    Parenthesis,
    /// Behind `SELECT`, where `STRAIGHT_JOIN` is an option.
    Options,
    /// Expressions, names of columns, clauses: no table.
    Expressions,
    /// A table, or several in parentheses.
    Table,
    /// The first word in a parenthesis where a table is expected: a table, or a query.
    TableParenthesis,
    /// Behind a table: its alias and hints, the conditions of its join; a comma or `JOIN` leads to the next table.
    Joined,
    /// Behind `WITH` or a comma: the name of a common table expression.
    Definition,
    /// Behind such a definition: a comma and one more, or the statement.
    Defined,
    /// Behind the table of an `INSERT`.
    Inserted,
}

struct Level {
    state: State,
    /// Tables that are named here are changed.
    writes: bool,
    /// `FROM` begins a list of tables: a `SELECT` has been read and its `FROM` has not.
    select: bool,
    /// In `TRIM(… FROM …)` and its like, where `FROM` means something else.
    call: bool,
    /// In the `FROM` of a `DELETE`, before any `JOIN`, where `USING` begins the list of tables: how many had been read
    /// before it.
    targets: Option<usize>,
    with: bool,
    /// Behind `WITH RECURSIVE`.
    recursive: bool,
    /// Common table expressions that are visible from here on.
    expressions: Vec<Box<str>>,
    /// The one that is being defined, where it is not visible to itself.
    pending: Option<Box<str>>,
}

impl Level {
    fn new(state: State) -> Self {
        Self {
            state,
            writes: false,
            select: false,
            call: false,
            targets: None,
            with: false,
            recursive: false,
            expressions: Vec::new(),
            pending: None,
        }
    }
}

pub(super) struct Reading<'a> {
    all: Statement<'a>,
    at: usize,
    outer: Vec<Level>,
    here: Level,
    /// How many common table expressions have been defined.
    defined: usize,
    named: Named,
}

impl<'a> Reading<'a> {
    pub(super) fn new(all: Statement<'a>, at: usize) -> Self {
        Self {
            all,
            at,
            outer: Vec::new(),
            here: Level::new(State::Query),
            defined: 0,
            named: Named::default(),
        }
    }

    /// From behind the table's name.
    pub(super) fn insert(self) -> Self {
        self.beginning(State::Inserted)
    }

    pub(super) fn expressions(self) -> Self {
        self.beginning(State::Expressions)
    }

    fn beginning(mut self, state: State) -> Self {
        self.here.state = state;
        self
    }

    /// Reads to the end of the statement.
    pub(super) fn finish(mut self) -> Option<Named> {
        while self.at < self.all.len() {
            self.step()?;
        }
        let is_whole = matches!(
            self.here.state,
            State::Options | State::Expressions | State::Joined | State::Inserted
        );
        (is_whole && self.outer.is_empty()).then_some(self.named)
    }

    /// Reads a word or a few; nothing where that is not sure.
    fn step(&mut self) -> Option<()> {
        if self.all.is_mark(self.at, b')') {
            return self.close();
        }
        let first = self.outer.is_empty() && matches!(self.here.state, State::Query | State::Defined);
        match self.here.state {
            _ if first && self.is(0, &["UPDATE"]) => self.update(),
            _ if first && self.is(0, &["DELETE"]) => self.delete(),
            State::Query | State::Parenthesis => self.begin(),
            State::TableParenthesis => match self.begins_query() {
                true => self.begin(),
                false => self.pass(0, State::Table),
            },
            State::Options if self.all.is_one_of(self.at, SELECT_OPTIONS) => self.pass(1, State::Options),
            State::Options => self.pass(0, State::Expressions),
            State::Expressions => self.expression(),
            State::Table => self.table(),
            State::Joined => self.joined(),
            State::Definition => self.definition(),
            State::Defined => self.defined(),
            State::Inserted => self.inserted(),
        }
    }

    fn pass(&mut self, words: usize, state: State) -> Option<()> {
        self.at += words;
        self.here.state = state;
        Some(())
    }

    fn is(&self, ahead: usize, words: &[&str]) -> bool {
        self.all.is_one_of(self.at + ahead, words)
    }

    fn is_open(&self, ahead: usize) -> bool {
        self.all.is_mark(self.at + ahead, b'(')
    }

    /// Into the parenthesis here; `state` is what may stand first in it.
    fn open(&mut self, state: State) -> Option<()> {
        if self.outer.len() >= DEEPEST {
            return None;
        }
        self.at += 1;
        let inner = Level::new(state);
        self.outer.push(std::mem::replace(&mut self.here, inner));
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let is_whole = matches!(
            self.here.state,
            State::Parenthesis | State::Options | State::Expressions | State::Joined
        );
        self.here = self.outer.pop().filter(|_| is_whole)?;
        self.at += 1;
        Some(())
    }

    fn begins_query(&self) -> bool {
        self.is(0, &["SELECT", "VALUES", "TABLE", "WITH"])
    }

    /// A query, or, where a parenthesis may hold either, an expression.
    fn begin(&mut self) -> Option<()> {
        let only_query = self.here.state == State::Query;
        if self.begins_query() {
            self.here.writes = false;
            self.here.call = false;
        }
        match self.all.keyword(self.at).as_str() {
            "SELECT" => {
                self.here.select = true;
                self.pass(1, State::Options)
            }
            "VALUES" => self.pass(1, State::Expressions),
            "TABLE" => self.pass(1, State::Table),
            // Once for each depth: otherwise a name might be taken for visible where it is not.
            "WITH" if !self.here.with => {
                self.here.with = true;
                self.here.recursive = self.is(1, &["RECURSIVE"]);
                self.pass(1 + usize::from(self.here.recursive), State::Definition)
            }
            "WITH" => None,
            _ if only_query && self.is_open(0) => {
                self.here.state = State::Expressions;
                self.open(State::Query)
            }
            _ if only_query => None,
            _ => self.pass(0, State::Expressions),
        }
    }

    /// `UNION`, `EXCEPT`, `INTERSECT`, with the query that follows still to come.
    fn combined(&mut self) -> Option<()> {
        self.here.select = false;
        let words = 1 + usize::from(self.is(1, &["ALL", "DISTINCT"]));
        self.pass(words, State::Query)?;
        (self.is_open(0) || self.is(0, &["SELECT", "VALUES", "TABLE"])).then_some(())
    }

    /// `ON DUPLICATE KEY UPDATE` and MariaDB's `RETURNING` belong to the `INSERT`, not to the query before them.
    fn leaves_query(&mut self) -> bool {
        let words = match () {
            () if self.all.starts(self.at, &["ON", "DUPLICATE", "KEY", "UPDATE"]) => 4,
            () if self.all.dialect.flavor == Flavor::MariaDb && self.is(0, &["RETURNING"]) => 1,
            () => return false,
        };
        self.here.expressions.clear();
        self.here.select = false;
        self.at += words;
        self.here.state = State::Expressions;
        true
    }

    fn open_expression(&mut self) -> Option<()> {
        let before = self.at.wrapping_sub(1);
        let call = self.all.is_one_of(before, &CALLS_WITH_FROM);
        self.open(State::Parenthesis)?;
        self.here.call = call;
        Some(())
    }

    fn expression(&mut self) -> Option<()> {
        if self.is_open(0) {
            return self.open_expression();
        }
        if self.leaves_query() {
            return Some(());
        }
        let next = |words: &[&str]| self.is(1, words);
        match self.all.keyword(self.at).as_str() {
            "FROM" if self.here.call => self.pass(1, State::Expressions),
            "FROM" if self.here.select => {
                self.here.select = false;
                self.pass(1, State::Table)
            }
            "UNION" | "EXCEPT" | "INTERSECT" => self.combined(),
            "UPDATE" if self.all.is(self.at.wrapping_sub(1), "FOR") => self.pass(1, State::Expressions),
            "INSERT" | "REPLACE" if self.is_open(1) => self.pass(1, State::Expressions),
            "INTO" if self.all.kind(self.at + 1) == Some(Kind::UserVariable) => {
                self.pass(1, State::Expressions)
            }
            "INTO" if next(&["OUTFILE", "DUMPFILE"]) => self.pass(1, State::Expressions),
            "PROCEDURE" if next(&["ANALYSE"]) => self.pass(1, State::Expressions),
            "WITH" if next(&["ROLLUP", "QUERY", "TIES"]) => self.pass(1, State::Expressions),
            "FROM" | "JOIN" | "STRAIGHT_JOIN" | "TABLE" | "SELECT" | "DELETE" | "UPDATE" | "INSERT"
            | "REPLACE" | "INTO" | "PROCEDURE" | "WITH" => None,
            // Sequences are read and written by these.
            "NEXTVAL" | "LASTVAL" | "SETVAL" if self.is_open(1) => None,
            "NEXT" | "PREVIOUS" if next(&["VALUE"]) => None,
            _ if self.all.follows_dot(self.at)
                && matches!(self.all.name(self.at).as_str(), "nextval" | "currval") =>
            {
                None
            }
            _ => self.pass(1, State::Expressions),
        }
    }

    fn table(&mut self) -> Option<()> {
        let writes = self.here.writes;
        if self.is_open(0) {
            self.here.state = State::Joined;
            self.open(State::TableParenthesis)?;
            self.here.writes = writes;
            return Some(());
        }
        // ODBC's {OJ t LEFT JOIN u ON …}
        if self.all.is_mark(self.at, b'{') && self.all.is_name(self.at + 1) {
            return self.pass(2, State::Table);
        }
        if self.is(0, &["LATERAL"]) && self.is_open(1) {
            return self.pass(1, State::Table);
        }
        if self.is(0, &["JSON_TABLE"]) && self.is_open(1) {
            return self.pass(1, State::Joined);
        }
        if self.is(0, &["DUAL"]) {
            let dual = table_name(&self.all, self.at).map(|(dual, _)| dual);
            self.named.no_tables.extend(dual);
            return self.pass(1, State::Joined);
        }
        let (table, mut next) = table_name(&self.all, self.at)?;
        if self.here.targets.is_some() && self.all.is_mark(next, b'.') && self.all.is_mark(next + 1, b'*') {
            next += 2;
        }
        if self.all.is_mark(next, b'(') || self.all.is_mark(next, b'.') {
            return None;
        }
        self.at = next;
        self.here.state = State::Joined;
        self.note(table);
        Some(())
    }

    fn note(&mut self, table: TableName) {
        // Only of the innermost WITH: within its definitions MariaDB 10.11 takes the names of outer ones for tables.
        let levels = self.outer.iter().rev();
        let with = std::iter::once(&self.here).chain(levels).find(|level| level.with);
        let is_expression = table.schema.is_empty()
            && !self.here.writes
            && with.is_some_and(|level| level.expressions.contains(&table.name));
        if is_expression {
            self.named.no_tables.push(table);
            return;
        }
        if self.here.writes {
            self.named.writes.push(table.clone());
        }
        self.named.reads.push(table);
    }

    fn joined(&mut self) -> Option<()> {
        if self.is_open(0) {
            return self.open_expression();
        }
        if self.all.is_mark(self.at, b',') {
            return self.pass(1, State::Table);
        }
        if self.leaves_query() {
            return Some(());
        }
        let next = |words: &[&str]| self.is(1, words);
        match self.all.keyword(self.at).as_str() {
            "JOIN" | "STRAIGHT_JOIN" => {
                self.here.targets = None;
                self.pass(1, State::Table)
            }
            "USING" if self.here.targets.is_some() => {
                let before = self.here.targets.take()?;
                self.named.writes.clear();
                self.named.no_tables.extend(self.named.reads.drain(before..));
                self.pass(1, State::Table)
            }
            "UNION" | "EXCEPT" | "INTERSECT" => self.combined(),
            // The hint's own words: USE INDEX FOR JOIN (i), FOR ORDER BY, FOR GROUP BY
            "FOR" if next(&["JOIN", "ORDER", "GROUP"]) => self.pass(2, State::Joined),
            "FOR" if next(&["SYSTEM_TIME"]) => {
                let words = 2 + usize::from(self.is(2, &["FROM"]));
                self.pass(words, State::Joined)
            }
            "FOR" if next(&["UPDATE", "SHARE"]) => self.pass(2, State::Expressions),
            "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "PROCEDURE" | "INTO" | "LOCK" => {
                self.pass(0, State::Expressions)
            }
            "SET" if self.here.writes && self.outer.is_empty() => self.pass(1, State::Expressions),
            "REPLACE" | "INSERT" if self.is_open(1) => self.pass(1, State::Joined),
            "WITH" if next(&["TIES"]) => self.pass(1, State::Joined),
            "SELECT" | "FROM" | "TABLE" | "VALUES" | "UPDATE" | "DELETE" | "INSERT" | "REPLACE" | "WITH"
            | "FOR" | "SET" => None,
            _ => self.pass(1, State::Joined),
        }
    }

    /// `name [(columns)] AS (query)`
    fn definition(&mut self) -> Option<()> {
        let name = identifier(&self.all, self.at)?;
        self.at += 1;
        if self.is_open(0) {
            let end = self.all.past_group(self.at);
            let columns = self.at + 1..end.saturating_sub(1);
            let mut columns = columns.map(|at| self.all.is_name(at) || self.all.is_mark(at, b','));
            if !columns.all(|is_column| is_column) {
                return None;
            }
            self.at = end;
        }
        self.defined += 1;
        match self.here.recursive {
            true => self.here.expressions.push(name),
            false => self.here.pending = Some(name),
        }
        if !self.is(0, &["AS"]) || !self.is_open(1) || self.defined > MOST_EXPRESSIONS {
            return None;
        }
        self.at += 1;
        self.here.state = State::Defined;
        self.open(State::Query)
    }

    fn define_last(&mut self) {
        let name = self.here.pending.take();
        self.here.expressions.extend(name);
    }

    fn defined(&mut self) -> Option<()> {
        self.define_last();
        match self.all.is_mark(self.at, b',') {
            true => self.pass(1, State::Definition),
            false if self.is(0, &["SELECT", "VALUES", "TABLE"]) || self.is_open(0) => {
                self.pass(0, State::Query)
            }
            false => None,
        }
    }

    /// `UPDATE [options] tables SET …`: each table of a join counts as changed.
    fn update(&mut self) -> Option<()> {
        self.define_last();
        self.at = past(&self.all, self.at + 1, &["LOW_PRIORITY", "IGNORE"]);
        self.here.writes = true;
        self.pass(0, State::Table)
    }

    /// `DELETE FROM t`, `DELETE a, b FROM tables`, `DELETE FROM a, b USING tables`: what is deleted from must be
    /// among the tables, maybe by its alias; each table of a join counts as changed.
    fn delete(&mut self) -> Option<()> {
        self.define_last();
        let targets = past(&self.all, self.at + 1, &["LOW_PRIORITY", "QUICK", "IGNORE"]);
        let is_target = |at: usize| {
            self.all.is_name(at) || [b'.', b',', b'*'].iter().any(|&mark| self.all.is_mark(at, mark))
        };
        let from = (targets..self.all.len()).find(|&at| self.all.is(at, "FROM") || !is_target(at))?;
        self.here.targets = (from == targets).then_some(self.named.reads.len());
        self.here.writes = true;
        self.at = from + 1;
        self.here.state = State::Table;
        self.all.is(from, "FROM").then_some(())
    }

    /// `[PARTITION (p)] [(columns)] VALUES …`, `SET …` or a query.
    fn inserted(&mut self) -> Option<()> {
        if self.is_open(0) {
            return self.open(State::Parenthesis);
        }
        if self.leaves_query() {
            return Some(());
        }
        match self.all.keyword(self.at).as_str() {
            "PARTITION" if self.is_open(1) => self.pass(1, State::Inserted),
            "VALUES" | "VALUE" | "SET" | "ORDER" | "LIMIT" => self.pass(1, State::Expressions),
            "SELECT" | "TABLE" | "WITH" => self.pass(0, State::Query),
            "UNION" | "EXCEPT" | "INTERSECT" => self.combined(),
            _ => None,
        }
    }
}

const CALLS_WITH_FROM: [&str; 6] = ["EXTRACT", "MID", "SUBSTR", "SUBSTRING", "TRIM", "TRIM_ORACLE"];

/// Parentheses in parentheses. Deeper ones are nobody's, and the servers need memory for each too.
const DEEPEST: usize = 500;

/// So many common table expressions in a statement: each name is compared with all of them.
const MOST_EXPRESSIONS: usize = 64;
