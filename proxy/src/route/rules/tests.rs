use super::*;
use crate::classify::{Classifier, Dialect};
use crate::config::rule::{Actions, Attribute, Conditions, Digests, Globs, HintTag, Kinds, TableGlobs};
use crate::config::scalar::Scalar;
use crate::config::{DayWindow, Networks};
use std::cell::Cell;

fn from<T: Scalar>(text: &str) -> Option<T> {
    Some(T::from_text(text).unwrap_or_else(|wrong| panic!("{text}: {wrong}")))
}

fn rule(name: &str, conditions: Conditions) -> Rule {
    Rule {
        name: name.to_owned(),
        enabled: true,
        conditions,
        actions: Actions::default(),
    }
}

const APP: Who<'_> = Who {
    user: "app",
    schema: Some(b"shop"),
    client: Peer::Local,
};

struct Now {
    attribute: Option<(&'static str, &'static [u8])>,
    minute: u16,
    lots: Cell<u32>,
}

impl Default for Now {
    fn default() -> Self {
        Self {
            attribute: None,
            minute: 12 * 60,
            lots: Cell::new(0),
        }
    }
}

impl Moment for Now {
    fn attribute(&self, name: &str) -> Option<&[u8]> {
        self.attribute
            .filter(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn minute(&self) -> u16 {
        self.minute
    }

    fn is_among(&self, _: usize, percent: u32) -> bool {
        self.lots.set(self.lots.get() + 1);
        percent >= 50
    }
}

fn found(rules: &Rules, who: &Who<'_>, text: &str, now: &Now) -> Option<usize> {
    let classified = Classifier::new(2).classify(text.as_bytes(), Dialect::MARIADB);
    let shape = rules.of_shape(Shape {
        facts: &classified.facts,
        text: text.as_bytes(),
        dialect: Dialect::MARIADB,
    });
    let session = rules.of_session(who);
    rules.find(&session, &shape, &classified.facts, who.schema, now)
}

/// Each condition alone lets through what it names and nothing else.
#[test]
fn every_condition_is_looked_at() {
    let read = "SELECT a FROM t WHERE id = 7 /* tandem:tag=report */";
    let write = "INSERT INTO log VALUES (1)";
    let digest = fingerprint(read.as_bytes(), Dialect::MARIADB).to_string();
    let other = Who {
        user: "root",
        schema: None,
        client: Peer::Tcp(([192, 0, 2, 7], 1).into()),
    };
    let none = Conditions::default;
    let noon = Now {
        attribute: Some(("class", b"slow")),
        ..Now::default()
    };
    let night = Now {
        minute: 3 * 60,
        ..Now::default()
    };
    let socket = Some(Entrance::Socket);
    // The first of each pair is met by the session `APP` with `read` at noon, the second not by `other` with `write` at night.
    let all = [
        Conditions {
            user: from::<Globs>("x, a*"),
            ..none()
        },
        Conditions {
            schema: from::<Globs>("shop"),
            ..none()
        },
        Conditions {
            listener: socket,
            ..none()
        },
        Conditions {
            digest: from::<Digests>(&digest),
            ..none()
        },
        Conditions {
            pattern: from::<Pattern>("^select .* where id = \\?$"),
            ..none()
        },
        Conditions {
            tables: from::<TableGlobs>("shop.t"),
            ..none()
        },
        Conditions {
            kind: from::<Kinds>("read"),
            ..none()
        },
        Conditions {
            hint: from::<HintTag>("report"),
            ..none()
        },
        Conditions {
            attribute: from::<Attribute>("class=slow"),
            ..none()
        },
        Conditions {
            attribute: from::<Attribute>("class"),
            ..none()
        },
        Conditions {
            time: from::<DayWindow>("08:00-18:00"),
            ..none()
        },
    ];
    for conditions in all {
        let given = format!("{:?}", conditions.given());
        let rules = Rules::new(vec![rule("r", conditions)], &[]);
        assert_eq!(found(&rules, &APP, read, &noon), Some(0), "{given}");
        assert_eq!(found(&rules, &other, write, &night), None, "{given}");
    }
    let network = Conditions {
        client: from::<Networks>("192.0.2.0/24"),
        ..none()
    };
    let rules = Rules::new(vec![rule("r", network)], &[]);
    assert_eq!(found(&rules, &other, read, &noon), Some(0));
    assert_eq!(found(&rules, &APP, read, &noon), None, "a socket has no address");
}

/// The first of several decides, also behind the first 64, and one that is switched off does not.
#[test]
fn the_first_that_holds_decides() {
    let user = |name: &str| Conditions {
        user: from::<Globs>(name),
        ..Conditions::default()
    };
    let mut all: Vec<Rule> = (0..70)
        .map(|n| rule(&format!("r{n}"), user(&format!("u{n}"))))
        .collect();
    let mut off = rule("off", Conditions::default());
    off.enabled = false;
    all.push(off);
    all.push(rule("yes", user("app")));
    all.push(rule("late", Conditions::default()));
    let rules = Rules::new(all, &[]);
    assert_eq!(found(&rules, &APP, "SELECT 1", &Now::default()), Some(71));
    let third = Who { user: "u66", ..APP };
    assert_eq!(found(&rules, &third, "SELECT 1", &Now::default()), Some(66));
}

/// A share is taken of the statements that meet all other conditions, and lots are not drawn for others.
#[test]
fn lots_are_drawn_last() {
    let share = |percent, kind: &str| Conditions {
        percent: Some(percent),
        kind: from::<Kinds>(kind),
        ..Conditions::default()
    };
    let all = vec![
        rule("writes", share(100, "write")),
        rule("few", share(10, "read")),
        rule("many", share(90, "read")),
    ];
    let rules = Rules::new(all, &[]);
    let now = Now::default();
    assert_eq!(found(&rules, &APP, "SELECT 1", &now), Some(2));
    assert_eq!(now.lots.get(), 2);
}

/// What has no text, or can't be read to its end, is met by its kind and by nothing that looks at the text.
#[test]
fn what_can_not_be_read_is_known_by_that() {
    let all = vec![
        rule(
            "text",
            Conditions {
                pattern: from::<Pattern>(".*"),
                ..Conditions::default()
            },
        ),
        rule(
            "digest",
            Conditions {
                digest: from::<Digests>("0000000000000000"),
                ..Conditions::default()
            },
        ),
        rule(
            "unreadable",
            Conditions {
                kind: from::<Kinds>("unreadable"),
                ..Conditions::default()
            },
        ),
    ];
    let rules = Rules::new(all, &[]);
    let facts = crate::classify::unreadable();
    let shape = rules.of_shape(Shape {
        facts: &facts,
        text: b"",
        dialect: Dialect::MARIADB,
    });
    let session = rules.of_session(&APP);
    assert_eq!(
        rules.find(&session, &shape, &facts, None, &Now::default()),
        Some(2)
    );
}

/// Values are not part of what a pattern sees: it can't be kept from matching by them, nor match because of them.
#[test]
fn patterns_see_no_values() {
    let secret = Conditions {
        pattern: from::<Pattern>("secret"),
        ..Conditions::default()
    };
    let rules = Rules::new(vec![rule("r", secret)], &[]);
    assert_eq!(
        found(&rules, &APP, "SELECT 'secret' /* secret */", &Now::default()),
        None
    );
    assert_eq!(
        found(&rules, &APP, "SELECT SECRET FROM t", &Now::default()),
        Some(0)
    );
}

/// Texts that can't be read to their end have their facts in common: no pattern decides on all of them by the first one's text.
#[test]
fn what_can_not_be_read_meets_no_pattern() {
    let rules = Rules::new(
        vec![rule(
            "drop",
            Conditions {
                pattern: from::<Pattern>("drop"),
                ..Conditions::default()
            },
        )],
        &[],
    );
    let mut classifier = Classifier::new(2);
    let mut facts = |text: &str| classifier.classify(text.as_bytes(), Dialect::MARIADB).facts;
    let (first, second) = ("DROP TABLE t '", "SELECT '");
    assert!(Rc::ptr_eq(&facts(first), &facts(second)));
    assert_eq!(found(&rules, &APP, first, &Now::default()), None);
    assert_eq!(found(&rules, &APP, "DROP TABLE t", &Now::default()), Some(0));
}

/// Whoever has begun a transaction can end it, and what has changed rows is not said to have failed.
#[test]
fn what_a_rule_leaves_alone() {
    for (text, refused, cut) in [
        ("SELECT 1", true, true),
        ("CALL p()", true, true),
        ("INSERT INTO t VALUES (1) RETURNING id", true, false),
        ("DELETE FROM t RETURNING id", true, false),
        ("COMMIT", false, true),
        ("ROLLBACK", false, true),
    ] {
        let facts = Classifier::new(2)
            .classify(text.as_bytes(), Dialect::MARIADB)
            .facts;
        assert_eq!(
            (can_be_refused(&facts), can_be_cut(&facts)),
            (refused, cut),
            "{text}"
        );
    }
}
