use super::*;

#[test]
fn command_bytes_come_back() {
    let known: Vec<_> = (0..=255).filter_map(CommandCode::from_byte).collect();
    assert_eq!(known.len(), 39);
    for code in known {
        assert_eq!(CommandCode::from_byte(code as u8), Some(code));
        assert!(!code.name().is_empty());
    }
    assert_eq!(CommandCode::from_byte(0x22), None);
    assert_eq!(CommandCode::StmtBulkExecute as u8, 0xfa);
}

/// Whether `decode` refuses every proper prefix of `payload` and the payload of another command.
fn refuses_prefixes<T>(payload: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for cut in 0..payload.len() {
        assert!(decode(&payload[..cut]).is_err(), "{payload:?} cut at {cut}");
    }
    assert!(decode(payload).is_ok());
    let mut other = payload.to_vec();
    other[0] = 0x0e;
    assert!(decode(&other).is_err());
}

#[test]
fn statement_commands_refuse_prefixes() {
    refuses_prefixes(&[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0], |b| {
        StmtExecute::decode(b).map(drop)
    });
    refuses_prefixes(&[0x18, 1, 0, 0, 0, 2, 0], |b| {
        StmtSendLongData::decode(b).map(drop)
    });
    refuses_prefixes(&[0x1c, 1, 0, 0, 0, 9, 0, 0, 0], StmtFetch::decode);
    refuses_prefixes(&[0x19, 1, 0, 0, 0], StmtClose::decode);
    refuses_prefixes(&[0x1a, 1, 0, 0, 0], StmtReset::decode);
    refuses_prefixes(&[0x1b, 1, 0], SetOption::decode);
}

#[test]
fn execute_fields() {
    let execute = StmtExecute::decode(&[0x17, 1, 2, 0, 0, 1, 1, 0, 0, 0, 7, 8]).unwrap();
    assert_eq!(
        execute,
        StmtExecute {
            statement_id: 0x201,
            flags: 1,
            iterations: 1,
            params: &[7, 8]
        }
    );
    assert!(execute.wants_cursor());
}

#[test]
fn execute_params_with_types_without_and_none() {
    let read = |params: &'static [u8], count: u16| {
        let execute = StmtExecute {
            statement_id: 1,
            flags: 0,
            iterations: 1,
            params,
        };
        execute_params(&execute, count, Capabilities::empty())
    };
    let bound = &[0b10, 1, 3, 0, 0xfd, 0, 5, 0, 0, 0];
    assert_eq!(
        read(bound, 2),
        Ok(ExecuteParams {
            count: &[],
            params: 2,
            null_bitmap: &[0b10],
            new_params_bound: true,
            types: &[3, 0, 0xfd, 0],
            values: &[5, 0, 0, 0],
        })
    );
    let again = read(&[0, 0, 5, 0, 0, 0], 2).unwrap();
    assert!(!again.new_params_bound && again.types.is_empty());
    assert_eq!(again.values, [5, 0, 0, 0]);
    assert_eq!(read(&[], 0).unwrap().null_bitmap, []);
    for cut in 0..6 {
        assert!(read(&bound[..cut], 2).is_err(), "{cut}");
    }
    assert_eq!(read(&[0, 0, 0], 9).unwrap().null_bitmap.len(), 2);
}

#[test]
fn execute_params_with_attributes_have_names() {
    let read = |flags: u8, params: &'static [u8], caps: Capabilities| {
        let execute = StmtExecute {
            statement_id: 1,
            flags,
            iterations: 1,
            params,
        };
        execute_params(&execute, 1, caps)
    };
    let counted = StmtExecute::PARAMETER_COUNT_AVAILABLE;
    // One parameter of the statement, without a name, and an attribute.
    let bytes = b"\x02\0\x01\x03\0\0\xfe\0\x05trace\x05\0\0\0\x02id";
    let params = read(counted, bytes, Capabilities::QUERY_ATTRIBUTES).unwrap();
    assert_eq!((params.count, params.null_bitmap), (&[2][..], &[0][..]));
    assert_eq!(params.types, b"\x03\0\0\xfe\0\x05trace");
    assert_eq!(params.values, b"\x05\0\0\0\x02id");
    for cut in 0..bytes.len() - params.values.len() {
        assert!(
            read(counted, &bytes[..cut], Capabilities::QUERY_ATTRIBUTES).is_err(),
            "{cut}"
        );
    }
    assert_eq!(
        params.earlier_types(params.types, Capabilities::QUERY_ATTRIBUTES),
        Some(params.types)
    );
    // Where the statement has parameters they are counted without the flag, too: mysql-connector-python sets it only when
    // there are attributes, and MySQL 9.7 takes that.
    let few = b"\x01\0\x01\x03\0\0\x05\0\0\0";
    let params = read(0, few, Capabilities::QUERY_ATTRIBUTES).unwrap();
    assert_eq!((params.count, params.params), (&[1][..], 1));
    assert_eq!(
        (params.types, params.values),
        (&b"\x03\0\0"[..], &b"\x05\0\0\0"[..])
    );
    // Without the capability the flag means nothing.
    let plain = read(counted, b"\0\x01\x03\0\x05\0\0\0", Capabilities::empty()).unwrap();
    assert_eq!((plain.types, plain.values), (&[3, 0][..], &[5, 0, 0, 0][..]));
}

#[test]
fn set_option_values() {
    assert_eq!(SetOption::decode(&[0x1b, 0, 0]), Ok(SetOption::MultiStatementsOn));
    assert_eq!(
        SetOption::decode(&[0x1b, 1, 0]),
        Ok(SetOption::MultiStatementsOff)
    );
    assert!(SetOption::decode(&[0x1b, 2, 0]).is_err());
}

#[test]
fn change_user_in_full_and_every_truncation() {
    let caps = Capabilities::PLUGIN_AUTH | Capabilities::CONNECT_ATTRS;
    let payload = b"\x11bob\0\x03abcshop\0\x2d\0mysql_native_password\0\x04\x01a\x01b";
    let change = ChangeUser::decode(payload, caps).unwrap();
    assert_eq!(
        change,
        ChangeUser {
            user: b"bob",
            proof: b"abc",
            schema: b"shop",
            charset: Some(45),
            plugin: Some(b"mysql_native_password"),
            attributes: b"\x01a\x01b",
        }
    );
    for cut in 0..payload.len() {
        let decoded = ChangeUser::decode(&payload[..cut], caps);
        assert!(decoded.is_err(), "{cut}: {decoded:?}");
    }
    // Clients without plugins may leave out the character set, or half of it.
    for cut in 0..=16 {
        let decoded = ChangeUser::decode(&payload[..cut], Capabilities::PROTOCOL_41);
        assert_eq!(decoded.is_ok(), cut >= 14, "{cut}: {decoded:?}");
    }
}
