//! Statements as JSON lines: those that took long, and, where somebody has to know who ran what, all of them.
//!
//! A line is made where the statement ended and written by a thread of its own; where that falls behind, lines are dropped and
//! counted (`tandem_statement_log_lost_total`), and no statement waits.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::classify::says;

/// Lines that may wait to be written, and their bytes.
const WAITING: usize = 8192;
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// How long the end of Tandem waits for what is still to be written.
const LAST_LINES: Duration = Duration::from_secs(5);

/// How often it is looked whether the file is still the one that its name leads to, for who moves it away.
const LOOK: Duration = Duration::from_secs(1);

/// Who owns Tandem may write it, its group may read it.
const MODE: u32 = 0o640;

/// What of a statement's own text a line has at most, where it is asked for.
pub const TEXT_BYTES: usize = 4096;

/// A statement that has ended.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    pub time: String,
    /// `slow` or `statement`.
    pub event: &'static str,
    pub session: u32,
    pub user: &'a str,
    pub client: String,
    pub schema: &'a str,
    pub digest: String,
    /// Without its values.
    pub statement: &'a str,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    pub ms: f64,
    pub rows: u64,
    pub affected: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    pub retries: u64,
    pub holds: u64,
}

/// Where lines are handed over.
#[derive(Clone, Debug)]
pub struct StatementLog {
    /// `None` is the end.
    lines: SyncSender<Option<String>>,
    numbers: Arc<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    lost: AtomicU64,
    /// Bytes that wait.
    waiting: AtomicUsize,
}

/// Tells when the last line is written.
#[derive(Debug)]
pub struct Written(oneshot::Receiver<()>);

impl StatementLog {
    /// Begins to write to the file, or, without one, to Tandem's own log, until [`StatementLog::stop`] or until nobody has it.
    ///
    /// # Errors
    /// When the file can't be opened, or the thread not be started.
    pub fn start(file: Option<PathBuf>) -> io::Result<(Self, Written)> {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let numbers = Arc::<Numbers>::default();
        let mut sink = match file {
            Some(path) => Sink::File(Opened::open(path)?),
            None => Sink::Log,
        };
        let counted = Arc::clone(&numbers);
        let (ended, written) = oneshot::channel();
        std::thread::Builder::new()
            .name("statement-log".to_owned())
            .spawn(move || {
                write_all(&waiting, &mut sink, &counted);
                let _ = ended.send(());
            })?;
        Ok((Self { lines, numbers }, Written(written)))
    }

    /// Has a line written, if there is room for it.
    pub fn write(&self, line: &Line<'_>) {
        let text = serde_json::to_string(line).unwrap_or_default();
        let bytes = text.len();
        let waiting = self.numbers.waiting.fetch_add(bytes, Ordering::Relaxed);
        if waiting > WAITING_BYTES || self.lines.try_send(Some(text)).is_err() {
            self.numbers.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.numbers.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines that were not written.
    pub fn lost(&self) -> u64 {
        self.numbers.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was handed over is written, but no longer than five seconds. Lines that come later are lost.
    pub async fn stop(&self, written: Written) {
        let stopped = async {
            while let Err(TrySendError::Full(_)) = self.lines.try_send(None) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = written.0.await;
        };
        if tokio::time::timeout(LAST_LINES, stopped).await.is_err() {
            tracing::error!("the last lines of the statement log could not be written within {LAST_LINES:?}");
        }
    }
}

/// Whether a statement's own text may be logged at all: what may hold a password may not. The words stand before the password, so
/// where a text is cut before them, the password is cut off too.
pub fn may_be_told(text: &[u8]) -> bool {
    !says(text, b"password") && !says(text, b"identified")
}

enum Sink {
    Log,
    File(Opened),
}

struct Opened {
    path: PathBuf,
    file: BufWriter<File>,
    looked: Instant,
    complained: Option<Instant>,
}

impl Opened {
    fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(append(&path)?),
            path,
            looked: Instant::now(),
            complained: None,
        })
    }

    /// Opens the file anew where its name leads to another one, or to none.
    fn look(&mut self) -> io::Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        let here = self.file.get_ref().metadata()?;
        let is_same = |there: std::fs::Metadata| (there.dev(), there.ino()) == (here.dev(), here.ino());
        if !std::fs::metadata(&self.path).is_ok_and(is_same) {
            self.file.flush()?;
            self.file = BufWriter::new(append(&self.path)?);
        }
        Ok(())
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.look()?;
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")
    }

    /// Says that it could not write, once a minute.
    fn complain(&mut self, error: &io::Error) {
        let lately = self
            .complained
            .is_some_and(|at| at.elapsed() < Duration::from_secs(60));
        if !lately {
            self.complained = Some(Instant::now());
            let path = self.path.display();
            tracing::error!(
                "cannot write the statement log {path} (statement_log.file): {error}; its lines are lost until it works again"
            );
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(MODE).open(path)
}

fn write_all(lines: &Receiver<Option<String>>, sink: &mut Sink, numbers: &Numbers) {
    let mut ended = false;
    while !ended && let Ok(line) = lines.recv() {
        // What comes in a crowd is flushed once.
        let mut next = Some(line);
        while let Some(line) = next {
            let Some(line) = line else {
                ended = true;
                break;
            };
            numbers.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            match sink {
                Sink::Log => tracing::info!(target: "tandem::statement", "{line}"),
                Sink::File(file) => {
                    if let Err(error) = file.write(&line) {
                        numbers.lost.fetch_add(1, Ordering::Relaxed);
                        file.complain(&error);
                    }
                }
            }
            next = lines.try_recv().ok();
        }
        if let Sink::File(file) = sink
            && let Err(error) = file.file.flush()
        {
            file.complain(&error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(session: u32) -> Line<'static> {
        Line {
            time: String::new(),
            event: "slow",
            session,
            user: "app",
            client: "127.0.0.1:1".to_owned(),
            schema: "shop",
            digest: "1".to_owned(),
            statement: "SELECT ?",
            text: None,
            ms: 1.5,
            rows: 0,
            affected: 0,
            bytes_in: 0,
            bytes_out: 0,
            failed: false,
            error: None,
            server: Some("a"),
            reason: None,
            retries: 0,
            holds: 0,
        }
    }

    fn wait_for(path: &Path, lines: usize) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= lines {
                return text;
            }
            assert!(Instant::now() < deadline, "{path:?}: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Each line is JSON, readable for nobody but Tandem and its group, and who moves the file away gets the next lines in a new one.
    #[tokio::test]
    async fn lines_are_json_and_the_file_may_be_moved() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("log"), folder.path().join("moved"));
        let (log, written) = StatementLog::start(Some(path.clone())).expect("started");
        log.write(&line(1));
        let text = wait_for(&path, 1);
        let value: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
        assert_eq!(value["session"], 1);
        assert_eq!(value["server"], "a");
        assert_eq!(value.get("text"), None);
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o137, 0);
        std::fs::rename(&path, &moved).expect("moved");
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut lines = 0;
        while !path.exists() {
            assert!(Instant::now() < deadline);
            log.write(&line(2));
            lines += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        log.stop(written).await;
        let count = |path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
        assert_eq!(count(&moved) + count(&path), lines + 1, "a line is lost");
        assert_eq!(log.lost(), 0);
    }

    /// What can't be written in time is given up and counted, however large the lines are; what was taken is written.
    #[test]
    fn what_waits_is_bounded() {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let numbers = Arc::<Numbers>::default();
        let log = StatementLog {
            lines,
            numbers: Arc::clone(&numbers),
        };
        let large = Line {
            text: Some("x".repeat(1024 * 1024)),
            ..line(1)
        };
        for _ in 0..20 {
            log.write(&large);
        }
        assert!((1..10).contains(&log.lost()), "{}", log.lost());
        drop(log);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut sink = Sink::File(Opened::open(path.clone()).expect("opened"));
        write_all(&waiting, &mut sink, &numbers);
        let written = std::fs::read_to_string(&path).expect("there").lines().count() as u64;
        let lost = numbers.lost.load(Ordering::Relaxed);
        assert_eq!((written + lost, numbers.waiting.load(Ordering::Relaxed)), (20, 0));
    }

    /// A file that can't be opened is an error at the start, and not later.
    #[test]
    fn a_file_that_cannot_be_opened_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        StatementLog::start(Some(folder.path().join("none/log"))).expect_err("no such folder");
    }

    #[test]
    fn what_may_hold_a_password_is_not_told() {
        assert!(may_be_told(b"SELECT 1"));
        assert!(!may_be_told(b"SET Password = 'x'"));
        assert!(!may_be_told(b"CREATE USER a identified BY 'x'"));
        assert!(!may_be_told(b"CHANGE MASTER TO MASTER_PASSWORD='x'"));
    }
}
