//! Query attributes: named values that a client sends beside a statement, under [`Capabilities::QUERY_ATTRIBUTES`]
//! (MySQL 8.0.23 and newer).

use crate::command::CommandCode;
use crate::error::DecodeError;
use crate::flags::Capabilities;
use crate::frame;
use crate::wire::Reader;

/// Bytes before the text of a COM_QUERY without attributes: the command, no parameters, one set of them.
const BARE: [u8; 3] = [CommandCode::Query as u8, 0, 1];

/// Appends the payload of a COM_QUERY without attributes, as a connection with these capabilities wants it.
pub fn put_query(out: &mut Vec<u8>, text: &[u8], caps: Capabilities) {
    match caps.contains(Capabilities::QUERY_ATTRIBUTES) {
        true => out.extend_from_slice(&BARE),
        false => out.push(CommandCode::Query as u8),
    }
    out.extend_from_slice(text);
}

/// Appends the same as a packet, the first of its exchange.
pub fn write_query(out: &mut Vec<u8>, text: &[u8], caps: Capabilities) {
    let start = frame::begin(out);
    put_query(out, text, caps);
    frame::end(out, start, 0);
}

/// Where the statement's text begins in the payload of a COM_QUERY.
pub fn query_text_at(payload: &[u8], caps: Capabilities) -> Result<usize, DecodeError> {
    if !caps.contains(Capabilities::QUERY_ATTRIBUTES) {
        return Ok(1);
    }
    if payload.starts_with(&BARE) {
        return Ok(BARE.len());
    }
    let mut reader = Reader::new(payload);
    reader.u8("command")?;
    let count = reader.lenenc_int("number of attributes")?;
    reader.lenenc_int("number of attribute sets")?;
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= payload.len())
        .ok_or(DecodeError::Invalid {
            field: "number of attributes",
            value: count,
        })?;
    if count > 0 {
        walk_attributes(&mut reader, count, |_, _| {})?;
    }
    Ok(payload.len() - reader.rest().len())
}

/// The text of the attribute `name` before a COM_QUERY's text; `head` may end where that begins.
pub fn query_attribute<'a>(head: &'a [u8], caps: Capabilities, name: &[u8]) -> Option<&'a [u8]> {
    if !caps.contains(Capabilities::QUERY_ATTRIBUTES) || head.starts_with(&BARE) {
        return None;
    }
    let mut reader = Reader::new(head);
    reader.u8("command").ok()?;
    let count = reader.lenenc_int("number of attributes").ok()?;
    reader.lenenc_int("number of attribute sets").ok()?;
    let count = usize::try_from(count)
        .ok()
        .filter(|count| (1..=head.len()).contains(count))?;
    let mut found = None;
    walk_attributes(&mut reader, count, |known, value| {
        if known == name {
            found = value;
        }
    })
    .ok()?;
    found
}

/// Calls `each` with every attribute's name, and its value where that is a text.
fn walk_attributes<'a>(
    reader: &mut Reader<'a>,
    count: usize,
    mut each: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Result<(), DecodeError> {
    let nulls = reader.take(count.div_ceil(8), "null bitmap")?;
    let bound = reader.u8("bound flag")?;
    if bound != 1 {
        return Err(DecodeError::Invalid {
            field: "bound flag of attributes",
            value: bound.into(),
        });
    }
    let mut kinds = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = reader.take(2, "attribute type")?[0];
        kinds.push((kind, reader.lenenc_bytes("attribute name")?));
    }
    for (index, (kind, name)) in kinds.into_iter().enumerate() {
        let is_null = nulls[index / 8] & (1 << (index % 8)) != 0;
        each(name, if is_null { None } else { value(reader, kind)? });
    }
    Ok(())
}

/// Reads a value in the binary protocol's form, by its `MYSQL_TYPE_*`; given back if it is a text.
fn value<'a>(reader: &mut Reader<'a>, kind: u8) -> Result<Option<&'a [u8]>, DecodeError> {
    const VALUE: &str = "attribute value";
    match kind {
        1 => reader.take(1, VALUE)?,
        2 | 13 => reader.take(2, VALUE)?,
        3 | 4 | 9 => reader.take(4, VALUE)?,
        5 | 8 => reader.take(8, VALUE)?,
        6 => reader.take(0, VALUE)?,
        7 | 10 | 11 | 12 => {
            let len = reader.u8("length of an attribute's time")?;
            reader.take(len.into(), VALUE)?
        }
        _ => return reader.lenenc_bytes(VALUE).map(Some),
    };
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: Capabilities = Capabilities::QUERY_ATTRIBUTES;

    /// Two attributes, a text and a NULL, as `mysql --query-attributes` sends them, and one of each fixed size.
    fn query() -> Vec<u8> {
        let mut bytes = b"\x03\x04\x01\x02\x01".to_vec();
        bytes.extend_from_slice(b"\xfe\0\x01a\x06\0\x01b\x08\x80\0\x0c\0\x01d");
        bytes.extend_from_slice(b"\x05hello\x01\0\0\0\0\0\0\0\x04\xe9\x07\x01\x02");
        bytes.extend_from_slice(b"SELECT 1");
        bytes
    }

    #[test]
    fn the_text_is_found_behind_the_attributes() {
        let bytes = query();
        let at = query_text_at(&bytes, WITH).unwrap();
        assert_eq!(&bytes[at..], b"SELECT 1");
        assert_eq!(query_text_at(b"\x03\0\x01SELECT 1", WITH), Ok(3));
        assert_eq!(query_text_at(b"\x03SELECT 1", Capabilities::empty()), Ok(1));
    }

    #[test]
    fn an_attribute_is_found_by_its_name() {
        let bytes = query();
        let at = query_text_at(&bytes, WITH).unwrap();
        assert_eq!(query_attribute(&bytes[..at], WITH, b"a"), Some(&b"hello"[..]));
        for none in [&b"b"[..], b"c", b"d", b""] {
            assert_eq!(query_attribute(&bytes[..at], WITH, none), None);
        }
        assert_eq!(query_attribute(b"\x03\0\x01", WITH, b"a"), None);
        for end in 0..at {
            assert_eq!(query_attribute(&bytes[..end], WITH, b"a"), None, "cut at {end}");
        }
    }

    #[test]
    fn a_query_of_our_own_is_read_back() {
        for caps in [WITH, Capabilities::empty()] {
            let mut out = Vec::new();
            put_query(&mut out, b"SELECT 1", caps);
            let at = query_text_at(&out, caps).unwrap();
            assert_eq!(&out[at..], b"SELECT 1");
        }
    }

    #[test]
    fn every_truncation_before_the_text_is_an_error() {
        let bytes = query();
        let text = query_text_at(&bytes, WITH).unwrap();
        for cut in 0..text {
            assert!(query_text_at(&bytes[..cut], WITH).is_err(), "{cut}");
        }
        assert!(query_text_at(b"\x03\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", WITH).is_err());
        assert!(query_text_at(b"\x03\x01\x01\0\0\xfe\0\0\0SELECT 1", WITH).is_err());
    }
}
