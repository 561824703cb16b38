//! `COM_CHANGE_USER`: another account on the same connection, and a session as if newly logged in.

use std::rc::Rc;

use tandem_protocol::auth::native;
use tandem_protocol::command::ChangeUser;
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::handshake::auth_switch::AuthSwitchRequest;
use tandem_protocol::reply;

use super::complaint::Complaint;
use super::login::{fresh_nonce, read_answer};
use super::settings::Settings;
use super::{Command, End, Session};
use crate::route::Written;

/// What the client asked for.
struct Request {
    user: Vec<u8>,
    proof: Vec<u8>,
    schema: Option<Vec<u8>>,
    charset: Option<u16>,
    is_native: bool,
}

impl Session {
    pub(super) async fn change_user(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Change user");
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let request = ChangeUser::decode(payload, self.client.capabilities).map(|request| Request {
            user: request.user.to_vec(),
            proof: request.proof.to_vec(),
            schema: (!request.schema.is_empty()).then(|| request.schema.to_vec()),
            charset: request.charset,
            is_native: request
                .plugin
                .is_none_or(|plugin| plugin == native::PLUGIN.as_bytes()),
        });
        self.client.inbox.consume(command.head);
        let request = request.map_err(|error| End::Complaint(Complaint::malformed_command(error)))?;
        let mut seq = 1;
        let mut account = None;
        if request.is_native {
            account = self
                .worker
                .accounts
                .verify(&request.user, &self.nonce, &request.proof);
        }
        if account.is_none() {
            // The client may have used another plugin, or another nonce: it is asked once, clearly.
            let (next, proof) = self.ask_for_proof().await?;
            seq = next;
            account = self.worker.accounts.verify(&request.user, &self.nonce, &proof);
        }
        let Some(account) = account else {
            let user = String::from_utf8_lossy(&request.user);
            let host = self.handle.client.ip().to_string();
            let complaint = Complaint::access_denied(&user, &host, !request.proof.is_empty());
            return self.refuse_change(&complaint, seq).await;
        };
        self.forget_everything();
        self.written = Written::Nothing;
        self.user = account.id;
        *self.handle.user.borrow_mut() = account.name;
        let collation = request.charset.unwrap_or(self.settings.collation);
        self.settings = Rc::new(Settings::new(collation, request.schema.as_deref()));
        self.handle.show_schema(self.settings.schema.as_deref());
        if let Err(complaint) = self.check_schema().await {
            return self.refuse_change(&complaint, seq).await;
        }
        let mut out = Vec::new();
        reply::ok(&mut out, seq, self.ties.status, self.client.capabilities);
        Ok(self.client.write(&out).await?)
    }

    /// Sends an authentication switch; returns the next sequence number and the proof.
    async fn ask_for_proof(&mut self) -> Result<(u8, Vec<u8>), End> {
        self.nonce = fresh_nonce().map_err(|error| End::Protocol(error.to_string()))?;
        let mut out = Vec::new();
        let start = frame::begin(&mut out);
        AuthSwitchRequest::encode(native::PLUGIN, &self.nonce, &mut out);
        frame::end(&mut out, start, 1);
        self.client.write(&out).await?;
        let bound = self.worker.config.listener.handshake_timeout;
        let (seq, proof) = read_answer(&mut self.client, bound).await?;
        Ok((seq.wrapping_add(1), proof))
    }

    /// The server ends a session whose change of user failed; so does Tandem.
    async fn refuse_change(&mut self, complaint: &Complaint, seq: u8) -> Result<(), End> {
        let mut out = Vec::new();
        complaint.write(&mut out, seq, self.client.capabilities);
        self.client.write(&out).await?;
        Err(End::Login(complaint.to_string()))
    }
}
