//! What waits for a mirror: bounded in number and bytes. Who puts something in never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Job;

/// The end that sessions have.
#[derive(Debug)]
pub struct Queue {
    jobs: Sender<Waiting>,
    gauge: Arc<Gauge>,
}

/// The end that the mirror's thread has.
#[derive(Debug)]
pub struct Jobs {
    jobs: Receiver<Waiting>,
    gauge: Arc<Gauge>,
}

#[derive(Debug)]
struct Gauge {
    bytes: AtomicUsize,
    most_bytes: usize,
    closed: AtomicBool,
}

/// Nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A statement with its part of the bytes that may be held: until all is done about it.
#[derive(Debug)]
pub struct Waiting {
    pub job: Job,
    _space: Space,
}

/// Bytes of the queue, until it is dropped.
#[derive(Debug)]
struct Space {
    bytes: usize,
    gauge: Arc<Gauge>,
}

impl Drop for Space {
    fn drop(&mut self) {
        self.gauge.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a queue holds and may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    pub jobs: usize,
    pub most_jobs: usize,
    pub bytes: usize,
    pub most_bytes: usize,
}

/// One for so many statements, of so many bytes together.
pub fn new(length: usize, most_bytes: usize) -> (Queue, Jobs) {
    let (sender, receiver) = mpsc::channel(length.max(1));
    let gauge = Arc::new(Gauge {
        bytes: AtomicUsize::new(0),
        most_bytes,
        closed: AtomicBool::new(false),
    });
    let jobs = Jobs {
        jobs: receiver,
        gauge: Arc::clone(&gauge),
    };
    (Queue { jobs: sender, gauge }, jobs)
}

impl Queue {
    /// Whether there is room for this much, at the moment.
    pub fn has_room(&self, bytes: usize) -> bool {
        let used = self.gauge.bytes.load(Ordering::Relaxed);
        self.jobs.capacity() > 0 && used.saturating_add(bytes) <= self.gauge.most_bytes
    }

    /// # Errors
    /// [`Full`]
    pub fn put(&self, job: Job, bytes: usize) -> Result<(), Full> {
        let before = self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        let space = Space {
            bytes,
            gauge: Arc::clone(&self.gauge),
        };
        if before.saturating_add(bytes) > self.gauge.most_bytes {
            return Err(Full);
        }
        let waiting = Waiting { job, _space: space };
        self.jobs.try_send(waiting).map_err(|_| Full)
    }

    /// See [`Jobs::close`].
    pub fn is_closed_for_now(&self) -> bool {
        self.gauge.closed.load(Ordering::Relaxed)
    }

    pub fn filled(&self) -> Filled {
        Filled {
            jobs: self.jobs.max_capacity() - self.jobs.capacity(),
            most_jobs: self.jobs.max_capacity(),
            bytes: self.gauge.bytes.load(Ordering::Relaxed),
            most_bytes: self.gauge.most_bytes,
        }
    }
}

impl Jobs {
    /// The oldest. `None`: nobody has the other end any more, and nothing will come.
    pub async fn next(&mut self) -> Option<Waiting> {
        self.jobs.recv().await
    }

    /// Says whether anything should be put in.
    pub fn close(&self, closed: bool) {
        self.gauge.closed.store(closed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Fingerprint;
    use crate::mirror::Statement;
    use crate::mirror::answer::Answer;
    use crate::mirror::shape::Shape;
    use crate::session::settings::Settings;
    use tandem_protocol::flags::Capabilities;

    fn job(number: u64) -> Job {
        Job {
            digest: Fingerprint(number),
            name: "SELECT ?".into(),
            shape: Shape::default(),
            statement: Statement::Text(b"SELECT 1".to_vec()),
            settings: Settings::default(),
            flags: Capabilities::empty(),
            sent_at: 0,
            here: Answer::default(),
        }
    }

    /// Whatever the bound is that is reached first, nothing waits and nothing more is held.
    #[tokio::test]
    async fn both_bounds_hold_and_what_is_taken_out_makes_room() {
        let (queue, mut jobs) = new(2, 100);
        assert!(queue.has_room(100) && !queue.has_room(101));
        assert_eq!(queue.put(job(1), 101), Err(Full));
        assert_eq!(queue.filled().bytes, 0, "what was refused takes nothing");
        assert_eq!(queue.put(job(1), 60), Ok(()));
        assert!(!queue.has_room(60));
        assert_eq!(queue.put(job(2), 60), Err(Full));
        assert_eq!(queue.put(job(2), 10), Ok(()));
        assert!(!queue.has_room(1), "two are in it");
        assert_eq!(queue.put(job(3), 1), Err(Full));
        let filled = Filled {
            jobs: 2,
            most_jobs: 2,
            bytes: 70,
            most_bytes: 100,
        };
        assert_eq!(queue.filled(), filled);
        for number in 1..3 {
            assert_eq!(
                jobs.next().await.map(|waiting| waiting.job.digest),
                Some(Fingerprint(number))
            );
        }
        assert_eq!(queue.filled().bytes, 0);
        drop(queue);
        assert!(jobs.next().await.is_none());
    }

    #[test]
    fn the_other_end_can_say_that_nothing_is_wanted() {
        let (queue, jobs) = new(1, 1);
        assert!(!queue.is_closed_for_now());
        jobs.close(true);
        assert!(queue.is_closed_for_now());
    }
}
