//! After a reply: what it changed, and whether the connection stays with the session.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Session;
use super::errors::TAKES_NO_WRITES;
use super::hold::runs_code;
use super::insert_id;
use super::learn::Learned;
use super::registry::Tied;
use super::settings::Settings;
use crate::classify::facts::{Facts, Kind, Links, Purity};
use crate::monitor::{CANT_WRITE, Trouble};
use crate::pool::lease::Lease;
use crate::route::Written;

impl Session {
    /// Notes what a statement did, and keeps or gives back the connection it ran on.
    pub(super) fn settle(
        &mut self,
        mut lease: Lease,
        facts: &Facts,
        learned: &Learned,
        settings: Rc<Settings>,
    ) {
        let connection = lease.connection_mut();
        self.warnings = match learned.outcome.failed {
            true => 1,
            false => learned.outcome.warnings,
        };
        let place = (connection.server, connection.id);
        self.aftermath
            .note(place, &mut connection.left, facts, learned, connection.flavor);
        self.handle.underway.borrow_mut().answered(learned);
        let was_pinned = !self.ties.pins.is_empty();
        self.ties.note(facts, &learned.outcome);
        let pinned = !self.ties.pins.is_empty();
        self.worker.count(|counters| {
            counters.client_sent_bytes += learned.bytes;
            counters.client_received_bytes += learned.uploaded;
            counters.server_errors += u64::from(learned.outcome.failed);
            counters.pins += u64::from(pinned && !was_pinned);
        });
        if !Rc::ptr_eq(&self.settings, &settings) {
            self.adopt(settings);
        }
        connection.settings = Rc::clone(&self.settings);
        if learned.insert_id != 0 || insert_id::is_wanted(facts) {
            self.insert_id.made_on(connection.id, learned.insert_id);
            connection.insert_id_of = Some(Rc::clone(&self.insert_id));
        }
        connection.ran_code |= runs_code(facts.kind) && facts.purity != Purity::Pure;
        if facts.links.contains(Links::CHANGES_DEFAULTS) {
            self.worker.begin_epoch();
        }
        let ends_one = matches!(facts.kind, Kind::Begin | Kind::Commit | Kind::Rollback);
        if ends_one && !learned.outcome.failed || self.has_committed(learned) {
            self.handle.ends_transaction();
        }
        self.ties.statement |= learned.cursor;
        self.note_write(facts, learned);
        if learned.error.is_some_and(|code| TAKES_NO_WRITES.contains(&code)) {
            self.worker.report(connection.server, Trouble::ReadOnly);
        }
        if learned.error.is_some_and(|code| CANT_WRITE.contains(&code)) {
            self.worker.report(connection.server, Trouble::CantWrite);
        }
        let (server, id) = (connection.server, connection.id);
        self.last[server.0] = Some(id);
        self.last_server = Some(server);
        self.handle.pins.set(self.ties.pins);
        if pinned && !was_pinned {
            *self.handle.pinned_by.borrow_mut() = facts.tally.clone();
        }
        self.keep_or_release(lease);
    }

    /// Makes these the session's settings, with what others see of them.
    pub(super) fn adopt(&mut self, settings: Rc<Settings>) {
        if self.settings.schema != settings.schema {
            self.handle.show_schema(settings.schema.as_deref());
        }
        self.handle.wait_timeout.set(wait_timeout(&settings));
        self.settings = settings;
    }

    /// Takes over how long the servers let clients sleep that log in now.
    pub(super) fn note_server_timeout(&self, is_interactive: bool) {
        let timeouts = self.worker.topology.load().timeouts();
        self.handle.server_timeout.set(match is_interactive {
            true => timeouts.interactive,
            false => timeouts.wait,
        });
    }

    /// Keeps the connection while something ties the session to it.
    pub(super) fn keep_or_release(&mut self, mut lease: Lease) {
        let tied = self.ties.is_tied();
        self.handle.note_transaction(self.ties.in_transaction());
        if tied || self.ties.diagnostics {
            self.handle.may_let_go.set(!tied);
            self.handle.keeps(match (self.ties.statement, tied) {
                (true, _) => Tied::Statement,
                (false, true) => Tied::No,
                (false, false) => Tied::Diagnostics,
            });
            lease.hold();
            self.lease = Some(lease);
        } else {
            self.handle.lets_go();
            lease.release();
        }
    }

    /// Remembers the position of the session's last commit, which its reads must not be older than.
    fn note_write(&mut self, facts: &Facts, learned: &Learned) {
        if let Some(gtid) = learned.gtid {
            // MariaDB 11.8 reports a connection's old `last_gtid` with SET timestamp and the like.
            if !matches!(self.written, Written::At(newest) if gtid.is_before(&newest)) {
                self.written = Written::At(gtid);
            }
        } else if may_write(facts) && !learned.reported {
            // A reply without an OK packet reports no position, so something may have been written.
            self.written = Written::Somewhere(Instant::now());
        }
    }

    /// Gives back a connection that was kept only for what the next statement might have asked.
    pub(super) fn let_go_of_diagnostics(&mut self) {
        if self.ties.is_tied() {
            return;
        }
        self.ties.diagnostics = false;
        self.handle.may_let_go.set(false);
        if let Some(lease) = self.lease.take() {
            self.handle.lets_go();
            lease.release();
        }
    }

    /// Gives up the connection with everything the session left on it; it is cleaned before others get it.
    pub(super) fn let_go_dirty(&mut self) {
        self.handle.lets_go();
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        if self.ties.is_tied() && !lease.connection().broken {
            lease.connection_mut().soiled = true;
            self.worker.clean(lease);
        } else {
            lease.release();
        }
    }
}

/// How long a session with these settings may sleep, where it has said so itself.
fn wait_timeout(settings: &Settings) -> Option<Duration> {
    let text = std::str::from_utf8(settings.variable(b"wait_timeout")?).ok()?;
    text.parse().ok().map(Duration::from_secs)
}

fn may_write(facts: &Facts) -> bool {
    let session_only = matches!(
        facts.purity,
        Purity::Pure | Purity::SessionState | Purity::PreviousStatement
    );
    !session_only && facts.kind != Kind::Show || runs_code(facts.kind) || facts.kind == Kind::Commit
}
