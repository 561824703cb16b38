//! A configuration as its sections and entries, each with what was given for its keys and where: for comparing two of them, and for
//! making one of two.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use config::{Map, Value, ValueKind};

use super::layers::Origins;
use super::problem::Place;
use super::schema::{Effect, Key, Preset, SECTIONS, Section};

/// A section, or one entry of a repeated one.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) section: &'static Section,
    /// Of an entry.
    pub(super) name: Option<String>,
    place: Place,
    given: BTreeMap<&'static str, Given>,
}

#[derive(Clone)]
struct Given {
    value: Value,
    place: Place,
}

/// One key that is another in two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As `SET` names it, or `user.NAME` for an entry that is new or gone.
    pub key: String,
    /// Passwords are not shown. `None`: not set.
    pub before: Option<String>,
    pub after: Option<String>,
    pub effect: Effect,
}

impl Change {
    /// Whether it acts without a restart.
    pub fn acts(&self) -> bool {
        self.effect != Effect::Restart
    }

    /// Of a file that the key names.
    pub(super) fn of_content(key: String) -> Self {
        Self {
            key,
            before: Some("(other content)".to_owned()),
            after: Some("(new content)".to_owned()),
            effect: Effect::AtOnce,
        }
    }
}

impl Part {
    /// As `--set` names its key.
    pub(super) fn label(&self, key: &str) -> String {
        match &self.name {
            Some(name) => format!("{}.{name}.{key}", self.section.name),
            None => format!("{}.{key}", self.section.name),
        }
    }

    /// What a key is here, by whatever it was given; `None`: not set.
    pub(super) fn text(&self, key: &Key) -> Option<String> {
        match (self.given.get(key.name), key.default) {
            (Some(given), _) => Some(shown(&given.value)),
            (None, Preset::Value(default)) => Some(default.to_owned()),
            (None, Preset::Required | Preset::NotSet) => None,
        }
    }

    /// Where that was given; `None`: it is the default.
    pub(super) fn place(&self, key: &Key) -> Option<&Place> {
        self.given.get(key.name).map(|given| &given.place)
    }

    fn has_fixed_entries(&self) -> bool {
        fixed_entries(self.section)
    }
}

/// Whether an entry that comes or goes needs a restart.
pub(super) fn fixed_entries(section: &Section) -> bool {
    let name = section.key("name");
    section.repeated && name.is_some_and(|name| name.effect == Effect::Restart)
}

/// When an entry that comes or goes acts.
fn entries_effect(section: &Section) -> Effect {
    match fixed_entries(section) {
        true => Effect::Restart,
        false => Effect::AtOnce,
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        _ => value.clone().into_string().unwrap_or_default(),
    }
}

/// A secret is not shown, but it is seen whether there is one.
pub(super) fn hidden(key: &Key, text: Option<String>) -> Option<String> {
    match key.secret {
        true => text.map(|_| "***".to_owned()),
        false => text,
    }
}

pub(super) fn of(tree: &Value, origins: &Origins) -> Vec<Part> {
    let mut parts = Vec::new();
    for section in SECTIONS {
        let found = table(tree).and_then(|tree| tree.get(section.name));
        if !section.repeated {
            parts.push(part(section, None, found, section.name, origins));
            continue;
        }
        let entries = match found.map(|value| &value.kind) {
            Some(ValueKind::Array(entries)) => entries.as_slice(),
            _ => &[],
        };
        for (index, name) in origins.names(section.name).iter().enumerate() {
            let path = format!("{}[{index}]", section.name);
            let name = Some(name.clone());
            parts.push(part(section, name, entries.get(index), &path, origins));
        }
    }
    parts
}

fn part(
    section: &'static Section,
    name: Option<String>,
    found: Option<&Value>,
    path: &str,
    origins: &Origins,
) -> Part {
    let values = found.and_then(table);
    let given = section.keys.iter().filter_map(|key| {
        let value = values?.get(key.name)?.clone();
        let place = origins.place(&format!("{path}.{}", key.name));
        Some((key.name, Given { value, place }))
    });
    Part {
        section,
        name,
        place: origins.place(path),
        given: given.collect(),
    }
}

fn table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// The tree that the parts are of.
pub(super) fn joined(parts: &[Part], file: Option<&Path>) -> (Value, Origins) {
    let mut origins = Origins::of_file(file);
    let mut tree: Map<String, Value> = Map::new();
    let mut entries: HashMap<&str, Vec<Value>> = HashMap::new();
    for part in parts {
        let section = part.section.name;
        let values = part
            .given
            .iter()
            .map(|(key, given)| ((*key).to_owned(), given.value.clone()));
        let values = Value::from(values.collect::<Map<String, Value>>());
        let path = match &part.name {
            Some(name) => {
                entries.entry(section).or_default().push(values);
                let index = origins.add_name(section, name.clone());
                format!("{section}[{index}]")
            }
            None => {
                tree.insert(section.to_owned(), values);
                section.to_owned()
            }
        };
        for (key, given) in &part.given {
            origins.insert(format!("{path}.{key}"), given.place.clone());
        }
        origins.insert(path, part.place.clone());
    }
    for (section, values) in entries {
        tree.insert(section.to_owned(), Value::from(values));
    }
    (Value::from(tree), origins)
}

/// `wanted`, but with what needs a restart as it is in `running`.
pub(super) fn held_back(running: &[Part], wanted: &[Part]) -> Vec<Part> {
    let fixed = running.iter().filter(|part| part.has_fixed_entries());
    let free = wanted.iter().filter(|part| !part.has_fixed_entries());
    let mut parts: Vec<Part> = free.map(|part| mixed(find(running, part), part)).collect();
    parts.extend(fixed.map(|part| match find(wanted, part) {
        Some(wanted) => mixed(Some(part), wanted),
        None => part.clone(),
    }));
    parts
}

fn mixed(running: Option<&Part>, wanted: &Part) -> Part {
    let mut part = wanted.clone();
    let Some(running) = running else { return part };
    for key in part.section.keys {
        let (before, after) = (running.text(key), wanted.text(key));
        let effect = key.effect.of_change(before.as_deref(), after.as_deref());
        if effect != Effect::Restart {
            continue;
        }
        match running.given.get(key.name) {
            Some(given) => part.given.insert(key.name, given.clone()),
            None => part.given.remove(key.name),
        };
    }
    part
}

pub(super) fn find<'a>(parts: &'a [Part], wanted: &Part) -> Option<&'a Part> {
    let same = |part: &&Part| part.section.name == wanted.section.name && part.name == wanted.name;
    parts.iter().find(same)
}

/// What is another in `after`, in the order of the schema; when it acts depends on what is `running`.
pub(super) fn changes(before: &[Part], after: &[Part], running: &[Part]) -> Vec<Change> {
    let mut changes = Vec::new();
    for section in SECTIONS {
        let of_section = |part: &&Part| part.section.name == section.name;
        for part in after.iter().filter(of_section) {
            match find(before, part) {
                Some(known) => compare(known, part, find(running, part), &mut changes),
                None => changes.push(whole(part, None, Some("(new)"))),
            }
        }
        for part in before.iter().filter(of_section) {
            if find(after, part).is_none() {
                changes.push(whole(part, Some("(there)"), None));
            }
        }
        changes.extend(order(section, before, after));
    }
    changes
}

fn compare(before: &Part, after: &Part, running: Option<&Part>, changes: &mut Vec<Change>) {
    for key in after.section.keys {
        let (old, new) = (before.text(key), after.text(key));
        if old != new {
            let acts = running.unwrap_or(before).text(key);
            changes.push(Change {
                key: after.label(key.name),
                effect: key.effect.of_change(acts.as_deref(), new.as_deref()),
                before: hidden(key, old),
                after: hidden(key, new),
            });
        }
    }
}

/// An entry that is new, or gone.
fn whole(part: &Part, before: Option<&str>, after: Option<&str>) -> Change {
    Change {
        key: format!(
            "{}.{}",
            part.section.name,
            part.name.as_deref().unwrap_or_default()
        ),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        effect: entries_effect(part.section),
    }
}

/// Entries that are in both, in another order: that means something to some sections.
fn order(section: &'static Section, before: &[Part], after: &[Part]) -> Option<Change> {
    let names = |parts: &[Part], others: &[Part]| -> Vec<String> {
        let entries = parts.iter().filter(|part| part.section.name == section.name);
        let common = entries.filter(|part| find(others, part).is_some());
        common.filter_map(|part| part.name.clone()).collect()
    };
    let (old, new) = (names(before, after), names(after, before));
    (old != new).then(|| Change {
        key: section.name.to_owned(),
        before: Some(old.join(", ")),
        after: Some(new.join(", ")),
        effect: entries_effect(section),
    })
}

/// Whether a key, as `--set` names it, is another in these two.
pub(super) fn differ(before: &[Part], after: &[Part], label: &str) -> bool {
    let value = |parts: &[Part]| {
        parts.iter().find_map(|part| {
            let key = part
                .section
                .keys
                .iter()
                .find(|key| part.label(key.name) == label)?;
            part.text(key)
        })
    };
    value(before) != value(after)
}

/// Whether a key, as `--set` names it, was given.
pub(super) fn is_set(parts: &[Part], label: &str) -> bool {
    parts
        .iter()
        .any(|part| part.given.keys().any(|key| part.label(key) == label))
}
