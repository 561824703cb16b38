//! Tandem as a process of its own, for tests that look at what it holds: nothing of the harness is in these numbers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use tandem::demo::config_text;
use tandem::demo::pair::Pair;

/// Warnings, and where it listens.
const LOG: &str = "log.level=warn,tandem::app=info";

/// A running `tandem`. Dropping it ends it, and so does the pair's watchdog when the test binary ends before.
pub(crate) struct Process {
    child: Child,
    asking: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    pub(crate) listener: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// What it has allocated and not freed.
    pub bytes: usize,
    /// What the kernel has given it for heap and stacks.
    pub kib: usize,
    pub files: usize,
}

impl Process {
    /// Starts `program`, which is this package's `proxy`, in front of `pair`; each of `overrides` is a `--set`.
    ///
    /// Panics, with its last words, when it does not start.
    pub(crate) fn start(program: &str, pair: &Pair, overrides: &[String]) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let directory = pair.directory().join("tandem");
        fs::create_dir(&directory).expect("a folder");
        let file = directory.join("tandem.toml");
        fs::write(&file, config_text(pair, any, any)).expect("its configuration");
        let mut command = Command::new(program);
        // What the environment tells the tests is none of its keys.
        command.env_clear();
        command.arg("run").arg("--config").arg(&file).args(["--set", LOG]);
        for text in overrides {
            command.args(["--set", text]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|problem| panic!("{program}: {problem}"));
        // Where the watchdog looks.
        fs::write(directory.join("pid"), child.id().to_string()).expect("its number");
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let (questions, answers) = questions.zip(answers).expect("pipes");
        let (listener, admin) = ready(child.stderr.take().expect("a pipe"));
        Self {
            child,
            asking: Mutex::new((questions, BufReader::new(answers))),
            listener,
            admin,
        }
    }

    pub(crate) fn footprint(&self) -> Footprint {
        let folder = Path::new("/proc").join(self.child.id().to_string());
        let maps = fs::read_to_string(folder.join("smaps_rollup")).expect("it runs");
        let line = maps.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let number = line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok());
        Footprint {
            bytes: self.allocated(),
            kib: number.expect("smaps_rollup has a number"),
            files: fs::read_dir(folder.join("fd")).expect("it runs").count(),
        }
    }

    fn allocated(&self) -> usize {
        let mut asking = self.asking.lock().expect("no panic under the lock");
        let (questions, answers) = &mut *asking;
        questions.write_all(b"\n").expect("it runs");
        let mut line = String::new();
        answers.read_line(&mut line).expect("it answers");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log up to where it listens, and has a thread read on: what it says of panics is passed on.
fn ready(log: impl Read + Send + 'static) -> (SocketAddr, SocketAddr) {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let field = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name))?;
            value.parse().ok()
        };
        if let (Some(listener), Some(admin)) = (field("listener="), field("admin=")) {
            std::thread::spawn(move || {
                lines
                    .filter(|line| line.contains("panic"))
                    .for_each(|line| eprintln!("{line}"));
            });
            return (listener, admin);
        }
        said.push(line);
    }
    panic!("Tandem did not start:\n{}", said.join("\n"));
}
