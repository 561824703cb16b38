//! Where a statement's connection comes from: the one that holds what it asks for, the session's last one,
//! any that fits, or a new one.

use std::rc::Rc;
use std::time::Instant;

use tandem_protocol::flags::Capabilities;
use tandem_protocol::packet::err::ServerError;

use super::complaint::Complaint;
use super::hold::{self, READS};
use super::insert_id::{self, Place};
use super::{End, Session};
use crate::backend::{Connection, Key, connect};
use crate::classify::facts::{Facts, Kind};
use crate::monitor::Trouble;
use crate::pool::lease::{Grant, Lease};
use crate::pool::{self, Pool};
use crate::topology::ServerId;

/// ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
const TOO_MANY: &[u16] = &[1040, 1203, 1226];

/// Why there is no connection for a statement.
#[derive(Debug)]
pub(super) enum NoLease {
    /// What the client is told, unless the statement can go elsewhere.
    Refused(Complaint),
    /// Nobody waits for it any more.
    Over(End),
}

impl From<Complaint> for NoLease {
    fn from(complaint: Complaint) -> Self {
        Self::Refused(complaint)
    }
}

impl From<End> for NoLease {
    fn from(end: End) -> Self {
        Self::Over(end)
    }
}

impl Session {
    pub(super) fn key(&self, pool: &Pool) -> Key {
        Key {
            user: self.account.id,
            flags: self.flags,
            epoch: self.epoch,
            origin: pool.origin_of(self.handle.client.get()),
        }
    }

    /// A connection of this session's own choice: one that holds what it asks for, or any that fits. While it waits in the
    /// pool's queue the client is watched: the place of who has gone is the next one's.
    pub(super) async fn lease_from(&mut self, server: ServerId, facts: &Facts) -> Result<Lease, NoLease> {
        if let Some(lease) = self.wanted_back(facts) {
            return Ok(lease);
        }
        let pool = Rc::clone(&self.worker.pools[server.0]);
        let last = self.last.get(server.0).copied().flatten();
        let key = self.key(&pool);
        let grant = match pool.acquire_now(key, last, &self.settings) {
            Some(grant) => grant,
            None => {
                let waiting = Box::pin(self.while_client_is_there(pool.acquire(key)));
                waiting
                    .await?
                    .map_err(|error| self.no_connection(&pool, &error))?
            }
        };
        let permit = match grant {
            Grant::Permit(permit) => permit,
            Grant::Lease(lease) => {
                let schema_in_the_way =
                    lease.connection().settings.schema.is_some() && self.settings.schema.is_none();
                if !schema_in_the_way {
                    return Ok(lease);
                }
                lease.into_permit()
            }
        };
        // Seldom, and large: a sleeping session's task has no place for it.
        let connection = Box::pin(self.open(&pool, key)).await.map_err(|error| {
            let server = pool.name.to_string();
            self.no_connection(&pool, &pool::Error::Connect { server, error })
        })?;
        let lease = permit.fill(Box::new(connection));
        Ok(lease.ok_or_else(Complaint::stopping)?)
    }

    async fn open(&self, pool: &Pool, key: Key) -> Result<Connection, connect::Error> {
        let (collation, client) = (self.settings.login.collation, self.handle.client.get());
        let opened = tokio::select! {
            opened = self.worker.open(pool, key, collation, client) => opened,
            () = self.replaced(pool.server) => Err(connect::Error::Replaced),
        };
        pool.note_connect(opened.is_ok());
        match &opened {
            Ok(_) => self.worker.vouchers.give(key, Instant::now()),
            Err(connect::Error::Io(_) | connect::Error::Timeout(_) | connect::Error::Replaced) => {
                self.worker.report(pool.server, Trouble::ConnectRefused);
            }
            Err(connect::Error::Refused { .. }) => {
                self.worker.vouchers.take_back(key);
                self.worker.accounts.mistrust();
            }
            Err(_) => {}
        }
        opened
    }

    /// Ready when the server is gone and another is the active master: no need to wait for its answer.
    async fn replaced(&self, server: ServerId) {
        loop {
            let mut published = std::pin::pin!(self.worker.published());
            published.as_mut().enable();
            if self.worker.is_replaced(server) {
                return;
            }
            published.await;
        }
    }

    /// Has the active master let the account in, unless it has lately: it may be locked, dropped, expired or have too many
    /// connections there, of which Tandem knows nothing. Costs a connection every few seconds, which others use then.
    ///
    /// # Errors
    /// The server's own words.
    pub(super) async fn be_vouched_for(&self) -> Result<(), Complaint> {
        let Some(active) = self.worker.topology.load().active else {
            // Nobody can tell now; the first statement will.
            return Ok(());
        };
        let pool = Rc::clone(&self.worker.pools[active.0]);
        let (key, vouchers) = (self.key(&pool), &self.worker.vouchers);
        if vouchers.is_valid(key, Instant::now()) {
            return Ok(());
        }
        let _turn = vouchers.turn.lock().await;
        // Who waited in line behind a login at a server that hangs need not ask it too.
        let is_active = self.worker.topology.load().active == Some(active);
        if vouchers.is_valid(key, Instant::now()) || !is_active {
            return Ok(());
        }
        let Some(permit) = pool.permit_now() else {
            return Ok(());
        };
        let had_been = vouchers.has_been(key);
        match self.open(&pool, key).await {
            Ok(connection) => {
                let lease = permit
                    .fill(Box::new(connection))
                    .ok_or_else(Complaint::stopping)?;
                // Closed where there is one already: else each few seconds would add one.
                if !pool.has_idle(key) {
                    lease.release();
                }
                Ok(())
            }
            // There may be connections left of those from before.
            Err(connect::Error::Refused { code, .. }) if had_been && TOO_MANY.contains(&code) => Ok(()),
            Err(connect::Error::Refused { code, state, message }) => {
                tracing::warn!(session = self.handle.id, server = %pool.name, "the server refused the login: {message} ({code})");
                let refusal = ServerError { code, state, message };
                Err(Complaint::of_server(refusal).said_of_account_by(&pool.name))
            }
            Err(_) => {
                // It could not be asked. Those who come next need not wait for that again.
                vouchers.give(key, Instant::now());
                Ok(())
            }
        }
    }

    fn no_connection(&self, pool: &Pool, error: &pool::Error) -> Complaint {
        tracing::warn!(session = self.handle.id, server = %pool.name, "no connection: {error}");
        Complaint::pool(error)
    }

    /// The very connection that holds what the statement asks for, if nobody has taken it over.
    fn wanted_back(&self, facts: &Facts) -> Option<Lease> {
        let (server, connection) = if hold::asks(facts).intersects(READS) {
            self.aftermath.place(facts.links)?
        } else if insert_id::is_wanted(facts) {
            let active = self.worker.topology.load().active?;
            match self.insert_id.place() {
                Place::On(connection) => (active, connection),
                Place::Here(_) | Place::OnItsWay => return None,
            }
        } else {
            return None;
        };
        let pool = &self.worker.pools[server.0];
        let lease = pool.take_back(connection)?;
        let Connection {
            key, last_session, ..
        } = lease.connection();
        // COM_SET_OPTION changes the flags: a question is answered there all the same, but nothing else may run there.
        let mut wanted = self.key(pool);
        if facts.kind == Kind::Select {
            wanted.flags.set(
                Capabilities::MULTI_STATEMENTS,
                key.flags.contains(Capabilities::MULTI_STATEMENTS),
            );
        }
        if *last_session == self.handle.id && *key == wanted {
            return Some(lease);
        }
        lease.release();
        None
    }
}
