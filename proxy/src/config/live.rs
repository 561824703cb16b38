//! The configuration of a running Tandem: what it runs by, what the file says, and what was set beside it; and how a new one is
//! taken: read whole, checked whole, and then either all of it or nothing. Pure but for the reading.
//!
//! Two are kept. The wanted one is what Tandem would begin with if it were started now. The running one is the same but for the
//! keys that need a restart, which are as they were at the start. Both have to be right for a change to be taken.

mod save;
mod show;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Local};

use super::layers::Origins;
use super::parts::{self, Change, Part};
use super::problem::{Fault, Place, Problem, Problems};
use super::schema::{self, Preset};
use super::{Config, Sources, overrides};

pub use self::show::{Difference, Row};

/// A configuration and what it was made of.
#[derive(Clone)]
struct Version {
    config: Config,
    parts: Vec<Part>,
}

impl Version {
    fn of_section(&self, name: &str) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.section.name == name)
    }
}

/// See the module.
#[derive(Clone)]
pub struct Live {
    /// `None`: it was not read from anything.
    sources: Option<Sources>,
    /// By `SET`: labels and values, the last of a key only.
    set: Vec<(String, String)>,
    wanted: Version,
    running: Version,
    changed_at: BTreeMap<String, DateTime<Local>>,
    warnings: Problems,
}

/// `key = value`, as `SET` says it; the default without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub key: String,
    pub value: Option<String>,
}

/// What [`Live::take`] makes of it.
pub struct Next {
    set: Vec<(String, String)>,
    wanted: Version,
    running: Version,
    warnings: Problems,
    changes: Vec<Change>,
}

impl Next {
    /// What is to act from now on.
    pub fn config(&self) -> Arc<Config> {
        Arc::new(self.running.config.clone())
    }

    /// Against what acted before; what needs a restart is among them.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What is right, but probably not meant.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// It can't be taken after all: what a key names can't be used.
    pub fn refused_for(&self, (key, why): (&str, String)) -> Problems {
        let given = |part: &Part| {
            let of_part = part
                .section
                .keys
                .iter()
                .find(|known| part.label(known.name) == key)?;
            part.place(of_part).cloned()
        };
        Problems::from(Problem {
            key: key.to_owned(),
            place: self.wanted.parts.iter().find_map(given).unwrap_or(Place::Nowhere),
            fault: Fault::Invalid(why),
        })
    }
}

impl Live {
    /// # Errors
    /// All that is wrong.
    pub fn new(sources: Sources) -> Result<Self, Problems> {
        let (version, warnings) = read(&sources, None, &[])?;
        Ok(Self {
            sources: Some(sources),
            set: Vec::new(),
            wanted: version.clone(),
            running: version,
            changed_at: BTreeMap::new(),
            warnings,
        })
    }

    /// One that was made, not read, and stays as it is.
    pub fn fixed(config: Config) -> Self {
        let version = Version {
            config,
            parts: Vec::new(),
        };
        Self {
            sources: None,
            set: Vec::new(),
            wanted: version.clone(),
            running: version,
            changed_at: BTreeMap::new(),
            warnings: Problems::default(),
        }
    }

    /// What acts.
    pub fn config(&self) -> &Config {
        &self.running.config
    }

    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    pub fn file(&self) -> Option<PathBuf> {
        self.sources.as_ref()?.file.clone()
    }

    /// Reads the file again. What was set beside it goes: the file is the truth.
    ///
    /// # Errors
    /// All that is wrong; or that there is no file.
    pub fn reload(&self) -> Result<Next, Problems> {
        self.next(Vec::new(), &self.running)
    }

    /// The same file, environment and options as before, and these keys beside them.
    ///
    /// # Errors
    /// All that would be wrong then.
    pub fn set(&self, changes: &[Assignment]) -> Result<Next, Problems> {
        let mut set = self.set.clone();
        for Assignment { key, value } in changes {
            self.is_there(key)?;
            set.retain(|(known, _)| known != key);
            let value = value.clone().unwrap_or_else(|| default(key).to_owned());
            set.push((key.clone(), value));
        }
        self.next(set, &self.wanted)
    }

    /// From now on this one acts.
    pub fn take(&mut self, next: Next, now: DateTime<Local>) {
        for change in next.changes.iter().filter(|change| change.acts()) {
            self.changed_at.insert(change.key.clone(), now);
        }
        self.set = next.set;
        self.wanted = next.wanted;
        self.running = next.running;
        self.warnings = next.warnings;
    }

    /// `before` is what the changes are told against.
    fn next(&self, set: Vec<(String, String)>, before: &Version) -> Result<Next, Problems> {
        let sources = self.sources.as_ref().ok_or_else(no_sources)?;
        let (wanted, warnings) = read(sources, None, &set)?;
        let running = self.until_the_restart(&wanted, sources)?;
        let changes = parts::changes(&before.parts, &wanted.parts, &self.running.parts);
        Ok(Next {
            changes: changes
                .into_iter()
                .chain(other_passwords(
                    &self.running.config,
                    &running.config,
                    &wanted.parts,
                ))
                .collect(),
            set,
            wanted,
            running,
            warnings,
        })
    }

    /// What of `wanted` can act before Tandem is started again.
    fn until_the_restart(&self, wanted: &Version, sources: &Sources) -> Result<Version, Problems> {
        let parts = parts::held_back(&self.running.parts, &wanted.parts);
        let (tree, origins) = parts::joined(&parts, sources.file.as_deref());
        let mut problems = Problems::default();
        let mut config = super::assembled(&tree, &origins, &sources.environment, &mut problems);
        if !problems.is_empty() {
            problems.sort();
            return Err(problems);
        }
        let before = &self.running.config;
        config.panic_on = before.panic_on;
        if config.rules == before.rules {
            // What has been let through by their rates goes on to count.
            config.rules = before.rules.clone();
        }
        for server in &mut config.servers {
            // Names are resolved once, at the start.
            let known = before.servers.iter().find(|known| known.name == server.name);
            if let Some(known) = known {
                server.address = known.address.clone();
            }
        }
        Ok(Version { config, parts })
    }

    /// A server is not made by setting one of its keys.
    fn is_there(&self, key: &str) -> Result<(), Problems> {
        let (section, rest) = key.split_once('.').unwrap_or((key, ""));
        let is_fixed = schema::section(section).is_some_and(parts::fixed_entries);
        let name = rest.rsplit_once('.').map_or("", |(name, _)| name);
        let entries = self.running.of_section(section);
        let names: Vec<&str> = entries.filter_map(|part| part.name.as_deref()).collect();
        if !is_fixed || name.is_empty() || names.contains(&name) {
            return Ok(());
        }
        Err(Problems::from(Problem {
            key: key.to_owned(),
            place: Place::Set(key.to_owned()),
            fault: Fault::Invalid(format!("names no {section}; there are {}", names.join(", "))),
        }))
    }
}

/// Nothing, for a key that has none: what must be set is refused then, and what need not is not set.
fn default(key: &str) -> &'static str {
    let section = key.split('.').next().and_then(schema::section);
    let key = section.and_then(|section| section.key(key.rsplit('.').next()?));
    match key.map(|key| key.default) {
        Some(Preset::Value(default)) => default,
        _ => "",
    }
}

fn no_sources() -> Problems {
    Problems::from(Problem {
        key: "file".to_owned(),
        place: Place::Nowhere,
        fault: Fault::Missing("this Tandem was started without one, so there is nothing to read".to_owned()),
    })
}

/// `text` stands in for the file's.
fn read(
    sources: &Sources,
    text: Option<&str>,
    set: &[(String, String)],
) -> Result<(Version, Problems), Problems> {
    let (mut layers, mut problems, mut warnings) = super::layered(sources, text)?;
    overrides::add_set(&mut layers, set, &mut problems);
    let (tree, origins) = layers.merge();
    let config = super::assembled(&tree, &origins, &sources.environment, &mut problems);
    super::check::warn(&config, &origins, &mut warnings);
    if !problems.is_empty() {
        problems.sort();
        return Err(problems);
    }
    let parts = parts::of(&tree, &origins);
    Ok((Version { config, parts }, warnings))
}

/// Passwords that are others now though no key says so: those of `password_file`.
fn other_passwords(before: &Config, after: &Config, parts: &[Part]) -> Vec<Change> {
    let mut keys = Vec::new();
    if before.admin.password != after.admin.password {
        keys.push("admin.password_file".to_owned());
    }
    if before.monitor.password != after.monitor.password {
        keys.push("monitor.password_file".to_owned());
    }
    for user in &after.users {
        let known = before.users.iter().find(|known| known.name == user.name);
        if known.is_some_and(|known| known.password != user.password) {
            keys.push(format!("user.{}.password_file", user.name));
        }
    }
    for mirror in &after.mirrors {
        let known = before.mirrors.iter().find(|known| known.name == mirror.name);
        if known.is_some_and(|known| known.password != mirror.password) {
            keys.push(format!("mirror.{}.password_file", mirror.name));
        }
    }
    let in_file = keys.into_iter().filter(|key| parts::is_set(parts, key));
    in_file.map(Change::of_content).collect()
}

impl Origins {
    /// Of parts that were taken from several versions.
    pub(super) fn of_file(file: Option<&std::path::Path>) -> Self {
        let mut origins = Self::default();
        if let Some(path) = file {
            origins.set_whole(Place::File {
                path: path.to_owned(),
                line: None,
            });
        }
        origins
    }
}

#[cfg(test)]
mod tests;
