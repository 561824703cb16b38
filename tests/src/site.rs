//! PHP applications as Debian ships them, served by PHP itself and visited by a script.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{WITHIN, external, wait_until};

/// An application that PHP serves; ends when dropped.
pub struct Site {
    address: SocketAddr,
    server: Child,
    log: PathBuf,
}

impl Site {
    /// An address that is free, for applications that want to know theirs before they are served.
    pub fn free_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    }

    /// Serves the folder `root`; `script` is asked first when it is there, and PHP's log goes to `folder`.
    pub async fn serve(
        address: SocketAddr,
        folder: &Path,
        root: &Path,
        script: Option<&Path>,
        variables: &[(&str, &OsStr)],
    ) -> Self {
        let log = folder.join("php.log");
        let file = std::fs::File::create(&log).expect("a log");
        let server = Command::new("php")
            .args(["-d", "opcache.enable_cli=1", "-S", &address.to_string(), "-t"])
            .arg(root)
            .args(script)
            .env("PHP_CLI_SERVER_WORKERS", "4")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .spawn()
            .expect("PHP's own server");
        let site = Self { address, server, log };
        wait_until("PHP serves", WITHIN, || async {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        site
    }

    /// phpMyAdmin with its data in `folder`: a private copy, since Debian's has one configuration for the whole machine.
    pub async fn phpmyadmin(folder: &Path, database: SocketAddr) -> Self {
        let root = folder.join("site");
        let copied = Command::new("cp")
            .args(["-r", "/usr/share/phpmyadmin"])
            .arg(&root)
            .status();
        assert!(
            copied.is_ok_and(|status| status.success()),
            "the package `phpmyadmin` is not installed (.ci/install)"
        );
        let vendor = root.join("libraries/vendor_config.php");
        let text = std::fs::read_to_string(&vendor).expect("Debian's places");
        let own = format!("{}/", folder.display());
        let text = text
            .replace("/etc/phpmyadmin/", &own)
            .replace("/var/lib/phpmyadmin/", &own);
        std::fs::write(&vendor, text).expect("our own places");
        std::fs::create_dir(folder.join("tmp")).expect("a folder for its templates");
        std::fs::write(folder.join("config.inc.php"), phpmyadmins(database)).expect("a configuration");
        Self::serve(Self::free_address(), folder, &root, None, &[]).await
    }

    /// Runs a Python script of `scripts` with the site's address and `more` as its arguments; panics unless it
    /// ends well and PHP had nothing to say. What it printed is returned.
    pub async fn visit(&self, script: &str, more: &[&str]) -> String {
        let script = format!("{}/scripts/{script}", env!("CARGO_MANIFEST_DIR"));
        let mut visit = tokio::process::Command::new("/usr/bin/python3");
        visit
            .args([&script, &format!("http://{}", self.address)])
            .args(more);
        let output = external::run(visit, self.address, "").await;
        println!("{}{}", output.stdout, output.stderr);
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert_eq!(output.status, Some(0), "PHP's log:\n{log}");
        assert!(
            !log.contains("PHP Fatal") && !log.contains("PHP Warning"),
            "{log}"
        );
        output.stdout
    }
}

/// Its configuration.
fn phpmyadmins(database: SocketAddr) -> String {
    format!(
        "<?php
$cfg['blowfish_secret'] = 'thirty-two bytes, as it asks for';
$cfg['Servers'][1]['host'] = '{}';
$cfg['Servers'][1]['port'] = '{}';
$cfg['Servers'][1]['auth_type'] = 'cookie';
",
        database.ip(),
        database.port()
    )
}

impl Drop for Site {
    fn drop(&mut self) {
        // The whole group: PHP's workers outlive a parent that is killed.
        let group = format!("-{}", self.server.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.server.wait();
    }
}

/// How many pages came too early, as the scripts say it: one session does not wait for another's writes yet.
pub fn missed(visit: &str) -> usize {
    let line = visit.lines().find_map(|line| line.strip_prefix("missed "));
    let count = line.and_then(|line| line.split(' ').next()?.parse().ok());
    count.expect("a line `missed N of M`")
}
