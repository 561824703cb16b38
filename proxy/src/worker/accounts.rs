//! The accounts that clients log in with: what their passwords are checked against, and what proves them to the servers.
//!
//! Where only a hash is configured, logins teach the rest: a native proof gives away `SHA1(password)`, which is enough
//! for mysql_native_password on the servers, and a full login the password itself, by which everything can be checked
//! and proved from then on.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tandem_protocol::auth::native::{self, NONCE_LEN};
use tandem_protocol::auth::vouch::{self, Fingerprint};
use tandem_protocol::auth::{self, ed25519, parsec, sha2, sha2_crypt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::backend::UserId;
use crate::config::{Config, Password, Secret, User};
use crate::directory::{Directory, Reader};
use crate::net::address::Peer;

/// Passwords that are hashed at once by MySQL's slow method, 10 ms of a core each: the rest wait their turn, so that
/// nobody can keep all cores busy with wrong passwords.
const HASHED_AT_ONCE: usize = 2;

/// The first id of an account that the servers know; those below are of the configuration.
pub const OF_SERVERS: usize = usize::MAX / 2;

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
    /// Only a password itself can be compared with these; any one will do.
    stored: Vec<Stored>,
    is_empty: bool,
}

/// What servers store of a password, where a proof can't be checked by it.
#[derive(Clone)]
pub enum Stored {
    Native([u8; 20]),
    Sha2(sha2_crypt::Stored),
    Ed25519([u8; ed25519::KEY_LEN]),
    Parsec(parsec::Stored),
}

/// What a server demands of the connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requires {
    Nothing,
    Tls,
    /// Tandem can't look at it with the server's eyes: nobody is let in.
    Certificate,
}

/// All that a server has to say of an account.
pub struct Proofs {
    pub native: Option<[u8; 20]>,
    pub stored: Vec<Stored>,
    pub is_empty: bool,
    pub requires: Requires,
    pub is_locked: bool,
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
    /// The server's, for one of its accounts.
    pub host: Arc<str>,
    requires: Requires,
    /// The right password is answered with that.
    pub is_locked: bool,
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

/// All accounts: those of the configuration, and those of the servers.
pub struct Accounts {
    configured: ArcSwap<Configured>,
    /// Nobody outside can tell which account's ways a name that is none is given.
    decoys: RandomState,
    hashing: Arc<Semaphore>,
    /// Only with `listener.auth = "servers"`.
    servers: Option<Reader>,
    /// When a statement that went through Tandem may have changed them last.
    changed: Mutex<Option<Instant>>,
    /// Such statements under way: when their clients have their answers is not known here.
    changing: AtomicUsize,
    /// Accounts of the servers that sessions have.
    in_use: Mutex<HashMap<UserId, Weak<Account>>>,
}

/// The accounts of the configuration.
#[derive(Default)]
struct Configured {
    /// In its order.
    all: Vec<Arc<Account>>,
    by_name: HashMap<Vec<u8>, Arc<Account>>,
    by_id: HashMap<UserId, Arc<Account>>,
    /// What they were made of.
    passwords: HashMap<UserId, Password>,
    /// Of all that have been: none is given twice.
    last_id: usize,
}

impl Configured {
    /// Accounts that are the same as before keep what was learnt of them; those of the same name keep their id.
    fn renewed(&self, users: &[User]) -> Self {
        let mut new = Self {
            last_id: self.last_id,
            ..Self::default()
        };
        for user in users {
            let known = self.by_name.get(user.name.as_bytes());
            let same = known.filter(|known| self.passwords.get(&known.id) == Some(&user.password));
            let account = match (same, known) {
                (Some(same), _) => Arc::clone(same),
                (None, Some(known)) => Arc::new(Account::new(known.id, user)),
                (None, None) => {
                    new.last_id += 1;
                    Arc::new(Account::new(UserId(new.last_id - 1), user))
                }
            };
            new.passwords.insert(account.id, user.password.clone());
            new.by_id.insert(account.id, Arc::clone(&account));
            new.by_name
                .insert(account.name.as_bytes().to_vec(), Arc::clone(&account));
            new.all.push(account);
        }
        new
    }
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
    pub fn new(users: &[User], servers: Option<Reader>) -> Self {
        Self {
            configured: ArcSwap::from_pointee(Configured::default().renewed(users)),
            decoys: RandomState::new(),
            hashing: Arc::new(Semaphore::new(HASHED_AT_ONCE)),
            servers,
            changed: Mutex::default(),
            changing: AtomicUsize::new(0),
            in_use: Mutex::default(),
        }
    }

    /// From now on these are those of the configuration. Sessions of others go on; they connect to the servers as they did.
    pub fn renew(&self, users: &[User]) {
        let old = self.configured.load_full();
        let new = old.renewed(users);
        let gone = old
            .all
            .iter()
            .filter(|account| !new.by_id.contains_key(&account.id));
        let gone: Vec<_> = gone
            .map(|account| (account.id, Arc::downgrade(account)))
            .collect();
        self.in_use().extend(gone);
        self.configured.store(Arc::new(new));
        drop(old);
        self.in_use().retain(|_, account| account.strong_count() > 0);
    }

    /// The account of a session.
    pub fn account(&self, id: UserId) -> Option<Arc<Account>> {
        match self.configured.load().by_id.get(&id) {
            Some(account) => Some(Arc::clone(account)),
            None => {
                let account = self.in_use().get(&id)?.upgrade()?;
                // With another password since: sessions go on, as soon as somebody has shown the new one.
                let directory = self.servers.as_ref().and_then(Reader::current);
                let successor = directory.and_then(|directory| directory.same(&account).cloned());
                Some(
                    successor
                        .filter(|successor| successor.key().is_some())
                        .unwrap_or(account),
                )
            }
        }
    }

    /// Turns of those that hash slowly, on both legs.
    pub fn hashing(&self) -> &Semaphore {
        &self.hashing
    }

    /// Makes an account known to [`Accounts::account`] for as long as somebody has it.
    pub fn keep(&self, account: &Arc<Account>) {
        let mut in_use = self.in_use();
        if !account.is_configured() && !in_use.contains_key(&account.id) {
            in_use.retain(|_, account| account.strong_count() > 0);
            in_use.insert(account.id, Arc::downgrade(account));
        }
    }

    /// Whether somebody is known by the servers whom a newer look at them may find; if so, they have been looked at.
    pub async fn renewed(&self, name: &[u8]) -> bool {
        match &self.servers {
            Some(servers) => {
                servers.renewed(name).await;
                true
            }
            None => false,
        }
    }

    /// A statement that may change the servers' accounts is sent. Ends with [`Self::changed`].
    pub fn change(&self) {
        self.changing.fetch_add(1, Ordering::SeqCst);
    }

    /// It has done so, or may have.
    pub fn changed(&self) {
        if let Some(servers) = &self.servers {
            *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            servers.want();
        }
        self.changing.fetch_sub(1, Ordering::SeqCst);
    }

    /// Waits, within reason, until what is known is no older than the last change that went through Tandem: who was locked
    /// out or dropped is not let in afterwards.
    pub async fn caught_up(&self) {
        let changed = match self.changing.load(Ordering::SeqCst) {
            0 => *self.changed.lock().unwrap_or_else(PoisonError::into_inner),
            _ => Some(Instant::now()),
        };
        if let (Some(servers), Some(changed)) = (&self.servers, changed) {
            servers.read_since(changed).await;
        }
    }

    /// The servers have refused what was right here: they are looked at again.
    pub fn mistrust(&self) {
        if let Some(servers) = &self.servers {
            servers.want();
        }
    }

    fn in_use(&self) -> MutexGuard<'_, HashMap<UserId, Weak<Account>>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account that a client names, which comes from `peer`, with TLS or without. One that does not exist behaves
    /// like one that does, always the same, until the proof is refused. `None` where there are no accounts at all.
    pub fn claimed(&self, name: &[u8], peer: Peer, has_tls: bool) -> Option<Claimed> {
        let directory = self.servers.as_ref().and_then(Reader::current);
        let theirs = directory.as_deref().map_or(&[][..], Directory::accounts);
        let configured = self.configured.load();
        let found = configured.by_name.get(name);
        let found = found.or_else(|| directory.as_ref()?.find(name, peer));
        let decoy = || {
            let count = configured.all.len() + theirs.len();
            let place = (self.decoys.hash_one(name) % count.max(1) as u64) as usize;
            let ours = configured.all.get(place);
            ours.or_else(|| theirs.get(place - configured.all.len()))
        };
        Some(Claimed {
            exists: found.is_some_and(|account| account.requires.is_met(has_tls)),
            checked: Arc::clone(found.or_else(decoy)?),
            hashing: Arc::clone(&self.hashing),
        })
    }
}

impl Requires {
    fn is_met(self, has_tls: bool) -> bool {
        match self {
            Self::Nothing => true,
            Self::Tls => has_tls,
            Self::Certificate => false,
        }
    }
}

impl Claimed {
    /// Whether both are the same account, known the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.checked, &other.checked) && self.exists == other.exists
    }

    /// How the client is to prove itself, which would have liked `wanted`.
    pub fn method(&self, wanted: Method) -> Method {
        let checks = self.checked.checks();
        match wanted {
            Method::Native if checks.native.is_none() => Method::Sha2,
            Method::Ed25519 if checks.ed25519.is_none() => Method::Sha2,
            wanted => wanted,
        }
    }

    /// Whether a proof by mysql_native_password can be checked, and by caching_sha2_password not: then the password itself
    /// would be asked for.
    pub fn is_only_native(&self) -> bool {
        let checks = self.checked.checks();
        checks.native.is_some() && checks.sha2.is_none()
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
    /// Tandem's own proof of the password that a client has proved by `method`, as MariaDB makes it.
    pub fn vouch(
        &self,
        method: Method,
        nonce: &[u8; NONCE_LEN],
        certificate: &Fingerprint,
    ) -> Option<String> {
        let checks = self.checks();
        let stored = match method {
            Method::Native => checks.native.as_ref().map(<[u8; 20]>::as_slice),
            Method::Ed25519 => checks.ed25519.as_ref().map(<[u8; ed25519::KEY_LEN]>::as_slice),
            Method::Sha2 | Method::Clear => None,
        };
        Some(vouch::vouch(stored?, nonce, certificate))
    }

    fn new(id: UserId, user: &User) -> Self {
        let mut account = Self {
            id,
            name: Arc::from(user.name.as_str()),
            host: Arc::from(""),
            requires: Requires::Nothing,
            is_locked: false,
            configured: Checks::default(),
            learnt: Mutex::new(Learnt::Nothing),
        };
        match &user.password {
            Password::Clear(password) => account.learn_password(password.reveal().as_bytes().into()),
            Password::Native(stored) => account.configured.native = Some(*stored),
            Password::Sha2(stored) => account.configured.stored.push(Stored::Sha2(stored.clone())),
        }
        account
    }

    /// One of Tandem's own, which is no client's: that of `[monitor]`, or of a mirror.
    pub fn of_tandem(name: &str, password: &Secret) -> Self {
        let user = User {
            name: name.to_owned(),
            password: Password::Clear(password.clone()),
            local_infile: None,
            consistency: None,
            max_connections: None,
            statement_rate: None,
            statement_timeout: None,
            transaction_timeout: None,
            firewall: None,
            replication: false,
        };
        Self::new(UserId(usize::MAX), &user)
    }

    /// One that the servers know.
    pub fn of_server(id: UserId, name: &str, host: &str, proofs: Proofs) -> Self {
        let checks = Checks {
            native: proofs.native,
            stored: proofs.stored,
            is_empty: proofs.is_empty,
            ..Checks::default()
        };
        Self {
            id,
            name: Arc::from(name),
            host: Arc::from(host),
            requires: proofs.requires,
            is_locked: proofs.is_locked,
            learnt: Mutex::new(match checks.is_empty {
                true => Learnt::Password(Arc::from([]), Checks::of(b"")),
                false => Learnt::Nothing,
            }),
            configured: checks,
        }
    }

    fn is_configured(&self) -> bool {
        self.id.0 < OF_SERVERS
    }

    /// Its entry; `None` for one that only the servers know.
    pub fn configured_in<'a>(&self, config: &'a Config) -> Option<&'a User> {
        let known = self.is_configured();
        known.then(|| config.user(&self.name)).flatten()
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
        let mut checks = Checks::of(&password);
        if self.configured.stored.len() > 1 {
            // `IDENTIFIED VIA … OR …`: another password is as right. By caching_sha2_password alone a wrong proof is followed
            // by the question for the password itself.
            checks = Checks {
                native: None,
                ed25519: None,
                stored: self.configured.stored.clone(),
                ..checks
            };
        }
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
            stored: Vec::new(),
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
        let is_learnt = |stored| auth::equal(&sha2::double_sha256(password), stored);
        let is_native = |stored| auth::equal(&native::double_sha1(password), stored);
        self.sha2.as_ref().is_some_and(is_learnt)
            || self.native.as_ref().is_some_and(is_native)
            || self.stored.iter().any(|stored| stored.is_of(password))
    }

    fn is_slow(&self) -> bool {
        !self.stored.is_empty()
    }
}

impl Stored {
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Native(stored) => auth::equal(&native::double_sha1(password), stored),
            Self::Sha2(stored) => stored.verify(password),
            Self::Ed25519(stored) => auth::equal(&ed25519::public_key(password), stored),
            Self::Parsec(stored) => stored.verify(password),
        }
    }
}

#[cfg(test)]
mod tests;
