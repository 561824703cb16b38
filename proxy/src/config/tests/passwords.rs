//! Passwords: in the file, elsewhere, as hashes, and never in print.

use super::*;

/// The minimal file with every password given by these lines instead.
fn with_passwords(admin: &str, monitor: &str, app: &str) -> String {
    MINIMAL
        .replace("password = \"hunter-admin\"", admin)
        .replace("password = \"hunter-monitor\"", monitor)
        .replace("password = \"hunter-app\"", app)
}

fn file_with(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn passwords_can_come_from_files_and_variables() {
    let file = file_with("hunter-monitor\n".as_bytes());
    let monitor = format!("password_file = {:?}", file.path());
    let toml = with_passwords(
        "password_env = \"ADMIN_PW\"",
        &monitor,
        "password_env = \"APP_PW\"",
    );
    let environment = [("ADMIN_PW", "hunter-admin"), ("APP_PW", "hunter-app")];
    assert_eq!(
        load_from(&toml, &environment, &[]).map(|loaded| loaded.config),
        parse(MINIMAL)
    );
    for (bytes, expected) in [
        (&b"two\nlines\n"[..], "two\nlines"),
        (b" kept \r\n", " kept "),
        (b"\n\n", "\n"),
    ] {
        let file = file_with(bytes);
        let app = format!("password_file = {:?}", file.path());
        let config = parse(&MINIMAL.replace("password = \"hunter-app\"", &app)).unwrap();
        assert_eq!(config.users[0].password, clear(expected));
    }
    let file = file_with(b"by variable");
    let toml = MINIMAL.replace("password = \"hunter-app\"\n", "");
    let path = file.path().to_str().unwrap();
    let config = load_from(&toml, &[("TANDEM_USER__APP__PASSWORD_FILE", path)], &[]);
    assert_eq!(config.unwrap().config.users[0].password, clear("by variable"));
}

#[test]
fn a_password_that_is_elsewhere_and_wrong_is_blamed_on_its_key() {
    let path = |file: &tempfile::NamedTempFile| format!("password_file = {:?}", file.path());
    let (empty, long, zero, latin) = (
        file_with(b"\n"),
        file_with(&[b'x'; 4097]),
        file_with(b"hunter\0"),
        file_with(b"hunter\xe9"),
    );
    for (app, key, says) in [
        (
            "password_env = \"HUNTER\"".to_owned(),
            "password_env",
            "is not set",
        ),
        (
            "password_env = \"NOTHING\"".to_owned(),
            "password_env",
            "holds nothing",
        ),
        (
            "password_env = \"hunter!\"".to_owned(),
            "password_env",
            "the name of an environment variable",
        ),
        (
            "password_env = \"TANDEM_APP\"".to_owned(),
            "password_env",
            "begin with TANDEM_",
        ),
        ("password_env = 5".to_owned(), "password_env", "in quotes"),
        (
            "password_file = \"/nowhere/app\"".to_owned(),
            "password_file",
            "No such file",
        ),
        (
            "password_file = \"/\"".to_owned(),
            "password_file",
            "is not a file",
        ),
        (
            "password_file = \"/dev/zero\"".to_owned(),
            "password_file",
            "is not a file",
        ),
        (
            "password_file = \"app\"".to_owned(),
            "password_file",
            "an absolute path",
        ),
        (path(&empty), "password_file", "holds nothing"),
        (path(&long), "password_file", "longer than 4096 bytes"),
        (path(&zero), "password_file", "a zero byte"),
        (path(&latin), "password_file", "not UTF-8"),
        (
            "password_hash = \"0xhunter\"".to_owned(),
            "password_hash",
            "40 hexadecimal digits",
        ),
        (
            "password_hash = \"$A$005$hunter\"".to_owned(),
            "password_hash",
            "print_identified_with_as_hex",
        ),
        (
            "password_hash = \"hunter\"".to_owned(),
            "password_hash",
            "40 hexadecimal digits",
        ),
        (
            "password_hash = \"\"".to_owned(),
            "password_hash",
            "40 hexadecimal digits",
        ),
        (
            "password = \"hunter\"\npassword_env = \"HUNTER\"".to_owned(),
            "password_env",
            "is given beside password;",
        ),
        (
            "password_hash = \"*14E65567ABDB5135D0CFD9A70B3032C179A49EE7\"\npassword_file = \"/hunter\""
                .to_owned(),
            "password_file",
            "is given beside password_hash;",
        ),
    ] {
        let toml = with_passwords("password = \"a\"", "password = \"m\"", &app);
        let problem = only(load_from(&toml, &[("NOTHING", "")], &[]));
        assert_eq!(problem.key, format!("user.app.{key}"), "{app}: {problem}");
        let text = problem.to_string();
        assert!(text.contains(says), "{app}: {text}");
        let line = toml
            .lines()
            .position(|line| line.starts_with(key))
            .map(|at| at + 1);
        assert!(
            matches!(&problem.place, Place::File { line: at, .. } if *at == line),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
    }
    let toml = with_passwords(
        "password_env = \"NOTHING\"",
        "password_hash = \"*00\"",
        "password = \"a\"",
    );
    let problems = load_from(&toml, &[("NOTHING", "")], &[]).map(|_| ()).unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        ["admin.password_env", "monitor.password", "monitor.password_hash"],
        "{problems}"
    );
}

#[test]
fn a_hash_is_as_good_as_a_password_and_as_secret() {
    let hash = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
    let app = format!("password_hash = \"{hash}\"");
    let loaded = load_from(&MINIMAL.replace("password = \"hunter-app\"", &app), &[], &[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let password = &loaded.config.users[0].password;
    assert_eq!(
        *password,
        Password::Native(tandem_protocol::auth::native::double_sha1(b"secret"))
    );
    let printed = format!("{:?}", loaded.config);
    assert!(
        !printed.contains("101, ") && !printed.contains("14E6"),
        "{printed}"
    );
    let row = "$A$005$AbCd!@#\tEfgH%^&*01@#dNFegEa4OGDrnEu7M4T.nkmm794xI/QoCR3Z.xpLOW6";
    let hex: String = row.bytes().map(|byte| format!("{byte:02X}")).collect();
    for text in [row, &format!("0x{hex}"), &format!("0x{}", hex.to_lowercase())] {
        let app = format!("password_hash = {text:?}");
        let config = parse(&MINIMAL.replace("password = \"hunter-app\"", &app)).unwrap();
        let password = &config.users[0].password;
        assert!(matches!(password, Password::Sha2(stored) if stored.verify(b"HahaH0hO1234#$@#%")));
        assert!(!format!("{config:?}").contains("AbCd"));
    }
}

#[test]
fn passwords_are_never_printed() {
    let loaded = load_from(MINIMAL, &[("TANDEM_USER__APP__PASSWORD", "hunter-env")], &[]);
    assert!(!format!("{loaded:?} {:?}", Secret::new("hunter")).contains("hunter"));
    // Every way we know of getting a password into the wrong place.
    for (from, to) in [
        ("password = \"hunter-app\"", "password = \"hunter"),
        ("password = \"hunter-app\"", "password = hunter"),
        ("password = \"hunter-app\"", "password : \"hunter\""),
        ("password = \"hunter-app\"", "passwort = \"hunter\""),
        ("password = \"hunter-app\"", "password = [\"hunter\"]"),
        ("password = \"hunter-app\"", "password = { value = \"hunter\" }"),
        ("password = \"hunter-app\"", "password = \"hunter\\u0000\""),
        (
            "password = \"hunter-app\"",
            "password = \"hunter\"\npassword = \"hunter\"",
        ),
        ("127.0.0.1:3307", "app:hunter@127.0.0.1:3307"),
    ] {
        let toml = MINIMAL.replace(from, to);
        let problems = parse(&toml).unwrap_err();
        let printed = format!("{problems} {problems:?}");
        assert!(!printed.contains("hunter"), "{to}: {printed}");
    }
    for value in ["4815162342", "4815162342.5", "true"] {
        let toml = MINIMAL.replace("\"hunter-app\"", value);
        let printed = format!("{}", parse(&toml).unwrap_err());
        assert!(
            !printed.contains(value) && printed.contains("in quotes"),
            "{printed}"
        );
    }
    let problems = load_from(
        MINIMAL,
        &[
            ("TANDEM_MONITOR__PASSWRD", "hunter2"),
            ("TANDEM_ADMIN__PASSWORD", ""),
        ],
        &[
            "user.app.pasword=hunter2",
            "hunter2",
            "monitor.password=hunter2\0",
        ],
    );
    let printed = format!("{problems:?} {}", problems.as_ref().map(|_| ()).unwrap_err());
    assert!(!printed.contains("hunter2"), "{printed}");
    assert_eq!(problems.map(|_| ()).unwrap_err().len(), 5, "{printed}");
}
