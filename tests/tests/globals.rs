//! `SET GLOBAL` is for the pair: both servers have what it set, whoever reads it.

use mysql_async::prelude::{FromValue, Queryable};
use mysql_async::{Conn, Error};
use tandem_tests::{Cluster, Flavor, Setup};

/// What a `SET GLOBAL` has made of a variable both servers have when it is acknowledged, wherever the value came from; what is
/// a server's own stays so, and the warnings are still there.
#[tokio::test]
async fn set_global_reaches_both_servers() {
    let cluster = Cluster::start(Setup {
        toml: "[[user]]\nname = \"boss\"\npassword = \"boss-secret\"".into(),
        ..Setup::default()
    })
    .await;
    cluster.create_user("boss", "boss-secret", "ALL ON *.*").await;
    cluster.wait_replicated().await;
    let boss = tandem_tests::pair::client(cluster.address(), "boss", "boss-secret", None);
    let mut boss = Conn::new(boss).await.expect("a session");
    let mut both = Vec::new();
    for server in cluster.pair().servers() {
        both.push(cluster.direct(server).await);
    }
    let (own, default) = match cluster.a().engine().flavor() {
        Flavor::MariaDb => ("slave_net_timeout", "64"),
        Flavor::MySql => ("replica_net_timeout", "1024"),
    };
    let shared = [
        "max_error_count",
        "ft_boolean_syntax",
        "low_priority_updates",
        "sql_mode",
    ];
    let mut before = Vec::new();
    for name in shared.iter().chain([&own]) {
        let value: String = ask(&mut both[0], &format!("SELECT @@GLOBAL.{name}")).await;
        before.push((*name, value));
    }
    boss.query_drop("SET @wanted = 76").await.expect("a variable");
    for (statement, name, value) in [
        (
            "SET GLOBAL max_error_count = @wanted + 1",
            "max_error_count",
            "77",
        ),
        (
            "SET SESSION max_error_count = 5, GLOBAL ft_boolean_syntax = '+ -><()~*:''''&|'",
            "ft_boolean_syntax",
            "+ -><()~*:''&|",
        ),
        (
            "SET @@global.low_priority_updates = ON",
            "low_priority_updates",
            "1",
        ),
        (
            "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_ZERO_DATE'",
            "sql_mode",
            "ANSI_QUOTES,NO_ZERO_DATE",
        ),
        ("SET GLOBAL max_error_count = DEFAULT", "max_error_count", default),
        ("SET GLOBAL max_error_count = 1000000", "max_error_count", "65535"),
    ] {
        boss.query_drop(statement).await.expect(statement);
        for server in &mut both {
            let found: String = ask(server, &format!("SELECT @@GLOBAL.{name}")).await;
            assert_eq!(found, value, "{statement}");
        }
    }
    let warning: Option<(String, u16, String)> = boss.query_first("SHOW WARNINGS").await.expect("warnings");
    // ER_TRUNCATED_WRONG_VALUE
    assert_eq!(warning.expect("one").1, 1292);
    let statement = "SET GLOBAL max_error_count = ?";
    boss.exec_drop(statement, (55,)).await.expect(statement);
    for server in &mut both {
        assert_eq!(ask::<u32>(server, "SELECT @@GLOBAL.max_error_count").await, 55);
    }
    let theirs: u32 = ask(&mut both[1], &format!("SELECT @@GLOBAL.{own}")).await;
    let statement = format!("SET GLOBAL {own} = {}", theirs + 7);
    boss.query_drop(&statement).await.expect(&statement);
    let name = format!("SELECT @@GLOBAL.{own}");
    assert_eq!(ask::<u32>(&mut both[0], &name).await, theirs + 7);
    assert_eq!(ask::<u32>(&mut both[1], &name).await, theirs, "a server's own");
    // Refused to who may not, in the server's words, and set nowhere.
    let mut conn = cluster.client().await;
    let refused = conn.query_drop("SET GLOBAL max_error_count = 44").await;
    assert!(matches!(refused, Err(Error::Server(error)) if error.code == 1227));
    for (name, value) in before {
        let value = match value.parse::<u32>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("'{}'", value.replace('\'', "''")),
        };
        for server in &mut both {
            let statement = format!("SET GLOBAL {name} = {value}");
            server.query_drop(&statement).await.expect(&statement);
        }
    }
}

async fn ask<T: FromValue + Send + 'static>(conn: &mut Conn, question: &str) -> T {
    let answer: Option<T> = conn.query_first(question).await.expect(question);
    answer.expect(question)
}
