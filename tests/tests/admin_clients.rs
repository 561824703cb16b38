//! The admin port as the clients of operators see it: each lists, describes and queries its tables.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;

use mysql_async::prelude::Queryable;
use tandem::demo::{ADMIN_PASSWORD, ADMIN_USER};
use tandem_tests::external::{self, Output};
use tandem_tests::site::Site;
use tandem_tests::{Cluster, Setup};
use tokio::process::Command;
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(|| Cluster::start(Setup::default())).await
}

const STATEMENTS: &str = "SHOW TABLES; DESCRIBE servers; SELECT name, COUNT(*) FROM servers WHERE name = 'a' GROUP BY name; \
    SHOW SERVERS LIKE 'b'; SELECT CURRENT_USER();";

/// What must be in a client's answer to [`STATEMENTS`].
fn assert_answered(client: &str, output: &Output) {
    assert_eq!(output.status, Some(0), "{client}: {output:?}");
    for wanted in ["sessions", "lag_ms", "standby", &format!("{ADMIN_USER}@%")] {
        assert!(output.stdout.contains(wanted), "{client}: {wanted} in {output:?}");
    }
}

fn program(program: impl AsRef<OsStr>, address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command
        .arg(format!("-h{}", address.ip()))
        .arg(format!("-P{}", address.port()))
        .arg(format!("-u{ADMIN_USER}"))
        .arg(format!("-p{ADMIN_PASSWORD}"));
    command
}

#[tokio::test]
async fn mariadbs_client() {
    let address = cluster().await.admin_address();
    let mut client = Command::new("mariadb");
    client.arg("--no-defaults");
    client.args(program("mariadb", address).as_std().get_args());
    // Completion reads all names of tables and columns.
    client.args(["--auto-rehash", "--table", "tandem"]);
    let output = external::run(client, address, STATEMENTS).await;
    assert_answered("mariadb", &output);
}

/// It knows no `mysql_native_password`.
#[tokio::test]
async fn mysqls_client() {
    let address = cluster().await.admin_address();
    let folder = std::env::var_os("TANDEM_SERVERS").unwrap_or_else(|| "/var/cache/tandem".into());
    let root = Path::new(&folder).join("mysql-9.7");
    let loader = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"].map(|path| root.join(path));
    let loader = loader.into_iter().find(|path| path.exists());
    let libraries = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let mut client = Command::new(loader.expect("MySQL 9.7, which .ci/server-root unpacks"));
    client
        .arg("--library-path")
        .arg(libraries)
        .arg(root.join("usr/bin/mysql"));
    client.args(["--no-defaults", "--protocol=tcp"]);
    client.args(program("mysql", address).as_std().get_args());
    client.args(["--auto-rehash", "--table", "tandem"]);
    let output = external::run(client, address, STATEMENTS).await;
    assert_answered("mysql", &output);
}

#[tokio::test]
async fn mycli() {
    let address = cluster().await.admin_address();
    let folder = tempfile::tempdir().expect("a folder");
    let mut client = program("mycli", address);
    client
        .arg("--myclirc")
        .arg(folder.path().join("myclirc"))
        .args(["-D", "tandem"]);
    client.env("HOME", folder.path());
    client.args(["-e", STATEMENTS]);
    let output = external::run(client, address, "").await;
    assert_answered("mycli", &output);
}

async fn script(program: &[&str], name: &str) {
    let address = cluster().await.admin_address();
    let mut client = Command::new(program[0]);
    client
        .args(&program[1..])
        .arg(format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR")))
        .args([address.ip().to_string(), address.port().to_string()])
        .args([ADMIN_USER, ADMIN_PASSWORD]);
    let output = external::run(client, address, "").await.clean();
    assert_eq!(output, "done\n");
}

#[tokio::test]
async fn pymysql() {
    script(&["/usr/bin/python3"], "admin_pymysql.py").await;
}

/// PDO prepares natively and by putting values into the text.
#[tokio::test]
async fn mysqli_and_pdo() {
    script(&["php", "-d", "display_errors=stderr"], "admin.php").await;
}

#[tokio::test]
async fn phpmyadmin() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site::phpmyadmin(folder.path(), cluster().await.admin_address()).await;
    let said = site
        .visit("admin_phpmyadmin.py", &[ADMIN_USER, ADMIN_PASSWORD])
        .await;
    assert_eq!(said, "done\n");
}

/// An account that may look and one that may act, each told what it lacks, and a switchover's refusal in the audit.
#[tokio::test]
async fn rights_and_audit() {
    let toml = "[[admin_user]]\nname = \"watcher\"\npassword = \"w4tch\"\n";
    let cluster = Cluster::start(Setup {
        toml: toml.to_owned(),
        ..Setup::default()
    })
    .await;
    let client = cluster.client().await;
    let options = |user: &str, password: &str| {
        mysql_async::OptsBuilder::default()
            .ip_or_hostname(cluster.admin_address().ip().to_string())
            .tcp_port(cluster.admin_address().port())
            .user(Some(user))
            .pass(Some(password))
            .prefer_socket(false)
    };
    let mut watcher = mysql_async::Conn::new(options("watcher", "w4tch"))
        .await
        .expect("login");
    let session: Option<u32> = watcher
        .query_first("SELECT id FROM sessions")
        .await
        .expect("may look");
    let session = session.expect("one session");
    let refused = watcher
        .query_drop(format!("KILL {session}"))
        .await
        .expect_err("may not act");
    assert!(refused.to_string().contains("right \"act\""), "{refused}");
    let mut admin = cluster.admin().await;
    admin
        .query_drop(format!("KILL {session}"))
        .await
        .expect("may act");
    let audit: Vec<(String, String, String)> = admin
        .query("SELECT user, what, outcome FROM audit ORDER BY at")
        .await
        .expect("audit");
    let entry = |user: &str, outcome: &str| (user.to_owned(), format!("KILL {session}"), outcome.to_owned());
    assert_eq!(audit, [entry("watcher", "denied"), entry(ADMIN_USER, "done")]);
    drop(client);
    cluster.stop().await;
}
