//! The difference between what a session wants and what a connection has, as commands.
//!
//! Pure: settings in, a [`Plan`] out. The commands travel in the same write as the statement.

use std::rc::Rc;

use tandem_protocol::charset::{self, Collation};
use tandem_protocol::command::{CommandCode, put_query};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame;

use crate::session::settings::{Names, SET_BY_NAMES, Settings};
use crate::topology::Flavor;
use crate::topology::reports::{self, Reports, Transactions};

/// What the session trackers of a connection are set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trackers {
    /// As after a login or a reset.
    #[default]
    Untouched,
    /// Tandem's own, which report everything that must follow the session. What is reported of transactions Tandem does
    /// not need: that is as the client asked for it, or the server's default.
    Tandem { transactions: Option<Transactions> },
    /// Those that the client asked for, or the server's default: for a statement that reads or sets them. Without
    /// `gtids`, `session_track_gtids` stays Tandem's: MySQL lets nobody set it in a transaction.
    Client {
        reports: Option<Rc<Reports>>,
        gtids: bool,
    },
    /// A statement may have set them; `session_track_gtids` as well?
    Unknown { gtids: bool },
}

/// Makes MariaDB say in OK packets what changed, and with `last_gtid` the commit's position.
///
/// `*` includes `last_gtid`, but not reliably: variables without storage of their own (`last_insert_id`, `timestamp`,
/// `last_gtid` …) share one place in the tracker of 11.8, and the first of them to be reported gives its name
/// to all. After a `SET last_insert_id` commits came without position. Naming it first makes it that one.
const TRACKERS_MARIADB: &str =
    "session_track_system_variables='last_gtid,*',session_track_schema=1,session_track_state_change=1";

/// The same for MySQL, where the commit's position has a tracker of its own.
const TRACKERS_MYSQL: &str =
    "session_track_system_variables='*',session_track_schema=1,session_track_state_change=1";

const GTIDS: &str = "session_track_gtids";

/// What a connection is known to have.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    pub settings: &'a Settings,
    /// What a reset brings back, see [`Settings::after_reset`].
    pub reset_names: Names,
    pub trackers: &'a Trackers,
    /// The login's flag put IGNORE_SPACE into `sql_mode`, and a reset takes it out (both servers).
    pub ignore_space: bool,
    /// Something that can't be undone by setting variables was left on the connection.
    pub soiled: bool,
}

/// What to send before a statement so that the connection has what the session wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub reset: bool,
    /// One `SET` statement, or none.
    pub set: Option<String>,
    pub schema: Option<Box<[u8]>>,
}

/// The connection has a default schema and the session wants none: no command takes one away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaInTheWay;

impl Plan {
    /// Compares `known` with `wanted`.
    ///
    /// `clear` asks for a reset even where the settings agree: the statement must not see what the
    /// statement of another session left in the diagnostics area.
    ///
    /// # Errors
    /// [`SchemaInTheWay`]: another connection is needed.
    pub fn between(
        known: &Known<'_>,
        wanted: &Settings,
        trackers: &Trackers,
        flavor: Flavor,
        clear: bool,
    ) -> Result<Self, SchemaInTheWay> {
        if known.settings.schema.is_some() && wanted.schema.is_none() {
            return Err(SchemaInTheWay);
        }
        let back_to_default = wanted.names() == Names::SERVER && known.settings.names() != Names::SERVER;
        // `SET NAMES` would look into the list that the connection has now (measured on MariaDB 11.8.9: as it was before the
        // whole SET), and the session has named its character set before it had that list.
        let looks_elsewhere = wanted.names().is_looked_up
            && known.settings.names() != wanted.names()
            && known.settings.has_own_collations();
        let reset = known.soiled
            || clear
            || back_to_default
            || looks_elsewhere
            || has_variable_to_forget(known.settings, wanted);
        let emptied;
        let (have, had_trackers) = if reset {
            emptied = known.settings.after_reset(known.reset_names);
            (&emptied, &Trackers::Untouched)
        } else {
            (known.settings, known.trackers)
        };
        // A reset keeps the schema, but `@@collation_database` becomes the server's, and LOAD DATA reads by that
        // (measured on MariaDB 10.11.19 and MySQL 9.7.4): only naming the schema again brings its own back.
        let schema = if have.schema == wanted.schema && !reset {
            None
        } else {
            wanted.schema.clone()
        };
        let ignore_space_lost = reset && known.ignore_space && wanted.variable(b"sql_mode").is_none();
        let trackers = had_trackers.until(trackers, flavor);
        Ok(Self {
            reset,
            set: assignments(have, wanted, ignore_space_lost, trackers),
            schema,
        })
    }

    pub fn is_empty(&self) -> bool {
        !self.reset && self.set.is_none() && self.schema.is_none()
    }

    /// Appends the commands to `out`; returns how many replies they will get.
    pub fn write(&self, out: &mut Vec<u8>, capabilities: Capabilities) -> usize {
        let mut replies = 0;
        let mut command = |write: &dyn Fn(&mut Vec<u8>)| {
            let start = frame::begin(out);
            write(out);
            frame::end(out, start, 0);
            replies += 1;
        };
        if self.reset {
            command(&|out| out.push(CommandCode::ResetConnection as u8));
        }
        if let Some(set) = &self.set {
            command(&|out| put_query(out, set.as_bytes(), capabilities));
        }
        if let Some(schema) = &self.schema {
            command(&|out| {
                out.push(CommandCode::InitDb as u8);
                out.extend_from_slice(schema);
            });
        }
        replies
    }
}

/// One `SET` for what the reading of a statement's text depends on beside the schema, `sql_mode` and character set, where
/// the settings differ in it. Nothing else changes, and nothing is reset: the connection may hold a transaction.
pub fn set_for_reading(have: &Settings, wanted: &Settings) -> Option<String> {
    const SQL_MODE: &[u8] = b"sql_mode";
    let [client, connection, _, collation] = SET_BY_NAMES;
    let differs = |name: &[u8]| have.variable(name) != wanted.variable(name);
    let mut list = String::new();
    let give = |list: &mut String, name: &[u8]| {
        separate(list);
        match wanted.variable(name) {
            Some(value) => assign(list, name, value),
            None => {
                list.push_str(&String::from_utf8_lossy(name));
                list.push_str("=DEFAULT");
            }
        }
    };
    if differs(SQL_MODE) {
        give(&mut list, SQL_MODE);
    }
    if have.names() != wanted.names() || [client, connection, collation].into_iter().any(differs) {
        match charset::by_id(wanted.names().collation) {
            Some(collation) => {
                name(&mut list, collation, wanted.names());
                for variable in wanted.variables() {
                    if SET_BY_NAMES.contains(&&*variable.name) {
                        separate(&mut list);
                        assign(&mut list, &variable.name, &variable.value);
                    }
                }
            }
            None => [client, connection, collation]
                .into_iter()
                .for_each(|name| give(&mut list, name)),
        }
    }
    (!list.is_empty()).then(|| format!("SET {list}"))
}

/// A variable that was set on the connection and not by this session goes back to its default only by a reset.
fn has_variable_to_forget(have: &Settings, wanted: &Settings) -> bool {
    have.variables()
        .iter()
        .any(|variable| wanted.variable(&variable.name).is_none())
}

impl Trackers {
    /// The assignments that make `wanted` of these, if it takes any.
    fn until(&self, wanted: &Trackers, flavor: Flavor) -> Option<String> {
        match wanted {
            Self::Tandem { transactions } => self.until_tandem(*transactions, flavor),
            Self::Client { reports: None, .. } if *self == Self::Untouched => None,
            Self::Client { reports: None, gtids } => {
                let names = reports::names(flavor).iter();
                let names = names.filter(|name| *gtids || **name != GTIDS);
                let defaults: Vec<String> = names.map(|name| format!("{name}=DEFAULT")).collect();
                Some(defaults.join(","))
            }
            Self::Client {
                reports: Some(reports),
                gtids,
            } => Some(client_trackers(reports, *gtids && flavor == Flavor::MySql)),
            Self::Untouched | Self::Unknown { .. } => None,
        }
    }

    fn until_tandem(&self, transactions: Option<Transactions>, flavor: Flavor) -> Option<String> {
        let (had_transactions, lacks_gtids) = match self {
            Self::Tandem { transactions: had } if *had == transactions => return None,
            Self::Tandem { .. } => (true, false),
            Self::Client { gtids, .. } | Self::Unknown { gtids } => (true, *gtids),
            Self::Untouched => (false, true),
        };
        let mut list = match flavor {
            Flavor::MariaDb => TRACKERS_MARIADB.to_owned(),
            Flavor::MySql => TRACKERS_MYSQL.to_owned(),
        };
        match transactions {
            Some(transactions) => {
                list.push_str(",session_track_transaction_info=");
                list.push_str(transactions.name());
            }
            None if had_transactions => list.push_str(",session_track_transaction_info=DEFAULT"),
            None => {}
        }
        if lacks_gtids && flavor == Flavor::MySql {
            list.push_str(&format!(",{GTIDS}=OWN_GTID"));
        }
        Some(list)
    }
}

fn client_trackers(reports: &Reports, gtids: bool) -> String {
    let state_change = u8::from(reports.state_change);
    let mut list = format!("session_track_state_change={state_change},session_track_system_variables=");
    quote(&mut list, &reports.variables);
    list.push_str(&format!(
        ",session_track_schema={},session_track_transaction_info={}",
        u8::from(reports.schema),
        reports.transactions.name(),
    ));
    if gtids {
        list.push_str(&format!(",{GTIDS}={}", reports.gtids.name()));
    }
    list
}

fn assignments(
    have: &Settings,
    wanted: &Settings,
    ignore_space_lost: bool,
    trackers: Option<String>,
) -> Option<String> {
    let mut list = String::new();
    if ignore_space_lost {
        list.push_str("sql_mode=CONCAT_WS(',','IGNORE_SPACE',NULLIF(@@sql_mode,''))");
    }
    let names = have.names() != wanted.names();
    if names && let Some(collation) = charset::by_id(wanted.names().collation) {
        name(&mut list, collation, wanted.names());
    } else if names && wanted.names() == Names::SERVER {
        separate(&mut list);
        list.push_str("NAMES DEFAULT");
    }
    let mut charset_changed = names;
    for variable in wanted.variables() {
        let is_charset = is_charset_variable(&variable.name);
        let differs = have.variable(&variable.name) != Some(&variable.value);
        if differs || (is_charset && charset_changed) {
            charset_changed |= is_charset;
            separate(&mut list);
            assign(&mut list, &variable.name, &variable.value);
        }
    }
    if let Some(trackers) = trackers {
        // Last: what stands before it in the same SET is not reported (measured), so the reply stays short.
        separate(&mut list);
        list.push_str(&trackers);
    }
    (!list.is_empty()).then(|| format!("SET {list}"))
}

fn name(list: &mut String, collation: Collation, names: Names) {
    separate(list);
    list.push_str("NAMES ");
    list.push_str(collation.charset);
    if !names.is_looked_up {
        list.push_str(" COLLATE ");
        list.push_str(collation.name);
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

/// `SET NAMES` and `character_set_connection` change others of these, so they are set again together.
fn is_charset_variable(name: &[u8]) -> bool {
    name.starts_with(b"character_set_") || name.starts_with(b"collation_")
}

fn assign(list: &mut String, name: &[u8], value: &[u8]) {
    list.push('`');
    list.push_str(&String::from_utf8_lossy(name).replace('`', "``"));
    list.push_str("`=");
    if value.is_empty() && name == b"character_set_results" {
        // `SET character_set_results = NULL` (no conversion) is reported as an empty value.
        list.push_str("NULL");
    } else if is_number(value) {
        // A numeric variable refuses a quoted number: error 1232.
        list.push_str(&String::from_utf8_lossy(value));
    } else {
        quote(list, value);
    }
}

fn is_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let mut dots = 0;
    !digits.is_empty()
        && digits[0] != b'.'
        && digits.iter().all(|byte| {
            dots += usize::from(*byte == b'.');
            byte.is_ascii_digit() || (*byte == b'.' && dots == 1)
        })
}

/// Writes a string literal that reads the same with and without `NO_BACKSLASH_ESCAPES`.
fn quote(list: &mut String, value: &[u8]) {
    if value.contains(&b'\\') || !value.is_ascii() {
        // A hexadecimal literal has neither escapes nor a character set to convert from.
        list.push_str("0x");
        for byte in value {
            list.push_str(&format!("{byte:02x}"));
        }
        return;
    }
    list.push('\'');
    list.push_str(&String::from_utf8_lossy(value).replace('\'', "''"));
    list.push('\'');
}

#[cfg(test)]
mod tests {
    use tandem_protocol::version::ServerVersion;

    use super::*;

    const TANDEM: Trackers = Trackers::Tandem { transactions: None };

    fn known(settings: &Settings) -> Known<'_> {
        Known {
            settings,
            reset_names: 8.into(),
            trackers: &TANDEM,
            ignore_space: false,
            soiled: false,
        }
    }

    fn settings(schema: Option<&str>, variables: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::new(45, schema.map(str::as_bytes));
        for (name, value) in variables {
            settings.set_variable(name.as_bytes(), value.as_bytes());
        }
        settings
    }

    fn plan(have: &Settings, wanted: &Settings) -> Plan {
        Plan::between(&known(have), wanted, &TANDEM, Flavor::MariaDb, false).expect("no schema in the way")
    }

    #[test]
    fn equal_settings_send_nothing() {
        let same = settings(Some("shop"), &[("sql_mode", "")]);
        assert!(plan(&same, &same.clone()).is_empty());
    }

    #[test]
    fn only_what_differs_is_set() {
        let have = settings(Some("shop"), &[("sql_mode", "")]);
        let wanted = settings(
            Some("shop"),
            &[
                ("sql_mode", ""),
                ("sql_select_limit", "10"),
                ("time_zone", "+00:00"),
            ],
        );
        let plan = plan(&have, &wanted);
        assert_eq!(
            plan.set.as_deref(),
            Some("SET `sql_select_limit`=10,`time_zone`='+00:00'")
        );
        assert!(!plan.reset && plan.schema.is_none());
    }

    #[test]
    fn a_variable_the_session_never_set_forces_a_reset_and_everything_is_set_again() {
        let have = settings(Some("shop"), &[("time_zone", "+00:00")]);
        let wanted = settings(Some("shop"), &[("sql_mode", "it's")]);
        let plan = plan(&have, &wanted);
        assert!(plan.reset);
        let set = plan.set.expect("a SET");
        assert!(
            set.starts_with("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci,`sql_mode`='it''s'"),
            "{set}"
        );
        assert!(
            set.contains(",session_track_system_variables='last_gtid,*'"),
            "{set}"
        );
        assert_eq!(
            plan.schema.as_deref(),
            Some(&b"shop"[..]),
            "its collation is lost by a reset"
        );
    }

    #[test]
    fn a_schema_can_be_changed_but_not_taken_away() {
        let have = settings(Some("shop"), &[]);
        let other = settings(Some("blog"), &[]);
        assert_eq!(plan(&have, &other).schema.as_deref(), Some(&b"blog"[..]));
        let none = settings(None, &[]);
        let refused = Plan::between(&known(&have), &none, &TANDEM, Flavor::MariaDb, false);
        assert_eq!(refused, Err(SchemaInTheWay));
    }

    /// A reset may bring back another than the server's own: it is asked for by name.
    #[test]
    fn the_servers_own_collation_is_asked_for() {
        let wanted = Settings::new(Names::SERVER, None);
        let plan = plan(&settings(None, &[]), &wanted);
        assert!(plan.reset);
        assert!(plan.set.is_some_and(|set| set.starts_with("SET NAMES DEFAULT,")));
    }

    /// By its own form, which leaves more than the variables tell.
    #[test]
    fn names_are_set_as_names() {
        let mut wanted = settings(None, &[("character_set_client", "latin1")]);
        wanted.set_names(224.into());
        let text = "SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci";
        let have = settings(None, &[]);
        assert_eq!(plan(&have, &wanted).set.as_deref(), Some(text));
        assert_eq!(set_for_reading(&have, &wanted).as_deref(), Some(text));
        wanted.set_variable(b"character_set_results", b"latin1");
        let text = format!("{text},`character_set_results`='latin1'");
        assert_eq!(plan(&have, &wanted).set, Some(text.clone()));
        assert_eq!(set_for_reading(&have, &wanted), Some(text));
        // As a login with it.
        wanted.set_names(224.into());
        assert!(plan(&Settings::new(224, None), &wanted).is_empty());
        assert_eq!(set_for_reading(&wanted, &Settings::new(224, None)), None);
        let back = plan(&wanted, &have).set;
        assert_eq!(
            back.as_deref(),
            Some("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci")
        );
    }

    const MARIADB_11_8: ServerVersion = ServerVersion {
        mariadb: true,
        number: 110_809,
    };

    /// By its character set alone, so that the server looks up the collation as it does for a login; who has said the
    /// collation gets that.
    #[test]
    fn a_collation_that_the_server_looks_up_is_not_named() {
        let login = |id| Settings::new(Names::of_login(id, MARIADB_11_8), None);
        let set = |have: &Settings, wanted: &Settings| plan(have, wanted).set;
        let mut by_name = login(45);
        by_name.set_names(45.into());
        assert_eq!(set(&login(8), &login(45)).as_deref(), Some("SET NAMES utf8mb4"));
        assert_eq!(
            set_for_reading(&login(8), &login(45)).as_deref(),
            Some("SET NAMES utf8mb4")
        );
        let collate = Some("SET NAMES utf8mb4 COLLATE utf8mb4_general_ci");
        assert_eq!(set(&login(45), &by_name).as_deref(), collate);
        assert_eq!(set(&by_name, &login(45)).as_deref(), Some("SET NAMES utf8mb4"));
        assert_eq!(
            set(&login(45), &login(46)).as_deref(),
            Some("SET NAMES utf8mb4 COLLATE utf8mb4_bin")
        );
        // The same as a login.
        by_name.set_names(Names::of_login(45, MARIADB_11_8));
        assert!(plan(&login(45), &by_name).is_empty());
    }

    /// The list that counts is the one before the whole SET (11.8.9).
    #[test]
    fn a_collation_is_looked_up_in_no_list_that_a_session_has_set() {
        let list = |login| {
            let mut settings = Settings::new(Names::of_login(login, MARIADB_11_8), None);
            settings.set_variable(b"character_set_collations", b"utf8mb4=utf8mb4_bin");
            settings
        };
        let own = "SET NAMES utf8mb4,`character_set_collations`='utf8mb4=utf8mb4_bin'";
        let fresh = plan(&Settings::new(Names::of_login(8, MARIADB_11_8), None), &list(45));
        assert!(!fresh.reset);
        assert_eq!(fresh.set.as_deref(), Some(own));
        let had = plan(&list(8), &list(45));
        assert!(had.reset && had.set.is_some_and(|set| set.starts_with(own)));
        let mut by_name = list(8);
        by_name.set_names(45.into());
        assert!(!plan(&list(8), &by_name).reset);
    }

    #[test]
    fn changing_one_charset_variable_sets_those_after_it_again() {
        let have = settings(
            None,
            &[
                ("character_set_connection", "latin1"),
                ("collation_connection", "latin1_bin"),
            ],
        );
        let wanted = settings(
            None,
            &[
                ("character_set_connection", "utf8mb4"),
                ("collation_connection", "latin1_bin"),
            ],
        );
        let set = plan(&have, &wanted).set.expect("a SET");
        assert!(set.contains("`collation_connection`"), "{set}");
    }

    #[test]
    fn trackers_are_the_clients_for_one_statement() {
        let same = settings(None, &[]);
        let set = |have: &Trackers, wanted: &Trackers, flavor| {
            let known = Known {
                trackers: have,
                ..known(&same)
            };
            let plan = Plan::between(&known, &same, wanted, flavor, false).expect("no schema in the way");
            plan.set.unwrap_or_default()
        };
        let mut reports = Reports::built_in(Flavor::MySql);
        reports.variables = b"time_zone"[..].into();
        reports.transactions = Transactions::State;
        let transactions = Some(reports.transactions);
        let client = |gtids| Trackers::Client {
            reports: Some(Rc::new(reports.clone())),
            gtids,
        };
        assert_eq!(
            set(&TANDEM, &client(true), Flavor::MySql),
            "SET session_track_state_change=0,session_track_system_variables='time_zone',session_track_schema=1,\
             session_track_transaction_info=STATE,session_track_gtids=OFF"
        );
        assert!(!set(&TANDEM, &client(false), Flavor::MySql).contains("gtids"));
        let default = Trackers::Client {
            reports: None,
            gtids: true,
        };
        assert_eq!(set(&Trackers::Untouched, &default, Flavor::MariaDb), "");
        assert!(set(&TANDEM, &default, Flavor::MariaDb).contains("session_track_schema=DEFAULT"));
        // Back to Tandem's, with what the client wants of transactions.
        let mixed = Trackers::Tandem { transactions };
        let unknown = |gtids| Trackers::Unknown { gtids };
        assert!(set(&unknown(true), &mixed, Flavor::MariaDb).ends_with("transaction_info=STATE"));
        assert!(set(&unknown(true), &mixed, Flavor::MySql).ends_with("session_track_gtids=OWN_GTID"));
        assert!(!set(&unknown(false), &mixed, Flavor::MySql).contains("gtids"));
        assert!(set(&mixed, &TANDEM, Flavor::MariaDb).ends_with("transaction_info=DEFAULT"));
        assert!(!set(&Trackers::Untouched, &TANDEM, Flavor::MariaDb).contains("transaction_info"));
        assert_eq!(set(&mixed, &mixed, Flavor::MariaDb), "");
    }

    #[test]
    fn no_value_can_break_out_of_its_literal() {
        let wanted = settings(None, &[("init", "\\' OR 1"), ("x", "a'b")]);
        let set = plan(&settings(None, &[]), &wanted).set.expect("a SET");
        assert_eq!(set, "SET `init`=0x5c27204f522031,`x`='a''b'");
    }

    #[test]
    fn commands_are_counted_as_they_are_written() {
        let have = settings(Some("shop"), &[("time_zone", "+00:00")]);
        let wanted = settings(Some("blog"), &[]);
        let mut out = Vec::new();
        assert_eq!(plan(&have, &wanted).write(&mut out, Capabilities::empty()), 3);
        assert_eq!(&out[..5], &[1, 0, 0, 0, CommandCode::ResetConnection as u8]);
    }
}
