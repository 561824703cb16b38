//! What has been learnt, and how much of it there may be. Pure: times are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Known, Place, Sheets, file};
use crate::classify::identity::Identity;

/// One shape of statement that is let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Without its values.
    pub text: Arc<str>,
    /// In seconds since 1970, as all times here.
    pub learned_at: u64,
    /// When somebody last looked how often it had been seen, and it had been. 0 is never.
    pub last_seen: u64,
    pub hits: u64,
}

/// What bounds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Statements of one account.
    pub digests: usize,
    /// Of all together, as the file has them.
    pub bytes: usize,
}

/// Which bound there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Digests,
    Bytes,
}

impl Full {
    /// The key of the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Digests => "firewall.digests",
            Self::Bytes => "firewall.bytes",
        }
    }
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// What the shapes were sealed with.
    pub secret: u64,
    places: BTreeMap<Place, FxHashMap<Identity, Statement>>,
    /// Statements by account.
    counts: BTreeMap<Arc<str>, usize>,
    bytes: usize,
    /// Where something has come or gone since the last sheets.
    changed: BTreeSet<Place>,
}

impl Learned {
    pub fn new(secret: u64) -> Self {
        Self {
            secret,
            places: BTreeMap::new(),
            counts: BTreeMap::new(),
            bytes: file::FRAME,
            changed: BTreeSet::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.counts.values().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The most that the file takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many statements there are by account.
    pub fn counts(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.counts.iter().map(|(account, count)| (account, *count))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Place, Identity, &Statement)> {
        let places = self.places.iter();
        places.flat_map(|(place, known)| {
            known
                .iter()
                .map(move |(identity, statement)| (place, *identity, statement))
        })
    }

    pub fn knows(&self, place: &Place, identity: Identity) -> bool {
        self.places
            .get(place)
            .is_some_and(|known| known.contains_key(&identity))
    }

    /// Lets a statement through from now on.
    ///
    /// # Errors
    /// The bound that has been reached.
    pub fn add(
        &mut self,
        place: &Place,
        identity: Identity,
        statement: Statement,
        bounds: Bounds,
    ) -> Result<(), Full> {
        if self.knows(place, identity) {
            return Ok(());
        }
        let bytes = self.bytes + file::longest(place, identity, &statement);
        let count = self.counts.get(&place.account).copied().unwrap_or(0);
        if count >= bounds.digests {
            return Err(Full::Digests);
        }
        if bytes > bounds.bytes {
            return Err(Full::Bytes);
        }
        self.bytes = bytes;
        self.counts.insert(Arc::clone(&place.account), count + 1);
        self.changed.insert(place.clone());
        let known = self.places.entry(place.clone()).or_default();
        known.insert(identity, statement);
        Ok(())
    }

    /// Forgets what `which` says yes to; how many there were.
    pub fn forget(&mut self, which: impl Fn(&Place, Identity) -> bool) -> usize {
        let found: Vec<(Place, Identity)> = self
            .iter()
            .filter(|(place, identity, _)| which(place, *identity))
            .map(|(place, identity, _)| (place.clone(), identity))
            .collect();
        for (place, identity) in &found {
            self.remove(place, *identity);
        }
        found.len()
    }

    fn remove(&mut self, place: &Place, identity: Identity) {
        let Some(known) = self.places.get_mut(place) else {
            return;
        };
        let Some(statement) = known.remove(&identity) else {
            return;
        };
        if known.is_empty() {
            self.places.remove(place);
        }
        self.bytes -= file::longest(place, identity, &statement);
        if let Some(count) = self.counts.get_mut(&place.account) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place.account);
            }
        }
        self.changed.insert(place.clone());
    }

    /// Such statements were seen so often until now.
    pub fn count(&mut self, place: &Place, identity: Identity, hits: u64, now: u64) {
        let known = self.places.get_mut(place);
        if let Some(statement) = known.and_then(|known| known.get_mut(&identity)) {
            statement.hits += hits;
            statement.last_seen = now;
        }
    }

    /// Other sheets, where they would be others than those of before.
    pub fn sheets(&mut self, before: &Sheets) -> Option<Sheets> {
        if self.changed.is_empty() {
            return None;
        }
        let mut sheets = before.clone();
        for place in std::mem::take(&mut self.changed) {
            match self.places.get(&place) {
                Some(known) => {
                    let numbered: Known = known.keys().copied().zip(0..).collect();
                    sheets.insert(place, Arc::new(numbered));
                }
                None => drop(sheets.remove(&place)),
            }
        }
        Some(sheets)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::classify::Fingerprint;

    pub(in crate::firewall) const BOUNDS: Bounds = Bounds {
        digests: 3,
        bytes: 10_000,
    };

    pub(in crate::firewall) fn identity(number: u64) -> Identity {
        Identity {
            digest: Fingerprint(number),
            seal: !number,
        }
    }

    pub(in crate::firewall) fn statement(text: &str) -> Statement {
        Statement {
            text: text.into(),
            learned_at: 5,
            last_seen: 0,
            hits: 0,
        }
    }

    /// Each account has its own bound, all have one together, and what is forgotten makes room.
    #[test]
    fn it_is_bounded() {
        let mut learned = Learned::new(1);
        let (shop, blog) = (Place::new("app", "shop"), Place::new("app", "blog"));
        for (place, number) in [(&shop, 1), (&shop, 2), (&blog, 1)] {
            let added = learned.add(place, identity(number), statement("SELECT ?"), BOUNDS);
            assert_eq!(added, Ok(()));
        }
        let again = learned.add(&shop, identity(1), statement("SELECT ?"), BOUNDS);
        assert_eq!(again, Ok(()), "it is known");
        let more = learned.add(&blog, identity(2), statement("SELECT ?"), BOUNDS);
        assert_eq!(more, Err(Full::Digests));
        let other = Place::new("report", "");
        let long = statement(&"x".repeat(BOUNDS.bytes));
        assert_eq!(learned.add(&other, identity(1), long, BOUNDS), Err(Full::Bytes));
        let before = learned.bytes();
        assert_eq!(
            learned.forget(|place, known| place == &shop && known == identity(1)),
            1
        );
        assert!(learned.bytes() < before && !learned.knows(&shop, identity(1)));
        let added = learned.add(&blog, identity(2), statement("SELECT ?"), BOUNDS);
        assert_eq!(added, Ok(()));
        assert_eq!(learned.forget(|place, _| &*place.account == "app"), 3);
        assert_eq!(
            learned,
            Learned {
                changed: learned.changed.clone(),
                ..Learned::new(1)
            }
        );
    }

    /// Sheets say what is known, with numbers from 0 on, and are made anew only where something has changed.
    #[test]
    fn sheets_follow() {
        let mut learned = Learned::new(1);
        let (shop, blog) = (Place::new("app", "shop"), Place::new("app", "blog"));
        for (place, number) in [(&shop, 1), (&shop, 2), (&blog, 1)] {
            let added = learned.add(place, identity(number), statement("SELECT ?"), BOUNDS);
            assert_eq!(added, Ok(()));
        }
        let first = learned.sheets(&Sheets::default()).expect("sheets");
        let mut numbers: Vec<u32> = first[&shop].values().copied().collect();
        numbers.sort_unstable();
        assert_eq!((numbers, first[&blog].len()), (vec![0, 1], 1));
        assert_eq!(learned.sheets(&first), None);
        learned.count(&shop, identity(2), 7, 9);
        assert_eq!(learned.sheets(&first), None, "a count is nothing new");
        learned.forget(|place, _| place == &blog);
        let second = learned.sheets(&first).expect("sheets");
        assert!(Arc::ptr_eq(&first[&shop], &second[&shop]) && !second.contains_key(&blog));
    }
}
