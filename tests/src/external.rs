//! Clients that applications really use, run as programs of their own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tandem::demo::pair::APP;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a program said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The standard output of a program that succeeded and complained about nothing; panics otherwise.
    pub fn clean(self) -> String {
        assert!(
            self.status == Some(0) && self.stderr.is_empty(),
            "{:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout
    }
}

/// A command as words for a shell.
pub fn words(command: &std::process::Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// The `mariadb` client with the application's account; `more` are further arguments, such as the
/// database or `-e`, and `input` is what it reads.
pub async fn mariadb(address: SocketAddr, more: &[&str], input: &str) -> Output {
    let mut command = Command::new("mariadb");
    command
        // What the machine's option files set is no part of the test.
        .args(["--no-defaults", "--protocol=tcp", "--batch"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={}", APP.user))
        .arg(format!("--password={}", APP.password))
        .args(more);
    run(command, address, input).await
}

/// PHP code, without `<?php`. `getenv("TANDEM_HOST")`, `_PORT`, `_USER` and `_PASSWORD` say where to.
/// Warnings and notices go to standard error, so that [`Output::clean`] sees them.
pub async fn php(address: SocketAddr, code: &str) -> Output {
    let mut command = Command::new("php");
    command.args(["-d", "display_errors=stderr", "-d", "error_reporting=-1"]);
    command.args(["-r", code]);
    run(command, address, "").await
}

/// Python code; `os.environ` has the same variables. Debian's own interpreter, since the packages
/// `python3-*` are installed for it and not for another that may stand first on the PATH.
pub async fn python(address: SocketAddr, code: &str) -> Output {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", code]);
    run(command, address, "").await
}

/// Runs any program with the variables set, feeds it `input`, and kills it after three minutes.
pub async fn run(mut command: Command, address: SocketAddr, input: &str) -> Output {
    command
        .env("TANDEM_HOST", address.ip().to_string())
        .env("TANDEM_PORT", address.port().to_string())
        .env("TANDEM_USER", APP.user)
        .env("TANDEM_PASSWORD", APP.password)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(TIMEOUT, converse(&mut command, input.as_bytes())).await;
    match ended {
        Ok(Ok(output)) => output,
        Ok(Err(problem)) => panic!("cannot run {command:?} (`make test` installs it): {problem}"),
        Err(_) => panic!("{command:?} has not ended after {TIMEOUT:?}"),
    }
}

async fn converse(command: &mut Command, input: &[u8]) -> std::io::Result<Output> {
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading all is judged by its status, not by this.
            let _ = stdin.write_all(input).await;
        }
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output?;
    Ok(Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

const TIMEOUT: Duration = Duration::from_secs(180);
