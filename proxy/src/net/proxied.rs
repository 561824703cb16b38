//! The PROXY protocol, versions 1 and 2: who a connection is from, said by the load balancer that passes it on.
//!
//! Source: HAProxy's "The PROXY protocol". The parser is the crate's; where a header ends is found here, since the
//! crate takes a number that has arrived in part for a wrong one.

use std::net::{Ipv4Addr, SocketAddr};

use ppp::v2::{Addresses, Builder, Command, Protocol, Version};
use ppp::{HeaderResult, v1, v2};
use thiserror::Error;

use super::address::{Endpoint, Peer};

/// A text header is shorter, by its definition.
const LONGEST_TEXT: usize = 107;
/// A binary header's signature, version, family and length.
const BINARY_HEAD: usize = 16;
/// What a balancer may add to the addresses of a binary header; more is refused before there is memory for it.
const LONGEST_BINARY: usize = 4096;

#[derive(Debug, PartialEq, Eq, Error)]
pub enum Error {
    #[error("a PROXY header of more than {0} bytes")]
    TooLong(usize),
    #[error("a PROXY header that can't be read: {0}")]
    Malformed(String),
}

/// What stands at the beginning of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Beginning {
    /// So many bytes must be there to tell.
    Needs(usize),
    NoHeader,
    Header {
        len: usize,
        /// `None`: the balancer speaks for itself, or does not know.
        source: Option<SocketAddr>,
    },
}

/// Looks for a header in the first bytes that a client has sent.
///
/// A MySQL client's first packet can't be mistaken for one: its fourth byte is the number 1.
///
/// # Errors
/// See [`Error`].
pub fn look(input: &[u8]) -> Result<Beginning, Error> {
    let (text, binary) = (v1::PROTOCOL_PREFIX.as_bytes(), v2::PROTOCOL_PREFIX);
    let len = if starts(input, text) {
        match input.iter().take(LONGEST_TEXT).position(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if input.len() >= LONGEST_TEXT => return Err(Error::TooLong(LONGEST_TEXT)),
            None => return Ok(Beginning::Needs(input.len() + 1)),
        }
    } else if starts(input, binary) {
        let Some([high, low]) = input.get(BINARY_HEAD - 2..BINARY_HEAD) else {
            return Ok(Beginning::Needs(BINARY_HEAD));
        };
        BINARY_HEAD + usize::from(u16::from_be_bytes([*high, *low]))
    } else {
        return Ok(Beginning::NoHeader);
    };
    if len > LONGEST_BINARY {
        return Err(Error::TooLong(LONGEST_BINARY));
    }
    match input.get(..len) {
        Some(header) => source(header).map(|source| Beginning::Header { len, source }),
        None => Ok(Beginning::Needs(len)),
    }
}

/// Whether `input` is the beginning of something that starts with `prefix`.
fn starts(input: &[u8], prefix: &[u8]) -> bool {
    let common = input.len().min(prefix.len());
    input[..common] == prefix[..common]
}

fn source(header: &[u8]) -> Result<Option<SocketAddr>, Error> {
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (Command::Proxy, Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
            (Command::Proxy, Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
            (Command::Proxy | Command::Local, _) => None,
        }),
        HeaderResult::V1(Err(error)) => Err(Error::Malformed(error.to_string())),
        HeaderResult::V2(Err(error)) => Err(Error::Malformed(error.to_string())),
    }
}

/// The header with which a connection to `server` is opened for a client from `source`.
pub fn header(source: Peer, server: &Endpoint) -> Vec<u8> {
    let (command, addresses) = match (source, server) {
        (Peer::Tcp(source), Endpoint::Tcp(server)) => (Command::Proxy, same_family(source, *server).into()),
        // Through the server's socket it is told all the same; that has no address to be named as the other end.
        (Peer::Tcp(source), Endpoint::Unix(_)) => {
            let socket = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            (Command::Proxy, same_family(source, socket).into())
        }
        // The server is to see its own socket, as it would without Tandem.
        (Peer::Local, _) => (Command::Local, Addresses::Unspecified),
    };
    let built = Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses).build();
    // Fails only for more than 64 KiB.
    built.unwrap_or_default()
}

/// The two addresses of a header are of one family; IPv4 can be written as IPv6.
fn same_family(source: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let source = SocketAddr::new(source.ip().to_canonical(), source.port());
    let wide = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => address,
    };
    match source.is_ipv4() == server.is_ipv4() {
        true => (source, server),
        false => (wide(source), wide(server)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CLIENT: &str = "192.0.2.7:40000";

    fn peer(text: &str) -> Peer {
        Peer::Tcp(text.parse().expect("an address"))
    }

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::Tcp(text.parse().expect("an address"))
    }

    fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
        let text = |text: &str| text.as_bytes().to_vec();
        let six = "[2001:db8::7]:40000";
        let source = |text: &str| Some(text.parse().expect("an address"));
        vec![
            (
                text("PROXY TCP4 192.0.2.7 192.0.2.1 40000 3306\r\n"),
                source(CLIENT),
            ),
            (
                text("PROXY TCP6 2001:db8::7 2001:db8::1 40000 3306\r\n"),
                source(six),
            ),
            (text("PROXY UNKNOWN\r\n"), None),
            (text("PROXY UNKNOWN whatever it is\r\n"), None),
            (header(peer(CLIENT), &endpoint("192.0.2.1:3306")), source(CLIENT)),
            (header(peer(six), &endpoint("[2001:db8::1]:3306")), source(six)),
            (
                header(peer(CLIENT), &Endpoint::Unix(Path::new("/run/s").into())),
                source(CLIENT),
            ),
            (header(Peer::Local, &endpoint("192.0.2.1:3306")), None),
            (
                header(Peer::Local, &Endpoint::Unix(Path::new("/run/s").into())),
                None,
            ),
        ]
    }

    #[test]
    fn a_header_is_read_whole_and_never_taken_for_whole_before() {
        for (bytes, source) in headers() {
            for cut in 0..bytes.len() {
                let seen = look(&bytes[..cut]);
                assert!(
                    matches!(seen, Ok(Beginning::Needs(more)) if more > cut),
                    "{cut}: {seen:?}"
                );
            }
            let len = bytes.len();
            let followed = [&bytes[..], b"\x20\0\0\x01rest"].concat();
            assert_eq!(look(&followed), Ok(Beginning::Header { len, source }));
        }
    }

    #[test]
    fn a_mysql_packet_is_no_header() {
        for first in 0..=255 {
            for second in 0..=255 {
                let packet = [first, second, 0, 1, 0x85, 0xa6];
                assert_eq!(look(&packet), Ok(Beginning::NoHeader));
            }
        }
    }

    #[test]
    fn what_is_wrong_or_endless_is_refused() {
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        assert_eq!(look(&endless), Err(Error::TooLong(LONGEST_TEXT)));
        let mut large = header(peer(CLIENT), &endpoint("192.0.2.1:3306"));
        large[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        assert_eq!(look(&large), Err(Error::TooLong(LONGEST_BINARY)));
        for wrong in [
            "PROXY TCP4 no 192.0.2.1 1 2\r\n",
            "PROXY\r\n",
            "PROXYTCP4\r\n",
            "PROXY TCP4 192.0.2.7\n",
        ] {
            assert!(
                matches!(look(wrong.as_bytes()), Err(Error::Malformed(_))),
                "{wrong:?}"
            );
        }
        let mut version = header(peer(CLIENT), &endpoint("192.0.2.1:3306"));
        version[12] = 0x31;
        assert!(matches!(look(&version), Err(Error::Malformed(_))));
    }

    #[test]
    fn both_addresses_are_of_one_family() {
        let mixed = header(peer(CLIENT), &endpoint("[2001:db8::1]:3306"));
        let Ok(Beginning::Header {
            source: Some(source), ..
        }) = look(&mixed)
        else {
            panic!("no header");
        };
        assert_eq!(source.ip().to_canonical(), std::net::IpAddr::from([192, 0, 2, 7]));
        assert_eq!(source.port(), 40000);
    }
}
