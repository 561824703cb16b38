use super::*;
use crate::handshake::accept::{Accept, AcceptOptions, Login, Proof};

const NONCE: [u8; 20] = *b"abcdefghijklmnopqrst";
const OFFERED: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::CONNECT_ATTRS)
    .union(Capabilities::SESSION_TRACK)
    .union(Capabilities::MARIADB_STMT_BULK);

fn options() -> ConnectOptions<'static> {
    ConnectOptions {
        user: b"bob",
        password: b"secret",
        schema: Some(b"shop"),
        capabilities: Capabilities::SESSION_TRACK
            | Capabilities::MARIADB_STMT_BULK
            | Capabilities::DEPRECATE_EOF,
        charset: 45,
        attributes: &[("program_name", "test")],
    }
}

fn accept() -> Accept<'static> {
    Accept::new(AcceptOptions {
        version: b"5.5.5-10.11.14-MariaDB",
        connection_id: 9,
        nonce: NONCE,
        capabilities: OFFERED,
        charset: 8,
    })
}

/// Carries the packet in `bytes` to the client side and returns its answer.
fn to_client(connect: &mut Connect<'_>, bytes: &[u8]) -> (Result<Progress, ConnectError>, Vec<u8>) {
    let (header, payload) = frame::packet(bytes).unwrap();
    let mut out = Vec::new();
    (connect.receive(header.seq, payload, &mut out), out)
}

fn meet(connect: &mut Connect<'_>) -> Login {
    let mut greeting = Vec::new();
    accept().greeting(&mut greeting);
    let (progress, answer) = to_client(connect, &greeting);
    assert_eq!(progress, Ok(Progress::Continue));
    let (header, payload) = frame::packet(&answer).unwrap();
    accept().response(header.seq, payload).unwrap()
}

fn ok(seq: u8) -> Vec<u8> {
    vec![7, 0, 0, seq, 0, 0, 0, 2, 0, 0, 0]
}

#[test]
fn both_sides_meet_without_a_switch() {
    let mut connect = Connect::new(options());
    let login = meet(&mut connect);
    assert_eq!(login.user, b"bob");
    assert_eq!(login.schema.as_deref(), Some(&b"shop"[..]));
    assert_eq!(login.attributes, b"\x0cprogram_name\x04test");
    let Proof::Native(proof) = &login.proof else {
        panic!("{login:?}")
    };
    assert!(native::verify(&native::double_sha1(b"secret"), &NONCE, proof));
    let (progress, answer) = to_client(&mut connect, &ok(login.seq));
    let Ok(Progress::Done(server)) = progress else {
        panic!("{progress:?}")
    };
    assert_eq!(answer, b"");
    assert_eq!(server.capabilities, OFFERED);
    assert_eq!(server.capabilities, login.capabilities);
    assert_eq!((server.connection_id, server.charset), (9, 45));
    assert_eq!(server.status, Status::AUTOCOMMIT);
    let (after, _) = to_client(&mut connect, &ok(0));
    assert_eq!(after, Err(DecodeError::Finished.into()));
}

#[test]
fn both_sides_meet_after_a_switch() {
    let other = *b"ABCDEFGHIJKLMNOPQRST";
    let mut connect = Connect::new(options());
    let mut login = meet(&mut connect);
    let mut request = Vec::new();
    login.request_switch(&other, &mut request);
    let (progress, answer) = to_client(&mut connect, &request);
    assert_eq!(progress, Ok(Progress::Continue));
    let (header, payload) = frame::packet(&answer).unwrap();
    let login = login.switched(header.seq, payload).unwrap();
    let Proof::Native(proof) = &login.proof else {
        panic!("{login:?}")
    };
    assert!(native::verify(&native::double_sha1(b"secret"), &other, proof));
    let (progress, _) = to_client(&mut connect, &ok(login.seq));
    assert!(matches!(progress, Ok(Progress::Done(server)) if server.nonce == other));
}

#[test]
fn an_empty_password_is_an_empty_proof_even_after_a_switch() {
    let mut connect = Connect::new(ConnectOptions {
        password: b"",
        ..options()
    });
    let mut login = meet(&mut connect);
    assert_eq!(login.proof, Proof::Native(Vec::new()));
    let mut request = Vec::new();
    login.request_switch(&NONCE, &mut request);
    let (_, answer) = to_client(&mut connect, &request);
    assert_eq!(answer, [0, 0, 0, 3]);
}

#[test]
fn refusals_keep_the_servers_words() {
    let mut connect = Connect::new(options());
    let mut out = Vec::new();
    let refused = connect.receive(0, b"\xff\x10\x04Too many connections", &mut out);
    let Err(ConnectError::Refused(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (error.code, error.message.as_str()),
        (1040, "Too many connections")
    );

    let mut connect = Connect::new(options());
    meet(&mut connect);
    let refused = connect.receive(2, b"\xff\x15\x04#28000Access denied", &mut out);
    let Err(ConnectError::Refused(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((error.code, error.state.as_str()), (1045, "28000"));
}

#[test]
fn other_plugins_are_named() {
    for (payload, name) in [
        (&b"\xfecaching_sha2_password\0abc"[..], "caching_sha2_password"),
        (b"\xfe", "mysql_old_password"),
    ] {
        let mut connect = Connect::new(options());
        meet(&mut connect);
        let refused = connect.receive(2, payload, &mut Vec::new());
        assert_eq!(refused, Err(ConnectError::UnsupportedPlugin(name.to_owned())));
    }
}

#[test]
fn garbage_is_a_protocol_error() {
    for payload in [&b""[..], b"SSH-2.0-OpenSSH", &[0x0a]] {
        let refused = Connect::new(options()).receive(0, payload, &mut Vec::new());
        assert!(matches!(refused, Err(ConnectError::Protocol(_))), "{payload:?}");
    }
    let mut connect = Connect::new(options());
    meet(&mut connect);
    let refused = connect.receive(2, &[0x01, 4], &mut Vec::new());
    assert!(matches!(refused, Err(ConnectError::Protocol(_))));
}

#[test]
fn the_password_stays_out_of_logs() {
    assert!(!format!("{:?}", Connect::new(options())).contains("115, 101, 99"));
    assert!(!format!("{:?}", options()).contains("secret"));
}
