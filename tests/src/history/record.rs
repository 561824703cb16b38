//! What happened, as the sessions saw it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::cells::{Cell, Value, words};

/// Since the beginning of the run.
pub type Moment = Duration;

/// All that the judge needs.
#[derive(Debug, Default)]
pub struct History {
    /// What was in the cells before the first write.
    pub initial: BTreeMap<Cell, Value>,
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
}

/// One or more statements that change cells together.
#[derive(Clone, Debug)]
pub struct Write {
    pub session: usize,
    /// Before the first byte was sent of what can make it visible.
    pub begun: Moment,
    pub outcome: Outcome,
    pub changes: Vec<(Cell, Value)>,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The last byte of the reply had been read.
    Acknowledged(Moment),
    /// By request, or because the servers refused it as a whole: nobody may ever see it.
    RolledBack,
}

#[derive(Clone, Debug)]
pub struct Read {
    pub session: usize,
    pub begun: Moment,
    pub ended: Moment,
    pub seen: Vec<(Cell, Value)>,
    /// Which server has answered, where the answer tells it.
    pub server: Option<String>,
    pub text: String,
}

impl fmt::Display for Write {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.outcome {
            Outcome::Acknowledged(at) => format!("acknowledged {at:.6?}"),
            Outcome::RolledBack => "rolled back".to_owned(),
        };
        write!(
            out,
            "session {}, begun {:.6?}, {end}: {}",
            self.session, self.begun, self.text
        )?;
        let changes: Vec<String> = self
            .changes
            .iter()
            .map(|(cell, value)| format!("{cell} = {}", words(*value)))
            .collect();
        write!(out, "  [{}]", changes.join(", "))
    }
}

impl fmt::Display for Read {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.as_deref().unwrap_or("unknown");
        write!(
            out,
            "session {}, begun {:.6?}, ended {:.6?}, server {server}: {}",
            self.session, self.begun, self.ended, self.text
        )
    }
}
