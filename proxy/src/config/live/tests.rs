use super::*;
use crate::config::schema::{Effect, Preset, SECTIONS};

const FILE: &str = r#"
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
weight = 2
[[user]]
name = "app"
password = "hunter-app"
"#;

struct Disk {
    file: tempfile::NamedTempFile,
    live: Live,
}

impl Disk {
    fn new(toml: &str) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), toml).expect("written");
        let sources = Sources {
            file: Some(file.path().to_owned()),
            ..Sources::default()
        };
        let live = Live::new(sources).expect("right");
        Self { file, live }
    }

    /// What a reload of this text changes; it is taken.
    fn reload(&mut self, toml: &str) -> Result<Vec<String>, Problems> {
        std::fs::write(self.file.path(), toml).expect("written");
        let next = self.live.reload()?;
        Ok(self.take(next))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Vec<String>, Problems> {
        let next = self.live.set(&[Assignment {
            key: key.to_owned(),
            value: Some(value.to_owned()),
        }])?;
        Ok(self.take(next))
    }

    fn take(&mut self, next: Next) -> Vec<String> {
        let told = next.changes().iter().map(|change| {
            let (before, after) = (change.before.as_deref(), change.after.as_deref());
            let acts = change.effect.name();
            format!(
                "{} {} → {} {acts}",
                change.key,
                before.unwrap_or("-"),
                after.unwrap_or("-")
            )
        });
        let told = told.collect();
        self.live.take(next, Local::now());
        told
    }
}

#[test]
fn what_needs_a_restart_stays_and_is_told_each_time() {
    let mut disk = Disk::new(FILE);
    let other = FILE
        .replace("6446", "6448")
        .replace("weight = 2", "weight = 3")
        .replace("hunter-app", "hunter-new");
    for (round, expected) in [
        (
            1,
            vec![
                "listener.address 127.0.0.1:6446 → 127.0.0.1:6448 after a restart",
                "server.b.weight 2 → 3 at once",
                "user.app.password *** → *** at once",
            ],
        ),
        (
            2,
            vec!["listener.address 127.0.0.1:6446 → 127.0.0.1:6448 after a restart"],
        ),
    ] {
        assert_eq!(disk.reload(&other).expect("right"), expected, "round {round}");
        let config = disk.live.config();
        assert_eq!(config.listener.address.port(), 6446);
        assert_eq!(config.servers[1].weight, 3);
        assert!(format!("{config:?}").contains("***"));
    }
    assert_eq!(disk.reload(FILE).expect("right").len(), 2, "and back");
}

/// Who decides is settled at the start, whether that is done without being asked is not.
#[test]
fn some_values_need_a_restart_and_others_of_the_same_key_do_not() {
    let mut disk = Disk::new(&format!("{FILE}[failover]\nmode = \"automatic\"\n"));
    let automatic = |disk: &Disk| {
        let failover = disk.live.config().failover.as_ref();
        failover.map(|failover| failover.automatic)
    };
    assert_eq!(
        disk.set("failover.mode", "manual").expect("right"),
        ["failover.mode automatic → manual at once"]
    );
    assert_eq!(automatic(&disk), Some(false));
    assert_eq!(
        disk.set("failover.mode", "off").expect("right"),
        ["failover.mode manual → off after a restart"]
    );
    assert_eq!(automatic(&disk), Some(false));
    // Whatever waits for the restart.
    assert_eq!(
        disk.set("failover.mode", "automatic").expect("right"),
        ["failover.mode off → automatic at once"]
    );
    assert_eq!(automatic(&disk), Some(true));

    let mut disk = Disk::new(FILE);
    assert_eq!(
        disk.set("failover.mode", "manual").expect("right"),
        ["failover.mode off → manual after a restart"]
    );
    assert_eq!(automatic(&disk), None);
}

#[test]
fn entries_come_and_go() {
    let mut disk = Disk::new(FILE);
    let more = format!("{FILE}[[user]]\nname = \"two\"\npassword = \"x\"\n");
    assert_eq!(disk.reload(&more).expect("right"), ["user.two - → (new) at once"]);
    assert_eq!(disk.live.config().users.len(), 2);
    assert_eq!(
        disk.reload(FILE).expect("right"),
        ["user.two (there) → - at once"]
    );
    let renamed = FILE.replace("name = \"b\"", "name = \"c\"");
    let told = disk.reload(&renamed).expect("right");
    assert_eq!(
        told,
        [
            "server.c - → (new) after a restart",
            "server.b (there) → - after a restart"
        ]
    );
    assert_eq!(disk.live.config().server_names(), ["a", "b"]);
    // The weight is found by the name, wherever the entry stands.
    let (head, servers) = FILE.split_once("[[server]]\n").expect("servers");
    let (a, rest) = servers.split_once("[[server]]\n").expect("two");
    let (b, user) = rest.split_once("[[user]]").expect("users");
    let b = b.replace("weight = 2", "weight = 9");
    let turned = format!("{head}[[server]]\n{b}[[server]]\n{a}[[user]]{user}");
    let told = disk.reload(&turned).expect("right");
    assert_eq!(
        told,
        [
            "server.b.weight 2 → 9 at once",
            "server a, b → b, a after a restart"
        ]
    );
    let config = disk.live.config();
    assert_eq!((config.servers[0].weight, config.servers[1].weight), (1, 9));
}

#[test]
fn a_wrong_file_changes_nothing() {
    let mut disk = Disk::new(FILE);
    let before = disk.live.config().clone();
    let wrong = FILE.replace("weight = 2", "weight = 3\nwait = 1");
    let problems = disk.reload(&wrong).expect_err("wrong").to_string();
    assert!(problems.contains(":18: server.b.wait is not known"), "{problems}");
    assert_eq!(*disk.live.config(), before);
    std::fs::remove_file(disk.file.path()).expect("removed");
    let gone = disk.live.reload().map(drop).expect_err("gone").to_string();
    assert!(gone.contains("can't be read"), "{gone}");
}

#[test]
fn what_is_set_is_checked_like_the_file_and_goes_with_a_reload() {
    let mut disk = Disk::new(FILE);
    assert_eq!(
        disk.set("server.b.weight", "5").expect("right"),
        ["server.b.weight 2 → 5 at once"]
    );
    assert_eq!(
        disk.set("pool.queue_limit", "7").expect("right"),
        ["pool.queue_limit 10000 → 7 at once"]
    );
    assert_eq!(disk.live.config().servers[1].weight, 5);
    for (key, value, problem) in [
        (
            "pool.queue_limit",
            "many",
            "SET pool.queue_limit: pool.queue_limit must be a whole number",
        ),
        (
            "pool.max_connections",
            "0",
            "SET pool.max_connections: pool.max_connections must be from 1 to",
        ),
        ("pool.nothing", "0", "is not known"),
        ("server.c.weight", "1", "names no server; there are a, b"),
        ("server.b.name", "c", "can't be changed from outside"),
        ("limits", "1", "is a section"),
    ] {
        let problems = disk.set(key, value).expect_err(key).to_string();
        assert!(problems.contains(problem), "{problems}");
    }
    assert_eq!(disk.live.config().pool.queue_limit, 7);
    // What waits for a restart is told once by SET, and differs until it is saved.
    assert_eq!(
        disk.set("log.format", "json").expect("right"),
        ["log.format human → json after a restart"]
    );
    assert_eq!(
        disk.set("pool.queue_limit", "8").expect("right"),
        ["pool.queue_limit 7 → 8 at once"]
    );
    let differs = disk.live.differences().expect("right");
    let keys: Vec<&str> = differs.iter().map(|known| known.change.key.as_str()).collect();
    assert_eq!(keys, ["pool.queue_limit", "server.b.weight", "log.format"]);
    assert_eq!(
        disk.reload(FILE).expect("right"),
        [
            "pool.queue_limit 8 → 10000 at once",
            "server.b.weight 5 → 2 at once"
        ]
    );
}

/// Whether each key that the schema lets act at once does, and the others stay.
#[test]
fn each_key_does_as_the_schema_says() {
    let file = format!(
        "{FILE}password_env = \"\"\n[failover]\nmode = \"manual\"\n[coordination]\netcd = [\"http://127.0.0.1:1\"]\n"
    )
    .replace("password_env = \"\"\n", "");
    for (key, value) in [
        ("listener.address", "127.0.0.1:1"),
        ("listener.idle_timeout", "5m"),
        ("listener.workers", "2"),
        ("admin.user", "root"),
        ("monitor.user", "root"),
        ("monitor.max_lag", "2s"),
        ("consistency.level", "session"),
        ("failover.mode", "automatic"),
        ("failover.hold_time", "3s"),
        ("failover.hang_time", "3s"),
        ("failover.failback", "when_healthy"),
        ("failover.replay_bytes", "2MiB"),
        ("coordination.cluster", "other"),
        ("log.level", "debug"),
        ("log.format", "json"),
        ("pool.max_prepared", "1"),
        ("limits.statement_cache", "77"),
        ("server.a.weight", "3"),
        ("server.a.proxy_protocol", "true"),
        ("user.app.consistency", "eventual"),
        ("user.new.password", "x"),
    ] {
        let mut disk = Disk::new(&file);
        let before = disk.live.config().clone();
        disk.set(key, value).expect(key);
        let (section, rest) = key.split_once('.').expect("a key");
        let name = rest.rsplit('.').next().expect("a name");
        let known = schema::section(section)
            .and_then(|section| section.key(name))
            .expect("known");
        let acts = known.effect != Effect::Restart;
        assert_eq!(*disk.live.config() != before, acts, "{key}");
    }
}

/// A default that is written down acts as if it were not.
#[test]
fn the_defaults_of_the_schema_are_those_that_act() {
    let plain = crate::config::parse(FILE).expect("right");
    for section in SECTIONS {
        for key in section.keys {
            let Preset::Value(default) = key.default else {
                continue;
            };
            // Said, it means more than where nothing is said.
            if (section.name, key.name) == ("client_tls", "mode") {
                continue;
            }
            let entry = match section.name {
                "server" => ".a",
                "user" => ".app",
                _ if section.repeated => continue,
                _ => "",
            };
            let label = format!("{}{entry}.{}", section.name, key.name);
            let mut disk = Disk::new(FILE);
            let weight = label == "server.a.weight";
            assert_eq!(
                disk.set(&label, default)
                    .unwrap_or_else(|problems| panic!("{problems}")),
                [""; 0]
            );
            assert!(weight || *disk.live.config() == plain, "{label} = {default}");
        }
    }
}

/// The type that the schema tells is the one that is read.
#[test]
fn the_types_of_the_schema_are_those_that_are_read() {
    let mut wrong = Vec::new();
    for section in SECTIONS {
        for key in section.keys {
            let entry = match section.name {
                "server" => ".a",
                "user" => ".app",
                _ if section.repeated => continue,
                _ => "",
            };
            let label = format!("{}{entry}.{}", section.name, key.name);
            let told = match Disk::new(FILE).set(&label, "\u{0}") {
                Ok(told) => format!("{told:?}"),
                Err(problems) => problems.to_string(),
            };
            // Of an address it is only told what that must be.
            let right = [
                key.kind.get(..20).unwrap_or(key.kind),
                "zero byte",
                "can't be changed from outside",
                "is given beside",
            ];
            if !right.iter().any(|right| told.contains(right)) {
                wrong.push(format!("{label}: {told}, not {}", key.kind));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
