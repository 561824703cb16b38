//! MariaDB's `ed25519`, which clients call `client_ed25519`: a signature over a nonce.
//!
//! The key is not ed25519's own: where that hashes a random seed with SHA-512, this hashes the password, and servers
//! store the public key that comes out. Everything behind that is plain ed25519.

use base64ct::{Base64Unpadded, Encoding};
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha512};

pub const PLUGIN: &str = "client_ed25519";
pub const NONCE_LEN: usize = 32;
pub const KEY_LEN: usize = 32;
const SIGNATURE_LEN: usize = 64;

/// What a server stores of a password.
pub fn public_key(password: &[u8]) -> [u8; KEY_LEN] {
    VerifyingKey::from(&secret_key(password)).to_bytes()
}

/// Reads what a server stores, in its own notation.
pub fn parse_stored(text: &str) -> Option<[u8; KEY_LEN]> {
    let mut key = [0; KEY_LEN];
    let decoded = Base64Unpadded::decode(text, &mut key).ok()?;
    (decoded.len() == KEY_LEN).then_some(key)
}

/// The proof for the server.
pub fn sign(password: &[u8], nonce: &[u8; NONCE_LEN]) -> [u8; SIGNATURE_LEN] {
    let secret = secret_key(password);
    raw_sign::<Sha512>(&secret, nonce, &VerifyingKey::from(&secret)).to_bytes()
}

/// Whether `proof` shows the password behind `stored`.
pub fn verify(stored: &[u8; KEY_LEN], nonce: &[u8], proof: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(stored), Signature::from_slice(proof)) else {
        return false;
    };
    key.verify_strict(nonce, &signature).is_ok()
}

fn secret_key(password: &[u8]) -> ExpandedSecretKey {
    ExpandedSecretKey::from_bytes(&Sha512::digest(password).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = *b"0123456789abcdefghij0123456789ab";
    /// SELECT ed25519_password('secret') on MariaDB.
    const STORED: &str = "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY";

    #[test]
    fn the_stored_form_is_the_servers() {
        assert_eq!(parse_stored(STORED), Some(public_key(b"secret")));
        for cut in 0..STORED.len() {
            assert_eq!(parse_stored(&STORED[..cut]), None);
        }
        assert_eq!(parse_stored(&format!("{STORED}=")), None);
    }

    #[test]
    fn a_right_proof_is_accepted_and_a_wrong_one_is_not() {
        let stored = public_key(b"secret");
        let proof = sign(b"secret", &NONCE);
        assert!(verify(&stored, &NONCE, &proof));
        assert!(!verify(&stored, &NONCE[1..], &proof));
        assert!(!verify(&stored, &NONCE, &sign(b"wrong", &NONCE)));
        assert!(!verify(&[0xff; KEY_LEN], &NONCE, &proof), "no key at all");
        for bit in 0..proof.len() * 8 {
            let mut wrong = proof;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&stored, &NONCE, &wrong), "{bit}");
        }
        for cut in 0..proof.len() {
            assert!(!verify(&stored, &NONCE, &proof[..cut]));
        }
    }
}
