//! A column definition of a result set, a prepared statement or COM_FIELD_LIST.

use crate::error::DecodeError;
use crate::flags::Capabilities;
use crate::wire::{Reader, put_lenenc_bytes, put_lenenc_or_null, put_u16, put_u32};

/// The catalog of every column, and so the first bytes of every definition.
pub const CATALOG: &[u8] = b"def";
/// Length of the fixed part that ends a definition.
const FIXED_LEN: u64 = 12;
/// A default value of COM_FIELD_LIST: absent in any other reply.
type DefaultValue<'a> = Option<Option<&'a [u8]>>;

#[derive(Debug, Copy, Clone, PartialEq, Eq, Default)]
pub struct ColumnDefinition<'a> {
    pub schema: &'a [u8],
    pub table: &'a [u8],
    pub org_table: &'a [u8],
    pub name: &'a [u8],
    pub org_name: &'a [u8],
    /// Sent under [`Capabilities::MARIADB_EXTENDED_METADATA`], such as the name of a data type.
    pub extended: &'a [u8],
    pub charset: u16,
    pub length: u32,
    pub kind: u8,
    pub flags: u16,
    pub decimals: u8,
    /// Only in replies to COM_FIELD_LIST; the inner `None` is a default of NULL.
    pub default: DefaultValue<'a>,
}

impl<'a> ColumnDefinition<'a> {
    pub fn decode(payload: &'a [u8], caps: Capabilities) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        reader.lenenc_bytes("catalog")?;
        let mut column = Self {
            schema: reader.lenenc_bytes("schema")?,
            table: reader.lenenc_bytes("table")?,
            org_table: reader.lenenc_bytes("original table")?,
            name: reader.lenenc_bytes("name")?,
            org_name: reader.lenenc_bytes("original name")?,
            ..Self::default()
        };
        if caps.contains(Capabilities::MARIADB_EXTENDED_METADATA) {
            column.extended = reader.lenenc_bytes("extended metadata")?;
        }
        let fixed = reader.lenenc_int("length of the fixed part")?;
        if fixed != FIXED_LEN {
            return Err(DecodeError::Invalid {
                field: "length of the fixed part",
                value: fixed,
            });
        }
        column.charset = reader.u16("character set")?;
        column.length = reader.u32("column length")?;
        column.kind = reader.u8("column type")?;
        column.flags = reader.u16("column flags")?;
        column.decimals = reader.u8("decimals")?;
        reader.u16("filler")?;
        if !reader.is_empty() {
            column.default = Some(reader.lenenc_bytes_or_null("default value")?);
        }
        reader.finish("column definition")?;
        Ok(column)
    }

    /// Appends the payload, without a frame header.
    pub fn encode(&self, caps: Capabilities, out: &mut Vec<u8>) {
        for text in [
            CATALOG,
            self.schema,
            self.table,
            self.org_table,
            self.name,
            self.org_name,
        ] {
            put_lenenc_bytes(out, text);
        }
        if caps.contains(Capabilities::MARIADB_EXTENDED_METADATA) {
            put_lenenc_bytes(out, self.extended);
        }
        out.push(FIXED_LEN as u8);
        put_u16(out, self.charset);
        put_u32(out, self.length);
        out.push(self.kind);
        put_u16(out, self.flags);
        out.push(self.decimals);
        put_u16(out, 0);
        if let Some(default) = self.default {
            put_lenenc_or_null(out, default);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMN: ColumnDefinition<'static> = ColumnDefinition {
        schema: b"shop",
        table: b"o",
        org_table: b"orders",
        name: b"n",
        org_name: b"number",
        extended: b"\x00\x04json",
        charset: 45,
        length: 80,
        kind: 0xfd,
        flags: 0x1001,
        decimals: 0x1f,
        default: None,
    };

    #[test]
    fn round_trip_with_and_without_the_extension() {
        let extended = Capabilities::MARIADB_EXTENDED_METADATA;
        for default in [None, Some(None), Some(Some(&b"7"[..]))] {
            let mut bytes = Vec::new();
            let column = ColumnDefinition { default, ..COLUMN };
            column.encode(extended, &mut bytes);
            assert_eq!(ColumnDefinition::decode(&bytes, extended), Ok(column));

            bytes.clear();
            column.encode(Capabilities::empty(), &mut bytes);
            let bare = ColumnDefinition {
                extended: b"",
                ..column
            };
            assert_eq!(ColumnDefinition::decode(&bytes, Capabilities::empty()), Ok(bare));
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let mut bytes = Vec::new();
        COLUMN.encode(Capabilities::empty(), &mut bytes);
        for cut in 0..bytes.len() {
            assert!(
                ColumnDefinition::decode(&bytes[..cut], Capabilities::empty()).is_err(),
                "{cut}"
            );
        }
    }
}
