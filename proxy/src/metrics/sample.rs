//! The metrics as a table: what a scraper would get, taken apart.

use std::collections::HashMap;
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::gather;
use crate::admin::view::WorkerView;
use crate::mirror::view::View;
use crate::topology::Topology;

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// As Prometheus writes them, without the braces; empty where there are none.
    pub(crate) labels: String,
    /// `counter` or `gauge`.
    pub(crate) kind: String,
    pub(crate) value: f64,
    pub(crate) meaning: String,
}

/// All of them. Those that tell of the time since the last scrape tell of the time since the start.
pub(crate) fn samples(topology: &Topology, views: &[WorkerView], mirrors: &[View]) -> Vec<Sample> {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        gather::describe();
        gather::record(topology, views, &mut gather::Reads::default(), Instant::now());
        gather::record_mirrors(mirrors);
    });
    parse(&recorder.handle().render())
}

fn parse(text: &str) -> Vec<Sample> {
    let (mut meanings, mut kinds) = (HashMap::new(), HashMap::new());
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some((name, meaning)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            meanings.insert(name, meaning);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name, kind);
        } else if let Some((series, value)) = line.rsplit_once(' ') {
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            samples.push(Sample {
                name: name.to_owned(),
                labels: labels.trim_end_matches('}').to_owned(),
                kind: kinds.get(name).copied().unwrap_or_default().to_owned(),
                value: value.parse().unwrap_or(f64::NAN),
                meaning: meanings.get(name).copied().unwrap_or_default().to_owned(),
            });
        }
    }
    samples.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
    samples
}
