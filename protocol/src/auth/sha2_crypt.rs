//! What MySQL stores of a `caching_sha2_password` or `sha256_password`: SHA-256 in many rounds over password and salt.
//!
//! ```text
//! $A$005$ salt (20 bytes) digest (43 characters)
//!    005: thousands of rounds, hexadecimal; MySQL 9.7 makes 00A
//! $5$ salt (20 bytes) $ digest (43 characters)
//!    of sha256_password, always 5000 rounds
//! ```
//!
//! The algorithm is Drepper's "Unix crypt using SHA-256", of which MySQL changed that salts have 20 characters (the
//! original takes 16), so that no library's implementation of it fits. A salt may hold any 7-bit character but NUL
//! and `$`.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::sha2::LONGEST_PASSWORD;

const PREFIX: &[u8] = b"$A$";
const SHA256_PREFIX: &[u8] = b"$5$";
const COST_LEN: usize = 3;
const SALT_LEN: usize = 20;
const DIGEST_LEN: usize = 32;
const TEXT_LEN: usize = 43;
/// MySQL's `caching_sha2_password_digest_rounds` begins here.
const LEAST_THOUSANDS: u32 = 5;

/// A stored password, checked for its form.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    rounds: u32,
    salt: [u8; SALT_LEN],
    text: [u8; TEXT_LEN],
}

/// Not for logs: weak passwords can be found by it.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

impl Stored {
    /// Reads `mysql.user.authentication_string`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(PREFIX)?;
        let (cost, rest) = rest.split_at_checked(COST_LEN)?;
        let rest = rest.strip_prefix(b"$")?;
        let (salt, text) = rest.split_at_checked(SALT_LEN)?;
        if !cost.iter().all(u8::is_ascii_hexdigit) || !text.iter().all(|byte| ALPHABET.contains(byte)) {
            return None;
        }
        let thousands = u32::from_str_radix(std::str::from_utf8(cost).ok()?, 16).ok()?;
        (thousands >= LEAST_THOUSANDS).then_some(Self {
            rounds: thousands * 1000,
            salt: salt.try_into().ok()?,
            text: text.try_into().ok()?,
        })
    }

    /// The same of an account with `sha256_password`.
    pub fn parse_sha256(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(SHA256_PREFIX)?;
        let (salt, text) = rest.split_at_checked(SALT_LEN)?;
        let text = text.strip_prefix(b"$")?;
        let is_text = text.iter().all(|byte| ALPHABET.contains(byte));
        is_text.then_some(Self {
            rounds: LEAST_THOUSANDS * 1000,
            salt: salt.try_into().ok()?,
            text: text.try_into().ok()?,
        })
    }

    /// Whether this is the password. Takes milliseconds, by intent.
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > LONGEST_PASSWORD {
            return false;
        }
        encode(&crypt(password, &self.salt, self.rounds))
            .ct_eq(&self.text)
            .into()
    }
}

fn crypt(password: &[u8], salt: &[u8], rounds: u32) -> [u8; DIGEST_LEN] {
    let both = digest([password, salt, password]);
    let mut sha = Sha256::new();
    sha.update(password);
    sha.update(salt);
    sha.update(stretched(&both, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        sha.update(if bits & 1 == 1 { &both[..] } else { password });
        bits >>= 1;
    }
    let mut state: [u8; DIGEST_LEN] = sha.finalize().into();
    let passwords = digest(std::iter::repeat_n(password, password.len()));
    let passwords = stretched(&passwords, password.len());
    let salts = digest(std::iter::repeat_n(salt, 16 + usize::from(state[0])));
    let salts = stretched(&salts, salt.len());
    for round in 0..rounds {
        let odd = round & 1 == 1;
        let mut sha = Sha256::new();
        sha.update(if odd { &passwords[..] } else { &state });
        if round % 3 != 0 {
            sha.update(&salts);
        }
        if round % 7 != 0 {
            sha.update(&passwords);
        }
        sha.update(if odd { &state[..] } else { &passwords });
        state = sha.finalize().into();
    }
    state
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; DIGEST_LEN] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

/// The digest again and again, up to `len` bytes.
fn stretched(digest: &[u8; DIGEST_LEN], len: usize) -> Vec<u8> {
    digest.iter().copied().cycle().take(len).collect()
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Crypt's base 64: three bytes each, ten places apart and turning, the lowest six bits first.
fn encode(digest: &[u8; DIGEST_LEN]) -> [u8; TEXT_LEN] {
    let mut text = [0; TEXT_LEN];
    let (whole, last) = text.split_at_mut(TEXT_LEN - 3);
    let mut places = [0, 10, 20];
    for four in whole.chunks_mut(4) {
        put(four, places.map(|place| digest[place]));
        places = [places[2] + 1, places[0] + 1, places[1] + 1];
    }
    put(last, [0, digest[31], digest[30]]);
    text
}

fn put(out: &mut [u8], [high, middle, low]: [u8; 3]) {
    let mut bits = u32::from_be_bytes([0, high, middle, low]);
    for char in out {
        *char = ALPHABET[(bits & 63) as usize];
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of MySQL 9.7: CREATE USER … IDENTIFIED BY 'secret', its row in mysql.user in hexadecimal.
    const CAPTURED: &str = "2441243030412452312B717E414C68114C461778044064413D4E5C726D2F6B6E45707650317548707A6E426A475363446C5142786379622E385166305264685642516F723342";

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn the_servers_own_rows_are_understood() {
        let stored = Stored::parse(&bytes(CAPTURED)).unwrap();
        assert!(stored.verify(b"secret"));
        for wrong in [
            &b"Secret"[..],
            b"secret ",
            b"secre",
            b"",
            &[b'x'; 256],
            &[b'x'; 257],
        ] {
            assert!(!stored.verify(wrong));
        }
        // The same by the older default of rounds, from MySQL's own unit tests.
        let older = b"$A$005$AbCd!@#\tEfgH%^&*01@#dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6";
        assert!(Stored::parse(older).unwrap().verify(b"HahaH0hO1234#$@#%"));
    }

    #[test]
    fn what_is_not_of_this_form_is_no_hash() {
        let row = bytes(CAPTURED);
        for cut in 0..row.len() {
            assert_eq!(Stored::parse(&row[..cut]), None, "{cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut row = row.clone();
            row[at] = byte;
            Stored::parse(&row)
        };
        assert_eq!(Stored::parse(&[&row[..], b"x"].concat()), None);
        assert_eq!(with(1, b'B'), None, "another algorithm");
        assert_eq!(
            with(5, b'0').or(with(4, b'+')).or(with(6, b'!')),
            None,
            "no rounds"
        );
        assert_eq!(with(row.len() - 1, b'!'), None, "no character of a digest");
        let weak = [&row[..3], b"004", &row[6..]].concat();
        assert_eq!(Stored::parse(&weak), None, "fewer rounds than any server makes");
    }

    /// Made by MySQL 9.7.4: `CREATE USER … IDENTIFIED WITH sha256_password BY 'x'`.
    #[test]
    fn what_is_stored_of_a_sha256_password_is_read() {
        let row = bytes(
            "243524150F570173045510352E532516496F5D010B1D0224777448704A4E3670525746492E52386E3669754F6D4C4150673245413264\
             724C495A534776306364757339",
        );
        let stored = Stored::parse_sha256(&row).unwrap();
        assert!(stored.verify(b"x") && !stored.verify(b"y") && !stored.verify(b""));
        for cut in 0..row.len() {
            assert_eq!(Stored::parse_sha256(&row[..cut]), None, "{cut}");
        }
        assert_eq!(Stored::parse(&row), None);
    }
}
