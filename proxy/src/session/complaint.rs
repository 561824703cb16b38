//! What Tandem itself has to say to a client: error packets with a cause and a way out.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use tandem_protocol::command::CommandCode;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::packet::err::ServerError;
use tandem_protocol::reply;

use crate::backend::connect;
use crate::classify::identity::Identity;
use crate::config::TimeLimit;
use crate::config::rule::Rate;
use crate::firewall::Place;
use crate::pool;
use crate::quota::Exceeded;
use crate::route::rules::rewrite::Unfit;
use crate::topology::Flavor;
use crate::worker::failed_logins::Blocked;

/// ER_CONNECT_TO_FOREIGN_DATA_SOURCE
const NOT_REACHED: u16 = 1429;

/// An error that Tandem gives in its own name, with the code and state that drivers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(super) code: u16,
    pub(super) state: Cow<'static, str>,
    pub(super) message: String,
    /// The server is gone or going: what was not sent to it may be sent to the next active master.
    gone: bool,
}

impl Complaint {
    fn new(code: u16, state: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            state: Cow::Borrowed(state),
            message: message.into(),
            gone: false,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, seq: u8, capabilities: Capabilities) {
        reply::err(out, seq, self.code, &self.state, &self.message, capabilities);
    }

    /// ER_ACCESS_DENIED_ERROR, worded as the servers word it.
    /// `user` is cut as they cut it: see [`shown_name`](super::prove::shown_name).
    pub(super) fn access_denied(user: &str, host: &str, with_password: bool) -> Self {
        let using = if with_password { "YES" } else { "NO" };
        Self::new(
            1045,
            "28000",
            format!("Access denied for user '{user}'@'{host}' (using password: {using})"),
        )
    }

    pub(super) fn is_access_denied(&self) -> bool {
        self.code == 1045
    }

    pub(super) fn login_timeout(bound: Duration) -> Self {
        let message =
            format!("Tandem: the login was not finished within {bound:?} (listener.handshake_timeout)");
        Self::new(1159, "08S01", message)
    }

    /// ER_SECURE_TRANSPORT_REQUIRED
    pub(super) fn insecure_transport() -> Self {
        let message = "Tandem: connections without TLS are not let in (client_tls.mode = \"required\")";
        Self::new(3159, "HY000", message)
    }

    /// ER_HOST_IS_BLOCKED
    pub(super) fn held_up(host: &str, blocked: &Blocked) -> Self {
        let Blocked { limit, window, left } = blocked;
        let message = format!(
            "Host '{host}' is blocked because of many failed logins: {limit} within {window:?} (listener.failed_logins); \
             it may try again in {} s",
            left.as_secs() + 1
        );
        Self::new(1129, "HY000", message)
    }

    /// ER_ACCOUNT_HAS_BEEN_LOCKED, worded as the servers word it.
    pub(super) fn account_locked(user: &str, host: &str, flavor: Flavor) -> Self {
        match flavor {
            Flavor::MariaDb => Self::new(4151, "HY000", "Access denied, this account is locked"),
            Flavor::MySql => {
                let message = format!("Access denied for user '{user}'@'{host}'. Account is locked.");
                Self::new(3118, "HY000", message)
            }
        }
    }

    /// ER_NOT_SUPPORTED_AUTH_MODE
    pub(super) fn client_too_old() -> Self {
        let message = "Client does not support authentication protocol requested by server; consider upgrading MySQL \
            client";
        Self::new(1251, "08004", message)
    }

    pub(super) fn no_rsa_key() -> Self {
        let message = "Tandem: the password can't be taken without TLS, since no RSA key could be made for it; Tandem's \
            log says why";
        Self::new(1045, "28000", message)
    }

    /// ER_NET_PACKETS_OUT_OF_ORDER, as the servers say it before they hang up.
    pub(super) fn out_of_order() -> Self {
        Self::new(1156, "08S01", "Got packets out of order")
    }

    pub(super) fn is_out_of_order(&self) -> bool {
        self.code == 1156
    }

    pub(super) fn malformed_login(cause: impl fmt::Display) -> Self {
        Self::new(1043, "08S01", format!("Bad handshake: {cause}"))
    }

    /// ER_UNKNOWN_COM_ERROR for what Tandem does not speak yet; the session goes on.
    pub(super) fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(
            1047,
            "08S01",
            format!("Unknown command: Tandem does not support {what} yet"),
        )
    }

    /// ER_UNKNOWN_COM_ERROR for what nobody may do through a proxy.
    pub(super) fn operators_only(what: &str) -> Self {
        let message = format!("Unknown command: Tandem refuses {what}; ask the server itself");
        Self::new(1047, "08S01", message)
    }

    /// ER_NOT_ALLOWED_COMMAND
    pub(super) fn refused_by_rule(rule: &str, message: &str) -> Self {
        let message = format!("{message} (Tandem refuses the statement by its rule '{rule}')");
        Self::new(1148, "42000", message)
    }

    /// ER_NOT_ALLOWED_COMMAND, as with rules.
    pub(super) fn refused_by_firewall(place: &Place, identity: Identity) -> Self {
        let Place { account, schema } = place;
        let digest = identity.digest;
        let what = match digest == Identity::UNREADABLE.digest {
            true => "a statement that can't be read to its end",
            false => "a statement that it has not learnt",
        };
        Self::new(
            1148,
            "42000",
            format!(
                "Tandem's firewall refuses {what} of the account '{account}' in the schema '{schema}', with the digest {digest}; on the \
                 admin port FIREWALL ACCEPT {digest} FOR '{account}' IN '{schema}' lets it through"
            ),
        )
    }

    /// ER_USER_LIMIT_REACHED
    pub(super) fn over_rate(rule: &str, rate: Rate, wait: Duration) -> Self {
        let message = format!(
            "Tandem: its rule '{rule}' lets {rate} statements through (rate); the next one in {} ms",
            wait.as_millis() + 1
        );
        Self::new(1226, "42000", message)
    }

    /// ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL.
    pub(super) fn overtime(rule: &str, limit: Duration, flavor: Flavor) -> Self {
        let message = format!(
            "Query execution was interrupted: it took longer than {limit:?} (timeout of Tandem's rule '{rule}')"
        );
        match flavor {
            Flavor::MariaDb => Self::new(1969, "70100", message),
            Flavor::MySql => Self::new(3024, "HY000", message),
        }
    }

    /// ER_TOO_BIG_SELECT
    pub(super) fn too_big(rule: &str, most: usize, what: &str, key: &str) -> Self {
        let message = format!("The result has more than {most} {what} ({key} of Tandem's rule '{rule}')");
        Self::new(1104, "42000", message)
    }

    /// ER_WRONG_ARGUMENTS
    pub(super) fn unfit(rule: &str, unfit: Unfit) -> Self {
        let what = match unfit {
            Unfit::Parameters(before, after) => {
                format!("would have {after} parameters, and the client's has {before}")
            }
            Unfit::TooLong => "would be longer than limits.statement_bytes".to_owned(),
        };
        let message =
            format!("Tandem: what its rule '{rule}' makes of the statement {what}; see its rewrite");
        Self::new(1210, "HY000", message)
    }

    /// ER_UNKNOWN_COM_ERROR, as the servers say it.
    pub(super) fn unknown_command() -> Self {
        Self::new(1047, "08S01", "Unknown command")
    }

    /// ER_SPECIFIC_ACCESS_DENIED_ERROR, as the servers say it to an account that lacks the privilege.
    pub(super) fn not_privileged(privilege: &str) -> Self {
        let message = format!(
            "Access denied; you need (at least one of) the {privilege} privilege(s) for this operation"
        );
        Self::new(1227, "42000", message)
    }

    /// ER_MALFORMED_PACKET in the servers' words, which MySQL ends with a full stop.
    /// What the server says to an account that may not replicate, and what is missing here.
    pub(super) fn no_replication(code: CommandCode, user: &str) -> Self {
        let mut complaint = match code {
            // The server names the account's host; what that is, only the server knows.
            CommandCode::RegisterSlave => Self::access_denied(user, "%", true),
            _ => Self::not_privileged("REPLICATION SLAVE"),
        };
        complaint.message += &format!("; Tandem: [[user]] '{user}' has no replication = true");
        complaint
    }

    pub(super) fn malformed_packet(flavor: Flavor) -> Self {
        Self::new(
            1835,
            "HY000",
            match flavor {
                Flavor::MariaDb => "Malformed communication packet",
                Flavor::MySql => "Malformed communication packet.",
            },
        )
    }

    /// ER_UNSUPPORTED_PS
    pub(super) fn unsupported_prepared() -> Self {
        let message = "This command is not supported in the prepared statement protocol yet";
        Self::new(1295, "HY000", message)
    }

    /// ER_UNKNOWN_STMT_HANDLER. `command` is MariaDB's name of the function that looked for it; MySQL has one for all.
    pub(super) fn unknown_statement(id: u32, command: &str, flavor: Flavor) -> Self {
        let place = match flavor {
            Flavor::MariaDb => command,
            Flavor::MySql => "mysql_stmt_precheck",
        };
        let message = format!("Unknown prepared statement handler ({id}) given to {place}");
        Self::new(1243, "HY000", message)
    }

    /// ER_STMT_HAS_NO_OPEN_CURSOR
    pub(super) fn no_open_cursor(id: u32, flavor: Flavor) -> Self {
        let end = match flavor {
            Flavor::MariaDb => "",
            Flavor::MySql => ".",
        };
        Self::new(
            1421,
            "HY000",
            format!("The statement ({id}) has no open cursor{end}"),
        )
    }

    pub(super) fn too_many_statements(limit: usize) -> Self {
        let message = format!(
            "Tandem: this session has {limit} prepared statements (limits.prepared_statements); close some first"
        );
        Self::new(1461, "42000", message)
    }

    pub(super) fn too_many_prepared(limit: usize) -> Self {
        let message = format!(
            "Tandem: the prepared statements of all sessions may take {limit} bytes (limits.prepared_bytes), and the share \
             of this session's worker is used up; close some first"
        );
        Self::new(1461, "42000", message)
    }

    /// ER_NET_UNCOMPRESS_ERROR, in the servers' words.
    pub(super) fn unreadable() -> Self {
        Self::new(1157, "08S01", "Couldn't uncompress communication packet")
    }

    pub(super) fn too_long(limit: usize) -> Self {
        let message = format!("Got a packet bigger than {limit} bytes (limits.command_bytes)");
        Self::new(1153, "08S01", message)
    }

    pub(super) fn too_long_to_prepare(limit: usize) -> Self {
        let message = format!(
            "Tandem: a statement of more than {limit} bytes can't be prepared (limits.statement_bytes); send it as text"
        );
        Self::new(1153, "08S01", message)
    }

    pub(super) fn no_active(detail: &str) -> Self {
        let message =
            format!("Tandem: no active master takes the statement now; it was not executed ({detail})");
        Self::new(1290, "HY000", message)
    }

    /// No connection to the server could be made.
    pub(super) fn is_unreachable(&self) -> bool {
        self.code == NOT_REACHED
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// With one more clause.
    pub(super) fn and(mut self, clause: impl fmt::Display) -> Self {
        self.message += &format!("; {clause}");
        self
    }

    pub(super) fn pool(error: &pool::Error) -> Self {
        let code = match error {
            pool::Error::Timeout { .. } | pool::Error::QueueFull { .. } => 1040,
            pool::Error::Connect { .. } => NOT_REACHED,
            pool::Error::Stopping => 1053,
        };
        let message = format!("Tandem: {error}; the statement was not executed");
        Self {
            gone: is_gone(error),
            ..Self::new(code, "08004", message)
        }
    }

    /// CR_SERVER_LOST; where the client's library takes no client's code from a server, ER_NET_READ_ERROR.
    pub(super) fn lost(
        server: &str,
        cause: impl fmt::Display,
        rest: impl fmt::Display,
        capabilities: Capabilities,
    ) -> Self {
        let (code, state) = match takes_clients_codes(capabilities) {
            true => (2013, "HY000"),
            false => (1158, "08S01"),
        };
        Self {
            gone: true,
            ..Self::new(
                code,
                state,
                format!("Tandem: server '{server}' was lost during the statement ({cause}); {rest}"),
            )
        }
    }

    /// As [`Self::lost`], of a server that is still there.
    pub(super) fn left_behind(server: &str, capabilities: Capabilities) -> Self {
        let message = format!("Tandem: server '{server}' is no longer the active master");
        Self {
            message,
            ..Self::lost(server, "", true, capabilities)
        }
    }

    /// ER_LOCK_DEADLOCK, which applications know as the word to begin a transaction anew.
    pub(super) fn rolled_back(cause: impl fmt::Display) -> Self {
        Self::new(
            1213,
            "40001",
            format!("Tandem: the transaction was rolled back; try restarting it: {cause}"),
        )
    }

    /// A server's own error about state that Tandem had to bring along.
    pub(super) fn of_server(error: ServerError) -> Self {
        Self {
            code: error.code,
            state: Cow::Owned(error.state),
            message: error.message,
            gone: false,
        }
    }

    /// A server's refusal of an account whose password was right here. It names Tandem's address and not the client's.
    pub(super) fn said_of_account_by(mut self, server: &str) -> Self {
        if self.is_access_denied() {
            self.message += &format!(
                "; Tandem: server '{server}' says so, which must know the account with the same password, and let it in from \
                 Tandem's address and as Tandem connects ([server_tls])"
            );
        }
        self
    }

    pub(super) fn no_database() -> Self {
        Self::new(1046, "3D000", "No database selected")
    }

    pub(super) fn stopping() -> Self {
        Self::new(1053, "08S01", "Tandem is stopping")
    }

    /// ER_CLIENT_INTERACTION_TIMEOUT, in MySQL's words.
    pub(super) fn expired() -> Self {
        let message = "The client was disconnected by the server because of inactivity. See wait_timeout and \
            interactive_timeout for configuring this behavior.";
        Self::new(4031, "HY000", message)
    }

    /// As the servers tell who kills himself: MariaDB has ER_CONNECTION_KILLED for it.
    pub(super) fn killed(flavor: Flavor) -> Self {
        match flavor {
            Flavor::MySql => Self::interrupted(),
            Flavor::MariaDb => Self::new(1927, "70100", "Connection was killed"),
        }
    }

    pub(super) fn interrupted() -> Self {
        Self::new(1317, "70100", "Query execution was interrupted")
    }

    pub(super) fn not_owner(id: u32) -> Self {
        Self::new(1095, "HY000", format!("You are not owner of thread {id}"))
    }

    pub(super) fn kill_failed(cause: &str) -> Self {
        Self::new(
            1317,
            "HY000",
            format!("Tandem: the statement could not be killed: {cause}"),
        )
    }

    /// ER_TOO_MANY_USER_CONNECTIONS in the servers' words.
    pub(super) fn too_many_sessions(user: &str, exceeded: &Exceeded) -> Self {
        let Exceeded { key, limit } = exceeded;
        let message = format!(
            "User {user} already has more than 'max_user_connections' active connections; Tandem: {key} is {limit}"
        );
        Self::new(1203, "42000", message)
    }

    /// ER_USER_LIMIT_REACHED in the servers' words.
    pub(super) fn too_many_a_second(user: &str, exceeded: &Exceeded) -> Self {
        let Exceeded { key, limit } = exceeded;
        let message = format!(
            "User '{user}' has exceeded the 'statements a second' resource (current value: {limit}); Tandem: {key}; the \
             statement was not executed"
        );
        Self::new(1226, "42000", message)
    }

    /// ER_STATEMENT_TIMEOUT of MariaDB, ER_QUERY_TIMEOUT of MySQL.
    pub(super) fn statement_overdue(limit: TimeLimit, user: &str, flavor: Flavor) -> Self {
        let message = format!(
            "Query execution was interrupted: it took longer than {:?} (Tandem: {})",
            limit.most,
            limit.key("statement_timeout", user)
        );
        match flavor {
            Flavor::MariaDb => Self::new(1969, "70100", message),
            Flavor::MySql => Self::new(3024, "HY000", message),
        }
    }

    /// ER_LOCK_DEADLOCK, whose meaning every client knows: the transaction is rolled back and may be begun again.
    pub(super) fn transaction_overdue(limit: TimeLimit, user: &str) -> Self {
        let message = format!(
            "The transaction was rolled back, since it was open for longer than {:?} (Tandem: {}); begin it again",
            limit.most,
            limit.key("transaction_timeout", user)
        );
        Self::new(1213, "40001", message)
    }

    /// ER_OUT_OF_RESOURCES
    pub(super) fn no_memory(limit: usize) -> Self {
        let message = format!(
            "Out of memory: what Tandem's sessions hold may take {limit} bytes (limits.session_memory), and the share of this \
             worker is used up; try again later"
        );
        Self::new(1041, "08004", message)
    }

    pub(super) fn too_many_connections(limit: usize) -> Self {
        let message =
            format!("Too many connections: Tandem serves {limit} already (listener.max_connections)");
        Self::new(1040, "08004", message)
    }
}

/// MariaDB's library calls an error packet malformed (2027) that has one of the codes 2000 to 2999, which are the clients' own.
/// Nothing else tells which library it is: whoever speaks MariaDB's half of the flags is taken for it.
pub(super) fn takes_clients_codes(capabilities: Capabilities) -> bool {
    !capabilities.has_extension()
}

/// Whether a connection could not be had because the server does not live, or not much longer.
fn is_gone(error: &pool::Error) -> bool {
    let pool::Error::Connect { error, .. } = error else {
        return false;
    };
    match error {
        connect::Error::Io(_) | connect::Error::Timeout(_) | connect::Error::Replaced => true,
        // ER_SERVER_SHUTDOWN
        connect::Error::Refused { code, .. } => *code == 1053,
        _ => false,
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}
