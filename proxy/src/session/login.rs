//! A client's login: greeting, proof of the password, default schema.

use std::rc::Rc;
use std::time::Duration;

use tandem_protocol::charset;
use tandem_protocol::compression::{self, Algorithm, Method};
use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::handshake::{Accept, AcceptOptions, Answer, Login};
use tandem_protocol::packet::ok::{OK_HEADER, OkPacket};
use tandem_protocol::packet::session_track::Change;
use tandem_protocol::reply;

use super::aftermath::Aftermath;
use super::bring::{FailedSync, MUST_CHANGE_PASSWORD};
use super::complaint::Complaint;
use super::doubt;
use super::guarded::Guarded;
use super::hold::Ties;
use super::lease::NoLease;
use super::named::NamedStatements;
use super::prove::{Claim, Proved, Refused, Vouching, prove, read_packet};
use super::reading::Reading;
use super::registry::{Handle, Signal};
use super::relay::Client;
use super::ruled::Memberships;
use super::settings::{Settings, names_of_login};
use super::statements::Statements;
use super::writes::WrittenTables;
use super::{End, Session, offer};
use crate::config::Auth;
use crate::net::address::Peer;
use crate::net::buffer::Inbox;
use crate::net::compressed::Side;
use crate::net::nonce;
use crate::net::proxied::{self, Beginning};
use crate::net::tls::Certified;
use crate::net::{self, Stream};
use crate::quota::Places;
use crate::route::Written;
use crate::topology::Flavor;
use crate::topology::ledger::Writing;
use crate::worker::Worker;

/// What the greeting offers: see [`offer`], beside TLS where Tandem has a certificate, and files where somebody may send
/// them.
fn offered(worker: &Worker, tls: bool) -> Capabilities {
    let topology = worker.topology.load();
    let versions = topology
        .servers
        .iter()
        .filter_map(|server| server.version.as_ref());
    let mut offered = offer::offered(versions);
    offered.set(Capabilities::SSL, tls);
    // As the servers have it (measured).
    let is_mysql = worker.flavor() == Flavor::MySql;
    offered.set(Capabilities::SSL_VERIFY_SERVER_CERT, tls && is_mysql);
    // Who it is comes only with the answer: an account that may not gets connections without.
    let config = worker.config();
    let others = config.listener.auth == Auth::Servers && config.allows_local_infile(None);
    let anybody = others
        || config
            .users
            .iter()
            .any(|user| config.allows_local_infile(Some(user)));
    offered.set(Capabilities::LOCAL_FILES, anybody);
    if worker.flavor() == Flavor::MariaDb {
        // Bit 0 clear says that the extended half is there.
        offered -= Capabilities::LONG_PASSWORD;
        offered |= Capabilities::MARIADB_STMT_BULK;
    }
    for algorithm in &config.listener.compression.0 {
        // MariaDB does not know zstd, nor do applications expect it there.
        let known = *algorithm == Algorithm::Zlib || worker.flavor() == Flavor::MySql;
        offered.set(algorithm.flag(), known);
    }
    offered
}

/// Logs a client in.
///
/// # Errors
/// [`End`]; where the client can be told, it has been.
pub(super) async fn log_in(
    worker: &Rc<Worker>,
    handle: &Rc<Handle>,
    stream: Stream,
    id: u32,
) -> Result<Session, End> {
    let config = worker.config();
    let mut client = Client {
        stream,
        inbox: Inbox::new(Rc::clone(&worker.slab)),
        capabilities: Capabilities::PROTOCOL_41,
        write_timeout: config.listener.write_timeout,
        seq: 1,
        filter: None,
    };
    let bound = config.listener.handshake_timeout;
    let result = tokio::time::timeout(bound, introduce(worker, handle, &mut client, id)).await;
    let (refusal, seq) = match result {
        Ok(Ok(introduced)) => return welcome(worker, handle, client, introduced).await,
        Ok(Err(Refused { complaint, seq })) => (complaint, seq),
        Err(_) => (Some(Complaint::login_timeout(bound)), 1),
    };
    let Some(complaint) = refusal else {
        return Err(End::Closed);
    };
    tell(&mut client, Vec::new(), &complaint, seq).await;
    Err(End::Login(complaint.to_string()))
}

/// Sends the error behind what is in `out` already.
async fn tell(client: &mut Client, mut out: Vec<u8>, complaint: &Complaint, seq: u8) {
    complaint.write(&mut out, seq, client.capabilities);
    // It may have gone; the log has it in any case.
    let _ = tokio::time::timeout(Duration::from_secs(1), client.stream.write_all(&out)).await;
}

struct Introduced {
    schema: Option<Vec<u8>>,
    charset: u8,
    proved: Proved,
    zstd_level: u8,
}

async fn introduce(
    worker: &Worker,
    handle: &Handle,
    client: &mut Client,
    id: u32,
) -> Result<Introduced, Refused> {
    if handle.signal() != Signal::None {
        return Err(Refused::with(Complaint::stopping(), 0));
    }
    if !worker.has_memory() {
        let limit = worker.config().limits.session_memory;
        let client = handle.client.get();
        tracing::warn!(%client, limit, "a client was refused: limits.session_memory is used up");
        return Err(Refused::with(Complaint::no_memory(limit), 0));
    }
    let nonce = nonce::fresh().map_err(|_| Refused::silently())?;
    let version = worker.greeting_version();
    let plugin = worker.greeting_method().plugin();
    let vouches = worker.vouches();
    let tls = worker.tls.clients.current(vouches);
    let accept = Accept::new(AcceptOptions {
        version: version.as_bytes(),
        connection_id: id,
        nonce,
        capabilities: offered(worker, tls.is_some()),
        charset: worker.greeting_collation(),
        plugin,
    });
    let mut out = Vec::new();
    accept.greeting(&mut out);
    client.write(&out).await.map_err(|_| Refused::silently())?;
    let login = answer(worker, handle, client, accept, tls.as_deref()).await?;
    client.capabilities = login.capabilities;
    let required = worker
        .config()
        .client_tls
        .as_ref()
        .is_some_and(|tls| tls.required);
    if required && !handle.is_protected() {
        return Err(Refused::with(Complaint::insecure_transport(), login.dialogue.seq));
    }
    let claim = Claim {
        nonce: can_be_checked(&login.plugin, plugin, login.capabilities).then_some(nonce),
        user: login.user,
        plugin: login.plugin,
        proof: login.proof,
        dialogue: login.dialogue,
        vouching: tls.filter(|_| vouches).map(|tls| Vouching {
            nonce,
            certificate: tls.fingerprint,
        }),
        is_change: false,
    };
    let proved = prove(worker, client, handle, claim).await?;
    Ok(Introduced {
        schema: login.schema,
        charset: login.charset,
        proved,
        zstd_level: login.zstd_level,
    })
}

/// The client's answer to the greeting, through TLS if it asks for that.
async fn answer(
    worker: &Worker,
    handle: &Handle,
    client: &mut Client,
    accept: Accept<'_>,
    tls: Option<&Certified>,
) -> Result<Login, Refused> {
    learn_origin(worker, handle, client).await?;
    let (seq, payload) = read_packet(client).await?;
    let accept = match accept.response(seq, &payload).map_err(Refused::malformed)? {
        Answer::Login(login) => return Ok(login),
        Answer::StartTls(accept) => accept,
    };
    let Some(tls) = tls else {
        return Err(Refused::silently());
    };
    if let Err(error) = client.stream.accept_tls(&tls.acceptor, &mut client.inbox).await {
        // There is no common language left to tell it in; TLS has its own alerts.
        tracing::info!(session = handle.id, client = %handle.client.get(), "TLS with a client failed: {error}");
        return Err(Refused::silently());
    }
    handle.tls.set(client.stream.tls_version());
    let (seq, payload) = read_packet(client).await?;
    match accept.response(seq, &payload).map_err(Refused::malformed)? {
        Answer::Login(login) => Ok(login),
        Answer::StartTls(_) => Err(Refused::silently()),
    }
}

/// A trusted load balancer says before the client's answer whose connection it is, or says nothing. The greeting is
/// out already: MariaDB's `proxy_protocol_networks` does not wait for a header either.
async fn learn_origin(worker: &Worker, handle: &Handle, client: &mut Client) -> Result<(), Refused> {
    let Peer::Tcp(balancer) = handle.client.get() else {
        return Ok(());
    };
    if !worker.config().listener.proxy_protocol.contains(balancer.ip()) {
        return Ok(());
    }
    loop {
        let Client { stream, inbox, .. } = &mut *client;
        let (len, source) = match proxied::look(inbox.bytes()) {
            Ok(Beginning::NoHeader) => return Ok(()),
            Ok(Beginning::Header { len, source }) => (len, source),
            Ok(Beginning::Needs(wanted)) => {
                let filled = net::fill(stream, inbox, wanted).await;
                filled.map_err(|_| Refused::silently())?;
                continue;
            }
            Err(error) => return Err(Refused::with(Complaint::malformed_login(error), 1)),
        };
        inbox.consume(len);
        if let Some(source) = source {
            handle.client.set(Peer::Tcp(source));
        }
        return Ok(());
    }
}

/// Whether the proof that comes with the answer is over the greeting's nonce: clients that answer for another
/// plugin than the greeting named wait to be asked. One without plugins can't be asked for anything else.
fn can_be_checked(plugin: &[u8], greeted: &str, capabilities: Capabilities) -> bool {
    plugin == greeted.as_bytes() || !capabilities.contains(Capabilities::PLUGIN_AUTH)
}

/// The session begins: its default schema is checked with a server before the client hears OK.
async fn welcome(
    worker: &Rc<Worker>,
    handle: &Rc<Handle>,
    client: Client,
    introduced: Introduced,
) -> Result<Session, End> {
    let Introduced {
        schema,
        charset,
        proved,
        zstd_level,
    } = introduced;
    let Proved {
        account,
        seq,
        before: mut out,
        voucher,
    } = proved;
    *handle.user.borrow_mut() = Rc::from(&*account.name);
    let flags = worker.flags_for(client.capabilities, &account);
    let names = names_of_login(u16::from(charset), &worker.topology.load());
    let settings = Rc::new(Settings::new(names, schema.as_deref()));
    let config = worker.config();
    let level = config.level(account.configured_in(&config));
    let mut session = Session {
        worker: Rc::clone(worker),
        handle: Rc::clone(handle),
        places: Places::none(),
        client,
        account,
        flags,
        epoch: worker.epoch(),
        reading: Reading::new(&settings, &worker.topology.load()),
        aftermath: Aftermath::default(),
        settings,
        reports: None,
        warnings: 0,
        ties: Ties::default(),
        level,
        config_version: worker.config_version(),
        written: Written::Nothing,
        writing: Writing::default(),
        written_tables: WrittenTables::new(),
        trail: doubt::Trail::default(),
        insert_id: Rc::default(),
        statements: Statements::default(),
        names: NamedStatements::default(),
        rolled_back: None,
        record: None,
        lease: None,
        last: [None; 2],
        last_server: None,
        failed_changes: 0,
        memberships: Memberships::default(),
        guarded: Guarded::default(),
    };
    handle
        .time_limits
        .set(config.time_limits(session.account.configured_in(&config)));
    session.wants_reports(None);
    session.note_server_timeout(session.flags.contains(Capabilities::INTERACTIVE));
    handle.show_schema(session.settings.schema.as_deref());
    if let Err(complaint) = session.be_let_in().await {
        tell(&mut session.client, out, &complaint, seq).await;
        return Err(End::Login(complaint.to_string()));
    }
    let reported = session.reported_at_login();
    session.say_welcome(&mut out, seq, reported, &voucher);
    session.client.write(&out).await?;
    session.begin_compression(zstd_level);
    Ok(session)
}

/// Clients may ask for more of zstd. 16 KiB at level 19 take 20 ms, in which nobody else on the worker is served.
const ZSTD_LEVEL_MAX: u8 = 6;

impl Session {
    /// What follows the OK of the login is compressed, if that was agreed on.
    fn begin_compression(&mut self, zstd_level: u8) {
        let Some(algorithm) = Algorithm::agreed(self.client.capabilities) else {
            return;
        };
        let method = Method {
            algorithm,
            level: match algorithm {
                Algorithm::Zlib => algorithm.default_level(),
                Algorithm::Zstd => zstd_level.clamp(1, ZSTD_LEVEL_MAX),
            },
            threshold: compression::MIN_LENGTH,
        };
        let Client { stream, inbox, .. } = &mut self.client;
        stream.compress(&self.worker.codec, Side::Client, method, inbox);
        self.handle.compression.set(Some(algorithm.name()));
    }

    /// The session state that the servers tell of at a login, as far as the client wants to know it.
    fn reported_at_login(&self) -> Vec<u8> {
        let topology = self.worker.topology.load();
        let (Some(filter), Some(told)) = (&self.client.filter, topology.at_login()) else {
            return Vec::new();
        };
        let autocommit = if told.autocommit { "ON" } else { "OFF" };
        let charset = charset::by_id(self.settings.names().collation).map(|collation| collation.charset);
        let mut values = vec![("autocommit", autocommit), ("time_zone", &*told.time_zone)];
        for name in [
            "character_set_client",
            "character_set_connection",
            "character_set_results",
        ] {
            values.extend(charset.map(|charset| (name, charset)));
        }
        values.push(("redirect_url", &*told.redirect_url));
        let mut all = Vec::new();
        for (name, value) in values {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            Change::SystemVariable { name, value }.encode(&mut all);
        }
        // What was just written can be read.
        filter.apply(&all).unwrap_or_default()
    }

    /// The OK of a login: servers report the schema with it (measured), and what is in `reported`; `voucher` is its text.
    pub(super) fn say_welcome(&self, out: &mut Vec<u8>, seq: u8, mut reported: Vec<u8>, voucher: &str) {
        if let Some(schema) = self.settings.schema.as_deref()
            && self.client.filter.as_ref().is_some_and(|filter| filter.schema())
        {
            Change::Schema(schema).encode(&mut reported);
        }
        let packet = OkPacket {
            status: Status::AUTOCOMMIT,
            info: voucher.as_bytes(),
            session_state: &reported,
            ..OkPacket::default()
        };
        reply::ok_packet(out, seq, OK_HEADER, &packet, self.client.capabilities);
    }

    /// What the servers have to say before the client hears OK.
    pub(super) async fn be_let_in(&mut self) -> Result<(), Complaint> {
        self.be_vouched_for().await?;
        self.check_schema().await?;
        let (user, client) = (&self.account.name, self.handle.client.get());
        self.places = self.worker.quotas.enter(user, client).map_err(|exceeded| {
            tracing::warn!(%user, %client, limit = exceeded.limit, "a client was refused: {} is reached", exceeded.key);
            Complaint::too_many_sessions(user, &exceeded)
        })?;
        Ok(())
    }

    /// Has the default schema checked by the active master. A schema that a pooled connection has, or that
    /// was checked a moment ago, is taken as checked: a client that connects for each page pays for it once.
    async fn check_schema(&mut self) -> Result<(), Complaint> {
        let Some(schema) = self.settings.schema.clone() else {
            return Ok(());
        };
        if self.worker.schemas.is_known(self.account.id, &schema) {
            return Ok(());
        }
        let Some(active) = self.worker.topology.load().active else {
            // Nobody can tell now; the first statement will.
            return Ok(());
        };
        let facts = Rc::clone(&self.worker.known_facts.use_schema);
        let mut lease = self
            .lease_from(active, &facts)
            .await
            .map_err(|failed| match failed {
                NoLease::Refused(complaint) => complaint,
                NoLease::Over(_) => Complaint::interrupted(),
            })?;
        let connection = lease.connection_mut();
        let capabilities = self.client.capabilities;
        let failed = |failed: FailedSync| match failed {
            FailedSync::Refused(complaint) => complaint,
            FailedSync::Lost(error) => {
                Complaint::lost("active master", error, doubt::NOT_KNOWN, capabilities)
            }
        };
        let preamble = match self.bring_state(connection, &facts).await {
            Ok(preamble) => preamble,
            Err(error) => {
                connection.broken = true;
                return Err(failed(error));
            }
        };
        if !preamble.is_empty() {
            let sent = connection.stream.write_all(&preamble.bytes).await;
            let answered = match sent {
                Ok(()) => preamble.replies(self, connection).await,
                Err(error) => Err(super::relay::Error::Server(error)),
            };
            match answered {
                Ok(Ok(())) => {}
                Ok(Err(refused)) if refused.code == MUST_CHANGE_PASSWORD => {
                    connection.soiled = true;
                    lease.release();
                    return Ok(());
                }
                Ok(Err(refused)) => {
                    connection.broken = true;
                    return Err(Complaint::of_server(refused));
                }
                Err(error) => {
                    connection.broken = true;
                    return Err(failed(FailedSync::Lost(error)));
                }
            }
        }
        lease.release();
        self.worker.schemas.note(self.account.id, &schema);
        Ok(())
    }
}
