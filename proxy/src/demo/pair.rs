//! Two private servers that replicate to each other by GTID: the ground of `tandem demo`
//! and of the tests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mysql_async::Row;
use mysql_async::prelude::Queryable;
use tempfile::TempDir;

use super::server::install;
use super::watchdog::Watchdog;
use crate::topology::Flavor;

pub use super::engine::Engine;
pub use super::options::Options;
pub use super::server::{Error, Server, client};

/// A name and its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub user: &'static str,
    pub password: &'static str,
}

/// The application's account: all rights on [`Options::databases`], none beyond.
pub const APP: Account = Account {
    user: "app",
    password: "app-secret",
};

/// The account of Tandem's monitor; what it may do stands at [`monitor_grant`].
pub const MONITOR: Account = Account {
    user: "tandem_monitor",
    password: "monitor-secret",
};

/// The account with which the servers fetch each other's binlog.
pub const REPLICATION: Account = Account {
    user: "replicator",
    password: "replicator-secret",
};

/// Two servers, ready for use once started: both directions run, semi-sync is on.
/// Dropping it kills both and removes their folder.
#[derive(Debug)]
pub struct Pair {
    // Dropped in this order: the servers first, then what watches over them and their folder.
    servers: [Server; 2],
    failover: bool,
    watchdog: Watchdog,
    directory: TempDir,
}

impl Pair {
    pub async fn start(options: &Options) -> Result<Self, Error> {
        let directory = tempfile::Builder::new()
            .prefix("tandem-")
            .tempdir()
            .map_err(Error::io("make a temporary folder"))?;
        let watchdog = Watchdog::start(directory.path()).map_err(Error::io("start the watchdog"))?;
        let [first, second] = ["a", "b"].map(|name| directory.path().join(name));
        let copy = |from: &Path, to: &Path| {
            copy_folder(from, to).map_err(Error::io("copy the data directory"))?;
            // MySQL's name for itself, which no two servers may share; it makes itself another.
            let _ = fs::remove_file(to.join("auto.cnf"));
            Ok::<(), Error>(())
        };
        let [data, second_data] = [&first, &second].map(|server| server.join("data"));
        match &options.template {
            Some(template) => {
                provide(&options.engine, template).await?;
                copy(template, &data)?;
            }
            None => install(&options.engine, &data).await?,
        }
        // One second is saved by copying instead of installing twice.
        copy(&data, &second_data)?;
        let (a, b) = tokio::try_join!(prepare("a", 1, first, options), prepare("b", 2, second, options))?;
        let pair = Self {
            servers: [a, b],
            failover: options.failover,
            watchdog,
            directory,
        };
        tokio::try_join!(pair.follow(0, 1), pair.follow(1, 0))?;
        tokio::try_join!(pair.wait_linked(0), pair.wait_linked(1))?;
        Ok(pair)
    }

    /// The server that takes writes.
    pub fn a(&self) -> &Server {
        &self.servers[0]
    }

    /// The other one, `read_only` unless [`Options::both_writable`].
    pub fn b(&self) -> &Server {
        &self.servers[1]
    }

    pub fn servers(&self) -> &[Server; 2] {
        &self.servers
    }

    /// The journal of a Tandem that decides who is active, where one does.
    pub fn journal(&self) -> Option<PathBuf> {
        self.failover.then(|| self.directory().join("journal"))
    }

    /// The temporary folder with everything in it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until both servers have committed the same, and says what that is.
    pub async fn wait_replicated(&self) -> Result<String, Error> {
        let deadline = Instant::now() + REPLICATION_TIMEOUT;
        loop {
            let (a, b) = tokio::try_join!(position(self.a()), position(self.b()))?;
            if a == b {
                return Ok(a);
            }
            if Instant::now() > deadline {
                return Err(self.b().late("reach the position of a", REPLICATION_TIMEOUT));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `index` receives, applies, and has its commits acknowledged by the other server.
    pub async fn wait_linked(&self, index: usize) -> Result<(), Error> {
        let server = &self.servers[index];
        let deadline = Instant::now() + REPLICATION_TIMEOUT;
        while !linked(server).await? {
            if Instant::now() > deadline {
                return Err(server.late("replicate", REPLICATION_TIMEOUT));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops both servers in good order and removes their folder.
    pub async fn stop(self) -> Result<(), Error> {
        let [a, b] = &self.servers;
        tokio::try_join!(a.stop(), b.stop())?;
        let Self {
            servers,
            watchdog,
            directory,
            ..
        } = self;
        drop(servers);
        drop(watchdog);
        // The watchdog has removed the folder already; what this reports is only that it is gone.
        drop(directory);
        Ok(())
    }

    async fn follow(&self, index: usize, source: usize) -> Result<(), Error> {
        let server = &self.servers[index];
        let port = self.servers[source].address().port();
        let Account { user, password } = REPLICATION;
        // A retry each second, since the default of 60 would make every restart of the other a
        // minute without replication.
        let statements = match server.engine().flavor() {
            Flavor::MariaDb => [
                format!(
                    "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='{user}', \
                     MASTER_PASSWORD='{password}', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, \
                     MASTER_HEARTBEAT_PERIOD=1"
                ),
                "START SLAVE".to_owned(),
            ],
            Flavor::MySql => [
                format!(
                    "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, \
                     SOURCE_USER='{user}', SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, \
                     SOURCE_CONNECT_RETRY=1, SOURCE_HEARTBEAT_PERIOD=1, GET_SOURCE_PUBLIC_KEY=1"
                ),
                "START REPLICA".to_owned(),
            ],
        };
        execute(server, &statements).await
    }
}

/// Starts one server and gives it its accounts, outside the binlog: both servers get them, so
/// neither has to replicate them.
async fn prepare(name: &str, number: u32, directory: PathBuf, options: &Options) -> Result<Server, Error> {
    let server = Server::start(name, number, directory, options).await?;
    execute(&server, &accounts(options)).await?;
    Ok(server)
}

fn accounts(options: &Options) -> Vec<String> {
    let create = |account: Account| {
        format!(
            "CREATE USER '{}'@'%' IDENTIFIED BY '{}'",
            account.user, account.password
        )
    };
    let flavor = options.engine.flavor();
    let mut statements = vec!["SET SESSION sql_log_bin=0".into()];
    if flavor == Flavor::MariaDb {
        // Anonymous accounts would shadow `app`@`%` for local connections; root without a password
        // is for the socket only, which the folder's mode protects.
        statements.extend([
            "DELETE FROM mysql.global_priv WHERE User='' OR (User='root' AND Host<>'localhost')".into(),
            "FLUSH PRIVILEGES".into(),
        ]);
    }
    statements.extend([
        create(REPLICATION),
        format!("GRANT REPLICATION SLAVE ON *.* TO '{}'@'%'", REPLICATION.user),
        create(MONITOR),
        format!("{} TO '{}'@'%'", monitor_grant(flavor), MONITOR.user),
        create(APP),
    ]);
    if options.failover {
        let grants = failover_grants(flavor).map(|grant| format!("{grant} TO '{}'@'%'", MONITOR.user));
        statements.extend(grants);
    }
    statements.extend(
        options
            .databases
            .iter()
            .map(|name| format!("GRANT ALL PRIVILEGES ON `{name}`.* TO '{}'@'%'", APP.user)),
    );
    statements
}

async fn execute(server: &Server, statements: &[String]) -> Result<(), Error> {
    let mut conn = server.connect().await?;
    for statement in statements {
        // The first words say what failed without giving a password away.
        let doing: String = statement.chars().take(20).collect();
        conn.query_drop(statement).await.map_err(server.sql(doing))?;
    }
    conn.disconnect().await.map_err(server.sql("disconnecting"))
}

/// What is committed, own and replicated, in an order that compares. On MariaDB this is
/// `gtid_current_pos`: `gtid_binlog_pos` grows already before a group commit becomes visible.
async fn position(server: &Server) -> Result<String, Error> {
    let mut conn = server.connect().await?;
    let question = match server.engine().flavor() {
        Flavor::MariaDb => "SELECT @@GLOBAL.gtid_current_pos",
        Flavor::MySql => "SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')",
    };
    let text: Option<String> = conn
        .query_first(question)
        .await
        .map_err(server.sql("reading its position"))?;
    let text = text.unwrap_or_default();
    let mut domains: Vec<&str> = text.split(',').collect();
    domains.sort_unstable();
    Ok(domains.join(","))
}

async fn linked(server: &Server) -> Result<bool, Error> {
    let (status, receiver, applier, clients) = match server.engine().flavor() {
        Flavor::MariaDb => (
            "SHOW SLAVE STATUS",
            "Slave_IO_Running",
            "Slave_SQL_Running",
            "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'",
        ),
        Flavor::MySql => (
            "SHOW REPLICA STATUS",
            "Replica_IO_Running",
            "Replica_SQL_Running",
            "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_clients'",
        ),
    };
    let mut conn = server.connect().await?;
    let failed = "reading its replication status";
    let row: Option<Row> = conn.query_first(status).await.map_err(server.sql(failed))?;
    let runs = |column: &str| {
        let value: Option<String> = row.as_ref().and_then(|row| row.get(column));
        value.as_deref() == Some("Yes")
    };
    let acknowledged: Option<(String, String)> =
        conn.query_first(clients).await.map_err(server.sql(failed))?;
    Ok(runs(receiver) && runs(applier) && acknowledged.is_some_and(|(_, clients)| clients != "0"))
}

/// Has a template made, unless somebody has. Of several who do so at once one is the first, and all have its.
async fn provide(engine: &Engine, template: &Path) -> Result<(), Error> {
    if template.exists() {
        return Ok(());
    }
    let parent = template.parent().unwrap_or(template);
    let folder = tempfile::tempdir_in(parent).map_err(Error::io("make a temporary folder"))?;
    let data = folder.path().join("data");
    install(engine, &data).await?;
    let moved = fs::rename(&data, template);
    moved.or_else(|error| match template.exists() {
        true => Ok(()),
        false => Err(Error::io("keep the data directory")(error)),
    })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What watching a server takes, and no more. On MariaDB `SHOW ALL SLAVES STATUS` needs SLAVE MONITOR
/// (since 10.5.9); on MySQL `SHOW REPLICA STATUS` needs REPLICATION CLIENT. Variables, global status and
/// waiting for a position need no right at all. TRIGGER and SHOW VIEW are for knowing which tables reach further than
/// their names say (see `monitor::definitions`).
pub fn monitor_grant(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::MariaDb => "GRANT SLAVE MONITOR, TRIGGER, SHOW VIEW ON *.*",
        Flavor::MySql => "GRANT REPLICATION CLIENT, TRIGGER, SHOW VIEW ON *.*",
    }
}

/// What deciding who is active takes beside that: see `failover::sql`.
pub fn failover_grants(flavor: Flavor) -> [&'static str; 2] {
    let roles = match flavor {
        Flavor::MariaDb => {
            "GRANT READ_ONLY ADMIN, CONNECTION ADMIN, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, REPLICATION SLAVE, PROCESS ON *.*"
        }
        Flavor::MySql => {
            "GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, REPLICATION SLAVE, PROCESS ON *.*"
        }
    };
    [roles, "GRANT CREATE, INSERT, DELETE ON tandem.*"]
}

const REPLICATION_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
