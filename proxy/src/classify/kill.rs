//! What a `KILL` wants: read from its text each time, since the number is no part of a statement's shape.

use super::Dialect;
use super::lexer::{Kind, Lexer, Token};

/// Whom to hit, and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Only the running statement, not the connection.
    pub query_only: bool,
    pub victim: Victim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    Session(u32),
    /// `CONNECTION_ID()`
    Oneself,
}

/// Reads `KILL [HARD | SOFT] [CONNECTION | QUERY] number`; `None` for `KILL USER`, `KILL QUERY ID`, expressions, and
/// what is no KILL at all.
pub fn parse(text: &[u8], dialect: Dialect) -> Option<Kill> {
    let mut lexer = Lexer::new(text, dialect);
    let mut tokens: Vec<Token> = lexer.by_ref().take(MOST_TOKENS).collect();
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
    let victim = match rest {
        [number] if number.kind == Kind::Number => {
            let digits = std::str::from_utf8(number.bytes(text)).ok()?;
            Victim::Session(digits.parse().ok()?)
        }
        [name, open, close]
            if word(name, "CONNECTION_ID")
                && open.kind == Kind::Mark(b'(')
                && close.kind == Kind::Mark(b')') =>
        {
            Victim::Oneself
        }
        _ => return None,
    };
    Some(Kill { query_only, victim })
}

/// More than any KILL that can be read has.
const MOST_TOKENS: usize = 8;

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
        ] {
            let kill = parse(text.as_bytes(), Dialect::MARIADB);
            assert_eq!(kill, Some(Kill { query_only, victim }), "{text}");
        }
        for text in [
            "KILL",
            "KILL QUERY",
            "KILL USER app",
            "KILL QUERY ID 7",
            "KILL -1",
            "KILL 4294967296",
            "KILL 1 + 1",
            "KILL @x",
            "SELECT 1",
            "KILL 'x",
            "KILL 1; KILL 2",
        ] {
            assert_eq!(parse(text.as_bytes(), Dialect::MARIADB), None, "{text}");
        }
    }
}
