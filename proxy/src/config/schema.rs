//! The keys that exist: what each is and how a new value of it acts; and for refusing those that don't exist, the nearest that does.

mod keys;

pub(crate) use self::keys::SECTIONS;
use super::problem::Fault;
use super::scalar::{Ratio, Scalar};

/// A table of the file and its keys.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) keys: &'static [Key],
    /// Written `[[name]]`, once for each entry; entries have a `name`.
    pub(crate) repeated: bool,
}

/// One key of a section, and all that is to be said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// Completes "must be …".
    pub(crate) kind: &'static str,
    pub(crate) default: Preset,
    pub(crate) effect: Effect,
    pub(crate) meaning: &'static str,
    /// Never shown.
    pub(crate) secret: bool,
}

/// What a key is while nobody sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preset {
    /// Somebody has to.
    Required,
    /// Nothing.
    NotSet,
    /// As the environment would give it.
    Value(&'static str),
}

/// When a new value acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    AtOnce,
    /// For connections that come, or are opened, from then on.
    NewConnections,
    /// So from one of these values to another of them; what else, after a restart.
    Among(&'static [&'static str], &'static Self),
    Restart,
}

impl Effect {
    pub fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at once",
            Self::NewConnections => "for new connections",
            Self::Among(..) => "partly after a restart",
            Self::Restart => "after a restart",
        }
    }

    /// When a key that is `before` becomes `after`.
    pub(super) fn of_change(self, before: Option<&str>, after: Option<&str>) -> Self {
        let Self::Among(values, effect) = self else {
            return self;
        };
        let is_among = |value: Option<&str>| value.is_some_and(|value| values.contains(&value));
        match is_among(before) && is_among(after) {
            true => *effect,
            false => Self::Restart,
        }
    }
}

const fn key(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    effect: Effect,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default: Preset::Value(default),
        effect,
        meaning,
        secret: false,
    }
}

const fn required(name: &'static str, kind: &'static str, effect: Effect, meaning: &'static str) -> Key {
    Key {
        default: Preset::Required,
        ..key(name, kind, "", effect, meaning)
    }
}

const fn not_set(name: &'static str, kind: &'static str, effect: Effect, meaning: &'static str) -> Key {
    Key {
        default: Preset::NotSet,
        ..key(name, kind, "", effect, meaning)
    }
}

impl Key {
    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Whether it stands in the file without quotes.
    pub(crate) fn is_bare(&self) -> bool {
        self.kind == <usize as Scalar>::EXPECTED
            || self.kind == <bool as Scalar>::EXPECTED
            || self.kind == <Ratio as Scalar>::EXPECTED
    }
}

impl Section {
    pub(super) fn shape(&self) -> &'static str {
        match self.name {
            "server" => "a [[server]] entry (two brackets), one for each server, with keys below it",
            "admin_user" => {
                "an [[admin_user]] entry (two brackets), one for each account of the admin port, with keys below it"
            }
            "network" => {
                "a [[network]] entry (two brackets), one for each network of clients, with keys below it"
            }
            "mirror" => {
                "a [[mirror]] entry (two brackets), one for each server that gets copies of reads, with keys below it"
            }
            "rule" => "a [[rule]] entry (two brackets), one for each rule, with keys below it",
            "user" => "a [[user]] entry (two brackets), one for each account, with keys below it",
            _ => "a [section] (single brackets, once) with keys below it",
        }
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.key(name).is_some()
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// Whether a key may hold several values, `["…", "…"]`.
pub(super) fn is_list(section: &Section, key: &str) -> bool {
    (section.name, key) == ("coordination", "etcd")
}

/// Why `key` isn't one of `section`'s, and which one was probably meant.
pub(super) fn unknown_key(section: &Section, key: &str) -> Fault {
    let advice = if let Some(near) = nearest(key, &section.names()) {
        format!("did you mean {near:?}?")
    } else if let Some(home) = home_of(key) {
        format!("{key:?} belongs in [{home}]")
    } else {
        format!("[{}] has {}", section.name, section.names().join(", "))
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
    // Rules have the names of much that they look at or set, and mirrors those of servers and pools.
    let sections = SECTIONS
        .iter()
        .filter(|section| !["rule", "mirror"].contains(&section.name));
    let mut homes = sections.filter(|section| section.has(key));
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
        let keys = section("listener").map(Section::names).unwrap();
        assert_eq!(nearest("adress", &keys), Some("address"));
        assert_eq!(nearest("max-connections", &keys), Some("max_connections"));
        assert_eq!(nearest("IDLE_TIMEOUT", &keys), Some("idle_timeout"));
        assert_eq!(nearest("colour", &keys), None);
        assert_eq!(nearest("", &keys), None);
    }
}
