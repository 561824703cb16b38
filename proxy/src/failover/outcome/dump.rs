//! Asks a server's binary log: connects with the account of `[monitor]`, and takes a dump of all that is newer than a commit.
//!
//! A dump from a position is exact and reads nothing older; `SHOW BINLOG EVENTS` would have to read a file from its
//! beginning and does not show the rows. It ends when the log does (`BINLOG_DUMP_NON_BLOCK`).

use std::io;
use std::time::{Duration, Instant};

use tandem_protocol::command::{CommandCode, put_query};
use tandem_protocol::error::DecodeError;
use tandem_protocol::frame::{self, HEADER_LEN, Header, MAX_PAYLOAD};
use tandem_protocol::packet::eof::EOF_HEADER;
use tandem_protocol::packet::err::{ERR_HEADER, ErrPacket, ServerError};
use tandem_protocol::response::Expect;
use tandem_protocol::wire::{put_u16, put_u32, put_u64};
use thiserror::Error;

use super::search::{Found, Search};
use super::{Doubt, Subject};
use crate::backend::{Connection, connect};
use crate::net;
use crate::session::{first_row, swallow};
use crate::topology::gtid::{Gtid, Position, Stream};
use crate::topology::{Flavor, ServerId};
use crate::worker::Worker;

/// How long one search may take, connecting included.
pub const MOST_TIME: Duration = Duration::from_secs(10);

/// Most bytes of a binary log that one search reads.
pub const MOST_BYTES: usize = 256 << 20;

/// A command's end is waited for in steps of this.
const STEP: Duration = Duration::from_millis(5);

/// ER_NO_SUCH_THREAD
const NO_SUCH_THREAD: u16 = 1094;

/// ER_CONNECTION_KILLED of MariaDB
const CONNECTION_KILLED: u16 = 1927;

/// Flags of a dump: end where the log ends; MariaDB: send the texts beside the rows; MySQL: from a set of GTIDs.
const NON_BLOCK: u16 = 1;
const ANNOTATE: u16 = 2;
const THROUGH_GTID: u16 = 4;

/// What is to be looked up, and where.
#[derive(Debug)]
pub struct Question<'a> {
    /// The active master now.
    pub server: ServerId,
    pub doubt: &'a mut Doubt,
    /// The newest commit that anybody was told of when the statement was sent; none is the beginning.
    pub after: Option<Gtid>,
    /// When it is the server that the statement was sent to: the connection, which may still be at work.
    pub same: Option<Thread>,
}

/// A connection as its server knows it. A server that is started anew gives the same numbers to others.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub id: u32,
    pub opened: Instant,
}

impl Thread {
    pub fn of(connection: &Connection) -> Self {
        Self {
            id: connection.thread_id,
            opened: connection.opened,
        }
    }

    /// Whether it is one of the time before the server was started anew, seen by a connection that was opened after it; `uptime` counts
    /// seconds.
    fn is_from_before(self, later: Self, uptime: Duration) -> bool {
        let between = later.opened.saturating_duration_since(self.opened);
        match between.abs_diff(uptime) > Duration::from_secs(1) {
            true => between > uptime,
            // The start was within that second. Numbers grow.
            false => later.id <= self.id,
        }
    }
}

/// Why the log could not be asked.
#[derive(Debug, Error)]
pub enum Error {
    #[error("its binary log could not be asked: {0}")]
    Connect(#[from] connect::Error),
    #[error("its binary log could not be asked: {0}")]
    Lost(String),
    #[error("its binary log could not be asked: the server said {code}: {message}")]
    Refused { code: u16, message: String },
    #[error("its binary log could not be read: {0}")]
    Unreadable(#[from] DecodeError),
    #[error("its position could not be read")]
    Position,
    #[error("it lacks commits that clients were told of")]
    Behind,
    #[error("more than {MOST_BYTES} bytes of its binary log are newer")]
    TooMuch,
    #[error("an event of its binary log is longer than 16 MiB")]
    LongEvent,
    #[error("its binary log could not be searched within {MOST_TIME:?}")]
    TooLong,
}

impl Error {
    /// Whether it may be otherwise when it is asked again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost(_) => true,
            Self::Refused { code, .. } => *code == CONNECTION_KILLED,
            _ => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<ServerError> for Error {
    fn from(error: ServerError) -> Self {
        Self::Refused {
            code: error.code,
            message: error.message,
        }
    }
}

/// Searches the log for the doubt.
///
/// # Errors
/// See [`Error`]: then nothing is known.
pub async fn look_up(worker: &Worker, question: Question<'_>) -> Result<Found, Error> {
    let searching = async {
        // Never closed.
        let _turn = worker.lookups.acquire().await.ok();
        let mut log = Log {
            connection: worker.open_for_monitor(question.server).await?,
        };
        log.search(question).await
    };
    tokio::time::timeout(MOST_TIME, searching)
        .await
        .unwrap_or(Err(Error::TooLong))
}

/// A connection to the server whose log is asked.
struct Log {
    connection: Connection,
}

impl Drop for Log {
    fn drop(&mut self) {
        // A dump has no end at which one could say goodbye.
        self.connection.broken = true;
    }
}

impl Log {
    async fn search(&mut self, question: Question<'_>) -> Result<Found, Error> {
        let Question {
            doubt, after, same, ..
        } = question;
        if let Some(thread) = same {
            if self.is_gone(thread).await? {
                if let Subject::Definition { thread } = &mut doubt.subject {
                    // The number may be another connection's now.
                    *thread = None;
                }
            } else {
                self.wait_for_end(thread.id).await?;
            }
        }
        let begun = match self.connection.flavor {
            Flavor::MariaDb => self.dump_mariadb(doubt, after).await?,
            Flavor::MySql => self.dump_mysql(doubt, after).await?,
        };
        match begun {
            true => self.read(doubt).await,
            false => Ok(Found::default()),
        }
    }

    /// Whether the server has been started anew: what was under way is over then.
    async fn is_gone(&mut self, thread: Thread) -> Result<bool, Error> {
        let row = self.ask("SHOW GLOBAL STATUS LIKE 'Uptime'", 2).await?;
        let uptime = row.get(1).and_then(|value| value.parse().ok());
        let uptime = Duration::from_secs(uptime.ok_or(Error::Position)?);
        Ok(thread.is_from_before(Thread::of(&self.connection), uptime))
    }

    /// Ends the connection that the statement ran on, and waits until it is gone with whatever it was doing.
    async fn wait_for_end(&mut self, thread: u32) -> Result<(), Error> {
        loop {
            match self.say(&format!("KILL {thread}")).await {
                Err(Error::Refused {
                    code: NO_SUCH_THREAD, ..
                }) => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => tokio::time::sleep(STEP).await,
            }
        }
    }

    /// Begins the dump; false if there is nothing newer.
    async fn dump_mariadb(&mut self, doubt: &Doubt, after: Option<Gtid>) -> Result<bool, Error> {
        let row = self.ask("SELECT @@GLOBAL.gtid_binlog_pos", 1).await?;
        let newest = row.first().ok_or(Error::Position)?;
        let Some(start) = mariadb_start(newest, doubt, after)? else {
            return Ok(false);
        };
        self.say(&format!(
            "SET @mariadb_slave_capability=4, @slave_gtid_strict_mode=0, @slave_gtid_ignore_duplicates=0, \
             @master_binlog_checksum=@@GLOBAL.binlog_checksum, @slave_connect_state='{start}'"
        ))
        .await?;
        let mut payload = vec![CommandCode::BinlogDump as u8];
        // The position in a file, which counts for nothing here.
        put_u32(&mut payload, 4);
        put_u16(&mut payload, NON_BLOCK | ANNOTATE);
        put_u32(&mut payload, own_server_id()?);
        self.send(&payload).await?;
        Ok(true)
    }

    async fn dump_mysql(&mut self, doubt: &Doubt, after: Option<Gtid>) -> Result<bool, Error> {
        let row = self.ask("SELECT @@GLOBAL.gtid_executed", 1).await?;
        let executed = row.first().and_then(|text| Position::parse_mysql(text));
        let mut executed = executed.ok_or(Error::Position)?;
        let after = after.map_or(0, |gtid| gtid.number());
        match executed.newest(&doubt.stream) {
            newest if newest < after => return Err(Error::Behind),
            newest if newest == after => return Ok(false),
            _ => executed.cut(&doubt.stream, after),
        }
        self.say("SET @source_binlog_checksum=@@GLOBAL.binlog_checksum, @master_binlog_checksum=@@GLOBAL.binlog_checksum")
            .await?;
        let set = executed.encode();
        let mut payload = vec![CommandCode::BinlogDumpGtid as u8];
        put_u16(&mut payload, NON_BLOCK | THROUGH_GTID);
        put_u32(&mut payload, own_server_id()?);
        // No file, from its beginning.
        put_u32(&mut payload, 0);
        put_u64(&mut payload, 4);
        put_u32(
            &mut payload,
            u32::try_from(set.len()).map_err(|_| Error::Position)?,
        );
        payload.extend_from_slice(&set);
        self.send(&payload).await?;
        Ok(true)
    }

    /// Reads the dump to its end.
    async fn read(&mut self, doubt: &Doubt) -> Result<Found, Error> {
        let mut search = Search::new(doubt);
        let mut total = 0;
        let Connection { stream, inbox, .. } = &mut self.connection;
        loop {
            net::fill(stream, inbox, HEADER_LEN).await?;
            let Some(Header { len, .. }) = Header::peek(inbox.bytes()) else {
                continue;
            };
            total += len;
            if total > MOST_BYTES {
                return Err(Error::TooMuch);
            }
            if len >= MAX_PAYLOAD {
                return Err(Error::LongEvent);
            }
            net::fill(stream, inbox, HEADER_LEN + len).await?;
            let packet = &inbox.bytes()[HEADER_LEN..HEADER_LEN + len];
            match packet.split_first() {
                Some((0, event)) => search.event(event)?,
                Some((&EOF_HEADER, _)) => return Ok(search.finish()),
                Some((&ERR_HEADER, _)) => return Err(ErrPacket::decode(packet)?.to_owned().into()),
                _ => return Err(Error::Lost("it sent no event".into())),
            }
            inbox.consume(HEADER_LEN + len);
        }
    }

    /// The first row of an answer.
    async fn ask(&mut self, text: &str, columns: usize) -> Result<Vec<String>, Error> {
        let reply = self.say(text).await?;
        let row = first_row(&reply, columns).ok_or(Error::Position)?;
        let text =
            |value: Option<Box<[u8]>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        Ok(row.into_iter().map(text).collect())
    }

    async fn say(&mut self, text: &str) -> Result<Vec<u8>, Error> {
        let mut payload = Vec::new();
        put_query(&mut payload, text.as_bytes(), self.connection.capabilities);
        self.send(&payload).await?;
        let reply = swallow(&mut self.connection, Expect::Query).await;
        let reply = reply.map_err(|error| Error::Lost(error.to_string()))?;
        match reply.error {
            Some(error) => Err(error.into()),
            None => Ok(reply.bytes),
        }
    }

    async fn send(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut packet = Vec::new();
        frame::write_packet(&mut packet, &mut 0, payload);
        self.connection.stream.write_all(&packet).await?;
        Ok(())
    }
}

/// A server ends the dump of another replica with the same number: it is nobody's.
fn own_server_id() -> Result<u32, Error> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| Error::Lost(error.to_string()))?;
    Ok(u32::from_le_bytes(random) | 0x8000_0000)
}

/// Where the dump begins: in the doubt's domain behind `after`, in the others at their end. `None` where nothing is newer.
fn mariadb_start(newest: &str, doubt: &Doubt, after: Option<Gtid>) -> Result<Option<String>, Error> {
    let Stream::MariaDb { domain, .. } = doubt.stream else {
        return Err(Error::Position);
    };
    let mut start: Vec<Gtid> = Vec::new();
    let mut reached = 0;
    for part in newest.split(',').filter(|part| !part.trim().is_empty()) {
        let gtid = Gtid::parse_mariadb(part).ok_or(Error::Position)?;
        match gtid.stream() {
            Stream::MariaDb { domain: theirs, .. } if theirs == domain => reached = gtid.number(),
            _ => start.push(gtid),
        }
    }
    let number = after.map_or(0, |gtid| gtid.number());
    if reached < number {
        return Err(Error::Behind);
    }
    if reached == number {
        return Ok(None);
    }
    start.extend(after);
    let start: Vec<_> = start.iter().map(ToString::to_string).collect();
    Ok(Some(start.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_another_connection_may_have_now_is_known() {
        let begun = Instant::now();
        let thread = |id, seconds| Thread {
            id,
            opened: begun + Duration::from_secs_f64(seconds),
        };
        let uptime = Duration::from_secs;
        let old = thread(30, 5.0);
        assert!(!old.is_from_before(thread(40, 20.0), uptime(100)));
        assert!(!old.is_from_before(thread(40, 20.0), uptime(15)));
        // The numbers went over their end.
        assert!(!old.is_from_before(thread(7, 20.0), uptime(100)));
        // Started anew since, a while ago or just now.
        assert!(old.is_from_before(thread(40, 20.0), uptime(13)));
        assert!(old.is_from_before(thread(7, 5.2), uptime(0)));
        assert!(old.is_from_before(thread(30, 5.2), uptime(0)));
    }
}
