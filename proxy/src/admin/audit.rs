//! Who did what on the admin port, from where, and what came of it: for the table `audit` and the log.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::classify::{Dialect, normalise};
use crate::topology::Flavor;

/// Older entries are forgotten; the log has them.
const MOST_ACTIONS: usize = 1000;
/// Logins have a list of their own: whoever tries passwords must not push out what was done.
const MOST_LOGINS: usize = 200;
/// Bytes of a statement that are kept.
const LONGEST: usize = 1000;

/// One thing that somebody did or tried.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) at: SystemTime,
    /// The number of the admin connection.
    pub(super) connection: u32,
    pub(super) user: String,
    pub(super) peer: SocketAddr,
    /// The statement, or `LOGIN`.
    pub(super) what: String,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The account has no right to it, or did not prove who it is.
    Denied(String),
    /// It was tried, and this came of it.
    Failed(String),
}

impl Outcome {
    /// Stable, for scripts.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied(_) => "denied",
            Self::Failed(_) => "failed",
        }
    }

    pub(super) fn detail(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Denied(why) | Self::Failed(why) => Some(why),
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    actions: VecDeque<Entry>,
    logins: VecDeque<Entry>,
}

/// The newest entries.
#[derive(Debug, Default)]
pub(super) struct Audit {
    kept: Mutex<Kept>,
}

impl Audit {
    /// An action, asked for by a statement.
    pub(super) fn action(&self, mut entry: Entry) {
        entry.what = presentable(&entry.what);
        say(&entry);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut kept.actions, entry, MOST_ACTIONS);
    }

    pub(super) fn login(&self, entry: Entry) {
        say(&entry);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut kept.logins, entry, MOST_LOGINS);
    }

    /// All of them, the newest first.
    pub(super) fn all(&self) -> Vec<Entry> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Entry> = kept.actions.iter().chain(&kept.logins).cloned().collect();
        all.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        all
    }
}

fn keep(entries: &mut VecDeque<Entry>, entry: Entry, most: usize) {
    if entries.len() == most {
        entries.pop_front();
    }
    entries.push_back(entry);
}

fn say(entry: &Entry) {
    let Entry {
        connection,
        user,
        peer,
        what,
        outcome,
        ..
    } = entry;
    let took_ms = u64::try_from(entry.took.as_millis()).unwrap_or(u64::MAX);
    let (result, detail) = (outcome.name(), outcome.detail());
    if matches!(outcome, Outcome::Denied(_)) {
        tracing::warn!(target: "tandem::audit", connection, user, %peer, what, result, detail, took_ms, "admin port");
    } else {
        tracing::info!(target: "tandem::audit", connection, user, %peer, what, result, detail, took_ms, "admin port");
    }
}

/// On one line, not too long, and without any value where one may be a secret.
fn presentable(statement: &str) -> String {
    let names_secret = |text: &str| {
        let words = ["password", "secret"].into_iter();
        words
            .filter_map(|word| Some(text.to_ascii_lowercase().find(word)? + word.len()))
            .min()
    };
    let hidden = names_secret(statement).is_some();
    let mut line = match hidden {
        true => normalise(statement.as_bytes(), DIALECT, LONGEST),
        false => statement.trim().replace(char::is_control, " "),
    };
    // A value may stand there without quotes too.
    let end = names_secret(&line)
        .filter(|_| hidden)
        .unwrap_or(line.len())
        .min(LONGEST);
    if end < line.len() {
        let end = (0..=end).rev().find(|end| line.is_char_boundary(*end));
        line.truncate(end.unwrap_or(0));
        line.push('…');
    }
    line
}

const DIALECT: Dialect = Dialect::plain(Flavor::MariaDb, 101_114);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: &str) -> Entry {
        Entry {
            at: SystemTime::UNIX_EPOCH,
            connection: 1,
            user: "admin".to_owned(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            what: what.to_owned(),
            outcome: Outcome::Done,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn no_secret_is_kept() {
        for (statement, shown) in [
            ("KILL 7", "KILL 7"),
            (" SWITCHOVER\nTO b ", "SWITCHOVER TO b"),
            ("SET user.app.password = 'hunter2'", "SET user.app.password…"),
            (
                "UPDATE config SET value='hunter2' WHERE name='Password'",
                "UPDATE config SET value = ? WHERE name = ?",
            ),
            ("SET user.app.password = hunter2", "SET user.app.password…"),
        ] {
            assert_eq!(presentable(statement), shown);
        }
        let long = presentable(&"é".repeat(LONGEST));
        assert!(long.len() <= LONGEST + 3 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn failed_logins_push_out_no_action() {
        let audit = Audit::default();
        audit.action(entry("DRAIN b"));
        for _ in 0..3 * MOST_ACTIONS {
            audit.login(entry("LOGIN"));
        }
        let all = audit.all();
        assert_eq!(all.len(), 1 + MOST_LOGINS);
        assert!(all.iter().any(|entry| entry.what == "DRAIN b"));
    }
}
