//! The accounts that clients log in with, and what their passwords are checked against.

use std::collections::HashMap;
use std::rc::Rc;

use tandem_protocol::auth::native::{self, NONCE_LEN};
use tandem_protocol::auth::sha2;

use crate::backend::UserId;
use crate::config::User;

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

/// What is kept of a password: nothing that reveals it.
#[derive(Clone, Copy)]
struct Stored {
    native: [u8; 20],
    sha2: [u8; 32],
    is_empty: bool,
}

struct Known {
    id: UserId,
    stored: Stored,
}

/// All accounts of the configuration.
pub struct Accounts {
    by_name: HashMap<Vec<u8>, Known>,
}

/// An account that has proved itself.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: UserId,
    pub name: Rc<str>,
}

impl Accounts {
    pub fn new(users: &[User]) -> Self {
        let by_name = users.iter().enumerate().map(|(index, user)| {
            let known = Known {
                id: UserId(index),
                stored: Stored::of(user.password.reveal().as_bytes()),
            };
            (user.name.as_bytes().to_vec(), known)
        });
        Self {
            by_name: by_name.collect(),
        }
    }

    pub fn id_of(&self, name: &[u8]) -> Option<UserId> {
        self.by_name.get(name).map(|known| known.id)
    }

    /// The account, if `proof` shows its password. Takes the same time for accounts that do not exist.
    pub fn verify(
        &self,
        name: &[u8],
        method: Method,
        nonce: &[u8; NONCE_LEN],
        proof: &[u8],
    ) -> Option<Account> {
        let known = self.by_name.get(name);
        let nobody = Stored {
            native: [0; 20],
            sha2: [0; 32],
            is_empty: false,
        };
        let proved = known
            .map_or(nobody, |known| known.stored)
            .proves(method, nonce, proof);
        let known = known.filter(|_| proved)?;
        Some(Account {
            id: known.id,
            name: String::from_utf8_lossy(name).into(),
        })
    }
}

impl Stored {
    fn of(password: &[u8]) -> Self {
        Self {
            native: native::double_sha1(password),
            sha2: sha2::double_sha256(password),
            is_empty: password.is_empty(),
        }
    }

    fn proves(&self, method: Method, nonce: &[u8; NONCE_LEN], proof: &[u8]) -> bool {
        if self.is_empty || proof.is_empty() {
            return self.is_empty && proof.is_empty();
        }
        match method {
            Method::Native => native::verify(&self.native, nonce, proof),
            Method::Sha2 => sha2::verify(&self.sha2, nonce, proof),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn only_the_right_password_proves_an_account() {
        let user = |name: &str, password: &str| User {
            name: name.to_owned(),
            password: Secret::new(password),
            local_infile: None,
        };
        let accounts = Accounts::new(&[user("app", "secret"), user("open", "")]);
        let nonce = *b"12345678901234567890";
        for (method, scramble) in [
            (
                Method::Native,
                native::scramble as fn(&[u8], &[u8; 20]) -> Vec<u8>,
            ),
            (Method::Sha2, sha2::scramble),
        ] {
            let verify = |name: &[u8], proof: &[u8]| {
                accounts
                    .verify(name, method, &nonce, proof)
                    .map(|account| account.id)
            };
            let proof = scramble(b"secret", &nonce);
            assert_eq!(verify(b"app", &proof), Some(UserId(0)));
            assert_eq!(verify(b"app", &scramble(b"wrong", &nonce)), None);
            assert_eq!(verify(b"app", b""), None);
            assert_eq!(verify(b"nobody", &proof), None);
            assert_eq!(verify(b"open", b""), Some(UserId(1)));
            assert_eq!(verify(b"open", &proof), None);
        }
    }
}
