//! Proof of a password, at login and at `COM_CHANGE_USER`: asks the client until there is a proof that can be
//! checked, and checks it.

use std::sync::Arc;

use tandem_protocol::auth::native::NONCE_LEN;
use tandem_protocol::auth::sha2;
use tandem_protocol::error::DecodeError;
use tandem_protocol::frame::{HEADER_LEN, Header};
use tandem_protocol::handshake::Dialogue;

use super::complaint::Complaint;
use super::relay::Client;
use crate::net;
use crate::worker::Worker;
use crate::worker::accounts::{Account, Method};

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
}

/// The client is who it said.
pub(super) struct Proved {
    pub(super) account: Arc<Account>,
    /// The number of the packet that tells the client so.
    pub(super) seq: u8,
    /// What has to go out before it, in the same write.
    pub(super) before: Vec<u8>,
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
        Self::with(Complaint::malformed_login(error), 2)
    }
}

/// Has the client prove its claim. `host` is where it comes from, for the error.
pub(super) async fn prove(
    worker: &Worker,
    client: &mut Client,
    host: &str,
    claim: Claim,
) -> Result<Proved, Refused> {
    let Claim {
        user,
        plugin,
        mut proof,
        nonce,
        mut dialogue,
    } = claim;
    let denied = |proof: &[u8], seq| {
        let user = String::from_utf8_lossy(&user);
        Refused::with(Complaint::access_denied(&user, host, !proof.is_empty()), seq)
    };
    let Some(claimed) = worker.accounts.claimed(&user) else {
        return Err(denied(&proof, dialogue.seq));
    };
    // A client that knows neither is asked for the one that all know.
    let method = claimed.method(Method::by_plugin(&plugin).unwrap_or(worker.greeting_method()));
    let nonce = match nonce {
        Some(nonce) if method.plugin().as_bytes() == plugin => nonce,
        _ => {
            let nonce = fresh_nonce().map_err(|_| Refused::silently())?;
            let mut out = Vec::new();
            dialogue.switch(method.plugin(), &nonce, &mut out);
            proof = ask(client, &mut dialogue, &out).await?;
            nonce
        }
    };
    let Some(account) = claimed.verify(method, &nonce, &proof) else {
        return Err(denied(&proof, dialogue.seq));
    };
    let mut before = Vec::new();
    if method == Method::Sha2 && !proof.is_empty() {
        dialogue.more_data(&[sha2::FAST_OK], &mut before);
    }
    Ok(Proved {
        account,
        seq: dialogue.seq,
        before,
    })
}

/// Sends a question and reads the answer.
async fn ask(client: &mut Client, dialogue: &mut Dialogue, question: &[u8]) -> Result<Vec<u8>, Refused> {
    client.write(question).await.map_err(|_| Refused::silently())?;
    let (seq, answer) = read_packet(client).await?;
    dialogue.answered(seq).map_err(Refused::malformed)?;
    Ok(answer)
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
