//! Commands that are no statements.

use super::{Action, Maker, OTHER, SCHEMA, Scripted, begin, query};

pub(super) fn script(maker: &mut Maker<'_>) -> Vec<Scripted> {
    let action = match maker.dice.below(11) {
        0..2 => Action::Ping,
        2..4 => Action::InitDb(maker.dice.pick(&[SCHEMA, OTHER, "no_such_schema", ""]).to_owned()),
        4..6 => Action::FieldList(maker.any()),
        6 => Action::FieldList("no_such_table".to_owned()),
        7 => return multi_statements(),
        8..10 => {
            maker.bound.clear();
            return begin(Action::ResetConnection).into();
        }
        _ => {
            maker.bound.clear();
            let schema = maker.dice.pick(&[SCHEMA, OTHER, ""]).to_owned();
            return begin(Action::ChangeUser { schema }).into();
        }
    };
    vec![(action, None)]
}

fn multi_statements() -> Vec<Scripted> {
    vec![
        // The servers' answer repeats the last statement's count of warnings.
        query("SELECT 1"),
        (Action::SetOption(0), None),
        query("SELECT 1; SELECT 2"),
        (Action::SetOption(1), None),
        query("SELECT 1; SELECT 2"),
        query("SELECT 1"),
        (Action::SetOption(0), None),
    ]
}
