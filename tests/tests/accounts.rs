//! `auth = "servers"`: whom the servers let in, Tandem lets in, and nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::{Account, Pair};
use tandem_tests::authority::Authority;
use tandem_tests::external::{Output, run};
use tandem_tests::logins::{by_php, code, flavor, log_in, on_both, pair, server_version, who};
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Flavor, Proxy};
use tokio::process::Command;

const BINLOG_DUMP: u8 = 0x12;

/// A state of things that comes by itself comes within this time.
const SOON: Duration = Duration::from_secs(20);

/// A Tandem that lets in whom the servers let in.
async fn for_all(more: &str) -> Proxy {
    Proxy::over(pair().await, more, |config| {
        config.listener.auth = tandem::config::Auth::Servers;
        config.users.clear();
    })
    .await
}

async fn create(accounts: &[&str]) {
    let statements: Vec<String> = accounts
        .iter()
        .map(|account| format!("CREATE USER {account}"))
        .collect();
    on_both(pair().await, &statements).await;
}

/// Whether Tandem lets somebody in and the servers answer him.
async fn gets_in(address: SocketAddr, user: &str, password: &str) -> bool {
    match log_in(address, user, password).await {
        Ok(mut conn) => {
            assert!(who(&mut conn).await.starts_with(&format!("{user}@")));
            true
        }
        Err(refused) => {
            assert_eq!(code(&refused), 1045, "{refused}");
            false
        }
    }
}

/// Without any list of accounts those of the servers log in; one that is made, changed or dropped is so at once, and
/// nobody else is let in.
#[tokio::test]
async fn the_accounts_of_the_servers_are_enough() {
    create(&["sally@'%' IDENTIFIED BY 'secret'"]).await;
    let proxy = for_all("").await;
    let address = proxy.address();
    for _ in 0..2 {
        assert!(!gets_in(address, "sally", "wrong").await);
        assert!(!gets_in(address, "sally", "").await);
        assert!(!gets_in(address, "nobody", "secret").await);
        assert!(gets_in(address, "sally", "secret").await);
    }
    let mut stays = log_in(address, "sally", "secret").await.expect("logged in");
    create(&["sam@'%' IDENTIFIED BY 'secret'"]).await;
    assert!(gets_in(address, "sam", "secret").await, "made a moment ago");
    on_both(
        pair().await,
        &["ALTER USER sally@'%' IDENTIFIED BY 'changed'".to_owned()],
    )
    .await;
    assert!(gets_in(address, "sally", "changed").await);
    assert!(!gets_in(address, "sally", "secret").await);
    assert!(who(&mut stays).await.starts_with("sally@"), "who is in stays in");
    on_both(pair().await, &["DROP USER sally@'%'".to_owned()]).await;
    tandem_tests::wait_until("a dropped account is refused", SOON, || async {
        log_in(address, "sally", "changed").await.is_err()
    })
    .await;
    let out = by_php(address, "secret").await;
    assert!(out.clean().contains("hashed@"), "the others go on");
    let mut conn = log_in(address, "sam", "secret").await.expect("logged in");
    let refused = conn
        .query_drop("CREATE DATABASE sams")
        .await
        .expect_err("no right");
    assert_eq!(code(&refused), 1044, "with the account's own rights: {refused}");
}

/// Who may follow the binlog is what the servers say, too: an account that lacks their right hears their refusal, and one
/// that has it gets the dump.
#[tokio::test]
async fn the_servers_say_who_may_replicate() {
    create(&[
        "rita@'%' IDENTIFIED BY 'secret'",
        "rosa@'%' IDENTIFIED BY 'secret'",
    ])
    .await;
    let grant = "GRANT REPLICATION SLAVE ON *.* TO rita@'%'".to_owned();
    on_both(pair().await, &[grant]).await;
    let proxy = for_all("").await;
    for (user, may) in [("rita", true), ("rosa", false)] {
        // MySQL lets an account in without TLS once it has seen it.
        log_in(proxy.address(), user, "secret").await.expect("logged in");
        let account = Account {
            user,
            password: "secret",
        };
        let mut raw = Raw::log_in_with(proxy.address(), &account, "", CAPABILITIES).await;
        // From position 4 of a file that is none, without waiting, as server 99.
        let dump = [
            &4_u32.to_le_bytes()[..],
            &[1, 0],
            &99_u32.to_le_bytes(),
            b"none.000001",
        ]
        .concat();
        raw.command(BINLOG_DUMP, &dump).await;
        // ER_MASTER_FATAL_ERROR_READING_BINLOG, ER_SPECIFIC_ACCESS_DENIED_ERROR
        assert_eq!(raw.error().await, Some(if may { 1236 } else { 1227 }), "{user}");
    }
}

/// The `mariadb` client, by TLS where it is offered.
async fn command_line(address: SocketAddr, user: &str, password: &str) -> Output {
    let mut command = Command::new("mariadb");
    command
        .args(["--no-defaults", "--protocol=tcp", "--ssl", "-e", "DO 1"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={user}"))
        .arg(format!("--password={password}"));
    run(command, address, "").await
}

/// Which of several accounts of one name is meant, and whether the client's host is one of it, is what the server says.
#[tokio::test]
async fn hosts_of_accounts_mean_what_they_mean_to_the_server() {
    create(&[
        "harry@'%' IDENTIFIED BY 'anywhere'",
        "harry@'127.0.0.%' IDENTIFIED BY 'near'",
        "hank@'10.0.0.0/255.0.0.0' IDENTIFIED BY 'secret'",
        "hugo@'127.0.0.0/255.0.0.0' IDENTIFIED BY 'secret'",
        "hilda@'localhost' IDENTIFIED BY 'secret'",
        "hubert@'127.0.0.1' IDENTIFIED BY 'secret'",
    ])
    .await;
    let proxy = for_all("").await;
    let server = pair().await.a().address();
    for (user, password) in [
        ("harry", "near"),
        ("harry", "anywhere"),
        ("hank", "secret"),
        ("hugo", "secret"),
        ("hilda", "secret"),
        ("hubert", "secret"),
    ] {
        let directly = command_line(server, user, password).await.status == Some(0);
        let through = gets_in(proxy.address(), user, password).await;
        assert_eq!(through, directly, "{user} with {password}");
    }
}

/// An anonymous account lets in names that are nobody's, and comes before a named one whose host is said less exactly.
#[tokio::test]
async fn anonymous_accounts_let_in_whom_they_let_in_on_the_server() {
    // Of its own: such an account is in the way of all others.
    let pair = Pair::start(&tandem_tests::options()).await.expect("a pair");
    let table = match flavor() {
        Flavor::MySql => "mysql.user",
        Flavor::MariaDb => "mysql.global_priv",
    };
    let statements = [
        &format!("GRANT SELECT ON {table} TO tandem_monitor@'%'"),
        // The monitor's has to come before it.
        "RENAME USER tandem_monitor@'%' TO tandem_monitor@'127.0.0.1'",
        "CREATE USER ''@'127.0.0.1'",
        "CREATE USER 'wide'@'%' IDENTIFIED BY 'secret'",
        "CREATE USER 'near'@'127.0.0.1' IDENTIFIED BY 'secret'",
        // MariaDB does not sort what was renamed (10.11).
        "FLUSH PRIVILEGES",
    ];
    on_both(&pair, &statements.map(str::to_owned)).await;
    let proxy = Proxy::over(&pair, "", |config| {
        config.listener.auth = tandem::config::Auth::Servers;
        config.users.clear();
    })
    .await;
    let server = pair.a().address();
    for (user, password) in [
        ("guest", ""),
        ("guest", "secret"),
        ("another", ""),
        ("wide", "secret"),
        ("wide", ""),
        ("near", "secret"),
        ("near", ""),
    ] {
        let directly = command_line(server, user, password).await.status == Some(0);
        let through = gets_in(proxy.address(), user, password).await;
        assert_eq!(through, directly, "{user} with {password:?}");
        if user == "guest" {
            assert_eq!(directly, password.is_empty(), "the account is used");
        }
    }
}

/// Locked accounts are told so, as by the server, and those that must use TLS get in by TLS only.
#[tokio::test]
async fn locked_accounts_and_those_that_need_tls_are_treated_as_by_the_server() {
    create(&[
        "larry@'%' IDENTIFIED BY 'secret' ACCOUNT LOCK",
        "tessa@'%' IDENTIFIED BY 'secret' REQUIRE SSL",
        "xaver@'%' IDENTIFIED BY 'secret' REQUIRE X509",
    ])
    .await;
    let authority = Authority::new("the authority of the tests");
    let identity = authority.sign("tandem", &["127.0.0.1"]);
    let tls = format!(
        "[client_tls]\ncertificate = {:?}\nkey = {:?}\n",
        identity.certificate, identity.key
    );
    let proxy = for_all(&tls).await;
    let server = pair().await.a().address();
    for password in ["secret", "wrong"] {
        let theirs = log_in(server, "larry", password).await.expect_err("locked");
        let ours = log_in(proxy.address(), "larry", password)
            .await
            .expect_err("locked");
        assert_eq!(ours.to_string(), theirs.to_string());
    }
    for name in ["tessa", "xaver"] {
        assert!(!gets_in(proxy.address(), name, "secret").await);
    }
    // The servers of this pair of MariaDB have no TLS themselves; that the client's is seen shows in who refuses.
    for (name, is_let_in) in [("tessa", true), ("xaver", false)] {
        let out = command_line(proxy.address(), name, "secret").await;
        let by_tandem = out.stderr.contains(&format!(
            "Access denied for user '{name}'@'127.0.0.1' (using password: YES)\n"
        ));
        assert_eq!(by_tandem, !is_let_in, "{name}: {}", out.stderr);
    }
}

/// An account that is locked or dropped through Tandem is refused from then on, not only when the accounts are read again.
#[tokio::test]
async fn who_was_locked_out_through_tandem_is_not_let_in_afterwards() {
    create(&[
        "warden@'%' IDENTIFIED BY 'secret'",
        "prisoner@'%' IDENTIFIED BY 'secret'",
    ])
    .await;
    on_both(
        pair().await,
        &["GRANT CREATE USER ON *.* TO warden@'%'".to_owned()],
    )
    .await;
    let proxy = for_all("").await;
    let mut warden = log_in(proxy.address(), "warden", "secret")
        .await
        .expect("logged in");
    for round in 0..3 {
        assert!(gets_in(proxy.address(), "prisoner", "secret").await, "{round}");
        for (change, is_let_in) in [("LOCK", false), ("UNLOCK", true)] {
            let statement = format!("ALTER USER prisoner@'%' ACCOUNT {change}");
            warden.query_drop(statement).await.expect("changed");
            let login = log_in(proxy.address(), "prisoner", "secret").await;
            assert_eq!(login.is_ok(), is_let_in, "{round}: {change}");
        }
    }
    warden
        .query_drop("DROP USER prisoner@'%'")
        .await
        .expect("dropped");
    assert!(!gets_in(proxy.address(), "prisoner", "secret").await);
}

/// Accounts of plugins that only one kind of server has get in too: they give Tandem their password once.
#[tokio::test]
async fn accounts_with_other_plugins_are_let_in_by_their_password() {
    let mut names = Vec::new();
    if flavor() == Flavor::MariaDb {
        create(&["edith@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')"]).await;
        names.push("edith");
        if !server_version(pair().await).await.starts_with("10.") {
            create(&["paula@'%' IDENTIFIED VIA parsec USING PASSWORD('secret')"]).await;
            names.push("paula");
        }
        create(&["bettina@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret') OR mysql_native_password USING PASSWORD('secret')"]).await;
        names.push("bettina");
        create(&["janus@'%' IDENTIFIED VIA ed25519 USING PASSWORD('past') OR mysql_native_password USING PASSWORD('future')"]).await;
    } else {
        create(&["shari@'%' IDENTIFIED WITH sha256_password BY 'secret'"]).await;
        names.push("shari");
    }
    names.push("hashed");
    let proxy = for_all("").await;
    for name in names {
        for _ in 0..2 {
            assert!(!gets_in(proxy.address(), name, "wrong").await, "{name}");
            assert!(gets_in(proxy.address(), name, "secret").await, "{name}");
        }
    }
    if flavor() == Flavor::MariaDb {
        // Of several passwords each stays right when another one has been used.
        for password in ["past", "future", "past", "future"] {
            assert!(gets_in(proxy.address(), "janus", password).await, "{password}");
            assert!(!gets_in(proxy.address(), "janus", "present").await, "{password}");
        }
    }
}

/// An account that is made on the server is known when it logs in, whatever method its name was asked by before.
#[tokio::test]
async fn an_account_made_past_tandem_may_log_in_at_once() {
    let proxy = for_all("").await;
    let methods = match flavor() {
        Flavor::MariaDb => [
            "VIA mysql_native_password USING PASSWORD('secret')",
            "VIA ed25519 USING PASSWORD('secret')",
        ],
        Flavor::MySql => [
            "WITH caching_sha2_password BY 'secret'",
            "WITH sha256_password BY 'secret'",
        ],
    };
    for (n, method) in methods.iter().cycle().take(8).enumerate() {
        let name = format!("newcomer_{n}");
        create(&[&format!("{name}@'%' IDENTIFIED {method}")]).await;
        assert!(gets_in(proxy.address(), &name, "secret").await, "{name} {method}");
    }
}

/// Without the right to read the accounts nobody gets in, and the log says which right is missing.
#[tokio::test]
async fn a_monitor_that_may_not_read_the_accounts_lets_nobody_in() {
    create(&["blind@'%' IDENTIFIED BY 'secret'"]).await;
    let grant = tandem_tests::pair::monitor_grant(flavor());
    on_both(pair().await, &[format!("{grant} TO blind@'%'")]).await;
    let proxy = Proxy::over(pair().await, "", |config| {
        config.listener.auth = tandem::config::Auth::Servers;
        config.users.clear();
        config.monitor.user = "blind".to_owned();
        config.monitor.password = tandem::config::Secret::new("secret");
    })
    .await;
    assert!(!gets_in(proxy.address(), "hashed", "secret").await);
}
