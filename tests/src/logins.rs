//! What the tests of logins have in common: servers with every method of proof, and ways to log in.

use std::net::SocketAddr;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use tandem::demo::pair::{self, Pair};
use tokio::sync::OnceCell;

use crate::Flavor;
use crate::external::{Output, php};

/// All tests' servers; each test has its own Tandem, which nobody has logged in to yet.
static PAIR: OnceCell<Pair> = OnceCell::const_new();

pub async fn pair() -> &'static Pair {
    let start = || async {
        let pair = Pair::start(&crate::options()).await.expect("a pair");
        let (table, plugins) = match flavor() {
            Flavor::MySql => ("mysql.user", &[][..]),
            Flavor::MariaDb if server_version(&pair).await.starts_with("10.") => {
                ("mysql.global_priv", &["auth_ed25519"][..])
            }
            Flavor::MariaDb => ("mysql.global_priv", &["auth_ed25519", "auth_parsec"][..]),
        };
        on_both(&pair, &[format!("GRANT SELECT ON {table} TO tandem_monitor@'%'")]).await;
        for plugin in plugins {
            on_both(&pair, &[format!("INSTALL SONAME '{plugin}'")]).await;
        }
        on_both(
            &pair,
            &["CREATE USER 'hashed'@'%' IDENTIFIED BY 'secret'".to_owned()],
        )
        .await;
        pair
    };
    PAIR.get_or_init(start).await
}

/// Runs statements on both servers, past their replication.
pub async fn on_both(pair: &Pair, statements: &[String]) {
    for server in pair.servers() {
        let mut conn = server.connect().await.expect("a connection");
        conn.query_drop("SET SESSION sql_log_bin = 0")
            .await
            .expect("done");
        for statement in statements {
            let ran = conn.query_drop(statement).await;
            ran.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

pub fn flavor() -> Flavor {
    crate::engine().flavor()
}

pub async fn log_in(address: SocketAddr, user: &str, password: &str) -> Result<Conn, Error> {
    let opts = pair::client(address, user, password, None);
    Conn::new(OptsBuilder::from_opts(opts)).await
}

/// The account that a server says this is.
pub async fn who(conn: &mut Conn) -> String {
    let user: Option<String> = conn.query_first("SELECT USER()").await.expect("an answer");
    user.unwrap_or_default()
}

pub fn code(error: &Error) -> u16 {
    match error {
        Error::Server(error) => error.code,
        other => panic!("no answer of a server: {other}"),
    }
}

pub async fn by_php(address: SocketAddr, password: &str) -> Output {
    let (host, port) = (address.ip(), address.port());
    let code = format!(
        "try {{ $db = new mysqli('{host}', 'hashed', '{password}', '', {port}); echo $db->query('SELECT USER()')->fetch_row()[0]; }} \
         catch (mysqli_sql_exception $e) {{ echo $e->getMessage(); }}"
    );
    php(address, &code).await
}

pub async fn server_version(pair: &Pair) -> String {
    let mut conn = pair.a().connect().await.expect("a connection");
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.expect("an answer");
    version.unwrap_or_default()
}
