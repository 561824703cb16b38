use super::*;
use crate::classify::facts::{Purity, Tables};
use crate::classify::hint::Hints;
use crate::classify::identity::Identified;
use crate::classify::matched::Matched;
use crate::classify::tally::Tally;
use crate::session::replay::digest::Digest;

const LIMITS: Limits = Limits {
    session: 2000,
    worker: 5000,
};

fn facts(kind: Kind, pins: Pins) -> Rc<Facts> {
    Rc::new(Facts {
        kind,
        purity: Purity::Writes,
        pins,
        unpins: Pins::empty(),
        links: Links::empty(),
        unreported: Vec::new(),
        tables: Tables::default(),
        hints: Hints::default(),
        tally: Tally::default(),
        matched: Matched::default(),
        parts: Identified::default(),
    })
}

fn entry(kind: Kind, pins: Pins) -> Entry {
    Entry::new(&facts(kind, pins), Expect::Query, &Rc::default(), 0)
}

fn affected(rows: u64) -> Sum {
    let mut digest = Digest::default();
    digest.done(rows, 0, None);
    digest.sum()
}

/// A record and its shelf, to play sessions on.
struct Play {
    shelf: Shelf,
    record: Box<Record>,
}

impl Play {
    fn new() -> Self {
        let shelf = Shelf::new(LIMITS);
        let record = shelf.take(Start::default());
        Self { shelf, record }
    }

    fn run(&mut self, kind: Kind, text: &str, replied: Replied) {
        if self
            .record
            .begin(entry(kind, Pins::empty()), text.as_bytes(), LIMITS)
        {
            self.record.settle(&replied);
        }
    }

    fn ok(&mut self, kind: Kind, text: &str) {
        self.run(kind, text, open(None));
    }

    fn kept(&self) -> Vec<&str> {
        self.record
            .entries()
            .map(|(_, bytes)| std::str::from_utf8(bytes).expect("text"))
            .collect()
    }
}

fn open(error: Option<u16>) -> Replied {
    Replied {
        error,
        was_open: true,
        ..Replied::default()
    }
}

#[test]
fn what_was_answered_is_kept_in_its_order() {
    let mut play = Play::new();
    play.run(Kind::Begin, "BEGIN", Replied::default());
    let replied = Replied {
        sum: affected(1),
        insert_id: 7,
        ..open(None)
    };
    play.run(Kind::Insert, "INSERT", replied);
    play.ok(Kind::Savepoint, "SAVEPOINT s");
    assert_eq!(play.kept(), ["BEGIN", "INSERT", "SAVEPOINT s"]);
    let (insert, _) = play.record.entry(1).expect("a second one");
    assert_eq!((insert.sum, insert.insert_id), (affected(1), 7));
    assert!(play.record.why_not().is_none());
}

/// It is sent anew after the others were played.
#[test]
fn a_statement_without_an_answer_is_taken_back() {
    let mut play = Play::new();
    play.ok(Kind::Begin, "BEGIN");
    assert!(
        play.record
            .begin(entry(Kind::Update, Pins::empty()), b"UPDATE", LIMITS)
    );
    assert_eq!(play.kept(), ["BEGIN"]);
    assert_eq!(play.record.take_back(), Some(b"UPDATE".to_vec()));
    assert_eq!(play.record.take_back(), None);
    play.ok(Kind::Update, "again");
    assert_eq!(play.kept(), ["BEGIN", "again"]);
}

#[test]
fn errors_are_kept_but_those_that_would_not_come_again() {
    let mut play = Play::new();
    play.ok(Kind::Begin, "BEGIN");
    play.run(Kind::Insert, "duplicate", open(Some(1062)));
    play.run(Kind::Update, "timed out", open(Some(1205)));
    play.run(Kind::Select, "killed", open(Some(1317)));
    assert_eq!(play.kept(), ["BEGIN", "duplicate"]);
    play.run(Kind::Update, "deadlock", open(Some(1213)));
    assert_eq!(play.record.why_not(), Some(Why::RolledBack));
}

#[test]
fn what_ends_a_transaction_and_begins_the_next_begins_the_record_anew() {
    for kind in [Kind::Begin, Kind::Commit, Kind::Rollback] {
        let mut play = Play::new();
        play.ok(Kind::Begin, "BEGIN");
        play.ok(Kind::Update, "UPDATE");
        let replied = Replied {
            committed: true,
            ..open(None)
        };
        play.run(kind, "the next", replied);
        play.ok(Kind::Update, "another");
        assert_eq!(play.kept(), ["the next", "another"], "{kind:?}");
        assert_eq!(play.record.why_not(), None);
    }
    // Where it is refused, all is as before.
    let mut play = Play::new();
    play.ok(Kind::Begin, "BEGIN");
    play.run(Kind::Begin, "BEGIN again", open(Some(1064)));
    assert_eq!(play.kept(), ["BEGIN", "BEGIN again"]);
}

/// `SET TRANSACTION` is not said again by `COMMIT AND CHAIN`, which keeps what it said.
#[test]
fn inherited_characteristics_are_not_made_up() {
    let mut play = Play::new();
    let set = entry(Kind::Set, Pins::NEXT_TRANSACTION);
    assert!(play.record.begin(set, b"SET TRANSACTION", LIMITS));
    play.record.settle(&Replied::default());
    play.run(Kind::Begin, "BEGIN", Replied::default());
    assert_eq!(play.kept(), ["SET TRANSACTION", "BEGIN"]);
    play.ok(Kind::Commit, "COMMIT AND CHAIN");
    assert_eq!(play.record.why_not(), Some(Why::Chained));
}

#[test]
fn what_can_not_be_played_again_says_why() {
    let committed = Replied {
        committed: true,
        ..open(None)
    };
    let cursor = Replied {
        cursor: true,
        ..open(None)
    };
    let file = Replied {
        loaded_file: true,
        ..open(None)
    };
    for (kind, replied, why) in [
        (Kind::Call, committed, Why::CommittedInside),
        (Kind::Update, committed, Why::CommittedInside),
        (Kind::Call, open(Some(1644)), Why::FailedCode),
        (Kind::Select, cursor, Why::Cursor),
        (Kind::Load, file, Why::File),
    ] {
        let mut play = Play::new();
        play.ok(Kind::Begin, "BEGIN");
        play.run(kind, "statement", replied);
        assert_eq!(play.record.why_not(), Some(why));
        play.ok(Kind::Select, "later");
        assert_eq!((play.kept().len(), play.shelf.taken().used()), (0, 0));
    }
    let mut play = Play::new();
    let lock = entry(Kind::Select, Pins::USER_LOCK | Pins::USER_VARIABLE);
    assert!(!play.record.begin(lock, b"SELECT GET_LOCK", LIMITS));
    let why = play.record.why_not().expect("a reason");
    assert!(why.to_string().ends_with("connection: user_lock"), "{why}");
}

/// A variable of before the transaction is not in its record.
#[test]
fn state_from_before_is_not_made_again() {
    let shelf = Shelf::new(LIMITS);
    let pins = |pins| Start {
        pins,
        ..Start::default()
    };
    let why = shelf.take(pins(Pins::USER_VARIABLE)).why_not();
    assert_eq!(why, Some(Why::State(Pins::USER_VARIABLE)));
    assert_eq!(shelf.take(pins(Pins::NEXT_TRANSACTION)).why_not(), None);
}

#[test]
fn what_is_kept_has_an_end_for_one_and_for_all() {
    let text = "x".repeat(300);
    let mut one = Play::new();
    for _ in 0..20 {
        one.ok(Kind::Update, &text);
    }
    assert_eq!(one.record.why_not(), Some(Why::TooLong { limit: 2000 }));
    assert_eq!(one.shelf.taken().used(), 0);
    let shelf = Shelf::new(LIMITS);
    let mut records: Vec<_> = (0..6).map(|_| shelf.take(Start::default())).collect();
    for record in &mut records {
        assert_eq!(record.why_not(), None);
        record.begin(
            entry(Kind::Update, Pins::empty()),
            "x".repeat(1000).as_bytes(),
            LIMITS,
        );
        assert!(shelf.taken().used() <= LIMITS.worker);
    }
    let refused = |record: &&mut Box<Record>| record.why_not() == Some(Why::AllTooLong { limit: 5000 });
    assert!(records.iter_mut().filter(refused).count() > 0);
    drop(records);
    assert_eq!(shelf.taken().used(), 0);
}

/// The next transaction allocates nothing.
#[test]
fn a_record_is_used_again_with_its_room() {
    let mut play = Play::new();
    play.ok(Kind::Begin, "BEGIN");
    let room = play.record.bytes.capacity();
    let Play { shelf, record } = play;
    shelf.put(record);
    assert_eq!(shelf.taken().used(), 0);
    let again = shelf.take(Start::default());
    assert!(again.is_empty() && again.bytes.capacity() == room && again.why_not().is_none());
}
