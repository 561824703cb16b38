//! Prometheus text, health and the dashboard over HTTP. Where `[metrics]` has a user, all but health and readiness is for who
//! knows its password ([`door`]).
//!
//! - `GET /`: the dashboard, and `GET /api/state`: what it shows, as JSON; with `since`, samples from that number on
//! - `GET /metrics`: counters and gauges, gathered from the workers at each scrape
//! - `GET /health`: 200 while the process serves
//! - `GET /ready`: 200 while there is an active master, else 503 with the reason

pub(crate) mod door;
mod gather;
mod listener;
pub(crate) mod sample;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router, middleware};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::view::{DataPath, WorkerView};
use crate::config;
use crate::dashboard::{self, page};
use crate::failover;
use crate::history::sampler;
use crate::statistics::digest::Counted;
use crate::topology::{self, Role, Topology};
use door::Door;
use listener::Bounded;

/// Longest wait for the workers; scrapers give up after ten seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long open connections may go on after the end is asked for.
const FAREWELL: Duration = Duration::from_secs(1);
/// However many look at the dashboard, workers are asked for their sessions not more often than this.
const LOOK: Duration = Duration::from_millis(500);

/// The metrics port, bound and not yet serving.
#[derive(Debug)]
pub struct Metrics {
    listener: TcpListener,
}

/// What the metrics port tells of.
pub struct Subjects {
    pub topology: topology::Shared,
    pub data: Arc<dyn DataPath>,
    /// Where this Tandem decides or follows.
    pub failover: Option<failover::Handle>,
    pub history: sampler::Shared,
    /// Who may look; `None` is everybody.
    pub account: Option<config::MetricsAccount>,
}

/// What the handlers use. The recorder is this port's own and never a global one, since a process may run
/// several proxies, as tests do.
struct Sources {
    subjects: Subjects,
    begun: Instant,
    recorder: PrometheusRecorder,
    /// At the last scrape.
    reads: Mutex<gather::Reads>,
    /// What the workers said last, and when. Who asks meanwhile waits for the same answer.
    looked: tokio::sync::Mutex<Option<(Instant, Arc<Look>)>>,
}

/// What the workers tell the dashboard.
struct Look {
    views: Vec<WorkerView>,
    digests: Vec<Counted>,
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
    pub async fn run(self, subjects: Subjects, shutdown: watch::Receiver<bool>) -> io::Result<()> {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, gather::describe);
        let sources = Arc::new(Sources {
            subjects,
            begun: Instant::now(),
            recorder,
            reads: Mutex::default(),
            looked: tokio::sync::Mutex::default(),
        });
        let mut guarded = Router::new()
            .route("/", get(front))
            .route("/api/state", get(state))
            .route("/metrics", get(scrape));
        if let Some(account) = &sources.subjects.account {
            let door = Door::new(account);
            guarded = guarded.route_layer(middleware::from_fn_with_state(door, door::guard));
        }
        let app = guarded
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
    let data = &sources.subjects.data;
    let asked = async { (data.views().await, data.mirrors().await) };
    let (views, mirrors) = match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answered) => answered,
        Err(_) => {
            let late = "the workers did not answer in time\n".to_owned();
            return (StatusCode::SERVICE_UNAVAILABLE, text_plain(), late);
        }
    };
    let topology = sources.subjects.topology.load_full();
    metrics::with_local_recorder(&sources.recorder, || {
        let mut reads = sources.reads.lock().unwrap_or_else(PoisonError::into_inner);
        gather::record(&topology, &views, &mut reads, Instant::now());
        gather::record_mirrors(&mirrors);
    });
    (
        StatusCode::OK,
        // The version belongs to the exposition format, not to Tandem.
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        sources.recorder.handle().render(),
    )
}

async fn front() -> impl IntoResponse {
    let nonce = page::nonce();
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, page::policy(&nonce)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, page::html(&nonce))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    /// The first sample that the reader does not have.
    since: u64,
}

async fn state(State(sources): State<Arc<Sources>>, Query(wanted): Query<Wanted>) -> impl IntoResponse {
    let Some(look) = looked(&sources).await else {
        let late = "the workers did not answer in time\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text_plain(), late).into_response();
    };
    let subjects = &sources.subjects;
    let failover = subjects.failover.as_ref();
    let (status, membership) = (
        failover.map(failover::Handle::status),
        failover.and_then(failover::Handle::membership),
    );
    let events = failover
        .map(|failover| failover.events().all())
        .unwrap_or_default();
    let topology = subjects.topology.load_full();
    let state = dashboard::state(
        &dashboard::Sources {
            topology: &topology,
            views: &look.views,
            digests: &look.digests,
            failover: status.as_ref(),
            membership: membership.as_ref(),
            events: &events,
            history: &subjects.history.lock(),
            uptime: sources.begun.elapsed(),
        },
        wanted.since,
        Instant::now(),
    );
    ([(header::CACHE_CONTROL, "no-store")], Json(state)).into_response()
}

/// What the workers say, or said just now.
async fn looked(sources: &Sources) -> Option<Arc<Look>> {
    let mut looked = sources.looked.lock().await;
    if let Some((at, look)) = &*looked
        && at.elapsed() < LOOK
    {
        return Some(Arc::clone(look));
    }
    let data = &sources.subjects.data;
    let asked = async { tokio::join!(data.views(), data.digests(dashboard::STATEMENTS)) };
    let (views, digests) = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok()?;
    let look = Arc::new(Look { views, digests });
    *looked = Some((Instant::now(), Arc::clone(&look)));
    Some(look)
}

async fn health() -> impl IntoResponse {
    "ok\n"
}

async fn ready(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    match readiness(&sources.subjects.topology.load()) {
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
