//! A worker seen from another thread: sockets and questions go in, copies come out.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, oneshot};

use super::kill::{Order, Outcome};
use super::{Parts, Worker};
use crate::admin::view::{Answer, DataPath, Details, Explanation, Measure, Question, WorkerView};
use crate::config::Config;
use crate::firewall::{Report, Sheets};
use crate::mirror::Mirrors;
use crate::mirror::entrance::Row;
use crate::mirror::view::View;
use crate::net::address::Accepted;
use crate::route::explain;
use crate::session;
use crate::session::registry::Signal;
use crate::statistics::digest::Counted;
use crate::statistics::store::together;

/// How long the control path waits for a worker's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a kill, which may have to connect to a server first.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Sessions are small; the analysis of a new statement shape with sqlparser may need more than a page or two.
const STACK: usize = 4 << 20;

/// What a worker can be sent.
pub enum Message {
    Client {
        accepted: Accepted,
        id: u32,
        place: Place,
    },
    View(oneshot::Sender<WorkerView>),
    Measure(oneshot::Sender<Measure>),
    Digests {
        most: usize,
        answer: oneshot::Sender<Vec<Counted>>,
    },
    Trace {
        session: u32,
        statements: u32,
        answer: oneshot::Sender<bool>,
    },
    Details(oneshot::Sender<Details>),
    ResetStatistics(oneshot::Sender<()>),
    Entrance(oneshot::Sender<Vec<Row>>),
    EmptyCache(oneshot::Sender<usize>),
    Explain {
        question: Question,
        answer: oneshot::Sender<Explanation>,
    },
    Kill {
        order: Order,
        answer: oneshot::Sender<Outcome>,
    },
    /// Which connection of the active master serves a session.
    ServedBy {
        session: u32,
        answer: oneshot::Sender<Option<u32>>,
    },
    /// The sessions of a name, from any host or from one.
    SessionsOf {
        name: Vec<u8>,
        host: Option<Vec<u8>>,
        answer: oneshot::Sender<Vec<u32>>,
    },
    Adopt {
        config: Arc<Config>,
        answer: oneshot::Sender<()>,
    },
    /// What the firewall has seen.
    Sighted(oneshot::Sender<Report>),
    /// What it knows from now on.
    GoBy {
        sheets: Arc<Sheets>,
        answer: oneshot::Sender<()>,
    },
    /// Whether it gets round to its messages.
    Ping(oneshot::Sender<()>),
    /// No new statements: end sessions as they come to rest, and the worker after `within`.
    Drain {
        within: Duration,
    },
}

/// A session's place in the count by which new clients are spread; given back by drop.
pub struct Place {
    sessions: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Handle of a running worker.
pub struct Remote {
    messages: mpsc::UnboundedSender<Message>,
    sessions: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Remote {
    /// Starts a worker's thread.
    ///
    /// # Errors
    /// When the thread or its runtime can't be made.
    pub fn start(index: usize, parts: Parts) -> io::Result<Self> {
        let (messages, inbox) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .stack_size(STACK)
            .spawn(move || match runtime() {
                Ok(runtime) => runtime.block_on(work(Worker::new(index, parts), inbox)),
                Err(error) => tracing::error!(worker = index, "a worker could not start: {error}"),
            })?;
        Ok(Self {
            messages,
            sessions: Arc::default(),
            thread: Some(thread),
        })
    }

    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Hands an accepted client over. Messages are bounded by `listener.max_connections`.
    pub fn take(&self, accepted: Accepted, id: u32) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            sessions: Arc::clone(&self.sessions),
        };
        // Fails only when the worker has ended; then socket and place are dropped.
        let _ = self.messages.send(Message::Client { accepted, id, place });
    }

    pub fn drain(&self, within: Duration) {
        let _ = self.messages.send(Message::Drain { within });
    }

    /// Waits for the thread to end.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker thread panicked");
        }
    }
}

/// A runtime of one thread whose tasks need not be `Send`. It is made in the thread that it stays in.
pub(crate) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}

async fn work(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Message>) {
    tokio::task::spawn_local(Rc::clone(&worker).tidy());
    tokio::task::spawn_local(Rc::clone(&worker).follow_topology());
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Client { accepted, id, place } => {
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    session::serve(worker, accepted, id).await;
                    drop(place);
                });
            }
            // Who asked may have given up waiting; an answer that nobody takes is no error.
            Message::View(answer) => {
                if let Some(view) = worker.guard(|| worker.view()) {
                    let _ = answer.send(view);
                }
            }
            Message::Measure(answer) => {
                if let Some(measure) = worker.guard(|| worker.measure()) {
                    let _ = answer.send(measure);
                }
            }
            Message::Digests { most, answer } => {
                let copies = worker.guard(|| worker.digests.borrow().copies(most, Instant::now()));
                if let Some(copies) = copies {
                    let _ = answer.send(copies);
                }
            }
            Message::Trace {
                session,
                statements,
                answer,
            } => {
                if let Some(found) = worker.guard(|| worker.trace(session, statements)) {
                    let _ = answer.send(found);
                }
            }
            Message::Details(answer) => {
                if let Some(details) = worker.guard(|| worker.details()) {
                    let _ = answer.send(details);
                }
            }
            Message::Entrance(answer) => {
                if let Some(rows) = worker.guard(|| worker.entrance.borrow().rows()) {
                    let _ = answer.send(rows);
                }
            }
            Message::ResetStatistics(answer) => {
                if let Some(done) = worker.guard(|| worker.reset_statistics()) {
                    let _ = answer.send(done);
                }
            }
            Message::EmptyCache(answer) => {
                if let Some(count) = worker.guard(|| worker.cache.borrow_mut().clear()) {
                    let _ = answer.send(count);
                }
            }
            Message::Explain { question, answer } => {
                let explained = worker.guard(|| explain::explain(&worker, &question));
                if let Some(explained) = explained {
                    let _ = answer.send(explained);
                }
            }
            Message::Kill { order, answer } => {
                let worker = Rc::clone(&worker);
                tokio::task::spawn_local(async move {
                    let _ = answer.send(worker.kill(order).await);
                });
            }
            Message::ServedBy { session, answer } => {
                if let Some(served_by) = worker.guard(|| worker.serving(session)) {
                    let _ = answer.send(served_by);
                }
            }
            Message::SessionsOf { name, host, answer } => {
                if let Some(sessions) = worker.guard(|| worker.registry.of_user(&name, host.as_deref())) {
                    let _ = answer.send(sessions);
                }
            }
            Message::Adopt { config, answer } => {
                if worker.guard(|| worker.adopt(&config)).is_some() {
                    let _ = answer.send(());
                }
            }
            Message::Sighted(answer) => {
                if let Some(report) = worker.guard(|| worker.firewall.report()) {
                    let _ = answer.send(report);
                }
            }
            Message::GoBy { sheets, answer } => {
                if worker.guard(|| worker.firewall.go_by(sheets)).is_some() {
                    let _ = answer.send(());
                }
            }
            Message::Ping(answer) => {
                let _ = answer.send(());
            }
            Message::Drain { within } => return drain(&worker, within).await,
        }
    }
}

/// Lets sessions come to rest; what still runs after `within` is cut off.
async fn drain(worker: &Worker, within: Duration) {
    worker.registry.send_all(Signal::Drain);
    let deadline = tokio::time::Instant::now() + within;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !worker.registry.is_empty() {
        if tokio::time::Instant::now() >= deadline {
            let left = worker.registry.len();
            tracing::warn!(
                worker = worker.index,
                left,
                "sessions cut off after listener.shutdown_timeout"
            );
            return;
        }
        look.tick().await;
    }
}

/// All workers, as admin and metrics see them.
pub struct Workers {
    channels: Vec<mpsc::UnboundedSender<Message>>,
    /// Whose numbers are told together with the workers'.
    mirrors: Option<Arc<Mirrors>>,
}

impl Workers {
    pub fn new(remotes: &[Remote]) -> Self {
        Self {
            channels: remotes.iter().map(|remote| remote.messages.clone()).collect(),
            mirrors: None,
        }
    }

    /// The same, for who tells of mirrors too.
    #[must_use]
    pub fn with_mirrors(self, mirrors: Arc<Mirrors>) -> Self {
        Self {
            mirrors: Some(mirrors),
            ..self
        }
    }

    /// The active master's own number of the connection that serves a session, or has served it last.
    pub async fn serving(&self, session: u32) -> Option<u32> {
        let asked = self.ask_all(|answer| Message::ServedBy { session, answer });
        all(asked).await.into_iter().flatten().next()
    }

    /// All sessions of a name, from any host or from one.
    pub async fn sessions_of(&self, name: &[u8], host: Option<&[u8]>) -> Vec<u32> {
        let asked = self.ask_all(|answer| Message::SessionsOf {
            name: name.to_vec(),
            host: host.map(<[u8]>::to_vec),
            answer,
        });
        all(asked).await.concat()
    }

    /// Has all of them go by this configuration; true when all have said that they do.
    pub async fn adopt(&self, config: &Arc<Config>) -> bool {
        let asked = self.ask_all(|answer| {
            let config = Arc::clone(config);
            Message::Adopt { config, answer }
        });
        all(asked).await.len() == self.channels.len()
    }

    /// What the firewall has seen since the last time.
    pub async fn sighted(&self) -> Vec<Report> {
        all(self.ask_all(Message::Sighted)).await
    }

    /// Has the firewall know these from now on; true when all have said that they do.
    pub async fn go_by(&self, sheets: &Arc<Sheets>) -> bool {
        let asked = self.ask_all(|answer| {
            let sheets = Arc::clone(sheets);
            Message::GoBy { sheets, answer }
        });
        all(asked).await.len() == self.channels.len()
    }

    /// Whether none of them hangs.
    pub async fn all_answer(&self) -> bool {
        all(self.ask_all(Message::Ping)).await.len() == self.channels.len()
    }

    fn ask_all<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Message) -> Vec<oneshot::Receiver<T>> {
        let ask = |channel: &mpsc::UnboundedSender<Message>| {
            let (answer, receiver) = oneshot::channel();
            let _ = channel.send(question(answer));
            receiver
        };
        self.channels.iter().map(ask).collect()
    }
}

async fn ask<T>(answer: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.ok()?.ok()
}

/// The answers of those that answer.
async fn all<T>(asked: Vec<oneshot::Receiver<T>>) -> Vec<T> {
    let mut answers = Vec::new();
    for receiver in asked {
        answers.extend(ask(receiver).await);
    }
    answers
}

impl DataPath for Workers {
    fn views(&self) -> Answer<Vec<WorkerView>> {
        let asked = self.ask_all(Message::View);
        Box::pin(async move { all(asked).await })
    }

    fn measures(&self) -> Answer<Vec<Measure>> {
        let asked = self.ask_all(Message::Measure);
        Box::pin(async move { all(asked).await })
    }

    fn digests(&self, most: usize) -> Answer<Vec<Counted>> {
        let asked = self.ask_all(|answer| Message::Digests { most, answer });
        Box::pin(async move {
            let mut digests = together(all(asked).await.into_iter().flatten());
            digests.truncate(most);
            digests
        })
    }

    fn details(&self) -> Answer<Vec<Details>> {
        let asked = self.ask_all(Message::Details);
        Box::pin(async move { all(asked).await })
    }

    fn trace(&self, session: u32, statements: u32) -> Answer<bool> {
        let asked = self.ask_all(|answer| Message::Trace {
            session,
            statements,
            answer,
        });
        Box::pin(async move { all(asked).await.contains(&true) })
    }

    fn mirrors(&self) -> Answer<Vec<View>> {
        let Some(mirrors) = self.mirrors.clone().filter(|mirrors| !mirrors.all().is_empty()) else {
            return Box::pin(async { Vec::new() });
        };
        let asked = self.ask_all(Message::Entrance);
        Box::pin(async move { mirrors.views(&all(asked).await.concat()) })
    }

    fn reset_statistics(&self) -> Answer<()> {
        let asked = self.ask_all(Message::ResetStatistics);
        Box::pin(async move { drop(all(asked).await) })
    }

    fn empty_cache(&self) -> Answer<usize> {
        let asked = self.ask_all(Message::EmptyCache);
        Box::pin(async move { all(asked).await.into_iter().sum() })
    }

    fn explain(&self, question: Question) -> Answer<Explanation> {
        let (answer, receiver) = oneshot::channel();
        if let Some(channel) = self.channels.first() {
            let _ = channel.send(Message::Explain { question, answer });
        }
        Box::pin(async move { ask(receiver).await.unwrap_or_default() })
    }

    fn kill(&self, order: Order) -> Answer<Outcome> {
        let asked = self.ask_all(|answer| Message::Kill { order, answer });
        Box::pin(async move {
            // One worker has the session; the others don't know it.
            for receiver in asked {
                match tokio::time::timeout(KILL_TIMEOUT, receiver).await {
                    Ok(Ok(Outcome::Unknown) | Err(_)) => {}
                    Ok(Ok(outcome)) => return outcome,
                    Err(_) => return Outcome::Failed(format!("no answer within {KILL_TIMEOUT:?}")),
                }
            }
            Outcome::Unknown
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service manager's watchdog must hear nothing while one worker of several hangs or is gone.
    #[tokio::test]
    async fn one_that_does_not_answer_is_noticed() {
        let answering = || {
            let (sender, mut inbox) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                while let Some(message) = inbox.recv().await {
                    if let Message::Ping(answer) = message {
                        let _ = answer.send(());
                    }
                }
            });
            sender
        };
        let workers = |channels| Workers {
            channels,
            mirrors: None,
        };
        assert!(workers(vec![answering(), answering()]).all_answer().await);
        let (hanging, _inbox) = mpsc::unbounded_channel();
        assert!(!workers(vec![answering(), hanging]).all_answer().await);
        let (gone, inbox) = mpsc::unbounded_channel();
        drop(inbox);
        assert!(!workers(vec![gone, answering()]).all_answer().await);
    }
}
