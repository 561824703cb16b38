//! What the firewall has against a statement, before anything else is done with it.

use std::ops::Range;
use std::rc::Rc;

use super::complaint::Complaint;
use super::library::Prepared;
use super::named::Stands;
use super::reading::Reading;
use super::ruled::Asked;
use super::settings::Settings;
use super::{Command, Session};
use crate::backend::UserId;
use crate::classify::facts::{Facts, Kind};
use crate::classify::identity::{Identity, Part, parts};
use crate::classify::{Dialect, normalise};
use crate::config::FirewallMode;
use crate::firewall::guard::Set;
use crate::firewall::{Place, Seen, Sighting};
use crate::route::rules::can_be_refused;
use crate::worker::Worker;

/// How much of a statement's text is kept.
const KEPT: usize = 1000;

/// What is known of the session's account: in the schema of what comes as text, and in that of executions, whose names are read as at
/// their PREPARE.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    by_text: Known,
    prepared: Known,
}

/// As long as nothing of that changes.
#[derive(Debug, Default)]
struct Known {
    of: Option<Of>,
    by: Option<(FirewallMode, Rc<Set>)>,
}

/// What it was found for.
#[derive(Debug)]
struct Of {
    generation: u64,
    config: u64,
    user: UserId,
    schema: Option<Box<[u8]>>,
}

/// The first statement of a text that is not known.
struct Unknown {
    identity: Identity,
    place: Place,
}

/// A text whose statements are looked up.
#[derive(Clone, Copy)]
struct Text<'a> {
    facts: &'a Facts,
    /// Where it is there to be read.
    text: Option<&'a [u8]>,
    /// By which it is.
    settings: &'a Rc<Settings>,
}

impl Text<'_> {
    /// Worked out for the first of a shape, and for what is not known.
    fn dialect(&self, worker: &Worker) -> Dialect {
        Reading::new(self.settings, &worker.topology.load()).dialect
    }
}

impl Session {
    /// What there is against the statement in the inbox.
    pub(super) fn guard_query(&mut self, facts: &Facts, command: Command) -> Option<Complaint> {
        if !self.worker.firewall.is_on() {
            return None;
        }
        let (mode, set) = self.guarding(facts, None)?;
        let text = self.client.inbox.bytes().get(command.text_at..command.head);
        let text = text.filter(|_| command.tail.is_none());
        let asked = Text {
            facts,
            text,
            settings: &self.settings,
        };
        let stands = match (facts.kind, text) {
            (Kind::Prepare | Kind::Execute, Some(text)) => {
                self.what_is_named(text, asked.dialect(&self.worker))
            }
            _ => Stands::Elsewhere,
        };
        self.guard(mode, &set, asked, &stands)
    }

    /// What there is against executing a statement: by what the client had prepared.
    pub(super) fn guard_prepared(&mut self, prepared: &Prepared, asked: Option<&Asked>) -> Option<Complaint> {
        if !self.worker.firewall.is_on() {
            return None;
        }
        let (facts, text) = match asked {
            Some(asked) => (&asked.facts, &asked.text),
            None => (&prepared.facts, &prepared.text),
        };
        let (mode, set) = self.guarding(facts, Some(prepared))?;
        let asked = Text {
            facts,
            text: Some(text),
            settings: &prepared.settings,
        };
        self.guard(mode, &set, asked, &Stands::Elsewhere)
    }

    /// What is done about the account's new statements, if anything. Nothing keeps a session from ending its transaction.
    fn guarding(&mut self, facts: &Facts, prepared: Option<&Prepared>) -> Option<(FirewallMode, Rc<Set>)> {
        let worker = &self.worker;
        let (known, settings) = match prepared {
            None => (&mut self.guarded.by_text, &self.settings),
            Some(prepared) => (&mut self.guarded.prepared, &prepared.settings),
        };
        let is_known = known.of.as_ref().is_some_and(|of| {
            of.generation == worker.firewall.generation()
                && of.config == worker.config_version()
                && of.user == self.account.id
                && of.schema.as_deref() == settings.schema.as_deref()
        });
        if !is_known {
            let config = worker.config();
            let mode = config.firewall_mode(self.account.configured_in(&config));
            let schema = settings.schema.as_deref().unwrap_or_default();
            let place = Place::new(&self.account.name, &String::from_utf8_lossy(schema));
            let set = || (mode, worker.firewall.set(place));
            *known = Known {
                of: Some(Of {
                    generation: worker.firewall.generation(),
                    config: worker.config_version(),
                    user: self.account.id,
                    schema: settings.schema.clone(),
                }),
                by: (mode != FirewallMode::Off).then(set),
            };
        }
        let (mode, set) = known.by.as_ref()?;
        can_be_refused(facts).then(|| (*mode, Rc::clone(set)))
    }

    /// Looks up each statement of a text, and of what that runs.
    fn guard(&self, mode: FirewallMode, set: &Set, asked: Text<'_>, stands: &Stands) -> Option<Complaint> {
        let own = self.look_up(mode, set, asked, matches!(stands, Stands::Elsewhere));
        let other = match stands {
            Stands::Here(facts, text) => {
                let text = text.as_deref();
                self.look_up(mode, set, Text { facts, text, ..asked }, true)
            }
            Stands::Elsewhere | Stands::Nowhere => None,
        };
        let Unknown { identity, place } = own.or(other)?;
        match mode {
            FirewallMode::Off | FirewallMode::Learn => None,
            FirewallMode::Warn => {
                self.worker.count(|counters| counters.firewall_warned += 1);
                None
            }
            FirewallMode::Refuse => {
                self.worker.count(|counters| counters.firewall_refused += 1);
                Some(Complaint::refused_by_firewall(&place, identity))
            }
        }
    }

    /// The first of a text's statements that is not known; all of these are noted. With `is_open`, those that run others are
    /// known only if somebody has said so.
    fn look_up(&self, mode: FirewallMode, set: &Set, asked: Text<'_>, is_open: bool) -> Option<Unknown> {
        let known = asked.facts.parts.of(|| {
            let found = asked.text.map(|text| self.parts(asked, text));
            let found = found.unwrap_or_else(|| vec![(Part::UNREADABLE, 0..0)]);
            found.into_iter().map(|(part, _)| part).collect()
        });
        let mut unknown = None;
        for (index, part) in known.iter().enumerate() {
            let runs_others = part.runs_others && is_open;
            let identity = match runs_others {
                true => part.identity.open(),
                false => part.identity,
            };
            if set.knows(identity) {
                continue;
            }
            let once = |wanted| u64::from(mode == wanted);
            let seen = Seen {
                learnt: once(FirewallMode::Learn),
                warned: once(FirewallMode::Warn),
                refused: once(FirewallMode::Refuse),
            };
            self.worker.firewall.note(set, identity, seen, |place| Sighting {
                place,
                identity,
                runs_others,
                statement: self.statement(asked, index),
                counts: seen,
                session: self.handle.id,
                client: self.handle.client.get().host(),
            });
            unknown.get_or_insert_with(|| Unknown {
                identity,
                place: set.place().clone(),
            });
        }
        unknown
    }

    fn parts(&self, asked: Text<'_>, text: &[u8]) -> Vec<(Part, Range<usize>)> {
        parts(text, asked.dialect(&self.worker), self.worker.firewall.secret())
    }

    /// One of a text's statements without its values.
    fn statement(&self, asked: Text<'_>, index: usize) -> String {
        let readable = |text: &[u8]| {
            let (part, place) = self.parts(asked, text).into_iter().nth(index)?;
            let text = text.get(place)?;
            let is_readable = part.identity != Identity::UNREADABLE;
            is_readable.then(|| normalise(text, asked.dialect(&self.worker), KEPT))
        };
        let shown = || asked.facts.tally.statement().map(|text| text.to_string());
        let found = asked.text.and_then(readable).or_else(shown);
        found.unwrap_or_default()
    }
}
