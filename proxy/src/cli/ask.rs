//! Asks a running Tandem over its admin port, as the configuration names it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder, Row, Value};
use thiserror::Error;

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
    #[error("{0}")]
    Refused(String),
}

/// The answers to `statements`, as text.
pub(super) async fn ask(admin: &Admin, statements: &[String]) -> Result<String, Failure> {
    let address = reachable(admin.address);
    let opts = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some(&admin.user))
        .pass(Some(admin.password.reveal()))
        .prefer_socket(false);
    let connecting = tokio::time::timeout(PATIENCE, Conn::new(opts)).await;
    let connected = connecting.map_err(|_| Failure::Silent { address })?;
    let mut conn = connected.map_err(|source| Failure::NotReached { address, source })?;
    let mut text = String::new();
    for statement in statements {
        let rows: Vec<Row> = conn.query(statement).await.map_err(|error| match error {
            Error::Server(refused) => Failure::Refused(refused.message),
            source => Failure::NotReached { address, source },
        })?;
        if !text.is_empty() {
            text.push('\n');
        }
        // What the OK to a `SET` says.
        match conn.info() {
            told if rows.is_empty() && !told.is_empty() => text += &format!("{told}\n"),
            _ => text += &table(&rows),
        }
    }
    let _ = conn.disconnect().await;
    Ok(text)
}

/// An address that was bound on all interfaces is asked on this machine's own.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => address,
    }
}

/// A single value stands alone; pairs are a list; what is wider has a line for each field.
fn table(rows: &[Row]) -> String {
    let cells = |row: &Row| -> Vec<String> { (0..row.len()).map(|index| shown(row.as_ref(index))).collect() };
    let rows_of = |row: &Row| {
        let names = row
            .columns_ref()
            .iter()
            .map(|column| column.name_str().into_owned());
        let named = names.zip(cells(row)).filter(|(_, value)| !value.is_empty());
        named
            .map(|(name, value)| format!("  {name:<14}{value}\n"))
            .collect::<String>()
    };
    match rows.first().map(Row::len) {
        None => "nothing\n".to_owned(),
        Some(1) => rows.iter().map(|row| cells(row).concat() + "\n").collect(),
        Some(2) => {
            let pair = |row: &Row| format!("{:<18}{}\n", shown(row.as_ref(0)), shown(row.as_ref(1)));
            rows.iter().map(pair).collect()
        }
        Some(_) => {
            let named = |row: &Row| format!("{}\n{}", shown(row.as_ref(0)), rows_of(row));
            rows.iter().map(named).collect()
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}
