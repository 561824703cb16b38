//! Streams of packets: where the input is split makes no difference.

use tandem_protocol::frame::{self, HEADER_LEN, Joined, Joiner};
use tandem_protocol::response::{Control, Expect, Step, Walker};
use tandem_protocol::{Capabilities, DecodeError};

use crate::Input;

/// Splits are tried within so many bytes: the time for all of them grows with the square.
const SPLIT_WITHIN: usize = 300;

/// What came of a payload that was joined: bytes taken, the last frame's number, the payload.
type Whole = Result<(usize, Option<u8>, Vec<u8>), DecodeError>;

/// A payload is the same however it arrives, keeps to its limit and is written as it was read.
///
/// Two bytes of a limit, then frames.
pub(crate) fn frames(data: &[u8]) {
    let mut input = Input(data);
    let limit = usize::from(input.u16());
    let bytes = input.0;
    let whole = join(limit, bytes, bytes.len());
    for split in 0..bytes.len().min(SPLIT_WITHIN) {
        assert_eq!(join(limit, bytes, split), whole, "split at {split}");
    }
    let Ok((taken, seq, payload)) = whole else {
        return;
    };
    assert!(payload.len() <= limit && payload.capacity() <= 2 * bytes.len().max(8));
    let single = frame::packet(bytes).map(|(header, payload)| (header.seq, payload.to_vec()));
    let joined = seq.map(|seq| (seq, payload.clone()));
    assert_eq!(joined, single, "frames this short are never continued");
    if let Some(seq) = seq {
        let (mut written, mut next) = (Vec::new(), seq);
        frame::write_packet(&mut written, &mut next, &payload);
        assert_eq!(written, bytes[..taken]);
        let mut ended = Vec::new();
        let start = frame::begin(&mut ended);
        ended.extend_from_slice(&payload);
        assert_eq!(frame::end(&mut ended, start, seq), next);
        assert_eq!(ended, written);
    }
}

/// Feeds the first `split` bytes, then all.
fn join(limit: usize, bytes: &[u8], split: usize) -> Whole {
    let mut joiner = Joiner::new(limit);
    let mut at = 0;
    for end in [split, bytes.len()] {
        match joiner.feed(&bytes[at..end])? {
            Joined::More { consumed } => {
                at += consumed;
                assert!(end - at < HEADER_LEN, "only part of a header may be left over");
            }
            Joined::Complete { consumed, seq } => {
                return Ok((at + consumed, Some(seq), joiner.into_payload()));
            }
        }
    }
    Ok((at, None, joiner.into_payload()))
}

/// What a walker said of a stream: the packets that it handed out by place and length, the rows, the end.
#[derive(Debug, PartialEq)]
struct Walk {
    packets: Vec<(usize, usize, Control)>,
    rows: u64,
    end: Result<Option<usize>, DecodeError>,
}

/// A reply is the same however it arrives.
///
/// A byte for the kind of command, one for capabilities, then the reply.
pub(crate) fn walker(data: &[u8]) {
    let mut input = Input(data);
    let (expect, caps) = expectation(input.byte(), input.byte());
    let bytes = input.0;
    let whole = walk(expect, caps, bytes, &[]);
    for split in 0..bytes.len().min(SPLIT_WITHIN) {
        assert_eq!(walk(expect, caps, bytes, &[split]), whole, "split at {split}");
    }
    let every: Vec<usize> = (0..bytes.len().min(SPLIT_WITHIN)).collect();
    assert_eq!(walk(expect, caps, bytes, &every), whole, "byte by byte");
    assert!(whole.rows <= (bytes.len() / HEADER_LEN) as u64);
}

pub(crate) fn expectation(kind: u8, flags: u8) -> (Expect, Capabilities) {
    let expect = [
        Expect::Query,
        Expect::Prepare,
        Expect::Execute,
        Expect::Fetch,
        Expect::FieldList,
        Expect::Single,
        Expect::Statistics,
    ];
    let mut caps = Capabilities::PROTOCOL_41;
    for (bit, flag) in FLAGS.into_iter().enumerate() {
        caps.set(flag, flags >> bit & 1 != 0);
    }
    (expect[usize::from(kind) % expect.len()], caps)
}

/// The capabilities that change how a reply is followed, by bits of the input.
pub(crate) const FLAGS: [Capabilities; 4] = [
    Capabilities::DEPRECATE_EOF,
    Capabilities::SESSION_TRACK,
    Capabilities::MARIADB_PROGRESS,
    Capabilities::MARIADB_CACHE_METADATA,
];

/// Lets the walker see the bytes up to each split in turn, and then all.
fn walk(expect: Expect, caps: Capabilities, bytes: &[u8], splits: &[usize]) -> Walk {
    let mut walker = Walker::new(expect, caps);
    let (mut at, mut packets) = (0, Vec::new());
    let mut go = |walker: &mut Walker, packets: &mut Vec<_>, end: usize| {
        while !walker.is_done() && at < end {
            match walker.step(&bytes[at..end])? {
                Step::Pass(count) => {
                    assert!(count > 0 && count <= end - at);
                    at += count;
                }
                Step::Packet { len, kind } => {
                    assert!(len <= end - at);
                    packets.push((at, len, kind));
                    at += len;
                }
                Step::Need(count) => {
                    assert!(count > end - at, "{count} bytes are there");
                    break;
                }
            }
        }
        Ok(walker.is_done().then_some(at))
    };
    let mut end = Ok(None);
    for &stop in splits.iter().chain([&bytes.len()]) {
        end = go(&mut walker, &mut packets, stop);
        if end.is_err() {
            break;
        }
    }
    // Rows before an error may or may not have been passed by then.
    let rows = if end.is_ok() { walker.rows() } else { 0 };
    Walk { packets, rows, end }
}
