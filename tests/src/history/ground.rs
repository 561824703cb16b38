//! The tables, with what hangs on them, and what is in them in the end.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::cells::{Cell, FAR_SCHEMA, ROWS, SCHEMA, Table, Value};
use super::world;
use crate::Cluster;

/// Rows of `altered` that nobody asks for: they make altering it take long.
const BALLAST: u32 = 20_000;

const OBJECTS: &[&str] = &[
    "CREATE TABLE row_keys (id INT PRIMARY KEY)",
    "CREATE TABLE idle (id INT PRIMARY KEY)",
    "CREATE TRIGGER audited_inserted AFTER INSERT ON audited FOR EACH ROW REPLACE INTO audit VALUES (NEW.id, NEW.n)",
    "CREATE TRIGGER audited_updated AFTER UPDATE ON audited FOR EACH ROW REPLACE INTO audit VALUES (NEW.id, NEW.n)",
    "CREATE PROCEDURE put(row_id INT, new BIGINT) REPLACE INTO called VALUES (row_id, new)",
    "CREATE FUNCTION poke(row_id INT, new BIGINT) RETURNS BIGINT DETERMINISTIC MODIFIES SQL DATA \
     BEGIN UPDATE called SET n = new WHERE id = row_id; RETURN new; END",
    "CREATE TRIGGER watched_updated AFTER UPDATE ON watched FOR EACH ROW REPLACE INTO log_one VALUES (NEW.id, NEW.n)",
    "CREATE PROCEDURE put_and_fail(row_id INT, new BIGINT) \
     BEGIN REPLACE INTO called VALUES (row_id, new); SIGNAL SQLSTATE '45000'; END",
    "CREATE PROCEDURE put_and_miss(row_id INT, new BIGINT) \
     BEGIN REPLACE INTO called VALUES (row_id, new); SELECT n FROM missing; END",
    "CREATE VIEW viewed_v AS SELECT id, n FROM viewed",
    "CREATE VIEW viewed_vv AS SELECT id, n FROM viewed_v",
    "CREATE VIEW test_judged_far.third_v AS SELECT id, n FROM test_judged.third",
    "CREATE VIEW wide_v AS SELECT k.id, a.n AS first_n, b.n AS far_n, c.n AS audit_n, d.n AS child_n FROM row_keys k \
     LEFT JOIN first a ON a.id = k.id LEFT JOIN test_judged_far.far b ON b.id = k.id \
     LEFT JOIN audit c ON c.id = k.id LEFT JOIN child d ON d.id = k.id",
];

/// Each server gets a row of its own in a table of the same name: `SELECT name FROM test_here.here` says who has answered.
pub async fn mark(cluster: &Cluster) {
    for server in cluster.pair().servers() {
        let mut conn = cluster.direct(server).await;
        let name = server.name();
        for statement in [
            "SET sql_log_bin = 0",
            "CREATE DATABASE test_here",
            "CREATE TABLE test_here.here (name VARCHAR(8) PRIMARY KEY)",
            &format!("INSERT INTO test_here.here VALUES ('{name}')"),
        ] {
            run(&mut conn, statement).await;
        }
    }
}

/// Makes everything on both servers, and fills the tables with what the world begins with.
pub async fn prepare(cluster: &Cluster) {
    mark(cluster).await;
    // Through Tandem, which would learn of what is made past it only by and by.
    let mut conn = cluster.client().await;
    for schema in [SCHEMA, FAR_SCHEMA] {
        run(&mut conn, &format!("CREATE DATABASE {schema}")).await;
    }
    run(&mut conn, &format!("USE {SCHEMA}")).await;
    for table in Table::ALL {
        run(&mut conn, &definition(table)).await;
    }
    for object in OBJECTS {
        run(&mut conn, object).await;
    }
    run(&mut conn, "INSERT INTO row_keys SELECT id FROM first").await;
    run(
        &mut conn,
        &format!(
            "INSERT INTO altered (id, n) SELECT seq + {ROWS}, 0 FROM {}",
            crate::numbers(BALLAST)
        ),
    )
    .await;
    cluster.wait_replicated().await;
}

fn definition(table: Table) -> String {
    let (schema, name) = (table.schema(), table.name());
    if table == Table::Either {
        return format!("CREATE VIEW {name} AS SELECT id, n FROM east");
    }
    let engine = if table == Table::Loose {
        " ENGINE=MyISAM"
    } else {
        ""
    };
    let more = match table {
        Table::Parent => ", UNIQUE (n)",
        Table::Child => ", FOREIGN KEY (n) REFERENCES parent (n) ON UPDATE CASCADE ON DELETE CASCADE",
        _ => "",
    };
    // Its rows are there before those of `child`, and the trigger's copies with those of `audited`.
    let rows = super::statement::list(table.cells().map(|cell| format!("({0},{0})", cell.row)));
    format!(
        "CREATE TABLE {schema}.{name} (id INT PRIMARY KEY, n BIGINT NOT NULL{more}){engine}; \
         INSERT INTO {schema}.{name} VALUES {rows}"
    )
}

/// Both servers hold in every cell what the sessions have been told.
pub async fn assert_holds(cluster: &Cluster, values: &BTreeMap<Cell, Value>) {
    cluster.wait_replicated().await;
    for server in cluster.pair().servers() {
        let mut conn = cluster.direct(server).await;
        let mut held: BTreeMap<Cell, Value> = world::initial().into_keys().map(|cell| (cell, None)).collect();
        for table in Table::ALL {
            let (schema, name) = (table.schema(), table.name());
            let text = format!("SELECT id, n FROM {schema}.{name} WHERE id <= {ROWS}");
            let rows: Vec<(u64, u64)> = conn.query(text).await.expect("rows");
            held.extend(rows.into_iter().map(|(row, n)| (table.cell(row), Some(n))));
        }
        held.retain(|cell, _| cell.is_real());
        let values = values.iter().filter(|(cell, _)| cell.is_real());
        let values: BTreeMap<Cell, Value> = values.map(|(cell, value)| (*cell, *value)).collect();
        assert_eq!(held, values, "server {}", server.name());
    }
}

pub(super) async fn run(conn: &mut Conn, statement: &str) {
    conn.query_drop(statement)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}
