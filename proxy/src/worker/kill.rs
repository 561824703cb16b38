//! Killing a session or its statement, from any other session and from the admin port.
//!
//! The worker that has the session does it, so that a `KILL QUERY` never reaches a server connection that works for
//! somebody else by then: while one is under way, the connection stays with the session.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tandem_protocol::response::Expect;
use tokio::task::AbortHandle;

use super::Worker;
use crate::admin::view::DataPath;
use crate::backend::{Key, UserId};
use crate::net::address::Peer;
use crate::session::registry::{Handle, Running, Signal};
use crate::session::{Swallowed, ask, first_row};
use crate::topology::Flavor;

/// Connections for killing that a worker has open at once; they don't count in the pool, which may be full just
/// when somebody wants to kill.
const AT_ONCE: u32 = 4;

/// How long the server may take to answer a KILL.
const WITHIN: Duration = Duration::from_secs(2);

/// ER_NO_SUCH_THREAD: it ended by itself.
const NO_SUCH_THREAD: u16 = 1094;

/// What is to be killed.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub session: u32,
    /// Only the running statement.
    pub query_only: bool,
    /// Who wants it, and may end only what is his; `None` is an administrator, Tandem's or the servers'.
    pub by: Option<UserId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// No such session.
    Unknown,
    NotOwner,
    Failed(String),
}

/// What is fired at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Connection,
    Query,
    /// One that takes too long, and not one that only waits for the standby's acknowledgement: killed in that, MariaDB tells the client
    /// of a commit that nobody else has (measured on 10.11.19; MySQL 9.7.4 waits on).
    LateQuery,
}

/// A row if the thread's commit waits to be acknowledged.
fn waits_for_standby(thread: u32) -> String {
    format!(
        "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = {thread} AND STATE LIKE 'Waiting for semi-sync ACK%'"
    )
}

/// Counts connections for killing.
#[derive(Default)]
pub struct Gun {
    firing: Cell<u32>,
    /// Statements that take too long are being stopped.
    stopping: Cell<bool>,
}

impl Gun {
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}

/// One at a time stops what takes too long.
pub struct Stopping(Rc<Worker>);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.gun.stopping.set(false);
    }
}

impl Stopping {
    pub fn begin(worker: &Rc<Worker>) -> Self {
        worker.gun.stopping.set(true);
        Self(Rc::clone(worker))
    }

    /// Stops their statements, one after the other.
    pub async fn stop_all(self, overdue: Vec<Rc<Handle>>) {
        for handle in overdue {
            // It may have ended meanwhile, and another one not be late.
            let (Some(running), Some(_)) = (handle.running(), handle.overrun()) else {
                continue;
            };
            if let Err(cause) = self.0.fire_at_late(&handle, running).await {
                handle.takes_its_time();
                tracing::warn!(
                    session = handle.id,
                    "a statement that takes too long could not be stopped: {cause}; it is tried again"
                );
            }
        }
    }
}

struct Firing<'a>(&'a Cell<u32>);

impl Drop for Firing<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Has a statement ended if it takes too long, as long as this lives.
#[derive(Debug)]
pub struct Overtime {
    task: AbortHandle,
    state: Rc<Cell<Late>>,
}

/// How far that has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Waits,
    Fires,
    /// The statement has ended: what was fired already is awaited by its session, and nothing more is.
    Over,
}

impl Drop for Overtime {
    fn drop(&mut self) {
        if self.state.replace(Late::Over) == Late::Waits {
            self.task.abort();
        }
    }
}

/// Between two attempts to have a statement ended.
const PAUSE: Duration = Duration::from_millis(100);

impl Worker {
    /// Has the statement that runs for a session ended when it still runs after `limit`.
    pub(crate) fn end_after(self: &Rc<Self>, handle: &Rc<Handle>, limit: Duration) -> Overtime {
        let state = Rc::new(Cell::new(Late::Waits));
        let (worker, handle, late) = (Rc::clone(self), Rc::clone(handle), Rc::clone(&state));
        let task = tokio::task::spawn_local(async move {
            tokio::time::sleep(limit).await;
            late.set(Late::Fires);
            handle.note_overtime();
            let mut is_told = false;
            while late.get() == Late::Fires {
                let Some(running) = handle.running() else { return };
                match worker.fire_at_late(&handle, running).await {
                    Ok(true) => return,
                    Err(cause) if !std::mem::replace(&mut is_told, true) => tracing::warn!(
                        session = handle.id,
                        "a statement that takes longer than its rule allows could not be stopped: {cause}; it is tried again"
                    ),
                    Ok(false) | Err(_) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Overtime {
            task: task.abort_handle(),
            state,
        }
    }

    /// Has a statement that takes too long stopped; false where it is spared. After an error it may have been hit all the same.
    async fn fire_at_late(&self, handle: &Rc<Handle>, running: Running) -> Result<bool, String> {
        let shot = handle.shoot();
        let fired = self.fire(running, handle.client.get(), What::LateQuery).await;
        match fired {
            Ok(false) => handle.was_spared(shot),
            Ok(true) | Err(_) => drop(shot),
        }
        fired
    }

    /// Kills a session of this worker.
    pub(super) async fn kill(self: Rc<Self>, order: Order) -> Outcome {
        let Some(handle) = self.find_session(order.session) else {
            return Outcome::Unknown;
        };
        let is_owner = |by| {
            let account = self.accounts.account(by);
            account.is_some_and(|account| *account.name == **handle.user.borrow())
        };
        if order.by.is_some_and(|by| !is_owner(by)) {
            return Outcome::NotOwner;
        }
        let running = handle.running();
        if !order.query_only {
            // The session lets go of the connection at once; what it ran there must end too.
            handle.send(Signal::Kill);
        }
        let Some(running) = running else {
            return Outcome::Done;
        };
        let shot = order.query_only.then(|| handle.shoot());
        let what = match order.query_only {
            true => What::Query,
            false => What::Connection,
        };
        let fired = self.fire(running, handle.client.get(), what).await;
        drop(shot);
        match fired {
            Ok(_) => Outcome::Done,
            Err(cause) => Outcome::Failed(cause),
        }
    }

    /// A session of this worker by the number that Tandem gave it, or by the active master's own of the connection
    /// that serves it: `CONNECTION_ID()` and the process list tell that one.
    pub fn find_session(&self, number: u32) -> Option<Rc<Handle>> {
        self.registry.find(number).or_else(|| {
            let active = self.topology.load().active?;
            self.registry.served_by(active, number)
        })
    }

    /// The active master's own number of the connection that serves a session of this worker, or has served it last.
    pub(super) fn serving(&self, session: u32) -> Option<u32> {
        let active = self.topology.load().active?;
        let (server, thread_id) = self.registry.find(session)?.served_by.get()?;
        (server == active.0).then_some(thread_id)
    }

    /// The same for a session of whichever worker has it.
    pub async fn connection_of(&self, session: u32) -> Option<u32> {
        self.peers.get()?.serving(session).await
    }

    /// False where it was not to be hit.
    async fn fire(&self, running: Running, client: Peer, what: What) -> Result<bool, String> {
        if self.gun.firing.get() >= AT_ONCE {
            return Err(format!("{AT_ONCE} others are being killed just now"));
        }
        self.gun.firing.set(self.gun.firing.get() + 1);
        let _firing = Firing(&self.gun.firing);
        let pool = &self.pools[running.server.0];
        let key = Key {
            user: running.user,
            flags: running.flags,
            epoch: self.epoch(),
            origin: pool.origin_of(client),
        };
        let opened = self.open(pool, key, 0, client).await;
        let mut connection = opened.map_err(|error| format!("server \'{}\' {error}", pool.name))?;
        let thread = running.thread_id;
        let killing = async {
            if what == What::LateQuery && connection.flavor == Flavor::MariaDb {
                let waiting = ask(&mut connection, &waits_for_standby(thread), Expect::Query).await?;
                if first_row(&waiting.bytes, 1).is_some() {
                    return Ok(None);
                }
            }
            let what = if what == What::Connection {
                "CONNECTION"
            } else {
                "QUERY"
            };
            let reply = ask(&mut connection, &format!("KILL {what} {thread}"), Expect::Single).await;
            reply.map(Some)
        };
        match tokio::time::timeout(WITHIN, killing).await {
            Ok(Ok(Some(Swallowed {
                error: Some(error), ..
            }))) if error.code != NO_SUCH_THREAD => Err(error.to_string()),
            Ok(Ok(killed)) => Ok(killed.is_some()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(format!("the server did not answer within {WITHIN:?}")),
        }
    }

    /// The sessions of whichever workers that a `KILL USER` means.
    pub async fn sessions_of(&self, name: &[u8], host: Option<&[u8]>) -> Vec<u32> {
        match self.peers.get() {
            Some(workers) => workers.sessions_of(name, host).await,
            None => Vec::new(),
        }
    }

    /// Kills a session of whichever worker has it.
    pub async fn order_kill(&self, order: Order) -> Outcome {
        match self.peers.get() {
            Some(workers) => workers.kill(order).await,
            None => Outcome::Unknown,
        }
    }
}
