//! The two bit sets of the protocol: what the two sides can do, and what state a session is in.

bitflags::bitflags! {
    /// Capability flags (`CLIENT_*`), as both sides exchange them in the handshake.
    ///
    /// The lower 32 bits are MySQL's. The upper 32 are MariaDB's extensions, which travel in bytes
    /// that MySQL leaves zero: a MariaDB server clears bit 0 ([`Self::LONG_PASSWORD`], there named
    /// `CLIENT_MYSQL`) to say that they are there, and a client that read them clears it too.
    #[derive(Debug, Copy, Clone, PartialEq, Eq, Hash)]
    pub struct Capabilities: u64 {
        const LONG_PASSWORD = 1;
        /// `affected_rows` counts rows found, not rows changed.
        const FOUND_ROWS = 1 << 1;
        const LONG_FLAG = 1 << 2;
        const CONNECT_WITH_DB = 1 << 3;
        const NO_SCHEMA = 1 << 4;
        const COMPRESS = 1 << 5;
        const ODBC = 1 << 6;
        const LOCAL_FILES = 1 << 7;
        const IGNORE_SPACE = 1 << 8;
        const PROTOCOL_41 = 1 << 9;
        const INTERACTIVE = 1 << 10;
        const SSL = 1 << 11;
        const IGNORE_SIGPIPE = 1 << 12;
        const TRANSACTIONS = 1 << 13;
        const RESERVED = 1 << 14;
        const SECURE_CONNECTION = 1 << 15;
        const MULTI_STATEMENTS = 1 << 16;
        const MULTI_RESULTS = 1 << 17;
        const PS_MULTI_RESULTS = 1 << 18;
        const PLUGIN_AUTH = 1 << 19;
        const CONNECT_ATTRS = 1 << 20;
        const PLUGIN_AUTH_LENENC_DATA = 1 << 21;
        const CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22;
        const SESSION_TRACK = 1 << 23;
        const DEPRECATE_EOF = 1 << 24;
        const OPTIONAL_RESULTSET_METADATA = 1 << 25;
        const ZSTD_COMPRESSION = 1 << 26;
        const QUERY_ATTRIBUTES = 1 << 27;
        const MULTI_FACTOR_AUTHENTICATION = 1 << 28;
        /// Reserved by MySQL for more bits; MariaDB used it once for progress reports.
        const CAPABILITY_EXTENSION = 1 << 29;
        const SSL_VERIFY_SERVER_CERT = 1 << 30;
        const REMEMBER_OPTIONS = 1 << 31;

        /// An ERR packet with code 0xFFFF is a progress report and the reply goes on.
        const MARIADB_PROGRESS = 1 << 32;
        const MARIADB_COM_MULTI = 1 << 33;
        const MARIADB_STMT_BULK = 1 << 34;
        const MARIADB_EXTENDED_METADATA = 1 << 35;
        /// The column count of a result carries a byte that says whether definitions follow.
        const MARIADB_CACHE_METADATA = 1 << 36;
        const MARIADB_BULK_UNIT_RESULTS = 1 << 37;

        // Bits without a name here are kept, not dropped.
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// Status flags (`SERVER_*`) of OK and EOF packets.
    #[derive(Debug, Copy, Clone, PartialEq, Eq, Hash, Default)]
    pub struct Status: u16 {
        const IN_TRANS = 1;
        const AUTOCOMMIT = 1 << 1;
        const MORE_RESULTS = 1 << 3;
        const NO_GOOD_INDEX = 1 << 4;
        const NO_INDEX = 1 << 5;
        const CURSOR_EXISTS = 1 << 6;
        const LAST_ROW_SENT = 1 << 7;
        const DB_DROPPED = 1 << 8;
        const NO_BACKSLASH_ESCAPES = 1 << 9;
        const METADATA_CHANGED = 1 << 10;
        const SLOW = 1 << 11;
        const PS_OUT_PARAMS = 1 << 12;
        const IN_TRANS_READONLY = 1 << 13;
        const SESSION_STATE_CHANGED = 1 << 14;
        /// MariaDB: `sql_mode` has ANSI_QUOTES. Not to be relied on: after a CALL whose procedure
        /// sets it, the bit stays although `sql_mode` is restored (measured on 10.11.19).
        const ANSI_QUOTES = 1 << 15;

        const _ = !0;
    }
}

impl Capabilities {
    /// The half that MySQL knows, as it travels in the handshake.
    pub fn base(self) -> u32 {
        (self.bits() & 0xFFFF_FFFF) as u32
    }

    /// MariaDB's half, zero unless [`Self::has_extension`].
    pub fn extended(self) -> u32 {
        if self.has_extension() {
            (self.bits() >> 32) as u32
        } else {
            0
        }
    }

    /// Whether the bytes for MariaDB's half mean anything.
    pub fn has_extension(self) -> bool {
        !self.contains(Self::LONG_PASSWORD)
    }

    /// Puts the two halves together; the extended one counts only where bit 0 is clear.
    pub fn from_halves(base: u32, extended: u32) -> Self {
        let base = Self::from_bits_retain(u64::from(base));
        if base.has_extension() {
            base | Self::from_bits_retain(u64::from(extended) << 32)
        } else {
            base
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_bits_count_only_where_bit_0_is_clear() {
        let mysql = Capabilities::from_halves(1, 0xFF);
        assert_eq!(mysql, Capabilities::LONG_PASSWORD);
        let mariadb = Capabilities::from_halves(0, 4);
        assert_eq!(mariadb, Capabilities::MARIADB_STMT_BULK);
        assert_eq!((mariadb.base(), mariadb.extended()), (0, 4));
        let mixed = Capabilities::LONG_PASSWORD | Capabilities::MARIADB_STMT_BULK;
        assert_eq!(mixed.extended(), 0);
    }

    #[test]
    fn unknown_status_bits_are_kept() {
        assert_eq!(Status::from_bits_retain(0b100).bits(), 0b100);
    }
}
