//! The command line, as a program of its own: what it prints, and by which exit code a script knows how it went.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tandem::demo::config_text;
use tandem_tests::{Cluster, Setup, WITHIN, config_without_servers, roles, wait_until};
use tempfile::TempDir;

/// Runs `tandem` with these arguments and nothing in its environment.
fn tandem(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxy"));
    command.env_clear().args(arguments);
    command.stdin(std::process::Stdio::null());
    command.output().expect("it runs")
}

fn said(output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8(text).expect("it speaks UTF-8")
}

/// Its output, or a panic that has all of it if it did not end with `code`.
fn expect(code: i32, arguments: &[&str]) -> String {
    let output = tandem(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        said(&output)
    );
    said(&output)
}

/// Asks the Tandem that runs with the configuration in `file`.
struct Asking<'a> {
    file: &'a str,
}

impl Asking<'_> {
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        expect(code, &[arguments, &["--config", self.file]].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.expect(0, &[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Waits until `status --check` ends with this code.
    async fn wait_check(&self, code: i32) {
        let what = format!("status --check ends with {code}");
        wait_until(&what, WITHIN, || async {
            let output = tandem(&["status", "--check", "--config", self.file]);
            output.status.code() == Some(code)
        })
        .await;
    }
}

fn written(folder: &Path, text: &str) -> String {
    let file = folder.join("tandem.toml");
    fs::write(&file, text).expect("written");
    file.to_str().expect("its name is UTF-8").to_owned()
}

/// Each command does on a running Tandem what it says, in text and in JSON, and is refused by a code of its own.
#[tokio::test]
async fn a_running_tandem_is_asked_and_told() {
    let cluster = Cluster::start(Setup::with_failover()).await;
    roles::wait_active(&cluster, Some("a"), WITHIN).await;
    let folder = TempDir::new().expect("a folder");
    let text = config_text(cluster.pair(), cluster.address(), cluster.admin_address());
    let file = written(folder.path(), &text);
    let asking = Asking { file: &file };
    asking.wait_check(0).await;

    let status = asking.json(&["status"]);
    assert_eq!(status["whole"], true, "{status:#}");
    assert_eq!(status["failover"]["active"], "a", "{status:#}");
    assert_eq!(
        status["failover"]["why_not"],
        Value::Array(Vec::new()),
        "{status:#}"
    );
    assert_eq!(status["servers"][1]["role"], "standby", "{status:#}");
    assert!(status["servers"][1]["weight"].is_u64(), "a number: {status:#}");
    let text = asking.expect(0, &["status"]);
    assert!(text.contains("role          standby"), "{text}");

    let route = asking.json(&["explain", "UPDATE shop.t SET a = 1"]);
    assert_eq!(route["target"], "a", "{route:#}");
    let text = asking.expect(0, &["explain", "UPDATE shop.t SET a = 1"]);
    assert!(text.contains("\ntarget                a\n"), "{text}");

    asking.expect(0, &["drain", "b"]);
    let text = asking.expect(6, &["status", "--check"]);
    assert!(text.contains("tandem: the"), "it says what is lacking: {text}");
    asking.expect(0, &["status"]);
    asking.expect(0, &["open", "b"]);
    asking.wait_check(0).await;
    let text = asking.expect(4, &["drain", "a"]);
    assert!(
        text.contains("active"),
        "the active master can't be drained: {text}"
    );
    let text = asking.expect(4, &["open", "c"]);
    assert!(text.contains("there are a, b"), "{text}");

    asking.expect(0, &["pause"]);
    asking.wait_check(6).await;
    asking.expect(0, &["resume"]);
    asking.wait_check(0).await;

    asking.expect(0, &["switchover", "--dry-run"]);
    assert_eq!(asking.json(&["status"])["failover"]["active"], "a");
    let done = asking.json(&["switchover", "--to", "b", "--timeout", "5"]);
    assert!(
        done["result"].as_str().is_some_and(|text| text.contains('b')),
        "{done}"
    );
    assert_eq!(asking.json(&["status"])["failover"]["active"], "b");
    let text = asking.expect(4, &["switchover", "--to", "b"]);
    assert!(text.contains("tandem: "), "{text}");

    let text = asking.expect(3, &["status", "--set", "admin.password=another"]);
    assert!(text.contains("does not let admin.user in"), "{text}");
    cluster.stop().await;
    let text = asking.expect(3, &["status"]);
    assert!(text.contains("no Tandem answers at"), "{text}");
}

/// What is wrong is told apart: the configuration, the command line, the machine.
#[test]
fn the_exit_code_says_what_is_wrong() {
    let folder = TempDir::new().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its number");
    let good = config_without_servers(&address.to_string());
    let file = written(folder.path(), &good);
    expect(0, &["check", "--config", &file]);
    let text = expect(5, &["run", "--config", &file]);
    assert!(text.contains("listener.address"), "{text}");

    let certificate = "client_tls.certificate=/nowhere/cert.pem";
    let key = "client_tls.key=/nowhere/key.pem";
    let text = expect(
        1,
        &["check", "--config", &file, "--set", certificate, "--set", key],
    );
    assert!(text.contains("/nowhere/cert.pem"), "{text}");
    let file = written(folder.path(), &good.replace("name = \"b\"", "nam = \"b\""));
    for command in ["check", "run", "status"] {
        let text = expect(1, &[command, "--config", &file]);
        assert!(
            text.contains("tandem.toml:14: server[1].nam is not known"),
            "{text}"
        );
    }

    expect(2, &["swichover"]);
    expect(2, &["drain"]);
    expect(2, &["switchover", "--timeout", "soon"]);
}

/// What a package installs beside the program comes out of the program itself, and `--help` has all exit codes.
#[test]
fn it_documents_itself() {
    let help = expect(0, &["--help"]);
    let folder = TempDir::new().expect("a folder");
    let to = folder.path().join("man1");
    let list = expect(0, &["man", "--to", to.to_str().expect("UTF-8")]);
    for name in [
        "tandem.1",
        "tandem-run.1",
        "tandem-switchover.1",
        "tandem-status.1",
    ] {
        assert!(list.contains(&format!("/{name}\n")), "{list}");
        let page = fs::read_to_string(to.join(name)).expect("a page");
        assert!(
            page.contains(".SH SYNOPSIS") && page.contains("EXIT STATUS"),
            "{page}"
        );
    }
    let page = expect(0, &["man"]);
    for code in 0..=6 {
        assert!(help.contains(&format!("\n  {code}  ")), "{help}");
        assert!(page.contains(&format!("\n.TP\n\\fB{code}\\fR\n")), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = expect(0, &["completions", shell]);
        assert!(script.contains("switchover"), "{script}");
    }
    let script = folder.path().join("tandem.bash");
    fs::write(&script, expect(0, &["completions", "bash"])).expect("written");
    let checked = Command::new("bash")
        .arg("-n")
        .arg(&script)
        .status()
        .expect("bash");
    assert!(checked.success());
}
