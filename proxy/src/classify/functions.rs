//! The functions that the servers have built in, and what a call of each means for routing.
//!
//! From the servers' manuals ("Built-in Functions" of MariaDB 11, "Functions and Operators" of MySQL 9). A name
//! that isn't here may be a stored function or a loadable one, which may write. Unqualified calls reach built-in
//! functions before stored ones of the same name (MySQL manual, "Function Name Parsing and Resolution").

use super::Dialect;
use crate::topology::Flavor;

/// What calling a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Its answer is worth the same on any server that is fresh.
    Pure,
    /// So it is, but not a moment later, or to somebody else.
    Fleeting,
    /// Not a call at all: a keyword or a type before a parenthesis.
    Keyword,
    /// Takes a user-level lock, which stays with the connection.
    TakesLock,
    /// Asks for or gives back user-level locks.
    AsksLock,
    /// `NEXTVAL`, `LASTVAL`: the connection remembers what it drew.
    DrawsSequence,
    SetsSequence,
    InsertId,
    FoundRows,
    RowCount,
    /// The answer belongs to the server or to the connection.
    ServerLocal,
    Unknown,
}

/// What a call of `name`, in capitals, means.
pub(crate) fn look_up(name: &str, dialect: Dialect) -> Call {
    if KEYWORDS.binary_search(&name).is_ok() {
        return Call::Keyword;
    }
    if is_pure(name, dialect) {
        return match FLEETING.binary_search(&name) {
            Ok(_) => Call::Fleeting,
            Err(_) => Call::Pure,
        };
    }
    match name {
        "GET_LOCK"
        | "SERVICE_GET_READ_LOCKS"
        | "SERVICE_GET_WRITE_LOCKS"
        | "VERSION_TOKENS_LOCK_EXCLUSIVE"
        | "VERSION_TOKENS_LOCK_SHARED" => Call::TakesLock,
        "RELEASE_LOCK"
        | "RELEASE_ALL_LOCKS"
        | "IS_FREE_LOCK"
        | "IS_USED_LOCK"
        | "SERVICE_RELEASE_LOCKS"
        | "VERSION_TOKENS_UNLOCK"
        | "VERSION_TOKENS_SET"
        | "VERSION_TOKENS_EDIT"
        | "VERSION_TOKENS_DELETE"
        | "VERSION_TOKENS_SHOW" => Call::AsksLock,
        "NEXTVAL" | "LASTVAL" => Call::DrawsSequence,
        "SETVAL" => Call::SetsSequence,
        "LAST_INSERT_ID" => Call::InsertId,
        "FOUND_ROWS" => Call::FoundRows,
        "ROW_COUNT" => Call::RowCount,
        _ if SERVER_LOCAL.binary_search(&name).is_ok() => Call::ServerLocal,
        _ => Call::Unknown,
    }
}

fn is_pure(name: &str, dialect: Dialect) -> bool {
    let among = |list: &[&str]| list.binary_search(&name).is_ok();
    among(PURE)
        || match dialect.flavor {
            Flavor::MySql => among(PURE_MYSQL),
            Flavor::MariaDb => {
                among(PURE_MARIADB)
                    || PURE_MARIADB_SINCE
                        .iter()
                        .any(|&(known, since)| known == name && since <= dialect.version)
            }
        }
}

/// Whether a word without a parenthesis is the call of a function whose answer is [`Call::Fleeting`]. `SYSDATE` is that under
/// `sql_mode=ORACLE`.
pub(crate) fn is_fleeting_word(word: &str) -> bool {
    matches!(
        word,
        "CURRENT_DATE"
            | "CURRENT_ROLE"
            | "CURRENT_TIME"
            | "CURRENT_TIMESTAMP"
            | "CURRENT_USER"
            | "LOCALTIME"
            | "LOCALTIMESTAMP"
            | "SYSDATE"
            | "UTC_DATE"
            | "UTC_TIME"
            | "UTC_TIMESTAMP"
    )
}

/// Whether white space before the parenthesis makes it a call of a stored function, unless `IGNORE_SPACE` is on.
///
/// MariaDB `sql/lex.h`, `sql_functions[]`; MySQL `sql/lex.h`, `SYM_FN`.
pub(crate) fn wants_no_space(name: &str) -> bool {
    NO_SPACE.binary_search(&name).is_ok()
}

#[rustfmt::skip]
const NO_SPACE: &[&str] = &[
    "ADDDATE", "ADD_MONTHS", "BIT_AND", "BIT_OR", "BIT_XOR", "CAST", "COUNT", "CUME_DIST", "CURDATE", "CURTIME",
    "DATE_ADD", "DATE_FORMAT", "DATE_SUB", "DECODE", "DENSE_RANK", "EXTRACT", "FIRST_VALUE", "GROUP_CONCAT",
    "JSON_ARRAYAGG", "JSON_DUALITY_OBJECT", "JSON_OBJECTAGG", "JSON_TABLE", "LAG", "LAST_VALUE", "LEAD", "MAX",
    "MEDIAN", "MID", "MIN", "NOW", "NTH_VALUE", "NTILE", "PERCENTILE_CONT", "PERCENTILE_DISC", "PERCENT_RANK",
    "POSITION", "RANK", "ROW_NUMBER", "SESSION_USER", "STD", "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "ST_COLLECT",
    "SUBDATE", "SUBSTR", "SUBSTRING", "SUM", "SYSDATE", "SYSTEM_USER", "TRIM", "TRIM_ORACLE", "VARIANCE", "VAR_POP",
    "VAR_SAMP",
];

/// Words of the grammar that stand before a parenthesis in a query and that can't name a function.
///
/// Tried one by one on MariaDB 10.11: `SELECT word(1)` is a syntax error or the server's own. `AGAINST`,
/// `COLUMNS`, `ESCAPE`, `LATERAL`, `MEMBER`, `MINUS` and `OF` are not here, since it looks for a stored function.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "ALL", "AND", "ANY", "AS", "BETWEEN", "BIGINT", "BINARY", "BY", "CASE", "CHAR", "CHARACTER",
    "CROSS", "DATETIME", "DEC", "DECIMAL", "DEFAULT", "DISTINCT", "DISTINCTROW", "DIV", "DOUBLE", "ELSE",
    "EXCEPT", "EXISTS", "FLOAT", "FROM", "GROUP", "HAVING", "HIGH_PRIORITY", "IN", "INDEX", "INT",
    "INTEGER", "INTERSECT", "INTERVAL", "JOIN", "KEY", "LIKE", "LIMIT", "MATCH", "NCHAR",
    "NOT", "NUMERIC", "ON", "OR", "OVER", "PARTITION", "REAL", "REGEXP", "RETURNING", "RLIKE", "ROW", "SELECT",
    "SET", "SMALLINT", "SOME", "SQL_BIG_RESULT", "SQL_BUFFER_RESULT", "SQL_CACHE", "SQL_CALC_FOUND_ROWS",
    "SQL_NO_CACHE", "SQL_SMALL_RESULT", "STRAIGHT_JOIN", "THEN", "TINYINT", "UNION", "USING", "VALUE", "VALUES",
    "VARBINARY", "VARCHAR", "WHEN", "WHERE", "XOR",
];

#[rustfmt::skip]
const SERVER_LOCAL: &[&str] = &[
    "BINLOG_GTID_POS", "CONNECTION_ID", "DES_DECRYPT", "DES_ENCRYPT", "LOAD_FILE", "MASTER_GTID_WAIT",
    "MASTER_POS_WAIT", "PS_CURRENT_THREAD_ID", "PS_THREAD_ID", "SOURCE_POS_WAIT", "UUID_SHORT",
    "WAIT_FOR_EXECUTED_GTID_SET", "WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS",
];

/// Of the pure ones, those whose answer does not follow from tables, schema and settings: by the clock, by chance, by who asks, and
/// those that one calls for the time they take. `CONVERT_TZ` reads tables that no statement names.
#[rustfmt::skip]
const FLEETING: &[&str] = &[
    "BENCHMARK", "CONVERT_TZ", "CURDATE", "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_TIME", "CURRENT_TIMESTAMP",
    "CURRENT_USER", "CURTIME", "ENCRYPT", "ICU_VERSION", "LOCALTIME", "LOCALTIMESTAMP", "NOW", "RAND", "RANDOM_BYTES",
    "SESSION_USER", "SLEEP", "SYSDATE", "SYSTEM_USER", "SYS_GUID", "UNIX_TIMESTAMP", "USER", "UTC_DATE", "UTC_TIME",
    "UTC_TIMESTAMP", "UUID", "UUID_V4", "UUID_V7", "VERSION",
];

/// Built into both.
#[rustfmt::skip]
const PURE: &[&str] = &[
    "ABS", "ACOS", "ADDDATE", "ADDTIME", "AES_DECRYPT", "AES_ENCRYPT", "ASCII", "ASIN", "ATAN", "ATAN2", "AVG",
    "BENCHMARK", "BIN", "BIT_AND", "BIT_COUNT", "BIT_LENGTH", "BIT_OR", "BIT_XOR", "CAST", "CEIL", "CEILING",
    "CHARACTER_LENGTH", "CHARSET", "CHAR_LENGTH", "COALESCE", "COERCIBILITY", "COLLATION", "COMPRESS", "CONCAT",
    "CONCAT_WS", "CONV", "CONVERT", "CONVERT_TZ", "COS", "COT", "COUNT", "CRC32", "CUME_DIST", "CURDATE",
    "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "CURRENT_USER", "CURTIME", "DATABASE",
    "DATE", "DATEDIFF", "DATE_ADD", "DATE_FORMAT", "DATE_SUB", "DAY", "DAYNAME", "DAYOFMONTH", "DAYOFWEEK",
    "DAYOFYEAR", "DEGREES", "DENSE_RANK", "ELT", "EXP", "EXPORT_SET", "EXTRACT", "EXTRACTVALUE", "FIELD",
    "FIND_IN_SET", "FIRST_VALUE", "FLOOR", "FORMAT", "FROM_BASE64", "FROM_DAYS", "FROM_UNIXTIME",
    "GEOMETRYCOLLECTION", "GET_FORMAT", "GREATEST", "GROUP_CONCAT", "HEX", "HOUR", "IF", "IFNULL", "INET6_ATON",
    "INET6_NTOA", "INET_ATON", "INET_NTOA", "INSERT", "INSTR", "ISNULL", "IS_IPV4", "IS_IPV4_COMPAT",
    "IS_IPV4_MAPPED", "IS_IPV6", "JSON_ARRAY", "JSON_ARRAYAGG", "JSON_ARRAY_APPEND", "JSON_ARRAY_INSERT",
    "JSON_CONTAINS", "JSON_CONTAINS_PATH", "JSON_DEPTH", "JSON_EXTRACT", "JSON_INSERT", "JSON_KEYS",
    "JSON_LENGTH", "JSON_MERGE", "JSON_MERGE_PATCH", "JSON_MERGE_PRESERVE", "JSON_OBJECT", "JSON_OBJECTAGG",
    "JSON_OVERLAPS", "JSON_PRETTY", "JSON_QUOTE", "JSON_REMOVE", "JSON_REPLACE", "JSON_SEARCH", "JSON_SET",
    "JSON_TABLE", "JSON_TYPE", "JSON_UNQUOTE", "JSON_VALID", "JSON_VALUE", "LAG", "LAST_DAY", "LAST_VALUE",
    "LCASE", "LEAD", "LEAST", "LEFT", "LENGTH", "LINESTRING", "LN", "LOCALTIME", "LOCALTIMESTAMP", "LOCATE",
    "LOG", "LOG10", "LOG2", "LOWER", "LPAD", "LTRIM", "MAKEDATE", "MAKETIME", "MAKE_SET", "MAX", "MBRCONTAINS",
    "MBRDISJOINT", "MBREQUALS", "MBRINTERSECTS", "MBROVERLAPS", "MBRTOUCHES", "MBRWITHIN", "MD5", "MICROSECOND",
    "MID", "MIN", "MINUTE", "MOD", "MONTH", "MONTHNAME", "MULTILINESTRING", "MULTIPOINT", "MULTIPOLYGON",
    "NAME_CONST", "NOW", "NTH_VALUE", "NTILE", "NULLIF", "OCT", "OCTET_LENGTH", "ORD", "PERCENT_RANK",
    "PERIOD_ADD", "PERIOD_DIFF", "PI", "POINT", "POLYGON", "POSITION", "POW", "POWER", "QUARTER", "QUOTE",
    "RADIANS", "RAND", "RANDOM_BYTES", "RANK", "REGEXP_INSTR", "REGEXP_REPLACE", "REGEXP_SUBSTR", "REPEAT",
    "REPLACE", "REVERSE", "RIGHT", "ROUND", "ROW_NUMBER", "RPAD", "RTRIM", "SCHEMA", "SECOND", "SEC_TO_TIME",
    "SESSION_USER", "SHA", "SHA1", "SHA2", "SIGN", "SIN", "SLEEP", "SOUNDEX", "SPACE", "SQRT", "STD", "STDDEV",
    "STDDEV_POP", "STDDEV_SAMP", "STRCMP", "STR_TO_DATE", "ST_AREA", "ST_ASBINARY", "ST_ASGEOJSON", "ST_ASTEXT",
    "ST_ASWKB", "ST_ASWKT", "ST_BUFFER", "ST_CENTROID", "ST_CONTAINS", "ST_CONVEXHULL", "ST_CROSSES",
    "ST_DIFFERENCE", "ST_DIMENSION", "ST_DISJOINT", "ST_DISTANCE", "ST_DISTANCE_SPHERE", "ST_ENDPOINT",
    "ST_ENVELOPE", "ST_EQUALS", "ST_EXTERIORRING", "ST_GEOMCOLLFROMTEXT", "ST_GEOMCOLLFROMWKB",
    "ST_GEOMETRYCOLLECTIONFROMTEXT", "ST_GEOMETRYCOLLECTIONFROMWKB", "ST_GEOMETRYFROMTEXT",
    "ST_GEOMETRYFROMWKB", "ST_GEOMETRYN", "ST_GEOMETRYTYPE", "ST_GEOMFROMGEOJSON", "ST_GEOMFROMTEXT",
    "ST_GEOMFROMWKB", "ST_INTERIORRINGN", "ST_INTERSECTION", "ST_INTERSECTS", "ST_ISCLOSED", "ST_ISEMPTY",
    "ST_ISSIMPLE", "ST_LENGTH", "ST_LINEFROMTEXT", "ST_LINEFROMWKB", "ST_LINESTRINGFROMTEXT",
    "ST_LINESTRINGFROMWKB", "ST_MLINEFROMTEXT", "ST_MLINEFROMWKB", "ST_MPOINTFROMTEXT", "ST_MPOINTFROMWKB",
    "ST_MPOLYFROMTEXT", "ST_MPOLYFROMWKB", "ST_MULTILINESTRINGFROMTEXT", "ST_MULTILINESTRINGFROMWKB",
    "ST_MULTIPOINTFROMTEXT", "ST_MULTIPOINTFROMWKB", "ST_MULTIPOLYGONFROMTEXT", "ST_MULTIPOLYGONFROMWKB",
    "ST_NUMGEOMETRIES", "ST_NUMINTERIORRINGS", "ST_NUMPOINTS", "ST_OVERLAPS", "ST_POINTFROMTEXT",
    "ST_POINTFROMWKB", "ST_POINTN", "ST_POLYFROMTEXT", "ST_POLYFROMWKB", "ST_POLYGONFROMTEXT",
    "ST_POLYGONFROMWKB", "ST_SRID", "ST_STARTPOINT", "ST_SYMDIFFERENCE", "ST_TOUCHES", "ST_UNION", "ST_WITHIN",
    "ST_X", "ST_Y", "SUBDATE", "SUBSTR", "SUBSTRING", "SUBSTRING_INDEX", "SUBTIME", "SUM", "SYSDATE",
    "SYSTEM_USER", "TAN", "TIME", "TIMEDIFF", "TIMESTAMP", "TIMESTAMPADD", "TIMESTAMPDIFF", "TIME_FORMAT",
    "TIME_TO_SEC", "TO_BASE64", "TO_DAYS", "TO_SECONDS", "TRIM", "TRUNCATE", "UCASE", "UNCOMPRESS",
    "UNCOMPRESSED_LENGTH", "UNHEX", "UNIX_TIMESTAMP", "UPDATEXML", "UPPER", "USER", "UTC_DATE", "UTC_TIME",
    "UTC_TIMESTAMP", "UUID", "VARIANCE", "VAR_POP", "VAR_SAMP", "VERSION", "WEEK", "WEEKDAY", "WEEKOFYEAR",
    "WEIGHT_STRING", "YEAR", "YEARWEEK",
];

/// Built into MariaDB 10.11, not (or no longer) into MySQL 8.
#[rustfmt::skip]
const PURE_MARIADB: &[&str] = &[
    "ADD_MONTHS", "AREA", "ASBINARY", "ASTEXT", "ASWKB", "ASWKT", "BOUNDARY", "BUFFER", "CENTROID", "CHR",
    "COLUMN_ADD", "COLUMN_CHECK", "COLUMN_CREATE", "COLUMN_DELETE", "COLUMN_EXISTS", "COLUMN_GET",
    "COLUMN_JSON", "COLUMN_LIST", "CONTAINS", "CONVEXHULL", "CRC32C", "CROSSES", "DECODE", "DECODE_ORACLE",
    "DIMENSION", "DISJOINT", "ENCODE", "ENCRYPT", "ENDPOINT", "ENVELOPE", "EQUALS", "EXTERIORRING",
    "GEOMCOLLFROMTEXT", "GEOMCOLLFROMWKB", "GEOMETRYCOLLECTIONFROMTEXT", "GEOMETRYCOLLECTIONFROMWKB",
    "GEOMETRYFROMTEXT", "GEOMETRYFROMWKB", "GEOMETRYN", "GEOMETRYTYPE", "GEOMFROMTEXT", "GEOMFROMWKB",
    "GLENGTH", "INTERIORRINGN", "INTERSECTS", "ISCLOSED", "ISEMPTY", "ISRING", "ISSIMPLE", "JSON_COMPACT",
    "JSON_DETAILED", "JSON_EQUALS", "JSON_EXISTS", "JSON_LOOSE", "JSON_NORMALIZE", "JSON_QUERY", "LENGTHB",
    "LINEFROMTEXT", "LINEFROMWKB", "LINESTRINGFROMTEXT", "LINESTRINGFROMWKB", "MBREQUAL", "MEDIAN",
    "MLINEFROMTEXT", "MLINEFROMWKB", "MPOINTFROMTEXT", "MPOINTFROMWKB", "MPOLYFROMTEXT", "MPOLYFROMWKB",
    "MULTILINESTRINGFROMTEXT", "MULTILINESTRINGFROMWKB", "MULTIPOINTFROMTEXT", "MULTIPOINTFROMWKB",
    "MULTIPOLYGONFROMTEXT", "MULTIPOLYGONFROMWKB", "NATURAL_SORT_KEY", "NUMGEOMETRIES", "NUMINTERIORRINGS",
    "NUMPOINTS", "NVL", "NVL2", "OLD_PASSWORD", "OVERLAPS", "PASSWORD", "PERCENTILE_CONT", "PERCENTILE_DISC",
    "POINTFROMTEXT", "POINTFROMWKB", "POINTN", "POINTONSURFACE", "POLYFROMTEXT", "POLYFROMWKB",
    "POLYGONFROMTEXT", "POLYGONFROMWKB", "ROWNUM", "SFORMAT", "SRID", "STARTPOINT", "ST_BOUNDARY", "ST_ISRING",
    "ST_POINTONSURFACE", "ST_RELATE", "SYS_GUID", "TOUCHES", "TO_CHAR", "WITHIN", "X", "Y",
];

/// Built into MySQL 8, not into MariaDB 10.11.
#[rustfmt::skip]
const PURE_MYSQL: &[&str] = &[
    "ANY_VALUE", "BIN_TO_UUID", "DISTANCE", "FORMAT_BYTES", "FORMAT_PICO_TIME", "FROM_VECTOR", "GROUPING",
    "GTID_SUBSET", "GTID_SUBTRACT", "ICU_VERSION", "IS_UUID", "JSON_SCHEMA_VALID",
    "JSON_SCHEMA_VALIDATION_REPORT", "JSON_STORAGE_FREE", "JSON_STORAGE_SIZE", "MBRCOVEREDBY", "MBRCOVERS",
    "REGEXP_LIKE", "STATEMENT_DIGEST", "STATEMENT_DIGEST_TEXT", "STRING_TO_VECTOR", "ST_BUFFER_STRATEGY",
    "ST_COLLECT", "ST_FRECHETDISTANCE", "ST_GEOHASH", "ST_GEOMCOLLFROMTXT", "ST_HAUSDORFFDISTANCE",
    "ST_ISVALID", "ST_LATFROMGEOHASH", "ST_LATITUDE", "ST_LINEINTERPOLATEPOINT", "ST_LINEINTERPOLATEPOINTS",
    "ST_LONGFROMGEOHASH", "ST_LONGITUDE", "ST_MAKEENVELOPE", "ST_NUMINTERIORRING", "ST_POINTATDISTANCE",
    "ST_POINTFROMGEOHASH", "ST_SIMPLIFY", "ST_SWAPXY", "ST_TRANSFORM", "ST_VALIDATE", "TO_VECTOR",
    "UUID_TO_BIN", "VALIDATE_PASSWORD_STRENGTH", "VECTOR_DIM", "VECTOR_TO_STRING",
];

/// Built into MariaDB since.
#[rustfmt::skip]
const PURE_MARIADB_SINCE: &[(&str, u32)] = &[
    ("FORMAT_BYTES", 110_801), ("FORMAT_PICO_TIME", 110_002), ("JSON_ARRAY_INTERSECT", 110_200),
    ("JSON_KEY_VALUE", 110_200), ("JSON_OBJECT_FILTER_KEYS", 110_200), ("JSON_OBJECT_TO_ARRAY", 110_200),
    ("JSON_SCHEMA_VALID", 110_100), ("KDF", 110_300), ("UUID_V4", 110_701), ("UUID_V7", 110_701),
    ("VEC_DISTANCE", 110_801), ("VEC_DISTANCE_COSINE", 110_701), ("VEC_DISTANCE_EUCLIDEAN", 110_701),
    ("VEC_FROMTEXT", 110_701), ("VEC_TOTEXT", 110_701),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_for_the_binary_search() {
        for list in [
            KEYWORDS,
            PURE,
            PURE_MARIADB,
            PURE_MYSQL,
            SERVER_LOCAL,
            NO_SPACE,
            FLEETING,
        ] {
            for pair in list.windows(2) {
                assert!(pair[0] < pair[1], "{} before {}", pair[0], pair[1]);
            }
        }
    }
}
