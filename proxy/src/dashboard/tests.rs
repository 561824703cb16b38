use super::*;
use crate::admin::view::LimitRow;

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
        limit: 100,
        used: 30,
    });
    let limits = limits(&[view.clone(), view]);
    assert_eq!((limits.len(), limits[0].limit, limits[0].used), (1, 200, 60));
}
