//! The compressed protocol: what both sides say after the login travels in packets of its own, each of which is
//! a compressed stream for itself (the manual's "Compressed Packet").
//!
//! ```text
//! compressed length (3) | number (1) | plain length (3) | as many bytes as the first length says
//! ```
//!
//! A plain length of 0 says that the bytes are plain. Where the packets of the plain protocol begin has nothing to do
//! with where these do: one may hold many, and one of those may be spread over many of these.
//!
//! The number is one of a count that each command begins anew at 0 and that the reply continues. A server
//! (`sql/net_serv.cc`, in both flavours) looks only at this number and not at those of the plain packets within.

mod commands;
mod pack;
mod unpack;

pub use commands::{Commands, Torn};
pub use pack::Packer;
pub use unpack::{Error, Progress, Stock, Unpacker};

use crate::flags::Capabilities;

pub const HEADER_LEN: usize = 7;
/// The most that one packet may hold, compressed and plain.
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;
/// What is shorter is not worth it (`MIN_COMPRESS_LENGTH`, in both flavours).
pub const MIN_LENGTH: usize = 50;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum Algorithm {
    Zlib,
    /// MySQL's only; MariaDB does not know it.
    Zstd,
}

impl Algorithm {
    /// What the two sides have agreed on. Who sets both flags gets zlib, as with MySQL's own library.
    pub fn agreed(capabilities: Capabilities) -> Option<Self> {
        if capabilities.contains(Capabilities::COMPRESS) {
            Some(Self::Zlib)
        } else if capabilities.contains(Capabilities::ZSTD_COMPRESSION) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    pub fn flag(self) -> Capabilities {
        match self {
            Self::Zlib => Capabilities::COMPRESS,
            Self::Zstd => Capabilities::ZSTD_COMPRESSION,
        }
    }

    /// As the servers write it, in `protocol_compression_algorithms` for instance.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }

    /// What the servers use where nobody says anything else.
    pub fn default_level(self) -> u8 {
        match self {
            Self::Zlib => 6,
            Self::Zstd => 3,
        }
    }

    pub fn max_level(self) -> u8 {
        match self {
            Self::Zlib => 9,
            Self::Zstd => 22,
        }
    }
}

/// How one side compresses what it sends.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Method {
    pub algorithm: Algorithm,
    /// From 1 to [`Algorithm::max_level`].
    pub level: u8,
    /// What is shorter is sent as it is.
    pub threshold: usize,
}

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow.
    pub len: usize,
    pub seq: u8,
    /// Bytes that come out of them; 0 if they are plain.
    pub plain: usize,
}

impl Header {
    /// The header at the start of `bytes`, once all of it is there.
    pub fn peek(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, seq, d, e, f] = *bytes.first_chunk::<HEADER_LEN>()?;
        Some(Self {
            len: u32::from_le_bytes([a, b, c, 0]) as usize,
            seq,
            plain: u32::from_le_bytes([d, e, f, 0]) as usize,
        })
    }

    /// Both lengths must be at most [`MAX_PAYLOAD`]; higher bits are lost.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let [a, b, c, ..] = self.len.to_le_bytes();
        let [d, e, f, ..] = self.plain.to_le_bytes();
        [a, b, c, self.seq, d, e, f]
    }
}

#[cfg(test)]
mod tests;
