//! How passwords are proved, one file a plugin.

pub mod native;
pub mod rsa;
pub mod sha2;

/// The password itself, for connections that nobody can read. The client's answer ends with a NUL.
pub const CLEAR_PLUGIN: &str = "mysql_clear_password";
