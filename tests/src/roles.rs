//! What a Tandem that decides says of its pair, and waiting for it.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::pair::Server;
use crate::{Cluster, wait_until};

/// How it ended with a server that was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Both replicate, one is writable. The other may be behind while clients write as fast as they can.
    Whole,
    /// It has what the other has not: a commit that was written and not sent yet when it died. MariaDB forgets that when it starts
    /// (`init_rpl_role`), MySQL keeps it.
    Quarantined,
}

/// The active master's name.
pub async fn active(cluster: &Cluster) -> Option<String> {
    active_by(&mut cluster.admin().await).await
}

/// The same, as the Tandem says whose admin port this is.
pub async fn active_by(admin: &mut Conn) -> Option<String> {
    let rows = ask_by(admin, "SHOW SERVERS").await;
    let active = rows.iter().find(|row| is(row, "role", "active"));
    active.and_then(|row| row.get("name"))
}

/// Waits for it; `None` is anybody. Panics, with what Tandem says, when it takes longer.
pub async fn wait_active(cluster: &Cluster, name: Option<&str>, within: Duration) -> String {
    wait_active_by(&mut cluster.admin().await, name, within).await
}

/// The same, as the Tandem says whose admin port this is.
pub async fn wait_active_by(admin: &mut Conn, name: Option<&str>, within: Duration) -> String {
    let deadline = Instant::now() + within;
    loop {
        let active = active_by(admin).await;
        if let Some(active) = active.filter(|active| name.is_none_or(|name| name == active)) {
            return active;
        }
        if Instant::now() > deadline {
            show_by(admin).await;
            panic!("{} is not active within {within:?}", name.unwrap_or("nobody"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A line of `SHOW FAILOVER`; empty without it.
pub async fn property(admin: &mut Conn, name: &str) -> String {
    let rows = ask_by(admin, "SHOW FAILOVER").await;
    let found = rows.iter().find(|row| is(row, "property", name));
    let value = found.and_then(|row| row.get::<Option<String>, _>("value").flatten());
    value.unwrap_or_default()
}

/// Waits until the standby could take over.
pub async fn wait_ready(cluster: &Cluster, within: Duration) {
    wait_until("a failover is possible", within, || async {
        property(&mut cluster.admin().await, "could_fail_over").await == "yes"
    })
    .await;
}

/// Waits until the pair is whole or a server is in quarantine.
pub async fn wait_settled(cluster: &Cluster, within: Duration) -> Settled {
    let deadline = Instant::now() + within;
    loop {
        let servers = ask(cluster, "SHOW SERVERS").await;
        let writers = servers.iter().filter(|row| is(row, "read_only", "no")).count();
        let replicate = servers
            .iter()
            .all(|row| is(row, "receiving", "yes") && is(row, "applying", "yes"));
        if writers == 1 && replicate {
            return Settled::Whole;
        }
        let events = ask(cluster, "SHOW EVENTS").await;
        let newest = events
            .iter()
            .find(|row| is(row, "event", "quarantined") || is(row, "event", "rejoined"));
        if writers == 1 && newest.is_some_and(|row| is(row, "event", "quarantined")) {
            return Settled::Quarantined;
        }
        if Instant::now() > deadline {
            show(cluster).await;
            let servers = said(cluster, "SERVERS").await;
            panic!("the pair is not settled within {within:?}:\n{servers}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Prints what an operator would look at.
pub async fn show(cluster: &Cluster) {
    show_by(&mut cluster.admin().await).await;
}

/// The same, of the Tandem whose admin port this is.
pub async fn show_by(admin: &mut Conn) {
    for what in ["FAILOVER", "EVENTS"] {
        println!("SHOW {what}");
        for line in said_by(admin, what).await.lines() {
            println!("    {line}");
        }
    }
}

/// What `SHOW …` says, a line for each row.
pub async fn said(cluster: &Cluster, what: &str) -> String {
    said_by(&mut cluster.admin().await, what).await
}

async fn said_by(admin: &mut Conn, what: &str) -> String {
    let rows = ask_by(admin, &format!("SHOW {what}")).await;
    let lines = rows.into_iter().map(|row| {
        let cells = row.unwrap();
        let cells = cells
            .iter()
            .map(|value| value.as_sql(true).trim_matches('\'').to_owned());
        cells.collect::<Vec<_>>().join(" | ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How long the steps of the last failover took, counted from the fault.
pub async fn steps(cluster: &Cluster, since: Instant) -> String {
    let events = ask(cluster, "SHOW EVENTS").await;
    let elapsed = since.elapsed().as_secs_f64() * 1000.0;
    let newest = |event: &str| events.iter().find(|row| is(row, "event", event));
    let begun = newest("failover_begun").and_then(|row| row.get::<String, _>("seconds_ago"));
    let ago: Option<f64> = begun.and_then(|text| text.parse().ok());
    let detected = ago.map_or(0.0, |ago| elapsed - ago * 1000.0);
    let took = |event: &str| {
        let took = newest(event).and_then(|row| row.get::<Option<String>, _>("took_ms").flatten());
        took.unwrap_or_default()
    };
    format!(
        "steps: detected {detected:.0}, fenced {}, receiving_stopped {}, applied {}, promoted {}",
        took("fenced"),
        took("receiving_stopped"),
        took("applied"),
        took("promoted")
    )
}

/// The server with this name.
pub fn server<'a>(cluster: &'a Cluster, name: &str) -> &'a Server {
    let found = cluster
        .pair()
        .servers()
        .iter()
        .find(|server| server.name() == name);
    found.expect("a server of the pair")
}

/// The other one.
pub fn other<'a>(cluster: &'a Cluster, name: &str) -> &'a Server {
    let found = cluster
        .pair()
        .servers()
        .iter()
        .find(|server| server.name() != name);
    found.expect("a pair has two")
}

/// Which servers say themselves that they take writes, past Tandem; one that does not run takes none.
pub async fn writable(cluster: &Cluster) -> Vec<&str> {
    let mut writable = Vec::new();
    for server in cluster.pair().servers() {
        let Ok(mut conn) = server.connect().await else {
            continue;
        };
        if let Ok(Some(0_u8)) = conn.query_first("SELECT @@GLOBAL.read_only").await {
            writable.push(server.name());
        }
    }
    writable
}

async fn ask(cluster: &Cluster, question: &str) -> Vec<Row> {
    ask_by(&mut cluster.admin().await, question).await
}

async fn ask_by(admin: &mut Conn, question: &str) -> Vec<Row> {
    admin.query(question).await.expect(question)
}

fn is(row: &Row, column: &str, wanted: &str) -> bool {
    row.get::<Option<String>, _>(column).flatten().as_deref() == Some(wanted)
}

const LOOK: Duration = Duration::from_millis(2);
