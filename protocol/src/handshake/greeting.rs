//! The server's first packet ("Protocol::HandshakeV10").

use crate::auth::native::NONCE_LEN;
use crate::error::DecodeError;
use crate::flags::{Capabilities, Status};
use crate::wire::{Reader, put_nul_terminated, put_u16, put_u32};

const PROTOCOL_VERSION: u8 = 10;
/// The nonce comes in two parts, since the oldest protocol had only eight bytes of it.
const FIRST_PART: usize = 8;
/// Filler between the length of the nonce and its second part. Its last four bytes carry
/// MariaDB's extended capabilities.
const PLAIN_FILLER: usize = 6;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Greeting<'a> {
    pub version: &'a [u8],
    pub connection_id: u32,
    pub nonce: [u8; NONCE_LEN],
    pub capabilities: Capabilities,
    pub charset: u8,
    pub status: Status,
    /// The plugin whose nonce this is; empty from servers without plugins.
    pub plugin: &'a [u8],
}

impl<'a> Greeting<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let protocol = reader.u8("protocol version")?;
        if protocol != PROTOCOL_VERSION {
            return Err(DecodeError::Unexpected {
                expected: "greeting",
                header: protocol,
            });
        }
        let version = reader.nul_terminated("server version")?;
        let connection_id = reader.u32("connection id")?;
        let first: [u8; FIRST_PART] = reader.array("nonce")?;
        reader.u8("filler")?;
        let low = reader.u16("capabilities")?;
        let charset = reader.u8("character set")?;
        let status = Status::from_bits_retain(reader.u16("status")?);
        let high = reader.u16("capabilities")?;
        let nonce_len = reader.u8("length of the nonce")?;
        reader.take(PLAIN_FILLER, "filler")?;
        let extended = reader.u32("extended capabilities")?;
        let base = u32::from(low) | u32::from(high) << 16;
        let capabilities = Capabilities::from_halves(base, extended);
        if !capabilities.contains(Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION) {
            return Err(DecodeError::TooOld);
        }
        // At least 13 bytes, of which the last is a NUL that doesn't belong to the nonce.
        let second_len = usize::from(nonce_len).saturating_sub(FIRST_PART).max(13);
        let second = reader.take(second_len, "nonce")?;
        let mut nonce = [0; NONCE_LEN];
        nonce[..FIRST_PART].copy_from_slice(&first);
        nonce[FIRST_PART..].copy_from_slice(&second[..NONCE_LEN - FIRST_PART]);
        let plugin = match capabilities.contains(Capabilities::PLUGIN_AUTH) {
            true => plugin_name(&mut reader),
            false => &[],
        };
        Ok(Self {
            version,
            connection_id,
            nonce,
            capabilities,
            charset,
            status,
            plugin,
        })
    }

    /// Appends the payload, without a frame header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let base = self.capabilities.base();
        out.push(PROTOCOL_VERSION);
        put_nul_terminated(out, self.version);
        put_u32(out, self.connection_id);
        put_nul_terminated(out, &self.nonce[..FIRST_PART]);
        put_u16(out, (base & 0xFFFF) as u16);
        out.push(self.charset);
        put_u16(out, self.status.bits());
        put_u16(out, (base >> 16) as u16);
        out.push((NONCE_LEN + 1) as u8);
        out.extend_from_slice(&[0; PLAIN_FILLER]);
        put_u32(out, self.capabilities.extended());
        put_nul_terminated(out, &self.nonce[FIRST_PART..]);
        if self.capabilities.contains(Capabilities::PLUGIN_AUTH) {
            put_nul_terminated(out, self.plugin);
        }
    }
}

/// Servers before MySQL 5.5.10 forgot the NUL behind the name.
fn plugin_name<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let rest = reader.rest();
    rest.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(capabilities: Capabilities) -> Greeting<'static> {
        Greeting {
            version: b"5.5.5-10.11.14-MariaDB",
            connection_id: 77,
            nonce: *b"abcdefghijklmnopqrst",
            capabilities,
            charset: 45,
            status: Status::AUTOCOMMIT,
            plugin: b"mysql_native_password",
        }
    }

    const BASE: Capabilities = Capabilities::PROTOCOL_41
        .union(Capabilities::SECURE_CONNECTION)
        .union(Capabilities::PLUGIN_AUTH);

    #[test]
    fn round_trip_with_both_kinds_of_capabilities() {
        for caps in [
            BASE | Capabilities::LONG_PASSWORD,
            BASE | Capabilities::MARIADB_STMT_BULK,
        ] {
            let mut bytes = Vec::new();
            sample(caps).encode(&mut bytes);
            assert_eq!(Greeting::decode(&bytes), Ok(sample(caps)));
        }
    }

    #[test]
    fn every_truncation_before_the_plugin_name_is_an_error() {
        let mut bytes = Vec::new();
        sample(BASE).encode(&mut bytes);
        let name_at = bytes.len() - "mysql_native_password".len() - 1;
        for cut in 0..name_at {
            assert!(Greeting::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let without_nul = Greeting::decode(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(without_nul.plugin, b"mysql_native_password");
    }

    #[test]
    fn old_servers_and_other_packets_are_refused() {
        let mut bytes = Vec::new();
        sample(Capabilities::PROTOCOL_41).encode(&mut bytes);
        assert_eq!(Greeting::decode(&bytes), Err(DecodeError::TooOld));
        bytes[0] = 9;
        let refused = Greeting::decode(&bytes);
        assert_eq!(
            refused,
            Err(DecodeError::Unexpected {
                expected: "greeting",
                header: 9
            })
        );
    }
}
