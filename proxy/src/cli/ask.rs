//! Asks a running Tandem over its admin port, as the configuration names it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row, Value};
use thiserror::Error;

use super::answer::{Answer, Column};
use crate::config::Admin;

/// For connecting; what is asked for may take its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing was answered.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error(
        "no Tandem answers at {address} (admin.address): {source}; does it run, with this configuration?"
    )]
    NotReached {
        address: SocketAddr,
        #[source]
        source: Error,
    },
    #[error(
        "no Tandem answers at {address} (admin.address) within {PATIENCE:?}; does it run, with this configuration?"
    )]
    Silent { address: SocketAddr },
    #[error(
        "the Tandem at {address} does not let admin.user in: {cause}; has the configuration been changed since it started?"
    )]
    NotLetIn { address: SocketAddr, cause: String },
    #[error("{0}")]
    Refused(String),
}

/// The answers to `statements`.
pub(super) async fn ask(admin: &Admin, statements: &[String]) -> Result<Vec<Answer>, Failure> {
    let address = reachable(admin.address);
    let opts = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(&admin.user))
        .pass(Some(admin.password.reveal()))
        .prefer_socket(false);
    let connecting = tokio::time::timeout(PATIENCE, Conn::new(opts)).await;
    let connected = connecting.map_err(|_| Failure::Silent { address })?;
    let mut conn = connected.map_err(|error| match error {
        Error::Server(refused) => Failure::NotLetIn {
            address,
            cause: refused.message,
        },
        source => Failure::NotReached { address, source },
    })?;
    let mut answers = Vec::new();
    for statement in statements {
        let answered = answer(&mut conn, statement).await;
        answers.push(answered.map_err(|error| match error {
            Error::Server(refused) => Failure::Refused(refused.message),
            source => Failure::NotReached { address, source },
        })?);
    }
    let _ = conn.disconnect().await;
    Ok(answers)
}

/// An address that was bound on all interfaces is asked on this machine's own.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    }
}

/// One result set, with its columns where it has no rows; or what an OK says, as the one value of `result`.
async fn answer(conn: &mut Conn, statement: &str) -> Result<Answer, Error> {
    let result = conn.query_iter(statement).await?;
    let columns = result.columns_ref().iter().map(|column| Column {
        name: column.name_str().into_owned(),
        numeric: column.column_type().is_numeric_type(),
    });
    let columns: Vec<Column> = columns.collect();
    let rows: Vec<Row> = result.collect_and_drop().await?;
    if columns.is_empty() && !conn.info().is_empty() {
        return Ok(Answer::single("result", &conn.info()));
    }
    let cells = |row: Row| row.unwrap().into_iter().map(text).collect();
    Ok(Answer {
        columns,
        rows: rows.into_iter().map(cells).collect(),
    })
}

/// As the text protocol has it.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        _ => None,
    }
}
