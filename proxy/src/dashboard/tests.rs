use super::*;
use crate::admin::view::{LimitRow, Unit};
use crate::classify::Fingerprint;
use crate::statistics::digest::{Counts, Digest, Ended};

fn row(id: u32, pins: &str, transaction: bool, seconds: u64) -> SessionRow {
    SessionRow {
        id,
        worker: 0,
        user: "app".to_owned(),
        client: "192.0.2.9:1".to_owned(),
        tls: None,
        compression: None,
        schema: "shop".to_owned(),
        command: "Sleep",
        target: Some("a".to_owned()),
        backend_id: None,
        pins: pins.to_owned(),
        transaction,
        since: Duration::from_secs(seconds),
        statements: 1,
        last_reason: "write",
        statement: None,
        held_by: String::new(),
        pinned_by: None,
        held: None,
    }
}

/// The longest stand first, however many there are, and all are counted.
#[test]
fn who_holds_a_connection_longest_is_listed_first() {
    let mut view = WorkerView::default();
    view.sessions.push(row(1, "", false, 900));
    view.sessions.push(row(2, "temporary table", false, 5));
    for id in 3..40 {
        view.sessions.push(row(id, "", true, u64::from(id)));
    }
    let clients = clients(&[view]);
    assert_eq!(
        (clients.sessions, clients.in_transaction, clients.pinned),
        (39, 37, 1)
    );
    assert_eq!(clients.holding.len(), SESSIONS);
    assert_eq!((clients.holding[0].id, clients.holding[0].since_ms), (39, 39_000));
}

#[test]
fn limits_of_the_workers_add_up() {
    let mut view = WorkerView::default();
    view.limits.push(LimitRow {
        name: "limits.prepared_bytes",
        worker: 0,
        unit: Unit::Bytes,
        highest: 0,
        refused: 0,
        limit: 100,
        used: 30,
    });
    let limits = limits(&[view.clone(), view]);
    assert_eq!((limits.len(), limits[0].limit, limits[0].used), (1, 200, 60));
}

/// What took most time lately stands first; what did not come lately, nowhere.
#[test]
fn the_slowest_statements_of_the_last_minute_are_listed() {
    let shape = |number: u64, milliseconds: u64| {
        let digest = Digest::new(Fingerprint(number), format!("SELECT {number}").into(), true);
        for _ in 0..2 {
            let time = Duration::from_millis(milliseconds);
            let counts = Counts {
                count: 1,
                time,
                longest: time,
                ..Counts::default()
            };
            digest.count(&Ended {
                counts,
                route: None,
                window: number as u32,
                at: Duration::ZERO,
            });
        }
        digest.copy(9, Duration::ZERO).expect("counted")
    };
    let told = statements(&[shape(1, 900), shape(8, 20), shape(9, 30)]);
    let told: Vec<_> = told
        .iter()
        .map(|it| (&*it.statement, it.count, it.total_ms))
        .collect();
    assert_eq!(told, [("SELECT 9", 2, 60.0), ("SELECT 8", 2, 40.0)]);
}
