//! Asks one server, over a connection that is kept.

use std::io;
use std::time::Instant;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, Row, Value};
use tracing::warn;

use super::door::{Door, Way};
use super::observation::{Observation, ProbeError, Seen};
use super::reading::{self, Fields};
use crate::topology::{Flavor, ServerId};

/// Shown with 1045 and its kin: what the monitor's account must have.
const GRANTS: &str = "the monitor needs its account on this server, with GRANT SLAVE MONITOR ON *.* \
    (MariaDB) or GRANT REPLICATION CLIENT ON *.* (MySQL)";

/// Asks one server. Owned by its task.
pub(super) struct Probe {
    server: ServerId,
    door: Door,
    /// What was tried last.
    way: Way,
    session: Option<Session>,
}

struct Session {
    conn: Conn,
    flavor: Flavor,
}

impl Probe {
    pub(super) fn new(server: ServerId, door: Door) -> Self {
        Self {
            server,
            way: door.way(),
            door,
            session: None,
        }
    }

    /// One probe, connecting included, in at most the configured time.
    pub(super) async fn ask(&mut self) -> Observation {
        let asked_at = Instant::now();
        let limit = self.door.config().monitor.timeout;
        let outcome = tokio::time::timeout(limit, self.attempt()).await;
        let result = outcome.unwrap_or(Err(ProbeError::Timeout(limit)));
        Observation {
            server: self.server,
            asked_at,
            took: asked_at.elapsed(),
            result,
        }
    }

    /// The session is taken out while it is used: whatever goes wrong, or is cut off by the timeout, it is not used again.
    async fn attempt(&mut self) -> Result<Seen, ProbeError> {
        self.follow().await;
        if let Some(mut session) = self.session.take() {
            match session.ask().await {
                Ok(seen) => {
                    self.session = Some(session);
                    return Ok(seen);
                }
                // A connection alone may have been killed, or timed out by the server: only a second one that breaks
                // says something about the server.
                Err(ProbeError::Lost(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut session = Session::connect(&self.way).await?;
        let seen = session.ask().await?;
        self.session = Some(session);
        Ok(seen)
    }

    /// Where the configuration has another way in by now, the session comes to be one of that. A mistake there makes nobody
    /// unreachable while the session that there is lasts.
    async fn follow(&mut self) {
        let way = self.door.way();
        if way == self.way {
            return;
        }
        self.way = way;
        if self.session.is_none() {
            return;
        }
        match Session::connect(&self.way).await {
            Ok(session) => self.session = Some(session),
            Err(error) => {
                let config = self.door.config();
                let server = &config.servers[self.server.0].name;
                warn!(
                    server,
                    "the monitor's new account, or its new way to connect, does not work; its old connection is used while it \
                     lasts: {error}"
                );
            }
        }
    }
}

impl Session {
    async fn connect(way: &Way) -> Result<Self, ProbeError> {
        let mut conn = way.take().await.map_err(|e| failure(&e))?;
        let maker: Option<(String, String)> = conn
            .query_first("SELECT @@version, @@version_comment")
            .await
            .map_err(|e| failure(&e))?;
        let (version, comment) = maker.ok_or_else(|| ProbeError::Unexpected("no @@version".to_owned()))?;
        let flavor = reading::flavor(&version, &comment);
        Ok(Self { conn, flavor })
    }

    async fn ask(&mut self) -> Result<Seen, ProbeError> {
        let (state, links) = self.answers().await.map_err(|e| failure(&e))?;
        let state = state.first().map(fields).unwrap_or_default();
        let links: Vec<_> = links.iter().map(fields).collect();
        reading::seen(self.flavor, &state, &links).map_err(ProbeError::Unexpected)
    }

    async fn answers(&mut self) -> Result<(Vec<Row>, Vec<Row>), Error> {
        let question = reading::question(self.flavor);
        let mut result = self.conn.query_iter(question).await?;
        let state = result.collect().await?;
        let links = result.collect().await?;
        result.drop_result().await?;
        Ok((state, links))
    }
}

fn fields(row: &Row) -> Fields {
    let columns = row.columns_ref().iter().enumerate();
    let text = |value: &Value| match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        // The text protocol, which plain queries use, has no other kinds of value.
        other => Some(other.as_sql(true)),
    };
    Fields(
        columns
            .map(|(i, column)| {
                let value = row.as_ref(i).and_then(text);
                (column.name_str().into_owned(), value)
            })
            .collect(),
    )
}

fn failure(error: &Error) -> ProbeError {
    match error {
        Error::Server(server) => server_failure(server.code, &server.message),
        Error::Io(IoError::Io(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => ProbeError::Refused(error.to_string()),
            _ => ProbeError::Lost(error.to_string()),
        },
        Error::Driver(DriverError::ConnectionClosed) => ProbeError::Lost(error.to_string()),
        other => ProbeError::Unexpected(other.to_string()),
    }
}

/// Server error codes: <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
fn server_failure(code: u16, message: &str) -> ProbeError {
    let text = format!("{message} ({code})");
    match code {
        // Too many connections, of all or of this account (ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS,
        // ER_USER_LIMIT_REACHED).
        1040 | 1203 | 1226 => ProbeError::Full(text),
        // Database, login, host blocked, host not allowed, table, privilege, plugin (ER_ACCESS_DENIED_NO_PASSWORD_ERROR).
        1044 | 1045 | 1129 | 1130 | 1142 | 1227 | 1698 => ProbeError::Denied {
            message: text,
            hint: GRANTS,
        },
        // Shutdown in progress, aborted or new aborted connection, connection killed.
        1053 | 1152 | 1184 | 1927 => ProbeError::Lost(text),
        _ => ProbeError::Unexpected(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let io = |kind: io::ErrorKind| failure(&Error::from(io::Error::from(kind)));
        assert!(matches!(
            io(io::ErrorKind::ConnectionRefused),
            ProbeError::Refused(_)
        ));
        assert!(matches!(io(io::ErrorKind::ConnectionReset), ProbeError::Lost(_)));
        assert!(matches!(io(io::ErrorKind::UnexpectedEof), ProbeError::Lost(_)));
        for (code, kind) in [
            (1040, "no connection left"),
            (1045, "x (1045); the monitor needs"),
            (1927, "connection lost"),
            (1064, "unexpected answer"),
        ] {
            let text = server_failure(code, "x").to_string();
            assert!(text.starts_with(kind), "{text}");
        }
    }
}
