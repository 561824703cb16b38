//! The one place where the parts are put together: both the program and the tests start this.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::config::live::Live;
use crate::config::{Auth, Config};
use crate::configurator::{Configurator, Holders};
use crate::directory;
use crate::failover::{self, Deciding};
use crate::firewall::file;
use crate::firewall::keeper::Keeper;
use crate::history::sampler;
use crate::listener::Listener;
use crate::metrics::{Metrics, Subjects};
use crate::mirror::Mirrors;
use crate::monitor::{self, Monitor};
use crate::net::tls::{self, Tls};
use crate::quota::Quotas;
use crate::spans::Spans;
use crate::statement_log::{StatementLog, Written};
use crate::supervisor::Supervisor;
use crate::topology::derive::{Authority, Decided};
use crate::worker::Parts;
use crate::worker::accounts::Accounts;
use crate::worker::failed_logins::FailedLogins;
use crate::worker::remote::{Remote, Workers};
use crate::worker::rsa_key::{self, RsaKey};

/// How long the first look at the servers may take before clients are served without it.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Why Tandem could not start.
#[derive(Debug, Error)]
pub enum Error {
    #[error("cannot listen on {address} ({key}): {error}; is another program using it?")]
    Bind {
        key: &'static str,
        address: SocketAddr,
        #[source]
        error: io::Error,
    },
    #[error(
        "cannot listen on {path} (listener.socket): {error}; its folder must exist and be writable, and the file \
         must not be there or be a socket on which nobody listens"
    )]
    BindUnix {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    Failover(#[from] failover::Error),
    #[error(transparent)]
    Firewall(#[from] file::Error),
    #[error(transparent)]
    RsaKey(#[from] rsa_key::Error),
    #[error("cannot send spans (tracing.endpoint): {0}")]
    Spans(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error(
        "cannot open the statement log {path} (statement_log.file): {error}; its folder must exist and be writable"
    )]
    StatementLog {
        path: String,
        #[source]
        error: io::Error,
    },
    #[error("cannot start a worker thread: {0}")]
    Worker(#[source] io::Error),
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
}

/// A running Tandem. It stops when [`App::stop`] is awaited.
pub struct App {
    listener: SocketAddr,
    admin: SocketAddr,
    metrics: Option<SocketAddr>,
    monitor: Monitor,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    workers: Arc<Vec<Remote>>,
    deciding: Option<Deciding>,
    configurator: Arc<Configurator>,
    spans: Option<Spans>,
    statement_log: (StatementLog, Written),
}

impl App {
    /// Binds everything, looks at the servers once, and serves.
    ///
    /// # Errors
    /// See [`Error`]; nothing keeps running after one.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_live(Live::fixed(config)).await
    }

    /// The same, by a configuration that can be another while Tandem runs.
    ///
    /// # Errors
    /// See [`Error`]; nothing keeps running after one.
    pub async fn start_live(live: Live) -> Result<Self, Error> {
        let config = Arc::new(live.config().clone());
        let (publish, newer) = watch::channel(Arc::clone(&config));
        let tls = Tls::new(&config)?;
        let firewall = Keeper::open(&config)?;
        let rsa_key = RsaKey::new(config.listener.rsa_key.as_deref())?;
        let bind = |key, address| move |error| Error::Bind { key, address, error };
        let address = config.listener.address;
        let mut listener = Listener::bind(address).map_err(bind("listener.address", address))?;
        if let Some(path) = config.listener.socket.clone() {
            let bound = listener.bind_unix(&path);
            bound.map_err(|error| Error::BindUnix { path, error })?;
        }
        let listening = listener.address().map_err(bind("listener.address", address))?;
        let address = config.admin.address;
        let admin = Admin::bind(address)
            .await
            .map_err(bind("admin.address", address))?;
        let administrating = admin.local_address().map_err(bind("admin.address", address))?;
        let metrics = match config.metrics.address {
            Some(address) => Some(
                Metrics::bind(address)
                    .await
                    .map_err(bind("metrics.address", address))?,
            ),
            None => None,
        };
        let measuring = metrics.as_ref().and_then(|metrics| metrics.local_address().ok());

        let (stop, stopped) = watch::channel(false);
        let (authority, decided) = watch::channel(match &config.failover {
            // Nobody, until Tandem has decided.
            Some(failover) if failover.decides || config.coordination.is_some() => {
                Authority::Tandem(Decided::default())
            }
            _ => Authority::Servers,
        });
        let monitor = monitor::start(&config, newer.clone(), decided);
        let failover = failover::start(&config, &monitor, authority, stopped.clone())?;
        let (failover, deciding) = failover.unzip();
        let topology = monitor.topology();
        if !monitor.first_round(FIRST_LOOK).await {
            tracing::warn!("a server has not answered within {FIRST_LOOK:?}; serving without it");
        }

        let accounts = match config.listener.auth {
            Auth::Config => None,
            Auth::Servers => Some(directory::new(&newer, Arc::clone(&topology))),
        };
        let (reader, mut directory) = accounts.unzip();
        if let Some(directory) = &mut directory {
            directory.read().await;
        }
        let count = config.worker_count(cores());
        let spans = Spans::start(&config.tracing)?;
        let file = config.statement_log.file.clone();
        let path = file
            .as_deref()
            .map_or_else(String::new, |path| path.display().to_string());
        let started = StatementLog::start(file);
        let statement_log = started.map_err(|error| Error::StatementLog { path, error })?;
        let quotas = Arc::new(Quotas::new(&config));
        let mirrors = Arc::new(Mirrors::new(&config, Arc::clone(&tls.servers)));
        let parts = Parts {
            accounts: Arc::new(Accounts::new(&config.users, reader)),
            rsa_key,
            failed_logins: Arc::new(FailedLogins::new(
                config.listener.failed_logins,
                config.listener.failed_logins_window,
            )),
            quotas: Arc::clone(&quotas),
            config: Arc::clone(&config),
            statement_log: statement_log.0.clone(),
            spans: spans.clone(),
            tls: tls.clone(),
            mirrors: Arc::clone(&mirrors),
            topology: Arc::clone(&topology),
            firewall: (firewall.secret(), firewall.sheets().await),
            signals: monitor.signals(),
            workers: count,
            epoch: Arc::default(),
            peers: Arc::default(),
        };
        let workers: Result<Vec<_>, _> = (0..count)
            .map(|index| Remote::start(index, parts.clone()))
            .collect();
        let workers = Arc::new(workers.map_err(Error::Worker)?);
        let data = Arc::new(Workers::new(&workers).with_mirrors(Arc::clone(&mirrors)));
        // Set once, here.
        let _ = parts.peers.set(Workers::new(&workers));

        let holders = Holders {
            tls: tls.clone(),
            accounts: Arc::clone(&parts.accounts),
            failed_logins: Arc::clone(&parts.failed_logins),
            quotas: Arc::clone(&quotas),
            firewall: Arc::clone(&firewall),
            mirrors,
            workers: Arc::clone(&data),
        };
        firewall.watch(Arc::clone(&data));
        let configurator = Configurator::new(live, publish, holders);

        let mut tasks = Vec::new();
        tasks.push(tokio::spawn(until(stopped.clone(), firewall.run())));
        let watching = Arc::clone(&configurator).watch();
        tasks.push(tokio::spawn(until(stopped.clone(), watching)));
        let certificates = tls.clients.clone();
        tasks.push(tokio::spawn(until(stopped.clone(), tls::keep_fresh(tls))));
        if let Some(directory) = directory {
            tasks.push(tokio::spawn(until(stopped.clone(), directory.run())));
        }
        let (accepting, counting) = (Arc::clone(&workers), Arc::clone(&quotas));
        let stopping = stopped.clone();
        tasks.push(tokio::spawn(async move {
            listener.accept(&accepting, newer, &counting, stopping).await;
        }));
        let shared = Arc::clone(&topology);
        let (configuring, source, stopping) = (Arc::clone(&configurator), Arc::clone(&data), stopped.clone());
        let administered = failover.clone();
        tasks.push(tokio::spawn(async move {
            admin
                .run(configuring, certificates, shared, source, administered, stopping)
                .await;
        }));
        if let Some(metrics) = metrics {
            let history = sampler::Shared::default();
            let signals = monitor.signals();
            let sampling = sampler::run(
                history.clone(),
                Arc::clone(&topology),
                Arc::clone(&data) as _,
                signals,
            );
            let subjects = Subjects {
                topology: Arc::clone(&topology),
                data,
                failover,
                history,
                account: config.metrics.account.clone(),
            };
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    ended = metrics.run(subjects, stopped) => {
                        if let Err(error) = ended {
                            tracing::error!("the metrics port ended: {error}");
                        }
                    }
                    // Goes on for ever.
                    () = sampling => {}
                }
            }));
        }
        tracing::info!(
            listener = %listening,
            admin = %administrating,
            metrics = measuring.map(tracing::field::display),
            workers = count,
            active = active_name(&topology),
            "ready"
        );
        Ok(Self {
            listener: listening,
            admin: administrating,
            metrics: measuring,
            monitor,
            stop,
            tasks,
            workers,
            deciding,
            configurator,
            spans,
            statement_log,
        })
    }

    pub fn listener_address(&self) -> SocketAddr {
        self.listener
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    pub fn configurator(&self) -> &Arc<Configurator> {
        &self.configurator
    }

    /// The newest picture of the pair.
    pub fn topology(&self) -> Arc<crate::topology::Topology> {
        self.monitor.topology().load_full()
    }

    /// Tells the service manager that it serves.
    async fn supervisor(&self) -> Supervisor {
        let workers = Workers::new(&self.workers);
        Supervisor::ready(self.listener, self.monitor.topology(), workers).await
    }

    /// Takes no new clients, lets running statements finish within `listener.shutdown_timeout`, and stops.
    pub async fn stop(self) {
        let drain = self.configurator.config().listener.shutdown_timeout;
        tracing::info!("stopping: running statements may finish within {drain:?}");
        let _ = self.stop.send(true);
        if let Some(deciding) = &self.deciding {
            deciding.stop();
        }
        // The workers can't be asked any more when they have ended.
        self.configurator.firewall().stop().await;
        for worker in self.workers.iter() {
            worker.drain(drain);
        }
        for task in self.tasks {
            let _ = task.await;
        }
        // The accept task has ended, so this is the last owner.
        if let Ok(mut workers) = Arc::try_unwrap(self.workers) {
            let joined = tokio::task::spawn_blocking(move || workers.iter_mut().for_each(Remote::join));
            let _ = joined.await;
        }
        let (log, written) = self.statement_log;
        log.stop(written).await;
        if let Some(spans) = self.spans {
            let _ = tokio::task::spawn_blocking(move || spans.stop()).await;
        }
        if let Some(deciding) = self.deciding {
            deciding.leave().await;
        }
        tracing::info!("stopped");
    }
}

/// Runs until SIGTERM or SIGINT; SIGHUP has the configuration read again.
///
/// # Errors
/// See [`Error`].
pub async fn run(live: Live) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(Error::Signals)?;
    let app = App::start_live(live).await?;
    let supervisor = app.supervisor().await;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload(&app, &supervisor).await,
        }
    }
    supervisor
        .stopping(app.configurator.config().listener.shutdown_timeout)
        .await;
    app.stop().await;
    Ok(())
}

/// What has changed is logged by whoever changes it.
async fn reload(app: &App, supervisor: &Supervisor) {
    supervisor.reloading().await;
    match app.configurator().reload().await {
        Ok(changes) => tracing::info!(
            changes = changes.len(),
            "the configuration was read again (SIGHUP)"
        ),
        Err(problems) => tracing::error!("the configuration stays as it is (SIGHUP): {problems}"),
    }
    supervisor.reloaded().await;
}

/// Goes on until Tandem stops.
async fn until(mut stopped: watch::Receiver<bool>, what: impl Future<Output = ()>) {
    tokio::select! {
        () = what => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn active_name(topology: &ArcSwap<crate::topology::Topology>) -> String {
    let topology = topology.load();
    topology
        .active
        .map_or_else(|| "none".to_owned(), |id| topology.server(id).name.to_string())
}
