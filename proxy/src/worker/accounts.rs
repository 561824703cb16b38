//! The accounts that clients log in with: what their passwords are checked against, and what proves them to the servers.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use tandem_protocol::auth::native::{self, NONCE_LEN};
use tandem_protocol::auth::sha2;

use crate::backend::UserId;
use crate::config::{Password, Secret, User};

/// How an account can prove its password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Native,
    Sha2,
}

impl Method {
    pub fn by_plugin(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::Sha2]
            .into_iter()
            .find(|method| method.plugin().as_bytes() == name)
    }

    pub fn plugin(self) -> &'static str {
        match self {
            Self::Native => native::PLUGIN,
            Self::Sha2 => sha2::PLUGIN,
        }
    }
}

/// What proves an account to a server.
#[derive(Clone)]
pub enum Key {
    Password(Secret),
    /// `SHA1(password)`, which a client's proof has given away.
    NativeSecret([u8; 20]),
}

/// What is kept of a password to check it: nothing that reveals it.
#[derive(Clone, Copy)]
struct Checks {
    native: [u8; 20],
    /// Only where the password itself is known.
    sha2: Option<[u8; 32]>,
    is_empty: bool,
}

/// One account.
pub struct Account {
    pub id: UserId,
    pub name: Arc<str>,
    checks: Checks,
    key: Mutex<Option<Key>>,
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
}

/// Who a client says it is.
pub struct Claimed {
    /// Of this account, or, so that nobody can tell whether there is one, of another.
    checked: Arc<Account>,
    exists: bool,
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
        })
    }
}

impl Claimed {
    /// How the client is to prove itself, which would have liked `wanted`.
    pub fn method(&self, wanted: Method) -> Method {
        match (wanted, self.checked.checks.sha2) {
            (Method::Sha2, None) => Method::Native,
            _ => wanted,
        }
    }

    /// The account, if `proof` shows its password. Takes the same time for accounts that do not exist.
    pub fn verify(&self, method: Method, nonce: &[u8; NONCE_LEN], proof: &[u8]) -> Option<Arc<Account>> {
        let proved = self.checked.checks.prove(method, nonce, proof);
        if !(proved && self.exists) {
            return None;
        }
        if method == Method::Native
            && let Ok(proof) = proof.try_into()
        {
            let secret = native::secret(&self.checked.checks.native, nonce, proof);
            self.checked.learn(|| Key::NativeSecret(secret));
        }
        Some(Arc::clone(&self.checked))
    }
}

impl Account {
    fn new(id: UserId, user: &User) -> Self {
        let (checks, key) = match &user.password {
            Password::Clear(password) => {
                let key = Key::Password(password.clone());
                (Checks::of(password.reveal().as_bytes()), Some(key))
            }
            Password::Native(stored) => (Checks::of_native(*stored), None),
        };
        Self {
            id,
            name: Arc::from(user.name.as_str()),
            checks,
            key: Mutex::new(key),
        }
    }

    /// What proves it to the servers; `None` until a client has given it away by logging in.
    pub fn key(&self) -> Option<Key> {
        // Whoever holds the lock only copies: nothing is half done after a panic.
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what a login has shown, if nothing was known.
    fn learn(&self, key: impl FnOnce() -> Key) {
        self.key
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(key);
    }
}

impl Checks {
    fn of(password: &[u8]) -> Self {
        Self {
            native: native::double_sha1(password),
            sha2: Some(sha2::double_sha256(password)),
            is_empty: password.is_empty(),
        }
    }

    fn of_native(stored: [u8; 20]) -> Self {
        Self {
            native: stored,
            sha2: None,
            is_empty: false,
        }
    }

    fn prove(&self, method: Method, nonce: &[u8; NONCE_LEN], proof: &[u8]) -> bool {
        if self.is_empty || proof.is_empty() {
            return self.is_empty && proof.is_empty();
        }
        match (method, &self.sha2) {
            (Method::Native, _) => native::verify(&self.native, nonce, proof),
            (Method::Sha2, Some(stored)) => sha2::verify(stored, nonce, proof),
            (Method::Sha2, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 20] = *b"12345678901234567890";

    fn user(name: &str, password: Password) -> User {
        User {
            name: name.to_owned(),
            password,
            local_infile: None,
        }
    }

    fn clear(name: &str, password: &str) -> User {
        user(name, Password::Clear(Secret::new(password)))
    }

    fn verify(accounts: &Accounts, name: &[u8], method: Method, proof: &[u8]) -> Option<UserId> {
        let account = accounts.claimed(name)?.verify(method, &NONCE, proof)?;
        Some(account.id)
    }

    #[test]
    fn only_the_right_password_proves_an_account() {
        let accounts = Accounts::new(&[clear("app", "secret"), clear("open", "")]);
        for (method, scramble) in [
            (
                Method::Native,
                native::scramble as fn(&[u8], &[u8; 20]) -> Vec<u8>,
            ),
            (Method::Sha2, sha2::scramble),
        ] {
            let verify = |name: &[u8], proof: &[u8]| verify(&accounts, name, method, proof);
            let proof = scramble(b"secret", &NONCE);
            assert_eq!(verify(b"app", &proof), Some(UserId(0)));
            assert_eq!(verify(b"app", &scramble(b"wrong", &NONCE)), None);
            assert_eq!(verify(b"app", b""), None);
            assert_eq!(verify(b"nobody", &proof), None);
            assert_eq!(verify(b"nobody", b""), None);
            assert_eq!(verify(b"open", b""), Some(UserId(1)));
            assert_eq!(verify(b"open", &proof), None);
        }
    }

    #[test]
    fn of_a_hash_the_key_is_learnt_from_the_first_right_proof() {
        let hash = Password::Native(native::double_sha1(b"secret"));
        let accounts = Accounts::new(&[user("app", hash)]);
        let method = accounts
            .claimed(b"app")
            .map(|claimed| claimed.method(Method::Sha2));
        assert_eq!(method, Some(Method::Native), "the only one that it can check");
        let wrong = native::scramble(b"wrong", &NONCE);
        assert_eq!(verify(&accounts, b"app", Method::Native, &wrong), None);
        assert!(accounts.account(UserId(0)).key().is_none());
        let proof = native::scramble(b"secret", &NONCE);
        assert_eq!(verify(&accounts, b"app", Method::Native, &proof), Some(UserId(0)));
        let Some(Key::NativeSecret(secret)) = accounts.account(UserId(0)).key() else {
            panic!("no key");
        };
        assert_eq!(native::scramble_secret(&secret, &NONCE), proof);
    }

    #[test]
    fn a_name_that_is_none_behaves_like_one_of_the_others() {
        let hash = Password::Native(native::double_sha1(b"secret"));
        let accounts = Accounts::new(&[user("hash", hash), clear("app", "secret")]);
        let method = |name: &str| {
            let claimed = accounts.claimed(name.as_bytes()).expect("a decoy");
            claimed.method(Method::Sha2)
        };
        let seen: Vec<Method> = (0..64).map(|n| method(&format!("nobody{n}"))).collect();
        assert!(
            seen.contains(&Method::Native) && seen.contains(&Method::Sha2),
            "{seen:?}"
        );
        let again: Vec<Method> = (0..64).map(|n| method(&format!("nobody{n}"))).collect();
        assert_eq!(seen, again, "asked twice, it says the same");
    }
}
