//! Who may do what on the admin port: looking and acting are separate rights.

use super::command::Command;
use super::tables::{self, Source};
use crate::config::Rights;

/// What a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    /// Changes something, and is written down in the audit.
    Act,
}

impl Right {
    /// As `admin_user.rights` writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Act => "act",
        }
    }

    pub(super) fn is_in(self, rights: Rights) -> bool {
        match self {
            Self::Read => rights.read,
            Self::Act => rights.act,
        }
    }
}

/// The right that a command takes; none for what tells nothing of the pair and its clients.
pub(super) fn needed(command: &Command) -> Option<Right> {
    match command {
        Command::Switchover(_)
        | Command::Drain(_)
        | Command::Open(_)
        | Command::Pause
        | Command::Resume
        | Command::Kill(_)
        | Command::Reload
        | Command::Set(_)
        | Command::Update(_)
        | Command::SaveConfig
        | Command::FirewallAccept(_)
        | Command::FirewallForget(_)
        | Command::ResetStatistics
        | Command::EmptyCache => Some(Right::Act),
        Command::Table(Source::Commands)
        | Command::Warnings
        | Command::Grants
        | Command::Select(..)
        | Command::Use(_)
        | Command::Nothing => None,
        // Of what every client asks: the schemas, the variables.
        Command::Query(statement) if tables::mentioned(statement).is_empty() => None,
        Command::Table(_)
        | Command::Reads(_)
        | Command::Query(_)
        | Command::CreateTable(_)
        | Command::ConfigDiff
        | Command::Trace { .. }
        | Command::ExplainRoute(_) => Some(Right::Read),
    }
}
