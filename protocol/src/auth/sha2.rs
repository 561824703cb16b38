//! `caching_sha2_password`: a proof by SHA-256 over a nonce, or, when the server has not cached what the proof
//! is checked against, the password itself, through TLS or encrypted with the server's RSA key.
//!
//! ```text
//! client                                     server
//!   proof (32 bytes) ----------------------->
//!                    <----------------------- 01 03, then OK    the proof was checked ("fast")
//!                    <----------------------- 01 04             the password is wanted ("full")
//!   password NUL ---------------------------> through TLS or a Unix socket
//!   02 ------------------------------------->
//!                    <----------------------- 01 PEM of the RSA key
//!   RSA(password NUL xor nonce) ------------>
//! ```
//!
//! Source: the manual's "Caching SHA-2 Pluggable Authentication" and the plugin's page in the source documentation.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::native::NONCE_LEN;

pub const PLUGIN: &str = "caching_sha2_password";
/// First byte of a packet in the middle of an authentication ("AuthMoreData").
pub const MORE_DATA: u8 = 1;
/// Behind [`MORE_DATA`]: the proof was right, an OK follows.
pub const FAST_OK: u8 = 3;
/// Behind [`MORE_DATA`]: send the password.
pub const WANT_PASSWORD: u8 = 4;
/// The client's whole packet: send the RSA key.
pub const WANT_KEY: u8 = 2;

/// Of a password; servers refuse longer ones.
pub const LONGEST_PASSWORD: usize = 256;

const DIGEST_LEN: usize = 32;

/// The proof for the server. An empty password is proved by an empty proof.
pub fn scramble(password: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let secret = digest(&[password]);
    let mask = digest(&[&digest(&[&secret]), nonce]);
    xor(&secret, &mask).to_vec()
}

/// What a proof is checked against; servers keep it in memory only.
pub fn double_sha256(password: &[u8]) -> [u8; DIGEST_LEN] {
    digest(&[&digest(&[password])])
}

/// Whether `proof` shows the password behind `stored`. The time taken doesn't depend on how much of it is right.
pub fn verify(stored: &[u8; DIGEST_LEN], nonce: &[u8; NONCE_LEN], proof: &[u8]) -> bool {
    let claimed = match <&[u8; DIGEST_LEN]>::try_from(proof) {
        Ok(proof) => digest(&[&xor(proof, &digest(&[stored, nonce]))]),
        Err(_) if proof.is_empty() => double_sha256(b""),
        Err(_) => return false,
    };
    claimed.ct_eq(stored).into()
}

/// The password as it is encrypted by RSA: with its NUL, and masked by the nonce so that no two are equal.
/// Undoes itself.
pub fn mask(password: &[u8], nonce: &[u8]) -> Vec<u8> {
    let nonce = nonce.iter().cycle();
    password
        .iter()
        .zip(nonce)
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}

fn digest(parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    sha.finalize().into()
}

fn xor(a: &[u8; DIGEST_LEN], b: &[u8; DIGEST_LEN]) -> [u8; DIGEST_LEN] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 20] = *b"0123456789abcdefghij";

    #[test]
    fn a_right_proof_is_accepted_and_a_wrong_one_is_not() {
        let stored = double_sha256(b"secret");
        let proof = scramble(b"secret", &NONCE);
        assert!(verify(&stored, &NONCE, &proof));
        assert!(!verify(&stored, b"0123456789abcdefghiX", &proof));
        assert!(!verify(&double_sha256(b"other"), &NONCE, &proof));
        for bit in 0..proof.len() * 8 {
            let mut wrong = proof.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&stored, &NONCE, &wrong));
        }
        for cut in 0..proof.len() {
            assert!(!verify(&stored, &NONCE, &proof[..cut]));
        }
    }

    #[test]
    fn an_empty_password_has_an_empty_proof() {
        assert_eq!(scramble(b"", &NONCE), b"");
        assert!(verify(&double_sha256(b""), &NONCE, b""));
        assert!(!verify(&double_sha256(b"secret"), &NONCE, b""));
    }

    #[test]
    fn the_mask_undoes_itself_and_repeats_for_long_passwords() {
        let password = b"a password that is longer than twenty bytes\0";
        let masked = mask(password, &NONCE);
        assert_ne!(masked, password);
        assert_eq!(mask(&masked, &NONCE), password);
    }
}
