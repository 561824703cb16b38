//! What servers and balancers tell: positions, settings, where a client comes from, what changed; and where a long command
//! and a client's file end.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tandem::backend::sync::{Known, Plan, Trackers};
use tandem::fuzzing::{filtered, long_command, tokens, uploaded};
use tandem::net::address::Peer;
use tandem::net::proxied::{Beginning, header, look};
use tandem::session::settings::Settings;
use tandem::topology::Flavor;
use tandem::topology::gtid::{Gtid, Position};
use tandem::topology::reports::{Gtids, Reports, Transactions};
use tandem_protocol::packet::session_track::{Change, changes};
use tandem_protocol::{Capabilities, frame};

use crate::Input;

/// A set of commits holds what was put into it, and is written as it is read.
pub(crate) fn positions(data: &[u8]) {
    let mut input = Input(data);
    let parts: Vec<&str> = [input.part(), input.part()]
        .into_iter()
        .filter_map(|part| std::str::from_utf8(part.unwrap_or_default()).ok())
        .collect();
    let [one, other] = parts[..] else {
        return;
    };
    for parse in [Position::parse_mariadb, Position::parse_mysql] {
        let (Some(one), Some(other)) = (parse(one), parse(other)) else {
            continue;
        };
        assert_eq!(parse(&one.to_string()).as_ref(), Some(&one), "{one}");
        assert!(one.includes(&one), "{one}");
        let mut both = one.clone();
        both.merge(&other);
        let again = both.clone();
        both.merge(&one);
        assert_eq!(both, again, "nothing new");
        if other.is_empty() {
            assert_eq!(both, one);
        }
    }
    for gtid in [Gtid::parse_mariadb(one), Gtid::parse_mysql(one)]
        .into_iter()
        .flatten()
    {
        let mut position = Position::default();
        position.insert(&gtid);
        assert!(position.covers(&gtid) && !gtid.is_before(&gtid) && !position.is_empty());
        if let Some(more) = Position::parse_mysql(other) {
            position.merge(&more);
            assert!(position.covers(&gtid), "a merge loses nothing");
            assert!(position.includes(&more), "{position} with {more}");
        }
    }
    // Whatever the three texts are, a server covers what it says that it has applied.
    if let (Some(position), Some(applied)) = (
        Position::of_mariadb(one, other, input.u16().into()),
        Position::parse_mariadb(one),
    ) {
        assert!(position.includes(&applied));
    }
}

/// A PROXY header ends where it ends, however it arrives; one that Tandem writes says what it was told to say.
pub(crate) fn proxied(data: &[u8]) {
    let whole = look(data);
    for cut in 0..data.len().min(200) {
        match (look(&data[..cut]), &whole) {
            (Ok(Beginning::Needs(more)), _) => assert!(more > cut),
            (seen, whole) => assert_eq!(&seen, whole, "cut at {cut}"),
        }
    }
    match whole {
        Ok(Beginning::Needs(more)) => assert!(more > data.len() && more <= 4096),
        Ok(Beginning::Header { len, .. }) => assert!(len <= data.len()),
        Ok(Beginning::NoHeader) | Err(_) => {}
    }
    let mut input = Input(data);
    let mut address = || match input.byte() & 1 {
        0 => SocketAddr::from((Ipv4Addr::from(input.array::<4>()), input.u16())),
        _ => SocketAddr::from((Ipv6Addr::from(input.array::<16>()), input.u16())),
    };
    let (client, server) = (address(), address());
    let written = header(Peer::Tcp(client), &server.into());
    let Ok(Beginning::Header { len, source }) = look(&[&written, data].concat()) else {
        panic!("{client} to {server} is not read as it was written: {written:?}");
    };
    let source = source.map(|source| (source.ip().to_canonical(), source.port()));
    assert_eq!(
        (len, source),
        (written.len(), Some((client.ip().to_canonical(), client.port())))
    );
}

/// Settings as servers report them become one `SET`, and no value gets out of its place.
///
/// A byte of choices, then names and values in turn, each behind its length.
pub(crate) fn settings(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let (mut wanted, known) = (Settings::new(45, Some(b"shop")), Settings::new(45, None));
    while let (Some(name), Some(value)) = (input.part(), input.part()) {
        if Settings::is_carried(name) {
            wanted.set_variable(name, value);
            assert_eq!(wanted.variable(name), Some(value));
        }
    }
    let flavor = match choices & 1 {
        0 => Flavor::MariaDb,
        _ => Flavor::MySql,
    };
    let trackers = Trackers::Tandem { transactions: None };
    let tracks = choices & 2 != 0;
    let from = Known {
        settings: &known,
        reset_names: 45.into(),
        trackers: if tracks { &trackers } else { &Trackers::Untouched },
        ignore_space: choices & 8 != 0,
        soiled: choices & 4 != 0,
    };
    let plan = Plan::between(&from, &wanted, &trackers, flavor, false).unwrap();
    let mut out = Vec::new();
    let replies = plan.write(&mut out, Capabilities::empty());
    assert_eq!(replies, packets(&out));
    let variables = wanted.variables().len();
    let size: usize = wanted
        .variables()
        .iter()
        .map(|variable| variable.name.len() + variable.value.len())
        .sum();
    assert!(
        out.len() <= 512 + 8 * size + 16 * variables,
        "{} bytes of {size}",
        out.len()
    );
    // A flag of the handshake that a reset has taken away, and no `sql_mode` of the session's own brings back.
    let mode = plan.reset && from.ignore_space && wanted.variable(b"sql_mode").is_none();
    let Some(set) = plan.set else {
        return;
    };
    for choice in 0..32 {
        let dialect = crate::sql::dialect(choice);
        // `"x"` may be a name or a string, backslashes may escape: the text must not depend on it.
        let Some(tokens) = tokens(set.as_bytes(), dialect) else {
            panic!("not to be read by {dialect:?}: {set}");
        };
        let is = |mark: &str| {
            tokens
                .iter()
                .filter(|token| &set[token.start..token.end] == mark)
                .count()
        };
        let trackers = [3, 4][usize::from(choices & 1)] * usize::from(!tracks || plan.reset);
        assert_eq!(is("="), variables + trackers + usize::from(mode), "{set}");
        assert_eq!(is(";"), 0, "{set}");
    }
}

fn packets(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((header, _)) = frame::packet(bytes) {
        bytes = &bytes[frame::HEADER_LEN + header.len..];
        count += 1;
    }
    assert!(bytes.is_empty(), "only whole packets");
    count
}

/// A long command ends at the same byte wherever its reads are split, and within its limit.
///
/// Two bytes of a limit, then frames.
pub(crate) fn tail(data: &[u8]) {
    let mut input = Input(data);
    let limit = usize::from(input.u16());
    let bytes = input.0;
    let whole = long_command(&[bytes], limit);
    if bytes.len() < frame::HEADER_LEN {
        return assert_eq!(whole, None);
    }
    for split in frame::HEADER_LEN..bytes.len().min(200) {
        let (first, second) = bytes.split_at(split);
        assert_eq!(long_command(&[first, second], limit), whole, "split at {split}");
    }
    if let Some((taken, done)) = whole {
        assert!(taken <= limit + frame::HEADER_LEN);
        assert_eq!(done, frame::packet(bytes).is_some());
    }
}

/// A client's file ends at the same byte wherever its reads are split: behind its first empty packet.
///
/// The first packet's number, then frames.
pub(crate) fn file(data: &[u8]) {
    let mut input = Input(data);
    let seq = input.byte();
    let bytes = input.0;
    let whole = uploaded(&[bytes], seq);
    for split in 0..bytes.len().min(200) {
        let (first, second) = bytes.split_at(split);
        assert_eq!(uploaded(&[first, second], seq), whole, "split at {split}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(uploaded(&single, seq), whole, "byte by byte");
    let (mut rest, mut due) = (bytes, seq);
    let ended = loop {
        let Some(header) = frame::Header::peek(rest) else {
            break Some(false);
        };
        if header.seq != due {
            break None;
        }
        rest = rest.get(frame::HEADER_LEN + header.len..).unwrap_or_default();
        due = due.wrapping_add(1);
        if header.len == 0 {
            break Some(true);
        }
    };
    assert_eq!(whole.map(|(_, done)| done), ended);
    if let Some((taken, true)) = whole {
        assert_eq!(taken, bytes.len() - rest.len(), "what follows is a command");
    }
}

/// A client is told the changes that it asked for, all of them, and no others.
///
/// Two bytes of choices, a list of variables behind its length, then the state that an OK packet reports.
pub(crate) fn reports(data: &[u8]) {
    let mut input = Input(data);
    let (choices, flavor) = (
        input.byte(),
        [Flavor::MariaDb, Flavor::MySql][usize::from(input.byte() & 1)],
    );
    let is = |bit: u8| choices >> bit & 1 != 0;
    let reports = Reports {
        variables: input.part().unwrap_or_default().into(),
        schema: is(0),
        state_change: is(1),
        transactions: [
            Transactions::Off,
            Transactions::State,
            Transactions::Characteristics,
        ][usize::from(choices >> 2 & 3).min(2)],
        gtids: if is(4) { Gtids::Own } else { Gtids::Off },
    };
    let state = input.0;
    let told = filtered(&reports, flavor, state);
    let all: Result<Vec<Change<'_>>, _> = changes(state).collect();
    let Ok(all) = all else {
        return assert!(told.is_none(), "a report that can't be read");
    };
    let told = told.unwrap();
    let space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ');
    let named = |name: &[u8]| {
        reports.variables.split(|byte| *byte == b',').any(|wanted| {
            let begin = wanted
                .iter()
                .position(|byte| !space(byte))
                .unwrap_or(wanted.len());
            let end = wanted
                .iter()
                .rposition(|byte| !space(byte))
                .map_or(begin, |last| last + 1);
            wanted[begin..end] == *b"*" || wanted[begin..end].eq_ignore_ascii_case(name)
        })
    };
    let wanted = all.iter().filter(|change| match change {
        Change::SystemVariable { name, .. } => named(name),
        Change::Schema(_) => reports.schema,
        Change::StateChanged(_) => reports.state_change,
        Change::Gtids(_) => reports.gtids != Gtids::Off,
        Change::TransactionState(_) => flavor == Flavor::MySql || reports.transactions != Transactions::Off,
        Change::TransactionCharacteristics(_) => reports.transactions == Transactions::Characteristics,
        Change::Unknown { .. } => false,
    });
    let again: Vec<Change<'_>> = changes(&told).map(Result::unwrap).collect();
    assert_eq!(again.iter().collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    assert_eq!(filtered(&reports, flavor, &told), Some(told.clone()));
    // A pair in an entry of its own has a kind and a length more.
    assert!(told.len() <= state.len() + 10 * all.len());
}
