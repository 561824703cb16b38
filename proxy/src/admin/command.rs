//! The text of an admin statement → a [`Command`]: pure, and the only place that knows the admin port's language.
//!
//! It also answers what clients ask unbidden when they connect: the `mariadb` client `select @@version_comment limit 1`,
//! PyMySQL `SET AUTOCOMMIT = 0`, mysql_async `SELECT @@max_allowed_packet,@@wait_timeout`, and so on.

mod config;
mod firewall;
mod short;

use std::borrow::Cow;
use std::time::Duration;

use super::dialect;
use super::tables::Source;
use super::view::Question;
use crate::config::live::Assignment;
use crate::firewall::keeper::Which;
use crate::net::address::Peer;
use crate::statistics::trace;

/// What an administrator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// All of a table.
    Table(Source),
    /// The most read shapes of statement, as many as this.
    Reads(usize),
    /// A SELECT over the tables, or what was written shorter and comes to one.
    Query(String),
    CreateTable(String),
    /// To the server of this name, within seconds.
    Switchover(Switchover),
    /// The server of this name.
    Drain(String),
    Open(String),
    Pause,
    Resume,
    Reload,
    /// Keys of the configuration.
    Set(Vec<Assignment>),
    /// The query for keys and their new values.
    Update(String),
    SaveConfig,
    FirewallAccept(Which),
    FirewallForget(Which),
    ConfigDiff,
    ResetStatistics,
    EmptyCache,
    Trace {
        session: u32,
        statements: u32,
    },
    ExplainRoute(Question),
    Kill(u32),
    Warnings,
    /// What the client's own account may do.
    Grants,
    /// Without tables; and the statement itself, for what of it is not known here.
    Select(Vec<Item>, String),
    Use(String),
    /// `SET …`, `BEGIN` and their like: nothing to do, nothing to say.
    Nothing,
}

/// `SWITCHOVER [TO name] [TIMEOUT seconds] [FORCE] [DRY RUN]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switchover {
    pub(crate) to: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
}

/// One expression of a `SELECT` without tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The column's name: the alias, or the expression as written.
    pub(crate) name: String,
    pub(crate) value: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Number(u64),
    Text(String),
    Null,
    /// `@@name`, without its scope, in lower case.
    Variable(String),
    /// `NAME()`, in lower case.
    Function(String),
}

/// Why a text is no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Query was empty")]
    Empty,
    #[error(
        "Tandem's admin port does not know this statement, near '{near}'; it knows {}",
        known()
    )]
    Unknown { near: String },
    #[error(
        "EXPLAIN ROUTE needs a statement, for instance EXPLAIN ROUTE SELECT 1, or EXPLAIN ROUTE FOR app IN shop FROM 192.0.2.7 \
         SELECT 1"
    )]
    NothingToExplain,
    #[error(
        "SWITCHOVER is written SWITCHOVER [TO <server>] [TIMEOUT <seconds>] [FORCE] [DRY RUN], with the server's name as SHOW SERVERS has it"
    )]
    NoSwitchover,
    #[error("{0} needs the name of a server, as SHOW SERVERS has it")]
    NoServer(&'static str),
    #[error("Table '{0}' doesn't exist; SHOW TABLES lists what there is")]
    NoTable(String),
    #[error(
        "SET is written SET <section>.<key> = <value>, or SET server.<name>.<key> = <value>; DEFAULT is a value too, and SHOW CONFIG has the keys"
    )]
    NoAssignment,
    #[error(
        "UPDATE is written UPDATE config SET value = <value> WHERE <condition>; no other table can be changed"
    )]
    NoUpdate,
    #[error(
        "FIREWALL is written FIREWALL ACCEPT <digest> [FOR <account>] [IN <schema>], or FORGET in the place of ACCEPT, with the digest as \
         SHOW FIREWALL has it; or ALL in its place, where FOR names an account"
    )]
    NoFirewall,
    #[error("KILL needs the id of a session, as SHOW SESSIONS has it")]
    NoSessionId,
    #[error("TRACE is written TRACE SESSION <id> [LIMIT <statements>], with the id as SHOW SESSIONS has it")]
    NoTrace,
}

/// The commands with what they do, for `SHOW COMMANDS` and for the error that names them.
pub(crate) const COMMANDS: [(&str, &str); 33] = [
    (
        "SHOW SERVERS",
        "The servers as the last probes saw them, and the role each one has",
    ),
    (
        "SHOW SESSIONS",
        "Every client connection, what it does and what ties it",
    ),
    (
        "SHOW POOLS",
        "Connections to the servers, for each worker and server",
    ),
    (
        "SHOW LIMITS",
        "How much is used of limits that workers share, for each worker",
    ),
    (
        "SHOW FAILOVER",
        "Whether the standby could take over now, and if not, why",
    ),
    (
        "SHOW EVENTS",
        "What was done about the roles of the servers, newest first",
    ),
    (
        "SHOW AUDIT",
        "What was done on this port, and who tried to log in without success, newest first",
    ),
    ("SHOW COUNTERS", "What has been counted since Tandem started"),
    (
        "SHOW READS [LIMIT <n>]",
        "The statements that read most (20), how much of them the standby answered, and why not more",
    ),
    (
        "SHOW DIGESTS [LIMIT <n>]",
        "Statements by shape, without values: how many, how long (also of the last minute), how much, where and why",
    ),
    (
        "TRACE SESSION <id> [LIMIT <n>]",
        "Keep the steps of the session's next statements (10), each with its time; SHOW TRACES shows them",
    ),
    (
        "RESET STATS",
        "Has the numbers of SHOW DIGESTS, READS and USERS and the longest waits of SHOW POOLS begin anew, and forgets SHOW TRACES; counters go on",
    ),
    (
        "EMPTY CACHE",
        "Gives up all replies that rules have kept (cache = \"10s\"); SHOW COUNTERS LIKE 'cache%' has what became of them",
    ),
    (
        "SHOW RULES",
        "The rules in their order, and how many statements each has decided on",
    ),
    (
        "SHOW FIREWALL",
        "The statements that accounts may send, and others that were warned of or refused",
    ),
    (
        "FIREWALL ACCEPT <digest> | ALL [FOR <account>] [IN <schema>]",
        "Let statements through that SHOW FIREWALL lists as new; ALL leaves out those that run what their text does not show",
    ),
    (
        "FIREWALL FORGET <digest> | ALL [FOR <account>] [IN <schema>]",
        "Forget statements, so that they are new when they come again",
    ),
    (
        "SHOW MIRRORS",
        "The mirrors of rules; SHOW MIRROR: how many of their answers were the same, by statement; SHOW MIRROR_DIFFERENCES: in what not",
    ),
    ("SHOW COMMANDS", "This list"),
    (
        "SELECT …",
        "Any question over these as tables, joins and groups too: SHOW TABLES, DESCRIBE <table>",
    ),
    (
        "EXPLAIN ROUTE [FOR <user>] [IN <schema>] [FROM <address>] <statement>",
        "Where the statement would go, and why, with each rule that is tried; it is not run",
    ),
    ("KILL <id>", "End a session"),
    (
        "SWITCHOVER [TO <server>] [TIMEOUT <seconds>] [FORCE] [DRY RUN]",
        "Make the other server the active master, without an error for anybody; FORCE: though the active one is dead and \
         commits may be lost; DRY RUN: only say whether it could be done",
    ),
    (
        "DRAIN <server>",
        "Take the standby out for work on it: no reads, no waiting for it, no promotion, nothing done to it",
    ),
    ("OPEN <server>", "Let it back in"),
    ("PAUSE", "No automatic failover until RESUME"),
    ("RESUME", "Automatic failover is possible again"),
    (
        "RELOAD",
        "Read the configuration file again and go by it, or change nothing if anything in it is wrong; shows what is another",
    ),
    (
        "SHOW CONFIG [LIKE '<pattern>']",
        "Every key of the configuration, its value, and where that comes from",
    ),
    ("SHOW CONFIG DIFF", "What acts and differs from the file, and why"),
    (
        "SET <section>.<key> = <value>",
        "Change a key of the configuration, until the next RELOAD; SAVE CONFIG keeps it",
    ),
    (
        "UPDATE config SET value = <value> WHERE <condition>",
        "Change several, all of them or none",
    ),
    ("SAVE CONFIG", "Write what was set into the file; comments stay"),
];

fn known() -> String {
    COMMANDS.map(|(name, _)| name).join(", ")
}

/// How many statements `SHOW READS` shows unless it is told, and the most that it can be told.
const READS: usize = 20;
pub(crate) const MOST_READS: usize = 1000;

/// How many statements `TRACE SESSION` keeps the steps of unless it is told.
const TRACED: u32 = 10;

/// How much of a refused statement the error repeats.
const NEAR: usize = 60;

/// Words that ask for nothing that an admin port could do, and that clients send unasked.
const IGNORED: [&str; 6] = ["SET", "BEGIN", "START", "COMMIT", "ROLLBACK", "FLUSH"];

/// Reads one statement. Case does not matter; comments and a closing `;` are looked through.
pub(crate) fn parse(text: &str) -> Result<Command, Refusal> {
    // What is to be explained is explained as it was written.
    let plain = match is_explained(text) {
        true => Cow::Borrowed(text),
        false => dialect::plain(text),
    };
    let text = skip(&plain);
    let (verb, rest) = word(text);
    let command = match verb.to_ascii_uppercase().as_str() {
        "" if ended(text) => return Err(Refusal::Empty),
        "SHOW" => return short::show(text, rest),
        "EXPLAIN" => match word_only(rest) {
            // A comment that comes now may be a hint.
            (route, question) if route.eq_ignore_ascii_case("ROUTE") => {
                return explained(question.trim_start());
            }
            _ => None,
        },
        "KILL" => return session_id(rest),
        "SWITCHOVER" => return switchover(rest),
        "DRAIN" => return server(rest, "DRAIN").map(Command::Drain),
        "OPEN" => return server(rest, "OPEN").map(Command::Open),
        "PAUSE" if ended(rest) => Some(Command::Pause),
        "RESUME" if ended(rest) => Some(Command::Resume),
        "SET" if let Some(set) = config::set(rest) => return set,
        "UPDATE" => return config::update(rest),
        "FIREWALL" => return firewall::firewall(rest),
        "SAVE" if expect(rest, "CONFIG").is_some_and(ended) => Some(Command::SaveConfig),
        "RELOAD" if ended(expect(rest, "CONFIG").unwrap_or(rest)) => Some(Command::Reload),
        "TRACE" => return traced(rest),
        "RESET" => match expect(rest, "STATS").or_else(|| expect(rest, "STATISTICS")) {
            Some(rest) if ended(rest) => Some(Command::ResetStatistics),
            _ => None,
        },
        "EMPTY" if expect(rest, "CACHE").is_some_and(ended) => Some(Command::EmptyCache),
        "HELP" => Some(Command::Table(Source::Commands)),
        "SELECT" => Some(match select(rest) {
            Some(items) => Command::Select(items, dialect::for_sqlite(text).into_owned()),
            None => Command::Query(dialect::for_sqlite(text).into_owned()),
        }),
        "WITH" | "VALUES" => Some(Command::Query(dialect::for_sqlite(text).into_owned())),
        "DESCRIBE" | "DESC" => return short::columns(rest, false),
        "USE" => name(rest).map(Command::Use),
        ignored if IGNORED.contains(&ignored) => Some(Command::Nothing),
        _ => None,
    };
    command.ok_or_else(|| Refusal::Unknown {
        near: text.chars().take(NEAR).collect(),
    })
}

/// Whether a statement holds another one, whose literals and question marks are its own.
pub(super) fn is_explained(text: &str) -> bool {
    expect(skip(text), "EXPLAIN").is_some()
}

fn reads(text: &str) -> Option<Command> {
    let Some(text) = expect(text, "LIMIT") else {
        return ended(text).then_some(Command::Reads(READS));
    };
    let (count, rest) = word(text);
    let count = count.parse().ok().filter(|_| ended(rest))?;
    Some(Command::Reads(MOST_READS.min(count)))
}

fn traced(text: &str) -> Result<Command, Refusal> {
    let (session, rest) = expect(text, "SESSION").map(word).ok_or(Refusal::NoTrace)?;
    let session = session.parse().map_err(|_| Refusal::NoTrace)?;
    let statements = match expect(rest, "LIMIT") {
        None if ended(rest) => Some(TRACED),
        None => None,
        Some(rest) => {
            let (count, rest) = word(rest);
            count.parse().ok().filter(|_| ended(rest))
        }
    };
    let statements = statements.ok_or(Refusal::NoTrace)?.min(trace::MOST);
    Ok(Command::Trace { session, statements })
}

/// `[FOR <user>] [IN <schema>] [FROM <address>] <statement>`
fn explained(mut text: &str) -> Result<Command, Refusal> {
    let mut question = Question::default();
    loop {
        let (keyword, rest) = word(text);
        let (slot, rest) = match keyword.to_ascii_uppercase().as_str() {
            "FOR" => (&mut question.user, rest),
            "IN" => (&mut question.schema, rest),
            "FROM" => {
                let (address, rest) = address(rest).ok_or(Refusal::NothingToExplain)?;
                question.client = Some(address);
                text = rest;
                continue;
            }
            _ => break,
        };
        let (name, rest) = quoted(rest)
            .or_else(|| nonempty(word_only(rest)))
            .ok_or(Refusal::NothingToExplain)?;
        *slot = Some(name.to_owned());
        text = rest.trim_start();
    }
    // The statement's own comments stay: hints are comments.
    let statement = text
        .trim()
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    if statement.is_empty() {
        return Err(Refusal::NothingToExplain);
    }
    question.statement = statement.to_owned();
    Ok(Command::ExplainRoute(question))
}

/// An address or `socket`, and what follows it.
fn address(text: &str) -> Option<(Peer, &str)> {
    let (written, rest) = match quoted(text) {
        Some(found) => found,
        None => text.split_at(text.find(char::is_whitespace).unwrap_or(text.len())),
    };
    let client = match written.eq_ignore_ascii_case("socket") {
        true => Peer::Local,
        false => Peer::Tcp((written.parse::<std::net::IpAddr>().ok()?, 0).into()),
    };
    Some((client, rest.trim_start()))
}

fn session_id(text: &str) -> Result<Command, Refusal> {
    let text = expect(text, "CONNECTION").unwrap_or(text);
    // Clients that put values into a text put numbers into quotes, too.
    let (id, rest) = quoted(text).unwrap_or_else(|| word(text));
    match id.parse() {
        Ok(id) if ended(skip(rest)) => Ok(Command::Kill(id)),
        _ => Err(Refusal::NoSessionId),
    }
}

fn server(text: &str, verb: &'static str) -> Result<String, Refusal> {
    let found = server_name(text).filter(|(_, rest)| ended(rest));
    found
        .map(|(name, _)| name.to_owned())
        .ok_or(Refusal::NoServer(verb))
}

/// In quotes or not: a server's name may have more in it than a word has.
fn server_name(text: &str) -> Option<(&str, &str)> {
    let bare = || {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        nonempty(text.split_at(end.unwrap_or(text.len())))
    };
    let (name, rest) = quoted(text).or_else(bare)?;
    Some((name, skip(rest)))
}

fn switchover(mut text: &str) -> Result<Command, Refusal> {
    let mut wanted = Switchover::default();
    while !ended(text) {
        if let Some(rest) = expect(text, "TO") {
            let (name, rest) = server_name(rest).ok_or(Refusal::NoSwitchover)?;
            wanted.to = Some(name.to_owned());
            text = rest;
        } else if let Some(rest) = expect(text, "TIMEOUT") {
            let (seconds, rest) = word(rest);
            let seconds: u32 = seconds.parse().map_err(|_| Refusal::NoSwitchover)?;
            wanted.timeout = Some(Duration::from_secs(seconds.into()));
            text = rest;
        } else if let Some(rest) = expect(text, "FORCE") {
            wanted.force = true;
            text = rest;
        } else if let Some(rest) = expect(text, "DRY").and_then(|rest| expect(rest, "RUN")) {
            wanted.dry_run = true;
            text = rest;
        } else {
            return Err(Refusal::NoSwitchover);
        }
    }
    Ok(Command::Switchover(wanted))
}

fn select(mut text: &str) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    loop {
        let (item, rest) = item(text)?;
        items.push(item);
        match rest.strip_prefix(',') {
            Some(next) => text = skip(next),
            None => return limited(rest).then_some(items),
        }
    }
}

/// What may follow the expressions: nothing, or `LIMIT n`.
fn limited(text: &str) -> bool {
    match expect(text, "LIMIT") {
        Some(text) => {
            let (count, rest) = word(text);
            count.parse::<u64>().is_ok() && ended(rest)
        }
        None => ended(text),
    }
}

fn item(text: &str) -> Option<(Item, &str)> {
    let (value, rest) = expression(text)?;
    let written = text[..text.len() - rest.len()].trim_end();
    let rest = skip(rest);
    let (name, rest) = match expect(rest, "AS") {
        Some(rest) => {
            let (alias, rest) = quoted(rest).or_else(|| nonempty(word(rest)))?;
            (alias, skip(rest))
        }
        None => (written, rest),
    };
    let name = name.to_owned();
    Some((Item { name, value }, rest))
}

fn expression(text: &str) -> Option<(Expression, &str)> {
    if let Some((literal, rest)) = quoted(text) {
        return Some((Expression::Text(literal.to_owned()), rest));
    }
    if let Some(variable) = text.strip_prefix("@@") {
        let (first, rest) = nonempty(word_only(variable))?;
        let (name, rest) = match rest.strip_prefix('.') {
            Some(scoped) => nonempty(word_only(scoped))?,
            None => (first, rest),
        };
        return Some((Expression::Variable(name.to_ascii_lowercase()), rest));
    }
    let (name, rest) = nonempty(word_only(text))?;
    if let Some(arguments) = skip(rest).strip_prefix('(') {
        let rest = skip(arguments).strip_prefix(')')?;
        return Some((Expression::Function(name.to_ascii_lowercase()), rest));
    }
    if name.eq_ignore_ascii_case("NULL") {
        return Some((Expression::Null, rest));
    }
    Some((Expression::Number(name.parse().ok()?), rest))
}

fn name(text: &str) -> Option<String> {
    let (name, rest) = quoted(text).or_else(|| nonempty(word(text)))?;
    ended(skip(rest)).then(|| name.to_owned())
}

/// A literal, by now in single quotes and without backslashes, with what it says.
fn literal(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('\'')?;
    let mut said = String::new();
    let mut rest = inner;
    loop {
        let (part, behind) = rest.split_once('\'')?;
        said.push_str(part);
        match behind.strip_prefix('\'') {
            Some(_) => said.push('\''),
            None => return Some((said, behind)),
        }
        rest = &behind[1..];
    }
}

/// A literal or name in quotes; none of the admin port's has an escape in it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| "'\"`".contains(*c))?;
    text[1..].split_once(quote)
}

/// The text after `keyword`, if it starts with it.
fn expect<'a>(text: &'a str, keyword: &str) -> Option<&'a str> {
    let (found, rest) = word(text);
    found.eq_ignore_ascii_case(keyword).then_some(rest)
}

/// The word at the start, and what follows it, blanks and comments skipped.
fn word(text: &str) -> (&str, &str) {
    let (word, rest) = word_only(text);
    (word, skip(rest))
}

fn word_only(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn nonempty<'a>(found: (&'a str, &'a str)) -> Option<(&'a str, &'a str)> {
    (!found.0.is_empty()).then_some(found)
}

/// Whether only what closes a statement is left.
fn ended(text: &str) -> bool {
    skip(text.trim_start_matches(';')).is_empty()
}

/// Skips blanks and comments. `--` needs a blank after it, as in the server:
/// <https://mariadb.com/kb/en/comment-syntax/>.
fn skip(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let line = text.starts_with('#')
            || text == "--"
            || text
                .strip_prefix("--")
                .is_some_and(|rest| rest.starts_with(char::is_whitespace));
        text = if line {
            text.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(comment) = text.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            return text;
        };
    }
}

#[cfg(test)]
mod tests;
