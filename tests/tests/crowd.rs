//! 500 clients on 20 connections a server: nobody gets an error, a wrong row, or a trace of anybody else.
//!
//! Ten seconds in CI; `TANDEM_CROWD_SECONDS=60` for the long run (`make soak`).

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tandem_tests::{Cluster, Setup};

const CLIENTS: u32 = 500;
const CONNECTIONS: usize = 20;
const ROWS_EACH: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_share_few_connections_and_see_only_their_own() {
    let seconds = std::env::var("TANDEM_CROWD_SECONDS").map_or(10, |text| text.parse().expect("a number"));
    let cluster = Cluster::start(Setup {
        change: |config| {
            config.pool.max_connections = CONNECTIONS;
            config.pool.queue_timeout = Duration::from_secs(30);
        },
        ..Setup::default()
    })
    .await;
    cluster.create_database("test_crowd").await;
    prepare(&cluster).await;

    let until = Instant::now() + Duration::from_secs(seconds);
    let opts = cluster.opts(Some("test_crowd"));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| tokio::spawn(live(opts.clone(), id, until)))
        .collect();
    let mut statements = 0;
    for client in clients {
        statements += client.await.expect("a client that found everything right");
    }
    println!("{CLIENTS} clients ran {statements} statements in {seconds} s");

    cluster.wait_replicated().await;
    let sums = sums(&cluster).await;
    assert_eq!(sums[0], sums[1], "both servers hold the same");
    let (a, b) = (
        cluster.query_counts(cluster.a()).await,
        cluster.query_counts(cluster.b()).await,
    );
    assert_eq!(b.writes, 0, "no write reached the standby");
    assert!(
        a.reads > 0 && b.reads > 0,
        "reads went to both: {} and {}",
        a.reads,
        b.reads
    );
    cluster.assert_logs_clean();
    cluster.stop().await;
}

async fn prepare(cluster: &Cluster) {
    let mut conn = cluster.client_in("test_crowd").await;
    for table in [
        "CREATE TABLE own (id INT PRIMARY KEY, owner INT NOT NULL, value BIGINT NOT NULL)",
        "CREATE TABLE log (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, word VARCHAR(40) NOT NULL)",
    ] {
        conn.query_drop(table).await.expect("a table");
    }
    let rows: Vec<String> = (0..CLIENTS * ROWS_EACH)
        .map(|id| format!("({id},{},0)", id / ROWS_EACH))
        .collect();
    conn.query_drop(format!("INSERT INTO own VALUES {}", rows.join(",")))
        .await
        .expect("rows");
    cluster.wait_replicated().await;
}

async fn sums(cluster: &Cluster) -> Vec<Vec<(String, Option<u64>)>> {
    let mut sums = Vec::new();
    for server in cluster.pair().servers() {
        let mut conn = cluster.direct(server).await;
        sums.push(
            conn.query("CHECKSUM TABLE test_crowd.own, test_crowd.log")
                .await
                .expect("checksums"),
        );
    }
    sums
}

/// What a client knows of itself, to compare with what it is told.
struct Life {
    conn: Conn,
    id: u32,
    values: [i64; ROWS_EACH as usize],
    time_zone: String,
    dice: u64,
    statements: u64,
}

async fn live(opts: Opts, id: u32, until: Instant) -> u64 {
    let mut conn = Conn::new(opts).await.expect("a connection");
    // Each session has settings of its own, that must follow it and nobody else.
    // Whole hours only: MariaDB 10.11 takes '+07:40' for '+05:24' once it has seen that (it compares the bytes of
    // the offset as letters of any case).
    let time_zone = format!("+{:02}:00", id % 12);
    conn.query_drop(format!(
        "SET time_zone='{time_zone}', sql_select_limit={}",
        100 + id
    ))
    .await
    .expect("settings");
    let mut life = Life {
        conn,
        id,
        values: [0; ROWS_EACH as usize],
        time_zone,
        dice: u64::from(id) * 7919 + 1,
        statements: 0,
    };
    while Instant::now() < until {
        match life.roll(10) {
            0 => life.check_settings().await,
            1 => life.insert().await,
            2 | 3 => life.update().await,
            4 => life.transaction().await,
            5 => life.user_variable_once().await,
            _ => life.read().await,
        }
        // Users think: so sessions sleep, and their connections serve others.
        let pause = Duration::from_millis(life.roll(40));
        tokio::time::sleep(pause).await;
    }
    life.conn.disconnect().await.expect("a goodbye");
    life.statements
}

impl Life {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn row(&mut self) -> (usize, u32) {
        let index = self.roll(u64::from(ROWS_EACH)) as usize;
        (index, self.id * ROWS_EACH + index as u32)
    }

    async fn check_settings(&mut self) {
        let found: Option<(String, u64, String)> = self
            .conn
            .query_first("SELECT @@time_zone, @@sql_select_limit, DATABASE()")
            .await
            .expect("settings");
        let wanted = (
            self.time_zone.clone(),
            u64::from(100 + self.id),
            "test_crowd".to_owned(),
        );
        assert_eq!(found, Some(wanted), "client {}", self.id);
        self.statements += 1;
    }

    async fn read(&mut self) {
        let (index, row) = self.row();
        let query = "SELECT owner, value FROM own WHERE id = ";
        let found: Option<(u32, i64)> = if self.roll(2) == 0 {
            self.conn.query_first(format!("{query}{row}")).await
        } else {
            self.conn.exec_first(format!("{query}?"), (row,)).await
        }
        .expect("a row");
        assert_eq!(
            found,
            Some((self.id, self.values[index])),
            "client {} reads its own write",
            self.id
        );
        self.statements += 1;
    }

    async fn update(&mut self) {
        let (index, row) = self.row();
        let value = self.roll(1 << 40) as i64;
        let query = "UPDATE own SET value = ? WHERE id = ?";
        self.conn.exec_drop(query, (value, row)).await.expect("an update");
        self.values[index] = value;
        self.statements += 1;
    }

    async fn insert(&mut self) {
        let word = format!("client {} says {}", self.id, self.statements);
        self.conn
            .query_drop(format!(
                "INSERT INTO log (owner, word) VALUES ({}, '{word}')",
                self.id
            ))
            .await
            .expect("an insert");
        let id = self.conn.last_insert_id().expect("an id");
        // Others may have used the connection since.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let found: Option<u64> = self
            .conn
            .query_first("SELECT LAST_INSERT_ID()")
            .await
            .expect("an id");
        assert_eq!(found, Some(id), "client {}", self.id);
        let found: Option<(u32, String)> = self
            .conn
            .exec_first("SELECT owner, word FROM log WHERE id = ?", (id,))
            .await
            .expect("the row");
        assert_eq!(found, Some((self.id, word)));
        self.statements += 3;
    }

    async fn transaction(&mut self) {
        let keep = self.roll(3) > 0;
        let base = self.id * ROWS_EACH;
        self.conn
            .query_drop("START TRANSACTION")
            .await
            .expect("a beginning");
        let before: Vec<i64> = self
            .conn
            .exec(
                "SELECT value FROM own WHERE owner = ? ORDER BY id FOR UPDATE",
                (self.id,),
            )
            .await
            .expect("rows");
        assert_eq!(before, self.values, "client {}", self.id);
        let query = "UPDATE own SET value = value + 1 WHERE id BETWEEN ? AND ?";
        self.conn
            .exec_drop(query, (base, base + ROWS_EACH - 1))
            .await
            .expect("an update");
        let sum: Option<i64> = self
            .conn
            .query_first(format!(
                "SELECT CAST(SUM(value) AS SIGNED) FROM own WHERE owner = {}",
                self.id
            ))
            .await
            .expect("a sum");
        assert_eq!(sum, Some(before.iter().sum::<i64>() + i64::from(ROWS_EACH)));
        self.conn
            .query_drop(if keep { "COMMIT" } else { "ROLLBACK" })
            .await
            .expect("an end");
        if keep {
            self.values.iter_mut().for_each(|value| *value += 1);
        }
        self.statements += 5;
    }

    /// A user variable ties the session to its connection, so the session resets itself afterwards: a
    /// crowd that keeps its connections can't be larger than the pool.
    async fn user_variable_once(&mut self) {
        if !self.id.is_multiple_of(10) {
            return self.read().await;
        }
        let tag = self.id;
        self.conn
            .query_drop(format!("SET @tag = {tag}"))
            .await
            .expect("a variable");
        let found: Option<u32> = self.conn.query_first("SELECT @tag").await.expect("a variable");
        assert_eq!(found, Some(tag));
        assert!(
            self.conn.reset().await.expect("a reset"),
            "the session begins anew"
        );
        let found: Option<Option<u32>> = self.conn.query_first("SELECT @tag").await.expect("a variable");
        assert_eq!(found, Some(None), "a reset forgets");
        self.conn.reset().await.expect("a reset");
        let settings = format!(
            "SET time_zone='{}', sql_select_limit={}",
            self.time_zone,
            100 + self.id
        );
        self.conn.query_drop(settings).await.expect("settings");
        self.statements += 4;
    }
}
