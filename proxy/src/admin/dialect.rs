//! MySQL's way of writing values, for an admin port whose own language and SQLite know only `'it''s'`: literals with backslashes and in
//! double quotes are rewritten, and the parameters of prepared statements take the place of their question marks.

use std::borrow::Cow;
use std::sync::LazyLock;

use opensrv_mysql::{ParamParser, ValueInner};
use regex::Regex;

/// A part of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// With its quotes.
    Literal(&'a str),
    /// A question mark that stands for a parameter.
    Parameter,
    /// Anything else: words, names in backticks, comments.
    Other(&'a str),
}

/// The parts of a statement, in their order and without a gap.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let text = self.0;
        let first = text.chars().next()?;
        let length = match first {
            '\'' | '"' => quoted(text, first, true),
            '`' => quoted(text, first, false),
            '?' => 1,
            _ => comment(text).unwrap_or_else(|| plain_length(text)),
        };
        let (piece, rest) = text.split_at(length);
        self.0 = rest;
        Some(match first {
            '\'' | '"' => Piece::Literal(piece),
            '?' => Piece::Parameter,
            _ => Piece::Other(piece),
        })
    }
}

/// How long what begins with this quote is, up to the quote that ends it or to the end of the text.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == '\\' && escapes {
            chars.next();
        } else if char == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => drop(chars.next()),
                _ => return at + 1,
            }
        }
    }
    text.len()
}

/// How long a comment that begins here is. `--` needs a blank after it.
fn comment(text: &str) -> Option<usize> {
    let dashes = text
        .strip_prefix("--")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
    if text.starts_with('#') || dashes {
        return Some(text.find('\n').map_or(text.len(), |end| end + 1));
    }
    let inner = text.strip_prefix("/*")?;
    Some(inner.find("*/").map_or(text.len(), |end| end + 4))
}

/// Up to where something else may begin.
fn plain_length(text: &str) -> usize {
    let mut chars = text.char_indices();
    chars.next();
    chars
        .find(|(_, char)| "'\"`?#-/".contains(*char))
        .map_or(text.len(), |(at, _)| at)
}

/// The statement with its literals as SQLite reads them.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '"']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in Pieces(text) {
        match piece {
            Piece::Literal(literal) => out.push_str(&rewritten(literal)),
            Piece::Parameter => out.push('?'),
            Piece::Other(other) => out.push_str(other),
        }
    }
    Cow::Owned(out)
}

/// <https://dev.mysql.com/doc/refman/8.4/en/string-literals.html>: `\%` and `\_` stay as they are, for LIKE.
fn rewritten(literal: &str) -> String {
    let quote = literal.chars().next().unwrap_or('\'');
    let Some(inner) = literal
        .get(1..literal.len() - 1)
        .filter(|_| literal.ends_with(quote))
    else {
        // It has no end: what is wrong is told by whoever reads it.
        return literal.to_owned();
    };
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        if char == quote {
            chars.next();
            value.push(quote);
        } else if char == '\\' {
            match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some('0') => value.push('\0'),
                Some('b') => value.push('\u{8}'),
                Some('Z') => value.push('\u{1a}'),
                Some(wild @ ('%' | '_')) => value.extend(['\\', wild]),
                Some(other) => value.push(other),
                None => value.push('\\'),
            }
        } else {
            value.push(char);
        }
    }
    format!("'{}'", value.replace('\'', "''"))
}

/// A SELECT, already in plain literals, without the words that SQLite does not know.
pub(super) fn for_sqlite(text: &str) -> Cow<'_, str> {
    let known = ["CHARACTER SET", "COLLATE", "BINARY", "DIV"];
    let upper = text.to_ascii_uppercase();
    if !known.iter().any(|word| upper.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for piece in Pieces(text) {
        match piece {
            Piece::Literal(piece) => out.push_str(piece),
            Piece::Parameter => out.push('?'),
            Piece::Other(name) if name.starts_with('`') => out.push_str(name),
            Piece::Other(words) => {
                let words = CHARSET.replace_all(words, " ");
                let words = BINARY.replace_all(&words, " ");
                out.push_str(&DIV.replace_all(&words, " / "));
            }
        }
    }
    Cow::Owned(out)
}

#[expect(clippy::unwrap_used, reason = "constant patterns, which the tests below use")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// Text compares without regard to case here, whatever is asked for.
static CHARSET: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(CHARACTER\s+SET|COLLATE)\s+(utf8|latin1|ascii|binary)\w*"));
static BINARY: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bBINARY\b"));
/// Of whole numbers, SQLite's `/` has no fraction.
static DIV: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\bDIV\b"));

/// MySQL's function of this name: what stands before the `count`th `mark`, or behind it from the end.
pub(super) fn substring_index(text: &str, mark: &str, count: i64) -> String {
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if mark.is_empty() || wanted == 0 {
        return String::new();
    }
    let parts: Vec<&str> = text.split(mark).collect();
    let kept = match count < 0 {
        true => &parts[parts.len().saturating_sub(wanted)..],
        false => &parts[..wanted.min(parts.len())],
    };
    kept.join(mark)
}

/// How many parameters a statement has.
pub(super) fn parameters(text: &str) -> usize {
    Pieces(text).filter(|piece| *piece == Piece::Parameter).count()
}

/// The statement with these values in place of its parameters, as MySQL writes them. What has no value is NULL.
pub(super) fn bound(text: &str, values: impl IntoIterator<Item = String>) -> String {
    let mut values = values.into_iter();
    let mut out = String::with_capacity(text.len());
    for piece in Pieces(text) {
        match piece {
            Piece::Literal(piece) | Piece::Other(piece) => out.push_str(piece),
            Piece::Parameter => out.push_str(&values.next().unwrap_or_else(|| "NULL".to_owned())),
        }
    }
    out
}

/// The values of an execution, as MySQL writes them.
pub(super) fn values(parameters: ParamParser<'_>) -> Vec<String> {
    let value = |value| match value {
        ValueInner::NULL => "NULL".to_owned(),
        ValueInner::Int(number) => number.to_string(),
        ValueInner::UInt(number) => number.to_string(),
        ValueInner::Double(number) if number.is_finite() => format!("{number:?}"),
        ValueInner::Double(_) => "NULL".to_owned(),
        ValueInner::Bytes(bytes) => literal(&String::from_utf8_lossy(bytes)),
        ValueInner::Date(bytes) | ValueInner::Datetime(bytes) => literal(&date(bytes)),
        ValueInner::Time(bytes) => literal(&time(bytes)),
    };
    parameters
        .into_iter()
        .map(|parameter| value(parameter.value.into_inner()))
        .collect()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Year, month, day, then hour, minute and second where there are any.
fn date(bytes: &[u8]) -> String {
    let part = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let year = u16::from_le_bytes([part(0), part(1)]);
    let day = format!("{year:04}-{:02}-{:02}", part(2), part(3));
    match bytes.len() {
        0..=4 => day,
        _ => format!("{day} {:02}:{:02}:{:02}", part(4), part(5), part(6)),
    }
}

/// Sign, days, hour, minute, second.
fn time(bytes: &[u8]) -> String {
    let part = |at: usize| bytes.get(at).copied().unwrap_or_default();
    let sign = if part(0) == 1 { "-" } else { "" };
    let days = u32::from_le_bytes([part(1), part(2), part(3), part(4)]);
    let hours = days.saturating_mul(24).saturating_add(part(5).into());
    format!("{sign}{hours:02}:{:02}:{:02}", part(6), part(7))
}

/// `LIKE` as MySQL has it: without regard to case, `%` for anything, `_` for one letter, a backslash before what is meant as it is.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let fold = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (pattern, text) = (fold(pattern), fold(text));
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `%` does not fit: with one letter more for it.
    let mut again: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), pattern.get(p + 1)) {
            (Some('%'), _) => {
                again = Some((p + 1, t));
                p += 1;
                continue;
            }
            (Some('\\'), Some(meant)) if *meant == text[t] => {
                (p, t) = (p + 2, t + 1);
                continue;
            }
            (Some('\\'), Some(_)) => {}
            (Some(wanted), _) if *wanted == '_' || *wanted == text[t] => {
                (p, t) = (p + 1, t + 1);
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = again else {
            return false;
        };
        (p, t) = (after, from + 1);
        again = Some((after, from + 1));
    }
    pattern[p..].iter().all(|char| *char == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_written_as_sqlite_reads_them() {
        for (text, expected) in [
            ("SELECT 1", "SELECT 1"),
            (r"LIKE 'it\'s'", "LIKE 'it''s'"),
            (r"LIKE 'it''s \\ \n'", "LIKE 'it''s \\ \n'"),
            (r#"LIKE "a'b""c""#, "LIKE 'a''b\"c'"),
            (r"LIKE 'a\_b\%'", r"LIKE 'a\_b\%'"),
            (r#"`a"b\` = "x" -- "y\"#, r#"`a"b\` = 'x' -- "y\"#),
            (r#"/* "a" */ # "b""#, r#"/* "a" */ # "b""#),
            (r"'no end\'", r"'no end\'"),
            ("\"é\"\\", "'é'\\"),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn words_that_sqlite_lacks_are_left_out() {
        for (text, expected) in [
            ("SELECT a FROM t", "SELECT a FROM t"),
            (
                "SELECT CAST(a AS CHAR CHARACTER SET utf8), BINARY s.b, `binary`, 'div'",
                "SELECT CAST(a AS CHAR  ),   s.b, `binary`, 'div'",
            ),
            (
                "SELECT a COLLATE utf8_bin, b COLLATE NOCASE",
                "SELECT a  , b COLLATE NOCASE",
            ),
            ("SELECT (n DIV 100)", "SELECT (n  /  100)"),
        ] {
            assert_eq!(for_sqlite(text), expected, "{text}");
        }
        for (count, expected) in [
            (0, ""),
            (1, "a"),
            (2, "a.b"),
            (9, "a.b.c"),
            (-1, "c"),
            (-2, "b.c"),
            (-9, "a.b.c"),
        ] {
            assert_eq!(substring_index("a.b.c", ".", count), expected, "{count}");
        }
    }

    #[test]
    fn parameters_are_found_where_they_are() {
        let text = "SELECT ?, '?', \"?\", `?`, a-?, b/? -- ?\n# ?\n/* ? */ LIMIT ?";
        assert_eq!(parameters(text), 4);
        let values = ["1", "'x'", "2"].map(str::to_owned);
        assert_eq!(
            bound(text, values),
            "SELECT 1, '?', \"?\", `?`, a-'x', b/2 -- ?\n# ?\n/* ? */ LIMIT NULL"
        );
        assert_eq!(plain(&bound("?", [literal(r"a\'b")])), r"'a\''b'");
    }

    #[test]
    fn no_cut_loses_or_doubles_a_byte() {
        let text = "SELECT 'a\\'é', \"b\"\"?\" `c`` d` /* e */ -- f\n# g\n - / ? é";
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let cut = &text[..end];
            let again: String = Pieces(cut)
                .map(|piece| match piece {
                    Piece::Literal(text) | Piece::Other(text) => text,
                    Piece::Parameter => "?",
                })
                .collect();
            assert_eq!(again, cut);
        }
    }

    #[test]
    fn like_is_mysqls() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("%", "", true),
            ("a", "A", true),
            ("a%", "abc", true),
            ("%c", "abcc", true),
            ("%b%c%", "abxcx", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            (r"a\_c", "abc", false),
            (r"a\_c", "a_c", true),
            (r"%\%", "10%", true),
            (r"%\%", "10", false),
            ("ab", "abc", false),
            ("É%", "été", true),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn times_are_written_as_mysql_writes_them() {
        assert_eq!(date(&[0xea, 0x07, 2, 3]), "2026-02-03");
        assert_eq!(date(&[0xea, 0x07, 2, 3, 4, 5, 6]), "2026-02-03 04:05:06");
        assert_eq!(date(&[]), "0000-00-00");
        assert_eq!(time(&[1, 1, 0, 0, 0, 2, 3, 4]), "-26:03:04");
    }
}
