//! The proof of a server that it knows the password too, bound to its certificate: MariaDB's from 11.4 on, which ends a
//! login. By it clients accept a certificate that nobody has signed.
//!
//! Measured on 11.8: it is the text of the OK, `01` and 64 hexadecimal digits in capitals, of SHA-256 over what the server
//! stores of the password (`mysql_native_password` and `ed25519`, without their notation), the nonce, and SHA-256 of the
//! certificate (DER). The nonce is the greeting's, or that of a switch to `mysql_native_password`; `ed25519` has one of its
//! own, which does not count. It comes without TLS too, if the server could speak it; never with an empty password, nor
//! after `COM_CHANGE_USER`.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::native::NONCE_LEN;

/// SHA-256 of a certificate.
pub type Fingerprint = [u8; 32];

const BY_SHA256: char = '\x01';

pub fn fingerprint(certificate: &[u8]) -> Fingerprint {
    Sha256::digest(certificate).into()
}

/// The text of the OK for one who has proved the password behind `stored`.
pub fn vouch(stored: &[u8], nonce: &[u8; NONCE_LEN], certificate: &Fingerprint) -> String {
    let mut sha = Sha256::new();
    for part in [stored, nonce, certificate] {
        sha.update(part);
    }
    let mut text = String::from(BY_SHA256);
    for byte in sha.finalize() {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::native;

    #[test]
    fn the_servers_text_is_made() {
        // MariaDB 11.8 said so to somebody with the password app-secret.
        let certificate = [
            0x2e, 0x86, 0x15, 0x83, 0x07, 0xeb, 0x72, 0x60, 0xf4, 0xcb, 0xce, 0x5d, 0xc0, 0x12, 0x76, 0x5c,
            0x28, 0x62, 0x15, 0xb2, 0xc9, 0x04, 0xaa, 0xf2, 0x45, 0x4a, 0xc0, 0xc8, 0x46, 0x4d, 0xa7, 0xca,
        ];
        let stored = native::double_sha1(b"app-secret");
        assert_eq!(
            vouch(&stored, b"F<=Z0{Ao-2Pz:N[]Dz\\;", &certificate),
            "\x015F287A09302C64AB2A0BEDE15CC772667C3B8DA1DD6AF307018324A068EB70F5"
        );
    }
}
