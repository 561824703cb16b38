//! Connections to the servers: opening one, knowing what state it is in, bringing it into the wanted state.

pub mod connect;
pub mod prepared;
pub mod sync;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use tandem_protocol::command::CommandCode;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame;

use crate::failover::outcome::Token;
use crate::net::Stream;
use crate::net::address::Peer;
use crate::net::buffer::Inbox;
use crate::pool::census::Counted;
use crate::session::aftermath::Marks;
use crate::session::insert_id::InsertId;
use crate::session::settings::{Names, Settings};
use crate::topology::{Flavor, ServerId};
use prepared::{PreparedStatements, StatementId};
use sync::Trackers;

/// Index of an account in the configuration's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserId(pub usize);

/// What two sessions must have in common to use the same connection: the account, the handshake flags that change
/// what replies look like or what statements mean, the host that the server sees, and the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub user: UserId,
    pub flags: Capabilities,
    /// How many `SET GLOBAL`, `GRANT` and the like had gone through Tandem at the login: a server gives a connection
    /// the values and the global rights of its login, and some of them for good.
    pub epoch: u32,
    /// Where the client comes from, for servers that are told.
    pub origin: Option<Origin>,
}

/// What a server sees as the client's host, in the PROXY header of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    Address(IpAddr),
    Local,
}

impl From<Peer> for Origin {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Tcp(address) => Self::Address(address.ip().to_canonical()),
            Peer::Local => Self::Local,
        }
    }
}

/// Names a connection within its worker; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// One connection to a server, logged in, and what is known of its state.
#[derive(Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub server: ServerId,
    /// In its pool, where it has one.
    pub counted: Option<Counted>,
    pub flavor: Flavor,
    pub key: Key,
    /// The server's own id of this connection, as `SHOW PROCESSLIST` shows it.
    pub thread_id: u32,
    pub opened: Instant,
    /// What was agreed on at login: it decides how replies are read.
    pub capabilities: Capabilities,
    pub stream: Stream,
    pub inbox: Inbox,
    pub settings: Rc<Settings>,
    /// What a reset brings back, see [`Settings::after_reset`].
    pub reset_names: Names,
    pub trackers: Trackers,
    /// State was left that only a reset takes away.
    pub soiled: bool,
    /// A procedure or the like ran here: it may have set variables without any report (`SET @@name = …`, measured on
    /// MariaDB 10.11), which no other session may find.
    pub ran_code: bool,
    /// A reply is outstanding or was lost half-way: the connection can't be used again.
    pub broken: bool,
    pub prepared: PreparedStatements,
    /// Commands without a reply that go out with the next statement.
    pub farewells: Vec<u8>,
    /// The session that used it last; 0 is none.
    pub last_session: u32,
    /// The session whose `LAST_INSERT_ID()` this connection holds.
    pub insert_id_of: Option<Rc<InsertId>>,
    /// What `last_session` may still ask here.
    pub left: Marks,
    /// Stands as a comment before what may write, where it may have to be looked up whether that took effect.
    pub token: Option<Token>,
    /// A statement failed here, and may have left rows in tables without transactions that nobody was told of.
    pub stained: bool,
}

impl Connection {
    pub fn known(&self) -> sync::Known<'_> {
        sync::Known {
            settings: &self.settings,
            reset_names: self.reset_names,
            trackers: &self.trackers,
            ignore_space: self.key.flags.contains(Capabilities::IGNORE_SPACE),
            soiled: self.soiled,
        }
    }

    /// Whether the server has closed it or has said what nobody asked for: more than the reply to the last command.
    pub fn is_disturbed(&mut self) -> bool {
        !self.inbox.is_empty() || self.stream.is_disturbed()
    }

    /// Notes that the commands of `plan` have been sent and `wanted` is what the connection has now.
    pub fn assume(&mut self, plan: &sync::Plan, wanted: &Rc<Settings>, trackers: Trackers) {
        if plan.reset {
            self.soiled = false;
            self.ran_code = false;
            // The manual of COM_RESET_CONNECTION: prepared statements are released.
            self.prepared.clear();
            self.last_session = 0;
        }
        self.trackers = trackers;
        self.settings = Rc::clone(wanted);
    }

    /// Notes that a statement is prepared here under the server's `id`; what has to go for it is closed.
    pub fn add_prepared(&mut self, statement: StatementId, id: u32) {
        let double = self.prepared.remove(statement);
        let evicted = self.prepared.add(statement, id);
        for id in double.into_iter().chain(evicted) {
            self.say_close(id);
        }
    }

    /// Closes a statement on the server, with whatever is open in it.
    pub fn close_prepared(&mut self, statement: StatementId) {
        if let Some(id) = self.prepared.remove(statement) {
            self.say_close(id);
        }
    }

    fn say_close(&mut self, id: u32) {
        let start = frame::begin(&mut self.farewells);
        self.farewells.push(CommandCode::StmtClose as u8);
        self.farewells.extend_from_slice(&id.to_le_bytes());
        frame::end(&mut self.farewells, start, 0);
    }
}

impl Drop for Connection {
    /// Says goodbye, without which the server would log an aborted connection. In the middle of a reply
    /// there is no place for it.
    fn drop(&mut self) {
        if !self.broken {
            self.stream.write_if_ready(&QUIT);
        }
    }
}

/// `COM_QUIT` as a packet.
const QUIT: [u8; 5] = [1, 0, 0, 0, CommandCode::Quit as u8];
