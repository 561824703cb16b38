//! `[[rule]]`.

use super::{Optional, Size, Table};
use crate::config::rule::{Actions, Conditions, Rule};
use crate::config::scalar::Scalar;

pub(super) fn rule(table: &mut Table<'_>) -> Rule {
    Rule {
        name: table.name("\"reports\""),
        enabled: table.or("enabled", true),
        conditions: Conditions {
            user: optional(table, "user"),
            schema: optional(table, "schema"),
            client: optional(table, "client"),
            listener: optional(table, "listener"),
            digest: optional(table, "digest"),
            pattern: optional(table, "pattern"),
            tables: optional(table, "tables"),
            kind: optional(table, "kind"),
            hint: optional(table, "hint"),
            attribute: optional(table, "attribute"),
            time: optional(table, "time"),
            // What is too large is refused by its range.
            percent: optional(table, "percent").map(|it: usize| u32::try_from(it).unwrap_or(u32::MAX)),
        },
        actions: Actions {
            target: optional(table, "target"),
            consistency: optional(table, "consistency"),
            wait: optional(table, "wait"),
            cache: optional(table, "cache"),
            refuse: optional(table, "refuse"),
            timeout: optional(table, "timeout"),
            retry: optional(table, "retry"),
            max_rows: optional(table, "max_rows"),
            max_bytes: optional(table, "max_bytes").map(|bytes: Size| bytes.0),
            rate: optional(table, "rate"),
            rate_wait: optional(table, "rate_wait"),
            rewrite_from: optional(table, "rewrite_from"),
            rewrite: optional(table, "rewrite"),
            mirror: optional(table, "mirror"),
            log: table.or("log", false),
            trace: table.or("trace", false),
        },
    }
}

/// Nothing where the key is not there, or is empty, as the environment gives it to take a condition away.
fn optional<T: Scalar>(table: &mut Table<'_>, key: &str) -> Option<T> {
    table.get::<Optional<T>>(key)?.0
}
