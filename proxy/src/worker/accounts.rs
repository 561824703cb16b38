//! The accounts that clients log in with: what their passwords are checked against, and what proves them to the servers.
//!
//! Where only a hash is configured, logins teach the rest: a native proof gives away `SHA1(password)`, which is enough
//! for mysql_native_password on the servers, and a full login the password itself, by which everything can be checked
//! and proved from then on.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tandem_protocol::auth::native::{self, NONCE_LEN};
use tandem_protocol::auth::{self, ed25519, sha2, sha2_crypt};
use tokio::sync::Semaphore;

use crate::backend::UserId;
use crate::config::{Password, User};

/// Passwords that are hashed at once by MySQL's slow method, 10 ms of a core each: the rest wait their turn, so that
/// nobody can keep all cores busy with wrong passwords.
const HASHED_AT_ONCE: usize = 2;

/// How an account can prove its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Native,
    Sha2,
    /// MariaDB's, for clients that ask for it; it needs the password, by which Tandem goes on to the servers.
    Ed25519,
    /// The password as it is: only where nobody can listen.
    Clear,
}

impl Method {
    pub fn by_plugin(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::Sha2, Self::Ed25519, Self::Clear]
            .into_iter()
            .find(|method| method.plugin().as_bytes() == name)
    }

    pub fn plugin(self) -> &'static str {
        match self {
            Self::Native => native::PLUGIN,
            Self::Sha2 => sha2::PLUGIN,
            Self::Ed25519 => ed25519::PLUGIN,
            Self::Clear => auth::CLEAR_PLUGIN,
        }
    }
}

/// What proves an account to a server.
#[derive(Clone)]
pub enum Key {
    Password(Arc<[u8]>),
    /// `SHA1(password)`, which a client's proof has given away.
    NativeSecret([u8; 20]),
}

/// What is kept of a password to check it: nothing that reveals it.
#[derive(Clone, Default)]
struct Checks {
    native: Option<[u8; 20]>,
    sha2: Option<[u8; 32]>,
    ed25519: Option<[u8; ed25519::KEY_LEN]>,
    crypt: Option<sha2_crypt::Stored>,
    is_empty: bool,
}

/// What logins have shown of an account.
enum Learnt {
    Nothing,
    NativeSecret([u8; 20]),
    Password(Arc<[u8]>, Checks),
}

/// One account.
pub struct Account {
    pub id: UserId,
    pub name: Arc<str>,
    configured: Checks,
    learnt: Mutex<Learnt>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All accounts of the configuration.
pub struct Accounts {
    /// By [`UserId`].
    all: Vec<Arc<Account>>,
    by_name: HashMap<Vec<u8>, Arc<Account>>,
    /// Nobody outside can tell which account's ways a name that is none is given.
    decoys: RandomState,
    hashing: Arc<Semaphore>,
}

/// Who a client says it is.
pub struct Claimed {
    /// Of this account, or, so that nobody can tell whether there is one, of another.
    checked: Arc<Account>,
    exists: bool,
    hashing: Arc<Semaphore>,
}

/// What a proof says.
pub enum Verdict {
    Proved(Arc<Account>),
    Refused,
    /// Nothing: it takes the password itself.
    WantPassword,
}

impl Accounts {
    pub fn new(users: &[User]) -> Self {
        let all: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(index, user)| Arc::new(Account::new(UserId(index), user)))
            .collect();
        let by_name = all
            .iter()
            .map(|account| (account.name.as_bytes().to_vec(), Arc::clone(account)));
        Self {
            by_name: by_name.collect(),
            all,
            decoys: RandomState::new(),
            hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE)),
        }
    }

    pub fn id_of(&self, name: &[u8]) -> Option<UserId> {
        self.by_name.get(name).map(|account| account.id)
    }

    pub fn account(&self, id: UserId) -> &Arc<Account> {
        &self.all[id.0]
    }

    /// The account that a client names. One that does not exist behaves like one that does, always the same, until
    /// the proof is refused.
    pub fn claimed(&self, name: &[u8]) -> Option<Claimed> {
        let found = self.by_name.get(name);
        let decoy = || {
            let place = self.decoys.hash_one(name) % self.all.len().max(1) as u64;
            self.all.get(place as usize)
        };
        Some(Claimed {
            exists: found.is_some(),
            checked: Arc::clone(found.or_else(decoy)?),
            hashing: Arc::clone(&self.hashing),
        })
    }
}

impl Claimed {
    /// How the client is to prove itself, which would have liked `wanted`.
    pub fn method(&self, wanted: Method) -> Method {
        let checks = self.checked.checks();
        match wanted {
            Method::Native if checks.native.is_none() => Method::Sha2,
            Method::Ed25519 if checks.ed25519.is_none() => Method::Sha2,
            wanted => wanted,
        }
    }

    /// What `proof` says. Takes the same time for accounts that do not exist.
    pub fn verify(&self, method: Method, nonce: &[u8], proof: &[u8]) -> Verdict {
        let checks = self.checked.checks();
        let Some(proved) = checks.prove(method, nonce, proof) else {
            return Verdict::WantPassword;
        };
        if !(proved && self.exists) {
            return Verdict::Refused;
        }
        if let (Method::Native, Some(stored)) = (method, &checks.native)
            && let (Ok(nonce), Ok(proof)) = (nonce.try_into(), proof.try_into())
        {
            self.checked.learn_secret(native::secret(stored, nonce, proof));
        }
        Verdict::Proved(Arc::clone(&self.checked))
    }

    /// The account, if this is its password. Takes the same time for accounts that do not exist.
    pub async fn verify_password(&self, password: Vec<u8>) -> Option<Arc<Account>> {
        let checks = self.checked.checks();
        let password: Arc<[u8]> = password.into();
        let proved = match checks.is_slow() {
            false => checks.is_password(&password),
            true => {
                let _turn = self.hashing.acquire().await.ok()?;
                let password = Arc::clone(&password);
                let hashed = tokio::task::spawn_blocking(move || checks.is_password(&password));
                hashed.await.ok()?
            }
        };
        if !(proved && self.exists) {
            return None;
        }
        self.checked.learn_password(password);
        Some(Arc::clone(&self.checked))
    }
}

impl Account {
    fn new(id: UserId, user: &User) -> Self {
        let mut account = Self {
            id,
            name: Arc::from(user.name.as_str()),
            configured: Checks::default(),
            learnt: Mutex::new(Learnt::Nothing),
        };
        match &user.password {
            Password::Clear(password) => account.learn_password(password.reveal().as_bytes().into()),
            Password::Native(stored) => account.configured.native = Some(*stored),
            Password::Sha2(stored) => account.configured.crypt = Some(stored.clone()),
        }
        account
    }

    /// What proves it to the servers; `None` until a client has given it away by logging in.
    pub fn key(&self) -> Option<Key> {
        match &*self.learnt() {
            Learnt::Nothing => None,
            Learnt::NativeSecret(secret) => Some(Key::NativeSecret(*secret)),
            Learnt::Password(password, _) => Some(Key::Password(Arc::clone(password))),
        }
    }

    /// By whatever is known best.
    fn checks(&self) -> Checks {
        match &*self.learnt() {
            Learnt::Password(_, checks) => checks.clone(),
            _ => self.configured.clone(),
        }
    }

    fn learn_secret(&self, secret: [u8; 20]) {
        let mut learnt = self.learnt();
        if matches!(*learnt, Learnt::Nothing) {
            *learnt = Learnt::NativeSecret(secret);
        }
    }

    fn learn_password(&self, password: Arc<[u8]>) {
        let checks = Checks::of(&password);
        *self.learnt() = Learnt::Password(password, checks);
    }

    /// Whoever holds the lock only copies: nothing is half done after a panic.
    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checks {
    fn of(password: &[u8]) -> Self {
        Self {
            native: Some(native::double_sha1(password)),
            sha2: Some(sha2::double_sha256(password)),
            ed25519: Some(ed25519::public_key(password)),
            crypt: None,
            is_empty: password.is_empty(),
        }
    }

    /// Whether the proof is right; `None` where this can't be told.
    fn prove(&self, method: Method, nonce: &[u8], proof: &[u8]) -> Option<bool> {
        if self.is_empty || proof.is_empty() {
            return Some(self.is_empty && proof.is_empty());
        }
        let short = <&[u8; NONCE_LEN]>::try_from(nonce);
        match (method, short) {
            (Method::Native, Ok(nonce)) => Some(native::verify(self.native.as_ref()?, nonce, proof)),
            (Method::Sha2, Ok(nonce)) => Some(sha2::verify(self.sha2.as_ref()?, nonce, proof)),
            (Method::Native | Method::Sha2, Err(_)) => Some(false),
            (Method::Ed25519, _) => Some(ed25519::verify(self.ed25519.as_ref()?, nonce, proof)),
            (Method::Clear, _) => None,
        }
    }

    /// Whether this is the password.
    fn is_password(&self, password: &[u8]) -> bool {
        if self.is_empty || password.is_empty() {
            return self.is_empty && password.is_empty();
        }
        match self {
            Self {
                sha2: Some(stored), ..
            } => auth::equal(&sha2::double_sha256(password), stored),
            Self {
                native: Some(stored), ..
            } => auth::equal(&native::double_sha1(password), stored),
            Self {
                crypt: Some(stored), ..
            } => stored.verify(password),
            _ => false,
        }
    }

    fn is_slow(&self) -> bool {
        self.sha2.is_none() && self.native.is_none() && self.crypt.is_some()
    }
}

#[cfg(test)]
mod tests;
