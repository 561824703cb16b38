//! Values that a client has bound to a statement's parameters, as literals for its text.

use tandem_protocol::command::{StmtExecute, execute_params};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::wire::Reader;

/// In the byte behind a type.
const UNSIGNED: u8 = 0x80;

/// The values of an execution (`COM_STMT_EXECUTE`) of a statement with so many parameters. `None` where one has a type
/// that is neither number nor text, or where the values are not all there.
pub(super) fn literals(execute: &[u8], count: u16, capabilities: Capabilities) -> Option<Vec<Vec<u8>>> {
    let execute = StmtExecute::decode(execute).ok()?;
    let params = execute_params(&execute, count, capabilities).ok()?;
    let named = capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
    let (mut types, mut values) = (Reader::new(params.types), Reader::new(params.values));
    let next = |index: usize| {
        let [kind, sign] = types.array("parameter type").ok()?;
        if named {
            types.lenenc_bytes("parameter name").ok()?;
        }
        match params.null_bitmap.get(index / 8)? & (1 << (index % 8)) {
            0 => literal(kind, sign & UNSIGNED != 0, &mut values),
            _ => Some(b"NULL".to_vec()),
        }
    };
    (0..usize::from(count)).map(next).collect()
}

/// One value. The numbers of types are those of `enum_field_types`, which both servers have.
fn literal(kind: u8, unsigned: bool, values: &mut Reader<'_>) -> Option<Vec<u8>> {
    let whole = |len: usize, values: &mut Reader<'_>| {
        let bytes = values.take(len, "a number").ok()?;
        let mut wide = match !unsigned && bytes.last()? & 0x80 != 0 {
            true => [0xff; 16],
            false => [0; 16],
        };
        wide[..len].copy_from_slice(bytes);
        Some(i128::from_le_bytes(wide).to_string())
    };
    let float = |value: f64| value.is_finite().then(|| format!("{value:e}"));
    let text = match kind {
        // TINY, SHORT and YEAR, LONG and INT24, LONGLONG
        1 => whole(1, values)?,
        2 | 13 => whole(2, values)?,
        3 | 9 => whole(4, values)?,
        8 => whole(8, values)?,
        // FLOAT, DOUBLE
        4 => float(f32::from_le_bytes(values.array("a number").ok()?).into())?,
        5 => float(f64::from_le_bytes(values.array("a number").ok()?))?,
        6 => "NULL".to_owned(),
        // DECIMAL, VARCHAR, NEWDECIMAL, ENUM, SET, blobs and strings
        0 | 15 | 246..=254 => string(values.lenenc_bytes("a text").ok()?),
        _ => return None,
    };
    Some(text.into_bytes())
}

fn string(bytes: &[u8]) -> String {
    match !bytes.is_empty() && bytes.len() < 20 && bytes.iter().all(u8::is_ascii_digit) {
        true => bytes.iter().copied().map(char::from).collect(),
        false => hexadecimal("latin1", bytes),
    }
}

/// A text in a form that no `sql_mode` reads as anything else.
pub(super) fn hexadecimal(charset: &str, bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = format!("_{charset} X'");
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An execution with these types and values, and the bits of those that are NULL.
    fn execute(nulls: u8, types: &[[u8; 2]], values: &[u8]) -> Vec<u8> {
        let head = [&[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0, nulls, 1][..], &types.concat()].concat();
        [head, values.to_vec()].concat()
    }

    #[test]
    fn values_become_literals() {
        for (kind, sign, value, expected) in [
            (1, 0, &b"\xff"[..], "-1"),
            (1, UNSIGNED, b"\xff", "255"),
            (2, 0, b"\x39\x30", "12345"),
            (3, 0, b"\x07\0\0\0", "7"),
            (3, UNSIGNED, b"\xff\xff\xff\xff", "4294967295"),
            (8, 0, b"\xfe\xff\xff\xff\xff\xff\xff\xff", "-2"),
            (4, 0, b"\0\0\xc0\x3f", "1.5e0"),
            (5, 0, b"\0\0\0\0\0\0\x1c\x40", "7e0"),
            (0xfd, 0, b"\x0242", "42"),
            (0xfe, 0, b"\x03'--", "_latin1 X'272d2d'"),
            (246, 0, b"\x037.0", "_latin1 X'372e30'"),
        ] {
            let command = execute(0, &[[kind, sign]], value);
            let found = literals(&command, 1, Capabilities::empty()).expect(expected);
            assert_eq!(String::from_utf8_lossy(&found[0]), expected);
            for short in 0..command.len() {
                assert_eq!(
                    literals(&command[..short], 1, Capabilities::empty()),
                    None,
                    "{expected}"
                );
            }
        }
        let command = execute(0b10, &[[1, 0], [8, 0], [1, 0]], &[5, 6]);
        let found = literals(&command, 3, Capabilities::empty()).expect("three values");
        assert_eq!(found, [b"5".to_vec(), b"NULL".to_vec(), b"6".to_vec()]);
        // A time, and what is no number.
        for (kind, value) in [(7, &b"\0"[..]), (5, &f64::NAN.to_le_bytes())] {
            let command = execute(0, &[[kind, 0]], value);
            assert_eq!(literals(&command, 1, Capabilities::empty()), None);
        }
    }

    /// Under query attributes each type has a name, and what stands behind the statement's own is none of its values.
    #[test]
    fn attributes_are_no_parameters() {
        let capabilities = Capabilities::QUERY_ATTRIBUTES;
        let command = b"\x17\x01\0\0\0\x08\x01\0\0\0\x02\0\x01\x03\0\0\xfe\0\x01a\x09\0\0\0\x01x";
        assert_eq!(literals(command, 1, capabilities), Some(vec![b"9".to_vec()]));
    }
}
