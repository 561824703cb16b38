//! What proves an account, and what logins teach.

use super::*;
use crate::config::Secret;

const NONCE: [u8; 20] = *b"12345678901234567890";

fn user(name: &str, password: Password) -> User {
    User {
        name: name.to_owned(),
        password,
        local_infile: None,
        consistency: None,
        max_connections: None,
        statement_rate: None,
        statement_timeout: None,
        transaction_timeout: None,
        firewall: None,
        replication: false,
    }
}

fn clear(name: &str, password: &str) -> User {
    user(name, Password::Clear(Secret::new(password)))
}

fn verify(accounts: &Accounts, name: &[u8], method: Method, proof: &[u8]) -> Option<UserId> {
    match accounts
        .claimed(name, Peer::Local, false)?
        .verify(method, &NONCE, proof)
    {
        Verdict::Proved(account) => Some(account.id),
        Verdict::Refused | Verdict::WantPassword => None,
    }
}

#[test]
fn only_the_right_password_proves_an_account() {
    let accounts = Accounts::new(&[clear("app", "secret"), clear("open", "")], None);
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

/// The hashes of "secret" as MariaDB and MySQL store it.
fn hashes() -> [Password; 2] {
    let row = b"$A$005$AbCd!@#\tEfgH%^&*01@#\
        NBZizbQw4sSbtZMreu7.XJrJwxoN87E0adMQTttgXl6";
    let crypt = sha2_crypt::Stored::parse(row).expect("a hash");
    [
        Password::Native(native::double_sha1(b"secret")),
        Password::Sha2(crypt),
    ]
}

#[test]
fn of_a_native_hash_a_secret_is_learnt_from_the_first_right_proof() {
    let [hash, _] = hashes();
    let accounts = Accounts::new(&[user("app", hash)], None);
    let wrong = native::scramble(b"wrong", &NONCE);
    assert_eq!(verify(&accounts, b"app", Method::Native, &wrong), None);
    assert!(accounts.account(UserId(0)).expect("there").key().is_none());
    let proof = native::scramble(b"secret", &NONCE);
    assert_eq!(verify(&accounts, b"app", Method::Native, &proof), Some(UserId(0)));
    let Some(Key::NativeSecret(secret)) = accounts.account(UserId(0)).expect("there").key() else {
        panic!("no key");
    };
    assert_eq!(native::scramble_secret(&secret, &NONCE), proof);
}

#[tokio::test]
async fn of_any_hash_everything_is_learnt_from_the_first_right_password() {
    for hash in hashes() {
        let accounts = Accounts::new(&[user("app", hash)], None);
        let claimed = |name: &[u8]| accounts.claimed(name, Peer::Local, false).expect("a claim");
        let sha2 = sha2::scramble(b"secret", &NONCE);
        for name in [&b"app"[..], b"nobody"] {
            let verdict = claimed(name).verify(Method::Sha2, &NONCE, &sha2);
            assert!(matches!(verdict, Verdict::WantPassword), "nothing to check it by");
            assert_eq!(verify(&accounts, name, Method::Sha2, b""), None);
            for wrong in [&b"wrong"[..], b"", &[b'x'; 70_000]] {
                let refused = claimed(name).verify_password(wrong.to_vec()).await;
                assert!(refused.is_none());
            }
        }
        assert!(
            claimed(b"nobody")
                .verify_password(b"secret".to_vec())
                .await
                .is_none()
        );
        assert!(
            accounts.account(UserId(0)).expect("there").key().is_none(),
            "nothing is learnt of refusals"
        );
        let proved = claimed(b"app").verify_password(b"secret".to_vec()).await;
        assert_eq!(proved.map(|account| account.id), Some(UserId(0)));
        let key = accounts.account(UserId(0)).expect("there").key();
        assert!(matches!(key, Some(Key::Password(password)) if *password == *b"secret"));
        assert_eq!(verify(&accounts, b"app", Method::Sha2, &sha2), Some(UserId(0)));
        let native = native::scramble(b"secret", &NONCE);
        assert_eq!(
            verify(&accounts, b"app", Method::Native, &native),
            Some(UserId(0))
        );
        let wrong = sha2::scramble(b"wrong", &NONCE);
        let verdict = claimed(b"app").verify(Method::Sha2, &NONCE, &wrong);
        assert!(
            matches!(verdict, Verdict::Refused),
            "the password need not be asked for any more"
        );
    }
}

#[test]
fn a_name_that_is_none_behaves_like_one_of_the_others() {
    let [_, hash] = hashes();
    let accounts = Accounts::new(&[user("hash", hash), clear("app", "secret")], None);
    let method = |name: &str| {
        let claimed = accounts
            .claimed(name.as_bytes(), Peer::Local, false)
            .expect("a decoy");
        claimed.method(Method::Native)
    };
    let seen: Vec<Method> = (0..64).map(|n| method(&format!("nobody{n}"))).collect();
    assert!(
        seen.contains(&Method::Native) && seen.contains(&Method::Sha2),
        "{seen:?}"
    );
    let again: Vec<Method> = (0..64).map(|n| method(&format!("nobody{n}"))).collect();
    assert_eq!(seen, again, "asked twice, it says the same");
}
