//! Reads a server's answers to a probe: names and text in, [`Seen`] out.

use std::sync::Arc;
use std::time::Duration;

use super::observation::{Link, Receiver, Seen};
use crate::topology::gtid::{Position, Stream};
use crate::topology::reports::{self, AtLogin, Reports};
use crate::topology::{Flavor, Timeouts, Version};

/// One row, as column name and value as text; `None` is NULL.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields(pub(super) Vec<(String, Option<String>)>);

/// The questions of a probe: the server's state, then a row for each replication channel, in one write.
///
/// Replication threads are asked for last: what is applied in between makes the position too small, never too large.
pub(super) fn question(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => {
            "SELECT @@version, @@server_id, @@read_only, @@log_bin, @@log_slave_updates, \
             @@gtid_strict_mode, @@binlog_format, @@GLOBAL.binlog_annotate_row_events AS texts, \
             @@GLOBAL.replicate_annotate_row_events AS replicated_texts, @@GLOBAL.log_bin_compress AS compressed, @@gtid_slave_pos, @@gtid_binlog_pos, \
             @@GLOBAL.gtid_domain_id AS gtid_domain_id, \
             @@global.session_track_system_variables, @@global.session_track_schema, \
             @@global.session_track_state_change, @@global.session_track_transaction_info, \
             @@global.wait_timeout, @@global.interactive_timeout \
             /*M!110400 , @@global.redirect_url, @@global.time_zone, @@global.autocommit */; \
             SHOW ALL SLAVES STATUS"
        }
        Flavor::MySql => {
            "SELECT @@version, @@server_id, @@read_only, @@super_read_only, @@offline_mode, \
             @@log_bin, @@log_replica_updates, @@GLOBAL.binlog_rows_query_log_events AS texts, \
             @@GLOBAL.binlog_transaction_compression AS compressed, @@gtid_mode, @@gtid_executed, @@server_uuid, \
             @@global.session_track_system_variables, @@global.session_track_schema, \
             @@global.session_track_state_change, @@global.session_track_transaction_info, \
             @@global.session_track_gtids, @@global.wait_timeout, @@global.interactive_timeout; \
             SHOW REPLICA STATUS"
        }
    }
}

/// Who made the server, from `@@version` and `@@version_comment`. Distributions put "MariaDB" in both.
pub(super) fn flavor(version: &str, comment: &str) -> Flavor {
    let says = |text: &str| text.to_ascii_lowercase().contains("mariadb");
    if says(version) || says(comment) {
        Flavor::MariaDb
    } else {
        Flavor::MySql
    }
}

/// What the answers to [`question`] say, or the name of what is missing or unreadable.
pub(super) fn seen(flavor: Flavor, state: &Fields, links: &[Fields]) -> Result<Seen, String> {
    let version = version(flavor, state.text("@@version")?)?;
    let server_id = state.number("@@server_id")?;
    let (read_only, position, stream, mut unfit) = match flavor {
        Flavor::MariaDb => (
            // 12.0 gave it names: OFF, ON, NO_LOCK, NO_LOCK_NO_ADMIN.
            state.on("@@read_only")?,
            Position::of_mariadb(
                state.text("@@gtid_slave_pos")?,
                state.text("@@gtid_binlog_pos")?,
                server_id,
            )
            .ok_or("a GTID position could not be read")?,
            Some(Stream::of_mariadb(state.number("gtid_domain_id")?, server_id)),
            mariadb_unfit(state)?,
        ),
        Flavor::MySql => (
            state.on("@@read_only")? || state.on("@@super_read_only")? || state.on("@@offline_mode")?,
            Position::parse_mysql(state.text("@@gtid_executed")?).ok_or("gtid_executed could not be read")?,
            Stream::of_mysql(state.text("@@server_uuid")?),
            mysql_unfit(state)?,
        ),
    };
    let links = links
        .iter()
        .map(|fields| match flavor {
            Flavor::MariaDb => link(fields, &MARIADB_LINK, Position::parse_mariadb),
            Flavor::MySql => link(fields, &MYSQL_LINK, Position::parse_mysql),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if links.iter().any(|(_, by_gtid)| !by_gtid) {
        unfit.push("it replicates by file and offset, not by GTID");
    }
    Ok(Seen {
        version,
        reports: Arc::new(reports(flavor, state)),
        timeouts: timeouts(state),
        at_login: at_login(state).map(Arc::new),
        server_id,
        read_only,
        position,
        stream,
        links: links.into_iter().map(|(link, _)| link).collect(),
        unfit,
        untold: untold(flavor, state),
    })
}

fn timeouts(state: &Fields) -> Option<Timeouts> {
    let seconds = |name| state.number(name).ok().map(u64::from).map(Duration::from_secs);
    Some(Timeouts {
        wait: seconds("@@global.wait_timeout")?,
        interactive: seconds("@@global.interactive_timeout")?,
    })
}

fn at_login(state: &Fields) -> Option<AtLogin> {
    Some(AtLogin {
        redirect_url: state.text("@@global.redirect_url").ok()?.into(),
        time_zone: state.text("@@global.time_zone").ok()?.into(),
        autocommit: state.on("@@global.autocommit").ok()?,
    })
}

fn reports(flavor: Flavor, state: &Fields) -> Reports {
    let values = reports::names(flavor).iter().map(|name| {
        let name = format!("@@global.{name}");
        let found = state.0.iter().find(|(column, _)| *column == name);
        found.and_then(|(_, value)| value.as_deref()).map(str::as_bytes)
    });
    Reports::read(values).unwrap_or_else(|| Reports::built_in(flavor))
}

/// `10.11.14-MariaDB-log` → 101114, the form of versioned comments.
fn version(flavor: Flavor, text: &str) -> Result<Version, String> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(str::parse::<u32>);
    let mut number = 0_u32;
    for _ in 0..3 {
        let part = numbers.next().and_then(Result::ok).filter(|&n| n < 100);
        number = number * 100 + part.ok_or_else(|| format!("version {text:?} could not be read"))?;
    }
    Ok(Version {
        flavor,
        number,
        text: text.into(),
    })
}

/// Without these a master can't take the other's place (FIELD §5f, durability).
fn mariadb_unfit(state: &Fields) -> Result<Vec<&'static str>, String> {
    let mut unfit = Vec::new();
    if !state.on("@@log_bin")? {
        unfit.push("log_bin is off: the other master can't replicate from it");
    } else if !state.on("@@log_slave_updates")? {
        unfit.push("log_slave_updates is off: its binary log lacks the other master's commits");
    }
    if !state.on("@@gtid_strict_mode")? {
        unfit.push("gtid_strict_mode is off: commits out of order go unnoticed");
    }
    if !state.text("@@binlog_format")?.eq_ignore_ascii_case("ROW") {
        unfit.push("binlog_format is not ROW: statements may change other rows on the other master");
    }
    Ok(unfit)
}

/// Without these it can't be looked up whether a statement without an answer took effect: see
/// [`crate::failover::outcome`].
fn untold(flavor: Flavor, state: &Fields) -> Vec<&'static str> {
    // A server without a variable is one that does not compress, or always writes the texts.
    let is = |name: &str, wanted: bool| state.on(name).unwrap_or(wanted) == wanted;
    let mut untold = Vec::new();
    if !is("texts", true) {
        untold.push(match flavor {
            Flavor::MariaDb => "binlog_annotate_row_events is off",
            Flavor::MySql => "binlog_rows_query_log_events is off",
        });
    }
    if !is("replicated_texts", true) {
        untold.push("replicate_annotate_row_events is off");
    }
    if !is("compressed", false) {
        untold.push(match flavor {
            Flavor::MariaDb => "log_bin_compress is on",
            Flavor::MySql => "binlog_transaction_compression is on",
        });
    }
    untold
}

fn mysql_unfit(state: &Fields) -> Result<Vec<&'static str>, String> {
    let mut unfit = Vec::new();
    if !state.on("@@log_bin")? {
        unfit.push("log_bin is off: the other master can't replicate from it");
    } else if !state.on("@@log_replica_updates")? {
        unfit.push("log_replica_updates is off: its binary log lacks the other master's commits");
    }
    if !state.text("@@gtid_mode")?.eq_ignore_ascii_case("ON") {
        unfit.push("gtid_mode is not ON: its commits have no names");
    }
    Ok(unfit)
}

struct LinkColumns {
    source_server_id: &'static str,
    receiver: &'static str,
    applier: &'static str,
    lag: &'static str,
    gtid: &'static str,
    received: &'static str,
    /// Numbers that grow.
    heard: &'static [&'static str],
}

const MARIADB_LINK: LinkColumns = LinkColumns {
    source_server_id: "Master_Server_Id",
    receiver: "Slave_IO_Running",
    applier: "Slave_SQL_Running",
    lag: "Seconds_Behind_Master",
    gtid: "Using_Gtid",
    received: "Gtid_IO_Pos",
    heard: &["Read_Master_Log_Pos", "Slave_received_heartbeats"],
};

const MYSQL_LINK: LinkColumns = LinkColumns {
    source_server_id: "Source_Server_Id",
    receiver: "Replica_IO_Running",
    applier: "Replica_SQL_Running",
    lag: "Seconds_Behind_Source",
    gtid: "Auto_Position",
    received: "Retrieved_Gtid_Set",
    // Heartbeats are counted in performance_schema only, which the account need not see.
    heard: &["Read_Source_Log_Pos"],
};

/// The channel, and whether it goes by GTID.
fn link(
    fields: &Fields,
    columns: &LinkColumns,
    position: fn(&str) -> Option<Position>,
) -> Result<(Link, bool), String> {
    let error = |name| {
        let text = fields.text(name).ok().filter(|text| !text.is_empty());
        text.map(Into::into)
    };
    let lag = match fields.get(columns.lag)? {
        None => None,
        Some(_) => Some(Duration::from_secs(fields.number(columns.lag)?.into())),
    };
    let link = Link {
        source_server_id: fields.number(columns.source_server_id)?,
        receiver: match fields.text(columns.receiver)? {
            "Yes" => Receiver::Connected,
            "No" => Receiver::Stopped,
            _ => Receiver::Connecting,
        },
        applying: fields.text(columns.applier)? == "Yes",
        received: position(fields.text(columns.received)?)
            .ok_or_else(|| format!("{} could not be read", columns.received))?,
        heard: columns.heard.iter().filter_map(|name| fields.wide(name)).sum(),
        lag,
        applier_error: error("Last_SQL_Error"),
        receiver_error: error("Last_IO_Error"),
    };
    let by_gtid = !matches!(fields.text(columns.gtid)?, "No" | "0");
    Ok((link, by_gtid))
}

impl Fields {
    fn get(&self, name: &str) -> Result<Option<&str>, String> {
        self.0
            .iter()
            .find(|(column, _)| column == name)
            .map(|(_, value)| value.as_deref())
            .ok_or_else(|| format!("{name} is missing"))
    }

    /// NULL is empty: `gtid_slave_pos` and others say nothing that way.
    pub(super) fn text(&self, name: &str) -> Result<&str, String> {
        self.get(name).map(Option::unwrap_or_default)
    }

    fn number(&self, name: &str) -> Result<u32, String> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| format!("{name} is {text:?}, not a number"))
    }

    fn wide(&self, name: &str) -> Option<u64> {
        self.text(name).ok()?.parse().ok()
    }

    fn on(&self, name: &str) -> Result<bool, String> {
        let text = self.text(name)?;
        Ok(!(text == "0" || text.eq_ignore_ascii_case("OFF")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let column = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            let value = (value != "NULL").then(|| value.to_owned());
            (name.trim().to_owned(), value)
        };
        Fields(text.split(';').map(column).collect())
    }

    const STATE: &str = "@@version=10.11.14-MariaDB-0+deb12u2-log; @@server_id=2; @@read_only=0; @@log_bin=1; \
        @@log_slave_updates=1; @@gtid_strict_mode=1; @@binlog_format=ROW; @@gtid_slave_pos=0-1-7; @@gtid_binlog_pos=0-1-7; \
        gtid_domain_id=0";
    const LINK: &str = "Master_Server_Id=1; Slave_IO_Running=Yes; Slave_SQL_Running=Yes; \
        Seconds_Behind_Master=3; Using_Gtid=Slave_Pos; Gtid_IO_Pos=0-1-9; Read_Master_Log_Pos=700; \
        Slave_received_heartbeats=5; Last_IO_Error=; Last_SQL_Error=";

    fn read(state: &str, link: &str) -> Result<Seen, String> {
        seen(Flavor::MariaDb, &fields(state), &[fields(link)])
    }

    #[test]
    fn a_healthy_mariadb_is_read() {
        let seen = read(STATE, LINK).unwrap();
        assert_eq!(seen.version.number, 101_114);
        assert_eq!((seen.server_id, seen.read_only), (2, false));
        assert_eq!(seen.position.to_string(), "0-1-7");
        assert_eq!(seen.links[0].lag, Some(Duration::from_secs(3)));
        assert_eq!(seen.links[0].receiver, Receiver::Connected);
        assert_eq!(
            (seen.links[0].received.to_string().as_str(), seen.links[0].heard),
            ("0-1-9", 705)
        );
        assert!(seen.links[0].applying && seen.links[0].error().is_none());
        assert!(seen.unfit.is_empty());
        assert_eq!(seen.timeouts, None);
        let state = format!("{STATE}; @@global.wait_timeout=600; @@global.interactive_timeout=7200");
        let timeouts = read(&state, LINK).unwrap().timeouts.unwrap();
        assert_eq!(timeouts.wait, Duration::from_secs(600));
        assert_eq!(timeouts.interactive, Duration::from_secs(7200));
        assert_eq!(seen.at_login, None, "10.11 tells of nothing");
        let state =
            format!("{STATE}; @@global.redirect_url=; @@global.time_zone=SYSTEM; @@global.autocommit=1");
        let told = read(&state, LINK).unwrap().at_login.unwrap();
        assert_eq!(
            (&*told.time_zone, told.autocommit, &*told.redirect_url),
            ("SYSTEM", true, "")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for read_only in ["1", "ON", "NO_LOCK_NO_ADMIN"] {
            let state = STATE.replace("read_only=0", &format!("read_only={read_only}"));
            assert!(read(&state, LINK).unwrap().read_only, "{read_only}");
        }
        let link = LINK
            .replace("IO_Running=Yes", "IO_Running=Connecting")
            .replace("Master=3", "Master=NULL")
            .replace("IO_Error=", "IO_Error=error connecting")
            .replace("Slave_Pos", "No");
        let seen = read(&STATE.replace("log_bin=1", "log_bin=0"), &link).unwrap();
        assert_eq!(seen.links[0].receiver, Receiver::Connecting);
        assert_eq!(seen.links[0].lag, None);
        assert_eq!(seen.links[0].receiver_error.as_deref(), Some("error connecting"));
        assert_eq!(seen.unfit.len(), 2);
        assert!(seen.untold.is_empty(), "a server that does not know them");
        let silent = format!("{STATE}; texts=0; replicated_texts=1; compressed=1");
        assert_eq!(
            read(&silent, LINK).unwrap().untold,
            ["binlog_annotate_row_events is off", "log_bin_compress is on"]
        );
        assert!(read(&STATE.replace("0-1-7", "x"), LINK).is_err());
        assert!(read(&STATE.replace("10.11", "new"), LINK).is_err());
        assert!(
            read("@@version=10.11.14", LINK)
                .unwrap_err()
                .contains("@@server_id")
        );
    }

    #[test]
    fn mysql_is_read() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let state = format!(
            "@@version=9.7.4; @@server_id=1; @@read_only=0; @@super_read_only=0; @@offline_mode=0; @@log_bin=1; \
             @@log_replica_updates=1; @@gtid_mode=ON; @@gtid_executed={uuid}:1-7; \
             @@server_uuid={uuid}"
        );
        let link = "Source_Server_Id=2; Replica_IO_Running=No; Replica_SQL_Running=No; \
            Seconds_Behind_Source=NULL; Auto_Position=1; Retrieved_Gtid_Set=; Last_IO_Error=; Last_SQL_Error=duplicate key";
        let seen = seen(Flavor::MySql, &fields(&state), &[fields(link)]).unwrap();
        assert_eq!((seen.version.number, seen.read_only), (90_704, false));
        assert_eq!(seen.links[0].receiver, Receiver::Stopped);
        assert_eq!(seen.links[0].applier_error.as_deref(), Some("duplicate key"));
        assert_eq!(seen.position.to_string(), format!("{uuid}:1-7"));
        assert_eq!(flavor("9.7.4", "MySQL Community Server - GPL"), Flavor::MySql);
        assert_eq!(
            flavor("10.11.14", "mariadb.org binary distribution"),
            Flavor::MariaDb
        );
    }
}
