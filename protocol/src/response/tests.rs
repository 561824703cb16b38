use super::*;
use crate::frame::write_packet;
use crate::reply;

const LEGACY: Capabilities = Capabilities::PROTOCOL_41;
const MODERN: Capabilities = LEGACY.union(Capabilities::DEPRECATE_EOF);

/// Everything that is handed out, and how often bytes passed.
#[derive(Debug, Default, PartialEq)]
struct Walked {
    kinds: Vec<Control>,
    passes: usize,
    bytes: usize,
    rows: u64,
}

fn walk(expect: Expect, caps: Capabilities, bytes: &[u8]) -> Result<Walked, DecodeError> {
    let (mut walker, mut walked) = (Walker::new(expect, caps), Walked::default());
    while !walker.is_done() {
        match walker.step(&bytes[walked.bytes..])? {
            Step::Pass(n) => {
                walked.passes += 1;
                walked.bytes += n;
            }
            Step::Packet { len, kind } => {
                walked.kinds.push(kind);
                walked.bytes += len;
            }
            Step::Need(n) => panic!("{n} bytes needed at {}", walked.bytes),
        }
    }
    walked.rows = walker.rows();
    Ok(walked)
}

fn packets(payloads: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut seq) = (Vec::new(), 1);
    for payload in payloads {
        write_packet(&mut out, &mut seq, payload);
    }
    out
}

const COLUMN: &[u8] = b"\x03def and so on";
const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];
const OK_AS_EOF: &[u8] = &[0xfe, 0, 0, 2, 0, 0, 0];

#[test]
fn a_buffer_of_rows_is_one_pass() {
    let rows = vec![vec![Some(b"value".to_vec())]; 5000];
    let mut out = Vec::new();
    reply::text_result(&mut out, 1, MODERN, &["n"], &rows, Status::AUTOCOMMIT);
    let walked = walk(Expect::Query, MODERN, &out).unwrap();
    assert_eq!(walked.passes, 1);
    assert_eq!((walked.rows, walked.kinds), (5000, vec![Control::Ok]));
}

/// A value over 16 MiB: its row starts with 0xFE and is continued.
#[test]
fn huge_rows_are_not_taken_for_the_end() {
    for len in [
        MAX_PAYLOAD - 5,
        MAX_PAYLOAD - 4,
        MAX_PAYLOAD + 1,
        2 * MAX_PAYLOAD - 9,
        2 * MAX_PAYLOAD,
    ] {
        let mut row = Vec::new();
        crate::wire::put_lenenc_bytes(&mut row, &vec![0xfe; len]);
        for (caps, end, kind) in [(LEGACY, EOF, Control::Eof), (MODERN, OK_AS_EOF, Control::Ok)] {
            let mut parts: Vec<&[u8]> = vec![b"\x01", COLUMN];
            if caps == LEGACY {
                parts.push(EOF);
            }
            parts.extend([&row[..], b"\x01a", &row, end]);
            let bytes = packets(&parts);
            let walked = walk(Expect::Query, caps, &bytes).unwrap();
            assert_eq!((walked.rows, walked.kinds), (3, vec![kind]), "{len}");
            assert_eq!(walked.bytes, bytes.len());
        }
    }
}

/// The start of a continued frame may look like an end; so may an empty one.
#[test]
fn continued_frames_are_split_anywhere_near_their_headers() {
    let mut row = Vec::new();
    crate::wire::put_lenenc_bytes(&mut row, &vec![0xff; MAX_PAYLOAD - 4]);
    assert_eq!(row.len(), MAX_PAYLOAD, "so an empty frame follows");
    let bytes = packets(&[b"\x01", COLUMN, &row, OK_AS_EOF]);
    let second = bytes.len() - OK_AS_EOF.len() - 2 * HEADER_LEN;
    for split in second - 3..bytes.len() {
        let mut walker = Walker::new(Expect::Query, MODERN);
        let mut at = 0;
        while let Step::Pass(n) = walker.step(&bytes[at..split]).unwrap() {
            at += n;
        }
        assert!(!walker.is_done());
        while let Step::Pass(n) = walker.step(&bytes[at..]).unwrap() {
            at += n;
        }
        assert_eq!(at, bytes.len() - OK_AS_EOF.len() - HEADER_LEN, "{split}");
        assert_eq!(walker.rows(), 1);
        let last = walker.step(&bytes[at..]).unwrap_err();
        assert_eq!(last, DecodeError::Finished);
    }
}

#[test]
fn a_legacy_eof_under_deprecate_eof_is_still_an_end() {
    let bytes = packets(&[b"\x01", COLUMN, b"\x01a", EOF]);
    let walked = walk(Expect::Query, MODERN, &bytes).unwrap();
    assert_eq!(walked.kinds, [Control::Eof]);
}

#[test]
fn progress_reports_do_not_end_a_reply() {
    let progress = b"\xff\xff\xff\x01\x01\x02\x00\x00\x00\x05stage";
    let caps = LEGACY | Capabilities::MARIADB_PROGRESS;
    let bytes = packets(&[progress, progress, &[0, 0, 0, 2, 0, 0, 0]]);
    let walked = walk(Expect::Query, caps, &bytes).unwrap();
    assert_eq!(walked.kinds, [Control::Ok]);
    let refused = packets(&[progress, b"\xff\x15\x04#28000no"]);
    assert_eq!(walk(Expect::Query, caps, &refused).unwrap().kinds, [Control::Err]);
    // Without the capability it's an error like any other.
    let walked = walk(Expect::Query, LEGACY, &bytes).unwrap();
    assert_eq!(walked.kinds, [Control::Err]);
    assert!(walked.bytes < bytes.len());
}

#[test]
fn cached_metadata_is_not_waited_for() {
    let caps = LEGACY | Capabilities::MARIADB_CACHE_METADATA;
    let without = packets(&[b"\x02\x00", EOF, b"\x00\x00\x01", EOF]);
    let walked = walk(Expect::Execute, caps, &without).unwrap();
    assert_eq!((walked.rows, walked.kinds), (1, vec![Control::Eof]));
    let with = packets(&[b"\x02\x01", COLUMN, COLUMN, EOF, EOF]);
    let walked = walk(Expect::Execute, caps, &with).unwrap();
    assert_eq!((walked.rows, walked.kinds), (0, vec![Control::Eof]));
}

#[test]
fn a_file_request_is_followed_by_the_rest_of_the_reply() {
    let ok_more = &[0, 0, 0, 10, 0, 0, 0];
    let bytes = packets(&[b"\xfbname", ok_more, b"\x01", COLUMN, EOF, b"\x011", EOF]);
    let walked = walk(Expect::Query, LEGACY, &bytes).unwrap();
    assert_eq!(walked.kinds, [Control::LocalInfile, Control::Ok, Control::Eof]);
}

#[test]
fn out_parameters_are_followed_by_an_ok() {
    let (first, last) = (&[0xfe, 0, 0, 10, 0x10], &[0, 0, 0, 2, 0, 0, 0]);
    let bytes = packets(&[b"\x01", COLUMN, first, b"\0\0\x06", EOF, last]);
    let walked = walk(Expect::Execute, LEGACY, &bytes).unwrap();
    assert_eq!(
        (walked.kinds.as_slice(), walked.bytes),
        (&[Control::Eof, Control::Ok][..], bytes.len())
    );
}

#[test]
fn a_dump_goes_on_until_an_end() {
    // The second byte of an event may be anything, a semi-synchronous server's mark too.
    let events: [&[u8]; 3] = [b"\0event", b"\0\xef\x01event", b"\0\xfe\xff"];
    for (caps, end) in [(LEGACY, EOF), (MODERN, EOF), (MODERN, OK_AS_EOF)] {
        let bytes = packets(&[events[0], events[1], events[2], end]);
        assert!(walk(Expect::Dump, caps, &bytes).is_ok());
        assert!(walk(Expect::Dump, caps, &packets(&[events[0], b"\xff\xd4\x04gone"])).is_ok());
        assert!(walk(Expect::Dump, caps, &packets(&[b"\x01"])).is_err());
    }
}

#[test]
fn more_results_count_only_where_there_can_be_more() {
    let bytes = packets(&[&[0, 0, 0, 10, 0, 0, 0]]);
    assert!(walk(Expect::Single, LEGACY, &bytes).is_ok());
    let mut walker = Walker::new(Expect::Query, LEGACY);
    walker.step(&bytes).unwrap();
    assert!(!walker.is_done());
    assert_eq!(walker.step(&[]), Ok(Step::Need(HEADER_LEN + 1)));
}

#[test]
fn nonsense_is_an_error() {
    for (expect, payloads) in [
        (Expect::Single, &[&b"\x01"[..]][..]),
        (Expect::Prepare, &[b"\x01"]),
        (Expect::Prepare, &[b"\x00\x01"]),
        (Expect::Query, &[b"\x01trailing"]),
        (Expect::Query, &[b"\x01 and much more than a count"]),
        (Expect::Query, &[b"\x01", COLUMN, b"no EOF"]),
        (Expect::Query, &[b"\x00\x00"]),
        (Expect::Query, &[b""]),
        (Expect::Fetch, &[b"\x00", b""]),
    ] {
        assert!(
            walk(expect, LEGACY, &packets(payloads)).is_err(),
            "{expect:?} {payloads:?}"
        );
    }
}

#[test]
fn a_control_packet_must_fit_a_frame() {
    let mut bytes = Header {
        len: MAX_PAYLOAD,
        seq: 1,
    }
    .encode()
    .to_vec();
    bytes.push(0);
    let step = Walker::new(Expect::Query, LEGACY).step(&bytes);
    assert_eq!(step, Err(DecodeError::TooLarge { limit: MAX_PAYLOAD }));
}

/// Whatever comes, a step passes some of the input, asks for more than there is, or fails.
#[test]
fn random_bytes_never_panic_or_stand_still() {
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let interesting = [0x00, 0x01, 0x02, 0x05, 0x07, 0xfb, 0xfe, 0xff];
    let extensions = Capabilities::MARIADB_PROGRESS | Capabilities::MARIADB_CACHE_METADATA;
    for round in 0..20_000 {
        let expect = [
            Expect::Query,
            Expect::Prepare,
            Expect::Execute,
            Expect::Fetch,
            Expect::FieldList,
            Expect::Single,
            Expect::Statistics,
            Expect::Dump,
        ][round % 8];
        let caps = [LEGACY, MODERN, LEGACY | extensions, MODERN | extensions][round % 4];
        let mut bytes = Vec::new();
        for _ in 0..random() % 6 {
            let len = random() % 12;
            bytes.extend_from_slice(&[len as u8, 0, 0, 0]);
            bytes.extend((0..len).map(|_| interesting[(random() % 8) as usize]));
        }
        let (mut walker, mut at) = (Walker::new(expect, caps), 0);
        while !walker.is_done() {
            match walker.step(&bytes[at..]) {
                Ok(Step::Pass(n) | Step::Packet { len: n, .. }) => {
                    assert!(n > 0 && at + n <= bytes.len());
                    at += n;
                }
                Ok(Step::Need(n)) => {
                    assert!(n > bytes.len() - at);
                    break;
                }
                Err(_) => break,
            }
        }
    }
}

/// The EOF behind the definitions is handed out when it has a flag that a client may not have asked for; the rows
/// follow all the same, wherever the input is split.
#[test]
fn a_report_of_changed_state_behind_the_definitions_does_not_end_the_reply() {
    let changed: &[u8] = &[0xfe, 0, 0, 2, 0x40];
    let bytes = packets(&[b"\x01", COLUMN, changed, b"\x01a", EOF]);
    let walked = walk(Expect::Query, LEGACY, &bytes).unwrap();
    assert_eq!((walked.rows, walked.kinds), (1, vec![Control::Eof, Control::Eof]));
    for split in 1..bytes.len() {
        let mut walker = Walker::new(Expect::Query, LEGACY);
        let mut at = 0;
        for end in [split, bytes.len()] {
            while !walker.is_done() {
                match walker.step(&bytes[at..end]).unwrap() {
                    Step::Pass(count) | Step::Packet { len: count, .. } => at += count,
                    Step::Need(_) => break,
                }
                if at == end {
                    break;
                }
            }
        }
        assert!(walker.is_done() && at == bytes.len(), "{split}");
    }
}

/// Whoever sums up rows gets their bytes and no others, wherever the input was cut.
#[test]
fn rows_are_passed_by_themselves() {
    const MORE_EOF: &[u8] = &[0xfe, 0, 0, 0x0a, 0];
    const MORE_OK_AS_EOF: &[u8] = &[0xfe, 0, 0, 0x0a, 0, 0, 0];
    let legacy: [&[u8]; 12] = [
        b"\x02",
        COLUMN,
        COLUMN,
        EOF,
        b"\x01a\x01b",
        b"\x01c\x01d",
        MORE_EOF,
        b"\x01",
        COLUMN,
        EOF,
        b"\x03efg",
        EOF,
    ];
    let modern: [&[u8]; 10] = [
        b"\x02",
        COLUMN,
        COLUMN,
        b"\x01a\x01b",
        b"\x01c\x01d",
        MORE_OK_AS_EOF,
        b"\x01",
        COLUMN,
        b"\x03efg",
        OK_AS_EOF,
    ];
    for (caps, parts) in [(LEGACY, &legacy[..]), (MODERN, &modern[..])] {
        let bytes = packets(parts);
        let rows: Vec<u8> = (1_u8..)
            .zip(parts)
            .filter(|(_, part)| part.len() > 3 && part[0] <= 3 && **part != COLUMN)
            .flat_map(|(seq, part)| [&[part.len() as u8, 0, 0, seq], *part].concat())
            .collect();
        for split in 0..bytes.len() {
            let mut walker = Walker::new(Expect::Query, caps).parting_rows();
            let (mut at, mut passed) = (0, Vec::new());
            for end in [split, bytes.len()] {
                while !walker.is_done() {
                    match walker.step(&bytes[at..end]).expect("a reply") {
                        Step::Pass(count) => {
                            if walker.is_in_rows() {
                                passed.extend_from_slice(&bytes[at..at + count]);
                            }
                            at += count;
                        }
                        Step::Packet { len, .. } => at += len,
                        Step::Need(_) => break,
                    }
                }
            }
            assert_eq!(passed, rows, "cut at {split}");
        }
    }
}

/// What is left of another reply, or was lost on the way, shows in the numbers wherever it comes.
#[test]
fn packets_out_of_turn_are_refused() {
    let whole = packets(&[b"\x01", COLUMN, b"\x01a", b"\x01b", OK_AS_EOF]);
    let numbers: Vec<usize> = {
        let mut at = 0;
        std::iter::from_fn(|| {
            let header = Header::peek(&whole[at..])?;
            let number = at + 3;
            at += HEADER_LEN + header.len;
            Some(number)
        })
        .collect()
    };
    assert_eq!(numbers.len(), 5);
    for at in numbers {
        let mut bytes = whole.clone();
        bytes[at] += 1;
        let (expected, got) = (whole[at], bytes[at]);
        assert_eq!(
            walk(Expect::Query, MODERN, &bytes),
            Err(DecodeError::Sequence { expected, got })
        );
        let compressed = MODERN | Capabilities::COMPRESS;
        assert!(
            walk(Expect::Query, compressed, &bytes).is_ok(),
            "these are not counted"
        );
    }
}

/// Whole rows that fill a frame are counted by their frames, and 255 is followed by 0.
#[test]
fn numbers_go_on_over_frames_and_after_255() {
    let mut payloads: Vec<&[u8]> = vec![b"\x01", COLUMN];
    payloads.extend([&b"\x01a"[..]; 600]);
    payloads.push(OK_AS_EOF);
    assert_eq!(
        walk(Expect::Query, MODERN, &packets(&payloads)).unwrap().rows,
        600
    );
    let huge = vec![b'x'; MAX_PAYLOAD + 5];
    let bytes = packets(&[b"\x01", COLUMN, &huge, b"\x01b", OK_AS_EOF]);
    assert_eq!(walk(Expect::Query, MODERN, &bytes).unwrap().rows, 2);
}

/// Behind a command in three frames, and behind a client's file.
#[test]
fn a_reply_begins_where_the_command_has_ended() {
    let (mut bytes, mut seq) = (Vec::new(), 3);
    write_packet(&mut bytes, &mut seq, b"\0\0\0\x02\0\0\0");
    let step = |walker: Walker| walker.clone().step(&bytes);
    assert!(step(Walker::new(Expect::Query, MODERN).beginning_at(3)).is_ok());
    assert!(step(Walker::new(Expect::Query, MODERN)).is_err());
    let mut walker = Walker::new(Expect::Query, MODERN);
    let asks = packets(&[b"\xfbfile"]);
    assert!(matches!(
        walker.step(&asks),
        Ok(Step::Packet {
            kind: Control::LocalInfile,
            ..
        })
    ));
    assert!(step(walker).is_ok());
}

/// MySQL 9.7's word to a client that it disconnects for its silence has the number 0; no reply has.
#[test]
fn a_goodbye_is_understood() {
    let goodbye = |number: u8| {
        let (mut bytes, mut seq) = (Vec::new(), number);
        write_packet(&mut bytes, &mut seq, b"\xff\xbf\x0f#HY000gone");
        walk(Expect::Query, MODERN, &bytes)
    };
    assert_eq!(goodbye(0).unwrap().kinds, [Control::Err]);
    assert!(goodbye(2).is_err());
}
