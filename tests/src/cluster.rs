//! A pair of servers with Tandem in front.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts, Row};
use tandem::app::App;
use tandem::config::{self, Config};
use tandem::demo::pair::{APP, Options, Pair, Server, client};
use tandem::demo::{ADMIN_PASSWORD, ADMIN_USER, config_text, story};
use tokio::sync::oneshot;

use crate::process::{Footprint, Process};
use crate::{Counts, WITHIN};

/// What a test wants of its cluster.
pub struct Setup {
    pub pair: Options,
    /// Appended to the configuration: whole sections, such as `[pool]` or another `[[user]]`
    /// (`[listener]`, `[admin]` and `[monitor]` are there already; see `change`).
    pub toml: String,
    /// The last word on the configuration, for instance `|config| config.listener.workers = 2`.
    pub change: fn(&mut Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pair: Options {
                databases: vec!["shop".into(), "test\\_%".into()],
                ..crate::options()
            },
            toml: String::new(),
            change: |_| {},
        }
    }
}

impl Setup {
    /// Tandem decides who is active. Semi-sync never gives up by itself: what is acknowledged is on both.
    pub fn with_failover() -> Self {
        let mut setup = Self::default();
        setup.pair.failover = true;
        setup.pair.semi_sync_timeout = Duration::from_secs(3600);
        setup
    }
}

/// Two servers and a proxy, all in or under this process. Dropping it stops them.
pub struct Cluster {
    // Dropped first, so that the proxy does not see its servers die.
    proxy: Proxy,
    pair: Pair,
}

impl Cluster {
    /// Panics, with the reason, when anything does not start: no test can go on without.
    pub async fn start(setup: Setup) -> Self {
        let pair = Pair::start(&setup.pair)
            .await
            .unwrap_or_else(|problem| panic!("the pair did not start: {problem}"));
        Self::over(pair, &setup.toml, setup.change).await
    }

    /// The same over a pair that runs; `toml` and `change` are those of [`Setup`].
    pub async fn over(pair: Pair, toml: &str, change: impl FnOnce(&mut Config)) -> Self {
        let proxy = Proxy::over(&pair, toml, change).await;
        Self { proxy, pair }
    }

    /// Stops the proxy and starts another, on other ports, with nothing in its configuration but what the pair needs.
    pub async fn restart_proxy(&mut self) {
        // The old one's ports and files are free before the new one wants them.
        if let Runs::Here(thread) = &mut self.proxy.runs {
            thread.end();
        }
        self.proxy = Proxy::over(&self.pair, "", |_| {}).await;
    }

    /// Tandem as a process of its own in front of `pair`, see `process::Process`.
    pub fn apart(program: &str, pair: Pair, overrides: &[String]) -> Self {
        let proxy = Proxy::apart(Process::start(program, &pair, overrides));
        Self { proxy, pair }
    }

    /// What Tandem holds, where it is a process of its own.
    pub fn footprint(&self) -> Footprint {
        self.process().footprint()
    }

    /// Tandem, where it is a process of its own.
    pub fn process(&self) -> &Process {
        match &self.proxy.runs {
            Runs::Apart(process) => process,
            Runs::Here(_) => panic!("the harness is in this process too"),
        }
    }

    /// The same.
    pub fn process_mut(&mut self) -> &mut Process {
        match &mut self.proxy.runs {
            Runs::Apart(process) => process,
            Runs::Here(_) => panic!("the harness is in this process too"),
        }
    }

    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// The server that takes writes.
    pub fn a(&self) -> &Server {
        self.pair.a()
    }

    pub fn b(&self) -> &Server {
        self.pair.b()
    }

    /// Where Tandem listens for applications.
    pub fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// Where Tandem's admin port is.
    pub fn admin_address(&self) -> SocketAddr {
        self.proxy.admin
    }

    /// Where its metrics and dashboard are, if `[metrics]` has an address.
    pub fn metrics_address(&self) -> SocketAddr {
        self.proxy.metrics.expect("metrics.address is set")
    }

    /// Options of a connection through Tandem as the application's account.
    pub fn opts(&self, database: Option<&str>) -> Opts {
        self.proxy.opts(database)
    }

    /// A connection through Tandem as the application's account, without a database.
    pub async fn client(&self) -> Conn {
        connect(self.opts(None)).await
    }

    /// The same, with a database that exists.
    pub async fn client_in(&self, database: &str) -> Conn {
        connect(self.opts(Some(database))).await
    }

    /// A connection of the superuser, past Tandem.
    pub async fn direct(&self, server: &Server) -> Conn {
        connect(server.root()).await
    }

    /// A connection to Tandem's admin port.
    pub async fn admin(&self) -> Conn {
        self.proxy.admin().await
    }

    /// Waits until no session has a connection of the pools or waits for one: whoever ended left nothing lent.
    pub async fn wait_nothing_leased(&self) {
        use mysql_async::prelude::Queryable;
        let mut admin = self.admin().await;
        let deadline = Instant::now() + WITHIN;
        loop {
            let rows: Vec<Row> = admin.query("SHOW POOLS").await.expect("pools");
            let number = |row: &Row, name: &str| row.get::<u64, _>(name).expect("a number");
            let used = |row: &Row| number(row, "leased") + number(row, "waiting");
            assert!(rows.iter().all(|row| number(row, "open") <= number(row, "limit")));
            if rows.iter().all(|row| used(row) == 0) {
                return;
            }
            assert!(Instant::now() < deadline, "connections stay lent: {rows:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What Tandem has counted under this name, as `SHOW COUNTERS` shows it.
    pub async fn counter(&self, name: &str) -> u64 {
        use mysql_async::prelude::Queryable;
        let counters: Vec<(String, u64, String)> =
            self.admin().await.query("SHOW COUNTERS").await.expect("counters");
        let found = counters.into_iter().find(|(counter, ..)| counter == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Makes an account on both servers, past Tandem and its replication; `grant` is what stands
    /// between `GRANT` and `TO`, for instance `SELECT ON test_x.*`.
    pub async fn create_user(&self, name: &str, password: &str, grant: &str) {
        for server in self.pair.servers() {
            let mut conn = self.direct(server).await;
            for statement in [
                "SET SESSION sql_log_bin=0".to_owned(),
                format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'"),
                format!("GRANT {grant} TO '{name}'@'%'"),
            ] {
                execute(&mut conn, &statement).await;
            }
        }
    }

    /// A new, empty database on both servers, to which the application's account has all rights:
    /// its name must begin with `test_`. Tests that share a cluster use one each.
    pub async fn create_database(&self, name: &str) {
        let mut conn = self.direct(self.a()).await;
        execute(&mut conn, &format!("CREATE DATABASE `{name}`")).await;
        self.wait_replicated().await;
    }

    /// Waits until both servers have committed the same.
    pub async fn wait_replicated(&self) {
        if let Err(problem) = self.pair.wait_replicated().await {
            panic!("{problem}");
        }
    }

    /// What a server has executed for the application's account since it started, by its own count.
    /// A shared cluster's counts include what other tests do at the same time.
    pub async fn query_counts(&self, server: &Server) -> Counts {
        self.query_counts_of(server, APP.user).await
    }

    pub async fn query_counts_of(&self, server: &Server, user: &str) -> Counts {
        story::counts(server, user)
            .await
            .unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Panics with the lines if a server has logged an error.
    pub fn assert_logs_clean(&self) {
        for server in self.pair.servers() {
            let log = server.error_log();
            let errors: Vec<&str> = log.lines().filter(|line| line.contains("[ERROR]")).collect();
            assert!(errors.is_empty(), "server {}: {errors:#?}", server.name());
        }
    }

    /// Stops the proxy and both servers in good order.
    pub async fn stop(self) {
        let Self { proxy, pair } = self;
        drop(proxy);
        if let Err(problem) = pair.stop().await {
            panic!("{problem}");
        }
    }
}

/// A running proxy. Several can stand before one pair. Dropping it stops it.
pub struct Proxy {
    listener: SocketAddr,
    admin: SocketAddr,
    metrics: Option<SocketAddr>,
    runs: Runs,
}

enum Runs {
    /// In this process, on a thread and runtime of its own: each `#[tokio::test]` has a runtime that ends with it,
    /// and a shared cluster outlives many.
    Here(Thread),
    Apart(Process),
}

struct Thread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts one in front of `pair`; `toml` and `change` are those of [`Setup`].
    ///
    /// Panics, with the reason, when it does not start.
    pub async fn over(pair: &Pair, toml: &str, change: impl FnOnce(&mut Config)) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let text = format!("{}\n{toml}", config_text(pair, any, any));
        let mut config = config::parse(&text)
            .unwrap_or_else(|problems| panic!("the configuration is refused:\n{problems}\n{text}"));
        change(&mut config);
        Self::start(config).await
    }

    /// Where it listens for applications.
    pub fn address(&self) -> SocketAddr {
        self.listener
    }

    /// Where its admin port is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Options of a connection as the application's account.
    pub fn opts(&self, database: Option<&str>) -> Opts {
        client(self.listener, APP.user, APP.password, database)
    }

    /// A connection to the admin port.
    pub async fn admin(&self) -> Conn {
        connect(client(self.admin, ADMIN_USER, ADMIN_PASSWORD, None)).await
    }

    async fn start(config: Config) -> Self {
        let (started, addresses) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(config, started, stopped));
        let addresses = addresses.await;
        let (listener, admin, metrics) = addresses
            .unwrap_or_else(|_| Err("its thread panicked".into()))
            .unwrap_or_else(|problem| panic!("Tandem did not start: {problem}"));
        Self {
            listener,
            admin,
            metrics,
            runs: Runs::Here(Thread {
                stop: Some(stop),
                thread: Some(thread),
            }),
        }
    }

    fn apart(process: Process) -> Self {
        Self {
            listener: process.listener,
            admin: process.admin,
            metrics: None,
            runs: Runs::Apart(process),
        }
    }
}

impl Thread {
    /// Stops it, and waits until it has.
    fn end(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        // A second panic while one unwinds would abort and hide the first.
        assert!(
            !matches!(ended, Some(Err(_))) || std::thread::panicking(),
            "Tandem's thread panicked"
        );
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end();
    }
}

type Addresses = Result<(SocketAddr, SocketAddr, Option<SocketAddr>), String>;

fn serve(config: Config, started: oneshot::Sender<Addresses>, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => return drop(started.send(Err(problem.to_string()))),
    };
    runtime.block_on(async {
        match App::start(config).await {
            Ok(app) => {
                let _ = started.send(Ok((
                    app.listener_address(),
                    app.admin_address(),
                    app.metrics_address(),
                )));
                // Nothing is ever sent: the other end is dropped.
                let _ = stopped.await;
                app.stop().await;
            }
            Err(problem) => drop(started.send(Err(problem.to_string()))),
        }
    });
}

async fn connect(opts: Opts) -> Conn {
    Conn::new(opts)
        .await
        .unwrap_or_else(|problem| panic!("cannot connect: {problem}"))
}

async fn execute(conn: &mut Conn, statement: &str) {
    use mysql_async::prelude::Queryable;
    if let Err(problem) = conn.query_drop(statement).await {
        panic!("{statement}: {problem}");
    }
}
