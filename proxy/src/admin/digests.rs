//! `SHOW DIGESTS`: the shapes of statement with their numbers.

use std::cmp::Reverse;

use super::show::{real_milliseconds, reasons};
use super::table::{Cell, Shape, Table};
use crate::statistics::digest::{Counted, Place};

use Shape::{Number, Real, Text};

pub(super) const DIGESTS: [(&str, Shape); 29] = [
    ("digest", Text),
    ("count", Number),
    ("errors", Number),
    ("total_ms", Real),
    ("min_ms", Real),
    ("avg_ms", Real),
    ("p50_ms", Real),
    ("p95_ms", Real),
    ("p99_ms", Real),
    ("max_ms", Real),
    ("minute_count", Number),
    ("minute_errors", Number),
    ("minute_total_ms", Real),
    ("minute_avg_ms", Real),
    ("minute_p95_ms", Real),
    ("minute_max_ms", Real),
    ("rows", Number),
    ("rows_avg", Real),
    ("affected", Number),
    ("bytes_in", Number),
    ("bytes_out", Number),
    ("on_active", Number),
    ("on_standby", Number),
    ("from_cache", Number),
    ("reasons", Text),
    ("retries", Number),
    ("holds", Number),
    ("seconds_ago", Real),
    ("statement", Text),
];

/// The shapes, the one on which most time was spent first.
pub(super) fn digests(mut counted: Vec<Counted>) -> Table {
    let mut table = Table::new(DIGESTS);
    counted.sort_by_key(|shape| Reverse(shape.counts.time));
    table.rows = counted.iter().map(row).collect();
    table
}

fn row(shape: &Counted) -> Vec<Cell> {
    let (counts, recent) = (&shape.counts, &shape.recent);
    let rows_avg = counts.rows as f64 / counts.count.max(1) as f64;
    vec![
        shape.fingerprint.to_string().into(),
        counts.count.into(),
        counts.errors.into(),
        real_milliseconds(counts.time),
        real_milliseconds(counts.shortest),
        real_milliseconds(shape.average()),
        real_milliseconds(shape.quantile(0.5)),
        real_milliseconds(shape.quantile(0.95)),
        real_milliseconds(shape.quantile(0.99)),
        real_milliseconds(counts.longest),
        recent.count.into(),
        recent.errors.into(),
        real_milliseconds(recent.time),
        real_milliseconds(recent.average()),
        real_milliseconds(recent.quantile(0.95)),
        real_milliseconds(recent.longest),
        counts.rows.into(),
        Cell::Real((rows_avg * 10.0).round() / 10.0),
        counts.affected.into(),
        counts.bytes_in.into(),
        counts.bytes_out.into(),
        shape.at(Place::Active).into(),
        shape.at(Place::Standby).into(),
        shape.at(Place::Cache).into(),
        reasons(shape.routes.iter()).into(),
        counts.retries.into(),
        counts.holds.into(),
        Cell::Real((shape.idle.as_secs_f64() * 10.0).round() / 10.0),
        shape.statement.to_string().into(),
    ]
}
