//! A client's login: greeting, proof of the password, default schema.

use std::rc::Rc;
use std::time::Duration;

use tandem_protocol::auth::native::NONCE_LEN;
use tandem_protocol::flags::{Capabilities, Status};
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::handshake::accept::{Accept, AcceptOptions, Login, Proof};
use tandem_protocol::reply;

use super::bring::FailedSync;
use super::complaint::Complaint;
use super::hold::Ties;
use super::reading::Reading;
use super::registry::{Handle, Signal};
use super::relay::Client;
use super::settings::Settings;
use super::statements::Statements;
use super::{End, Session};
use crate::backend::connect;
use crate::net::buffer::Inbox;
use crate::net::{self, Stream};
use crate::route::Written;
use crate::worker::Worker;
use crate::worker::accounts::Account;

/// What Tandem offers to clients. Not offered, so that no client asks for it: TLS, compression, LOCAL INFILE,
/// session tracking, query attributes and MariaDB's extended flags.
const OFFERED: Capabilities = Capabilities::LONG_PASSWORD
    .union(Capabilities::FOUND_ROWS)
    .union(Capabilities::LONG_FLAG)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::NO_SCHEMA)
    .union(Capabilities::ODBC)
    .union(Capabilities::IGNORE_SPACE)
    .union(Capabilities::PROTOCOL_41)
    .union(Capabilities::INTERACTIVE)
    .union(Capabilities::IGNORE_SIGPIPE)
    .union(Capabilities::TRANSACTIONS)
    .union(Capabilities::RESERVED)
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS)
    .union(Capabilities::PS_MULTI_RESULTS)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::PLUGIN_AUTH_LENENC_DATA)
    .union(Capabilities::DEPRECATE_EOF);

/// utf8mb4_general_ci, as the servers greet.
const GREETING_COLLATION: u8 = 45;

/// No packet of a login is larger; nobody who has not logged in gets more memory.
const LOGIN_PACKET_LIMIT: usize = 64 * 1024;

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
    let mut client = Client {
        stream,
        inbox: Inbox::new(Rc::clone(&worker.slab)),
        capabilities: Capabilities::PROTOCOL_41,
        write_timeout: worker.config.listener.write_timeout,
    };
    let bound = worker.config.listener.handshake_timeout;
    let result = tokio::time::timeout(bound, introduce(worker, handle, &mut client, id)).await;
    let (refusal, seq) = match result {
        Ok(Ok(introduced)) => return welcome(worker, handle, client, introduced).await,
        Ok(Err(Refused { complaint, seq })) => (complaint, seq),
        Err(_) => (Some(Complaint::login_timeout(bound)), 1),
    };
    let Some(complaint) = refusal else {
        return Err(End::Closed);
    };
    tell(&mut client, &complaint, seq).await;
    Err(End::Login(complaint.to_string()))
}

async fn tell(client: &mut Client, complaint: &Complaint, seq: u8) {
    let mut out = Vec::new();
    complaint.write(&mut out, seq, client.capabilities);
    // It may have gone; the log has it in any case.
    let _ = tokio::time::timeout(Duration::from_secs(1), client.stream.write_all(&out)).await;
}

struct Introduced {
    login: Login,
    account: Account,
    nonce: [u8; NONCE_LEN],
}

/// The complaint is `None` when there is nobody to tell.
struct Refused {
    complaint: Option<Complaint>,
    seq: u8,
}

impl Refused {
    fn silently() -> Self {
        Self {
            complaint: None,
            seq: 0,
        }
    }

    fn with(complaint: Complaint, seq: u8) -> Self {
        Self {
            complaint: Some(complaint),
            seq,
        }
    }
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
    let mut nonce = fresh_nonce().map_err(|_| Refused::silently())?;
    let version = worker.greeting_version();
    let accept = Accept::new(AcceptOptions {
        version: version.as_bytes(),
        connection_id: id,
        nonce,
        capabilities: OFFERED,
        charset: GREETING_COLLATION,
    });
    let mut out = Vec::new();
    accept.greeting(&mut out);
    client.write(&out).await.map_err(|_| Refused::silently())?;
    let (seq, payload) = read_packet(client).await?;
    let malformed =
        |error: tandem_protocol::error::DecodeError| Refused::with(Complaint::malformed_login(error), 2);
    let mut login = accept.response(seq, &payload).map_err(malformed)?;
    client.capabilities = login.capabilities;
    if login.proof == Proof::Switch {
        nonce = fresh_nonce().map_err(|_| Refused::silently())?;
        out.clear();
        login.request_switch(&nonce, &mut out);
        client.write(&out).await.map_err(|_| Refused::silently())?;
        let (seq, payload) = read_packet(client).await?;
        login = login.switched(seq, &payload).map_err(malformed)?;
    }
    let seq = login.seq;
    let account = check(worker, handle, &login, &nonce).map_err(|complaint| Refused::with(complaint, seq))?;
    Ok(Introduced {
        login,
        account,
        nonce,
    })
}

fn check(
    worker: &Worker,
    handle: &Handle,
    login: &Login,
    nonce: &[u8; NONCE_LEN],
) -> Result<Account, Complaint> {
    let name = String::from_utf8_lossy(&login.user);
    let proof = match &login.proof {
        Proof::Native(proof) => proof.as_slice(),
        Proof::Switch => &[],
    };
    worker
        .accounts
        .verify(&login.user, nonce, proof)
        .ok_or_else(|| Complaint::access_denied(&name, &handle.client.ip().to_string(), !proof.is_empty()))
}

/// The session begins: its default schema is checked with a server before the client hears OK.
async fn welcome(
    worker: &Rc<Worker>,
    handle: &Rc<Handle>,
    client: Client,
    introduced: Introduced,
) -> Result<Session, End> {
    let Introduced {
        login,
        account,
        nonce,
    } = introduced;
    *handle.user.borrow_mut() = Rc::clone(&account.name);
    let flags = connect::flags_for(login.capabilities);
    let settings = Rc::new(Settings::new(u16::from(login.charset), login.schema.as_deref()));
    let mut session = Session {
        worker: Rc::clone(worker),
        handle: Rc::clone(handle),
        client,
        user: account.id,
        nonce,
        flags,
        reading: Reading::new(&settings, &worker.topology.load()),
        settings,
        ties: Ties::default(),
        written: Written::Nothing,
        insert_id: Rc::default(),
        statements: Statements::default(),
        lease: None,
        last: [None; 2],
        last_server: None,
    };
    handle.show_schema(session.settings.schema.as_deref());
    if let Err(complaint) = session.check_schema().await {
        tell(&mut session.client, &complaint, login.seq).await;
        return Err(End::Login(complaint.to_string()));
    }
    let mut out = Vec::new();
    reply::ok(
        &mut out,
        login.seq,
        Status::AUTOCOMMIT,
        session.client.capabilities,
    );
    session.client.write(&out).await?;
    Ok(session)
}

impl Session {
    /// Has the default schema checked by the active master. A schema that a pooled connection has, or that
    /// was checked a moment ago, is taken as checked: a client that connects for each page pays for it once.
    pub(super) async fn check_schema(&mut self) -> Result<(), Complaint> {
        let Some(schema) = self.settings.schema.clone() else {
            return Ok(());
        };
        if self.worker.schemas.is_known(self.user, &schema) {
            return Ok(());
        }
        let Some(active) = self.worker.topology.load().active else {
            // Nobody can tell now; the first statement will.
            return Ok(());
        };
        let facts = Rc::clone(&self.worker.known_facts.use_schema);
        let mut lease = self.lease_from(active, &facts).await?;
        let connection = lease.connection_mut();
        let failed = |failed: FailedSync| match failed {
            FailedSync::Refused(complaint) => complaint,
            FailedSync::Lost(error) => Complaint::lost("active master", error, false),
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
                Ok(()) => preamble.replies(connection).await,
                Err(error) => Err(super::relay::Error::Server(error)),
            };
            match answered {
                Ok(Ok(())) => {}
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
        self.worker.schemas.note(self.user, &schema);
        Ok(())
    }
}

/// A nonce that no byte of ends a string early or needs escaping, as the servers make them.
pub(super) fn fresh_nonce() -> Result<[u8; NONCE_LEN], getrandom::Error> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce)?;
    for byte in &mut nonce {
        *byte &= 0x7f;
        if *byte == 0 || *byte == b'$' {
            *byte += 1;
        }
    }
    Ok(nonce)
}

async fn read_packet(client: &mut Client) -> Result<(u8, Vec<u8>), Refused> {
    let Client { stream, inbox, .. } = client;
    let filled = net::fill(stream, inbox, HEADER_LEN).await;
    filled.map_err(|_| Refused::silently())?;
    let header = Header::peek(inbox.bytes()).ok_or_else(Refused::silently)?;
    if header.len > LOGIN_PACKET_LIMIT {
        let cause = format!("a login packet of {} bytes", header.len);
        return Err(Refused::with(
            Complaint::malformed_login(cause),
            header.seq.wrapping_add(1),
        ));
    }
    let total = HEADER_LEN + header.len;
    let filled = net::fill(stream, inbox, total).await;
    filled.map_err(|_| Refused::silently())?;
    let payload = inbox.bytes()[HEADER_LEN..total].to_vec();
    inbox.consume(total);
    Ok((header.seq, payload))
}

/// Reads the client's answer to a question in the middle of a command.
pub(super) async fn read_answer(client: &mut Client, bound: Duration) -> Result<(u8, Vec<u8>), End> {
    match tokio::time::timeout(bound, read_packet(client)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(refused)) => Err(match refused.complaint {
            Some(complaint) => End::Complaint(complaint),
            None => End::Closed,
        }),
        Err(_) => Err(End::Complaint(Complaint::login_timeout(bound))),
    }
}
