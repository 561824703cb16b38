//! One step of a sequence: who sends what.

use std::fmt;

use tandem_protocol::flags::Capabilities;

/// A command of one session.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub session: usize,
    pub action: Action,
    /// Where its reply can't be the same; see [`super::mask`].
    pub mask: Option<Mask>,
    /// Before it, on Tandem's side only, strangers use every connection that is free.
    pub strangers: bool,
}

/// A part of a reply that differs and may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// The values of its rows, and not how many there are: they tell the number of a connection.
    Rows,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A new connection in the place of the session's old one, which says goodbye first.
    LogIn(LogIn),
    Query(String),
    /// Prepared statements are known by the session's own small numbers, whatever ids the server gives.
    Prepare {
        slot: usize,
        text: String,
    },
    Execute {
        slot: usize,
        values: Vec<Value>,
        /// Says of which types the values are; otherwise the types of the last execution hold.
        types: bool,
        cursor: bool,
    },
    LongData {
        slot: usize,
        param: u16,
        data: String,
    },
    Fetch {
        slot: usize,
        rows: u32,
    },
    ResetStatement {
        slot: usize,
    },
    CloseStatement {
        slot: usize,
    },
    InitDb(String),
    FieldList(String),
    /// 0 is multi-statements on, 1 is off.
    SetOption(u16),
    Ping,
    ResetConnection,
    ChangeUser {
        schema: String,
    },
}

/// How a session logs in.
#[derive(Clone, Debug, PartialEq)]
pub struct LogIn {
    pub schema: String,
    pub capabilities: Capabilities,
    pub collation: u8,
}

/// A parameter of a prepared statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Text(String),
    /// Was sent before, by `COM_STMT_SEND_LONG_DATA`.
    Sent,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strangers = if self.strangers { "(strangers) " } else { "" };
        write!(f, "{strangers}{}: ", self.session)?;
        match &self.action {
            Action::Query(text) if text.len() > 400 => {
                let start: String = text.chars().take(60).collect();
                write!(f, "{start}… ({} bytes)", text.len())
            }
            Action::Query(text) => write!(f, "{text}"),
            Action::Prepare { slot, text } => write!(f, "prepare #{slot} {text}"),
            other => write!(f, "{other:?}"),
        }
    }
}
