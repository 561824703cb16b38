//! The compressed protocol: packets are the same however they arrive, and lengths that lie cost nothing.

use tandem::fuzzing::numbers;
use tandem_protocol::compression::{
    Algorithm, Commands, Error, HEADER_LEN, Header, Method, Packer, Progress, Stock, Torn, Unpacker,
};
use tandem_protocol::frame;

use crate::Input;

/// Splits are tried within so many bytes: the time for all of them grows with the square.
const SPLIT_WITHIN: usize = 200;

/// What came of packets.
#[derive(Debug, PartialEq)]
struct Whole {
    plain: Vec<u8>,
    /// Whether the last packet has ended, or what was wrong.
    end: Result<bool, Error>,
}

/// Whatever is packed comes out again, and packets that were tampered with are the same to every reader.
///
/// Choices of the method, then four bytes of tampering (where, and by what), then parts, each a packet.
pub(crate) fn packed(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let algorithm = algorithm(choices);
    let method = Method {
        algorithm,
        level: 1 + (choices >> 1) % algorithm.max_level().min(9),
        threshold: usize::from(input.byte()),
    };
    let (at, by) = (usize::from(input.u16()), input.u16());
    let (mut packer, mut packets, mut plain) = (Packer::default(), Vec::new(), Vec::new());
    for seq in 0..=u8::MAX {
        let Some(part) = input.part() else {
            break;
        };
        let before = packets.len();
        assert_eq!(packer.pack(method, seq, part, &mut packets), part.len());
        assert!(packets.len() - before <= HEADER_LEN + part.len(), "never longer");
        plain.extend_from_slice(part);
    }
    let whole = every_way(algorithm, &packets, 1 + usize::from(choices));
    let end = Ok(true);
    assert_eq!(whole, Whole { plain, end });
    if let [here, next] = packets.get_mut(at..at + 2).unwrap_or_default() {
        let [low, high] = by.to_le_bytes();
        (*here, *next) = (*here ^ low, *next ^ high);
        every_way(algorithm, &packets, 1 + usize::from(choices));
    }
}

/// A byte for the algorithm, one for the reader's room, then whatever claims to be compressed packets.
pub(crate) fn unpacked(data: &[u8]) {
    let mut input = Input(data);
    let (algorithm, room) = (algorithm(input.byte()), 1 + usize::from(input.byte()));
    every_way(algorithm, input.0, room);
}

fn algorithm(choice: u8) -> Algorithm {
    match choice & 1 {
        0 => Algorithm::Zlib,
        _ => Algorithm::Zstd,
    }
}

/// Reads packets in two pieces, for every split, and byte by byte, with different room.
fn every_way(algorithm: Algorithm, bytes: &[u8], room: usize) -> Whole {
    let mut stock = Stock::default();
    let whole = unpack(&mut stock, algorithm, &[bytes], 1 << 16);
    let mut same = |pieces: &[&[u8]], room: usize| {
        let other = unpack(&mut stock, algorithm, pieces, room);
        match (whole.end, other.end) {
            // Of a packet that is not all there, zstd may say earlier or later that it is none.
            (Ok(false) | Err(_), Err(_)) | (Err(_), Ok(false)) => {}
            _ => assert_eq!(other, whole, "{pieces:?}, room for {room}"),
        }
    };
    for split in 0..bytes.len().min(SPLIT_WITHIN) {
        let (first, second) = bytes.split_at(split);
        same(&[first, second], 1 << 16);
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    same(&single, room);
    same(&[bytes], room);
    whole
}

fn unpack(stock: &mut Stock, algorithm: Algorithm, pieces: &[&[u8]], room: usize) -> Whole {
    let (bytes, mut unpacker) = (pieces.concat(), Unpacker::new(algorithm));
    let (mut plain, mut output) = (Vec::new(), vec![0; room]);
    let (mut at, mut end) = (0, 0);
    // What the packets so far have declared, as one that is read to its end must have held.
    let (mut declared, mut packet_end) = (0, 0);
    for piece in pieces {
        end += piece.len();
        loop {
            if unpacker.is_between() {
                assert_eq!(plain.len(), declared, "a packet holds what it declares");
                let Some(header) = Header::peek(&bytes[at..end]) else {
                    break;
                };
                at += HEADER_LEN;
                packet_end = at + header.len;
                declared += match header.plain {
                    0 => header.len,
                    plain => plain,
                };
                if let Err(error) = unpacker.begin(header, stock) {
                    return Whole {
                        plain,
                        end: Err(error),
                    };
                }
                continue;
            }
            let Progress { consumed, produced } = match unpacker.unpack(stock, &bytes[at..end], &mut output) {
                Ok(progress) => progress,
                Err(error) => {
                    return Whole {
                        plain,
                        end: Err(error),
                    };
                }
            };
            assert!(consumed <= end - at && produced <= room);
            at += consumed;
            plain.extend_from_slice(&output[..produced]);
            assert!(
                plain.len() < declared || unpacker.is_between(),
                "the last byte comes with the end"
            );
            if (consumed, produced) == (0, 0) && !unpacker.is_between() {
                break;
            }
        }
    }
    assert!(
        unpacker.is_between() || packet_end > bytes.len(),
        "what is all there is read or refused"
    );
    let end = Ok(unpacker.is_between());
    Whole { plain, end }
}

/// Where commands begin, and where the numbers of plain packets stand, does not hang on how a stream is cut.
///
/// Plain frames.
pub(crate) fn beginnings(data: &[u8]) {
    let starts = starts(data);
    let whole = begun(&[data]);
    let all = numbers(&[data]);
    for split in 1..data.len().min(SPLIT_WITHIN) {
        let (first, second) = data.split_at(split);
        assert_eq!(numbers(&[first, second]), all, "split at {split}");
        match begun(&[first, second]) {
            Ok(begun) => assert_eq!(Ok(begun), whole, "split at {split}"),
            Err(Torn) => {
                let torn = |start: &usize| (1..frame::HEADER_LEN).contains(&split.saturating_sub(*start));
                assert!(whole.is_err() || starts.iter().any(torn), "split at {split}");
            }
        }
    }
    let single: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(numbers(&single), all, "byte by byte");
    let places = starts.iter().map(|start| start + frame::HEADER_LEN - 1);
    let places: Vec<usize> = places.filter(|place| *place < data.len()).collect();
    assert_eq!(
        all.iter().map(|(place, _)| *place).collect::<Vec<_>>(),
        places,
        "the number is the fourth byte of each"
    );
    for begun in whole.unwrap_or_default() {
        assert!(starts.contains(&begun) && data[begun + frame::HEADER_LEN - 1] == 0);
    }
}

/// Where each frame begins, the last also when its header is not whole.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut starts) = (0, Vec::new());
    while at < bytes.len() {
        starts.push(at);
        match frame::Header::peek(&bytes[at..]) {
            Some(header) => at += frame::HEADER_LEN + header.len,
            None => break,
        }
    }
    starts
}

fn begun(pieces: &[&[u8]]) -> Result<Vec<usize>, Torn> {
    let (mut commands, mut at, mut begun) = (Commands::default(), 0, Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (count, begins) = commands.next(rest)?;
            assert!(count > 0 && count <= rest.len());
            if begins {
                begun.push(at);
            }
            at += count;
            rest = &rest[count..];
        }
    }
    Ok(begun)
}
