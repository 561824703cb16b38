//! `mysql_native_password`: a proof by SHA-1 over a nonce.
//!
//! The server stores `SHA1(SHA1(password))`; the client sends
//! `SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))`, which shows that it knows
//! `SHA1(password)` (the manual's "Native Authentication").

use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

pub const PLUGIN: &str = "mysql_native_password";
pub const NONCE_LEN: usize = 20;
const DIGEST_LEN: usize = 20;

/// The proof for the server. An empty password is proved by an empty proof.
pub fn scramble(password: &[u8], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    scramble_secret(&digest(&[password]), nonce)
}

/// The proof by `SHA1(password)`, without the password.
pub fn scramble_secret(secret: &[u8; DIGEST_LEN], nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    let mask = digest(&[nonce, &digest(&[secret])]);
    xor(secret, &mask).to_vec()
}

/// `SHA1(password)` out of a proof that [`verify`] has found right: enough to log in elsewhere.
pub fn secret(
    stored: &[u8; DIGEST_LEN],
    nonce: &[u8; NONCE_LEN],
    proof: &[u8; DIGEST_LEN],
) -> [u8; DIGEST_LEN] {
    xor(proof, &digest(&[nonce, stored]))
}

/// What a server stores of a password.
pub fn double_sha1(password: &[u8]) -> [u8; DIGEST_LEN] {
    digest(&[&digest(&[password])])
}

/// Whether `proof` shows the password behind `stored`. The time taken doesn't depend on how much
/// of it is right.
pub fn verify(stored: &[u8; DIGEST_LEN], nonce: &[u8; NONCE_LEN], proof: &[u8]) -> bool {
    let claimed = match <&[u8; DIGEST_LEN]>::try_from(proof) {
        Ok(proof) => {
            let mask = digest(&[nonce, stored]);
            digest(&[&xor(proof, &mask)])
        }
        Err(_) if proof.is_empty() => double_sha1(b""),
        Err(_) => return false,
    };
    claimed.ct_eq(stored).into()
}

fn digest(parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut sha1 = Sha1::new();
    for part in parts {
        sha1.update(part);
    }
    sha1.finalize().into()
}

fn xor(a: &[u8; DIGEST_LEN], b: &[u8; DIGEST_LEN]) -> [u8; DIGEST_LEN] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 20] = *b"0123456789abcdefghij";

    #[test]
    fn stored_form_is_what_password_says() {
        // SELECT PASSWORD('secret') on MariaDB 10.11, without the asterisk.
        let hex: String = double_sha1(b"secret")
            .iter()
            .map(|b| format!("{b:02X}"))
            .collect();
        assert_eq!(hex, "14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
    }

    #[test]
    fn a_right_proof_is_accepted_and_a_wrong_one_is_not() {
        let stored = double_sha1(b"secret");
        let proof = scramble(b"secret", &NONCE);
        assert!(verify(&stored, &NONCE, &proof));
        assert!(!verify(&stored, b"0123456789abcdefghiX", &proof));
        assert!(!verify(&double_sha1(b"other"), &NONCE, &proof));
        for bit in 0..proof.len() * 8 {
            let mut wrong = proof.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&stored, &NONCE, &wrong));
        }
    }

    #[test]
    fn proofs_of_another_length_are_refused() {
        let stored = double_sha1(b"secret");
        let proof = scramble(b"secret", &NONCE);
        for cut in 0..proof.len() {
            assert!(!verify(&stored, &NONCE, &proof[..cut]));
        }
        assert!(!verify(&stored, &NONCE, &[proof, vec![0]].concat()));
    }

    #[test]
    fn an_empty_password_has_an_empty_proof() {
        assert_eq!(scramble(b"", &NONCE), b"");
        assert!(verify(&double_sha1(b""), &NONCE, b""));
        assert!(!verify(&double_sha1(b"secret"), &NONCE, b""));
    }
}
