//! One account as a server's table has it, and what of it can be checked.

use mysql_async::Value;
use tandem_protocol::auth::{ed25519, native, parsec, sha2, sha2_crypt, sha256};

use crate::topology::Flavor;
use crate::worker::accounts::{Proofs, Requires, Stored};

/// A row of `mysql.user` or `mysql.global_priv`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Empty for an anonymous account.
    pub(super) user: String,
    pub(super) host: String,
    tls: String,
    locked: String,
    /// Plugin and what it stores; any one of them will do.
    methods: Vec<(String, Vec<u8>)>,
}

/// Asks for user, host, what is required of TLS, whether it is locked, and pairs of plugin and what it stores.
pub(super) fn query(flavor: Flavor) -> String {
    match flavor {
        Flavor::MySql => {
            "SELECT User, Host, ssl_type, account_locked, plugin, authentication_string FROM mysql.user"
                .to_owned()
        }
        Flavor::MariaDb => {
            let value = |path: &str| format!("JSON_VALUE(Priv, '$.{path}')");
            // `IDENTIFIED VIA … OR …`, of which an empty one stands for the first pair.
            let more = (0..MORE_METHODS).map(|n| format!("auth_or[{n}]."));
            let methods = std::iter::once(String::new()).chain(more).flat_map(|at| {
                [
                    value(&format!("{at}plugin")),
                    value(&format!("{at}authentication_string")),
                ]
            });
            let methods: Vec<String> = methods.collect();
            format!(
                "SELECT User, Host, {}, {}, {} FROM mysql.global_priv WHERE {} IS NULL",
                value("ssl_type"),
                value("account_locked"),
                methods.join(", "),
                value("is_role")
            )
        }
    }
}

/// Beside the first; nobody has more.
const MORE_METHODS: usize = 4;

impl Row {
    pub(super) fn from_values(values: Vec<Value>) -> Option<Self> {
        let mut columns = values.into_iter().map(|value| match value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        });
        let mut text = || Some(String::from_utf8_lossy(&columns.next()?.unwrap_or_default()).into_owned());
        let (user, host, tls, locked) = (text()?, text()?, text()?, text()?);
        let mut methods = Vec::new();
        while let (Some(plugin), Some(stored)) = (columns.next(), columns.next()) {
            if plugin.is_some() || stored.is_some() {
                let plugin = plugin.unwrap_or_default();
                methods.push((
                    String::from_utf8_lossy(&plugin).into_owned(),
                    stored.unwrap_or_default(),
                ));
            }
        }
        if methods.is_empty() {
            // So a MariaDB that was set up without a password has its root: it is let in with an empty one.
            methods.push(<(String, Vec<u8>)>::default());
        }
        Some(Self {
            user,
            host,
            tls,
            locked,
            methods,
        })
    }

    /// What can be checked of it. Of plugins that are not known here nothing can: who could only be let in by such a one
    /// is not.
    pub(super) fn proofs(&self) -> Proofs {
        let mut proofs = Proofs {
            native: None,
            stored: Vec::new(),
            is_empty: false,
            requires: match self.tls.as_str() {
                "" | "0" => Requires::Nothing,
                "1" | "ANY" => Requires::Tls,
                _ => Requires::Certificate,
            },
            is_locked: matches!(self.locked.as_str(), "Y" | "1" | "true"),
        };
        for (plugin, stored) in &self.methods {
            let text = std::str::from_utf8(stored).unwrap_or_default();
            match plugin.as_str() {
                // MariaDB's first accounts have no plugin in their rows.
                "" | native::PLUGIN | sha2::PLUGIN | sha256::PLUGIN if stored.is_empty() => {
                    proofs.is_empty = self.methods.len() == 1;
                }
                "" | native::PLUGIN if self.methods.len() == 1 => proofs.native = native::parse_stored(text),
                // Servers may ask Tandem for the other method first, for which its secret is too little.
                "" | native::PLUGIN => proofs
                    .stored
                    .extend(native::parse_stored(text).map(Stored::Native)),
                sha2::PLUGIN => proofs
                    .stored
                    .extend(sha2_crypt::Stored::parse(stored).map(Stored::Sha2)),
                sha256::PLUGIN => proofs
                    .stored
                    .extend(sha2_crypt::Stored::parse_sha256(stored).map(Stored::Sha2)),
                ED25519 => proofs
                    .stored
                    .extend(ed25519::parse_stored(text).map(Stored::Ed25519)),
                parsec::PLUGIN => proofs
                    .stored
                    .extend(parsec::Stored::parse(text).map(Stored::Parsec)),
                _ => {}
            }
        }
        proofs
    }
}

/// As the server calls it.
const ED25519: &str = "ed25519";

#[cfg(test)]
mod tests {
    use super::*;

    fn account(methods: &[Option<&str>]) -> Proofs {
        let values = [Some("root"), Some("localhost"), None, None]
            .iter()
            .chain(methods);
        let value = |text: &Option<&str>| text.map_or(Value::NULL, |text| Value::Bytes(text.into()));
        Row::from_values(values.map(value).collect())
            .expect("a row")
            .proofs()
    }

    #[test]
    fn an_account_without_a_method_is_let_in_with_an_empty_password() {
        assert!(account(&[None; 10]).is_empty);
        assert!(account(&[Some(native::PLUGIN), Some("")]).is_empty);
        assert!(!account(&[Some("unix_socket"), None]).is_empty);
        assert!(!account(&[Some("unix_socket"), None, None, None]).is_empty);
    }
}
