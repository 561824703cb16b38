//! LOAD DATA LOCAL INFILE through Tandem is what it is on the server: for who may, and for who may not.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Instant;

use mysql_async::prelude::Queryable;
use tandem::demo::pair::{APP, Account};
use tandem::net::address::Endpoint;
use tandem_protocol::flags::Capabilities;
use tandem_protocol::frame::{self, Header};
use tandem_protocol::response::Expect;
use tandem_tests::raw::{CAPABILITIES, Raw, command};
use tandem_tests::{Cluster, Flavor, Setup, WITHIN, external, memory_mib, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

const SCHEMA: &str = "test_infile";
/// The account that may not, where all others may.
const OTHER: Account = Account {
    user: "other",
    password: "other-secret",
};
const FILES: Capabilities = CAPABILITIES
    .union(Capabilities::LOCAL_FILES)
    .union(Capabilities::MULTI_STATEMENTS)
    .union(Capabilities::MULTI_RESULTS);

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn start(toml: &str, change: fn(&mut tandem::config::Config)) -> Cluster {
    let mut setup = Setup {
        toml: toml.to_owned(),
        change,
        ..Setup::default()
    };
    setup.pair.extra.push("local_infile=1".to_owned());
    let cluster = Cluster::start(setup).await;
    cluster.create_database(SCHEMA).await;
    cluster
        .create_user(OTHER.user, OTHER.password, "ALL ON test_infile.*")
        .await;
    let mut conn = cluster.client_in(SCHEMA).await;
    for table in ["direct", "proxied", "big", "broken", "loaded"] {
        let create = format!("CREATE TABLE {table} (id INT PRIMARY KEY, v VARCHAR(200))");
        conn.query_drop(create).await.expect("a table");
    }
    cluster.wait_replicated().await;
    cluster
}

async fn cluster() -> &'static Cluster {
    let start = || {
        start(
            "[[user]]\nname = \"other\"\npassword = \"other-secret\"\nlocal_infile = false\n",
            |config| config.listener.local_infile = true,
        )
    };
    CLUSTER.get_or_init(start).await
}

async fn session() -> Raw {
    Raw::log_in_with(cluster().await.address(), &APP, SCHEMA, FILES).await
}

/// The server asked for a file: sends it in these pieces and reads what comes then.
async fn upload(raw: &mut Raw, asked: &[(u8, Vec<u8>)], pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
    let (mut seq, request) = asked.last().expect("a reply").clone();
    assert_eq!(request[0], 0xfb, "{}", String::from_utf8_lossy(&request));
    for piece in pieces.iter().chain(&[&[][..]]) {
        seq = seq.wrapping_add(1);
        let mut out = Vec::new();
        frame::write_packet(&mut out, &mut seq.clone(), piece);
        raw.send(&out).await;
    }
    raw.reply(Expect::Query).await
}

/// What every packet of a walk through the statement was, on a fresh session.
async fn walk(raw: &mut Raw, table: &str) -> Vec<(u8, Vec<u8>)> {
    let mut seen = Vec::new();
    for (statement, pieces) in [
        (
            "LOAD DATA LOCAL INFILE 'x' INTO TABLE {} ",
            &[&b"1\ta\n2"[..], b"\tb\n"][..],
        ),
        (
            "LOAD DATA LOCAL INFILE 'x' IGNORE INTO TABLE {}",
            &[b"1\ta\n3\tc\n"],
        ),
        ("LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE {}", &[b"1\tA"]),
        ("LOAD DATA LOCAL INFILE 'nothing' INTO TABLE {}", &[]),
        (
            "LOAD XML LOCAL INFILE 'x' INTO TABLE {}",
            &[b"<row id='7' v='x'/>"],
        ),
        ("LOAD DATA LOCAL INFILE 'x' INTO TABLE nowhere", &[]),
        // The error comes when the file has been read.
        (
            "LOAD DATA LOCAL INFILE 'x' INTO TABLE {} (id, v) SET id = (SELECT 1 UNION SELECT 2)",
            &[b"9\tx\n", b"8\ty\n"],
        ),
        (
            "SELECT 1; LOAD DATA LOCAL INFILE 'x' INTO TABLE {}; SELECT 2",
            &[b"4\td\n"],
        ),
        ("SELECT COUNT(*), GROUP_CONCAT(v ORDER BY id) FROM {}", &[]),
    ] {
        let statement = statement.replace("{}", table);
        let reply = raw.ask(3, statement.as_bytes(), Expect::Query).await;
        let asked = reply.last().expect("a reply").1[0] == 0xfb;
        seen.extend(reply.iter().cloned());
        if asked {
            seen.extend(upload(raw, &reply, pieces).await);
        }
    }
    seen
}

/// Without what differs between the two tables.
fn shown(packets: Vec<(u8, Vec<u8>)>, table: &str) -> Vec<(u8, String)> {
    let show =
        |(seq, payload): (u8, Vec<u8>)| (seq, String::from_utf8_lossy(&payload).replace(table, "TABLE"));
    packets.into_iter().map(show).collect()
}

/// Every packet of every way that the statement can go is the server's own, the numbers included.
#[tokio::test]
async fn packets_are_the_servers() {
    let a = cluster().await.a().address();
    let mut direct = Raw::log_in_with(a, &APP, SCHEMA, FILES).await;
    let expected = shown(walk(&mut direct, "direct").await, "direct");
    let mut raw = session().await;
    let found = shown(walk(&mut raw, "proxied").await, "proxied");
    // The names of the two tables differ in length, and so do the sizes that column definitions do not show.
    assert_eq!(found, expected);
    assert!(
        expected.iter().any(|(_, text)| text.contains("A,b,c,d,x")),
        "{expected:?}"
    );
}

/// An account that may not, and a client that can't, get the server's own refusal; nobody is asked for a file.
#[tokio::test]
async fn who_may_not_is_told_so_by_the_server() {
    let (proxy, a) = (cluster().await.address(), cluster().await.a().address());
    let load = b"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE direct";
    let mut without = Raw::log_in_with(a, &APP, SCHEMA, CAPABILITIES).await;
    let expected = without.ask(3, load, Expect::Query).await;
    let code = match cluster().await.a().engine().flavor() {
        Flavor::MariaDb => 4166_u16,
        Flavor::MySql => 3948,
    };
    assert_eq!(expected[0].1[..3], [&[0xff], &code.to_le_bytes()[..]].concat());
    let mut other = Raw::log_in_with(proxy, &OTHER, SCHEMA, FILES).await;
    assert_eq!(other.ask(3, load, Expect::Query).await, expected);
    let mut unable = Raw::log_in_with(proxy, &APP, SCHEMA, CAPABILITIES).await;
    assert_eq!(unable.ask(3, load, Expect::Query).await, expected);
    // The other way round, and with the default: off, but for one account.
    assert_eq!(other.value("SELECT 1").await, "1");
}

/// It is off where nothing is said, and an entry of the account's own switches it on.
#[tokio::test]
async fn off_by_default_and_on_for_one_account() {
    let toml = "[[user]]\nname = \"other\"\npassword = \"other-secret\"\nlocal_infile = true\n";
    let cluster = start(toml, |_| {}).await;
    let load = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE proxied";
    let mut app = Raw::log_in_with(cluster.address(), &APP, SCHEMA, FILES).await;
    assert_eq!(app.ask(3, load, Expect::Query).await[0].1[0], 0xff);
    let mut other = Raw::log_in_with(cluster.address(), &OTHER, SCHEMA, FILES).await;
    let asked = other.ask(3, load, Expect::Query).await;
    let done = upload(&mut other, &asked, &[b"1\ta\n"]).await;
    assert_eq!(done[0].1[..2], [0, 1], "one row");
    cluster.stop().await;
}

/// A large file goes through in pieces: Tandem, which is in this process, grows by far less than it.
#[tokio::test]
async fn a_large_file_is_not_held() {
    const ROWS: usize = 500_000;
    let mut raw = session().await;
    let asked = raw
        .ask(3, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE big", Expect::Query)
        .await;
    let mut seq = asked[0].0;
    let before = memory_mib();
    let filler = "x".repeat(190);
    for first in (0..ROWS).step_by(1000) {
        let piece: String = (first..first + 1000)
            .map(|id| format!("{id}\t{filler}\n"))
            .collect();
        seq = seq.wrapping_add(1);
        let mut out = Vec::new();
        frame::write_packet(&mut out, &mut seq.clone(), piece.as_bytes());
        raw.send(&out).await;
    }
    let grown = memory_mib().saturating_sub(before);
    raw.send(
        &Header {
            len: 0,
            seq: seq.wrapping_add(1),
        }
        .encode(),
    )
    .await;
    let done = raw.reply(Expect::Query).await;
    assert_eq!(done[0].1[0], 0, "{}", String::from_utf8_lossy(&done[0].1));
    assert_eq!(raw.value("SELECT COUNT(*) FROM big").await, ROWS.to_string());
    assert!(grown < 45, "{grown} MiB for a file of {} MiB", (ROWS * 198) >> 20);
}

/// What may ask for a file, and doesn't, is asked elsewhere like any other read: the standby's word that there is no such
/// table is not the last.
#[tokio::test]
async fn what_could_have_asked_for_a_file_is_asked_elsewhere() {
    let cluster = cluster().await;
    let before = cluster.counter("retries").await;
    let mut raw = session().await;
    wait_until("the standby was asked first", WITHIN, || async {
        let mut raw = session().await;
        raw.command(3, b"SELECT * FROM nowhere; SELECT 1").await;
        assert_eq!(raw.error().await, Some(1146));
        assert_eq!(raw.value("SELECT 42").await, "42");
        cluster.counter("retries").await > before
    })
    .await;
    // So is one that finds what it names.
    let mut active = cluster.direct(cluster.a()).await;
    for statement in [
        "SET SESSION sql_log_bin = 0",
        "CREATE TABLE test_infile.here (v INT)",
        "INSERT INTO test_infile.here VALUES (5)",
    ] {
        active.query_drop(statement).await.expect(statement);
    }
    for _ in 0..20 {
        let reply = raw.ask(3, b"SELECT v FROM here; SELECT 1", Expect::Query).await;
        assert!(reply.iter().any(|(_, payload)| payload == b"\x015"), "{reply:?}");
    }
}

/// A client that goes away in mid-file leaves nothing: no row, no lock, no connection.
#[tokio::test]
async fn half_a_file_is_no_file() {
    let cluster = cluster().await;
    for abort in [true, false] {
        let mut raw = session().await;
        raw.run("BEGIN").await;
        let asked = raw
            .ask(3, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE broken", Expect::Query)
            .await;
        let mut out = Vec::new();
        frame::write_packet(&mut out, &mut (asked[0].0 + 1), b"1\ta\n2\tb\n3");
        raw.send(&out[..out.len() - 1]).await;
        match abort {
            true => raw.abort(),
            false => drop(raw),
        }
    }
    cluster.wait_nothing_leased().await;
    let mut raw = session().await;
    assert_eq!(raw.value("SELECT COUNT(*) FROM broken FOR UPDATE").await, "0");
}

/// Where the file ends both sides must agree: a client that numbers its packets wrongly is shown the door, and what it
/// hid behind them is not executed.
#[tokio::test]
async fn a_file_out_of_order_ends_the_session() {
    let mut raw = session().await;
    let asked = raw
        .ask(3, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE broken", Expect::Query)
        .await;
    let mut out = Vec::new();
    frame::write_packet(&mut out, &mut (asked[0].0 + 2), b"1\ta\n");
    raw.send(&out).await;
    raw.send(&command(3, b"INSERT INTO broken VALUES (77, 'smuggled')"))
        .await;
    raw.drain().await;
    let mut raw = session().await;
    assert_eq!(
        raw.value("SELECT COUNT(*) FROM broken WHERE id = 77 FOR UPDATE")
            .await,
        "0"
    );
}

/// KILL ends a session that waits for its client's file.
#[tokio::test]
async fn a_session_is_killed_in_mid_file() {
    let cluster = cluster().await;
    let mut raw = session().await;
    raw.ask(3, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE broken", Expect::Query)
        .await;
    let mut other = cluster.client_in(SCHEMA).await;
    other
        .query_drop(format!("KILL {}", raw.id))
        .await
        .expect("killed");
    raw.drain().await;
}

/// A server that gives up in the middle (`net_read_timeout`) ends the session as it does without Tandem: MySQL says
/// why, MariaDB does not.
#[tokio::test]
async fn a_silent_client_is_given_up_by_the_server() {
    let cluster = cluster().await;
    session().await.run("SELECT 1 INTO @x").await;
    let mut said = Vec::new();
    for address in [cluster.a().address(), cluster.address()] {
        let mut raw = Raw::log_in_with(address, &APP, SCHEMA, FILES).await;
        raw.run("SET SESSION net_read_timeout = 1").await;
        raw.ask(3, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE broken", Expect::Query)
            .await;
        let mut words = Vec::new();
        while let Some(packet) = raw.packet().await {
            words.push(packet);
        }
        said.push(words);
    }
    assert_eq!(said[1], said[0]);
    let speaks = cluster.a().engine().flavor() == Flavor::MySql;
    assert_eq!(said[0].len(), usize::from(speaks), "{said:?}");
    let mut raw = session().await;
    assert_eq!(raw.value("SELECT COUNT(*) FROM broken FOR UPDATE").await, "0");
}

/// The clients that applications use load a real file.
#[tokio::test]
async fn real_clients_load_a_file() {
    let cluster = cluster().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, "1,one\n2,two\n").expect("a file");
    let load = format!(
        "DELETE FROM loaded; LOAD DATA LOCAL INFILE '{}' INTO TABLE loaded FIELDS TERMINATED BY ','",
        file.display()
    );
    let (clean, load) = load.split_once("; ").expect("two statements");
    let address = cluster.address();
    let check = async |who: &str| {
        let mut conn = cluster.client_in(SCHEMA).await;
        let rows: Vec<(u32, String)> = conn
            .query("SELECT * FROM loaded ORDER BY id")
            .await
            .expect("rows");
        assert_eq!(rows, [(1, "one".to_owned()), (2, "two".to_owned())], "{who}");
        conn.query_drop(clean).await.expect("emptied");
    };
    external::mariadb(address, &["--local-infile=1", SCHEMA], load)
        .await
        .clean();
    check("mariadb").await;
    if cluster.a().engine().flavor() == Flavor::MySql {
        let mysql = cluster.a().engine().program("mysql").expect("MySQL's client");
        let mut mysql = tokio::process::Command::from(mysql);
        mysql.args(["--no-defaults", "--local-infile=1", "--get-server-public-key"]);
        mysql
            .arg(format!("-h{}", address.ip()))
            .arg(format!("-P{}", address.port()));
        mysql
            .arg(format!("-u{}", APP.user))
            .arg(SCHEMA)
            .env("MYSQL_PWD", APP.password);
        external::run(mysql, address, load).await.clean();
        check("mysql").await;
    }
    let php = format!(
        "$db = mysqli_init(); $db->options(MYSQLI_OPT_LOCAL_INFILE, true); \
         $db->real_connect(getenv('TANDEM_HOST'), getenv('TANDEM_USER'), getenv('TANDEM_PASSWORD'), '{SCHEMA}', \
         (int) getenv('TANDEM_PORT')); $db->query(\"{load}\"); echo $db->info;"
    );
    let mut command = tokio::process::Command::new("php");
    command.args([
        "-d",
        "mysqli.allow_local_infile=1",
        "-d",
        "display_errors=stderr",
        "-r",
        &php,
    ]);
    let said = external::run(command, address, "").await.clean();
    assert_eq!(said, "Records: 2  Deleted: 0  Skipped: 0  Warnings: 0");
    check("mysqli").await;
    let python = format!(
        "import os, pymysql\n\
         db = pymysql.connect(host=os.environ['TANDEM_HOST'], port=int(os.environ['TANDEM_PORT']), \
         user=os.environ['TANDEM_USER'], password=os.environ['TANDEM_PASSWORD'], database='{SCHEMA}', \
         local_infile=True, autocommit=True)\n\
         print(db.cursor().execute(\"{load}\"))"
    );
    assert_eq!(external::python(address, &python).await.clean(), "2\n");
    check("PyMySQL").await;
}

/// What the fake listens on, and the server behind it.
static FAKE: OnceLock<SocketAddr> = OnceLock::new();
static BEHIND: OnceLock<SocketAddr> = OnceLock::new();

/// Passes everything on, but answers a certain statement by asking for a file.
async fn pretend(listener: TcpListener) {
    while let Ok((mut client, _)) = listener.accept().await {
        let behind = *BEHIND.get().expect("started");
        tokio::spawn(async move {
            let mut server = TcpStream::connect(behind).await?;
            let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
            loop {
                tokio::select! {
                    count = client.read(&mut up) => match count? {
                        0 => return Ok(()),
                        count if up[..count].windows(7).any(|seen| seen == b"'steal'") => {
                            client.write_all(b"\x0c\0\0\x01\xfb/etc/passwd").await?;
                        }
                        count => server.write_all(&up[..count]).await?,
                    },
                    count = server.read(&mut down) => match count? {
                        0 => return Ok(()),
                        count => client.write_all(&down[..count]).await?,
                    },
                }
            }
            #[expect(unreachable_code, reason = "it gives the block its type")]
            Ok::<(), std::io::Error>(())
        });
    }
}

/// A server that asks for a file without having been told to load one gets none, not even of a client that may: the
/// request never reaches it.
#[tokio::test]
async fn a_thieving_server_gets_no_file() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    FAKE.set(listener.local_addr().expect("an address"))
        .expect("once");
    tokio::spawn(pretend(listener));
    let cluster = start("", |config| {
        config.listener.local_infile = true;
        let fake = *FAKE.get().expect("it listens");
        let real = std::mem::replace(&mut config.servers[0].address, Endpoint::Tcp(fake));
        let Endpoint::Tcp(real) = real else {
            panic!("{real:?}")
        };
        BEHIND.set(real).expect("once");
    })
    .await;
    let mut raw = Raw::log_in_with(cluster.address(), &APP, SCHEMA, FILES).await;
    let answer = raw.ask(3, b"UPDATE direct SET v = 'steal'", Expect::Query).await;
    let text = String::from_utf8_lossy(&answer[0].1).into_owned();
    // CR_SERVER_LOST, or ER_NET_READ_ERROR for MariaDB's library, which takes no client's code from a server.
    let codes = [[0xff, 0xdd, 0x07], [0xff, 0x86, 0x04]];
    assert!(codes.iter().any(|code| answer[0].1.starts_with(code)), "{text}");
    assert!(text.contains("asked for a file of the client"), "{text}");
    // The session goes on, as soon as the monitor has seen that the server is well.
    let deadline = Instant::now() + WITHIN;
    let again = b"REPLACE INTO direct VALUES (2, 'kept')";
    while raw.ask(3, again, Expect::Query).await[0].1[0] != 0 {
        assert!(Instant::now() < deadline, "writes do not go on");
    }
    cluster.stop().await;
}
