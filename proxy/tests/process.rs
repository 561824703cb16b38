//! The program as an operator meets it: started with a file, stopped with SIGTERM.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tandem::demo::config_text;
use tandem::demo::pair::{APP, Options, Pair, client};

const WITHIN: Duration = Duration::from_secs(20);

struct Tandem {
    process: Child,
    address: std::net::SocketAddr,
}

impl Tandem {
    /// Starts the program and waits until it serves.
    async fn start(pair: &Pair, more: &str) -> Self {
        let free = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address")
        };
        let (address, admin) = (free(), free());
        let file = pair.directory().join(format!("tandem-{}.toml", address.port()));
        std::fs::write(&file, format!("{}\n{more}", config_text(pair, address, admin))).expect("a file");
        let process = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args([
                "run",
                "--set",
                "log.format=json",
                "--set",
                "listener.shutdown_timeout=2s",
                "--config",
            ])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let tandem = Self { process, address };
        let deadline = Instant::now() + WITHIN;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "it serves");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tandem
    }

    async fn connect(&self) -> Conn {
        let opts = client(self.address, APP.user, APP.password, None);
        Conn::new(opts).await.expect("a connection")
    }

    fn terminate(&self) {
        let killed = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    /// Waits for the end; the exit code and the log.
    async fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + WITHIN;
        let status = loop {
            if let Some(status) = self.process.try_wait().expect("a status") {
                break status;
            }
            assert!(Instant::now() < deadline, "it ends");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let mut log = String::new();
        let stderr = self.process.stderr.as_mut().expect("its log");
        stderr.read_to_string(&mut log).expect("text");
        (status.code(), log)
    }
}

async fn pair() -> Pair {
    let options = Options {
        durable: false,
        ..Options::default()
    };
    Pair::start(&options).await.expect("a pair")
}

#[tokio::test]
async fn sigterm_lets_running_statements_finish_and_ends_the_idle() {
    let pair = pair().await;
    let tandem = Tandem::start(&pair, "").await;
    let mut idle = tandem.connect().await;
    let mut busy = tandem.connect().await;
    let slow = tokio::spawn(async move { busy.query_first::<u8, _>("SELECT SLEEP(1) + 7").await });
    let mut other = tandem.connect().await;
    let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(1)%'";
    loop {
        // Either server may have got it.
        let (mut a, mut b) = (
            pair.a().connect().await.expect("a"),
            pair.b().connect().await.expect("b"),
        );
        let count: Option<u32> = a.query_first(running).await.expect("a count");
        let there: Option<u32> = b.query_first(running).await.expect("a count");
        if count.zip(there).is_some_and(|(a, b)| a + b > 0) {
            break;
        }
    }
    other.query_drop("SELECT 1").await.expect("it serves");
    tandem.terminate();
    let answer = slow
        .await
        .expect("a task")
        .expect("the running statement is answered");
    assert_eq!(answer, Some(7));
    assert!(
        idle.query_drop("SELECT 1").await.is_err(),
        "idle sessions are ended"
    );
    let address = tandem.address;
    let (code, log) = tandem.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens"
    );
    assert!(
        log.lines()
            .any(|line| line.contains("\"ready\"") && line.contains(&address.to_string())),
        "{log}"
    );
    assert!(
        log.lines().all(|line| line.starts_with('{')),
        "JSON, as asked for:\n{log}"
    );
    assert!(!log.contains(APP.password), "no password in the log");
}

#[tokio::test]
async fn a_statement_that_does_not_end_is_cut_off() {
    let pair = pair().await;
    let tandem = Tandem::start(&pair, "").await;
    let mut stuck = tandem.connect().await;
    let sleeping = tokio::spawn(async move { stuck.query_drop("SELECT SLEEP(60)").await });
    let mut other = tandem.connect().await;
    other.query_drop("SELECT 1").await.expect("it serves");
    let started = Instant::now();
    tandem.terminate();
    let (code, log) = tandem.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the bound of 2 s holds"
    );
    assert!(sleeping.await.expect("a task").is_err());
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let file = std::env::temp_dir().join(format!("tandem-taken-{}.toml", std::process::id()));
    let text = format!(
        "[listener]\naddress = \"{address}\"\n[admin]\naddress = \"127.0.0.1:0\"\nuser = \"admin\"\npassword = \"x1\"\n\
         [monitor]\nuser = \"m\"\npassword = \"x2\"\n[[server]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n\
         [[server]]\nname = \"b\"\naddress = \"127.0.0.1:2\"\n[[user]]\nname = \"app\"\npassword = \"x3\"\n"
    );
    std::fs::write(&file, text).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_tandem"))
        .args(["run", "--config"])
        .arg(&file)
        .output();
    let output = output.expect("the program");
    let _ = std::fs::remove_file(&file);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.contains("listener.address") && text.contains("in use"),
        "{text}"
    );
}

#[test]
fn check_says_what_would_be_served_and_which_file_can_not_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |more: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .args(["check", "--config"])
            .arg(folder.path().join("tandem.toml"))
            .args(more)
            .output()
            .expect("the program");
        let said = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8(said).expect("text"))
    };
    let example = include_str!("../../tandem.example.toml");
    std::fs::write(folder.path().join("tandem.toml"), example).expect("a file");
    let (status, said) = check(&[
        "--set",
        "listener.socket=/run/t.sock",
        "--set",
        "server_tls.mode=required",
    ]);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("/run/t.sock, TLS in front of MariaDB 11.4 and later"),
        "{said}"
    );
    assert!(said.contains("their TLS required"), "{said}");
    let (status, said) = check(&[
        "--set",
        "client_tls.certificate=/nowhere.pem",
        "--set",
        "client_tls.key=/nowhere-key.pem",
    ]);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("client_tls.certificate: /nowhere.pem can't be read"),
        "{said}"
    );
}
