//! What becomes of rows that stay, change and go.

use mysql_async::Value;

use super::*;
use crate::worker::accounts::Requires;

const NATIVE: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

fn row(user: &str, host: &str, more: &[&str]) -> Row {
    let columns = [user, host].into_iter().chain(more.iter().copied());
    let value = |text: &str| match text {
        "NULL" => Value::NULL,
        text => Value::Bytes(text.as_bytes().to_vec()),
    };
    Row::from_values(columns.map(value).collect()).expect("a row")
}

fn simple(user: &str, host: &str, hash: &str) -> Row {
    row(user, host, &["NULL", "NULL", "mysql_native_password", hash])
}

fn from(address: [u8; 4]) -> Peer {
    Peer::Tcp((address, 1).into())
}

#[test]
fn the_account_whose_host_is_said_most_exactly_is_meant() {
    let rows = vec![
        simple("app", "%", NATIVE),
        simple("app", "192.0.2.7", NATIVE),
        simple("app", "192.0.2.%", NATIVE),
        simple("other", "10.%", NATIVE),
    ];
    let directory = Directory::default().renewed(rows, &[], true, &mut Ids(5));
    let id = |user: &str, address| {
        let found = directory.find(user.as_bytes(), from(address));
        found.map(|account| account.id.0)
    };
    assert_eq!(id("app", [192, 0, 2, 7]), Some(6));
    assert_eq!(id("app", [192, 0, 2, 8]), Some(7));
    assert_eq!(id("app", [198, 51, 100, 1]), Some(5));
    assert_eq!(id("other", [10, 0, 0, 1]), Some(8));
    assert_eq!(id("other", [192, 0, 2, 7]), None);
    assert_eq!(id("App", [192, 0, 2, 7]), None, "names have cases");
}

#[test]
fn only_what_changed_is_a_new_account() {
    let mut ids = Ids(0);
    let first = Directory::default().renewed(
        vec![
            simple("stays", "%", NATIVE),
            simple("changes", "%", NATIVE),
            simple("goes", "%", NATIVE),
        ],
        &[],
        true,
        &mut ids,
    );
    let second = first.renewed(
        vec![
            simple("comes", "%", NATIVE),
            simple("changes", "%", &NATIVE.replace('E', "F")),
            simple("stays", "%", NATIVE),
        ],
        &[],
        true,
        &mut ids,
    );
    let find = |directory: &Directory, user: &str| {
        let found = directory.find(user.as_bytes(), Peer::Local);
        found.map(|account| account.id.0)
    };
    assert_eq!(find(&second, "stays"), find(&first, "stays"));
    assert_ne!(find(&second, "changes"), find(&first, "changes"));
    assert_eq!(find(&second, "goes"), None);
    let [old, new] =
        [&first, &second].map(|directory| directory.find(b"changes", Peer::Local).expect("there"));
    assert!(
        second.same(old).is_some_and(|same| Arc::ptr_eq(same, new)),
        "what became of it"
    );
    assert_eq!(find(&second, "comes"), Some(3));
    assert_eq!(second.accounts().len(), 3);
}

#[test]
fn anonymous_accounts_are_tried_in_their_turn_and_are_each_names_own() {
    let rows = || {
        vec![
            simple("", "%", NATIVE),
            simple("", "192.0.2.7", NATIVE),
            simple("app", "192.0.2.%", NATIVE),
            simple("app", "%", NATIVE),
        ]
    };
    let mut ids = Ids(0);
    let guests = ["guest".to_owned(), "app".to_owned()];
    let first = Directory::default().renewed(rows(), &guests, true, &mut ids);
    let find = |user: &str, address| {
        let found = first.find(user.as_bytes(), from(address))?;
        Some((found.name.to_string(), found.host.to_string()))
    };
    let found = |name: &str, host: &str| Some((name.to_owned(), host.to_owned()));
    assert_eq!(
        find("app", [192, 0, 2, 7]),
        found("app", "192.0.2.7"),
        "the anonymous one"
    );
    assert_eq!(find("app", [192, 0, 2, 8]), found("app", "192.0.2.%"));
    assert_eq!(find("app", [198, 51, 100, 1]), found("app", "%"), "the named one");
    assert_eq!(find("guest", [192, 0, 2, 8]), found("guest", "%"));
    assert_eq!(find("", [192, 0, 2, 8]), found("", "%"));
    assert_eq!(find("nobody", [192, 0, 2, 8]), None, "not noted yet");
    let second = first.renewed(rows(), &guests, true, &mut ids);
    for user in ["app", "guest", ""] {
        let [before, after] = [&first, &second].map(|directory| {
            let found = directory.find(user.as_bytes(), from([192, 0, 2, 7]));
            Arc::clone(found.expect(user))
        });
        assert!(Arc::ptr_eq(&before, &after), "{user}");
        assert!(second.same(&before).is_some_and(|same| Arc::ptr_eq(same, &after)));
    }
    let without = second.renewed(vec![simple("app", "%", NATIVE)], &guests, true, &mut ids);
    assert!(without.find(b"guest", Peer::Local).is_none());
}

#[test]
fn names_that_are_nobodys_are_kept_within_bounds() {
    let mut guests = Guests::default();
    for number in 0..=GUESTS {
        guests.note(format!("guest{number}").as_bytes());
    }
    guests.note(b"guest1");
    for odd in [&b""[..], b"\xff", &[b'x'; LONGEST_NAME + 1]] {
        guests.note(odd);
    }
    assert_eq!(guests.0.len(), GUESTS);
    assert_eq!(guests.0.front().map(String::as_str), Some("guest2"));
    assert_eq!(guests.0.back().map(String::as_str), Some("guest1"));
}

#[test]
fn what_a_row_says_is_understood() {
    let proofs = |more: &[&str]| row("app", "%", more).proofs();
    let native = proofs(&["0", "NULL", "mysql_native_password", NATIVE]);
    assert!(native.native.is_some() && native.requires == Requires::Nothing && !native.is_locked);
    let both = proofs(&[
        "1",
        "true",
        "mysql_native_password",
        NATIVE,
        "ed25519",
        "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY",
        "NULL",
        "NULL",
    ]);
    assert!(both.native.is_none() && both.stored.len() == 2);
    assert!(both.requires == Requires::Tls && both.is_locked);
    let parsec = "P0:ghkQxikv8Kr8yUQvH/8fnVai:caYHjlrYmzMHMQiKB5xXULTlv/4Wcb8ArG750AaXOps";
    assert_eq!(proofs(&["", "N", "parsec", parsec]).stored.len(), 1);
    let sha2 = "$A$005$AbCd!@#\tEfgH%^&*01@#dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6";
    let mysql = proofs(&["X509", "Y", "caching_sha2_password", sha2]);
    assert!(mysql.stored.len() == 1 && mysql.requires == Requires::Certificate && mysql.is_locked);
    assert!(proofs(&["", "N", "caching_sha2_password", ""]).is_empty);
    assert!(
        proofs(&["NULL", "NULL"]).native.is_none(),
        "root as it is installed"
    );
    for nothing in [
        &["NULL", "NULL", "unix_socket", ""][..],
        &["NULL", "NULL", "mysql_native_password", "invalid"],
        &["NULL", "NULL", "mysql_native_password", "", "unix_socket", ""],
        &["NULL", "NULL", "auth_socket", NATIVE],
        &["NULL", "NULL", "pam", ""],
    ] {
        let proofs = proofs(nothing);
        let open = proofs.is_empty || proofs.native.is_some() || !proofs.stored.is_empty();
        assert!(!open, "{nothing:?}");
    }
}
