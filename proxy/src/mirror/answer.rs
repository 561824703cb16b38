//! What an answer came to, and in what two of them differ. Pure.

use std::fmt;
use std::time::Duration;

/// What one server has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub columns: u64,
    pub rows: u64,
    /// Of the rows in their order.
    pub ordered: u64,
    /// Of the rows in any order.
    pub unordered: u64,
    pub error: Option<u16>,
    /// From the end of sending to the end of the answer.
    pub took: Duration,
}

/// What is not the same; of several, what explains the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the mirror answers with this error.
    ErrorThere(u16),
    /// Only the client got this error.
    ErrorHere(u16),
    /// Here one, there another.
    Errors(u16, u16),
    Columns(u64, u64),
    Rows(u64, u64),
    /// As many rows, and not the same.
    Values,
    /// The same rows in another order, though the statement asks for one.
    Order,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ErrorThere(code) => write!(f, "error {code} there"),
            Self::ErrorHere(code) => write!(f, "error {code} here, none there"),
            Self::Errors(here, there) => write!(f, "error {here} here, {there} there"),
            Self::Columns(here, there) => write!(f, "columns: {here} here, {there} there"),
            Self::Rows(here, there) => write!(f, "rows: {here} here, {there} there"),
            Self::Values => f.write_str("as many rows, with other values"),
            Self::Order => f.write_str("the same rows in another order"),
        }
    }
}

/// In what two answers differ. Their order counts where the statement asks for one.
pub fn difference(here: &Answer, there: &Answer, is_ordered: bool) -> Option<Difference> {
    match (here.error, there.error) {
        (None, Some(code)) => return Some(Difference::ErrorThere(code)),
        (Some(code), None) => return Some(Difference::ErrorHere(code)),
        (Some(here), Some(there)) if here != there => return Some(Difference::Errors(here, there)),
        // How many rows came before it is chance.
        (Some(_), Some(_)) => return None,
        (None, None) => {}
    }
    if here.columns != there.columns {
        Some(Difference::Columns(here.columns, there.columns))
    } else if here.rows != there.rows {
        Some(Difference::Rows(here.rows, there.rows))
    } else if here.unordered != there.unordered {
        Some(Difference::Values)
    } else {
        (is_ordered && here.ordered != there.ordered).then_some(Difference::Order)
    }
}

/// What came of a statement on a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    /// At the second look: the mirror was behind, most probably.
    Late,
    /// The mirror's two answers differ from each other too: what is read is being changed.
    Moving,
    Different(Difference),
    /// An error that only the mirror has.
    ErrorThere(u16),
}

/// The verdict on the mirror's answer; `None`: a second look is needed, for which the first answer is kept.
pub fn first_look(here: &Answer, there: &Answer, is_ordered: bool) -> Option<Verdict> {
    difference(here, there, is_ordered)
        .is_none()
        .then_some(Verdict::Same)
}

/// The verdict once the mirror was asked again.
pub fn second_look(here: &Answer, first: &Answer, second: &Answer, is_ordered: bool) -> Verdict {
    match difference(here, second, is_ordered) {
        None => Verdict::Late,
        Some(_) if difference(first, second, is_ordered).is_some() => Verdict::Moving,
        Some(different) => only_look(different),
    }
}

/// The verdict on a difference that nobody looks at again.
pub fn only_look(different: Difference) -> Verdict {
    match different {
        Difference::ErrorThere(code) => Verdict::ErrorThere(code),
        different => Verdict::Different(different),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer = Answer {
        columns: 2,
        rows: 3,
        ordered: 4,
        unordered: 5,
        error: None,
        took: Duration::ZERO,
    };

    fn failed(code: u16) -> Answer {
        Answer {
            error: Some(code),
            ..Answer::default()
        }
    }

    /// Of all that differs the first cause is told, and time is no difference.
    #[test]
    fn what_differs_is_named() {
        let slow = Answer {
            took: Duration::from_secs(1),
            ..ANSWER
        };
        let wide = Answer { columns: 3, ..ANSWER };
        let long = Answer {
            rows: 4,
            unordered: 6,
            ..ANSWER
        };
        let other = Answer {
            unordered: 6,
            ordered: 6,
            ..ANSWER
        };
        let turned = Answer { ordered: 6, ..ANSWER };
        for (here, there, is_ordered, expected) in [
            (ANSWER, slow, true, None),
            (ANSWER, wide, true, Some(Difference::Columns(2, 3))),
            (ANSWER, long, true, Some(Difference::Rows(3, 4))),
            (ANSWER, other, false, Some(Difference::Values)),
            (ANSWER, turned, true, Some(Difference::Order)),
            (ANSWER, turned, false, None),
            (ANSWER, failed(1146), true, Some(Difference::ErrorThere(1146))),
            (failed(1146), ANSWER, true, Some(Difference::ErrorHere(1146))),
            (
                failed(1146),
                failed(1054),
                true,
                Some(Difference::Errors(1146, 1054)),
            ),
            (failed(1146), failed(1146), true, None),
        ] {
            assert_eq!(difference(&here, &there, is_ordered), expected, "{there:?}");
        }
    }

    #[test]
    fn the_second_look_tells_what_is_behind_from_what_moves_and_what_differs() {
        let other = Answer {
            unordered: 6,
            ..ANSWER
        };
        let third = Answer {
            unordered: 7,
            ..ANSWER
        };
        assert_eq!(first_look(&ANSWER, &ANSWER, false), Some(Verdict::Same));
        assert_eq!(first_look(&ANSWER, &other, false), None);
        for (first, second, expected) in [
            (other, ANSWER, Verdict::Late),
            (other, third, Verdict::Moving),
            (other, other, Verdict::Different(Difference::Values)),
            (failed(1146), ANSWER, Verdict::Late),
            (failed(1146), failed(1146), Verdict::ErrorThere(1146)),
        ] {
            assert_eq!(second_look(&ANSWER, &first, &second, false), expected);
        }
    }
}
