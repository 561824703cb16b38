//! `COM_CHANGE_USER`: another account on the same connection, and a session as if newly logged in.

use std::rc::Rc;

use tandem_protocol::auth::native;
use tandem_protocol::command::ChangeUser;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::HEADER_LEN;
use tandem_protocol::handshake::Dialogue;

use super::complaint::Complaint;
use super::prove::{Claim, Proved, Refused, prove};
use super::settings::Settings;
use super::{Command, End, Session};
use crate::route::Written;

/// What the client asked for.
struct Request {
    claim: Claim,
    schema: Option<Vec<u8>>,
    charset: Option<u16>,
}

impl Session {
    pub(super) async fn change_user(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Change user");
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let request = ChangeUser::decode(payload, self.client.capabilities).map(|request| Request {
            claim: Claim {
                user: request.user.to_vec(),
                plugin: request.plugin.unwrap_or(native::PLUGIN.as_bytes()).to_vec(),
                proof: request.proof.to_vec(),
                // The client is asked again, as MariaDB does it: which nonce it had in mind is not said.
                nonce: None,
                dialogue: Dialogue { seq: 1 },
            },
            schema: (!request.schema.is_empty()).then(|| request.schema.to_vec()),
            charset: request.charset,
        });
        self.client.inbox.consume(command.head);
        // MySQL says the same, and hangs up too.
        let request = request.map_err(|_| End::Complaint(Complaint::unknown_command()))?;
        let Proved {
            account,
            seq,
            before: mut out,
        } = self.prove(request.claim).await?;
        self.forget_everything();
        self.written = Written::Nothing;
        let files = self.worker.flags_for(self.client.capabilities, account.id) & Capabilities::LOCAL_FILES;
        self.flags = (self.flags - Capabilities::LOCAL_FILES) | files;
        *self.handle.user.borrow_mut() = Rc::from(&*account.name);
        self.account = account;
        let collation = request.charset.unwrap_or(self.settings.collation);
        self.adopt(Rc::new(Settings::new(collation, request.schema.as_deref())));
        if let Err(complaint) = self.check_schema().await {
            return Err(self.refuse_change(out, &complaint, seq).await);
        }
        self.say_welcome(&mut out, seq);
        Ok(self.client.write(&out).await?)
    }

    async fn prove(&mut self, claim: Claim) -> Result<Proved, End> {
        let bound = self.worker.config.listener.handshake_timeout;
        let proving = prove(&self.worker, &mut self.client, &self.handle, claim);
        match tokio::time::timeout(bound, proving).await {
            Ok(Ok(proved)) => Ok(proved),
            Ok(Err(Refused {
                complaint: Some(complaint),
                seq,
            })) => Err(self.refuse_change(Vec::new(), &complaint, seq).await),
            Ok(Err(Refused { complaint: None, .. })) => Err(End::Closed),
            Err(_) => Err(End::Complaint(Complaint::login_timeout(bound))),
        }
    }

    /// The server ends a session whose change of user failed; so does Tandem.
    async fn refuse_change(&mut self, mut out: Vec<u8>, complaint: &Complaint, seq: u8) -> End {
        complaint.write(&mut out, seq, self.client.capabilities);
        match self.client.write(&out).await {
            Ok(()) => End::Login(complaint.to_string()),
            Err(error) => error.into(),
        }
    }
}
