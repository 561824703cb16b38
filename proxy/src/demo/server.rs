//! One private server: its own folder, socket, port and log, run as the current user.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::io::AsyncWriteExt;

use super::engine::Engine;
use super::options::{Options, option_file};

/// What can go wrong with a private server, each with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "`{program}` was not found: it comes with the package `{package}`; install it with `sudo apt-get install {package}`"
    )]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error(
        "{} is missing: `.ci/server-root NAME` makes the folder of a server that Debian 12 has no package of",
        file.display()
    )]
    NotUnpacked { file: PathBuf },
    #[error("cannot {doing}: {source}")]
    Io {
        doing: String,
        #[source]
        source: io::Error,
    },
    #[error("`{program}` failed ({status}); its last words:\n{output}")]
    Failed {
        program: &'static str,
        status: ExitStatus,
        output: String,
    },
    #[error("server {name} ended while it started ({status}); its error log ends with:\n{log}")]
    Died {
        name: String,
        status: ExitStatus,
        log: String,
    },
    #[error(
        "server {name} did not {doing} within {} s; its error log ends with:\n{log}",
        waited.as_secs()
    )]
    Late {
        name: String,
        doing: &'static str,
        waited: Duration,
        log: String,
    },
    #[error("server {name}, {doing}: {source}")]
    Sql {
        name: String,
        doing: String,
        #[source]
        source: mysql_async::Error,
    },
    #[error("server {name} is not running; start it with `restart()`")]
    NotRunning { name: String },
    #[error(
        "the path {} is too long for a Unix socket (107 bytes at most): set TMPDIR to a shorter folder",
        path.display()
    )]
    LongPath { path: PathBuf },
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

/// A server that this process started. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    name: String,
    engine: Engine,
    directory: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Starts the server number `number` (1 or 2) over the data in `directory/data`.
    pub(crate) async fn start(
        name: &str,
        number: u32,
        directory: PathBuf,
        options: &Options,
    ) -> Result<Self, Error> {
        let socket = directory.join("socket");
        // sun_path of unix(7) has 108 bytes, the terminating zero included.
        if socket.as_os_str().len() > 107 {
            return Err(Error::LongPath { path: socket });
        }
        let mut server = Self {
            name: name.into(),
            engine: options.engine.clone(),
            directory,
            port: 0,
            child: Mutex::new(None),
        };
        // Between reading a free port and the server's own bind, another program may take it.
        for attempt in 1..=PORT_ATTEMPTS {
            server.port = free_port()?;
            let text = option_file(number, server.port, &server.directory, options);
            fs::write(server.directory.join("my.cnf"), text).map_err(Error::io("write the option file"))?;
            match server.restart().await {
                Err(Error::Died { log, .. })
                    if attempt < PORT_ATTEMPTS && log.contains("Address already in use") => {}
                started => {
                    started?;
                    break;
                }
            }
        }
        Ok(server)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The folder with `data`, `socket`, `error.log` and `my.cnf`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Connection options of the superuser, who has no password and is let in by the socket only:
    /// the folder around it belongs to the user who started the server.
    pub fn root(&self) -> Opts {
        let socket = self.socket().to_string_lossy().into_owned();
        quiet(OptsBuilder::default().socket(Some(socket)).user(Some("root")))
    }

    /// Connection options of an account, by TCP.
    pub fn account(&self, user: &str, password: &str) -> Opts {
        client(self.address(), user, password, None)
    }

    /// A connection of the superuser.
    pub async fn connect(&self) -> Result<Conn, Error> {
        Conn::new(self.root())
            .await
            .map_err(self.sql("connecting as root"))
    }

    /// The process number while it runs.
    pub fn pid(&self) -> Option<u32> {
        let mut child = self.child();
        let running = child.as_mut()?;
        matches!(running.try_wait(), Ok(None)).then(|| running.id())
    }

    /// Kills the server as a crash would: no flush, no goodbye. Its data stay for `restart()`.
    pub fn kill9(&self) -> Result<(), Error> {
        let Some(mut child) = self.child().take() else {
            return Ok(());
        };
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(drop).map_err(Error::io("kill the server"))
    }

    /// Stops the server in good order, and kills it if that takes too long.
    pub async fn stop(&self) -> Result<(), Error> {
        if self.pid().is_some() {
            // A paused server would not hear of it.
            self.signal("CONT")?;
            self.signal("TERM")?;
            let deadline = Instant::now() + STOP_TIMEOUT;
            while self.pid().is_some() && Instant::now() < deadline {
                tokio::time::sleep(POLL).await;
            }
        }
        self.kill9()
    }

    /// The server stands still (SIGSTOP): connections stay open, nothing is answered.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal("STOP")
    }

    /// The server goes on after `pause()`.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal("CONT")
    }

    /// Starts the server again on the same port and data, after stopping it if it runs.
    pub async fn restart(&self) -> Result<(), Error> {
        self.stop().await?;
        self.empty_tmp()
            .map_err(Error::io("empty the folder of temporary files"))?;
        let child = self.spawn()?;
        *self.child() = Some(child);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let ended = self.child().as_mut().map(Child::try_wait);
            if let Some(Ok(Some(status))) = ended {
                return Err(Error::Died {
                    name: self.name.clone(),
                    status,
                    log: tail(&self.error_log()),
                });
            }
            if let Ok(conn) = self.connect().await {
                let _ = conn.disconnect().await;
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.late("accept connections", START_TIMEOUT));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// As systemd's `PrivateTmp` does. A MySQL that is killed while its applier starts leaves a file there on which no later
    /// start of the applier gets past ("File exists", measured on 9.7).
    fn empty_tmp(&self) -> io::Result<()> {
        let tmp = self.directory.join(TMP);
        match fs::remove_dir_all(&tmp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir(&tmp),
        }
    }

    pub fn error_log_path(&self) -> PathBuf {
        self.directory.join("error.log")
    }

    /// All the server has logged since its folder was made; empty if it cannot be read.
    pub fn error_log(&self) -> String {
        let bytes = fs::read(self.error_log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn late(&self, doing: &'static str, waited: Duration) -> Error {
        Error::Late {
            name: self.name.clone(),
            doing,
            waited,
            log: tail(&self.error_log()),
        }
    }

    pub(crate) fn sql(&self, doing: impl Into<String>) -> impl FnOnce(mysql_async::Error) -> Error {
        let (name, doing) = (self.name.clone(), doing.into());
        move |source| Error::Sql { name, doing, source }
    }

    fn spawn(&self) -> Result<Child, Error> {
        let file = self.directory.join("my.cnf");
        let mut command = self.engine.server()?;
        command
            .arg(format!("--defaults-file={}", file.display()))
            .args(user_argument())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal reaches the whole foreground group: the servers must outlive
            // it long enough to be stopped in order.
            .process_group(0);
        command.spawn().map_err(Error::io("start the server"))
    }

    /// `kill(2)` needs unsafe code; the shell's own `kill` does the same.
    fn signal(&self, signal: &str) -> Result<(), Error> {
        let Some(pid) = self.pid() else {
            return Err(Error::NotRunning {
                name: self.name.clone(),
            });
        };
        let line = format!("kill -s {signal} {pid}");
        let sent = Command::new("/bin/sh").arg("-c").arg(line).status();
        sent.map(drop).map_err(Error::io("signal the server"))
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The data are temporary: nothing is lost that a clean stop would keep.
        let _ = self.kill9();
    }
}

/// Makes a fresh data directory, with no account but root's and no sample database.
pub(crate) async fn install(engine: &Engine, data: &Path) -> Result<(), Error> {
    let (command, script) = engine.install(data)?;
    // A server that starts removes temporary tables that it finds in its tmpdir. In the common one these are another's
    // that is being installed: of 4 at once on MariaDB 10.11, one in 15 failed or crashed (measured; none with its own).
    let tmp = data.with_file_name(TMP);
    fs::create_dir_all(&tmp).map_err(Error::io("make a folder"))?;
    let mut child = tokio::process::Command::from(command)
        .arg(format!("--tmpdir={}", tmp.display()))
        .args(user_argument())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("make a data directory"))?;
    let input = child.stdin.take();
    let feed = async move {
        if let Some(mut input) = input {
            // It may end early and say why.
            let _ = input.write_all(script.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(Error::io("make a data directory"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed {
        program: "making a data directory",
        status: output.status,
        output: tail(&words),
    })
}

/// Connection options of a client that asks nothing by itself: without the three settings
/// mysql_async would send a `SELECT` of its own at connect, which would spoil the counts.
pub fn client(address: SocketAddr, user: &str, password: &str, database: Option<&str>) -> Opts {
    quiet(
        OptsBuilder::default()
            .ip_or_hostname(address.ip().to_string())
            .tcp_port(address.port())
            .user(Some(user))
            .pass(Some(password))
            .db_name(database),
    )
}

fn quiet(options: OptsBuilder) -> Opts {
    options
        .prefer_socket(false)
        .max_allowed_packet(Some(16 << 20))
        .wait_timeout(Some(28_800))
        .into()
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("find a free port"))
}

/// The servers refuse to run as root unless told to. `/proc/self` belongs to who runs us.
fn user_argument() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    root.then_some("--user=root")
}

/// Debian keeps servers in `/usr/sbin`, which is not on an ordinary user's PATH.
pub(super) fn find_program((program, package): (&'static str, &'static str)) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(Error::Missing { program, package })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// The folder of a server's temporary files, beside that of its data.
const TMP: &str = "tmp";
const PORT_ATTEMPTS: usize = 5;
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);
