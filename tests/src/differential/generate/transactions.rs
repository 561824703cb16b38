//! Transactions of every kind, with statements in them.

use super::{Maker, Scripted, data, queries, query};

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    match maker.dice.below(10) {
        0..3 => plain(maker),
        3 => savepoints(maker),
        4..6 => without_autocommit(maker),
        6 => one_shot(maker),
        7 => isolation(maker),
        8 => distributed(maker),
        _ => maker.one_of(&[
            "COMMIT",
            "ROLLBACK",
            "COMMIT AND CHAIN",
            "COMMIT AND NO CHAIN NO RELEASE",
            "ROLLBACK TO SAVEPOINT nowhere",
            "SET autocommit = 1",
        ]),
    }
}

fn body(maker: &mut Maker<'_>) -> Vec<Scripted> {
    (0..maker.dice.below(4))
        .flat_map(|_| data::script(maker))
        .collect()
}

fn end(maker: &mut Maker<'_>) -> Scripted {
    query(
        maker
            .dice
            .pick(&["COMMIT", "ROLLBACK", "COMMIT WORK", "ROLLBACK AND NO CHAIN"]),
    )
}

fn plain(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "BEGIN",
        "START TRANSACTION",
        "BEGIN WORK",
        "START TRANSACTION READ ONLY",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
        "START TRANSACTION READ WRITE",
    ]);
    script.extend(body(maker));
    script.push(end(maker));
    script
}

fn savepoints(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let own = maker.own();
    let mut script = queries(&["BEGIN"]);
    script.push(query(format!("INSERT INTO {own} (v) VALUES ('kept')")));
    script.extend(queries(&["SAVEPOINT s1"]));
    script.extend(body(maker));
    script.extend(maker.one_of(&[
        "ROLLBACK TO s1",
        "ROLLBACK TO SAVEPOINT s1",
        "RELEASE SAVEPOINT s1",
    ]));
    script.push(query(format!("SELECT COUNT(*) FROM {own}")));
    script.extend(maker.one_of(&["RELEASE SAVEPOINT s1", "SAVEPOINT s2"]));
    script.push(end(maker));
    script
}

fn without_autocommit(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "SET autocommit = 0",
        "SET @@autocommit = OFF",
        "SET SESSION autocommit = 0",
    ]);
    script.extend(body(maker));
    script.push(end(maker));
    script.extend(body(maker));
    script.push(query("SET autocommit = 1"));
    script
}

/// `SET TRANSACTION` without a scope is for the next transaction only.
fn one_shot(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ WRITE",
    ]);
    script.extend(plain(maker));
    script.push(query(format!("INSERT INTO {} (v) VALUES ('after')", maker.own())));
    script
}

fn isolation(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let mut script = maker.one_of(&[
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
    ]);
    script.extend(plain(maker));
    script.push(query(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
    ));
    script
}

fn distributed(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let (own, xid) = (maker.own(), format!("'x{}'", maker.session));
    let mut script = vec![query(format!("XA START {xid}"))];
    script.push(query(format!("INSERT INTO {own} (v) VALUES ('xa')")));
    script.push(query(format!("SELECT COUNT(*) FROM {own}")));
    script.push(query(format!("XA END {xid}")));
    let (first, second) = match maker.dice.below(3) {
        0 => (format!("XA PREPARE {xid}"), format!("XA COMMIT {xid}")),
        1 => (format!("XA PREPARE {xid}"), format!("XA ROLLBACK {xid}")),
        _ => ("SELECT 1".to_owned(), format!("XA COMMIT {xid} ONE PHASE")),
    };
    script.extend([query(first), query(second)]);
    // Whatever failed before, the branch must not stay: it would lock the table beyond the session.
    script.push(query(format!("XA ROLLBACK {xid}")));
    script
}
