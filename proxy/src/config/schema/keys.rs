//! Every key with its type, default and meaning, and what it takes for a new value to act. `tandem config reference`,
//! `DESCRIBE` of the admin port, docs/configuration.md and the check of the example file come from here.

mod statements;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Effect::{Among, AtOnce, NewConnections, Restart};
use super::{Key, Section, key, not_set, required};
use crate::config::scalar::{
    ClientTlsMode, Collector, Failback, FailoverMode, Hash, LogFilter, Ratio, Scalar, Size, Urls,
};
use crate::config::{
    Algorithms, Audit, Auth, DayWindow, FirewallMode, Level, LogFormat, Networks, Rights, ServerAlgorithm,
    ServerTlsMode, TlsVersion,
};
use crate::net::address::Endpoint;
use statements::{CACHE, FIREWALL, MIRROR, RULE};

const TEXT: &str = <String as Scalar>::EXPECTED;
const COUNT: &str = <usize as Scalar>::EXPECTED;
const SWITCH: &str = <bool as Scalar>::EXPECTED;
const SIZE: &str = <Size as Scalar>::EXPECTED;
const DURATION: &str = <Duration as Scalar>::EXPECTED;
const PATH: &str = <PathBuf as Scalar>::EXPECTED;
const MODE: &str = <FirewallMode as Scalar>::EXPECTED;
const ADDRESS: &str = <SocketAddr as Scalar>::EXPECTED;

/// Where a password is, beside `password` itself.
const PASSWORD_ENV: &str = "the environment variable that holds the password, instead of it";
const PASSWORD_FILE: &str = "the file that holds the password, without the newline at its end, instead of it";

pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "listener",
        meaning: "where applications connect instead of connecting to a server",
        keys: LISTENER,
        repeated: false,
    },
    Section {
        name: "client_tls",
        meaning: "TLS for applications; new files are taken over while Tandem runs",
        keys: CLIENT_TLS,
        repeated: false,
    },
    Section {
        name: "server_tls",
        meaning: "TLS to the servers",
        keys: SERVER_TLS,
        repeated: false,
    },
    Section {
        name: "server_compression",
        meaning: "compression of the connections to the servers, for a slow network between",
        keys: SERVER_COMPRESSION,
        repeated: false,
    },
    Section {
        name: "admin",
        meaning: "the port for asking Tandem itself, with any MySQL client",
        keys: ADMIN,
        repeated: false,
    },
    Section {
        name: "admin_user",
        meaning: "one more account of the admin port, with rights of its own; it exists in Tandem only",
        keys: ADMIN_USER,
        repeated: true,
    },
    Section {
        name: "monitor",
        meaning: "the account that watches the servers, and how it does",
        keys: MONITOR,
        repeated: false,
    },
    Section {
        name: "consistency",
        meaning: "how new what is read has to be, and so which reads the standby may answer",
        keys: CONSISTENCY,
        repeated: false,
    },
    Section {
        name: "failover",
        meaning: "who is the active master, decided by Tandem and not by who is writable",
        keys: FAILOVER,
        repeated: false,
    },
    Section {
        name: "coordination",
        meaning: "several Tandems in front of the pair: the one that holds a lease in etcd decides",
        keys: COORDINATION,
        repeated: false,
    },
    Section {
        name: "metrics",
        meaning: "Prometheus text and the dashboard over HTTP",
        keys: METRICS,
        repeated: false,
    },
    Section {
        name: "statistics",
        meaning: "what is counted of statements by their shape: SHOW DIGESTS and SHOW READS on the admin port",
        keys: STATISTICS,
        repeated: false,
    },
    Section {
        name: "statement_log",
        meaning: "statements as JSON lines, without their values: who ran which shape, when, where, for how long, with what outcome",
        keys: STATEMENT_LOG,
        repeated: false,
    },
    Section {
        name: "firewall",
        meaning: "learns what statements an account sends, and then warns of others or refuses them",
        keys: FIREWALL,
        repeated: false,
    },
    Section {
        name: "tracing",
        meaning: "spans of statements, each with its steps, for a collector of OpenTelemetry",
        keys: TRACING,
        repeated: false,
    },
    Section {
        name: "log",
        meaning: "logs, which go to standard error",
        keys: LOG,
        repeated: false,
    },
    Section {
        name: "pool",
        meaning: "connections to the servers, which sessions share",
        keys: POOL,
        repeated: false,
    },
    Section {
        name: "limits",
        meaning: "what sessions may make Tandem hold in memory",
        keys: LIMITS,
        repeated: false,
    },
    Section {
        name: "cache",
        meaning: "replies that rules keep for others who ask the same (cache of [[rule]])",
        keys: CACHE,
        repeated: false,
    },
    Section {
        name: "server",
        meaning: "one of the pair; while both are writable, the first of the file is the active master",
        keys: SERVER,
        repeated: true,
    },
    Section {
        name: "rule",
        meaning: "what is done about some statements: the first rule whose conditions all hold decides, and those behind it are not tried",
        keys: RULE,
        repeated: true,
    },
    Section {
        name: "mirror",
        meaning: "a server that gets a copy of the reads that a rule says (mirror), to compare its answers with what clients got",
        keys: MIRROR,
        repeated: true,
    },
    Section {
        name: "user",
        meaning: "an account that applications log in with: the same name and password on both servers",
        keys: USER,
        repeated: true,
    },
    Section {
        name: "network",
        meaning: "a network of clients, and what they may have together",
        keys: NETWORK,
        repeated: true,
    },
];

const LISTENER: &[Key] = &[
    required("address", ADDRESS, Restart, "where applications connect"),
    not_set(
        "socket",
        PATH,
        Restart,
        "a Unix socket beside the address, for PHP on the same machine",
    ),
    key(
        "auth",
        <Auth as Scalar>::EXPECTED,
        "config",
        Restart,
        "who may log in: the accounts of [[user]]; \"servers\": whomever the servers let in, too",
    ),
    not_set(
        "rsa_key",
        PATH,
        Restart,
        "the key with which clients without TLS encrypt passwords; not set: another at each start; a file that is not there is made",
    ),
    key(
        "proxy_protocol",
        <Networks as Scalar>::EXPECTED,
        "",
        NewConnections,
        "load balancers that are believed when they say in a PROXY header whose connection it is",
    ),
    key(
        "workers",
        COUNT,
        "0",
        Restart,
        "threads that carry sessions; 0 is one for each core",
    ),
    key(
        "max_connections",
        COUNT,
        "10000",
        AtOnce,
        "sessions at once; the next one is told \"too many connections\" (1040)",
    ),
    key(
        "handshake_timeout",
        DURATION,
        "10s",
        NewConnections,
        "a client that hasn't logged in by then is disconnected",
    ),
    key(
        "failed_logins",
        COUNT,
        "0",
        AtOnce,
        "wrong passwords that a client's address may send in failed_logins_window before it has to wait (1129); 0 is no limit",
    ),
    key(
        "failed_logins_window",
        DURATION,
        "1m",
        AtOnce,
        "the time in which they are counted, and until whose end it waits",
    ),
    key(
        "write_timeout",
        DURATION,
        "60s",
        AtOnce,
        "a client that takes nothing of its reply, or sends nothing more of a command that it began, is disconnected after it",
    ),
    key(
        "idle_timeout",
        DURATION,
        "365d",
        AtOnce,
        "a session that sends nothing for so long is ended, if the servers' wait_timeout doesn't end it sooner",
    ),
    key(
        "shutdown_timeout",
        DURATION,
        "10s",
        AtOnce,
        "how long running statements may go on after SIGTERM",
    ),
    key(
        "local_infile",
        SWITCH,
        "false",
        NewConnections,
        "LOAD DATA LOCAL INFILE is allowed, where the servers allow it",
    ),
    key(
        "compression",
        <Algorithms as Scalar>::EXPECTED,
        "zlib, zstd",
        NewConnections,
        "what clients may use; zstd is offered in front of MySQL only",
    ),
];

const CLIENT_TLS: &[Key] = &[
    key(
        "mode",
        <ClientTlsMode as Scalar>::EXPECTED,
        "preferred",
        NewConnections,
        "clients may use it; \"required\": nobody but the Unix socket's without; \"disabled\". With neither this nor a certificate it is offered in front of MariaDB 11.4 and later only, whose clients expect it",
    ),
    not_set(
        "certificate",
        PATH,
        NewConnections,
        "the certificate, the chain behind it in the same file; without one, Tandem makes one at each start, which nobody has signed",
    ),
    not_set("key", PATH, NewConnections, "its private key"),
    not_set(
        "ca",
        PATH,
        NewConnections,
        "with mode \"required\": clients must show a certificate that it signed",
    ),
    key(
        "min_version",
        <TlsVersion as Scalar>::EXPECTED,
        "1.2",
        NewConnections,
        "the oldest version that is spoken",
    ),
];

const SERVER_TLS: &[Key] = &[
    key(
        "mode",
        <ServerTlsMode as Scalar>::EXPECTED,
        "preferred",
        Among(
            &[
                "disabled",
                "preferred",
                "required",
                "verify_ca",
                "verify_identity",
            ],
            &NewConnections,
        ),
        "where a server offers it, but not to 127.0.0.1; \"required\": no connection without; \"verify_ca\": signed by ca; \
         \"verify_identity\": and for the server's name; \"as_client\" (from and to which it changes after a restart only): for sessions that have come by TLS and no others",
    ),
    not_set(
        "ca",
        PATH,
        NewConnections,
        "the authority that signed the servers' certificates",
    ),
    not_set(
        "certificate",
        PATH,
        NewConnections,
        "for accounts that the servers REQUIRE X509 of",
    ),
    not_set("key", PATH, NewConnections, "its private key"),
    key(
        "min_version",
        <TlsVersion as Scalar>::EXPECTED,
        "1.2",
        NewConnections,
        "the oldest version that is spoken",
    ),
];

const SERVER_COMPRESSION: &[Key] = &[
    key(
        "algorithm",
        <ServerAlgorithm as Scalar>::EXPECTED,
        "none",
        Among(&["none", "zlib", "zstd"], &NewConnections),
        "used with the servers that offer it; \"as_client\" (from and to which it changes after a restart only): what each \
         session's client uses",
    ),
    key(
        "level",
        COUNT,
        "3",
        NewConnections,
        "from 1 to 9 (zlib) or 22 (zstd)",
    ),
    key(
        "threshold",
        SIZE,
        "50",
        NewConnections,
        "what is shorter is sent as it is",
    ),
];

const ADMIN: &[Key] = &[
    required("address", ADDRESS, Restart, "where administrators connect"),
    required(
        "user",
        TEXT,
        NewConnections,
        "the account of the admin port; it exists in Tandem only",
    ),
    required("password", TEXT, NewConnections, "its password").secret(),
    not_set("password_env", TEXT, NewConnections, PASSWORD_ENV),
    not_set("password_file", PATH, NewConnections, PASSWORD_FILE),
    key(
        "watch_file",
        SWITCH,
        "false",
        AtOnce,
        "the configuration file is taken as soon as it changes, as by RELOAD; one with mistakes is not, and the log says why",
    ),
];

const ADMIN_USER: &[Key] = &[
    required("name", TEXT, NewConnections, "as it logs in"),
    required("password", TEXT, NewConnections, "its password").secret(),
    not_set("password_env", TEXT, NewConnections, PASSWORD_ENV),
    not_set("password_file", PATH, NewConnections, PASSWORD_FILE),
    key(
        "rights",
        <Rights as Scalar>::EXPECTED,
        "read",
        NewConnections,
        "\"read\": see the tables; \"act\": change something, which is written down in the table audit",
    ),
];

const MONITOR: &[Key] = &[
    required("user", TEXT, NewConnections, "an account of both servers"),
    required("password", TEXT, NewConnections, "its password").secret(),
    not_set("password_env", TEXT, NewConnections, PASSWORD_ENV),
    not_set("password_file", PATH, NewConnections, PASSWORD_FILE),
    key(
        "interval",
        DURATION,
        "250ms",
        AtOnce,
        "between two probes of a server",
    ),
    key(
        "timeout",
        DURATION,
        "1s",
        AtOnce,
        "a probe that takes longer has failed; at most 20 intervals",
    ),
    key(
        "max_lag",
        DURATION,
        "1s",
        AtOnce,
        "a standby further behind than this takes no reads",
    ),
    key(
        "slow_start",
        DURATION,
        "10s",
        AtOnce,
        "a standby that has taken none gets its share of the reads back over this time",
    ),
    key(
        "definitions_interval",
        DURATION,
        "1m",
        AtOnce,
        "views, triggers and foreign keys are read again at least so often",
    ),
];

const CONSISTENCY: &[Key] = &[
    key(
        "level",
        <Level as Scalar>::EXPECTED,
        "strict",
        AtOnce,
        "what a read sees: every write acknowledged through Tandem before it came, whoever wrote; \"session\": the session's own \
         writes; \"eventual\": whatever a standby within monitor.max_lag has",
    ),
    key(
        "read_wait",
        DURATION,
        "0ms",
        AtOnce,
        "how long a read that the standby may not answer yet waits for it, before the active master answers",
    ),
    key(
        "track_external",
        SWITCH,
        "false",
        Restart,
        "strict reads see what others commit on the active master too, two intervals later at most; with [coordination] true \
         unless it is set",
    ),
    key(
        "track_interval",
        DURATION,
        "10ms",
        Restart,
        "how often it is asked for its position then",
    ),
];

const FAILOVER: &[Key] = &[
    key(
        "mode",
        <FailoverMode as Scalar>::EXPECTED,
        "off",
        Among(&["manual", "automatic"], &AtOnce),
        "\"automatic\": the standby is promoted when the active master is dead; \"manual\": only by SWITCHOVER; \"off\": Tandem follows \
         read_only, which others set; \"follower\": so too, because another Tandem decides, but sessions wait for its decision; from \
         \"automatic\" to \"manual\" and back it changes at once",
    ),
    key(
        "journal",
        PATH,
        "/var/lib/tandem/journal",
        Restart,
        "remembers who is active; synced to disk before each change",
    ),
    key(
        "hang_time",
        DURATION,
        "2s",
        AtOnce,
        "an active master that answers nothing is dead after this; one that refuses connections is at once",
    ),
    key(
        "unreachable_time",
        DURATION,
        "5s",
        AtOnce,
        "the same while the standby still receives from it, and for one that answers but whose writes don't end",
    ),
    key(
        "apply_timeout",
        DURATION,
        "1m",
        AtOnce,
        "for applying what the standby has received; then a failover stops, and says so",
    ),
    key(
        "min_interval",
        DURATION,
        "1m",
        AtOnce,
        "after a failover, the next one is not automatic for so long",
    ),
    key(
        "failback",
        <Failback as Scalar>::EXPECTED,
        "never",
        AtOnce,
        "\"when_healthy\": the first server of the file becomes active again, by a switchover",
    ),
    key(
        "failback_after",
        DURATION,
        "10m",
        AtOnce,
        "with that: when both servers have been up and replicating for so long",
    ),
    not_set(
        "failback_window",
        <DayWindow as Scalar>::EXPECTED,
        AtOnce,
        "and at this time of the day only, by the local clock",
    ),
    key(
        "hold_time",
        DURATION,
        "15s",
        AtOnce,
        "a statement that needs the active master waits so long for one, and then gets an error",
    ),
    key(
        "hold_limit",
        COUNT,
        "10000",
        AtOnce,
        "statements that may wait so; the next one gets the error at once",
    ),
    key(
        "replay_bytes",
        SIZE,
        "1MiB",
        AtOnce,
        "of a transaction's statements, kept for playing it again on the other server",
    ),
    key(
        "switchover_timeout",
        DURATION,
        "10s",
        AtOnce,
        "a switchover waits so long for open transactions; then it is given up, and nothing has changed",
    ),
    not_set(
        "fence_command",
        TEXT,
        AtOnce,
        "what must happen before the standby is promoted, such as switching the dead master's power off; finds TANDEM_SERVER and \
         TANDEM_ADDRESS in its environment; if it does not end with 0, nobody is promoted",
    ),
    not_set(
        "event_command",
        TEXT,
        AtOnce,
        "is run on each event, with TANDEM_EVENT, TANDEM_SERVER and TANDEM_DETAIL in its environment",
    ),
];

const COORDINATION: &[Key] = &[
    not_set(
        "etcd",
        <Urls as Scalar>::EXPECTED,
        Restart,
        "any or all members of one etcd cluster; without them it is off",
    ),
    key(
        "cluster",
        TEXT,
        "tandem",
        Restart,
        "what the keys in etcd begin with: one for each pair",
    ),
    not_set(
        "name",
        TEXT,
        Restart,
        "what this Tandem is called in SHOW FAILOVER; not set: the machine's name and the listener's port",
    ),
    key(
        "lease",
        DURATION,
        "5s",
        Restart,
        "when the deciding Tandem dies, another decides so long after; whole seconds, at least 2",
    ),
    not_set(
        "ca",
        PATH,
        Restart,
        "the authority that signed etcd's certificate, for addresses that begin with https://",
    ),
    not_set(
        "certificate",
        PATH,
        Restart,
        "where etcd wants one of its clients",
    ),
    not_set("key", PATH, Restart, "its private key"),
    not_set("user", TEXT, Restart, "where etcd has accounts"),
    not_set("password", TEXT, Restart, "of that account").secret(),
    not_set("password_env", TEXT, Restart, PASSWORD_ENV),
    not_set("password_file", PATH, Restart, PASSWORD_FILE),
];

const METRICS: &[Key] = &[
    not_set(
        "address",
        ADDRESS,
        Restart,
        "Prometheus reads http://ADDRESS/metrics, and http://ADDRESS/ is the dashboard; not set: no such port",
    ),
    not_set(
        "user",
        TEXT,
        Restart,
        "who may look, by HTTP's Basic authentication; not set: whoever reaches the port; /health and /ready stay open",
    ),
    not_set("password", TEXT, Restart, "of that user").secret(),
    not_set("password_env", TEXT, Restart, PASSWORD_ENV),
    not_set("password_file", PATH, Restart, PASSWORD_FILE),
];

const STATISTICS: &[Key] = &[
    key(
        "enabled",
        SWITCH,
        "true",
        AtOnce,
        "whether statements are counted by their shape",
    ),
    key(
        "digests",
        COUNT,
        "2000",
        AtOnce,
        "shapes that each worker counts apart, 3 KiB each; those not seen for longest are added up in one row",
    ),
];

const STATEMENT_LOG: &[Key] = &[
    not_set(
        "slow_time",
        DURATION,
        AtOnce,
        "what takes longer is logged; not set: nothing is for its time",
    ),
    key(
        "audit",
        <Audit as Scalar>::EXPECTED,
        "off",
        AtOnce,
        "\"writes\" logs whatever is no read, \"all\" everything",
    ),
    not_set(
        "file",
        PATH,
        Restart,
        "where the lines go; it may be moved away at any time; not set: to Tandem's own log",
    ),
    key(
        "literals",
        SWITCH,
        "false",
        AtOnce,
        "the text is logged too as it was sent, with its values, but for statements about passwords",
    ),
];

const TRACING: &[Key] = &[
    not_set(
        "endpoint",
        <Collector as Scalar>::EXPECTED,
        Restart,
        "where the collector takes OTLP over gRPC; not set: there are no spans",
    ),
    key(
        "sample_ratio",
        <Ratio as Scalar>::EXPECTED,
        "0.01",
        AtOnce,
        "how many of the statements have spans, of those whose client names no trace of its own (traceparent)",
    ),
    key(
        "service_name",
        TEXT,
        "tandem",
        Restart,
        "what the spans call Tandem",
    ),
];

const LOG: &[Key] = &[
    key(
        "format",
        <LogFormat as Scalar>::EXPECTED,
        "human",
        Restart,
        "lines to read, or one JSON object a line",
    ),
    key(
        "level",
        <LogFilter as Scalar>::EXPECTED,
        "info",
        AtOnce,
        "what is logged",
    ),
];

const POOL: &[Key] = &[
    key(
        "max_connections",
        COUNT,
        "100",
        AtOnce,
        "to each server, over all workers; below the server's own max_connections",
    ),
    key(
        "queue_timeout",
        DURATION,
        "5s",
        AtOnce,
        "a statement that has waited so long for a connection gets an error",
    ),
    key(
        "queue_limit",
        COUNT,
        "10000",
        AtOnce,
        "statements that may wait for one server; the next one gets an error at once",
    ),
    key(
        "connect_timeout",
        DURATION,
        "3s",
        AtOnce,
        "for connecting to a server, login included",
    ),
    key(
        "idle_timeout",
        DURATION,
        "5m",
        AtOnce,
        "an unused connection is closed after this; below the server's wait_timeout",
    ),
    key(
        "max_prepared",
        COUNT,
        "256",
        NewConnections,
        "prepared statements kept on one connection",
    ),
    key(
        "warm_standby",
        SWITCH,
        "true",
        AtOnce,
        "with [failover], as many connections are kept open to the standby as to the active master, so that a switchover finds them",
    ),
];

const LIMITS: &[Key] = &[
    key(
        "statement_bytes",
        SIZE,
        "1MiB",
        AtOnce,
        "a longer statement isn't analysed: it streams to the active master",
    ),
    key(
        "command_bytes",
        SIZE,
        "1GiB",
        AtOnce,
        "the largest command; servers allow no more than 1 GiB either",
    ),
    key(
        "prepared_statements",
        COUNT,
        "16382",
        AtOnce,
        "prepared statements of one session",
    ),
    key(
        "prepared_bytes",
        SIZE,
        "256MiB",
        AtOnce,
        "that the prepared statements of all sessions take, divided among the workers; one more is refused (1461)",
    ),
    key(
        "recorded_bytes",
        SIZE,
        "256MiB",
        AtOnce,
        "that the open transactions of all sessions take, kept for being played again, divided among the workers; one that finds \
         no room is not kept",
    ),
    key(
        "statement_cache",
        COUNT,
        "10000",
        AtOnce,
        "statement shapes whose analysis a worker keeps",
    ),
    key(
        "user_connections",
        COUNT,
        "0",
        NewConnections,
        "sessions of one account at once, over all workers; the next one is refused (1203); 0: no limit",
    ),
    key(
        "user_statement_rate",
        COUNT,
        "0",
        AtOnce,
        "statements of one account in a second, over all workers; the next one is refused (1226); 0: no limit",
    ),
    key(
        "statement_rate",
        COUNT,
        "0",
        AtOnce,
        "the same of all accounts together",
    ),
    key(
        "idle_transaction_timeout",
        DURATION,
        "0s",
        AtOnce,
        "a session whose transaction is open and that sends nothing for so long is ended, and its transaction rolled back; 0s: no limit",
    ),
    key(
        "statement_timeout",
        DURATION,
        "0s",
        AtOnce,
        "a server that works on one statement for longer is told to stop, the client gets error 1969 (MySQL: 3024), and the \
         session goes on; COMMIT and ROLLBACK take what they take; 0s: no limit",
    ),
    key(
        "transaction_timeout",
        DURATION,
        "0s",
        AtOnce,
        "a transaction that is open for longer is rolled back, also in the middle of a statement; the session's next statement gets \
         error 1213; 0s: no limit",
    ),
    key(
        "session_memory",
        SIZE,
        "2GiB",
        AtOnce,
        "that all sessions hold: what has arrived and is not dealt with, prepared statements, open transactions; divided among the \
         workers; while it is used up, new sessions are refused (1041); 0: no limit",
    ),
];

const SERVER: &[Key] = &[
    required(
        "name",
        TEXT,
        Restart,
        "as metrics, logs and the admin port call it",
    ),
    required(
        "address",
        <Endpoint as Scalar>::EXPECTED,
        Restart,
        "where it is; a name is resolved once, at the start; a server on this machine can be reached by its Unix socket",
    ),
    not_set(
        "tls_name",
        TEXT,
        Restart,
        "the name in its certificate, where that is not the host of its address",
    ),
    key(
        "proxy_protocol",
        SWITCH,
        "false",
        Restart,
        "it is told in a PROXY header where each client comes from, so that the hosts of its accounts mean something; MariaDB only",
    ),
    key(
        "weight",
        COUNT,
        "1",
        AtOnce,
        "its share of the reads beside the other's; 0 takes none",
    ),
];

const USER: &[Key] = &[
    required("name", TEXT, AtOnce, "as the servers know it"),
    required("password", TEXT, AtOnce, "its password on the servers").secret(),
    not_set(
        "password_hash",
        <Hash as Scalar>::EXPECTED,
        AtOnce,
        "the hash that the servers store is enough: Tandem logs in to them by what the clients prove",
    )
    .secret(),
    not_set("password_env", TEXT, AtOnce, PASSWORD_ENV),
    not_set("password_file", PATH, AtOnce, PASSWORD_FILE),
    not_set(
        "local_infile",
        SWITCH,
        NewConnections,
        "overrides listener.local_infile for this account",
    ),
    not_set(
        "consistency",
        <Level as Scalar>::EXPECTED,
        AtOnce,
        "overrides consistency.level for this account",
    ),
    key(
        "replication",
        SWITCH,
        "false",
        AtOnce,
        "it may follow the active master's binlog, as replicas and mariadb-binlog do",
    ),
    not_set(
        "max_connections",
        COUNT,
        NewConnections,
        "overrides limits.user_connections for this account",
    ),
    not_set(
        "statement_rate",
        COUNT,
        AtOnce,
        "overrides limits.user_statement_rate for this account",
    ),
    not_set(
        "statement_timeout",
        DURATION,
        AtOnce,
        "overrides limits.statement_timeout for this account",
    ),
    not_set(
        "transaction_timeout",
        DURATION,
        AtOnce,
        "overrides limits.transaction_timeout for this account",
    ),
    not_set(
        "firewall",
        MODE,
        AtOnce,
        "overrides firewall.mode for this account",
    ),
];

const NETWORK: &[Key] = &[
    required("name", TEXT, NewConnections, "as the table limits calls it"),
    required(
        "addresses",
        <Networks as Scalar>::EXPECTED,
        NewConnections,
        "whose clients these limits are for; a client may be in several",
    ),
    key(
        "max_connections",
        COUNT,
        "0",
        NewConnections,
        "sessions of its clients at once; 0: no limit",
    ),
    key(
        "statement_rate",
        COUNT,
        "0",
        AtOnce,
        "statements of its clients in a second; 0: no limit",
    ),
];
