//! The tables of the admin port: their names, what they are for, where their rows come from. `SHOW x` is the whole of table `x`.

pub(super) mod foreign;

use std::borrow::Cow;

use super::table::{Cell, Shape, Table};
use super::{digests, show};

use Shape::{Number, Text};

/// Where the rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Servers,
    Sessions,
    Pools,
    Limits,
    Connections,
    Prepared,
    Users,
    Metrics,
    Traces,
    Counters,
    Digests,
    Reads,
    Rules,
    Firewall,
    Mirrors,
    Mirror,
    MirrorDifferences,
    Failover,
    Events,
    Audit,
    Commands,
    Config,
}

/// One table.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) source: Source,
    pub(super) columns: &'static [(&'static str, Shape)],
}

impl Definition {
    pub(super) fn empty(&self) -> Table {
        let columns = self.columns.iter();
        Table {
            columns: columns
                .map(|(name, shape)| (Cow::Borrowed(*name), *shape))
                .collect(),
            rows: Vec::new(),
        }
    }
}

/// All of them, in the order of `SHOW TABLES`.
pub(super) const TABLES: [Definition; 22] = [
    Definition {
        name: "audit",
        meaning: "What was done on this port, and who tried to log in without success",
        source: Source::Audit,
        columns: &show::AUDIT,
    },
    Definition {
        name: "commands",
        meaning: "What can be said on this port",
        source: Source::Commands,
        columns: &show::COMMANDS_COLUMNS,
    },
    Definition {
        name: "config",
        meaning: "Every key of the configuration, its value, and where that comes from",
        source: Source::Config,
        columns: &show::config::CONFIG,
    },
    Definition {
        name: "connections",
        meaning: "Every connection to a server, and the session that has it",
        source: Source::Connections,
        columns: &show::connections::CONNECTIONS,
    },
    Definition {
        name: "counters",
        meaning: "What has been counted since Tandem started",
        source: Source::Counters,
        columns: &show::COUNTERS,
    },
    Definition {
        name: "digests",
        meaning: "Statements by shape: how many, how long, how much, where and why; minute_… is of the last minute",
        source: Source::Digests,
        columns: &digests::DIGESTS,
    },
    Definition {
        name: "events",
        meaning: "What was done about the roles of the servers",
        source: Source::Events,
        columns: &show::EVENTS,
    },
    Definition {
        name: "failover",
        meaning: "Whether the standby could take over now, and if not, why",
        source: Source::Failover,
        columns: &show::PROPERTIES,
    },
    Definition {
        name: "firewall",
        meaning: "The statements that accounts may send, and others that were seen",
        source: Source::Firewall,
        columns: &show::firewall::FIREWALL,
    },
    Definition {
        name: "limits",
        meaning: "How much is used of limits that workers share, for each worker",
        source: Source::Limits,
        columns: &show::LIMITS,
    },
    Definition {
        name: "metrics",
        meaning: "What Prometheus would get now; docs/metrics.md explains it",
        source: Source::Metrics,
        columns: &show::metrics::METRICS,
    },
    Definition {
        name: "mirror",
        meaning: "What a mirror has answered, by shape: the same or not, how fast, and what it was not asked",
        source: Source::Mirror,
        columns: &show::mirrors::MIRROR,
    },
    Definition {
        name: "mirror_differences",
        meaning: "In what the answers of mirrors differed, the last ones of each shape",
        source: Source::MirrorDifferences,
        columns: &show::mirrors::DIFFERENCES,
    },
    Definition {
        name: "mirrors",
        meaning: "The mirrors: whether they are reached, what waits for them, and what has come of it",
        source: Source::Mirrors,
        columns: &show::mirrors::MIRRORS,
    },
    Definition {
        name: "pools",
        meaning: "Connections to the servers, for each worker and server",
        source: Source::Pools,
        columns: &show::POOLS,
    },
    Definition {
        name: "prepared_statements",
        meaning: "The statements that sessions have prepared, for each worker",
        source: Source::Prepared,
        columns: &show::prepared::PREPARED,
    },
    Definition {
        name: "reads",
        meaning: "The most read shapes of statement, how much of them the standby answered, and why not more",
        source: Source::Reads,
        columns: &show::READS,
    },
    Definition {
        name: "rules",
        meaning: "The rules in their order, and how many statements each has decided on",
        source: Source::Rules,
        columns: &show::RULES,
    },
    Definition {
        name: "servers",
        meaning: "The servers as the last probes saw them, and the role each one has",
        source: Source::Servers,
        columns: &show::SERVERS,
    },
    Definition {
        name: "sessions",
        meaning: "Every client connection, what it does and what ties it",
        source: Source::Sessions,
        columns: &show::SESSIONS,
    },
    Definition {
        name: "traces",
        meaning: "Where the time of statements went, step by step, of those that TRACE SESSION asked for",
        source: Source::Traces,
        columns: &show::traces::TRACES,
    },
    Definition {
        name: "users",
        meaning: "The accounts: their sessions, their statements, their settings",
        source: Source::Users,
        columns: &show::users::USERS,
    },
];

/// The table of this name.
pub(super) fn named(name: &str) -> Option<&'static Definition> {
    TABLES.iter().find(|table| table.name.eq_ignore_ascii_case(name))
}

/// What may be names in a statement.
pub(super) fn words(statement: &str) -> impl Iterator<Item = &str> {
    statement.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

/// The tables whose names are words of a statement. A word that only looks like a name costs a snapshot that is not read.
pub(super) fn mentioned(statement: &str) -> Vec<&'static Definition> {
    let mut found: Vec<&'static Definition> = Vec::new();
    for table in words(statement).filter_map(named) {
        if !found.iter().any(|known| known.name == table.name) {
            found.push(table);
        }
    }
    found
}

/// `SHOW CREATE TABLE table`
pub(super) fn create(definition: &Definition) -> Table {
    let mut table = Table::new([("Table", Text), ("Create Table", Text)]);
    let columns = definition.columns.iter();
    let columns: Vec<String> = columns
        .map(|(name, shape)| format!("  `{name}` {}", type_name(*shape)))
        .collect();
    let text = format!(
        "CREATE TABLE `{}` (\n{}\n) COMMENT='{}'",
        definition.name,
        columns.join(",\n"),
        definition.meaning
    );
    table.rows.push(vec![definition.name.into(), text.into()]);
    table
}

fn type_name(shape: Shape) -> &'static str {
    match shape {
        Text => "varchar(255)",
        Number => "bigint(20) unsigned",
        Shape::Real => "double",
    }
}

type Maker = fn() -> Table;

/// What clients read to know what there is: each table, and what makes it.
pub(super) const INFORMATION_SCHEMA: [(&str, Maker); 4] = [
    ("SCHEMATA", schemata),
    ("TABLES", tables),
    ("COLUMNS", columns),
    ("GLOBAL_VARIABLES", show::variables),
];

fn schemata() -> Table {
    let mut table = Table::new([
        ("CATALOG_NAME", Text),
        ("SCHEMA_NAME", Text),
        ("DEFAULT_CHARACTER_SET_NAME", Text),
        ("DEFAULT_COLLATION_NAME", Text),
    ]);
    for schema in ["information_schema", show::SCHEMA] {
        table.rows.push(vec![
            "def".into(),
            schema.into(),
            "utf8mb4".into(),
            "utf8mb4_general_ci".into(),
        ]);
    }
    table
}

fn tables() -> Table {
    let mut table = Table::new([
        ("TABLE_CATALOG", Text),
        ("TABLE_SCHEMA", Text),
        ("TABLE_NAME", Text),
        ("TABLE_TYPE", Text),
        ("ENGINE", Text),
        ("VERSION", Number),
        ("ROW_FORMAT", Text),
        ("TABLE_ROWS", Number),
        ("AVG_ROW_LENGTH", Number),
        ("DATA_LENGTH", Number),
        ("MAX_DATA_LENGTH", Number),
        ("INDEX_LENGTH", Number),
        ("DATA_FREE", Number),
        ("AUTO_INCREMENT", Number),
        ("CREATE_TIME", Text),
        ("UPDATE_TIME", Text),
        ("CHECK_TIME", Text),
        ("TABLE_COLLATION", Text),
        ("CHECKSUM", Number),
        ("CREATE_OPTIONS", Text),
        ("TABLE_COMMENT", Text),
    ]);
    // How large it is, is known when it is made.
    let unknown = |count: usize| vec![Cell::Null; count];
    let row = |known: &Definition| {
        let named: [Cell; 5] = [
            "def".into(),
            show::SCHEMA.into(),
            known.name.into(),
            "SYSTEM VIEW".into(),
            "MEMORY".into(),
        ];
        let ends: [Cell; 4] = [
            "utf8mb4_general_ci".into(),
            Cell::Null,
            "".into(),
            known.meaning.into(),
        ];
        let mut row = Vec::from(named);
        row.extend(unknown(12));
        row.extend(ends);
        row
    };
    table.rows = TABLES.iter().map(row).collect();
    table
}

fn columns() -> Table {
    let mut table = Table::new([
        ("TABLE_CATALOG", Text),
        ("TABLE_SCHEMA", Text),
        ("TABLE_NAME", Text),
        ("COLUMN_NAME", Text),
        ("ORDINAL_POSITION", Number),
        ("COLUMN_DEFAULT", Text),
        ("IS_NULLABLE", Text),
        ("DATA_TYPE", Text),
        ("COLUMN_TYPE", Text),
        ("COLUMN_KEY", Text),
        ("EXTRA", Text),
        ("COLUMN_COMMENT", Text),
    ]);
    for known in &TABLES {
        for (place, (name, shape)) in known.columns.iter().enumerate() {
            let column_type = type_name(*shape);
            let end = column_type.find(['(', ' ']).unwrap_or(column_type.len());
            table.rows.push(vec![
                "def".into(),
                show::SCHEMA.into(),
                known.name.into(),
                (*name).into(),
                (place + 1).into(),
                Cell::Null,
                "YES".into(),
                column_type[..end].into(),
                column_type.into(),
                "".into(),
                "".into(),
                "".into(),
            ]);
        }
    }
    table
}
