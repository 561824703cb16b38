//! Names of tables as numbers, so that a statement's tables are looked up without touching text.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// One name, of a schema or a table, in whatever case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameKey(u64);

/// A table in its schema. Two tables can have one key: then both count as changed when one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableKey(u64);

/// A table as a statement names it: without a schema it is in the default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    schema: Option<NameKey>,
    name: NameKey,
}

impl NameKey {
    /// Names that differ in the case of letters are one: with `lower_case_table_names` they are one table, and
    /// without, two tables are taken for one. `None` for other letters than ASCII's: what is the same depends on the
    /// character set then.
    pub fn new(name: &[u8]) -> Option<Self> {
        if !name.is_ascii() {
            return None;
        }
        let mut hasher = FxHasher::default();
        for &byte in name {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        Some(Self(hasher.finish()))
    }
}

impl TableKey {
    pub fn new(schema: NameKey, table: NameKey) -> Self {
        let mut hasher = FxHasher::default();
        hasher.write_u64(schema.0);
        hasher.write_u64(table.0);
        Self(hasher.finish())
    }

    /// By two names as they are written; see [`NameKey::new`].
    pub fn of(schema: &str, table: &str) -> Option<Self> {
        Some(Self::new(
            NameKey::new(schema.as_bytes())?,
            NameKey::new(table.as_bytes())?,
        ))
    }

    /// One of so many places, a power of two. Upper bits: the lower ones of this hash are the worse ones.
    pub(super) fn place(self, places: usize) -> usize {
        debug_assert!(places.is_power_of_two());
        (self.0 >> 32) as usize & (places - 1)
    }
}

impl Named {
    /// `schema` is empty where none is named; see [`NameKey::new`].
    pub fn new(schema: &str, table: &str) -> Option<Self> {
        let schema = match schema {
            "" => None,
            schema => Some(NameKey::new(schema.as_bytes())?),
        };
        let name = NameKey::new(table.as_bytes())?;
        Some(Self { schema, name })
    }

    /// The table that is meant where `default` is the default schema; `None` where there is none.
    pub fn within(self, default: Option<NameKey>) -> Option<TableKey> {
        Some(TableKey::new(self.schema.or(default)?, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_the_same_however_it_is_named() {
        let shop = NameKey::new(b"shop");
        let orders = TableKey::of("shop", "orders");
        assert!(orders.is_some());
        for (schema, table) in [("", "orders"), ("shop", "ORDERS"), ("Shop", "Orders")] {
            assert_eq!(Named::new(schema, table).unwrap().within(shop), orders);
        }
        let elsewhere = Named::new("", "orders").unwrap().within(NameKey::new(b"test"));
        assert_ne!(elsewhere, orders);
        assert_ne!(TableKey::of("orders", "shop"), orders);
    }

    #[test]
    fn what_can_not_be_compared_has_no_key() {
        assert_eq!(Named::new("", "größe"), None);
        assert_eq!(Named::new("größe", "t"), None);
        assert_eq!(Named::new("", "t").unwrap().within(None), None);
    }

    /// Names that differ in one letter must not share a place more often than chance has it.
    #[test]
    fn places_are_spread() {
        let mut places: Vec<usize> = (0..1000)
            .map(|n| TableKey::of("shop", &format!("t{n}")).unwrap().place(4096))
            .collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() > 850, "{}", places.len());
    }
}
