//! What the outside may see of mirrors: what the workers have counted at the entrance and what has come of it, together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::entrance::{self, Row};
use super::queue::Filled;
use super::results::{self, Found};
use super::shape::Skip;
use super::{Mirror, Mirrors};
use crate::classify::Fingerprint;

/// Whether a mirror is reached.
#[derive(Clone, Debug, Default)]
pub enum State {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    Up,
    /// It is tried again, ever more seldom.
    Down {
        error: String,
        next_try: Instant,
    },
}

impl State {
    /// As tables have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "not tried yet",
            Self::Up => "up",
            Self::Down { .. } => "down",
        }
    }
}

/// One mirror.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub address: String,
    pub connections: usize,
    pub state: State,
    pub filled: Filled,
    /// By what most was mirrored of.
    pub shapes: Vec<ShapeView>,
}

/// One shape of statement on one mirror.
#[derive(Clone, Debug, Default)]
pub struct ShapeView {
    /// `None`: of all shapes for which there was no more room.
    pub digest: Option<Fingerprint>,
    pub name: Arc<str>,
    pub entrance: entrance::Counts,
    pub results: results::Counts,
    pub found: Vec<Found>,
}

impl ShapeView {
    /// How many were handed over.
    pub fn mirrored(&self) -> u64 {
        self.entrance.handed_over
    }

    /// Of which nothing is known, since something was full.
    pub fn dropped(&self) -> u64 {
        self.entrance.dropped + self.results.dropped
    }

    pub fn unreachable(&self) -> u64 {
        self.entrance.unreachable + self.results.unreachable
    }

    /// Why statements were not compared, and how many.
    pub fn skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.entrance.skipped;
        let here = Skip::ALL.map(|why| (why.name(), counts[why as usize]));
        let there = [("settings that the mirror refuses", self.results.refused)];
        here.into_iter().chain(there).filter(|(_, count)| *count > 0)
    }

    /// Each outcome with its name, for tables and metrics.
    pub fn outcomes(&self) -> [(&'static str, u64); 10] {
        let results = &self.results;
        [
            ("mirrored", self.mirrored()),
            ("same", results.same),
            ("late", results.late),
            ("moving", results.moving),
            ("different", results.different),
            ("errors", results.errors),
            ("timed_out", results.timed_out),
            ("unreachable", self.unreachable()),
            ("dropped", self.dropped()),
            ("skipped", self.skipped().map(|(_, count)| count).sum()),
        ]
    }
}

impl View {
    /// The same of all its shapes.
    pub fn outcomes(&self) -> [(&'static str, u64); 10] {
        let mut sum = ShapeView::default().outcomes();
        for shape in &self.shapes {
            for (sum, (_, count)) in sum.iter_mut().zip(shape.outcomes()) {
                sum.1 += count;
            }
        }
        sum
    }

    /// Why statements were not compared, of all its shapes.
    pub fn skipped(&self) -> Vec<(&'static str, u64)> {
        let mut sum: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (why, count) in self.shapes.iter().flat_map(ShapeView::skipped) {
            *sum.entry(why).or_default() += count;
        }
        sum.into_iter().collect()
    }
}

impl Mirrors {
    /// All of them, with what the workers have counted.
    pub fn views(&self, entrances: &[Row]) -> Vec<View> {
        let mirrors = self.all();
        mirrors.iter().map(|mirror| mirror.view(entrances)).collect()
    }
}

impl Mirror {
    fn view(&self, entrances: &[Row]) -> View {
        let mut shapes: BTreeMap<Option<Fingerprint>, ShapeView> = BTreeMap::new();
        for row in entrances.iter().filter(|row| row.mirror == self.id) {
            let shape = shapes.entry(row.digest).or_default();
            shape.name = Arc::clone(&row.name);
            shape.entrance.add(&row.counts);
        }
        for (digest, tally) in self.shared.results().rows() {
            let shape = shapes.entry(digest).or_default();
            shape.name = tally.name;
            shape.results = tally.counts;
            shape.found = tally.found.into();
        }
        let mut shapes: Vec<ShapeView> = shapes
            .into_iter()
            .map(|(digest, shape)| ShapeView { digest, ..shape })
            .collect();
        shapes.sort_by_key(|shape| std::cmp::Reverse(shape.mirrored()));
        View {
            name: self.config.name.clone(),
            address: self.config.address.to_string(),
            connections: self.config.connections,
            state: self.shared.state().clone(),
            filled: self.queue.filled(),
            shapes,
        }
    }
}
