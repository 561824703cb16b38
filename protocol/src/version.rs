//! The version string of a server.

use crate::error::DecodeError;

/// Vendor and number of a server.
#[derive(Debug, Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerVersion {
    pub mariadb: bool,
    /// Two digits each for minor and patch: 10.11.14 is 101114, 9.7.4 is 90704.
    pub number: u32,
}

/// MariaDB from 10 on puts this before its version in the greeting, because replicas of MySQL 5.5
/// read only one digit of the major version. Servers from 11.3 on don't.
const REPLICATION_PREFIX: &str = "5.5.5-";

impl ServerVersion {
    /// Reads "5.5.5-10.11.14-MariaDB-0+deb12u1", "11.8.3-MariaDB", "9.7.4", "8.4.0-commercial".
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let bare = text.strip_prefix(REPLICATION_PREFIX).unwrap_or(text);
        let mariadb = text.to_ascii_lowercase().contains("mariadb") || bare.len() < text.len();
        let digits = bare
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or_default();
        let mut parts = digits.split('.').map(str::parse::<u32>);
        let mut part = |field| match parts.next() {
            Some(Ok(value)) if value < 100 => Ok(value),
            Some(Ok(value)) => Err(DecodeError::Invalid {
                field,
                value: u64::from(value),
            }),
            _ => Err(DecodeError::Truncated { field }),
        };
        let (major, minor, patch) = (
            part("major version")?,
            part("minor version")?,
            part("patch version")?,
        );
        Ok(Self {
            mariadb,
            number: major * 10_000 + minor * 100 + patch,
        })
    }

    /// Whether it has `character_set_collations` (MariaDB's documentation: since 11.2.1).
    pub fn has_default_collations(&self) -> bool {
        self.mariadb && self.number >= 110_201
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_seen_in_the_field() {
        for (text, mariadb, number) in [
            ("5.5.5-10.11.14-MariaDB-0+deb12u1", true, 101_114),
            ("10.11.19-MariaDB-0+deb12u1-log", true, 101_119),
            ("11.8.3-MariaDB", true, 110_803),
            ("9.7.4", false, 90_704),
            ("8.0.36-0ubuntu0.22.04.1", false, 80_036),
            ("5.5.5", false, 50_505),
        ] {
            assert_eq!(
                ServerVersion::parse(text),
                Ok(ServerVersion { mariadb, number }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "MariaDB",
            "10",
            "10.11",
            "10.11.",
            "5.5.5-",
            "10.200.1",
            "99999999999.1.1",
        ] {
            assert!(ServerVersion::parse(text).is_err(), "{text}");
        }
    }
}
