//! What can be wrong with a configuration, where it stands, and the way out. No message ever holds the
//! value of a password, nor any value of which we can't tell that it isn't one.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Where a value, or its absence, was found. The order is that of the report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the file, or the file as a whole when something is absent from it.
    File { path: PathBuf, line: Option<usize> },
    /// An environment variable, by its name.
    Environment(String),
    /// `--set` with this key.
    Option(String),
    /// `SET` on the admin port, with this key.
    Set(String),
    /// No source mentions it.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Option(key) => write!(f, "option --set {key}"),
            Self::Set(key) => write!(f, "SET {key}"),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// What is wrong. Each message ends with the way out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("can't be read ({0}); check the path and that the account running tandem may read it")]
    Unreadable(String),
    #[error("is not valid TOML: {0}; the line shown is where reading it stopped")]
    Syntax(String),
    #[error("is not known; {0}")]
    UnknownKey(String),
    #[error("must be written as {0}")]
    Shape(&'static str),
    #[error("is missing; {0}")]
    Missing(String),
    #[error("{0}")]
    Invalid(String),
    #[error("must be from {least} to {most}, not {found}")]
    OutOfRange {
        least: String,
        most: String,
        found: String,
    },
    #[error("must not be empty; {0}")]
    Empty(&'static str),
    #[error("{0}")]
    Contradiction(String),
    /// Not refused, only shown.
    #[error("{0}")]
    Warning(String),
}

/// One fault of one key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {key} {fault}")]
pub struct Problem {
    /// As `--set` would name it: `listener.address`, `server.a.address`.
    pub key: String,
    pub place: Place,
    pub fault: Fault,
}

/// All that is wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.list.push(problem);
    }

    pub(super) fn sort(&mut self) {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
    }

    /// Whether one of these keys has been complained about already: a check that compares it with others
    /// would only repeat that.
    pub(super) fn mention(&self, key: &str) -> bool {
        self.list.iter().any(|problem| problem.key == key)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { list: vec![problem] }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
