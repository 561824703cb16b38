//! The TOML file: `config` reads its values, toml_edit says on which line each key stands. A key that doesn't
//! exist or hasn't the right shape is refused here, where its line is known.

use std::fs;
use std::ops::Range;
use std::path::Path;

use config::FileFormat;
use toml_edit::{Document, Item, TableLike};

use super::layers::{Layers, Origins};
use super::problem::{Fault, Place, Problem, Problems};
use super::schema::{self, Section};

/// Nobody writes a configuration this large; reading a device or a log by mistake ends here.
const LARGEST: u64 = 1 << 20;

/// The file's text; a warning when others may read it.
pub(super) fn read(path: &Path, warnings: &mut Problems) -> Result<String, Problems> {
    let problem = |fault| Problem {
        key: "file".to_owned(),
        place: Place::File {
            path: path.to_owned(),
            line: None,
        },
        fault,
    };
    let unreadable = |reason: String| Problems::from(problem(Fault::Unreadable(reason)));
    let found = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !found.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if found.len() > LARGEST {
        return Err(unreadable("it is larger than 1 MiB".to_owned()));
    }
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    if readable_by_all(&found) && text.contains("password") {
        warnings.push(problem(Fault::Warning(
            "holds passwords and every account of this machine may read it; `chmod o-rwx` it".to_owned(),
        )));
    }
    Ok(text)
}

#[cfg(unix)]
fn readable_by_all(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    found.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn readable_by_all(_found: &fs::Metadata) -> bool {
    false
}

/// Adds the file's text as a layer. Text that isn't TOML is one problem; keys have a problem each.
pub(super) fn add(
    layers: &mut Layers,
    path: &Path,
    text: &str,
    problems: &mut Problems,
) -> Result<(), Problems> {
    let lines = Lines::new(path, text);
    let document = Document::parse(text).map_err(|error| {
        Problems::from(Problem {
            key: "file".to_owned(),
            place: lines.place(error.span()),
            // The error's own Display would quote the line, which may hold a password.
            fault: Fault::Syntax(error.message().trim().to_owned()),
        })
    })?;
    layers.origins.set_whole(lines.place(None));
    for (name, item) in document.iter() {
        let place = lines.key(document.as_table(), name);
        let Some(section) = schema::section(name) else {
            problems.push(Problem {
                key: name.to_owned(),
                place,
                fault: schema::unknown_section(name),
            });
            continue;
        };
        if section.repeated {
            add_entries(&mut layers.origins, section, item, &place, &lines, problems);
        } else {
            add_section(&mut layers.origins, section, item, &place, &lines, problems);
        }
    }
    layers.add(config::File::from_str(text, FileFormat::Toml));
    Ok(())
}

fn add_section(
    origins: &mut Origins,
    section: &'static Section,
    item: &Item,
    place: &Place,
    lines: &Lines<'_>,
    problems: &mut Problems,
) {
    origins.insert(section.name, place.clone());
    match item.as_table_like() {
        Some(table) => add_keys(origins, section, section.name, table, lines, problems),
        None => problems.push(origins.problem(section.name, Fault::Shape(section.shape()))),
    }
}

/// `[[server]]` and `[[user]]`, or the same as arrays of inline tables.
fn add_entries(
    origins: &mut Origins,
    section: &'static Section,
    item: &Item,
    place: &Place,
    lines: &Lines<'_>,
    problems: &mut Problems,
) {
    origins.insert(section.name, place.clone());
    let Some(entries) = entries(item) else {
        problems.push(origins.problem(section.name, Fault::Shape(section.shape())));
        return;
    };
    for (span, entry) in entries {
        let name = entry.get("name").and_then(Item::as_str).unwrap_or_default();
        let index = origins.add_name(section.name, name.to_owned());
        let path = format!("{}[{index}]", section.name);
        origins.insert(path.clone(), lines.place(span));
        add_keys(origins, section, &path, entry, lines, problems);
    }
}

type Entry<'a> = (Option<Range<usize>>, &'a dyn TableLike);

fn entries(item: &Item) -> Option<Vec<Entry<'_>>> {
    match item {
        Item::ArrayOfTables(tables) => Some(tables.iter().map(|table| (table.span(), table as _)).collect()),
        Item::Value(value) => value
            .as_array()?
            .iter()
            .map(|value| Some((value.span(), value.as_inline_table()? as _)))
            .collect(),
        _ => None,
    }
}

fn add_keys(
    origins: &mut Origins,
    section: &'static Section,
    path: &str,
    table: &dyn TableLike,
    lines: &Lines<'_>,
    problems: &mut Problems,
) {
    for (key, item) in table.iter() {
        let full = format!("{path}.{key}");
        origins.insert(full.clone(), lines.key(table, key));
        if !section.has(key) {
            problems.push(origins.problem(&full, schema::unknown_key(section, key)));
        } else if item.is_array() && schema::is_list(section, key) {
            // Its parts are looked at where it is read.
        } else if !item.is_value() || item.is_array() || item.is_inline_table() {
            problems.push(origins.problem(&full, Fault::Shape("key = value, with a single value")));
        }
    }
}

/// Finds the line of a position in the text.
struct Lines<'a> {
    path: &'a Path,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path, text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            path,
            starts: std::iter::once(0).chain(after_newlines).collect(),
        }
    }

    fn place(&self, span: Option<Range<usize>>) -> Place {
        Place::File {
            path: self.path.to_owned(),
            line: span.map(|span| self.starts.partition_point(|start| *start <= span.start)),
        }
    }

    /// Where the key itself stands; a table's key is its header.
    fn key(&self, table: &dyn TableLike, key: &str) -> Place {
        let (name, item) = table.get_key_value(key).unzip();
        self.place(
            name.and_then(toml_edit::Key::span)
                .or_else(|| item.and_then(Item::span)),
        )
    }
}
