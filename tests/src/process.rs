//! Tandem as a process of its own, for tests that look at what it holds: nothing of the harness is in these numbers.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use tandem::demo::config_text;
use tandem::demo::pair::Pair;

/// Warnings, and where it listens.
const LOG: &str = "log.level=warn,tandem::app=info";

/// A running `tandem`. Dropping it ends it, and so does the pair's watchdog when the test binary ends before.
pub struct Process {
    program: String,
    /// With its configuration and its number, where the watchdog looks.
    directory: PathBuf,
    overrides: Vec<String>,
    running: Arc<Running>,
    asking: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    pub(crate) listener: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What the thread that reads its log shares.
struct Running {
    child: Mutex<Child>,
    /// It is killed as soon as its log has this.
    trap: Mutex<Option<String>>,
    told: Mutex<Vec<String>>,
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
        fs::write(directory.join("tandem.toml"), config_text(pair, any, any)).expect("its configuration");
        Self::spawn(program.to_owned(), directory, overrides.to_vec())
    }

    /// Starts it again after [`Self::kill9`], with the same configuration, on the same ports.
    pub fn restart(&mut self) {
        let ports = [("listener", self.listener), ("admin", self.admin)];
        let mut overrides = self.overrides.clone();
        overrides.extend(ports.map(|(section, address)| format!("{section}.address={address}")));
        *self = Self::spawn(self.program.clone(), self.directory.clone(), overrides);
    }

    fn spawn(program: String, directory: PathBuf, overrides: Vec<String>) -> Self {
        let mut command = Command::new(&program);
        // What the environment tells the tests is none of its keys.
        command.env_clear();
        let file = directory.join("tandem.toml");
        command.arg("run").arg("--config").arg(&file).args(["--set", LOG]);
        for text in &overrides {
            command.args(["--set", text]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|problem| panic!("{program}: {problem}"));
        fs::write(directory.join("pid"), child.id().to_string()).expect("its number");
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let (questions, answers) = questions.zip(answers).expect("pipes");
        let log = child.stderr.take().expect("a pipe");
        let running = Arc::new(Running {
            child: Mutex::new(child),
            trap: Mutex::default(),
            told: Mutex::default(),
        });
        let (listener, admin) = ready(log, Arc::clone(&running));
        Self {
            program,
            directory,
            overrides,
            running,
            asking: Mutex::new((questions, BufReader::new(answers))),
            listener,
            admin,
        }
    }

    /// Kills it as a crash would.
    pub fn kill9(&self) {
        self.running.kill();
    }

    /// Kills it as soon as it has logged a line with these words.
    pub fn kill_at(&self, words: &str) {
        *locked(&self.running.trap) = Some(words.to_owned());
    }

    pub fn runs(&self) -> bool {
        matches!(locked(&self.running.child).try_wait(), Ok(None))
    }

    pub fn number(&self) -> u32 {
        locked(&self.running.child).id()
    }

    /// What it has logged since it started.
    pub fn told(&self) -> Vec<String> {
        locked(&self.running.told).clone()
    }

    pub fn footprint(&self) -> Footprint {
        let folder = Path::new("/proc").join(self.number().to_string());
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

impl Running {
    fn kill(&self) {
        let mut child = locked(&self.child);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }

    fn hear(&self, line: String) {
        if locked(&self.trap)
            .take_if(|words| line.contains(words.as_str()))
            .is_some()
        {
            self.kill();
        }
        if line.contains("panic") {
            eprintln!("{line}");
        }
        locked(&self.told).push(line);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic under the lock")
}

/// Reads the log up to where it listens, and has a thread read on.
fn ready(log: impl Read + Send + 'static, running: Arc<Running>) -> (SocketAddr, SocketAddr) {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    for line in lines.by_ref() {
        let field = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name))?;
            value.parse().ok()
        };
        let addresses = field("listener=").zip(field("admin="));
        running.hear(line);
        if let Some(addresses) = addresses {
            std::thread::spawn(move || lines.for_each(|line| running.hear(line)));
            return addresses;
        }
    }
    let said = locked(&running.told).join("\n");
    panic!("Tandem did not start:\n{said}");
}
