//! What can only be judged over several keys, and the ranges of single ones. A key that has been complained about
//! already isn't compared with others.

use std::net::SocketAddr;
use std::time::Duration;

use super::layers::{Origins, entry_key};
use super::problem::{Fault, Problems};
use super::scalar::{show_duration, show_size};
use super::{Auth, Config, Network, Password, Server, ServerTlsMode};
use crate::net::address::Endpoint;
use crate::net::tls::ServerName;

mod mirrors;
mod rules;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Far below what a point in time can be moved by without overflow.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);
/// A probe that hangs longer than so many intervals leaves the topology's picture of its server too old.
const PROBES_IN_TIMEOUT: u32 = 20;
/// As long as MariaDB's mysql.global_priv holds.
const LONGEST_USER: usize = 128;
const LONGEST_NAME: usize = 64;
/// More than a Tandem can do.
const MOST_A_SECOND: usize = 100_000_000;
/// What people leave standing in an example.
const PLACEHOLDERS: &[&str] = &["…", "...", "changeme", "change-me", "change me", "CHANGE_ME"];

pub(super) fn check(config: &Config, origins: &Origins, problems: &mut Problems) {
    let mut check = Check { origins, problems };
    check.durations(config);
    check.counts(config);
    check.sizes(config);
    check.accounts(config);
    check.servers(&config.servers);
    check.tls_names(config);
    check.users(config);
    check.admin_users(config);
    check.networks(&config.networks);
    check.mirrors(config);
    check.addresses(config);
    check.coordination(config);
    check.rules(config);
}

/// What is allowed but probably not meant.
pub(super) fn warn(config: &Config, origins: &Origins, warnings: &mut Problems) {
    let mut warn = |key: &str, text: &str| {
        warnings.push(origins.problem(key, Fault::Warning(text.to_owned())));
    };
    let mut passwords = vec![
        ("admin.password".to_owned(), &config.admin.password),
        ("monitor.password".to_owned(), &config.monitor.password),
    ];
    let mirrors = (0..).zip(&config.mirrors);
    passwords
        .extend(mirrors.map(|(index, mirror)| (entry_key("mirror", index, "password"), &mirror.password)));
    let admins = (0..).zip(&config.admin_users);
    passwords
        .extend(admins.map(|(index, user)| (entry_key("admin_user", index, "password"), &user.password)));
    passwords.extend(
        (0..)
            .zip(&config.users)
            .filter_map(|(index, user)| match &user.password {
                Password::Clear(password) => Some((entry_key("user", index, "password"), password)),
                Password::Native(_) | Password::Sha2(_) => None,
            }),
    );
    for (key, password) in passwords {
        if PLACEHOLDERS.contains(&password.reveal()) {
            warn(&key, "is still the example's; set the account's own password");
        } else if password.reveal().is_empty() {
            warn(&key, "is empty: anybody who reaches the port can log in; set one");
        }
    }
    if config.coordination.is_some() && !config.consistency.track_external {
        warn(
            "consistency.track_external",
            "is false beside [coordination]: a strict read through this Tandem may miss what was just written through another; \
             remove the line, and it is true",
        );
    }
    rules::warn(config, &mut warn);
    if config.servers.len() == 1 {
        warn(
            "server",
            "has one entry only: without a second there is nobody to take over; add the other master",
        );
    }
}

struct Check<'a> {
    origins: &'a Origins,
    problems: &'a mut Problems,
}

impl Check<'_> {
    /// Reports `fault` of `key`, unless that or one of `others` is known to be wrong.
    fn fault(&mut self, key: &str, others: &[&str], fault: Fault) {
        let known = |key: &str| self.problems.mention(&self.origins.label(key));
        if !known(key) && !others.iter().any(|other| known(other)) {
            self.problems.push(self.origins.problem(key, fault));
        }
    }

    fn range<T: PartialOrd>(&mut self, key: &str, value: T, bounds: (T, T), show: fn(T) -> String) {
        let (least, most) = bounds;
        if value < least || value > most {
            let fault = Fault::OutOfRange {
                least: show(least),
                most: show(most),
                found: show(value),
            };
            self.fault(key, &[], fault);
        }
    }

    fn durations(&mut self, config: &Config) {
        let (listener, monitor, pool) = (&config.listener, &config.monitor, &config.pool);
        let ten = 10 * MILLISECOND;
        for (key, value, least, most) in [
            ("listener.handshake_timeout", listener.handshake_timeout, ten, DAY),
            (
                "listener.failed_logins_window",
                listener.failed_logins_window,
                Duration::from_secs(1),
                DAY,
            ),
            ("listener.write_timeout", listener.write_timeout, ten, DAY),
            ("listener.idle_timeout", listener.idle_timeout, ten, YEAR),
            (
                "listener.shutdown_timeout",
                listener.shutdown_timeout,
                Duration::ZERO,
                DAY,
            ),
            (
                "limits.idle_transaction_timeout",
                config.limits.idle_transaction_timeout,
                Duration::ZERO,
                YEAR,
            ),
            (
                "limits.statement_timeout",
                config.limits.statement_timeout,
                Duration::ZERO,
                YEAR,
            ),
            (
                "limits.transaction_timeout",
                config.limits.transaction_timeout,
                Duration::ZERO,
                YEAR,
            ),
            ("monitor.interval", monitor.interval, ten, MINUTE),
            ("monitor.timeout", monitor.timeout, ten, MINUTE),
            ("monitor.max_lag", monitor.max_lag, Duration::ZERO, DAY),
            ("monitor.slow_start", monitor.slow_start, Duration::ZERO, DAY),
            (
                "monitor.definitions_interval",
                monitor.definitions_interval,
                Duration::from_secs(1),
                DAY,
            ),
            (
                "consistency.track_interval",
                config.consistency.track_interval,
                MILLISECOND,
                Duration::from_secs(1),
            ),
            (
                "consistency.read_wait",
                config.consistency.read_wait,
                Duration::ZERO,
                Duration::from_secs(1),
            ),
            ("pool.queue_timeout", pool.queue_timeout, Duration::ZERO, DAY),
            ("pool.connect_timeout", pool.connect_timeout, ten, DAY),
            ("pool.idle_timeout", pool.idle_timeout, ten, YEAR),
        ] {
            self.range(key, value, (least, most), show_duration);
        }
        if let Some(failover) = &config.failover {
            for (key, value, least, most) in [
                (
                    "failover.hang_time",
                    failover.hang_time,
                    100 * MILLISECOND,
                    10 * MINUTE,
                ),
                (
                    "failover.unreachable_time",
                    failover.unreachable_time,
                    failover.hang_time,
                    DAY,
                ),
                (
                    "failover.apply_timeout",
                    failover.apply_timeout,
                    Duration::from_secs(1),
                    DAY,
                ),
                (
                    "failover.min_interval",
                    failover.min_interval,
                    Duration::ZERO,
                    DAY,
                ),
                (
                    "failover.failback_after",
                    failover.failback.unwrap_or(10 * MINUTE),
                    Duration::from_secs(1),
                    YEAR,
                ),
                (
                    "failover.hold_time",
                    failover.hold_time,
                    Duration::ZERO,
                    10 * MINUTE,
                ),
                (
                    "failover.switchover_timeout",
                    failover.switchover_timeout,
                    100 * MILLISECOND,
                    10 * MINUTE,
                ),
            ] {
                self.range(key, value, (least, most), show_duration);
            }
        }
        let longest = monitor.interval * PROBES_IN_TIMEOUT;
        if monitor.timeout > longest {
            let fault = Fault::Contradiction(format!(
                "is more than {PROBES_IN_TIMEOUT} times monitor.interval, so a hanging server would be noticed too \
                 late; make it at most {}, or the interval longer",
                show_duration(longest)
            ));
            self.fault("monitor.timeout", &["monitor.interval"], fault);
        }
    }

    fn counts(&mut self, config: &Config) {
        let (listener, pool, limits) = (&config.listener, &config.pool, &config.limits);
        for (key, value, least, most) in [
            ("listener.workers", listener.workers, 0, 1024),
            ("listener.max_connections", listener.max_connections, 1, 1_000_000),
            ("listener.failed_logins", listener.failed_logins, 0, 1_000_000),
            // MariaDB's and MySQL's own max_connections ends at 100000.
            ("pool.max_connections", pool.max_connections, 1, 100_000),
            ("pool.queue_limit", pool.queue_limit, 0, 1_000_000),
            ("pool.max_prepared", pool.max_prepared, 0, 65_536),
            (
                "limits.prepared_statements",
                limits.prepared_statements,
                1,
                1 << 20,
            ),
            ("limits.statement_cache", limits.statement_cache, 1, 10_000_000),
            ("limits.user_connections", limits.user_connections, 0, 1_000_000),
            (
                "limits.user_statement_rate",
                limits.user_statement_rate,
                0,
                MOST_A_SECOND,
            ),
            ("limits.statement_rate", limits.statement_rate, 0, MOST_A_SECOND),
            ("statistics.digests", config.statistics.digests, 1, 1_000_000),
            ("firewall.digests", config.firewall.digests, 1, 1_000_000),
            ("firewall.listed", config.firewall.listed, 1, 100_000),
        ] {
            self.range(key, value, (least, most), |count| count.to_string());
        }
        let users = config.users.iter().map(|user| {
            let (connections, rate) = (user.max_connections, user.statement_rate);
            (connections.unwrap_or(0), rate.unwrap_or(0))
        });
        let networks = config.networks.iter();
        let networks = networks.map(|network| (network.max_connections, network.statement_rate));
        let users = users.enumerate().map(|(index, of)| ("user", index, of));
        let networks = networks.enumerate().map(|(index, of)| ("network", index, of));
        for (section, index, (connections, rate)) in users.chain(networks) {
            let show = |count: usize| count.to_string();
            let key = entry_key(section, index, "max_connections");
            self.range(&key, connections, (0, 1_000_000), show);
            let key = entry_key(section, index, "statement_rate");
            self.range(&key, rate, (0, MOST_A_SECOND), show);
        }
        if let Some(failover) = &config.failover {
            self.range(
                "failover.hold_limit",
                failover.hold_limit,
                (0, 1_000_000),
                |count| count.to_string(),
            );
        }
        for (key, value) in [
            ("pool.max_connections", pool.max_connections),
            ("listener.max_connections", listener.max_connections),
        ] {
            if value < listener.workers {
                let fault = Fault::Contradiction(format!(
                    "is {value}, but listener.workers is {}: a worker would have no connection of its share; raise \
                     the one or lower the other",
                    listener.workers
                ));
                self.fault(key, &["listener.workers"], fault);
            }
        }
    }

    fn sizes(&mut self, config: &Config) {
        let limits = &config.limits;
        let (kib, mib, gib) = (1 << 10, 1 << 20, 1 << 30);
        self.range("firewall.bytes", config.firewall.bytes, (kib, gib), show_size);
        // 1 GiB is the most that max_allowed_packet of a server can be.
        self.range(
            "limits.statement_bytes",
            limits.statement_bytes,
            (kib, 64 * mib),
            show_size,
        );
        self.range(
            "limits.command_bytes",
            limits.command_bytes,
            (64 * kib, gib),
            show_size,
        );
        self.range(
            "limits.prepared_bytes",
            limits.prepared_bytes,
            (mib, 1024 * gib),
            show_size,
        );
        self.range(
            "limits.recorded_bytes",
            limits.recorded_bytes,
            (0, 1024 * gib),
            show_size,
        );
        self.range(
            "limits.session_memory",
            limits.session_memory,
            (0, 1024 * gib),
            show_size,
        );
        self.range(
            "cache.bytes",
            config.cache.bytes,
            (64 * kib, 1024 * gib),
            show_size,
        );
        // Within one packet, and less than it takes to hold up a worker by copying.
        self.range(
            "cache.reply_bytes",
            config.cache.reply_bytes,
            (kib, 8 * mib),
            show_size,
        );
        let least = config.listener.workers.max(1) * mib;
        if (1..least).contains(&limits.session_memory) {
            let fault = Fault::Contradiction(format!(
                "is divided among the workers, and each must have {}; raise it, or set it to 0 for no limit",
                show_size(mib)
            ));
            self.fault("limits.session_memory", &["listener.workers"], fault);
        }
        if let Some(failover) = &config.failover {
            self.range(
                "failover.replay_bytes",
                failover.replay_bytes,
                (0, gib),
                show_size,
            );
        }
        let workers = config.listener.workers.max(1);
        if let Some(failover) = &config.failover
            && limits.recorded_bytes / workers < failover.replay_bytes
        {
            let fault = Fault::Contradiction(format!(
                "is divided among {workers} workers, and each must have room for a transaction of failover.replay_bytes \
                 ({}); raise it or lower that",
                show_size(failover.replay_bytes)
            ));
            self.fault("limits.recorded_bytes", &["failover.replay_bytes"], fault);
        }
        if limits.prepared_bytes / workers <= limits.statement_bytes {
            let fault = Fault::Contradiction(format!(
                "is divided among {workers} workers, and each must have room for a statement of limits.statement_bytes \
                 ({}); raise it or lower that",
                show_size(limits.statement_bytes)
            ));
            self.fault("limits.prepared_bytes", &["limits.statement_bytes"], fault);
        }
        if limits.statement_bytes > limits.command_bytes {
            let fault = Fault::Contradiction(format!(
                "is more than limits.command_bytes ({}), which no statement can exceed; lower it or raise that",
                show_size(limits.command_bytes)
            ));
            self.fault("limits.statement_bytes", &["limits.command_bytes"], fault);
        }
    }

    fn accounts(&mut self, config: &Config) {
        let (admin, monitor) = (&config.admin, &config.monitor);
        for (key, value, advice) in [
            (
                "admin.user",
                admin.user.as_str(),
                "name the account of the admin port",
            ),
            (
                "admin.password",
                admin.password.reveal(),
                "the admin port must not be open to everybody: set a password",
            ),
            (
                "monitor.user",
                monitor.user.as_str(),
                "name an account of both servers with REPLICATION CLIENT (MariaDB: also SLAVE MONITOR)",
            ),
        ] {
            // From a file or the environment, an empty one was refused already.
            let elsewhere = [format!("{key}_env"), format!("{key}_file")];
            if value.is_empty() {
                self.fault(
                    key,
                    &elsewhere.each_ref().map(String::as_str),
                    Fault::Empty(advice),
                );
            }
        }
    }

    fn servers(&mut self, servers: &[Server]) {
        if servers.is_empty() {
            let advice = "add two [[server]] entries, each with name and address".to_owned();
            self.fault("server", &[], Fault::Missing(advice));
        }
        if servers.len() > 2 {
            let fault = Fault::Contradiction(format!(
                "is one too many: Tandem is for pairs, and there are {} servers; leave two",
                servers.len()
            ));
            self.fault("server[2]", &[], fault);
        }
        for (index, server) in servers.iter().enumerate() {
            self.server(index, server, servers);
        }
        if !servers.is_empty() && servers.iter().all(|server| server.weight == 0) {
            let fault = Fault::Contradiction(
                "is 0, as is every server's: nobody would take reads; give one server a weight".to_owned(),
            );
            self.fault(&entry_key("server", 0, "weight"), &[], fault);
        }
    }

    /// TLS wants a name even where nobody compares it with the certificate's.
    fn tls_names(&mut self, config: &Config) {
        if config.server_tls.mode == ServerTlsMode::Disabled {
            return;
        }
        let servers = config.servers.iter().enumerate();
        let servers = servers.map(|(index, it)| ("server", index, &it.address, &it.tls_name));
        let mirrors = config.mirrors.iter().enumerate();
        let mirrors = mirrors.map(|(index, it)| ("mirror", index, &it.address, &it.tls_name));
        for (section, index, address, tls_name) in servers.chain(mirrors) {
            let reached_by_tls = matches!(address, Endpoint::Tcp(address) if address.port() != 0);
            if reached_by_tls && ServerName::try_from(tls_name.as_str()).is_err() {
                let fault = Fault::Invalid(format!(
                    "must be the name in the server's certificate, such as \"db-a.example\"; {tls_name:?} is none",
                ));
                self.fault(&entry_key(section, index, "tls_name"), &[], fault);
            }
        }
    }

    fn server(&mut self, index: usize, server: &Server, servers: &[Server]) {
        let name_key = entry_key("server", index, "name");
        let address_key = entry_key("server", index, "address");
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if server.name.is_empty() {
            self.fault(&name_key, &[], Fault::Empty("give the server a short name"));
        } else if server.name.len() > LONGEST_NAME || !server.name.chars().all(allowed) {
            let fault = Fault::Invalid(format!(
                "must be at most {LONGEST_NAME} letters, digits, \"-\", \"_\" and \".\", since it appears in metrics"
            ));
            self.fault(&name_key, &[], fault);
        }
        let weight_key = entry_key("server", index, "weight");
        self.range(&weight_key, server.weight, (0, 1000), |weight| weight.to_string());
        let described = self.problems.mention(&self.origins.label(&address_key));
        let port_0 = matches!(server.address, Endpoint::Tcp(address) if address.port() == 0);
        if port_0 && !described {
            let fault = Fault::Invalid("needs the server's port, for instance 3306".to_owned());
            self.fault(&address_key, &[], fault);
        }
        for other in servers.iter().take(index) {
            if !server.name.is_empty() && server.name.eq_ignore_ascii_case(&other.name) {
                let fault = Fault::Contradiction(format!(
                    "{:?} is another server's name already; give each its own",
                    server.name
                ));
                self.fault(&name_key, &[], fault);
            }
            if server.address == other.address && !port_0 {
                let fault = Fault::Contradiction(format!(
                    "{} is also the address of server {:?}; two names for one server are no pair",
                    server.address, other.name
                ));
                self.fault(&address_key, &[], fault);
            }
        }
    }

    fn users(&mut self, config: &Config) {
        if config.users.is_empty() && config.listener.auth == Auth::Config {
            let advice = "add a [[user]] entry with name and password, as applications log in with, or set \
                listener.auth = \"servers\" to let in whom the servers know"
                .to_owned();
            self.fault("user", &[], Fault::Missing(advice));
        }
        for (index, user) in config.users.iter().enumerate() {
            let key = entry_key("user", index, "name");
            if user.name.is_empty() {
                let advice = "name the account; Tandem knows no anonymous one";
                self.fault(&key, &[], Fault::Empty(advice));
            } else if user.name.chars().count() > LONGEST_USER {
                let fault = Fault::Invalid(format!(
                    "is longer than {LONGEST_USER} characters, the most that a server allows"
                ));
                self.fault(&key, &[], fault);
            } else {
                self.first_of_its_name(
                    &key,
                    &user.name,
                    config.users[..index].iter().map(|other| &*other.name),
                );
            }
        }
    }

    /// Where entries have a name of their own.
    fn first_of_its_name<'n>(&mut self, key: &str, name: &str, mut earlier: impl Iterator<Item = &'n str>) {
        if earlier.any(|other| other == name) {
            let fault =
                Fault::Contradiction(format!("{name:?} is there already; keep one of the two entries"));
            self.fault(key, &[], fault);
        }
    }

    fn networks(&mut self, networks: &[Network]) {
        for (index, network) in networks.iter().enumerate() {
            let key = entry_key("network", index, "name");
            if network.name.is_empty() {
                self.fault(&key, &[], Fault::Empty("give the network a short name"));
            } else {
                self.first_of_its_name(
                    &key,
                    &network.name,
                    networks[..index].iter().map(|other| &*other.name),
                );
            }
            if network.addresses.0.is_empty() {
                let key = entry_key("network", index, "addresses");
                self.fault(&key, &[], Fault::Empty("name a network, such as \"10.1.0.0/16\""));
            }
        }
    }

    fn admin_users(&mut self, config: &Config) {
        for (index, user) in config.admin_users.iter().enumerate() {
            let key = entry_key("admin_user", index, "name");
            let earlier = config.admin_users.iter().take(index);
            let mut taken = earlier.map(|other| &other.name).chain([&config.admin.user]);
            if user.name.is_empty() {
                self.fault(&key, &[], Fault::Empty("name the account of the admin port"));
            } else if taken.any(|other| *other == user.name) {
                let fault = Fault::Contradiction(format!(
                    "{:?} is there already, here or as admin.user; give each its own",
                    user.name
                ));
                self.fault(&key, &[], fault);
            }
            let key = entry_key("admin_user", index, "password");
            if user.password.reveal().is_empty() {
                let elsewhere =
                    ["password_env", "password_file"].map(|key| entry_key("admin_user", index, key));
                let advice = "the admin port must not be open to everybody: set a password";
                self.fault(
                    &key,
                    &elsewhere.each_ref().map(String::as_str),
                    Fault::Empty(advice),
                );
            }
        }
    }

    fn coordination(&mut self, config: &Config) {
        let Some(coordination) = &config.coordination else {
            return;
        };
        // etcd itself grants no less than 2 s, with its own settings as they are by default.
        let bounds = (2 * Duration::from_secs(1), MINUTE);
        self.range("coordination.lease", coordination.lease, bounds, show_duration);
        if !coordination.lease.as_millis().is_multiple_of(1000) {
            let fault = Fault::Invalid("must be whole seconds: etcd counts in these".to_owned());
            self.fault("coordination.lease", &[], fault);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let cluster = &coordination.cluster;
        if cluster.is_empty() || cluster.len() > LONGEST_NAME || !cluster.chars().all(allowed) {
            let fault = Fault::Invalid(format!(
                "must be at most {LONGEST_NAME} letters, digits, \"-\", \"_\" and \".\", since keys in etcd begin with it"
            ));
            self.fault("coordination.cluster", &[], fault);
        }
        if coordination.name.len() > 4 * LONGEST_NAME || coordination.name.chars().any(char::is_control) {
            let fault = Fault::Invalid(format!("must be one line of at most {} bytes", 4 * LONGEST_NAME));
            self.fault("coordination.name", &[], fault);
        }
        if config.failover.is_none() {
            let fault = Fault::Contradiction(
                "is about who decides, but failover.mode is \"off\": nobody does; set that to \"automatic\" (or \"manual\"; \
                 \"follower\" for a Tandem that must never decide), or remove [coordination]"
                    .to_owned(),
            );
            self.fault("coordination.etcd", &["failover.mode"], fault);
        }
    }

    /// Our own ports must not collide, nor may a server be ourselves.
    fn addresses(&mut self, config: &Config) {
        let own: Vec<(&str, SocketAddr)> = [
            ("listener.address", Some(config.listener.address)),
            ("admin.address", Some(config.admin.address)),
            ("metrics.address", config.metrics.address),
        ]
        .into_iter()
        .filter_map(|(key, address)| address.map(|address| (key, address)))
        .collect();
        for (index, (key, address)) in own.iter().enumerate() {
            for (other_key, other) in own.iter().take(index) {
                if collide(*address, *other) {
                    let fault = Fault::Contradiction(format!(
                        "{address} is taken by {other_key} ({other}); choose another port"
                    ));
                    self.fault(key, &[other_key], fault);
                }
            }
            for (position, server) in config.servers.iter().enumerate() {
                if matches!(server.address, Endpoint::Tcp(theirs) if collide(theirs, *address)) {
                    let server_key = entry_key("server", position, "address");
                    let fault = Fault::Contradiction(format!(
                        "{} is Tandem's own {key}; give the address of the database server",
                        server.address
                    ));
                    self.fault(&server_key, &[key], fault);
                }
            }
        }
    }
}

/// Whether both can't be bound at once. Port 0 is any free one.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = |x: SocketAddr, y: SocketAddr| {
        x.ip().is_unspecified() && (y.ip().is_loopback() || y.ip().is_unspecified())
    };
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || everywhere(a, b) || everywhere(b, a))
}
