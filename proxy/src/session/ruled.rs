//! The rule that decides on a statement, found before anything else is done with it, and what it does before a server is asked.

use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tandem_protocol::command::query_attribute;
use tandem_protocol::frame::{HEADER_LEN, Header, MAX_PAYLOAD};

use super::complaint::Complaint;
use super::library::Prepared;
use super::reading::Reading;
use super::relay::Bounds;
use super::run::{Ran, Work};
use super::settings::Settings;
use super::{Command, End, Session};
use crate::backend::UserId;
use crate::classify::facts::Facts;
use crate::classify::{Dialect, normalise};
use crate::config::rule::{Retry, Rule};
use crate::route::Aim;
use crate::route::allowance::{Allowance, allowance};
use crate::route::rules::book::Book;
use crate::route::rules::rewrite::Unfit;
use crate::route::rules::{Moment, Rules, Shape, Who, can_be_cut, can_be_refused, minute_now};
use crate::topology::Flavor;
use crate::worker::Worker;

/// How much of a statement's text a line of the log has.
const LOGGED: usize = 512;

/// The rules whose conditions on the session hold, as long as nothing of that changes: for what comes as text, and for executions,
/// whose names are read as at their PREPARE.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    by_text: Membership,
    prepared: Membership,
}

#[derive(Debug, Default)]
struct Membership {
    of: Option<Of>,
    words: Box<[u64]>,
}

impl Membership {
    fn follow(&mut self, rules: &Rules, user: UserId, who: &Who<'_>) {
        let is_known = self.of.as_ref().is_some_and(|of| {
            of.generation == rules.generation() && of.user == user && of.schema.as_deref() == who.schema
        });
        if is_known {
            return;
        }
        self.words = rules.of_session(who);
        self.of = Some(Of {
            generation: rules.generation(),
            user,
            schema: who.schema.map(Box::from),
        });
    }
}

/// What they were found for.
#[derive(Debug)]
struct Of {
    generation: u64,
    user: UserId,
    schema: Option<Box<[u8]>>,
}

/// A rule that a statement meets.
#[derive(Clone, Debug)]
pub(super) struct Ruled {
    book: Rc<Book>,
    index: usize,
}

impl Ruled {
    fn rule(&self) -> Option<&Rule> {
        self.book.rules().get(self.index)
    }

    /// Where it wants a pure read to be answered.
    pub(super) fn aim(&self) -> Aim {
        self.book.rules().aim(self.index)
    }

    /// How long such a read waits for the standby, if it says so.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.rule()?.actions.wait
    }

    /// How long a server may take over it, if it says so; zero is for ever.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.rule()?.actions.timeout
    }

    /// How long replies to such statements are kept for others, if they are.
    pub(super) fn cache(&self) -> Option<Duration> {
        self.rule()?.actions.cache
    }

    /// Its place among the rules.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// It was looked for in the cache.
    pub(super) fn note_cached(&self, found: bool) {
        self.book.count(self.index, |counts| match found {
            true => counts.cached += 1,
            false => counts.not_cached += 1,
        });
    }

    pub(super) fn retry(&self) -> Retry {
        let rule = self.rule();
        rule.and_then(|rule| rule.actions.retry).unwrap_or(Retry::Reads)
    }

    /// What it allows the reply, if it says anything of that.
    pub(super) fn bounds(&self, facts: &Facts, worker: &Rc<Worker>) -> Option<Bounds> {
        let actions = &self.rule()?.actions;
        let cut = |most: Option<usize>| most.filter(|_| can_be_cut(facts));
        let (max_rows, max_bytes) = (cut(actions.max_rows), cut(actions.max_bytes));
        let is_timed = matches!(allowance(facts, self.timeout(), None), Allowance::OfRule(_));
        let is_bound = max_rows.is_some() || max_bytes.is_some() || is_timed;
        is_bound.then(|| Bounds {
            worker: Rc::clone(worker),
            ruled: self.clone(),
            max_rows,
            max_bytes,
        })
    }

    /// What the client is told where there are more rows or bytes than the rule allows.
    pub(super) fn too_big(&self, what: &str, key: &str, most: usize) -> Complaint {
        Complaint::too_big(self.name(), most, what, key)
    }

    /// What the client is told where a server took too long.
    pub(super) fn overtime(&self, flavor: Flavor) -> Complaint {
        let limit = self.rule().and_then(|rule| rule.actions.timeout);
        Complaint::overtime(self.name(), limit.unwrap_or_default(), flavor)
    }

    fn name(&self) -> &str {
        self.rule().map_or("", |rule| &rule.name)
    }

    /// Its reply was broken off.
    pub(super) fn note_broken_off(&self) {
        self.book.count(self.index, |counts| counts.broken_off += 1);
    }

    /// The statement goes to another server than the rule wants.
    pub(super) fn note_overruled(&self) {
        self.book.count(self.index, |counts| counts.overruled += 1);
    }
}

/// How a statement has come.
#[derive(Clone, Copy)]
enum Came<'a> {
    /// `prepares` where it is to be prepared only.
    AsText { command: Command, prepares: bool },
    /// When it was prepared, these were the settings.
    Prepared(&'a Settings),
}

/// What a client has asked for, where a rule has put another text in its place.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) facts: Rc<Facts>,
    pub(super) text: Box<[u8]>,
}

/// On a clock that all workers share.
fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// What of a statement changes each time.
struct Now<'a> {
    session: &'a Session,
    came: Came<'a>,
    book: &'a Book,
}

impl Moment for Now<'_> {
    fn attribute(&self, name: &str) -> Option<&[u8]> {
        let Came::AsText { command, .. } = self.came else {
            return None;
        };
        let client = &self.session.client;
        let payload = client.inbox.bytes().get(HEADER_LEN..command.text_at)?;
        query_attribute(payload, client.capabilities, name.as_bytes())
    }

    fn minute(&self) -> u16 {
        minute_now()
    }

    fn is_among(&self, rule: usize, percent: u32) -> bool {
        match self.came {
            // Nothing is to be sent: the rules for some of a hundred statements say nothing of that.
            Came::AsText { prepares: true, .. } => percent >= 100,
            _ => self.book.is_among(rule, percent),
        }
    }
}

impl Session {
    /// As [`Session::run`], as its rule wants it.
    ///
    /// # Errors
    /// [`End`] when the session can't go on.
    pub(super) async fn run_by_rule(&mut self, mut work: Work) -> Result<Ran, End> {
        let Some(ruled) = work.ruled.take() else {
            return self.run(work).await;
        };
        let refused = match self.refusal(&ruled, &work.facts) {
            Some(complaint) => Some(complaint),
            None => self.turn(&ruled, &work.facts).await?,
        };
        if let Some(complaint) = refused {
            self.skip(work.command).await?;
            self.complain(&complaint).await?;
            return Ok(Ran::Refused);
        }
        let mut copy = None;
        if let Some(rule) = ruled.rule() {
            // What the statement says itself counts more.
            work.level = work.level.or(rule.actions.consistency);
            if rule.actions.log {
                self.log_ruled(&ruled, rule, &work);
            }
            if rule.actions.trace {
                self.ask_for_trace();
            }
            copy = self.copy_for_mirror(rule, &work);
        }
        ruled.book.count(ruled.index, |counts| counts.hits += 1);
        work.ruled = Some(ruled);
        work.is_mirrored = copy.is_some();
        let ran = self.run(work).await?;
        if let Some(copy) = copy {
            self.hand_over(*copy, &ran);
        }
        Ok(ran)
    }

    /// The rule that decides on the statement in the inbox; `prepares` where it is to be prepared only.
    pub(super) fn rule_of_query(&mut self, facts: &Facts, command: Command, prepares: bool) -> Option<Ruled> {
        let book = self.worker.rules();
        if book.rules().is_empty() {
            return None;
        }
        let dialect = self.reading().dialect;
        self.rule_of(book, facts, Came::AsText { command, prepares }, |session| {
            let text = session.client.inbox.bytes().get(command.text_at..command.head);
            (text.filter(|_| command.tail.is_none()), dialect)
        })
    }

    /// The rule that decides on an execution: by what the client had prepared.
    pub(super) fn rule_of_prepared(&mut self, prepared: &Prepared, asked: Option<&Asked>) -> Option<Ruled> {
        let book = self.worker.rules();
        if book.rules().is_empty() {
            return None;
        }
        let (facts, text) = match asked {
            Some(asked) => (&asked.facts, &asked.text),
            None => (&prepared.facts, &prepared.text),
        };
        self.rule_of(book, facts, Came::Prepared(&prepared.settings), |session| {
            let topology = session.worker.topology.load();
            let dialect = Reading::new(&prepared.settings, &topology).dialect;
            (Some(&**text), dialect)
        })
    }

    /// Puts the text in the place of the client's that its rule wants there, as if the client had sent it. What that was is
    /// returned.
    ///
    /// # Errors
    /// What the client is told where that can't be.
    pub(super) fn rewrite(
        &mut self,
        ruled: Option<&Ruled>,
        facts: &Rc<Facts>,
        command: &mut Command,
    ) -> Result<Option<Asked>, Complaint> {
        let Some(ruled) = ruled else { return Ok(None) };
        let (Some(rewrite), Some(rule)) = (ruled.book.rules().rewrite(ruled.index), ruled.rule()) else {
            return Ok(None);
        };
        if command.tail.is_some() || !can_be_refused(facts) {
            return Ok(None);
        }
        let dialect = self.reading().dialect;
        let most = self.worker.config().limits.statement_bytes;
        let inbox = &mut self.client.inbox;
        let old = inbox
            .bytes()
            .get(command.text_at..command.head)
            .unwrap_or_default();
        let unfit = |unfit| Complaint::unfit(&rule.name, unfit);
        let Some(new) = rewrite.of(old, dialect, most).map_err(unfit)? else {
            return Ok(None);
        };
        let len = command.text_at - HEADER_LEN + new.len();
        if len >= MAX_PAYLOAD {
            return Err(unfit(Unfit::TooLong));
        }
        let asked = Asked {
            facts: Rc::clone(facts),
            text: old.into(),
        };
        let header = Header { len, seq: 0 };
        inbox.replace(command.text_at..command.head, &new);
        inbox.replace(0..HEADER_LEN, &header.encode());
        command.head = HEADER_LEN + len;
        ruled.book.count(ruled.index, |counts| counts.rewritten += 1);
        Ok(Some(asked))
    }

    /// `text` is asked for once for a shape and set of rules.
    fn rule_of<'a>(
        &'a mut self,
        book: Rc<Book>,
        facts: &Facts,
        came: Came<'_>,
        text: impl FnOnce(&'a Self) -> (Option<&'a [u8]>, Dialect),
    ) -> Option<Ruled> {
        let (membership, settings) = match came {
            Came::AsText { .. } => (&mut self.memberships.by_text, &*self.settings),
            Came::Prepared(settings) => (&mut self.memberships.prepared, settings),
        };
        let who = Who {
            user: &self.handle.user.borrow(),
            schema: settings.schema.as_deref(),
            client: self.handle.client.get(),
        };
        membership.follow(book.rules(), self.account.id, &who);
        let session = &*self;
        let shape = facts.matched.of(book.rules().generation(), || {
            let (text, dialect) = text(session);
            book.rules().of_shape(Shape {
                facts,
                text: text.unwrap_or_default(),
                dialect,
            })
        });
        let now = Now {
            session,
            came,
            book: &book,
        };
        let (membership, settings) = match came {
            Came::AsText { .. } => (&session.memberships.by_text, &*session.settings),
            Came::Prepared(settings) => (&session.memberships.prepared, settings),
        };
        let (words, schema) = (&membership.words, settings.schema.as_deref());
        let index = book.rules().find(words, &shape, facts, schema, &now)?;
        Some(Ruled { book, index })
    }

    /// Waits for the statement's turn among those of its rule. What the client is told where that would take too long.
    async fn turn(&mut self, ruled: &Ruled, facts: &Facts) -> Result<Option<Complaint>, End> {
        let book = &ruled.book;
        let (Some(gate), Some(rule)) = (book.rules().gate(ruled.index), ruled.rule()) else {
            return Ok(None);
        };
        let Some(rate) = rule.actions.rate.filter(|_| can_be_refused(facts)) else {
            return Ok(None);
        };
        let patience = rule.actions.rate_wait.unwrap_or_default();
        match gate.enter(since_start(), patience) {
            Ok(Duration::ZERO) => Ok(None),
            Ok(wait) => {
                self.while_client_is_there(tokio::time::sleep(wait)).await?;
                Ok(None)
            }
            Err(wait) => {
                book.count(ruled.index, |counts| {
                    counts.hits += 1;
                    counts.limited += 1;
                });
                Ok(Some(Complaint::over_rate(&rule.name, rate, wait)))
            }
        }
    }

    /// What a rule has against the statement. Nothing keeps a session from ending its transaction.
    pub(super) fn refusal(&self, ruled: &Ruled, facts: &Facts) -> Option<Complaint> {
        let rule = ruled.rule()?;
        let message = rule.actions.refuse.as_ref()?;
        if !can_be_refused(facts) {
            return None;
        }
        ruled.book.count(ruled.index, |counts| {
            counts.hits += 1;
            counts.refused += 1;
        });
        tracing::debug!(session = self.handle.id, rule = rule.name, "refused by a rule");
        Some(Complaint::refused_by_rule(&rule.name, message))
    }

    fn log_ruled(&mut self, ruled: &Ruled, rule: &Rule, work: &Work) {
        let Some(left_out) = ruled.book.may_log(Instant::now()) else {
            return;
        };
        let dialect = self.reading().dialect;
        let text = normalise(self.text_of(work), dialect, LOGGED);
        let (session, user, client) = (
            self.handle.id,
            self.handle.user.borrow(),
            self.handle.client.get(),
        );
        tracing::info!(session, %user, %client, rule = rule.name, left_out, "a statement met a rule: {text}");
    }
}
