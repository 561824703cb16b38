//! Prepared statements, binary and as text.

use super::{Action, Maker, Scripted, queries, query};
use crate::differential::step::Value;

/// How many binary statements a session knows.
const SLOTS: usize = 3;

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    match maker.dice.below(8) {
        0..5 => binary(maker),
        5 => long_data(maker),
        6 => cursor(maker),
        _ => text(maker),
    }
}

fn binary(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let slot = maker.dice.below(SLOTS);
    let (own, any) = (maker.own(), maker.any());
    let (text, int, string) = match maker.dice.below(14) {
        0 => (
            format!("SELECT id, n, v FROM {any} WHERE id < ? ORDER BY id"),
            true,
            false,
        ),
        1 => (
            format!("INSERT INTO {own} (v) VALUES (?), ('second')"),
            false,
            true,
        ),
        2 => (format!("INSERT INTO {own} (n, v) VALUES (?, ?)"), true, true),
        3 => (format!("UPDATE {own} SET v = ?"), false, true),
        4 => ("SELECT ? + 1, id FROM shared WHERE v = ?".to_owned(), true, true),
        5 => ("SELECT LAST_INSERT_ID(), DATABASE()".to_owned(), false, false),
        9 => (
            format!("SELECT * FROM {any} WHERE v = 'a' ORDER BY id LIMIT ?"),
            true,
            false,
        ),
        10 => ("SELECT * FROM no_such_table WHERE id = ?".to_owned(), true, false),
        11 => ("CALL two_results()".to_owned(), false, false),
        12 => ("SET @a = ?".to_owned(), true, false),
        _ => ("SELECT 1; SELECT 2".to_owned(), false, false),
    };
    let mut script = vec![(Action::Prepare { slot, text }, None)];
    forget(maker, slot);
    for _ in 0..1 + maker.dice.below(3) {
        let mut values = Vec::new();
        if int {
            values.push(Value::Int(maker.dice.below(60) as i64));
        }
        if string {
            values.push(match maker.dice.once_in(4) {
                true => Value::Null,
                false => Value::Text("bound".to_owned()),
            });
        }
        script.push(execute(maker, slot, values, false));
        if maker.dice.once_in(4) {
            script.push((Action::ResetStatement { slot }, None));
        }
    }
    if maker.dice.once_in(2) {
        script.push((Action::CloseStatement { slot }, None));
        if maker.dice.once_in(3) {
            // It is gone: an error on both sides.
            script.push((Action::ResetStatement { slot }, None));
        }
    }
    script
}

fn forget(maker: &mut Maker<'_>, slot: usize) {
    maker.bound.resize(SLOTS, Vec::new());
    maker.bound[slot].clear();
}

/// The types are sent when they have changed, and sometimes although they haven't.
fn execute(maker: &mut Maker<'_>, slot: usize, values: Vec<Value>, cursor: bool) -> Scripted {
    let kinds: Vec<u8> = values
        .iter()
        .map(|value| match value {
            Value::Int(_) => 1,
            Value::Null | Value::Text(_) => 2,
            Value::Sent => 3,
        })
        .collect();
    let types = maker.bound[slot] != kinds || maker.dice.once_in(2);
    maker.bound[slot] = kinds;
    let action = Action::Execute {
        slot,
        values,
        types,
        cursor,
    };
    (action, None)
}

fn long_data(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let slot = maker.dice.below(SLOTS);
    let text = maker
        .dice
        .pick(&["SELECT LENGTH(?)", "SELECT ?", "SELECT MD5(?)"])
        .to_owned();
    let mut script = vec![(Action::Prepare { slot, text }, None)];
    forget(maker, slot);
    for _ in 0..1 + maker.dice.below(3) {
        let data = "piece".repeat(1 + maker.dice.below(2000));
        script.push((Action::LongData { slot, param: 0, data }, None));
    }
    if maker.dice.once_in(4) {
        // Takes the pieces away again.
        script.push((Action::ResetStatement { slot }, None));
        script.push(execute(maker, slot, vec![Value::Text("short".to_owned())], false));
    } else {
        script.push(execute(maker, slot, vec![Value::Sent], false));
    }
    script.push((Action::CloseStatement { slot }, None));
    script
}

fn cursor(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let slot = maker.dice.below(SLOTS);
    let text = format!("SELECT id, v FROM {} ORDER BY id", maker.any());
    let mut script = vec![(Action::Prepare { slot, text }, None)];
    forget(maker, slot);
    script.push(execute(maker, slot, Vec::new(), true));
    for _ in 0..maker.dice.below(4) {
        let rows = 1 + maker.dice.below(4) as u32;
        script.push((Action::Fetch { slot, rows }, None));
    }
    script.push(match maker.dice.once_in(2) {
        true => (Action::ResetStatement { slot }, None),
        false => (Action::CloseStatement { slot }, None),
    });
    script
}

fn text(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let own = maker.own();
    let mut script = vec![query(match maker.dice.below(5) {
        0 => "PREPARE s FROM 'SELECT ? + 1'".to_owned(),
        1 => format!("PREPARE s FROM 'INSERT INTO {own} (n) VALUES (?)'"),
        2 => "PREPARE s FROM 'SELECT * FROM no_such_table WHERE id = ?'".to_owned(),
        3 => "PREPARE s FROM 'syntax ? error'".to_owned(),
        _ => "PREPARE s FROM 'SELECT v FROM shared WHERE id > ? ORDER BY id LIMIT 2'".to_owned(),
    })];
    script.extend(queries(&["SET @x = 41", "EXECUTE s USING @x"]));
    if maker.dice.once_in(2) {
        script.extend(queries(&["EXECUTE s"]));
    }
    script.extend(maker.one_of(&["DEALLOCATE PREPARE s", "DROP PREPARE s"]));
    script.push(query("EXECUTE s USING @x"));
    script
}
