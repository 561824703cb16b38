//! Keeps what has been learnt: asks the workers what they have seen, tells them what is known, has it in the file, and does what an
//! operator says of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use rustc_hash::FxHashMap;

use super::file::{self, Error};
use super::learned::{Bounds, Full, Learned, Statement};
use super::{Place, Report, Seen, Sheets, Sighting};
use crate::classify::Fingerprint;
use crate::classify::identity::Identity;
use crate::config::Config;
use crate::net::nonce;
use crate::quota::Row;
use crate::worker::remote::Workers;

/// How often the workers are asked. What was learnt since is lost with a crash.
const LOOK: Duration = Duration::from_secs(2);
/// How often the file is written for counts alone.
const SAVE_COUNTS: Duration = Duration::from_secs(60);
/// Most lines about new statements for one look.
const LINES: usize = 10;
/// How often it is told that there is no room, or that the file can't be written.
const COMPLAIN: Duration = Duration::from_secs(600);

/// What is known, and where that comes from.
pub struct Keeper {
    path: PathBuf,
    /// Made once: what has its identity goes on having it.
    secret: u64,
    workers: OnceLock<Arc<Workers>>,
    settings: Mutex<Settings>,
    /// One after the other, the workers' answers awaited.
    state: tokio::sync::Mutex<State>,
    figures: Mutex<Figures>,
}

/// Of the configuration that acts.
#[derive(Clone, Copy, Debug)]
struct Settings {
    is_on: bool,
    bounds: Bounds,
    /// Most statements that are listed as new.
    listed: usize,
}

impl Settings {
    fn of(config: &Config) -> Self {
        Self {
            is_on: config.has_firewall(),
            bounds: Bounds {
                digests: config.firewall.digests,
                bytes: config.firewall.bytes,
            },
            listed: config.firewall.listed,
        }
    }
}

#[derive(Debug)]
struct State {
    learned: Learned,
    /// What is not known and was seen.
    new: FxHashMap<(Place, Identity), New>,
    sheets: Arc<Sheets>,
    unsaved: Unsaved,
    saved: Instant,
    /// How often it was looked.
    looks: u64,
    complained: Option<Instant>,
}

/// What the file lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsaved {
    Nothing,
    Counts,
    Statements,
}

/// A statement that is not known.
#[derive(Clone, Debug)]
struct New {
    statement: Arc<str>,
    runs_others: bool,
    counts: Seen,
    first_seen: u64,
    last_seen: u64,
    /// Which look that was.
    look: u64,
    client: String,
}

/// For the table `limits`.
#[derive(Debug, Default)]
struct Figures {
    /// By account: how many now, at most, and how often there was no more room.
    accounts: BTreeMap<Arc<str>, Figure>,
    bytes: Figure,
    listed: Figure,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figure {
    now: usize,
    highest: usize,
    refused: u64,
}

impl Figure {
    fn set(&mut self, now: usize) {
        self.now = now;
        self.highest = self.highest.max(now);
    }
}

/// What somebody says of some statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// `None` is all; of those to be accepted, all that say themselves what they do.
    pub digest: Option<Fingerprint>,
    pub account: Option<String>,
    pub schema: Option<String>,
}

impl Which {
    fn is_of(&self, place: &Place, identity: Identity) -> bool {
        self.digest.is_none_or(|digest| digest == identity.digest)
            && self
                .account
                .as_ref()
                .is_none_or(|account| **account == *place.account)
            && self
                .schema
                .as_ref()
                .is_none_or(|schema| **schema == *place.schema)
    }
}

/// One row of the table `firewall`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub place: Place,
    pub digest: Fingerprint,
    pub statement: Arc<str>,
    /// `None` for one that is not known.
    pub learned_at: Option<u64>,
    pub hits: u64,
    /// In seconds since 1970; 0 is never.
    pub first_seen: u64,
    pub last_seen: u64,
    pub counts: Seen,
    pub runs_others: bool,
    /// Who sent it last.
    pub client: Option<String>,
}

impl Keeper {
    /// With what the file of the configuration says.
    ///
    /// # Errors
    /// When it can't be read, or, where a firewall is on, written.
    pub fn open(config: &Config) -> Result<Arc<Self>, Error> {
        let path = config.firewall.file.clone();
        let settings = Settings::of(config);
        let (mut learned, is_new) = match file::read(&path, settings.bounds.bytes)? {
            Some(learned) => (learned, false),
            None => (Learned::new(u64::from_le_bytes(nonce::fresh()?)), true),
        };
        if is_new && settings.is_on {
            // Found out now, and not when something was learnt.
            file::write(&path, &file::to_text(&learned))?;
        }
        let sheets = Arc::new(learned.sheets(&Sheets::default()).unwrap_or_default());
        let keeper = Self {
            path,
            secret: learned.secret,
            workers: OnceLock::new(),
            settings: Mutex::new(settings),
            state: tokio::sync::Mutex::new(State {
                learned,
                new: FxHashMap::default(),
                sheets,
                unsaved: Unsaved::Nothing,
                saved: Instant::now(),
                looks: 0,
                complained: None,
            }),
            figures: Mutex::default(),
        };
        Ok(Arc::new(keeper))
    }

    pub fn secret(&self) -> u64 {
        self.secret
    }

    /// What the workers begin with.
    pub async fn sheets(&self) -> Arc<Sheets> {
        Arc::clone(&self.state.lock().await.sheets)
    }

    /// These are asked from now on.
    pub fn watch(&self, workers: Arc<Workers>) {
        // Once, at the start.
        let _ = self.workers.set(workers);
    }

    /// Takes what it goes by from the configuration that acts now.
    pub fn renew(&self, config: &Config) {
        *self.settings() = Settings::of(config);
    }

    /// Asks the workers again and again, while any firewall is on.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(LOOK);
        loop {
            ticks.tick().await;
            if self.settings().is_on {
                self.look().await;
            }
        }
    }

    /// Has all that the workers have seen taken up, and the file written if that is due.
    pub async fn look(&self) {
        let mut state = self.state.lock().await;
        self.look_in(&mut state).await;
        let due = match state.unsaved {
            Unsaved::Nothing => false,
            Unsaved::Counts => state.saved.elapsed() >= SAVE_COUNTS,
            Unsaved::Statements => true,
        };
        if due {
            self.save_or_complain(&mut state).await;
        }
    }

    /// The last look: the file has all that was counted.
    pub async fn stop(&self) {
        let mut state = self.state.lock().await;
        if self.settings().is_on || state.unsaved != Unsaved::Nothing {
            self.look_in(&mut state).await;
        }
        if state.unsaved != Unsaved::Nothing {
            self.save_or_complain(&mut state).await;
        }
    }

    /// Lets statements through that are listed as new; how many.
    ///
    /// # Errors
    /// Why none, or that it can't be kept.
    pub async fn accept(&self, which: &Which) -> Result<usize, String> {
        let mut state = self.state.lock().await;
        self.look_in(&mut state).await;
        let accepted = state.accept(which, self.settings().bounds, now());
        // Also what there was room for, where there was not for all.
        self.publish(&mut state).await;
        let accepted = accepted?;
        self.save(&mut state).await.map_err(|error| acts_now(&error))?;
        Ok(accepted)
    }

    /// Forgets statements, learnt ones and those that are listed as new; how many.
    ///
    /// # Errors
    /// That there are none, or that it can't be kept.
    pub async fn forget(&self, which: &Which) -> Result<usize, String> {
        let mut state = self.state.lock().await;
        self.look_in(&mut state).await;
        let forgotten = state.forget(which)?;
        self.publish(&mut state).await;
        self.save(&mut state).await.map_err(|error| acts_now(&error))?;
        Ok(forgotten)
    }

    /// All that is known or new, as of now.
    pub async fn entries(&self) -> Vec<Entry> {
        let mut state = self.state.lock().await;
        if self.settings().is_on {
            self.look_in(&mut state).await;
        }
        state.entries()
    }

    /// For the table `limits`.
    pub fn limits(&self) -> Vec<Row> {
        let settings = *self.settings();
        let figures = self.figures();
        if !settings.is_on && figures.accounts.is_empty() {
            return Vec::new();
        }
        let row = |key: String, limit: usize, figure: Figure, unit| Row {
            key,
            limit: limit as u64,
            current: figure.now as u64,
            highest: figure.highest as u64,
            refused: figure.refused,
            unit,
        };
        let bounds = settings.bounds;
        let accounts = figures.accounts.iter().map(|(account, figure)| {
            let key = format!("firewall.digests ({account})");
            row(key, bounds.digests, *figure, "statements")
        });
        let bytes = row("firewall.bytes".to_owned(), bounds.bytes, figures.bytes, "bytes");
        let listed = row(
            "firewall.listed".to_owned(),
            settings.listed,
            figures.listed,
            "statements",
        );
        accounts.chain([bytes, listed]).collect()
    }

    async fn look_in(&self, state: &mut State) {
        let reports = match self.workers.get() {
            Some(workers) => workers.sighted().await,
            None => Vec::new(),
        };
        let settings = *self.settings();
        let taken = state.take(reports, settings.bounds, settings.listed, now());
        taken.tell();
        self.note(state, &taken);
        if taken.full.is_some() && state.may_complain() {
            let (account, full) = taken.full.clone().unwrap_or(("".into(), Full::Digests));
            tracing::warn!(
                %account,
                "the firewall learns no more statements: {} is reached (SHOW LIMITS); FIREWALL FORGET makes room",
                full.key()
            );
        }
        self.publish(state).await;
    }

    async fn publish(&self, state: &mut State) {
        let State { learned, sheets, .. } = state;
        let Some(newer) = learned.sheets(sheets) else {
            return;
        };
        state.sheets = Arc::new(newer);
        state.unsaved = Unsaved::Statements;
        if let Some(workers) = self.workers.get()
            && !workers.go_by(&state.sheets).await
        {
            tracing::error!("a worker is busy and takes what the firewall knows later");
        }
    }

    async fn save(&self, state: &mut State) -> Result<(), Error> {
        let (learned, path) = (state.learned.clone(), self.path.clone());
        // However large it is, nobody waits for it.
        let writing = tokio::task::spawn_blocking(move || file::write(&path, &file::to_text(&learned)));
        state.saved = Instant::now();
        if let Ok(written) = writing.await {
            written?;
            state.unsaved = Unsaved::Nothing;
        }
        Ok(())
    }

    async fn save_or_complain(&self, state: &mut State) {
        if let Err(error) = self.save(state).await
            && state.may_complain()
        {
            tracing::error!("{error}; what was learnt is lost with this process");
        }
    }

    fn note(&self, state: &State, taken: &Taken) {
        let mut figures = self.figures();
        for figure in figures.accounts.values_mut() {
            figure.set(0);
        }
        for (account, count) in state.learned.counts() {
            figures
                .accounts
                .entry(Arc::clone(account))
                .or_default()
                .set(count);
        }
        figures.bytes.set(state.learned.bytes());
        figures.listed.set(state.new.len());
        figures.listed.refused += taken.left_out;
        for (account, full) in &taken.refused {
            match full {
                Full::Digests => figures.accounts.entry(Arc::clone(account)).or_default().refused += 1,
                Full::Bytes => figures.bytes.refused += 1,
            }
        }
    }

    /// Whoever holds these locks only copies or adds.
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acts_now(error: &Error) -> String {
    format!("It acts, but only until Tandem ends: {error}")
}

/// To be shown; nothing is decided by it.
fn now() -> u64 {
    u64::try_from(Utc::now().timestamp()).unwrap_or_default()
}

/// What came of the workers' reports.
#[derive(Debug, Default)]
struct Taken {
    /// Statements that were new to the list, and warned of or refused.
    told: Vec<Sighting>,
    /// Not learnt, for want of room.
    refused: Vec<(Arc<str>, Full)>,
    full: Option<(Arc<str>, Full)>,
    /// New ones for which the list had no room.
    left_out: u64,
}

impl Taken {
    fn tell(&self) {
        for sighting in self.told.iter().take(LINES) {
            let Place { account, schema } = &sighting.place;
            let (session, client) = (sighting.session, &sighting.client);
            let digest = sighting.identity.digest;
            let done = match sighting.counts.refused {
                0 => "let through",
                _ => "refused",
            };
            tracing::warn!(
                session, %account, %client, %schema, %digest,
                "a statement that the firewall does not know was {done}: {}", sighting.statement
            );
        }
        let more = self.told.len().saturating_sub(LINES);
        if more > 0 {
            tracing::warn!("{more} more statements were seen that the firewall does not know: SHOW FIREWALL");
        }
    }
}

impl State {
    /// Takes up what the workers have seen, and learns what is to be learnt.
    fn take(&mut self, reports: Vec<Report>, bounds: Bounds, listed: usize, now: u64) -> Taken {
        let mut taken = Taken::default();
        self.looks += 1;
        for report in reports {
            taken.left_out += report.left_out;
            for (place, hits) in report.hits {
                for (identity, hits) in hits {
                    self.learned.count(&place, identity, hits, now);
                    self.unsaved = self.unsaved.max(Unsaved::Counts);
                }
            }
            for sighting in report.sightings {
                self.see(sighting, bounds, now, &mut taken);
            }
        }
        taken.full = taken.refused.first().cloned();
        taken.left_out += self.bound_list(listed);
        taken
    }

    fn see(&mut self, sighting: Sighting, bounds: Bounds, now: u64, taken: &mut Taken) {
        let Sighting {
            ref place,
            identity,
            counts,
            ..
        } = sighting;
        if self.learned.knows(place, identity) {
            // Another worker was faster.
            self.learned.count(place, identity, counts.all(), now);
            self.unsaved = self.unsaved.max(Unsaved::Counts);
            return;
        }
        if counts.learnt > 0 && !sighting.runs_others {
            let statement = Statement {
                text: sighting.statement.as_str().into(),
                learned_at: now,
                last_seen: now,
                hits: counts.all(),
            };
            match self.learned.add(place, identity, statement, bounds) {
                Ok(()) => {
                    self.new.remove(&(place.clone(), identity));
                    return;
                }
                Err(full) => taken.refused.push((Arc::clone(&place.account), full)),
            }
        }
        let known = self.new.get_mut(&(place.clone(), identity));
        match known {
            Some(known) => {
                known.counts.add(counts);
                known.last_seen = now;
                known.look = self.looks;
                known.client.clone_from(&sighting.client);
            }
            None => {
                let new = New {
                    statement: sighting.statement.as_str().into(),
                    runs_others: sighting.runs_others,
                    counts,
                    first_seen: now,
                    last_seen: now,
                    look: self.looks,
                    client: sighting.client.clone(),
                };
                self.new.insert((place.clone(), identity), new);
                if counts.warned + counts.refused > 0 {
                    taken.told.push(sighting);
                }
            }
        }
    }

    /// Takes those off the list that were not seen for longest, where it is too long; how many.
    fn bound_list(&mut self, listed: usize) -> u64 {
        let over = self.new.len().saturating_sub(listed);
        if over == 0 {
            return 0;
        }
        let mut all: Vec<_> = self
            .new
            .iter()
            .map(|(key, new)| (new.look, key.clone()))
            .collect();
        all.sort_unstable();
        for (_, key) in &all[..over] {
            self.new.remove(key);
        }
        over as u64
    }

    fn accept(&mut self, which: &Which, bounds: Bounds, now: u64) -> Result<usize, String> {
        let is_meant = |place: &Place, identity: Identity, new: &New| {
            which.is_of(place, identity) && (which.digest.is_some() || !new.runs_others)
        };
        let new = self.new.iter();
        let mut found: Vec<(Place, Identity)> = new
            .filter(|((place, identity), new)| is_meant(place, *identity, new))
            .map(|(key, _)| key.clone())
            .collect();
        found.sort_unstable();
        let is_twice =
            |pair: &[(Place, Identity)]| pair[0].0 == pair[1].0 && pair[0].1.digest == pair[1].1.digest;
        if let Some(pair) = found.windows(2).find(|pair| is_twice(pair)) {
            return Err(format!(
                "Two different statements have the digest {}, which nothing but intent makes likely: neither is accepted. Have an account \
                 in mode \"learn\" send the right one",
                pair[0].1.digest
            ));
        }
        if found.is_empty() {
            return Err(match which.digest {
                Some(digest) => {
                    format!("No such statement with the digest {digest} is listed as new in SHOW FIREWALL")
                }
                None => "No such statement is listed as new in SHOW FIREWALL".to_owned(),
            });
        }
        for (accepted, key) in found.iter().enumerate() {
            let Some(new) = self.new.get(key) else { continue };
            let statement = Statement {
                text: Arc::clone(&new.statement),
                learned_at: now,
                last_seen: new.last_seen,
                hits: 0,
            };
            let added = self.learned.add(&key.0, key.1, statement, bounds);
            added.map_err(|full| {
                let count = found.len();
                format!(
                    "{accepted} of {count} were accepted, then {} was reached (SHOW LIMITS)",
                    full.key()
                )
            })?;
            self.new.remove(key);
        }
        Ok(found.len())
    }

    fn forget(&mut self, which: &Which) -> Result<usize, String> {
        let before = self.new.len();
        self.new
            .retain(|(place, identity), _| !which.is_of(place, *identity));
        let listed = before - self.new.len();
        let learned = self
            .learned
            .forget(|place, identity| which.is_of(place, identity));
        match listed + learned {
            0 => Err("No such statement is in SHOW FIREWALL".to_owned()),
            count => Ok(count),
        }
    }

    /// New ones first, those behind each other that an operator looks at together.
    fn entries(&self) -> Vec<Entry> {
        let new = self.new.iter().map(|((place, identity), new)| Entry {
            place: place.clone(),
            digest: identity.digest,
            statement: Arc::clone(&new.statement),
            learned_at: None,
            hits: new.counts.all(),
            first_seen: new.first_seen,
            last_seen: new.last_seen,
            counts: new.counts,
            runs_others: new.runs_others,
            client: Some(new.client.clone()),
        });
        let learned = self.learned.iter().map(|(place, identity, statement)| Entry {
            place: place.clone(),
            digest: identity.digest,
            statement: Arc::clone(&statement.text),
            learned_at: Some(statement.learned_at),
            hits: statement.hits,
            first_seen: statement.learned_at,
            last_seen: statement.last_seen,
            counts: Seen::default(),
            runs_others: false,
            client: None,
        });
        let mut entries: Vec<Entry> = new.chain(learned).collect();
        entries.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.learned_at.is_some(), entry.place.clone());
            key(one)
                .cmp(&key(other))
                .then_with(|| one.statement.cmp(&other.statement))
        });
        entries
    }

    fn may_complain(&mut self) -> bool {
        let may = self.complained.is_none_or(|last| last.elapsed() >= COMPLAIN);
        if may {
            self.complained = Some(Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests;
