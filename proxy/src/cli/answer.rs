//! An answer of the admin port, and how it is shown: to people as text, to scripts as JSON.

use serde_json::{Map, Value};

/// One result set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Option<String>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) numeric: bool,
}

impl Answer {
    pub(super) fn single(name: &str, value: &str) -> Self {
        Self {
            columns: vec![Column {
                name: name.to_owned(),
                numeric: false,
            }],
            rows: vec![vec![Some(value.to_owned())]],
        }
    }

    /// The values of `name`, one a row; none if there is no such column.
    pub(super) fn column(&self, name: &str) -> Vec<&str> {
        let Some(at) = self.columns.iter().position(|column| column.name == name) else {
            return Vec::new();
        };
        let cells = self.rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.as_deref().unwrap_or_default()).collect()
    }

    /// A single value stands alone; pairs are a list; what is wider has a line for each field.
    pub(super) fn text(&self) -> String {
        match (self.rows.len(), self.columns.len()) {
            (0, _) => "nothing\n".to_owned(),
            (_, 1) => self.rows.iter().map(|row| shown(row.first()) + "\n").collect(),
            (_, 2) => {
                let names = self.rows.iter().map(|row| shown(row.first()));
                let width = names.map(|name| name.chars().count()).max().unwrap_or(0).max(16) + 2;
                let pair = |row: &Vec<_>| format!("{:<width$}{}\n", shown(row.first()), shown(row.get(1)));
                self.rows.iter().map(pair).collect()
            }
            _ => self.rows.iter().map(|row| self.block(row)).collect(),
        }
    }

    fn block(&self, row: &[Option<String>]) -> String {
        let mut block = shown(row.first()) + "\n";
        for (column, cell) in self.columns.iter().zip(row) {
            if let Some(value) = cell.as_deref().filter(|value| !value.is_empty()) {
                block += &format!("  {:<14}{value}\n", column.name);
            }
        }
        block
    }

    /// An object for each row.
    pub(super) fn objects(&self) -> Value {
        let object = |row: &Vec<Option<String>>| {
            let fields = self.columns.iter().zip(row);
            let fields =
                fields.map(|(column, cell)| (column.name.clone(), json(cell.as_deref(), column.numeric)));
            Value::Object(fields.collect())
        };
        self.rows.iter().map(object).collect()
    }

    /// One object of pairs. A property that can be there more than once, by its name in `lists`, always has a list.
    pub(super) fn properties(&self, lists: &[&str]) -> Value {
        let mut object = Map::new();
        for name in lists {
            object.insert((*name).to_owned(), Value::Array(Vec::new()));
        }
        for row in &self.rows {
            let name = shown(row.first());
            let value = json(row.get(1).and_then(Option::as_deref), false);
            match object.get_mut(&name) {
                Some(Value::Array(list)) => list.push(value),
                _ => drop(object.insert(name, value)),
            }
        }
        Value::Object(object)
    }
}

fn shown(cell: Option<&Option<String>>) -> String {
    cell.cloned().flatten().unwrap_or_default()
}

fn json(value: Option<&str>, numeric: bool) -> Value {
    let Some(text) = value else {
        return Value::Null;
    };
    let number = text.parse().ok().filter(|_| numeric);
    number.map_or_else(|| Value::from(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(columns: &[(&str, bool)], rows: &[&[Option<&str>]]) -> Answer {
        let column = |&(name, numeric): &(&str, bool)| Column {
            name: name.to_owned(),
            numeric,
        };
        let row = |row: &&[Option<&str>]| row.iter().map(|cell| cell.map(str::to_owned)).collect();
        Answer {
            columns: columns.iter().map(column).collect(),
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn numbers_are_numbers_only_where_the_column_is_one() {
        let servers = answer(
            &[("name", false), ("weight", true), ("lag_ms", true)],
            &[
                &[Some("1"), Some("2"), None],
                &[Some("b"), Some("-1.5"), Some("0")],
            ],
        );
        let expected = json!([
            {"name": "1", "weight": 2, "lag_ms": null},
            {"name": "b", "weight": -1.5, "lag_ms": 0},
        ]);
        assert_eq!(servers.objects(), expected);
        assert_eq!(
            servers.text(),
            "1\n  name          1\n  weight        2\nb\n  name          b\n  weight        -1.5\n  lag_ms        0\n"
        );
    }

    #[test]
    fn what_may_be_there_twice_is_a_list_even_if_it_is_not_there() {
        let columns = [("property", false), ("value", false)];
        let twice = answer(
            &columns,
            &[
                &[Some("active"), Some("a")],
                &[Some("why_not"), Some("x")],
                &[Some("why_not"), Some("y")],
            ],
        );
        let expected = json!({"active": "a", "why_not": ["x", "y"], "member": []});
        assert_eq!(twice.properties(&["why_not", "member"]), expected);
        assert_eq!(
            answer(&columns, &[]).properties(&["why_not"]),
            json!({"why_not": []})
        );
    }

    #[test]
    fn a_single_value_stands_alone() {
        assert_eq!(answer(&[("result", false)], &[&[Some("done")]]).text(), "done\n");
        assert_eq!(answer(&[("result", false)], &[]).text(), "nothing\n");
    }
}
