//! What can only be judged of a rule as a whole, and of all of them.

use std::collections::HashSet;
use std::time::Duration;

use super::{Check, DAY, MINUTE, show_duration};
use crate::config::Config;
use crate::config::layers::entry_key;
use crate::config::problem::Fault;
use crate::config::rule::{Aim, Rule};

/// Most rules: a statement looks at a bit of each.
const MOST_RULES: usize = 4096;
const LONGEST_NAME: usize = 64;
/// What fits into an error packet, with room for the rest of it.
const LONGEST_MESSAGE: usize = 400;

impl Check<'_> {
    pub(super) fn rules(&mut self, config: &Config) {
        if config.rules.len() > MOST_RULES {
            let fault = Fault::Contradiction(format!(
                "is one of {} rules, and there can be {MOST_RULES}; remove some, or take several names into one rule",
                config.rules.len()
            ));
            self.fault(&entry_key("rule", MOST_RULES, "name"), &[], fault);
        }
        let mut names = HashSet::new();
        for (index, rule) in config.rules.iter().enumerate() {
            let key = entry_key("rule", index, "name");
            let is_plain = |c: char| c.is_alphanumeric() || " -_.".contains(c);
            if rule.name.is_empty() {
                self.fault(&key, &[], Fault::Empty("give the rule a short name"));
            } else if rule.name.len() > LONGEST_NAME || !rule.name.chars().all(is_plain) {
                let fault = Fault::Invalid(format!(
                    "must be at most {LONGEST_NAME} letters, digits, blanks, \"-\", \"_\" and \".\", since it appears in \
                     errors and logs"
                ));
                self.fault(&key, &[], fault);
            } else if !names.insert(rule.name.as_str()) {
                let fault = Fault::Contradiction(format!(
                    "{:?} is another rule's name already; give each its own",
                    rule.name
                ));
                self.fault(&key, &[], fault);
            }
            self.rule(index, rule, config);
        }
    }

    fn rule(&mut self, index: usize, rule: &Rule, config: &Config) {
        let key = |key: &str| entry_key("rule", index, key);
        if let Some(percent) = rule.conditions.percent {
            self.range(&key("percent"), percent, (0, 100), |percent| percent.to_string());
        }
        if let Some(wait) = rule.actions.wait {
            self.range(&key("wait"), wait, (Duration::ZERO, MINUTE), show_duration);
        }
        if let Some(lifetime) = rule.actions.cache {
            let bounds = (Duration::from_millis(1), DAY);
            self.range(&key("cache"), lifetime, bounds, show_duration);
        }
        if let Some(timeout) = rule.actions.timeout {
            self.range(&key("timeout"), timeout, (Duration::ZERO, DAY), show_duration);
        }
        if let Some(wait) = rule.actions.rate_wait {
            self.range(&key("rate_wait"), wait, (Duration::ZERO, MINUTE), show_duration);
        }
        for (name, other, missing) in [
            (
                "rate_wait",
                "rate",
                rule.actions.rate_wait.is_some() && rule.actions.rate.is_none(),
            ),
            (
                "rewrite_from",
                "rewrite",
                rule.actions.rewrite_from.is_some() && rule.actions.rewrite.is_none(),
            ),
        ] {
            if missing {
                let fault = Fault::Contradiction(format!(
                    "has no sense without {other}; give that too, or remove it"
                ));
                self.fault(&key(name), &[&key(other)], fault);
            }
        }
        if let Some(Aim::Server(name)) = &rule.actions.target
            && !config.servers.iter().any(|server| server.name == *name)
        {
            let names = config.server_names().join("\", \"");
            let fault = Fault::Contradiction(format!(
                "is {name:?}, which is no server; write \"active\", \"standby\", \"any\" or one of \"{names}\""
            ));
            self.fault(&key("target"), &[], fault);
        }
        self.mirror_of(index, rule, config);
        let Some(message) = &rule.actions.refuse else {
            return;
        };
        if message.len() > LONGEST_MESSAGE || message.chars().any(char::is_control) {
            let fault = Fault::Invalid(format!("must be one line of at most {LONGEST_MESSAGE} bytes"));
            self.fault(&key("refuse"), &[], fault);
        }
        let given = rule.actions.given();
        let mut others = given
            .iter()
            .filter(|(action, _)| !["refuse", "log"].contains(action));
        if let Some((other, _)) = others.next() {
            let fault = Fault::Contradiction(
                "has no sense beside refuse: what is refused is sent nowhere; remove one of them".to_owned(),
            );
            self.fault(&key(other), &[&key("refuse")], fault);
        }
    }
}

/// What is allowed but probably not meant.
pub(super) fn warn(config: &Config, warn: &mut impl FnMut(&str, &str)) {
    let is_open = |rule: &Rule| rule.enabled && rule.conditions.given().is_empty();
    let open = config.rules.iter().position(is_open);
    if let Some(open) = open
        && open + 1 < config.rules.len()
    {
        warn(
            &entry_key("rule", open, "name"),
            "has no condition, so that every statement meets it and no rule behind it is ever tried; give it one, or put \
             it last",
        );
    }
}
