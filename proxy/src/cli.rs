//! The command line: what `tandem` can be told to do, and which exit code says how it went.

mod ask;
mod configure;
mod top;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::live::Live;
use crate::config::{self, Auth, Config, Loaded, Problems, Sources};
use crate::net::tls::{self, Tls};
use crate::worker::rsa_key::RsaKey;
use crate::{app, demo, log};

const TEACHING: &str = "\
First steps:
  tandem demo                           two private servers, a proxy, and a tour of both
  cp tandem.example.toml tandem.toml    every key with its default, explained
  tandem check --config tandem.toml     all that is wrong with it, with line and way out
  tandem run --config tandem.toml       serves in the foreground until SIGTERM or Ctrl-C

Then point the application at the listener's address instead of the server's:
  mariadb --host 127.0.0.1 --port 6446 --user app --password
and ask the admin port what goes on:
  mariadb --host 127.0.0.1 --port 6447 --user admin --password --execute 'SHOW SERVERS'

and make the other server the active master, for maintenance:
  tandem switchover --config tandem.toml

Settings, the later over the earlier (a and app are names of a server and a user):
  the file            [listener] address = \"127.0.0.1:6446\"
  the environment     TANDEM_LISTENER__ADDRESS=127.0.0.1:6446
                      TANDEM_SERVER__A__ADDRESS=10.0.0.1:3306
                      TANDEM_USER__APP__PASSWORD=…
  the command line    --set listener.address=127.0.0.1:6446 --set server.a.weight=0

Exit codes:
  0  done, or stopped as asked
  1  the configuration is wrong, serving failed, or what was asked for was refused; standard error says why
  2  the command line is wrong";

/// One port in front of two MySQL or MariaDB servers that replicate master-master.
///
/// Applications connect to Tandem as they would to one server. Writes go to the one active master, reads to both,
/// and a session never reads older data than it wrote.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, after_help = TEACHING, arg_required_else_help = true, max_term_width = 100)]
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
    /// Show the servers, who is active, and whether the other could take over: asks the Tandem that runs with this configuration.
    Status(Settings),
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
        settings: Settings,
        /// The server to switch to; without this, the other one.
        #[arg(long, value_name = "SERVER")]
        to: Option<String>,
        /// How long open transactions may take to end; then nothing is changed. [default: failover.switchover_timeout]
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u32>,
        /// Also when the active master is dead and commits that it has acknowledged may be lost.
        #[arg(long)]
        force: bool,
    },
    /// Print, compare, change and save the configuration, of a running Tandem too.
    Config(configure::Arguments),
    /// Start two private MariaDB servers with Tandem in front and show what it does.
    Demo {
        /// Play the story through, then stop; the exit code says whether all went well.
        #[arg(long)]
        once: bool,
    },
}

#[derive(Args)]
struct Settings {
    /// The TOML file; without this, the one that the variable TANDEM_CONFIG names.
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
            .or_else(|| env::var_os("TANDEM_CONFIG").map(PathBuf::from));
        Sources {
            file,
            environment: env::vars_os().collect(),
            overrides: self.overrides,
        }
    }
}

/// Why the program ends with 1.
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
    #[error("{0}")]
    Top(#[from] top::Failure),
    #[error("{0}")]
    Demo(#[from] demo::Error),
}

/// Does what the process's arguments say. clap itself answers `--help`, `--version` and misuse (exit code 2).
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(settings) => run(settings),
        Command::Check(settings) => check(settings),
        Command::Status(settings) => ask(settings, &["SHOW FAILOVER".to_owned(), "SHOW SERVERS".to_owned()]),
        Command::Top { settings, once } => top(settings, once),
        Command::Switchover {
            settings,
            to,
            timeout,
            force,
        } => ask(settings, &[switchover(to.as_deref(), timeout, force)]),
        Command::Config(arguments) => configure::run(arguments),
        Command::Demo { once } => play(once),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(io::stderr(), &format!("tandem: {failure}"));
            ExitCode::FAILURE
        }
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

fn ask(settings: Settings, statements: &[String]) -> Result<(), Failure> {
    let loaded = settings.load().map_err(Failure::Configuration)?;
    let answer = runtime()?.block_on(ask::ask(&loaded.config.admin, statements))?;
    say(io::stdout(), answer.trim_end());
    Ok(())
}

fn top(settings: Settings, once: bool) -> Result<(), Failure> {
    let loaded = settings.load().map_err(Failure::Configuration)?;
    top::run(&runtime()?, &loaded.config.metrics, once)?;
    Ok(())
}

fn switchover(to: Option<&str>, timeout: Option<u32>, force: bool) -> String {
    let mut statement = "SWITCHOVER".to_owned();
    if let Some(to) = to {
        statement += &format!(" TO {to}");
    }
    if let Some(timeout) = timeout {
        statement += &format!(" TIMEOUT {timeout}");
    }
    if force {
        statement += " FORCE";
    }
    statement
}

fn play(once: bool) -> Result<(), Failure> {
    runtime()?.block_on(demo::run(once))?;
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
    say(io::stdout(), &describe(&loaded.config));
    Ok(())
}

/// What would be served, in a few lines.
fn describe(config: &Config) -> String {
    let servers: Vec<String> = config.servers.iter().map(describe_server).collect();
    let mut users: Vec<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    if config.listener.auth == Auth::Servers {
        users.push("those of the servers");
    }
    let metrics = match config.metrics.address {
        Some(address) => address.to_string(),
        None => "off".to_owned(),
    };
    format!(
        "ok\n  listener  {}\n  admin     {}\n  metrics   {metrics}\n  servers   {}\n  their TLS {}\n  failover  {}\n  users     {}",
        describe_listener(config),
        config.admin.address,
        servers.join("\n            "),
        config.server_tls.mode.name(),
        describe_failover(config),
        users.join(", "),
    )
}

fn describe_failover(config: &Config) -> String {
    match &config.failover {
        None => "off: the active master is whoever is writable".to_owned(),
        Some(failover) if config.coordination.is_some() => {
            let role = match (failover.decides, failover.automatic) {
                (false, _) => "follows whoever decides",
                (true, true) => "automatic, decides while it has the lease",
                (true, false) => "on command only, while it has the lease",
            };
            let etcd = config.coordination.as_ref().map(|known| known.etcd.join(" "));
            format!("{role} in etcd at {}", etcd.unwrap_or_default())
        }
        Some(failover) if !failover.decides => {
            "follower: another Tandem decides, and the active master is whoever is writable".to_owned()
        }
        Some(failover) if failover.automatic => format!("automatic, journal {}", failover.journal.display()),
        Some(failover) => format!("on command only, journal {}", failover.journal.display()),
    }
}

fn describe_listener(config: &Config) -> String {
    let listener = &config.listener;
    let mut parts = vec![listener.address.to_string()];
    if let Some(path) = &listener.socket {
        parts.push(path.display().to_string());
    }
    match &config.client_tls {
        Some(tls) if tls.required => parts.push("TLS required".to_owned()),
        Some(_) => parts.push("TLS offered".to_owned()),
        None => parts.push("no TLS".to_owned()),
    }
    let balancers = &listener.proxy_protocol.0;
    if !balancers.is_empty() {
        let names: Vec<String> = balancers.iter().map(ToString::to_string).collect();
        parts.push(format!("PROXY headers from {}", names.join(" and ")));
    }
    parts.join(", ")
}

fn describe_server(server: &config::Server) -> String {
    let told = if server.proxy_protocol {
        ", told by PROXY headers"
    } else {
        ""
    };
    format!(
        "{} at {} (weight {}{told})",
        server.name, server.address, server.weight
    )
}

fn summary(problems: &Problems) -> String {
    match problems.len() {
        1 => "the configuration has a problem:".to_owned(),
        count => format!("the configuration has {count} problems:"),
    }
}

/// A reader that has gone away is no reason to panic, as `println!` would.
fn say(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
