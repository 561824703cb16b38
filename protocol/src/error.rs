//! What can be wrong with bytes that claim to be a packet.

/// A packet that does not follow the protocol. The peer that sent it is to blame; the stream
/// it came from can't be trusted any more.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum DecodeError {
    #[error("packet ends before {field}")]
    Truncated { field: &'static str },

    #[error("{count} bytes left over after {packet}")]
    Trailing { packet: &'static str, count: usize },

    #[error("{field} has the impossible value {value}")]
    Invalid { field: &'static str, value: u64 },

    #[error("expected {expected}, got a packet with header 0x{header:02x}")]
    Unexpected { expected: &'static str, header: u8 },

    /// The numbers of the packets in one exchange count up by one. A gap means that bytes were
    /// lost or that the two sides disagree about whose turn it is.
    #[error("packet number {got} where {expected} was due")]
    Sequence { expected: u8, got: u8 },

    #[error("packet is larger than the limit of {limit} bytes")]
    TooLarge { limit: usize },

    /// Clients and servers before MySQL 4.1 speak another protocol with weaker passwords.
    #[error("the peer does not speak the protocol of MySQL 4.1 and later")]
    TooOld,

    /// The walker was asked to go on after the end of its reply.
    #[error("the reply had already ended")]
    Finished,
}
