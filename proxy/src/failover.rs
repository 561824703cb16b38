//! Who is the active master, decided by Tandem (`[failover]`): [`judge`] looks, [`controller`] decides and acts, [`hands`] are
//! what it acts with ([`sql`]: statements to the servers), [`journal`] remembers over a restart, [`events`] tell operators what was done and why. Of several Tandems
//! one does all that, as [`coordination`] has it.
//!
//! ```text
//!                      nobody known          the active master is dead
//!            Adopt ◀───────────────── Serving ───────────────────────▶ failover:  begin (journal) → fence the old one
//!              │                      ▲  │ ▲                             as far as it can be reached → the standby stops
//!              └──────────────────────┘  │ │                             receiving → applies all it has → has it all
//!  its own read_only: Open ◀─────────────┤ │                             that was acknowledged? → promote (journal) →
//!  another is writable: Guard ◀──────────┤ │                             writable → published
//!  one came back: Rejoin ◀───────────────┤ │ SWITCHOVER
//!                                        │ └──────────▶ switchover: hold → writes under way end → read_only → the other has
//!                                        └──◀────────── applied all → promote (journal) → writable → published; undone when a
//!                                                       step before the promotion fails
//! ```
//! What makes it safe:
//! - One writer: nobody is made writable before the journal says so, and another writable server is made read-only at once.
//! - Nothing acknowledged is lost: the standby is promoted only if it has received every commit that a client of this Tandem was
//!   told of. With semi-sync replication it always has.
//! - What the old master may still commit, it can't replicate: the standby has stopped receiving. It is let back in only when
//!   it has nothing that the pair lacks.
//! - A Tandem that has not seen the active master alive since it started promotes nobody by itself, for it can't know what was
//!   acknowledged; unless its journal says that it was promoting somebody.

pub mod controller;
pub mod coordination;
pub mod events;
pub mod hands;
pub mod journal;
pub mod judge;
pub mod outcome;
pub mod pulse;
#[cfg(test)]
mod simulation;
mod sql;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::monitor::Monitor;
use crate::topology::ServerId;
use crate::topology::derive::Authority;
use controller::{Controller, Status};
use coordination::Membership;
use events::Events;
use journal::Journal;
use pulse::Pulse;
use sql::{Memory, Sql};

/// Commands that may wait to be carried out.
const COMMANDS: usize = 8;

const TOO_MANY_COMMANDS: &str = "too many commands wait already; try again when those are done";

/// Sends what differs from what was sent last; whether it did.
fn send_if_new<T: PartialEq>(to: &watch::Sender<T>, value: T) -> bool {
    to.send_if_modified(|known| {
        let differs = *known != value;
        *known = value;
        differs
    })
}

/// How long it may take to give the lease back.
const LEAVING: Duration = Duration::from_secs(1);

/// What an operator asks for.
#[derive(Debug)]
pub enum Command {
    /// To the other server, or the one named, within a time (by default `failover.switchover_timeout`).
    Switchover {
        to: Option<ServerId>,
        timeout: Option<Duration>,
        /// Also when the active master is dead and the standby may lack what was acknowledged.
        force: bool,
        /// Only says whether it could be done.
        dry_run: bool,
    },
    /// Takes a server out, for an operator's work on it; not the active one.
    Drain(ServerId),
    /// The work is done.
    Open(ServerId),
    /// No automatic failover until `Resume`.
    Pause,
    Resume,
}

/// A command, and where its answer goes: a sentence for the operator.
pub type Request = (Command, oneshot::Sender<Result<String, String>>);

/// What others have of the running failover.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Request>,
    status: watch::Receiver<Status>,
    events: Arc<Events>,
    view: Option<coordination::View>,
}

impl Handle {
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    /// With `[coordination]`: what this Tandem is, and who the others are.
    pub fn membership(&self) -> Option<Membership> {
        self.view.as_ref().map(coordination::View::membership)
    }

    /// Has a command carried out.
    ///
    /// # Errors
    /// Why it was not, in words for the operator.
    pub async fn command(&self, command: Command) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.try_send((command, answer));
        sent.map_err(|_| TOO_MANY_COMMANDS.to_owned())?;
        answered
            .await
            .unwrap_or_else(|_| {
                Err(match self.view {
                    None => "Tandem is stopping",
                    Some(_) => {
                        "it was given up, or is carried to its end by another Tandem: this one has lost the right to decide, or \
                         is stopping (SHOW FAILOVER, SHOW EVENTS)"
                    }
                }
                .to_owned())
            })
    }
}

/// Why deciding can't begin.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Tls(#[from] coordination::Error),
}

/// The running failover itself.
#[derive(Debug)]
pub struct Deciding {
    task: JoinHandle<()>,
    /// With `[coordination]`: it goes on following while sessions end, and says goodbye then.
    leave: Option<oneshot::Sender<()>>,
}

impl Deciding {
    /// Decides nothing more. A change that is under way is carried to its end by whoever decides next, from the journal.
    pub fn stop(&self) {
        if self.leave.is_none() {
            self.task.abort();
        }
    }

    /// The last of it: no session is left.
    pub async fn leave(self) {
        if let Some(leave) = self.leave {
            let _ = leave.send(());
            let mut task = self.task;
            if tokio::time::timeout(LEAVING, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Starts deciding, or with `[coordination]` following. `authority` is where the decisions go; `stopping` is true when Tandem
/// takes no new clients any more.
///
/// # Errors
/// When the journal can't be read or does not fit the configuration, or a file can't be read.
pub fn start(
    config: &Config,
    monitor: &Monitor,
    authority: watch::Sender<Authority>,
    stopping: watch::Receiver<bool>,
) -> Result<Option<(Handle, Deciding)>, Error> {
    let Some(settings) = &config.failover else {
        return Ok(None);
    };
    if !settings.decides && config.coordination.is_none() {
        return Ok(None);
    }
    let names = config.server_names();
    let journal = match settings.decides {
        true => Some(Journal::open(&settings.journal, &names)?),
        false => None,
    };
    let sources = monitor.sources();
    let events = Arc::new(Events::new(sources.newer.clone()));
    let (commands, requests) = mpsc::channel(COMMANDS);
    let (status, view, deciding) = match (&config.coordination, journal) {
        (Some(coordination), journal) => {
            let (status, shown) = watch::channel(Status::default());
            let (leave, leaving) = oneshot::channel();
            let (view, task) = coordination::start(coordination::Means {
                config,
                settings: coordination,
                failover: settings,
                sources,
                authority,
                journal,
                requests,
                status,
                events: Arc::clone(&events),
                stopping,
                leaving,
            })?;
            let leave = Some(leave);
            (shown, Some(view), Deciding { task, leave })
        }
        (None, Some((journal, remembered))) => {
            let (pulse, stall) = Pulse::new(&sources);
            let hands = Sql::new(
                &sources,
                authority,
                Memory::Alone(journal),
                Arc::clone(&events),
                stall,
            );
            let rules = judge::Rules::new(settings);
            let (controller, status) =
                Controller::new(hands, rules, names, &remembered, sources.health, requests);
            let controller = controller.following(sources.newer);
            let task = tokio::spawn(async move {
                tokio::select! {
                    () = controller.run() => {}
                    () = pulse.run() => {}
                }
            });
            (status, None, Deciding { task, leave: None })
        }
        (None, None) => return Ok(None),
    };
    let handle = Handle {
        commands,
        status,
        events,
        view,
    };
    Ok(Some((handle, deciding)))
}
