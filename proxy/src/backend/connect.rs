//! Opening and logging in a connection to a server.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use tandem_protocol::compression::{Algorithm, Method};
use tandem_protocol::error::DecodeError;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::handshake::connect::{
    Connect, ConnectError, ConnectOptions, Credential, Progress, ServerInfo,
};
use tandem_protocol::version::ServerVersion;
use thiserror::Error;
use tokio::sync::Semaphore;

use super::prepared::PreparedStatements;
use super::sync::Trackers;
use super::{Connection, ConnectionId, Key};
use crate::failover::outcome::Token;
use crate::net::address::{Endpoint, Peer};
use crate::net::buffer::{Inbox, Slab};
use crate::net::compressed::{Codec, Side};
use crate::net::tls::{self, Connector, ServerName};
use crate::net::{self, Stream, proxied};
use crate::session::aftermath::Marks;
use crate::session::settings::{self, Names, Settings};
use crate::topology::{Flavor, ServerId};
use crate::worker::accounts;

/// No packet of a login is larger; a peer that claims one is not a server.
const LOGIN_PACKET_LIMIT: usize = 64 * 1024;

/// Flags that every connection to a server has, whatever the client asked for.
const ALWAYS: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::SESSION_TRACK)
    // Allows a command and changes nothing; the servers of MySQL have no such bit.
    .union(Capabilities::MARIADB_STMT_BULK);

/// Flags that the client's own choice decides, because they change replies or the meaning of statements.
const AS_CLIENT: Capabilities = Capabilities::LONG_FLAG
    .union(Capabilities::FOUND_ROWS)
    .union(Capabilities::ODBC)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::IGNORE_SPACE)
    // Decides which of the server's timeouts is the session's `wait_timeout`.
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    // Without it the server refuses LOAD DATA LOCAL itself, in its own words.
    .union(Capabilities::LOCAL_FILES)
    .union(FORM);

/// Those of them that change the form of commands or replies: without one the client could not be served.
const FORM: Capabilities = Capabilities::DEPRECATE_EOF
    .union(Capabilities::OPTIONAL_RESULTSET_METADATA)
    .union(Capabilities::QUERY_ATTRIBUTES)
    .union(Capabilities::MARIADB_PROGRESS)
    .union(Capabilities::MARIADB_EXTENDED_METADATA);

/// Those in a pool's key that say how the client's own leg is protected and compressed; the server's has what the
/// configuration makes of it, and the server offers.
const MIRRORED: Capabilities = Capabilities::SSL
    .union(Capabilities::COMPRESS)
    .union(Capabilities::ZSTD_COMPRESSION);

/// The handshake flags of the pool key for a client that negotiated `client`.
pub fn flags_for(client: Capabilities) -> Capabilities {
    client & AS_CLIENT
}

/// Why a server could not be logged in to.
#[derive(Debug, Error)]
pub enum Error {
    #[error("not reached: {0}")]
    Io(#[from] io::Error),
    #[error("refused the login: {code} ({state}) {message}")]
    Refused {
        code: u16,
        state: String,
        message: String,
    },
    #[error("asks for the authentication method '{0}', which Tandem does not speak yet")]
    Plugin(String),
    #[error("could not be logged in to: {0}")]
    Login(#[source] ConnectError),
    #[error("broke the protocol during login: {0}")]
    Protocol(#[from] DecodeError),
    #[error("sent a login packet of {0} bytes")]
    TooLarge(usize),
    #[error(
        "is not logged in to: no client has shown the account's password yet, of which only the hash is known"
    )]
    NoKey,
    #[error("did not finish the login within {0} ms (pool.connect_timeout)")]
    Timeout(u128),
    #[error("is gone, and another is the active master")]
    Replaced,
    #[error("{0}")]
    Tls(String),
    #[error(
        "does not offer {0:?}, which the client was offered and uses; after a change of version it has to log in anew"
    )]
    Lacks(Capabilities),
    #[error("did not offer session tracking, which Tandem needs (MariaDB 10.2, MySQL 5.7 or newer)")]
    NoTracking,
}

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub id: ConnectionId,
    pub server: ServerId,
    pub address: &'a Endpoint,
    pub tls: &'a Connector,
    /// Whom the server is to see; only for those that understand a PROXY header.
    pub origin: Option<Peer>,
    /// The name that the server's certificate must have, if its names are looked at.
    pub tls_name: &'a str,
    pub key: Key,
    pub account: &'a accounts::Account,
    pub collation: u16,
    pub max_prepared: usize,
    /// What to ask for; without it where the server does not offer it.
    pub compression: Option<Method>,
    pub codec: &'a Rc<Codec>,
    /// Whether its statements are to be known again in the binary log.
    pub has_token: bool,
    /// Whose turn it is to hash slowly.
    pub hashing: &'a Semaphore,
}

/// Connects and logs in, without a default schema: a schema is set by the state sync, whose error the client sees.
///
/// # Errors
/// Every way in which a server can't be logged in to; see [`Error`]. The caller bounds the time.
pub async fn open(target: Target<'_>, slab: &Rc<Slab>) -> Result<Connection, Error> {
    let mut stream = Stream::connect(target.address).await?;
    if let Some(origin) = target.origin {
        stream.write_all(&proxied::header(origin, target.address)).await?;
    }
    let mut inbox = Inbox::new(Rc::clone(slab));
    // The handshake carries one byte; a collation beyond it is set by the state sync.
    let collation = u8::try_from(target.collation).unwrap_or(0);
    let info = log_in(&mut stream, &mut inbox, &target, collation).await?;
    if !info.capabilities.contains(Capabilities::SESSION_TRACK) {
        return Err(Error::NoTracking);
    }
    let lacking = (target.key.flags & FORM) - info.capabilities;
    if !lacking.is_empty() {
        return Err(Error::Lacks(lacking));
    }
    if let Some(method) = target.compression
        && Algorithm::agreed(info.capabilities) == Some(method.algorithm)
    {
        stream.compress(target.codec, Side::Server, method, &mut inbox);
    }
    let version = ServerVersion::parse(&info.version).unwrap_or(ServerVersion {
        mariadb: false,
        number: 0,
    });
    let flavor = match version.mariadb {
        true => Flavor::MariaDb,
        false => Flavor::MySql,
    };
    let names = Names::of_login(u16::from(collation), version);
    let token = match target.has_token {
        true => Some(Token::new(u64::from_le_bytes(own_nonce()?))),
        false => None,
    };
    Ok(Connection {
        id: target.id,
        server: target.server,
        counted: None,
        flavor,
        key: target.key,
        thread_id: info.connection_id,
        opened: Instant::now(),
        capabilities: info.capabilities,
        stream,
        inbox,
        settings: Rc::new(Settings::new(names, None)),
        reset_names: settings::names_after_reset(names, version),
        trackers: Trackers::Untouched,
        soiled: false,
        ran_code: false,
        broken: false,
        prepared: PreparedStatements::new(target.max_prepared),
        farewells: Vec::new(),
        last_session: 0,
        insert_id_of: None,
        left: Marks::default(),
        token,
        stained: false,
    })
}

async fn log_in(
    stream: &mut Stream,
    inbox: &mut Inbox,
    target: &Target<'_>,
    collation: u8,
) -> Result<ServerInfo, Error> {
    let key = target.account.key().ok_or(Error::NoKey)?;
    let compression = target.compression;
    let mut login = Connect::new(ConnectOptions {
        user: target.account.name.as_bytes(),
        credential: match &key {
            accounts::Key::Password(password) => Credential::Password(password),
            accounts::Key::NativeSecret(secret) => Credential::NativeSecret(secret),
        },
        schema: None,
        capabilities: ALWAYS
            | (target.key.flags - MIRRORED)
            | compression.map_or(Capabilities::empty(), |it| it.algorithm.flag()),
        charset: collation,
        attributes: &[("_client_name", "tandem"), ("program_name", "tandem")],
        protection: target
            .tls
            .protection(target.address, target.key.flags.contains(Capabilities::SSL)),
        nonce: own_nonce()?,
        zstd_level: compression.map_or(0, |it| it.level),
    });
    let mut out = Vec::new();
    loop {
        net::fill(stream, inbox, HEADER_LEN).await?;
        let Some(header) = Header::peek(inbox.bytes()) else {
            continue;
        };
        if header.len > LOGIN_PACKET_LIMIT {
            return Err(Error::TooLarge(header.len));
        }
        let total = HEADER_LEN + header.len;
        net::fill(stream, inbox, total).await?;
        out.clear();
        let progress = login.receive(header.seq, &inbox.bytes()[HEADER_LEN..total], &mut out);
        inbox.consume(total);
        match progress.map_err(Error::from)? {
            Progress::Done(info) => return Ok(info),
            Progress::Continue => stream.write_all(&out).await?,
            Progress::Slow(task) => {
                // Never closed.
                let turn = target.hashing.acquire().await.ok();
                let proof = tokio::task::spawn_blocking(move || task.run()).await;
                drop(turn);
                login.proved(proof.unwrap_or_default(), &mut out)?;
                stream.write_all(&out).await?;
            }
            Progress::StartTls => {
                stream.write_all(&out).await?;
                go_over_to_tls(stream, inbox, target).await?;
                out.clear();
                login.upgraded(&mut out)?;
                stream.write_all(&out).await?;
            }
        }
    }
}

fn own_nonce<const LEN: usize>() -> io::Result<[u8; LEN]> {
    let mut nonce = [0; LEN];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    Ok(nonce)
}

async fn go_over_to_tls(stream: &mut Stream, inbox: &mut Inbox, target: &Target<'_>) -> Result<(), Error> {
    // Checked with the configuration: a name that is none is refused there.
    // A socket has none, and nobody compares it there.
    let name = match target.address {
        Endpoint::Unix(_) => "localhost",
        Endpoint::Tcp(_) => target.tls_name,
    };
    let name = ServerName::try_from(name.to_owned());
    let name = name.map_err(|error| Error::Tls(format!("has no name for TLS: {error}")))?;
    let gone_over = stream.connect_tls(target.tls, name, inbox).await;
    gone_over.map_err(|error| match tls::explain(&error) {
        Some(why) => Error::Tls(why),
        None => Error::Io(error),
    })
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(refusal) => Self::Refused {
                code: refusal.code,
                state: refusal.state,
                message: refusal.message,
            },
            ConnectError::UnsupportedPlugin(plugin) => Self::Plugin(plugin),
            ConnectError::Protocol(error) => Self::Protocol(error),
            error => Self::Login(error),
        }
    }
}
