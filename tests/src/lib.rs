//! The harness: real servers and a real proxy for black-box tests.
//!
//! A [`Cluster`] is a pair of private MariaDB servers with Tandem in front, in this process. Starting one
//! takes a few seconds, so tests that only use it share one for their test binary:
//!
//! ```ignore
//! static CLUSTER: tokio::sync::OnceCell<Cluster> = tokio::sync::OnceCell::const_new();
//! let cluster = CLUSTER.get_or_init(|| Cluster::start(Setup::default())).await;
//! ```
//!
//! Rust never drops what is in a `static`; the pair's watchdog cleans up when the binary ends.

mod cluster;
pub mod external;
pub mod raw;

use std::future::Future;
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Setup};
pub use tandem::demo::pair;
pub use tandem::demo::story::Counts;

/// Asks `holds` again and again until it says yes; panics with `what` if it has not by the deadline.
pub async fn wait_until<F, A>(what: &str, within: Duration, mut holds: F)
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    let deadline = Instant::now() + within;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
