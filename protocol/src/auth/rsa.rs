//! RSA as `caching_sha2_password` uses it: OAEP with SHA-1, keys as PEM.
//!
//! The library is the one that does TLS, whose decryption takes the same time whatever the text is.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use base64ct::{Base64, Encoding};

/// A key pair with which clients encrypt their password.
pub struct KeyPair {
    private: OaepPrivateDecryptingKey,
    public_pem: String,
    pkcs8: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not a PEM file with a {0}")]
    Pem(&'static str),
    #[error("not an RSA key that can be used here: {0}")]
    Key(String),
    #[error("could not be encrypted or decrypted")]
    Crypt,
}

impl KeyPair {
    /// A new pair of 2048 bits, as the servers make theirs. Takes a tenth of a second or more.
    pub fn generate() -> Result<Self, Error> {
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| Error::Crypt)?;
        Self::new(private)
    }

    /// Reads a private key in PKCS#8 ("BEGIN PRIVATE KEY").
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let der = read_pem(text, PRIVATE)?;
        let private = PrivateDecryptingKey::from_pkcs8(&der);
        Self::new(private.map_err(|error| Error::Key(error.to_string()))?)
    }

    fn new(private: PrivateDecryptingKey) -> Result<Self, Error> {
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&private).map_err(|_| Error::Crypt)?;
        let public =
            AsDer::<PublicKeyX509Der<'_>>::as_der(&private.public_key()).map_err(|_| Error::Crypt)?;
        Ok(Self {
            public_pem: write_pem(public.as_ref(), PUBLIC),
            pkcs8: pkcs8.as_ref().to_vec(),
            private: OaepPrivateDecryptingKey::new(private).map_err(|_| Error::Crypt)?,
        })
    }

    /// What clients get.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The whole pair, to be kept in a file that nobody else can read.
    pub fn private_pem(&self) -> String {
        write_pem(&self.pkcs8, PRIVATE)
    }

    pub fn decrypt(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        if bytes.len() > self.private.key_size_bytes() {
            return Err(Error::Crypt);
        }
        let mut out = vec![0; self.private.min_output_size()];
        let plain = self.private.decrypt(&OAEP_SHA1_MGF1SHA1, bytes, &mut out, None);
        let len = plain.map_err(|_| Error::Crypt)?.len();
        out.truncate(len);
        Ok(out)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair")
    }
}

/// Encrypts for the owner of the public key in `pem`.
pub fn encrypt(pem: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
    let der = read_pem(pem, PUBLIC)?;
    let key = PublicEncryptingKey::from_der(&der).map_err(|error| Error::Key(error.to_string()))?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| Error::Crypt)?;
    let mut out = vec![0; key.ciphertext_size()];
    let encrypted = key.encrypt(&OAEP_SHA1_MGF1SHA1, plain, &mut out, None);
    let len = encrypted.map_err(|_| Error::Crypt)?.len();
    out.truncate(len);
    Ok(out)
}

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// Characters a line, as RFC 7468 says.
const PEM_LINE: usize = 64;

fn read_pem(text: &str, label: &'static str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::Pem(label);
    let (_, rest) = text
        .split_once(&format!("-----BEGIN {label}-----"))
        .ok_or_else(wrong)?;
    let (body, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or_else(wrong)?;
    let body: String = body.split_ascii_whitespace().collect();
    Base64::decode_vec(&body).map_err(|_| wrong())
}

fn write_pem(der: &[u8], label: &str) -> String {
    let body = Base64::encode_string(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(PEM_LINE) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_encrypts_the_other_reads() {
        let pair = KeyPair::generate().unwrap();
        let encrypted = encrypt(pair.public_pem(), b"secret\0").unwrap();
        assert_eq!(encrypted.len(), 256);
        assert_eq!(pair.decrypt(&encrypted), Ok(b"secret\0".to_vec()));
        let again = KeyPair::from_pem(&pair.private_pem()).unwrap();
        assert_eq!(again.public_pem(), pair.public_pem());
        assert_eq!(again.decrypt(&encrypted), Ok(b"secret\0".to_vec()));
    }

    #[test]
    fn garbage_is_an_error() {
        let pair = KeyPair::generate().unwrap();
        for len in [0, 1, 255, 256, 257, 4096] {
            assert_eq!(pair.decrypt(&vec![0x5a; len]), Err(Error::Crypt), "{len}");
        }
        for pem in [
            "",
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
        ] {
            assert_eq!(encrypt(pem, b"x"), Err(Error::Pem("PUBLIC KEY")));
        }
        let wrong = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
        assert!(matches!(encrypt(wrong, b"x"), Err(Error::Key(_))));
    }
}
