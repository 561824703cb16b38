//! Who may log in: what servers store of passwords, proofs, and the table of accounts.

use std::net::{IpAddr, Ipv4Addr};

use tandem::fuzzing::{Accounts, host_matches};
use tandem::net::address::Peer;
use tandem_protocol::auth::{ed25519, native, parsec, sha2_crypt};

use crate::Input;

/// What is stored of a password is read only as a whole, and shows nothing of itself.
///
/// A byte that asks for the slow part too, then the text.
pub(crate) fn stored(data: &[u8]) {
    let mut input = Input(data);
    let tries = input.byte() == b'!';
    let bytes = input.0;
    let (cut, longer) = (
        bytes.split_last().map_or(bytes, |(_, cut)| cut),
        [bytes, b":"].concat(),
    );
    if let Some(stored) = sha2_crypt::Stored::parse(bytes) {
        assert!(
            sha2_crypt::Stored::parse(cut)
                .or(sha2_crypt::Stored::parse(&longer))
                .is_none()
        );
        assert_eq!(format!("{stored:?}"), "Stored { .. }");
        // More rounds take longer, and no other way.
        if tries && bytes.starts_with(b"$A$005") {
            assert!(!stored.verify(b"a password that is not it"));
            assert!(!stored.verify(&[b'x'; 300]));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (cut, longer) = (std::str::from_utf8(cut).unwrap_or("x"), format!("{text}:"));
    if let Some(stored) = parsec::Stored::parse(text) {
        assert!(
            parsec::Stored::parse(cut)
                .or(parsec::Stored::parse(&longer))
                .is_none()
        );
        assert_eq!(format!("{stored:?}"), "Stored { .. }");
        if tries && text.starts_with("P0") {
            assert!(!stored.verify(b"a password that is not it"));
        }
    }
    if let Some(key) = ed25519::parse_stored(text) {
        assert!(
            ed25519::parse_stored(cut)
                .or(ed25519::parse_stored(&longer))
                .is_none()
        );
        assert!(!ed25519::verify(&key, &[7; ed25519::NONCE_LEN], &[7; 64]));
    }
    if let Some(digest) = native::parse_stored(text) {
        assert!(
            native::parse_stored(cut)
                .or(native::parse_stored(&longer))
                .is_none()
        );
        assert!(!native::verify(
            &digest,
            b"0123456789abcdefghij",
            b"a proof of 20 bytes."
        ));
    }
}

/// A right signature is accepted, any other is not, and no server's packet makes PARSEC's key expensive.
///
/// A key as servers store it, a nonce, where to change the signature and by what; then what passes for a packet with
/// PARSEC's salt, for a signature and for a password.
pub(crate) fn signatures(data: &[u8]) {
    let mut input = Input(data);
    let key: [u8; ed25519::KEY_LEN] = input.array();
    let nonce: [u8; ed25519::NONCE_LEN] = input.array();
    let (at, by) = (usize::from(input.byte()), input.byte());
    let rest = input.0;
    assert!(!ed25519::verify(&key, &nonce, rest) || rest.len() == 64);
    let (stored, mut proof) = (ed25519::public_key(rest), ed25519::sign(rest, &nonce));
    assert!(ed25519::verify(&stored, &nonce, &proof));
    let at = at % proof.len();
    proof[at] ^= by;
    assert_eq!(ed25519::verify(&stored, &nonce, &proof), by == 0);
    if let Ok(salt) = parsec::Salt::decode(rest) {
        assert_eq!(rest[0], b'P');
        assert!(rest[1] <= 10, "so many rounds take more than a second");
        if rest[1] == 0 {
            let proof = parsec::sign(b"secret", salt, &nonce, &key).unwrap();
            assert_eq!((proof.len(), &proof[..key.len()]), (96, &key[..]));
        }
    }
}

/// The account that is found is the one whose host says it most exactly, and rows that stay keep theirs.
///
/// Choices, an address, then rows: user, host, plugin and what it stores, each behind its length.
pub(crate) fn accounts(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let address = Ipv4Addr::from(input.array::<4>());
    let (resolves, peer) = match choices & 2 {
        0 => (choices & 1 != 0, Peer::Tcp((address, 7).into())),
        _ => (true, Peer::Local),
    };
    let mut rows: Vec<[&[u8]; 4]> = Vec::new();
    while let (Some(user), Some(host), Some(plugin), Some(stored)) =
        (input.part(), input.part(), input.part(), input.part())
    {
        // The table's key.
        let named = |row: &[&[u8]; 4]| {
            (String::from_utf8_lossy(row[0]), String::from_utf8_lossy(row[1]))
                .eq(&(String::from_utf8_lossy(user), String::from_utf8_lossy(host)))
        };
        if !rows.iter().any(named) {
            rows.push([user, host, plugin, stored]);
        }
    }
    let mut known = Accounts::default();
    known.renew(&rows, resolves);
    for (index, [user, host, ..]) in rows.iter().enumerate() {
        let (user, host) = (String::from_utf8_lossy(user), String::from_utf8_lossy(host));
        let matches = host_matches(&host, peer, resolves);
        if let Some(expected) = expected(&host, peer, resolves) {
            assert_eq!(matches, expected, "{host} for {peer}");
        }
        let found = known.find(user.as_bytes(), peer);
        assert!(!matches || found.is_some(), "{user}@{host} lets it in");
        if let Some((_, found)) = found {
            assert!(
                host_matches(&found, peer, resolves),
                "{found} is not where it comes from"
            );
            assert!(
                !matches || !is_pattern(&found) || is_pattern(&host),
                "{host} says it more exactly"
            );
        }
        assert!(index < known.ids().len());
    }
    let before = known.ids();
    rows.reverse();
    known.renew(&rows, resolves);
    let mut after = known.ids();
    after.reverse();
    assert_eq!(after, before, "nothing has changed");
    if !rows.is_empty() {
        const OTHER: &[u8] = b"something else";
        let before = std::mem::replace(&mut rows[0][3], OTHER);
        let changed = known.ids();
        known.renew(&rows, resolves);
        let now = known.ids();
        assert_eq!(now[1..], changed[1..]);
        assert_eq!(
            now[0] != changed[0],
            before != OTHER,
            "another password is another account"
        );
    }
}

fn is_pattern(host: &str) -> bool {
    host.is_empty() || host.contains(['%', '_', '/'])
}

/// Whether `host` means the peer, found in the slow and simple way; `None` for networks.
fn expected(host: &str, peer: Peer, resolves: bool) -> Option<bool> {
    if host.contains('/') {
        return None;
    }
    let host = host.to_ascii_lowercase();
    let mut names = Vec::new();
    match peer {
        Peer::Local => names.push("localhost".to_owned()),
        Peer::Tcp(address) => {
            names.push(address.ip().to_string());
            if address.ip().is_loopback() && resolves {
                names.push("localhost".to_owned());
            }
            debug_assert!(matches!(address.ip(), IpAddr::V4(_)));
        }
    }
    Some(host.is_empty() || names.iter().any(|name| like(name.as_bytes(), host.as_bytes())))
}

/// LIKE by its definition, for every pair of a text's and a pattern's end.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for of in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match of {
                b'%' => fits[at] || (at > 0 && next[at - 1]),
                b'_' => at > 0 && fits[at - 1],
                byte => at > 0 && fits[at - 1] && text[at - 1] == *byte,
            };
        }
        fits = next;
    }
    fits[text.len()]
}
