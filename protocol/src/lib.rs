//! The MySQL and MariaDB client/server protocol as pure data.
//!
//! Bytes, nonces and limits are arguments: this crate knows no socket, no clock and no dice.
//! Modules are listed in the order in which they may use each other, leftmost first.

pub mod error;

pub mod wire;

pub mod charset;
pub mod flags;
pub mod frame;
pub mod version;

pub mod auth;
pub mod command;
pub mod compression;
pub mod packet;

pub mod handshake;
pub mod response;

pub mod reply;

pub use error::DecodeError;
pub use flags::{Capabilities, Status};
