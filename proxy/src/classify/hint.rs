//! What an application asks of Tandem in a comment: `/* tandem:consistency=session */`.
//!
//! It stands in the text, so it is part of a statement's shape and costs nothing once that is known. Many clients take
//! comments out before they send a statement (`mysql` unless it is given `--comments`).

use std::fmt;

use crate::config::Level;

/// With what such a comment begins, behind white space.
const PREFIX: &[u8] = b"tandem:";

/// The hints of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// How new what the statement reads has to be.
    pub consistency: Option<Level>,
    /// What rules know it by.
    pub tag: Option<Tag>,
    /// A hint could not be understood.
    pub wrong: bool,
}

/// What is known, for whoever gave something else.
pub const KNOWN: &str =
    "tandem:consistency=strict|session|eventual and tandem:tag=NAME, several with commas between";

/// Longest tag.
const TAG_BYTES: usize = 31;

/// A word by which rules know a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    len: u8,
    bytes: [u8; TAG_BYTES],
}

impl Tag {
    /// Letters, digits, `_`, `-` and `.`, at most 31.
    pub fn new(text: &[u8]) -> Option<Self> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        let mut bytes = [0; TAG_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        let is_tag = !text.is_empty() && text.iter().all(allowed);
        is_tag.then_some(Self {
            len: text.len() as u8,
            bytes,
        })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.bytes.get(..self.len.into()).unwrap_or_default();
        f.write_str(std::str::from_utf8(text).unwrap_or_default())
    }
}

impl Hints {
    /// Reads the inside of a comment. What does not begin as a hint is none.
    pub(crate) fn read(&mut self, comment: &[u8]) {
        let Some(hints) = comment.trim_ascii().strip_prefix(PREFIX) else {
            return;
        };
        for hint in hints.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let level = hint.strip_prefix(b"consistency=").and_then(Level::from_name);
            let tag = hint.strip_prefix(b"tag=").and_then(Tag::new);
            match (level, tag) {
                (Some(level), _) => self.consistency = Some(level),
                (_, Some(tag)) => self.tag = Some(tag),
                (None, None) => self.wrong = true,
            }
        }
    }

    /// Calls `mix` with other numbers for other hints, and not at all for none.
    pub(crate) fn mix(self, mut mix: impl FnMut(u64)) {
        let level = match self.consistency {
            None => 0,
            Some(Level::Strict) => 1,
            Some(Level::Session) => 2,
            Some(Level::Eventual) => 3,
        };
        let code = level | u64::from(self.wrong) << 2;
        if code != 0 {
            mix(1 << 34 | code);
        }
        let Some(tag) = self.tag else { return };
        mix(1 << 35 | u64::from(tag.len));
        for chunk in tag.bytes.chunks(8) {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            mix(u64::from_le_bytes(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Classifier, Dialect, analyse};
    use super::*;

    fn hints(text: &str) -> Hints {
        analyse(text.as_bytes(), Dialect::MARIADB).hints
    }

    #[test]
    fn a_comment_can_ask_for_a_level() {
        for (text, level) in [
            (
                "SELECT 1 /* tandem:consistency=eventual */",
                Some(Level::Eventual),
            ),
            ("/*tandem:consistency=session*/ SELECT 1", Some(Level::Session)),
            ("SELECT /* tandem: consistency=strict */ 1", Some(Level::Strict)),
            ("SELECT 1 /* by tandem:consistency=strict */", None),
            ("SELECT '/* tandem:consistency=strict */'", None),
            ("SELECT 1", None),
        ] {
            let found = hints(text);
            assert_eq!((found.consistency, found.wrong), (level, false), "{text}");
        }
    }

    #[test]
    fn a_comment_can_give_a_tag() {
        let found = hints("SELECT 1 /* tandem:tag=report-1, consistency=session */");
        assert_eq!(found.tag, Tag::new(b"report-1"));
        assert_eq!((found.consistency, found.wrong), (Some(Level::Session), false));
        assert_eq!(found.tag.map(|tag| tag.to_string()).as_deref(), Some("report-1"));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in [
            "SELECT 1 /* tandem:tag= */",
            "SELECT 1 /* tandem:tag=a b */",
            "SELECT 1 /* tandem:tag=abcdefghijabcdefghijabcdefghij12 */",
            "SELECT 1 /* tandem:consistency=never */",
            "SELECT 1 /* tandem:fast */",
            "SELECT 1 /* tandem: */",
        ] {
            assert!(hints(text).wrong, "{text}");
        }
    }

    #[test]
    fn statements_with_other_hints_are_of_other_shapes() {
        let mut classifier = Classifier::new(16);
        let texts = [
            "SELECT 1",
            "SELECT 1 /* tandem:consistency=session */",
            "SELECT 1 /* tandem:consistency=eventual */",
            "SELECT 1 /* tandem:nonsense */",
            "SELECT 1 /* tandem:tag=a */",
            "SELECT 1 /* tandem:tag=b */",
        ];
        let shapes: Vec<_> = texts
            .iter()
            .map(|text| classifier.classify(text.as_bytes(), Dialect::MARIADB).fingerprint)
            .collect();
        for (index, shape) in shapes.iter().enumerate() {
            assert!(!shapes[..index].contains(shape), "{}", texts[index]);
        }
        let plain = classifier.classify(b"SELECT 1 /* a comment */", Dialect::MARIADB);
        assert_eq!(plain.fingerprint, shapes[0]);
    }
}
