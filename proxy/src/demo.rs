//! `tandem demo`: a whole pair with Tandem in front, on this machine, in one command.

mod change;
pub mod engine;
mod options;
pub mod pair;
mod server;
pub mod story;
mod watchdog;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{self, App};
use crate::config::live::Live;
use crate::config::{self, Sources};
use pair::{APP, MONITOR, Options, Pair};
use server::free_port;
use story::{say, tell};

/// What can go wrong in the demo, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Pair(#[from] pair::Error),
    #[error("the demo's own configuration is refused, which is a bug of Tandem:\n{0}")]
    Config(config::Problems),
    #[error("Tandem did not start: {0}")]
    App(#[from] app::Error),
    #[error("step \"{step}\" failed through Tandem: {source}")]
    Story {
        step: &'static str,
        #[source]
        source: mysql_async::Error,
    },
    #[error(
        "the story took another turn; expected: {expected}. The counts above are the servers' own; \
         `EXPLAIN ROUTE` on the admin port says why a statement goes where"
    )]
    Unexpected { expected: &'static str },
    #[error("stopped by a signal before the story was over")]
    Interrupted,
    #[error("cannot {doing}: {source}")]
    Io {
        doing: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Starts everything, plays the story and then shows counters until Ctrl-C; with `once` it ends after
/// the story. Whatever happens, all that was started is stopped and removed.
pub async fn run(once: bool) -> Result<(), Error> {
    let watching = |source| Error::Io {
        doing: "watch for signals",
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(watching)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(watching)?;
    // Leaving the select drops what has been started so far, and dropping a server kills it.
    let stage = tokio::select! {
        stage = Stage::set() => stage?,
        _ = interrupt.recv() => return interrupted(once),
        _ = terminate.recv() => return interrupted(once),
    };
    let played = tokio::select! {
        played = stage.play(once) => played,
        _ = interrupt.recv() => interrupted(once),
        _ = terminate.recv() => interrupted(once),
    };
    let cleared = stage.clear().await;
    played.and(cleared)
}

/// Ctrl-C is how the demo is meant to end, but not before the story that `once` has to check.
fn interrupted(once: bool) -> Result<(), Error> {
    say("");
    if once { Err(Error::Interrupted) } else { Ok(()) }
}

/// The configuration of a proxy before `pair`, as a file would have it. Port 0 is any free port.
pub fn config_text(pair: &Pair, listener: SocketAddr, admin: SocketAddr) -> String {
    config_with(pair, listener, admin, "")
}

/// The same, with these lines in `[monitor]`.
fn config_with(pair: &Pair, listener: SocketAddr, admin: SocketAddr, monitor: &str) -> String {
    let failover = pair.journal().map_or_else(String::new, |journal| {
        format!("[failover]\nmode = \"automatic\"\njournal = {:?}\n", journal)
    });
    let [a, b] = pair.servers().each_ref().map(|server| server.address());
    let learnt = pair.directory().join("firewall");
    format!(
        r#"[listener]
address = "{listener}"

[admin]
address = "{admin}"
user = "{ADMIN_USER}"
password = "{ADMIN_PASSWORD}"

[monitor]
{monitor}user = "{}"
password = "{}"

{failover}
[firewall]
file = {learnt:?}

[[server]]
name = "a"
address = "{a}"

[[server]]
name = "b"
address = "{b}"

[[user]]
name = "{}"
password = "{}"
"#,
        MONITOR.user, MONITOR.password, APP.user, APP.password,
    )
}

/// The demo's own, as a file: it can be changed, and read again.
fn write_config(pair: &Pair) -> Result<PathBuf, Error> {
    let address = || free_port().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let monitor = "# Nobody wants to watch the standby get its reads back gradually.\nslow_start = \"0s\"\n";
    let text = config_with(pair, address()?, address()?, monitor);
    let path = pair.directory().join("tandem.toml");
    // It holds passwords.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::Io {
        doing: "write the configuration",
        source,
    })?;
    Ok(path)
}

/// Everything the demo has started.
struct Stage {
    pair: Pair,
    app: App,
}

impl Stage {
    async fn set() -> Result<Self, Error> {
        say("Tandem demo: two MariaDB servers, replicating to each other, behind one port.\n");
        let started = Instant::now();
        let options = Options {
            failover: true,
            // Commits wait for the other server as long as it takes: Tandem decides when that is over.
            semi_sync_timeout: Duration::from_secs(3600),
            ..Options::default()
        };
        let pair = Pair::start(&options).await?;
        tell("two servers run and replicate to each other", started);
        for (server, what) in pair
            .servers()
            .iter()
            .zip(["Tandem makes it writable", "read-only"])
        {
            let (name, address) = (server.name(), server.address());
            let log = server.error_log_path();
            say(&format!(
                "            {name}: {address}, {what}, log {}",
                log.display()
            ));
        }
        let started = Instant::now();
        let file = write_config(&pair)?;
        let sources = Sources {
            file: Some(file.clone()),
            ..Sources::default()
        };
        let app = App::start_live(Live::new(sources).map_err(Error::Config)?).await?;
        tell("Tandem runs in front of them", started);
        say(&format!(
            "            its configuration, to be changed and read again (RELOAD): {}\n",
            file.display()
        ));
        Ok(Self { pair, app })
    }

    async fn play(&self, once: bool) -> Result<(), Error> {
        story::play(&self.pair, self.app.listener_address()).await?;
        change::play(&self.pair, self.app.listener_address(), self.app.admin_address()).await?;
        if once {
            return Ok(());
        }
        self.invite();
        self.count().await
    }

    /// Lines that work as they stand.
    fn invite(&self) {
        let (listener, admin) = (self.app.listener_address(), self.app.admin_address());
        let (user, password, port) = (APP.user, APP.password, listener.port());
        say(&format!(
            "
Your turn. Through Tandem:
  mariadb -h127.0.0.1 -P{port} -u{user} -p{password} shop
  php -r '$db = new mysqli(\"127.0.0.1\", \"{user}\", \"{password}\", \"shop\", {port}); print_r($db->query(\"SELECT name, price FROM product\")->fetch_all(MYSQLI_ASSOC));'
  php -r '$db = new PDO(\"mysql:host=127.0.0.1;port={port};dbname=shop\", \"{user}\", \"{password}\"); print_r($db->query(\"SELECT name, price FROM product\")->fetchAll(PDO::FETCH_ASSOC));'
Ask Tandem itself:
  mariadb -h127.0.0.1 -P{} -u{ADMIN_USER} -p{ADMIN_PASSWORD} -e 'SHOW SERVERS'
Ask a server directly:
  mariadb --socket={} -uroot

Statements of `{user}` since the start, as the servers count them (Ctrl-C stops and removes everything):",
            admin.port(),
            self.pair.a().socket().display(),
        ));
    }

    /// One line that is refreshed in a terminal; elsewhere a line for each change.
    async fn count(&self) -> Result<(), Error> {
        let terminal = io::stdout().is_terminal();
        let mut shown = String::new();
        loop {
            let line = self.counters().await;
            if terminal {
                // Erase in Line (ECMA-48): the new line may be shorter than the old.
                let _ = write!(io::stdout(), "\r\x1b[K  {line}");
            } else if line != shown {
                say(&format!("  {line}"));
            }
            // A closed pipe is no reason to stop what the user may still be using.
            let _ = io::stdout().flush();
            shown = line;
            tokio::time::sleep(REFRESH).await;
        }
    }

    /// A server that the user stops by way of trial is worth a word, not the end of the demo.
    async fn counters(&self) -> String {
        match story::both(&self.pair).await {
            Ok((a, b)) => format!("a: {a}    b: {b}"),
            Err(problem) => problem.to_string().replace('\n', " "),
        }
    }

    async fn clear(self) -> Result<(), Error> {
        let started = Instant::now();
        self.app.stop().await;
        self.pair.stop().await?;
        tell("stopped; nothing is left behind", started);
        Ok(())
    }
}

/// The demo's account of the admin port.
pub const ADMIN_USER: &str = "admin";
pub const ADMIN_PASSWORD: &str = "admin-secret";
const REFRESH: Duration = Duration::from_secs(1);
