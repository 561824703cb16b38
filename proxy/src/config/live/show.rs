//! What a running configuration can be asked: each key's value and where it comes from, and what differs from the file.

use chrono::{DateTime, Local};

use super::{Live, read};
use crate::config::parts::{self, Change, Part, hidden};
use crate::config::problem::Problems;
use crate::config::schema::{Effect, Key, Preset, SECTIONS};

/// One key of the running configuration.
#[derive(Clone, Debug)]
pub struct Row {
    /// As `SET` names it.
    pub key: String,
    pub section: &'static str,
    /// Of a repeated section.
    pub entry: Option<String>,
    /// Passwords are not shown.
    pub value: Option<String>,
    pub default: Option<&'static str>,
    /// Where the value was given.
    pub origin: String,
    pub effect: Effect,
    /// What it will be after a restart, where that is something else.
    pub pending: Option<String>,
    pub changed_at: Option<DateTime<Local>>,
    /// What it must be.
    pub kind: &'static str,
    pub meaning: &'static str,
}

/// A key that is not as the file, with the environment and the options over it, has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub change: Change,
    pub why: &'static str,
}

impl Live {
    /// Every key, in the order of the schema.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for section in SECTIONS {
            for part in self.running.of_section(section.name) {
                let wanted = parts::find(&self.wanted.parts, part);
                rows.extend(section.keys.iter().map(|key| self.row(part, wanted, key)));
            }
        }
        rows
    }

    fn row(&self, part: &Part, wanted: Option<&Part>, key: &'static Key) -> Row {
        let (label, value) = (part.label(key.name), part.text(key));
        let pending = match wanted.map(|wanted| wanted.text(key)) {
            Some(wanted) if wanted == value => None,
            Some(Some(wanted)) => hidden(key, Some(wanted)),
            Some(None) => Some("(not set)".to_owned()),
            None => Some("(gone)".to_owned()),
        };
        Row {
            section: part.section.name,
            entry: part.name.clone(),
            value: hidden(key, value),
            default: match key.default {
                Preset::Value(default) => Some(default),
                Preset::Required | Preset::NotSet => None,
            },
            origin: part
                .place(key)
                .map_or_else(|| "default".to_owned(), ToString::to_string),
            effect: key.effect,
            pending,
            changed_at: self.changed_at.get(&label).copied(),
            kind: key.kind,
            meaning: key.meaning,
            key: label,
        }
    }

    /// What the file says otherwise, read now. `before` is the file's, `after` what acts.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub fn differences(&self) -> Result<Vec<Difference>, Problems> {
        let sources = self.sources.as_ref().ok_or_else(super::no_sources)?;
        let (file, _) = read(sources, None, &[])?;
        let newer = parts::changes(&file.parts, &self.wanted.parts, &self.running.parts);
        let difference = |change: Change| {
            let is_newer = newer.iter().any(|newer| newer.key == change.key);
            let why = if self.set.iter().any(|(key, _)| *key == change.key) {
                "SET; SAVE CONFIG writes it into the file"
            } else if is_newer {
                "the file was changed; RELOAD takes it"
            } else {
                "the file's acts after a restart"
            };
            Difference { change, why }
        };
        let changes = parts::changes(&file.parts, &self.running.parts, &self.running.parts);
        let mut differences: Vec<Difference> = changes.into_iter().map(difference).collect();
        // What was set and waits for a restart acts no more than the file's, and is no less to be saved.
        let waiting = newer.into_iter().filter(|change| !change.acts());
        let waiting = waiting.filter(|change| self.set.iter().any(|(key, _)| *key == change.key));
        for change in waiting {
            differences.retain(|known| known.change.key != change.key);
            let why = "SET, acts after a restart; SAVE CONFIG writes it into the file";
            differences.push(Difference { change, why });
        }
        Ok(differences)
    }
}
