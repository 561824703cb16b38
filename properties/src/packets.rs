//! Single packets: what is decoded, encoded and decoded again is the same, and nothing reaches past its payload.

use tandem_protocol::command::{
    ChangeUser, CommandCode, SetOption, StmtClose, StmtExecute, StmtFetch, StmtReset, StmtSendLongData,
    execute_params,
};
use tandem_protocol::packet::session_track::changes;
use tandem_protocol::packet::{ColumnDefinition, EofPacket, ErrPacket, OkPacket, PrepareOk};
use tandem_protocol::version::ServerVersion;
use tandem_protocol::wire::{
    Reader, put_lenenc_bytes, put_lenenc_int, put_lenenc_or_null, put_nul_terminated,
};
use tandem_protocol::{Capabilities, Status, charset};

use crate::Input;

/// Length-encoded values and texts, wherever in the input they start.
pub(crate) fn wire(data: &[u8]) {
    for at in 0..data.len() {
        let rest = &data[at..];
        let mut out = Vec::new();
        let mut reader = Reader::new(rest);
        if let Ok(value) = reader.lenenc_int("value") {
            put_lenenc_int(&mut out, value);
            let read = rest.len() - reader.remaining();
            assert!(out.len() <= read, "the shortest form is written");
            assert_eq!(Reader::new(&out).lenenc_int("value"), Ok(value));
            for cut in 0..out.len() {
                assert!(Reader::new(&out[..cut]).lenenc_int("value").is_err());
            }
        }
        out.clear();
        if let Ok(value) = Reader::new(rest).lenenc_bytes_or_null("value") {
            assert!(value.is_none_or(|value| value.len() < rest.len()));
            put_lenenc_or_null(&mut out, value);
            put_lenenc_bytes(&mut out, value.unwrap_or_default());
            let mut reader = Reader::new(&out);
            assert_eq!(reader.lenenc_bytes_or_null("value"), Ok(value));
            assert_eq!(reader.lenenc_bytes("value"), Ok(value.unwrap_or_default()));
            reader.finish("values").unwrap();
        }
        out.clear();
        if let Ok(text) = Reader::new(rest).nul_terminated("text") {
            put_nul_terminated(&mut out, text);
            assert_eq!(out, rest[..out.len()]);
            assert!(!text.contains(&0));
        }
    }
}

/// What servers answer. Eight bytes of capabilities, then a payload.
pub(crate) fn packets(data: &[u8]) {
    let mut input = Input(data);
    let caps = Capabilities::from_bits_retain(input.u64());
    let payload = input.0;
    let mut out = Vec::new();
    if let Ok(ok) = OkPacket::decode(payload, caps) {
        ok.encode(payload[0], caps, &mut out);
        let again = OkPacket::decode(&out, caps).unwrap();
        let tracked = Status::SESSION_STATE_CHANGED;
        assert_eq!(again.status - tracked, ok.status - tracked);
        assert_eq!(
            again,
            OkPacket {
                status: again.status,
                ..ok
            },
            "{payload:?}"
        );
        session_state(ok.session_state);
    }
    if let Ok(err) = ErrPacket::decode(payload) {
        out.clear();
        err.encode(caps | Capabilities::PROTOCOL_41, &mut out);
        assert_eq!(ErrPacket::decode(&out), Ok(err));
        assert_eq!(err.to_owned().code, err.code);
    }
    if let Ok(eof) = EofPacket::decode(payload) {
        out.clear();
        eof.encode(&mut out);
        assert_eq!(out, payload);
    }
    if let Ok(prepared) = PrepareOk::decode(payload) {
        out.clear();
        prepared.encode(&mut out);
        assert_eq!(PrepareOk::decode(&out), Ok(prepared));
    }
    if let Ok(column) = ColumnDefinition::decode(payload, caps) {
        out.clear();
        column.encode(caps, &mut out);
        assert_eq!(ColumnDefinition::decode(&out, caps), Ok(column));
    }
    session_state(payload);
}

/// The iterator ends, and an error is its last word.
fn session_state(bytes: &[u8]) {
    let mut seen = 0;
    let mut failed = false;
    for change in changes(bytes) {
        assert!(!failed, "nothing follows an error");
        failed = change.is_err();
        seen += 1;
        assert!(seen <= bytes.len(), "no more changes than bytes");
    }
}

/// What clients ask. Eight bytes of capabilities, two of a number of parameters, then a payload.
pub(crate) fn commands(data: &[u8]) {
    let mut input = Input(data);
    let caps = Capabilities::from_bits_retain(input.u64());
    let params = input.u16();
    let payload = input.0;
    let first = payload.first().copied();
    let code = first.and_then(CommandCode::from_byte);
    assert!(code.is_none_or(|code| Some(code as u8) == first && !code.name().is_empty()));
    let is = |wanted: CommandCode| assert_eq!(code, Some(wanted));
    if let Ok(execute) = StmtExecute::decode(payload) {
        is(CommandCode::StmtExecute);
        assert!(payload.ends_with(execute.params));
        if let Ok(split) = execute_params(&execute, params, caps) {
            let flag = usize::from(split.params > 0);
            let head = split.count.len() + split.null_bitmap.len() + flag;
            assert_eq!(
                head + split.types.len() + split.values.len(),
                execute.params.len()
            );
            assert_eq!(split.null_bitmap.len(), split.params.div_ceil(8));
            let types = split.params * 2 * usize::from(split.new_params_bound);
            let named = caps.contains(Capabilities::QUERY_ATTRIBUTES);
            assert!(split.types.len() == types || (named && split.types.len() > types));
        }
    }
    if let Ok(long) = StmtSendLongData::decode(payload) {
        is(CommandCode::StmtSendLongData);
        assert!(payload.ends_with(long.data));
    }
    if StmtFetch::decode(payload).is_ok() {
        is(CommandCode::StmtFetch);
    }
    if StmtClose::decode(payload).is_ok() {
        is(CommandCode::StmtClose);
    }
    if StmtReset::decode(payload).is_ok() {
        is(CommandCode::StmtReset);
    }
    if SetOption::decode(payload).is_ok() {
        is(CommandCode::SetOption);
    }
    if let Ok(change) = ChangeUser::decode(payload, caps) {
        is(CommandCode::ChangeUser);
        let parts = [change.user, change.proof, change.schema, change.attributes];
        assert!(parts.iter().map(|part| part.len()).sum::<usize>() < payload.len());
        assert!(change.plugin.is_none() || caps.contains(Capabilities::PLUGIN_AUTH));
    }
}

/// Names and versions that a peer tells.
pub(crate) fn names(data: &[u8]) {
    let mut input = Input(data);
    let id = input.u16();
    if let Some(collation) = charset::by_id(id) {
        assert_eq!(charset::by_name(collation.name).map(|found| found.id), Some(id));
    }
    let Ok(text) = std::str::from_utf8(input.0) else {
        return;
    };
    if let Some(collation) = charset::by_name(text) {
        assert!(text.eq_ignore_ascii_case(collation.name));
    }
    if charset::is_ascii_safe(text) {
        assert!(charset::is_ascii_safe(&text.to_ascii_uppercase()));
    }
    if let Ok(version) = ServerVersion::parse(text) {
        assert!(version.number < 1_000_000);
    }
}
