//! The accounts as `properties/` sees them: see [`crate::fuzzing`].

use mysql_async::Value;

use super::host::Host;
use super::row::Row;
use super::{Directory, Ids};
use crate::net::address::Peer;

/// What was read of a table that changes.
pub struct Accounts {
    directory: Directory,
    ids: Ids,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            directory: Directory::default(),
            ids: Ids(0),
        }
    }
}

impl Accounts {
    /// Reads rows: user, host, plugin, and what it stores.
    pub fn renew(&mut self, rows: &[[&[u8]; 4]], resolves: bool) {
        let rows = rows.iter().filter_map(|[user, host, plugin, stored]| {
            let columns = [user, host, &&b""[..], &&b"N"[..], plugin, stored];
            Row::from_values(columns.map(|column| Value::Bytes(column.to_vec())).to_vec())
        });
        self.directory = self
            .directory
            .renewed(rows.collect(), &[], resolves, &mut self.ids);
    }

    /// The number and the host of the account that `user` is when it comes from `peer`.
    pub fn find(&self, user: &[u8], peer: Peer) -> Option<(usize, String)> {
        let account = self.directory.find(user, peer)?;
        Some((account.id.0, account.host.to_string()))
    }

    /// The accounts' numbers, in the order of the rows.
    pub fn ids(&self) -> Vec<usize> {
        let accounts = self.directory.accounts().iter();
        accounts.map(|account| account.id.0).collect()
    }
}

/// Whether an account with this host lets in who comes from `peer`.
pub fn host_matches(host: &str, peer: Peer, resolves: bool) -> bool {
    Host::parse(host).matches(peer, resolves)
}
