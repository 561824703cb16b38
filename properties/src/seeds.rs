//! Where the fuzzers start from, beside the corpus: replies captured from a real server, and packets we write.

use tandem_protocol::auth::native;
use tandem_protocol::compression::{Algorithm, MIN_LENGTH, Method, Packer};
use tandem_protocol::frame::{self, HEADER_LEN};
use tandem_protocol::handshake::auth_switch::AuthSwitchRequest;
use tandem_protocol::handshake::greeting::Greeting;
use tandem_protocol::handshake::response::HandshakeResponse;
use tandem_protocol::packet::session_track::Change;
use tandem_protocol::{Capabilities, Status};

use crate::streams::FLAGS;

const CAPTURES: [&str; 3] = [
    include_str!("../../protocol/tests/captures/legacy_eof.txt"),
    include_str!("../../protocol/tests/captures/deprecate_eof.txt"),
    include_str!("../../protocol/tests/captures/untracked.txt"),
];

/// Longer replies teach nothing that a shorter one does not.
const LONGEST: usize = 1500;

/// In the order of [`crate::streams::expectation`].
const KINDS: [&str; 7] = [
    "query",
    "prepare",
    "execute",
    "fetch",
    "fieldlist",
    "single",
    "statistics",
];

const CLIENT: Capabilities = Capabilities::PROTOCOL_41
    .union(Capabilities::SECURE_CONNECTION)
    .union(Capabilities::PLUGIN_AUTH)
    .union(Capabilities::CONNECT_WITH_DB)
    .union(Capabilities::CONNECT_ATTRS);

/// Inputs that make sense to the property called `name`.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    match name {
        "wire" => vec![b"\x03abc\xfb\xfc\x01\x02\xfd\x01\x02\x03\xfe\x01\0\0\0\0\0\0\0name\0".to_vec()],
        "walker" => replies()
            .map(|(start, reply)| [&start[..], &reply].concat())
            .collect(),
        "frames" => replies()
            .map(|(_, reply)| [b"\xff\xff", &reply[..]].concat())
            .collect(),
        "packets" => payloads(),
        "commands" => commands(),
        "names" => [
            &b"\x2d\0utf8mb4_general_ci"[..],
            b"\x08\0latin1",
            b"\0\x005.5.5-10.11.14-MariaDB-log",
        ]
        .map(<[u8]>::to_vec)
        .to_vec(),
        "greetings" => vec![greeting(), response(), auth_switch()],
        "connect" => logins(),
        "accept" => vec![[&CLIENT.bits().to_le_bytes()[..], &part(&response())].concat()],
        "tail" => vec![
            b"\xff\0\x03\0\0\0abcrest".to_vec(),
            b"\x02\0\x03\0\0\0abc".to_vec(),
        ],
        "proxied" => proxied(),
        "positions" => positions(),
        "settings" => vec![settings(0), settings(3), settings(5)],
        "file" => files(),
        "reports" => reports(),
        "packed" => packed(),
        "unpacked" => unpacked(),
        "beginnings" => vec![
            b"\x03\0\0\0abc\x01\0\0\x01x\x02\0\0\0yz".to_vec(),
            b"\0\0\0\xff\x01\0\0\0a\x01\0\0\0b".to_vec(),
        ],
        "stored" => STORED.map(|text| [b"!", text.as_bytes()].concat()).to_vec(),
        "signatures" => vec![[&[7; 66][..], b"P\0salt of a server"].concat(), vec![9; 130]],
        "accounts" => accounts(),
        "classify" => statements(|dialect, text| [&[dialect, 60], text].concat()),
        "dress" | "lines" => statements(|dialect, text| [&[dialect], text].concat()),
        "secrets" => statements(|dialect, text| {
            let (before, after) = text.split_at(text.iter().rposition(|byte| *byte == b' ').unwrap_or(0));
            [&[dialect], &part(before)[..], after].concat()
        }),
        _ => Vec::new(),
    }
}

/// The statements of the classifier's own cases, in the dialects that they name.
fn statements(input: impl Fn(u8, &[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut dialect = 0;
    let mut all = Vec::new();
    let files = [
        include_str!("../../proxy/src/classify/cases.txt"),
        "!",
        include_str!("../../proxy/src/classify/tables.txt"),
    ];
    for line in files.iter().flat_map(|file| file.lines()) {
        if let Some(words) = line.strip_prefix('!') {
            let names = [
                "mysql",
                "ansi_quotes",
                "no_backslash_escapes",
                "ignore_space",
                "multibyte",
            ];
            let bits = names
                .iter()
                .enumerate()
                .map(|(bit, name)| u8::from(words.contains(name)) << bit);
            dialect = bits.sum();
        } else if let Some(statement) = line.split(" | ").next().filter(|_| !line.starts_with('#')) {
            all.push(input(dialect, statement.trim().as_bytes()));
        }
    }
    all
}

fn proxied() -> Vec<Vec<u8>> {
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x9c\x40\x0c\xea";
    let texts: [&[u8]; 3] = [
        b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 3306\r\nrest",
        b"PROXY UNKNOWN\r\n",
        binary,
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}

fn positions() -> Vec<Vec<u8>> {
    let (one, other) = (
        "0a4b1c2d-3e4f-5a6b-7c8d-9e0f1a2b3c4d",
        "ffffffff-3e4f-5a6b-7c8d-9e0f1a2b3c4d",
    );
    let sets = [
        ("0-1-123,1-2-5".to_owned(), "0-2-124".to_owned()),
        (format!("{one}:1-100:105"), format!("{one}:101-104,{other}:7")),
        (format!("{one}:7"), format!("{one}:tag:1-3")),
    ];
    sets.map(|(one, other)| [part(one.as_bytes()), part(other.as_bytes())].concat())
        .to_vec()
}

/// What both makers store of passwords.
const STORED: [&str; 4] = [
    "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7",
    "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY",
    "P0:ghkQxikv8Kr8yUQvH/8fnVai:caYHjlrYmzMHMQiKB5xXULTlv/4Wcb8ArG750AaXOps",
    "$A$005$AbCd!@#\tEfgH%^&*01@#dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6",
];

fn accounts() -> Vec<Vec<u8>> {
    let plugins = [
        "mysql_native_password",
        "ed25519",
        "parsec",
        "caching_sha2_password",
    ];
    let hosts = ["192.0.2.7", "%", "192.0.2._", "192.0.%"];
    let mut rows = Vec::new();
    for ((host, plugin), stored) in hosts.iter().zip(plugins).zip(STORED) {
        for text in ["app", host, plugin, stored] {
            rows.extend_from_slice(&part(text.as_bytes()));
        }
    }
    let other = ["root", "localhost", "", ""]
        .map(|text| part(text.as_bytes()))
        .concat();
    [[0, 192, 0, 2, 7], [1, 127, 0, 0, 1], [2, 0, 0, 0, 0]]
        .map(|start| [&start[..], &rows, &other].concat())
        .to_vec()
}

fn files() -> Vec<Vec<u8>> {
    let packets: [&[u8]; 3] = [b"a line\n", b"another", b""];
    [2, 254]
        .map(|seq| {
            let (mut out, mut next) = (vec![seq], seq);
            for packet in packets {
                frame::write_packet(&mut out, &mut next, packet);
            }
            frame::write_packet(&mut out, &mut 0, b"\x03SELECT 1");
            out
        })
        .to_vec()
}

fn reports() -> Vec<Vec<u8>> {
    let mut state = Vec::new();
    for change in [
        Change::SystemVariable {
            name: b"time_zone",
            value: b"SYSTEM",
        },
        Change::SystemVariable {
            name: b"autocommit",
            value: b"ON",
        },
        Change::Schema(b"shop"),
        Change::StateChanged(true),
        Change::Gtids(b"0-1-2"),
        Change::TransactionCharacteristics(b"START TRANSACTION;"),
        Change::TransactionState(b"T_______"),
    ] {
        change.encode(&mut state);
    }
    // Two pairs in one entry.
    state.extend_from_slice(b"\0\x08\x01a\x011\x01b\x012");
    [(b"*", 0xff_u8), (b"b", 0), (b"A", 6)]
        .map(|(variables, choices)| [&[choices, choices & 1], &part(variables)[..], &state].concat())
        .to_vec()
}

/// A text that gets shorter in all ways that compression knows.
const LONG: &[u8] =
    b"a row and a row and another row, and 0123456789 and 0123456789 and a row of its own kind at the end";

fn packed() -> Vec<Vec<u8>> {
    let parts = [part(LONG), part(b"short"), part(b""), part(&LONG.repeat(4))].concat();
    [
        [0, 50, 2, 0, 1, 0],
        [1, 50, 4, 0, 0, 1],
        [6, 0, 9, 0, 1, 1],
        [9, 255, 20, 0, 255, 0],
    ]
    .map(|start| [&start[..], &parts].concat())
    .to_vec()
}

fn unpacked() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (choice, algorithm) in [Algorithm::Zlib, Algorithm::Zstd].into_iter().enumerate() {
        for threshold in [MIN_LENGTH, usize::MAX] {
            let method = Method {
                algorithm,
                level: 3,
                threshold,
            };
            let mut out = vec![choice as u8, 20];
            let mut packer = Packer::default();
            for (seq, plain) in [LONG, b"short", &LONG.repeat(3)].into_iter().enumerate() {
                packer.pack(method, seq as u8, plain, &mut out);
            }
            all.push(out);
        }
    }
    all
}

fn settings(choices: u8) -> Vec<u8> {
    let pairs = [
        "sql_mode",
        "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
        "time_zone",
        "it's \\ \"x\"",
        "autocommit",
        "-1.5",
    ];
    [choices]
        .into_iter()
        .chain(pairs.iter().flat_map(|text| part(text.as_bytes())))
        .collect()
}

/// Every captured reply behind the two bytes that [`crate::streams::walker`] wants.
fn replies() -> impl Iterator<Item = ([u8; 2], Vec<u8>)> {
    CAPTURES
        .into_iter()
        .flat_map(|text| {
            let caps = text
                .lines()
                .find_map(|line| line.strip_prefix("# capabilities 0x"))
                .unwrap();
            let caps = Capabilities::from_bits_retain(u64::from_str_radix(caps, 16).unwrap());
            let flags = FLAGS
                .iter()
                .enumerate()
                .map(|(bit, flag)| u8::from(caps.contains(*flag)) << bit)
                .sum();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(move |line| {
                let mut columns = line.split('|').skip(1);
                let (kind, hex) = (columns.next().unwrap(), columns.next().unwrap());
                let kind = KINDS.iter().position(|known| *known == kind).unwrap();
                ([kind as u8, flags], unhex(hex))
            })
        })
        .filter(|(_, reply)| reply.len() <= LONGEST)
}

/// Bytes from two digits each.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn payloads() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for ([_, flags], reply) in replies() {
        let mut rest = &reply[..];
        while let Some((header, payload)) = frame::packet(rest) {
            all.push(
                [
                    &crate::streams::expectation(0, flags).1.bits().to_le_bytes()[..],
                    payload,
                ]
                .concat(),
            );
            rest = &rest[HEADER_LEN + header.len..];
        }
    }
    all.sort();
    all.dedup();
    all
}

fn commands() -> Vec<Vec<u8>> {
    let payloads: [&[u8]; 7] = [
        b"\x17\x01\0\0\0\0\x01\0\0\0\0\x01\xfd\0\x03ab\0",
        b"\x18\x01\0\0\0\0\0data",
        b"\x1c\x01\0\0\0\x05\0\0\0",
        b"\x19\x01\0\0\0",
        b"\x1a\x01\0\0\0",
        b"\x1b\x01\0",
        b"\x11app\0\x02xyshop\0\x2d\0mysql_native_password\0\x04\x01a\x01b",
    ];
    let start = [&CLIENT.bits().to_le_bytes()[..], b"\x01\0"].concat();
    payloads.map(|payload| [&start, payload].concat()).to_vec()
}

fn greeting() -> Vec<u8> {
    let mut out = Vec::new();
    Greeting {
        version: b"10.11.14-MariaDB",
        connection_id: 7,
        nonce: [b'n'; native::NONCE_LEN],
        capabilities: CLIENT | Capabilities::SSL,
        charset: 45,
        status: Status::AUTOCOMMIT,
        plugin: native::PLUGIN.as_bytes(),
    }
    .encode(&mut out);
    out
}

fn response() -> Vec<u8> {
    let mut out = Vec::new();
    HandshakeResponse {
        capabilities: CLIENT,
        max_packet: 1 << 24,
        charset: 45,
        user: b"app",
        proof: &[b'p'; 20],
        schema: Some(b"shop"),
        plugin: Some(native::PLUGIN.as_bytes()),
        attributes: b"\x01a\x01b",
        zstd_level: 0,
    }
    .encode(&mut out);
    out
}

fn auth_switch() -> Vec<u8> {
    let mut out = Vec::new();
    AuthSwitchRequest::encode("caching_sha2_password", &[b'm'; native::NONCE_LEN], &mut out);
    out
}

/// Every protection and credential with the dialogues that a server may lead.
fn logins() -> Vec<Vec<u8>> {
    let clear = b"\xfemysql_clear_password\0";
    let dialogues: [&[&[u8]]; 5] = [
        &[b"\0\0\0\x02\0\0\0"],
        &[&auth_switch(), b"\x01\x03", b"\0\0\0\x02\0\0\0"],
        &[
            &auth_switch(),
            b"\x01\x04",
            b"\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ],
        &[clear, b"\0\0\0\x02\0\0\0"],
        &[b"\xff\x15\x04#28000Access denied"],
    ];
    let mut all = Vec::new();
    for choices in 0..8 {
        for dialogue in dialogues {
            let mut login = vec![choices];
            login.extend_from_slice(&CLIENT.bits().to_le_bytes());
            login.extend(part(&greeting()));
            dialogue.iter().for_each(|packet| login.extend(part(packet)));
            all.push(login);
        }
    }
    all
}

fn part(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_le_bytes()[..], bytes].concat()
}
