//! What a restarted Tandem must know: who is the active master, and whether a change was under way. One small file, replaced
//! as a whole and synced to disk before what it says takes effect.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml_edit::{DocumentMut, value};

use super::hands::Acknowledged;
use crate::disk;
use crate::topology::ServerId;
use crate::topology::gtid::Gtid;

/// Nothing in it is secret: as the umask has it.
const MODE: u32 = 0o666;

/// What stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Grows with each change of the active master.
    pub epoch: u64,
    pub active: Option<ServerId>,
    /// The server that is being promoted in place of `active`.
    pub promoting: Option<ServerId>,
    /// The pair uses semi-sync replication: it is on at the active master while there is somebody to acknowledge.
    pub semi_sync: bool,
    /// What `promoting` must have to take over: the commits of `active` that clients were told of.
    pub needed: Option<Acknowledged>,
    /// See [`crate::topology::derive::Decided::drained`].
    pub drained: Option<ServerId>,
    /// An operator's `PAUSE`.
    pub paused: bool,
    /// `active` was opened after a crash without what the other may have of it, and had this of its own then: newer commits of it at the
    /// other are none that the pair has.
    pub blind: Option<Acknowledged>,
    /// `active` was promoted to wait for nobody, and not seen writable since: it has made no commit as the active master that a crash could
    /// have taken.
    pub fresh: bool,
    /// Clients may have been told of commits of `active` that waited for nobody, and which the other server is not known to have since: it
    /// takes over only by the word of a Tandem that knows what its clients were told of.
    pub exposed: bool,
}

/// Why Tandem can't begin to decide.
#[derive(Debug, Error)]
pub enum Error {
    #[error(
        "the journal {} (failover.journal) can't be {doing}: {source}; its folder must exist and be writable, and be on a \
         disk that outlives a restart", path.display()
    )]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(
        "the journal {} (failover.journal) can't be understood: {problem}; it says who is the active master, so it is not \
         ignored. Find out which server has the newest data, and remove the file: the server that is writable then becomes active",
        path.display()
    )]
    Unreadable { path: PathBuf, problem: String },
}

/// The file, in use by this process.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    names: Vec<String>,
    /// Locked for as long as Tandem runs: two that decide by one journal would each overwrite what the other says.
    _lock: File,
}

impl Journal {
    /// Opens it, and reads what it says; a file that is not there says nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn open(path: &Path, names: &[String]) -> Result<(Self, Entry), Error> {
        let fail = |doing| {
            let path = path.to_owned();
            move |source| Error::Io { path, doing, source }
        };
        let lock = File::create(path.with_extension("lock")).map_err(fail("locked"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::Error(source) => fail("locked")(source),
            fs::TryLockError::WouldBlock => fail("locked")(io::Error::other("another Tandem uses it")),
        })?;
        let journal = Self {
            path: path.to_owned(),
            names: names.to_vec(),
            _lock: lock,
        };
        let entry = match fs::read_to_string(path) {
            Ok(text) => Entry::from_text(&text, names).map_err(|problem| Error::Unreadable {
                path: path.to_owned(),
                problem,
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Found out now, and not in the middle of a failover.
                journal.write("").map_err(fail("written"))?;
                Entry::default()
            }
            Err(error) => return Err(fail("read")(error)),
        };
        Ok((journal, entry))
    }

    /// Replaces what it says. On return it is on the disk.
    ///
    /// # Errors
    /// When that is not certain.
    pub fn record(&self, entry: &Entry) -> io::Result<()> {
        let text = format!(
            "# Written by Tandem: who is the active master. See [failover] in its configuration.\n{}",
            entry.to_text(&self.names)
        );
        self.write(&text)
    }

    /// What it says now.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn read(&self) -> Result<Entry, String> {
        let text = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        Entry::from_text(&text, &self.names)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        disk::replace(&self.path, text, MODE)
    }
}

impl Entry {
    /// Whether the other server has received all that any client was told of.
    pub(super) fn covers(&self) -> bool {
        self.semi_sync && !self.exposed
    }

    /// As TOML, with the servers by name.
    pub(super) fn to_text(&self, names: &[String]) -> String {
        let mut document = DocumentMut::new();
        put_number(&mut document, "epoch", self.epoch);
        put_server(&mut document, "active", self.active, names);
        put_server(&mut document, "promoting", self.promoting, names);
        put_server(&mut document, "drained", self.drained, names);
        document["semi_sync"] = value(self.semi_sync);
        document["paused"] = value(self.paused);
        document["fresh"] = value(self.fresh);
        document["exposed"] = value(self.exposed);
        put_acknowledged(&mut document, "needed", self.needed);
        put_acknowledged(&mut document, "blind", self.blind);
        document.to_string()
    }

    /// Reads it again.
    ///
    /// # Errors
    /// What is not understood.
    pub(super) fn from_text(text: &str, names: &[String]) -> Result<Self, String> {
        let document = parse(text)?;
        Ok(Self {
            needed: acknowledged(&document, "needed")?,
            blind: acknowledged(&document, "blind")?,
            epoch: number(&document, "epoch")?,
            active: server(&document, "active", names)?,
            promoting: server(&document, "promoting", names)?,
            drained: server(&document, "drained", names)?,
            semi_sync: flag(&document, "semi_sync"),
            paused: flag(&document, "paused"),
            fresh: flag(&document, "fresh"),
            exposed: flag(&document, "exposed"),
        })
    }
}

pub(super) fn parse(text: &str) -> Result<DocumentMut, String> {
    text.parse()
        .map_err(|error: toml_edit::TomlError| error.message().to_owned())
}

pub(super) fn put_number(document: &mut DocumentMut, key: &str, number: u64) {
    document[key] = value(i64::try_from(number).unwrap_or(i64::MAX));
}

pub(super) fn put_server(document: &mut DocumentMut, key: &str, server: Option<ServerId>, names: &[String]) {
    if let Some(name) = server.and_then(|id| names.get(id.0)) {
        document[key] = value(name.as_str());
    }
}

/// No commit at all has no name, and is not written.
pub(super) fn put_acknowledged(document: &mut DocumentMut, key: &str, known: Option<Acknowledged>) {
    if let Some(known) = known.filter(|known| known.number > 0) {
        document[key] = value(known.stream.up_to(known.number));
    }
}

/// A key that is not there is 0.
pub(super) fn number(document: &DocumentMut, key: &str) -> Result<u64, String> {
    let number = document.get(key).map(|item| {
        let number = item.as_integer().and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| format!("{key} is no number"))
    });
    Ok(number.transpose()?.unwrap_or(0))
}

pub(super) fn flag(document: &DocumentMut, key: &str) -> bool {
    let item = document.get(key);
    item.and_then(toml_edit::Item::as_bool).unwrap_or_default()
}

pub(super) fn server(
    document: &DocumentMut,
    key: &str,
    names: &[String],
) -> Result<Option<ServerId>, String> {
    let Some(item) = document.get(key) else {
        return Ok(None);
    };
    let name = item.as_str().ok_or_else(|| format!("{key} is no name"))?;
    let index = names.iter().position(|known| known == name);
    let index = index.ok_or_else(|| format!("{key} is {name:?}, and no [[server]] has this name"))?;
    Ok(Some(ServerId(index)))
}

pub(super) fn acknowledged(document: &DocumentMut, key: &str) -> Result<Option<Acknowledged>, String> {
    let Some(item) = document.get(key) else {
        return Ok(None);
    };
    let gtid = item
        .as_str()
        .and_then(|text| Gtid::parse_mariadb(text).or_else(|| Gtid::parse_mysql(text)));
    let gtid = gtid.ok_or_else(|| format!("{key} is no GTID"))?;
    Ok(Some(Acknowledged {
        stream: gtid.stream(),
        number: gtid.number(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::gtid::Stream;

    fn names() -> Vec<String> {
        vec!["a".to_owned(), "b".to_owned()]
    }

    #[test]
    fn what_was_recorded_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, entry) = Journal::open(&path, &names()).unwrap();
        assert_eq!(entry, Entry::default());
        for entry in [
            Entry {
                epoch: 1,
                active: Some(ServerId(0)),
                promoting: None,
                semi_sync: false,
                needed: None,
                drained: None,
                paused: false,
                blind: None,
                fresh: false,
                exposed: true,
            },
            Entry {
                epoch: 1,
                active: Some(ServerId(0)),
                promoting: Some(ServerId(1)),
                semi_sync: true,
                needed: Some(Acknowledged {
                    stream: Stream::of_mariadb(0, 1),
                    number: 70,
                }),
                drained: Some(ServerId(1)),
                paused: true,
                blind: Some(Acknowledged {
                    stream: Stream::of_mariadb(0, 1),
                    number: 69,
                }),
                fresh: true,
                exposed: false,
            },
            Entry {
                epoch: 1,
                active: Some(ServerId(0)),
                promoting: Some(ServerId(1)),
                semi_sync: true,
                needed: Some(Acknowledged {
                    stream: Stream::of_mysql("3e11fa47-71ca-11e1-9e33-c80aa9429562").unwrap(),
                    number: 7,
                }),
                drained: None,
                paused: false,
                blind: None,
                fresh: true,
                exposed: false,
            },
        ] {
            journal.record(&entry).unwrap();
            assert_eq!(journal.read(), Ok(entry));
        }
    }

    #[test]
    fn two_at_once_and_what_is_not_understood_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = Journal::open(&path, &names()).unwrap();
        let second = Journal::open(&path, &names()).unwrap_err().to_string();
        assert!(second.contains("another Tandem"), "{second}");
        drop(journal);
        for (text, words) in [
            ("active = \"c\"", "no [[server]] has this name"),
            ("active = 3", "no name"),
            ("epoch = -1", "no number"),
            ("needed = \"all\"", "no GTID"),
            ("epoch", "can't be understood"),
        ] {
            fs::write(&path, text).unwrap();
            let problem = Journal::open(&path, &names()).unwrap_err().to_string();
            assert!(problem.contains(words), "{problem}");
        }
        let nowhere = Journal::open(Path::new("/nowhere/journal"), &names()).unwrap_err();
        assert!(nowhere.to_string().contains("its folder must exist"), "{nowhere}");
    }
}
