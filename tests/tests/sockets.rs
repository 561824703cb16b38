//! Unix sockets on both legs, and PROXY headers in and out: a session is the same whichever way it comes, and the
//! server learns whose it is where it is told.

use std::path::Path;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Row};
use tandem::config::Networks;
use tandem::demo::pair::{APP, Options, Pair};
use tandem::net::address::Endpoint;
use tandem_tests::raw::Raw;
use tandem_tests::{Flavor, Proxy, wait_until};
use tokio::sync::OnceCell;

static PAIR: OnceCell<Pair> = OnceCell::const_new();

const SOON: Duration = Duration::from_secs(20);

async fn pair() -> &'static Pair {
    let start = || async {
        let engine = tandem_tests::engine();
        let trust = match engine.flavor() {
            Flavor::MariaDb => vec!["proxy_protocol_networks=127.0.0.0/8,localhost".to_owned()],
            Flavor::MySql => Vec::new(),
        };
        let options = Options {
            extra: trust,
            ..tandem_tests::options()
        };
        Pair::start(&options).await.expect("a pair")
    };
    PAIR.get_or_init(start).await
}

async fn by_socket(path: &Path) -> Conn {
    let opts = OptsBuilder::default()
        .socket(Some(path.to_string_lossy()))
        .user(Some(APP.user))
        .pass(Some(APP.password));
    Conn::new(opts).await.expect("a session over the socket")
}

async fn text(conn: &mut Conn, query: &str) -> String {
    let value: Option<String> = conn.query_first(query).await.expect("an answer");
    value.expect("a value")
}

/// Where the only session comes from, as the admin port shows it.
async fn client_shown(proxy: &Proxy) -> String {
    let rows: Vec<Row> = proxy
        .admin()
        .await
        .query("SHOW SESSIONS")
        .await
        .expect("sessions");
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].get("client").expect("a column")
}

#[tokio::test]
async fn a_client_comes_in_by_a_unix_socket_which_goes_when_tandem_stops() {
    let pair = pair().await;
    let path = pair.directory().join("listener.sock");
    // What a killed Tandem has left is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let proxy = Proxy::over(pair, "", |config| config.listener.socket = Some(path.clone())).await;
    let mut conn = by_socket(&path).await;
    assert_eq!(text(&mut conn, "SELECT 'in'").await, "in");
    assert_eq!(client_shown(&proxy).await, "local socket");
    drop(conn);
    drop(proxy);
    assert!(!path.exists());
}

#[tokio::test]
async fn servers_are_reached_by_their_unix_sockets() {
    let pair = pair().await;
    let proxy = Proxy::over(pair, "", |config| {
        for (server, private) in config.servers.iter_mut().zip(pair.servers()) {
            server.address = Endpoint::Unix(private.socket().into());
        }
    })
    .await;
    let mut conn = Conn::new(proxy.opts(None)).await.expect("a session");
    assert_eq!(text(&mut conn, "SELECT USER()").await, "app@localhost");
}

fn networks(one: &str) -> Networks {
    Networks(vec![one.parse().expect("a network")])
}

/// A session whose first bytes are `header`.
async fn with_header(proxy: &Proxy, header: &[u8]) -> Raw {
    let mut raw = Raw::connect(proxy.address()).await;
    // A balancer sends its header without waiting for anything.
    raw.send(header).await;
    let login = raw.login("").await;
    raw.send(&login).await;
    raw
}

fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C".to_vec();
    header.extend(source);
    header.extend([127, 0, 0, 1]);
    header.extend(50_000_u16.to_be_bytes());
    header.extend(3306_u16.to_be_bytes());
    header
}

#[tokio::test]
async fn a_trusted_balancer_says_whose_connection_it_is() {
    let proxy = Proxy::over(pair().await, "", |config| {
        config.listener.proxy_protocol = networks("127.0.0.0/8");
    })
    .await;
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 3306\r\n".to_vec();
    for (header, client) in [
        (v1, "192.0.2.7:50000"),
        (v2([192, 0, 2, 8]), "192.0.2.8:50000"),
        // LOCAL: the balancer's own health check.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1:"),
        // None at all: a client of this machine.
        (Vec::new(), "127.0.0.1:"),
    ] {
        let mut raw = with_header(&proxy, &header).await;
        assert!(raw.packet().await.is_some(), "an answer to the login");
        let shown = client_shown(&proxy).await;
        assert!(shown.starts_with(client), "{shown} for {client}");
        raw.finish().await;
        let empty = || async {
            let rows: Vec<Row> = proxy
                .admin()
                .await
                .query("SHOW SESSIONS")
                .await
                .expect("sessions");
            rows.is_empty()
        };
        wait_until("the session has ended", SOON, empty).await;
    }
}

#[tokio::test]
async fn a_header_that_is_broken_or_from_a_stranger_is_refused() {
    let proxy = Proxy::over(pair().await, "", |config| {
        config.listener.proxy_protocol = networks("127.0.0.0/8");
    })
    .await;
    let mut broken = with_header(&proxy, b"PROXY TCP9 nonsense\r\n").await;
    let (_, answer) = broken.packet().await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("PROXY header"), "{answer}");
    let mut cut = Raw::connect(proxy.address()).await;
    cut.packet().await.expect("a greeting");
    cut.send(b"PROXY TCP4 192.0.2.7 127.0.0.1 1").await;
    cut.finish().await;
    let strict = Proxy::over(pair().await, "", |config| {
        config.listener.proxy_protocol = networks("192.0.2.0/24");
    })
    .await;
    let mut raw = with_header(&strict, b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 3306\r\n").await;
    let (_, answer) = raw.packet().await.expect("an answer");
    assert_eq!(answer[0], 0xFF, "{}", String::from_utf8_lossy(&answer));
    raw.drain().await;
}

#[tokio::test]
async fn a_server_is_told_where_its_clients_come_from() {
    let flavor = pair().await.a().engine().flavor();
    for (over_sockets, without) in [(false, "127.0.0.1"), (true, "localhost")] {
        let proxy = telling(over_sockets).await;
        for client in ["192.0.2.7", "192.0.2.8"] {
            let header = format!("PROXY TCP4 {client} 127.0.0.1 50000 3306\r\n");
            let mut raw = with_header(&proxy, header.as_bytes()).await;
            // The answer to the login may come in two packets.
            let (_, mut answer) = raw.packet().await.expect("an answer");
            if answer[0] == 1 {
                (_, answer) = raw.packet().await.expect("an answer");
            }
            assert_eq!(answer[0], 0, "{}", String::from_utf8_lossy(&answer));
            let user = raw.value("SELECT USER()").await;
            let seen = match flavor {
                Flavor::MariaDb => client,
                Flavor::MySql => without,
            };
            assert_eq!(user, format!("app@{seen}"));
            raw.finish().await;
        }
    }
}

/// A Tandem that believes what it is told and tells it to the servers, which it reaches by TCP or by their Unix sockets.
async fn telling(over_sockets: bool) -> Proxy {
    let pair = pair().await;
    Proxy::over(pair, "", |config| {
        config.listener.proxy_protocol = networks("127.0.0.0/8");
        for (server, process) in config.servers.iter_mut().zip(pair.servers()) {
            // MySQL has no PROXY header: there only that Tandem sends none can be seen.
            server.proxy_protocol = process.engine().flavor() == Flavor::MariaDb;
            if over_sockets {
                server.address = Endpoint::Unix(process.socket().into());
            }
        }
    })
    .await
}
