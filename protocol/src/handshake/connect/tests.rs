use super::*;
use crate::handshake::accept::{Accept, AcceptOptions, Answer, Login};

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
        credential: Credential::Password(b"secret"),
        schema: Some(b"shop"),
        capabilities: Capabilities::SESSION_TRACK
            | Capabilities::MARIADB_STMT_BULK
            | Capabilities::DEPRECATE_EOF,
        charset: 45,
        attributes: &[("program_name", "test")],
        protection: Protection::Plain,
        zstd_level: 0,
        nonce: [7; 32],
    }
}

fn accept(plugin: &'static str) -> Accept<'static> {
    Accept::new(AcceptOptions {
        plugin,
        version: b"5.5.5-10.11.14-MariaDB",
        connection_id: 9,
        nonce: NONCE,
        capabilities: OFFERED | Capabilities::SSL,
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
    meet_with(connect, native::PLUGIN)
}

/// The handshake up to the client's login; TLS is a matter of words here.
fn meet_with(connect: &mut Connect<'_>, plugin: &'static str) -> Login {
    let mut greeting = Vec::new();
    accept(plugin).greeting(&mut greeting);
    let (progress, mut answer) = to_client(connect, &greeting);
    let mut waiting = accept(plugin);
    if progress == Ok(Progress::StartTls) {
        let (header, payload) = frame::packet(&answer).unwrap();
        let Answer::StartTls(next) = waiting.response(header.seq, payload).unwrap() else {
            panic!("no TLS")
        };
        waiting = next;
        answer = Vec::new();
        assert_eq!(connect.upgraded(&mut answer), Ok(Progress::Continue));
    } else {
        assert_eq!(progress, Ok(Progress::Continue));
    }
    let (header, payload) = frame::packet(&answer).unwrap();
    match waiting.response(header.seq, payload).unwrap() {
        Answer::Login(login) => login,
        Answer::StartTls(_) => panic!("TLS"),
    }
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
    assert!(native::verify(
        &native::double_sha1(b"secret"),
        &NONCE,
        &login.proof
    ));
    let (progress, answer) = to_client(&mut connect, &ok(login.dialogue.seq));
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
    let mut dialogue = meet(&mut connect).dialogue;
    let mut request = Vec::new();
    dialogue.switch(native::PLUGIN, &other, &mut request);
    let (progress, answer) = to_client(&mut connect, &request);
    assert_eq!(progress, Ok(Progress::Continue));
    let (header, proof) = frame::packet(&answer).unwrap();
    dialogue.answered(header.seq).unwrap();
    assert!(native::verify(&native::double_sha1(b"secret"), &other, proof));
    let (progress, _) = to_client(&mut connect, &ok(dialogue.seq));
    assert!(matches!(progress, Ok(Progress::Done(server)) if server.nonce == other));
}

#[test]
fn an_empty_password_is_an_empty_proof_even_after_a_switch() {
    let mut connect = Connect::new(ConnectOptions {
        credential: Credential::Password(b""),
        ..options()
    });
    let mut login = meet(&mut connect);
    assert_eq!(login.proof, b"");
    let mut request = Vec::new();
    login.dialogue.switch(sha2::PLUGIN, &NONCE, &mut request);
    let (_, answer) = to_client(&mut connect, &request);
    assert_eq!(answer, [0, 0, 0, 3]);
}

#[test]
fn a_cached_sha2_password_is_proved_at_once() {
    let mut connect = Connect::new(options());
    let mut login = meet_with(&mut connect, sha2::PLUGIN);
    assert_eq!(login.plugin, sha2::PLUGIN.as_bytes());
    assert!(sha2::verify(
        &sha2::double_sha256(b"secret"),
        &NONCE,
        &login.proof
    ));
    let mut out = Vec::new();
    login.dialogue.more_data(&[sha2::FAST_OK], &mut out);
    let (progress, answer) = to_client(&mut connect, &out);
    assert_eq!((progress, answer.len()), (Ok(Progress::Continue), 0));
    let (progress, _) = to_client(&mut connect, &ok(login.dialogue.seq));
    assert!(matches!(progress, Ok(Progress::Done(_))));
}

#[test]
fn an_uncached_sha2_password_goes_through_rsa_or_tls_or_a_local_socket() {
    let pair = rsa::KeyPair::generate().unwrap();
    for protection in [
        Protection::Plain,
        Protection::Preferred,
        Protection::Required,
        Protection::Local,
    ] {
        let mut connect = Connect::new(ConnectOptions {
            protection,
            ..options()
        });
        let mut dialogue = meet_with(&mut connect, sha2::PLUGIN).dialogue;
        let mut ask = |data: &[u8]| {
            let mut out = Vec::new();
            dialogue.more_data(data, &mut out);
            let (progress, answer) = to_client(&mut connect, &out);
            assert_eq!(progress, Ok(Progress::Continue));
            let (header, payload) = frame::packet(&answer).unwrap();
            dialogue.answered(header.seq).unwrap();
            payload.to_vec()
        };
        let answer = ask(&[sha2::WANT_PASSWORD]);
        if protection == Protection::Plain {
            assert_eq!(answer, [sha2::WANT_KEY]);
            let encrypted = ask(pair.public_pem().as_bytes());
            assert_eq!(
                sha2::mask(&pair.decrypt(&encrypted).unwrap(), &NONCE),
                b"secret\0"
            );
        } else {
            assert_eq!(answer, b"secret\0", "{protection:?}");
        }
    }
}

#[test]
fn a_password_in_clear_needs_a_protected_connection() {
    for (protection, answer) in [
        (Protection::Plain, Err(ConnectError::Unprotected)),
        (Protection::Required, Ok(&b"\x07\0\0\x04secret\0"[..])),
        (Protection::Local, Ok(b"\x07\0\0\x03secret\0")),
    ] {
        let mut connect = Connect::new(ConnectOptions {
            protection,
            ..options()
        });
        let mut login = meet(&mut connect);
        let mut request = Vec::new();
        login.dialogue.switch(CLEAR_PLUGIN, b"", &mut request);
        let (progress, bytes) = to_client(&mut connect, &request);
        assert_eq!(progress.map(|_| &bytes[..]), answer);
    }
}

#[test]
fn a_native_secret_is_enough_for_the_native_plugin_and_for_no_other() {
    let stored = native::double_sha1(b"secret");
    let proof = native::scramble(b"secret", &NONCE);
    let secret = native::secret(&stored, &NONCE, proof.as_slice().try_into().unwrap());
    let options = ConnectOptions {
        credential: Credential::NativeSecret(&secret),
        ..options()
    };
    let mut connect = Connect::new(options);
    let mut login = meet_with(&mut connect, sha2::PLUGIN);
    assert_eq!((&*login.plugin, login.proof), (native::PLUGIN.as_bytes(), proof));
    let mut request = Vec::new();
    login.dialogue.switch(sha2::PLUGIN, &NONCE, &mut request);
    let (progress, _) = to_client(&mut connect, &request);
    assert_eq!(progress, Err(ConnectError::PasswordNeeded(sha2::PLUGIN)));
}

#[test]
fn required_tls_that_is_not_offered_ends_the_login() {
    let mut greeting = Vec::new();
    let options_of_server = AcceptOptions {
        version: b"9.7.4",
        connection_id: 9,
        nonce: NONCE,
        capabilities: OFFERED,
        charset: 8,
        plugin: sha2::PLUGIN,
    };
    Accept::new(options_of_server).greeting(&mut greeting);
    let mut connect = Connect::new(ConnectOptions {
        protection: Protection::Required,
        ..options()
    });
    let (progress, answer) = to_client(&mut connect, &greeting);
    assert_eq!((progress, answer.len()), (Err(ConnectError::NoTls), 0));
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
        (&b"\xfeauth_gssapi_client\0abc"[..], "auth_gssapi_client"),
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

const LONG_NONCE: [u8; 32] = *b"0123456789abcdefghij0123456789ab";

#[test]
fn mariadbs_ed25519_signs_the_long_nonce() {
    let mut connect = Connect::new(options());
    let mut dialogue = meet(&mut connect).dialogue;
    let mut request = Vec::new();
    dialogue.switch(ed25519::PLUGIN, &LONG_NONCE, &mut request);
    let (progress, answer) = to_client(&mut connect, &request);
    assert_eq!(progress, Ok(Progress::Continue));
    let (header, proof) = frame::packet(&answer).unwrap();
    dialogue.answered(header.seq).unwrap();
    assert!(ed25519::verify(
        &ed25519::public_key(b"secret"),
        &LONG_NONCE,
        proof
    ));
    let (progress, _) = to_client(&mut connect, &ok(dialogue.seq));
    assert!(matches!(progress, Ok(Progress::Done(server)) if server.nonce == NONCE));
}

#[test]
fn parsec_asks_for_the_salt_and_signs_both_nonces() {
    for envelope in [&b""[..], &[sha2::MORE_DATA]] {
        let mut connect = Connect::new(options());
        let mut dialogue = meet(&mut connect).dialogue;
        let mut request = Vec::new();
        dialogue.switch(parsec::PLUGIN, &LONG_NONCE, &mut request);
        let (_, answer) = to_client(&mut connect, &request);
        let (header, question) = frame::packet(&answer).unwrap();
        assert_eq!(question, b"");
        dialogue.answered(header.seq).unwrap();
        let mut packet = Vec::new();
        let salt = b"P\x00eighteen bytes now";
        frame::write_packet(&mut packet, &mut dialogue.seq, &[envelope, salt].concat());
        let (progress, answer) = to_client(&mut connect, &packet);
        let Ok(Progress::Slow(task)) = progress else {
            panic!("{progress:?}")
        };
        assert_eq!(answer, b"");
        assert!(!format!("{task:?}").contains("secret"));
        let mut answer = Vec::new();
        assert_eq!(connect.proved(task.run(), &mut answer), Ok(Progress::Continue));
        assert!(connect.proved(task.run(), &mut answer).is_err(), "once");
        let (header, proof) = frame::packet(&answer).unwrap();
        assert_eq!(header.seq, dialogue.seq);
        let salt = parsec::Salt::decode(salt).unwrap();
        let expected = parsec::sign(b"secret", salt, &LONG_NONCE, &[7; 32]).unwrap();
        assert_eq!(proof, expected);
    }
}

#[test]
fn a_hash_alone_is_too_little_for_mariadbs_own_plugins() {
    for plugin in [ed25519::PLUGIN, parsec::PLUGIN] {
        let mut connect = Connect::new(ConnectOptions {
            credential: Credential::NativeSecret(&[0; 20]),
            ..options()
        });
        let mut dialogue = meet(&mut connect).dialogue;
        let mut request = Vec::new();
        dialogue.switch(plugin, &LONG_NONCE, &mut request);
        let (progress, _) = to_client(&mut connect, &request);
        assert_eq!(progress, Err(ConnectError::PasswordNeeded(plugin)));
    }
}

/// `sha256_password`: encrypted with the server's key, through TLS as it is, and an empty one as nothing.
#[test]
fn sha256_password_is_sent_encrypted_or_through_tls() {
    let switch = |connect: &mut Connect<'_>| {
        let mut dialogue = meet_with(connect, sha2::PLUGIN).dialogue;
        let mut request = Vec::new();
        dialogue.switch(sha256::PLUGIN, &NONCE, &mut request);
        let (progress, answer) = to_client(connect, &request);
        assert_eq!(progress, Ok(Progress::Continue));
        let (header, payload) = frame::packet(&answer).unwrap();
        dialogue.answered(header.seq).unwrap();
        (dialogue, payload.to_vec())
    };
    let mut connect = Connect::new(options());
    let (mut dialogue, answer) = switch(&mut connect);
    assert_eq!(answer, [sha256::WANT_KEY]);
    let key = rsa::KeyPair::generate().unwrap();
    let mut out = Vec::new();
    dialogue.more_data(key.public_pem().as_bytes(), &mut out);
    let (progress, answer) = to_client(&mut connect, &out);
    assert_eq!(progress, Ok(Progress::Continue));
    let (_, payload) = frame::packet(&answer).unwrap();
    let masked = key.decrypt(payload).unwrap();
    assert_eq!(sha2::mask(&masked, &NONCE), b"secret\0");
    let mut connect = Connect::new(ConnectOptions {
        protection: Protection::Required,
        ..options()
    });
    assert_eq!(switch(&mut connect).1, b"secret\0");
    let mut connect = Connect::new(ConnectOptions {
        credential: Credential::Password(b""),
        ..options()
    });
    assert_eq!(switch(&mut connect).1, b"\0");
}
