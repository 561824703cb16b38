//! `sha256_password`: the password itself, through TLS or encrypted with the server's RSA key. MySQL 9.7 still has it, and
//! asks those whom it does not know by it, too.
//!
//! ```text
//! client                                     server
//!                    <----------------------- auth switch, nonce
//!   password NUL ---------------------------> through TLS
//!   01 ------------------------------------->
//!                    <----------------------- 01 PEM of the RSA key
//!   RSA(password NUL xor nonce) ------------>
//! ```

pub const PLUGIN: &str = "sha256_password";
/// The client's whole packet: send the RSA key. Another number than with `caching_sha2_password`.
pub const WANT_KEY: u8 = 1;
