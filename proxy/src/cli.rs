//! The command line: what `tandem` can be told to do, and which exit code says how it went.

mod answer;
mod ask;
mod configure;
mod describe;
mod exit;
mod pages;
mod status;
mod top;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use serde_json::{Value, json};

use self::answer::Answer;
use self::exit::{EXITS, Exit};
use crate::config::live::Live;
use crate::config::{self, Loaded, Problems, Sources};
use crate::net::tls::{self, Tls};
use crate::worker::rsa_key::RsaKey;
use crate::{app, demo, log};

/// Where packages put the configuration.
const DEFAULT_FILE: &str = "/etc/tandem/tandem.toml";

const EXAMPLES: &str = "\
First steps:
  tandem demo                           two private servers, a proxy, and a tour of both
  cp tandem.example.toml tandem.toml    every key with its default, explained
  tandem check --config tandem.toml     all that is wrong with it, with line and way out
  tandem run --config tandem.toml       serves in the foreground until SIGTERM or Ctrl-C

Then point the application at the listener's address instead of the server's:
  mariadb --host 127.0.0.1 --port 6446 --user app --password
and ask the Tandem that runs what goes on, with the same --config (not needed for /etc/tandem/tandem.toml):
  tandem status
  tandem explain 'SELECT * FROM orders'
or by SQL on its admin port, where SHOW COMMANDS says what there is:
  mariadb --host 127.0.0.1 --port 6447 --user admin --password --execute 'SHOW SERVERS'

For maintenance:
  tandem switchover                     makes the other server the active master
  tandem drain b                        takes the standby out for work on it
  tandem open b                         lets it back in";

const LAYERS: &str = "\
Settings, the later over the earlier (a and app are names of a server and a user):
  the file            [listener] address = \"127.0.0.1:6446\"
  the environment     TANDEM_LISTENER__ADDRESS=127.0.0.1:6446
                      TANDEM_SERVER__A__ADDRESS=10.0.0.1:3306
                      TANDEM_USER__APP__PASSWORD=…
  the command line    --set listener.address=127.0.0.1:6446 --set server.a.weight=0";

/// One port in front of two MySQL or MariaDB servers that replicate master-master.
///
/// Applications connect to Tandem as they would to one server. Writes go to the one active master, reads to both,
/// and a session never reads older data than it wrote.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, after_help = teaching(), arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground until SIGTERM or Ctrl-C.
    Run(Settings),
    /// Say whether the configuration could be served with, and all that is wrong with it.
    Check(Settings),
    /// Show the servers, who is active, and whether the other could take over.
    Status {
        #[command(flatten)]
        asking: Asking,
        /// Also say by the exit code whether the pair could bear the loss of a server: 6 if not.
        #[arg(long)]
        check: bool,
    },
    /// Show what the dashboard shows, in the terminal, until q is pressed: asks the Tandem that runs with this configuration (metrics.address).
    Top {
        #[command(flatten)]
        settings: Settings,
        /// Once, as plain text.
        #[arg(long)]
        once: bool,
    },
    /// Make the other server the active master, without an error for anybody.
    Switchover {
        #[command(flatten)]
        asking: Asking,
        /// The server to switch to; without this, the other one.
        #[arg(long, value_name = "SERVER")]
        to: Option<String>,
        /// How long open transactions may take to end; then nothing is changed. [default: failover.switchover_timeout]
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u32>,
        /// Also when the active master is dead and commits that it has acknowledged may be lost.
        #[arg(long)]
        force: bool,
        /// Only say whether it could be done now.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take the standby out for work on it: no reads, nobody waits for it or promotes it, nothing is done to it.
    Drain {
        #[command(flatten)]
        asking: Asking,
        /// Its name, as `tandem status` shows it.
        server: String,
    },
    /// Let a server that was taken out back in.
    Open {
        #[command(flatten)]
        asking: Asking,
        /// Its name, as `tandem status` shows it.
        server: String,
    },
    /// No automatic failover until `tandem resume`.
    Pause(Asking),
    /// Automatic failover is possible again.
    Resume(Asking),
    /// Say where a statement would go, and why; it is not run.
    Explain {
        #[command(flatten)]
        asking: Asking,
        /// The statement, in quotes.
        statement: String,
    },
    /// Print, compare, change and save the configuration, of a running Tandem too.
    Config(configure::Arguments),
    /// Start two private MariaDB servers with Tandem in front and show what it does.
    Demo {
        /// Play the story through, then stop; the exit code says whether all went well.
        #[arg(long)]
        once: bool,
    },
    /// Print what a shell needs for completing this command line: source <(tandem completions bash)
    Completions { shell: Shell },
    /// Print the manual page: tandem man | man --local-file -
    Man {
        /// Write all pages into this folder instead, one for each command.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

/// Of the commands that ask the Tandem which runs with the same configuration.
#[derive(Args, Debug)]
struct Asking {
    #[command(flatten)]
    settings: Settings,
    /// Answer in JSON, for scripts.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Settings {
    /// The TOML file; without this, the one that TANDEM_CONFIG names, or else /etc/tandem/tandem.toml.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one key, for instance listener.address=127.0.0.1:6446 or server.a.weight=0; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

/// Without the overrides, which may hold passwords.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn load(self) -> Result<Loaded, Problems> {
        config::load_with_warnings(&self.sources())
    }

    fn sources(self) -> Sources {
        let file = self
            .config
            .or_else(|| env::var_os("TANDEM_CONFIG").map(PathBuf::from))
            .or_else(installed);
        Sources {
            file,
            environment: env::vars_os().collect(),
            overrides: self.overrides,
        }
    }
}

/// The file of the package, also where it may not be read: then that is what has to be said.
fn installed() -> Option<PathBuf> {
    let file = PathBuf::from(DEFAULT_FILE);
    (!matches!(file.try_exists(), Ok(false))).then_some(file)
}

/// Why the program ends with another code than 0.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{summary}\n{0}", summary = summary(.0))]
    Configuration(Problems),
    #[error("logging can't start: {0}")]
    Log(#[from] log::Error),
    #[error("the main thread's runtime can't start: {0}")]
    Runtime(#[source] io::Error),
    #[error("{0}")]
    Tls(#[from] tls::Error),
    #[error("{0}")]
    App(#[from] app::Error),
    #[error("{0}")]
    Ask(#[from] ask::Failure),
    #[error("the manual pages can't be written: {0}")]
    Pages(#[source] io::Error),
    #[error("{0}")]
    NotWhole(String),
    #[error("{0}")]
    Top(#[from] top::Failure),
    #[error("{0}")]
    Demo(#[from] demo::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_)
            | Self::Log(_)
            | Self::Tls(_)
            | Self::Top(top::Failure::NoAddress)
            | Self::App(app::Error::Tls(_) | app::Error::RsaKey(_)) => Exit::Configuration,
            Self::Ask(ask::Failure::Refused(_)) => Exit::Refused,
            Self::Ask(_) | Self::Top(top::Failure::NotReached { .. } | top::Failure::Strange { .. }) => {
                Exit::NotReached
            }
            Self::NotWhole(_) => Exit::NotWhole,
            Self::App(_)
            | Self::Runtime(_)
            | Self::Pages(_)
            | Self::Top(top::Failure::Terminal(_))
            | Self::Demo(_) => Exit::Failed,
        }
    }
}

/// Does what the process's arguments say. clap itself answers `--help`, `--version` and misuse.
pub fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            say(io::stderr(), &format!("tandem: {failure}"));
            failure.exit().into()
        }
    }
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(settings) => run(settings),
        Command::Check(settings) => check(settings),
        Command::Status { asking, check } => status(asking, check),
        Command::Top { settings, once } => top(settings, once),
        Command::Switchover {
            asking,
            to,
            timeout,
            force,
            dry_run,
        } => order(asking, switchover(to.as_deref(), timeout, force, dry_run)),
        Command::Drain { asking, server } => order(asking, format!("DRAIN `{server}`")),
        Command::Open { asking, server } => order(asking, format!("OPEN `{server}`")),
        Command::Pause(asking) => order(asking, "PAUSE".to_owned()),
        Command::Resume(asking) => order(asking, "RESUME".to_owned()),
        Command::Explain { asking, statement } => explain(asking, &statement),
        Command::Config(arguments) => configure::run(arguments),
        Command::Demo { once } => play(once),
        Command::Completions { shell } => {
            complete(shell);
            Ok(())
        }
        Command::Man { to } => man(to.as_deref()).map_err(Failure::Pages),
    }
}

fn run(settings: Settings) -> Result<(), Failure> {
    let live = Live::new(settings.sources()).map_err(Failure::Configuration)?;
    log::init(&live.config().log)?;
    for warning in live.warnings() {
        tracing::warn!("{warning}");
    }
    runtime()?.block_on(app::run(live))?;
    Ok(())
}

fn ask(settings: Settings, statements: &[String]) -> Result<Vec<Answer>, Failure> {
    let loaded = settings.load().map_err(Failure::Configuration)?;
    Ok(runtime()?.block_on(ask::ask(&loaded.config.admin, statements))?)
}

fn status(asking: Asking, check: bool) -> Result<(), Failure> {
    let answers = ask(asking.settings, &status::QUESTIONS.map(str::to_owned))?;
    let [failover, servers] = &*answers else {
        return Ok(());
    };
    if asking.json {
        print_json(&status::object(failover, servers));
    } else {
        say(io::stdout(), status::text(failover, servers).trim_end());
    }
    match status::lacks(failover, servers).filter(|_| check) {
        Some(lack) => Err(Failure::NotWhole(lack)),
        None => Ok(()),
    }
}

/// Asks one thing, and shows the answer: to people as text, to scripts as `object` makes it.
fn show(asking: Asking, statement: String, object: fn(&Answer) -> Value) -> Result<(), Failure> {
    for answer in ask(asking.settings, &[statement])? {
        if asking.json {
            print_json(&object(&answer));
        } else {
            say(io::stdout(), answer.text().trim_end());
        }
    }
    Ok(())
}

/// A command, whose answer is one text.
fn order(asking: Asking, statement: String) -> Result<(), Failure> {
    show(
        asking,
        statement,
        |answer| json!({ "result": answer.column("result").concat() }),
    )
}

fn top(settings: Settings, once: bool) -> Result<(), Failure> {
    let loaded = settings.load().map_err(Failure::Configuration)?;
    top::run(&runtime()?, &loaded.config.metrics, once)?;
    Ok(())
}

fn explain(asking: Asking, statement: &str) -> Result<(), Failure> {
    show(asking, format!("EXPLAIN ROUTE {statement}"), |answer| {
        answer.properties(&[])
    })
}

fn switchover(to: Option<&str>, timeout: Option<u32>, force: bool, dry_run: bool) -> String {
    let mut statement = "SWITCHOVER".to_owned();
    if let Some(to) = to {
        statement += &format!(" TO `{to}`");
    }
    if let Some(timeout) = timeout {
        statement += &format!(" TIMEOUT {timeout}");
    }
    if force {
        statement += " FORCE";
    }
    if dry_run {
        statement += " DRY RUN";
    }
    statement
}

fn play(once: bool) -> Result<(), Failure> {
    runtime()?.block_on(demo::run(once))?;
    Ok(())
}

fn complete(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tandem", &mut script);
    say(io::stdout(), String::from_utf8_lossy(&script).trim_end());
}

fn man(to: Option<&Path>) -> io::Result<()> {
    let command = Arguments::command();
    let Some(folder) = to else {
        say(io::stdout(), pages::main_page(&command)?.trim_end());
        return Ok(());
    };
    for path in pages::write_all(&command, folder)? {
        say(io::stdout(), &path.display().to_string());
    }
    Ok(())
}

/// Control only: each worker has a thread and a runtime of its own.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)
}

fn check(settings: Settings) -> Result<(), Failure> {
    let loaded = settings.load().map_err(Failure::Configuration)?;
    for warning in &loaded.warnings {
        say(io::stderr(), &format!("warning: {warning}"));
    }
    // Whether the files that it names can be used.
    Tls::new(&loaded.config)?;
    if let Some(path) = &loaded.config.listener.rsa_key {
        RsaKey::check(path).map_err(app::Error::from)?;
    }
    say(io::stdout(), &describe::describe(&loaded.config));
    Ok(())
}

fn summary(problems: &Problems) -> String {
    match problems.len() {
        1 => "the configuration has a problem:".to_owned(),
        count => format!("the configuration has {count} problems:"),
    }
}

/// What `--help` adds to the list of commands.
fn teaching() -> String {
    let exits = EXITS.map(|(exit, meaning)| format!("  {}  {meaning}", exit as u8));
    format!("{EXAMPLES}\n\n{LAYERS}\n\nExit codes:\n{}", exits.join("\n"))
}

fn print_json(value: &Value) {
    say(io::stdout(), &format!("{value:#}"));
}

/// A reader that has gone away is no reason to panic, as `println!` would.
fn say(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn overrides_are_not_printed() {
        let arguments =
            Arguments::try_parse_from(["tandem", "run", "--set", "admin.password=hunter2"]).unwrap();
        assert!(!format!("{arguments:?}").contains("hunter2"));
    }
}
