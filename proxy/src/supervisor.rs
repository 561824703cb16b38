//! What the service manager is told (systemd's sd_notify(3)): that Tandem serves, in one line what it serves with, that it
//! stops, and for the watchdog that no thread hangs. Without NOTIFY_SOCKET in the environment nobody is told anything.

use std::env;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::admin::show;
use crate::topology::{self, Role, Topology};
use crate::worker::remote::Workers;

/// How often the line is compared with what was said last.
const LOOK: Duration = Duration::from_secs(1);
/// The watchdog hears so many times within its limit.
const BEATS: u32 = 3;
/// A manager that does not take its messages holds nobody up for longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// What stopping takes beside waiting for statements.
const GRACE: Duration = Duration::from_secs(10);

/// The service manager, where there is one. Dropping it ends the watchdog's beats.
pub struct Supervisor {
    stopping: watch::Sender<bool>,
    telling: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Says that Tandem is ready, and from then on what changes.
    pub(crate) async fn ready(listener: SocketAddr, topology: topology::Shared, workers: Workers) -> Self {
        let (stopping, stopped) = watch::channel(false);
        let telling = if env::var_os("NOTIFY_SOCKET").is_some() {
            let line = line(listener, &topology.load());
            tell(vec![NotifyState::Ready], Some(line.clone())).await;
            let story = Story {
                listener,
                topology,
                workers,
                line,
                stopped,
            };
            Some(tokio::spawn(story.go_on()))
        } else {
            None
        };
        Self { stopping, telling }
    }

    /// Says that the configuration is read again.
    pub(crate) async fn reloading(&self) {
        if self.telling.is_some() {
            let mut news = vec![NotifyState::Reloading];
            // A manager of systemd 253 and newer wants to know since when.
            news.extend(NotifyState::monotonic_usec_now());
            tell(news, None).await;
        }
    }

    /// Says that this is over, whatever came of it.
    pub(crate) async fn reloaded(&self) {
        if self.telling.is_some() {
            tell(vec![NotifyState::Ready], None).await;
        }
    }

    /// Says that Tandem stops, which may take `drain` for statements that run.
    pub(crate) async fn stopping(&self, drain: Duration) {
        if self.telling.is_none() {
            return;
        }
        // The workers answer no more from here on.
        let _ = self.stopping.send(true);
        let line = format!("stopping: running statements may finish within {drain:?}");
        // It may take so long, even if the unit's TimeoutStopSec is shorter.
        let longest = u32::try_from((drain + GRACE).as_micros()).unwrap_or(u32::MAX);
        let news = vec![NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest)];
        tell(news, Some(line)).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}

/// Beside the runtime: a manager that hangs would block it.
async fn tell(news: Vec<NotifyState<'static>>, line: Option<String>) {
    let sent = tokio::task::spawn_blocking(move || {
        let mut news: Vec<NotifyState<'_>> = news;
        news.extend(line.as_deref().map(NotifyState::Status));
        sd_notify::notify(&news)
    });
    match timeout(PATIENCE, sent).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("the service manager can't be told (NOTIFY_SOCKET): {error}"),
        Ok(Err(error)) => tracing::error!("telling the service manager failed: {error}"),
        Err(_) => tracing::warn!("the service manager takes no messages (NOTIFY_SOCKET)"),
    }
}

struct Story {
    listener: SocketAddr,
    topology: topology::Shared,
    workers: Workers,
    /// What was said last.
    line: String,
    stopped: watch::Receiver<bool>,
}

impl Story {
    async fn go_on(mut self) {
        let mut look = steady(LOOK);
        let mut beat = sd_notify::watchdog_enabled().map(|limit| steady(limit / BEATS));
        loop {
            tokio::select! {
                _ = look.tick() => self.retell().await,
                () = next(&mut beat) => self.beat().await,
            }
        }
    }

    async fn retell(&mut self) {
        let line = line(self.listener, &self.topology.load());
        if line != self.line && !*self.stopped.borrow() {
            self.line.clone_from(&line);
            tell(Vec::new(), Some(line)).await;
        }
    }

    /// That this runs shows that the main thread does. While it stops, workers end one by one, within their own limit.
    async fn beat(&self) {
        if *self.stopped.borrow() || self.workers.all_answer().await {
            tell(vec![NotifyState::Watchdog], None).await;
        } else {
            tracing::error!(
                "a worker does not answer: the service manager's watchdog is not told that all is well"
            );
        }
    }
}

fn steady(period: Duration) -> Interval {
    // A period of zero would be a panic.
    let mut interval = interval(period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn next(beat: &mut Option<Interval>) {
    match beat {
        Some(beat) => drop(beat.tick().await),
        None => pending().await,
    }
}

/// What `systemctl status` shows.
fn line(listener: SocketAddr, topology: &Topology) -> String {
    let servers = topology.servers.iter();
    let servers = servers.map(|server| told(&server.name, server.role, &server.why));
    let servers: Vec<String> = servers.collect();
    let nobody = match topology.active {
        Some(_) => "",
        None => "no active master: ",
    };
    format!("{listener}; {nobody}{}", servers.join(", "))
}

/// One server; why it is of no use, if it is of none.
fn told(name: &str, role: Role, why: &str) -> String {
    let is = format!("{name} is {}", show::role(role));
    match role {
        Role::Active | Role::Standby => is,
        // The protocol has a line for each piece of news.
        Role::Detached | Role::Down => format!("{is}: {}", why.replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_of_no_use_is_told_with_the_reason_in_one_line() {
        assert_eq!(told("a", Role::Active, "writable"), "a is active");
        assert_eq!(told("b", Role::Down, "no\nanswer"), "b is down: no answer");
    }
}
