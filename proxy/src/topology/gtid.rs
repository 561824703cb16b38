//! Positions in the stream of commits, as both flavours of server write them.
//!
//! MariaDB: `domain-server-sequence`, one position a domain. MySQL: sets of `uuid:interval`.
//!
//! # What a MariaDB server has committed
//! A MariaDB server knows three positions, and none alone is what a read may rely on:
//! - `@@gtid_slave_pos`: the last transaction applied by replication. It is set after the storage engines
//!   have committed (it is what `MASTER_GTID_WAIT` waits on), so what it names is visible to readers.
//! - `@@gtid_binlog_pos`: the last transaction written to the binary log. It is set while the group is being
//!   written, before the engines commit, and with semi-sync `AFTER_SYNC` a round trip before. With
//!   `log_slave_updates` it runs ahead of what readers of a standby can see, so it must not be trusted for
//!   replicated transactions; without `log_slave_updates` it lacks them.
//! - `@@gtid_current_pos`: `gtid_slave_pos`, and in its place the binary log's position where that is the
//!   server's own and newer. One stray local write on a standby (`0-2-151`) makes it claim what the active
//!   master wrote under the same or a smaller number and the standby never got.
//!
//! So [`Position::of_mariadb`] keeps `gtid_slave_pos`, which covers every transaction of its domain up to its number,
//! and beside it the binary log's position where that is the server's own, which covers only what
//! this server committed itself. That the latter may run ahead does no harm: only a GTID that came in the OK of a
//! commit is ever asked for, and a server sends that OK after its engines have committed.
//!
//! # MySQL
//! `@@gtid_executed` is extended after the engines commit, and holds own and replicated transactions: it is
//! the position. Tagged GTIDs (`uuid:tag:7`, MySQL 8.3 and later, only where a session sets
//! `gtid_next = 'AUTOMATIC:tag'`) are not followed: [`Gtid::parse_mysql`] gives `None` for one, which callers must treat as
//! "committed, position unknown" (`Writing::leave`), and [`Position::parse_mysql`] leaves them out, so that no untagged GTID is ever taken for
//! covered because of a tagged one.

use std::fmt;

/// One commit's name, as the server reports it in the OK packet of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gtid {
    MariaDb { domain: u32, server: u32, sequence: u64 },
    MySql { source: [u8; 16], transaction: u64 },
}

/// The row of numbers that a server gives the commits made on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    MariaDb { domain: u32, server: u32 },
    MySql { source: [u8; 16] },
}

/// Everything a server has committed.
///
/// One of the two lists is empty. A pair has one or two MariaDB domains or MySQL sources, so a search is a
/// look at one or two entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    mariadb: Vec<Reached>,
    mysql: Vec<Executed>,
}

/// How far one MariaDB domain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reached {
    domain: u32,
    server: u32,
    sequence: u64,
    /// Covers only transactions of `server` itself.
    own: bool,
}

/// The transactions of one MySQL source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Executed {
    source: [u8; 16],
    /// First and last of each run, ascending, apart from each other.
    intervals: Vec<(u64, u64)>,
}

impl Gtid {
    /// `0-1-123`, as `last_gtid` gives it. Empty (nothing was committed) is `None`.
    pub fn parse_mariadb(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let gtid = Self::MariaDb {
            domain: number(parts.next()?)?.try_into().ok()?,
            server: number(parts.next()?)?.try_into().ok()?,
            sequence: number(parts.next()?)?,
        };
        parts.next().is_none().then_some(gtid)
    }

    /// `uuid:7`, as `session_track_gtids=OWN_GTID` gives it. One command may commit more than once
    /// (`uuid:5-7`, `uuid:5:7`): the last counts. A tagged GTID is `None`.
    pub fn parse_mysql(text: &str) -> Option<Self> {
        let (source, intervals) = text.trim().split_once(':')?;
        let source = uuid(source)?;
        let mut last = None;
        for part in intervals.split(':') {
            last = last.max(Some(interval(part)?.1));
        }
        last.map(|transaction| Self::MySql { source, transaction })
    }

    pub fn stream(&self) -> Stream {
        match *self {
            Self::MariaDb { domain, server, .. } => Stream::MariaDb { domain, server },
            Self::MySql { source, .. } => Stream::MySql { source },
        }
    }

    /// Its place in its stream.
    pub fn number(&self) -> u64 {
        match *self {
            Self::MariaDb { sequence, .. } => sequence,
            Self::MySql { transaction, .. } => transaction,
        }
    }

    /// Whether both are of one stream, and `self` is the older one.
    pub fn is_before(&self, other: &Self) -> bool {
        match (*self, *other) {
            (
                Self::MariaDb { domain, sequence, .. },
                Self::MariaDb {
                    domain: theirs,
                    sequence: newer,
                    ..
                },
            ) => domain == theirs && sequence < newer,
            (
                Self::MySql { source, transaction },
                Self::MySql {
                    source: theirs,
                    transaction: newer,
                },
            ) => source == theirs && transaction < newer,
            _ => false,
        }
    }
}

impl Stream {
    pub fn flavor(&self) -> super::Flavor {
        match self {
            Self::MariaDb { .. } => super::Flavor::MariaDb,
            Self::MySql { .. } => super::Flavor::MySql,
        }
    }

    /// That of a MariaDB server, by `@@GLOBAL.gtid_domain_id` and `@@server_id`.
    pub fn of_mariadb(domain: u32, server: u32) -> Self {
        Self::MariaDb { domain, server }
    }

    /// That of a MySQL server, by its `@@server_uuid`.
    pub fn of_mysql(server_uuid: &str) -> Option<Self> {
        uuid(server_uuid).map(|source| Self::MySql { source })
    }

    /// The commit at a place of the stream.
    pub fn commit(&self, number: u64) -> Gtid {
        match *self {
            Self::MariaDb { domain, server } => Gtid::MariaDb {
                domain,
                server,
                sequence: number,
            },
            Self::MySql { source } => Gtid::MySql {
                source,
                transaction: number,
            },
        }
    }

    /// All commits up to `number` as the servers write it where one is waited for: `0-1-7`, `uuid:1-7`. On MariaDB a
    /// number stands for all before it in its domain; on MySQL appliers that work side by side can leave gaps.
    pub fn up_to(&self, number: u64) -> String {
        match *self {
            Self::MariaDb { domain, server } => format!("{domain}-{server}-{number}"),
            Self::MySql { source } => {
                let mut position = Position::default();
                position.execute(source, 1, number);
                position.to_string()
            }
        }
    }
}

impl Position {
    /// What a MariaDB server has committed and readers can see, from `@@gtid_slave_pos`, `@@gtid_binlog_pos`
    /// and `@@server_id`.
    pub fn of_mariadb(slave_pos: &str, binlog_pos: &str, server_id: u32) -> Option<Self> {
        let mut position = Self::parse_mariadb(slave_pos)?;
        for reached in Self::parse_mariadb(binlog_pos)?.mariadb {
            if reached.server == server_id {
                position.reach(Reached { own: true, ..reached });
            }
        }
        Some(position)
    }

    /// A list such as `0-1-123,1-2-5`, each covering its whole domain up to its number.
    pub fn parse_mariadb(text: &str) -> Option<Self> {
        let mut position = Self::default();
        for part in items(text) {
            position.insert(&Gtid::parse_mariadb(part)?);
        }
        Some(position)
    }

    /// A set such as `uuid:1-100:105,uuid:7`. Intervals that follow a tag are left out.
    pub fn parse_mysql(text: &str) -> Option<Self> {
        let mut position = Self::default();
        for part in items(text) {
            let (source, intervals) = part.split_once(':')?;
            let source = uuid(source)?;
            for part in intervals.split(':').map(str::trim) {
                // A tag begins with a letter or underscore, an interval with a digit.
                if !part.starts_with(|c: char| c.is_ascii_digit()) {
                    break;
                }
                let (first, last) = interval(part)?;
                position.execute(source, first, last);
            }
        }
        Some(position)
    }

    /// Whether this commit is in the position.
    pub fn covers(&self, gtid: &Gtid) -> bool {
        match *gtid {
            Gtid::MariaDb { .. } => self.mariadb.iter().any(|reached| reached.covers(gtid)),
            Gtid::MySql { source, transaction } => self.intervals(&source).is_some_and(|intervals| {
                let after = intervals.partition_point(|&(first, _)| first <= transaction);
                after > 0 && intervals[after - 1].1 >= transaction
            }),
        }
    }

    /// Whether everything in `other` is in this position.
    pub fn includes(&self, other: &Self) -> bool {
        let mariadb = other.mariadb.iter().all(|reached| self.covers(&reached.gtid()));
        let mysql = other.mysql.iter().all(|executed| {
            executed.intervals.iter().all(|&(first, last)| {
                self.intervals(&executed.source).is_some_and(|intervals| {
                    let after = intervals.partition_point(|&(start, _)| start <= first);
                    after > 0 && intervals[after - 1].1 >= last
                })
            })
        });
        mariadb && mysql
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        for &reached in &other.mariadb {
            self.reach(reached);
        }
        for executed in &other.mysql {
            for &(first, last) in &executed.intervals {
                self.execute(executed.source, first, last);
            }
        }
    }

    /// Adds one commit; on MariaDB with all that precede it in its domain.
    pub fn insert(&mut self, gtid: &Gtid) {
        match *gtid {
            Gtid::MariaDb {
                domain,
                server,
                sequence,
            } => self.reach(Reached {
                domain,
                server,
                sequence,
                own: false,
            }),
            Gtid::MySql { source, transaction } => self.execute(source, transaction, transaction),
        }
    }

    /// Up to which number all commits of `stream` are in the position; 0 is none.
    pub fn reached(&self, stream: &Stream) -> u64 {
        match *stream {
            Stream::MariaDb { domain, server } => {
                let ours = self.mariadb.iter().filter(|reached| reached.domain == domain);
                let number = |reached: &Reached| match reached.server == server {
                    true => reached.sequence,
                    // The same number from another server is another transaction.
                    false if !reached.own => reached.sequence.saturating_sub(1),
                    false => 0,
                };
                ours.map(number).max().unwrap_or(0)
            }
            Stream::MySql { source } => match self.intervals(&source) {
                Some([(1, last), ..]) => *last,
                _ => 0,
            },
        }
    }

    /// The largest number of a commit of `stream` that is in the position and not in `floor`; 0 is none. On MySQL smaller
    /// ones may be missing still: commits that go on side by side need not come into `gtid_executed` in their order.
    pub fn newest_beyond(&self, floor: &Self, stream: &Stream) -> u64 {
        match *stream {
            Stream::MariaDb { .. } => self.reached(stream),
            Stream::MySql { source } => self.beyond(floor, &source).last().map_or(0, |&(_, last)| last),
        }
    }

    /// The largest number of a commit of `stream` in the position; 0 is none.
    pub fn newest(&self, stream: &Stream) -> u64 {
        self.newest_beyond(&Self::default(), stream)
    }

    /// The first number behind a gap in the commits of `stream`, if that is not in `floor`. Such a gap is closed at once,
    /// unless it was made by hand (`gtid_next`): then MySQL fills it first, with all that is committed from then on, and a
    /// larger number is no later commit.
    pub fn gap_beyond(&self, floor: &Self, stream: &Stream) -> Option<u64> {
        let Stream::MySql { source } = *stream else {
            return None;
        };
        let reached = self.reached(stream);
        let mut beyond = self.beyond(floor, &source).into_iter();
        beyond.find(|&(first, _)| first > reached).map(|(first, _)| first)
    }

    /// The runs of one source that are in the position and not in `floor`.
    fn beyond(&self, floor: &Self, source: &[u8; 16]) -> Vec<(u64, u64)> {
        let known = floor.intervals(source).unwrap_or_default();
        let mut runs = Vec::new();
        for &(begin, last) in self.intervals(source).unwrap_or_default() {
            let mut first = begin;
            for &(start, end) in known.iter().filter(|run| run.1 >= begin && run.0 <= last) {
                if start > first {
                    runs.push((first, start - 1));
                }
                first = end.saturating_add(1);
            }
            if first <= last {
                runs.push((first, last));
            }
        }
        runs
    }

    pub fn is_empty(&self) -> bool {
        self.mariadb.is_empty() && self.mysql.is_empty()
    }

    /// Without the commits of a MySQL stream behind `number`.
    pub fn cut(&mut self, stream: &Stream, number: u64) {
        let Stream::MySql { source } = *stream else { return };
        if let Some(executed) = self.mysql.iter_mut().find(|executed| executed.source == source) {
            executed.intervals.retain(|&(first, _)| first <= number);
            if let Some((_, last)) = executed.intervals.last_mut() {
                *last = number.min(*last);
            }
        }
        self.mysql.retain(|executed| !executed.intervals.is_empty());
    }

    /// A MySQL set in the form of `COM_BINLOG_DUMP_GTID`: the ends of intervals are not within them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = (self.mysql.len() as u64).to_le_bytes().to_vec();
        for executed in &self.mysql {
            out.extend_from_slice(&executed.source);
            out.extend_from_slice(&(executed.intervals.len() as u64).to_le_bytes());
            for (first, last) in &executed.intervals {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&last.saturating_add(1).to_le_bytes());
            }
        }
        out
    }

    /// The newest commit of a MariaDB domain, whoever made it; `None` for MySQL.
    pub fn newest_in_domain(&self, stream: &Stream) -> Option<Gtid> {
        let Stream::MariaDb { domain, .. } = *stream else {
            return None;
        };
        let ours = self.mariadb.iter().filter(|reached| reached.domain == domain);
        ours.max_by_key(|reached| reached.sequence).map(Reached::gtid)
    }

    fn intervals(&self, source: &[u8; 16]) -> Option<&[(u64, u64)]> {
        self.mysql
            .iter()
            .find(|executed| executed.source == *source)
            .map(|executed| executed.intervals.as_slice())
    }

    fn reach(&mut self, new: Reached) {
        let same = |old: &&mut Reached| {
            old.domain == new.domain && old.own == new.own && (!new.own || old.server == new.server)
        };
        match self.mariadb.iter_mut().find(same) {
            Some(old) if old.sequence < new.sequence => *old = new,
            Some(_) => {}
            None => self.mariadb.push(new),
        }
    }

    fn execute(&mut self, source: [u8; 16], first: u64, last: u64) {
        let found = self.mysql.iter().position(|old| old.source == source);
        let index = found.unwrap_or_else(|| {
            self.mysql.push(Executed {
                source,
                intervals: Vec::new(),
            });
            self.mysql.len() - 1
        });
        add_interval(&mut self.mysql[index].intervals, first, last);
    }
}

impl Reached {
    /// In one domain the numbers form one history (`gtid_strict_mode`), so a larger number has all smaller ones before
    /// it. The same number from another server is another transaction: not covered.
    fn covers(&self, gtid: &Gtid) -> bool {
        let Gtid::MariaDb {
            domain,
            server,
            sequence,
        } = *gtid
        else {
            return false;
        };
        self.domain == domain
            && if self.server == server {
                self.sequence >= sequence
            } else {
                !self.own && self.sequence > sequence
            }
    }

    fn gtid(&self) -> Gtid {
        Gtid::MariaDb {
            domain: self.domain,
            server: self.server,
            sequence: self.sequence,
        }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb {
                domain,
                server,
                sequence,
            } => write!(f, "{domain}-{server}-{sequence}"),
            Self::MySql { source, transaction } => {
                write_uuid(f, source)?;
                write!(f, ":{transaction}")
            }
        }
    }
}

/// As a server writes it. A domain shows twice where the server has committed more of its own than replication has
/// brought.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let shown = |reached: &&Reached| {
            let gtid = reached.gtid();
            !reached.own || !self.mariadb.iter().any(|r| !r.own && r.covers(&gtid))
        };
        for reached in self.mariadb.iter().filter(shown) {
            write!(f, "{comma}{}", reached.gtid())?;
            comma = ",";
        }
        for executed in &self.mysql {
            f.write_str(comma)?;
            write_uuid(f, &executed.source)?;
            for &(first, last) in &executed.intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
            comma = ",";
        }
        Ok(())
    }
}

/// The comma-separated parts of a list; the servers break long lists with newlines.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Digits only: `u64::from_str` also takes a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `7` or `5-7`. MySQL counts transactions from 1.
fn interval(text: &str) -> Option<(u64, u64)> {
    let text = text.trim();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first > 0 && first <= last).then_some((first, last))
}

fn add_interval(intervals: &mut Vec<(u64, u64)>, first: u64, last: u64) {
    // The runs that overlap the new one or touch it become one run with it.
    let start = intervals.partition_point(|run| run.1.saturating_add(1) < first);
    let end = intervals.partition_point(|run| run.0 <= last.saturating_add(1));
    if start == end {
        intervals.insert(start, (first, last));
        return;
    }
    let whole = (intervals[start].0.min(first), intervals[end - 1].1.max(last));
    intervals.splice(start..end, [whole]);
}

/// With hyphens, as servers write it, or without.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut digits = 0;
    for c in text.trim().chars().filter(|&c| c != '-') {
        let byte: &mut u8 = bytes.get_mut(digits / 2)?;
        *byte = *byte << 4 | u8::try_from(c.to_digit(16)?).ok()?;
        digits += 1;
    }
    (digits == 32).then_some(bytes)
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
