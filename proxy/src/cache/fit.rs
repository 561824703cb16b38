//! Which statements may be answered from the cache. Strict: what is not known to be the same for everybody who asks is not.

use std::fmt;

use crate::classify::facts::{Facts, Kind, Links, Purity};
use crate::topology::Topology;
use crate::topology::stamp::{Stamp, Unsure};
use crate::topology::table::NameKey;

/// Links that change nothing of a reply.
const HARMLESS: Links = Links::HOLDS_QUERY
    .union(Links::UNSURE_FOUND_ROWS)
    .union(Links::SKIPS_ROWS);

/// Why one may not, whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    NoPureRead,
    Fleeting,
    /// It belongs to the statement before or behind it, or to its connection.
    Linked,
    NoTable,
    UnknownTables,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPureRead => "it is no pure read",
            Self::Fleeting => {
                "it calls NOW(), RAND(), USER() or the like, reads a variable, or says SQL_NO_CACHE"
            }
            Self::Linked => "it has to do with the statement before or behind it, or with its connection",
            Self::NoTable => "it names no table",
            Self::UnknownTables => "which tables it reads can't be told from its text",
        })
    }
}

/// Whether such statements may be answered from the cache.
///
/// # Errors
/// Why not.
pub fn check(facts: &Facts) -> Result<(), Unfit> {
    if facts.kind != Kind::Select || facts.purity != Purity::Pure || !facts.pins.is_empty() {
        return Err(Unfit::NoPureRead);
    }
    if facts.links.contains(Links::FLEETING) {
        return Err(Unfit::Fleeting);
    }
    if !HARMLESS.union(Links::KEEPS_WARNINGS).contains(facts.links) {
        return Err(Unfit::Linked);
    }
    match facts.tables.known_reads() {
        None => Err(Unfit::UnknownTables),
        // What names none keeps the warnings of the one before, and costs a server nothing.
        Some([]) => Err(Unfit::NoTable),
        Some(_) if facts.links.contains(Links::KEEPS_WARNINGS) => Err(Unfit::Linked),
        Some(_) => Ok(()),
    }
}

/// Whether a new session's statement would be answered from the cache, in words; `schema` is its default schema.
pub fn explain(facts: &Facts, schema: Option<NameKey>, topology: &Topology) -> String {
    if let Err(unfit) = check(facts) {
        return format!("no: {unfit}");
    }
    let Some(mark) = &topology.mark else {
        return "not now: there is no active master".to_owned();
    };
    match Stamp::take(&facts.tables, schema, mark) {
        Ok(_) => "as long as nothing of what it reads is written; outside of transactions, and where no state ties the session \
             to its connection"
            .to_owned(),
        Err(Unsure::Fleeting) => "no: a view that it reads calls NOW(), RAND(), USER() or the like".to_owned(),
        Err(Unsure::Unknown) => "not now: it is not known what is behind the names of its tables".to_owned(),
        Err(Unsure::Writing) => "not now: what it reads is being written, or may be".to_owned(),
        Err(Unsure::Others) => "not now: what others have committed is not known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Dialect, analyse};

    #[test]
    fn only_what_is_known_to_say_the_same_again_may_be_kept() {
        use Unfit::{Fleeting, Linked, NoPureRead, NoTable, UnknownTables};
        for (text, expected) in [
            ("SELECT a FROM t WHERE id = 1", Ok(())),
            (
                "SELECT a FROM t JOIN u USING (id) ORDER BY b LIMIT 20, 10",
                Ok(()),
            ),
            ("WITH c AS (SELECT a FROM t) SELECT * FROM c", Ok(())),
            ("SELECT a FROM t UNION SELECT b FROM u", Ok(())),
            ("SELECT NOW(), a FROM t", Err(Fleeting)),
            ("SELECT @@sql_mode, a FROM t", Err(Fleeting)),
            ("SELECT SQL_NO_CACHE a FROM t", Err(Fleeting)),
            ("SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1", Err(Linked)),
            ("SELECT a, LAST_INSERT_ID() FROM t", Err(NoPureRead)),
            ("SELECT a, FOUND_ROWS() FROM t", Err(NoPureRead)),
            ("SELECT a, CONNECTION_ID() FROM t", Err(NoPureRead)),
            ("SELECT a, f(b) FROM t", Err(NoPureRead)),
            ("SELECT a, @x FROM t", Err(NoPureRead)),
            ("SELECT a FROM t FOR UPDATE", Err(NoPureRead)),
            ("SELECT * FROM information_schema.tables", Err(NoPureRead)),
            ("SELECT 1", Err(NoTable)),
            ("SHOW TABLES", Err(NoPureRead)),
            ("UPDATE t SET a = 1", Err(NoPureRead)),
            ("SELECT a FROM größe", Err(UnknownTables)),
            ("SELECT a FROM t; SELECT b FROM t", Err(NoPureRead)),
        ] {
            let facts = analyse(text.as_bytes(), Dialect::MARIADB);
            assert_eq!(check(&facts), expected, "{text}");
        }
    }
}
