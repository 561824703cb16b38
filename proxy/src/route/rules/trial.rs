//! What `EXPLAIN ROUTE` tells of the rules: each that was tried, and why it did not hold.

use super::{Miss, Moment, Rules, Seen, Shape, Who, moment_miss, session_miss, shape_miss};
use crate::classify::facts::Purity;
use crate::config::rule::{Conditions, Entrance, Rule};
use crate::net::address::Peer;

/// A question about a session that need not exist: what is not given is not known.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub user: Option<&'a str>,
    pub schema: Option<&'a str>,
    pub client: Option<Peer>,
    /// Of the day.
    pub minute: u16,
}

/// What was found out about one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    /// For so many statements of a hundred; the rules behind it are tried for the others.
    Sometimes(u32),
    Not(String),
}

struct Now(u16);

impl Moment for Now {
    fn attribute(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn minute(&self) -> u16 {
        self.0
    }

    fn is_among(&self, _: usize, percent: u32) -> bool {
        percent >= 100
    }
}

/// The rules up to the first that holds.
pub fn trials<'a>(rules: &'a Rules, shape: Shape<'_>, asked: &Asked<'_>) -> Vec<(&'a Rule, Verdict)> {
    let seen = Seen::new(shape);
    let mut tried = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let verdict = verdict(index, rule, &seen, asked);
        let holds = verdict == Verdict::Holds;
        tried.push((rule, verdict));
        if holds {
            break;
        }
    }
    tried
}

fn verdict(index: usize, rule: &Rule, seen: &Seen<'_>, asked: &Asked<'_>) -> Verdict {
    let who = Who {
        user: asked.user.unwrap_or_default(),
        schema: asked.schema.map(str::as_bytes),
        client: asked.client.unwrap_or(Peer::Local),
    };
    let facts = seen.shape.facts;
    let miss = session_miss(rule, &who)
        .or_else(|| shape_miss(rule, seen))
        .or_else(|| moment_miss(index, rule, facts, who.schema, &Now(asked.minute)));
    let unknown =
        |condition: &str, say: &str| format!("{condition} is not known here; say EXPLAIN ROUTE {say} …");
    let wanted = &rule.conditions;
    let not = match miss {
        None => {
            return match asked.client {
                // Held by what stands in for it.
                None if wanted.listener.is_some() => Verdict::Not(unknown("the client", "FROM <address>")),
                _ => Verdict::Holds,
            };
        }
        Some(Miss::Percent) => return Verdict::Sometimes(wanted.percent.unwrap_or_default()),
        Some(Miss::User) if asked.user.is_none() => unknown("the user", "FOR <user>"),
        Some(Miss::Schema) if asked.schema.is_none() => unknown("the default schema", "IN <schema>"),
        Some(Miss::Client | Miss::Listener) if asked.client.is_none() => {
            unknown("the client", "FROM <address>")
        }
        Some(miss) => why(miss, wanted, &who, seen, asked.minute),
    };
    Verdict::Not(not)
}

fn why(miss: Miss, wanted: &Conditions, who: &Who<'_>, seen: &Seen<'_>, minute: u16) -> String {
    let facts = seen.shape.facts;
    let found = match miss {
        Miss::Disabled => return "it has enabled = false".to_owned(),
        Miss::User => format!("the user is '{}'", who.user),
        Miss::Schema => {
            let schema = String::from_utf8_lossy(who.schema.unwrap_or_default());
            format!("the default schema is '{schema}'")
        }
        Miss::Client => format!("the client is {}", who.client),
        Miss::Listener => format!("it comes by the listener's {}", Entrance::of(who.client).name()),
        Miss::Digest => format!("the digest is {}", seen.digest),
        Miss::Pattern => "the text without its values reads otherwise".to_owned(),
        Miss::Tables if !facts.tables.complete => "of its tables, those that are known are others".to_owned(),
        Miss::Tables => "it names other tables, or none".to_owned(),
        Miss::Kind => match facts.purity {
            Purity::Pure => format!("it is {}, a pure read", facts.kind.name()),
            _ => format!("it is {}, no pure read", facts.kind.name()),
        },
        Miss::Hint => match facts.hints.tag {
            Some(tag) => format!("its tag is {tag}"),
            None => "it has no tag".to_owned(),
        },
        Miss::Attribute => "query attributes are not known here".to_owned(),
        Miss::Time => format!("it is {:02}:{:02}", minute / 60, minute % 60),
        Miss::Percent => "it is one of the others".to_owned(),
    };
    let key = format!("{miss:?}").to_lowercase();
    let given = wanted.given();
    let value = given.iter().find(|(condition, _)| *condition == key);
    let value = value.map(|(_, value)| value.as_str()).unwrap_or_default();
    format!("{found}; wanted: {key} = {value}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Dialect, analyse};
    use crate::config::rule::{Globs, Kinds};
    use crate::config::scalar::Scalar;

    const ANYBODY: Asked<'_> = Asked {
        user: None,
        schema: None,
        client: None,
        minute: 0,
    };

    fn rule(name: &str, conditions: Conditions) -> Rule {
        Rule {
            name: name.to_owned(),
            enabled: true,
            conditions,
            actions: Default::default(),
        }
    }

    /// Each rule that is tried is told, with the condition that fails and what was found instead, up to the first that holds.
    #[test]
    fn every_rule_tried_is_told() {
        let user = Conditions {
            user: Some(Globs(vec!["report".to_owned()])),
            ..Conditions::default()
        };
        let writes = Conditions {
            kind: Some(Kinds::from_text("write").expect("a kind")),
            ..Conditions::default()
        };
        let some = Conditions {
            percent: Some(10),
            ..Conditions::default()
        };
        let all = vec![
            rule("user", user),
            rule("writes", writes),
            rule("some", some),
            rule("all", Conditions::default()),
            rule("never", Conditions::default()),
        ];
        let rules = Rules::new(all, &[]);
        let facts = analyse(b"SELECT 1", Dialect::MARIADB);
        let shape = Shape {
            facts: &facts,
            text: b"SELECT 1",
            dialect: Dialect::MARIADB,
        };
        let told = |asked: &Asked<'_>| -> Vec<Verdict> {
            let tried = trials(&rules, shape, asked);
            tried.into_iter().map(|(_, verdict)| verdict).collect()
        };
        let not = |text: &str| Verdict::Not(text.to_owned());
        let as_app = Asked {
            user: Some("app"),
            ..ANYBODY
        };
        assert_eq!(
            told(&as_app),
            [
                not("the user is 'app'; wanted: user = \"report\""),
                not("it is select, a pure read; wanted: kind = \"write\""),
                Verdict::Sometimes(10),
                Verdict::Holds,
            ]
        );
        assert_eq!(
            told(&ANYBODY)[0],
            not("the user is not known here; say EXPLAIN ROUTE FOR <user> …")
        );
        let as_report = Asked {
            user: Some("report"),
            ..ANYBODY
        };
        assert_eq!(told(&as_report), [Verdict::Holds]);
    }
}
