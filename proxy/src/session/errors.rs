//! What errors of the servers say of a statement, by their numbers.

/// Errors of a standby that may only mean that it is behind or going away: unknown database, column, table
/// or routine (DDL not applied yet), missing rights or definer (GRANT not applied yet), an expired password (the new one not
/// applied yet), shutdown, killed connection, read-only. The read is asked again on the active master, whose answer counts.
pub(super) const ASK_ELSEWHERE: &[u16] = &[
    1044, 1049, 1053, 1054, 1142, 1143, 1146, 1290, 1305, 1317, 1370, 1449, 1820, 1927,
];

/// ER_OPTION_PREVENTS_STATEMENT, ER_READ_ONLY_MODE: nothing was executed. 1290 has other causes too, which the second attempt
/// will meet again.
pub(super) const READ_ONLY: &[u16] = &[1290, 1836];

/// The same and ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: the server may have stopped being the active master.
pub(super) const TAKES_NO_WRITES: &[u16] = &[1290, 1792, 1836];

/// ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED, and those of [`READ_ONLY`]: the transaction is rolled back.
pub(super) const GOING: &[u16] = &[1053, 1290, 1836, 1927];

/// ER_SERVER_SHUTDOWN, ER_RUN_HOOK_ERROR: the server has ended the connection before the statement was through, since it is being
/// stopped. A MySQL 9.7 that is stopped under load answers with both, with the second to a COMMIT (measured); a MariaDB 10.11
/// does not answer at all.
pub(super) const ENDED: &[u16] = &[1053, 3100];

/// ER_LOCK_DEADLOCK, ER_LOCK_WAIT_TIMEOUT: outside of a transaction, the statement has done nothing.
pub(super) const UNDONE: &[u16] = &[1205, 1213];

/// ER_CHECKREAD, ER_LOCK_DEADLOCK: the server has rolled back the whole transaction. With the first one MariaDB says that a row was
/// changed since the transaction's snapshot (`innodb_snapshot_isolation`, on by default from 11.6 on; measured on 11.8).
pub(super) const ROLLED_BACK: &[u16] = &[1020, 1213];

/// ER_LOCK_WAIT_TIMEOUT, ER_QUERY_INTERRUPTED, ER_STATEMENT_TIMEOUT, ER_QUERY_TIMEOUT: the statement has done nothing, and
/// would not fail like that again.
pub(super) const PASSING: &[u16] = &[1205, 1317, 1969, 3024];

/// The same and ER_LOCK_WAIT_TIMEOUT, to one of the transactions that are played again at the same time: it may go better later.
pub(super) const IN_THE_WAY: &[u16] = &[1020, 1205, 1213];
