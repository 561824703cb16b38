//! The harness: real servers and a real proxy for black-box tests.
//!
//! A [`Cluster`] is a pair of private servers with Tandem in front, in this process. Starting one
//! takes a few seconds, so tests that only use it share one for their test binary:
//!
//! ```ignore
//! static CLUSTER: tokio::sync::OnceCell<Cluster> = tokio::sync::OnceCell::const_new();
//! let cluster = CLUSTER.get_or_init(|| Cluster::start(Setup::default())).await;
//! ```
//!
//! Rust never drops what is in a `static`; the pair's watchdog cleans up when the binary ends.

pub mod authority;
pub mod browser;
mod cluster;
pub mod differential;
pub mod distance;
pub mod etcd;
pub mod external;
pub mod history;
mod judge;
pub mod ledger;
pub mod logins;
pub mod mutation;
pub mod packets;
mod process;
pub mod raw;
pub mod relay;
pub mod road;
pub mod roles;
pub mod site;
mod warnings;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

pub use cluster::{Cluster, Proxy, Setup};
pub use process::{Footprint, Process};
pub use tandem::demo::pair;
pub use tandem::demo::pair::Engine;
pub use tandem::demo::story::Counts;
pub use tandem::topology::Flavor;
pub use warnings::Warnings;

/// The servers that the environment asks for by `TANDEM_SERVER`: `mariadb` is this machine's (the default);
/// any other name is a folder that `.ci/server-root` has made, `mysql-9.7` or `mariadb-11.8`.
///
/// Panics when the name is none of these; when the folder is missing, starting the servers says so.
pub fn engine() -> Engine {
    let name = std::env::var("TANDEM_SERVER").unwrap_or_default();
    let flavor = match name.as_str() {
        "" | "mariadb" => return Engine::MariaDb,
        name if name.starts_with("mysql-") => Flavor::MySql,
        name if name.starts_with("mariadb-") => Flavor::MariaDb,
        name => panic!("TANDEM_SERVER={name:?} is none of mariadb, mysql-9.7, mariadb-11.8"),
    };
    let folder = std::env::var_os("TANDEM_SERVERS").unwrap_or_else(|| "/var/cache/tandem".into());
    let root = Path::new(&folder).join(name);
    Engine::Unpacked { root, flavor }
}

/// Servers of that kind which sync nothing; `tests/run.py` has a new data directory kept for them.
pub fn options() -> pair::Options {
    let name = std::env::var("TANDEM_SERVER").unwrap_or_default();
    let name = if name.is_empty() { "mariadb" } else { &name };
    let folder = std::env::var_os("TANDEM_TEMPLATES").map(PathBuf::from);
    pair::Options {
        engine: engine(),
        durable: false,
        template: folder.map(|folder| folder.join(name)),
        ..pair::Options::default()
    }
}

/// For what must come: long enough for a machine that is busy with other tests, too.
pub const WITHIN: Duration = Duration::from_secs(60);

/// The steps that `TRACE SESSION` tells of a statement that goes well, in their order.
pub const STEPS: [&str; 8] = [
    "classify",
    "route",
    "lease",
    "bring",
    "send",
    "first_byte",
    "reply",
    "end",
];

/// How often each fault is played: once, or `TANDEM_FAULT_ROUNDS` times (`make soak`).
pub fn rounds() -> u32 {
    let set = std::env::var("TANDEM_FAULT_ROUNDS").ok();
    set.map_or(1, |text| text.parse().expect("TANDEM_FAULT_ROUNDS is a number"))
}

/// The numbers from 1 to `last` as the column `seq` of a derived table, for `SELECT … FROM {}`: MariaDB's sequence
/// engine does not exist on MySQL.
pub fn numbers(last: u32) -> String {
    let digits = "(SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 \
        UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)";
    let places = last.to_string().len();
    let sum: Vec<String> = (0..places)
        .map(|at| format!("d{at}.n * {}", 10_u64.pow(at as u32)))
        .collect();
    let tables: Vec<String> = (0..places).map(|at| format!("{digits} AS d{at}")).collect();
    let (sum, tables) = (sum.join(" + "), tables.join(", "));
    format!("(SELECT 1 + {sum} AS seq FROM {tables} WHERE 1 + {sum} <= {last}) AS numbers")
}

/// What this process holds in memory now, in MiB; the proxy is in it.
pub fn memory_mib() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let resident = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    let pages: usize = resident.expect("pages");
    pages * 4096 / (1 << 20)
}

/// The error of a statement that takes longer than it may.
pub fn overtime() -> u16 {
    match engine().flavor() {
        Flavor::MariaDb => 1969,
        Flavor::MySql => 3024,
    }
}

/// A configuration that is right, in front of servers of which none is there.
pub fn config_without_servers(listener: &str) -> String {
    format!(
        "[listener]\naddress = \"{listener}\"\n[admin]\naddress = \"127.0.0.1:0\"\nuser = \"x\"\npassword = \"x\"\n\
         [monitor]\nuser = \"x\"\npassword = \"x\"\n[[server]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n\
         [[server]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\n[[user]]\nname = \"x\"\npassword = \"x\"\n"
    )
}

/// A connection's number, as it is told itself.
pub async fn own_number(conn: &mut Conn) -> u32 {
    let id = conn.query_first("SELECT CONNECTION_ID()").await;
    id.expect("an answer").expect("a number")
}

/// Asks `holds` again and again until it says yes; panics with `what` if it has not by the deadline.
pub async fn wait_until<F, A>(what: &str, within: Duration, mut holds: F)
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Has a server of a pair replicate by another address, behind which its source is.
pub async fn replicate_by(server: &pair::Server, address: SocketAddr) {
    use mysql_async::prelude::Queryable;
    let (host, port) = (address.ip(), address.port());
    let statements = match server.engine().flavor() {
        Flavor::MariaDb => [
            "STOP SLAVE".to_owned(),
            format!("CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}"),
            "START SLAVE".to_owned(),
        ],
        Flavor::MySql => [
            "STOP REPLICA".to_owned(),
            format!("CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}"),
            "START REPLICA".to_owned(),
        ],
    };
    let mut conn = server.connect().await.expect("a connection");
    for statement in statements {
        conn.query_drop(&statement).await.expect(&statement);
    }
}
