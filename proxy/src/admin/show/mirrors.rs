//! `SHOW MIRRORS`, `SHOW MIRROR` and `SHOW MIRROR_DIFFERENCES`: what has come of what rules have mirrored.

use std::time::{Duration, Instant};

use super::super::table::{Cell, Shape, Table};
use super::{milliseconds, real_milliseconds};
use crate::mirror::results::Times;
use crate::mirror::view::{ShapeView, State, View};

use Shape::{Number, Real, Text};

pub(in crate::admin) const MIRRORS: [(&str, Shape); 20] = [
    ("mirror", Text),
    ("address", Text),
    ("state", Text),
    ("error", Text),
    ("next_try_ms", Number),
    ("connections", Number),
    ("queued", Number),
    ("queue_length", Number),
    ("queued_bytes", Number),
    ("queue_bytes", Number),
    ("mirrored", Number),
    ("same", Number),
    ("late", Number),
    ("moving", Number),
    ("different", Number),
    ("errors", Number),
    ("timed_out", Number),
    ("unreachable", Number),
    ("dropped", Number),
    ("skipped", Number),
];
pub(in crate::admin) const MIRROR: [(&str, Shape); 20] = [
    ("mirror", Text),
    ("digest", Text),
    ("mirrored", Number),
    ("same", Number),
    ("late", Number),
    ("moving", Number),
    ("different", Number),
    ("errors", Number),
    ("timed_out", Number),
    ("unreachable", Number),
    ("dropped", Number),
    ("skipped", Number),
    ("why_skipped", Text),
    ("here_min_ms", Real),
    ("here_avg_ms", Real),
    ("here_max_ms", Real),
    ("there_min_ms", Real),
    ("there_avg_ms", Real),
    ("there_max_ms", Real),
    ("statement", Text),
];
pub(in crate::admin) const DIFFERENCES: [(&str, Shape); 5] = [
    ("at", Text),
    ("mirror", Text),
    ("digest", Text),
    ("difference", Text),
    ("statement", Text),
];

/// The mirrors, in the order of the configuration.
pub(in crate::admin) fn mirrors(views: &[View], now: Instant) -> Table {
    let mut table = Table::new(MIRRORS);
    let row = |view: &View| {
        let (error, next_try) = match &view.state {
            State::Down { error, next_try } => {
                let next_try = next_try.saturating_duration_since(now);
                (Some(error.clone()), Some(milliseconds(next_try)))
            }
            State::Unknown | State::Up => (None, None),
        };
        let mut row: Vec<Cell> = vec![
            view.name.clone().into(),
            view.address.clone().into(),
            view.state.name().into(),
            error.into(),
            next_try.into(),
            view.connections.into(),
            view.filled.jobs.into(),
            view.filled.most_jobs.into(),
            view.filled.bytes.into(),
            view.filled.most_bytes.into(),
        ];
        row.extend(view.outcomes().map(|(_, count)| Cell::from(count)));
        row
    };
    table.rows = views.iter().map(row).collect();
    table
}

/// One row for each mirror and shape; what most was mirrored of first.
pub(in crate::admin) fn shapes(views: &[View]) -> Table {
    let mut table = Table::new(MIRROR);
    let rows = views.iter().flat_map(|view| {
        view.shapes.iter().map(move |shape| {
            let mut row: Vec<Cell> = vec![view.name.clone().into(), digest(shape)];
            row.extend(shape.outcomes().map(|(_, count)| Cell::from(count)));
            let why: Vec<String> = shape
                .skipped()
                .map(|(why, count)| format!("{why} {count}"))
                .collect();
            row.push(why.join(", ").into());
            row.extend(times(&shape.results.here));
            row.extend(times(&shape.results.there));
            row.push(statement(shape));
            row
        })
    });
    table.rows = rows.collect();
    table
}

/// The last ones of each shape, the oldest first.
pub(in crate::admin) fn differences(views: &[View]) -> Table {
    let mut table = Table::new(DIFFERENCES);
    let mut all: Vec<_> = views
        .iter()
        .flat_map(|view| view.shapes.iter().map(move |shape| (view, shape)))
        .flat_map(|(view, shape)| {
            shape
                .found
                .iter()
                .map(move |found| (found.at, view, shape, found))
        })
        .collect();
    all.sort_by_key(|(at, ..)| *at);
    let row = |(_, view, shape, found): (_, &View, &ShapeView, &crate::mirror::results::Found)| {
        vec![
            found.at.format("%Y-%m-%d %H:%M:%S%.3f").to_string().into(),
            view.name.clone().into(),
            digest(shape),
            found.what.to_string().into(),
            statement(shape),
        ]
    };
    table.rows = all.into_iter().map(row).collect();
    table
}

fn digest(shape: &ShapeView) -> Cell {
    shape.digest.map(|digest| digest.to_string()).into()
}

fn statement(shape: &ShapeView) -> Cell {
    match shape.digest {
        Some(_) => shape.name.to_string().into(),
        None => "(shapes for which there was no more room)".into(),
    }
}

/// The least, the average and the most; nothing was timed yet where there is none.
fn times(times: &Times) -> [Cell; 3] {
    let cell = |time: Duration| real_milliseconds(time);
    match times.average() {
        Some(average) => [cell(times.shortest), cell(average), cell(times.longest)],
        None => [Cell::Null, Cell::Null, Cell::Null],
    }
}
