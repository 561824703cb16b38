//! The server programs that a pair can be made of, and in what they differ.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::{Error, find_program};
use crate::topology::Flavor;

/// Which server program runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The MariaDB of this machine.
    #[default]
    MariaDb,
    /// A server that lies with all its libraries in a folder of its own, a small Debian that
    /// `.ci/server-root` has made, and is none of this machine's.
    Unpacked { root: PathBuf, flavor: Flavor },
}

impl Engine {
    pub fn flavor(&self) -> Flavor {
        match self {
            Self::MariaDb => Flavor::MariaDb,
            Self::Unpacked { flavor, .. } => *flavor,
        }
    }

    /// The command that runs the server.
    pub(super) fn server(&self) -> Result<Command, Error> {
        match self {
            Self::MariaDb => Ok(Command::new(find_program(MARIADBD)?)),
            Self::Unpacked { root, flavor } => match flavor {
                Flavor::MariaDb => unpacked(root, "usr/sbin/mariadbd"),
                Flavor::MySql => unpacked(root, "usr/sbin/mysqld"),
            },
        }
    }

    /// The command that runs a program of the server's package, such as its command-line client.
    pub fn program(&self, name: &str) -> Result<Command, Error> {
        match self {
            Self::MariaDb => Ok(Command::new(name)),
            Self::Unpacked { root, .. } => unpacked(root, &format!("usr/bin/{name}")),
        }
    }

    /// The command that fills a new data directory, and what it reads.
    pub(super) fn install(&self, data: &Path) -> Result<(Command, String), Error> {
        // A missing server is better reported now than after the work.
        let mut server = self.server()?;
        let datadir = format!("--datadir={}", data.display());
        match self {
            Self::MariaDb => {
                let mut command = Command::new(find_program(INSTALL_DB)?);
                command
                    .args(["--no-defaults", "--auth-root-authentication-method=normal"])
                    // The script refuses a machine that can't look up its own name, which no server here needs.
                    .args(["--skip-test-db", "--skip-name-resolve", "--force"])
                    // Measured: half of the time would go into syncing.
                    // A directory that a crash leaves half made is thrown away anyhow.
                    .args([
                        "--debug-no-sync",
                        "--innodb-flush-method=nosync",
                        MARIADB_LOG_SIZE,
                    ])
                    .arg(datadir);
                Ok((command, String::new()))
            }
            Self::Unpacked { root, flavor } => {
                let base = format!("--basedir={}", root.join("usr").display());
                server.arg("--no-defaults").args([base, datadir]);
                std::fs::create_dir_all(data).map_err(Error::io("make a folder"))?;
                match flavor {
                    Flavor::MySql => {
                        server.args([
                            "--initialize-insecure",
                            "--innodb-flush-method=nosync",
                            MYSQL_LOG_SIZE,
                        ]);
                        Ok((server, String::new()))
                    }
                    Flavor::MariaDb => {
                        // What mariadb-install-db does, which would start programs without their libraries.
                        server.args(["--bootstrap", "--debug-no-sync", "--innodb-flush-method=nosync"]);
                        server.arg(MARIADB_LOG_SIZE);
                        Ok((server, mariadb_tables(root)?))
                    }
                }
            }
        }
    }

    /// The option file's lines that say where the program's own files are.
    pub(super) fn folders(&self) -> String {
        match self {
            Self::MariaDb => String::new(),
            Self::Unpacked { root, .. } => {
                let usr = root.join("usr");
                let plugins = usr.join("lib/mysql/plugin");
                format!("basedir={}\nplugin_dir={}\n", usr.display(), plugins.display())
            }
        }
    }
}

/// Runs a program of the folder with the folder's own loader and libraries.
fn unpacked(root: &Path, program: &str) -> Result<Command, Error> {
    let file = root.join(program);
    if !file.is_file() {
        return Err(Error::NotUnpacked { file });
    }
    let loader = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1"]
        .map(|path| root.join(path))
        .into_iter()
        .find(|path| path.exists());
    let loader = loader.ok_or_else(|| Error::NotUnpacked {
        file: root.join("lib64/ld-linux-x86-64.so.2"),
    })?;
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(library_folder(root)).arg(file);
    Ok(command)
}

fn library_folder(root: &Path) -> PathBuf {
    root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

fn mariadb_tables(root: &Path) -> Result<String, Error> {
    let mut script = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n".to_owned();
    for name in [
        "mariadb_system_tables.sql",
        "mariadb_performance_tables.sql",
        "mariadb_system_tables_data.sql",
        "fill_help_tables.sql",
        "maria_add_gis_sp_bootstrap.sql",
        "mariadb_sys_schema.sql",
    ] {
        let file = root.join("usr/share/mariadb").join(name);
        let text = std::fs::read_to_string(&file);
        script += &text.map_err(Error::io(format!("read {}", file.display())))?;
        script.push('\n');
    }
    Ok(script)
}

/// A program and Debian's package that holds it.
const MARIADBD: (&str, &str) = ("mariadbd", "mariadb-server");
const INSTALL_DB: (&str, &str) = ("mariadb-install-db", "mariadb-server");
/// For making a data directory and the option file alike: a small one is quick to make and to copy.
pub(super) const MARIADB_LOG_SIZE: &str = "--innodb_log_file_size=16M";
pub(super) const MYSQL_LOG_SIZE: &str = "--innodb_redo_log_capacity=32M";
