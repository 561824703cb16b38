//! The walker and the decoders against replies of a real server.
//!
//! `captures/*.txt` hold what MariaDB 10.11.19 sent on the wire for the same commands under three
//! sets of capabilities. Each line is a name, the kind of command and the whole reply in hex.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not themselves tests")]

use tandem_protocol::packet::session_track::{Change, changes};
use tandem_protocol::packet::{ColumnDefinition, EofPacket, ErrPacket, OkPacket, PrepareOk};
use tandem_protocol::response::{Control, Expect, Step, Walker};
use tandem_protocol::{Capabilities, Status, frame};

struct Capture {
    capabilities: Capabilities,
    replies: Vec<Reply>,
}

struct Reply {
    name: String,
    expect: Expect,
    bytes: Vec<u8>,
}

/// A control packet by its place in the reply.
type Seen = (usize, usize, Control);

fn captures() -> Vec<Capture> {
    [
        include_str!("captures/legacy_eof.txt"),
        include_str!("captures/deprecate_eof.txt"),
        include_str!("captures/untracked.txt"),
    ]
    .into_iter()
    .map(parse)
    .collect()
}

fn parse(text: &str) -> Capture {
    let caps = text
        .lines()
        .find_map(|line| line.strip_prefix("# capabilities 0x"))
        .unwrap();
    let replies = text.lines().filter(|line| !line.starts_with('#'));
    Capture {
        capabilities: Capabilities::from_bits_retain(u64::from_str_radix(caps, 16).unwrap()),
        replies: replies.map(reply).collect(),
    }
}

fn reply(line: &str) -> Reply {
    let mut parts = line.split('|');
    let name = parts.next().unwrap().to_owned();
    let expect = match parts.next().unwrap() {
        "query" => Expect::Query,
        "prepare" => Expect::Prepare,
        "execute" => Expect::Execute,
        "fetch" => Expect::Fetch,
        "fieldlist" => Expect::FieldList,
        "single" => Expect::Single,
        "statistics" => Expect::Statistics,
        other => panic!("{other}"),
    };
    let hex = parts.next().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Reply {
        name,
        expect,
        bytes: hex.chunks(2).map(byte).collect(),
    }
}

/// Steps over what is in `input` from `at` on, until the end or until more is needed.
fn advance(walker: &mut Walker, input: &[u8], at: &mut usize, seen: &mut Vec<Seen>) {
    while !walker.is_done() {
        match walker.step(&input[*at..]).unwrap() {
            Step::Pass(n) => {
                assert!(n > 0);
                *at += n;
            }
            Step::Packet { len, kind } => {
                seen.push((*at, len, kind));
                *at += len;
            }
            Step::Need(n) => {
                assert!(n > input.len() - *at, "{n} bytes are there");
                return;
            }
        }
        assert!(*at <= input.len());
    }
}

fn walk(reply: &Reply, caps: Capabilities) -> (Vec<Seen>, u64) {
    let (mut walker, mut at, mut seen) = (Walker::new(reply.expect, caps), 0, Vec::new());
    advance(&mut walker, &reply.bytes, &mut at, &mut seen);
    assert!(walker.is_done(), "{}", reply.name);
    assert_eq!(at, reply.bytes.len(), "{}", reply.name);
    (seen, walker.rows())
}

#[test]
fn every_reply_ends_where_it_ends() {
    use Control::{Eof, Err, LocalInfile, Ok, PrepareOk};
    // Name, rows, and what is handed out; `End` stands for OK or EOF, whichever ends rows.
    let end = |caps: Capabilities| match caps.contains(Capabilities::DEPRECATE_EOF) {
        true => Ok,
        false => Eof,
    };
    for capture in captures() {
        let caps = capture.capabilities;
        let end = end(caps);
        let legacy = end == Eof;
        let tracked = caps.contains(Capabilities::SESSION_TRACK);
        for reply in &capture.replies {
            let (seen, rows) = walk(reply, caps);
            let kinds: Vec<_> = seen.iter().map(|seen| seen.2).collect();
            let expected: (u64, Vec<Control>) = match reply.name.as_str() {
                "select" | "execute rows" | "function that sets a variable" => (3, vec![end]),
                "long rows" => (20, vec![end]),
                // An EOF behind definitions says that state has changed, which not every client asked for.
                "select in transaction" if legacy && tracked => (1, vec![end, end]),
                "call" | "execute call" if legacy && tracked => (4, vec![end, end, end, Ok]),
                "many columns" | "null only" | "select in transaction" => (1, vec![end]),
                "empty" => (0, vec![end]),
                "error in rows" | "execute error in rows" => (1, vec![Err]),
                "call" | "execute call" => (4, vec![end, end, Ok]),
                // A status of cursors, and all the same no cursor that is left to fetch from.
                "execute call that opens a cursor" | "execute call that opens a cursor, MySQL 9.7.4" => {
                    (2, vec![end, end, Ok])
                }
                "call with error" => (3, vec![end, Err]),
                "multi statement" => (2, vec![end, Ok, end, Ok]),
                "multi statement with error" => (1, vec![end, Err]),
                "statistics" => (0, vec![]),
                "set option" | "field list" => (0, vec![end]),
                "execute cursor" | "execute cursor without rows" | "fetch nothing" => (0, vec![end]),
                "fetch" | "execute with parameter" => (2, vec![end]),
                "fetch last" => (1, vec![end]),
                "prepare plain" => (0, vec![PrepareOk]),
                "prepare columns" | "prepare params" | "prepare both" => (
                    0,
                    if legacy {
                        vec![PrepareOk, Eof]
                    } else {
                        vec![PrepareOk]
                    },
                ),
                "local infile" => (0, vec![LocalInfile, Ok]),
                "error"
                | "field list error"
                | "prepare error"
                | "execute unknown"
                | "fetch after last"
                | "fetch without cursor" => (0, vec![Err]),
                _ => (0, vec![Ok]),
            };
            assert_eq!((rows, kinds), expected, "{} under {caps:?}", reply.name);
        }
    }
}

#[test]
fn every_split_point_gives_the_same() {
    for capture in captures() {
        for reply in &capture.replies {
            let whole = walk(reply, capture.capabilities);
            for split in 0..reply.bytes.len() {
                let mut walker = Walker::new(reply.expect, capture.capabilities);
                let (mut at, mut seen) = (0, Vec::new());
                advance(&mut walker, &reply.bytes[..split], &mut at, &mut seen);
                assert!(!walker.is_done(), "{} is done after {split} bytes", reply.name);
                advance(&mut walker, &reply.bytes, &mut at, &mut seen);
                assert_eq!(at, reply.bytes.len());
                assert_eq!((seen, walker.rows()), whole, "{} split at {split}", reply.name);
            }
        }
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same() {
    for capture in captures() {
        for reply in &capture.replies {
            let whole = walk(reply, capture.capabilities);
            let mut walker = Walker::new(reply.expect, capture.capabilities);
            let (mut at, mut seen) = (0, Vec::new());
            for end in 1..=reply.bytes.len() {
                advance(&mut walker, &reply.bytes[..end], &mut at, &mut seen);
            }
            assert!(walker.is_done());
            assert_eq!((seen, walker.rows()), whole, "{}", reply.name);
        }
    }
}

/// Replies of pipelined commands follow each other in one buffer.
#[test]
fn what_follows_a_reply_is_left_alone() {
    for capture in captures() {
        let all: Vec<u8> = capture
            .replies
            .iter()
            .flat_map(|reply| reply.bytes.clone())
            .collect();
        let mut at = 0;
        for reply in &capture.replies {
            let mut walker = Walker::new(reply.expect, capture.capabilities);
            let start = at;
            advance(&mut walker, &all, &mut at, &mut Vec::new());
            assert_eq!(at - start, reply.bytes.len(), "{}", reply.name);
            assert!(
                walker.step(&all[at..]).is_err(),
                "a walker at its end takes nothing"
            );
        }
        assert_eq!(at, all.len());
    }
}

/// The packets that are handed out can be decoded, and any prefix of them fails or is short.
#[test]
fn what_is_handed_out_decodes() {
    for capture in captures() {
        let caps = capture.capabilities;
        for reply in &capture.replies {
            for (at, len, kind) in walk(reply, caps).0 {
                let payload = &reply.bytes[at + frame::HEADER_LEN..at + len];
                match kind {
                    Control::Ok => {
                        let ok = OkPacket::decode(payload, caps).unwrap();
                        for change in changes(ok.session_state) {
                            let change = change.unwrap();
                            assert!(!matches!(change, Change::Unknown { .. }), "{change:?}");
                        }
                        let mut again = Vec::new();
                        ok.encode(payload[0], caps, &mut again);
                        // A server leaves the length of an absent info away or writes a zero.
                        assert_eq!(OkPacket::decode(&again, caps), Ok(ok), "{}", reply.name);
                    }
                    Control::Eof => drop(EofPacket::decode(payload).unwrap()),
                    Control::Err => assert_ne!(ErrPacket::decode(payload).unwrap().message, b""),
                    Control::PrepareOk => drop(PrepareOk::decode(payload).unwrap()),
                    Control::ColumnCount => panic!("nobody asked for it"),
                    Control::LocalInfile => assert_eq!(payload, b"\xfbx"),
                }
                for cut in 0..payload.len() {
                    // Only that nothing panics: the unit tests say which prefixes are errors.
                    drop(OkPacket::decode(&payload[..cut], caps));
                    drop(ErrPacket::decode(&payload[..cut]));
                    assert!(EofPacket::decode(&payload[..cut]).is_err() || cut == 5);
                }
            }
        }
    }
}

/// Status and reports of the last packet of the named reply.
fn reports(capture: &Capture, name: &str) -> (Status, Vec<String>) {
    let named = |reply: &&Reply| reply.name == name;
    let reply = capture.replies.iter().find(named).unwrap();
    let (at, len, _) = *walk(reply, capture.capabilities).0.last().unwrap();
    let payload = &reply.bytes[at + frame::HEADER_LEN..at + len];
    let ok = OkPacket::decode(payload, capture.capabilities).unwrap();
    let text = String::from_utf8_lossy;
    let texts = changes(ok.session_state).map(|change| match change.unwrap() {
        Change::SystemVariable { name, value } => format!("{}={}", text(name), text(value)),
        Change::Schema(name) => format!("schema {}", text(name)),
        Change::StateChanged(changed) => format!("changed {changed}"),
        Change::TransactionState(state) => format!("transaction {}", text(state)),
        Change::TransactionCharacteristics(sql) => format!("characteristics {}", text(sql)),
        other => panic!("{other:?}"),
    });
    (ok.status, texts.collect())
}

#[test]
fn reports_are_read_as_the_server_meant_them() {
    let capture = parse(include_str!("captures/deprecate_eof.txt"));
    let texts = |name| reports(&capture, name).1;
    assert_eq!(
        texts("trackers"),
        [
            "session_track_system_variables=*",
            "session_track_transaction_info=CHARACTERISTICS",
            "session_track_state_change=ON",
            "changed true",
            "transaction ________",
            "characteristics ",
        ]
    );
    assert_eq!(
        texts("set names"),
        [
            "character_set_connection=utf8mb4",
            "character_set_client=utf8mb4",
            "character_set_results=utf8mb4",
            "changed true",
        ]
    );
    assert_eq!(texts("use"), ["schema shop", "changed true"]);
    assert_eq!(
        texts("begin"),
        ["transaction T_______", "characteristics START TRANSACTION;"]
    );
    assert_eq!(texts("select in transaction"), ["transaction T_R__sS_"]);
    assert_eq!(texts("commit"), ["transaction ________", "characteristics "]);
    assert_eq!(
        texts("function that sets a variable"),
        ["sort_buffer_size=400000", "changed true"]
    );
    assert!(texts("ping").is_empty());
    assert!(texts("insert")[0].starts_with("last_gtid=0-1-"));
    assert!(reports(&capture, "begin").0.contains(Status::IN_TRANS));
}

/// Without `DEPRECATE_EOF` the status of the EOF is all that tells of a change: the report waits
/// for an OK that has a change of its own to report.
#[test]
fn a_legacy_eof_announces_a_change_that_it_cannot_carry() {
    let capture = parse(include_str!("captures/legacy_eof.txt"));
    let named = |name: &str| capture.replies.iter().find(|reply| reply.name == name).unwrap();
    let reply = named("function that sets a variable");
    let (at, len, _) = walk(reply, capture.capabilities).0[0];
    let eof = EofPacket::decode(&reply.bytes[at + frame::HEADER_LEN..at + len]).unwrap();
    assert!(eof.status.contains(Status::SESSION_STATE_CHANGED));
    let (status, late) = reports(&capture, "execute cursor for no result");
    assert!(status.contains(Status::SESSION_STATE_CHANGED));
    assert_eq!(late, ["sort_buffer_size=400000", "changed true"]);
}

#[test]
fn column_definitions_of_field_list_carry_defaults() {
    let capture = parse(include_str!("captures/legacy_eof.txt"));
    let reply = capture
        .replies
        .iter()
        .find(|reply| reply.name == "field list")
        .unwrap();
    let (header, payload) = frame::packet(&reply.bytes).unwrap();
    let first = ColumnDefinition::decode(payload, capture.capabilities).unwrap();
    assert_eq!((first.name, first.default), (&b"a"[..], Some(Some(&b"0"[..]))));
    let rest = &reply.bytes[frame::HEADER_LEN + header.len..];
    let (_, payload) = frame::packet(rest).unwrap();
    let second = ColumnDefinition::decode(payload, capture.capabilities).unwrap();
    assert_eq!((second.name, second.default), (&b"b"[..], Some(None)));
}
