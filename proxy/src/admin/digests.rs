//! `SHOW DIGESTS`: the shapes of statement with their numbers.

use std::cmp::Reverse;
use std::time::Duration;

use super::show::{precise, reasons};
use super::table::{Cell, Shape, Table};
use crate::statistics::digest::Counted;

use Shape::{Number, Real, Text};

pub(super) const DIGESTS: [(&str, Shape); 28] = [
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
        format!("{:016x}", shape.fingerprint.0).into(),
        counts.count.into(),
        counts.errors.into(),
        milliseconds(counts.time),
        milliseconds(counts.shortest),
        milliseconds(shape.average()),
        milliseconds(shape.quantile(0.5)),
        milliseconds(shape.quantile(0.95)),
        milliseconds(shape.quantile(0.99)),
        milliseconds(counts.longest),
        recent.count.into(),
        recent.errors.into(),
        milliseconds(recent.time),
        milliseconds(recent.average()),
        milliseconds(recent.quantile(0.95)),
        milliseconds(recent.longest),
        counts.rows.into(),
        Cell::Real((rows_avg * 10.0).round() / 10.0),
        counts.affected.into(),
        counts.bytes_in.into(),
        counts.bytes_out.into(),
        (shape.routed() - shape.on_standby()).into(),
        shape.on_standby().into(),
        reasons(shape.routes.iter()).into(),
        counts.retries.into(),
        counts.holds.into(),
        Cell::Real((shape.idle.as_secs_f64() * 10.0).round() / 10.0),
        shape.statement.to_string().into(),
    ]
}

fn milliseconds(time: Duration) -> Cell {
    Cell::Real(precise(time))
}
