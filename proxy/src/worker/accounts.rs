//! The accounts that clients log in with, and the proof of their passwords.

use std::collections::HashMap;
use std::rc::Rc;

use tandem_protocol::auth::native::{self, NONCE_LEN};

use crate::backend::UserId;
use crate::config::User;

struct Known {
    id: UserId,
    /// `None` for an empty password.
    double_sha1: Option<[u8; 20]>,
}

/// All accounts of the configuration; only hashes are kept here.
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
            let password = user.password.reveal().as_bytes();
            let known = Known {
                id: UserId(index),
                double_sha1: (!password.is_empty()).then(|| native::double_sha1(password)),
            };
            (user.name.as_bytes().to_vec(), known)
        });
        Self {
            by_name: by_name.collect(),
        }
    }

    /// The account, if `proof` shows its password. Takes the same time for accounts that do not exist.
    pub fn verify(&self, name: &[u8], nonce: &[u8; NONCE_LEN], proof: &[u8]) -> Option<Account> {
        let known = self.by_name.get(name);
        let stored = known.and_then(|known| known.double_sha1).unwrap_or([0; 20]);
        let proved = native::verify(&stored, nonce, proof);
        let known = known?;
        let right = match known.double_sha1 {
            Some(_) => proved,
            None => proof.is_empty(),
        };
        right.then(|| Account {
            id: known.id,
            name: String::from_utf8_lossy(name).into(),
        })
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
        };
        let accounts = Accounts::new(&[user("app", "secret"), user("open", "")]);
        let nonce = *b"12345678901234567890";
        let proof = native::scramble(b"secret", &nonce);
        assert_eq!(
            accounts.verify(b"app", &nonce, &proof).map(|a| a.id),
            Some(UserId(0))
        );
        assert!(
            accounts
                .verify(b"app", &nonce, &native::scramble(b"wrong", &nonce))
                .is_none()
        );
        assert!(accounts.verify(b"app", &nonce, b"").is_none());
        assert!(accounts.verify(b"nobody", &nonce, &proof).is_none());
        assert_eq!(
            accounts.verify(b"open", &nonce, b"").map(|a| a.id),
            Some(UserId(1))
        );
        assert!(accounts.verify(b"open", &nonce, &proof).is_none());
    }
}
