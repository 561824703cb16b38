//! What has been learnt, on the disk: a line of JSON for each statement, between one with the secret and one with their number, by
//! which a file that ends too early is known. It is replaced as a whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Place;
use super::learned::{Bounds, Learned, Statement};
use crate::classify::Fingerprint;
use crate::classify::identity::Identity;
use crate::disk;

/// Whoever knows the secret can make statements that pass for learnt ones.
const MODE: u32 = 0o600;
const VERSION: u32 = 1;

/// The most that the first and the last line take.
pub const FRAME: usize = 256;
/// How much longer a line gets by what is counted.
const COUNTED: usize = 40;

/// Why it can't be used.
#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "the firewall's file {} (firewall.file) can't be {doing}: {source}; its folder must exist and be writable",
        path.display()
    )]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the firewall's file {} (firewall.file) is broken in line {line}: {problem}; it says which statements are let through, so it is \
         not ignored. Put a copy in its place, or remove it and have the accounts learn anew",
        path.display()
    )]
    Broken {
        path: PathBuf,
        line: usize,
        problem: String,
    },
    #[error(
        "the firewall's file {} (firewall.file) has {bytes} bytes, more than firewall.bytes = {limit}: raise that, or have it \
         forget what is not needed while it is",
        path.display()
    )]
    TooLarge { path: PathBuf, bytes: u64, limit: usize },
    #[error("no random numbers for the firewall's secret: {0}")]
    Random(#[from] getrandom::Error),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    tandem_firewall: u32,
    secret: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    account: &'a str,
    schema: &'a str,
    digest: String,
    seal: String,
    statement: &'a str,
    learned_at: u64,
    last_seen: u64,
    hits: u64,
}

/// The same as it is read: with what can't be borrowed from the text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    account: String,
    schema: String,
    digest: String,
    seal: String,
    statement: String,
    learned_at: u64,
    last_seen: u64,
    hits: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    statements: usize,
}

fn line(place: &Place, identity: Identity, statement: &Statement) -> String {
    let line = Line {
        account: &place.account,
        schema: &place.schema,
        digest: identity.digest.to_string(),
        seal: hexadecimal(identity.seal),
        statement: &statement.text,
        learned_at: statement.learned_at,
        last_seen: statement.last_seen,
        hits: statement.hits,
    };
    // Nothing in it can fail to be written.
    serde_json::to_string(&line).unwrap_or_default()
}

/// The most bytes that a statement's line ever takes.
pub fn longest(place: &Place, identity: Identity, statement: &Statement) -> usize {
    let uncounted = Statement {
        last_seen: 0,
        hits: 0,
        ..statement.clone()
    };
    line(place, identity, &uncounted).len() + COUNTED
}

fn hexadecimal(number: u64) -> String {
    format!("{number:016x}")
}

fn number(text: &str) -> Result<u64, String> {
    let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    number.ok_or_else(|| format!("{text:?} is none of 16 hexadecimal digits"))
}

/// All of it as it stands in the file.
pub fn to_text(learned: &Learned) -> String {
    let mut text = String::with_capacity(learned.bytes());
    let mut put = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let first = First {
        tandem_firewall: VERSION,
        secret: hexadecimal(learned.secret),
    };
    put(serde_json::to_string(&first).unwrap_or_default());
    for (place, identity, statement) in learned.iter() {
        put(line(place, identity, statement));
    }
    let last = Last {
        statements: learned.len(),
    };
    put(serde_json::to_string(&last).unwrap_or_default());
    text
}

/// Reads it again.
///
/// # Errors
/// The number of the line, and what is wrong there.
pub fn from_text(text: &str) -> Result<Learned, (usize, String)> {
    let mut lines = text.lines().zip(1..);
    let said = |at: usize| move |problem: String| (at, problem);
    let (first, _) = lines.next().ok_or((1, "it is empty".to_owned()))?;
    let first: First = parse(first).map_err(said(1))?;
    if first.tandem_firewall != VERSION {
        let problem = format!("version {} is not known", first.tandem_firewall);
        return Err((1, problem));
    }
    let mut learned = Learned::new(number(&first.secret).map_err(said(1))?);
    // What is there was within the bounds, and stays when they are others.
    let bounds = Bounds {
        digests: usize::MAX,
        bytes: usize::MAX,
    };
    let mut last_line = 1;
    for (line, at) in lines.by_ref() {
        last_line = at;
        if let Ok(last) = parse::<Last>(line) {
            let count = learned.len();
            if last.statements != count {
                let problem = format!("there should be {} statements, and are {count}", last.statements);
                return Err((at, problem));
            }
            return match lines.next() {
                None => Ok(learned),
                Some((_, at)) => Err((at, "something follows its end".to_owned())),
            };
        }
        let read: Read = parse(line).map_err(said(at))?;
        let identity = Identity {
            digest: Fingerprint(number(&read.digest).map_err(said(at))?),
            seal: number(&read.seal).map_err(said(at))?,
        };
        let statement = Statement {
            text: read.statement.into(),
            learned_at: read.learned_at,
            last_seen: read.last_seen,
            hits: read.hits,
        };
        let place = Place::new(&read.account, &read.schema);
        // Without bounds it can't be full.
        let _ = learned.add(&place, identity, statement, bounds);
    }
    Err((last_line, "its end is missing".to_owned()))
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}

/// What the file at `path` says; nothing where there is none.
///
/// # Errors
/// See [`Error`].
pub fn read(path: &Path, most_bytes: usize) -> Result<Option<Learned>, Error> {
    let fail = |source| Error::Io {
        path: path.to_owned(),
        doing: "read",
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let bytes = file.metadata().map_err(fail)?.len();
    if bytes > most_bytes as u64 {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            bytes,
            limit: most_bytes,
        });
    }
    let mut text = String::new();
    file.take(most_bytes as u64)
        .read_to_string(&mut text)
        .map_err(fail)?;
    let learned = from_text(&text).map_err(|(line, problem)| Error::Broken {
        path: path.to_owned(),
        line,
        problem,
    })?;
    Ok(Some(learned))
}

/// Replaces it. On return it is on the disk.
///
/// # Errors
/// When that is not certain.
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    disk::replace(path, text, MODE).map_err(|source| Error::Io {
        path: path.to_owned(),
        doing: "written",
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::learned::tests::{BOUNDS, identity, statement};
    use super::*;

    fn some() -> Learned {
        let mut learned = Learned::new(0xfeed);
        for (place, number, text) in [
            (
                Place::new("app", "shop"),
                1,
                "SELECT \"a\" FROM `t\n` WHERE b = ?",
            ),
            (Place::new("app", ""), 1, "SELECT ?"),
            (Place::new("o'ne \\", "ü"), u64::MAX, "…"),
        ] {
            let added = learned.add(&place, identity(number), statement(text), BOUNDS);
            assert_eq!(added, Ok(()));
        }
        learned.count(&Place::new("app", ""), identity(1), u64::MAX, u64::MAX);
        learned
    }

    /// What is written is read again, is as long as was foreseen at most, and is nobody else's to read.
    #[test]
    fn it_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("firewall");
        assert!(read(&path, 1 << 20).expect("nothing").is_none());
        let learned = some();
        let text = to_text(&learned);
        assert!(
            text.len() <= learned.bytes(),
            "{} {}",
            text.len(),
            learned.bytes()
        );
        write(&path, "something older").expect("written");
        write(&path, &text).expect("written");
        assert_eq!(read(&path, 1 << 20).expect("read"), Some(learned));
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// A file that was cut off anywhere, or changed by hand into something else, is never taken for a shorter list.
    #[test]
    fn a_broken_one_is_refused_with_the_line() {
        let text = to_text(&some());
        for end in 0..text.len() - 1 {
            if text.is_char_boundary(end) {
                assert!(from_text(&text[..end]).is_err(), "{}", &text[..end]);
            }
        }
        let lines: Vec<&str> = text.lines().collect();
        let without_one = [lines[0], lines[2], lines[3], lines[4]].join("\n");
        assert_eq!(from_text(&without_one).map_err(|(line, _)| line), Err(4));
        for (wrong, line) in [
            (text.replace("\"tandem_firewall\":1", "\"tandem_firewall\":2"), 1),
            (text.replace("\"hits\":0", "\"hits\":-1"), 3),
            (text.replace("\"account\"", "\"acount\""), 2),
            (format!("{text}x"), 6),
        ] {
            let told = from_text(&wrong).map_err(|(line, _)| line);
            assert!(told.is_err_and(|told| told <= line && told > 0), "{wrong}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("firewall");
        write(&path, &without_one).expect("written");
        let told = read(&path, 1 << 20).expect_err("broken").to_string();
        assert!(told.contains("broken in line 4: there should be 3"), "{told}");
        let told = read(&path, 100).expect_err("large").to_string();
        assert!(told.contains("more than firewall.bytes = 100"), "{told}");
    }
}
