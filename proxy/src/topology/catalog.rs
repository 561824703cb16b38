//! Which tables reach further than their names say: views, triggers, foreign keys that cascade, tables made of others.

use rustc_hash::{FxHashMap, FxHashSet};

use super::table::TableKey;

/// What the active master's `information_schema` says, in keys.
#[derive(Debug, Default)]
pub struct Catalog {
    definitions: u64,
    /// By view: the tables that it reads; `None` is not known.
    reads: FxHashMap<TableKey, Option<Box<[TableKey]>>>,
    /// By table or view: the tables that a write to it changes, itself among them; `None` is not known.
    writes: FxHashMap<TableKey, Option<Box<[TableKey]>>>,
    fleeting: FxHashSet<TableKey>,
}

/// The rows that a [`Catalog`] is made of. Names that have no key are left out: writes that name them count for all
/// tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// Each view with what its text reads, views among it; `None` where the text could not be read.
    pub views: Vec<(TableKey, Option<Vec<TableKey>>)>,
    /// Tables with a trigger, which may write anything.
    pub triggers: Vec<TableKey>,
    /// Parent and child of each foreign key that writes to the child.
    pub cascades: Vec<(TableKey, TableKey)>,
    /// Tables whose rows are elsewhere: `MERGE`, `FEDERATED` and their like.
    pub elsewhere: Vec<TableKey>,
    /// Views whose rows change though no table does: they call `NOW()` or the like.
    pub fleeting: Vec<TableKey>,
}

/// More tables than this behind one name count as all.
const MOST: usize = 64;

impl Catalog {
    /// `definitions` is [`super::ledger::Ledger::definitions`] from before the rows were read.
    pub fn new(definitions: u64, rows: Definitions) -> Self {
        let mut catalog = Self {
            definitions,
            fleeting: rows.fleeting.iter().copied().collect(),
            ..Self::default()
        };
        let known = Rows::new(rows);
        let views: Vec<TableKey> = known.views.keys().copied().collect();
        for view in views {
            let read = known.behind(view);
            let written = read.as_deref().and_then(|tables| known.written(tables));
            catalog.reads.insert(view, read.map(Box::from));
            catalog.writes.insert(view, written.map(Box::from));
        }
        for &table in &known.merged {
            catalog.reads.insert(table, None);
            catalog.writes.insert(table, None);
        }
        let parents = known.cascades.keys().chain(&known.triggers);
        for &table in parents.copied().collect::<FxHashSet<_>>().iter() {
            let written = known.written(&[table]);
            catalog.writes.insert(table, written.map(Box::from));
        }
        catalog
    }

    pub fn definitions(&self) -> u64 {
        self.definitions
    }

    /// Calls `each` with every table that a read of `table` looks at; false if they are not known.
    pub fn read(&self, table: TableKey, mut each: impl FnMut(TableKey) -> bool) -> bool {
        match self.reads.get(&table) {
            None => each(table),
            Some(Some(tables)) => tables.iter().all(|&table| each(table)),
            Some(None) => false,
        }
    }

    /// Whether what it gives changes though no table does: one of those that [`Catalog::read`] finds behind a name.
    pub fn is_fleeting(&self, table: TableKey) -> bool {
        self.fleeting.contains(&table)
    }

    /// The tables that a write to `table` changes, in `into`; false if they are not known.
    pub fn written(&self, table: TableKey, into: &mut Vec<TableKey>) -> bool {
        match self.writes.get(&table) {
            None => into.push(table),
            Some(Some(tables)) => into.extend_from_slice(tables),
            Some(None) => return false,
        }
        true
    }

    /// How many views, and how many tables whose writes reach further, are known.
    pub fn counts(&self) -> (usize, usize) {
        (self.reads.len(), self.writes.len())
    }
}

struct Rows {
    views: FxHashMap<TableKey, Option<Vec<TableKey>>>,
    triggers: FxHashSet<TableKey>,
    cascades: FxHashMap<TableKey, Vec<TableKey>>,
    /// Tables made of others.
    merged: FxHashSet<TableKey>,
}

impl Rows {
    fn new(rows: Definitions) -> Self {
        let mut cascades: FxHashMap<TableKey, Vec<TableKey>> = FxHashMap::default();
        for (parent, child) in rows.cascades {
            cascades.entry(parent).or_default().push(child);
        }
        let mut views: FxHashMap<TableKey, Option<Vec<TableKey>>> = FxHashMap::default();
        for (view, tables) in rows.views {
            // Two views can have one key: then it stands for both.
            let known = views.entry(view).or_insert(Some(Vec::new()));
            *known = known.take().zip(tables).map(|(mut all, more)| {
                all.extend(more);
                all
            });
        }
        Self {
            views,
            triggers: rows.triggers.into_iter().collect(),
            cascades,
            merged: rows.elsewhere.into_iter().collect(),
        }
    }

    /// The tables behind a view, itself among them: a table can have the same key.
    fn behind(&self, view: TableKey) -> Option<Vec<TableKey>> {
        self.spread(&[view], |table| match self.views.get(&table) {
            Some(tables) => tables.as_deref(),
            None if self.merged.contains(&table) => None,
            None => Some(&[]),
        })
    }

    /// What writes to these tables change.
    fn written(&self, tables: &[TableKey]) -> Option<Vec<TableKey>> {
        self.spread(tables, |table| {
            let unknown = self.triggers.contains(&table) || self.merged.contains(&table);
            (!unknown).then(|| self.cascades.get(&table).map_or(&[][..], Vec::as_slice))
        })
    }

    /// `from` and all that `next` leads to, or nothing where it leads to something unknown, or too far.
    fn spread<'a>(
        &'a self,
        from: &[TableKey],
        next: impl Fn(TableKey) -> Option<&'a [TableKey]>,
    ) -> Option<Vec<TableKey>> {
        let mut reached = from.to_vec();
        let mut at = 0;
        while let Some(&table) = reached.get(at) {
            for &more in next(table)? {
                if !reached.contains(&more) {
                    reached.push(more);
                }
            }
            if reached.len() > MOST {
                return None;
            }
            at += 1;
        }
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(table: &str) -> TableKey {
        TableKey::of("shop", table).unwrap()
    }

    fn keys(tables: &[&str]) -> Vec<TableKey> {
        let mut keys: Vec<_> = tables.iter().map(|table| key(table)).collect();
        keys.sort_unstable();
        keys
    }

    fn read(catalog: &Catalog, table: &str) -> Option<Vec<TableKey>> {
        let mut tables = Vec::new();
        let known = catalog.read(key(table), |table| {
            tables.push(table);
            true
        });
        tables.sort_unstable();
        known.then_some(tables)
    }

    fn written(catalog: &Catalog, table: &str) -> Option<Vec<TableKey>> {
        let mut tables = Vec::new();
        let known = catalog.written(key(table), &mut tables);
        tables.sort_unstable();
        known.then_some(tables)
    }

    #[test]
    fn a_plain_table_is_itself() {
        let catalog = Catalog::new(1, Definitions::default());
        assert_eq!(read(&catalog, "t"), Some(keys(&["t"])));
        assert_eq!(written(&catalog, "t"), Some(keys(&["t"])));
    }

    #[test]
    fn views_are_looked_through_and_views_of_views() {
        let catalog = Catalog::new(
            1,
            Definitions {
                views: vec![
                    (key("outer"), Some(vec![key("inner"), key("u")])),
                    (key("inner"), Some(vec![key("t")])),
                    (key("odd"), None),
                    (key("over_odd"), Some(vec![key("odd")])),
                    (key("loop"), Some(vec![key("loop")])),
                ],
                ..Definitions::default()
            },
        );
        assert_eq!(read(&catalog, "outer"), Some(keys(&["outer", "inner", "u", "t"])));
        assert_eq!(written(&catalog, "inner"), Some(keys(&["inner", "t"])));
        assert_eq!(read(&catalog, "over_odd"), None);
        assert_eq!(written(&catalog, "odd"), None);
        assert_eq!(read(&catalog, "loop"), Some(keys(&["loop"])));
    }

    #[test]
    fn cascades_reach_children_and_their_children_also_through_views() {
        let catalog = Catalog::new(
            1,
            Definitions {
                views: vec![(key("v"), Some(vec![key("a")]))],
                cascades: vec![
                    (key("a"), key("b")),
                    (key("b"), key("c")),
                    (key("c"), key("a")),
                    (key("p"), key("q")),
                ],
                triggers: vec![key("q"), key("w")],
                ..Definitions::default()
            },
        );
        assert_eq!(written(&catalog, "a"), Some(keys(&["a", "b", "c"])));
        assert_eq!(written(&catalog, "v"), Some(keys(&["v", "a", "b", "c"])));
        assert_eq!(read(&catalog, "a"), Some(keys(&["a"])));
        assert_eq!(written(&catalog, "w"), None, "a trigger");
        assert_eq!(written(&catalog, "p"), None, "a trigger of its child");
        assert_eq!(read(&catalog, "w"), Some(keys(&["w"])));
    }

    #[test]
    fn tables_made_of_others_are_not_known() {
        let catalog = Catalog::new(
            1,
            Definitions {
                elsewhere: vec![key("m")],
                views: vec![(key("v"), Some(vec![key("m")]))],
                ..Definitions::default()
            },
        );
        for table in ["m", "v"] {
            assert_eq!(read(&catalog, table), None, "{table}");
            assert_eq!(written(&catalog, table), None, "{table}");
        }
    }

    #[test]
    fn what_reaches_too_many_reaches_all() {
        let cascades = (0..100).map(|n| (key("a"), key(&format!("b{n}")))).collect();
        let catalog = Catalog::new(
            1,
            Definitions {
                cascades,
                ..Definitions::default()
            },
        );
        assert_eq!(written(&catalog, "a"), None);
    }
}
