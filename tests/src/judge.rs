//! What must be true of the servers when an application is done.

use mysql_async::prelude::Queryable;

use crate::{Cluster, Flavor};

impl Cluster {
    /// Both servers hold the same rows in every table of a database; says how many tables there are.
    pub async fn assert_same(&self, database: &str) -> usize {
        self.wait_replicated().await;
        let [a, b] = [self.sums(0, database).await, self.sums(1, database).await];
        assert_eq!(a, b, "both servers hold the same");
        a.len()
    }

    async fn sums(&self, server: usize, database: &str) -> Vec<(String, Option<u64>)> {
        let mut conn = self.direct(&self.pair().servers()[server]).await;
        conn.query_drop(format!("USE `{database}`"))
            .await
            .expect("the schema");
        let tables: Vec<String> = conn.query("SHOW TABLES").await.expect("tables");
        assert!(!tables.is_empty(), "{database} is empty");
        let names: Vec<String> = tables.iter().map(|name| format!("`{name}`")).collect();
        let question = format!("CHECKSUM TABLE {}", names.join(","));
        conn.query(question).await.expect("checksums")
    }

    /// Every write went to the active master, nothing of any kind was committed by the standby itself, and both
    /// answered reads.
    pub async fn assert_writes_on_a_reads_on_both(&self) {
        let (a, b) = (
            self.query_counts(self.a()).await,
            self.query_counts(self.b()).await,
        );
        println!(
            "reads: {} on a, {} on b; writes: {} on a, {} on b",
            a.reads, b.reads, a.writes, b.writes
        );
        println!("why reads went where they went: {}", self.reasons().await);
        assert!(
            a.writes > 0 && b.writes == 0,
            "every write goes to the active master"
        );
        assert!(a.reads > 0 && b.reads > 0, "reads go to both");
        assert_eq!(
            self.own_commits_of_b().await,
            0,
            "the standby committed something"
        );
    }

    /// Kinds of commits in the standby's binary log that bear its own name.
    async fn own_commits_of_b(&self) -> usize {
        let question = match self.b().engine().flavor() {
            Flavor::MariaDb => "SELECT @@gtid_binlog_state, '-2-'",
            Flavor::MySql => "SELECT @@gtid_executed, @@server_uuid",
        };
        let mut conn = self.direct(self.b()).await;
        let state: Option<(String, String)> = conn.query_first(question).await.expect("a state");
        let (state, own) = state.expect("a state");
        assert!(!state.is_empty(), "something was committed: {state:?}");
        state.split(',').filter(|gtid| gtid.contains(&own)).count()
    }

    /// How often each reason sent a statement where it went.
    pub async fn reasons(&self) -> String {
        let mut admin = self.admin().await;
        let rows: Vec<mysql_async::Row> = admin.query("SHOW COUNTERS").await.expect("counters");
        let counters = rows.into_iter().map(|row| {
            let name: String = row.get("counter").expect("a name");
            (name, row.get::<u64, _>("value").expect("a number"))
        });
        let routed = counters.filter(|(name, value)| name.starts_with("routed: ") && *value > 0);
        let routed: Vec<String> = routed
            .map(|(name, value)| format!("{} {value}", &name[8..]))
            .collect();
        routed.join(", ")
    }
}
