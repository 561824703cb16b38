//! What a `KILL` wants: read from its text each time, since the number is no part of a statement's shape.

use std::ops::Range;

use super::Dialect;
use super::lexer::{Kind, Lexer, Token};
use super::named::unquoted;
use crate::topology::Flavor;

/// Whom to hit, and how hard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Only the running statement, not the connection.
    pub query_only: bool,
    pub victim: Victim,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    Session(u32),
    /// `CONNECTION_ID()`
    Oneself,
    /// What an expression, which stands there in the text, is worth: only a server can tell.
    Worth(Range<usize>),
    /// MariaDB's `USER name@host`: all sessions of a name, from a host. `CURRENT_USER` is `None`.
    User {
        name: Option<Vec<u8>>,
        host: Option<Vec<u8>>,
    },
    /// The server's business: `QUERY ID`, a statement by the number that the server gave it, and on MySQL `USER`, which
    /// is no syntax there.
    Server,
}

/// Reads `KILL [HARD | SOFT] [CONNECTION | QUERY [ID]] number or expression`, or `USER name`; `None` where a parameter
/// has the number, for several statements, and what is no KILL at all.
pub fn parse(text: &[u8], dialect: Dialect) -> Option<Kill> {
    let mut lexer = Lexer::new(text, dialect);
    let mut tokens: Vec<Token> = lexer.by_ref().collect();
    if lexer.broken() {
        return None;
    }
    while tokens.last().is_some_and(|token| token.kind == Kind::Semicolon) {
        tokens.pop();
    }
    let word = |token: &Token, wanted: &str| {
        token.kind == Kind::Word && token.bytes(text).eq_ignore_ascii_case(wanted.as_bytes())
    };
    let elsewhere = |token: &Token| matches!(token.kind, Kind::Semicolon | Kind::Param);
    if tokens.iter().any(elsewhere) {
        return None;
    }
    let mut rest = tokens.as_slice();
    let mut skip = |words: &[&str]| {
        let (first, others) = rest.split_first()?;
        let found = words.iter().position(|wanted| word(first, wanted))?;
        rest = others;
        Some(found)
    };
    skip(&["KILL"])?;
    skip(&["HARD", "SOFT"]);
    let query_only = skip(&["CONNECTION", "QUERY"]) == Some(1);
    if skip(&["USER"]).is_some() {
        let victim = match dialect.flavor {
            Flavor::MariaDb => user(rest, text, dialect)?,
            Flavor::MySql => Victim::Server,
        };
        return Some(Kill { query_only, victim });
    }
    let victim = match rest {
        [number] if number.kind == Kind::Number && digits(number.bytes(text)).is_some() => {
            Victim::Session(digits(number.bytes(text))?)
        }
        [name, open, close]
            if word(name, "CONNECTION_ID")
                && open.kind == Kind::Mark(b'(')
                && close.kind == Kind::Mark(b')') =>
        {
            Victim::Oneself
        }
        [id, _, ..] if query_only && word(id, "ID") => Victim::Server,
        [first, .., last] => Victim::Worth(first.start as usize..last.end as usize),
        [one] => Victim::Worth(one.start as usize..one.end as usize),
        [] => return None,
    };
    Some(Kill { query_only, victim })
}

/// `name`, `name@host`, `CURRENT_USER`, `CURRENT_USER()`. The servers compare both parts letter by letter.
fn user(tokens: &[Token], text: &[u8], dialect: Dialect) -> Option<Victim> {
    let (first, rest) = tokens.split_first()?;
    let is_own = first.kind == Kind::Word && first.bytes(text).eq_ignore_ascii_case(b"CURRENT_USER");
    let host = match rest {
        [] => None,
        [open, close] if is_own && open.kind == Kind::Mark(b'(') && close.kind == Kind::Mark(b')') => None,
        [host] if !is_own && host.kind == Kind::UserVariable => {
            let host = unquoted(host.bytes(text).get(1..)?, dialect)?;
            // As if none had been said.
            (host != b"%").then_some(host)
        }
        _ => return None,
    };
    let name = match first.kind {
        _ if is_own => None,
        Kind::Word | Kind::Quoted | Kind::Text => Some(unquoted(first.bytes(text), dialect)?),
        _ => return None,
    };
    Some(Victim::User { name, host })
}

/// The text with a literal or a name in the place of each parameter, if there are as many.
pub fn filled<'v>(
    text: &[u8],
    dialect: Dialect,
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(text, dialect);
    let mut values = values.into_iter();
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    for token in lexer.by_ref().filter(|token| token.kind == Kind::Param) {
        out.extend_from_slice(text.get(copied..token.start as usize)?);
        out.extend_from_slice(values.next()?);
        copied = token.end as usize;
    }
    out.extend_from_slice(&text[copied..]);
    (!lexer.broken() && values.next().is_none()).then_some(out)
}

fn digits(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: Option<&str>, host: Option<&str>) -> Victim {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Victim::User {
            name: name.map(bytes),
            host: host.map(bytes),
        }
    }

    #[test]
    fn the_forms_that_clients_send() {
        for (text, query_only, victim) in [
            ("KILL 7", false, Victim::Session(7)),
            ("kill query 4294967295;", true, Victim::Session(u32::MAX)),
            ("/* x */ KILL HARD CONNECTION 1", false, Victim::Session(1)),
            ("KILL SOFT QUERY 12 ;", true, Victim::Session(12)),
            ("KILL CONNECTION CONNECTION_ID()", false, Victim::Oneself),
            ("KILL QUERY CONNECTION_ID ( )", true, Victim::Oneself),
            ("KILL QUERY ID 7", true, Victim::Server),
            ("KILL USER app", false, user(Some("app"), None)),
            ("KILL SOFT QUERY USER `a``b`;", true, user(Some("a`b"), None)),
            (
                "KILL USER 'a''b'@'10.0.0.7'",
                false,
                user(Some("a'b"), Some("10.0.0.7")),
            ),
            (
                "KILL USER app@10.0.0.7",
                false,
                user(Some("app"), Some("10.0.0.7")),
            ),
            ("KILL USER app@'%'", false, user(Some("app"), None)),
            ("KILL USER CURRENT_USER", false, user(None, None)),
            ("kill user current_user()", false, user(None, None)),
        ] {
            let kill = parse(text.as_bytes(), Dialect::MARIADB);
            assert_eq!(kill, Some(Kill { query_only, victim }), "{text}");
        }
        for (text, query_only, worth) in [
            ("KILL -1", false, "-1"),
            ("KILL 4294967296", false, "4294967296"),
            ("KILL 1 + 1;", false, "1 + 1"),
            ("KILL QUERY @x", true, "@x"),
            (
                "kill (SELECT max(id) FROM t) /* all */;",
                false,
                "(SELECT max(id) FROM t)",
            ),
        ] {
            let kill = parse(text.as_bytes(), Dialect::MARIADB).expect(text);
            let Victim::Worth(range) = kill.victim else {
                panic!("{text}: {kill:?}")
            };
            assert_eq!((kill.query_only, &text[range]), (query_only, worth));
        }
        for text in [
            "KILL",
            "KILL QUERY",
            "KILL USER",
            "KILL USER a b",
            "KILL USER ?",
            "KILL USER 1",
            "KILL USER CURRENT_USER@'%'",
            "KILL ?",
            "KILL QUERY ? + 1",
            "SELECT 1",
            "KILL 'x",
            "KILL 1; KILL 2",
        ] {
            assert_eq!(parse(text.as_bytes(), Dialect::MARIADB), None, "{text}");
        }
    }

    /// On MySQL it is no syntax, which the server itself says.
    #[test]
    fn users_are_killed_on_mariadb_only() {
        let kill = parse(b"KILL USER app", Dialect::plain(Flavor::MySql, 90_704)).map(|kill| kill.victim);
        assert_eq!(kill, Some(Victim::Server));
    }

    #[test]
    fn parameters_are_filled_in() {
        let filled = |text: &str, values: &[&str]| {
            let filled = filled(
                text.as_bytes(),
                Dialect::MARIADB,
                values.iter().map(|value| value.as_bytes()),
            );
            filled.map(|text| String::from_utf8(text).expect("text"))
        };
        assert_eq!(
            filled("KILL /* ? */ ? + 1", &["7"]).as_deref(),
            Some("KILL /* ? */ 7 + 1")
        );
        assert_eq!(
            filled("KILL ?+?;", &["@a", "'x'"]).as_deref(),
            Some("KILL @a+'x';")
        );
        assert_eq!(filled("KILL 7", &[]).as_deref(), Some("KILL 7"));
        for (text, values) in [("KILL ?", &[][..]), ("KILL 7", &["7"]), ("KILL '?", &[])] {
            assert_eq!(filled(text, values), None, "{text}");
        }
    }
}
