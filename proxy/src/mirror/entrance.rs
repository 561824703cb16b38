//! What one worker counts of the statements that its rules want mirrored: handed over, or why not. By shape, since it is the shapes
//! that are looked at, and bounded.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::shape::{Shape, Skip};
use crate::classify::Fingerprint;

/// Shapes that a worker counts, of all mirrors.
const MOST_SHAPES: usize = 1000;

/// What became of statements before they were handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub handed_over: u64,
    /// The queue was full.
    pub dropped: u64,
    /// The mirror was known to be down.
    pub unreachable: u64,
    /// By [`Skip`].
    pub skipped: [u64; Skip::COUNT],
}

impl Counts {
    pub fn skip(&mut self, why: Skip) {
        self.skipped[why as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.handed_over += other.handed_over;
        self.dropped += other.dropped;
        self.unreachable += other.unreachable;
        for (sum, count) in self.skipped.iter_mut().zip(&other.skipped) {
            *sum += count;
        }
    }
}

/// One worker's.
#[derive(Debug, Default)]
pub struct Entrance {
    shapes: FxHashMap<(u64, Fingerprint), Entry>,
    /// By mirror, of shapes beyond [`MOST_SHAPES`].
    beyond: FxHashMap<u64, Counts>,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    shape: Shape,
    counts: Counts,
}

/// What was counted of one shape.
#[derive(Clone, Debug)]
pub struct Row {
    /// Of the mirror.
    pub mirror: u64,
    /// `None`: of all shapes for which there was no more room.
    pub digest: Option<Fingerprint>,
    pub name: Arc<str>,
    pub counts: Counts,
}

impl Entrance {
    /// What of a shape matters to a mirror; `find` is asked once.
    pub fn shape(
        &mut self,
        mirror: u64,
        digest: Fingerprint,
        name: &Arc<str>,
        find: impl FnOnce() -> Shape,
    ) -> Shape {
        let key = (mirror, digest);
        if let Some(entry) = self.shapes.get(&key) {
            return entry.shape;
        }
        if self.shapes.len() >= MOST_SHAPES {
            return Shape {
                skip: Some(Skip::Shapes),
                ..Shape::default()
            };
        }
        let shape = find();
        let entry = Entry {
            name: Arc::clone(name),
            shape,
            counts: Counts::default(),
        };
        self.shapes.insert(key, entry);
        shape
    }

    pub fn count(&mut self, mirror: u64, digest: Fingerprint, change: impl FnOnce(&mut Counts)) {
        match self.shapes.get_mut(&(mirror, digest)) {
            Some(entry) => change(&mut entry.counts),
            None => change(self.beyond.entry(mirror).or_default()),
        }
    }

    pub fn rows(&self) -> Vec<Row> {
        let shapes = self.shapes.iter().map(|((mirror, digest), entry)| Row {
            mirror: *mirror,
            digest: Some(*digest),
            name: Arc::clone(&entry.name),
            counts: entry.counts,
        });
        let beyond = self.beyond.iter().map(|(mirror, counts)| Row {
            mirror: *mirror,
            digest: None,
            name: "".into(),
            counts: *counts,
        });
        shapes.chain(beyond).collect()
    }

    /// Forgets mirrors that are gone.
    pub fn keep(&mut self, is_there: impl Fn(u64) -> bool) {
        self.shapes.retain(|(mirror, _), _| is_there(*mirror));
        self.beyond.retain(|mirror, _| is_there(*mirror));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An application that makes new shapes all the time takes no more memory here, and what becomes of them is still counted.
    #[test]
    fn shapes_are_bounded_and_nothing_is_counted_for_the_wrong_one() {
        let mut entrance = Entrance::default();
        let name: Arc<str> = "SELECT ?".into();
        let most = MOST_SHAPES as u64;
        for number in 0..most + 7 {
            let digest = Fingerprint(number);
            let shape = entrance.shape(1, digest, &name, Shape::default);
            match shape.skip {
                Some(why) => entrance.count(1, digest, |counts| counts.skip(why)),
                None => entrance.count(1, digest, |counts| counts.handed_over += 1),
            }
        }
        let rows = entrance.rows();
        assert_eq!(rows.len(), MOST_SHAPES + 1);
        let mut sum = Counts::default();
        for row in &rows {
            sum.add(&row.counts);
        }
        assert_eq!((sum.handed_over, sum.skipped[Skip::Shapes as usize]), (most, 7));
        entrance.keep(|mirror| mirror != 1);
        assert!(entrance.rows().is_empty());
    }

    #[test]
    fn a_shape_is_looked_at_once() {
        let mut entrance = Entrance::default();
        let name: Arc<str> = "SELECT ?".into();
        let ordered = Shape {
            is_ordered: true,
            ..Shape::default()
        };
        assert_eq!(entrance.shape(1, Fingerprint(1), &name, || ordered), ordered);
        let again = entrance.shape(1, Fingerprint(1), &name, || panic!("asked twice"));
        assert_eq!(again, ordered);
    }
}
