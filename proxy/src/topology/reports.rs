//! Which changes of a session a server reports in its OK packets: the variables `session_track_*`.

use super::Flavor;

/// What the variables say, for a session or as the server's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reports {
    /// Names with commas between them, or `*`.
    pub variables: Box<[u8]>,
    pub schema: bool,
    pub state_change: bool,
    pub transactions: Transactions,
    pub gtids: Gtids,
}

/// What sessions have at their login, of what MariaDB reports with the OK of one beside the
/// character sets, which the client has said (measured on 11.8; 10.11 reports nothing then).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtLogin {
    pub autocommit: bool,
    pub time_zone: Box<str>,
    pub redirect_url: Box<str>,
}

/// `session_track_transaction_info`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transactions {
    Off,
    State,
    Characteristics,
}

/// `session_track_gtids`, on MySQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gtids {
    Off,
    Own,
    All,
}

/// The variables, in the order in which [`Reports::read`] wants their values, and in which they are best set: what is set
/// before the state change is switched off would be reported later (measured on MySQL 9.7 with all others off).
const NAMES: [&str; 5] = [
    "session_track_state_change",
    "session_track_system_variables",
    "session_track_schema",
    "session_track_transaction_info",
    "session_track_gtids",
];

/// How the variables of these servers are named.
pub fn names(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::MariaDb => &NAMES[..4],
        Flavor::MySql => &NAMES,
    }
}

impl Reports {
    /// The servers' own defaults (MariaDB 10.11, MySQL 9.7), until one was asked.
    pub fn built_in(flavor: Flavor) -> Self {
        let variables: &[u8] = match flavor {
            Flavor::MariaDb => {
                b"autocommit,character_set_client,character_set_connection,character_set_results,time_zone"
            }
            Flavor::MySql => {
                b"time_zone,autocommit,character_set_client,character_set_results,character_set_connection"
            }
        };
        Self {
            variables: variables.into(),
            schema: true,
            state_change: false,
            transactions: Transactions::Off,
            gtids: Gtids::Off,
        }
    }

    /// Reads the values of [`names`]; `None` where one is missing or means nothing.
    pub fn read<'a>(mut values: impl Iterator<Item = Option<&'a [u8]>>) -> Option<Self> {
        let is_on = |value: &[u8]| matches!(value, b"1" | b"ON" | b"on");
        let state_change = is_on(values.next()?.unwrap_or_default());
        // An empty list of MariaDB may be NULL.
        let variables = values.next()?.unwrap_or_default().into();
        let schema = is_on(values.next()?.unwrap_or_default());
        let mut next = || {
            values
                .next()
                .map(|value| value.unwrap_or_default().to_ascii_uppercase())
        };
        Some(Self {
            variables,
            schema,
            state_change,
            transactions: match next()?.as_slice() {
                b"OFF" => Transactions::Off,
                b"STATE" => Transactions::State,
                b"CHARACTERISTICS" => Transactions::Characteristics,
                _ => return None,
            },
            gtids: match next().unwrap_or_default().as_slice() {
                b"OWN_GTID" => Gtids::Own,
                b"ALL_GTIDS" => Gtids::All,
                _ => Gtids::Off,
            },
        })
    }
}

impl Transactions {
    /// As `SET` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::State => "STATE",
            Self::Characteristics => "CHARACTERISTICS",
        }
    }
}

impl Gtids {
    /// As `SET` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Own => "OWN_GTID",
            Self::All => "ALL_GTIDS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[Option<&str>]) -> Option<Reports> {
        Reports::read(values.iter().map(|value| value.map(str::as_bytes)))
    }

    #[test]
    fn values_are_read_as_both_makers_write_them() {
        let mariadb = read(&[Some("0"), Some("a,b"), Some("1"), Some("OFF")]).expect("four values");
        assert_eq!(&*mariadb.variables, b"a,b");
        assert!(mariadb.schema && !mariadb.state_change);
        let values = [
            Some("ON"),
            None,
            Some("0"),
            Some("characteristics"),
            Some("OWN_GTID"),
        ];
        let mysql = read(&values).expect("five values");
        assert_eq!(mysql.transactions, Transactions::Characteristics);
        assert_eq!((mysql.state_change, mysql.gtids), (true, Gtids::Own));
        assert_eq!(read(&[Some("1"), Some("*")]), None);
        assert_eq!(read(&[Some("1"), Some("*"), Some("1"), Some("MAYBE")]), None);
    }
}
