//! Between the committed corpus (a file of hex lines for each property) and the folders that libFuzzer works with.
//!
//!     corpus names               the names of all properties, one a line
//!     corpus unpack NAME FOLDER  writes corpus and seeds as files into the folder
//!     corpus pack NAME FOLDER    replaces the corpus by the folder's files, the shortest first, within a limit

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use tandem_properties::{ALL, seeds, unhex};

/// Most bytes of a property's file: the whole corpus stays within a few hundred kilobytes.
const LIMIT: usize = 24 * 1024;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["names"] => ALL.iter().for_each(|(name, _)| println!("{name}")),
        ["unpack", name, folder] => unpack(name, Path::new(folder))?,
        ["pack", name, folder] => pack(name, Path::new(folder))?,
        _ => panic!("usage: corpus names | unpack NAME FOLDER | pack NAME FOLDER"),
    }
    Ok(())
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
        .with_extension("txt")
}

fn unpack(name: &str, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let text = fs::read_to_string(file(name))?;
    for (number, input) in text.lines().map(unhex).chain(seeds(name)).enumerate() {
        fs::write(folder.join(format!("known-{number}")), input)?;
    }
    Ok(())
}

fn pack(name: &str, folder: &Path) -> io::Result<()> {
    let entries: io::Result<Vec<_>> = fs::read_dir(folder)?.collect();
    let inputs: io::Result<Vec<Vec<u8>>> = entries?.iter().map(|entry| fs::read(entry.path())).collect();
    let mut inputs = inputs?;
    let known = seeds(name);
    inputs.retain(|input| !known.contains(input));
    inputs.sort_by_key(|input| (input.len(), input.clone()));
    let mut text = String::new();
    for input in inputs {
        if text.len() + 2 * input.len() > LIMIT {
            break;
        }
        input
            .iter()
            .for_each(|byte| text.push_str(&format!("{byte:02x}")));
        text.push('\n');
    }
    fs::write(file(name), text)
}
