//! Positions in the stream of commits, as both flavours of server write them.
//!
//! MariaDB: `domain-server-sequence`, one position a domain. MySQL: sets of `uuid:interval`.

/// One commit's name, as the server reports it in the OK packet of the commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gtid {
    MariaDb {
        domain: u32,
        server: u32,
        sequence: u64,
    },
    MySql {
        source: [u8; 16],
        transaction: u64,
    },
}

/// Everything a server has committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {}
