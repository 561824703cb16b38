//! What is understood on the admin port, and what is said to what isn't.

use super::*;

#[test]
fn commands_are_known_in_any_dress() {
    for (text, command) in [
        ("SHOW SERVERS", Command::Table(Source::Servers)),
        ("  show\tservers ; ", Command::Table(Source::Servers)),
        (
            "/* a */ Show -- b\n Sessions # c",
            Command::Table(Source::Sessions),
        ),
        ("show full processlist;", Command::Table(Source::Sessions)),
        ("SHOW POOLS;;", Command::Table(Source::Pools)),
        ("show limits", Command::Table(Source::Limits)),
        ("show stats", Command::Table(Source::Counters)),
        ("SHOW COUNTERS", Command::Table(Source::Counters)),
        ("show reads;", Command::Reads(READS)),
        ("SHOW EVENTS", Command::Table(Source::Events)),
        ("SHOW DIGESTS;", Command::Table(Source::Digests)),
        ("RESET STATS;", Command::ResetStatistics),
        ("empty cache", Command::EmptyCache),
        (
            "TRACE SESSION 7;",
            Command::Trace {
                session: 7,
                statements: TRACED,
            },
        ),
        (
            "trace session 7 limit 1000000",
            Command::Trace {
                session: 7,
                statements: trace::MOST,
            },
        ),
        ("SHOW READS LIMIT 3", Command::Reads(3)),
        ("SHOW READS LIMIT 1000000;", Command::Reads(MOST_READS)),
        ("help", Command::Table(Source::Commands)),
        ("SHOW COMMANDS /* done */;", Command::Table(Source::Commands)),
        ("KILL 17;", Command::Kill(17)),
        ("KILL '17'", Command::Kill(17)),
        ("SHOW AUDIT", Command::Table(Source::Audit)),
        ("show grants for current_user();", Command::Grants),
        ("kill connection 4294967295", Command::Kill(u32::MAX)),
        ("use `tandem`;", Command::Use("tandem".to_owned())),
        ("USE tandem", Command::Use("tandem".to_owned())),
        ("SET NAMES utf8mb4", Command::Nothing),
        ("SET AUTOCOMMIT = 0", Command::Nothing),
        ("set\nautocommit=1", Command::Nothing),
        ("COMMIT", Command::Nothing),
        ("drain `b`;", Command::Drain("b".to_owned())),
        ("OPEN b", Command::Open("b".to_owned())),
        ("OPEN db-1.x;", Command::Open("db-1.x".to_owned())),
        (
            "SWITCHOVER TO db-1.x FORCE",
            Command::Switchover(Switchover {
                to: Some("db-1.x".to_owned()),
                force: true,
                ..Switchover::default()
            }),
        ),
        (
            "switchover dry run to b force timeout 3",
            Command::Switchover(Switchover {
                to: Some("b".to_owned()),
                timeout: Some(Duration::from_secs(3)),
                force: true,
                dry_run: true,
            }),
        ),
    ] {
        assert_eq!(parse(text), Ok(command), "{text}");
    }
}

#[test]
fn a_statement_is_explained_as_written() {
    let explain = |text: &str| parse(text);
    assert_eq!(
        explain("explain  route\nSELECT /* hint */ 'a;' ; "),
        Ok(Command::ExplainRoute(Question {
            statement: "SELECT /* hint */ 'a;'".to_owned(),
            ..Question::default()
        }))
    );
    assert_eq!(
        explain("EXPLAIN ROUTE for app in `my-shop` FROM 192.0.2.7 /* hint */ SELECT 1 FROM t"),
        Ok(Command::ExplainRoute(Question {
            user: Some("app".to_owned()),
            schema: Some("my-shop".to_owned()),
            client: Some(Peer::Tcp(([192, 0, 2, 7], 0).into())),
            statement: "/* hint */ SELECT 1 FROM t".to_owned(),
        }))
    );
    for text in [
        "EXPLAIN ROUTE FOR",
        "EXPLAIN ROUTE FOR app",
        "EXPLAIN ROUTE FROM nowhere SELECT 1",
    ] {
        assert_eq!(explain(text), Err(Refusal::NothingToExplain), "{text}");
    }
    assert_eq!(explain("EXPLAIN ROUTE ;"), Err(Refusal::NothingToExplain));
    assert!(matches!(
        explain("EXPLAIN SELECT 1"),
        Err(Refusal::Unknown { .. })
    ));
}

#[test]
fn clients_get_what_they_select() {
    let select = |text: &str| match parse(text) {
        Ok(Command::Select(items, _)) => items
            .into_iter()
            .map(|item| (item.name, item.value))
            .collect::<Vec<_>>(),
        other => panic!("{text}: {other:?}"),
    };
    let variable = |name: &str| Expression::Variable(name.to_owned());
    assert_eq!(
        select("select @@version_comment limit 1"),
        [("@@version_comment".to_owned(), variable("version_comment"))]
    );
    assert_eq!(
        select("SELECT @@max_allowed_packet,@@SESSION.wait_timeout AS w;"),
        [
            ("@@max_allowed_packet".to_owned(), variable("max_allowed_packet")),
            ("w".to_owned(), variable("wait_timeout")),
        ]
    );
    assert_eq!(
        select("SELECT DATABASE(), USER( ), 1, 'x' as `y z`, null"),
        [
            (
                "DATABASE()".to_owned(),
                Expression::Function("database".to_owned())
            ),
            ("USER( )".to_owned(), Expression::Function("user".to_owned())),
            ("1".to_owned(), Expression::Number(1)),
            ("y z".to_owned(), Expression::Text("x".to_owned())),
            ("null".to_owned(), Expression::Null),
        ]
    );
}

#[test]
fn what_is_written_short_comes_to_a_select() {
    for (text, query) in [
        ("SELECT 1 FROM sessions;", "SELECT 1 FROM sessions;"),
        (
            "with t as (select 1) select * from t",
            "with t as (select 1) select * from t",
        ),
        (
            "SHOW sessions LIKE 'it%';",
            "SELECT * FROM sessions WHERE 1 AND `user` LIKE 'it%' ESCAPE '\\'",
        ),
        (
            "show servers where role = 'standby';",
            "SELECT * FROM servers WHERE 1 AND (role = 'standby')",
        ),
        (
            "SHOW DIGESTS LIKE '%it%'",
            "SELECT * FROM digests WHERE 1 AND `statement` LIKE '%it%' ESCAPE '\\'",
        ),
        (
            "SHOW DIGESTS ORDER BY minute_max_ms DESC LIMIT 3;",
            "SELECT * FROM digests WHERE 1 ORDER BY minute_max_ms DESC LIMIT 3",
        ),
        (
            r"SHOW DATABASES LIKE 't\'x'",
            "SELECT SCHEMA_NAME AS `Database` FROM information_schema.SCHEMATA WHERE 1 AND `SCHEMA_NAME` LIKE 't''x' ESCAPE '\\'",
        ),
        (
            "SHOW FULL TABLES FROM `tandem`",
            "SELECT TABLE_NAME AS Tables_in_tandem, TABLE_TYPE AS Table_type FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'tandem'",
        ),
        (
            "show session variables like 'version'",
            "SELECT Variable_name, Value FROM information_schema.GLOBAL_VARIABLES WHERE 1 AND `Variable_name` LIKE 'version' ESCAPE '\\'",
        ),
    ] {
        assert_eq!(parse(text), Ok(Command::Query(query.to_owned())), "{text}");
    }
    for text in [
        "DESC pools",
        "describe `tandem`.`pools`;",
        "SHOW COLUMNS FROM pools",
        "SHOW FIELDS IN pools FROM tandem LIKE 'w%'",
    ] {
        let Ok(Command::Query(query)) = parse(text) else {
            panic!("{text}");
        };
        assert!(
            query.contains("TABLE_SCHEMA = 'tandem' AND TABLE_NAME = 'pools'"),
            "{query}"
        );
    }
    assert_eq!(parse("DESC nothing"), Err(Refusal::NoTable("nothing".to_owned())));
    let create = Command::CreateTable("pools".to_owned());
    assert_eq!(parse("SHOW CREATE TABLE `pools`;"), Ok(create));
}

#[test]
fn anything_else_is_refused_by_name() {
    for text in ["", " ; ", "/* only a comment", "-- nothing"] {
        assert_eq!(parse(text), Err(Refusal::Empty), "{text:?}");
    }
    for text in ["KILL", "KILL x", "KILL 1 2", "KILL -1", "kill 4294967296"] {
        assert_eq!(parse(text), Err(Refusal::NoSessionId), "{text}");
    }
    for text in [
        "SWITCHOVER TO",
        "SWITCHOVER DRY",
        "SWITCHOVER TIMEOUT b",
        "SWITCHOVER b",
    ] {
        assert_eq!(parse(text), Err(Refusal::NoSwitchover), "{text}");
    }
    for text in [
        "TRACE",
        "TRACE SESSION",
        "TRACE SESSION x",
        "TRACE SESSION 1 LIMIT",
    ] {
        assert_eq!(parse(text), Err(Refusal::NoTrace), "{text}");
    }
    assert_eq!(parse("DRAIN"), Err(Refusal::NoServer("DRAIN")));
    assert_eq!(parse("OPEN a b"), Err(Refusal::NoServer("OPEN")));
    for text in [
        "SHOW",
        "SHOW SERVERS please",
        "SHOW SERVERS LIKE",
        "SHOW TABLES FROM",
        "DESCRIBE",
        "SHOW COLUMNS",
        "DELETE FROM t",
        "é",
        "'é",
        "@@",
        "--x",
    ] {
        assert!(
            matches!(parse(text), Err(Refusal::Unknown { .. })),
            "{text}: {:?}",
            parse(text)
        );
    }
    let error = parse("DROP TABLE t").map_err(|refusal| refusal.to_string());
    let error = error.expect_err("refused");
    assert!(error.contains("near 'DROP TABLE t'"), "{error}");
    assert!(error.contains("SHOW SERVERS, SHOW SESSIONS"), "{error}");
}

#[test]
fn no_prefix_panics() {
    let text = "SELECT @@session.a AS 'b', VERSION ( ) , 'é' LIMIT 1 ; -- x\n/* y */ #z";
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse(&text[..end]);
        let _ = parse(&text[end..]);
    }
}
