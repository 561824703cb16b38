//! Statements that text names: `PREPARE`, `EXECUTE` and `DEALLOCATE`, read from their text each time, since the name is
//! no part of a statement's shape.

use super::Dialect;
use super::lexer::{Kind, Lexer, Token};

/// What is done to a named statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The statement's text is known where it stands as a string.
    Prepare {
        name: Box<[u8]>,
        text: Option<Box<[u8]>>,
    },
    Execute {
        name: Box<[u8]>,
    },
    /// MariaDB's statement without a name.
    Immediate {
        text: Option<Box<[u8]>>,
    },
    Deallocate {
        name: Box<[u8]>,
    },
}

/// Reads one; `None` for what is not surely one of them, alone.
pub fn parse(text: &[u8], dialect: Dialect) -> Option<Named> {
    let mut lexer = Lexer::new(text, dialect);
    let mut tokens: Vec<Token> = lexer.by_ref().take(MOST_TOKENS).collect();
    if lexer.broken() || dialect.multibyte || tokens.len() == MOST_TOKENS {
        return None;
    }
    while tokens.last().is_some_and(|token| token.kind == Kind::Semicolon) {
        tokens.pop();
    }
    if tokens.iter().any(|token| token.kind == Kind::Semicolon) {
        return None;
    }
    let is = |at: usize, wanted: &str| {
        tokens.get(at).is_some_and(|token| {
            token.kind == Kind::Word && token.bytes(text).eq_ignore_ascii_case(wanted.as_bytes())
        })
    };
    let name = |at: usize| tokens.get(at).and_then(|token| name_of(token, text));
    if is(0, "PREPARE") && is(2, "FROM") {
        let alone = tokens.get(3).filter(|_| tokens.len() == 4);
        return Some(Named::Prepare {
            name: name(1)?,
            text: alone.and_then(|token| string(token, text, dialect)),
        });
    }
    if is(0, "EXECUTE") && is(1, "IMMEDIATE") {
        let ends = tokens.len() == 3 || is(3, "USING");
        let alone = tokens.get(2).filter(|_| ends);
        return Some(Named::Immediate {
            text: alone.and_then(|token| string(token, text, dialect)),
        });
    }
    if is(0, "EXECUTE") && (tokens.len() == 2 || is(2, "USING")) {
        return Some(Named::Execute { name: name(1)? });
    }
    if (is(0, "DEALLOCATE") || is(0, "DROP")) && is(1, "PREPARE") && tokens.len() == 3 {
        return Some(Named::Deallocate { name: name(2)? });
    }
    None
}

/// Names are compared without regard to case. How the servers fold what is not ASCII is not followed: such names pass
/// for different ones, and what is believed to exist longer than it does is only held longer.
fn name_of(token: &Token, text: &[u8]) -> Option<Box<[u8]>> {
    let bytes = token.bytes(text);
    let name = match token.kind {
        Kind::Word => bytes.to_ascii_lowercase(),
        Kind::Quoted => {
            let quote = *bytes.first()?;
            let inner = bytes.get(1..bytes.len() - 1)?;
            undoubled(inner, quote).to_ascii_lowercase()
        }
        _ => return None,
    };
    Some(name.into())
}

fn undoubled(inner: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        out.push(byte);
        at += if byte == quote { 2 } else { 1 };
    }
    out
}

/// What a string without prefix says.
fn string(token: &Token, text: &[u8], dialect: Dialect) -> Option<Box<[u8]>> {
    let bytes = token.bytes(text);
    let is_plain = token.kind == Kind::Text && matches!(bytes.first(), Some(b'\'' | b'"'));
    unquoted(bytes, dialect)
        .filter(|_| is_plain)
        .map(Vec::into_boxed_slice)
}

/// What a name or a string says, in quotes or without. `None` where they do not end.
pub(super) fn unquoted(bytes: &[u8], dialect: Dialect) -> Option<Vec<u8>> {
    let Some(&quote) = bytes.first().filter(|quote| b"'\"`".contains(quote)) else {
        return Some(bytes.to_vec());
    };
    let inner = bytes.get(1..bytes.len().checked_sub(1)?)?;
    let is_name = quote == b'`' || quote == b'"' && dialect.ansi_quotes;
    if dialect.no_backslash_escapes || is_name {
        return Some(undoubled(inner, quote));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next()? {
                b'0' => out.push(0),
                b'b' => out.push(8),
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'Z' => out.push(26),
                // These keep their backslash: it is for LIKE.
                wildcard @ (b'%' | b'_') => out.extend([b'\\', wildcard]),
                other => out.push(other),
            },
            byte if byte == quote => {
                // The second of two.
                rest.next();
                out.push(byte);
            }
            byte => out.push(byte),
        }
    }
    Some(out)
}

/// The values behind the `USING` of an `EXECUTE`, as they stand in the text.
pub fn values(text: &[u8], dialect: Dialect) -> Vec<&[u8]> {
    let mut tokens: Vec<Token> = Lexer::new(text, dialect).take(MOST_TOKENS).collect();
    while tokens.last().is_some_and(|token| token.kind == Kind::Semicolon) {
        tokens.pop();
    }
    let is_using =
        |token: &Token| token.kind == Kind::Word && token.bytes(text).eq_ignore_ascii_case(b"USING");
    let Some(using) = tokens.iter().position(is_using) else {
        return Vec::new();
    };
    let mut depth = 0_usize;
    let parts = tokens[using + 1..].split(|token| {
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.kind == Kind::Mark(b',')
    });
    let whole = |part: &[Token]| {
        let range = part.first()?.start as usize..part.last()?.end as usize;
        text.get(range)
    };
    parts.filter_map(whole).collect()
}

/// `EXECUTE` may name many variables; more than these are not looked at.
const MOST_TOKENS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<Named> {
        parse(text.as_bytes(), Dialect::MARIADB)
    }

    fn bytes(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn names_and_texts_are_read_as_the_server_reads_them() {
        let prepare = |name: &str, text: Option<&str>| {
            Some(Named::Prepare {
                name: bytes(name),
                text: text.map(bytes),
            })
        };
        assert_eq!(named("PREPARE S FROM 'SELECT 1'"), prepare("s", Some("SELECT 1")));
        assert_eq!(
            named(r#"/* x */ prepare `a``B` from "SELECT ""x"", 'y', \"z\\\", '\%\n'" ;"#),
            prepare("a`b", Some("SELECT \"x\", 'y', \"z\\\", '\\%\n'"))
        );
        assert_eq!(named("PREPARE s FROM @q"), prepare("s", None));
        assert_eq!(named("PREPARE s FROM CONCAT('a', 'b')"), prepare("s", None));
        assert_eq!(named("PREPARE s FROM x'00'"), prepare("s", None));
        let execute = Some(Named::Execute { name: bytes("s") });
        assert_eq!(named("EXECUTE s USING @a, @b"), execute);
        assert_eq!(named("execute S;"), execute);
        let deallocate = Some(Named::Deallocate { name: bytes("s") });
        assert_eq!(named("DROP PREPARE s"), deallocate);
        assert_eq!(named("DEALLOCATE PREPARE `S`"), deallocate);
        let immediate = |text: Option<&str>| {
            Some(Named::Immediate {
                text: text.map(bytes),
            })
        };
        assert_eq!(named("EXECUTE IMMEDIATE 'DO ?' USING 1"), immediate(Some("DO ?")));
        assert_eq!(named("EXECUTE IMMEDIATE @x"), immediate(None));
        for none in [
            "PREPARE s FROM 'x'; DO 1",
            "PREPARE 's' FROM 'x'",
            "DEALLOCATE PREPARE",
            "DROP TABLE prepare",
            "SELECT 1",
            "PREPARE s FROM 'x",
        ] {
            assert_eq!(named(none), None, "{none}");
        }
    }

    #[test]
    fn values_stand_behind_using() {
        let values = |text: &'static str| values(text.as_bytes(), Dialect::MARIADB);
        assert_eq!(values("EXECUTE s"), [b""; 0]);
        assert_eq!(values("EXECUTE s USING @a , @`b,c`;"), [&b"@a"[..], b"@`b,c`"]);
        assert_eq!(
            values("EXECUTE IMMEDIATE 'KILL ?' using IF(1, 2, 3) + 4"),
            [b"IF(1, 2, 3) + 4"]
        );
    }
}
