//! What a `KILL` wants: read from its text each time, since the number is no part of a statement's shape.

use std::ops::Range;

use super::Dialect;
use super::lexer::{Kind, Lexer, Token};

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
    /// `QUERY ID`: a statement by the number that the server gave it.
    Statement,
}

/// Reads `KILL [HARD | SOFT] [CONNECTION | QUERY [ID]] number or expression`; `None` for `KILL USER`, where a
/// parameter has the number, several statements, and what is no KILL at all.
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
    let elsewhere = |token: &Token| matches!(token.kind, Kind::Semicolon | Kind::Param);
    if skip(&["USER"]).is_some() || rest.iter().any(elsewhere) {
        return None;
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
        [id, _, ..] if query_only && word(id, "ID") => Victim::Statement,
        [first, .., last] => Victim::Worth(first.start as usize..last.end as usize),
        [one] => Victim::Worth(one.start as usize..one.end as usize),
        [] => return None,
    };
    Some(Kill { query_only, victim })
}

fn digits(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_clients_send() {
        for (text, query_only, victim) in [
            ("KILL 7", false, Victim::Session(7)),
            ("kill query 4294967295;", true, Victim::Session(u32::MAX)),
            ("/* x */ KILL HARD CONNECTION 1", false, Victim::Session(1)),
            ("KILL SOFT QUERY 12 ;", true, Victim::Session(12)),
            ("KILL CONNECTION CONNECTION_ID()", false, Victim::Oneself),
            ("KILL QUERY CONNECTION_ID ( )", true, Victim::Oneself),
            ("KILL QUERY ID 7", true, Victim::Statement),
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
            "KILL USER app",
            "KILL HARD QUERY USER app",
            "KILL ?",
            "KILL QUERY ? + 1",
            "SELECT 1",
            "KILL 'x",
            "KILL 1; KILL 2",
        ] {
            assert_eq!(parse(text.as_bytes(), Dialect::MARIADB), None, "{text}");
        }
    }
}
