//! Cleans up behind a process that had no chance to do it itself.
//!
//! A shell waits at the other end of a pipe. When this process ends, in whatever way, the kernel
//! closes the pipe; the shell then kills the servers named by the pid files in the folder and removes
//! the folder. So even `kill -9` of the demo, or a test binary that ends with its servers in a
//! `static`, leaves nothing behind. (`PR_SET_PDEATHSIG` would need unsafe code, and fires already
//! when the thread that started the child ends.) What remains: if the watchdog itself is killed first.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[derive(Debug)]
pub(crate) struct Watchdog {
    child: Child,
}

impl Watchdog {
    pub(crate) fn start(directory: &Path) -> io::Result<Self> {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "tandem-watchdog"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A process number may have been given to somebody else since: only a process whose command line
/// names the folder is killed.
const SCRIPT: &str = r#"
cat >/dev/null
for file in "$1"/*/pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$1"; then kill -9 "$pid"; fi
done
rm -rf "$1"
"#;
