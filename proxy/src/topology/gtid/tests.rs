use super::*;

const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const V: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

fn maria(text: &str) -> Gtid {
    Gtid::parse_mariadb(text).unwrap()
}

fn mysql(rest: &str) -> Gtid {
    Gtid::parse_mysql(&format!("{U}:{rest}")).unwrap()
}

fn set(text: &str) -> Position {
    Position::parse_mysql(&text.replace('U', U).replace('V', V)).unwrap()
}

#[test]
fn mariadb_gtids_are_read_strictly() {
    assert_eq!(
        maria("0-1-123"),
        Gtid::MariaDb {
            domain: 0,
            server: 1,
            sequence: 123
        }
    );
    assert_eq!(
        maria("7-4294967295-18446744073709551615").to_string(),
        "7-4294967295-18446744073709551615"
    );
    for wrong in [
        "",
        "0",
        "0-1",
        "0-1-",
        "0-1-2-3",
        "a-1-2",
        "0-+1-2",
        "0--1-2",
        "4294967296-1-1",
        "0-1-1,0-1-2",
    ] {
        assert_eq!(Gtid::parse_mariadb(wrong), None, "{wrong}");
    }
}

#[test]
fn mysql_gtids_give_the_last_transaction() {
    assert_eq!(mysql("7").to_string(), format!("{U}:7"));
    assert_eq!(mysql("5-7"), mysql("7"));
    assert_eq!(mysql("5-7:9"), mysql("9"));
    assert_eq!(
        Gtid::parse_mysql(&format!("{}:7", U.to_uppercase())),
        Some(mysql("7"))
    );
    for wrong in ["", ":", ":7", "nonsense:7"] {
        assert_eq!(Gtid::parse_mysql(wrong), None, "{wrong}");
    }
    for wrong in ["", "0", "7-5", "tag:7", "7,", "1-", "-1"] {
        assert_eq!(Gtid::parse_mysql(&format!("{U}:{wrong}")), None, "{wrong}");
    }
}

#[test]
fn a_mariadb_position_covers_its_domain_up_to_its_number() {
    let position = Position::parse_mariadb("0-1-100, 5-2-7").unwrap();
    for (gtid, covered) in [
        ("0-1-100", true),
        ("0-1-1", true),
        ("0-2-99", true),
        ("0-1-101", false),
        ("0-2-100", false), // the same number from another server is another transaction
        ("5-2-7", true),
        ("5-2-8", false),
        ("1-1-1", false),
    ] {
        assert_eq!(position.covers(&maria(gtid)), covered, "{gtid}");
    }
    assert_eq!(position.to_string(), "0-1-100,5-2-7");
    assert!(!Position::default().covers(&maria("0-1-1")));
    assert_eq!(Position::parse_mariadb("0-1-1,x"), None);
    assert_eq!(Position::parse_mariadb(""), Some(Position::default()));
}

/// `server_id`, `gtid_slave_pos`, `gtid_binlog_pos`, then commits and whether they are to be found there.
#[test]
fn what_a_mariadb_server_has_is_not_what_its_binary_log_says() {
    type Case<'a> = (u32, &'a str, &'a str, &'a [(&'a str, bool)]);
    let cases: &[Case<'_>] = &[
        // An active master that has always been one.
        (1, "", "0-1-50", &[("0-1-50", true), ("0-1-51", false)]),
        // A standby: its binary log runs ahead of what readers see.
        (2, "0-1-50", "0-1-51", &[("0-1-50", true), ("0-1-51", false)]),
        // The same without log_slave_updates.
        (2, "0-1-50", "", &[("0-1-50", true)]),
        // A standby that took over; what the old master wrote last never arrived.
        (
            2,
            "0-1-50",
            "0-2-60",
            &[("0-2-60", true), ("0-1-50", true), ("0-1-51", false)],
        ),
        // A master that became a standby: what it wrote itself is before what it received.
        (1, "0-2-60", "0-2-60", &[("0-1-50", true), ("0-2-60", true)]),
        // A stray write on a standby doesn't stand for what it should have received.
        (
            2,
            "0-1-50",
            "0-2-55",
            &[("0-2-55", true), ("0-1-51", false), ("0-1-55", false)],
        ),
        // A domain a server.
        (
            2,
            "1-1-50",
            "1-1-50,2-2-9",
            &[
                ("1-1-50", true),
                ("2-2-9", true),
                ("2-2-10", false),
                ("1-2-1", true),
            ],
        ),
    ];
    for &(server_id, slave, binlog, commits) in cases {
        let position = Position::of_mariadb(slave, binlog, server_id).unwrap();
        for &(gtid, covered) in commits {
            assert_eq!(position.covers(&maria(gtid)), covered, "{slave} {binlog}: {gtid}");
        }
    }
}

#[test]
fn mysql_sets_have_gaps() {
    let position = set("U:1-5:8:10-12,\nV:3");
    for n in 1..=14 {
        let covered = matches!(n, 1..=5 | 8 | 10..=12);
        assert_eq!(position.covers(&mysql(&n.to_string())), covered, "{n}");
    }
    assert_eq!(position.to_string(), format!("{U}:1-5:8:10-12,{V}:3"));
    assert!(!position.covers(&maria("0-1-1")));
    // A tag begins its own numbering.
    let tagged = set("U:1-5:tag:1-900:_t2:4,V:tag:9,V:2");
    assert_eq!(tagged, set("U:1-5,V:2"));
    assert_eq!(Position::parse_mysql("nonsense"), None);
    assert_eq!(Position::parse_mysql(&format!("{U}:5-1")), None);
}

#[test]
fn runs_join_where_they_touch() {
    for (pieces, whole) in [
        ("U:1-2,U:3", "U:1-3"),
        ("U:3,U:1-2", "U:1-3"),
        ("U:1:3:5,U:2-4", "U:1-5"),
        ("U:1:9,U:4-5", "U:1:4-5:9"),
        ("U:5-9,U:1-20", "U:1-20"),
        ("U:1-20,U:5-9", "U:1-20"),
        ("U:18446744073709551615,U:1", "U:1:18446744073709551615"),
    ] {
        assert_eq!(set(pieces).to_string(), whole.replace('U', U), "{pieces}");
    }
}

#[test]
fn includes_and_merge_agree() {
    let sets = ["", "U:1-5", "U:1-5:8", "U:6-7", "V:1", "U:1-9,V:1-2"];
    for a in sets {
        for b in sets {
            let mut both = set(a);
            both.merge(&set(b));
            assert!(both.includes(&set(a)) && both.includes(&set(b)), "{a} + {b}");
            assert_eq!(set(a).includes(&set(b)), both == set(a), "{a} {b}");
        }
    }
    let standby = Position::of_mariadb("0-1-50", "0-1-50", 2).unwrap();
    let active = Position::of_mariadb("", "0-1-50", 1).unwrap();
    let took_over = Position::of_mariadb("0-1-50", "0-2-51", 2).unwrap();
    let came_round = Position::of_mariadb("0-2-51", "0-2-51", 2).unwrap();
    assert_eq!(took_over.to_string(), "0-1-50,0-2-51");
    assert_eq!(came_round.to_string(), "0-2-51");
    let ahead = Position::of_mariadb("", "0-1-51", 1).unwrap();
    assert!(standby.includes(&active) && !standby.includes(&ahead));
    let mut wanted = Position::default();
    wanted.insert(&maria("0-1-50"));
    wanted.insert(&maria("0-1-7"));
    assert!(standby.includes(&wanted));
    wanted.merge(&Position::parse_mariadb("0-1-51").unwrap());
    assert_eq!(wanted.to_string(), "0-1-51");
    assert!(!standby.includes(&wanted));
}

#[test]
fn only_gtids_of_one_stream_have_an_order() {
    assert!(maria("0-1-7").is_before(&maria("0-2-8")));
    assert!(!maria("0-1-7").is_before(&maria("0-1-7")));
    assert!(!maria("0-1-7").is_before(&maria("1-1-8")));
    assert!(mysql("7").is_before(&mysql("8")));
    let other = Gtid::parse_mysql(&format!("{V}:9")).unwrap();
    assert!(!mysql("7").is_before(&other));
    assert!(!mysql("7").is_before(&maria("0-1-8")));
}

#[test]
fn a_position_says_how_far_a_stream_has_come_without_a_gap() {
    let mariadb = Position::of_mariadb("0-1-9,1-3-4", "0-2-12", 2).unwrap();
    let reached = |domain, server| mariadb.reached(&Stream::of_mariadb(domain, server));
    assert_eq!((reached(0, 1), reached(1, 3), reached(7, 1)), (9, 4, 0));
    // Number 4 of domain 1 is server 3's; what server 1 wrote there before is included.
    assert_eq!(reached(1, 1), 3);
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let stream = Stream::of_mysql(uuid).unwrap();
    for (set, number, newest) in [("1-7:9-12", 7, 12), ("1", 1, 1), ("2-7", 0, 7)] {
        let position = Position::parse_mysql(&format!("{uuid}:{set}")).unwrap();
        assert_eq!(position.reached(&stream), number, "{set}");
        assert_eq!(
            position.newest_beyond(&Position::default(), &stream),
            newest,
            "{set}"
        );
    }
    assert_eq!(Position::default().reached(&stream), 0);
    assert_eq!(Position::default().newest(&stream), 0);
    assert_eq!(mariadb.newest_beyond(&mariadb, &Stream::of_mariadb(0, 1)), 9);
}

#[test]
fn what_was_there_before_is_not_what_came_last() {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let stream = Stream::of_mysql(uuid).unwrap();
    let set = |numbers: &str| match numbers {
        "" => Position::default(),
        numbers => Position::parse_mysql(&format!("{uuid}:{numbers}")).unwrap(),
    };
    for (floor, now, newest, gap) in [
        ("1-5", "1-9", 9, None),
        ("", "1-9", 9, None),
        ("1-5", "1-5", 0, None),
        // One is on its way, or a number was given by hand.
        ("1-5", "1-7:9", 9, Some(9)),
        ("1-5", "1-7:9:20-30", 30, Some(9)),
        ("", "4-7", 7, Some(4)),
        // By hand, before: what comes now fills the gap.
        ("1-5:1000", "1-7:1000", 7, None),
        ("1-5:1000", "1-7:9:1000", 9, Some(9)),
        ("1-5:1000", "1-7:1000-1002", 1002, Some(1001)),
        ("1-5:1000", "1-1004", 1004, None),
        ("500-600", "1-3:500-600", 3, None),
    ] {
        let (from, to) = (set(floor), set(now));
        assert_eq!(to.newest_beyond(&from, &stream), newest, "{floor} to {now}");
        assert_eq!(to.gap_beyond(&from, &stream), gap, "{floor} to {now}");
    }
}

#[test]
fn what_is_waited_for_leaves_no_gap() {
    assert_eq!(Stream::of_mariadb(5, 2).up_to(70), "5-2-70");
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    assert_eq!(Stream::of_mysql(uuid).unwrap().up_to(70), format!("{uuid}:1-70"));
    assert_eq!(Stream::of_mysql("none"), None);
}
