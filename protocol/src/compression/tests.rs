use super::*;
use crate::frame;

const METHODS: [Method; 3] = [method(Algorithm::Zlib), method(Algorithm::Zstd), {
    Method {
        threshold: usize::MAX,
        ..method(Algorithm::Zlib)
    }
}];

const fn method(algorithm: Algorithm) -> Method {
    Method {
        algorithm,
        level: 3,
        threshold: MIN_LENGTH,
    }
}

/// Something like rows: it gets shorter, but not to nothing.
fn rows(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in 0_u32.. {
        if bytes.len() >= len {
            break;
        }
        let noise = row.wrapping_mul(2_654_435_761);
        bytes.extend_from_slice(format!("{row}\x05hello\x0a{noise:010}").as_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn packed(method: Method, seq: u8, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(Packer::default().pack(method, seq, plain, &mut out), plain.len());
    out
}

/// Reads packets that arrive in `pieces`, into room for `room` bytes at a time.
fn unpacked(algorithm: Algorithm, pieces: &[&[u8]], room: usize) -> Result<(Vec<u8>, bool), Error> {
    let (mut stock, mut unpacker) = (Stock::default(), Unpacker::new(algorithm));
    let (mut waiting, mut plain) = (Vec::new(), Vec::new());
    for piece in pieces {
        waiting.extend_from_slice(piece);
        loop {
            if unpacker.is_between() {
                let Some(header) = Header::peek(&waiting) else {
                    break;
                };
                waiting.drain(..HEADER_LEN);
                unpacker.begin(header, &mut stock)?;
                continue;
            }
            let mut output = vec![0; room];
            let progress = unpacker.unpack(&mut stock, &waiting, &mut output)?;
            waiting.drain(..progress.consumed);
            plain.extend_from_slice(&output[..progress.produced]);
            if progress == Progress::default() {
                break;
            }
        }
    }
    Ok((plain, unpacker.is_between()))
}

#[test]
fn what_was_packed_comes_out_again() {
    for method in METHODS {
        for len in [1, 49, 50, 51, 1000, 100_000, MAX_PAYLOAD] {
            let plain = rows(len);
            let packet = packed(method, 7, &plain);
            let header = Header::peek(&packet).expect("a header");
            assert_eq!((header.seq, header.len), (7, packet.len() - HEADER_LEN));
            match len {
                _ if len < method.threshold => assert_eq!((header.plain, header.len), (0, len)),
                1000.. => assert_eq!(header.plain, len, "{method:?}, {len} bytes"),
                _ => assert!(header.len <= len, "{method:?}, {len} bytes"),
            }
            let (back, ended) = unpacked(method.algorithm, &[&packet], 4096).expect("fine");
            assert!(back == plain && ended, "{method:?}, {len} bytes");
        }
    }
}

/// The manual's page "Compressed Packet" shows this query as it travels.
#[test]
fn the_manuals_example_is_read() {
    let packet =
        b"\x22\x00\x00\x00\x32\x00\x00\x78\x9c\xd3\x63\x60\x60\x60\x2e\x4e\xcd\x49\x4d\x2e\x51\x50\x32\x30\
        \x34\x32\x36\x31\x35\x33\xb7\xb0\xc4\xcd\x52\x02\x00\x0c\xd1\x0a\x6c";
    let (plain, ended) = unpacked(Algorithm::Zlib, &[packet], 100).expect("fine");
    assert!(ended);
    let statement = format!(".\0\0\0\x03select \"{}\"", "012345678901234567890123456789012345");
    assert_eq!(String::from_utf8_lossy(&plain), statement);
}

#[test]
fn packets_may_arrive_and_leave_in_any_pieces() {
    for method in METHODS {
        let plain = rows(700);
        let packets = [
            packed(method, 0, &plain),
            packed(method, 1, b"ok"),
            packed(method, 2, &[]),
        ]
        .concat();
        let expected = [&plain[..], b"ok"].concat();
        for split in 0..=packets.len() {
            for room in [1, 7, 10_000] {
                let (first, second) = packets.split_at(split);
                let (back, ended) = unpacked(method.algorithm, &[first, second], room).expect("fine");
                assert!(
                    back == expected && ended,
                    "{method:?} split at {split}, room for {room}"
                );
            }
        }
        let bytes: Vec<&[u8]> = packets.chunks(1).collect();
        let (back, ended) = unpacked(method.algorithm, &bytes, 3).expect("fine");
        assert!(back == expected && ended, "{method:?} byte by byte");
    }
}

/// Who has read a command to its end goes on to answer it: nothing of its packet may be left then.
#[test]
fn the_last_byte_comes_with_the_end_of_the_packet() {
    for method in METHODS {
        let plain = rows(700);
        let packet = packed(method, 0, &plain);
        for cut in 0..packet.len() {
            let (back, ended) =
                unpacked(method.algorithm, &[&packet[..cut]], 10_000).expect("no mistake yet");
            assert!(
                back.len() < plain.len() && plain.starts_with(&back),
                "{method:?} cut at {cut}"
            );
            assert!(!ended || cut < HEADER_LEN, "{method:?} cut at {cut}");
        }
    }
}

fn with_header(len: usize, plain: usize, body: &[u8]) -> Vec<u8> {
    [&Header { len, seq: 0, plain }.encode()[..], body].concat()
}

#[test]
fn lengths_that_are_wrong_are_seen() {
    for method in [method(Algorithm::Zlib), method(Algorithm::Zstd)] {
        let plain = rows(700);
        let packet = packed(method, 0, &plain);
        let (body, len) = (&packet[HEADER_LEN..], packet.len() - HEADER_LEN);
        let read = |packet: &[u8]| unpacked(method.algorithm, &[packet], 10_000);
        assert_eq!(read(&with_header(len, 699, body)), Err(Error::Longer(699)));
        assert_eq!(read(&with_header(len, 1, body)), Err(Error::Longer(1)));
        assert_eq!(read(&with_header(len, 701, body)), Err(Error::Shorter(1)));
        let trailing = [body, b"xy"].concat();
        assert_eq!(
            read(&with_header(len + 2, 700, &trailing)),
            Err(Error::Trailing(2))
        );
        for cut in 0..len {
            let cut = read(&with_header(cut, 700, &body[..cut]));
            assert_eq!(cut, Err(Error::Cut), "{method:?}");
        }
        assert_eq!(
            read(&with_header(4, 700, b"junk")),
            Err(Error::Corrupt(method.algorithm))
        );
    }
}

/// 16 MiB of zeros take a hundredth of that at most, by whichever zlib flate2 is built with: what comes out goes into the room that there is, and no more than was declared.
#[test]
fn a_bomb_blows_up_no_more_than_the_room_there_is() {
    for method in [method(Algorithm::Zlib), method(Algorithm::Zstd)] {
        let packet = packed(method, 0, &vec![0; MAX_PAYLOAD]);
        assert!(packet.len() < MAX_PAYLOAD / 100, "{} bytes", packet.len());
        let (mut stock, mut unpacker) = (Stock::default(), Unpacker::new(method.algorithm));
        unpacker
            .begin(Header::peek(&packet).expect("a header"), &mut stock)
            .expect("begun");
        let mut room = [1; 1000];
        let progress = unpacker
            .unpack(&mut stock, &packet[HEADER_LEN..], &mut room)
            .expect("fine");
        assert_eq!((progress.produced, room), (1000, [0; 1000]));
        assert_eq!(
            unpacked(
                method.algorithm,
                &[&with_header(packet.len() - HEADER_LEN, 60, &packet[HEADER_LEN..])],
                1000
            ),
            Err(Error::Longer(60))
        );
    }
}

#[test]
fn a_context_is_taken_only_for_a_packet_and_given_back() {
    for method in [method(Algorithm::Zlib), method(Algorithm::Zstd)] {
        let packet = packed(method, 0, &rows(700));
        let (mut stock, mut unpacker) = (Stock::default(), Unpacker::new(method.algorithm));
        let kept = |stock: &Stock| format!("{stock:?}").matches('1').count();
        for _ in 0..3 {
            unpacker
                .begin(Header::peek(&packet).expect("a header"), &mut stock)
                .expect("begun");
            assert_eq!(kept(&stock), 0);
            unpacker
                .unpack(&mut stock, &packet[HEADER_LEN..], &mut [0; 1000])
                .expect("fine");
            assert_eq!(kept(&stock), 1);
        }
    }
}

#[test]
fn what_does_not_get_shorter_is_sent_as_it_is() {
    let noise: Vec<u8> = (0_u32..200)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for method in METHODS {
        let packet = packed(method, 0, &noise);
        let header = Header::peek(&packet).expect("a header");
        assert_eq!((header.len, header.plain), (200, 0));
        assert_eq!(packet[HEADER_LEN..], noise);
    }
}

#[test]
fn every_level_can_be_used() {
    let plain = rows(2000);
    let mut packer = Packer::default();
    for algorithm in [Algorithm::Zlib, Algorithm::Zstd] {
        for level in 1..=algorithm.max_level() {
            let mut out = Vec::new();
            let method = Method {
                level,
                ..method(algorithm)
            };
            packer.pack(method, 0, &plain, &mut out);
            assert!(out.len() < plain.len(), "{method:?}");
            packer.shrink(1000);
            assert_eq!(
                unpacked(algorithm, &[&out], 10_000),
                Ok((plain.clone(), true)),
                "{method:?}"
            );
        }
    }
}

#[test]
fn zlib_wins_where_both_are_wanted() {
    let both = Capabilities::COMPRESS | Capabilities::ZSTD_COMPRESSION;
    assert_eq!(Algorithm::agreed(both), Some(Algorithm::Zlib));
    assert_eq!(
        Algorithm::agreed(Capabilities::ZSTD_COMPRESSION),
        Some(Algorithm::Zstd)
    );
    assert_eq!(Algorithm::agreed(Capabilities::PROTOCOL_41), None);
    for algorithm in [Algorithm::Zlib, Algorithm::Zstd] {
        assert_eq!(Algorithm::agreed(algorithm.flag()), Some(algorithm));
    }
}

fn plain_packet(seq: u8, len: usize) -> Vec<u8> {
    let mut bytes = frame::Header { len, seq }.encode().to_vec();
    bytes.resize(frame::HEADER_LEN + len, 0xee);
    bytes
}

/// Whether a command begins with each packet that is sent, in writes of their own and in one.
fn beginnings(packets: &[(u8, usize)]) -> Vec<bool> {
    let packets: Vec<Vec<u8>> = packets
        .iter()
        .map(|(seq, len)| plain_packet(*seq, *len))
        .collect();
    let mut apart = Vec::new();
    let mut commands = Commands::default();
    for packet in &packets {
        let (count, begins) = commands.next(packet).expect("whole");
        assert_eq!(count, packet.len());
        apart.push(begins);
    }
    let mut together = vec![false; packets.len()];
    let (bytes, mut at) = (packets.concat(), 0);
    let mut commands = Commands::default();
    while at < bytes.len() {
        let (count, begins) = commands.next(&bytes[at..]).expect("whole");
        let mut start = 0;
        for (packet, begun) in packets.iter().zip(&mut together) {
            *begun |= start == at && begins;
            start += packet.len();
        }
        at += count;
    }
    assert_eq!(apart, together);
    apart
}

#[test]
fn commands_begin_with_the_number_0() {
    assert_eq!(beginnings(&[(0, 1), (0, 30), (0, 5)]), [true, true, true]);
    assert_eq!(beginnings(&[(0, 1), (3, 20), (0, 5)]), [true, false, true]);
    // 256 full packets and their end.
    let long: Vec<(u8, usize)> = (0..=3).map(|seq| (seq, frame::MAX_PAYLOAD)).collect();
    let ended = [&long[..], &[(4, 0), (0, 1)]].concat();
    assert_eq!(beginnings(&ended), [true, false, false, false, false, true]);
    let full = [(0, frame::MAX_PAYLOAD), (0, 0), (0, 1)];
    assert_eq!(
        beginnings(&full),
        [true, false, true],
        "even where it is numbered wrongly"
    );
}

#[test]
fn the_packets_of_a_file_are_one_command_whatever_their_numbers() {
    let file: Vec<(u8, usize)> = (2..600_u16).map(|number| (number as u8, 10)).collect();
    assert!(beginnings(&file).iter().all(|begins| !begins));
    let mut commands = Commands::default();
    assert_eq!(commands.next(&plain_packet(255, 0)), Ok((4, false)));
    commands.heard();
    assert_eq!(
        commands.next(&plain_packet(0, 1)),
        Ok((5, true)),
        "the reply was read in between"
    );
}

#[test]
fn a_packet_may_be_written_in_pieces_but_not_its_header() {
    let bytes = [plain_packet(0, 20), plain_packet(0, 3)].concat();
    for split in 4..24 {
        let mut commands = Commands::default();
        assert_eq!(commands.next(&bytes[..split]), Ok((split, true)));
        if split < 24 {
            assert_eq!(commands.next(&bytes[split..]), Ok((24 - split, false)));
        }
        assert_eq!(commands.next(&bytes[24..]), Ok((7, true)));
    }
    assert_eq!(Commands::default().next(&bytes[..3]), Err(Torn));
    let mut commands = Commands::default();
    assert_eq!(commands.next(&bytes[..26]), Ok((24, true)));
    assert_eq!(commands.next(&bytes[24..26]), Err(Torn));
}
