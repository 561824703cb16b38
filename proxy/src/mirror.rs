//! A copy of some reads for another server, whose answers are compared with what the clients got: rules say which
//! (`mirror = "NAME"`), `[[mirror]]` says where.
//!
//! ```text
//! session: may it? (shape, Skip) -> copy -> the client's answer, summed up as it passes -> queue, or dropped
//! thread "mirror": queue -> connection, settings, statement -> compare -> perhaps a second look -> Results
//! ```
//!
//! No client waits for any of it: the session looks whether there is room, and hands over when its client has the whole answer. What
//! is asked there runs on a thread and on connections of its own, which may only read.

pub mod answer;
pub mod entrance;
pub mod queue;
pub mod results;
mod runner;
pub mod shape;
pub mod sums;
pub mod view;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tandem_protocol::flags::Capabilities;
use tokio::sync::mpsc;

use crate::classify::Fingerprint;
use crate::config;
use crate::net::tls::Connector;
use crate::session::settings::Settings;
use answer::Answer;
use queue::{Full, Queue};
use results::Results;
use runner::Start;
use shape::Shape;
use view::State;

/// Handshake flags of a session's server connections that change what its statements mean.
const MEANING: Capabilities = Capabilities::LONG_FLAG
    .union(Capabilities::ODBC)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::IGNORE_SPACE);

/// What is run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Text(Vec<u8>),
    Prepared {
        text: Vec<u8>,
        /// The `COM_STMT_EXECUTE`, with the types of its parameters and the id of another connection.
        execute: Vec<u8>,
    },
}

impl Statement {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Prepared { text, execute } => text.len() + execute.len(),
        }
    }

    /// The handshake flags that it needs, of those that the session's connections have.
    pub fn flags(&self, session: Capabilities) -> Capabilities {
        match self {
            Self::Text(_) => session & MEANING,
            // They decide how an execution is written.
            Self::Prepared { .. } => session & (MEANING | Capabilities::QUERY_ATTRIBUTES),
        }
    }
}

/// A statement that was answered, to be run on a mirror.
#[derive(Debug)]
pub struct Job {
    pub digest: Fingerprint,
    /// Without its values.
    pub name: Arc<str>,
    pub shape: Shape,
    pub statement: Statement,
    pub settings: Settings,
    pub flags: Capabilities,
    /// When it was sent, in microseconds of the clock on the wall.
    pub sent_at: u64,
    /// What its client got.
    pub here: Answer,
}

impl Job {
    fn size(&self) -> usize {
        let variables = self.settings.variables().iter();
        let settings: usize = variables.map(|variable| variable.size()).sum();
        size_of::<Self>() + self.statement.size() + settings
    }
}

/// One mirror, as sessions see it. The thread that asks it ends with the last of these.
#[derive(Debug)]
pub struct Mirror {
    /// Another one for every mirror that there has been.
    pub id: u64,
    pub config: config::Mirror,
    queue: Queue,
    shared: Arc<Shared>,
}

/// What its thread tells of it.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    results: Mutex<Results>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror {
    /// Whether a job of about this size would be taken.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.queue.has_room(bytes)
    }

    /// It is not reached: nothing needs to be copied for it.
    pub fn is_down(&self) -> bool {
        self.queue.is_closed_for_now()
    }

    /// Has a statement run there, some time.
    ///
    /// # Errors
    /// Where too many wait for that, or too large ones.
    pub fn take(&self, job: Job) -> Result<(), Full> {
        let bytes = job.size();
        self.queue.put(job, bytes)
    }
}

/// All mirrors of the configuration that acts.
#[derive(Debug)]
pub struct Mirrors {
    list: ArcSwap<Vec<Arc<Mirror>>>,
    tls: Arc<Connector>,
    /// To the thread, once there is a mirror.
    starts: Mutex<Option<mpsc::UnboundedSender<Start>>>,
    last_id: AtomicU64,
}

impl Mirrors {
    pub fn new(config: &config::Config, tls: Arc<Connector>) -> Self {
        let mirrors = Self {
            list: ArcSwap::default(),
            tls,
            starts: Mutex::default(),
            last_id: AtomicU64::new(0),
        };
        mirrors.adopt(config);
        mirrors
    }

    /// From now on there are these. One that is as it was goes on with what it has counted; whatever is new or another begins anew.
    pub fn adopt(&self, config: &config::Config) {
        let before = self.list.load();
        let mirrors = config.mirrors.iter().filter_map(|wanted| {
            let known = before.iter().find(|known| known.config == *wanted);
            known.map(Arc::clone).or_else(|| self.start(wanted))
        });
        self.list.store(Arc::new(mirrors.collect()));
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<Arc<Mirror>> {
        let mirrors = self.list.load();
        mirrors
            .iter()
            .find(|mirror| mirror.config.name == name)
            .map(Arc::clone)
    }

    pub fn all(&self) -> Arc<Vec<Arc<Mirror>>> {
        self.list.load_full()
    }

    fn start(&self, config: &config::Mirror) -> Option<Arc<Mirror>> {
        let (queue, waiting) = queue::new(config.queue_length, config.queue_bytes);
        let shared = Arc::<Shared>::default();
        let start = Start {
            config: config.clone(),
            waiting,
            shared: Arc::clone(&shared),
        };
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.is_none() {
            match runner::begin(Arc::clone(&self.tls)) {
                Ok(begun) => *starts = Some(begun),
                Err(error) => tracing::error!("the thread for mirrors could not start: {error}"),
            }
        }
        starts.as_ref()?.send(start).ok()?;
        Some(Arc::new(Mirror {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            config: config.clone(),
            queue,
            shared,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::Tls;

    const CONFIG: &str = r#"
listener = { address = "127.0.0.1:0" }
admin = { address = "127.0.0.1:0", user = "admin", password = "s3cret" }
monitor = { user = "watcher", password = "w4tch" }
server = [{ name = "a", address = "127.0.0.1:1" }, { name = "b", address = "127.0.0.1:2" }]
user = [{ name = "app", password = "hunter-app" }]
"#;

    /// A reload leaves a mirror alone that it does not change, so that its numbers and its queue go on.
    #[test]
    fn mirrors_come_change_and_go() {
        let config = |mirrors: &str| {
            let text = match mirrors {
                "" => CONFIG.to_owned(),
                mirrors => format!("{CONFIG}mirror = [{mirrors}]\n"),
            };
            config::parse(&text).expect("a configuration")
        };
        let entry = |name: &str, more: &str| {
            format!("{{ name = \"{name}\", server = \"b\", user = \"m\", password = \"m\"{more} }}")
        };
        let tls = Tls::new(&config("")).expect("no files").servers;
        let mirrors = Mirrors::new(&config(&entry("x", "")), tls);
        let id = |name: &str| mirrors.named(name).map(|mirror| mirror.id);
        let x = id("x");
        assert!(x.is_some());
        mirrors.adopt(&config(&[entry("y", ""), entry("x", "")].join(", ")));
        assert_eq!(id("x"), x);
        assert!(id("y").is_some_and(|y| Some(y) != x));
        mirrors.adopt(&config(&entry("x", ", connections = 1")));
        assert!(id("x").is_some_and(|new| Some(new) != x), "it begins anew");
        assert_eq!(id("y"), None);
        mirrors.adopt(&config(""));
        assert_eq!(id("x"), None);
    }
}
