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

/// Reads what a server stores, in its own notation: `*` and the digest in hexadecimal digits.
pub fn parse_stored(text: &str) -> Option<[u8; DIGEST_LEN]> {
    let hex = text.strip_prefix('*')?;
    // Asked of the whole text: `from_str_radix` would take a sign for part of a number.
    if hex.len() != 2 * DIGEST_LEN || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut stored = [0; DIGEST_LEN];
    for (byte, digits) in stored.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(stored)
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
        // SELECT PASSWORD('secret') on MariaDB 10.11.
        let stored = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
        assert_eq!(parse_stored(stored), Some(double_sha1(b"secret")));
        assert_eq!(parse_stored(&stored.to_lowercase()), Some(double_sha1(b"secret")));
        for wrong in [
            "",
            "*",
            &stored[1..],
            &stored[..40],
            "*+4E65567ABDB5135D0CFD9A70B3032C179A49EE7",
        ] {
            assert_eq!(parse_stored(wrong), None, "{wrong}");
        }
        for cut in 0..stored.len() {
            assert_eq!(parse_stored(&stored[..cut]), None);
        }
    }

    #[test]
    fn a_proof_gives_away_the_secret_that_logs_in_elsewhere() {
        let proof = scramble(b"secret", &NONCE);
        let proof = <&[u8; 20]>::try_from(&proof[..]).unwrap();
        let secret = secret(&double_sha1(b"secret"), &NONCE, proof);
        let other = *b"another nonce of 20.";
        assert_eq!(scramble_secret(&secret, &other), scramble(b"secret", &other));
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
