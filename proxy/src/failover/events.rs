//! What was done, when, why and how long it took: for `SHOW EVENTS`, the log, and a command of the operator's.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};

use crate::config::Config;

/// Older events are forgotten.
const MOST: usize = 512;

/// Commands that run at once; an event that comes meanwhile is told of in the log only.
const COMMANDS: usize = 4;

/// A command that runs longer is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of what happened; stable, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Adopted,
    Opened,
    Guarded,
    Suspected,
    Recovered,
    FailoverBegun,
    Fenced,
    ReceivingStopped,
    Applied,
    Promoted,
    FailoverStopped,
    Failback,
    SwitchoverBegun,
    Drained,
    SwitchoverUndone,
    SetUp,
    FetchesBack,
    Rejoined,
    Quarantined,
    WaitsForNobody,
    WaitsForStandby,
    TakenOut,
    LetIn,
    Paused,
    Resumed,
    LeaseWon,
    LeaseLost,
    EtcdLost,
    EtcdBack,
    Failed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Adopted => "adopted",
            Self::Opened => "opened",
            Self::Guarded => "guarded",
            Self::Suspected => "suspected",
            Self::Recovered => "recovered",
            Self::FailoverBegun => "failover_begun",
            Self::Fenced => "fenced",
            Self::ReceivingStopped => "receiving_stopped",
            Self::Applied => "applied",
            Self::Promoted => "promoted",
            Self::FailoverStopped => "failover_stopped",
            Self::Failback => "failback",
            Self::SwitchoverBegun => "switchover_begun",
            Self::Drained => "drained",
            Self::SwitchoverUndone => "switchover_undone",
            Self::SetUp => "set_up",
            Self::FetchesBack => "fetches_back",
            Self::Rejoined => "rejoined",
            Self::Quarantined => "quarantined",
            Self::WaitsForNobody => "waits_for_nobody",
            Self::WaitsForStandby => "waits_for_standby",
            Self::TakenOut => "taken_out",
            Self::LetIn => "let_in",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::LeaseWon => "lease_won",
            Self::LeaseLost => "lease_lost",
            Self::EtcdLost => "etcd_lost",
            Self::EtcdBack => "etcd_back",
            Self::Failed => "failed",
        }
    }

    /// Somebody should look.
    pub fn is_trouble(self) -> bool {
        matches!(
            self,
            Self::FailoverStopped
                | Self::SwitchoverUndone
                | Self::Quarantined
                | Self::EtcdLost
                | Self::Failed
        )
    }
}

/// One line of the timeline.
#[derive(Clone, Debug)]
pub struct Event {
    at: SystemTime,
    pub kind: Kind,
    /// The server that it is about.
    pub server: String,
    /// Why, or what follows from it.
    pub detail: String,
    /// How long the step took.
    pub took: Option<Duration>,
}

impl Event {
    #[expect(clippy::disallowed_methods, reason = "it is only shown")]
    pub fn of_now(kind: Kind, server: String, detail: String, took: Option<Duration>) -> Self {
        Self {
            at: SystemTime::now(),
            kind,
            server,
            detail,
            took,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it is only shown")]
    pub fn age(&self) -> Duration {
        // The clock may have been set back.
        SystemTime::now().duration_since(self.at).unwrap_or_default()
    }
}

/// The newest events.
#[derive(Debug)]
pub struct Events {
    newest: Mutex<VecDeque<Event>>,
    newer: watch::Receiver<Arc<Config>>,
    running: Arc<Semaphore>,
}

impl Events {
    pub fn new(newer: watch::Receiver<Arc<Config>>) -> Self {
        Self {
            newest: Mutex::default(),
            newer,
            running: Arc::new(Semaphore::new(COMMANDS)),
        }
    }

    /// Notes, logs and tells.
    pub fn add(&self, event: Event) {
        let (kind, server, detail) = (event.kind.name(), &event.server, &event.detail);
        let took = event.took.map(tracing::field::debug);
        if event.kind.is_trouble() {
            tracing::error!(event = kind, server, took, "{detail}");
        } else {
            tracing::warn!(event = kind, server, took, "{detail}");
        }
        self.run_command(&event);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.truncate(MOST - 1);
        newest.push_front(event);
    }

    /// Newest first.
    pub fn all(&self) -> Vec<Event> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.iter().cloned().collect()
    }

    fn run_command(&self, event: &Event) {
        let config = Arc::clone(&self.newer.borrow());
        let failover = config.failover.as_ref();
        let Some(command) = failover.and_then(|failover| failover.event_command.as_deref()) else {
            return;
        };
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            tracing::warn!("failover.event_command was not run: {COMMANDS} of them run already");
            return;
        };
        let child = shell(command)
            .env("TANDEM_EVENT", event.kind.name())
            .env("TANDEM_SERVER", &event.server)
            .env("TANDEM_DETAIL", &event.detail)
            .spawn();
        match child {
            Ok(mut child) => drop(tokio::spawn(async move {
                let _permit = permit;
                match tokio::time::timeout(PATIENCE, child.wait()).await {
                    Ok(Ok(status)) if status.success() => {}
                    Ok(Ok(status)) => tracing::warn!("failover.event_command ended with {status}"),
                    Ok(Err(error)) => tracing::warn!("failover.event_command: {error}"),
                    Err(_) => tracing::warn!("failover.event_command was killed after {PATIENCE:?}"),
                }
            })),
            Err(error) => tracing::warn!("failover.event_command can't be started: {error}"),
        }
    }
}

/// A command of the operator's; it is killed if it is not waited for to its end.
pub(super) fn shell(command: &str) -> tokio::process::Command {
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    shell
}
