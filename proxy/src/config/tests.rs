mod broken;
mod passwords;

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use super::*;

const EXAMPLE: &str = include_str!("../../../tandem.example.toml");

/// The shape that others start Tandem with: it has to load with nothing else.
const MINIMAL: &str = r#"
[listener]
address = "127.0.0.1:6446"
[admin]
address = "127.0.0.1:6447"
user = "admin"
password = "hunter-admin"
[monitor]
user = "tandem"
password = "hunter-monitor"
[[server]]
name = "a"
address = "127.0.0.1:3306"
[[server]]
name = "b"
address = "127.0.0.1:3307"
[[user]]
name = "app"
password = "hunter-app"
"#;

fn clear(password: &str) -> Password {
    Password::Clear(Secret::new(password))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Loads `toml` from a file only its owner can read.
fn load_from(toml: &str, environment: &[(&str, &str)], overrides: &[&str]) -> Result<Loaded, Problems> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    load_with_warnings(&Sources {
        file: Some(file.path().to_owned()),
        ..outside(environment, overrides)
    })
}

fn outside(environment: &[(&str, &str)], overrides: &[&str]) -> Sources {
    Sources {
        file: None,
        environment: environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        overrides: overrides.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn only(result: Result<Loaded, Problems>) -> Problem {
    let problems = result.map(|_| ()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems}");
    problems.iter().next().cloned().unwrap()
}

#[test]
fn the_minimal_file_loads_with_the_documented_defaults() {
    let server = |name: &str, address: &str| Server {
        name: name.to_owned(),
        address: addr(address).into(),
        tls_name: addr(address).ip().to_string(),
        proxy_protocol: false,
        weight: 1,
    };
    let expected = Config {
        listener: Listener {
            address: addr("127.0.0.1:6446"),
            socket: None,
            auth: Auth::Config,
            rsa_key: None,
            proxy_protocol: Networks::default(),
            workers: 0,
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            failed_logins: 0,
            failed_logins_window: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(365 * 24 * 3600),
            shutdown_timeout: Duration::from_secs(10),
            local_infile: false,
            compression: Algorithms(vec![Algorithm::Zlib, Algorithm::Zstd]),
        },
        client_tls: Some(ClientTls {
            required: false,
            as_servers: true,
            identity: None,
            ca: None,
            min_version: TlsVersion::V1_2,
        }),
        server_tls: ServerTls {
            mode: ServerTlsMode::Preferred,
            ca: None,
            certificate: None,
            key: None,
            min_version: TlsVersion::V1_2,
        },
        server_compression: ServerCompression {
            algorithm: ServerAlgorithm::Always(None),
            level: 3,
            threshold: 50,
        },
        admin: Admin {
            watch_file: false,
            address: addr("127.0.0.1:6447"),
            user: "admin".to_owned(),
            password: Secret::new("hunter-admin"),
        },
        monitor: Monitor {
            user: "tandem".to_owned(),
            password: Secret::new("hunter-monitor"),
            interval: Duration::from_millis(250),
            timeout: Duration::from_secs(1),
            max_lag: Duration::from_secs(1),
            slow_start: Duration::from_secs(10),
            definitions_interval: Duration::from_secs(60),
        },
        consistency: Consistency {
            level: Level::Strict,
            read_wait: Duration::ZERO,
            track_external: false,
            track_interval: Duration::from_millis(10),
        },
        failover: None,
        coordination: None,
        metrics: Metrics {
            address: None,
            account: None,
        },
        log: Log {
            format: LogFormat::Human,
            level: "info".to_owned(),
        },
        pool: Pool {
            max_connections: 100,
            queue_timeout: Duration::from_secs(5),
            queue_limit: 10_000,
            connect_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(300),
            max_prepared: 256,
            warm_standby: true,
        },
        limits: Limits {
            statement_bytes: 1 << 20,
            command_bytes: 1 << 30,
            prepared_statements: 16_382,
            prepared_bytes: 256 << 20,
            recorded_bytes: 256 << 20,
            statement_cache: 10_000,
            user_connections: 0,
            user_statement_rate: 0,
            statement_rate: 0,
            idle_transaction_timeout: Duration::ZERO,
            statement_timeout: Duration::ZERO,
            transaction_timeout: Duration::ZERO,
            session_memory: 2 << 30,
        },
        cache: Cache {
            bytes: 64 << 20,
            reply_bytes: 256 << 10,
        },
        statistics: Statistics {
            enabled: true,
            digests: 2000,
        },
        tracing: Tracing {
            endpoint: None,
            sample_ratio: 0.01,
            service_name: "tandem".to_owned(),
        },
        statement_log: StatementLog {
            slow_time: None,
            audit: Audit::Off,
            file: None,
            literals: false,
        },
        firewall: Firewall {
            mode: FirewallMode::Off,
            file: "/var/lib/tandem/firewall".into(),
            digests: 10_000,
            bytes: 16 << 20,
            listed: 1000,
        },
        servers: vec![server("a", "127.0.0.1:3306"), server("b", "127.0.0.1:3307")],
        users: vec![User {
            name: "app".to_owned(),
            password: clear("hunter-app"),
            local_infile: None,
            consistency: None,
            replication: false,
            max_connections: None,
            statement_rate: None,
            statement_timeout: None,
            transaction_timeout: None,
            firewall: None,
        }],
        networks: Vec::new(),
        mirrors: Vec::new(),
        admin_users: Vec::new(),
        rules: Rules::default(),
        panic_on: None,
    };
    assert_eq!(parse(MINIMAL), Ok(expected));
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let shown = parse(EXAMPLE).unwrap();
    let mut keys = 0;
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains("  # ") => {
                keys += 1;
                setting
            }
            _ => line,
        })
        .collect();
    let all: usize = schema::SECTIONS.iter().map(|s| s.keys.len()).sum();
    // 13 keys are set, name and address of a server twice, and weight and metrics.address are told in other ways.
    assert!(keys >= 20, "{keys} of {all}");
    assert_eq!(parse(&uncommented.join("\n")), Ok(shown));
    for section in schema::SECTIONS {
        for key in section.keys {
            let name = key.name;
            assert!(EXAMPLE.contains(&format!("{name} = ")), "{}.{name}", section.name);
        }
    }
}

/// The example and the reference say the same of a key that is not set.
#[test]
fn the_defaults_of_the_example_are_those_of_the_schema() {
    let mut section = None;
    let mut compared = 0;
    for line in EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = schema::section(name.trim_matches(['[', ']']));
        }
        let shown = line
            .strip_prefix("# ")
            .filter(|setting| setting.contains("  # ") || setting.ends_with('"'));
        let Some((name, value)) = shown.and_then(|setting| setting.split_once(" = ")) else {
            continue;
        };
        let Some(key) = section.and_then(|section| section.key(name)) else {
            continue;
        };
        if let schema::Preset::Value(default) = key.default {
            let value = value.split("  ").next().unwrap_or_default();
            assert_eq!(value.trim_matches('"'), default, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn inline_and_dotted_forms_are_the_same_to_us() {
    let dotted = r#"
listener.address = "127.0.0.1:6446"
admin = { address = "127.0.0.1:6447", user = "admin", password = "hunter-admin" }
monitor = { user = "tandem", password = "hunter-monitor" }
server = [{ name = "a", address = "127.0.0.1:3306" }, { name = "b", address = "localhost:3307", tls_name = "127.0.0.1" }]
user = [{ name = "app", password = "hunter-app" }]
"#;
    assert_eq!(parse(dotted), parse(MINIMAL));
}

#[test]
fn the_environment_is_over_the_file_and_the_command_line_over_both() {
    let environment = [
        ("PATH", "/bin"),
        ("TANDEM_LISTENER__WORKERS", "3"),
        ("TANDEM_LISTENER__IDLE_TIMEOUT", "5m"),
        ("TANDEM_METRICS__ADDRESS", "127.0.0.1:9446"),
        ("TANDEM_MONITOR__PASSWORD", "12345"),
        ("TANDEM_SERVER__B__WEIGHT", "7"),
        ("TANDEM_USER__APP__PASSWORD", "from=environment"),
        ("TANDEM_LOG__FORMAT", "json"),
    ];
    let overrides = [
        "listener.workers=4",
        "listener.workers=5",
        "server.a.address=10.0.0.1:3306",
        "limits.statement_bytes=2MiB",
    ];
    let config = load_from(MINIMAL, &environment, &overrides).unwrap().config;
    assert_eq!(config.listener.workers, 5);
    assert_eq!(config.listener.idle_timeout, Duration::from_secs(300));
    assert_eq!(config.listener.address, addr("127.0.0.1:6446"));
    assert_eq!(config.metrics.address, Some(addr("127.0.0.1:9446")));
    assert_eq!(config.monitor.password.reveal(), "12345");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.servers[0].address, addr("10.0.0.1:3306").into());
    assert_eq!(config.servers[1].address, addr("127.0.0.1:3307").into());
    assert_eq!(config.servers[1].weight, 7);
    assert_eq!(config.users[0].password, clear("from=environment"));
    assert_eq!(config.limits.statement_bytes, 2 << 20);
}

#[test]
fn an_empty_variable_switches_metrics_off() {
    let toml = format!("{MINIMAL}[metrics]\naddress = \"127.0.0.1:1\"\n");
    let config = load_from(&toml, &[("TANDEM_METRICS__ADDRESS", "")], &[]);
    assert_eq!(config.unwrap().config.metrics.address, None);
}

#[test]
fn a_whole_configuration_can_come_from_the_environment() {
    let environment = [
        ("TANDEM_LISTENER__ADDRESS", "127.0.0.1:6446"),
        ("TANDEM_ADMIN__ADDRESS", "127.0.0.1:6447"),
        ("TANDEM_ADMIN__USER", "admin"),
        ("TANDEM_ADMIN__PASSWORD", "hunter-admin"),
        ("TANDEM_MONITOR__USER", "tandem"),
        ("TANDEM_MONITOR__PASSWORD", "hunter-monitor"),
        ("TANDEM_SERVER__B__ADDRESS", "127.0.0.1:3307"),
        ("TANDEM_SERVER__A__ADDRESS", "127.0.0.1:3306"),
        ("TANDEM_USER__APP__PASSWORD", "hunter-app"),
    ];
    assert_eq!(load(&outside(&environment, &[])), parse(MINIMAL));
}

#[test]
fn names_from_the_environment_find_their_entries() {
    let toml = MINIMAL.replace("\"app\"", "\"Wp-App.x\"");
    let environment = [("TANDEM_USER__WP_APP_X__PASSWORD", "new")];
    let config = load_from(&toml, &environment, &["user.Wp-App.x.password=newer"]);
    let users = config.unwrap().config.users;
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].password, clear("newer"));
}

#[test]
fn what_the_environment_gets_wrong_is_reported_under_its_name() {
    for (name, value, expected) in [
        ("TANDEM_LISTENER__ADRESS", "x", "did you mean \"address\"?"),
        ("TANDEM_LISTNER__ADDRESS", "x", "did you mean \"listener\"?"),
        ("TANDEM_LISTENER_ADDRESS", "x", "TANDEM_LISTENER__ADDRESS"),
        ("TANDEM_LISTENER", "x", "name one of its keys"),
        ("TANDEM_COLOUR", "red", "the sections are"),
        ("TANDEM_SERVER__ADDRESS", "x", "SERVER__NAME__ADDRESS"),
        ("TANDEM_SERVER__A__NAME", "x", "can't be changed"),
        ("TANDEM_LISTENER__WORKERS", "many", "whole number"),
        ("TANDEM_SERVER__A__ADDRESS", "10.0.0.1", "no valid port"),
        ("TANDEM_POOL__IDLE_TIMEOUT", "300", "the unit is missing"),
    ] {
        let problem = only(load_from(MINIMAL, &[(name, value)], &[]));
        assert_eq!(problem.place, Place::Environment(name.to_owned()));
        let text = problem.to_string().to_uppercase();
        assert!(text.contains(&expected.to_uppercase()), "{name}: {problem}");
        assert!(text.contains(name), "{problem}");
    }
}

#[test]
fn what_the_command_line_gets_wrong_is_reported_as_its_option() {
    for (option, place, expected) in [
        (
            "listener.adress=x",
            "listener.adress",
            "did you mean \"address\"?",
        ),
        ("adress=x", "adress", "the sections are"),
        ("server.address=x", "server.address", "server.NAME.address"),
        ("server.a.name=x", "server.a.name", "can't be changed"),
        ("listener.x.address=y", "listener.x.address", "is not known"),
        ("listener.workers=-1", "listener.workers", "whole number"),
        (
            "server.b.weight=5000",
            "server.b.weight",
            "from 0 to 1000, not 5000",
        ),
        (
            "server.c.address=127.0.0.1:3308",
            "server.c.address",
            "Tandem is for pairs",
        ),
        ("hunter2", "(number 1)", "has no \"=\""),
    ] {
        let problem = only(load_from(MINIMAL, &[], &[option]));
        assert_eq!(problem.place, Place::Option(place.to_owned()), "{option}");
        let text = problem.to_string();
        assert!(text.contains(expected), "{option}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let environment = [
        ("TANDEM_CONFIG", "/etc/tandem.toml"),
        ("TANDEM_PORT", "tcp://10.0.0.1:6446"),
        ("TANDEM_PORT_6446_TCP_ADDR", "10.0.0.1"),
        ("TANDEM_SERVICE_HOST", "10.0.0.1"),
        ("TANDEM_TEST_KEEP", "1"),
    ];
    let loaded = load_from(MINIMAL, &environment, &[]).unwrap();
    assert_eq!(Ok(loaded.config), parse(MINIMAL));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}

#[test]
fn two_entries_that_a_variable_cannot_tell_apart_are_a_problem() {
    let toml = format!("{MINIMAL}[[user]]\nname = \"APP\"\npassword = \"x\"\n");
    assert!(parse(&toml).is_ok(), "MySQL's user names are case-sensitive");
    let problem = only(load_from(&toml, &[("TANDEM_USER__APP__PASSWORD", "y")], &[]));
    assert!(problem.to_string().contains("could mean several"), "{problem}");
}

#[test]
fn everything_wrong_is_reported_at_once_in_the_order_of_the_file() {
    let toml = MINIMAL
        .replace("127.0.0.1:6446", "nowhere")
        .replace("user = \"tandem\"\n", "")
        .replace("3307", "3306")
        + "[pool]\nqueue_limt = 5\n";
    let problems = load_from(&toml, &[("TANDEM_X", "")], &["limits.command_bytes=1"])
        .map(|_| ())
        .unwrap_err();
    let found: Vec<(&str, Option<usize>)> = problems
        .iter()
        .map(|problem| {
            let line = match problem.place {
                Place::File { line, .. } => line,
                _ => None,
            };
            (problem.key.as_str(), line)
        })
        .collect();
    let expected = [
        ("listener.address", Some(3)),
        ("monitor.user", Some(8)),
        ("server.b.address", Some(15)),
        ("pool.queue_limt", Some(20)),
        ("TANDEM_X", None),
        ("limits.command_bytes", None),
    ];
    assert_eq!(found, expected, "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_problem() {
    for path in ["/nowhere/tandem.toml", "/", "/dev/zero"] {
        let sources = Sources {
            file: Some(path.into()),
            ..outside(&[], &[])
        };
        let text = only(load_with_warnings(&sources)).to_string();
        assert!(text.starts_with(path), "{text}");
    }
}

#[test]
fn without_any_source_the_way_out_is_told() {
    let problems = load(&Sources::default()).unwrap_err();
    assert!(problems.len() >= 8, "{problems}");
    assert!(problems.to_string().contains("--config"), "{problems}");
}

#[test]
fn what_is_allowed_but_not_meant_is_a_warning() {
    let toml = MINIMAL
        .replace("hunter-admin", "…")
        .replace("hunter-app", "")
        .replace("[[server]]\nname = \"b\"\naddress = \"127.0.0.1:3307\"\n", "");
    let warnings = load_from(&toml, &[], &["monitor.password=changeme"])
        .unwrap()
        .warnings;
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    let expected = [
        "monitor.password",
        "admin.password",
        "monitor.password",
        "user.app.password",
        "server",
    ];
    assert_eq!(keys, expected, "{warnings}");
    // On the servers too, an account may have no password.
    let toml = MINIMAL.replace("hunter-monitor", "");
    let warnings = load_from(&toml, &[], &[]).unwrap().warnings;
    let keys: Vec<&str> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(keys, ["monitor.password"], "{warnings}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(MINIMAL.as_bytes()).unwrap();
    let warnings = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        let sources = Sources {
            file: Some(file.path().to_owned()),
            ..Sources::default()
        };
        load_with_warnings(&sources).unwrap().warnings.len()
    };
    assert_eq!(warnings(0o644), 1);
    assert_eq!(warnings(0o640), 0);
    assert_eq!(warnings(0o600), 0);
}

#[test]
fn a_worker_is_never_without_a_connection() {
    let mut config = parse(MINIMAL).unwrap();
    assert_eq!(config.worker_count(4), 4);
    assert_eq!(config.worker_count(0), 1);
    assert_eq!(config.worker_count(256), 100);
    config.listener.workers = 7;
    assert_eq!(config.worker_count(4), 7);
}
