//! `TANDEM_…` variables: `TANDEM_LISTENER__ADDRESS` is `listener.address`, `TANDEM_USER__APP__PASSWORD` the password
//! of the user `app`. Two underscores separate, since keys contain single ones.

use std::ffi::OsString;

use super::layers::Layers;
use super::overrides;
use super::problem::{Fault, Place, Problem, Problems};
use super::schema;

const PREFIX: &str = "TANDEM_";

/// Adds the variables in the order of their names, so that the outcome doesn't depend on the process's order.
pub(super) fn add(layers: &mut Layers, environment: &[(OsString, OsString)], problems: &mut Problems) {
    let mut variables: Vec<(String, OsString)> = environment
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.clone()))
        .filter(|(name, _)| name.starts_with(PREFIX) && !is_foreign(name))
        .collect();
    variables.sort();
    for (name, value) in variables {
        if let Err(fault) = add_variable(layers, &name, value) {
            problems.push(Problem {
                key: name.clone(),
                place: Place::Environment(name),
                fault,
            });
        }
    }
}

/// The variable that sets a key: `listener.address` is `TANDEM_LISTENER__ADDRESS`.
pub(super) fn variable(label: &str) -> String {
    let name = label.replace('.', "__").replace('-', "_");
    format!("{PREFIX}{}", name.to_uppercase())
}

/// Names with our prefix that are no settings.
fn is_foreign(name: &str) -> bool {
    // The path of the file, read by the command line.
    name == "TANDEM_CONFIG"
        // Kubernetes gives every container variables for each service of its namespace, and one may be called
        // "tandem": https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
        || name == "TANDEM_PORT"
        || name.starts_with("TANDEM_PORT_")
        || name.starts_with("TANDEM_SERVICE_")
        // Settings of the tests in this repository, inherited by the proxies that they start.
        || name.starts_with("TANDEM_TEST_")
}

fn add_variable(layers: &mut Layers, name: &str, value: OsString) -> Result<(), Fault> {
    let lower = name.get(PREFIX.len()..).unwrap_or_default().to_lowercase();
    let parts: Vec<&str> = lower.split("__").collect();
    let place = Place::Environment(name.to_owned());
    if let [single] = parts[..]
        && schema::section(single).is_none()
    {
        return Err(joined(single));
    }
    let key = overrides::locate(&mut layers.origins, &parts, "__", &place, names_agree)?;
    let value = value
        .into_string()
        .map_err(|_| Fault::Invalid("is not UTF-8; write it so".to_owned()))?;
    layers.set(key, &value, place);
    Ok(())
}

/// `TANDEM_LISTENER_ADDRESS` instead of `TANDEM_LISTENER__ADDRESS` is the likeliest slip.
fn joined(name: &str) -> Fault {
    let intended = schema::SECTIONS.iter().find_map(|section| {
        let rest = name.strip_prefix(section.name)?.strip_prefix('_')?;
        section.has(rest).then_some((section.name, rest))
    });
    match intended {
        Some((section, key)) => Fault::UnknownKey(format!(
            "section and key are separated by two underscores: TANDEM_{}__{}",
            section.to_uppercase(),
            key.to_uppercase()
        )),
        None => schema::unknown_section(name),
    }
}

/// Variables are written in capitals and without hyphens or dots: `TANDEM_USER__WP_APP__PASSWORD` finds `wp-app`.
fn names_agree(name: &str, given: &str) -> bool {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.'], "_");
    plain(name) == plain(given)
}
