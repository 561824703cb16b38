//! Logins, seen from both sides.

use tandem_protocol::Capabilities;
use tandem_protocol::auth::native;
use tandem_protocol::handshake::accept::{Accept, AcceptOptions, Answer};
use tandem_protocol::handshake::auth_switch::AuthSwitchRequest;
use tandem_protocol::handshake::connect::{Connect, ConnectOptions, Credential, Progress, Protection};
use tandem_protocol::handshake::greeting::Greeting;
use tandem_protocol::handshake::response::{HandshakeResponse, is_ssl_request};

use crate::Input;

/// Greetings, their answers and requests for another plugin come back as they were written.
pub(crate) fn greetings(data: &[u8]) {
    let mut out = Vec::new();
    if let Ok(greeting) = Greeting::decode(data) {
        greeting.encode(&mut out);
        assert_eq!(Greeting::decode(&out), Ok(greeting));
    }
    if let Ok(response) = HandshakeResponse::decode(data)
        && response.capabilities.contains(Capabilities::SECURE_CONNECTION)
    {
        out.clear();
        response.encode(&mut out);
        let again = HandshakeResponse::decode(&out).unwrap();
        let whole = HandshakeResponse {
            plugin: again.plugin,
            ..response
        };
        assert_eq!(again, whole);
        assert_eq!(
            again.plugin.unwrap_or_default(),
            response.plugin.unwrap_or_default()
        );
    }
    if let Ok(request) = AuthSwitchRequest::decode(data) {
        out.clear();
        let plugin = String::from_utf8_lossy(request.plugin);
        AuthSwitchRequest::encode(&plugin, request.data, &mut out);
        let again = AuthSwitchRequest::decode(&out).unwrap();
        assert_eq!(again.plugin, plugin.as_bytes());
        // MariaDB's own plugins want the long nonce bare.
        assert_eq!(
            again.data.strip_suffix(b"\0").unwrap_or(again.data),
            match request.data.len() {
                32 => request.data.strip_suffix(b"\0").unwrap_or(request.data),
                _ => request.data,
            }
        );
    }
}

const PASSWORD: &[u8] = b"correct horse";

/// Whatever a server sends, the password stays secret, and TLS that is required is had.
///
/// A byte of choices, then the server's packets, each behind its length.
pub(crate) fn connect(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let protection = [
        Protection::Plain,
        Protection::Preferred,
        Protection::Required,
        Protection::Local,
    ][usize::from(choices & 3)];
    let secret = native::double_sha1(b"the bare half");
    let credential = match choices & 4 {
        0 => Credential::Password(PASSWORD),
        _ => Credential::NativeSecret(&secret),
    };
    let mut connect = Connect::new(ConnectOptions {
        user: b"app",
        credential,
        schema: (choices & 8 != 0).then_some(b"shop"),
        capabilities: Capabilities::from_bits_retain(input.u64()),
        charset: 45,
        attributes: &[("program", "tandem")],
        protection,
        zstd_level: 3,
        nonce: [7; 32],
    });
    let mut secure = protection == Protection::Local;
    let mut seq = 0_u8;
    while let Some(packet) = input.part() {
        let mut out = Vec::new();
        let mut progress = connect.receive(seq, packet, &mut out);
        assert!(out.len() < 1024, "an answer has its size from us");
        assert!(secure || !holds(&out, PASSWORD), "the password goes out in clear");
        if let Ok(Progress::StartTls) = progress {
            assert!(matches!(protection, Protection::Preferred | Protection::Required));
            secure = true;
            progress = connect.upgraded(&mut out);
        }
        if let Ok(Progress::Slow(_)) = progress {
            // PARSEC's key may take a second, in which nothing is to be seen.
            progress = connect.proved(Some(vec![7; 96]), &mut out);
        }
        match progress {
            Ok(Progress::Continue) => seq = seq.wrapping_add(2),
            Ok(Progress::Done(server)) => {
                assert!(secure || protection != Protection::Required);
                assert!(server.version.len() <= data.len());
                return;
            }
            Ok(Progress::StartTls) => panic!("TLS within TLS"),
            Ok(Progress::Slow(_)) => panic!("a proof after the proof"),
            Err(error) => {
                let text = error.to_string();
                // What the server says in its refusal is passed on, and libFuzzer learns the password from comparisons.
                let guessed = holds(data, PASSWORD);
                assert!(
                    guessed || !holds(text.as_bytes(), PASSWORD),
                    "a secret in an error: {text}"
                );
                return;
            }
        }
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A client never gets what was not offered, and TLS only once.
///
/// Capabilities offered, then the client's packets, each behind its length.
pub(crate) fn accept(data: &[u8]) {
    let mut input = Input(data);
    let offered = Capabilities::from_bits_retain(input.u64());
    let mut accept = Accept::new(AcceptOptions {
        version: b"10.11.14-MariaDB",
        connection_id: 7,
        nonce: [b'n'; native::NONCE_LEN],
        capabilities: offered,
        charset: 45,
        plugin: native::PLUGIN,
    });
    let mut greeting = Vec::new();
    accept.greeting(&mut greeting);
    let mut tls = false;
    while let Some(packet) = input.part() {
        match accept.response(1, packet) {
            Ok(Answer::StartTls(next)) => {
                assert!(!tls && is_ssl_request(packet) && offered.contains(Capabilities::SSL));
                tls = true;
                accept = next;
            }
            Ok(Answer::Login(mut login)) => {
                assert_eq!(login.capabilities.contains(Capabilities::SSL), tls);
                let granted = login.capabilities - Capabilities::SSL;
                assert_eq!(granted & offered, granted);
                let sizes = login.user.len() + login.proof.len() + login.attributes.len();
                assert!(sizes < packet.len());
                let due = login.dialogue.seq;
                assert!(login.dialogue.answered(due.wrapping_add(1)).is_err());
                return;
            }
            Err(_) => return,
        }
    }
}
