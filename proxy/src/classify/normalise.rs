//! Statement text → one line for digests and logs, without the values it carries.

use super::Dialect;
use super::fingerprint::is_value_word;
use super::lexer::{Kind, Lexer, Token};
use super::looked_at;

/// `text` with literals as `?`, one space between words, no comments and repeated list elements once.
///
/// At most `max` bytes and an ellipsis. Where the text can't be read any further the rest is left out, since it
/// could hold values that nobody wants in a log.
pub fn normalise(text: &[u8], dialect: Dialect, max: usize) -> String {
    let (seen, whole) = looked_at(text);
    let mut lexer = Lexer::new(seen, dialect);
    let mut line = Line::new(Values::Hidden, seen.len().min(max));
    for token in lexer.by_ref() {
        line.token(seen, &token);
        if line.text.len() > max.saturating_add(SLACK) {
            break;
        }
    }
    line.close_element();
    let mut out = line.text;
    if out.len() > max || !whole || lexer.broken() {
        let end = (0..=max.min(out.len()))
            .rev()
            .find(|&end| out.is_char_boundary(end));
        out.truncate(end.unwrap_or(0));
        out.push('…');
    }
    out
}

/// The statement as a parser of standard SQL can read it: comments resolved, names in backticks, simple values.
/// Nothing where that is longer than `max`.
pub(crate) fn sample(text: &[u8], tokens: &[Token], max: usize) -> Option<String> {
    let mut line = Line::new(Values::Sample, text.len().min(max));
    for token in tokens {
        line.token(text, token);
        if line.text.len() > max {
            return None;
        }
    }
    line.close_element();
    Some(line.text)
}

/// How much longer than its limit a line may grow before repeated elements are taken back.
const SLACK: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Hidden,
    Sample,
}

/// Where the element being written starts, and where the one before it starts and ends.
#[derive(Clone, Copy, Default)]
struct List {
    element: usize,
    last: Option<(usize, usize)>,
}

struct Line {
    values: Values,
    text: String,
    outer: Vec<List>,
    list: List,
    before: Option<Kind>,
}

impl Line {
    /// `expected` is about how long it will be.
    fn new(values: Values, expected: usize) -> Self {
        Self {
            values,
            text: String::with_capacity(expected + expected / 4),
            outer: Vec::new(),
            list: List::default(),
            before: None,
        }
    }

    fn token(&mut self, source: &[u8], token: &Token) {
        let before = self.before;
        match token.kind {
            Kind::Text if before == Some(Kind::Text) => {}
            Kind::Text | Kind::Number | Kind::Param => {
                let value = self.value(token.kind);
                self.word(value);
            }
            Kind::Mark(b',') => {
                self.close_element();
                self.text.push_str(", ");
                self.list.element = self.text.len();
            }
            Kind::Mark(b'(') => self.open(token),
            Kind::Mark(b')') => {
                self.close_element();
                self.text.push(')');
                self.list = self.outer.pop().unwrap_or_default();
            }
            Kind::Semicolon => self.text.push(';'),
            Kind::Mark(b'.') => self.text.push('.'),
            // `a--1` is a difference, `a -- 1` a comment.
            Kind::Mark(b'-') if before == Some(Kind::Mark(b'-')) => self.word("-"),
            Kind::Mark(_) if !token.spaced && is_operator(before) => {
                self.text.push_str(&String::from_utf8_lossy(token.bytes(source)));
            }
            Kind::Quoted if self.values == Values::Sample => {
                let name = in_backticks(token.bytes(source));
                self.word(&name);
            }
            Kind::Word if is_value_word(token.bytes(source), before.unwrap_or(token.kind)) => {
                let value = self.value(Kind::Number);
                self.word(value);
            }
            _ => self.word(&String::from_utf8_lossy(token.bytes(source))),
        }
        self.before = Some(token.kind);
    }

    fn value(&self, kind: Kind) -> &'static str {
        match (self.values, kind) {
            (Values::Sample, Kind::Text) => "'1'",
            (Values::Sample, Kind::Number) => "1",
            _ => "?",
        }
    }

    fn open(&mut self, token: &Token) {
        let joined = match self.before {
            None | Some(Kind::Mark(b'(' | b',')) => true,
            Some(Kind::Word | Kind::Quoted) => !token.spaced,
            _ => false,
        };
        if !joined {
            self.text.push(' ');
        }
        self.text.push('(');
        self.outer.push(self.list);
        self.list = List {
            element: self.text.len(),
            last: None,
        };
    }

    fn word(&mut self, word: &str) {
        let joined = matches!(
            self.before,
            None | Some(Kind::Mark(b'(' | b'.' | b',') | Kind::SystemVariable)
        );
        if !joined {
            self.text.push(' ');
        }
        self.text.push_str(word);
    }

    /// Takes an element back that says what the one before it said.
    fn close_element(&mut self) {
        let List { element, last } = self.list;
        let here = (element, self.text.len());
        let same = |&(start, end): &(usize, usize)| self.text.get(start..end) == self.text.get(element..);
        match last.filter(same) {
            Some((start, end)) => {
                self.text.truncate(end);
                self.list.last = Some((start, end));
            }
            None => self.list.last = Some(here),
        }
    }
}

fn is_operator(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Mark(mark)) if !matches!(mark, b'(' | b')' | b',' | b'.'))
}

/// The name as written, in the one form of quotes that every MySQL parser takes for a name.
fn in_backticks(quoted: &[u8]) -> String {
    let quote = quoted.first().copied().map(char::from).unwrap_or('`');
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    let name = String::from_utf8_lossy(inner).replace(&format!("{quote}{quote}"), &quote.to_string());
    format!("`{}`", name.replace('`', "``"))
}
