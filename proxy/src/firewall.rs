//! The firewall: what an account has sent while its statements were learnt is let through, what is new is warned of or refused.
//!
//! A statement is known by its shape ([`crate::classify::identity`]), for an account and a default schema. What is known
//! belongs to the [`keeper::Keeper`], on the control path, which has it in a file; workers go by copies ([`Sheets`]), count there and
//! tell of what is new when they are asked ([`guard::Guard`]). So a statement costs one look into a table of its session's own worker.

pub mod file;
pub mod guard;
pub mod keeper;
pub mod learned;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::classify::identity::Identity;

/// Where statements are known or not: of an account, in a default schema, which is empty where there is none. Accounts of the
/// servers are known by their name, from whatever host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub account: Arc<str>,
    pub schema: Arc<str>,
}

impl Place {
    pub fn new(account: &str, schema: &str) -> Self {
        Self {
            account: account.into(),
            schema: schema.into(),
        }
    }
}

/// What is known in one place, each with a number of its own, from 0 on without a gap.
pub type Known = FxHashMap<Identity, u32>;

/// All that is known, for the workers.
pub type Sheets = FxHashMap<Place, Arc<Known>>;

/// How often statements of a shape were seen in one place since somebody asked.
pub type Hits = (Place, Vec<(Identity, u64)>);

/// A shape that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub place: Place,
    pub identity: Identity,
    /// See [`crate::classify::identity::Part`]: it is not learnt.
    pub runs_others: bool,
    /// Without its values.
    pub statement: String,
    pub counts: Seen,
    /// Who sent it last.
    pub session: u32,
    pub client: String,
}

/// What was done about statements of a shape that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Let through, to be learnt.
    pub learnt: u64,
    pub warned: u64,
    pub refused: u64,
}

impl Seen {
    pub fn add(&mut self, other: Self) {
        self.learnt += other.learnt;
        self.warned += other.warned;
        self.refused += other.refused;
    }

    pub fn all(self) -> u64 {
        self.learnt + self.warned + self.refused
    }
}

/// What a worker has to tell.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sightings: Vec<Sighting>,
    pub hits: Vec<Hits>,
    /// Sightings for which there was no room.
    pub left_out: u64,
}
