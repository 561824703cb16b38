//! One modelled server: what it has committed and received, and who waits there. It knows neither time nor network.

use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Running,
    /// Stopped by a signal: what reaches it waits.
    Hung,
    Dead,
}

/// A transaction in a binlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// Where it was made.
    pub(super) origin: usize,
    /// Its place among those.
    pub(super) number: u64,
    /// What a client wrote with it; each write has its own.
    pub(super) write: u32,
}

/// A receiver's connection to the other server.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) source_life: u64,
    /// So much of the source's binlog was sent or skipped.
    pub(super) sent: usize,
    /// By origin, the newest that was sent or need not be.
    pub(super) has: [u64; 2],
    pub(super) transit: VecDeque<Commit>,
    /// When anything came last.
    pub(super) heard_at: u64,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) process: Process,
    /// Grows with each start.
    pub(super) life: u64,
    /// The newest of its own commits when it was started: none of those waits for anybody any more, and no crash takes it.
    pub(super) lasting: u64,
    pub(super) read_only: bool,
    /// All that it has committed, in its order, which survives a crash, but for what it forgets.
    pub(super) log: Vec<Commit>,
    /// How many of each origin.
    pub(super) executed: [u64; 2],
    /// Own commits in the binlog that nobody has acknowledged (AFTER_SYNC), and whose call each is.
    pub(super) waiting: VecDeque<(u64, usize)>,
    /// `SET GLOBAL read_only=1` waits for those.
    pub(super) closing: Vec<usize>,
    /// What reached it while it hung.
    pub(super) inbox: Vec<usize>,
    /// Its commits wait for the other's receipt; `None`: there is no such thing.
    pub(super) semi_sync: Option<bool>,
    pub(super) receiver: bool,
    /// The other has not what this one has of it (1236).
    pub(super) refused: bool,
    pub(super) applier: bool,
    pub(super) connection: Option<Connection>,
    /// Received, not applied; lost in a crash (relay_log_recovery).
    pub(super) relay: VecDeque<Commit>,
    /// Counts what it hears of the other.
    pub(super) heard: u64,
    /// An event that applies is under way.
    pub(super) is_applying: bool,
}

impl Server {
    pub(super) fn new(read_only: bool, semi_sync: bool) -> Self {
        Self {
            process: Process::Running,
            life: 0,
            lasting: 0,
            read_only,
            log: Vec::new(),
            executed: [0; 2],
            waiting: VecDeque::new(),
            closing: Vec::new(),
            inbox: Vec::new(),
            semi_sync: semi_sync.then_some(true),
            receiver: true,
            refused: false,
            applier: true,
            connection: None,
            relay: VecDeque::new(),
            heard: 0,
            is_applying: false,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.process == Process::Running
    }

    pub(super) fn append(&mut self, commit: Commit) {
        self.executed[commit.origin] = commit.number;
        self.log.push(commit);
    }

    /// Applied or not.
    pub(super) fn received(&self) -> [u64; 2] {
        let mut received = self.executed;
        for commit in &self.relay {
            received[commit.origin] = received[commit.origin].max(commit.number);
        }
        received
    }

    /// Without what still waits for its acknowledgement.
    pub(super) fn visible(&self, own: usize) -> [u64; 2] {
        let mut visible = self.executed;
        visible[own] -= self.waiting.len() as u64;
        visible
    }

    /// What is open there is broken off: the calls that get no answer.
    pub(super) fn crash(&mut self) -> Vec<usize> {
        self.process = Process::Dead;
        self.connection = None;
        self.relay.clear();
        let waiting = std::mem::take(&mut self.waiting);
        let mut broken: Vec<usize> = waiting.into_iter().map(|(_, call)| call).collect();
        broken.append(&mut self.closing);
        broken.append(&mut self.inbox);
        broken
    }

    /// What was in the binlog is committed; the rest is as its option file says.
    pub(super) fn start(&mut self, semi_sync: bool, replicates: bool) {
        self.process = Process::Running;
        self.life += 1;
        self.read_only = true;
        self.semi_sync = semi_sync.then_some(true);
        (self.receiver, self.applier) = (replicates, replicates);
        self.refused = false;
        self.is_applying = false;
    }

    /// What a crash takes with `init_rpl_role=SLAVE`: own commits that wait, and up to `spare` more that clients were told of, as far as
    /// the other has executed them (`theirs`). How many.
    pub(super) fn forget(&mut self, own: usize, theirs: u64, spare: u64) -> u64 {
        let waiting = self.waiting.len() as u64;
        let mut forgotten = 0;
        while let Some(last) = self.log.last()
            && last.origin == own
            && (forgotten < waiting
                || forgotten < waiting + spare
                    && last.number <= theirs
                    && last.number > self.lasting
                    && self.semi_sync == Some(true))
        {
            self.log.pop();
            self.executed[own] -= 1;
            forgotten += 1;
        }
        forgotten
    }

    /// Made anew from the other's data, by an operator.
    pub(super) fn rebuild(&mut self, from: &Self) {
        self.log = from.log.clone();
        self.executed = from.executed;
        self.connection = None;
        self.relay.clear();
        self.life += 1;
        self.is_applying = false;
        (self.receiver, self.applier) = (false, false);
    }
}
