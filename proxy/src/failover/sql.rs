//! The [`Hands`] that act on real servers, by statements.
//!
//! # Rights
//! Beside the monitor's ([`crate::monitor`]) its account needs, on both servers:
//! ```sql
//! -- MariaDB 10.11
//! GRANT READ_ONLY ADMIN, CONNECTION ADMIN, REPLICATION SLAVE ADMIN, REPLICATION MASTER ADMIN, REPLICATION SLAVE, PROCESS ON *.* TO 'tandem_monitor'@'%';
//! GRANT CREATE, INSERT, DELETE ON tandem.* TO 'tandem_monitor'@'%';
//! -- MySQL 8.0 and later
//! GRANT SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION_SLAVE_ADMIN, REPLICATION SLAVE, PROCESS ON *.* TO 'tandem_monitor'@'%';
//! GRANT CREATE, INSERT, DELETE ON tandem.* TO 'tandem_monitor'@'%';
//! ```
//! The last is for [`super::pulse`].

mod place;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Timelike;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row, Value};
use tandem_protocol::handshake::connect::Protection;
use tokio::sync::watch;

use super::coordination::Seat;
use super::events::{Event, Events, Kind, shell};
use super::hands::{Acknowledged, Hands, Trouble};
use super::journal::{Entry, Journal};
use super::judge::REFUSED;
use super::pulse::Stall;
use crate::config::Config;
use crate::monitor::applied;
use crate::monitor::door::Door;
use crate::monitor::{Signals, Sources};
use crate::net::address::Endpoint;
use crate::net::tls;
use crate::topology::derive::{Authority, Decided};
use crate::topology::gtid::{Position, Stream};
use crate::topology::mark::Mark;
use crate::topology::{Flavor, ServerId, Shared};
use place::{Place, surplus};

/// How long one question after what is applied waits.
const APPLY_LOOK: Duration = Duration::from_millis(50);

/// How often, and how many times, it is looked whether a killed thread has ended.
const ENDING_LOOK: Duration = Duration::from_millis(2);
const ENDING_LOOKS: usize = 100;

/// Where decisions are recorded.
pub(super) enum Memory {
    /// Of a Tandem that decides alone.
    Alone(Journal),
    /// Of one that others follow.
    Shared(Arc<Seat>),
}

/// The real ones.
pub(super) struct Sql {
    doors: Vec<Server>,
    newer: watch::Receiver<Arc<Config>>,
    topology: Shared,
    signals: Signals,
    authority: watch::Sender<Authority>,
    memory: Memory,
    events: Arc<Events>,
    stall: watch::Receiver<Option<Stall>>,
    /// Of the active master that there is or was last.
    mark: Mutex<Option<Arc<Mark>>>,
}

struct Server {
    name: String,
    address: Endpoint,
    door: Door,
    /// One that failed in any way is not used again.
    conn: tokio::sync::Mutex<Option<Conn>>,
}

impl Sql {
    pub(super) fn new(
        sources: &Sources,
        authority: watch::Sender<Authority>,
        memory: Memory,
        events: Arc<Events>,
        stall: watch::Receiver<Option<Stall>>,
    ) -> Self {
        let config = Arc::clone(&sources.newer.borrow());
        let doors = Door::of_all(&sources.newer);
        let servers = config.servers.iter().zip(doors).map(|(server, door)| Server {
            name: server.name.clone(),
            address: server.address.clone(),
            door,
            conn: tokio::sync::Mutex::default(),
        });
        Self {
            doors: servers.collect(),
            newer: sources.newer.clone(),
            topology: Shared::clone(&sources.topology),
            signals: sources.signals.clone(),
            authority,
            memory,
            events,
            stall,
            mark: Mutex::default(),
        }
    }

    /// What acts now.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.newer.borrow())
    }

    fn flavor(&self) -> Flavor {
        self.topology.load().flavor().unwrap_or(Flavor::MariaDb)
    }

    fn semi_sync_variable(&self) -> &'static str {
        match self.flavor() {
            Flavor::MariaDb => "rpl_semi_sync_master_enabled",
            Flavor::MySql => "rpl_semi_sync_source_enabled",
        }
    }

    async fn ask(&self, server: ServerId, statement: &str) -> Result<Vec<Row>, Trouble> {
        let asked = self.ask_quietly(server, statement).await;
        asked.map_err(|trouble| format!("{statement}: {trouble}"))
    }

    /// An error does not repeat the statement.
    async fn ask_quietly(&self, server: ServerId, statement: &str) -> Result<Vec<Row>, Trouble> {
        let server = &self.doors[server.0];
        let mut kept = server.conn.lock().await;
        let answer = match kept.take() {
            Some(mut conn) => match conn.query(statement).await {
                // The server may have been started anew since. All that is asked and set here may be twice.
                Err(error) if !matches!(error, Error::Server(_)) => None,
                answer => Some((answer, conn)),
            },
            None => None,
        };
        let (answer, conn) = match answer {
            Some(answered) => answered,
            None => {
                let mut conn = server.open().await.map_err(|error| server.trouble(&error))?;
                (conn.query(statement).await, conn)
            }
        };
        if matches!(answer, Ok(_) | Err(Error::Server(_))) {
            *kept = Some(conn);
        }
        answer.map_err(|error| match error {
            Error::Server(error) => format!("{} ({})", error.message, error.code),
            error => server.trouble(&error),
        })
    }

    /// Whether no worker of a parallel applier (MariaDB) has a transaction in its hands that goes on.
    async fn workers_wait(&self, server: ServerId) -> Result<bool, Trouble> {
        let question = "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Slave_worker' \
             AND state <> 'Waiting for work from SQL thread'";
        Ok(self.text(server, question).await? == "0")
    }

    async fn run(&self, server: ServerId, statement: &str) -> Result<(), Trouble> {
        self.ask(server, statement).await.map(drop)
    }

    async fn text(&self, server: ServerId, question: &str) -> Result<String, Trouble> {
        let rows = self.ask(server, question).await?;
        let value = rows
            .into_iter()
            .next()
            .and_then(|mut row| row.take::<Option<String>, _>(0));
        Ok(value.flatten().unwrap_or_default().replace('\n', ""))
    }

    /// Ends the threads that `picks` picks by user and command.
    async fn end(&self, server: ServerId, picks: impl Fn(&str, &str) -> bool) -> Result<(), Trouble> {
        // Not information_schema: on a full disk MySQL has no room for a temporary table.
        for row in self.ask(server, "SHOW PROCESSLIST").await? {
            let id: Option<u64> = row.get("Id");
            if let Some(id) = id.filter(|_| picks(&column(&row, "User"), &column(&row, "Command"))) {
                // It may have ended by itself.
                let _ = self.run(server, &format!("KILL {id}")).await;
            }
        }
        Ok(())
    }

    /// Of a MariaDB server.
    async fn place(&self, server: ServerId) -> Result<Place, Trouble> {
        let question = "SELECT CONCAT_WS('|', @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_binlog_pos, \
                        @@GLOBAL.server_id)";
        let text = self.text(server, question).await?;
        let parts: Vec<&str> = text.split('|').collect();
        let place = match parts[..] {
            [applied, state, written, id] => id.parse().ok().map(|id| Place {
                applied: applied.to_owned(),
                state: state.to_owned(),
                written: written.to_owned(),
                id,
            }),
            _ => None,
        };
        place.ok_or_else(|| format!("its position can't be read: {text}"))
    }

    /// The state of the channel by which it receives.
    async fn link(&self, server: ServerId) -> Result<Row, Trouble> {
        let rows = self.links(server).await?;
        rows.into_iter().next().ok_or_else(|| {
            "it is not set up to replicate from anybody (CHANGE MASTER, CHANGE REPLICATION SOURCE)".to_owned()
        })
    }

    async fn links(&self, server: ServerId) -> Result<Vec<Row>, Trouble> {
        let question = match self.flavor() {
            Flavor::MariaDb => "SHOW ALL SLAVES STATUS",
            Flavor::MySql => "SHOW REPLICA STATUS",
        };
        self.ask(server, question).await
    }

    /// Has a server that replicates from nobody replicate by GTID, as Tandem's own account.
    async fn set_up(&self, server: ServerId, from: ServerId) -> Result<(), Trouble> {
        let source = &self.doors[from.0];
        let Endpoint::Tcp(address) = &source.address else {
            return Err(format!(
                "it is not set up to replicate, and Tandem can't do that for it, since it knows {} by a socket only: CHANGE MASTER, \
                 CHANGE REPLICATION SOURCE",
                source.name
            ));
        };
        let quoted = |text: &str| Value::from(text).as_sql(false);
        let config = self.config();
        let account = &config.monitor;
        let login = (quoted(&account.user), quoted(account.password.reveal()));
        // It is not to be reached without TLS.
        let encrypts = tls::protection(config.server_tls.mode, &source.address) == Protection::Required;
        let statement = set_up(self.flavor(), *address, login, encrypts);
        // The statement is in no error: it has the password.
        self.ask_quietly(server, &statement).await?;
        let detail = format!(
            "it replicated from nobody, and does now from {} at {address}",
            source.name
        );
        let name = self.doors[server.0].name.clone();
        self.tell(Event::of_now(Kind::SetUp, name, detail, None));
        Ok(())
    }

    /// Where a MariaDB would ask its source for what comes behind a place that is the wrong one, it is told another.
    async fn ask_from_elsewhere(&self, server: ServerId, from: ServerId, link: &Row) -> Result<(), Trouble> {
        let (name, source) = (&self.doors[server.0].name, &self.doors[from.0].name);
        let place = self.place(server).await?;
        let (kind, detail, position) = if let Some(applied) = place.without_forgotten() {
            let detail = format!(
                "a crash has taken commits of its own from it, up to {}: it gets them back from {source}",
                place.applied
            );
            (Kind::FetchesBack, detail, format!("'{applied}'"))
        } else if column(link, "Last_IO_Errno") == REFUSED
            && place.has_gone_on()
            && (self.errant(from, server).await?.is_none() || self.errant(server, from).await?.is_none())
        {
            let all = &place.written;
            // A source that is not there yet would refuse that too.
            if !self.applied(from, all, APPLY_LOOK).await? {
                return Ok(());
            }
            let detail = format!(
                "{source} was made anew, and its log does not go back to where {name} replicated from last: it goes on behind {all}, its \
                 own newest commit, since one of them has nothing that the other lacks"
            );
            // What it has committed meanwhile too: less than it has is refused (gtid_strict_mode).
            (Kind::SetUp, detail, "@@GLOBAL.gtid_binlog_pos".to_owned())
        } else {
            return Ok(());
        };
        let channel = column(link, "Connection_name");
        self.run(server, &format!("STOP SLAVE '{channel}'")).await?;
        self.run(server, &format!("SET GLOBAL gtid_slave_pos={position}"))
            .await?;
        self.tell(Event::of_now(kind, name.clone(), detail, None));
        Ok(())
    }

    /// Starts or stops applying what a channel receives.
    fn applier(&self, verb: &str, link: &Row) -> String {
        match self.flavor() {
            Flavor::MariaDb => format!("{verb} SLAVE '{}' SQL_THREAD", column(link, "Connection_name")),
            Flavor::MySql => format!(
                "{verb} REPLICA SQL_THREAD FOR CHANNEL '{}'",
                column(link, "Channel_Name")
            ),
        }
    }

    fn current_mark(&self) -> Option<Arc<Mark>> {
        let mut known = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        // Also that of before this began to decide: then there may be no active master any more.
        if let Some(mark) = self.topology.load().last_mark() {
            *known = Some(Arc::clone(mark));
        }
        known.clone()
    }
}

impl Server {
    async fn open(&self) -> Result<Conn, Error> {
        let mut conn = self.door.open().await?;
        // SET GLOBAL read_only waits for others' locks. A backslash in a password is written as two.
        conn.query_drop("SET SESSION lock_wait_timeout=2, sql_mode=''")
            .await?;
        Ok(conn)
    }

    fn trouble(&self, error: &Error) -> Trouble {
        format!("server {}: {error}", self.name)
    }
}

/// ER_UNKNOWN_SYSTEM_VARIABLE, of a server without the plugin; as [`Sql::ask_quietly`] writes it.
const UNKNOWN_VARIABLE: &str = "(1193)";

/// So many looks in a row, each longer than [`APPLY_LOOK`], find that no worker of the applier has anything to do.
const IDLE_LOOKS: u32 = 3;

/// How long a commit may take that its standby has executed already, and its master not.
const COMMITTING: Duration = Duration::from_secs(1);

/// `login` is in quotes, a user and a password.
fn set_up(flavor: Flavor, source: SocketAddr, login: (String, String), encrypts: bool) -> String {
    let (host, port, (user, password), ssl) = (source.ip(), source.port(), login, u8::from(encrypts));
    match flavor {
        Flavor::MariaDb => format!(
            "CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER={user}, MASTER_PASSWORD={password}, \
             MASTER_SSL={ssl}, MASTER_USE_GTID=slave_pos"
        ),
        // Without TLS, its login asks for the source's key.
        Flavor::MySql => format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, SOURCE_USER={user}, SOURCE_PASSWORD={password}, \
             SOURCE_SSL={ssl}, GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=1"
        ),
    }
}

/// As text, empty for NULL and for a column that is not there.
fn column(row: &Row, name: &str) -> String {
    let value: Option<Result<Option<String>, _>> = row.get_opt(name);
    value
        .and_then(Result::ok)
        .flatten()
        .unwrap_or_default()
        .replace('\n', "")
}

impl Hands for Sql {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn minute_of_day(&self) -> u16 {
        let time = chrono::Local::now();
        u16::try_from(time.hour() * 60 + time.minute()).unwrap_or_default()
    }

    async fn sleep_until(&self, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
    }

    async fn set_read_only(&self, server: ServerId, on: bool) -> Result<(), Trouble> {
        let statements: &[&str] = match (self.flavor(), on) {
            (Flavor::MariaDb, true) => &["SET GLOBAL read_only=1"],
            (Flavor::MariaDb, false) => &["SET GLOBAL read_only=0"],
            // It sets read_only with it; switching that off switches super_read_only off too.
            (Flavor::MySql, true) => &["SET GLOBAL super_read_only=1"],
            (Flavor::MySql, false) => &["SET GLOBAL read_only=0"],
        };
        for statement in statements {
            self.run(server, statement).await?;
        }
        Ok(())
    }

    async fn is_read_only(&self, server: ServerId) -> Result<bool, Trouble> {
        let value = self.text(server, "SELECT @@GLOBAL.read_only").await?;
        // 12.0 of MariaDB gave it names.
        Ok(!matches!(&*value, "0" | "OFF"))
    }

    async fn end_sessions(&self, server: ServerId) -> Result<(), Trouble> {
        let config = self.config();
        let is_foreign = |user: &str, command: &str| {
            let own =
                user == config.monitor.user || user.starts_with("system user") || user == "event_scheduler";
            !own && !command.starts_with("Binlog Dump") && command != "Daemon"
        };
        self.end(server, is_foreign).await
    }

    async fn semi_sync(&self, server: ServerId) -> Result<Option<bool>, Trouble> {
        // SHOW VARIABLES takes MySQL several milliseconds, in which a switchover holds writes (measured on 9.7).
        let question = format!("SELECT @@GLOBAL.{}", self.semi_sync_variable());
        match self.text(server, &question).await {
            Ok(value) => Ok(Some(value == "1")),
            Err(trouble) if trouble.ends_with(UNKNOWN_VARIABLE) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    async fn set_semi_sync(&self, server: ServerId, on: bool) -> Result<(), Trouble> {
        if self.semi_sync(server).await?.is_none_or(|is_on| is_on == on) {
            return Ok(());
        }
        let (variable, value) = (self.semi_sync_variable(), u8::from(on));
        self.run(server, &format!("SET GLOBAL {variable}={value}")).await
    }

    async fn stop_receiving(&self, server: ServerId) -> Result<(), Trouble> {
        let link = self.link(server).await?;
        let statement = match self.flavor() {
            Flavor::MariaDb => format!("STOP SLAVE '{}' IO_THREAD", column(&link, "Connection_name")),
            Flavor::MySql => format!(
                "STOP REPLICA IO_THREAD FOR CHANNEL '{}'",
                column(&link, "Channel_Name")
            ),
        };
        if self.flavor() == Flavor::MariaDb {
            // Else stopping takes two seconds while the source hangs, and so it does while the thread is ending (measured on 10.11).
            self.end(server, |_, command| command == "Slave_IO").await?;
            for _ in 0..ENDING_LOOKS {
                if column(&self.link(server).await?, "Slave_IO_Running") == "No" {
                    break;
                }
                tokio::time::sleep(ENDING_LOOK).await;
            }
        }
        self.run(server, &statement).await
    }

    async fn replicate(&self, server: ServerId, from: ServerId) -> Result<(), Trouble> {
        let link = match self.links(server).await?.into_iter().next() {
            Some(link) => link,
            None => {
                self.set_up(server, from).await?;
                self.link(server).await?
            }
        };
        if self.flavor() == Flavor::MariaDb {
            self.ask_from_elsewhere(server, from, &link).await?;
        }
        let statement = match self.flavor() {
            Flavor::MariaDb => format!("START SLAVE '{}'", column(&link, "Connection_name")),
            Flavor::MySql => format!("START REPLICA FOR CHANNEL '{}'", column(&link, "Channel_Name")),
        };
        self.run(server, &statement).await
    }

    async fn finish_applying(&self, server: ServerId, patience: Duration) -> Result<bool, Trouble> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut idle = 0;
        loop {
            let link = self.link(server).await?;
            let (applier, received, state) = match self.flavor() {
                Flavor::MariaDb => ("Slave_SQL_Running", "Gtid_IO_Pos", "Slave_SQL_Running_State"),
                Flavor::MySql => (
                    "Replica_SQL_Running",
                    "Retrieved_Gtid_Set",
                    "Replica_SQL_Running_State",
                ),
            };
            if column(&link, applier) != "Yes" {
                let error = column(&link, "Last_SQL_Error");
                if !error.is_empty() {
                    return Err(format!("its applier does not run: {error}"));
                }
                // Who began this before was killed after it had stopped it.
                let statement = self.applier("START", &link);
                self.run(server, &statement).await?;
            }
            let all = self.applied(server, &column(&link, received), APPLY_LOOK).await?;
            // MariaDB 10.11 counts a transaction as received when its first event is (measured): the last one may be half,
            // and was then acknowledged to nobody. The applier waits for the rest, and is stopped: which takes from its workers what they
            // have not begun. A worker that has just been given something is not seen to have it before it runs.
            let waits = self.flavor() == Flavor::MariaDb
                && column(&link, state).contains("has read all relay log")
                && self.workers_wait(server).await?;
            idle = if waits { idle + 1 } else { 0 };
            if all || idle >= IDLE_LOOKS {
                let statement = self.applier("STOP", &link);
                self.run(server, &statement).await?;
                return Ok(true);
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    async fn newest(&self, server: ServerId, stream: Stream) -> Result<u64, Trouble> {
        let (text, position) = match self.flavor() {
            // Not gtid_current_pos: a stray commit of its own would count for all of the domain before it.
            Flavor::MariaDb => {
                let place = self.place(server).await?;
                let applied = place.without_forgotten();
                let applied = applied.as_deref().unwrap_or(&place.applied);
                let position = Position::of_mariadb(applied, &place.written, place.id);
                (format!("{place:?}"), position)
            }
            Flavor::MySql => {
                let text = self.position(server).await?;
                let position = Position::parse_mysql(&text);
                (text, position)
            }
        };
        let position = position.ok_or_else(|| format!("its position can't be read: {text}"))?;
        Ok(position.newest(&stream))
    }

    async fn position(&self, server: ServerId) -> Result<String, Trouble> {
        let question = match self.flavor() {
            Flavor::MariaDb => "SELECT @@GLOBAL.gtid_current_pos",
            Flavor::MySql => "SELECT @@GLOBAL.gtid_executed",
        };
        self.text(server, question).await
    }

    async fn applied(&self, server: ServerId, position: &str, patience: Duration) -> Result<bool, Trouble> {
        if position.is_empty() {
            return Ok(true);
        }
        let question = applied::question(self.flavor(), position, patience);
        Ok(self.text(server, &question).await? == "0")
    }

    async fn errant(&self, server: ServerId, other: ServerId) -> Result<Option<String>, Trouble> {
        match self.flavor() {
            Flavor::MariaDb => {
                let question = "SELECT @@GLOBAL.gtid_binlog_state";
                let (mine, theirs) = (
                    self.text(server, question).await?,
                    self.text(other, question).await?,
                );
                Ok(surplus(&mine, &theirs))
            }
            Flavor::MySql => {
                let mine = self.position(server).await?;
                // What waits for a receipt is executed by the other first (AFTER_SYNC, seen on 9.7.4).
                if self.applied(other, &mine, COMMITTING).await? {
                    return Ok(None);
                }
                let question = format!("SELECT GTID_SUBTRACT('{mine}', @@GLOBAL.gtid_executed)");
                Ok(Some(self.text(other, &question).await?).filter(|set| !set.is_empty()))
            }
        }
    }

    async fn lost(&self, server: ServerId, other: ServerId) -> Result<Option<String>, Trouble> {
        if self.flavor() == Flavor::MySql {
            return Ok(None);
        }
        let place = self.place(server).await?;
        let theirs = self.text(other, "SELECT @@GLOBAL.gtid_binlog_state").await?;
        Ok(place.lost(&theirs))
    }

    async fn forgets(&self, server: ServerId) -> Result<bool, Trouble> {
        if self.flavor() == Flavor::MySql {
            return Ok(false);
        }
        // MariaDB 10.11.19 has the option and shows it nowhere (measured).
        let question = "SHOW GLOBAL VARIABLES LIKE 'init_rpl_role'";
        let rows = self.ask(server, question).await?;
        Ok(rows.first().is_none_or(|row| column(row, "Value") == "SLAVE"))
    }

    async fn fence(&self, server: ServerId) -> Result<(), Trouble> {
        let config = self.config();
        let failover = config.failover.as_ref();
        let Some(command) = failover.and_then(|failover| failover.fence_command.as_deref()) else {
            return Ok(());
        };
        let server = &self.doors[server.0];
        let status = shell(command)
            .env("TANDEM_SERVER", &server.name)
            .env("TANDEM_ADDRESS", server.address.to_string())
            .status()
            .await;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("failover.fence_command ended with {status}")),
            Err(error) => Err(format!("failover.fence_command can't be started: {error}")),
        }
    }

    async fn record(&self, entry: &Entry) -> Result<(), Trouble> {
        match &self.memory {
            Memory::Alone(journal) => {
                let recorded = journal.record(entry);
                recorded.map_err(|error| format!("the journal (failover.journal) can't be written: {error}"))
            }
            Memory::Shared(seat) => seat.record(entry).await,
        }
    }

    async fn recorded(&self) -> Option<Entry> {
        match &self.memory {
            Memory::Alone(journal) => journal.read().ok(),
            Memory::Shared(_) => Seat::recorded(),
        }
    }

    fn publish(&self, decided: Decided) {
        self.authority.send_replace(Authority::Tandem(decided));
        if let Memory::Shared(seat) = &self.memory {
            seat.publish(&decided);
        }
        self.signals.look();
    }

    fn tell(&self, event: Event) {
        self.events.add(event);
    }

    fn look(&self) {
        self.signals.look();
    }

    fn acknowledged(&self) -> Option<Acknowledged> {
        self.current_mark().map(|mark| Acknowledged::of(&mark))
    }

    async fn told(&self) -> Result<Vec<Acknowledged>, Trouble> {
        let mut told = match &self.memory {
            Memory::Alone(_) => Vec::new(),
            Memory::Shared(seat) => seat.told().await?,
        };
        told.extend(self.acknowledged());
        Ok(told)
    }

    fn is_writing(&self) -> bool {
        let own = self.current_mark().is_some_and(|mark| mark.ledger().is_writing());
        own || matches!(&self.memory, Memory::Shared(seat) if seat.others_write())
    }

    fn stalled(&self) -> Option<Stall> {
        self.stall.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_set_up_as_tandem_s_own_account() {
        let source = "[::1]:3307".parse().unwrap();
        let login = || ("'tandem'".to_owned(), "'it\\'s'".to_owned());
        assert_eq!(
            set_up(Flavor::MariaDb, source, login(), false),
            "CHANGE MASTER TO MASTER_HOST='::1', MASTER_PORT=3307, MASTER_USER='tandem', MASTER_PASSWORD='it\\'s', MASTER_SSL=0, \
             MASTER_USE_GTID=slave_pos"
        );
        let on_mysql = set_up(Flavor::MySql, source, login(), true);
        assert!(on_mysql.contains("SOURCE_SSL=1") && on_mysql.ends_with("SOURCE_AUTO_POSITION=1"));
    }
}
