//! From the merged tree to typed values. A value that is missing or can't be read is reported, and something
//! harmless stands in for it, so that the other keys are still looked at.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use config::{ConfigError, Map, Value, ValueKind};
use tandem_protocol::compression::{self, Algorithm};

use super::environment;
use super::layers::Origins;
use super::problem::{Fault, Place, Problems};
use super::scalar::{
    ClientTlsMode, Collector, Failback, FailoverMode, Host, LogFilter, Optional, Parsed, Ratio, Scalar, Size,
    Urls,
};
use super::{
    Admin, AdminUser, Algorithms, Audit, Auth, Cache, ClientTls, Config, Consistency, Coordination, Failover,
    Firewall, FirewallMode, Identity, Level, Limits, Listener, Log, LogFormat, Metrics, MetricsAccount,
    Mirror, Monitor, Network, Networks, Pool, Rights, Server, ServerAlgorithm, ServerCompression, ServerTls,
    ServerTlsMode, StatementLog, Statistics, TlsVersion, Tracing, User,
};
use crate::net::address::Endpoint;
use crate::route::rules::Rules;

mod password;
mod rules;

/// Port 0 takes part in no comparison of addresses.
const NO_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// `environment` is for the passwords that are found there by name.
pub(super) fn assemble(
    merged: &Value,
    origins: &Origins,
    environment: &[(OsString, OsString)],
    problems: &mut Problems,
) -> Config {
    let mut reader = Reader {
        merged,
        origins,
        environment,
        problems,
    };
    let mut config = Config {
        listener: listener(&mut reader.section("listener")),
        client_tls: client_tls(&mut reader.section("client_tls")),
        server_tls: server_tls(&mut reader.section("server_tls")),
        server_compression: server_compression(&mut reader.section("server_compression")),
        admin: admin(&mut reader.section("admin")),
        monitor: monitor(&mut reader.section("monitor")),
        consistency: consistency(&mut reader.section("consistency")),
        failover: failover(&mut reader.section("failover")),
        coordination: coordination(&mut reader.section("coordination")),
        metrics: metrics(&mut reader.section("metrics")),
        log: log(&mut reader.section("log")),
        pool: pool(&mut reader.section("pool")),
        limits: limits(&mut reader.section("limits")),
        cache: cache(&mut reader.section("cache")),
        statistics: statistics(&mut reader.section("statistics")),
        tracing: tracing(&mut reader.section("tracing")),
        statement_log: statement_log(&mut reader.section("statement_log")),
        firewall: firewall(&mut reader.section("firewall")),
        servers: reader.entries("server", server),
        users: reader.entries("user", user),
        networks: reader.entries("network", network),
        mirrors: reader.entries("mirror", mirror),
        admin_users: reader.entries("admin_user", admin_user),
        rules: Rules::default(),
        panic_on: None,
    };
    for mirror in &mut config.mirrors {
        let is_it = |server: &&Server| mirror.server.as_ref() == Some(&server.name);
        if let Some(server) = config.servers.iter().find(is_it) {
            mirror.address = server.address.clone();
            mirror.tls_name.clone_from(&server.tls_name);
        }
    }
    config.rules = Rules::new(reader.entries("rule", rules::rule), &config.server_names());
    if let Some(coordination) = config.coordination.as_mut().filter(|known| known.name.is_empty()) {
        coordination.name = format!("{}:{}", host_name(), config.listener.address.port());
    }
    // Others write too: without it strict reads would not be.
    let tracks = reader.section("consistency").has("track_external");
    config.consistency.track_external |= config.coordination.is_some() && !tracks;
    config
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "tandem".to_owned(),
        name => name.to_owned(),
    }
}

fn listener(table: &mut Table<'_>) -> Listener {
    Listener {
        address: table.required("address", "\"127.0.0.1:6446\"", NO_ADDRESS),
        socket: table.or("socket", Optional(None)).0,
        auth: table.or("auth", Auth::Config),
        rsa_key: table.or("rsa_key", Optional(None)).0,
        proxy_protocol: table.or("proxy_protocol", Networks::default()),
        workers: table.or("workers", 0),
        max_connections: table.or("max_connections", 10_000),
        handshake_timeout: table.or("handshake_timeout", Duration::from_secs(10)),
        failed_logins: table.or("failed_logins", 0),
        failed_logins_window: table.or("failed_logins_window", Duration::from_secs(60)),
        write_timeout: table.or("write_timeout", Duration::from_secs(60)),
        // The most that it can be: the servers' own timeouts count.
        idle_timeout: table.or("idle_timeout", Duration::from_secs(365 * 24 * 3600)),
        shutdown_timeout: table.or("shutdown_timeout", Duration::from_secs(10)),
        local_infile: table.or("local_infile", false),
        compression: table.or("compression", Algorithms(vec![Algorithm::Zlib, Algorithm::Zstd])),
    }
}

/// Off, or whole: what is missing for it was reported.
fn client_tls(table: &mut Table<'_>) -> Option<ClientTls> {
    let certificate: Option<std::path::PathBuf> = table.or("certificate", Optional(None)).0;
    let said: Option<ClientTlsMode> = table.or("mode", Optional(None)).0;
    let mode = said.unwrap_or(ClientTlsMode::Preferred);
    let ca: Option<std::path::PathBuf> = table.or("ca", Optional(None)).0;
    let key: Option<std::path::PathBuf> = table.or("key", Optional(None)).0;
    let min_version = table.or("min_version", TlsVersion::V1_2);
    if mode == ClientTlsMode::Disabled {
        return None;
    }
    if ca.is_some() && mode == ClientTlsMode::Preferred {
        table.complain(
            "ca",
            Fault::Contradiction(
                "asks clients for certificates, but client_tls.mode = \"preferred\" lets them in without TLS; set \
                 that to \"required\""
                    .to_owned(),
            ),
        );
    }
    let none = std::path::PathBuf::new();
    let identity = match (certificate, key) {
        (None, None) => None,
        (certificate, key) => Some(Identity {
            certificate: match certificate {
                Some(certificate) => certificate,
                None => table.required("certificate", "\"/etc/tandem/cert.pem\"", none.clone()),
            },
            key: match key {
                Some(key) => key,
                None => table.required("key", "\"/etc/tandem/key.pem\"", none),
            },
        }),
    };
    Some(ClientTls {
        required: mode == ClientTlsMode::Required,
        as_servers: said.is_none() && identity.is_none(),
        identity,
        ca,
        min_version,
    })
}

fn server_tls(table: &mut Table<'_>) -> ServerTls {
    let tls = ServerTls {
        mode: table.or("mode", ServerTlsMode::Preferred),
        ca: table.or("ca", Optional(None)).0,
        certificate: table.or("certificate", Optional(None)).0,
        key: table.or("key", Optional(None)).0,
        min_version: table.or("min_version", TlsVersion::V1_2),
    };
    let verifies = tls.mode.verifies();
    if verifies && tls.ca.is_none() {
        let advice =
            "add ca = \"/etc/tandem/ca.pem\", the authority that signed the servers' certificates".to_owned();
        table.complain("ca", Fault::Missing(advice));
    }
    if !verifies && tls.ca.is_some() {
        let advice =
            "is not looked at unless server_tls.mode is \"verify_ca\" or \"verify_identity\"; set one"
                .to_owned();
        table.complain("ca", Fault::Contradiction(advice));
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        let advice = "certificate and key go together; give both or none".to_owned();
        let missing = if tls.key.is_some() { "certificate" } else { "key" };
        table.complain(missing, Fault::Missing(advice));
    }
    tls
}

fn server_compression(table: &mut Table<'_>) -> ServerCompression {
    let compression = ServerCompression {
        algorithm: table.or("algorithm", ServerAlgorithm::Always(None)),
        level: table.or("level", usize::from(Algorithm::Zstd.default_level())),
        threshold: table.or("threshold", Size(compression::MIN_LENGTH)).0,
    };
    let most = match compression.algorithm {
        ServerAlgorithm::Always(Some(algorithm)) => algorithm.max_level(),
        ServerAlgorithm::Always(None) | ServerAlgorithm::AsClient => Algorithm::Zstd.max_level(),
    };
    let most = usize::from(most);
    if !(1..=most).contains(&compression.level) {
        table.complain(
            "level",
            Fault::OutOfRange {
                least: "1".to_owned(),
                most: most.to_string(),
                found: compression.level.to_string(),
            },
        );
    }
    compression
}

fn admin(table: &mut Table<'_>) -> Admin {
    Admin {
        address: table.required("address", "\"127.0.0.1:6447\"", NO_ADDRESS),
        user: table.required("user", "\"admin\"", String::new()),
        password: table.secret(),
        watch_file: table.or("watch_file", false),
    }
}

fn admin_user(table: &mut Table<'_>) -> AdminUser {
    AdminUser {
        name: table.name("\"watcher\""),
        password: table.secret(),
        rights: table.or("rights", Rights::READ),
    }
}

fn monitor(table: &mut Table<'_>) -> Monitor {
    Monitor {
        user: table.required("user", "\"tandem_monitor\"", String::new()),
        password: table.secret(),
        interval: table.or("interval", Duration::from_millis(250)),
        timeout: table.or("timeout", Duration::from_secs(1)),
        max_lag: table.or("max_lag", Duration::from_secs(1)),
        slow_start: table.or("slow_start", Duration::from_secs(10)),
        definitions_interval: table.or("definitions_interval", Duration::from_secs(60)),
    }
}

fn consistency(table: &mut Table<'_>) -> Consistency {
    Consistency {
        level: table.or("level", Level::Strict),
        read_wait: table.or("read_wait", Duration::ZERO),
        track_external: table.or("track_external", false),
        track_interval: table.or("track_interval", Duration::from_millis(10)),
    }
}

/// All keys are looked at, also while it is off.
fn failover(table: &mut Table<'_>) -> Option<Failover> {
    let mode = table.or("mode", FailoverMode::Off);
    let failback = table.or("failback", Failback::Never);
    let failback_after = table.or("failback_after", Duration::from_secs(600));
    let failover = Failover {
        decides: mode != FailoverMode::Follower,
        automatic: mode == FailoverMode::Automatic,
        journal: table.or("journal", std::path::PathBuf::from("/var/lib/tandem/journal")),
        hang_time: table.or("hang_time", Duration::from_secs(2)),
        unreachable_time: table.or("unreachable_time", Duration::from_secs(5)),
        apply_timeout: table.or("apply_timeout", Duration::from_secs(60)),
        min_interval: table.or("min_interval", Duration::from_secs(60)),
        failback: (failback == Failback::WhenHealthy).then_some(failback_after),
        failback_window: table.or("failback_window", Optional(None)).0,
        hold_time: table.or("hold_time", Duration::from_secs(15)),
        hold_limit: table.or("hold_limit", 10_000),
        replay_bytes: table.or("replay_bytes", Size(MIB)).0,
        switchover_timeout: table.or("switchover_timeout", Duration::from_secs(10)),
        fence_command: table.or("fence_command", Optional(None)).0,
        event_command: table.or("event_command", Optional(None)).0,
    };
    (mode != FailoverMode::Off).then_some(failover)
}

/// Off without etcd's addresses; the other keys are looked at all the same.
fn coordination(table: &mut Table<'_>) -> Option<Coordination> {
    let user: Option<String> = table.or("user", Optional(None)).0;
    let gives_password = ["password", "password_env", "password_file"]
        .into_iter()
        .any(|key| table.has(key));
    let password = match (&user, gives_password) {
        (None, false) => super::Secret::new(""),
        _ => table.secret(),
    };
    if user.is_none() && gives_password {
        let advice = "add the name of the etcd account that the password is for";
        table.complain("user", Fault::Missing(advice.to_owned()));
    }
    let coordination = Coordination {
        etcd: table.or("etcd", Urls(Vec::new())).0,
        cluster: table.or("cluster", "tandem".to_owned()),
        name: table.or("name", String::new()),
        lease: table.or("lease", Duration::from_secs(5)),
        ca: table.or("ca", Optional(None)).0,
        certificate: table.or("certificate", Optional(None)).0,
        key: table.or("key", Optional(None)).0,
        user,
        password,
    };
    if coordination.certificate.is_some() != coordination.key.is_some() {
        let advice = "certificate and key go together; give both or none".to_owned();
        let missing = match coordination.key {
            Some(_) => "certificate",
            None => "key",
        };
        table.complain(missing, Fault::Missing(advice));
    }
    let has_tls = coordination.etcd.iter().any(|url| url.starts_with("https://"));
    if !coordination.etcd.is_empty() && !has_tls && coordination.ca.is_some() {
        let advice =
            "is not looked at: the addresses in coordination.etcd begin with http://; write https://";
        table.complain("ca", Fault::Contradiction(advice.to_owned()));
    }
    if has_tls && coordination.ca.is_none() {
        let advice = "add ca = \"/etc/tandem/etcd-ca.pem\", the authority that signed etcd's certificate";
        table.complain("ca", Fault::Missing(advice.to_owned()));
    }
    (!coordination.etcd.is_empty()).then_some(coordination)
}

fn metrics(table: &mut Table<'_>) -> Metrics {
    let user: Option<String> = table.or("user", Optional(None)).0;
    let gives_password = ["password", "password_env", "password_file"]
        .into_iter()
        .any(|key| table.has(key));
    let password = (user.is_some() || gives_password).then(|| table.secret());
    if user.is_none() && gives_password {
        let advice = "add the name that is asked for with the password, for instance user = \"operator\"";
        table.complain("user", Fault::Missing(advice.to_owned()));
    }
    if user
        .as_ref()
        .is_some_and(|user| user.is_empty() || user.contains(':'))
    {
        let advice =
            "must not be empty or hold a colon, behind which HTTP's Basic authentication has the password";
        table.complain("user", Fault::Invalid(advice.to_owned()));
    }
    let account = user.zip(password);
    Metrics {
        address: table.or("address", Optional(None)).0,
        account: account.map(|(user, password)| MetricsAccount { user, password }),
    }
}

fn log(table: &mut Table<'_>) -> Log {
    Log {
        format: table.or("format", LogFormat::Human),
        level: table.or("level", LogFilter("info".to_owned())).0,
    }
}

fn pool(table: &mut Table<'_>) -> Pool {
    Pool {
        max_connections: table.or("max_connections", 100),
        queue_timeout: table.or("queue_timeout", Duration::from_secs(5)),
        queue_limit: table.or("queue_limit", 10_000),
        connect_timeout: table.or("connect_timeout", Duration::from_secs(3)),
        idle_timeout: table.or("idle_timeout", Duration::from_secs(300)),
        max_prepared: table.or("max_prepared", 256),
        warm_standby: table.or("warm_standby", true),
    }
}

fn limits(table: &mut Table<'_>) -> Limits {
    Limits {
        statement_bytes: table.or("statement_bytes", Size(MIB)).0,
        command_bytes: table.or("command_bytes", Size(GIB)).0,
        // The server's own default of max_prepared_stmt_count.
        prepared_statements: table.or("prepared_statements", 16 * KIB - 2),
        prepared_bytes: table.or("prepared_bytes", Size(256 * MIB)).0,
        recorded_bytes: table.or("recorded_bytes", Size(256 * MIB)).0,
        statement_cache: table.or("statement_cache", 10_000),
        user_connections: table.or("user_connections", 0),
        idle_transaction_timeout: table.or("idle_transaction_timeout", Duration::ZERO),
        statement_timeout: table.or("statement_timeout", Duration::ZERO),
        transaction_timeout: table.or("transaction_timeout", Duration::ZERO),
        session_memory: table.or("session_memory", Size(2 * GIB)).0,
        user_statement_rate: table.or("user_statement_rate", 0),
        statement_rate: table.or("statement_rate", 0),
    }
}

fn cache(table: &mut Table<'_>) -> Cache {
    Cache {
        bytes: table.or("bytes", Size(64 * MIB)).0,
        reply_bytes: table.or("reply_bytes", Size(256 * KIB)).0,
    }
}

fn statistics(table: &mut Table<'_>) -> Statistics {
    Statistics {
        enabled: table.or("enabled", true),
        digests: table.or("digests", 2000),
    }
}

fn tracing(table: &mut Table<'_>) -> Tracing {
    Tracing {
        endpoint: table.or("endpoint", Optional(None)).0.map(|Collector(url)| url),
        sample_ratio: table.or("sample_ratio", Ratio(0.01)).0,
        service_name: table.or("service_name", "tandem".to_owned()),
    }
}

fn statement_log(table: &mut Table<'_>) -> StatementLog {
    StatementLog {
        slow_time: table.or("slow_time", Optional(None)).0,
        audit: table.or("audit", Audit::Off),
        file: table.or("file", Optional(None)).0,
        literals: table.or("literals", false),
    }
}

fn firewall(table: &mut Table<'_>) -> Firewall {
    Firewall {
        mode: table.or("mode", FirewallMode::Off),
        file: table.or("file", std::path::PathBuf::from("/var/lib/tandem/firewall")),
        digests: table.or("digests", 10_000),
        bytes: table.or("bytes", Size(16 * MIB)).0,
        listed: table.or("listed", 1000),
    }
}

fn server(table: &mut Table<'_>) -> Server {
    let address = table.required("address", "\"127.0.0.1:3306\"", Endpoint::Tcp(NO_ADDRESS));
    let host = table
        .get::<Host>("address")
        .map(|host| host.0)
        .unwrap_or_default();
    let tls_name: Option<String> = table.or("tls_name", Optional(None)).0;
    let weight: usize = table.or("weight", 1);
    Server {
        name: table.name("\"a\""),
        address,
        tls_name: tls_name.unwrap_or(host),
        proxy_protocol: table.or("proxy_protocol", false),
        // Too large a weight is refused by its range, below u32::MAX.
        weight: u32::try_from(weight).unwrap_or(u32::MAX),
    }
}

fn user(table: &mut Table<'_>) -> User {
    User {
        name: table.name("\"app\""),
        password: table.password(),
        local_infile: table.or("local_infile", Optional(None)).0,
        consistency: table.or("consistency", Optional(None)).0,
        replication: table.or("replication", false),
        max_connections: table.or("max_connections", Optional(None)).0,
        statement_rate: table.or("statement_rate", Optional(None)).0,
        statement_timeout: table.or("statement_timeout", Optional(None)).0,
        transaction_timeout: table.or("transaction_timeout", Optional(None)).0,
        firewall: table.or("firewall", Optional(None)).0,
    }
}

fn network(table: &mut Table<'_>) -> Network {
    Network {
        name: table.name("\"web\""),
        addresses: table.required("addresses", "\"10.1.0.0/16\"", Networks::default()),
        max_connections: table.or("max_connections", 0),
        statement_rate: table.or("statement_rate", 0),
    }
}

fn mirror(table: &mut Table<'_>) -> Mirror {
    let server: Option<String> = table.or("server", Optional(None)).0;
    let nowhere = Endpoint::Tcp(NO_ADDRESS);
    let address = match (&server, table.has("address")) {
        (Some(_), false) => nowhere,
        (Some(_), true) => {
            let fault = "is given beside server, which says where it is; keep one of them";
            table.complain("address", Fault::Contradiction(fault.to_owned()));
            nowhere
        }
        (None, _) => table.required("address", "\"127.0.0.1:3306\"", nowhere),
    };
    let host = table
        .get::<Host>("address")
        .map(|host| host.0)
        .unwrap_or_default();
    let tls_name: Option<String> = table.or("tls_name", Optional(None)).0;
    Mirror {
        name: table.name("\"next\""),
        server,
        address,
        tls_name: tls_name.unwrap_or(host),
        user: table.required("user", "\"tandem_mirror\"", String::new()),
        password: table.secret(),
        connections: table.or("connections", 4),
        queue_length: table.or("queue_length", 1000),
        queue_bytes: table.or("queue_bytes", Size(16 * MIB)).0,
        timeout: table.or("timeout", Duration::from_secs(5)),
        second_look: table.or("second_look", Duration::from_millis(500)),
    }
}

struct Reader<'a> {
    merged: &'a Value,
    origins: &'a Origins,
    environment: &'a [(OsString, OsString)],
    problems: &'a mut Problems,
}

impl<'a> Reader<'a> {
    fn section(&mut self, name: &'static str) -> Table<'_> {
        Table {
            values: child(self.merged, name).and_then(table_of),
            key: name.to_owned(),
            name: None,
            // A section that isn't a table was refused with the file.
            broken: self.problems.mention(name),
            origins: self.origins,
            environment: self.environment,
            problems: self.problems,
        }
    }

    /// As many entries as any layer named, in the order of the file.
    fn entries<T>(&mut self, name: &'static str, read: fn(&mut Table<'_>) -> T) -> Vec<T> {
        if self.problems.mention(name) {
            return Vec::new();
        }
        let list = match child(self.merged, name).map(|value| &value.kind) {
            Some(ValueKind::Array(list)) => list.as_slice(),
            _ => &[],
        };
        let names = self.origins.names(name);
        let mut entries = Vec::with_capacity(names.len());
        for (index, entry_name) in names.iter().enumerate() {
            entries.push(read(&mut Table {
                values: list.get(index).and_then(table_of),
                key: format!("{name}[{index}]"),
                name: Some(entry_name),
                broken: false,
                origins: self.origins,
                environment: self.environment,
                problems: self.problems,
            }));
        }
        entries
    }
}

fn child<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    table_of(value)?.get(key)
}

fn table_of(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// One section or one entry, being read.
struct Table<'a> {
    values: Option<&'a Map<String, Value>>,
    key: String,
    /// An entry's name, which the environment may have given.
    name: Option<&'a str>,
    broken: bool,
    origins: &'a Origins,
    environment: &'a [(OsString, OsString)],
    problems: &'a mut Problems,
}

impl Table<'_> {
    fn has(&self, key: &str) -> bool {
        self.values.is_some_and(|values| values.contains_key(key))
    }

    /// The value, when there is one that can be read.
    fn get<T: Scalar>(&mut self, key: &str) -> Option<T> {
        let value = self.values?.get(key)?;
        match value.clone().try_deserialize::<Parsed<T>>() {
            Ok(parsed) => Some(parsed.0),
            Err(error) => {
                self.complain(key, Fault::Invalid(sentence(error)));
                None
            }
        }
    }

    fn or<T: Scalar>(&mut self, key: &str, default: T) -> T {
        self.get(key).unwrap_or(default)
    }

    fn required<T: Scalar>(&mut self, key: &str, example: &str, stand_in: T) -> T {
        if !self.has(key) && !self.broken {
            let section = self.key.split('[').next().unwrap_or_default();
            let full = format!("{}.{key}", self.key);
            let advice = match self.origins.place(&full) {
                Place::File { .. } if self.name.is_some() => {
                    format!("add a line such as {key} = {example} to this [[{section}]]")
                }
                Place::File { .. } => {
                    format!("add a line such as {key} = {example} below [{section}]")
                }
                _ => format!(
                    "add it to the file and give that with --config, or set {}",
                    environment::variable(&self.origins.label(&full))
                ),
            };
            self.complain(key, Fault::Missing(advice));
        }
        self.get(key).unwrap_or(stand_in)
    }

    /// An entry that only the environment knows has its name from there.
    fn name(&mut self, example: &str) -> String {
        let in_file = self.values.is_some_and(|values| values.contains_key("name"));
        match self.name {
            Some(name) if !in_file && !name.is_empty() => name.to_owned(),
            _ => self.required("name", example, String::new()),
        }
    }

    fn complain(&mut self, key: &str, fault: Fault) {
        let problem = self.origins.problem(&format!("{}.{key}", self.key), fault);
        // A table where a value belongs was refused with the file.
        if !self.problems.mention(&problem.key) {
            self.problems.push(problem);
        }
    }
}

/// What the scalar said, without what `config` puts around it.
fn sentence(error: ConfigError) -> String {
    match error {
        ConfigError::At { error, .. } => sentence(*error),
        ConfigError::Message(message) => message,
        _ => "has a value of the wrong type".to_owned(),
    }
}
