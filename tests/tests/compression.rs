//! Compression on both legs, with the clients that applications have: nothing differs but the bytes between.

use std::net::SocketAddr;

use mysql_async::prelude::Queryable;
use mysql_async::{Compression, Conn, OptsBuilder, Row};
use tandem::demo::pair::{APP, Options};
use tandem_protocol::flags::Capabilities;
use tandem_protocol::handshake::greeting::Greeting;
use tandem_tests::authority::{Authority, Identity};
use tandem_tests::external::{Output, mariadb, php, run};
use tandem_tests::raw::Raw;
use tandem_tests::{Cluster, Flavor, Proxy, Setup, engine};
use tokio::process::Command;
use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// Servers that take packets of more than 16 MiB.
async fn cluster() -> &'static Cluster {
    let start = || async {
        let cluster = Cluster::start(Setup {
            pair: Options {
                extra: vec!["max_allowed_packet=64M".into(), "local_infile=1".into()],
                ..Setup::default().pair
            },
            ..Setup::default()
        })
        .await;
        cluster.create_database("test_compression").await;
        cluster
    };
    CLUSTER.get_or_init(start).await
}

/// One Tandem for each way in which it can speak to the servers.
async fn proxies() -> Vec<(&'static str, Proxy)> {
    let cluster = cluster().await;
    let algorithms: &[&str] = match engine().flavor() {
        Flavor::MariaDb => &["none", "zlib"],
        Flavor::MySql => &["none", "zlib", "zstd"],
    };
    let mut proxies = Vec::new();
    for algorithm in algorithms {
        let toml = format!("[server_compression]\nalgorithm = \"{algorithm}\"");
        let proxy = Proxy::over(cluster.pair(), &toml, |config| {
            config.listener.local_infile = true;
        })
        .await;
        proxies.push((*algorithm, proxy));
    }
    proxies
}

/// MySQL's own client, which knows zstd too.
async fn mysql(address: SocketAddr, algorithms: &str, more: &[&str], input: &str) -> Output {
    let program = engine().program("mysql").expect("the client of MySQL");
    let mut command = Command::from(program);
    command
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "--batch",
            "--skip-column-names",
        ])
        .arg(format!("--host={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--user={}", APP.user))
        .arg(format!("--compression-algorithms={algorithms}"))
        .args(["--max-allowed-packet=64M", "test_compression"])
        .args(more)
        .env("MYSQL_PWD", APP.password);
    run(command, address, input).await
}

/// A statement of 17 MiB, and an answer that proves that all of it arrived.
fn long_statement() -> (String, String) {
    let text: String = (0..17 * 1024 * 1024 / 8).map(|at| format!("{at:07x} ")).collect();
    (
        format!("SELECT LENGTH(v), RIGHT(v, 8) FROM (SELECT '{text}' AS v) AS long_one"),
        format!("{}\t{}\n", text.len(), &text[text.len() - 8..]),
    )
}

/// The `mariadb` client compresses with zlib: short and long statements, short and long rows, errors.
#[tokio::test]
async fn the_mariadb_client_compresses() {
    for (leg, proxy) in proxies().await {
        let client = async |statement: &str| {
            let options = [
                "--compress",
                "--local-infile",
                "--max-allowed-packet=64M",
                "--skip-column-names",
                "test_compression",
            ];
            mariadb(proxy.address(), &options, statement).await
        };
        assert_eq!(
            client("SELECT 1; SELECT 'two'").await.clean(),
            "1\ntwo\n",
            "{leg}"
        );
        let (statement, answer) = long_statement();
        assert_eq!(client(&statement).await.clean(), answer, "{leg}");
        let row = client("SELECT REPEAT('row ', 5 * 1024 * 1024)").await.clean();
        assert!(
            row.trim_end_matches('\n') == "row ".repeat(5 * 1024 * 1024),
            "{leg}: {}",
            row.len()
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "a word and another\n".repeat(200_000)).expect("written");
        let load = format!(
            "CREATE TEMPORARY TABLE words (w VARCHAR(100)); LOAD DATA LOCAL INFILE '{}' INTO TABLE words; \
             SELECT COUNT(*) FROM words",
            file.path().display()
        );
        assert_eq!(client(&load).await.clean(), "200000\n", "{leg}");
        let wrong = client("SELECT nothing FROM nowhere").await;
        assert!(wrong.stderr.contains("ERROR 1146"), "{leg}: {}", wrong.stderr);
    }
}

/// MySQL's client compresses with what it is told to, and zlib is what counts if it is told both.
#[tokio::test]
async fn the_mysql_client_compresses_by_both_algorithms() {
    if engine().flavor() == Flavor::MariaDb {
        // MariaDB's packages have no such client, and its greeting no zstd.
        for (leg, proxy) in proxies().await {
            let (_, greeting) = Raw::connect(proxy.address())
                .await
                .packet()
                .await
                .expect("a greeting");
            let offered = Greeting::decode(&greeting).expect("a greeting").capabilities;
            assert!(offered.contains(Capabilities::COMPRESS), "{leg}");
            assert!(!offered.contains(Capabilities::ZSTD_COMPRESSION), "{leg}");
        }
        return;
    }
    for (leg, proxy) in proxies().await {
        for algorithms in ["zlib", "zstd", "zlib,zstd", "uncompressed"] {
            let client = async |input: &str| mysql(proxy.address(), algorithms, &[], input).await.clean();
            assert_eq!(
                client("SELECT 1; SELECT 'two'").await,
                "1\ntwo\n",
                "{algorithms}, {leg}"
            );
            let (statement, answer) = long_statement();
            assert_eq!(client(&statement).await, answer, "{algorithms}, {leg}");
            let row = client("SELECT REPEAT('row ', 5 * 1024 * 1024)").await;
            assert_eq!(row.len(), 20 * 1024 * 1024 + 1, "{algorithms}, {leg}");
        }
        let high = ["--zstd-compression-level=22"];
        let out = mysql(proxy.address(), "zstd", &high, "SELECT REPEAT('a', 100000)").await;
        assert_eq!(out.clean().len(), 100_001);
    }
}

/// PHP's own implementation compresses: prepared statements, blobs of 20 MB there and back, another user, and a file of
/// more than 256 packets, whose numbers go round.
#[tokio::test]
async fn php_compresses() {
    let code = r#"
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $db = mysqli_init();
        $db->options(MYSQLI_OPT_LOCAL_INFILE, true);
        $db->real_connect(getenv("TANDEM_HOST"), getenv("TANDEM_USER"), getenv("TANDEM_PASSWORD"),
            "test_compression", (int) getenv("TANDEM_PORT"), null, MYSQLI_CLIENT_COMPRESS);
        $db->query("CREATE TEMPORARY TABLE blobs (id INT PRIMARY KEY, b LONGBLOB)");
        $blob = "";
        for ($i = 0; strlen($blob) < 20000000; $i++) $blob .= md5("$i", true) . "some words";
        $insert = $db->prepare("INSERT INTO blobs VALUES (?, ?)");
        $id = 1; $null = null;
        $insert->bind_param("ib", $id, $null);
        foreach (str_split($blob, 1000000) as $part) $insert->send_long_data(1, $part);
        $insert->execute();
        $select = $db->prepare("SELECT b FROM blobs WHERE id = ?");
        $select->execute([1]);
        echo $select->get_result()->fetch_row()[0] === $blob ? "same\n" : "other\n";
        $db->query("CREATE TEMPORARY TABLE words (w VARCHAR(100))");
        $file = tempnam(sys_get_temp_dir(), "words");
        file_put_contents($file, str_repeat("a word and another\n", 200000));
        $db->query("LOAD DATA LOCAL INFILE '$file' INTO TABLE words");
        unlink($file);
        echo $db->query("SELECT COUNT(*) FROM words")->fetch_row()[0], "\n";
        $db->change_user(getenv("TANDEM_USER"), getenv("TANDEM_PASSWORD"), "test_compression");
        echo $db->query("SELECT DATABASE()")->fetch_row()[0], "\n";
    "#;
    for (leg, proxy) in proxies().await {
        let mut command = Command::new("php");
        command.args([
            "-d",
            "display_errors=stderr",
            "-d",
            "mysqli.allow_local_infile=1",
            "-r",
            code,
        ]);
        let out = run(command, proxy.address(), "").await;
        assert_eq!(out.clean(), "same\n200000\ntest_compression\n", "{leg}");
    }
}

/// mysql_async refuses a plain packet whose number the server would not have given it: behind each result servers go on
/// from the number of the compressed packet.
#[tokio::test]
async fn mysql_async_compresses_and_reads_several_results() {
    for (leg, proxy) in proxies().await {
        let (address, compression) = (proxy.address(), Compression::default());
        let opts = OptsBuilder::default()
            .ip_or_hostname(address.ip().to_string())
            .tcp_port(address.port())
            .user(Some(APP.user))
            .pass(Some(APP.password))
            .prefer_socket(false)
            .compression(compression);
        let mut session = Conn::new(opts).await.expect("logged in");
        for sleep in ["0", "0.2"] {
            let text = format!(
                "SELECT 1 UNION SELECT 2; DO SLEEP({sleep}); SELECT 3; SELECT 4, SLEEP({sleep}); SELECT 5"
            );
            let mut reply = session.query_iter(text).await.expect("a first result");
            let mut seen = Vec::new();
            while !reply.is_empty() {
                let rows: Vec<Row> = reply.collect().await.expect(leg);
                seen.extend(rows.iter().map(|row| row.get::<u8, _>(0).expect("a number")));
            }
            assert_eq!(seen, [1, 2, 3, 4, 5], "{leg}");
        }
        session.disconnect().await.expect("gone");
    }
}

/// What the servers and `SHOW SESSIONS` say of both legs, and what the counters say of the bytes.
#[tokio::test]
async fn each_leg_compresses_by_itself_and_it_shows() {
    for (leg, proxy) in proxies().await {
        let code = r#"
            $db = mysqli_init();
            $db->real_connect(getenv("TANDEM_HOST"), getenv("TANDEM_USER"), getenv("TANDEM_PASSWORD"),
                "test_compression", (int) getenv("TANDEM_PORT"), null, MYSQLI_CLIENT_COMPRESS);
            $db->query("SELECT REPEAT('a', 1000000)");
            echo $db->query("SHOW STATUS LIKE 'Compression'")->fetch_row()[1], "\n";
            $admin = new mysqli(getenv("TANDEM_HOST"), "ADMIN_USER", "ADMIN_PASSWORD", "", ADMIN_PORT);
            foreach ($admin->query("SHOW SESSIONS") as $row) echo $row["compression"], "\n";
        "#;
        let code = code
            .replace("ADMIN_USER", tandem::demo::ADMIN_USER)
            .replace("ADMIN_PASSWORD", tandem::demo::ADMIN_PASSWORD)
            .replace("ADMIN_PORT", &proxy.admin_address().port().to_string());
        let out = php(proxy.address(), &code).await.clean();
        let expected = if leg == "none" {
            "OFF\nzlib\n"
        } else {
            "ON\nzlib\n"
        };
        assert_eq!(out, expected, "{leg}");
        let mut admin = proxy.admin().await;
        let rows: Vec<Row> = admin.query("SHOW COUNTERS").await.expect("counters");
        let count = |name: &str| -> u64 {
            let row = rows
                .iter()
                .find(|row| row.get::<String, _>(0).as_deref() == Some(name));
            row.and_then(|row| row.get(1)).expect(name)
        };
        assert!(count("compressed_client_sent_plain_bytes") > 1_000_000);
        assert!(count("compressed_client_sent_bytes") < 100_000);
        let from_servers = count("compressed_server_received_plain_bytes");
        assert_eq!(from_servers > 1_000_000, leg != "none", "{leg}: {from_servers}");
        assert!(count("compressed_server_received_bytes") < 100_000);
    }
}

/// Compression goes through TLS, not around it.
#[tokio::test]
async fn tls_and_compression_go_together() {
    let authority = Authority::new("the authority of the tests");
    let Identity { certificate, key } = authority.sign("tandem", &["127.0.0.1"]);
    let toml = format!(
        "[client_tls]\nmode = \"required\"\ncertificate = \"{}\"\nkey = \"{}\"\n[server_tls]\nmode = \"required\"\n\
         [server_compression]\nalgorithm = \"zlib\"\n",
        certificate.display(),
        key.display()
    );
    // Debian's MariaDB has no certificate of its own: there only the client's leg can have TLS.
    let toml = match engine().flavor() {
        Flavor::MySql => toml,
        Flavor::MariaDb => toml.replace("[server_tls]\nmode = \"required\"", ""),
    };
    let proxy = Proxy::over(cluster().await.pair(), &toml, |_| {}).await;
    let ca = format!("--ssl-ca={}", authority.file().display());
    let options = [
        "--compress",
        "--ssl",
        &ca,
        "--skip-column-names",
        "--max-allowed-packet=64M",
    ];
    let row = mariadb(proxy.address(), &options, "SELECT REPEAT('row ', 1024 * 1024)")
        .await
        .clean();
    assert_eq!(row.len(), 4 * 1024 * 1024 + 1);
}

/// A client that stops in the middle of a long reply, and a statement that is killed, leave nothing behind.
#[tokio::test]
async fn who_breaks_off_leaves_nothing_behind() {
    let code = r#"
        mysqli_report(MYSQLI_REPORT_OFF);
        function connect() {
            $db = mysqli_init();
            $db->real_connect(getenv("TANDEM_HOST"), getenv("TANDEM_USER"), getenv("TANDEM_PASSWORD"),
                "test_compression", (int) getenv("TANDEM_PORT"), null, MYSQLI_CLIENT_COMPRESS);
            return $db;
        }
        $db = connect(); $killer = connect();
        $db->query("SELECT SLEEP(60), 1", MYSQLI_ASYNC);
        $id = $db->thread_id;
        do {
            $killer->query("KILL QUERY $id");
            $read = $error = $reject = [$db];
        } while (!mysqli_poll($read, $error, $reject, 0, 200000));
        $result = $db->reap_async_query();
        echo $db->errno ?: $result->fetch_row()[0], "\n";
        echo $db->query("SELECT 'alive'")->fetch_row()[0], "\n";
        $db->query("SELECT SLEEP(60), 2", MYSQLI_ASYNC);
        $killer->query("KILL $id");
        $db->reap_async_query();
        echo $db->errno, "\n";
    "#;
    for (leg, proxy) in proxies().await {
        let out = php(proxy.address(), code).await.clean();
        let lines: Vec<&str> = out.lines().collect();
        // MariaDB says that it was interrupted, MySQL's SLEEP returns 1.
        assert!(matches!(lines[0], "1317" | "1"), "{leg}: {out}");
        assert_eq!(lines[1], "alive", "{leg}: {out}");
        assert!(
            matches!(lines[2], "1317" | "1927" | "2006" | "2013"),
            "{leg}: {out}"
        );
    }
}

/// `as_client`: a session's server connections are compressed as the client's is.
#[tokio::test]
async fn servers_are_spoken_to_as_the_client_speaks() {
    let toml = "[server_compression]\nalgorithm = \"as_client\"\nlevel = 20";
    let proxy = Proxy::over(cluster().await.pair(), toml, |config| config.listener.workers = 1).await;
    let ask = "SHOW STATUS LIKE 'Compression%'";
    for round in 0..2 {
        match engine().flavor() {
            Flavor::MariaDb => {
                for (option, state) in [("--compress", "ON"), ("--skip-compress", "OFF")] {
                    let out = mariadb(proxy.address(), &[option, "-Ne", ask], "").await;
                    assert_eq!(out.clean(), format!("Compression\t{state}\n"), "{round}");
                }
            }
            Flavor::MySql => {
                for (algorithm, state, level) in [
                    ("zstd", "ON", "20"),
                    ("uncompressed", "OFF", "0"),
                    ("zlib", "ON", "6"),
                ] {
                    let out = mysql(proxy.address(), algorithm, &["-e", ask], "").await;
                    let name = if state == "ON" { algorithm } else { "" };
                    let wanted = format!(
                        "Compression\t{state}\nCompression_algorithm\t{name}\nCompression_level\t{level}\n"
                    );
                    assert_eq!(out.clean(), wanted, "{round}");
                }
            }
        }
    }
}
