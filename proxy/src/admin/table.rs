//! Rows and columns on their way to a client.

use std::borrow::Cow;

use opensrv_mysql::{Column, ColumnFlags, ColumnType, QueryResultWriter};
use tokio::io::AsyncWrite;

/// How a column is declared: clients align numbers to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Number,
    Real,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Number(u64),
    /// May be below zero.
    Integer(i64),
    Real(f64),
    Text(Cow<'static, str>),
}

impl Cell {
    /// As a client would show it; `None` for NULL.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Number(number) => Some(number.to_string()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Real(number) => Some(number.to_string()),
            Self::Text(text) => Some(text.to_string()),
        }
    }
}

impl From<&'static str> for Cell {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Null, Into::into)
    }
}

/// A result set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<(Cow<'static, str>, Shape)>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table whose columns are known; each row has one cell for each of them.
    pub(crate) fn new<const WIDTH: usize>(columns: [(&'static str, Shape); WIDTH]) -> Self {
        let columns = columns.into_iter();
        Self {
            columns: columns
                .map(|(name, shape)| (Cow::Borrowed(name), shape))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Sends the table as a text result set.
    pub(crate) async fn send<W: AsyncWrite + Send + Unpin>(
        &self,
        results: QueryResultWriter<'_, W>,
    ) -> std::io::Result<()> {
        let columns: Vec<Column> = self.columns.iter().map(column).collect();
        let mut rows = results.start(&columns).await?;
        for row in &self.rows {
            for cell in row {
                match cell {
                    Cell::Null => rows.write_col(None::<u64>)?,
                    Cell::Number(number) => rows.write_col(*number)?,
                    Cell::Integer(number) => rows.write_col(*number)?,
                    Cell::Real(number) => rows.write_col(*number)?,
                    Cell::Text(text) => rows.write_col(text.as_ref())?,
                }
            }
            rows.end_row().await?;
        }
        rows.finish().await
    }
}

fn column((name, shape): &(Cow<'static, str>, Shape)) -> Column {
    let (coltype, colflags) = match shape {
        Shape::Text => (ColumnType::MYSQL_TYPE_VAR_STRING, ColumnFlags::empty()),
        Shape::Number => (
            ColumnType::MYSQL_TYPE_LONGLONG,
            ColumnFlags::UNSIGNED_FLAG | ColumnFlags::NUM_FLAG,
        ),
        Shape::Real => (ColumnType::MYSQL_TYPE_DOUBLE, ColumnFlags::NUM_FLAG),
    };
    Column {
        table: String::new(),
        column: name.as_ref().to_owned(),
        coltype,
        colflags,
    }
}
