//! The demo's last acts: the active master is changed on purpose, then killed, while clients write without a pause.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::task::JoinHandle;

use super::pair::{APP, Pair, client};
use super::story::{expect, say, tell};
use super::{ADMIN_PASSWORD, ADMIN_USER, Error};

/// Clients that write.
const CLIENTS: usize = 8;

/// How long they write before and after something happens.
const AROUND: Duration = Duration::from_millis(500);

const WITHIN: Duration = Duration::from_secs(20);

/// What one client has met.
#[derive(Default)]
struct Met {
    acknowledged: u64,
    errors: Vec<String>,
    longest: Duration,
}

/// Switches over, kills the server that is active then, and lets it come back.
pub(super) async fn play(pair: &Pair, proxy: SocketAddr, admin: SocketAddr) -> Result<(), Error> {
    let stage = Acts { proxy, admin };
    stage.prepare().await?;
    let load = stage.load();
    tokio::time::sleep(AROUND).await;
    stage.switch_over("b").await?;
    stage
        .end(load, "switchover from a to b while 8 clients write")
        .await?;
    let load = stage.load();
    tokio::time::sleep(AROUND).await;
    pair.b().kill9()?;
    stage.end(load, "kill -9 of b while 8 clients write").await?;
    let started = Instant::now();
    pair.b().restart().await?;
    stage.wait_standby("b").await?;
    tell(
        "b is back: read-only, caught up, and answers reads again",
        started,
    );
    Ok(())
}

struct Acts {
    proxy: SocketAddr,
    admin: SocketAddr,
}

struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Met>>,
}

fn failed(step: &'static str) -> impl Fn(mysql_async::Error) -> Error {
    move |source| Error::Story { step, source }
}

impl Acts {
    fn opts(&self) -> Opts {
        client(self.proxy, APP.user, APP.password, Some("shop"))
    }

    async fn prepare(&self) -> Result<(), Error> {
        let failed = failed("a table to count in");
        let mut conn = Conn::new(self.opts()).await.map_err(&failed)?;
        let table = "CREATE TABLE visit (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL)";
        conn.query_drop(table).await.map_err(failed)
    }

    async fn ask(&self, statement: &str) -> Result<Vec<mysql_async::Row>, mysql_async::Error> {
        let mut conn = Conn::new(client(self.admin, ADMIN_USER, ADMIN_PASSWORD, None)).await?;
        conn.query(statement).await
    }

    async fn switch_over(&self, to: &str) -> Result<(), Error> {
        let asked = self.ask(&format!("SWITCHOVER TO {to}")).await;
        asked.map(drop).map_err(failed("switchover"))
    }

    async fn wait_standby(&self, name: &str) -> Result<(), Error> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let rows = self
                .ask("SHOW SERVERS")
                .await
                .map_err(failed("look at the servers"))?;
            let is_back = rows.iter().any(|row| {
                let is = |column: &str, wanted: &str| {
                    row.get::<Option<String>, _>(column).flatten().as_deref() == Some(wanted)
                };
                is("name", name) && is("role", "standby") && is("receiving", "yes")
            });
            if is_back {
                return Ok(());
            }
            expect(
                Instant::now() < deadline,
                "the killed server is the standby again",
            )?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn load(&self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|_| tokio::spawn(write(self.opts(), Arc::clone(&stop))));
        Load {
            clients: clients.collect(),
            stop,
        }
    }

    /// Lets the clients go on for a while, and compares what they were told with what is there.
    async fn end(&self, load: Load, what: &'static str) -> Result<(), Error> {
        tokio::time::sleep(AROUND).await;
        load.stop.store(true, Ordering::Relaxed);
        let mut all = Met::default();
        for client in load.clients {
            let met = client.await.unwrap_or_default();
            all.acknowledged += met.acknowledged;
            all.errors.extend(met.errors);
            all.longest = all.longest.max(met.longest);
        }
        let failed = failed("count what was written");
        let mut conn = Conn::new(self.opts()).await.map_err(&failed)?;
        let rows: Option<u64> = conn
            .query_first("SELECT COUNT(*) FROM visit")
            .await
            .map_err(&failed)?;
        conn.query_drop("DELETE FROM visit").await.map_err(&failed)?;
        say(&format!(
            "            {what}: {} writes acknowledged and {} rows there, {} errors, longest wait {} ms",
            all.acknowledged,
            rows.unwrap_or_default(),
            all.errors.len(),
            all.longest.as_millis()
        ));
        for error in &all.errors {
            say(&format!("              {error}"));
        }
        expect(
            all.errors.is_empty() && rows == Some(all.acknowledged),
            "no error, and what was acknowledged is there once",
        )
    }
}

async fn write(opts: Opts, stop: Arc<AtomicBool>) -> Met {
    let mut met = Met::default();
    let mut conn = match Conn::new(opts).await {
        Ok(conn) => conn,
        Err(error) => {
            met.errors.push(error.to_string());
            return met;
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match conn.query_drop("INSERT INTO visit (n) VALUES (1)").await {
            Ok(()) => met.acknowledged += 1,
            Err(error) => {
                met.errors.push(error.to_string());
                return met;
            }
        }
        met.longest = met.longest.max(begun.elapsed());
    }
    met
}
