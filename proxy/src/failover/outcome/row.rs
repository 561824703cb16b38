//! Rows in a binary log: how long each is, and a number in one of its columns.

use tandem_protocol::error::DecodeError;
use tandem_protocol::wire::Reader;

use super::event::Table;

/// Bytes that so many decimal digits take, beside full groups of nine in four bytes (the manual's "Precision math").
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// How a column's value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Fixed(usize),
    /// Behind a length of so many bytes.
    Long(usize),
}

/// The columns of a table, as the binary log describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    forms: Vec<Form>,
}

impl Columns {
    /// `None` where a type is not known: then nothing can be said of its rows.
    pub fn of(table: &Table<'_>) -> Option<Self> {
        let mut metadata = Reader::new(table.metadata);
        let forms = table.types.iter().map(|&kind| form(kind, &mut metadata));
        let forms = forms.collect::<Option<Vec<_>>>()?;
        Some(Self { forms })
    }

    /// Reads over one row, and gives the number in `column` (from 0), if that is a number that is there.
    ///
    /// # Errors
    /// When the row is shorter than its columns.
    pub fn row(
        &self,
        present: &[u8],
        images: &mut Reader<'_>,
        column: Option<usize>,
    ) -> Result<Option<u64>, DecodeError> {
        let is_set = |bits: &[u8], index: usize| {
            bits.get(index / 8)
                .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
        };
        let there = (0..self.forms.len()).filter(|&index| is_set(present, index));
        let nulls = images.take(there.clone().count().div_ceil(8), "NULL values")?;
        let mut found = None;
        for (place, index) in there.enumerate() {
            if is_set(nulls, place) {
                continue;
            }
            let value = self.forms[index].take(images)?;
            if column == Some(index) && matches!(self.forms[index], Form::Fixed(1..=8)) {
                let mut bytes = [0; 8];
                bytes[..value.len()].copy_from_slice(value);
                found = Some(u64::from_le_bytes(bytes));
            }
        }
        Ok(found)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.forms.len()
    }
}

impl Form {
    fn take<'a>(self, images: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
        let length = match self {
            Self::Fixed(length) => length,
            Self::Long(bytes) => {
                let head = images.take(bytes, "length of a value")?;
                let length = head
                    .iter()
                    .rev()
                    .fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte));
                return images.take(length, "value");
            }
        };
        images.take(length, "value")
    }
}

/// The types' numbers are those of the protocol's column definitions, and some more.
fn form(kind: u8, metadata: &mut Reader<'_>) -> Option<Form> {
    let mut byte = || metadata.u8("column metadata").ok();
    let with_fraction = |whole: usize, digits: u8| Form::Fixed(whole + usize::from(digits).div_ceil(2));
    let prefixed = |most: usize| Form::Long(if most < 256 { 1 } else { 2 });
    Some(match kind {
        // TINYINT, YEAR
        1 | 13 => Form::Fixed(1),
        2 => Form::Fixed(2),
        // MEDIUMINT, the old forms of DATE and TIME
        9 | 10 | 11 | 14 => Form::Fixed(3),
        // INT, the old form of TIMESTAMP
        3 | 7 => Form::Fixed(4),
        // BIGINT, the old form of DATETIME
        8 | 12 => Form::Fixed(8),
        // FLOAT, DOUBLE
        4 | 5 => Form::Fixed(usize::from(byte()?)),
        // TIMESTAMP, DATETIME, TIME
        17 => with_fraction(4, byte()?),
        18 => with_fraction(5, byte()?),
        19 => with_fraction(3, byte()?),
        // DECIMAL
        246 => {
            let (precision, scale) = (usize::from(byte()?), usize::from(byte()?));
            let size = |digits: usize| digits / 9 * 4 + DIGIT_BYTES[digits % 9];
            Form::Fixed(size(precision.checked_sub(scale)?) + size(scale))
        }
        // VARCHAR, VARBINARY, and MariaDB's compressed ones
        15 | 253 | 141 => prefixed(usize::from(byte()?) | usize::from(byte()?) << 8),
        // CHAR, BINARY, ENUM and SET: the first byte is a type, or holds two bits of a length, turned over
        254 | 247 | 248 => match (byte()?, byte()?) {
            (247 | 248, size) => Form::Fixed(usize::from(size)),
            (high, low) => prefixed(usize::from(low) | usize::from(high & 0x30 ^ 0x30) << 4),
        },
        // BIT: the odd bits, the whole bytes
        16 => {
            let (bits, bytes) = (byte()?, byte()?);
            Form::Fixed(usize::from(bytes) + usize::from(bits > 0))
        }
        // BLOB and TEXT, GEOMETRY, JSON, VECTOR, and MariaDB's compressed ones
        252 | 255 | 245 | 242 | 140 => match byte()? {
            bytes @ 1..=4 => Form::Long(usize::from(bytes)),
            _ => return None,
        },
        _ => return None,
    })
}
