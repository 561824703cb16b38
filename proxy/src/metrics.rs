//! Prometheus text and health over HTTP.
//!
//! - `GET /metrics`: counters and gauges, gathered from the workers at each scrape
//! - `GET /health`: 200 while the process serves
//! - `GET /ready`: 200 while there is an active master, else 503 with the reason

mod gather;
mod listener;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::view::DataPath;
use crate::topology::{self, Role, Topology};
use listener::Bounded;

/// Longest wait for the workers; scrapers give up after ten seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long open connections may go on after the end is asked for.
const FAREWELL: Duration = Duration::from_secs(1);

/// The metrics port, bound and not yet serving.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
}

/// What the handlers use. The recorder is this port's own and never a global one, since a process may run
/// several proxies, as tests do.
struct Sources {
    topology: topology::Shared,
    data: Arc<dyn DataPath>,
    recorder: PrometheusRecorder,
    /// At the last scrape.
    reads: Mutex<gather::Reads>,
}

impl Metrics {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` becomes true or its sender is gone.
    pub async fn run(
        self,
        topology: topology::Shared,
        data: Arc<dyn DataPath>,
        shutdown: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, gather::describe);
        let sources = Arc::new(Sources {
            topology,
            data,
            recorder,
            reads: Mutex::default(),
        });
        let app = Router::new()
            .route("/metrics", get(scrape))
            .route("/health", get(health))
            .route("/ready", get(ready))
            .with_state(sources);
        let serving = axum::serve(Bounded::new(self.listener), app)
            .with_graceful_shutdown(stopped(shutdown.clone()))
            .into_future();
        tokio::select! {
            ended = serving => ended,
            // A client that keeps its connection must not keep the process.
            () = async { stopped(shutdown).await; tokio::time::sleep(FAREWELL).await } => Ok(()),
        }
    }
}

/// Ends when the end is asked for, or when nobody is left who could ask.
async fn stopped(mut shutdown: watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn scrape(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    let views = match tokio::time::timeout(ANSWER_TIMEOUT, sources.data.views()).await {
        Ok(views) => views,
        Err(_) => {
            let late = "the workers did not answer in time\n".to_owned();
            return (StatusCode::SERVICE_UNAVAILABLE, text_plain(), late);
        }
    };
    let topology = sources.topology.load_full();
    metrics::with_local_recorder(&sources.recorder, || {
        let mut reads = sources.reads.lock().unwrap_or_else(PoisonError::into_inner);
        gather::record(&topology, &views, &mut reads, Instant::now());
    });
    (
        StatusCode::OK,
        // The version belongs to the exposition format, not to Tandem.
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        sources.recorder.handle().render(),
    )
}

async fn health() -> impl IntoResponse {
    "ok\n"
}

async fn ready(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    match readiness(&sources.topology.load()) {
        Ok(text) => (StatusCode::OK, text_plain(), text),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text_plain(), text),
    }
}

fn text_plain() -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, "text/plain; charset=utf-8")]
}

/// Whether writes have a place to go; if not, what each server lacks.
fn readiness(topology: &Topology) -> Result<String, String> {
    let active = topology
        .servers
        .iter()
        .find(|server| Some(server.id) == topology.active && server.role == Role::Active);
    if let Some(server) = active {
        return Ok(format!("active master: {}\n", server.name));
    }
    let mut text = "no active master\n".to_owned();
    for server in &topology.servers {
        let role = crate::admin::show::role(server.role);
        text.push_str(&format!("{}: {role}: {}\n", server.name, server.why));
    }
    Err(text)
}

#[cfg(test)]
mod tests;
