//! What an application asks of Tandem in a comment: `/* tandem:consistency=session */`.
//!
//! It stands in the text, so it is part of a statement's shape and costs nothing once that is known. Many clients take
//! comments out before they send a statement (`mysql` unless it is given `--comments`).

use crate::config::Level;

/// With what such a comment begins, behind white space.
const PREFIX: &[u8] = b"tandem:";

/// The hints of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// How new what the statement reads has to be.
    pub consistency: Option<Level>,
    /// A hint could not be understood.
    pub wrong: bool,
}

impl Hints {
    /// Reads the inside of a comment. What does not begin as a hint is none.
    pub(crate) fn read(&mut self, comment: &[u8]) {
        let Some(hints) = comment.trim_ascii().strip_prefix(PREFIX) else {
            return;
        };
        for hint in hints.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let level = hint.strip_prefix(b"consistency=").and_then(Level::from_name);
            match level {
                Some(level) => self.consistency = Some(level),
                None => self.wrong = true,
            }
        }
    }

    /// Another number for other hints, 0 for none.
    pub(crate) fn code(self) -> u64 {
        let level = match self.consistency {
            None => 0,
            Some(Level::Strict) => 1,
            Some(Level::Session) => 2,
            Some(Level::Eventual) => 3,
        };
        level | u64::from(self.wrong) << 2
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
    fn what_is_not_understood_is_said() {
        for text in [
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
