//! The keys that exist, for refusing those that don't, with the nearest that does.

use super::problem::Fault;

/// A table of the file and its keys.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) keys: &'static [&'static str],
    /// Written `[[name]]`, once for each entry; entries have a `name`.
    pub(super) repeated: bool,
}

impl Section {
    pub(super) fn shape(&self) -> &'static str {
        match self.name {
            "server" => "a [[server]] entry (two brackets), one for each server, with keys below it",
            "user" => "a [[user]] entry (two brackets), one for each account, with keys below it",
            _ => "a [section] (single brackets, once) with keys below it",
        }
    }
}

pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "listener",
        keys: &[
            "address",
            "socket",
            "auth",
            "rsa_key",
            "proxy_protocol",
            "workers",
            "max_connections",
            "handshake_timeout",
            "failed_logins",
            "failed_logins_window",
            "write_timeout",
            "idle_timeout",
            "shutdown_timeout",
            "local_infile",
            "compression",
        ],
        repeated: false,
    },
    Section {
        name: "client_tls",
        keys: &["mode", "certificate", "key", "ca", "min_version"],
        repeated: false,
    },
    Section {
        name: "server_tls",
        keys: &["mode", "ca", "certificate", "key", "min_version"],
        repeated: false,
    },
    Section {
        name: "server_compression",
        keys: &["algorithm", "level", "threshold"],
        repeated: false,
    },
    Section {
        name: "admin",
        keys: &["address", "user", "password", "password_env", "password_file"],
        repeated: false,
    },
    Section {
        name: "monitor",
        keys: &[
            "user",
            "password",
            "password_env",
            "password_file",
            "interval",
            "timeout",
            "max_lag",
            "slow_start",
            "definitions_interval",
        ],
        repeated: false,
    },
    Section {
        name: "consistency",
        keys: &["level", "read_wait", "track_external", "track_interval"],
        repeated: false,
    },
    Section {
        name: "failover",
        keys: &[
            "mode",
            "journal",
            "hang_time",
            "unreachable_time",
            "apply_timeout",
            "min_interval",
            "failback",
            "failback_after",
            "failback_window",
            "hold_time",
            "hold_limit",
            "replay_bytes",
            "switchover_timeout",
            "fence_command",
            "event_command",
        ],
        repeated: false,
    },
    Section {
        name: "coordination",
        keys: &[
            "etcd",
            "cluster",
            "name",
            "lease",
            "ca",
            "certificate",
            "key",
            "user",
            "password",
            "password_env",
            "password_file",
        ],
        repeated: false,
    },
    Section {
        name: "metrics",
        keys: &["address"],
        repeated: false,
    },
    Section {
        name: "log",
        keys: &["format", "level"],
        repeated: false,
    },
    Section {
        name: "pool",
        keys: &[
            "max_connections",
            "queue_timeout",
            "queue_limit",
            "connect_timeout",
            "idle_timeout",
            "max_prepared",
        ],
        repeated: false,
    },
    Section {
        name: "limits",
        keys: &[
            "statement_bytes",
            "command_bytes",
            "prepared_statements",
            "prepared_bytes",
            "recorded_bytes",
            "statement_cache",
        ],
        repeated: false,
    },
    Section {
        name: "server",
        keys: &["name", "address", "tls_name", "proxy_protocol", "weight"],
        repeated: true,
    },
    Section {
        name: "user",
        keys: &[
            "name",
            "password",
            "password_hash",
            "password_env",
            "password_file",
            "local_infile",
            "consistency",
            "replication",
        ],
        repeated: true,
    },
];

pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// Whether a key may hold several values, `["…", "…"]`.
pub(super) fn is_list(section: &Section, key: &str) -> bool {
    (section.name, key) == ("coordination", "etcd")
}

/// Why `key` isn't one of `section`'s, and which one was probably meant.
pub(super) fn unknown_key(section: &Section, key: &str) -> Fault {
    let advice = if let Some(near) = nearest(key, section.keys) {
        format!("did you mean {near:?}?")
    } else if let Some(home) = home_of(key) {
        format!("{key:?} belongs in [{home}]")
    } else {
        format!("[{}] has {}", section.name, section.keys.join(", "))
    };
    Fault::UnknownKey(advice)
}

/// Why no section is called this, and which one was probably meant.
pub(super) fn unknown_section(name: &str) -> Fault {
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    let advice = if let Some(near) = nearest(name, &names) {
        format!("did you mean {near:?}?")
    } else if let Some(home) = home_of(name) {
        format!("{name:?} belongs in [{home}]")
    } else {
        format!("the sections are {}", names.join(", "))
    };
    Fault::UnknownKey(advice)
}

/// The only section that has exactly this key.
fn home_of(key: &str) -> Option<&'static str> {
    let mut homes = SECTIONS.iter().filter(|section| section.keys.contains(&key));
    match (homes.next(), homes.next()) {
        (Some(home), None) => Some(home.name),
        _ => None,
    }
}

/// The closest of `candidates`, if it is close enough to be a slip of the finger.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let slack = word.len().div_ceil(3).min(3);
    candidates
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= slack)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein: how many letters must be added, removed or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(from != *to)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            left = cost;
            *cell = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("adress", "address", 1),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} → {b}");
        }
    }

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = section("listener").map(|s| s.keys).unwrap();
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("max-connections", keys), Some("max_connections"));
        assert_eq!(nearest("IDLE_TIMEOUT", keys), Some("idle_timeout"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
