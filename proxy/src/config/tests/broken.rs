//! Configurations with one mistake each: what is changed in the minimal file, which key is blamed, and a part of the
//! line that must be pointed at. `tail` is appended, for sections that the minimal file hasn't.

use super::{EXAMPLE, MINIMAL};
use crate::config::{Place, parse};

struct Broken {
    from: &'static str,
    to: &'static str,
    tail: &'static str,
    key: &'static str,
    /// The first line that contains this is the one to blame; empty when only the file can be.
    line: &'static str,
    says: &'static str,
}

const fn change(
    from: &'static str,
    to: &'static str,
    key: &'static str,
    line: &'static str,
    says: &'static str,
) -> Broken {
    Broken {
        from,
        to,
        tail: "",
        key,
        line,
        says,
    }
}

/// A line that is added below a section; the line itself is to blame.
const fn add(section: &'static str, line: &'static str, key: &'static str, says: &'static str) -> Broken {
    Broken {
        from: "",
        to: line,
        tail: section,
        key,
        line,
        says,
    }
}

const LISTENER: &str = "address = \"127.0.0.1:6446\"";
const ADMIN: &str = "address = \"127.0.0.1:6447\"";
const FIRST: &str = "address = \"127.0.0.1:3306\"";

#[rustfmt::skip]
const CHANGES: &[Broken] = &[
    // Keys and sections that don't exist.
    change("[listener]", "[listner]", "listner", "[listner]", "did you mean \"listener\"?"),
    change(LISTENER, "adress = \"127.0.0.1:6446\"", "listener.adress", "adress =", "did you mean \"address\"?"),
    change("user = \"tandem\"", "User = \"tandem\"", "monitor.User", "User =", "did you mean \"user\"?"),
    change("[[server]]\nname = \"b\"", "[[servers]]\nname = \"b\"", "servers", "[[servers]]", "did you mean \"server\"?"),
    change("name = \"b\"", "name = \"b\"\nport = 3307", "server.b.port", "port =", "has name, address, tls_name, proxy_protocol, weight"),
    change("name = \"app\"", "name = \"app\"\nhost = \"%\"", "user.app.host", "host =", "has name, password"),
    change("[listener]", "workers = 2\n[listener]", "workers", "workers", "belongs in [listener]"),
    change("[listener]", "\"a.b c\" = 1\n[listener]", "a.b c", "a.b c", "the sections are"),
    // Shapes.
    change("[listener]", "[[listener]]", "listener", "[[listener]]", "a [section]"),
    change("[listener]\naddress = ", "listener = ", "listener", "listener =", "a [section]"),
    change("[[user]]", "[user]", "user", "[user]", "a [[user]] entry"),
    change("[[user]]
name = \"app\"
", "user = \"app\"
", "server.b.user", "user = \"app\"", "has name, address"),
    change("[[user]]", "[[server]]
name = \"c\"
[[user]]", "server.c.address", "127.0.0.1:3307\"+1", "is missing"),
    change("user = \"tandem\"", "user = { name = \"tandem\" }", "monitor.user", "user = {", "single value"),
    change("user = \"tandem\"", "user = [\"tandem\"]", "monitor.user", "user = [", "single value"),
    change(LISTENER, "address.port = 6446", "listener.address", "address.port", "single value"),
    change("[listener]", "[[rule]]\nenabled = true\n[listener]", "rule[0].name", "[[rule]]", "to this [[rule]]"),
    change("[listener]", "[[rule]]\nname = \"r\"\n[[rule]] # 2\nname = \"r\"\n[listener]", "rule.r.name", "[[rule]] # 2+1", "another rule's name already"),
    change("[listener]", "[rule]\nname = \"r\"\n[listener]", "rule", "[rule]", "a [[rule]] entry"),
    // Syntax.
    change("[admin]", "[admin", "file", "[admin", "not valid TOML"),
    change("[admin]", "[listener]", "file", "", "not valid TOML"),
    change("user = \"admin\"", "user = admin", "file", "user = admin", "not valid TOML"),
    change("user = \"admin\"", "user", "file", "user", "not valid TOML"),
    change("user = \"admin\"", "user = \"admin", "file", "user = \"admin", "not valid TOML"),
    change("user = \"admin\"", "user = \"admin\"\nuser = \"root\"", "file", "user = \"root\"", "duplicate key"),
    // Missing.
    change(LISTENER, "", "listener.address", "[listener]", "is missing; add a line such as address = "),
    change(ADMIN, "", "admin.address", "[admin]", "is missing"),
    change("user = \"admin\"", "", "admin.user", "[admin]", "is missing"),
    change("password = \"hunter-admin\"", "", "admin.password", "[admin]", "is missing"),
    change("user = \"tandem\"", "", "monitor.user", "[monitor]", "is missing"),
    change("password = \"hunter-monitor\"", "", "monitor.password", "[monitor]", "is missing"),
    change("name = \"app\"", "", "user[0].name", "[[user]]", "to this [[user]]"),
    change("password = \"hunter-app\"", "", "user.app.password", "[[user]]", "is missing"),
    change("name = \"a\"", "", "server[0].name", "[[server]]", "to this [[server]]"),
    change(FIRST, "", "server.a.address", "[[server]]", "is missing"),
    change("[[user]]\nname = \"app\"\npassword = \"hunter-app\"\n", "", "user", "", "or set listener.auth = \"servers\""),
    change("[listener]\naddress = \"127.0.0.1:6446\"\n", "", "listener.address", "", "below [listener]"),
    // Addresses.
    change("127.0.0.1:6446", "127.0.0.1", "listener.address", "address", "no valid port"),
    change("127.0.0.1:6446", "127.0.0.1:66446", "listener.address", "address", "no valid port"),
    change("127.0.0.1:6446", "no such host:6446", "listener.address", "address", "can't be resolved"),
    change("127.0.0.1:6446", "", "listener.address", "address", "no valid port"),
    change(LISTENER, "address = 6446", "listener.address", "address", "an address with a port"),
    change("127.0.0.1:3306", "run/mysqld.sock", "server.a.address", "mysqld", "has no valid port"),
    change(LISTENER, "address = \"/run/tandem.sock\"", "listener.address", "tandem.sock", "an address with a port"),
    change("[listener]", "[client_tls]\ncertificate = \"/c.pem\"\n[listener]", "client_tls.key", "[client_tls]", "add a line such as key"),
    change("[listener]", "[client_tls]\nkey = \"/k.pem\"\n[listener]", "client_tls.certificate", "[client_tls]", "add a line such as certificate"),
    change("[listener]", "[server_tls]\nmode = \"verify_ca\"\n[listener]", "server_tls.ca", "[server_tls]", "the authority that signed"),
    change("[listener]", "[server_tls]\nmode = \"as_server\"\n[listener]", "server_tls.mode", "as_server", "or \"as_client\""),
    change("[listener]", "[server_tls]\nkey = \"/k.pem\"\n[listener]", "server_tls.certificate", "[server_tls]", "go together"),
    change(LISTENER, "address = \"127.0.0.1:6446\"\nsocket = \"tandem.sock\"", "listener.socket", "socket", "an absolute path"),
    change(LISTENER, "address = \"127.0.0.1:6446\"\nlocal_infile = 1", "listener.local_infile", "local_infile", "true or false"),
    change("name = \"app\"", "name = \"app\"\nreplication = \"slave\"", "user.app.replication", "replication", "true or false"),
    change(LISTENER, "address = \"127.0.0.1:6446\"\ncompression = \"zlib, lz4\"", "listener.compression", "compression", "\"lz4\" is none of these"),
    add("[server_compression]", "algorithm = \"gzip\"", "server_compression.algorithm", "\"none\", \"zlib\", \"zstd\" or \"as_client\""),
    add("[server_compression]\nalgorithm = \"zlib\"", "level = 10", "server_compression.level", "9"),
    add("[server_compression]", "level = 0", "server_compression.level", "22"),
    change("name = \"app\"", "name = \"app\"\nlocal_infile = \"yes\"", "user.app.local_infile", "local_infile", "true or false"),
    change(LISTENER, "address = \"127.0.0.1:6446\"\nproxy_protocol = \"lan\"", "listener.proxy_protocol", "proxy_protocol", "\"lan\" is none"),
    change(FIRST, "address = \"127.0.0.1:3306\"\nproxy_protocol = \"v2\"", "server.a.proxy_protocol", "proxy_protocol", "true or false"),
    change(FIRST, "address = \"127.0.0.1:3306\"\ntls_name = \"a b\"", "server.a.tls_name", "tls_name", "is none"),
    change("127.0.0.1:3306", "mysql://app@db:3306", "server.a.address", "mysql:", "without an account"),
    change("127.0.0.1:3306", "127.0.0.1:0", "server.a.address", "127.0.0.1:0", "needs the server's port"),
    // One address, two uses.
    change("127.0.0.1:6447", "127.0.0.1:6446", "admin.address", ADMIN_CLASH, "is taken by listener.address"),
    change("127.0.0.1:6447", "0.0.0.0:6446", "admin.address", "0.0.0.0", "is taken by listener.address"),
    change("127.0.0.1:3307", "127.0.0.1:3306", "server.b.address", "name = \"b\"+1", "two names for one server"),
    change("127.0.0.1:3307", "localhost:3306", "server.b.address", "localhost", "two names for one server"),
    change("127.0.0.1:3307", "127.0.0.1:6446", "server.b.address", "name = \"b\"+1", "Tandem's own listener.address"),
    change("127.0.0.1:3307", "127.0.0.1:6447", "server.b.address", "name = \"b\"+1", "Tandem's own admin.address"),
    // Names.
    change("name = \"b\"", "name = \"a\"", "server.a.name", SECOND_NAME, "another server's name"),
    change("name = \"b\"", "name = \"A\"", "server.A.name", "name = \"A\"", "another server's name"),
    change("name = \"b\"", "name = \"\"", "server[1].name", "name = \"\"", "must not be empty"),
    change("name = \"b\"", "name = \"node b\"", "server.node b.name", "node b", "letters, digits"),
    change("name = \"b\"", "name = 2", "server[1].name", "name = 2", "a string in quotes"),
    change("name = \"app\"", "name = \"\"", "user[0].name", "name = \"\"", "must not be empty"),
    change("user = \"tandem\"", "user = \"\"", "monitor.user", "user = \"\"", "must not be empty"),
    change("user = \"admin\"", "user = \"\"", "admin.user", "user = \"\"", "must not be empty"),
    change("hunter-admin", "", "admin.password", "password = \"\"", "must not be empty"),
    change("\"hunter-admin\"", "1234", "admin.password", "password = 1234", "a string in quotes"),
    // Weights.
    change(FIRST, "address = \"127.0.0.1:3306\"\nweight = -1", "server.a.weight", "weight", "isn't negative"),
    change(FIRST, "address = \"127.0.0.1:3306\"\nweight = 1001", "server.a.weight", "weight", "from 0 to 1000"),
    change(FIRST, "address = \"127.0.0.1:3306\"\nweight = 0.5", "server.a.weight", "weight", "whole number"),
];

/// Where a mistake is the second of two equal lines, the line after a unique one is given as `…+1`.
const ADMIN_CLASH: &str = "[admin]+1";
const SECOND_NAME: &str = "address = \"127.0.0.1:3306\"+2";

#[rustfmt::skip]
const ADDITIONS: &[Broken] = &[
    // Rules.
    add("[[rule]]\nname = \"r\"", "pattern = \"(a\"", "rule.r.pattern", "unclosed group"),
    add("[[rule]]\nname = \"r\"", "pattern = \"(a{1000}){1000}\"", "rule.r.pattern", "size limit"),
    add("[[rule]]\nname = \"r\"", "kind = \"reads\"", "rule.r.kind", "is none of empty, select"),
    add("[[rule]]\nname = \"r\"", "digest = \"12\"", "rule.r.digest", "16 hexadecimal digits"),
    add("[[rule]]\nname = \"r\"", "tables = \"a.b.c\"", "rule.r.tables", "\"a.b.c\" is none"),
    add("[[rule]]\nname = \"r\"", "user = \"a,,b\"", "rule.r.user", "a name or several"),
    add("[[rule]]\nname = \"r\"", "client = \"lan\"", "rule.r.client", "\"lan\" is none"),
    add("[[rule]]\nname = \"r\"", "listener = \"tls\"", "rule.r.listener", "\"address\" or \"socket\""),
    add("[[rule]]\nname = \"r\"", "hint = \"a b\"", "rule.r.hint", "at most 31 letters"),
    add("[[rule]]\nname = \"r\"", "attribute = \"=x\"", "rule.r.attribute", "a query attribute"),
    add("[[rule]]\nname = \"r\"", "time = \"night\"", "rule.r.time", "a part of the day"),
    add("[[rule]]\nname = \"r\"", "percent = 101", "rule.r.percent", "from 0 to 100, not 101"),
    add("[[rule]]\nname = \"r\"", "target = \"master\"", "rule.r.target", "which is no server; write \"active\""),
    add("[[rule]]\nname = \"r\"", "consistency = \"stale\"", "rule.r.consistency", "\"eventual\""),
    add("[[rule]]\nname = \"r\"", "wait = \"5m\"", "rule.r.wait", "from 0ms to 1m, not 5m"),
    add("[[rule]]\nname = \"r\"", "timeout = \"2d\"", "rule.r.timeout", "from 0ms to 1d, not 2d"),
    add("[[rule]]\nname = \"r\"", "retry = \"always\"", "rule.r.retry", "\"deadlocks\""),
    add("[[rule]]\nname = \"r\"", "max_rows = -1", "rule.r.max_rows", "isn't negative"),
    add("[[rule]]\nname = \"r\"", "max_bytes = \"1MB\"", "rule.r.max_bytes", "write KiB, MiB or GiB"),
    add("[[rule]]\nname = \"r\"", "rate = \"0/s\"", "rule.r.rate", "such as \"50/s\""),
    add("[[rule]]\nname = \"r\"", "rate = \"5/day\"", "rule.r.rate", "such as \"50/s\""),
    add("[[rule]]\nname = \"r\"", "rate_wait = \"1s\"", "rule.r.rate_wait", "has no sense without rate"),
    add("[[rule]]\nname = \"r\"", "rewrite_from = \"a\"", "rule.r.rewrite_from", "has no sense without rewrite"),
    add("[[rule]]\nname = \"r\"", "users = \"a\"", "rule.r.users", "did you mean \"user\"?"),
    add("[[rule]]\nname = \"r\"\nrefuse = \"no\"", "target = \"any\"", "rule.r.target", "has no sense beside refuse"),
    add("[[rule]]\nname = \"r\"", "refuse = \"two\\nlines\"", "rule.r.refuse", "must be one line"),
    add("[[rule]]\nname = \"r\"", "mirror = \"next\"", "rule.r.mirror", "there is no mirror; add a [[mirror]] of that name"),
    add("[[mirror]]\nname = \"m\"\nserver = \"b\"\nuser = \"m\"\npassword = \"m\"\n[[rule]]\nname = \"r\"", "mirror = \"n\"", "rule.r.mirror", "no mirror; write one of \"m\""),
    add("[[mirror]]\nname = \"m\"\nserver = \"b\"\nuser = \"m\"\npassword = \"m\"\n[[rule]]\nname = \"r\"\nkind = \"write\"", "mirror = \"m\"", "rule.r.mirror", "only pure reads are mirrored"),
    // Mirrors.
    add("[[mirror]]\nname = \"m\"\nserver = \"b\"\nuser = \"m\"\npassword = \"m\"", "connections = 0", "mirror.m.connections", "from 1 to 1000, not 0"),
    add("[[mirror]]\nname = \"m\"\nserver = \"b\"\nuser = \"m\"\npassword = \"m\"", "address = \"127.0.0.1:3309\"", "mirror.m.address", "is given beside server"),
    add("[[mirror]]\nname = \"m\"\nuser = \"m\"\npassword = \"m\"", "server = \"c\"", "mirror.m.server", "no server; write one of \"a"),
    add("[listener]", "workers = \"many\"", "listener.workers", "whole number"),
    add("[listener]", "workers = 2000", "listener.workers", "from 0 to 1024, not 2000"),
    add("[listener]", "workers = true", "listener.workers", "whole number"),
    add("[listener]", "workers = \"yes\"", "listener.workers", "whole number"),
    add("[listener]", "max_connections = 0", "listener.max_connections", "from 1 to 1000000"),
    add("[listener]", "handshake_timeout = 10", "listener.handshake_timeout", "the unit is missing"),
    add("[listener]", "handshake_timeout = \"0s\"", "listener.handshake_timeout", "from 10ms to 1d, not 0ms"),
    add("[listener]", "auth = \"server\"", "listener.auth", "\"config\" or \"servers\""),
    add("[listener]", "failed_logins = \"many\"", "listener.failed_logins", "whole number"),
    add("[listener]", "failed_logins = 1000001", "listener.failed_logins", "from 0 to 1000000"),
    add("[listener]", "failed_logins_window = \"10ms\"", "listener.failed_logins_window", "from 1s to 1d"),
    add("[listener]", "write_timeout = \"60\"", "listener.write_timeout", "the unit is missing"),
    add("[listener]", "idle_timeout = \"8 hours\"", "listener.idle_timeout", "a duration such as"),
    add("[listener]", "idle_timeout = \"1000d\"", "listener.idle_timeout", "from 10ms to 365d"),
    add("[listener]", "shutdown_timeout = \"-1s\"", "listener.shutdown_timeout", "a duration such as"),
    add("[listener]", "queue_limit = 5", "listener.queue_limit", "belongs in [pool]"),
    add("[listener]", "timeout = \"5s\"", "listener.timeout", "belongs in [monitor]"),
    add("[monitor]", "interval = \"1ms\"", "monitor.interval", "from 10ms to 1m, not 1ms"),
    add("[monitor]", "interval = 1979-05-27", "monitor.interval", "a duration such as"),
    add("[monitor]", "timeout = \"6s\"", "monitor.timeout", "more than 20 times monitor.interval"),
    add("[monitor]", "timeout = \"2m\"", "monitor.timeout", "from 10ms to 1m, not 2m"),
    add("[monitor]", "max_lag = \"soon\"", "monitor.max_lag", "a duration such as"),
    add("[monitor]", "max-lag = \"1s\"", "monitor.max-lag", "did you mean \"max_lag\"?"),
    add("[metrics]", "address = 9446", "metrics.address", "an address with a port"),
    add("[metrics]", "address = \"127.0.0.1:6447\" # m", "metrics.address", "is taken by admin.address"),
    add("[metrics]", "user = \"o:p\"\npassword = \"x\"", "metrics.user", "a colon"),
    add("[metrics]", "user = \"operator\"", "", "metrics.password is missing"),
    add("[metrics]", "password = \"x\"", "", "metrics.user is missing"),
    add("[metrics]", "path = \"/metrics\"", "metrics.path", "[metrics] has address"),
    add("[log]", "format = \"xml\"", "log.format", "\"human\" or \"json\""),
    add("[log]", "level = \"inof\"", "log.level", "did you mean \"info\"?"),
    add("[log]", "level = \"tandem\"", "log.level", "tandem::monitor=debug"),
    add("[log]", "level = \"tandem=loud\"", "log.level", "must be error, warn"),
    add("[log]", "level = \"\"", "log.level", "must be error, warn"),
    add("[pool]", "max_connections = 0", "pool.max_connections", "from 1 to 100000, not 0"),
    add("[pool]", "max_conections = 9", "pool.max_conections", "did you mean \"max_connections\"?"),
    add("[pool]", "queue_timeout = \"2d\"", "pool.queue_timeout", "from 0ms to 1d, not 2d"),
    add("[pool]", "queue_limit = -5", "pool.queue_limit", "whole number"),
    add("[pool]", "connect_timeout = \"3 s s\"", "pool.connect_timeout", "a duration such as"),
    add("[pool]", "idle_timeout = 5.5", "pool.idle_timeout", "a duration such as"),
    add("[pool]", "max_prepared = 70000", "pool.max_prepared", "from 0 to 65536"),
    add("[limits]", "statement_bytes = \"1MB\"", "limits.statement_bytes", "write KiB, MiB or GiB"),
    add("[limits]", "statement_bytes = \"128MiB\"", "limits.statement_bytes", "from 1KiB to 64MiB, not 128MiB"),
    add("[limits]", "command_bytes = \"512KiB\"", "", "more than limits.command_bytes (512KiB)"),
    add("[limits]", "command_bytes = \"2GiB\"", "limits.command_bytes", "from 64KiB to 1GiB, not 2GiB"),
    add("[limits]", "command_bytes = true", "limits.command_bytes", "a size such as"),
    add("[limits]", "prepared_statements = 0", "limits.prepared_statements", "from 1 to 1048576"),
    add("[limits]", "prepared_bytes = \"2KiB\"", "limits.prepared_bytes", "from 1MiB to 1024GiB, not 2KiB"),
    add("[limits]", "prepared_bytes = \"1MiB\"", "", "must have room for a statement of limits.statement_bytes (1MiB)"),
    add("[limits]", "recorded_bytes = 5.5", "limits.recorded_bytes", "a size such as"),
    add("[cache]", "bytes = 5", "cache.bytes", "from 64KiB to 1024GiB, not 5"),
    add("[cache]", "reply_bytes = \"1GiB\"", "cache.reply_bytes", "from 1KiB to 8MiB, not 1GiB"),
    add("[limits]", "statement_cache = 0", "limits.statement_cache", "from 1 to 10000000"),
    add("[[user]]", "name = \"app\" # again", "", "is there already"),
    add("[[user]]", "nmae = \"second\"", "user[1].nmae", "did you mean \"name\"?"),
    add("[client_tls]", "mode = \"yes\"", "client_tls.mode", "\"preferred\""),
    add("[client_tls]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"", "ca = \"/ca.pem\"", "client_tls.ca", "set that to \"required\""),
    add("[client_tls]", "min_version = \"1.1\"", "client_tls.min_version", "\"1.2\" or \"1.3\""),
    add("[server_tls]", "ca = \"/ca.pem\"", "server_tls.ca", "is not looked at unless"),
    add("[coordination]", "etcd = \"etcd:2379\"", "coordination.etcd", "neither http:// nor https://"),
    add("[coordination]", "etcd = [\"http://e\"]", "coordination.etcd", "no valid host and port"),
    add("[coordination]", "etcd = [\"http://u:p@e:1\"]", "coordination.etcd", "coordination.user and password"),
    add("[coordination]", "etcd = [\"http://e:1\", \"https://f:1\"]", "coordination.etcd", "all by https://"),
    add("[coordination]", "etcd = [1]", "coordination.etcd", "a string in quotes"),
    add("[coordination]", "etcd = [\"http://e:1\"]", "coordination.etcd", "failover.mode is \"off\""),
    add("[coordination]", "etcd = \"https://e:1\"", "", "add ca = "),
    add("[failover]\nmode = \"automatic\"\n[coordination]\netcd = \"http://e:1\"", "lease = \"1s\"", "coordination.lease", "from 2s to 1m, not 1s"),
    add("[failover]\nmode = \"automatic\"\n[coordination]\netcd = \"http://e:1\"", "lease = \"2500ms\"", "coordination.lease", "whole seconds"),
    add("[failover]\nmode = \"automatic\"\n[coordination]\netcd = \"http://e:1\"", "cluster = \"a/b\"", "coordination.cluster", "letters, digits"),
    add("[failover]\nmode = \"automatic\"\n[coordination]\netcd = \"http://e:1\"", "password = \"x\"", "", "the etcd account"),
    add("[coordination]", "key = \"/k.pem\"", "", "go together"),
    add("[coordination]", "names = \"one\"", "coordination.names", "did you mean \"name\"?"),
    add("[monitor]", "etcd = \"http://e:1\"", "monitor.etcd", "belongs in [coordination]"),
];

/// The minimal file with the mistake in it.
fn broken(case: &Broken) -> String {
    if case.from.is_empty() {
        let (section, line) = (case.tail, case.to);
        if MINIMAL.contains(&format!("\n{section}\n")) && !section.starts_with("[[") {
            MINIMAL.replacen(section, &format!("{section}\n{line}"), 1)
        } else {
            format!("{MINIMAL}{section}\n{line}\n")
        }
    } else {
        assert!(MINIMAL.contains(case.from), "{}", case.from);
        MINIMAL.replacen(case.from, case.to, 1)
    }
}

fn line_of(toml: &str, wanted: &str) -> Option<usize> {
    let (wanted, further) = match wanted.rsplit_once('+') {
        Some((wanted, further)) => (wanted, further.parse().unwrap()),
        None => (wanted, 0),
    };
    let found = toml.lines().position(|line| line.contains(wanted));
    found.map(|index| index + 1 + further)
}

fn is_blamed(case: &Broken) -> Result<(), String> {
    let toml = broken(case);
    let Err(problems) = parse(&toml) else {
        return Err(format!("{} / {} is accepted", case.from, case.to));
    };
    let line = (!case.line.is_empty())
        .then(|| line_of(&toml, case.line))
        .flatten();
    let blamed = problems.iter().any(|problem| {
        let at = match problem.place {
            Place::File { line, .. } => line,
            _ => None,
        };
        (case.key.is_empty() || problem.key == case.key)
            && (line.is_none() || at == line || case.key.is_empty())
            && problem.to_string().contains(case.says)
    });
    if blamed {
        Ok(())
    } else {
        Err(format!(
            "{} / {}: expected {} in line {line:?} saying {:?}, got\n{problems}",
            case.from, case.to, case.key, case.says
        ))
    }
}

#[test]
fn every_mistake_is_blamed_on_its_key_and_line() {
    let cases: Vec<&Broken> = CHANGES.iter().chain(ADDITIONS).collect();
    assert!(cases.len() >= 60, "{}", cases.len());
    let failures: Vec<String> = cases
        .into_iter()
        .filter_map(|case| is_blamed(case).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_mistake_has_no_echo() {
    // Each of these used to be a candidate for being reported twice, once by the key and once by a comparison.
    for (from, to) in [
        ("127.0.0.1:3307", "nowhere"),
        ("127.0.0.1:6447", "127.0.0.1:6446"),
        ("name = \"b\"", "name = \"\""),
        ("user = \"admin\"", "user = [\"admin\"]"),
        ("[listener]", "[[listener]]"),
    ] {
        let problems = parse(&MINIMAL.replacen(from, to, 1)).unwrap_err();
        assert_eq!(problems.len(), 1, "{from} → {to}: {problems}");
    }
}

#[test]
fn three_servers_are_one_too_many_and_none_is_too_few() {
    let third = format!("{MINIMAL}[[server]]\nname = \"c\"\naddress = \"127.0.0.1:3308\"\n");
    let text = parse(&third).unwrap_err().to_string();
    assert!(
        text.contains(":20: server.c") && text.contains("Tandem is for pairs"),
        "{text}"
    );
    let none = MINIMAL.split("[[server]]").next().unwrap_or_default();
    let text = format!("{none}[[user]]\nname = \"app\"\npassword = \"x\"\n");
    let text = parse(&text).unwrap_err().to_string();
    assert!(text.contains("add two [[server]] entries"), "{text}");
}

#[test]
fn workers_need_connections() {
    for (toml, key) in [
        ("[pool]\nmax_connections = 7\n", "pool.max_connections"),
        ("[log]\n", "listener.max_connections"),
    ] {
        let listener = match key {
            "listener.max_connections" => "[listener]\nworkers = 8\nmax_connections = 7",
            _ => "[listener]\nworkers = 8",
        };
        let toml = MINIMAL.replace("[listener]", listener) + toml;
        let text = parse(&toml).unwrap_err().to_string();
        assert!(
            text.contains(key) && text.contains("listener.workers is 8"),
            "{text}"
        );
    }
}

#[test]
fn no_truncation_and_no_removed_line_panics() {
    for end in 0..EXAMPLE.len() {
        if let Some(text) = EXAMPLE.get(..end) {
            let _ = parse(text);
        }
    }
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for removed in 0..lines.len() {
        let rest: Vec<&str> = [&lines[..removed], &lines[removed + 1..]].concat();
        let _ = parse(&rest.join("\n"));
    }
}
