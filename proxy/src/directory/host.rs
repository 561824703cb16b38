//! Which account a client's host matches, and in which order accounts are tried: as the servers do it.
//!
//! The host of an account is an address or a name, a pattern with `%` and `_`, or a network. The more exactly it is said,
//! the earlier it is tried. Names other than `localhost` would have to be looked up; Tandem does not: they match nobody.

use std::net::{IpAddr, Ipv4Addr};

use crate::net::address::Peer;

/// The host part of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// An address, or a name.
    Exact(String),
    Network {
        network: Ipv4Addr,
        mask: Ipv4Addr,
    },
    Pattern(String),
}

/// The smaller, the earlier it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u8, usize);

impl Host {
    pub(super) fn parse(text: &str) -> Self {
        if let Some(network) = network(text) {
            return network;
        }
        match text.contains(['%', '_']) || text.is_empty() {
            true => Self::Pattern(text.to_ascii_lowercase()),
            false => Self::Exact(text.to_ascii_lowercase()),
        }
    }

    pub(super) fn rank(&self) -> Rank {
        match self {
            Self::Exact(_) => Rank(0, 0),
            Self::Network { mask, .. } => Rank(1, mask.to_bits().count_zeros() as usize),
            Self::Pattern(pattern) if pattern.is_empty() || pattern == "%" => Rank(3, 0),
            Self::Pattern(pattern) => {
                let exact = pattern.find(['%', '_']).unwrap_or(pattern.len());
                Rank(2, usize::MAX - exact)
            }
        }
    }

    /// Whether a client may come from there. `resolves`: the server looks names up, and so calls this machine localhost.
    pub(super) fn matches(&self, peer: Peer, resolves: bool) -> bool {
        let address = match peer {
            Peer::Local => None,
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
        };
        let is_localhost = address.is_none_or(|address| address.is_loopback() && resolves);
        let texts = [
            is_localhost.then(|| "localhost".to_owned()),
            address.map(|address| address.to_string()),
        ];
        let mut texts = texts.iter().flatten();
        match self {
            Self::Exact(host) => texts.any(|text| text == host),
            Self::Pattern(pattern) if pattern.is_empty() => true,
            Self::Pattern(pattern) => texts.any(|text| like(text.as_bytes(), pattern.as_bytes())),
            Self::Network { network, mask } => {
                matches!(address, Some(IpAddr::V4(address)) if address & *mask == *network)
            }
        }
    }
}

/// `10.0.0.0/255.0.0.0`, and MySQL's `10.0.0.0/8`.
fn network(text: &str) -> Option<Host> {
    let (network, mask) = text.split_once('/')?;
    let network: Ipv4Addr = network.parse().ok()?;
    let mask = match mask.parse::<u32>() {
        Ok(bits @ 0..=32) => Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0)),
        Ok(_) => return None,
        Err(_) => mask.parse().ok()?,
    };
    Some(Host::Network { network, mask })
}

/// LIKE: `%` is anything, `_` one character. There are at most 255 of them, since hosts are no longer.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // Where to go on when what followed the last `%` did not fit after all.
    let mut retry = None;
    while at < text.len() {
        match pattern.get(of) {
            Some(b'%') => {
                retry = Some((at, of));
                of += 1;
            }
            Some(b'_') => (at, of) = (at + 1, of + 1),
            Some(byte) if *byte == text[at] => (at, of) = (at + 1, of + 1),
            _ => match retry {
                Some((from, percent)) => {
                    retry = Some((from + 1, percent));
                    (at, of) = (from + 1, percent + 1);
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|byte| *byte == b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Peer {
        match address {
            "socket" => Peer::Local,
            address => Peer::Tcp((address.parse::<IpAddr>().expect("an address"), 1).into()),
        }
    }

    #[test]
    fn hosts_match_as_on_the_servers() {
        for (host, peer, matches) in [
            ("%", "192.0.2.7", true),
            ("%", "socket", true),
            ("", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.70", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("192.0.2.%", "192.0.2.7", true),
            ("192.0.%", "192.0.2.7", true),
            ("192.0.2.%", "192.0.20.7", false),
            ("%.7", "192.0.2.7", true),
            ("%.2.%", "192.0.2.2", true),
            ("192.0.2._", "192.0.2.7", true),
            ("192.0.2._", "192.0.2.77", false),
            ("192.0.2.7%", "192.0.2.7", true),
            ("10.0.0.0/255.0.0.0", "10.9.8.7", true),
            ("10.0.0.0/255.0.0.0", "11.9.8.7", false),
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.1.0.0/8", "10.1.8.7", false),
            ("0.0.0.0/0", "10.1.8.7", true),
            ("10.0.0.0/8", "2001:db8::1", false),
            ("localhost", "socket", true),
            ("LocalHost", "socket", true),
            ("localhost", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "socket", false),
            ("localhost", "192.0.2.7", false),
            ("db.example", "192.0.2.7", false),
            ("%.example", "192.0.2.7", false),
        ] {
            assert_eq!(
                Host::parse(host).matches(from(peer), true),
                matches,
                "{host} {peer}"
            );
        }
        assert!(
            !Host::parse("localhost").matches(from("127.0.0.1"), false),
            "skip_name_resolve"
        );
    }

    #[test]
    fn what_is_said_more_exactly_is_tried_first() {
        let mut hosts = [
            "%",
            "192.%",
            "10.0.0.0/255.0.0.0",
            "192.0.2.%",
            "localhost",
            "10.1.0.0/16",
        ];
        hosts.sort_by_key(|host| Host::parse(host).rank());
        assert_eq!(
            hosts,
            [
                "localhost",
                "10.1.0.0/16",
                "10.0.0.0/255.0.0.0",
                "192.0.2.%",
                "192.%",
                "%"
            ]
        );
    }
}
