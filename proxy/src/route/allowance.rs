//! How long a server may work on a statement, where a rule says so and `statement_timeout` too. Pure.

use std::time::Duration;

use super::rules::can_be_refused;
use crate::classify::facts::{Facts, Kind};
use crate::config::TimeLimit;

/// Not what is half-way to an end that can't be taken back.
pub fn can_be_stopped(facts: &Facts) -> bool {
    can_be_refused(facts) && facts.kind != Kind::Xa
}

/// How long a server may work on a statement, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    OfRule(Duration),
    OfAccount(TimeLimit),
    Endless,
}

/// The rule's word counts, also for a longer time or for none (zero): it is about such statements, and the account's about all.
pub fn allowance(facts: &Facts, rule: Option<Duration>, account: Option<TimeLimit>) -> Allowance {
    match (rule, account) {
        _ if !can_be_stopped(facts) => Allowance::Endless,
        (Some(limit), _) if limit.is_zero() => Allowance::Endless,
        (Some(limit), _) => Allowance::OfRule(limit),
        (None, Some(limit)) => Allowance::OfAccount(limit),
        (None, None) => Allowance::Endless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Dialect, analyse};

    #[test]
    fn a_rules_word_counts_whether_it_is_shorter_or_longer() {
        let facts = |text: &str| analyse(text.as_bytes(), Dialect::MARIADB);
        let account = TimeLimit {
            most: Duration::from_secs(30),
            of_account: true,
        };
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(600));
        let of_account = Allowance::OfAccount(account);
        for (text, rule, general, expected) in [
            ("SELECT 1", None, None, Allowance::Endless),
            ("SELECT 1", None, Some(account), of_account),
            ("SELECT 1", Some(short), Some(account), Allowance::OfRule(short)),
            ("SELECT 1", Some(long), Some(account), Allowance::OfRule(long)),
            ("SELECT 1", Some(long), None, Allowance::OfRule(long)),
            (
                "SELECT 1",
                Some(Duration::ZERO),
                Some(account),
                Allowance::Endless,
            ),
            ("COMMIT", Some(short), Some(account), Allowance::Endless),
            ("XA PREPARE 'x'", Some(short), Some(account), Allowance::Endless),
        ] {
            assert_eq!(
                allowance(&facts(text), rule, general),
                expected,
                "{text} {rule:?}"
            );
        }
    }
}
