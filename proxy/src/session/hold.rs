//! Whether a session must keep its connection after a statement, and why: a pure decision.

use tandem_protocol::flags::Status;

use crate::classify::facts::{Facts, Kind, Links, Pins, Purity};
use crate::route::Reason;

/// State that ties a session to the connection it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ties {
    /// The transaction state that the server reported last.
    pub status: Status,
    pub pins: Pins,
    /// A prepared statement has an open cursor, or got long data and was not executed yet.
    pub statement: bool,
    /// The last statement failed in a way that leaves the transaction state unknown.
    pub uncertain: bool,
    /// The last statement left warnings, an error or `SQL_CALC_FOUND_ROWS` that the next one may ask for.
    pub diagnostics: bool,
}

impl Default for Ties {
    fn default() -> Self {
        Self {
            status: Status::AUTOCOMMIT,
            pins: Pins::empty(),
            statement: false,
            uncertain: false,
            diagnostics: false,
        }
    }
}

impl Ties {
    /// Why the connection must be kept whatever comes next, if it must.
    pub fn firm(&self) -> Option<Reason> {
        if !self.pins.is_empty() || self.statement {
            Some(Reason::Pinned)
        } else if self.in_transaction() {
            Some(Reason::Transaction)
        } else {
            None
        }
    }

    /// Why the connection must be kept for a statement with these `links`.
    pub fn for_links(&self, links: Links) -> Option<Reason> {
        self.firm()
            .or_else(|| (self.diagnostics && links.intersects(READS)).then_some(Reason::PreviousStatement))
    }

    /// Work has begun that stopping would undo.
    pub fn in_transaction(&self) -> bool {
        self.status.contains(Status::IN_TRANS) || self.uncertain
    }

    /// What an answer of Tandem's own says: the state, without what the last statement said of itself.
    pub fn state(&self) -> Status {
        self.status & STATE
    }

    /// Every statement that touches a table begins a transaction.
    pub fn autocommit_off(&self) -> bool {
        !self.status.contains(Status::AUTOCOMMIT)
    }

    /// Whether losing the connection loses something that a new one can't be given.
    pub fn is_tied(&self) -> bool {
        self.firm().is_some()
    }

    /// Notes what a statement did; `status` is what its reply reported, if it reported any.
    pub fn note(&mut self, facts: &Facts, reply: &Outcome) {
        match reply.status {
            Some(status) => {
                self.status = status;
                self.uncertain = false;
            }
            // An error packet tells no state. Plain statements are rolled back by themselves; code may
            // have opened a transaction before it failed, but not several reads in one packet. Without
            // autocommit, what failed has begun one all the same, and its locks stay.
            None => {
                let code = runs_code(facts.kind) && facts.purity != Purity::Pure;
                let may_open = code || self.autocommit_off();
                self.uncertain |= may_open && !reply.refused;
            }
        }
        let ended = !self.status.contains(Status::IN_TRANS);
        if ended && facts.kind != Kind::Set {
            self.pins.remove(Pins::NEXT_TRANSACTION);
        }
        if !reply.failed {
            self.pins.remove(facts.unpins);
            self.pins.insert(facts.pins);
        } else if !reply.refused && (runs_code(facts.kind) || matches!(facts.kind, Kind::Select | Kind::Set))
        {
            // It may have got half-way.
            self.pins.insert(facts.pins);
        }
        // The text did not tell, but the server did: a procedure made a temporary table or set a variable.
        if reply.state_changed && runs_code(facts.kind) {
            self.pins.insert(Pins::UNKNOWN);
        }
        let asks = facts.links.intersects(READS) && self.diagnostics;
        self.diagnostics =
            asks || reply.failed || reply.warnings > 0 || facts.links.contains(Links::LEAVES_FOUND_ROWS);
    }
}

/// The links of a statement that does nothing but ask what the one before it left: it may run wherever that is.
pub fn asks(facts: &Facts) -> Links {
    match facts.purity {
        Purity::PreviousStatement => facts.links,
        _ => facts.links - READS,
    }
}

/// Links that are answered by the connection of the statement before.
pub const READS: Links = Links::READS_FOUND_ROWS
    .union(Links::READS_ROW_COUNT)
    .union(Links::READS_DIAGNOSTICS);

/// Status flags that outlast the statement that reported them.
const STATE: Status = Status::IN_TRANS
    .union(Status::AUTOCOMMIT)
    .union(Status::NO_BACKSLASH_ESCAPES)
    .union(Status::IN_TRANS_READONLY)
    .union(Status::ANSI_QUOTES);

/// What a reply told about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub status: Option<Status>,
    pub failed: bool,
    /// It failed as a whole before anything was executed: it could not be parsed.
    pub refused: bool,
    pub warnings: u16,
    /// The server reported a change of state other than variables and schema.
    pub state_changed: bool,
}

/// Statements that run code whose effects their own text does not show.
pub fn runs_code(kind: Kind) -> bool {
    matches!(kind, Kind::Call | Kind::Execute | Kind::Multi | Kind::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::facts::Tables;
    use crate::classify::hint::Hints;
    use crate::classify::identity::Identified;
    use crate::classify::matched::Matched;
    use crate::classify::tally::Tally;

    fn facts(kind: Kind, pins: Pins, unpins: Pins) -> Facts {
        Facts {
            kind,
            purity: Purity::Writes,
            pins,
            unpins,
            links: Links::empty(),
            unreported: Vec::new(),
            tables: Tables::default(),
            hints: Hints::default(),
            tally: Tally::default(),
            matched: Matched::default(),
            parts: Identified::default(),
        }
    }

    fn ok(status: Status) -> Outcome {
        Outcome {
            status: Some(status),
            ..Outcome::default()
        }
    }

    const FAILED: Outcome = Outcome {
        status: None,
        failed: true,
        refused: false,
        warnings: 0,
        state_changed: false,
    };

    #[test]
    fn a_transaction_holds_from_begin_to_commit() {
        let mut ties = Ties::default();
        let none = Pins::empty();
        ties.note(
            &facts(Kind::Begin, none, none),
            &ok(Status::AUTOCOMMIT | Status::IN_TRANS),
        );
        assert_eq!(ties.firm(), Some(Reason::Transaction));
        ties.note(&facts(Kind::Insert, none, none), &FAILED);
        assert_eq!(
            ties.firm(),
            Some(Reason::Transaction),
            "an error does not tell that it ended"
        );
        ties.note(&facts(Kind::Commit, none, none), &ok(Status::AUTOCOMMIT));
        assert_eq!(ties.firm(), None);
    }

    #[test]
    fn failed_code_holds_until_the_next_answer_tells_the_state() {
        let mut ties = Ties::default();
        let none = Pins::empty();
        ties.note(&facts(Kind::Call, none, none), &FAILED);
        assert_eq!(ties.firm(), Some(Reason::Transaction));
        ties.note(&facts(Kind::Select, none, none), &ok(Status::AUTOCOMMIT));
        assert_eq!(ties.firm(), None);
    }

    /// They may have run on a standby, where nothing that follows must be sent because of them.
    #[test]
    fn failed_reads_in_one_packet_hold_nothing() {
        let mut ties = Ties::default();
        let mut reads = facts(Kind::Multi, Pins::empty(), Pins::empty());
        reads.purity = Purity::Pure;
        ties.note(&reads, &FAILED);
        assert_eq!(ties.firm(), None);
    }

    #[test]
    fn without_autocommit_only_an_open_transaction_holds() {
        let mut ties = Ties::default();
        let none = Pins::empty();
        ties.note(&facts(Kind::Set, none, none), &ok(Status::empty()));
        assert!(ties.autocommit_off() && !ties.is_tied());
        ties.note(&facts(Kind::Select, none, none), &ok(Status::IN_TRANS));
        assert_eq!(ties.firm(), Some(Reason::Transaction));
    }

    /// The status before it did not say that there is a transaction, and the server has one.
    #[test]
    fn what_failed_without_autocommit_holds_until_the_next_answer_tells_the_state() {
        let mut ties = Ties::default();
        let none = Pins::empty();
        ties.note(&facts(Kind::Set, none, none), &ok(Status::empty()));
        ties.note(&facts(Kind::Insert, none, none), &FAILED);
        assert_eq!(ties.firm(), Some(Reason::Transaction));
        ties.note(&facts(Kind::Rollback, none, none), &ok(Status::empty()));
        assert_eq!(ties.firm(), None);
    }

    #[test]
    fn a_typo_leaves_nothing_behind() {
        let mut ties = Ties::default();
        let refused = Outcome {
            refused: true,
            ..FAILED
        };
        ties.note(&facts(Kind::Unknown, Pins::UNKNOWN, Pins::empty()), &refused);
        assert!(!ties.is_tied());
    }

    #[test]
    fn pins_come_and_go_with_successful_statements() {
        let mut ties = Ties::default();
        let none = Pins::empty();
        ties.note(&facts(Kind::Lock, Pins::TABLE_LOCK, none), &FAILED);
        assert!(!ties.is_tied());
        ties.note(
            &facts(Kind::Lock, Pins::TABLE_LOCK, none),
            &ok(Status::AUTOCOMMIT),
        );
        assert_eq!(ties.firm(), Some(Reason::Pinned));
        ties.note(
            &facts(Kind::Lock, none, Pins::TABLE_LOCK),
            &ok(Status::AUTOCOMMIT),
        );
        assert!(!ties.is_tied());
    }

    #[test]
    fn set_transaction_holds_for_exactly_one_transaction() {
        let mut ties = Ties::default();
        let none = Pins::empty();
        ties.note(
            &facts(Kind::Set, Pins::NEXT_TRANSACTION, none),
            &ok(Status::AUTOCOMMIT),
        );
        assert!(ties.is_tied());
        ties.note(
            &facts(Kind::Begin, none, none),
            &ok(Status::AUTOCOMMIT | Status::IN_TRANS),
        );
        assert!(ties.is_tied());
        ties.note(&facts(Kind::Commit, none, none), &ok(Status::AUTOCOMMIT));
        assert!(!ties.is_tied());
    }

    #[test]
    fn warnings_hold_only_for_a_statement_that_asks_for_them() {
        let mut ties = Ties::default();
        let warned = Outcome {
            warnings: 1,
            ..ok(Status::AUTOCOMMIT)
        };
        ties.note(&facts(Kind::Insert, Pins::empty(), Pins::empty()), &warned);
        assert!(!ties.is_tied());
        assert_eq!(
            ties.for_links(Links::READS_DIAGNOSTICS),
            Some(Reason::PreviousStatement)
        );
        assert_eq!(ties.for_links(Links::empty()), None);
    }

    #[test]
    fn state_changed_by_a_procedure_pins() {
        let mut ties = Ties::default();
        let changed = Outcome {
            state_changed: true,
            ..ok(Status::AUTOCOMMIT)
        };
        ties.note(&facts(Kind::Call, Pins::empty(), Pins::empty()), &changed);
        assert_eq!(ties.firm(), Some(Reason::Pinned));
    }
}
