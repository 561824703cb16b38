//! Statement text → tokens, in one pass, reading it as the server would.
//!
//! The rules are those of `Lex_input_stream` (MariaDB `sql/sql_lex.cc`, MySQL `sql/sql_lexer.cc`): what one of
//! them takes for code must never be a comment or a string here, since a write could hide in the difference.
//! Whatever can't be read with certainty ends the tokens and sets [`Lexer::broken`].

use super::Dialect;
use super::hint::Hints;
use crate::topology::Flavor;

/// What a token is. Keywords are [`Kind::Word`]: whether a word is a keyword depends on what is around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier without quotes, or a keyword.
    Word,
    /// `` `x` ``, or `"x"` under `ANSI_QUOTES`.
    Quoted,
    /// A string, also `N'…'`, `x'…'` and `b'…'`.
    Text,
    /// A number, with its sign where it can only be one, and `\N`.
    Number,
    /// `?`
    Param,
    /// `@x`, `` @`x` ``, `@'x'`.
    UserVariable,
    /// `@@` alone: the scope and the name follow as words.
    SystemVariable,
    /// `:=`
    Assign,
    /// `;`
    Semicolon,
    /// Any other byte: operators, parentheses, commas, dots.
    Mark(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// White space or a comment stood before it: `COUNT (` is not `COUNT(`.
    pub(crate) spaced: bool,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Token {
    pub(crate) fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// A value that stands for itself and may be any other without changing what the statement does.
    pub(crate) fn is_literal(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Number | Kind::Param)
    }
}

pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    dialect: Dialect,
    /// Within a versioned comment whose content is executed.
    in_comment: bool,
    /// Kind and end of the token before.
    before: Option<(Kind, usize)>,
    /// The rest could not be read: an unterminated string or comment, a NUL, bytes that depend on the charset.
    broken: bool,
    hints: Hints,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8], dialect: Dialect) -> Self {
        Self {
            text,
            at: 0,
            dialect,
            in_comment: false,
            before: None,
            broken: false,
            hints: Hints::default(),
        }
    }

    /// What the comments so far ask for. Final once the tokens have ended.
    pub(crate) fn hints(&self) -> Hints {
        self.hints
    }

    /// Whether the text could not be read to its end. Final once the tokens have ended.
    pub(crate) fn broken(&self) -> bool {
        self.broken
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, class: u8) {
        while let Some(&byte) = self.text.get(self.at) {
            if CLASS[byte as usize] & class == 0 {
                break;
            }
            self.at += 1;
        }
    }

    /// Skips white space and comments; false where the text ends or can't be read.
    fn skip_blank(&mut self) -> bool {
        loop {
            let Some(&byte) = self.text.get(self.at) else {
                // "Unclosed special comments result in a syntax error" (sql_lex.cc).
                self.broken |= self.in_comment;
                return false;
            };
            match byte {
                b'\t'..=b'\r' | b' ' => self.skip_while(SPACE),
                b'#' => self.skip_line(),
                // At the end of the text the servers' look-ahead reads a NUL, which counts as a control character.
                b'-' if self.peek(1) == b'-' && (self.peek(2) <= b' ' || self.peek(2) == 0x7f) => {
                    self.skip_line();
                }
                b'/' if self.peek(1) == b'*' => self.comment(),
                b'*' if self.in_comment && self.peek(1) == b'/' => {
                    self.in_comment = false;
                    self.at += 2;
                }
                // A NUL as the last byte is the end; anywhere else the servers don't agree with themselves.
                0 => {
                    self.broken |= self.at + 1 != self.text.len() || self.in_comment;
                    return false;
                }
                _ => return true,
            }
            if self.broken {
                return false;
            }
        }
    }

    /// A comment to the end of the line also ends at a NUL, which is then refused as one.
    fn skip_line(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            if byte == b'\n' || byte == 0 {
                break;
            }
            self.at += 1;
        }
    }

    /// `/* … */`, `/*! … */`, `/*!50001 … */`, `/*M!100100 … */`, `/*+ … */`
    fn comment(&mut self) {
        let maria = self.dialect.flavor == Flavor::MariaDb;
        let opening = match (self.peek(2), self.peek(3)) {
            (b'!', _) => 3,
            (b'M', b'!') if maria => 4,
            (b'+', _) => return self.hint(),
            _ => {
                let start = self.at + 2;
                self.skip_comment(2, false);
                let inside = self.text.get(start..self.at.saturating_sub(2));
                return self.hints.read(inside.unwrap_or_default());
            }
        };
        let digits = (0..6)
            .take_while(|&n| self.peek(opening + n).is_ascii_digit())
            .count();
        if digits < 5 {
            self.in_comment = true;
            self.at += opening;
            return;
        }
        let number =
            |count: usize| (0..count).fold(0, |sum, n| sum * 10 + u32::from(self.peek(opening + n) - b'0'));
        let runs = |version: u32| {
            // MariaDB skips /*!50700 … */ to /*!99999 … */, which are meant for MySQL 5.7 and later.
            let for_mysql = maria && opening == 3 && (50_700..=99_999).contains(&version);
            version <= self.dialect.version && !for_mysql
        };
        let executed = runs(number(digits));
        // Whether a sixth digit belongs to the version depends on MySQL's release: not certain where it matters.
        if !maria && digits == 6 && runs(number(5)) != executed {
            self.broken = true;
            return;
        }
        if executed {
            self.in_comment = true;
            self.at += opening + digits;
        } else {
            self.skip_comment(opening + digits, true);
        }
    }

    /// Optimizer hints have their own lexer, whose quotes may hide the end of the comment.
    fn hint(&mut self) {
        let start = self.at;
        self.skip_comment(2, false);
        let inside = self.text.get(start..self.at).unwrap_or_default();
        self.broken |= inside.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'`'));
    }

    /// Skips to the end of a comment; a skipped versioned comment may hold plain comments, one level deep.
    fn skip_comment(&mut self, opening: usize, nests: bool) {
        self.at += opening;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                (b'*', b'/') => {
                    self.at += 2;
                    return;
                }
                (b'/', b'*') if nests => self.skip_comment(2, false),
                _ => self.at += 1,
            }
            if self.broken {
                return;
            }
        }
        self.broken = true;
    }

    fn token(&mut self) -> Kind {
        let byte = self.peek(0);
        match byte {
            b'\'' => self.string(0),
            b'"' if self.dialect.ansi_quotes => self.quoted(0),
            b'"' => self.string(0),
            b'`' => self.quoted(0),
            b'n' | b'N' if self.peek(1) == b'\'' => self.string(1),
            b'x' | b'X' | b'b' | b'B' if self.peek(1) == b'\'' => self.hex_string(),
            b'0'..=b'9' if self.follows_dot() => self.word(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() && !self.follows_name() => self.fraction(),
            b'-' | b'+' if self.starts_signed_number() => {
                self.at += 1;
                self.number()
            }
            b'@' => self.variable(),
            b'?' => self.one(Kind::Param),
            b';' => {
                // The servers start a new lexer for the statement after this one.
                self.in_comment = false;
                self.one(Kind::Semicolon)
            }
            b':' if self.peek(1) == b'=' => {
                self.at += 2;
                Kind::Assign
            }
            b'\\' if self.peek(1) == b'N' => {
                self.at += 2;
                Kind::Number
            }
            _ if CLASS[byte as usize] & WORD != 0 => self.word(),
            _ => self.one(Kind::Mark(byte)),
        }
    }

    fn one(&mut self, kind: Kind) -> Kind {
        self.at += 1;
        kind
    }

    fn follows_dot(&self) -> bool {
        self.before == Some((Kind::Mark(b'.'), self.at))
    }

    fn follows_name(&self) -> bool {
        matches!(self.before, Some((Kind::Word | Kind::Quoted, end)) if end == self.at)
    }

    fn starts_signed_number(&self) -> bool {
        self.peek(1).is_ascii_digit()
            && matches!(
                self.before,
                Some((Kind::Mark(b'(' | b',' | b'=' | b'<' | b'>'), _))
            )
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        let mut bits = 0;
        while let Some(&byte) = self.text.get(self.at)
            && CLASS[byte as usize] & WORD != 0
        {
            bits |= byte;
            self.at += 1;
        }
        if !bits.is_ascii() {
            self.foreign_word(start);
        }
        Kind::Word
    }

    /// What of a word is not ASCII may leave it open where the word ends.
    fn foreign_word(&mut self, start: usize) {
        let word = self.text.get(start..self.at).unwrap_or_default();
        // 0xA0 is white space to a latin1 server and part of a name to a utf8 one.
        if word.contains(&0xa0)
            && (std::str::from_utf8(word).is_err() || word.windows(2).any(|pair| pair == b"\xc2\xa0"))
        {
            self.broken = true;
        }
        // Where a second byte may be any letter or a backtick, the end of the word is not certain.
        self.broken |= self.dialect.multibyte;
    }

    /// A number, or a word that starts with digits: `1a` is a name, `1e5a` is a number and a name.
    fn number(&mut self) -> Kind {
        let start = self.at;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'b') {
            let hex = self.peek(1) == b'x';
            self.skip_while(WORD);
            let digits = self.text.get(start + 2..self.at).unwrap_or_default();
            let fits = digits.iter().all(|&digit| match hex {
                true => digit.is_ascii_hexdigit(),
                false => matches!(digit, b'0' | b'1'),
            });
            return if fits && !digits.is_empty() {
                Kind::Number
            } else {
                Kind::Word
            };
        }
        self.skip_while(DIGIT);
        match self.peek(0) {
            b'.' => return self.fraction(),
            b'e' | b'E' if self.skip_exponent() => return Kind::Number,
            byte if CLASS[byte as usize] & WORD != 0 => return self.word(),
            _ => {}
        }
        Kind::Number
    }

    /// `.5`, and what follows the digits of `1.5e3`.
    fn fraction(&mut self) -> Kind {
        self.at += 1;
        self.skip_while(DIGIT);
        if matches!(self.peek(0), b'e' | b'E') && !self.skip_exponent() {
            self.broken = true;
        }
        Kind::Number
    }

    fn skip_exponent(&mut self) -> bool {
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        let is_one = self.peek(1 + sign).is_ascii_digit();
        if is_one {
            self.at += 1 + sign;
            self.skip_while(DIGIT);
        }
        is_one
    }

    fn variable(&mut self) -> Kind {
        self.at += 1;
        match self.peek(0) {
            b'@' => return self.one(Kind::SystemVariable),
            b'`' => {
                self.quoted(0);
            }
            b'"' if self.dialect.ansi_quotes => {
                self.quoted(0);
            }
            b'\'' | b'"' => {
                self.string(0);
            }
            _ => self.skip_while(WORD | DOT),
        }
        Kind::UserVariable
    }

    /// `x'41'`, `b'01'`: no escapes, and anything but digits is an error for the servers.
    fn hex_string(&mut self) -> Kind {
        self.at += 2;
        while self.peek(0).is_ascii_hexdigit() {
            self.at += 1;
        }
        self.broken |= self.peek(0) != b'\'';
        self.one(Kind::Text)
    }

    fn string(&mut self, prefix: usize) -> Kind {
        self.at += prefix;
        let quote = self.peek(0);
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\\' if !self.dialect.no_backslash_escapes => self.at += 2,
                byte if byte == quote && self.peek(1) == quote => self.at += 2,
                byte if byte == quote => return self.one(Kind::Text),
                0x80.. if self.dialect.multibyte => self.skip_multibyte(),
                _ => self.at += 1,
            }
        }
        self.broken = true;
        Kind::Text
    }

    fn quoted(&mut self, prefix: usize) -> Kind {
        self.at += prefix;
        let quote = self.peek(0);
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                byte if byte == quote && self.peek(1) == quote => self.at += 2,
                byte if byte == quote => return self.one(Kind::Quoted),
                // The servers end a quoted name at a NUL, with an error.
                0 => break,
                0x80.. if self.dialect.multibyte => self.skip_multibyte(),
                _ => self.at += 1,
            }
        }
        self.broken = true;
        Kind::Quoted
    }

    /// Skips a run of two-byte characters, where the second byte may look like a backslash or a backtick.
    ///
    /// The charsets differ in their lead bytes. All readings are followed until they meet; where only some of
    /// them see a backslash or a backtick, the text is not readable for certain.
    fn skip_multibyte(&mut self) {
        let mut readings = [self.at; LEAD_BYTES.len()];
        loop {
            let at = readings.into_iter().min().unwrap_or(self.at);
            let agreed = readings.iter().all(|&reading| reading == at);
            let byte = self.text.get(at).copied().unwrap_or(0);
            if agreed && byte < 0x80 {
                self.at = at;
                return;
            }
            if !agreed && matches!(byte, b'\\' | b'`') {
                self.broken = true;
                self.at = self.text.len();
                return;
            }
            let second = self.text.get(at + 1).copied().unwrap_or(0);
            for (reading, is_lead) in readings.iter_mut().zip(LEAD_BYTES) {
                if *reading == at {
                    let pair = is_lead(byte) && matches!(second, 0x40..=0x7e | 0x80..=0xfe);
                    *reading += if pair { 2 } else { 1 };
                }
            }
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let from = self.at;
        if self.broken || !self.skip_blank() {
            return None;
        }
        let start = self.at;
        let kind = self.token();
        if self.broken || self.at > self.text.len() {
            self.broken = true;
            return None;
        }
        self.before = Some((kind, self.at));
        Some(Token {
            kind,
            spaced: start != from,
            start: position(start),
            end: position(self.at),
        })
    }
}

/// Texts are cut at [`super::LOOKED_AT`], so positions fit.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The lead bytes of gbk and gb18030, of sjis and cp932, of big5.
const LEAD_BYTES: [fn(u8) -> bool; 3] = [
    |byte| matches!(byte, 0x81..=0xfe),
    |byte| matches!(byte, 0x81..=0x9f | 0xe0..=0xfc),
    |byte| matches!(byte, 0xa1..=0xf9),
];

const SPACE: u8 = 1;
const WORD: u8 = 1 << 1;
const DIGIT: u8 = 1 << 2;
const DOT: u8 = 1 << 3;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'\t'..=b'\r' | b' ' => SPACE,
            b'0'..=b'9' => WORD | DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => WORD,
            b'.' => DOT,
            _ => 0,
        };
        byte += 1;
    }
    table
}
