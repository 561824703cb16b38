use std::sync::Arc;

use super::super::view::{LimitRow, PoolRow, Reasons, SessionRow, Unit};
use super::*;
use crate::classify::Fingerprint;
use crate::classify::tally::Tally;
use crate::statistics::digest::{Counts, Place};
use crate::statistics::store::Digests;
use crate::topology::gtid::Position;
use crate::topology::{Replication, ServerId};

fn server(id: usize, role: Role) -> Server {
    Server {
        id: ServerId(id),
        name: Arc::from(["a", "b"][id]),
        address: std::net::SocketAddr::from(([127, 0, 0, 1], 3306 + id as u16)).into(),
        weight: 1,
        role,
        standby_since: None,
        share: 100,
        why: Arc::from("writable"),
        version: Some(Version {
            flavor: Flavor::MariaDb,
            number: 101_114,
            text: Arc::from("10.11.14-MariaDB-log"),
        }),
        reports: None,
        timeouts: None,
        at_login: None,
        read_only: role == Role::Standby,
        replication: None,
        position: Position::default(),
        position_asked: None,
        probe_time: None,
        error: None,
    }
}

fn cell<'a>(table: &'a Table, row: usize, column: &str) -> &'a Cell {
    let index = table
        .columns
        .iter()
        .position(|(name, _)| name == column)
        .expect("column");
    &table.rows[row][index]
}

fn rectangular(table: &Table) {
    for row in &table.rows {
        assert_eq!(row.len(), table.columns.len(), "{row:?}");
        for (cell, (name, shape)) in row.iter().zip(&table.columns) {
            match cell {
                Cell::Null => {}
                Cell::Number(_) | Cell::Integer(_) => assert_eq!(*shape, Number, "{name}"),
                Cell::Real(_) => assert_eq!(*shape, Shape::Real, "{name}"),
                Cell::Text(_) => assert_eq!(*shape, Text, "{name}"),
            }
        }
    }
}

#[test]
fn servers_show_what_is_known_and_null_what_is_not() {
    let now = Instant::now();
    let mut standby = server(1, Role::Standby);
    standby.replication = Some(Replication {
        receiving: true,
        applying: false,
        lag: Some(Duration::from_millis(1500)),
        error: Some(Arc::from("1062 duplicate")),
    });
    standby.position_asked = Some(now);
    standby.probe_time = Some(Duration::from_micros(2_700));
    let topology = Topology {
        epoch: 1,
        holding: None,
        given_up: None,
        servers: vec![server(0, Role::Active), standby],
        active: Some(ServerId(0)),
        mark: None,
        former: None,
    };
    let table = servers(&topology, now + Duration::from_millis(40));
    rectangular(&table);
    assert_eq!(*cell(&table, 0, "role"), "active".into());
    assert_eq!(*cell(&table, 0, "version"), "10.11.14-MariaDB-log".into());
    assert_eq!(*cell(&table, 0, "lag_ms"), Cell::Null);
    assert_eq!(*cell(&table, 0, "receiving"), Cell::Null);
    assert_eq!(*cell(&table, 1, "applying"), "no".into());
    assert_eq!(*cell(&table, 1, "lag_ms"), 1500_u64.into());
    assert_eq!(*cell(&table, 1, "probe_ms"), 2_u64.into());
    assert_eq!(*cell(&table, 1, "age_ms"), 40_u64.into());
    assert_eq!(*cell(&table, 1, "error"), "1062 duplicate".into());
}

#[test]
fn sessions_and_pools_of_all_workers_are_in_order() {
    let session = |id, worker| SessionRow {
        id,
        worker,
        user: "app".to_owned(),
        client: "127.0.0.1:40000".to_owned(),
        tls: None,
        compression: None,
        schema: "shop".to_owned(),
        command: "Sleep",
        target: None,
        backend_id: None,
        pins: String::new(),
        transaction: false,
        since: Duration::from_secs(3),
        statements: 7,
        last_reason: "pure read",
        statement: None,
        held_by: String::new(),
        pinned_by: None,
        held: None,
    };
    let pool = |worker, server: &str| PoolRow {
        worker,
        server: server.to_owned(),
        limit: 10,
        open: 2,
        idle: 1,
        leased: 1,
        pinned: 0,
        waiting: 0,
        waits: 0,
        refused: 0,
        most_open: 0,
        queue_limit: 0,
        most_waiting: 0,
        queue_refused: 0,
        longest_wait: Duration::ZERO,
        connects: 2,
        connect_errors: 0,
    };
    let limit = |worker, name| LimitRow {
        name,
        worker,
        unit: Unit::Bytes,
        highest: 0,
        refused: 0,
        limit: 100,
        used: 3,
    };
    let view = |worker, ids: [u32; 2]| WorkerView {
        sessions: ids.map(|id| session(id, worker)).to_vec(),
        pools: vec![pool(worker, "b"), pool(worker, "a")],
        limits: ["limits.b", "limits.a"].map(|name| limit(worker, name)).to_vec(),
        ..WorkerView::default()
    };
    let views = [view(1, [4, 2]), view(0, [3, 1])];
    let table = sessions(&views);
    rectangular(&table);
    let ids: Vec<_> = table.rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(ids, [1_u32, 2, 3, 4].map(Cell::from));
    let table = pools(&views);
    rectangular(&table);
    let keys: Vec<_> = table.rows.iter().map(|row| row[..2].to_vec()).collect();
    let key = |server: &'static str, worker: u32| vec![server.into(), worker.into()];
    assert_eq!(keys, [key("a", 0), key("a", 1), key("b", 0), key("b", 1)]);
    let table = limits(&views, &[]);
    rectangular(&table);
    let keys: Vec<_> = table.rows.iter().map(|row| row[..2].to_vec()).collect();
    let (a, b) = ("limits.a", "limits.b");
    assert_eq!(keys[..4], [key(a, 0), key(a, 1), key(b, 0), key(b, 1)]);
    let (connections, queue) = ("pool.max_connections (a)", "pool.queue_limit (a)");
    let of_pools = [
        key(connections, 0),
        key(queue, 0),
        key(connections, 1),
        key(queue, 1),
    ];
    assert_eq!(keys[4..8], of_pools);
}

#[test]
fn counters_end_with_the_reasons() {
    let mut view = WorkerView::default();
    view.counters.reasons = Reasons::new(&["write", "pure read"]);
    view.counters.reasons.count(1);
    let table = counters(&[view.clone(), view]);
    rectangular(&table);
    let last = table.rows.last().expect("a row");
    assert_eq!(last[..2], ["routed: pure read".into(), 2_u64.into()]);
}

#[test]
fn the_most_read_shapes_come_first_with_what_kept_them_from_the_standby() {
    let now = Instant::now();
    let mut digests = Digests::new(9, now);
    let mut count = |number, reads, reason: Reason, place, count| {
        let tally = Tally::named(Fingerprint(number), "SELECT ?", reads);
        let route = Route {
            reason: reason as u8,
            place,
            count,
        };
        let counts = Counts {
            count,
            ..Counts::default()
        };
        digests.count(&tally, counts, Some(route), now);
    };
    count(7, true, Reason::Transaction, Place::Active, 1);
    count(8, false, Reason::Writes, Place::Active, 99);
    count(10, true, Reason::Balanced, Place::Standby, 5);
    count(10, true, Reason::TableHot, Place::Active, 4);
    count(10, true, Reason::Balanced, Place::Active, 1);
    count(10, true, Reason::Cache, Place::Cache, 50);
    let counted = digests.copies(usize::MAX, now);
    let table = reads(counted.clone(), 20);
    rectangular(&table);
    assert_eq!(
        table.rows[0],
        [
            "000000000000000a".into(),
            10_u64.into(),
            50_u64.into(),
            "table_hot 4, balanced 1".into(),
            "SELECT ?".into(),
        ]
    );
    assert_eq!(cell(&table, 1, "standby_percent"), &0_u64.into());
    assert_eq!(cell(&table, 1, "on_active"), &"transaction 1".into());
    assert_eq!(table.rows.len(), 2, "what writes is no read");
    assert_eq!(reads(counted.clone(), 1).rows.len(), 1);
    let table = super::super::digests::digests(counted);
    rectangular(&table);
    assert_eq!(table.rows.len(), 3);
}

#[test]
fn a_client_learns_about_itself_or_which_expression_has_no_value() {
    let client = Client {
        id: 9,
        user: "admin",
        schema: None,
    };
    let item = |value| Item {
        name: "it".to_owned(),
        value,
    };
    let variable = |name: &str| item(Expression::Variable(name.to_owned()));
    let function = |name: &str| item(Expression::Function(name.to_owned()));
    let items = [
        variable("version_comment"),
        function("database"),
        function("connection_id"),
    ];
    let table = selected(&items, &client).expect("known");
    rectangular(&table);
    assert_eq!(
        table.rows,
        [vec!["Tandem admin".into(), Cell::Null, 9_u32.into()]]
    );
    assert_eq!(selected(&[variable("nonesuch")], &client), None);
}
