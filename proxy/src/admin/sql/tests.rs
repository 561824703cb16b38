use super::*;

const CLIENT: Client<'_> = Client {
    id: 9,
    user: "admin",
    schema: Some(SCHEMA),
};

/// Two pools and three sessions.
fn filled() -> Vec<(&'static Definition, Table)> {
    let row = |id: u64, user: &str, target: Option<&str>, since: u64| {
        let text = |text: &str| Cell::from(text.to_owned());
        let mut row = vec![Cell::Null; 19];
        row[0] = id.into();
        row[2] = text(user);
        row[8] = since.into();
        row[10] = target.map_or(Cell::Null, text);
        row
    };
    let sessions = tables::named("sessions").unwrap();
    let mut table = Table {
        columns: sessions
            .columns
            .iter()
            .map(|&(name, shape)| (name.into(), shape))
            .collect(),
        rows: Vec::new(),
    };
    table.rows = vec![
        row(1, "shop", Some("a"), 10),
        row(2, "Shop", None, 30),
        row(3, "blog", Some("b"), 5),
    ];
    vec![(sessions, table)]
}

fn ask(statement: &str) -> Result<Table, String> {
    select(statement, &filled(), &CLIENT)
}

/// The rows as text.
fn rows(statement: &str) -> Vec<String> {
    let table = ask(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    let cell = |cell: &Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Number(number) => number.to_string(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => text.to_string(),
    };
    let row = |row: &Vec<Cell>| row.iter().map(cell).collect::<Vec<_>>().join(" ");
    table.rows.iter().map(row).collect()
}

#[test]
fn tables_are_grouped_ordered_and_joined() {
    let by_user =
        "SELECT user, COUNT(*) n, AVG(since_ms) FROM sessions GROUP BY user ORDER BY n DESC, user LIMIT 5";
    assert_eq!(
        rows(by_user),
        ["shop 2 20", "blog 1 5"],
        "names compare as MySQL compares them"
    );
    let joined = "SELECT s.id, t.TABLE_NAME FROM tandem.sessions s JOIN `information_schema`.`tables` t ON t.table_name = 'pools' \
                  WHERE s.user LIKE 'BL%'";
    assert_eq!(rows(joined), ["3 pools"]);
    assert_eq!(
        rows("WITH t AS (SELECT id FROM sessions) SELECT MAX(id) FROM t"),
        ["3"]
    );
    assert_eq!(rows("SELECT id FROM sessions WHERE target IS NULL;"), ["2"]);
    assert_eq!(
        rows("SELECT id FROM sessions WHERE user = \"blog\" LIMIT 0, 1"),
        ["3"]
    );
}

#[test]
fn columns_have_the_type_of_what_is_in_them() {
    let table = ask("SELECT id, AVG(since_ms), user, NULL FROM sessions GROUP BY 1, 3").unwrap();
    let shapes: Vec<Shape> = table.columns.iter().map(|(_, shape)| *shape).collect();
    assert_eq!(shapes, [Shape::Number, Shape::Real, Shape::Text, Shape::Text]);
    assert_eq!(rows("SELECT -1"), ["-1"]);
}

#[test]
fn functions_of_mysql_are_known() {
    assert_eq!(
        rows(
            "SELECT DATABASE(), USER(), CONNECTION_ID(), CONCAT('a', 1), IF(1 > 2, 'x', 'y'), LEFT('abc', 2)"
        ),
        ["tandem admin@% 9 a1 y ab"]
    );
    assert_eq!(
        rows(
            "SELECT SUBSTRING_INDEX('a_b_c', '_', 1), SUBSTRING_INDEX('a_b_c', '_', -1), LOCATE('B', 'ab'), LOCATE('x', 'ab')"
        ),
        ["a c 2 0"]
    );
    assert_eq!(
        rows(r"SELECT user FROM sessions WHERE user LIKE 'sh\_p' OR user LIKE 'BL%'"),
        ["blog"]
    );
    assert_eq!(rows("SELECT COUNT(*) FROM information_schema.VIEWS"), ["0"]);
    assert_eq!(
        rows("SELECT LENGTH(NOW()), UNIX_TIMESTAMP() > 1700000000"),
        ["19 1"]
    );
}

#[test]
fn nothing_but_reading_is_allowed_and_nothing_is_without_bound() {
    for (statement, words) in [
        ("SELECT * FROM nowhere", "SHOW TABLES"),
        ("SELECT absent FROM sessions", "DESCRIBE"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("WITH x AS (SELECT 1) DELETE FROM sessions", "only be read"),
        ("SELECT load_extension('/x')", "not authorized"),
        ("SELECT writefile('/tmp/x', 'y')", "no such function"),
        ("SELECT randomblob(100000000)", "too big"),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
            "more than 100000 rows",
        ),
    ] {
        let error = ask(statement).expect_err(statement);
        assert!(error.contains(words), "{statement}: {error}");
    }
}

#[test]
fn every_table_can_be_asked_for() {
    for definition in &tables::TABLES {
        let columns = definition
            .columns
            .iter()
            .map(|&(name, shape)| (name.into(), shape))
            .collect();
        let table = Table {
            columns,
            rows: Vec::new(),
        };
        let statement = format!("SELECT * FROM {}", definition.name);
        assert_eq!(tables::mentioned(&statement).len(), 1, "{statement}");
        let answer = select(&statement, &[(definition, table)], &CLIENT).unwrap();
        assert_eq!(answer.columns.len(), definition.columns.len());
    }
}
