//! `--set key=value`, and how the environment and the command line name a key: `listener.address`, and
//! `server.NAME.address` for the entry with that name.

use super::layers::{Layers, Origins, entry_key};
use super::problem::{Fault, Place, Problem, Problems};
use super::schema;

/// Adds each `key=value` as a layer of its own, so that the last one wins.
pub(super) fn add(
    layers: &mut Layers,
    overrides: &[String],
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    for (index, text) in overrides.iter().enumerate() {
        let Some((key, value)) = text.split_once('=') else {
            // What was given isn't shown: it may be a password whose key was forgotten.
            problems.push(Problem {
                key: "--set".to_owned(),
                place: Place::Option(format!("(number {})", index + 1)),
                fault: Fault::Invalid(
                    "has no \"=\"; write it as --set listener.address=127.0.0.1:6446".to_owned(),
                ),
            });
            continue;
        };
        let key = key.trim();
        let place = Place::Option(key.to_owned());
        if [".password", ".password_hash"]
            .iter()
            .any(|end| key.ends_with(end))
        {
            warnings.push(Problem {
                key: key.to_owned(),
                place: place.clone(),
                fault: Fault::Warning(
                    "is a password that every account of this machine sees in the list of processes; \
                     give it in the file or the environment"
                        .to_owned(),
                ),
            });
        }
        add_one(layers, key, value, place, problems);
    }
}

/// Adds what was set on the admin port.
pub(super) fn add_set(layers: &mut Layers, set: &[(String, String)], problems: &mut Problems) {
    for (key, value) in set {
        add_one(layers, key, value, Place::Set(key.clone()), problems);
    }
}

fn add_one(layers: &mut Layers, key: &str, value: &str, place: Place, problems: &mut Problems) {
    let parts: Vec<&str> = key.split('.').collect();
    let located = locate(&mut layers.origins, &parts, ".", &place, |name, given| {
        name == given
    });
    match located {
        Ok(canonical) => layers.set(canonical, value, place),
        Err(fault) => problems.push(Problem {
            key: key.to_owned(),
            place,
            fault,
        }),
    }
}

/// The canonical key that `parts` name. An entry that doesn't exist yet is added, so that a configuration can
/// come wholly from the environment. `joint` is what the source separates parts with: a name may contain it.
pub(super) fn locate(
    origins: &mut Origins,
    parts: &[&str],
    joint: &str,
    place: &Place,
    same: impl Fn(&str, &str) -> bool,
) -> Result<String, Fault> {
    let (name, rest) = parts.split_first().unwrap_or((&"", &[]));
    let section = schema::section(name).ok_or_else(|| schema::unknown_section(name))?;
    let (key, entry) = rest.split_last().ok_or_else(|| {
        let keys = section.names().join(", ");
        Fault::Invalid(format!("is a section; name one of its keys as well: {keys}"))
    })?;
    if !section.has(key) {
        return Err(schema::unknown_key(section, key));
    }
    if !section.repeated {
        return if entry.is_empty() {
            Ok(format!("{name}.{key}"))
        } else {
            Err(schema::unknown_key(section, &rest.join(joint)))
        };
    }
    if *key == "name" {
        return Err(Fault::Invalid(format!(
            "can't be changed from outside the file: a {name} is found by its name"
        )));
    }
    let entry = entry.join(joint);
    if entry.is_empty() {
        return Err(Fault::Invalid(format!(
            "doesn't say which {name}; put its name between, as in {name}{joint}NAME{joint}{key}"
        )));
    }
    let matches: Vec<usize> = (0..)
        .zip(origins.names(section.name))
        .filter(|(_, name)| same(name, &entry))
        .map(|(index, _)| index)
        .collect();
    match matches[..] {
        [] => {
            let index = origins.add_name(section.name, entry);
            origins.insert(format!("{}[{index}]", section.name), place.clone());
            Ok(entry_key(section.name, index, key))
        }
        [index] => Ok(entry_key(section.name, index, key)),
        _ => Err(Fault::Contradiction(format!(
            "could mean several entries; give every {name} a name of its own, or set this in the file"
        ))),
    }
}
