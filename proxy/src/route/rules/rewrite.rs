//! `rewrite`: another text in the place of the one that a client has sent. Pure.

use regex::bytes::{Regex, RegexBuilder};

use crate::classify::Dialect;
use crate::classify::lexer::{Kind, Lexer};
use crate::config::rule::Actions;

/// What a rule makes of a text.
#[derive(Debug)]
pub struct Rewrite {
    /// What is replaced; nothing is the whole text.
    from: Option<Regex>,
    to: Box<[u8]>,
}

/// Why a text can't be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Parameters before and after.
    Parameters(usize, usize),
    TooLong,
}

impl Rewrite {
    pub fn new(actions: &Actions) -> Option<Self> {
        let to = actions.rewrite.as_ref()?.as_bytes().into();
        let from = actions.rewrite_from.as_ref().and_then(|from| {
            // The same expression was compiled for texts before.
            let built = RegexBuilder::new(from.0.as_str())
                .case_insensitive(true)
                .dot_matches_new_line(true)
                .build();
            built.ok()
        });
        let is_whole = actions.rewrite_from.is_none();
        (is_whole || from.is_some()).then_some(Self { from, to })
    }

    /// The text that goes to the server, or nothing where there is nothing to replace.
    ///
    /// # Errors
    /// [`Unfit`] when it would be longer than `most` bytes, or have more or fewer parameters than the client's.
    pub fn of(&self, text: &[u8], dialect: Dialect, most: usize) -> Result<Option<Vec<u8>>, Unfit> {
        let new = match &self.from {
            None => self.to.to_vec(),
            Some(from) => match self.replaced(from, text, most)? {
                Some(new) => new,
                None => return Ok(None),
            },
        };
        if new.len() > most {
            return Err(Unfit::TooLong);
        }
        let (before, after) = (parameters(text, dialect), parameters(&new, dialect));
        match before == after {
            true => Ok(Some(new)),
            false => Err(Unfit::Parameters(before, after)),
        }
    }

    fn replaced(&self, from: &Regex, text: &[u8], most: usize) -> Result<Option<Vec<u8>>, Unfit> {
        let mut new = Vec::new();
        let mut copied = 0;
        let mut is_changed = false;
        for captures in from.captures_iter(text) {
            let Some(found) = captures.get(0) else { continue };
            is_changed = true;
            new.extend_from_slice(&text[copied..found.start()]);
            captures.expand(&self.to, &mut new);
            copied = found.end();
            if new.len() > most {
                return Err(Unfit::TooLong);
            }
        }
        new.extend_from_slice(&text[copied..]);
        Ok(is_changed.then_some(new))
    }
}

/// How many `?` stand for values.
fn parameters(text: &[u8], dialect: Dialect) -> usize {
    Lexer::new(text, dialect)
        .filter(|token| token.kind == Kind::Param)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::rule::Pattern;
    use crate::config::scalar::Scalar;

    fn rewrite(from: Option<&str>, to: &str) -> Rewrite {
        let actions = Actions {
            rewrite_from: from.map(|from| Pattern::from_text(from).expect("an expression")),
            rewrite: Some(to.to_owned()),
            ..Actions::default()
        };
        Rewrite::new(&actions).expect("a rewrite")
    }

    fn of(rewrite: &Rewrite, text: &str) -> Result<Option<String>, Unfit> {
        let new = rewrite.of(text.as_bytes(), Dialect::MARIADB, 100)?;
        Ok(new.map(|new| String::from_utf8(new).expect("a text")))
    }

    /// Values stay what they are, and parameters as many as they were.
    #[test]
    fn parts_are_replaced_and_values_kept() {
        let moved = rewrite(
            Some(r"\bfrom old\b( where id = \S+)?"),
            "FROM new FORCE INDEX (i)$1",
        );
        assert_eq!(
            of(&moved, "SELECT 'ä', a FROM old WHERE id = 7"),
            Ok(Some(
                "SELECT 'ä', a FROM new FORCE INDEX (i) WHERE id = 7".to_owned()
            ))
        );
        assert_eq!(
            of(&moved, "SELECT a FROM old WHERE id = ?"),
            Ok(Some("SELECT a FROM new FORCE INDEX (i) WHERE id = ?".to_owned()))
        );
        assert_eq!(of(&moved, "SELECT a FROM older"), Ok(None));
    }

    #[test]
    fn parameters_can_not_be_lost_or_gained() {
        let whole = rewrite(None, "SELECT 1 FROM t WHERE a = ? AND b = '?'");
        assert_eq!(of(&whole, "SELECT ?, ?"), Err(Unfit::Parameters(2, 1)));
        assert!(matches!(of(&whole, "SELECT ?"), Ok(Some(_))));
        assert_eq!(of(&whole, "SELECT 7"), Err(Unfit::Parameters(0, 1)));
    }

    #[test]
    fn a_text_does_not_grow_without_bound() {
        let grows = rewrite(Some("a"), &"a".repeat(60));
        assert_eq!(of(&grows, "aaaa"), Err(Unfit::TooLong));
    }
}
