//! MariaDB's PARSEC, the client's side: an ed25519 signature, with a key made slowly of password and salt.
//!
//! ```text
//! client                       server
//!        <-------------------- auth switch, nonce (32 bytes)
//!   nothing ----------------->
//!        <-------------------- 'P', factor, salt
//!   own nonce, signature ----> over both nonces
//! ```
//!
//! The key's seed is PBKDF2 with HMAC-SHA512 and 1024 << factor rounds. Source: the plugin's page in MariaDB's manual.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64ct::{Base64Unpadded, Encoding};
use subtle::ConstantTimeEq;

use crate::error::DecodeError;
use crate::wire::Reader;

pub const PLUGIN: &str = "parsec";
pub const NONCE_LEN: usize = 32;

const KDF: u8 = b'P';
const LEAST_ROUNDS: u32 = 1024;
/// 2^20 rounds take a second or so; a server that asks for more has something else in mind.
const LARGEST_FACTOR: u8 = 10;
const SEED_LEN: usize = 32;

/// How the server wants the key to be made.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Salt<'a> {
    rounds: NonZeroU32,
    salt: &'a [u8],
}

impl<'a> Salt<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let kdf = reader.u8("key derivation")?;
        if kdf != KDF {
            return Err(DecodeError::Unexpected {
                expected: "PARSEC's salt",
                header: kdf,
            });
        }
        let factor = reader.u8("factor of rounds")?;
        let rounds = match factor {
            0..=LARGEST_FACTOR => NonZeroU32::new(LEAST_ROUNDS << factor),
            _ => None,
        };
        Ok(Self {
            rounds: rounds.ok_or(DecodeError::Unexpected {
                expected: "a factor of at most 10 for PARSEC's rounds",
                header: factor,
            })?,
            salt: reader.rest(),
        })
    }
}

/// A proof that is still to be made, which takes up to a second.
#[derive(Clone, PartialEq, Eq)]
pub struct Task {
    password: Vec<u8>,
    rounds: NonZeroU32,
    salt: Vec<u8>,
    nonce: [u8; NONCE_LEN],
    own: [u8; NONCE_LEN],
}

/// Without the password, which must not get into logs.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("rounds", &self.rounds)
            .finish_non_exhaustive()
    }
}

impl Task {
    /// `own` must never be used again.
    pub fn new(password: &[u8], salt: Salt<'_>, nonce: [u8; NONCE_LEN], own: [u8; NONCE_LEN]) -> Self {
        Self {
            password: password.to_vec(),
            rounds: salt.rounds,
            salt: salt.salt.to_vec(),
            nonce,
            own,
        }
    }

    pub fn run(&self) -> Option<Vec<u8>> {
        let salt = Salt {
            rounds: self.rounds,
            salt: &self.salt,
        };
        sign(&self.password, salt, &self.nonce, &self.own)
    }
}

/// The proof for the server. `own` must never be used again.
pub fn sign(
    password: &[u8],
    salt: Salt<'_>,
    nonce: &[u8; NONCE_LEN],
    own: &[u8; NONCE_LEN],
) -> Option<Vec<u8>> {
    let signature = key(password, salt)?.sign(&[&nonce[..], own].concat());
    Some([own, signature.as_ref()].concat())
}

fn key(password: &[u8], salt: Salt<'_>) -> Option<Ed25519KeyPair> {
    let mut seed = [0; SEED_LEN];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        salt.rounds,
        salt.salt,
        password,
        &mut seed,
    );
    Ed25519KeyPair::from_seed_unchecked(&seed).ok()
}

/// What a server stores of a password, in its own notation: `P0:salt:public key`.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    public: Vec<u8>,
}

/// Not for logs: weak passwords can be found by it.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

impl Stored {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (kdf, salt, public) = (parts.next()?, parts.next()?, parts.next()?);
        let factor = match kdf.strip_prefix('P')?.as_bytes() {
            [digit @ b'0'..=b'9'] => digit - b'0',
            _ => return None,
        };
        let public = Base64Unpadded::decode_vec(public).ok()?;
        (parts.next().is_none() && public.len() == SEED_LEN).then_some(Self {
            rounds: NonZeroU32::new(LEAST_ROUNDS << factor)?,
            salt: Base64Unpadded::decode_vec(salt).ok()?,
            public,
        })
    }

    /// Whether this is the password. Takes a moment, by intent.
    pub fn verify(&self, password: &[u8]) -> bool {
        let salt = Salt {
            rounds: self.rounds,
            salt: &self.salt,
        };
        key(password, salt).is_some_and(|key| key.public_key().as_ref().ct_eq(&self.public).into())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_proof_is_checked_by_what_the_server_stores() {
        // A row of MariaDB 11.8: IDENTIFIED VIA parsec USING PASSWORD('secret').
        let (salt, public) = (
            "ghkQxikv8Kr8yUQvH/8fnVai",
            "caYHjlrYmzMHMQiKB5xXULTlv/4Wcb8ArG750AaXOps",
        );
        let salt = Base64Unpadded::decode_vec(salt).unwrap();
        let public = Base64Unpadded::decode_vec(public).unwrap();
        let packet = [&b"P\0"[..], &salt].concat();
        let (nonce, own) = ([1; NONCE_LEN], [2; NONCE_LEN]);
        let salt = Salt::decode(&packet).unwrap();
        let proof = sign(b"secret", salt, &nonce, &own).unwrap();
        let (sent, signature) = proof.split_at(NONCE_LEN);
        assert_eq!(sent, own);
        let public = UnparsedPublicKey::new(&ED25519, &public);
        public.verify(&[nonce, own].concat(), signature).unwrap();
        let wrong = sign(b"wrong", salt, &nonce, &own).unwrap();
        assert!(
            public
                .verify(&[nonce, own].concat(), &wrong[NONCE_LEN..])
                .is_err()
        );
    }

    #[test]
    fn the_stored_form_knows_the_password() {
        let row = "P0:ghkQxikv8Kr8yUQvH/8fnVai:caYHjlrYmzMHMQiKB5xXULTlv/4Wcb8ArG750AaXOps";
        let stored = Stored::parse(row).unwrap();
        assert!(stored.verify(b"secret") && !stored.verify(b"wrong") && !stored.verify(b""));
        for cut in 0..row.len() {
            assert_eq!(Stored::parse(&row[..cut]), None, "{cut}");
        }
        for wrong in [
            &row.replace("P0", "Q0"),
            &row.replace("P0", "Pz"),
            &format!("{row}:x"),
        ] {
            assert_eq!(Stored::parse(wrong), None);
        }
    }

    #[test]
    fn other_ways_to_make_a_key_are_refused() {
        for packet in [&b""[..], b"P", b"Q\0salt", b"P\x0bsalt", b"P\xffsalt"] {
            assert!(Salt::decode(packet).is_err(), "{packet:?}");
        }
        assert_eq!(Salt::decode(b"P\x03").unwrap().rounds.get(), 8192);
    }
}
