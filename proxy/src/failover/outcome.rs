//! Whether a statement took effect whose answer never came: looked up in the binary log of the server that is the active
//! master now.
//!
//! Each connection to a server has a [`Token`], which stands as a comment before every text that may write. The servers put
//! the text beside the rows that it changed (MariaDB: `Annotate_rows`, MySQL: `Rows_query`), and the standby's own log has it
//! too. A connection runs one statement at a time, so what it has in the log behind the last commit that any client had been
//! told of when the statement was sent is the statement in doubt, or the transaction that a COMMIT in doubt was to end.
//!
//! # What is not found
//! proves that nothing was committed only where the text is certain to be there ([`Proof`]). It isn't for what runs
//! inside of procedures, functions and triggers: it is logged under its own text, and where a trigger's rows come first, the
//! whole statement is (measured on MariaDB 10.11 and MySQL 9.7). A statement that changed nothing leaves nothing either: it
//! may be run again, as if it had come later.
//!
//! Definitions are found by the connection's number as well, since both servers write `DROP TABLE` anew, without its comment.

pub mod dump;
pub mod event;
pub mod row;
pub mod search;

use std::fmt;

use crate::classify::facts::{Effect, Facts, TableName};
use crate::topology::gtid::{Gtid, Stream};
use search::{Found, Tally};

/// Length of a token's comment.
pub const COMMENT_LEN: usize = 27;

/// Names a connection in the binary log: 64 random bits, as the comment `/*tandem 0123456789abcdef*/`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; COMMENT_LEN]);

impl Token {
    pub fn new(random: u64) -> Self {
        let text = format!("/*tandem {random:016x}*/");
        let mut comment = [b' '; COMMENT_LEN];
        comment.copy_from_slice(text.as_bytes());
        Self(comment)
    }

    /// What stands before the text of a statement.
    pub fn comment(&self) -> &[u8; COMMENT_LEN] {
        &self.0
    }

    /// Whether a statement begins with it.
    fn begins(&self, text: &[u8]) -> bool {
        text.starts_with(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// Whether a statement has the token of its connection before its text: it may write.
pub fn is_marked(facts: &Facts) -> bool {
    facts.effect() != Effect::Nothing
}

/// What kind of statement is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Insert,
    Replace,
    Update,
    Delete,
    Load,
    /// `CREATE`, `DROP`, …: found also by the number of the connection that ran it, where that is still nobody else's.
    Definition {
        thread: Option<u32>,
    },
    /// The end of a transaction.
    Commit,
    /// Several statements, or code: it may have committed more than once.
    Code,
}

/// What makes it sure that the log has a statement's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Nothing,
    /// The tables that it writes had no triggers when it was sent.
    Then,
    /// They have none now: nothing else was known. It holds if the log has no definition of a trigger.
    Now,
}

/// A statement that was sent and not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    pub token: Token,
    /// That of the server that it was sent to.
    pub stream: Stream,
    pub subject: Subject,
    /// The only table that the statement names as one to be written, with its schema.
    pub table: Option<TableName>,
    /// Which of that table's columns, from 0, counts by itself.
    pub counter: Option<usize>,
    /// The client counts rows that were found, also if they were not changed.
    pub found_rows: bool,
    /// Its insert id can't be told: the statement chooses it itself, or the table is not known.
    pub hides_insert_id: bool,
    /// Whether the log has its text, whatever it has committed.
    pub proof: Proof,
    /// A statement before it failed on this connection, and may have left rows in tables without transactions.
    pub stained: bool,
}

impl Doubt {
    fn is_of_lost(&self, gtid: Option<Gtid>) -> bool {
        gtid.is_some_and(|gtid| gtid.stream() == self.stream)
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took effect, and this is what the server would have answered.
    Committed {
        gtid: Option<Gtid>,
        affected: u64,
        insert_id: u64,
    },
    /// It took effect; how many rows it changed, or which id it made, the log does not tell.
    CommittedUnknownCounts {
        gtid: Option<Gtid>,
    },
    /// It left nothing: it may be run again.
    NotCommitted,
    Unknown(String),
}

/// Decides by what was found.
pub fn judge(doubt: &Doubt, found: &Found) -> Verdict {
    match found.transactions {
        0 => missing(doubt, found),
        _ if doubt.stained => Verdict::Unknown(
            "a commit of its connection was found, but an earlier statement there had failed, and may have left it".into(),
        ),
        1 => committed(doubt, found),
        _ if matches!(doubt.subject, Subject::Definition { .. }) => committed(doubt, found),
        many => Verdict::Unknown(format!("{many} commits of its connection were found; perhaps not all that it makes")),
    }
}

fn missing(doubt: &Doubt, found: &Found) -> Verdict {
    let unreadable = found.sealed + u32::from(found.unfinished);
    if unreadable > 0 {
        return Verdict::Unknown(format!(
            "the binary log has {unreadable} transactions that can't be read (compressed, XA, incomplete), or without the text \
             of their statements (binlog_annotate_row_events, binlog_rows_query_log_events)"
        ));
    }
    match doubt.subject {
        Subject::Definition { thread: Some(_) } => Verdict::NotCommitted,
        Subject::Definition { thread: None } => {
            Verdict::Unknown("the server was started anew, and definitions can't be told apart then".into())
        }
        Subject::Code => Verdict::Unknown("what code commits is not logged under its own text".into()),
        _ if doubt.proof == Proof::Then || doubt.proof == Proof::Now && !found.triggers => Verdict::NotCommitted,
        _ => Verdict::Unknown(
            "it was not found, but a trigger, a function, or a table whose triggers are not known may hide it".into(),
        ),
    }
}

fn committed(doubt: &Doubt, found: &Found) -> Verdict {
    let gtid = found.gtid;
    let answer = match doubt.subject {
        Subject::Commit => Some((0, 0)),
        Subject::Definition { .. } => Some((found.tally.inserted, 0)),
        Subject::Code => {
            return Verdict::Unknown(
                "a commit of its connection was found; perhaps not all that it makes".into(),
            );
        }
        _ => answer(doubt, &found.tally),
    };
    match answer {
        Some((affected, insert_id)) => Verdict::Committed {
            gtid,
            affected,
            insert_id,
        },
        None => Verdict::CommittedUnknownCounts { gtid },
    }
}

/// The affected rows and the insert id, as both servers count them; `None` where the log does not tell.
fn answer(doubt: &Doubt, tally: &Tally) -> Option<(u64, u64)> {
    let &Tally {
        inserted,
        updated,
        deleted,
        ..
    } = tally;
    let several = tally.may_be_several;
    // Rows that a client is told of and the log does not have: those that stayed as they were.
    let hidden = match doubt.subject {
        Subject::Insert => doubt.found_rows && tally.on_duplicate && several,
        Subject::Replace => several,
        Subject::Update => doubt.found_rows,
        _ => false,
    };
    let foreign = match doubt.subject {
        Subject::Insert => deleted,
        Subject::Update => inserted + deleted,
        Subject::Delete => inserted + updated,
        // Behind what it replaced, rows may have stayed as they were.
        Subject::Load => updated + deleted,
        _ => 0,
    };
    if tally.uncertain || hidden || foreign > 0 || doubt.hides_insert_id || inserted + updated + deleted == 0
    {
        return None;
    }
    let insert_id = match doubt.subject {
        // Of several rows the first: there the server has counted.
        Subject::Insert | Subject::Replace if doubt.counter.is_some() => {
            // Of several that were there already it is the last.
            let id = tally.insert_id.filter(|_| inserted > 0 || updated == 1);
            id?
        }
        _ => 0,
    };
    let affected = match doubt.subject {
        Subject::Update => updated,
        // What is written over counts twice.
        _ => inserted + 2 * updated + deleted,
    };
    Some((affected, insert_id))
}

#[cfg(test)]
mod tests;
