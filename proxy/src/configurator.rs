//! Gives a running Tandem another configuration: all of it that can act without a restart, or nothing.
//!
//! Only reading can fail, and is over before anything is given to anybody. Then the accounts, the workers and the control path get it,
//! one after the other, and whoever asked is answered when all have it: the next statement of any client goes by the new one.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Local;
use tokio::sync::watch;

use crate::config::live::{Assignment, Difference, Live, Next, Row};
use crate::config::{Change, Config, Problems};
use crate::firewall::keeper::Keeper;
use crate::log;
use crate::mirror::Mirrors;
use crate::net::tls::{Renewal, Tls};
use crate::quota::{self, Quotas};
use crate::worker::accounts::Accounts;
use crate::worker::failed_logins::FailedLogins;
use crate::worker::remote::Workers;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// By what it is seen that a file is another.
type Seen = Option<(u64, i64, i64, u64)>;

fn seen(path: &Path) -> Seen {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
}

/// Whose configuration is replaced.
pub struct Configurator {
    live: Mutex<Live>,
    /// Changes are made one after the other.
    turn: tokio::sync::Mutex<()>,
    publish: watch::Sender<Arc<Config>>,
    holders: Holders,
}

/// Those of the data path.
pub struct Holders {
    pub tls: Tls,
    pub accounts: Arc<Accounts>,
    pub failed_logins: Arc<FailedLogins>,
    pub quotas: Arc<Quotas>,
    pub firewall: Arc<Keeper>,
    pub mirrors: Arc<Mirrors>,
    pub workers: Arc<Workers>,
}

impl Configurator {
    /// `publish` is where the control path finds the newest.
    pub fn new(live: Live, publish: watch::Sender<Arc<Config>>, holders: Holders) -> Arc<Self> {
        Arc::new(Self {
            live: Mutex::new(live),
            turn: tokio::sync::Mutex::default(),
            publish,
            holders,
        })
    }

    /// What acts now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.publish.borrow())
    }

    /// Reads the file again and goes by it. What was set beside it is gone then.
    ///
    /// # Errors
    /// All that is wrong with it; then nothing has changed.
    pub async fn reload(self: &Arc<Self>) -> Result<Vec<Change>, Problems> {
        self.change(|live| live.reload()).await
    }

    /// These keys beside what the file says, until the next reload.
    ///
    /// # Errors
    /// All that would be wrong then; nothing has changed.
    pub async fn set(self: &Arc<Self>, changes: Vec<Assignment>) -> Result<Vec<Change>, Problems> {
        self.change(move |live| live.set(&changes)).await
    }

    /// Writes what was set into the file, comments and all else of it kept.
    ///
    /// # Errors
    /// Why it can't be; the file is as it was.
    pub async fn save(self: &Arc<Self>) -> Result<Vec<Difference>, Problems> {
        let saved = self.differences().await?;
        self.change(Live::save).await?;
        let left = self.differences().await?;
        Ok(saved
            .into_iter()
            .filter(|difference| !left.contains(difference))
            .collect())
    }

    /// What is limited over all workers, and how much of it is used; there are so many clients now.
    pub fn quotas(&self, clients: usize) -> Vec<quota::Row> {
        let mut rows = self.holders.quotas.rows(clients);
        rows.extend(self.holders.firewall.limits());
        rows
    }

    /// What the firewall knows.
    pub fn firewall(&self) -> &Keeper {
        &self.holders.firewall
    }

    /// Every key, and where its value comes from.
    pub fn rows(&self) -> Vec<Row> {
        self.live().rows()
    }

    /// What differs from the file, read now.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub async fn differences(&self) -> Result<Vec<Difference>, Problems> {
        let live = self.live().clone();
        let reading = tokio::task::spawn_blocking(move || live.differences());
        reading.await.unwrap_or_else(|_| Err(Problems::default()))
    }

    /// Reloads when the file has changed and then stays as it is from one look to the next, while `admin.watch_file` asks for it.
    pub async fn watch(self: Arc<Self>) {
        let Some(path) = self.live().file() else { return };
        let mut ticks = tokio::time::interval(LOOK);
        let mut taken = seen(&path);
        let mut last = taken;
        loop {
            ticks.tick().await;
            let now = seen(&path);
            let settled = now == std::mem::replace(&mut last, now);
            if !settled || now == taken {
                continue;
            }
            taken = now;
            if self.config().admin.watch_file {
                match self.reload().await {
                    Ok(changes) => {
                        tracing::info!(
                            changes = changes.len(),
                            "the configuration file has changed and was taken"
                        );
                    }
                    Err(problems) => {
                        tracing::error!("the configuration file has changed, and is not taken: {problems}");
                    }
                }
            }
        }
    }

    /// In a task of its own: whoever asked may hang up half way.
    async fn change(
        self: &Arc<Self>,
        read: impl FnOnce(&Live) -> Result<Next, Problems> + Send + 'static,
    ) -> Result<Vec<Change>, Problems> {
        let all = Arc::clone(self);
        let changing = tokio::spawn(async move {
            let _turn = all.turn.lock().await;
            let live = all.live().clone();
            // Files are read and names resolved.
            let tls = all.holders.tls.clone();
            let reading = tokio::task::spawn_blocking(move || {
                let next = read(&live)?;
                let renewal = tls.renewal(&next.config());
                let renewal = renewal.map_err(|error| next.refused_for(error.parts()))?;
                Ok((next, renewal))
            });
            let (next, renewal) = reading.await.unwrap_or_else(|_| Err(Problems::default()))?;
            Ok::<_, Problems>(all.take(next, renewal).await)
        });
        changing.await.unwrap_or_else(|_| Err(Problems::default()))
    }

    async fn take(&self, next: Next, renewal: Renewal) -> Vec<Change> {
        let (config, changes) = (next.config(), next.changes().to_vec());
        for warning in next.warnings() {
            tracing::warn!("configuration: {warning}");
        }
        self.live().take(next, Local::now());
        log::filter_by(&config.log.level);
        let listener = &config.listener;
        let logins = &self.holders.failed_logins;
        logins.bound(listener.failed_logins, listener.failed_logins_window);
        self.holders.tls.renew(renewal);
        self.holders.accounts.renew(&config.users);
        self.holders.quotas.renew(&config);
        self.holders.firewall.renew(&config);
        // Before the workers, whose rules name them.
        self.holders.mirrors.adopt(&config);
        if !self.holders.workers.adopt(&config).await {
            tracing::error!("a worker is busy and takes the new configuration later");
        }
        self.publish.send_replace(config);
        for change in &changes {
            tracing::info!(
                key = %change.key,
                before = change.before.as_deref(),
                after = change.after.as_deref(),
                acts = change.effect.name(),
                "configuration changed"
            );
        }
        changes
    }

    /// Whoever holds the lock leaves it whole: one assignment after the other, none of which can panic.
    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
