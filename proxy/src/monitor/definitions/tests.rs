use super::*;
use crate::topology::Flavor;

fn version() -> Version {
    Version {
        flavor: Flavor::MariaDb,
        number: 101_114,
        text: "10.11.14-MariaDB".into(),
    }
}

fn key(schema: &str, table: &str) -> TableKey {
    TableKey::of(schema, table).unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn rows_become_keys_and_views_the_tables_of_their_texts() {
    let view = "select `shop`.`orders`.`id` AS `id` from (`shop`.`orders` join `stock`.`items`)";
    let answers = Answers {
        views: vec![
            (text("shop"), text("v"), Some(text(view))),
            (text("shop"), text("hidden"), None),
            (text("shop"), text("shut"), Some(text(""))),
            (
                text("shop"),
                text("calls"),
                Some(text("select `shop`.`f`() AS `f()`")),
            ),
            (text("shop"), text("größe"), Some(text("select 1"))),
            (
                text("shop"),
                text("today"),
                Some(text(
                    "select `shop`.`orders`.`id` AS `id` from `shop`.`orders` where `shop`.`orders`.`day` = curdate()",
                )),
            ),
        ],
        triggers: vec![(text("shop"), text("Orders"))],
        cascades: vec![(text("shop"), text("parent"), text("shop"), text("child"))],
        elsewhere: vec![(text("shop"), text("merged"))],
    };
    let found = definitions(&answers, &version());
    let mut views = found.views.clone();
    for (_, tables) in &mut views {
        if let Some(tables) = tables {
            tables.sort_unstable();
        }
    }
    let mut tables = vec![key("shop", "orders"), key("stock", "items")];
    tables.sort_unstable();
    let expected = vec![
        (key("shop", "v"), Some(tables)),
        (key("shop", "hidden"), None),
        (key("shop", "shut"), None),
        (key("shop", "calls"), None),
        (key("shop", "today"), Some(vec![key("shop", "orders")])),
    ];
    assert_eq!(views, expected);
    assert_eq!(found.triggers, [key("shop", "orders")]);
    assert_eq!(found.cascades, [(key("shop", "parent"), key("shop", "child"))]);
    assert_eq!(found.elsewhere, [key("shop", "merged")]);
    assert_eq!(found.fleeting, [key("shop", "today")]);
}
