//! How long clients may be silent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tandem::demo::pair::APP;
use tandem_protocol::flags::Capabilities;
use tandem_tests::raw::{CAPABILITIES, Raw, command};
use tandem_tests::{Cluster, Setup};
use tokio::sync::OnceCell;

/// The servers' global values, and `listener.write_timeout`.
const WAIT: f64 = 1.0;
const INTERACTIVE: f64 = 3.0;
const WRITE: Duration = Duration::from_secs(1);

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn cluster() -> &'static Cluster {
    let start = || async {
        let mut setup = Setup {
            change: |config| config.listener.write_timeout = WRITE,
            ..Setup::default()
        };
        let timeouts = [
            format!("wait_timeout={WAIT}"),
            format!("interactive_timeout={INTERACTIVE}"),
        ];
        setup.pair.extra.extend(timeouts);
        Cluster::start(setup).await
    };
    CLUSTER.get_or_init(start).await
}

/// What comes unasked, and after how many seconds.
async fn silence(address: SocketAddr, flags: Capabilities) -> (Vec<String>, f64) {
    let mut raw = Raw::log_in_with(address, &APP, "", CAPABILITIES | flags).await;
    let started = Instant::now();
    let mut said = Vec::new();
    while let Some((seq, payload)) = raw.packet().await {
        said.push(format!("{seq} {}", payload.escape_ascii()));
    }
    (said, started.elapsed().as_secs_f64())
}

/// A session that says nothing is ended when the servers would end it, by their global timeouts, with the same last words.
#[tokio::test]
async fn sleepers_are_ended_as_by_the_server() {
    let cluster = cluster().await;
    // MySQL lets an account in without TLS once it has seen it.
    let account = tandem_tests::pair::client(cluster.a().address(), APP.user, APP.password, None);
    mysql_async::Conn::new(account).await.expect("logged in");
    for (flags, least) in [
        (Capabilities::empty(), WAIT),
        (Capabilities::INTERACTIVE, INTERACTIVE),
    ] {
        let ((ours, slept), (theirs, _)) = tokio::join!(
            silence(cluster.address(), flags),
            silence(cluster.a().address(), flags)
        );
        assert_eq!(ours, theirs);
        assert!(
            (least * 0.9..least + 1.9).contains(&slept),
            "{slept} s for {least}"
        );
    }
}

/// A command that arrives slowly is taken, however long it takes as a whole; one that stops arriving ends the session.
#[tokio::test]
async fn a_command_may_take_its_time_but_not_stop() {
    let cluster = cluster().await;
    let mut slow = Raw::log_in(cluster.address(), "").await;
    let text = format!("SELECT '{}'", "x".repeat(40));
    let started = Instant::now();
    for byte in command(3, text.as_bytes()) {
        slow.send(&[byte]).await;
        tokio::time::sleep(WRITE / 20).await;
    }
    assert!(started.elapsed() > WRITE * 2, "it took longer than the timeout");
    let (_, answer) = slow.packet().await.expect("an answer");
    assert_eq!(answer, [1], "one column");
    let mut stopped = Raw::log_in(cluster.address(), "").await;
    stopped.send(&command(3, text.as_bytes())[..20]).await;
    let started = Instant::now();
    assert_eq!(stopped.packet().await, None, "an end");
    assert!(started.elapsed() < WRITE * 5);
}
