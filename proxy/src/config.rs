//! Configuration: text from file, environment and command line becomes one typed, cross-checked value
//! before a socket is bound. Each module is handed its part; nothing consults a global.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tandem_protocol::auth::sha2_crypt;
use tandem_protocol::compression::{Algorithm, Method};
use tandem_protocol::flags::Capabilities;

use crate::net::address::Endpoint;
use crate::route::rules::Rules;

mod assemble;
mod check;
mod day;
mod environment;
mod file;
mod layers;
pub mod live;
mod overrides;
mod parts;
mod problem;
pub mod reference;
pub mod rule;
pub(crate) mod scalar;
pub(crate) mod schema;

pub use self::day::DayWindow;
pub use self::layers::Sources;
pub use self::parts::Change;
pub use self::problem::{Fault, Place, Problem, Problems};
pub(crate) use self::scalar::show_duration;
pub use self::schema::Effect;

/// A configuration that can be used, with what its operator should nevertheless look at.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Problems,
}

/// File, then environment, then command line; every problem of all three at once.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    load_with_warnings(sources).map(|loaded| loaded.config)
}

/// As [`load`], for callers that can show warnings.
pub fn load_with_warnings(sources: &Sources) -> Result<Loaded, Problems> {
    let (layers, problems, warnings) = layered(sources, None)?;
    finish(layers, &sources.environment, problems, warnings)
}

/// The layers of all sources, with what was found wrong and strange on the way. `text` stands in for the file's.
fn layered(sources: &Sources, text: Option<&str>) -> Result<(layers::Layers, Problems, Problems), Problems> {
    let Sources {
        file,
        environment,
        overrides,
    } = sources;
    let mut problems = Problems::default();
    let mut warnings = Problems::default();
    let mut layers = layers::Layers::default();
    if let Some(path) = file {
        // Without its file everything else would only be reported as missing.
        let text = match text {
            Some(text) => text.to_owned(),
            None => file::read(path, &mut warnings)?,
        };
        file::add(&mut layers, path, &text, &mut problems)?;
    }
    environment::add(&mut layers, environment, &mut problems);
    overrides::add(&mut layers, overrides, &mut problems, &mut warnings);
    Ok((layers, problems, warnings))
}

/// A configuration from text alone, without environment or command line.
pub fn parse(toml: &str) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let mut layers = layers::Layers::default();
    let name = Path::new("configuration");
    file::add(&mut layers, name, toml, &mut problems)?;
    finish(layers, &[], problems, Problems::default()).map(|loaded| loaded.config)
}

fn finish(
    layers: layers::Layers,
    environment: &[(OsString, OsString)],
    mut problems: Problems,
    mut warnings: Problems,
) -> Result<Loaded, Problems> {
    let (merged, origins) = layers.merge();
    let config = assembled(&merged, &origins, environment, &mut problems);
    check::warn(&config, &origins, &mut warnings);
    if problems.is_empty() {
        Ok(Loaded { config, warnings })
    } else {
        problems.sort();
        Err(problems)
    }
}

fn assembled(
    merged: &::config::Value,
    origins: &layers::Origins,
    environment: &[(OsString, OsString)],
    problems: &mut Problems,
) -> Config {
    let config = assemble::assemble(merged, origins, environment, problems);
    check::check(&config, origins, problems);
    config
}

/// Everything an operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub listener: Listener,
    /// TLS towards clients; `None` is off.
    pub client_tls: Option<ClientTls>,
    pub server_tls: ServerTls,
    pub server_compression: ServerCompression,
    pub admin: Admin,
    pub monitor: Monitor,
    pub consistency: Consistency,
    /// `None`: Tandem promotes nobody and follows the servers' `read_only`.
    pub failover: Option<Failover>,
    /// `None`: this Tandem decides alone, or not at all.
    pub coordination: Option<Coordination>,
    pub metrics: Metrics,
    pub log: Log,
    pub pool: Pool,
    pub limits: Limits,
    pub cache: Cache,
    pub statistics: Statistics,
    pub statement_log: StatementLog,
    pub firewall: Firewall,
    pub tracing: Tracing,
    pub servers: Vec<Server>,
    pub users: Vec<User>,
    pub networks: Vec<Network>,
    /// Servers that rules send copies of reads to.
    pub mirrors: Vec<Mirror>,
    /// Accounts of the admin port beside that of `[admin]`.
    pub admin_users: Vec<AdminUser>,
    /// The first that a statement meets decides on it.
    pub rules: Rules,
    /// For the test of what a panic costs: a query with this text makes its session panic. No key leads here.
    #[doc(hidden)]
    pub panic_on: Option<&'static str>,
}

impl Config {
    /// The servers' names, in their order.
    pub fn server_names(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.name.clone()).collect()
    }

    /// Worker threads to start on a machine with so many cores: as many as asked for, or one a core, but never so
    /// many that one would have no connection of the pool.
    pub fn worker_count(&self, cores: usize) -> usize {
        match self.listener.workers {
            0 => cores.min(self.pool.max_connections).max(1),
            workers => workers,
        }
    }

    /// The account of this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// How new what this account reads has to be; `user` is none for an account that only the servers know.
    pub fn level(&self, user: Option<&User>) -> Level {
        user.and_then(|user| user.consistency)
            .unwrap_or(self.consistency.level)
    }

    /// What is done about statements of this account that it has not been seen to send; `user` is none for an account that only the
    /// servers know.
    pub fn firewall_mode(&self, user: Option<&User>) -> FirewallMode {
        user.and_then(|user| user.firewall).unwrap_or(self.firewall.mode)
    }

    /// Whether that is anything for any account.
    pub fn has_firewall(&self) -> bool {
        let own = self.users.iter().filter_map(|user| user.firewall);
        own.chain([self.firewall.mode])
            .any(|mode| mode != FirewallMode::Off)
    }

    /// Whether a server may ask clients of this account for a file.
    /// `user` is none for an account that only the servers know.
    pub fn allows_local_infile(&self, user: Option<&User>) -> bool {
        user.and_then(|user| user.local_infile)
            .unwrap_or(self.listener.local_infile)
    }

    /// How long what this account does may take; `user` is none for an account that only the servers know.
    pub fn time_limits(&self, user: Option<&User>) -> TimeLimits {
        let limit = |own: Option<Duration>, general: Duration| {
            let most = own.unwrap_or(general);
            let of_account = own.is_some();
            (!most.is_zero()).then_some(TimeLimit { most, of_account })
        };
        TimeLimits {
            statement: limit(
                user.and_then(|user| user.statement_timeout),
                self.limits.statement_timeout,
            ),
            transaction: limit(
                user.and_then(|user| user.transaction_timeout),
                self.limits.transaction_timeout,
            ),
        }
    }
}

/// `[listener]`: where applications connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// A Unix socket beside it.
    pub socket: Option<PathBuf>,
    pub auth: Auth,
    /// The private key with which clients encrypt their passwords; `None` makes one for the time that Tandem runs.
    pub rsa_key: Option<PathBuf>,
    /// Load balancers that say in a PROXY header whose connection it is.
    pub proxy_protocol: Networks,
    /// Worker threads; 0 is one for each core.
    pub workers: usize,
    /// Most sessions at once.
    pub max_connections: usize,
    /// A client that has not finished logging in after this time is disconnected.
    pub handshake_timeout: Duration,
    /// Wrong passwords that a client's address may send in the time of the window; 0 is no limit.
    pub failed_logins: usize,
    pub failed_logins_window: Duration,
    /// A client that takes nothing of its reply for this time is disconnected.
    pub write_timeout: Duration,
    /// A session that sends nothing for this time is ended, if the servers' `wait_timeout` doesn't end it sooner.
    pub idle_timeout: Duration,
    /// How long running statements may go on after SIGTERM.
    pub shutdown_timeout: Duration,
    /// Accounts may `LOAD DATA LOCAL INFILE` unless their own entry says otherwise.
    pub local_infile: bool,
    /// What clients may use.
    pub compression: Algorithms,
}

/// Ways to compress, in the form `zlib, zstd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms(pub Vec<Algorithm>);

/// `[server_compression]`: the connections to the servers, but for the monitor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCompression {
    /// Used with the servers that offer it.
    pub algorithm: ServerAlgorithm,
    pub level: usize,
    /// What is shorter is sent as it is.
    pub threshold: usize,
}

/// `server_compression.algorithm`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAlgorithm {
    Always(Option<Algorithm>),
    /// What the client uses.
    AsClient,
}

impl ServerCompression {
    /// For a connection with these handshake flags of its client's.
    pub fn method(&self, client: Capabilities) -> Option<Method> {
        let algorithm = match self.algorithm {
            ServerAlgorithm::Always(algorithm) => algorithm,
            ServerAlgorithm::AsClient => Algorithm::agreed(client),
        }?;
        let most = algorithm.max_level();
        Some(Method {
            algorithm,
            // A higher one is refused by its range, unless the client's algorithm is what decides.
            level: u8::try_from(self.level).unwrap_or(most).min(most),
            threshold: self.threshold,
        })
    }
}

impl Config {
    /// The handshake flags of a client that say how its connections to the servers are protected and compressed.
    pub fn mirrored(&self, client: Capabilities) -> Capabilities {
        let mut flags = Capabilities::empty();
        if self.server_tls.mode == ServerTlsMode::AsClient {
            flags |= client & Capabilities::SSL;
        }
        if self.server_compression.algorithm == ServerAlgorithm::AsClient
            && let Some(algorithm) = Algorithm::agreed(client)
        {
            flags |= algorithm.flag();
        }
        flags
    }
}

/// Who may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The accounts of the configuration.
    Config,
    /// Those of the servers too.
    Servers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// `[client_tls]`: TLS that applications are offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Clients without TLS are refused, but for those of the Unix socket.
    pub required: bool,
    /// Nothing was said: it is offered where the servers do it of themselves.
    pub as_servers: bool,
    /// `None`: Tandem makes one at each start.
    pub identity: Option<Identity>,
    /// Clients must show a certificate that one of these authorities has signed.
    pub ca: Option<PathBuf>,
    pub min_version: TlsVersion,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl ClientTls {
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let identity = self.identity.iter();
        identity
            .flat_map(|identity| [&identity.certificate, &identity.key])
            .chain(&self.ca)
            .map(PathBuf::as_path)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTlsMode {
    Disabled,
    /// Where the server offers it, except to this machine itself.
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
    /// Where the client has come by TLS, and nowhere else.
    AsClient,
}

impl ServerTlsMode {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify_ca",
            Self::VerifyIdentity => "verify_identity",
            Self::AsClient => "as_client",
        }
    }

    /// Whether the server's certificate is looked at.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

/// `[server_tls]`: TLS to the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    pub mode: ServerTlsMode,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub min_version: TlsVersion,
}

impl ServerTls {
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.certificate, &self.key]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }
}

/// Networks in the form `192.0.2.0/24, 2001:db8::/32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<ipnet::IpNet>);

impl Networks {
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// `[admin]`: the admin SQL port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// A changed file is taken without being asked for.
    pub watch_file: bool,
    pub address: SocketAddr,
    pub user: String,
    pub password: Secret,
}

/// `[[admin_user]]`: one more account of the admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUser {
    pub name: String,
    pub password: Secret,
    pub rights: Rights,
}

/// What an account of the admin port may do, in the form `read, act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// See the tables, with the texts of statements.
    pub read: bool,
    /// Change something: end sessions, switch over, take a server out, set what is configured.
    pub act: bool,
}

impl Rights {
    pub const READ: Self = Self {
        read: true,
        act: false,
    };
    pub const ALL: Self = Self {
        read: true,
        act: true,
    };
}

/// `[monitor]`: the account that probes the servers, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitor {
    pub user: String,
    pub password: Secret,
    pub interval: Duration,
    /// A probe that has not answered after this time has failed.
    pub timeout: Duration,
    /// A standby further behind than this takes no reads.
    pub max_lag: Duration,
    /// In what time a standby that has taken no reads gets all its share back.
    pub slow_start: Duration,
    /// How often the tables' definitions are read again; those that are changed through Tandem are read at once.
    pub definitions_interval: Duration,
}

/// `[consistency]`: how new what is read has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consistency {
    /// Of accounts that have none of their own.
    pub level: Level,
    /// How long a read that the standby may not answer yet waits for it before the active master is asked.
    pub read_wait: Duration,
    /// Strict reads see what is committed on the active master past Tandem too.
    pub track_external: bool,
    /// How often it is asked for that.
    pub track_interval: Duration,
}

impl Consistency {
    /// How old what is known of others' commits may be: an interval, and one for the question.
    pub fn track_limit(&self) -> Option<Duration> {
        self.track_external.then_some(2 * self.track_interval)
    }
}

/// What a read must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every write that was acknowledged through Tandem before the read came, whoever wrote.
    Strict,
    /// The session's own writes.
    Session,
    /// Whatever a standby within `monitor.max_lag` has.
    Eventual,
}

impl Level {
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Strict, Self::Session, Self::Eventual]
            .into_iter()
            .find(|level| level.name().as_bytes() == name)
    }

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Session => "session",
            Self::Eventual => "eventual",
        }
    }
}

/// `[failover]`: who is the active master, decided by Tandem, this one or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// False: another Tandem decides, and this one follows what it publishes in etcd, or else the servers' `read_only`; its sessions
    /// carry on all the same.
    pub decides: bool,
    /// Promotes the standby by itself when the active master is dead; else only on command.
    pub automatic: bool,
    /// The file that remembers who is active.
    pub journal: PathBuf,
    /// How long an active master that answers nothing, and does not refuse connections either, is waited for.
    pub hang_time: Duration,
    /// The same, while the standby still receives from it: only Tandem's own way there may be broken.
    pub unreachable_time: Duration,
    /// How long the standby may take to apply what it has received.
    pub apply_timeout: Duration,
    /// After a failover, the next one is not automatic for so long.
    pub min_interval: Duration,
    /// The first server of the file becomes active again after the pair has been whole for so long.
    pub failback: Option<Duration>,
    /// And at these times of the day only.
    pub failback_window: Option<DayWindow>,
    /// How long a statement waits for an active master.
    pub hold_time: Duration,
    /// Most statements that wait for one, divided among the workers.
    pub hold_limit: usize,
    /// Most bytes of an open transaction that are kept for playing it again.
    pub replay_bytes: usize,
    /// Most time that a switchover waits for open transactions, unless it says so itself.
    pub switchover_timeout: Duration,
    /// Cuts a dead master off for good, for instance by its power switch; a failure of it stops the failover.
    pub fence_command: Option<String>,
    /// Is told of each event.
    pub event_command: Option<String>,
}

/// `[coordination]`: several Tandems in front of the pair, of which the one that holds a lease in etcd decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordination {
    /// `http://host:port`, of any or all members of one etcd cluster.
    pub etcd: Vec<String>,
    /// What the keys begin with, the same for all Tandems of the pair and for no others.
    pub cluster: String,
    /// What this Tandem is called.
    pub name: String,
    /// How long after its last word the one that decides is taken for dead.
    pub lease: Duration,
    /// TLS towards etcd: where the addresses begin with https.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub user: Option<String>,
    pub password: Secret,
}

/// `[metrics]`: Prometheus text and the dashboard over HTTP; off without an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub address: Option<SocketAddr>,
    /// Who may look; `None` is everybody who reaches the port.
    pub account: Option<MetricsAccount>,
}

/// `metrics.user` and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsAccount {
    pub user: String,
    pub password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Human,
    Json,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A tracing filter, for instance `info` or `tandem=debug`.
    pub level: String,
}

/// `[pool]`: connections to each server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Most connections to one server, divided among the workers.
    pub max_connections: usize,
    /// How long a statement may wait for a connection to become free.
    pub queue_timeout: Duration,
    /// Most statements that wait for one server, divided among the workers.
    pub queue_limit: usize,
    /// How long connecting to a server may take, login included.
    pub connect_timeout: Duration,
    /// A connection unused for this time is closed.
    pub idle_timeout: Duration,
    /// Most prepared statements kept on one connection.
    pub max_prepared: usize,
    /// With `[failover]`: as many connections to the standby as to the active master.
    pub warm_standby: bool,
}

/// `[limits]`: bounds on what one session may make Tandem hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A statement up to this size is read whole and classified; a longer one is streamed to the active master.
    pub statement_bytes: usize,
    /// Largest command a client may send, over all its packets.
    pub command_bytes: usize,
    /// Most prepared statements of one session.
    pub prepared_statements: usize,
    /// Most bytes that the prepared statements of all sessions take, divided among the workers.
    pub prepared_bytes: usize,
    /// Most bytes that the open transactions of all sessions may take (`[failover]`), divided among the workers.
    pub recorded_bytes: usize,
    /// Statement shapes whose analysis a worker keeps.
    pub statement_cache: usize,
    /// Most sessions of an account; 0 is no limit.
    pub user_connections: usize,
    /// Most statements of an account in a second; 0 is no limit.
    pub user_statement_rate: usize,
    /// Most statements of all in a second; 0 is no limit.
    pub statement_rate: usize,
    /// A session that sends nothing for so long while its transaction is open is ended; zero is no limit.
    pub idle_transaction_timeout: Duration,
    /// A server that works on one statement for longer is told to stop; zero is no limit.
    pub statement_timeout: Duration,
    /// A transaction that is open for longer is rolled back; zero is no limit.
    pub transaction_timeout: Duration,
    /// Most bytes that all sessions hold before new ones are refused, divided among the workers; 0 is no limit.
    pub session_memory: usize,
}

/// `[cache]`: replies that rules keep (`cache = "10s"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Most bytes that they take, divided among the workers.
    pub bytes: usize,
    /// A reply that is larger is not kept.
    pub reply_bytes: usize,
}

/// How long what a session does may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeLimits {
    pub statement: Option<TimeLimit>,
    pub transaction: Option<TimeLimit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    pub most: Duration,
    /// It is the account's own, and not that of all.
    pub of_account: bool,
}

impl TimeLimit {
    /// Which key says so; `name` without its section.
    pub fn key(self, name: &str, user: &str) -> String {
        match self.of_account {
            true => format!("user.{user}.{name}"),
            false => format!("limits.{name}"),
        }
    }
}

/// `[statistics]`: what is counted of statements by their shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub enabled: bool,
    /// Shapes that a worker counts apart.
    pub digests: usize,
}

/// `[tracing]`: spans of statements for a collector of OpenTelemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// Its address, for OTLP over gRPC; without one there are no spans.
    pub endpoint: Option<String>,
    /// How many of the statements have spans, from 0 to 1.
    pub sample_ratio: f64,
    pub service_name: String,
}

impl Eq for Tracing {}

/// `[statement_log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementLog {
    /// What takes longer is logged.
    pub slow_time: Option<Duration>,
    pub audit: Audit,
    /// Without one the lines go to Tandem's own log.
    pub file: Option<PathBuf>,
    /// The text as it was sent is logged too, with its values.
    pub literals: bool,
}

/// `[firewall]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// For accounts that have none of their own.
    pub mode: FirewallMode,
    /// What was learnt.
    pub file: PathBuf,
    /// Most statements that are learnt for one account.
    pub digests: usize,
    /// The most that the file may take.
    pub bytes: usize,
    /// Most statements that are listed as new.
    pub listed: usize,
}

/// What is done about statements that an account has not been seen to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirewallMode {
    Off,
    /// They are let through from now on.
    Learn,
    Warn,
    Refuse,
}

impl FirewallMode {
    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Learn => "learn",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }
}

/// Which statements are logged, however fast they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    Off,
    /// Those that are not reads.
    Writes,
    All,
}

/// `[[server]]`: one of the two masters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub name: String,
    pub address: Endpoint,
    /// The name that its certificate must have with `verify_identity`: `tls_name`, or the host of `address`.
    pub tls_name: String,
    /// Connections begin with a PROXY header that says where the client comes from.
    pub proxy_protocol: bool,
    /// Share of the reads relative to the other server's; 0 takes none.
    pub weight: u32,
}

/// `[[user]]`: an account that applications log in with, the same on Tandem and on the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: Password,
    /// Overrides `listener.local_infile`.
    pub local_infile: Option<bool>,
    /// Overrides `consistency.level`.
    pub consistency: Option<Level>,
    /// Its clients may follow the active master's binlog.
    pub replication: bool,
    /// Overrides `limits.user_connections`; 0 is no limit.
    pub max_connections: Option<usize>,
    /// Overrides `limits.user_statement_rate`; 0 is no limit.
    pub statement_rate: Option<usize>,
    /// Overrides `limits.statement_timeout`; zero is no limit.
    pub statement_timeout: Option<Duration>,
    /// Overrides `limits.transaction_timeout`; zero is no limit.
    pub transaction_timeout: Option<Duration>,
    /// Overrides `firewall.mode`.
    pub firewall: Option<FirewallMode>,
}

/// `[[network]]`: where clients come from, and what they may have together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    pub addresses: Networks,
    /// Sessions at once; 0 is no limit.
    pub max_connections: usize,
    /// Statements in a second; 0 is no limit.
    pub statement_rate: usize,
}

/// `[[mirror]]`: a server that gets copies of reads, whose answers are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub name: String,
    /// The one of the pair that it is, in the place of an address.
    pub server: Option<String>,
    pub address: Endpoint,
    /// The name in its certificate.
    pub tls_name: String,
    /// Its account there, for the statements of all sessions.
    pub user: String,
    pub password: Secret,
    /// Most connections.
    pub connections: usize,
    /// Most statements that wait, and their bytes.
    pub queue_length: usize,
    pub queue_bytes: usize,
    /// For each statement.
    pub timeout: Duration,
    /// After what time a statement is asked again that differs; zero is not at all.
    pub second_look: Duration,
}

/// What is known of the password of a `[[user]]`.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    Clear(Secret),
    /// `SHA1(SHA1(password))`, as `mysql_native_password` stores it.
    Native([u8; 20]),
    /// As `caching_sha2_password` stores it.
    Sha2(sha2_crypt::Stored),
}

/// A hash is not for logs either: weak passwords can be found by it.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Clear(***)",
            Self::Native(_) => "Native(***)",
            Self::Sha2(_) => "Sha2(***)",
        })
    }
}

/// A password: it can be used, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The password itself; whoever calls this must not log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests;
