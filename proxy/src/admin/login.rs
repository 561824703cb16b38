//! Lets administrators in, by the handshake that the clients of the data path meet too: TLS where it is configured, and the method that
//! the client knows, `caching_sha2_password` (all that MySQL 9 has) or `mysql_native_password`. opensrv-mysql gets a connection on
//! which somebody has logged in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tandem_protocol::auth::{native, sha2};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame;
use tandem_protocol::handshake::accept::{Accept, AcceptOptions, Answer, Login};
use tandem_protocol::handshake::response::HandshakeResponse;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::show::VERSION;
use super::stream::error_packet;
use crate::config::{self, Rights};
use crate::net::nonce;

/// What opensrv speaks.
const OFFERED: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::PLUGIN_AUTH_LENENC_DATA)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::DEPRECATE_EOF);

/// A packet of a login is not longer.
const LONGEST: usize = 16 * 1024;

/// So much of a name is repeated in the audit.
const LONGEST_NAME: usize = 80;

/// utf8mb4_general_ci
const CHARSET: u8 = 45;

/// Access denied; the number and state that every client knows for a wrong password.
const DENIED: (u16, &[u8; 5]) = (1045, b"28000");

/// Who may come in, and to do what.
pub(super) struct Account {
    pub(super) user: String,
    pub(super) rights: Rights,
    /// What is known of the password by each method; none if it is empty, and then nobody comes in.
    proofs: Option<([u8; 20], [u8; 32])>,
}

impl Account {
    fn new(user: String, password: &[u8], rights: Rights) -> Self {
        let proofs = (native::double_sha1(password), sha2::double_sha256(password));
        Self {
            user,
            rights,
            proofs: (!password.is_empty()).then_some(proofs),
        }
    }

    fn is_proved(&self, nonce: &[u8; native::NONCE_LEN], proof: &[u8], is_native: bool) -> bool {
        let proofs = self.proofs.as_ref();
        proofs.is_some_and(|(by_native, by_sha2)| match is_native {
            true => native::verify(by_native, nonce, proof),
            false => sha2::verify(by_sha2, nonce, proof),
        })
    }
}

/// All accounts of the admin port; the first is that of `[admin]`.
pub(super) struct Accounts(Vec<Arc<Account>>);

impl Accounts {
    pub(super) fn new(admin: &config::Admin, more: &[config::AdminUser]) -> Self {
        let first = Account::new(
            admin.user.clone(),
            admin.password.reveal().as_bytes(),
            Rights::ALL,
        );
        let more = more
            .iter()
            .map(|user| Account::new(user.name.clone(), user.password.reveal().as_bytes(), user.rights));
        Self(std::iter::once(first).chain(more).map(Arc::new).collect())
    }

    /// An unknown user's password is checked too, so that time does not tell which of the two was wrong.
    fn admitted(
        &self,
        user: &[u8],
        nonce: &[u8; native::NONCE_LEN],
        proof: &[u8],
        is_native: bool,
    ) -> Option<Arc<Account>> {
        let named = self.0.iter().find(|account| account.user.as_bytes() == user);
        let asked = named.or(self.0.first())?;
        let is_proved = asked.is_proved(nonce, proof, is_native);
        named.filter(|_| is_proved).cloned()
    }
}

/// Any stream, in clear or not.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A client that is who it says.
pub(super) struct LoggedIn<'a> {
    pub(super) stream: Box<dyn Duplex + 'a>,
    /// The answer to a greeting that opensrv is to see: it takes the schema and the sequence number from it.
    pub(super) response: Vec<u8>,
    pub(super) account: Arc<Account>,
}

/// Why nobody came in.
#[derive(Debug, Error)]
pub(super) enum Refused {
    /// It has been told so.
    #[error("access denied to user {user:?}")]
    Denied { user: String },
    /// The client went away or broke the protocol.
    #[error(transparent)]
    Broken(#[from] io::Error),
}

/// Leads the handshake up to the point where the client's password is known to be right.
///
/// # Errors
/// When the client goes away, breaks the protocol, or is refused, which it has been told then.
pub(super) async fn log_in<'a, S: Duplex + 'a>(
    mut stream: S,
    accounts: &Accounts,
    tls: Option<TlsAcceptor>,
    id: u32,
    peer: SocketAddr,
) -> Result<LoggedIn<'a>, Refused> {
    let nonce = nonce::fresh().map_err(io::Error::other)?;
    let mut capabilities = OFFERED;
    capabilities.set(Capabilities::SSL, tls.is_some());
    let accept = Accept::new(AcceptOptions {
        version: VERSION.as_bytes(),
        connection_id: id,
        nonce,
        capabilities,
        charset: CHARSET,
        plugin: native::PLUGIN,
    });
    let mut out = Vec::new();
    accept.greeting(&mut out);
    stream.write_all(&out).await?;
    let (seq, payload) = packet(&mut stream).await?;
    match (accept.response(seq, &payload).map_err(invalid)?, tls) {
        (Answer::Login(login), _) => prove(Box::new(stream), accounts, login, nonce, peer).await,
        (Answer::StartTls(accept), Some(tls)) => {
            let mut stream = tls.accept(stream).await?;
            let (seq, payload) = packet(&mut stream).await?;
            match accept.response(seq, &payload).map_err(invalid)? {
                Answer::Login(login) => prove(Box::new(stream), accounts, login, nonce, peer).await,
                Answer::StartTls(_) => Err(invalid("TLS was asked for twice").into()),
            }
        }
        (Answer::StartTls(_), None) => Err(invalid("TLS was asked for and not offered").into()),
    }
}

async fn prove<'a>(
    mut stream: Box<dyn Duplex + 'a>,
    accounts: &Accounts,
    mut login: Login,
    mut nonce: [u8; native::NONCE_LEN],
    peer: SocketAddr,
) -> Result<LoggedIn<'a>, Refused> {
    let is_native = login.plugin != sha2::PLUGIN.as_bytes();
    // A proof by another method than the greeting's is for no nonce, or not by one that is known here.
    if login.plugin != native::PLUGIN.as_bytes() || login.proof.is_empty() {
        nonce = nonce::fresh().map_err(io::Error::other)?;
        let plugin = if is_native { native::PLUGIN } else { sha2::PLUGIN };
        let mut out = Vec::new();
        login.dialogue.switch(plugin, &nonce, &mut out);
        stream.write_all(&out).await?;
        let (seq, proof) = packet(&mut stream).await?;
        login.dialogue.answered(seq).map_err(invalid)?;
        login.proof = proof;
    }
    let Some(account) = accounts.admitted(&login.user, &nonce, &login.proof, is_native) else {
        let refusal = format!("Access denied to Tandem's admin port from {peer}");
        stream
            .write_all(&error_packet(login.dialogue.seq, DENIED, &refusal))
            .await?;
        stream.shutdown().await?;
        let user = String::from_utf8_lossy(&login.user)
            .chars()
            .take(LONGEST_NAME)
            .collect();
        return Err(Refused::Denied { user });
    };
    if !is_native {
        let mut out = Vec::new();
        login.dialogue.more_data(&[sha2::FAST_OK], &mut out);
        stream.write_all(&out).await?;
    }
    let mut response = Vec::new();
    let start = frame::begin(&mut response);
    HandshakeResponse {
        capabilities: login.capabilities - Capabilities::SSL,
        max_packet: login.max_packet,
        charset: CHARSET,
        user: account.user.as_bytes(),
        // It was looked at here.
        proof: b"proved",
        schema: login.schema.as_deref().filter(|schema| !schema.is_empty()),
        plugin: Some(native::PLUGIN.as_bytes()),
        attributes: &[],
        zstd_level: 0,
    }
    .encode(&mut response);
    frame::end(&mut response, start, login.dialogue.seq.wrapping_sub(1));
    Ok(LoggedIn {
        stream,
        response,
        account,
    })
}

/// A packet's number and what is in it.
async fn packet(stream: &mut (impl AsyncRead + Unpin + ?Sized)) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let [a, b, c, seq] = header;
    let length = u32::from_le_bytes([a, b, c, 0]) as usize;
    if length > LONGEST {
        return Err(invalid("a packet of a login is not so long"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    Ok((seq, payload))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
