//! The metrics port asked as a scraper asks it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::admin::view::{
    Answer, Details, Explanation, LimitRow, PoolRow, Question, Reasons, Unit, WorkerView,
};
use crate::config::rule::{Actions, Conditions, Rule};
use crate::mirror::queue::Filled;
use crate::mirror::view::{State, View};
use crate::route::rules::Rules;
use crate::route::rules::book::{Counts, RulesView};
use crate::statistics::digest::Counted;
use crate::statistics::latency::Latency;
use crate::topology::gtid::Position;
use crate::topology::{Server, ServerId};
use crate::worker::kill::{Order, Outcome};

/// docs/metrics.md has every metric with its type, its labels and its meaning, and no other.
#[test]
fn every_metric_is_documented() {
    let mut view = WorkerView {
        latencies: vec![("a".to_owned(), Latency::default())],
        limits: vec![LimitRow {
            name: "limits.prepared_bytes",
            worker: 0,
            unit: Unit::Bytes,
            highest: 0,
            refused: 0,
            limit: 1,
            used: 0,
        }],
        ..WorkerView::default()
    };
    view.counters.reasons = Reasons::new(&["writes"]);
    view.rules = rules_view();
    let mirror = View {
        name: "next".to_owned(),
        address: "192.0.2.9:3306".to_owned(),
        connections: 4,
        state: State::Up,
        filled: Filled::default(),
        shapes: Vec::new(),
    };
    let samples = sample::samples(&topology(Role::Active), &[view], &[mirror]);
    let mut metrics: Vec<String> = samples
        .iter()
        .map(|it| {
            let labels: Vec<&str> = it
                .labels
                .split(',')
                .filter_map(|label| label.split_once('='))
                .map(|(name, _)| name)
                .collect();
            format!(
                "| `{}` | {} | {} | {} |",
                it.name,
                it.kind,
                labels.join(", "),
                it.meaning
            )
        })
        .collect();
    metrics.sort();
    metrics.dedup();
    let text = include_str!("../../../docs/metrics.md");
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected = metrics.join("\n");
    assert_eq!(
        documented.join("\n"),
        expected,
        "the table of docs/metrics.md should be\n{expected}\n"
    );
}

/// One rule, with two hits.
fn rules_view() -> RulesView {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        let rule = Rule {
            name: "reports".to_owned(),
            enabled: true,
            conditions: Conditions::default(),
            actions: Actions::default(),
        };
        Rules::new(vec![rule], &[])
    });
    let counts = Counts {
        hits: 2,
        ..Counts::default()
    };
    RulesView {
        rules: RULES.clone(),
        counts: vec![counts],
    }
}

/// Two workers that have counted the same.
struct Fake;

impl DataPath for Fake {
    fn views(&self) -> Answer<Vec<WorkerView>> {
        let pool = PoolRow {
            worker: 0,
            server: "a".to_owned(),
            limit: 10,
            open: 3,
            idle: 1,
            leased: 2,
            pinned: 0,
            waiting: 4,
            waits: 5,
            refused: 0,
            most_open: 0,
            queue_limit: 0,
            most_waiting: 0,
            queue_refused: 0,
            longest_wait: Duration::from_millis(250),
            connects: 6,
            connect_errors: 0,
        };
        let mut view = WorkerView {
            pools: vec![pool],
            limits: vec![LimitRow {
                name: "limits.prepared_bytes",
                worker: 0,
                unit: Unit::Bytes,
                highest: 0,
                refused: 0,
                limit: 1000,
                used: 40,
            }],
            rules: rules_view(),
            ..WorkerView::default()
        };
        view.counters.reads_standby = 21;
        view.counters.reads_active = 63;
        view.counters.client_sent_bytes = 500;
        view.counters.reasons = Reasons::new(&["write", "pure read"]);
        view.counters.reasons.count(1);
        Box::pin(async move { vec![view.clone(), view] })
    }

    fn digests(&self, _: usize) -> Answer<Vec<Counted>> {
        Box::pin(async { Vec::new() })
    }

    fn details(&self) -> Answer<Vec<Details>> {
        Box::pin(async { Vec::new() })
    }

    fn trace(&self, _: u32, _: u32) -> Answer<bool> {
        Box::pin(async { false })
    }

    fn reset_statistics(&self) -> Answer<()> {
        Box::pin(async {})
    }

    fn empty_cache(&self) -> Answer<usize> {
        Box::pin(async { 0 })
    }

    fn explain(&self, _: Question) -> Answer<Explanation> {
        Box::pin(async { Explanation::default() })
    }

    fn kill(&self, _: Order) -> Answer<Outcome> {
        Box::pin(async { Outcome::Unknown })
    }
}

fn topology(role: Role) -> Topology {
    let server = Server {
        id: ServerId(0),
        name: Arc::from("a"),
        address: SocketAddr::from(([127, 0, 0, 1], 3306)).into(),
        weight: 1,
        role,
        standby_since: None,
        share: 100,
        why: Arc::from("connection refused"),
        version: None,
        reports: None,
        timeouts: None,
        at_login: None,
        read_only: false,
        replication: None,
        position: Position::default(),
        position_asked: None,
        probe_time: Some(Duration::from_millis(2)),
        error: None,
    };
    Topology {
        epoch: 3,
        holding: None,
        given_up: None,
        servers: vec![server],
        active: (role == Role::Active).then_some(ServerId(0)),
        mark: None,
        former: None,
    }
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// Every metric that an expression of the Grafana dashboard names.
fn grafana_metrics() -> BTreeSet<String> {
    const DASHBOARD: &str = include_str!("../../../docs/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations");
    let expressions = targets
        .chain(annotations)
        .map(|it| it["expr"].as_str().expect("an expression"));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expressions.flat_map(|it| it.split(move |c| !is_name(c)));
    words
        .filter(|word| word.starts_with("tandem_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_scraper_gets_sums_and_a_balancer_gets_readiness() {
    let shared = Arc::new(ArcSwap::from_pointee(topology(Role::Active)));
    let (stop, shutdown) = watch::channel(false);
    let port = Metrics::bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
    let address = port.local_address().expect("address");
    let subjects = Subjects {
        topology: Arc::clone(&shared),
        data: Arc::new(Fake),
        failover: None,
        history: sampler::Shared::default(),
        account: None,
    };
    let running = tokio::spawn(port.run(subjects, shutdown));

    let text = ask(address, "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("text/plain; version=0.0.4"), "{text}");
    for line in [
        "# HELP tandem_reads_standby_total Reads sent to the standby",
        "# TYPE tandem_reads_standby_total counter",
        "tandem_reads_standby_total 42",
        "tandem_reads_standby_ratio 0.25",
        "tandem_client_sent_bytes_total 1000",
        "tandem_routed_total{reason=\"pure read\"} 2",
        "tandem_server_role{server=\"a\",role=\"active\"} 1",
        "tandem_server_role{server=\"a\",role=\"down\"} 0",
        "tandem_server_lag_seconds{server=\"a\"} inf",
        "tandem_server_probe_seconds{server=\"a\"} 0.002",
        "# TYPE tandem_pool_open_connections gauge",
        "tandem_pool_leased_connections{server=\"a\"} 4",
        "tandem_pool_waiting{server=\"a\"} 8",
        "tandem_pool_longest_wait_seconds{server=\"a\"} 0.25",
        "tandem_pool_connects_total{server=\"a\"} 12",
        "tandem_topology_epoch 3",
        "tandem_sessions 0",
        "tandem_rule_statements_total{rule=\"reports\",outcome=\"hits\"} 4",
        "tandem_limit{name=\"limits.prepared_bytes\"} 2000",
        "tandem_limit_used{name=\"limits.prepared_bytes\"} 80",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }

    // Whoever opens docs/grafana.json in Grafana finds no empty panel for a name that is none.
    let named = grafana_metrics();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "{name} is in docs/grafana.json, and no metric"
        );
    }

    // Nobody has read since.
    let text = ask(address, "/metrics").await;
    assert!(text.contains("tandem_reads_standby_ratio NaN\n"), "{text}");

    let page = ask(address, "/").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let policy = page
        .lines()
        .find(|line| line.starts_with("content-security-policy: "));
    assert!(
        policy.is_some_and(|line| line.contains("default-src 'none'")),
        "{policy:?}"
    );
    let state = ask(address, "/api/state?since=3").await;
    let (_, body) = state.split_once("\r\n\r\n").expect("headers end");
    let state: dashboard::State = serde_json::from_str(body).expect(body);
    assert_eq!(
        (state.servers[0].connections.leased, state.limits[0].used),
        (4, 80)
    );
    assert_eq!(state.verdict.meaning, "a takes all: it is the only server.");
    let wrong = ask(address, "/api/state?since=x").await;
    assert!(wrong.starts_with("HTTP/1.1 400"), "{wrong}");

    let healthy = ask(address, "/health").await;
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
    let ready = ask(address, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    shared.store(Arc::new(topology(Role::Down)));
    let ready = ask(address, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("a: down: connection refused"), "{ready}");
    let lost = ask(address, "/else").await;
    assert!(lost.starts_with("HTTP/1.1 404"), "{lost}");

    let idle = TcpStream::connect(address).await.expect("connected");
    stop.send(true).expect("running");
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await;
    ended.expect("ended").expect("no panic").expect("no error");
    drop(idle);
}

/// A password keeps everybody out who does not know it, but no load balancer.
#[tokio::test]
async fn a_password_is_asked_for_where_there_is_one() {
    let (stop, shutdown) = watch::channel(false);
    let port = Metrics::bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
    let address = port.local_address().expect("address");
    let account = config::MetricsAccount {
        user: "operator".to_owned(),
        password: config::Secret::new("hunter"),
    };
    let subjects = Subjects {
        topology: Arc::new(ArcSwap::from_pointee(topology(Role::Active))),
        data: Arc::new(Fake),
        failover: None,
        history: sampler::Shared::default(),
        account: Some(account.clone()),
    };
    let running = tokio::spawn(port.run(subjects, shutdown));
    for path in ["/", "/api/state", "/metrics"] {
        let closed = ask(address, path).await;
        assert!(closed.starts_with("HTTP/1.1 401"), "{path}: {closed}");
        assert!(
            closed.contains("www-authenticate: Basic realm="),
            "{path}: {closed}"
        );
        let header = format!(
            "{path} HTTP/1.1\r\nAuthorization: {}\r\nX-Rest:",
            door::credentials(&account)
        );
        let open = ask(address, &header).await;
        assert!(open.starts_with("HTTP/1.1 200"), "{path}: {open}");
    }
    for path in ["/health", "/ready"] {
        let open = ask(address, path).await;
        assert!(open.starts_with("HTTP/1.1 200"), "{path}: {open}");
    }
    let lost = ask(address, "/else").await;
    assert!(lost.starts_with("HTTP/1.1 404"), "{lost}");
    drop(stop);
    let _ = running.await;
}
