//! `tandem config …`: the reference, and the configuration of a running Tandem.

use clap::{Args, Subcommand};

use super::answer::Answer;
use super::{Asking, Failure, say, show};
use crate::config::reference::reference;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every key with its type, default and meaning.
    Reference,
    /// Print what a running Tandem goes by, and where each value comes from.
    Show {
        #[command(flatten)]
        asking: Asking,
        /// A part of the keys' names, for instance pool or server.a.
        key: Option<String>,
    },
    /// Print in what a running Tandem differs from its file, and why.
    Diff {
        #[command(flatten)]
        asking: Asking,
    },
    /// Have a running Tandem read its file again; it takes all of it, or nothing if anything in it is wrong.
    Reload {
        #[command(flatten)]
        asking: Asking,
    },
    /// Set one key of a running Tandem; it is in no file until it is saved.
    Set {
        #[command(flatten)]
        asking: Asking,
        /// For instance pool.queue_limit or server.a.weight.
        key: String,
        value: String,
    },
    /// Write what was set into the file of a running Tandem; comments stay.
    Save {
        #[command(flatten)]
        asking: Asking,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (asking, statement) = match arguments.command {
        Command::Reference => {
            say(std::io::stdout(), reference().trim_end());
            return Ok(());
        }
        Command::Show { asking, key } => {
            let pattern = literal(&format!("%{}%", key.unwrap_or_default()));
            let columns = "`key`, value, origin, pending AS `after a restart`";
            (
                asking,
                format!("SELECT {columns} FROM config WHERE value IS NOT NULL AND `key` LIKE {pattern}"),
            )
        }
        Command::Diff { asking } => (asking, "SHOW CONFIG DIFF".to_owned()),
        Command::Reload { asking } => (asking, "RELOAD".to_owned()),
        Command::Set { asking, key, value } => (asking, format!("SET {key} = {}", literal(&value))),
        Command::Save { asking } => (asking, "SAVE CONFIG".to_owned()),
    };
    show(asking, statement, Answer::objects)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
