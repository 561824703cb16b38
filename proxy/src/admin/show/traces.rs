//! `SHOW TRACES`: the steps of the statements that `TRACE SESSION` asked for.

use std::time::Duration;

use chrono::{DateTime, Local};

use super::super::table::{Cell, Shape, Table};
use super::super::view::Details;
use super::real_milliseconds;
use crate::statistics::trace::Trace;

use Shape::{Number, Real, Text};

pub(in crate::admin) const TRACES: [(&str, Shape); 10] = [
    ("session", Number),
    ("trace", Text),
    ("began", Text),
    ("step", Text),
    ("took_ms", Real),
    ("at_ms", Real),
    ("server", Text),
    ("reason", Text),
    ("error", Number),
    ("statement", Text),
];

/// One row a step, the oldest statement first.
pub(in crate::admin) fn traces(details: &[Details]) -> Table {
    let mut table = Table::new(TRACES);
    let mut all: Vec<&Trace> = details.iter().flat_map(|it| &it.traces).collect();
    all.sort_by_key(|trace| (trace.began_at, trace.worker, trace.number));
    table.rows = all.into_iter().flat_map(rows).collect();
    table
}

fn rows(trace: &Trace) -> Vec<Vec<Cell>> {
    let began = DateTime::<Local>::from(trace.began_at).format("%Y-%m-%d %H:%M:%S%.6f");
    let began = began.to_string();
    let mut before = Duration::ZERO;
    let row = |(step, at): &(crate::statistics::trace::Step, Duration)| {
        let took = at.saturating_sub(std::mem::replace(&mut before, *at));
        vec![
            trace.session.into(),
            format!("{}.{}", trace.worker, trace.number).into(),
            began.clone().into(),
            step.name().into(),
            real_milliseconds(took),
            real_milliseconds(*at),
            trace.server.clone().into(),
            trace.reason.into(),
            trace.error.map(u32::from).into(),
            trace.statement.to_string().into(),
        ]
    };
    trace.steps.iter().map(row).collect()
}
