//! `COM_CHANGE_USER`: another account on the same connection, and a session as if newly logged in.
//!
//! MySQL hangs up when it refuses one. MariaDB goes on with the account and the schema of before, but for the rest with
//! a new session, and makes the client wait (measured on MySQL 9.7 and MariaDB 10.11).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tandem_protocol::auth::native;
use tandem_protocol::command::ChangeUser;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::HEADER_LEN;
use tandem_protocol::handshake::Dialogue;

use super::complaint::Complaint;
use super::prove::{Claim, Proved, Refused, prove};
use super::settings::{Names, Settings, names_of_login};
use super::{Command, End, Session};
use crate::route::Written;
use crate::topology::Flavor;
use crate::worker::accounts::Account;

/// After so many failures MariaDB looks at no change of user any more.
const FAILURES_MAX: u8 = 3;

/// How long MariaDB lets a client wait for the refusal, against the guessing of passwords.
const PENALTY: Duration = Duration::from_secs(1);

/// What the client asked for.
struct Request {
    claim: Claim,
    schema: Option<Vec<u8>>,
    charset: Option<u16>,
}

/// The client stays who it was.
struct Refusal {
    complaint: Complaint,
    seq: u8,
    /// Goes out before it.
    before: Vec<u8>,
}

impl Session {
    pub(super) async fn change_user(&mut self, command: Command) -> Result<(), End> {
        self.handle.enter("Change user");
        let request = self.request(command);
        let flavor = self.worker.flavor();
        let request = match request {
            Some(request) if flavor == Flavor::MySql || self.failed_changes < FAILURES_MAX => request,
            _ => {
                let refusal = Refusal {
                    complaint: Complaint::unknown_command(),
                    seq: self.client.seq,
                    before: Vec::new(),
                };
                return self.refuse_change(refusal, flavor).await;
            }
        };
        let Request {
            claim,
            schema,
            charset,
        } = request;
        let proved = match self.prove(claim).await? {
            Ok(proved) => proved,
            Err(refusal) => return self.refuse_change(refusal, flavor).await,
        };
        self.forget_everything();
        let asked = charset.unwrap_or(self.settings.login.collation);
        let names = names_of_login(asked, &self.worker.topology.load());
        let settings = Settings::new(names, schema.as_deref());
        let (settings_before, flags_before) = (Rc::clone(&self.settings), self.flags);
        let account_before = self.become_account(proved.account);
        self.adopt(Rc::new(settings));
        if let Err(complaint) = self.be_let_in().await {
            self.become_account(account_before);
            self.flags = flags_before;
            self.adopt(settings_before);
            let refusal = Refusal {
                complaint,
                seq: proved.seq,
                before: proved.before,
            };
            return self.refuse_change(refusal, flavor).await;
        }
        self.written = Written::Nothing;
        let mut out = proved.before;
        self.say_welcome(&mut out, proved.seq, Vec::new(), "");
        Ok(self.client.write(&out).await?)
    }

    /// `None` for what can't be read.
    fn request(&mut self, command: Command) -> Option<Request> {
        let payload = &self.client.inbox.bytes()[HEADER_LEN..command.head];
        let request = ChangeUser::decode(payload, self.client.capabilities).map(|request| Request {
            claim: Claim {
                user: request.user.to_vec(),
                plugin: request.plugin.unwrap_or(native::PLUGIN.as_bytes()).to_vec(),
                proof: request.proof.to_vec(),
                // The client is asked again, as MariaDB does it: which nonce it had in mind is not said.
                nonce: None,
                dialogue: Dialogue { seq: 1 },
                vouching: None,
                is_change: true,
            },
            schema: (!request.schema.is_empty()).then(|| request.schema.to_vec()),
            charset: request.charset,
        });
        self.client.inbox.consume(command.head);
        request.ok()
    }

    async fn prove(&mut self, claim: Claim) -> Result<Result<Proved, Refusal>, End> {
        let bound = self.worker.config().listener.handshake_timeout;
        let proving = prove(&self.worker, &mut self.client, &self.handle, claim);
        let refused = match tokio::time::timeout(bound, proving).await {
            Ok(Ok(proved)) => return Ok(Ok(proved)),
            Ok(Err(refused)) => refused,
            Err(_) => return Err(End::Complaint(Complaint::login_timeout(bound))),
        };
        let Refused {
            complaint: Some(complaint),
            seq,
        } = refused
        else {
            return Err(End::Closed);
        };
        Ok(Err(Refusal {
            complaint,
            seq,
            before: Vec::new(),
        }))
    }

    /// Makes the session that account's; the one before.
    fn become_account(&mut self, account: Arc<Account>) -> Arc<Account> {
        let files = self.worker.flags_for(self.client.capabilities, &account) & Capabilities::LOCAL_FILES;
        self.flags = (self.flags - Capabilities::LOCAL_FILES) | files;
        let config = self.worker.config();
        self.level = config.level(account.configured_in(&config));
        self.handle
            .time_limits
            .set(config.time_limits(account.configured_in(&config)));
        *self.handle.user.borrow_mut() = Rc::from(&*account.name);
        std::mem::replace(&mut self.account, account)
    }

    /// Tells the client so, and ends the session or not, as the server does.
    async fn refuse_change(&mut self, refusal: Refusal, flavor: Flavor) -> Result<(), End> {
        let Refusal {
            complaint,
            seq,
            before: mut out,
        } = refusal;
        // Whoever has lost count of the packets is not heard any more, by MariaDB either.
        let goes_on = flavor == Flavor::MariaDb && !complaint.is_out_of_order();
        if goes_on {
            self.failed_changes = self.failed_changes.saturating_add(1);
            self.forget_everything();
            self.adopt(Rc::new(self.settings.after_reset(Names::SERVER)));
            tokio::time::sleep(PENALTY).await;
        }
        tracing::info!(session = self.handle.id, user = %self.account.name, "a change of user was refused: {complaint}");
        complaint.write(&mut out, seq, self.client.capabilities);
        self.client.write(&out).await?;
        match goes_on {
            true => Ok(()),
            false => Err(End::Login(complaint.to_string())),
        }
    }
}
