//! `[[mirror]]`, and that rules name one.

use std::time::Duration;

use super::{Check, LONGEST_NAME, MILLISECOND, MINUTE, show_duration, show_size};
use crate::config::layers::entry_key;
use crate::config::problem::Fault;
use crate::config::rule::Rule;
use crate::config::{Config, Mirror};
use crate::net::address::Endpoint;

impl Check<'_> {
    pub(super) fn mirrors(&mut self, config: &Config) {
        for (index, mirror) in config.mirrors.iter().enumerate() {
            self.mirror(index, mirror, config);
        }
    }

    fn mirror(&mut self, index: usize, mirror: &Mirror, config: &Config) {
        let key = |key: &str| entry_key("mirror", index, key);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if mirror.name.is_empty() {
            self.fault(&key("name"), &[], Fault::Empty("give the mirror a short name"));
        } else if mirror.name.len() > LONGEST_NAME || !mirror.name.chars().all(allowed) {
            let fault = Fault::Invalid(format!(
                "must be at most {LONGEST_NAME} letters, digits, \"-\", \"_\" and \".\", since it appears in metrics"
            ));
            self.fault(&key("name"), &[], fault);
        } else {
            let earlier = config.mirrors[..index].iter().map(|other| &*other.name);
            self.first_of_its_name(&key("name"), &mirror.name, earlier);
        }
        if let Some(server) = &mirror.server {
            let names = config.server_names();
            if !names.contains(server) {
                let names = names.join("\", \"");
                let fault = Fault::Contradiction(format!(
                    "is {server:?}, which is no server; write one of \"{names}\", or an address"
                ));
                self.fault(&key("server"), &[], fault);
            }
        } else if matches!(mirror.address, Endpoint::Tcp(address) if address.port() == 0) {
            let fault = Fault::Invalid("needs the server's port, for instance 3306".to_owned());
            self.fault(&key("address"), &[], fault);
        }
        if mirror.user.is_empty() {
            let advice = "name an account of the mirror that may read what is mirrored";
            self.fault(&key("user"), &[], Fault::Empty(advice));
        }
        let show = |count: usize| count.to_string();
        self.range(&key("connections"), mirror.connections, (1, 1000), show);
        self.range(&key("queue_length"), mirror.queue_length, (1, 1_000_000), show);
        let sizes = (64 << 10, 1 << 30);
        self.range(&key("queue_bytes"), mirror.queue_bytes, sizes, show_size);
        let times = (10 * MILLISECOND, 10 * MINUTE);
        self.range(&key("timeout"), mirror.timeout, times, show_duration);
        let times = (Duration::ZERO, MINUTE);
        self.range(&key("second_look"), mirror.second_look, times, show_duration);
    }

    /// That what a rule calls its mirror is one, and gets something from it.
    pub(super) fn mirror_of(&mut self, index: usize, rule: &Rule, config: &Config) {
        let Some(name) = &rule.actions.mirror else { return };
        let key = entry_key("rule", index, "mirror");
        if !config.mirrors.iter().any(|mirror| mirror.name == *name) {
            let names: Vec<&str> = config.mirrors.iter().map(|mirror| &*mirror.name).collect();
            let fault = Fault::Contradiction(match names.is_empty() {
                true => format!("is {name:?}, and there is no mirror; add a [[mirror]] of that name"),
                false => format!(
                    "is {name:?}, which is no mirror; write one of \"{}\"",
                    names.join("\", \"")
                ),
            });
            self.fault(&key, &[], fault);
        }
        if let Some(kinds) = &rule.conditions.kind
            && !kinds.0.iter().any(|kind| ["read", "select"].contains(kind))
        {
            let fault = Fault::Contradiction(format!(
                "has no sense beside kind = \"{}\": only pure reads are mirrored; remove it, or write kind = \"read\"",
                kinds.0.join(", ")
            ));
            self.fault(&key, &[&entry_key("rule", index, "kind")], fault);
        }
    }
}
