//! The accounts as the servers know them, for `listener.auth = "servers"`: read from the active master every few seconds,
//! and at once when a login fails, since somebody may just have changed a password.
//!
//! What the monitor's account needs for it, on both servers:
//! ```sql
//! GRANT SELECT ON mysql.global_priv TO 'tandem'@'%';     -- MariaDB
//! GRANT SELECT ON mysql.user TO 'tandem'@'%';            -- MySQL
//! ```
//! A row that stays the same keeps its [`Account`], and with it what logins have taught; any other is a new one, with
//! connections of its own. So a changed password is forgotten, and a dropped account too.
//!
//! An anonymous account is one for each name that comes with it, since `USER()` is that name: a name that is nobody's is
//! noted when its login fails, and has the account from the next reading on.

pub(crate) mod fuzzing;
mod host;
mod row;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::UserId;
use crate::config::Config;
use crate::monitor::door::Door;
use crate::net::address::Peer;
use crate::topology::{self, Flavor, Topology};
use crate::worker::accounts::{Account, OF_SERVERS};
use host::Host;
use row::Row;

/// How old the accounts may be.
const INTERVAL: Duration = Duration::from_secs(3);

/// However many logins fail, the servers are not asked more often than this.
const GAP: Duration = Duration::from_millis(300);

/// How long a failed login waits for what it may have missed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one reading may take.
const READING: Duration = Duration::from_secs(5);

/// Accounts that are read; with more, nobody is let in, and the log says so.
const MOST: usize = 20_000;

/// Names that use the anonymous accounts; with more, those that came first are forgotten, and fail once.
const GUESTS: usize = 1000;

/// Bytes of a name, as the servers have them (`mysql.user`: 128 characters on MariaDB, 32 on MySQL).
const LONGEST_NAME: usize = 4 * 128;

/// What was read at one time.
#[derive(Default)]
pub struct Directory {
    /// Of each name, in the order in which they are tried. Where they are tried, anonymous ones are among them.
    by_user: HashMap<Vec<u8>, Vec<Entry>>,
    /// All of them, for those that name nobody.
    accounts: Vec<Arc<Account>>,
    /// The servers look names up.
    resolves: bool,
    /// When the reading began.
    begun: Option<Instant>,
}

struct Entry {
    host: Host,
    row: Row,
    account: Arc<Account>,
}

impl Directory {
    /// The account that `user` is when it comes from `peer`.
    pub fn find(&self, user: &[u8], peer: Peer) -> Option<&Arc<Account>> {
        let entries = self.by_user.get(user)?;
        let entry = entries
            .iter()
            .find(|entry| entry.host.matches(peer, self.resolves));
        entry.map(|entry| &entry.account)
    }

    /// What an account of an older directory is now.
    pub fn same(&self, account: &Account) -> Option<&Arc<Account>> {
        let entries = self.by_user.get(account.name.as_bytes())?;
        let entry = entries.iter().find(|entry| *entry.row.host == *account.host);
        entry.map(|entry| &entry.account)
    }

    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    /// What follows from new rows; the accounts of those that are not new stay. The `guests` are names that may be nobody's.
    fn renewed(&self, rows: Vec<Row>, guests: &[String], resolves: bool, ids: &mut Ids) -> Self {
        let mut next = Self {
            resolves,
            ..Self::default()
        };
        let anonymous: Vec<Row> = rows.iter().filter(|row| row.user.is_empty()).cloned().collect();
        for row in rows {
            let entry = self.entry(&row.user.clone(), row, ids);
            next.accounts.push(Arc::clone(&entry.account));
            let entries = next
                .by_user
                .entry(entry.row.user.as_bytes().to_vec())
                .or_default();
            entries.push(entry);
        }
        if !anonymous.is_empty() {
            let named = next.accounts.iter().map(|account| account.name.to_string());
            let names: HashSet<String> = named.chain(guests.iter().cloned()).collect();
            for name in names.into_iter().filter(|name| !name.is_empty()) {
                let entries = next.by_user.entry(name.as_bytes().to_vec()).or_default();
                for row in &anonymous {
                    // Of the same host the one with the name comes first, and lets in whom the other would.
                    if entries.iter().all(|entry| entry.row.host != row.host) {
                        entries.push(self.entry(&name, row.clone(), ids));
                    }
                }
            }
        }
        for entries in next.by_user.values_mut() {
            // The anonymous ones stay behind those whose hosts are said as exactly.
            entries.sort_by_key(|entry| entry.host.rank());
        }
        next
    }

    /// What the row is for `name`: the account that it has been, or a new one.
    fn entry(&self, name: &str, row: Row, ids: &mut Ids) -> Entry {
        let mut known = self.by_user.get(name.as_bytes()).into_iter().flatten();
        let account = match known.find(|entry| entry.row == row) {
            Some(entry) => Arc::clone(&entry.account),
            None => Arc::new(Account::of_server(ids.next(), name, &row.host, row.proofs())),
        };
        Entry {
            host: Host::parse(&row.host),
            row,
            account,
        }
    }
}

/// Numbers for accounts, apart from those of the configuration, never used twice.
struct Ids(usize);

impl Ids {
    fn next(&mut self) -> UserId {
        self.0 += 1;
        UserId(self.0 - 1)
    }
}

/// Where workers find the newest directory, and ask for a newer one.
#[derive(Clone)]
pub struct Reader {
    read: watch::Receiver<Option<Arc<Directory>>>,
    wanted: Arc<Notify>,
    guests: Arc<Mutex<Guests>>,
}

/// Names that were claimed and had no account, the newest last.
#[derive(Default)]
struct Guests(VecDeque<String>);

impl Guests {
    fn note(&mut self, name: &[u8]) {
        let Ok(name) = std::str::from_utf8(name) else {
            return;
        };
        if name.is_empty() || name.len() > LONGEST_NAME {
            return;
        }
        self.0.retain(|known| known != name);
        if self.0.len() >= GUESTS {
            self.0.pop_front();
        }
        self.0.push_back(name.to_owned());
    }
}

impl Reader {
    /// `None` until the servers have been read.
    pub fn current(&self) -> Option<Arc<Directory>> {
        self.read.borrow().clone()
    }

    /// Waits, within reason, for a directory that is read after now, where `name` has the anonymous accounts too.
    pub async fn renewed(&self, name: &[u8]) {
        let is_known = |directory: &Arc<Directory>| directory.by_user.contains_key(name);
        if !self.current().as_ref().is_some_and(is_known) {
            self.guests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .note(name);
        }
        self.read_since(Instant::now()).await;
    }

    /// Waits, within reason, for a directory whose reading began after `asked`.
    pub async fn read_since(&self, asked: Instant) {
        let mut read = self.read.clone();
        let is_newer = |read: &Option<Arc<Directory>>| {
            let begun = read.as_ref().and_then(|directory| directory.begun);
            begun >= Some(asked)
        };
        if is_newer(&read.borrow()) {
            return;
        }
        self.want();
        // Without a newer one the older decides.
        let _ = timeout(PATIENCE, read.wait_for(is_newer)).await;
    }

    /// Has it read again soon.
    pub fn want(&self) {
        self.wanted.notify_one();
    }
}

/// Reads until it is dropped. Must be awaited on the runtime that it stays in.
pub struct Task {
    doors: Vec<Door>,
    topology: topology::Shared,
    ids: Ids,
    publish: watch::Sender<Option<Arc<Directory>>>,
    wanted: Arc<Notify>,
    guests: Arc<Mutex<Guests>>,
    /// What the log was told last.
    told: Option<String>,
}

/// Makes the two ends.
pub fn new(newer: &watch::Receiver<Arc<Config>>, topology: topology::Shared) -> (Reader, Task) {
    let (publish, read) = watch::channel(None);
    let wanted = Arc::new(Notify::new());
    let reader = Reader {
        read,
        wanted: Arc::clone(&wanted),
        guests: Arc::default(),
    };
    let guests = Arc::clone(&reader.guests);
    let task = Task {
        doors: Door::of_all(newer),
        topology,
        ids: Ids(OF_SERVERS),
        publish,
        wanted,
        guests,
        told: None,
    };
    (reader, task)
}

impl Task {
    pub async fn run(mut self) {
        loop {
            let (earliest, latest) = (Instant::now() + GAP, Instant::now() + INTERVAL);
            tokio::select! {
                () = self.wanted.notified() => sleep_until(earliest).await,
                () = sleep_until(latest) => {}
            }
            self.read().await;
        }
    }

    /// Reads once.
    pub async fn read(&mut self) {
        let begun = Instant::now();
        let mut errors = Vec::new();
        for server in self.order() {
            let reading = read_from(&self.doors[server]);
            let error = match timeout(READING, reading).await {
                Ok(Ok((rows, resolves))) => return self.take(rows, resolves, begun),
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {READING:?}"),
            };
            errors.push(error);
        }
        self.tell(Some(errors.join("; ")));
    }

    /// The active master first: it has what was changed last.
    fn order(&self) -> VecDeque<usize> {
        let mut order: VecDeque<usize> = (0..self.doors.len()).collect();
        let topology: Arc<Topology> = self.topology.load_full();
        if let Some(active) = topology.active {
            order.retain(|server| *server != active.0);
            order.push_front(active.0);
        }
        order
    }

    fn take(&mut self, rows: Vec<Row>, resolves: bool, begun: Instant) {
        if rows.len() > MOST {
            return self.tell(Some(format!("there are more than {MOST} of them")));
        }
        let old = self.publish.borrow().clone().unwrap_or_default();
        let guests: Vec<String> = {
            let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
            guests.0.iter().cloned().collect()
        };
        let mut new = old.renewed(rows, &guests, resolves, &mut self.ids);
        new.begun = Some(begun);
        self.publish.send_replace(Some(Arc::new(new)));
        self.tell(None);
    }

    /// Says once what is wrong.
    fn tell(&mut self, trouble: Option<String>) {
        if trouble == self.told {
            return;
        }
        match &trouble {
            Some(trouble) => tracing::error!(
                "the servers' accounts can't be read (listener.auth = \"servers\"): {trouble}; monitor.user needs SELECT \
                 on mysql.global_priv (MariaDB) or mysql.user (MySQL)"
            ),
            None => tracing::info!("the servers' accounts can be read again"),
        }
        self.told = trouble;
    }
}

async fn read_from(door: &Door) -> Result<(Vec<Row>, bool), String> {
    let text = |error: mysql_async::Error| error.to_string();
    let mut conn = door.open().await.map_err(text)?;
    let read = rows(&mut conn).await.map_err(text);
    let _ = conn.disconnect().await;
    read
}

async fn rows(conn: &mut Conn) -> Result<(Vec<Row>, bool), mysql_async::Error> {
    let about: Option<(String, bool)> = conn
        .query_first("SELECT VERSION(), @@GLOBAL.skip_name_resolve")
        .await?;
    let (version, skips) = about.unwrap_or_default();
    let flavor = match version.contains("MariaDB") {
        true => Flavor::MariaDb,
        false => Flavor::MySql,
    };
    let question = format!("{} LIMIT {}", row::query(flavor), MOST + 1);
    let rows: Vec<mysql_async::Row> = conn.query(question).await?;
    let rows = rows.into_iter().filter_map(|row| Row::from_values(row.unwrap()));
    Ok((rows.collect(), !skips))
}

#[cfg(test)]
mod tests;
