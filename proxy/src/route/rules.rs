//! Which rule decides on a statement: the first whose conditions all hold. Pure.
//!
//! What depends on the session only, and what depends on the statement's shape only, is found out once for each and kept as a
//! bit for each rule. A statement costs the conjunction of the two, 64 rules at a time, and a look at what changes from
//! statement to statement for the rules that are left.

pub mod book;
pub mod gate;
pub mod rewrite;
pub mod trial;

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{Local, Timelike};

use crate::classify::facts::{Facts, Kind};
use crate::classify::{Dialect, Fingerprint, fingerprint, normalise};
use crate::config::rule::{Aim as Wish, Entrance, Names, Pattern, Rule};
use crate::net::address::Peer;
use crate::route::Aim;
use crate::topology::ServerId;
use gate::Gate;
use rewrite::Rewrite;

/// Longest part of a normalised text that patterns are compared with.
pub const PATTERN_SEES: usize = 64 << 10;

/// The rules of one configuration, in order.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    list: Arc<[Compiled]>,
    generation: u64,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    aim: Aim,
    gate: Option<Gate>,
    rewrite: Option<Rewrite>,
}

/// What else there is follows from these.
impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        (&self.rule, self.aim) == (&other.rule, other.aim)
    }
}

/// Rules are equal that say the same.
impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Rules {}

/// What of a session rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub user: &'a str,
    /// Its default schema.
    pub schema: Option<&'a [u8]>,
    pub client: Peer,
}

/// What of a statement's shape they look at.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    pub facts: &'a Facts,
    /// Empty where it is not known: of commands without one, and of those that are too long.
    pub text: &'a [u8],
    pub dialect: Dialect,
}

/// What changes from statement to statement.
pub trait Moment {
    /// The query attribute of this name.
    fn attribute(&self, name: &str) -> Option<&[u8]>;
    /// Of the day, by the local clock.
    fn minute(&self) -> u16;
    /// Whether this one is among so many of a hundred.
    fn is_among(&self, rule: usize, percent: u32) -> bool;
}

/// Of the day, by the local clock.
pub fn minute_now() -> u16 {
    let now = Local::now();
    u16::try_from(now.hour() * 60 + now.minute()).unwrap_or_default()
}

/// Not what ends a transaction: a session could not get out of what it has begun. Nor is another text put in its place, or is it
/// told to stop.
pub fn can_be_refused(facts: &Facts) -> bool {
    !matches!(facts.kind, Kind::Commit | Kind::Rollback)
}

/// Not what changes rows: they are there though the client would be told of an error.
pub fn can_be_cut(facts: &Facts) -> bool {
    !matches!(
        facts.kind,
        Kind::Insert | Kind::Replace | Kind::Update | Kind::Delete
    )
}

/// The condition that does not hold, of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    Disabled,
    User,
    Schema,
    Client,
    Listener,
    Digest,
    Pattern,
    Tables,
    Kind,
    Hint,
    Attribute,
    Time,
    Percent,
}

/// Whether a condition that is given does not hold.
fn fails<T>(condition: Option<&T>, holds: impl FnOnce(&T) -> bool) -> bool {
    condition.is_some_and(|condition| !holds(condition))
}

/// Of the conditions on the session, the first that does not hold.
fn session_miss(rule: &Rule, who: &Who<'_>) -> Option<Miss> {
    let wanted = &rule.conditions;
    let ip = match who.client {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Local => None,
    };
    let misses = [
        (!rule.enabled, Miss::Disabled),
        (
            fails(wanted.user.as_ref(), |users| users.matches(who.user.as_bytes())),
            Miss::User,
        ),
        (
            fails(wanted.schema.as_ref(), |schemas| {
                who.schema.is_some_and(|schema| schemas.matches(schema))
            }),
            Miss::Schema,
        ),
        (
            fails(wanted.client.as_ref(), |networks| {
                ip.is_some_and(|ip| networks.contains(ip))
            }),
            Miss::Client,
        ),
        (
            fails(wanted.listener.as_ref(), |listener| {
                *listener == Entrance::of(who.client)
            }),
            Miss::Listener,
        ),
    ];
    misses.into_iter().find_map(|(fails, miss)| fails.then_some(miss))
}

/// A shape with what is made of its text once for all rules.
struct Seen<'a> {
    shape: Shape<'a>,
    digest: Fingerprint,
    normalised: OnceCell<String>,
    /// Whether digest and text say anything.
    readable: bool,
}

impl<'a> Seen<'a> {
    fn new(shape: Shape<'a>) -> Self {
        let digest = fingerprint(shape.text, shape.dialect);
        // Texts without one share their facts, and so what is found out here: it may not depend on one of them.
        let readable = digest != Fingerprint(0) && !shape.text.is_empty();
        Self {
            digest,
            normalised: OnceCell::new(),
            readable,
            shape,
        }
    }

    /// Made for the first rule that asks for it.
    fn normalised(&self) -> &str {
        let Shape { text, dialect, .. } = self.shape;
        self.normalised
            .get_or_init(|| normalise(text, dialect, PATTERN_SEES))
    }
}

/// Of the conditions on the shape, the first that does not hold.
fn shape_miss(rule: &Rule, seen: &Seen<'_>) -> Option<Miss> {
    let wanted = &rule.conditions;
    let facts = seen.shape.facts;
    let has_text = seen.readable;
    let misses = [
        (
            fails(wanted.digest.as_ref(), |digests| {
                has_text && digests.0.contains(&seen.digest)
            }),
            Miss::Digest,
        ),
        (fails(wanted.kind.as_ref(), |kinds| kinds.have(facts)), Miss::Kind),
        (
            fails(wanted.tables.as_ref(), |tables| {
                tables.named_by(facts) != Names::No
            }),
            Miss::Tables,
        ),
        (
            fails(wanted.hint.as_ref(), |hint| facts.hints.tag == Some(hint.0)),
            Miss::Hint,
        ),
    ];
    let miss = misses.into_iter().find_map(|(fails, miss)| fails.then_some(miss));
    // The dearest one last.
    miss.or_else(|| {
        let holds = |pattern: &Pattern| has_text && pattern.0.is_match(seen.normalised());
        fails(wanted.pattern.as_ref(), holds).then_some(Miss::Pattern)
    })
}

/// Of the conditions that can't be told before, the first that does not hold.
fn moment_miss(
    index: usize,
    rule: &Rule,
    facts: &Facts,
    schema: Option<&[u8]>,
    moment: &impl Moment,
) -> Option<Miss> {
    let wanted = &rule.conditions;
    if fails(wanted.tables.as_ref(), |tables| tables.are_named(facts, schema)) {
        return Some(Miss::Tables);
    }
    if fails(wanted.attribute.as_ref(), |attribute| {
        let found = moment.attribute(&attribute.name);
        found.is_some_and(|found| {
            attribute
                .value
                .as_ref()
                .is_none_or(|value| value.as_bytes() == found)
        })
    }) {
        return Some(Miss::Attribute);
    }
    if fails(wanted.time.as_ref(), |window| window.contains(moment.minute())) {
        return Some(Miss::Time);
    }
    // Last: it counts.
    fails(wanted.percent.as_ref(), |percent| {
        moment.is_among(index, *percent)
    })
    .then_some(Miss::Percent)
}

impl Rules {
    /// `servers` are the names of the servers in their order.
    pub fn new(rules: Vec<Rule>, servers: &[String]) -> Self {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let compiled = |rule: Rule| {
            let aim = match &rule.actions.target {
                Some(Wish::Active) => Aim::Active,
                Some(Wish::Standby) => Aim::Standby,
                Some(Wish::Server(name)) => {
                    let place = servers.iter().position(|known| known == name);
                    place.map_or(Aim::Any, |place| Aim::Server(ServerId(place)))
                }
                Some(Wish::Any) | None => Aim::Any,
            };
            Compiled {
                gate: rule.actions.rate.map(Gate::new),
                rewrite: Rewrite::new(&rule.actions),
                aim,
                rule,
            }
        };
        Self {
            list: rules.into_iter().map(compiled).collect(),
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Another number for every set of rules that was made.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.list.iter().map(|compiled| &compiled.rule)
    }

    /// The rule at this place.
    pub fn get(&self, index: usize) -> Option<&Rule> {
        self.list.get(index).map(|compiled| &compiled.rule)
    }

    /// Where the rule at this place wants reads to be answered.
    pub fn aim(&self, index: usize) -> Aim {
        self.list.get(index).map_or(Aim::Any, |compiled| compiled.aim)
    }

    /// What the statements of the rule at this place have to pass, one after the other.
    pub fn gate(&self, index: usize) -> Option<&Gate> {
        self.list.get(index)?.gate.as_ref()
    }

    /// What the rule at this place makes of a text.
    pub fn rewrite(&self, index: usize) -> Option<&Rewrite> {
        self.list.get(index)?.rewrite.as_ref()
    }

    fn bits(&self, holds: impl Fn(&Rule) -> bool) -> Vec<u64> {
        let mut words = vec![0; self.list.len().div_ceil(64)];
        for (index, compiled) in self.list.iter().enumerate() {
            if let Some(word) = words.get_mut(index / 64) {
                *word |= u64::from(holds(&compiled.rule)) << (index % 64);
            }
        }
        words
    }

    /// The rules whose conditions on the session hold.
    pub fn of_session(&self, who: &Who<'_>) -> Box<[u64]> {
        self.bits(|rule| session_miss(rule, who).is_none()).into()
    }

    /// The rules whose conditions on the statement's shape hold, or may.
    pub fn of_shape(&self, shape: Shape<'_>) -> Rc<[u64]> {
        let seen = Seen::new(shape);
        self.bits(|rule| shape_miss(rule, &seen).is_none()).into()
    }

    /// The place of the first rule that holds, of those that both may meet. `schema` is the default schema.
    pub fn find(
        &self,
        session: &[u64],
        shape: &[u64],
        facts: &Facts,
        schema: Option<&[u8]>,
        moment: &impl Moment,
    ) -> Option<usize> {
        for (word, (by_session, by_shape)) in session.iter().zip(shape).enumerate() {
            let mut left = by_session & by_shape;
            while left != 0 {
                let index = word * 64 + left.trailing_zeros() as usize;
                let rule = self.get(index)?;
                if moment_miss(index, rule, facts, schema, moment).is_none() {
                    return Some(index);
                }
                left &= left - 1;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
