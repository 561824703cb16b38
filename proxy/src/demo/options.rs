//! How the private servers are configured, as their option files say it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::{Engine, MARIADB_LOG_SIZE, MYSQL_LOG_SIZE};
use crate::topology::Flavor;

/// How the pair's servers are configured.
#[derive(Clone, Debug)]
pub struct Options {
    pub engine: Engine,
    /// Sync every commit to disk (the demo). Otherwise nothing is ever synced: a commit survives
    /// `kill -9` of the server, since it is in the kernel's page cache, but not a power cut (tests).
    pub durable: bool,
    /// Tandem decides who is active: its account may do so, and both servers are `read_only` when they start.
    pub failover: bool,
    /// Both servers take writes; otherwise the second is `read_only`.
    pub both_writable: bool,
    /// Each server has its own `gtid_domain_id` instead of a common one.
    pub own_domains: bool,
    /// A commit waits this long for the other server's acknowledgement before it goes on without.
    pub semi_sync_timeout: Duration,
    /// Databases on which the application's account has all rights, as `GRANT` patterns.
    pub databases: Vec<String>,
    /// More lines for the servers' option file; they win over those above them.
    pub extra: Vec<String>,
    /// A new data directory of this engine, which is copied; if it is not there yet, it is made. Without one each pair makes its own.
    pub template: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            durable: true,
            failover: false,
            both_writable: false,
            own_domains: false,
            semi_sync_timeout: Duration::from_secs(2),
            databases: vec!["shop".into()],
            extra: Vec::new(),
            template: None,
        }
    }
}

/// The `my.cnf` of server number `number`, 1 or 2.
pub(super) fn option_file(number: u32, port: u16, directory: &Path, options: &Options) -> String {
    let durability = if options.durable {
        "innodb_flush_log_at_trx_commit=1\nsync_binlog=1"
    } else {
        // 2, not 0: with 0 the last second of commits would be lost by `kill -9` already.
        "innodb_flush_log_at_trx_commit=2\nsync_binlog=0\ninnodb_flush_method=nosync"
    };
    let folders = options.engine.folders();
    let read_only = u8::from(options.failover || number == 2 && !options.both_writable);
    let folder = directory.display();
    let own = match options.engine.flavor() {
        Flavor::MariaDb => mariadb_options(number, options),
        Flavor::MySql => mysql_options(options),
    };
    let extra = options.extra.join("\n");
    format!(
        "[mysqld]
{folders}datadir={folder}/data
socket={folder}/socket
pid_file={folder}/pid
tmpdir={folder}/tmp
log_error={folder}/error.log
bind_address=127.0.0.1
port={port}
skip_name_resolve
max_connections=500

server_id={number}
log_bin=binlog
relay_log=relay
auto_increment_increment=2
auto_increment_offset={number}
read_only={read_only}
relay_log_recovery=1

innodb_buffer_pool_size=64M
innodb_buffer_pool_dump_at_shutdown=0
innodb_buffer_pool_load_at_startup=0
table_open_cache=400
{durability}
{own}{extra}
"
    )
}

fn mariadb_options(number: u32, options: &Options) -> String {
    let domain = if options.own_domains { number } else { 0 };
    let timeout = options.semi_sync_timeout.as_millis();
    let log_size = MARIADB_LOG_SIZE.trim_start_matches("--");
    let sync = match options.durable {
        // One thread that syncs each commit would fall behind whoever writes in groups.
        true => "slave_parallel_threads=8\n",
        false => "debug_no_sync=1\n",
    };
    // After a crash, what the other server has not acknowledged is not committed but forgotten; and replication is begun by Tandem.
    let role = if options.failover {
        "init_rpl_role=SLAVE\nskip_slave_start\n"
    } else {
        ""
    };
    format!(
        "character_set_server=utf8mb4
collation_server=utf8mb4_general_ci
log_slave_updates
binlog_format=ROW
gtid_strict_mode=1
gtid_domain_id={domain}
slave_net_timeout=10
rpl_semi_sync_master_enabled=1
rpl_semi_sync_slave_enabled=1
rpl_semi_sync_master_wait_point=AFTER_SYNC
rpl_semi_sync_master_timeout={timeout}
{log_size}
performance_schema=OFF
{sync}{role}# Counts statements by account (information_schema.USER_STATISTICS): the probes of a monitor
# do not spoil the counts of an application.
userstat=1
"
    )
}

/// Character set and collation stay the server's own: most applications meet them.
fn mysql_options(options: &Options) -> String {
    let log_size = MYSQL_LOG_SIZE.trim_start_matches("--");
    let timeout = options.semi_sync_timeout.as_millis();
    let role = if options.failover {
        "skip_replica_start=ON\n"
    } else {
        ""
    };
    format!(
        "mysqlx=OFF
secure_file_priv=
gtid_mode=ON
enforce_gtid_consistency=ON
binlog_rows_query_log_events=ON
replica_net_timeout=10
plugin_load_add=semisync_source.so
plugin_load_add=semisync_replica.so
loose_rpl_semi_sync_source_enabled=1
loose_rpl_semi_sync_replica_enabled=1
loose_rpl_semi_sync_source_timeout={timeout}
{log_size}
{role}# Counts statements by account.
performance_schema=ON
performance_schema_instrument='%=OFF'
performance_schema_instrument='statement/%=ON'
"
    )
}
