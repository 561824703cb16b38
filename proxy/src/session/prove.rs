//! Proof of a password, at login and at `COM_CHANGE_USER`: asks the client until there is something that can be
//! checked, and checks it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tandem_protocol::auth::native::NONCE_LEN;
use tandem_protocol::auth::vouch::Fingerprint;
use tandem_protocol::auth::{ed25519, sha2};
use tandem_protocol::error::DecodeError;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::handshake::Dialogue;

use super::complaint::Complaint;
use super::registry::Handle;
use super::relay::Client;
use crate::net;
use crate::net::address::Peer;
use crate::net::nonce;
use crate::topology::Flavor;
use crate::worker::Worker;
use crate::worker::accounts::{Account, Claimed, Method, Verdict};

/// No packet of a login is larger; nobody who has not logged in gets more memory.
const LOGIN_PACKET_LIMIT: usize = 64 * 1024;

/// Who the client says it is.
pub(super) struct Claim {
    pub(super) user: Vec<u8>,
    /// The plugin that the proof is for.
    pub(super) plugin: Vec<u8>,
    pub(super) proof: Vec<u8>,
    /// What the proof must be over, if it is to be looked at; otherwise the client is asked for another.
    pub(super) nonce: Option<[u8; NONCE_LEN]>,
    pub(super) dialogue: Dialogue,
    /// `None` where the servers would not vouch either.
    pub(super) vouching: Option<Vouching>,
    /// By `COM_CHANGE_USER`, not by a login.
    pub(super) is_change: bool,
}

/// By what Tandem proves at the end of a login that it knows the password too.
pub(super) struct Vouching {
    /// Over which the client's own proof is, or would be.
    pub(super) nonce: [u8; NONCE_LEN],
    /// Tandem's.
    pub(super) certificate: Fingerprint,
}

/// The client is who it said.
pub(super) struct Proved {
    pub(super) account: Arc<Account>,
    /// The number of the packet that tells the client so.
    pub(super) seq: u8,
    /// What has to go out before it, in the same write.
    pub(super) before: Vec<u8>,
    /// The text of that packet: see [`vouch`](tandem_protocol::auth::vouch). Empty if nothing is to be said.
    pub(super) voucher: String,
}

/// The complaint is `None` when there is nobody to tell.
pub(super) struct Refused {
    pub(super) complaint: Option<Complaint>,
    pub(super) seq: u8,
}

impl Refused {
    pub(super) fn silently() -> Self {
        Self {
            complaint: None,
            seq: 0,
        }
    }

    pub(super) fn with(complaint: Complaint, seq: u8) -> Self {
        Self {
            complaint: Some(complaint),
            seq,
        }
    }

    pub(super) fn malformed(error: DecodeError) -> Self {
        match error {
            DecodeError::Sequence { expected, .. } => Self::with(Complaint::out_of_order(), expected),
            error => Self::with(Complaint::malformed_login(error), 2),
        }
    }
}

/// Has the client prove its claim, unless its address has failed too often.
pub(super) async fn prove(
    worker: &Worker,
    client: &mut Client,
    handle: &Handle,
    claim: Claim,
) -> Result<Proved, Refused> {
    let address = counted(worker, handle);
    if let Some(address) = address
        && let Some(blocked) = worker.failed_logins.blocked(address, Instant::now())
    {
        worker.count(|counters| counters.logins_held_up += 1);
        let complaint = Complaint::held_up(&address.to_canonical().to_string(), &blocked);
        return Err(Refused::with(complaint, claim.dialogue.seq));
    }
    let proved = examine(worker, client, handle, claim).await;
    if let (Err(refused), Some(address)) = (&proved, address)
        && refused
            .complaint
            .as_ref()
            .is_some_and(Complaint::is_access_denied)
        && worker.failed_logins.note(address, Instant::now())
    {
        tracing::warn!(client = %address, "too many failed logins (listener.failed_logins): the address has to wait");
    }
    proved
}

/// The address that failures count for: a client's own.
fn counted(worker: &Worker, handle: &Handle) -> Option<IpAddr> {
    match handle.client.get() {
        // What was not told of a balancer's client is nobody's fault but all its clients'.
        Peer::Tcp(address) if worker.config().listener.proxy_protocol.contains(address.ip()) => None,
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Local => None,
    }
}

async fn examine(
    worker: &Worker,
    client: &mut Client,
    handle: &Handle,
    claim: Claim,
) -> Result<Proved, Refused> {
    let Claim {
        user,
        plugin,
        proof,
        nonce,
        dialogue,
        vouching,
        is_change,
    } = claim;
    let mut exam = Exam {
        worker,
        client,
        dialogue,
        is_protected: handle.is_protected(),
        vouching,
        given: None,
        before: Vec::new(),
    };
    let denied = |with_password, seq| {
        let user = shown_name(&user, worker.flavor(), is_change);
        let host = handle.client.get().host();
        Refused::with(Complaint::access_denied(&user, &host, with_password), seq)
    };
    let (peer, has_tls) = (handle.client.get(), handle.tls.get().is_some());
    worker.accounts.caught_up().await;
    let Some(claimed) = worker.accounts.claimed(&user, peer, has_tls) else {
        return Err(denied(!proof.is_empty(), exam.dialogue.seq));
    };
    // A client that knows none of them is asked for the one that all know.
    let wanted = Method::by_plugin(&plugin).filter(|method| *method != Method::Clear || exam.is_protected);
    let wanted = wanted.unwrap_or(worker.greeting_method());
    let mut method = match claimed.method(wanted) {
        // As MariaDB asks. MySQL's library offers caching_sha2_password to everybody, and may neither send the password itself
        // without TLS nor ask for a key.
        Method::Sha2
            if worker.flavor() == Flavor::MariaDb && !exam.is_protected && claimed.is_only_native() =>
        {
            Method::Native
        }
        method => method,
    };
    let (nonce, proof) = match nonce {
        Some(nonce) if method.plugin().as_bytes() == plugin => (nonce.to_vec(), proof),
        _ => exam.switch(method).await?,
    };
    // An empty password is proved by nothing, or, by MySQL's own client, by a NUL.
    let proof = if proof == [0] { Vec::new() } else { proof };
    let mut account = exam.examine(&claimed, method, &nonce, &proof).await?;
    if account.is_none() && worker.accounts.renewed(&user).await {
        // The account or its password may be younger than what was known of it.
        let again = worker.accounts.claimed(&user, peer, has_tls);
        if let Some(again) = again.filter(|again| !again.is_same(&claimed)) {
            let (mut nonce, mut proof) = (nonce, proof.clone());
            let suited = again.method(method);
            if suited != method {
                // As MariaDB goes on to the next of several methods.
                (nonce, proof) = exam.switch(suited).await?;
            }
            account = exam.examine(&again, suited, &nonce, &proof).await?;
            method = suited;
        }
    }
    match account {
        Some(account) if account.is_locked => {
            let complaint = Complaint::account_locked(&account.name, &peer.host(), worker.flavor());
            Err(Refused::with(complaint, exam.dialogue.seq))
        }
        Some(account) => {
            worker.accounts.keep(&account);
            let vouching = exam.vouching.filter(|_| !proof.is_empty());
            Ok(Proved {
                voucher: vouching
                    .and_then(|vouching| account.vouch(method, &vouching.nonce, &vouching.certificate))
                    .unwrap_or_default(),
                account,
                seq: exam.dialogue.seq,
                before: exam.before,
            })
        }
        None => Err(denied(!proof.is_empty(), exam.dialogue.seq)),
    }
}

/// Asks the client and hears its answers.
struct Exam<'a> {
    worker: &'a Worker,
    client: &'a mut Client,
    dialogue: Dialogue,
    /// Nobody else can read what the client sends.
    is_protected: bool,
    vouching: Option<Vouching>,
    /// The password, once the client was asked for it.
    given: Option<Vec<u8>>,
    /// Has to go out before the final OK.
    before: Vec<u8>,
}

impl Exam<'_> {
    /// Has the client begin anew, by `method`: the nonce that it gets, and its proof.
    async fn switch(&mut self, method: Method) -> Result<(Vec<u8>, Vec<u8>), Refused> {
        if !self.client.capabilities.contains(Capabilities::PLUGIN_AUTH) && method != Method::Native {
            return Err(Refused::with(Complaint::client_too_old(), self.dialogue.seq));
        }
        let nonce = match method {
            Method::Ed25519 => nonce::fresh::<{ ed25519::NONCE_LEN }>().map(Vec::from),
            _ => nonce::fresh::<NONCE_LEN>().map(Vec::from),
        };
        let nonce = nonce.map_err(|_| Refused::silently())?;
        if let (Some(vouching), Ok(nonce)) = (&mut self.vouching, nonce.as_slice().try_into())
            && method == Method::Native
        {
            vouching.nonce = nonce;
        }
        let mut out = Vec::new();
        self.dialogue.switch(method.plugin(), &nonce, &mut out);
        Ok((nonce, self.ask(&out).await?))
    }

    async fn examine(
        &mut self,
        claimed: &Claimed,
        method: Method,
        nonce: &[u8],
        proof: &[u8],
    ) -> Result<Option<Arc<Account>>, Refused> {
        match claimed.verify(method, nonce, proof) {
            Verdict::Proved(account) => {
                if method == Method::Sha2 && !proof.is_empty() {
                    self.dialogue.more_data(&[sha2::FAST_OK], &mut self.before);
                }
                Ok(Some(account))
            }
            // A wrong proof has the password asked for, as on MySQL: sqlx's is always wrong (it hashes in another order).
            Verdict::Refused if method != Method::Sha2 || proof.is_empty() => Ok(None),
            Verdict::Refused | Verdict::WantPassword => {
                let password = match (method, self.given.take()) {
                    (Method::Clear, _) => without_nul(proof.to_vec()),
                    (_, Some(given)) => Some(given),
                    (_, None) => self.password(nonce).await?,
                };
                self.given.clone_from(&password);
                match password {
                    Some(password) => Ok(claimed.verify_password(password).await),
                    None => Ok(None),
                }
            }
        }
    }

    /// Asks for the password itself: as it is, where nobody can read it, or encrypted with Tandem's RSA key.
    async fn password(&mut self, nonce: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let mut answer = self.ask_more(&[sha2::WANT_PASSWORD]).await?;
        // PHP asks for the key on a Unix socket too.
        if self.is_protected && answer != [sha2::WANT_KEY] {
            return Ok(without_nul(answer));
        }
        let Some(key) = self.worker.rsa_key.get().await else {
            return Err(Refused::with(Complaint::no_rsa_key(), self.dialogue.seq));
        };
        if answer == [sha2::WANT_KEY] {
            answer = self.ask_more(key.public_pem().as_bytes()).await?;
        }
        // What can't be decrypted is a wrong password, and nothing more is said of it.
        let masked = key.decrypt(&answer).ok();
        Ok(masked.and_then(|masked| without_nul(sha2::mask(&masked, nonce))))
    }

    /// A question in the middle of a method.
    async fn ask_more(&mut self, data: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut out = Vec::new();
        self.dialogue.more_data(data, &mut out);
        self.ask(&out).await
    }

    /// Sends a question and reads the answer.
    async fn ask(&mut self, question: &[u8]) -> Result<Vec<u8>, Refused> {
        let sent = self.client.write(question).await;
        sent.map_err(|_| Refused::silently())?;
        let (seq, answer) = read_packet(self.client).await?;
        self.dialogue.answered(seq).map_err(Refused::malformed)?;
        Ok(answer)
    }
}

/// A name as an error about it has it. The servers keep names in utf8mb3 and have a question mark for what that lacks;
/// MySQL shows 48 bytes of one, MariaDB takes 128 characters of it, or, in a change of user, 384 bytes (measured).
pub(super) fn shown_name(name: &[u8], flavor: Flavor, is_change: bool) -> String {
    let name = String::from_utf8_lossy(name);
    let (chars, bytes) = match (flavor, is_change) {
        (Flavor::MySql, _) => (usize::MAX, 48),
        (Flavor::MariaDb, false) => (128, usize::MAX),
        (Flavor::MariaDb, true) => (usize::MAX, 384),
    };
    let mut shown = String::new();
    for character in name.chars().take(chars) {
        let character = if character.len_utf8() > 3 { '?' } else { character };
        if shown.len() + character.len_utf8() > bytes {
            break;
        }
        shown.push(character);
    }
    shown
}

/// A password as it is sent.
fn without_nul(mut password: Vec<u8>) -> Option<Vec<u8>> {
    (password.pop() == Some(0)).then_some(password)
}

/// Reads one packet of a login: its number and payload.
pub(super) async fn read_packet(client: &mut Client) -> Result<(u8, Vec<u8>), Refused> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths in bytes, captured from MariaDB 10.11 and MySQL 9.7.
    #[test]
    fn names_are_cut_as_the_servers_cut_them() {
        for (character, count, mysql, login, change) in [
            ("n", 49, 48, 49, 49),
            ("n", 260, 48, 128, 260),
            ("ä", 129, 48, 256, 258),
            ("ä", 200, 48, 256, 384),
            ("€", 129, 48, 384, 384),
            ("😀", 33, 33, 33, 33),
            ("😀", 200, 48, 128, 200),
        ] {
            let name = character.repeat(count);
            let shown = |flavor, is_change| shown_name(name.as_bytes(), flavor, is_change).len();
            assert_eq!(shown(Flavor::MySql, false), mysql, "{name}");
            assert_eq!(shown(Flavor::MySql, true), mysql, "{name}");
            assert_eq!(shown(Flavor::MariaDb, false), login, "{name}");
            assert_eq!(shown(Flavor::MariaDb, true), change, "{name}");
        }
    }
}
