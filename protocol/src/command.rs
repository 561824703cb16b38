//! What a client asks for: the first byte of a command and the structure behind it.
//!
//! Every decoder takes the whole payload, command byte included.

mod attributes;

pub use attributes::{put_query, query_attribute, query_text_at, write_query};

use crate::error::DecodeError;
use crate::flags::Capabilities;
use crate::wire::Reader;

macro_rules! command_codes {
    ($($name:ident = $byte:literal),* $(,)?) => {
        /// The command byte (`COM_*`), MySQL's and MariaDB's.
        #[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum CommandCode { $($name = $byte),* }

        impl CommandCode {
            pub fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$name),)* _ => None }
            }

            /// The name of the variant, for logs and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }
        }
    };
}

command_codes! {
    Sleep = 0x00,
    Quit = 0x01,
    InitDb = 0x02,
    Query = 0x03,
    FieldList = 0x04,
    CreateDb = 0x05,
    DropDb = 0x06,
    Refresh = 0x07,
    Shutdown = 0x08,
    Statistics = 0x09,
    ProcessInfo = 0x0a,
    Connect = 0x0b,
    ProcessKill = 0x0c,
    Debug = 0x0d,
    Ping = 0x0e,
    Time = 0x0f,
    DelayedInsert = 0x10,
    ChangeUser = 0x11,
    BinlogDump = 0x12,
    TableDump = 0x13,
    ConnectOut = 0x14,
    RegisterSlave = 0x15,
    StmtPrepare = 0x16,
    StmtExecute = 0x17,
    StmtSendLongData = 0x18,
    StmtClose = 0x19,
    StmtReset = 0x1a,
    SetOption = 0x1b,
    StmtFetch = 0x1c,
    Daemon = 0x1d,
    BinlogDumpGtid = 0x1e,
    ResetConnection = 0x1f,
    Clone = 0x20,
    SubscribeGroupReplicationStream = 0x21,
    StmtBulkExecute = 0xfa,
    SlaveWorker = 0xfb,
    SlaveIo = 0xfc,
    SlaveSql = 0xfd,
    Multi = 0xfe,
}

impl CommandCode {
    /// Commands that the server never answers.
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Quit | Self::StmtSendLongData | Self::StmtClose)
    }
}

fn open<'a>(payload: &'a [u8], code: CommandCode, expected: &'static str) -> Result<Reader<'a>, DecodeError> {
    let mut reader = Reader::new(payload);
    let header = reader.u8("command")?;
    if header != code as u8 {
        return Err(DecodeError::Unexpected { expected, header });
    }
    Ok(reader)
}

/// COM_STMT_EXECUTE.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StmtExecute<'a> {
    pub statement_id: u32,
    /// A `CURSOR_TYPE_*` in the lower bits; 0 is no cursor.
    pub flags: u8,
    pub iterations: u32,
    /// What [`execute_params`] reads.
    pub params: &'a [u8],
}

impl<'a> StmtExecute<'a> {
    pub const CURSOR_READ_ONLY: u8 = 1;
    /// The number of parameters is written before them, for who negotiated
    /// [`Capabilities::QUERY_ATTRIBUTES`].
    pub const PARAMETER_COUNT_AVAILABLE: u8 = 8;

    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::StmtExecute, "COM_STMT_EXECUTE")?;
        Ok(Self {
            statement_id: reader.u32("statement id")?,
            flags: reader.u8("cursor flags")?,
            iterations: reader.u32("iterations")?,
            params: reader.rest(),
        })
    }

    pub fn wants_cursor(&self) -> bool {
        self.flags & 0x07 != 0
    }
}

/// MariaDB's COM_STMT_BULK_EXECUTE, as far as routing needs it: behind the head come two bytes a parameter for its type,
/// if [`Self::SENDS_TYPES`] is set, and rows of values, each behind a byte that says whether it is one.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StmtBulkExecute {
    pub statement_id: u32,
    pub flags: u16,
}

impl StmtBulkExecute {
    /// Bytes of code, id and flags.
    pub const HEAD: usize = 7;
    /// In the lower byte of the flags.
    pub const SENDS_TYPES: u8 = 0x80;

    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::StmtBulkExecute, "COM_STMT_BULK_EXECUTE")?;
        Ok(Self {
            statement_id: reader.u32("statement id")?,
            flags: reader.u16("bulk flags")?,
        })
    }
}

/// The parameters of COM_STMT_EXECUTE, not decoded further.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ExecuteParams<'a> {
    /// The number of parameters as it was written, where it was.
    pub count: &'a [u8],
    pub params: usize,
    pub null_bitmap: &'a [u8],
    /// Otherwise the types of the last execution hold: whoever sends the statement elsewhere has
    /// to remember them.
    pub new_params_bound: bool,
    /// Two bytes a parameter, type and sign, and its name where parameters have names; empty unless
    /// newly bound.
    pub types: &'a [u8],
    pub values: &'a [u8],
}

/// Splits [`StmtExecute::params`] of a statement with `params` parameters.
///
/// Under [`Capabilities::QUERY_ATTRIBUTES`] there may be more of them than the statement has: each
/// has a name, and those behind the statement's own are attributes.
pub fn execute_params<'a>(
    execute: &StmtExecute<'a>,
    params: u16,
    caps: Capabilities,
) -> Result<ExecuteParams<'a>, DecodeError> {
    let mut reader = Reader::new(execute.params);
    let named = caps.contains(Capabilities::QUERY_ATTRIBUTES);
    let counted = execute.flags & StmtExecute::PARAMETER_COUNT_AVAILABLE != 0;
    let mut params = usize::from(params);
    let mut count: &[u8] = &[];
    // As the servers: a statement with parameters has the count without the flag, too (mysql-connector-python leaves it out).
    if named && (counted || params > 0) {
        let declared = reader.lenenc_int("number of parameters")?;
        count = &execute.params[..execute.params.len() - reader.clone().rest().len()];
        params = usize::try_from(declared)
            .ok()
            .filter(|declared| *declared <= execute.params.len())
            .ok_or(DecodeError::Invalid {
                field: "number of parameters",
                value: declared,
            })?;
    }
    if params == 0 {
        let values = reader.rest();
        return Ok(ExecuteParams {
            count,
            params,
            null_bitmap: &[],
            new_params_bound: false,
            types: &[],
            values,
        });
    }
    let null_bitmap = reader.take(params.div_ceil(8), "null bitmap")?;
    let new_params_bound = reader.u8("bound flag")? != 0;
    let types = match (new_params_bound, named) {
        (false, _) => &[],
        (true, false) => reader.take(params * 2, "parameter types")?,
        (true, true) => named_types(&mut reader, params)?,
    };
    Ok(ExecuteParams {
        count,
        params,
        null_bitmap,
        new_params_bound,
        types,
        values: reader.rest(),
    })
}

/// The types of `params` parameters, each with a name.
fn named_types<'a>(reader: &mut Reader<'a>, params: usize) -> Result<&'a [u8], DecodeError> {
    let all = reader.clone().rest();
    for _ in 0..params {
        reader.take(2, "parameter type")?;
        reader.lenenc_bytes("parameter name")?;
    }
    Ok(&all[..all.len() - reader.clone().rest().len()])
}

impl ExecuteParams<'_> {
    /// The part of `types`, which came with an earlier execution, that an execution without types
    /// uses: it may have fewer attributes. `None` when there are too few.
    pub fn earlier_types<'t>(&self, types: &'t [u8], caps: Capabilities) -> Option<&'t [u8]> {
        match caps.contains(Capabilities::QUERY_ATTRIBUTES) {
            true => named_types(&mut Reader::new(types), self.params).ok(),
            false => types.get(..self.params * 2),
        }
    }
}

/// COM_STMT_SEND_LONG_DATA, which has no answer.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StmtSendLongData<'a> {
    pub statement_id: u32,
    pub param: u16,
    pub data: &'a [u8],
}

impl<'a> StmtSendLongData<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::StmtSendLongData, "COM_STMT_SEND_LONG_DATA")?;
        Ok(Self {
            statement_id: reader.u32("statement id")?,
            param: reader.u16("parameter")?,
            data: reader.rest(),
        })
    }
}

/// COM_STMT_FETCH.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StmtFetch {
    pub statement_id: u32,
    pub rows: u32,
}

impl StmtFetch {
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::StmtFetch, "COM_STMT_FETCH")?;
        let fetch = Self {
            statement_id: reader.u32("statement id")?,
            rows: reader.u32("number of rows")?,
        };
        reader.finish("COM_STMT_FETCH")?;
        Ok(fetch)
    }
}

/// COM_STMT_CLOSE, which has no answer.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StmtClose {
    pub statement_id: u32,
}

impl StmtClose {
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::StmtClose, "COM_STMT_CLOSE")?;
        let statement_id = reader.u32("statement id")?;
        reader.finish("COM_STMT_CLOSE")?;
        Ok(Self { statement_id })
    }
}

/// COM_STMT_RESET.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct StmtReset {
    pub statement_id: u32,
}

impl StmtReset {
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::StmtReset, "COM_STMT_RESET")?;
        let statement_id = reader.u32("statement id")?;
        reader.finish("COM_STMT_RESET")?;
        Ok(Self { statement_id })
    }
}

/// COM_SET_OPTION.
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub enum SetOption {
    MultiStatementsOn,
    MultiStatementsOff,
}

impl SetOption {
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::SetOption, "COM_SET_OPTION")?;
        let option = match reader.u16("option")? {
            0 => Self::MultiStatementsOn,
            1 => Self::MultiStatementsOff,
            other => {
                return Err(DecodeError::Invalid {
                    field: "option",
                    value: u64::from(other),
                });
            }
        };
        reader.finish("COM_SET_OPTION")?;
        Ok(option)
    }
}

/// COM_CHANGE_USER: another login on the same connection.
///
/// MariaDB 10.11 never trusts the proof in it: it answers with an auth switch over the same nonce
/// as in the greeting, whatever plugin the client names (measured).
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ChangeUser<'a> {
    pub user: &'a [u8],
    /// A proof over the nonce of the greeting, if the plugin is the one that the client guessed.
    pub proof: &'a [u8],
    /// Empty means no default schema.
    pub schema: &'a [u8],
    pub charset: Option<u16>,
    pub plugin: Option<&'a [u8]>,
    /// Pairs of length-encoded strings.
    pub attributes: &'a [u8],
}

impl<'a> ChangeUser<'a> {
    /// `caps` are the negotiated ones, with [`Capabilities::SECURE_CONNECTION`] taken for granted.
    /// Clients without plugins may leave out the character set; others may leave out nothing (measured on both servers).
    pub fn decode(payload: &'a [u8], caps: Capabilities) -> Result<Self, DecodeError> {
        let mut reader = open(payload, CommandCode::ChangeUser, "COM_CHANGE_USER")?;
        let user = reader.nul_terminated("user")?;
        let proof_len = usize::from(reader.u8("length of the proof")?);
        let mut change = Self {
            user,
            proof: reader.take(proof_len, "proof")?,
            schema: reader.nul_terminated("schema")?,
            charset: None,
            plugin: None,
            attributes: &[],
        };
        let has_plugins = caps.contains(Capabilities::PLUGIN_AUTH);
        if has_plugins || reader.clone().rest().len() >= 2 {
            change.charset = Some(reader.u16("character set")?);
        }
        if has_plugins {
            change.plugin = Some(reader.nul_terminated("plugin")?);
        }
        if caps.contains(Capabilities::CONNECT_ATTRS) && (has_plugins || !reader.is_empty()) {
            change.attributes = reader.lenenc_bytes("attributes")?;
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests;
