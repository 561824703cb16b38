//! Logging in, by every way in which a password can be proved, on both legs.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, OptsBuilder};
use tandem_tests::{Cluster, Flavor, Setup, pair};
use tokio::sync::OnceCell;

/// The hash of "secret" as MariaDB's PASSWORD() shows it.
const HASH_OF_SECRET: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(start).await
}

async fn start() -> Cluster {
    let toml = format!("[[user]]\nname = \"hashed\"\npassword_hash = \"{HASH_OF_SECRET}\"\n");
    let cluster = Cluster::start(Setup {
        toml,
        ..Setup::default()
    })
    .await;
    cluster.create_user("hashed", "secret", "SELECT ON mysql.*").await;
    cluster
}

fn flavor() -> Flavor {
    tandem_tests::engine().flavor()
}

fn opts(cluster: &Cluster, user: &str, password: &str) -> OptsBuilder {
    OptsBuilder::from_opts(pair::client(cluster.address(), user, password, None))
}

async fn log_in(cluster: &Cluster, user: &str, password: &str) -> Result<Conn, Error> {
    Conn::new(opts(cluster, user, password)).await
}

/// The account that a server says this is.
async fn who(conn: &mut Conn) -> Result<String, Error> {
    let user: Option<String> = conn.query_first("SELECT USER()").await?;
    Ok(user.unwrap_or_default())
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Server(error) => error.code,
        other => panic!("no answer of a server: {other}"),
    }
}

/// Where only the hash of a password is configured, clients get in with the password, and only with it, and Tandem
/// logs in to the servers with what they prove.
#[tokio::test]
async fn a_hash_in_the_configuration_is_enough() {
    let cluster = cluster().await;
    for wrong in ["wrong", "", HASH_OF_SECRET] {
        let refused = log_in(cluster, "hashed", wrong).await.expect_err("refused");
        assert_eq!(code(&refused), 1045, "{refused}");
    }
    let mut conn = log_in(cluster, "hashed", "secret").await.expect("logged in");
    match flavor() {
        Flavor::MariaDb => {
            let user = who(&mut conn).await.expect("asked a server");
            assert!(user.starts_with("hashed@"), "{user}");
        }
        // It has no accounts with mysql_native_password any more.
        Flavor::MySql => {
            let refused = who(&mut conn).await.expect_err("refused");
            assert!(
                refused.to_string().contains("the password itself must be known"),
                "{refused}"
            );
        }
    }
}
