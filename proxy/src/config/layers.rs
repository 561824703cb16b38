//! The layers of a configuration: each source adds values under canonical keys and says where each came from;
//! the crate `config` merges them, later ones over earlier ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Debug;
use std::path::PathBuf;

use config::{ConfigError, Map, Source, Value};

use super::problem::{Fault, Place, Problem};

/// What a configuration is read from. No `Debug`: environment and options may hold passwords.
#[derive(Clone, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// The variables of the process; those that don't start with `TANDEM_` are ignored.
    pub environment: Vec<(OsString, OsString)>,
    /// `key=value`, from `--set`.
    pub overrides: Vec<String>,
}

/// Which place each canonical key (`listener.address`, `server[0].name`) has its value from.
#[derive(Clone, Default)]
pub(super) struct Origins {
    places: BTreeMap<String, Place>,
    /// The names of the entries of the repeated sections.
    names: BTreeMap<&'static str, Vec<String>>,
    /// What a key that no source mentions is reported against.
    whole: Option<Place>,
}

impl Origins {
    pub(super) fn insert(&mut self, key: impl Into<String>, place: Place) {
        self.places.insert(key.into(), place);
    }

    pub(super) fn set_whole(&mut self, place: Place) {
        self.whole = Some(place);
    }

    /// Adds an entry of a repeated section and returns its index.
    pub(super) fn add_name(&mut self, section: &'static str, name: String) -> usize {
        let names = self.names.entry(section).or_default();
        names.push(name);
        names.len() - 1
    }

    pub(super) fn names(&self, section: &str) -> &[String] {
        self.names.get(section).map_or(&[], Vec::as_slice)
    }

    /// The place of a key, or of the section it ought to be in.
    pub(super) fn place(&self, key: &str) -> Place {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return place.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return self.whole.clone().unwrap_or(Place::Nowhere),
            }
        }
    }

    /// A canonical key as `--set` would name it: `server[0].address` is `server.a.address`.
    pub(super) fn label(&self, key: &str) -> String {
        let named = || {
            let (section, rest) = key.split_once('[')?;
            let (index, rest) = rest.split_once(']')?;
            let name = self.names(section).get(index.parse::<usize>().ok()?)?;
            (!name.is_empty()).then(|| format!("{section}.{name}{rest}"))
        };
        named().unwrap_or_else(|| key.to_owned())
    }

    pub(super) fn problem(&self, key: &str, fault: Fault) -> Problem {
        Problem {
            key: self.label(key),
            place: self.place(key),
            fault,
        }
    }
}

/// The layers in the order they were added.
#[derive(Default)]
pub(super) struct Layers {
    builder: config::ConfigBuilder<config::builder::DefaultState>,
    pub(super) origins: Origins,
}

impl Layers {
    pub(super) fn add(&mut self, source: impl Source + Send + Sync + 'static) {
        self.builder = std::mem::take(&mut self.builder).add_source(source);
    }

    /// Adds one value from a source that gives them singly.
    pub(super) fn set(&mut self, key: String, value: &str, place: Place) {
        self.add(Single {
            key: key.clone(),
            value: value.to_owned(),
        });
        self.origins.insert(key, place);
    }

    /// All layers as one tree. A source that doesn't parse was refused before it was added, so there is nothing
    /// left that could fail; if it did, the required keys would be reported as missing.
    pub(super) fn merge(self) -> (Value, Origins) {
        let merged = self
            .builder
            .build()
            .map(|config| config.cache)
            .unwrap_or_else(|_| Value::from(Map::<String, Value>::new()));
        (merged, self.origins)
    }
}

/// One value from the environment or the command line.
#[derive(Clone)]
struct Single {
    key: String,
    value: String,
}

/// Without the value, which may be a password.
impl Debug for Single {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Single").field(&self.key).finish()
    }
}

impl Source for Single {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(Map::from_iter([(
            self.key.clone(),
            Value::from(self.value.as_str()),
        )]))
    }
}

/// A key within a repeated section, by its entry's position.
pub(super) fn entry_key(section: &str, index: usize, key: &str) -> String {
    format!("{section}[{index}].{key}")
}
