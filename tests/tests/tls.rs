//! TLS on both legs, with the clients that applications have: who is let in, who is not, and what is spoken.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Row};
use tandem::demo::pair::{APP, Options, Pair};
use tandem_protocol::auth::{native, vouch};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::handshake::Greeting;
use tandem_protocol::packet::OkPacket;
use tandem_tests::authority::{Authority, Identity};
use tandem_tests::external::{Output, mariadb, php};
use tandem_tests::raw::Raw;
use tandem_tests::{Proxy, wait_until};
use tokio::sync::OnceCell;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// What all tests share: a pair whose servers have certificates for `db.example`, and the authority that signed them.
struct Ground {
    pair: Pair,
    authority: Authority,
    /// The servers'.
    identity: Identity,
}

static GROUND: OnceCell<Ground> = OnceCell::const_new();

/// A state of things that comes by itself comes within this time.
const SOON: Duration = Duration::from_secs(20);

async fn ground() -> &'static Ground {
    let start = || async {
        let authority = Authority::new("the authority of the tests");
        let identity = authority.sign("server", &["db.example"]);
        let Identity { certificate, key } = &identity;
        let options = Options {
            extra: vec![
                format!("ssl_ca={}", authority.file().display()),
                format!("ssl_cert={}", certificate.display()),
                format!("ssl_key={}", key.display()),
            ],
            ..tandem_tests::options()
        };
        let pair = Pair::start(&options).await.expect("a pair");
        Ground {
            pair,
            authority,
            identity,
        }
    };
    GROUND.get_or_init(start).await
}

fn client_tls(identity: &Identity, more: &str) -> String {
    format!(
        "[client_tls]\ncertificate = \"{}\"\nkey = \"{}\"\n{more}\n",
        identity.certificate.display(),
        identity.key.display()
    )
}

/// Asks through `proxy` with the `mariadb` client and its options for TLS.
async fn ask(proxy: &Proxy, tls: &[&str]) -> Output {
    let mut arguments = tls.to_vec();
    arguments.extend(["--skip-column-names", "-e", "SELECT 'in'"]);
    mariadb(proxy.address(), &arguments, "").await
}

fn option(name: &str, file: &Path) -> String {
    format!("--{name}={}", file.display())
}

/// What `SHOW SESSIONS` says of the TLS of the application's only session.
async fn tls_shown(proxy: &Proxy) -> Option<String> {
    let mut admin = proxy.admin().await;
    let rows: Vec<Row> = admin.query("SHOW SESSIONS").await.expect("sessions");
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].get("tls").expect("a column")
}

#[tokio::test]
async fn a_client_that_verifies_the_certificate_is_served_by_tls() {
    let ground = ground().await;
    let identity = ground.authority.sign("tandem", &["localhost", "127.0.0.1"]);
    let proxy = Proxy::over(&ground.pair, &client_tls(&identity, ""), |_| {}).await;
    let ca = option("ssl-ca", &ground.authority.file());
    let out = ask(&proxy, &[&ca, "--ssl-verify-server-cert"]).await;
    assert_eq!(out.clean(), "in\n");
    // Offered, not demanded: a client without TLS comes in too.
    assert_eq!(ask(&proxy, &["--skip-ssl"]).await.clean(), "in\n");
    // Another authority's certificate is refused by the client.
    let stranger = Authority::new("nobody's authority");
    let ca = option("ssl-ca", &stranger.file());
    let out = ask(&proxy, &[&ca, "--ssl-verify-server-cert"]).await;
    assert_eq!(out.status, Some(1), "{}", out.stdout);
}

#[tokio::test]
async fn sessions_say_which_tls_they_speak_and_1_2_can_be_shut_out() {
    let ground = ground().await;
    let identity = ground.authority.sign("versions", &["127.0.0.1"]);
    let any = Proxy::over(&ground.pair, &client_tls(&identity, ""), |_| {}).await;
    for version in ["TLSv1.2", "TLSv1.3"] {
        let mut opened = open_with_tls(&any, version).await;
        assert_eq!(tls_shown(&any).await.as_deref(), Some(version));
        opened.end().await;
    }
    let strict = client_tls(&identity, "min_version = \"1.3\"");
    let strict = Proxy::over(&ground.pair, &strict, |_| {}).await;
    let out = ask(&strict, &["--ssl", "--tls-version=TLSv1.2"]).await;
    assert_eq!(out.status, Some(1), "{}", out.stdout);
    assert_eq!(
        ask(&strict, &["--ssl", "--tls-version=TLSv1.3"]).await.clean(),
        "in\n"
    );
}

/// A `mariadb` client that stays connected.
struct Opened(tokio::process::Child);

impl Opened {
    async fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().await.expect("an end");
    }
}

async fn open_with_tls(proxy: &Proxy, version: &str) -> Opened {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut child = tokio::process::Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "--batch", "--unbuffered"])
        .args(["--skip-column-names", "--ssl"])
        .arg(format!("--tls-version={version}"))
        .arg(format!("--host={}", proxy.address().ip()))
        .arg(format!("--port={}", proxy.address().port()))
        .arg(format!("--user={}", APP.user))
        .arg(format!("--password={}", APP.password))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the client");
    let stdin = child.stdin.as_mut().expect("its input");
    stdin.write_all(b"SELECT 1;\n").await.expect("written");
    let mut answer = [0; 2];
    let stdout = child.stdout.as_mut().expect("its output");
    let read = tokio::time::timeout(SOON, stdout.read_exact(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    Opened(child)
}

/// What ends a login is what the servers end one with: from MariaDB 11.4 on, a proof of the certificate that who holds it
/// knows the password too.
#[tokio::test]
async fn a_login_ends_with_the_proof_that_the_servers_give() {
    let ground = ground().await;
    let identity = ground.authority.sign("proved", &["127.0.0.1"]);
    let proxy = Proxy::over(&ground.pair, &client_tls(&identity, ""), |_| {}).await;
    let mut first = Raw::log_in(proxy.address(), "").await;
    // So that MySQL has the password in its cache.
    first.run("DO 1").await;
    let version = first.value("SELECT VERSION()").await;
    let is_newer = is_mariadb_of_11_4(&version);
    let certificates = [
        (proxy.address(), &identity),
        (ground.pair.a().address(), &ground.identity),
    ];
    for (address, identity) in certificates {
        let login = Raw::log_in(address, "").await;
        let ok = OkPacket::decode(&login.welcome, login.capabilities).expect("an OK");
        let certificate = CertificateDer::from_pem_file(&identity.certificate).expect("a certificate");
        let stored = native::double_sha1(APP.password.as_bytes());
        let proof = vouch::vouch(&stored, &login.nonce, &vouch::fingerprint(&certificate));
        let expected = if is_newer { proof } else { String::new() };
        assert_eq!(String::from_utf8_lossy(ok.info), expected, "{version}");
    }
}

/// What came with 11.4 is there: a certificate of its own making, and the proof that goes with it.
fn is_mariadb_of_11_4(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next()) >= Some((11, 4)) && version.contains("MariaDB")
}

/// Where TLS is wanted and no certificate is named, Tandem makes one; where nothing is said of TLS, it is offered in front of
/// servers that do so, whose clients insist.
#[tokio::test]
async fn tandem_makes_itself_a_certificate() {
    let ground = ground().await;
    let wanted = Proxy::over(&ground.pair, "[client_tls]\nmode = \"required\"\n", |_| {}).await;
    assert_eq!(ask(&wanted, &["--ssl"]).await.clean(), "in\n");
    let unsaid = Proxy::over(&ground.pair, "", |_| {}).await;
    let (version, offered) = greeting(unsaid.address()).await;
    assert_eq!(!offered.is_empty(), is_mariadb_of_11_4(&version), "{version}");
}

/// The version that a greeting names, and what it offers of TLS.
async fn greeting(address: SocketAddr) -> (String, Capabilities) {
    let (_, payload) = Raw::connect(address).await.packet().await.expect("a greeting");
    let greeting = Greeting::decode(&payload).expect("a greeting");
    let offered = greeting.capabilities & (Capabilities::SSL | Capabilities::SSL_VERIFY_SERVER_CERT);
    (String::from_utf8_lossy(greeting.version).into_owned(), offered)
}

/// TLS is offered as the servers offer theirs.
#[tokio::test]
async fn greetings_offer_tls_with_the_flags_of_the_servers() {
    let ground = ground().await;
    let identity = ground.authority.sign("offered", &["127.0.0.1"]);
    let proxy = Proxy::over(&ground.pair, &client_tls(&identity, ""), |_| {}).await;
    let servers = greeting(ground.pair.a().address()).await;
    assert_eq!(greeting(proxy.address()).await, servers);
}

#[tokio::test]
async fn where_tls_is_required_nobody_comes_in_without_it_over_tcp() {
    let ground = ground().await;
    let identity = ground.authority.sign("required", &["127.0.0.1"]);
    let socket = ground.pair.directory().join("tls-required.sock");
    let proxy = Proxy::over(
        &ground.pair,
        &client_tls(&identity, "mode = \"required\""),
        |config| config.listener.socket = Some(socket.clone()),
    )
    .await;
    let out = ask(&proxy, &["--skip-ssl"]).await;
    // ER_SECURE_TRANSPORT_REQUIRED, as a server under require_secure_transport says it.
    assert!(out.stderr.contains("ERROR 3159"), "{}", out.stderr);
    assert_eq!(ask(&proxy, &["--ssl"]).await.clean(), "in\n");
    // Nobody can listen on a Unix socket.
    let socket = option("socket", &socket);
    let by_socket = ["--protocol=socket", "--host=localhost", &socket, "--skip-ssl"];
    assert_eq!(ask(&proxy, &by_socket).await.clean(), "in\n");
}

#[tokio::test]
async fn where_an_authority_is_named_clients_need_its_certificate() {
    let ground = ground().await;
    let identity = ground.authority.sign("mutual", &["127.0.0.1"]);
    let more = format!(
        "mode = \"required\"\nca = \"{}\"",
        ground.authority.file().display()
    );
    let proxy = Proxy::over(&ground.pair, &client_tls(&identity, &more), |_| {}).await;
    let out = ask(&proxy, &["--ssl"]).await;
    assert_eq!(out.status, Some(1), "{}", out.stdout);
    let known = ground.authority.sign("a client", &["client.example"]);
    let unknown = Authority::new("another").sign("an impostor", &["client.example"]);
    for (identity, status) in [(known, Some(0)), (unknown, Some(1))] {
        let certificate = option("ssl-cert", &identity.certificate);
        let key = option("ssl-key", &identity.key);
        let out = ask(&proxy, &["--ssl", &certificate, &key]).await;
        assert_eq!(out.status, status, "{}", out.stderr);
    }
}

#[tokio::test]
async fn new_certificates_are_taken_over_while_sessions_go_on() {
    let ground = ground().await;
    let identity = ground.authority.sign("renewed", &["127.0.0.1"]);
    let proxy = Proxy::over(&ground.pair, &client_tls(&identity, ""), |_| {}).await;
    let mut early = Conn::new(proxy.opts(None)).await.expect("a session");
    let later = Authority::new("the next authority");
    let ca = option("ssl-ca", &later.file());
    let verify = [ca.as_str(), "--ssl-verify-server-cert"];
    assert_eq!(ask(&proxy, &verify).await.status, Some(1));
    let new = later.sign("renewed", &["127.0.0.1"]);
    // Between the two writes, certificate and key do not go together: the old ones stay in use.
    std::fs::copy(&new.certificate, &identity.certificate).expect("renewed");
    std::fs::copy(&new.key, &identity.key).expect("renewed");
    wait_until("the new certificate is shown", SOON, || async {
        ask(&proxy, &verify).await.status == Some(0)
    })
    .await;
    let one: Option<u8> = early.query_first("SELECT 1").await.expect("it goes on");
    assert_eq!(one, Some(1));
}

#[tokio::test]
async fn php_carries_long_statements_and_rows_over_tls() {
    let ground = ground().await;
    let identity = ground.authority.sign("php", &["127.0.0.1"]);
    let proxy = Proxy::over(
        &ground.pair,
        &client_tls(&identity, "mode = \"required\""),
        |_| {},
    )
    .await;
    // 5 MB: over many TLS records, and below what a server of MySQL takes by default.
    let code = r#"
        $db = mysqli_init();
        $db->real_connect(getenv("TANDEM_HOST"), getenv("TANDEM_USER"), getenv("TANDEM_PASSWORD"), null,
            (int) getenv("TANDEM_PORT"), null, MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT);
        $long = str_repeat("0123456789", 500000);
        $row = $db->query("SELECT '$long'")->fetch_row();
        echo $row[0] === $long ? "same" : "different";
    "#;
    assert_eq!(php(proxy.address(), code).await.clean(), "same");
}

/// `[server_tls]` in all its modes; `tls_name` is what the servers are called.
async fn towards_servers(tls: &str, tls_name: &str) -> Proxy {
    let ground = ground().await;
    Proxy::over(&ground.pair, &format!("[server_tls]\n{tls}\n"), |config| {
        for server in &mut config.servers {
            tls_name.clone_into(&mut server.tls_name);
        }
    })
    .await
}

/// The TLS version of a connection to a server that a statement through `proxy` runs on.
async fn spoken(proxy: &Proxy) -> Result<String, Error> {
    let mut conn = Conn::new(proxy.opts(None)).await?;
    let row: Option<(String, String)> = conn.query_first("SHOW STATUS LIKE 'Ssl_version'").await?;
    Ok(row.expect("a variable").1)
}

/// Whether the monitor sees both servers.
async fn both_seen(proxy: &Proxy) -> bool {
    let rows: Vec<Row> = proxy.admin().await.query("SHOW SERVERS").await.expect("servers");
    let role = |row: &Row| row.get::<String, _>("role").expect("a role");
    rows.iter()
        .all(|row| ["active", "standby"].contains(&role(row).as_str()))
}

#[tokio::test]
async fn servers_are_reached_by_tls_as_the_mode_says() {
    let ca = format!("ca = \"{}\"", ground().await.authority.file().display());
    for (tls, name, version) in [
        ("mode = \"disabled\"".to_owned(), "db.example", ""),
        ("mode = \"required\"".to_owned(), "other.example", "TLSv1.3"),
        (format!("mode = \"verify_ca\"\n{ca}"), "other.example", "TLSv1.3"),
        (
            format!("mode = \"verify_identity\"\n{ca}"),
            "db.example",
            "TLSv1.3",
        ),
    ] {
        let proxy = towards_servers(&tls, name).await;
        let what = format!("both servers are seen under {tls}");
        wait_until(&what, SOON, || both_seen(&proxy)).await;
        assert_eq!(spoken(&proxy).await.expect(&tls), version, "{tls}");
    }
}

/// `as_client`: a session's server connections use TLS where the client does, so that `SHOW STATUS` tells the truth about
/// both, and nobody gets a connection of the other kind.
#[tokio::test]
async fn servers_are_reached_as_tandem_is() {
    let ground = ground().await;
    let identity = ground.authority.sign("mirrored", &["127.0.0.1"]);
    let toml = format!(
        "{}[server_tls]\nmode = \"as_client\"\n",
        client_tls(&identity, "")
    );
    let proxy = Proxy::over(&ground.pair, &toml, |config| config.listener.workers = 1).await;
    wait_until("both servers are seen", SOON, || both_seen(&proxy)).await;
    for (tls, version) in [
        (["--ssl", "--tls-version=TLSv1.2"].as_slice(), "TLSv1.3"),
        (&["--skip-ssl"], ""),
        (&["--ssl"], "TLSv1.3"),
        (&["--skip-ssl"], ""),
    ] {
        let mut arguments = tls.to_vec();
        arguments.extend(["--skip-column-names", "-e", "SHOW STATUS LIKE 'Ssl_version'"]);
        let out = mariadb(proxy.address(), &arguments, "").await;
        assert_eq!(
            out.clean().trim_end(),
            format!("Ssl_version\t{version}").trim_end(),
            "{tls:?}"
        );
    }
}

#[tokio::test]
async fn a_server_with_another_name_or_authority_is_not_spoken_to() {
    let stranger = Authority::new("nobody's authority");
    let ours = ground().await.authority.file();
    for (mode, ca, name) in [
        ("verify_identity", &ours, "other.example"),
        ("verify_identity", &stranger.file(), "db.example"),
        ("verify_ca", &stranger.file(), "db.example"),
    ] {
        let tls = format!("mode = \"{mode}\"\nca = \"{}\"", ca.display());
        let proxy = towards_servers(&tls, name).await;
        let error = spoken(&proxy).await.expect_err("no server can be used");
        assert!(
            error.to_string().contains("certificate"),
            "{mode}, {name}: {error}"
        );
        assert!(!both_seen(&proxy).await, "{mode}, {name}");
    }
}

/// `server_tls.min_version` binds the monitor's connections and those of sessions: a server that knows no better is not
/// spoken to, and why is told.
#[tokio::test]
async fn a_server_with_an_older_tls_than_wanted_is_not_spoken_to() {
    let Identity { certificate, key } = ground().await.authority.sign("older", &["db.example"]);
    let options = Options {
        extra: vec![
            format!("ssl_cert={}", certificate.display()),
            format!("ssl_key={}", key.display()),
            "tls_version=TLSv1.2".to_owned(),
        ],
        ..tandem_tests::options()
    };
    let pair = Pair::start(&options).await.expect("a pair");
    let over = async |version: &str| {
        let toml = format!("[server_tls]\nmode = \"required\"\nmin_version = \"{version}\"\n");
        Proxy::over(&pair, &toml, |_| {}).await
    };
    let patient = over("1.2").await;
    wait_until("both servers are seen", SOON, || both_seen(&patient)).await;
    assert_eq!(spoken(&patient).await.expect("a server"), "TLSv1.2");
    let strict = over("1.3").await;
    wait_until("the monitor says why", SOON, || async {
        let rows: Vec<Row> = strict.admin().await.query("SHOW SERVERS").await.expect("servers");
        let problem = |row: &Row| row.get::<Option<String>, _>("error").flatten();
        let is_told = |text: String| text.contains("TLSv1.2") && text.contains("server_tls.min_version");
        rows.iter().all(|row| problem(row).is_some_and(is_told))
    })
    .await;
    assert!(!both_seen(&strict).await);
    spoken(&strict).await.expect_err("no server can be used");
}
