//! Writing what was set into the file: the operator's comments, order and spacing stay, and so do owner and mode. The new text is
//! checked as a whole before it takes the old one's place, in one step.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{Live, Next, read};
use crate::config::problem::{Fault, Place, Problem, Problems};
use crate::config::schema::{self, Key, Section};
use crate::config::{file, parts};

impl Live {
    /// Writes what was set into the file. What the environment or an option has over it stays set beside it.
    ///
    /// # Errors
    /// When the file is not what can be written to, or would not be right; then it is as it was.
    pub fn save(&self) -> Result<Next, Problems> {
        let sources = self.sources.as_ref().ok_or_else(super::no_sources)?;
        let path = sources.file.as_ref().ok_or_else(super::no_sources)?;
        let text = file::read(path, &mut Problems::default())?;
        let text = with(&text, &self.set).map_err(|fault| problem(path, fault))?;
        let (saved, _) = read(sources, Some(&text), &[])?;
        write(path, &text).map_err(|error| {
            let way_out = "the account that runs Tandem must be allowed to write there (SHOW CONFIG DIFF tells what is to be written)";
            problem(path, Fault::Invalid(format!("can't be written: {error}; {way_out}")))
        })?;
        let mut left = self.set.clone();
        left.retain(|(key, _)| parts::differ(&saved.parts, &self.wanted.parts, key));
        self.next(left, &self.running)
    }
}

fn problem(path: &Path, fault: Fault) -> Problems {
    Problems::from(Problem {
        key: "file".to_owned(),
        place: Place::File {
            path: path.to_owned(),
            line: None,
        },
        fault,
    })
}

/// `text` with these keys and values in it.
pub(super) fn with(text: &str, set: &[(String, String)]) -> Result<String, Fault> {
    let unreadable = |error: toml_edit::TomlError| Fault::Syntax(error.message().trim().to_owned());
    let mut document: DocumentMut = text.parse().map_err(unreadable)?;
    for (label, value) in set {
        put(&mut document, label, value)
            .ok_or_else(|| Fault::Invalid(format!("has no place for {label}; write it there by hand")))?;
    }
    Ok(document.to_string())
}

fn put(document: &mut DocumentMut, label: &str, value: &str) -> Option<()> {
    let (section, rest) = label.split_once('.')?;
    let section = schema::section(section)?;
    let (entry, key) = match section.repeated {
        true => rest.rsplit_once('.').map(|(entry, key)| (Some(entry), key))?,
        false => (None, rest),
    };
    let key = section.key(key)?;
    let item = document.entry(section.name).or_insert_with(|| fresh(section));
    let table = match entry {
        Some(entry) => find_entry(item, entry)?,
        None => item.as_table_like_mut()?,
    };
    put_value(table, key, value);
    Some(())
}

fn fresh(section: &Section) -> Item {
    match section.repeated {
        true => Item::ArrayOfTables(toml_edit::ArrayOfTables::new()),
        false => Item::Table(Table::new()),
    }
}

/// The entry of this name, which is added if there is none.
fn find_entry<'a>(item: &'a mut Item, name: &str) -> Option<&'a mut dyn TableLike> {
    let is_it = |table: &dyn TableLike| table.get("name").and_then(Item::as_str) == Some(name);
    match item {
        Item::ArrayOfTables(tables) => {
            let place = tables.iter().position(|table| is_it(table));
            let place = place.unwrap_or_else(|| {
                let mut table = Table::new();
                table.decor_mut().set_prefix("\n");
                table.insert("name", toml_edit::value(name));
                tables.push(table);
                tables.len() - 1
            });
            tables.get_mut(place).map(|table| table as _)
        }
        Item::Value(Value::Array(values)) => {
            let place = values
                .iter()
                .position(|value| value.as_inline_table().is_some_and(|table| is_it(table)));
            let place = place.unwrap_or_else(|| {
                let mut table = InlineTable::new();
                table.insert("name", name.into());
                values.push(table);
                values.len() - 1
            });
            let table = values.get_mut(place)?.as_inline_table_mut()?;
            Some(table as _)
        }
        _ => None,
    }
}

fn put_value(table: &mut dyn TableLike, key: &Key, text: &str) {
    let old = table.get_mut(key.name).and_then(Item::as_value_mut);
    let is_number = old.as_ref().is_some_and(|old| old.is_integer());
    let is_list = old.as_ref().is_some_and(|old| old.is_array());
    let mut new = match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) if key.is_bare() || is_number => Value::from(number),
        (_, Ok(truth)) if key.is_bare() => Value::from(truth),
        _ if is_list => Value::from(text.split(',').map(str::trim).collect::<Array>()),
        _ => Value::from(text),
    };
    match old {
        Some(old) => {
            // The comment behind it, and the blanks around it.
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(key.name, Item::Value(new));
        }
    }
}

/// Beside it, synced, then in its place: whoever reads it sees one or the other.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // A link goes on being one.
    let path = fs::canonicalize(path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let about = fs::metadata(&path)?;
    let mut beside = tempfile::NamedTempFile::new_in(folder)?;
    beside.write_all(text.as_bytes())?;
    let made = beside.as_file().metadata()?;
    if made.gid() != about.gid() {
        chown(beside.path(), None, Some(about.gid()))?;
    }
    if made.uid() != about.uid() {
        match chown(beside.path(), Some(about.uid()), None) {
            // Nobody but root can give a file away. By group and mode it is read by the same accounts, and by this one.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            given => given?,
        }
    }
    beside.as_file().set_permissions(about.permissions())?;
    beside.as_file().sync_all()?;
    beside.persist(&path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Ours\nlistener.address = \"127.0.0.1:1\" # not 2\n\n[pool] # connections\nqueue_limit   = 5   # few\n\n\
        [server_compression]\nthreshold = 50 # bytes\n\n[[server]]\nname = 'a'\nweight = 1 # half\n# the other\n[[server]]\nname = \"b\"\n";

    fn saved(set: &[(&str, &str)]) -> String {
        let set: Vec<_> = set
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        with(TEXT, &set).expect("written")
    }

    #[test]
    fn only_what_was_set_is_another() {
        let text = saved(&[
            ("listener.address", "127.0.0.1:3"),
            ("pool.queue_limit", "7"),
            ("server_compression.threshold", "60"),
            ("server.a.weight", "2"),
        ]);
        let expected = TEXT
            .replace("127.0.0.1:1", "127.0.0.1:3")
            .replace("= 5 ", "= 7 ")
            .replace("= 50", "= 60")
            .replace("weight = 1", "weight = 2");
        assert_eq!(text, expected);
    }

    #[test]
    fn what_was_not_there_is_added_in_its_place() {
        let text = saved(&[
            ("server.b.weight", "3"),
            ("listener.local_infile", "true"),
            ("pool.idle_timeout", "1m"),
            ("user.shop.password", "x\"y"),
            ("metrics.address", "127.0.0.1:9"),
        ]);
        for line in [
            "name = \"b\"\nweight = 3\n",
            "listener.local_infile = true\n",
            "queue_limit   = 5   # few\nidle_timeout = \"1m\"\n",
            "[[user]]\nname = \"shop\"\npassword = 'x\"y'\n",
            "[metrics]\naddress = \"127.0.0.1:9\"\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }

    #[test]
    fn inline_entries_stay_so() {
        let text = with(
            "server = [{ name = \"a\", weight = 1 }, { name = \"b\" }] # both\n",
            &[("server.b.weight".to_owned(), "2".to_owned())],
        );
        let expected = "server = [{ name = \"a\", weight = 1 }, { name = \"b\" , weight = 2 }] # both\n";
        let spaces = |text: &str| text.replace(' ', "");
        assert_eq!(text.map(|text| spaces(&text)), Ok(spaces(expected)));
    }
}
