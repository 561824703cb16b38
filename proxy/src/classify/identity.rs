//! What the firewall knows a statement by: each statement of a text by its shape, under a secret of its own.
//!
//! The digest is public, and made by arithmetic that can be run backwards: whoever wants to can make a statement that has another
//! one's. So what counts is the digest together with the seal, of which nobody knows the secret.

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use super::analyse::split;
use super::facts::Kind;
use super::fingerprint::shape_of;
use super::lexer::Lexer;
use super::statement::Statement;
use super::{Dialect, Fingerprint, looked_at, verbs};

/// A shape of statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub digest: Fingerprint,
    pub seal: u64,
}

impl Identity {
    /// That of all texts that can't be read to their end.
    pub const UNREADABLE: Self = Self {
        digest: Fingerprint(0),
        seal: 0,
    };

    /// The same where it is not known what the statement runs: another one, for what is known of it says nothing of that.
    pub fn open(self) -> Self {
        Self {
            seal: !self.seal,
            ..self
        }
    }
}

/// One statement of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub identity: Identity,
    /// It runs statements that are values in its text, or stand elsewhere: its shape does not say what it does.
    pub runs_others: bool,
}

impl Part {
    pub const UNREADABLE: Self = Self {
        identity: Identity::UNREADABLE,
        runs_others: true,
    };
}

/// The statements of all texts of a shape, found out once and kept beside the facts.
///
/// It says nothing of what a statement is: facts are equal with different ones.
#[derive(Clone, Debug, Default)]
pub struct Identified(OnceCell<Rc<[Part]>>);

impl PartialEq for Identified {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Identified {}

impl Identified {
    /// What is kept, or else what `find` finds. There is one secret as long as a process lives.
    pub fn of(&self, find: impl FnOnce() -> Rc<[Part]>) -> Rc<[Part]> {
        Rc::clone(self.0.get_or_init(find))
    }

    pub fn are_known(&self) -> bool {
        self.0.get().is_some()
    }
}

/// The statements of `text`, each with its place there. One that stands for all of it, where it can't be read to its end or is
/// longer than what is looked at.
pub fn parts(text: &[u8], dialect: Dialect, secret: u64) -> Vec<(Part, Range<usize>)> {
    let (seen, whole) = looked_at(text);
    let mut lexer = Lexer::new(seen, dialect);
    let tokens: Vec<_> = lexer.by_ref().collect();
    if !whole || lexer.broken() {
        return vec![(Part::UNREADABLE, 0..text.len())];
    }
    let hints = lexer.hints();
    let all = Statement {
        text: seen,
        tokens: &tokens,
        dialect,
    };
    let part = |one: Statement<'_>| {
        let shape = shape_of(seen, one.tokens, hints, secret);
        let part = Part {
            identity: Identity {
                digest: shape.fingerprint,
                seal: shape.guard,
            },
            runs_others: runs_others(&one),
        };
        let first = one.tokens.first().map_or(0, |token| token.start as usize);
        let last = one.tokens.last().map_or(0, |token| token.end as usize);
        (part, first..last)
    };
    split(&all).into_iter().map(part).collect()
}

/// `PREPARE` and `EXECUTE`, and code that is defined or run here and prepares something.
fn runs_others(one: &Statement<'_>) -> bool {
    match verbs::read(one).kind {
        Kind::Prepare | Kind::Execute => true,
        Kind::Ddl | Kind::Call | Kind::Set | Kind::Admin | Kind::Unknown => {
            (0..one.len()).any(|at| one.is_one_of(at, &["PREPARE", "IMMEDIATE"]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::fingerprint;
    use crate::topology::Flavor;

    const SECRET: u64 = 7;

    fn of(text: &str) -> Vec<Part> {
        let parts = parts(text.as_bytes(), Dialect::MARIADB, SECRET);
        parts.into_iter().map(|(part, _)| part).collect()
    }

    fn one(text: &str) -> Part {
        let parts = of(text);
        assert_eq!(parts.len(), 1, "{text}");
        parts[0]
    }

    /// What has other values is the same statement, whatever the servers' version; nothing that does something else is.
    #[test]
    fn a_statement_is_known_by_its_shape() {
        let known = one("SELECT a FROM t WHERE id IN (1, 2) AND b = 'x'");
        for same in [
            "SELECT a FROM t WHERE id IN (7) AND b = \"it's\"",
            "SELECT a FROM t WHERE id IN (?, ?, ?) AND b = ?;",
            "SELECT a /* DROP TABLE t */ FROM t WHERE id IN (1) AND b = '' -- x",
            "SELECT a FROM t WHERE id IN (1, 2) AND b = 'x'; ;",
        ] {
            assert_eq!(one(same), known, "{same}");
        }
        for other in [
            "SELECT b FROM t WHERE id IN (1, 2) AND b = 'x'",
            "SELECT a FROM t WHERE id IN (1, 2) AND b = 'x' OR 1 = 1",
            "SELECT a FROM t WHERE id IN (1, 2) AND b = '' /*!OR*/ 'x'",
            "SELECT a FROM u WHERE id IN (1, 2) AND b = 'x'",
            "SELECT a FROM t WHERE id IN (1, 2) AND b = 'x' /* tandem:tag=other */",
        ] {
            assert_ne!(one(other).identity, known.identity, "{other}");
        }
        let text = b"SELECT 1 FROM t";
        let newer = Dialect {
            version: 110_800,
            ..Dialect::MARIADB
        };
        let mysql = Dialect::plain(Flavor::MySql, 90_704);
        for dialect in [newer, mysql] {
            let found = parts(text, dialect, SECRET);
            assert_eq!(found[0].0, one("SELECT 1 FROM t"));
        }
        assert_ne!(
            parts(text, newer, 8)[0].0.identity,
            one("SELECT 1 FROM t").identity
        );
    }

    /// Tables, rules and the firewall call one statement by the same digest.
    #[test]
    fn the_digest_is_the_one_that_tables_show() {
        for text in ["SELECT 1", "UPDATE t SET a = 'x' WHERE b IN (1, 2, 3)"] {
            assert_eq!(
                one(text).identity.digest,
                fingerprint(text.as_bytes(), Dialect::MARIADB)
            );
        }
    }

    #[test]
    fn each_statement_of_several_counts() {
        let text = "SELECT 1; DELETE FROM t WHERE id = 7;; SELECT 'a;b'";
        let (select, delete, string) = (
            one("SELECT 2"),
            one("DELETE FROM t WHERE id = 8"),
            one("SELECT 'c'"),
        );
        assert_eq!(of(text), [select, delete, string]);
        let found = parts(text.as_bytes(), Dialect::MARIADB, SECRET);
        assert_eq!(&text[found[1].1.clone()], "DELETE FROM t WHERE id = 7");
        assert_eq!(of(" -- nothing"), []);
        let body = "CREATE PROCEDURE p() BEGIN SELECT 1; DELETE FROM t; END; SELECT 1";
        assert_eq!(of(body).len(), 1, "code is one statement, with all that follows");
    }

    #[test]
    fn what_runs_others_does_not_say_what_it_does() {
        for text in [
            "PREPARE s FROM 'SELECT 1'",
            "PREPARE s FROM @x",
            "EXECUTE s",
            "EXECUTE IMMEDIATE 'SELECT 1'",
            "BEGIN NOT ATOMIC PREPARE s FROM 'DROP TABLE t'; EXECUTE s; END",
            "CREATE PROCEDURE p() EXECUTE IMMEDIATE 'DROP TABLE t'",
            "SELECT '",
            "SELECT 1 /*",
        ] {
            assert!(one(text).runs_others, "{text}");
        }
        for text in [
            "SELECT 1",
            "CALL p(1)",
            "DEALLOCATE PREPARE s",
            "XA PREPARE 'x'",
            "GRANT SELECT ON t TO u",
            "CREATE TABLE t (`prepare` INT)",
        ] {
            assert!(!one(text).runs_others, "{text}");
        }
        assert_eq!(one("SELECT '").identity, Identity::UNREADABLE);
        let long = format!("SELECT '{}'", "x".repeat(super::super::LOOKED_AT));
        assert_eq!(one(&long).identity, Identity::UNREADABLE);
    }
}
