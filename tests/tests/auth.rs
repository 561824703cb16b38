//! Logging in, by every way in which a password can be proved, on both legs.

use std::net::SocketAddr;
use std::path::Path;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::APP;
use tandem_protocol::auth::native::NONCE_LEN;
use tandem_protocol::auth::{ed25519, native, rsa, sha2};
use tandem_protocol::frame;
use tandem_protocol::handshake::AuthSwitchRequest;
use tandem_protocol::handshake::auth_switch::AUTH_SWITCH_HEADER;
use tandem_protocol::handshake::greeting::Greeting;
use tandem_protocol::handshake::response::HandshakeResponse;
use tandem_tests::authority::Authority;
use tandem_tests::external::{Output, python, run};
use tandem_tests::logins::{by_php, code, flavor, log_in, on_both, pair, server_version, who};
use tandem_tests::raw::{CAPABILITIES, Raw};
use tandem_tests::{Flavor, Proxy};
use tokio::process::Command;

/// The hash of "secret" as MariaDB's PASSWORD() shows it.
const NATIVE_HASH: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

/// The same as MySQL 9.7 stores it.
const SHA2_HASH: &str = "0x2441243030412452312B717E414C68114C461778044064413D4E5C726D2F6B6E45707650317548707A6E426A47536344\
    6C5142786379622E385166305264685642516F723342";

fn user(name: &str, keys: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\n{keys}\n")
}

/// A Tandem that knows only the sha2 hash of the account `hashed`.
async fn hashed(more: &str) -> Proxy {
    let account = user("hashed", &format!("password_hash = \"{SHA2_HASH}\""));
    Proxy::over(pair().await, &format!("{more}{account}"), |_| {}).await
}

/// Where only the hash of mysql_native_password is configured, clients get in with the password and nothing else, and
/// Tandem logs in to the servers with what they prove. MySQL 9 has no such accounts: there its clients send the password.
#[tokio::test]
async fn a_native_hash_in_the_configuration_is_enough() {
    let account = user("hashed", &format!("password_hash = \"{NATIVE_HASH}\""));
    let proxy = Proxy::over(pair().await, &account, |_| {}).await;
    for wrong in ["wrong", "", NATIVE_HASH] {
        let refused = log_in(proxy.address(), "hashed", wrong)
            .await
            .expect_err("refused");
        assert_eq!(code(&refused), 1045, "{refused}");
    }
    let mut conn = log_in(proxy.address(), "hashed", "secret")
        .await
        .expect("logged in");
    let user = who(&mut conn).await;
    assert!(user.starts_with("hashed@"), "{user}");
}

/// MySQL's library offers caching_sha2_password to everybody, and may not give the password away without TLS. MariaDB asks it
/// for the account's own method; MySQL, which has no such accounts, asks for the password.
#[tokio::test]
async fn who_offers_what_cannot_be_checked_is_asked_for_what_can() {
    let account = user("hashed", &format!("password_hash = \"{NATIVE_HASH}\""));
    let proxy = Proxy::over(pair().await, &account, |_| {}).await;
    let mut raw = Raw::connect(proxy.address()).await;
    let (_, payload) = raw.packet().await.expect("a greeting");
    let greeting = Greeting::decode(&payload).expect("a greeting");
    let proof = sha2::scramble(b"secret", &greeting.nonce);
    raw.send(&answer(b"hashed", &proof, sha2::PLUGIN)).await;
    let (seq, payload) = raw.packet().await.expect("a question");
    match pair().await.a().engine().flavor() {
        Flavor::MySql => assert_eq!(payload, [sha2::MORE_DATA, sha2::WANT_PASSWORD]),
        Flavor::MariaDb => {
            let request = AuthSwitchRequest::decode(&payload).expect("a switch");
            assert_eq!(request.plugin, native::PLUGIN.as_bytes());
            let proof = native::scramble(b"secret", &request.nonce().expect("a nonce"));
            let mut out = Vec::new();
            frame::write_packet(&mut out, &mut (seq + 1), &proof);
            raw.send(&out).await;
            let (_, payload) = raw.packet().await.expect("an end");
            assert_eq!(payload[0], 0, "{}", String::from_utf8_lossy(&payload));
        }
    }
}

/// Every client that speaks caching_sha2_password gets in without TLS where Tandem must be told the password, and a
/// second time by its proof alone; with a wrong one it does not.
#[tokio::test]
async fn clients_without_tls_encrypt_their_password() {
    type Login = for<'a> fn(SocketAddr, &'a str) -> std::pin::Pin<Box<dyn Future<Output = Output> + 'a>>;
    let mut clients: Vec<Login> = vec![
        |address, password| Box::pin(by_php(address, password)),
        |address, password| Box::pin(by_python(address, password)),
        |address, password| Box::pin(by_mariadb(address, password)),
    ];
    if flavor() == Flavor::MySql {
        clients.push(|address, password| Box::pin(by_mysql(address, password)));
    }
    for client in clients {
        let proxy = hashed("").await;
        for round in ["full", "fast"] {
            let refused = client(proxy.address(), "wrong").await;
            let said = format!("{}{}", refused.stdout, refused.stderr);
            assert!(
                said.contains("Access denied for user 'hashed'@'127.0.0.1'"),
                "{round}: {said}"
            );
            let out = client(proxy.address(), "secret").await;
            assert!(out.clean().contains("hashed@"), "{round}");
        }
    }
    let proxy = hashed("").await;
    let refused = log_in(proxy.address(), "hashed", "wrong")
        .await
        .expect_err("refused");
    assert_eq!(code(&refused), 1045, "{refused}");
    let mut conn = log_in(proxy.address(), "hashed", "secret")
        .await
        .expect("logged in");
    assert!(who(&mut conn).await.starts_with("hashed@"));
}

async fn by_python(address: SocketAddr, password: &str) -> Output {
    let code = format!(
        "import os, pymysql\n\
         try:\n \
         db = pymysql.connect(host=os.environ['TANDEM_HOST'], port=int(os.environ['TANDEM_PORT']), user='hashed', \
         password='{password}')\n \
         cursor = db.cursor(); cursor.execute('SELECT USER()'); print(cursor.fetchone()[0])\n\
         except pymysql.Error as e: print(e.args[1])"
    );
    python(address, &code).await
}

async fn by_mariadb(address: SocketAddr, password: &str) -> Output {
    by_program(Command::new("mariadb"), address, password, &["--skip-ssl"]).await
}

/// MySQL's own client. Its servers hand out their key only to those that ask for it by name.
async fn by_mysql(address: SocketAddr, password: &str) -> Output {
    let command = tandem_tests::engine().program("mysql").expect("a program");
    let mut out = by_program(
        command.into(),
        address,
        password,
        &["--ssl-mode=DISABLED", "--get-server-public-key"],
    )
    .await;
    let warning = "[Warning] Using a password on the command line interface can be insecure.";
    out.stderr = out
        .stderr
        .lines()
        .filter(|line| !line.contains(warning))
        .collect();
    out
}

async fn by_program(mut command: Command, address: SocketAddr, password: &str, more: &[&str]) -> Output {
    command
        .args(["--no-defaults", "--protocol=tcp", "--batch"])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .args([
            "--user=hashed",
            &format!("--password={password}"),
            "-e",
            "SELECT USER()",
        ])
        .args(more);
    run(command, address, "").await
}

/// The `mariadb` client gets in as `hashed` by "secret" and by nothing else.
async fn only_the_password_helps(address: SocketAddr, more: &[&str]) {
    for password in ["wrong", "secret"] {
        let out = by_program(Command::new("mariadb"), address, password, more).await;
        assert_eq!(
            out.stdout.contains("hashed@"),
            password == "secret",
            "{}",
            out.stderr
        );
    }
}

/// Through TLS and through a Unix socket the password comes as it is; PHP asks for the RSA key on a socket all the same.
#[tokio::test]
async fn clients_that_nobody_can_listen_to_send_their_password_as_it_is() {
    let authority = Authority::new("the authority of the tests");
    let identity = authority.sign("tandem", &["127.0.0.1"]);
    let tls = format!(
        "[client_tls]\ncertificate = {:?}\nkey = {:?}\n",
        identity.certificate, identity.key
    );
    let proxy = hashed(&tls).await;
    for _ in 0..2 {
        only_the_password_helps(proxy.address(), &["--ssl"]).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("tandem.sock");
    for by_socket in [mariadb_by_socket, php_by_socket] {
        let account = user("hashed", &format!("password_hash = \"{SHA2_HASH}\""));
        let at = |config: &mut tandem::config::Config| config.listener.socket = Some(socket.clone());
        let proxy = Proxy::over(pair().await, &account, at).await;
        for password in ["wrong", "secret", "secret"] {
            let out = run(by_socket(&socket, password), proxy.address(), "").await;
            assert_eq!(out.stdout.contains("hashed@"), password == "secret", "{out:?}");
        }
    }
}

fn mariadb_by_socket(socket: &Path, password: &str) -> Command {
    let mut command = Command::new("mariadb");
    command
        .args(["--no-defaults", "--batch", "--user=hashed", "-e", "SELECT USER()"])
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--password={password}"));
    command
}

fn php_by_socket(socket: &Path, password: &str) -> Command {
    let mut command = Command::new("php");
    command.arg("-r").arg(format!(
        "$db = new mysqli('localhost', 'hashed', '{password}', '', 0, '{}'); echo $db->query('SELECT USER()')->fetch_row()[0];",
        socket.display()
    ));
    command
}

/// An answer to the greeting, complete.
fn answer(user: &[u8], proof: &[u8], plugin: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes);
    HandshakeResponse {
        capabilities: CAPABILITIES,
        max_packet: 1 << 24,
        charset: 45,
        user,
        proof,
        schema: None,
        plugin: Some(plugin.as_bytes()),
        attributes: &[],
        zstd_level: 0,
    }
    .encode(&mut bytes);
    frame::end(&mut bytes, start, 1);
    bytes
}

/// The packets of a login by caching_sha2_password from the answer to the greeting on, with their numbers. `encrypt`
/// makes of key, password and nonce what is sent for the password.
async fn sha2_login(address: SocketAddr, name: &str, password: &str) -> Vec<(u8, Vec<u8>)> {
    sha2_login_proving(address, name, password, password).await
}

/// The same, with a proof of another password than the one that is given when it is asked for.
async fn sha2_login_proving(
    address: SocketAddr,
    name: &str,
    proved: &str,
    password: &str,
) -> Vec<(u8, Vec<u8>)> {
    let mut raw = Raw::connect(address).await;
    let (_, payload) = raw.packet().await.expect("a greeting");
    let mut nonce = Greeting::decode(&payload).expect("a greeting").nonce;
    let is_native = Greeting::decode(&payload).expect("a greeting").plugin == native::PLUGIN.as_bytes();
    let proof = sha2::scramble(proved.as_bytes(), &nonce);
    raw.send(&answer(name.as_bytes(), &proof, sha2::PLUGIN)).await;
    let mut packets = Vec::new();
    while let Some((seq, payload)) = raw.packet().await {
        let answer = match payload[..] {
            [AUTH_SWITCH_HEADER, ..] => {
                assert!(is_native && packets.is_empty(), "the greeting had another plugin");
                nonce = AuthSwitchRequest::decode(&payload)
                    .expect("a switch")
                    .nonce()
                    .expect("a nonce");
                Some(sha2::scramble(proved.as_bytes(), &nonce))
            }
            [sha2::MORE_DATA, sha2::WANT_PASSWORD] => Some(vec![sha2::WANT_KEY]),
            [sha2::MORE_DATA, b'-', ..] => Some(encrypted(&payload[1..], password, &nonce)),
            _ => None,
        };
        let is_last = matches!(payload[0], 0 | 0xff);
        packets.push((seq, payload));
        if let Some(answer) = answer {
            let mut out = Vec::new();
            frame::write_packet(&mut out, &mut (seq + 1), &answer);
            raw.send(&out).await;
        }
        if is_last {
            break;
        }
    }
    // The switch is only there where the greeting was another's.
    packets.retain(|(_, payload)| payload[0] != AUTH_SWITCH_HEADER);
    packets
}

fn encrypted(pem: &[u8], password: &str, nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
    let pem = std::str::from_utf8(pem).expect("a key in PEM form");
    let masked = sha2::mask(format!("{password}\0").as_bytes(), nonce);
    rsa::encrypt(pem, &masked).expect("encrypted")
}

/// What can be compared of a login: numbers and kinds of its packets, and what an error says, with any name.
fn shape(packets: &[(u8, Vec<u8>)], name: &str) -> Vec<String> {
    let first = packets.first().map_or(0, |(seq, _)| *seq);
    let kind = |payload: &[u8]| match payload {
        [0, ..] => "OK".to_owned(),
        [0xff, ..] => String::from_utf8_lossy(payload).replace(name, "NAME"),
        [1, b'-', ..] => "key".to_owned(),
        payload => format!("{payload:?}"),
    };
    let line = |(seq, payload): &(u8, Vec<u8>)| format!("{} {}", seq - first, kind(payload));
    packets.iter().map(line).collect()
}

/// A full login, a fast one, a wrong password and an account that is none look on the wire as with MySQL, and the last
/// two look alike.
#[tokio::test]
async fn the_packets_of_a_login_are_those_of_the_server() {
    let proxy = hashed("").await;
    let address = proxy.address();
    let full = sha2_login(address, "hashed", "secret").await;
    assert_eq!(shape(&full, ""), ["0 [1, 4]", "2 key", "4 OK"]);
    let fast = sha2_login(address, "hashed", "secret").await;
    assert_eq!(shape(&fast, ""), ["0 [1, 3]", "1 OK"]);
    // A wrong proof of a known password has it asked for: sqlx's proofs are always wrong.
    for name in ["hashed", APP.user] {
        let password = if name == "hashed" { "secret" } else { APP.password };
        let asked = sha2_login_proving(address, name, "nonsense", password).await;
        assert_eq!(shape(&asked, ""), ["0 [1, 4]", "2 key", "4 OK"], "{name}");
        let asked = sha2_login_proving(address, name, "nonsense", "wrong").await;
        assert_eq!(shape(&asked, name).len(), 3, "{name}");
    }
    if flavor() == Flavor::MySql {
        let server = pair().await.a().address();
        sha2_login(server, APP.user, APP.password).await;
        let asked = sha2_login_proving(server, APP.user, "nonsense", APP.password).await;
        assert_eq!(
            shape(&asked, ""),
            ["0 [1, 4]", "2 key", "4 OK"],
            "as the server does it"
        );
    }
    let cold = hashed("").await;
    let wrong = sha2_login(cold.address(), "hashed", "wrong").await;
    let wrong = shape(&wrong, "hashed");
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[2].contains("#28000Access denied for user 'NAME'@'127.0.0.1' (using password: YES)"));
    if flavor() == Flavor::MySql {
        let server = pair().await.a().address();
        let theirs = sha2_login(server, "hashed", "wrong").await;
        assert_eq!(
            shape(&theirs, "hashed").len(),
            3,
            "as the server does it: {theirs:?}"
        );
    }
    // Some of the names that do not exist are treated as `hashed`, the others as `app`, whose password is known.
    let mut alike = 0;
    for n in 0..16 {
        let nobody = format!("nobody{n}");
        let packets = sha2_login(cold.address(), &nobody, "wrong").await;
        alike += usize::from(shape(&packets, &nobody) == wrong);
        let again = sha2_login(cold.address(), &nobody, "secret").await;
        assert_eq!(
            shape(&again, &nobody),
            shape(&packets, &nobody),
            "always the same"
        );
    }
    assert!(alike > 0, "a name that is none can look like one of a hash");
}

/// What is no encrypted password is refused as a wrong one, and the server that it was sent to goes on.
#[tokio::test]
async fn garbage_for_an_encrypted_password_is_a_wrong_password() {
    let proxy = hashed("").await;
    for garbage in [
        &b""[..],
        b"secret\0",
        &[0x5a; 255],
        &[0x5a; 256],
        &[0x5a; 257],
        &[0; 4096],
    ] {
        let mut raw = Raw::connect(proxy.address()).await;
        let (_, payload) = raw.packet().await.expect("a greeting");
        let nonce = Greeting::decode(&payload).expect("a greeting").nonce;
        let proof = sha2::scramble(b"secret", &nonce);
        raw.send(&answer(b"hashed", &proof, sha2::PLUGIN)).await;
        let (mut seq, mut payload) = raw.packet().await.expect("an answer");
        if payload[0] == AUTH_SWITCH_HEADER {
            let mut out = Vec::new();
            frame::write_packet(&mut out, &mut (seq + 1), &[7; 32]);
            raw.send(&out).await;
            (seq, payload) = raw.packet().await.expect("an answer");
        }
        assert_eq!(payload, [sha2::MORE_DATA, sha2::WANT_PASSWORD]);
        let mut out = Vec::new();
        frame::write_packet(&mut out, &mut (seq + 1), garbage);
        raw.send(&out).await;
        assert_eq!(raw.error().await, Some(1045), "{} bytes", garbage.len());
    }
    log_in(proxy.address(), "hashed", "secret")
        .await
        .expect("logged in");
}

/// An address that sends too many wrong passwords has to wait, is told for how long, and is counted; what comes through
/// a Unix socket, where everybody has the same address, goes on.
#[tokio::test]
async fn an_address_with_too_many_wrong_passwords_has_to_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("tandem.sock");
    let change = |config: &mut tandem::config::Config| {
        config.listener.failed_logins = 3;
        config.listener.socket = Some(socket.clone());
    };
    let account = user("hashed", "password = \"secret\"");
    let proxy = Proxy::over(pair().await, &account, change).await;
    let mut session = log_in(proxy.address(), "hashed", "secret")
        .await
        .expect("logged in");
    for (name, password) in [("hashed", "wrong"), ("nobody", "secret"), ("hashed", "")] {
        let refused = log_in(proxy.address(), name, password)
            .await
            .expect_err("refused");
        assert_eq!(code(&refused), 1045, "{refused}");
    }
    let refused = log_in(proxy.address(), "hashed", "secret")
        .await
        .expect_err("held up");
    assert_eq!(code(&refused), 1129, "{refused}");
    let text = refused.to_string();
    assert!(
        text.contains("'127.0.0.1' is blocked") && text.contains("listener.failed_logins"),
        "{text}"
    );
    assert!(
        who(&mut session).await.starts_with("hashed@"),
        "who is in stays in"
    );
    let out = run(mariadb_by_socket(&socket, "secret"), proxy.address(), "").await;
    assert!(out.clean().contains("hashed@"));
    let mut admin = proxy.admin().await;
    let rows: Vec<(String, u64, String)> = admin.query("SHOW COUNTERS").await.expect("counters");
    let held_up = rows.iter().find(|(name, ..)| name == "logins_held_up");
    assert_eq!(held_up.map(|(_, count, _)| *count), Some(1), "{rows:?}");
}

/// Clients that were told to send their password as it is may do so where nobody can listen, and are asked for a proof
/// elsewhere.
#[tokio::test]
async fn a_password_in_clear_is_taken_only_where_nobody_can_listen() {
    let authority = Authority::new("the authority of the tests");
    let identity = authority.sign("tandem", &["127.0.0.1"]);
    let tls = format!(
        "[client_tls]\ncertificate = {:?}\nkey = {:?}\n",
        identity.certificate, identity.key
    );
    let account = user("hashed", "password = \"secret\"");
    let proxy = Proxy::over(pair().await, &format!("{tls}{account}"), |_| {}).await;
    only_the_password_helps(proxy.address(), &["--ssl", "--default-auth=mysql_clear_password"]).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.packet().await.expect("a greeting");
    raw.send(&answer(b"hashed", b"secret\0", "mysql_clear_password"))
        .await;
    let (_, payload) = raw.packet().await.expect("an answer");
    let request = AuthSwitchRequest::decode(&payload).expect("a switch, and no login");
    let greeting = match flavor() {
        Flavor::MariaDb => native::PLUGIN,
        Flavor::MySql => sha2::PLUGIN,
    };
    assert_eq!(request.plugin, greeting.as_bytes());
}

/// The plugins that only one kind of server has, where it wants them: Tandem logs in by client_ed25519, by PARSEC where there
/// is that, and by sha256_password. Clients that ask for client_ed25519 prove themselves by it.
#[tokio::test]
async fn plugins_of_one_kind_of_server_work() {
    let account = |name: &str| user(name, "password = \"secret\"");
    let (mut names, mut statements) = (Vec::new(), Vec::new());
    if flavor() == Flavor::MariaDb {
        names.push("edward");
        statements.push("CREATE USER edward@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')".to_owned());
        let version = server_version(pair().await).await;
        if !version.starts_with("10.") {
            names.push("percy");
            statements
                .push("CREATE USER percy@'%' IDENTIFIED VIA parsec USING PASSWORD('secret')".to_owned());
        }
    }
    if flavor() == Flavor::MySql {
        names.push("sharon");
        statements.push("CREATE USER sharon@'%' IDENTIFIED WITH sha256_password BY 'secret'".to_owned());
    }
    on_both(pair().await, &statements).await;
    names.push("hashed");
    let accounts: String = names.iter().map(|name| account(name)).collect();
    let proxy = Proxy::over(pair().await, &accounts, |_| {}).await;
    for name in &names {
        let mut conn = log_in(proxy.address(), name, "secret").await.expect("logged in");
        assert!(who(&mut conn).await.starts_with(&format!("{name}@")));
    }
    only_the_password_helps(proxy.address(), &["--skip-ssl", "--default-auth=client_ed25519"]).await;
    let mut raw = Raw::connect(proxy.address()).await;
    raw.packet().await.expect("a greeting");
    raw.send(&answer(b"hashed", b"", ed25519::PLUGIN)).await;
    let (seq, payload) = raw.packet().await.expect("an answer");
    let request = AuthSwitchRequest::decode(&payload).expect("a switch");
    assert_eq!(request.plugin, ed25519::PLUGIN.as_bytes());
    let proof = ed25519::sign(b"secret", &request.long_nonce().expect("a nonce"));
    let mut out = Vec::new();
    frame::write_packet(&mut out, &mut (seq + 1), &proof);
    raw.send(&out).await;
    let (_, payload) = raw.packet().await.expect("an answer");
    assert_eq!(payload[0], 0, "it was really that plugin");
}
