//! The client's answer to the greeting ("Protocol::HandshakeResponse41").

use crate::error::DecodeError;
use crate::flags::Capabilities;
use crate::wire::{Reader, put_lenenc_bytes, put_nul_terminated, put_u32};

/// Length of an SSLRequest: the answer up to the user name.
const SSL_REQUEST_LEN: usize = 32;
/// Zeros before the four bytes of MariaDB's extended capabilities.
const PLAIN_FILLER: usize = 19;

#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    pub capabilities: Capabilities,
    pub max_packet: u32,
    pub charset: u8,
    pub user: &'a [u8],
    pub proof: &'a [u8],
    pub schema: Option<&'a [u8]>,
    pub plugin: Option<&'a [u8]>,
    /// Pairs of length-encoded strings, see [`put_attribute`].
    pub attributes: &'a [u8],
    /// Only with [`Capabilities::ZSTD_COMPRESSION`].
    pub zstd_level: u8,
}

/// Whether the client asks for TLS before it says who it is.
pub fn is_ssl_request(payload: &[u8]) -> bool {
    let wanted = Capabilities::SSL | Capabilities::PROTOCOL_41;
    payload.len() == SSL_REQUEST_LEN
        && Reader::new(payload)
            .u32("capabilities")
            .is_ok_and(|base| Capabilities::from_bits_retain(u64::from(base)).contains(wanted))
}

/// Appends the payload of an SSLRequest: what comes before the user in the answer that follows under TLS.
pub fn put_ssl_request(capabilities: Capabilities, max_packet: u32, charset: u8, out: &mut Vec<u8>) {
    put_u32(out, capabilities.base());
    put_u32(out, max_packet);
    out.push(charset);
    out.extend_from_slice(&[0; PLAIN_FILLER]);
    put_u32(out, capabilities.extended());
}

/// Appends one pair to a block of attributes.
pub fn put_attribute(block: &mut Vec<u8>, name: &str, value: &str) {
    put_lenenc_bytes(block, name.as_bytes());
    put_lenenc_bytes(block, value.as_bytes());
}

impl<'a> HandshakeResponse<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        require_protocol_41(payload)?;
        let base = reader.u32("capabilities")?;
        let max_packet = reader.u32("maximal packet")?;
        let charset = reader.u8("character set")?;
        reader.take(PLAIN_FILLER, "filler")?;
        let extended = reader.u32("extended capabilities")?;
        let capabilities = Capabilities::from_halves(base, extended);
        let user = reader.nul_terminated("user")?;
        let proof = proof(&mut reader, capabilities)?;
        let mut response = Self {
            capabilities,
            max_packet,
            charset,
            user,
            proof,
            schema: None,
            plugin: None,
            attributes: &[],
            zstd_level: 0,
        };
        response.read_optional(&mut reader)?;
        Ok(response)
    }

    /// Servers accept answers that end early although a flag announces more, so this does too.
    fn read_optional(&mut self, reader: &mut Reader<'a>) -> Result<(), DecodeError> {
        let caps = self.capabilities;
        if caps.contains(Capabilities::CONNECT_WITH_DB) && !reader.is_empty() {
            self.schema = Some(reader.nul_terminated("schema")?).filter(|name| !name.is_empty());
        }
        if caps.contains(Capabilities::PLUGIN_AUTH) && !reader.is_empty() {
            self.plugin = Some(reader.nul_terminated("plugin")?);
        }
        if caps.contains(Capabilities::CONNECT_ATTRS) && !reader.is_empty() {
            self.attributes = reader.lenenc_bytes("attributes")?;
        }
        if caps.contains(Capabilities::ZSTD_COMPRESSION) && !reader.is_empty() {
            self.zstd_level = reader.u8("compression level")?;
        }
        Ok(())
    }

    /// Appends the payload, without a frame header. Schema, plugin and attributes are written
    /// where the capabilities announce them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let caps = self.capabilities;
        put_ssl_request(caps, self.max_packet, self.charset, out);
        put_nul_terminated(out, self.user);
        if caps.contains(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
            put_lenenc_bytes(out, self.proof);
        } else {
            let proof = &self.proof[..self.proof.len().min(usize::from(u8::MAX))];
            out.push(proof.len() as u8);
            out.extend_from_slice(proof);
        }
        if caps.contains(Capabilities::CONNECT_WITH_DB) {
            put_nul_terminated(out, self.schema.unwrap_or_default());
        }
        if caps.contains(Capabilities::PLUGIN_AUTH) {
            put_nul_terminated(out, self.plugin.unwrap_or_default());
        }
        if caps.contains(Capabilities::CONNECT_ATTRS) {
            put_lenenc_bytes(out, self.attributes);
        }
        if caps.contains(Capabilities::ZSTD_COMPRESSION) {
            out.push(self.zstd_level);
        }
    }
}

/// Clients before 4.1 send only 16 bits of capabilities, so look at those first.
fn require_protocol_41(payload: &[u8]) -> Result<(), DecodeError> {
    let low = Reader::new(payload).u16("capabilities")?;
    match Capabilities::from_bits_retain(u64::from(low)).contains(Capabilities::PROTOCOL_41) {
        true => Ok(()),
        false => Err(DecodeError::TooOld),
    }
}

fn proof<'a>(reader: &mut Reader<'a>, caps: Capabilities) -> Result<&'a [u8], DecodeError> {
    if caps.contains(Capabilities::PLUGIN_AUTH_LENENC_DATA) {
        reader.lenenc_bytes("proof")
    } else if caps.contains(Capabilities::SECURE_CONNECTION) {
        let len = usize::from(reader.u8("length of the proof")?);
        reader.take(len, "proof")
    } else {
        reader.nul_terminated("proof")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Capabilities = Capabilities::PROTOCOL_41
        .union(Capabilities::SECURE_CONNECTION)
        .union(Capabilities::CONNECT_WITH_DB)
        .union(Capabilities::PLUGIN_AUTH)
        .union(Capabilities::CONNECT_ATTRS);

    fn sample(capabilities: Capabilities) -> HandshakeResponse<'static> {
        HandshakeResponse {
            capabilities,
            max_packet: 1 << 24,
            charset: 45,
            user: b"bob",
            proof: b"12345678901234567890",
            schema: Some(b"shop"),
            plugin: Some(b"mysql_native_password"),
            attributes: b"\x01a\x01b",
            zstd_level: 0,
        }
    }

    #[test]
    fn round_trip() {
        for caps in [
            CAPS,
            CAPS | Capabilities::LONG_PASSWORD,
            CAPS | Capabilities::PLUGIN_AUTH_LENENC_DATA,
            CAPS | Capabilities::MARIADB_PROGRESS,
        ] {
            let mut bytes = Vec::new();
            sample(caps).encode(&mut bytes);
            assert_eq!(HandshakeResponse::decode(&bytes), Ok(sample(caps)));
        }
    }

    #[test]
    fn what_the_flags_do_not_announce_is_not_read() {
        let caps = Capabilities::PROTOCOL_41 | Capabilities::SECURE_CONNECTION;
        let mut bytes = Vec::new();
        sample(caps).encode(&mut bytes);
        let bare = HandshakeResponse {
            schema: None,
            plugin: None,
            attributes: b"",
            ..sample(caps)
        };
        assert_eq!(HandshakeResponse::decode(&bytes), Ok(bare));
    }

    #[test]
    fn every_truncation() {
        let mut bytes = Vec::new();
        sample(CAPS).encode(&mut bytes);
        let fixed = 32 + 4 + 21;
        let optional = [fixed, fixed + 5, fixed + 5 + 22];
        for cut in 0..bytes.len() {
            let decoded = HandshakeResponse::decode(&bytes[..cut]);
            assert_eq!(decoded.is_ok(), optional.contains(&cut), "{cut}: {decoded:?}");
        }
    }

    #[test]
    fn ssl_request_and_old_clients() {
        let caps = CAPS | Capabilities::SSL;
        let mut bytes = Vec::new();
        sample(caps).encode(&mut bytes);
        assert!(!is_ssl_request(&bytes));
        assert!(is_ssl_request(&bytes[..32]));
        assert!(!is_ssl_request(&bytes[..31]));
        let old = b"\x05\x00\xff\xff\xffbob\0";
        assert_eq!(HandshakeResponse::decode(old), Err(DecodeError::TooOld));
    }

    #[test]
    fn attributes_are_pairs() {
        let mut block = Vec::new();
        put_attribute(&mut block, "_client_name", "tandem");
        assert_eq!(block, b"\x0c_client_name\x06tandem");
    }
}
