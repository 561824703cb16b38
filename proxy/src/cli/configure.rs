//! `tandem config …`: the reference, and the configuration of a running Tandem.

use clap::{Args, Subcommand};

use super::{Failure, Settings, ask, say};
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
        settings: Settings,
        /// A part of the keys' names, for instance pool or server.a.
        key: Option<String>,
    },
    /// Print in what a running Tandem differs from its file, and why.
    Diff {
        #[command(flatten)]
        settings: Settings,
    },
    /// Have a running Tandem read its file again; it takes all of it, or nothing if anything in it is wrong.
    Reload {
        #[command(flatten)]
        settings: Settings,
    },
    /// Set one key of a running Tandem; it is in no file until it is saved.
    Set {
        #[command(flatten)]
        settings: Settings,
        /// For instance pool.queue_limit or server.a.weight.
        key: String,
        value: String,
    },
    /// Write what was set into the file of a running Tandem; comments stay.
    Save {
        #[command(flatten)]
        settings: Settings,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (settings, statement) = match arguments.command {
        Command::Reference => {
            say(std::io::stdout(), reference().trim_end());
            return Ok(());
        }
        Command::Show { settings, key } => {
            let pattern = literal(&format!("%{}%", key.unwrap_or_default()));
            let columns = "`key`, value, origin, pending AS `after a restart`";
            (
                settings,
                format!("SELECT {columns} FROM config WHERE value IS NOT NULL AND `key` LIKE {pattern}"),
            )
        }
        Command::Diff { settings } => (settings, "SHOW CONFIG DIFF".to_owned()),
        Command::Reload { settings } => (settings, "RELOAD".to_owned()),
        Command::Set { settings, key, value } => (settings, format!("SET {key} = {}", literal(&value))),
        Command::Save { settings } => (settings, "SAVE CONFIG".to_owned()),
    };
    ask(settings, &[statement])
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
