//! Logging in as a client does, to a server or to Tandem, and reading whole replies.

use std::net::SocketAddr;

use tandem::demo::pair::APP;
use tandem_protocol::auth::{native, sha2};
use tandem_protocol::frame::{self, Header};
use tandem_protocol::handshake::auth_switch::{AUTH_SWITCH_HEADER, AuthSwitchRequest};
use tandem_protocol::handshake::greeting::Greeting;
use tandem_protocol::handshake::response::HandshakeResponse;
use tandem_protocol::response::{Expect, Step, Walker};

use super::step::LogIn;
use crate::raw::Raw;

/// `utf8mb4_general_ci`, which both flavours know by this number.
const UTF8MB4: u8 = 45;

/// Logs in as the application's account, with exactly these capabilities.
pub async fn log_in(address: SocketAddr, login: &LogIn) -> Raw {
    let mut raw = Raw::connect(address).await;
    raw.capabilities = login.capabilities;
    let (_, payload) = raw.packet().await.expect("a greeting");
    let greeting = Greeting::decode(&payload).expect("a greeting");
    let mut out = Vec::new();
    let start = frame::begin(&mut out);
    HandshakeResponse {
        capabilities: login.capabilities,
        max_packet: 1 << 30,
        charset: login.collation,
        user: APP.user.as_bytes(),
        proof: &proof(greeting.plugin, &greeting.nonce),
        schema: Some(login.schema.as_bytes()),
        plugin: Some(greeting.plugin),
        attributes: &[],
        zstd_level: 0,
    }
    .encode(&mut out);
    frame::end(&mut out, start, 1);
    raw.send(&out).await;
    let verdict = prove(&mut raw).await;
    assert_eq!(verdict[0], 0, "logged in: {}", verdict.escape_ascii());
    raw
}

/// `COM_CHANGE_USER` to the same account; the payload of the other side's last word.
pub async fn change_user(raw: &mut Raw, schema: &str) -> Vec<u8> {
    let mut argument = Vec::new();
    // The empty one is the length of no proof: the server asks for one.
    for name in [APP.user, "", schema] {
        argument.extend_from_slice(name.as_bytes());
        argument.push(0);
    }
    argument.extend_from_slice(&[UTF8MB4, 0]);
    argument.extend_from_slice(native::PLUGIN.as_bytes());
    argument.push(0);
    raw.command(0x11, &argument).await;
    prove(raw).await
}

/// Answers what is asked for a proof, and returns the payload of the last word.
async fn prove(raw: &mut Raw) -> Vec<u8> {
    loop {
        let (seq, payload) = raw.packet().await.expect("an answer to the login");
        match payload[0] {
            AUTH_SWITCH_HEADER => {
                let asked = AuthSwitchRequest::decode(&payload).expect("an auth switch");
                let nonce = asked.data[..native::NONCE_LEN].try_into().expect("a nonce");
                let mut out = Vec::new();
                frame::write_packet(&mut out, &mut seq.wrapping_add(1), &proof(asked.plugin, &nonce));
                raw.send(&out).await;
            }
            sha2::MORE_DATA => assert_eq!(
                payload[1],
                sha2::FAST_OK,
                "the server knows the password, because somebody has logged in with it before"
            ),
            _ => return payload,
        }
    }
}

fn proof(plugin: &[u8], nonce: &[u8; native::NONCE_LEN]) -> Vec<u8> {
    let password = APP.password.as_bytes();
    match plugin == sha2::PLUGIN.as_bytes() {
        true => sha2::scramble(password, nonce),
        false => native::scramble(password, nonce),
    }
}

/// The bytes of a whole reply, headers and all; `None` when the other side closes before its end.
pub async fn reply(raw: &mut Raw, expect: Expect) -> Option<Vec<u8>> {
    let mut walker = Walker::new(expect, raw.capabilities);
    let mut reply = Vec::new();
    while !walker.is_done() {
        let (seq, payload) = raw.packet().await?;
        let mut at = reply.len();
        let len = payload.len();
        reply.extend_from_slice(&Header { len, seq }.encode());
        reply.extend_from_slice(&payload);
        while at < reply.len() {
            at += match walker.step(&reply[at..]).expect("a reply of the protocol") {
                Step::Pass(count) | Step::Packet { len: count, .. } => count,
                Step::Need(_) => panic!("half a packet, where all of it is there"),
            };
        }
    }
    Some(reply)
}
