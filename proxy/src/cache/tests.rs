use std::time::Duration;

use super::*;
use crate::backend::UserId;
use crate::classify::facts::Defines;
use crate::classify::{Dialect, analyse};
use crate::topology::catalog::{Catalog, Definitions};
use crate::topology::gtid::{Position, Stream};
use crate::topology::ledger::{Reach, Writing};
use crate::topology::table::{NameKey, TableKey};

const BOUNDS: Bounds = Bounds {
    bytes: 64 << 10,
    reply: 8 << 10,
};
const SECOND: Duration = Duration::from_secs(1);

fn mark() -> Arc<Mark> {
    let mark = Mark::new(Stream::of_mariadb(0, 1), 2, Position::default(), None, None);
    mark.set_catalog(Catalog::new(mark.ledger().definitions(), Definitions::default()));
    mark
}

fn stamp(mark: &Mark, text: &str) -> Stamp {
    let facts = analyse(text.as_bytes(), Dialect::MARIADB);
    Stamp::take(&facts.tables, NameKey::new(b"shop"), mark).expect("nothing is written")
}

fn write(mark: &Arc<Mark>, table: &str) {
    let key = TableKey::of("shop", table).expect("a key");
    let mut writing = Writing::default();
    let version = mark.ledger().version();
    writing.begin(mark, &Reach::Tables(&[key]), version, Defines::Nothing);
    writing.end();
}

fn reply(len: usize) -> Reply {
    Reply {
        bytes: Bytes::from(vec![7; len]),
        rows: 1,
        found_rows: 1,
    }
}

struct Asker {
    settings: Rc<Settings>,
}

impl Asker {
    fn new() -> Self {
        Self {
            settings: Rc::new(Settings::new(45, Some(b"shop"))),
        }
    }

    fn question<'a>(&'a self, text: &'a str) -> Question<'a> {
        Question {
            key: Key {
                user: UserId(1),
                flags: Capabilities::DEPRECATE_EOF,
                epoch: 1,
                origin: None,
            },
            capabilities: Capabilities::DEPRECATE_EOF,
            rule: 0,
            settings: &self.settings,
            prepared_under: None,
            text: text.as_bytes(),
            parameters: None,
        }
    }
}

/// Keeps a reply of so many bytes for a second from `now`.
fn keep(cache: &mut Cache, question: &Question<'_>, mark: &Arc<Mark>, len: usize, now: Instant) {
    let text = std::str::from_utf8(question.text).expect("text");
    cache.keep(question, mark, stamp(mark, text), now + SECOND, reply(len));
}

#[test]
fn the_same_question_has_the_same_reply_and_any_other_has_not() {
    let (asker, mark, now) = (Asker::new(), mark(), Instant::now());
    let mut cache = Cache::new(BOUNDS);
    let question = asker.question("SELECT a FROM t");
    keep(&mut cache, &question, &mark, 10, now);
    assert_eq!(cache.find(&question, &mark, now), Some(reply(10)));
    let same = Rc::new((*asker.settings).clone());
    let mut again = question;
    again.settings = &same;
    assert!(cache.find(&again, &mark, now).is_some(), "equal settings");
    let mut utc = Settings::new(45, Some(b"shop"));
    utc.set_variable(b"time_zone", b"+00:00");
    let (utc, elsewhere) = (Rc::new(utc), Rc::new(Settings::new(45, Some(b"blog"))));
    let other_key = |change: fn(&mut Key)| {
        let mut other = question;
        change(&mut other.key);
        other
    };
    let others = [
        other_key(|key| key.user = UserId(2)),
        other_key(|key| key.epoch = 2),
        other_key(|key| key.flags = Capabilities::empty()),
        other_key(|key| key.origin = Some(crate::backend::Origin::Local)),
        Question {
            capabilities: Capabilities::empty(),
            ..question
        },
        Question { rule: 1, ..question },
        Question {
            settings: &utc,
            ..question
        },
        Question {
            settings: &elsewhere,
            ..question
        },
        Question {
            prepared_under: Some(&asker.settings),
            ..question
        },
        Question {
            text: b"SELECT a FROM T",
            ..question
        },
        Question {
            parameters: Some(b""),
            ..question
        },
    ];
    for other in &others {
        assert_eq!(cache.find(other, &mark, now), None, "{other:?}");
    }
    let counts = cache.counts();
    assert_eq!((counts.hits, counts.misses, counts.kept), (2, 11, 1));
}

#[test]
fn a_reply_is_given_until_it_is_old_or_its_table_is_written() {
    let (asker, mark, now) = (Asker::new(), mark(), Instant::now());
    let mut cache = Cache::new(BOUNDS);
    let (t, u) = (
        asker.question("SELECT a FROM t"),
        asker.question("SELECT a FROM u"),
    );
    for question in [&t, &u] {
        keep(&mut cache, question, &mark, 10, now);
    }
    write(&mark, "t");
    assert_eq!(cache.find(&t, &mark, now), None);
    assert!(cache.find(&u, &mark, now + SECOND / 2).is_some());
    assert_eq!(cache.find(&u, &mark, now + SECOND), None);
    let counts = cache.counts();
    assert_eq!((counts.invalidated, counts.expired), (1, 1));
    assert_eq!((cache.len(), cache.taken().used()), (0, 0));
}

/// What was written while the reply was on its way made it old before it was kept.
#[test]
fn a_reply_that_is_old_already_is_not_kept() {
    let (asker, mark, now) = (Asker::new(), mark(), Instant::now());
    let mut cache = Cache::new(BOUNDS);
    let question = asker.question("SELECT a FROM t");
    let before = stamp(&mark, "SELECT a FROM t");
    write(&mark, "t");
    cache.keep(&question, &mark, before, now + SECOND, reply(10));
    assert!(cache.is_empty());
}

#[test]
fn another_active_master_empties_it() {
    let (asker, first, second) = (Asker::new(), mark(), mark());
    let now = Instant::now();
    let mut cache = Cache::new(BOUNDS);
    let question = asker.question("SELECT a FROM t");
    keep(&mut cache, &question, &first, 10, now);
    assert_eq!(cache.find(&question, &second, now), None);
    assert_eq!((cache.len(), cache.counts().invalidated), (0, 1));
}

/// What it takes never exceeds the bound; who was asked for again stays, and the others go in their order.
#[test]
fn the_oldest_that_nobody_asked_for_goes_first() {
    let (asker, mark, now) = (Asker::new(), mark(), Instant::now());
    let mut cache = Cache::new(BOUNDS);
    let texts: Vec<String> = (0..40).map(|n| format!("SELECT {n} FROM t")).collect();
    for text in &texts {
        keep(&mut cache, &asker.question(text), &mark, 4 << 10, now);
        assert!(cache.taken().used() <= BOUNDS.bytes);
        // The first is asked for all the time.
        assert!(cache.find(&asker.question(&texts[0]), &mark, now).is_some());
    }
    let kept = cache.len();
    assert!((10..=14).contains(&kept), "{kept}");
    assert_eq!(cache.counts().evicted, 40 - kept as u64);
    let is_there = |cache: &mut Cache, text: &str| cache.find(&asker.question(text), &mark, now).is_some();
    assert!(!is_there(&mut cache, &texts[1]));
    assert!(is_there(&mut cache, &texts[39]));
    assert!(cache.order.len() < 64 + 2 * 40);
    cache.bound(Bounds {
        bytes: 10 << 10,
        ..BOUNDS
    });
    assert!(cache.taken().used() <= 10 << 10);
    let left = cache.len();
    assert_eq!(cache.clear(), left);
    assert_eq!((cache.len(), cache.taken().used()), (0, 0));
}

#[test]
fn a_reply_that_is_too_large_is_not_kept() {
    let (asker, mark, now) = (Asker::new(), mark(), Instant::now());
    let mut cache = Cache::new(BOUNDS);
    let question = asker.question("SELECT a FROM t");
    keep(&mut cache, &question, &mark, BOUNDS.reply + 1, now);
    assert!(cache.is_empty());
    assert_eq!(cache.taken().refused(), 1);
}

/// Replies that are made old again and again leave nothing behind.
#[test]
fn what_is_gone_takes_no_place() {
    let (asker, mark, now) = (Asker::new(), mark(), Instant::now());
    let mut cache = Cache::new(BOUNDS);
    let question = asker.question("SELECT a FROM t");
    for _ in 0..1000 {
        keep(&mut cache, &question, &mark, 10, now);
        write(&mark, "t");
        assert_eq!(cache.find(&question, &mark, now), None);
    }
    assert!(cache.order.len() <= 66, "{}", cache.order.len());
}
