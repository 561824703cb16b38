//! What is done about single statements: rules, and what these lead to.

use super::super::Effect::{AtOnce, Restart};
use super::super::{Key, key, not_set, required};
use super::{COUNT, DURATION, MODE, PASSWORD_ENV, PASSWORD_FILE, PATH, SIZE, SWITCH, TEXT};
use crate::config::rule::{
    Aim, Attribute, Digests, Entrance, Globs, HintTag, Kinds, Pattern, Rate, Retry, TableGlobs,
};
use crate::config::scalar::Scalar;
use crate::config::{DayWindow, Level, Networks};
use crate::net::address::Endpoint;

pub(super) const RULE: &[Key] = &[
    required("name", TEXT, AtOnce, "as SHOW RULES, errors and logs call it"),
    key(
        "enabled",
        SWITCH,
        "true",
        AtOnce,
        "false: it is there and does nothing",
    ),
    not_set(
        "user",
        <Globs as Scalar>::EXPECTED,
        AtOnce,
        "condition: the session is of this user; * stands for anything",
    ),
    not_set(
        "schema",
        <Globs as Scalar>::EXPECTED,
        AtOnce,
        "condition: the session's default schema; of a prepared statement, that of its PREPARE",
    ),
    not_set(
        "client",
        <Networks as Scalar>::EXPECTED,
        AtOnce,
        "condition: where the client comes from, as a trusted PROXY header says it where there is one",
    ),
    not_set(
        "listener",
        <Entrance as Scalar>::EXPECTED,
        AtOnce,
        "condition: by what the client has come",
    ),
    not_set(
        "digest",
        <Digests as Scalar>::EXPECTED,
        AtOnce,
        "condition: the statement's shape",
    ),
    not_set(
        "pattern",
        <Pattern as Scalar>::EXPECTED,
        AtOnce,
        "condition: on the text without its values and comments, in any case; EXPLAIN ROUTE shows that text",
    ),
    not_set(
        "tables",
        <TableGlobs as Scalar>::EXPECTED,
        AtOnce,
        "condition: it reads one of these or changes its rows, as far as its text names them; DDL is known by pattern only",
    ),
    not_set(
        "kind",
        <Kinds as Scalar>::EXPECTED,
        AtOnce,
        "condition: read is a pure read, write changes rows, unreadable can't be read to its end or is over limits.statement_bytes; then select, insert, update, ddl, call and so on",
    ),
    not_set(
        "hint",
        <HintTag as Scalar>::EXPECTED,
        AtOnce,
        "condition: a comment of the statement has this tag",
    ),
    not_set(
        "attribute",
        <Attribute as Scalar>::EXPECTED,
        AtOnce,
        "condition: of MySQL's clients; executions of prepared statements have none here",
    ),
    not_set(
        "time",
        <DayWindow as Scalar>::EXPECTED,
        AtOnce,
        "condition: by the local clock",
    ),
    not_set(
        "percent",
        COUNT,
        AtOnce,
        "condition: so many of a hundred statements that meet all others",
    ),
    not_set(
        "target",
        <Aim as Scalar>::EXPECTED,
        AtOnce,
        "where pure reads are answered, as soon as that server has what they must see, also one of weight 0; all else goes its way",
    ),
    not_set(
        "consistency",
        <Level as Scalar>::EXPECTED,
        AtOnce,
        "in the place of the account's level; what the statement says itself counts more",
    ),
    not_set("wait", DURATION, AtOnce, "in the place of consistency.read_wait"),
    not_set(
        "cache",
        DURATION,
        AtOnce,
        "the reply is kept for so long for the next who asks the same, by the same account and settings, and given up as soon as anything it was read from is written through Tandem; only of pure reads of known tables, outside of transactions",
    ),
    not_set(
        "refuse",
        TEXT,
        AtOnce,
        "the client gets error 1148 with this text; COMMIT and ROLLBACK are never refused, rewritten or told to stop",
    ),
    not_set(
        "timeout",
        DURATION,
        AtOnce,
        "a server that takes longer is told to stop; the client gets error 1969 (MySQL: 3024), or 1317 behind rows that it has seen; it counts \
         instead of statement_timeout, of [limits] or of the account, whether that is shorter or longer; 0s: no limit",
    ),
    not_set(
        "retry",
        <Retry as Scalar>::EXPECTED,
        AtOnce,
        "deadlocks: outside of transactions, what the server undid (1213, 1205) is sent again, up to three times; never: nor are pure reads asked elsewhere when their server is lost; reads: as without a rule",
    ),
    not_set(
        "max_rows",
        COUNT,
        AtOnce,
        "a result with more is broken off with error 1104; not of what changes rows",
    ),
    not_set("max_bytes", SIZE, AtOnce, "the same for the bytes of a reply"),
    not_set(
        "rate",
        <Rate as Scalar>::EXPECTED,
        AtOnce,
        "so many go through, of all sessions together; the next one gets error 1226",
    ),
    not_set(
        "rate_wait",
        DURATION,
        AtOnce,
        "how long a statement waits for its turn before that",
    ),
    not_set(
        "rewrite_from",
        <Pattern as Scalar>::EXPECTED,
        AtOnce,
        "what of the text, values and all, rewrite replaces; without it, the whole text",
    ),
    not_set(
        "rewrite",
        TEXT,
        AtOnce,
        "goes to the server in that place, $1 being what the first group found; it must have as many parameters, else the client gets error 1210",
    ),
    not_set(
        "mirror",
        TEXT,
        AtOnce,
        "a copy of each pure read outside of transactions goes to this [[mirror]] when the client has its answer, and the two are compared; all else is skipped and counted",
    ),
    key(
        "log",
        SWITCH,
        "false",
        AtOnce,
        "a line for each statement, without values, at most 100 a second and worker",
    ),
    key(
        "trace",
        SWITCH,
        "false",
        AtOnce,
        "SHOW TRACES has the steps of these statements, each with its time; the last 500 of each worker are kept",
    ),
];

pub(super) const CACHE: &[Key] = &[
    key(
        "bytes",
        SIZE,
        "64MiB",
        AtOnce,
        "that all kept replies take, divided among the workers; those that were not asked for again go first",
    ),
    key(
        "reply_bytes",
        SIZE,
        "256KiB",
        AtOnce,
        "a reply that is larger is not kept",
    ),
];

pub(super) const MIRROR: &[Key] = &[
    required("name", TEXT, AtOnce, "as rules and SHOW MIRRORS call it"),
    not_set(
        "address",
        <Endpoint as Scalar>::EXPECTED,
        AtOnce,
        "where it is; a name is resolved when the configuration is read",
    ),
    not_set(
        "server",
        TEXT,
        AtOnce,
        "in the place of address: the one of the pair that has this name",
    ),
    not_set(
        "tls_name",
        TEXT,
        AtOnce,
        "the name in its certificate, where that is not the host of its address; [server_tls] says whether TLS is used",
    ),
    required(
        "user",
        TEXT,
        AtOnce,
        "its account for the statements of all sessions; it needs SELECT, and should have no more",
    ),
    required("password", TEXT, AtOnce, "its password").secret(),
    not_set("password_env", TEXT, AtOnce, PASSWORD_ENV),
    not_set("password_file", PATH, AtOnce, PASSWORD_FILE),
    key(
        "connections",
        COUNT,
        "4",
        AtOnce,
        "at most; so many statements run there at once",
    ),
    key(
        "queue_length",
        COUNT,
        "1000",
        AtOnce,
        "statements that may wait for it; the next one is dropped and counted",
    ),
    key("queue_bytes", SIZE, "16MiB", AtOnce, "the same for their bytes"),
    key(
        "timeout",
        DURATION,
        "5s",
        AtOnce,
        "a statement that takes longer there is ended and counted",
    ),
    key(
        "second_look",
        DURATION,
        "500ms",
        AtOnce,
        "a statement whose answer differs is asked once more after this, since the mirror may only be behind; 0s: not",
    ),
];

pub(super) const FIREWALL: &[Key] = &[
    key(
        "mode",
        MODE,
        "off",
        AtOnce,
        "\"learn\": what an account sends is let through from then on; \"warn\": what is new is let through, logged and listed; \"refuse\": it gets \
         error 1148; for every account that has no mode of its own",
    ),
    key(
        "file",
        PATH,
        "/var/lib/tandem/firewall",
        Restart,
        "where what was learnt is kept: statements without their values, and a secret by which they are known again",
    ),
    key(
        "digests",
        COUNT,
        "10000",
        AtOnce,
        "statements that are learnt for one account at most; further ones stay new",
    ),
    key(
        "bytes",
        SIZE,
        "16MiB",
        AtOnce,
        "what all that was learnt may take in the file",
    ),
    key(
        "listed",
        COUNT,
        "1000",
        AtOnce,
        "new statements in SHOW FIREWALL at most; those that were not seen for longest are left out",
    ),
];
