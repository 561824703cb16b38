//! How the private servers are configured, as their option files say it.

use std::path::Path;
use std::time::Duration;

/// How the pair's servers are configured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sync every commit to disk (the demo). Otherwise nothing is ever synced: a commit survives
    /// `kill -9` of the server, since it is in the kernel's page cache, but not a power cut (tests).
    pub durable: bool,
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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durable: true,
            both_writable: false,
            own_domains: false,
            semi_sync_timeout: Duration::from_secs(2),
            databases: vec!["shop".into()],
            extra: Vec::new(),
        }
    }
}

/// The `my.cnf` of server number `number`, 1 or 2.
pub(super) fn option_file(number: u32, port: u16, directory: &Path, options: &Options) -> String {
    let durability = if options.durable {
        "innodb_flush_log_at_trx_commit=1\nsync_binlog=1"
    } else {
        // 2, not 0: with 0 the last second of commits would be lost by `kill -9` already.
        "innodb_flush_log_at_trx_commit=2\nsync_binlog=0\ninnodb_flush_method=nosync\ndebug_no_sync=1"
    };
    let domain = if options.own_domains { number } else { 0 };
    let read_only = u8::from(number == 2 && !options.both_writable);
    let timeout = options.semi_sync_timeout.as_millis();
    let folder = directory.display();
    let log_file_size = LOG_FILE_SIZE.trim_start_matches("--");
    let extra = options.extra.join("\n");
    format!(
        "[mariadbd]
datadir={folder}/data
socket={folder}/socket
pid_file={folder}/pid
tmpdir={folder}/tmp
log_error={folder}/error.log
bind_address=127.0.0.1
port={port}
skip_name_resolve
max_connections=500
character_set_server=utf8mb4
collation_server=utf8mb4_general_ci

server_id={number}
log_bin=binlog
relay_log=relay
log_slave_updates
binlog_format=ROW
gtid_strict_mode=1
gtid_domain_id={domain}
auto_increment_increment=2
auto_increment_offset={number}
read_only={read_only}
relay_log_recovery=1
slave_net_timeout=10
rpl_semi_sync_master_enabled=1
rpl_semi_sync_slave_enabled=1
rpl_semi_sync_master_wait_point=AFTER_SYNC
rpl_semi_sync_master_timeout={timeout}

# Counts statements by account (information_schema.USER_STATISTICS): the probes of a monitor
# do not spoil the counts of an application.
userstat=1

{log_file_size}
innodb_buffer_pool_size=64M
innodb_buffer_pool_dump_at_shutdown=0
innodb_buffer_pool_load_at_startup=0
performance_schema=OFF
table_open_cache=400
{durability}
{extra}
"
    )
}

/// For `mariadb-install-db` and the option file alike: a small one is quick to make and to copy.
pub(super) const LOG_FILE_SIZE: &str = "--innodb_log_file_size=16M";
