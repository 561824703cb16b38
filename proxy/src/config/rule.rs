//! `[[rule]]`: what is done about the statements that meet its conditions. The first rule that does decides.

use std::fmt;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::scalar::{Scalar, must_be, show_duration, show_size};
use super::{DayWindow, Level, Networks};
use crate::classify::Fingerprint;
use crate::classify::facts::{Facts, Kind, Purity};
use crate::classify::hint::Tag;
use crate::net::address::Peer;

/// Most bytes that a compiled pattern may take: repetitions of repetitions are refused.
const PATTERN_BYTES: usize = 1 << 20;

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    pub enabled: bool,
    pub conditions: Conditions,
    pub actions: Actions,
}

/// All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    pub user: Option<Globs>,
    /// The session's default schema.
    pub schema: Option<Globs>,
    pub client: Option<Networks>,
    pub listener: Option<Entrance>,
    pub digest: Option<Digests>,
    /// Of the text without its values, as `SHOW READS` has it.
    pub pattern: Option<Pattern>,
    pub tables: Option<TableGlobs>,
    pub kind: Option<Kinds>,
    pub hint: Option<HintTag>,
    pub attribute: Option<Attribute>,
    pub time: Option<DayWindow>,
    /// Of the statements that meet all others.
    pub percent: Option<u32>,
}

/// What is done about a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    pub target: Option<Aim>,
    /// How new what it reads has to be, unless it says so itself.
    pub consistency: Option<Level>,
    /// In the place of `consistency.read_wait`.
    pub wait: Option<Duration>,
    /// Its reply is kept for so long for others who ask the same, see [`crate::cache`].
    pub cache: Option<Duration>,
    pub refuse: Option<String>,
    /// How long a server may take over it; zero is for ever.
    pub timeout: Option<Duration>,
    pub retry: Option<Retry>,
    /// A reply that is longer is broken off with an error.
    pub max_rows: Option<usize>,
    pub max_bytes: Option<usize>,
    pub rate: Option<Rate>,
    /// How long a statement that comes too soon waits for its turn.
    pub rate_wait: Option<Duration>,
    /// What of the text is replaced; without it, all of it is.
    pub rewrite_from: Option<Pattern>,
    /// By what.
    pub rewrite: Option<String>,
    /// The mirror that gets a copy of pure reads.
    pub mirror: Option<String>,
    pub log: bool,
    /// Its steps are kept, as `TRACE SESSION` has them kept.
    pub trace: bool,
}

/// What is tried again when it fails, beside what was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// Pure reads of which the client has seen nothing: as without a rule.
    Reads,
    /// These, and outside of transactions what the server undid because of a deadlock or of waiting too long for a lock.
    Deadlocks,
}

impl Retry {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Reads => "reads",
            Self::Deadlocks => "deadlocks",
        }
    }
}

/// So many statements in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub period: Duration,
}

/// Where a pure read should be answered. What is no such read, or belongs to a connection, goes its way all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    Active,
    /// Both servers, as without a rule.
    Any,
    Standby,
    /// The server of this name.
    Server(String),
}

/// By what a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// `listener.address`
    Address,
    /// `listener.socket`
    Socket,
}

/// Names in the form `app, report_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globs(pub Vec<String>);

impl Globs {
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.iter().any(|glob| is_like(glob.as_bytes(), name))
    }
}

/// Whether `name` is what `glob` says, where `*` stands for anything.
fn is_like(mut glob: &[u8], mut name: &[u8]) -> bool {
    // Where to go on when what follows the last star does not fit: one byte further.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (glob.split_first(), name.split_first()) {
            (Some((b'*', rest)), _) => {
                again = Some((rest, name));
                glob = rest;
            }
            (Some((wanted, glob_rest)), Some((found, name_rest))) if wanted == found => {
                (glob, name) = (glob_rest, name_rest);
            }
            (None, None) => return true,
            _ => match again {
                Some((after, tried)) if !tried.is_empty() => {
                    again = Some((after, &tried[1..]));
                    (glob, name) = (after, &tried[1..]);
                }
                _ => return false,
            },
        }
    }
}

/// Tables in the form `orders, log_*` (in any schema) or `shop.orders, shop.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGlobs(pub Vec<TableGlob>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGlob {
    schema: Option<String>,
    name: String,
}

/// Whether a statement names a table of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Names {
    No,
    /// If the default schema is the one that is meant.
    BySchema,
    Yes,
}

impl TableGlobs {
    /// Whatever the default schema is.
    pub fn named_by(&self, facts: &Facts) -> Names {
        self.find(facts, None)
    }

    /// With this default schema.
    pub fn are_named(&self, facts: &Facts, schema: Option<&[u8]>) -> bool {
        self.find(facts, Some(schema.unwrap_or_default())) == Names::Yes
    }

    fn find(&self, facts: &Facts, default: Option<&[u8]>) -> Names {
        let tables = facts.tables.reads.iter().chain(&facts.tables.writes);
        let named = tables.flat_map(|table| {
            self.0.iter().map(move |glob| {
                if !is_like(glob.name.as_bytes(), table.name.as_bytes()) {
                    return Names::No;
                }
                let written = Some(table.schema.as_bytes()).filter(|schema| !schema.is_empty());
                match (&glob.schema, written.or(default)) {
                    (None, _) => Names::Yes,
                    (Some(_), None) => Names::BySchema,
                    (Some(glob), Some(schema)) if is_like(glob.as_bytes(), schema) => Names::Yes,
                    (Some(_), Some(_)) => Names::No,
                }
            })
        });
        named.max().unwrap_or(Names::No)
    }
}

/// Digests as `SHOW READS` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests(pub Vec<Fingerprint>);

/// A regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Kinds of statement in the form `select, show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(pub Vec<&'static str>);

impl Kinds {
    pub fn have(&self, facts: &Facts) -> bool {
        self.0.iter().any(|name| match *name {
            "read" => facts.purity == Purity::Pure && facts.kind != Kind::Empty,
            "write" => matches!(
                facts.kind,
                Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete | Kind::Load
            ),
            "unreadable" => facts.purity == Purity::Unreadable,
            name => facts.kind.name() == name,
        })
    }
}

/// Beside the kinds themselves.
const GROUPS: [&str; 3] = ["read", "write", "unreadable"];

/// The tag of a hint, `/* tandem:tag=report */`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintTag(pub Tag);

/// A query attribute in the form `name=value`, or `name` for any value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: Option<String>,
}

/// The parts of a list with commas; an empty one is a mistake.
fn parts<T: Scalar>(text: &str) -> Result<Vec<&str>, String> {
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    match parts.iter().any(|part| part.is_empty()) {
        true => Err(must_be::<T>()),
        false => Ok(parts),
    }
}

impl Scalar for Globs {
    const EXPECTED: &'static str = "a name or several, such as \"app, report_*\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let parts = parts::<Self>(text)?;
        Ok(Self(parts.into_iter().map(str::to_owned).collect()))
    }
}

impl Scalar for TableGlobs {
    const EXPECTED: &'static str = "a table or several, such as \"orders, shop.log_*\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let table = |part: &str| match part.split_once('.') {
            Some((schema, name)) if schema.is_empty() || name.is_empty() || name.contains('.') => {
                Err(format!("{}; {part:?} is none", must_be::<Self>()))
            }
            Some((schema, name)) => Ok(TableGlob {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            }),
            None => Ok(TableGlob {
                schema: None,
                name: part.to_owned(),
            }),
        };
        let parts = parts::<Self>(text)?;
        parts.into_iter().map(table).collect::<Result<_, _>>().map(Self)
    }
}

impl Scalar for Digests {
    const EXPECTED: &'static str =
        "a digest or several, each of 16 hexadecimal digits as SHOW READS and EXPLAIN ROUTE have it";

    fn from_text(text: &str) -> Result<Self, String> {
        let digest = |part: &str| {
            let number = u64::from_str_radix(part, 16).ok().filter(|_| part.len() == 16);
            number
                .map(Fingerprint)
                .ok_or_else(|| format!("{}; {part:?} is none", must_be::<Self>()))
        };
        let parts = parts::<Self>(text)?;
        parts.into_iter().map(digest).collect::<Result<_, _>>().map(Self)
    }
}

impl Scalar for Pattern {
    const EXPECTED: &'static str = "a regular expression, such as \"^select .* from reports\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text)
            .case_insensitive(true)
            .dot_matches_new_line(true)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build();
        built.map(Self).map_err(|error| {
            // It draws the expression over several lines, the last of which says what is wrong.
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default().trim();
            format!("{}: {}", must_be::<Self>(), last.trim_start_matches("error: "))
        })
    }
}

impl Scalar for Kinds {
    const EXPECTED: &'static str = "a kind of statement or several, such as \"read\" or \"insert, update\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let names = || Kind::ALL.into_iter().map(Kind::name).chain(GROUPS);
        let kind = |part: &str| {
            let found = names().find(|name| name.eq_ignore_ascii_case(part));
            found.ok_or_else(|| {
                let all: Vec<&str> = names().collect();
                format!("{}; {part:?} is none of {}", must_be::<Self>(), all.join(", "))
            })
        };
        let parts = parts::<Self>(text)?;
        parts.into_iter().map(kind).collect::<Result<_, _>>().map(Self)
    }
}

impl Scalar for HintTag {
    const EXPECTED: &'static str = "the tag of comments such as /* tandem:tag=report */: at most 31 letters, digits, \"_\", \"-\" and \".\"";

    fn from_text(text: &str) -> Result<Self, String> {
        Tag::new(text.trim().as_bytes())
            .map(Self)
            .ok_or_else(must_be::<Self>)
    }
}

impl Scalar for Attribute {
    const EXPECTED: &'static str = "a query attribute, such as \"class=report\", or its name alone";

    fn from_text(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (text.trim(), None),
        };
        match name.is_empty() {
            true => Err(must_be::<Self>()),
            false => Ok(Self {
                name: name.to_owned(),
                value,
            }),
        }
    }
}

impl Entrance {
    /// That a client has come by.
    pub fn of(client: Peer) -> Self {
        match client {
            Peer::Tcp(_) => Self::Address,
            Peer::Local => Self::Socket,
        }
    }

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Socket => "socket",
        }
    }
}

impl Scalar for Entrance {
    const EXPECTED: &'static str = "\"address\" or \"socket\", as [listener] has them";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "address" => Ok(Self::Address),
            "socket" => Ok(Self::Socket),
            _ => Err(must_be::<Self>()),
        }
    }
}

impl Scalar for Retry {
    const EXPECTED: &'static str = "\"never\", \"reads\" or \"deadlocks\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let all = [Self::Never, Self::Reads, Self::Deadlocks];
        let found = all.into_iter().find(|retry| retry.name() == text);
        found.ok_or_else(must_be::<Self>)
    }
}

/// Periods with their letters.
const PERIODS: [(&str, u64); 3] = [("s", 1), ("m", 60), ("h", 3600)];

impl Scalar for Rate {
    const EXPECTED: &'static str =
        "a number of statements in a time, such as \"50/s\", \"600/m\" or \"1000/h\"";

    fn from_text(text: &str) -> Result<Self, String> {
        let rate = text.split_once('/').and_then(|(count, period)| {
            let count: u32 = count.trim().parse().ok()?;
            let (_, seconds) = PERIODS.into_iter().find(|(letter, _)| *letter == period.trim())?;
            let period = Duration::from_secs(seconds);
            // Nanoseconds for one must be some.
            (1..=1_000_000).contains(&count).then_some(Self { count, period })
        });
        rate.ok_or_else(must_be::<Self>)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.period.as_secs();
        let letter = PERIODS.into_iter().find(|(_, known)| *known == seconds);
        write!(f, "{}/{}", self.count, letter.map_or("?", |(letter, _)| letter))
    }
}

impl Scalar for Aim {
    const EXPECTED: &'static str = "\"active\", \"standby\", \"any\" or the name of a server";

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => return Err(must_be::<Self>()),
            "active" => Self::Active,
            "standby" => Self::Standby,
            "any" => Self::Any,
            name => Self::Server(name.to_owned()),
        })
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Any => "any",
            Self::Standby => "standby",
            Self::Server(name) => name,
        })
    }
}

impl fmt::Display for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl fmt::Display for TableGlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |glob: &TableGlob| match &glob.schema {
            Some(schema) => format!("{schema}.{}", glob.name),
            None => glob.name.clone(),
        };
        let names: Vec<String> = self.0.iter().map(name).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digests: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&digests.join(", "))
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

impl Conditions {
    /// Those that are given, each as the file has it.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let quoted = |text: &dyn fmt::Display| format!("{:?}", text.to_string());
        let nets = |nets: &Networks| {
            let nets: Vec<String> = nets.0.iter().map(ToString::to_string).collect();
            format!("{:?}", nets.join(", "))
        };
        let parts = [
            ("user", self.user.as_ref().map(|it| quoted(it))),
            ("schema", self.schema.as_ref().map(|it| quoted(it))),
            ("client", self.client.as_ref().map(nets)),
            ("listener", self.listener.map(|it| quoted(&it.name()))),
            ("digest", self.digest.as_ref().map(|it| quoted(it))),
            ("pattern", self.pattern.as_ref().map(|it| quoted(&it.0))),
            ("tables", self.tables.as_ref().map(|it| quoted(it))),
            ("kind", self.kind.as_ref().map(|it| quoted(&it.0.join(", ")))),
            ("hint", self.hint.as_ref().map(|it| quoted(&it.0))),
            ("attribute", self.attribute.as_ref().map(|it| quoted(it))),
            ("time", self.time.as_ref().map(|it| quoted(it))),
            ("percent", self.percent.map(|it| it.to_string())),
        ];
        given(parts)
    }
}

impl Actions {
    /// Those that are given, each as the file has it.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let duration = |duration: Duration| format!("\"{}\"", show_duration(duration));
        let parts = [
            ("target", self.target.as_ref().map(|aim| format!("\"{aim}\""))),
            (
                "consistency",
                self.consistency.map(|level| format!("{:?}", level.name())),
            ),
            ("wait", self.wait.map(duration)),
            ("cache", self.cache.map(duration)),
            (
                "refuse",
                self.refuse.as_ref().map(|message| format!("{message:?}")),
            ),
            ("timeout", self.timeout.map(duration)),
            ("retry", self.retry.map(|retry| format!("{:?}", retry.name()))),
            ("max_rows", self.max_rows.map(|rows| rows.to_string())),
            (
                "max_bytes",
                self.max_bytes.map(|bytes| format!("\"{}\"", show_size(bytes))),
            ),
            ("rate", self.rate.map(|rate| format!("\"{rate}\""))),
            ("rate_wait", self.rate_wait.map(duration)),
            (
                "rewrite_from",
                self.rewrite_from
                    .as_ref()
                    .map(|from| format!("{:?}", from.0.as_str())),
            ),
            ("rewrite", self.rewrite.as_ref().map(|text| format!("{text:?}"))),
            ("mirror", self.mirror.as_ref().map(|name| format!("{name:?}"))),
            ("log", self.log.then(|| "true".to_owned())),
            ("trace", self.trace.then(|| "true".to_owned())),
        ];
        given(parts)
    }
}

fn given<const N: usize>(parts: [(&'static str, Option<String>); N]) -> Vec<(&'static str, String)> {
    let given = parts.into_iter().filter_map(|(key, value)| Some((key, value?)));
    given.collect()
}

/// On one line.
pub fn shown(given: &[(&'static str, String)]) -> String {
    let parts: Vec<String> = given
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Dialect, analyse};

    #[test]
    fn a_star_stands_for_anything() {
        for (glob, name, like) in [
            ("app", "app", true),
            ("app", "apps", false),
            ("app*", "apps", true),
            ("*", "", true),
            ("", "", true),
            ("*_log", "a_log_log", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("**", "x", true),
            ("*a", "b", false),
        ] {
            assert_eq!(is_like(glob.as_bytes(), name.as_bytes()), like, "{glob} {name}");
        }
    }

    #[test]
    fn tables_without_a_schema_are_those_of_the_default_one() {
        let facts = |text: &str| analyse(text.as_bytes(), Dialect::MARIADB);
        let globs = TableGlobs::from_text("shop.orders, log_*").expect("tables");
        for (text, named) in [
            ("SELECT * FROM shop.orders", Names::Yes),
            ("SELECT * FROM blog.orders", Names::No),
            ("SELECT * FROM orders", Names::BySchema),
            ("INSERT INTO blog.log_1 SELECT 1", Names::Yes),
            ("SELECT 1", Names::No),
        ] {
            assert_eq!(globs.named_by(&facts(text)), named, "{text}");
        }
        let facts = facts("SELECT * FROM orders");
        assert!(globs.are_named(&facts, Some(b"shop")));
        assert!(!globs.are_named(&facts, Some(b"blog")));
        assert!(!globs.are_named(&facts, None));
    }

    #[test]
    fn kinds_are_those_of_the_classifier_and_groups_of_them() {
        let facts = |text: &str| analyse(text.as_bytes(), Dialect::MARIADB);
        for (kinds, text, has) in [
            ("read", "SELECT 1", true),
            ("read", "SELECT 1 FOR UPDATE", false),
            ("Select", "SELECT 1 FOR UPDATE", true),
            ("insert, write", "DELETE FROM t", true),
            ("ddl", "DROP TABLE t", true),
            ("unreadable", "SELECT '", true),
        ] {
            let kinds = Kinds::from_text(kinds).expect("kinds");
            assert_eq!(kinds.have(&facts(text)), has, "{kinds:?} {text}");
        }
        let wrong = Kinds::from_text("selects").expect_err("no kind");
        assert!(wrong.contains("is none of empty, select, show"), "{wrong}");
    }
}
