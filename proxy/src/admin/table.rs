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

    /// Sends the table as a result set, in text or, for a prepared statement, in the form of its columns.
    pub(crate) async fn send<W: AsyncWrite + Send + Unpin>(
        &self,
        results: QueryResultWriter<'_, W>,
    ) -> std::io::Result<()> {
        let columns = self.declared();
        let mut rows = results.start(&columns).await?;
        for row in &self.rows {
            for (cell, column) in row.iter().zip(&columns) {
                let signed = !column.colflags.contains(ColumnFlags::UNSIGNED_FLAG);
                match (column.coltype, cell) {
                    (_, Cell::Null) => rows.write_col(None::<u64>)?,
                    (_, Cell::Text(text)) => rows.write_col(text.as_ref())?,
                    (ColumnType::MYSQL_TYPE_LONGLONG, Cell::Number(number)) if signed => {
                        rows.write_col(i64::try_from(*number).unwrap_or(i64::MAX))?;
                    }
                    (ColumnType::MYSQL_TYPE_LONGLONG, Cell::Integer(number)) if !signed => {
                        rows.write_col(u64::try_from(*number).unwrap_or(0))?;
                    }
                    (ColumnType::MYSQL_TYPE_LONGLONG, Cell::Number(number)) => rows.write_col(*number)?,
                    (ColumnType::MYSQL_TYPE_LONGLONG, Cell::Integer(number)) => rows.write_col(*number)?,
                    (ColumnType::MYSQL_TYPE_DOUBLE, Cell::Real(number)) => rows.write_col(*number)?,
                    (ColumnType::MYSQL_TYPE_DOUBLE, Cell::Number(number)) => {
                        rows.write_col(*number as f64)?;
                    }
                    (ColumnType::MYSQL_TYPE_DOUBLE, Cell::Integer(number)) => {
                        rows.write_col(*number as f64)?;
                    }
                    (_, Cell::Real(number)) => rows.write_col(number.to_string())?,
                    (_, Cell::Number(number)) => rows.write_col(number.to_string())?,
                    (_, Cell::Integer(number)) => rows.write_col(number.to_string())?,
                }
            }
            rows.end_row().await?;
        }
        rows.finish().await
    }

    /// The columns as clients are told of them. A number is unsigned where none of its values is below zero.
    pub(crate) fn declared(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = self.columns.iter().map(column).collect();
        for row in &self.rows {
            for (cell, column) in row.iter().zip(&mut columns) {
                if matches!(cell, Cell::Integer(number) if *number < 0) {
                    column.colflags.remove(ColumnFlags::UNSIGNED_FLAG);
                }
            }
        }
        columns
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
