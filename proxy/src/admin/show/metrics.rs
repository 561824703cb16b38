//! `SHOW METRICS`: what Prometheus would get.

use super::super::table::{Cell, Shape, Table};
use super::super::view::WorkerView;
use crate::metrics::sample::samples;
use crate::mirror::view::View;
use crate::topology::Topology;

use Shape::{Real, Text};

pub(in crate::admin) const METRICS: [(&str, Shape); 5] = [
    ("name", Text),
    ("labels", Text),
    ("value", Real),
    ("type", Text),
    ("meaning", Text),
];

/// By name and labels. What is not known, or without an end, is NULL.
pub(in crate::admin) fn metrics(topology: &Topology, views: &[WorkerView], mirrors: &[View]) -> Table {
    let mut table = Table::new(METRICS);
    let samples = samples(topology, views, mirrors).into_iter();
    table.rows = samples
        .map(|sample| {
            let known = Some(sample.value).filter(|value| value.is_finite());
            vec![
                sample.name.into(),
                sample.labels.into(),
                known.map_or(Cell::Null, Cell::Real),
                sample.kind.into(),
                sample.meaning.into(),
            ]
        })
        .collect();
    table
}
