//! What reading or setting a system variable means for the session.

use super::facts::{Links, Pins, Purity};
use super::statement::Statement;

/// Why reading `@@name` (in small letters) is not a pure read, and what it takes from the statement before.
pub(crate) fn reading(name: &str) -> (Option<Purity>, Links) {
    match name {
        "identity" | "last_insert_id" | "insert_id" => {
            (Some(Purity::PreviousStatement), Links::READS_INSERT_ID)
        }
        "warning_count" | "error_count" => (Some(Purity::PreviousStatement), Links::READS_DIAGNOSTICS),
        "pseudo_thread_id" => (Some(Purity::ServerLocal), Links::READS_CONNECTION_ID),
        "in_transaction" => (Some(Purity::SessionState), Links::empty()),
        _ if FOLLOWING.binary_search(&name).is_ok() => (None, Links::empty()),
        _ => (Some(Purity::ServerLocal), Links::empty()),
    }
}

/// What `SET name = …` (in small letters, session scope) ties to the connection.
///
/// Everything that isn't named here is a plain setting: the server reports its new value, and it can be set
/// again on another connection.
pub(crate) fn setting(name: &str) -> Pins {
    match name {
        "sql_log_bin" | "sql_log_off" => Pins::IDENTITY,
        "profiling" | "profiling_history_size" => Pins::PROFILING,
        _ if name.starts_with("optimizer_trace") => Pins::PROFILING,
        _ if ONE_SHOT.binary_search(&name).is_ok() => Pins::ONE_SHOT_VARIABLE,
        _ => Pins::empty(),
    }
}

/// Whether a statement has to do with `session_track_*`, which Tandem sets to its own ends: it names one of them, or a
/// list of all variables.
pub(crate) fn concerns_trackers(all: &Statement<'_>) -> bool {
    let shows = all.is(0, "SHOW") && !all.is(1, "GLOBAL");
    (0..all.len()).any(|at| {
        let name = all.name(at);
        name.starts_with("session_track_")
            || (shows && name == "variables")
            || matches!(
                name.as_str(),
                "session_variables" | "variables_by_thread" | "system_variables"
            )
    })
}

/// Variables that `SET @@name` without a scope sets for the next transaction only
/// (MySQL manual, "SET TRANSACTION Statement").
pub(crate) fn is_transaction_characteristic(name: &str) -> bool {
    matches!(
        name,
        "tx_isolation" | "transaction_isolation" | "tx_read_only" | "transaction_read_only"
    )
}

/// Values that the next statement uses up, that change what the server does behind the statements, or that must
/// not reach another session.
#[rustfmt::skip]
const ONE_SHOT: &[&str] = &[
    "debug", "debug_dbug", "debug_sync", "gtid_domain_id", "gtid_next", "gtid_seq_no", "identity",
    "immediate_server_version", "insert_id", "last_insert_id", "original_commit_timestamp",
    "original_server_version", "pseudo_replica_mode", "pseudo_slave_mode", "pseudo_thread_id", "rand_seed1",
    "rand_seed2", "rbr_exec_mode", "server_id", "skip_parallel_replication", "skip_replication",
    "system_versioning_asof", "timestamp", "transaction_allow_batching", "wsrep_on", "wsrep_osu_method",
];

/// Session variables whose value follows the session from connection to connection, and what the pair's servers
/// answer alike.
#[rustfmt::skip]
const FOLLOWING: &[&str] = &[
    "autocommit", "big_tables", "bulk_insert_buffer_size", "character_set_client", "character_set_connection",
    "character_set_database", "character_set_results", "character_set_server", "collation_connection",
    "collation_database", "collation_server", "completion_type", "default_storage_engine", "default_week_format",
    "div_precision_increment", "eq_range_index_dive_limit", "foreign_key_checks", "group_concat_max_len",
    "innodb_lock_wait_timeout", "interactive_timeout", "join_buffer_size", "lc_messages", "lc_time_names", "license",
    "lock_wait_timeout", "lower_case_table_names", "max_allowed_packet", "max_error_count", "max_execution_time",
    "max_heap_table_size", "max_join_size", "max_sort_length", "max_sp_recursion_depth", "max_statement_time",
    "net_buffer_length", "net_read_timeout", "net_write_timeout", "old_mode", "optimizer_switch",
    "range_alloc_block_size", "read_buffer_size", "read_rnd_buffer_size", "sort_buffer_size", "sql_auto_is_null",
    "sql_big_selects", "sql_buffer_result", "sql_mode", "sql_notes", "sql_quote_show_create", "sql_safe_updates",
    "sql_select_limit", "sql_warnings", "storage_engine", "time_zone", "timestamp", "tmp_table_size",
    "transaction_isolation", "transaction_read_only", "tx_isolation", "tx_read_only", "unique_checks",
    "updatable_views_with_limit", "version", "version_comment", "wait_timeout",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_for_the_binary_search() {
        for list in [ONE_SHOT, FOLLOWING] {
            for pair in list.windows(2) {
                assert!(pair[0] < pair[1], "{} before {}", pair[0], pair[1]);
            }
        }
    }
}
