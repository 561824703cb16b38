//! Both servers' standbys, asked after the same statements of one connection (thread 21 on MariaDB, 26 on MySQL) of a schema
//! `cap`: each line of a capture is an event, as a dump from the position before them sends it.

use super::event::Event;
use super::search::Search;
use super::*;

const MARIADB: &str = include_str!("tests/mariadb.hex");
const MYSQL: &str = include_str!("tests/mysql.hex");

struct Capture {
    events: Vec<Vec<u8>>,
    stream: Stream,
    thread: u32,
    /// Each transaction's first and last event.
    transactions: Vec<(usize, usize)>,
}

fn bytes(line: &str) -> Vec<u8> {
    let pairs = (0..line.len() / 2).map(|at| &line[2 * at..2 * at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn captures() -> [Capture; 2] {
    let uuid = "f141e4ff-e908-11f1-8a50-02fc00000001";
    let mysql = Stream::of_mysql(uuid).unwrap();
    [
        capture(MARIADB, Stream::of_mariadb(0, 1), 21),
        capture(MYSQL, mysql, 26),
    ]
}

fn capture(text: &str, stream: Stream, thread: u32) -> Capture {
    let events: Vec<_> = text.lines().map(bytes).collect();
    let begins = |event: &Vec<u8>| matches!(Event::decode(event, true), Ok(Event::Begin { .. }));
    let starts: Vec<_> = (0..events.len()).filter(|&at| begins(&events[at])).collect();
    let ends = starts.iter().skip(1).copied().chain([events.len()]);
    Capture {
        transactions: starts.iter().copied().zip(ends).collect(),
        events,
        stream,
        thread,
    }
}

impl Capture {
    fn doubt(&self, subject: Subject) -> Doubt {
        Doubt {
            token: Token::new(0x0123_4567_89ab_cdef),
            stream: self.stream,
            subject,
            table: None,
            counter: None,
            found_rows: false,
            hides_insert_id: false,
            proof: Proof::Then,
            stained: false,
        }
    }

    /// The format, and the events of the transactions from the `first` to the `last`.
    fn search(&self, doubt: &Doubt, first: usize, last: usize) -> Found {
        let mut search = Search::new(doubt);
        let wanted = self.transactions[first].0..self.transactions[last].1;
        for event in self.events[..self.transactions[0].0]
            .iter()
            .chain(&self.events[wanted])
        {
            search.event(event).unwrap();
        }
        search.finish()
    }

    fn verdict(&self, doubt: &Doubt, index: usize) -> Verdict {
        judge(doubt, &self.search(doubt, index, index))
    }
}

fn table(name: &str) -> Option<TableName> {
    let (schema, name) = ("cap".into(), name.into());
    Some(TableName { schema, name })
}

fn answered(verdict: &Verdict) -> Option<(u64, u64)> {
    match *verdict {
        Verdict::Committed {
            affected, insert_id, ..
        } => Some((affected, insert_id)),
        _ => None,
    }
}

/// In the order of the captures: subject, table, its counter, and what the server had answered.
const STATEMENTS: &[(Subject, &str, usize, [u64; 2])] = &[
    (Subject::Insert, "t", 1, [1, 1]),
    (Subject::Insert, "t", 1, [2, 3]),
    // Prepared.
    (Subject::Insert, "t", 1, [1, 7]),
    // Has a trigger.
    (Subject::Update, "t", 1, [2, 0]),
];

#[test]
fn a_statement_is_answered_as_the_server_would_have() {
    for capture in captures() {
        for (index, &(subject, name, counter, [affected, insert_id])) in STATEMENTS.iter().enumerate() {
            let mut doubt = capture.doubt(subject);
            doubt.table = table(name);
            doubt.counter = Some(counter);
            let verdict = capture.verdict(&doubt, index);
            let answer = Some((affected, insert_id));
            assert_eq!(answered(&verdict), answer, "statement {index}: {verdict:?}");
        }
        let mut delete = capture.doubt(Subject::Delete);
        delete.table = table("t");
        assert_eq!(answered(&capture.verdict(&delete, 5)), Some((2, 0)));
        // Decimals, dates, bits, texts and others stand before the id.
        let mut insert = capture.doubt(Subject::Insert);
        (insert.table, insert.counter) = (table("n"), Some(9));
        assert_eq!(answered(&capture.verdict(&insert, 11)), Some((1, 77)));
        let mut replace = capture.doubt(Subject::Replace);
        (replace.table, replace.counter) = (table("log"), Some(0));
        assert_eq!(answered(&capture.verdict(&replace, 12)), Some((2, 1)));
    }
}

#[test]
fn the_commit_that_was_found_is_named() {
    let [mariadb, mysql] = captures();
    let named = |capture: &Capture| match capture.verdict(&capture.doubt(Subject::Commit), 6) {
        Verdict::Committed { gtid: Some(gtid), .. } => gtid.to_string(),
        verdict => panic!("{verdict:?}"),
    };
    assert_eq!(named(&mariadb), "0-1-95");
    assert_eq!(named(&mysql), "f141e4ff-e908-11f1-8a50-02fc00000001:90");
}

#[test]
fn definitions_are_found_by_text_and_by_their_connection() {
    for capture in captures() {
        let (create, drop) = (7, 8);
        for (thread, at, expected) in [
            (Some(capture.thread), create, Some((0, 0))),
            (None, create, Some((0, 0))),
            // The servers write it anew.
            (Some(capture.thread), drop, Some((0, 0))),
            (Some(capture.thread + 1), drop, None),
        ] {
            let doubt = capture.doubt(Subject::Definition { thread });
            let verdict = capture.verdict(&doubt, at);
            assert_eq!(answered(&verdict), expected, "{verdict:?}");
        }
        let other = capture.doubt(Subject::Definition { thread: Some(1) });
        assert_eq!(capture.verdict(&other, drop), Verdict::NotCommitted);
        let unknown = capture.doubt(Subject::Definition { thread: None });
        assert!(matches!(capture.verdict(&unknown, drop), Verdict::Unknown(_)));
    }
}

/// A trigger's rows stand under the trigger's text where they come first, and a procedure's always.
#[test]
fn what_may_be_hidden_is_not_said_to_be_missing() {
    for capture in captures() {
        let (by_trigger, by_procedure) = (4, 9);
        let mut update = capture.doubt(Subject::Update);
        update.proof = Proof::Nothing;
        assert!(matches!(
            capture.verdict(&update, by_trigger),
            Verdict::Unknown(_)
        ));
        let call = capture.doubt(Subject::Code);
        assert!(matches!(
            capture.verdict(&call, by_procedure),
            Verdict::Unknown(_)
        ));
        assert!(matches!(capture.verdict(&call, 0), Verdict::Unknown(_)));
    }
}

#[test]
fn another_connections_commits_are_not_taken_for_ours() {
    for capture in captures() {
        let mut doubt = capture.doubt(Subject::Insert);
        doubt.token = Token::new(0x0123_4567_89ab_cdee);
        let found = capture.search(&doubt, 0, capture.transactions.len() - 1);
        assert_eq!(judge(&doubt, &found), Verdict::NotCommitted);
        doubt.proof = Proof::Now;
        assert_eq!(judge(&doubt, &found), Verdict::NotCommitted);
        let with_trigger = Found {
            triggers: true,
            ..found.clone()
        };
        assert!(matches!(judge(&doubt, &with_trigger), Verdict::Unknown(_)));
        doubt.proof = Proof::Nothing;
        assert!(matches!(judge(&doubt, &found), Verdict::Unknown(_)));
    }
}

#[test]
fn counts_are_given_only_where_the_log_tells_them() {
    for capture in captures() {
        let unknown = |doubt: &Doubt, index: usize| {
            let verdict = capture.verdict(doubt, index);
            assert!(
                matches!(verdict, Verdict::CommittedUnknownCounts { .. }),
                "{verdict:?}"
            );
        };
        // Rows that were found and stayed as they were are counted for such clients.
        let mut update = capture.doubt(Subject::Update);
        (update.table, update.found_rows) = (table("t"), true);
        unknown(&update, 3);
        // Two tables, and which of them the statement means is not known.
        update.found_rows = false;
        update.table = None;
        unknown(&update, 3);
        // A view's name, or one in other letters.
        let mut insert = capture.doubt(Subject::Insert);
        insert.table = table("v");
        unknown(&insert, 0);
        // No number is in that column.
        (insert.table, insert.counter) = (table("t"), Some(0));
        unknown(&insert, 0);
    }
}

#[test]
fn two_commits_are_no_answer_to_one_statement() {
    for capture in captures() {
        let doubt = capture.doubt(Subject::Insert);
        let found = capture.search(&doubt, 0, 1);
        assert_eq!(found.transactions, 2);
        assert!(matches!(judge(&doubt, &found), Verdict::Unknown(_)));
        let mut stained = capture.doubt(Subject::Insert);
        stained.stained = true;
        assert!(matches!(capture.verdict(&stained, 0), Verdict::Unknown(_)));
    }
}

#[test]
fn an_unfinished_transaction_is_not_counted() {
    for capture in captures() {
        let doubt = capture.doubt(Subject::Insert);
        let mut search = Search::new(&doubt);
        let end = capture.transactions[0].1 - 1;
        for event in &capture.events[..end] {
            search.event(event).unwrap();
        }
        let found = search.finish();
        assert!(found.unfinished);
        assert!(matches!(judge(&doubt, &found), Verdict::Unknown(_)));
    }
}

/// Whatever a server sends: an error or an answer, never a panic, and a truncated event is never taken for a whole one.
#[test]
fn truncations_and_wrong_bytes_do_no_harm() {
    for capture in captures() {
        let mut doubt = capture.doubt(Subject::Insert);
        doubt.counter = Some(1);
        for event in &capture.events {
            for length in 0..event.len() {
                let _ = Event::decode(&event[..length], true);
            }
            for length in 0..event::HEADER_LEN {
                assert!(Event::decode(&event[..length], false).is_err());
            }
        }
        for at in 0..capture.events.len() {
            for byte in event::HEADER_LEN..capture.events[at].len() {
                let mut search = Search::new(&doubt);
                // The table's definition stands before its rows.
                for (index, event) in capture.events[..=at]
                    .iter()
                    .enumerate()
                    .skip(at.saturating_sub(4))
                {
                    let mut event = event.clone();
                    if index == at {
                        event[byte] ^= 0xff;
                    }
                    let _ = search.event(&event);
                }
                let _ = search.finish();
            }
        }
    }
}

#[test]
fn a_token_is_a_comment_of_its_own_length() {
    let token = Token::new(u64::MAX);
    assert_eq!(token.comment(), b"/*tandem ffffffffffffffff*/");
    assert!(token.begins(b"/*tandem ffffffffffffffff*/INSERT"));
    assert!(!token.begins(b"INSERT /*tandem ffffffffffffffff*/"));
}
