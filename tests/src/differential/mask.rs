//! What of a reply can't be equal, whoever sent it. Everything else is compared byte for byte.
//!
//! 1. The id in the answer to `COM_STMT_PREPARE`: clients have to take whatever number comes.
//! 2. The rows of a reply that tells a connection's number, and their count of bytes: [`Mask::Rows`].

use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::packet::prepare_ok::PrepareOk;

use super::step::{Action, Mask, Step};

/// `reply` without what may differ.
pub fn mask(step: &Step, reply: &mut Vec<u8>) {
    if matches!(step.action, Action::Prepare { .. }) && reply.get(HEADER_LEN) == Some(&0) {
        let at = HEADER_LEN + PrepareOk::STATEMENT_ID_AT;
        reply[at..at + 4].fill(0);
    }
    if step.mask == Some(Mask::Rows) {
        *reply = without_digits(reply);
    }
}

/// Takes the digits out of every packet, and the count of their bytes.
fn without_digits(reply: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = reply;
    while let Some(header) = Header::peek(rest) {
        let payload = &rest[HEADER_LEN..HEADER_LEN + header.len];
        let is_number = payload.len() > 1
            && usize::from(payload[0]) == payload.len() - 1
            && payload[1..].iter().all(u8::is_ascii_digit);
        if is_number {
            out.extend_from_slice(&[0, 0, 0, header.seq]);
        } else {
            out.extend_from_slice(&rest[..HEADER_LEN + header.len]);
        }
        rest = &rest[HEADER_LEN + header.len..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two connections' numbers become the same, and what is around them stays.
    #[test]
    fn numbers_of_connections_are_taken_out() {
        let reply = |number: &[u8]| {
            let mut bytes = vec![1, 0, 0, 1, 1];
            bytes.extend_from_slice(&[number.len() as u8 + 1, 0, 0, 2, number.len() as u8]);
            bytes.extend_from_slice(number);
            bytes
        };
        assert_eq!(without_digits(&reply(b"7")), without_digits(&reply(b"123")));
        assert_ne!(without_digits(&reply(b"x")), without_digits(&reply(b"7")));
    }
}
