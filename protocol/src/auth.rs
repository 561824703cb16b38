//! How passwords are proved, one file a plugin, and how servers store them.

use subtle::ConstantTimeEq;

pub mod ed25519;
pub mod native;
pub mod parsec;
pub mod rsa;
pub mod sha2;
pub mod sha256;
pub mod sha2_crypt;
pub mod vouch;

/// The password itself, for connections that nobody can read. The client's answer ends with a NUL.
pub const CLEAR_PLUGIN: &str = "mysql_clear_password";

/// Whether two digests are the same, in a time that doesn't depend on how much of them is.
pub fn equal<const LEN: usize>(a: &[u8; LEN], b: &[u8; LEN]) -> bool {
    a.ct_eq(b).into()
}
