//! What servers and balancers tell: positions, settings, where a client comes from; and where a long command ends.

use tandem::backend::sync::{Known, Plan, Trackers};
use tandem::fuzzing::{long_command, tokens};
use tandem::net::proxied::{Beginning, look};
use tandem::session::settings::Settings;
use tandem::topology::Flavor;
use tandem::topology::gtid::{Gtid, Position};
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

/// A PROXY header ends where it ends, however it arrives.
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
        reset_collation: 45,
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
        assert_eq!(is("="), variables + trackers, "{set}");
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
