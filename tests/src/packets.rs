//! Packets that the kernel loses: by `nft`, in a table of this process's own, which ends with [`Packets`] or, after a process that was
//! killed, when the next one starts. Whoever sends hears nothing of it, as on a cable that was pulled.
//!
//! On one machine all come from the same address, so a way is told by the address that is connected to: see [`FOR_SERVERS`].

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the servers reach each other; Tandem reaches them by 127.0.0.1.
pub const FOR_SERVERS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The line for the option file of servers that are reached by both.
pub const BOTH_ADDRESSES: &str = "bind_address=127.0.0.1,127.0.0.2";

/// Which packets between whoever connects to an address and who listens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connects.
    There,
    Back,
    Both,
}

/// See the module.
pub struct Packets {
    table: String,
}

impl Packets {
    /// All pass.
    ///
    /// Panics when the kernel or the rights for it are missing: who tests on such a machine must know that this was not tested.
    pub fn pass() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        forget_the_dead();
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let table = format!("{PREFIX}{process}_{number}");
        nft(&format!(
            "add table inet {table}\nadd chain inet {table} lost {{ type filter hook input priority 0; }}\n"
        ));
        Self { table }
    }

    /// So many of a hundred packets are lost from now on.
    pub fn lose(&self, percent: u32, way: SocketAddr, direction: Direction) {
        let (table, address, port) = (&self.table, way.ip(), way.port());
        let drop = match percent {
            100 => "drop".to_owned(),
            _ => format!("numgen random mod 100 < {percent} drop"),
        };
        let rule = |from_or_to: &str, port_of: &str| {
            format!("add rule inet {table} lost ip {from_or_to} {address} tcp {port_of} {port} {drop}\n")
        };
        let (there, back) = (rule("daddr", "dport"), rule("saddr", "sport"));
        nft(&match direction {
            Direction::There => there,
            Direction::Back => back,
            Direction::Both => there + &back,
        });
    }

    /// All pass again.
    pub fn heal(&self) {
        nft(&format!("flush chain inet {} lost\n", self.table));
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        // A second panic while one unwinds would hide the first.
        let _ = run(&["delete", "table", "inet", &self.table], "");
    }
}

/// Removes what a killed test process has left.
fn forget_the_dead() {
    let tables = run(&["list", "tables", "inet"], "").unwrap_or_default();
    for table in tables.lines().filter_map(|line| line.strip_prefix("table inet ")) {
        let process = table.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
        if process.is_some_and(|process| !std::path::Path::new("/proc").join(process).exists()) {
            // Another test may be quicker.
            let _ = run(&["delete", "table", "inet", table], "");
        }
    }
}

fn nft(text: &str) {
    if let Err(problem) = run(&["-f", "-"], text) {
        panic!(
            "losing packets takes `nft` (package nftables), a kernel with nf_tables, and the rights of root (CAP_NET_ADMIN): {problem}"
        );
    }
}

/// What it says, or why it does not do it.
fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("/usr/sbin/nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|problem| problem.to_string())?;
    let mut writer = child.stdin.take().ok_or("no pipe")?;
    writer
        .write_all(input.as_bytes())
        .map_err(|problem| problem.to_string())?;
    drop(writer);
    let output = child.wait_with_output().map_err(|problem| problem.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

const PREFIX: &str = "tandem_test_";
