//! The manual pages, from the same definitions that `--help` shows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::exit::EXITS;
use super::{DEFAULT_FILE, EXAMPLES, LAYERS};

/// `tandem.1`, as one text.
pub(super) fn main_page(command: &Command) -> io::Result<String> {
    // What stands behind the options on a terminal has sections of its own here.
    let mut command = command
        .clone()
        .after_help(None::<&str>)
        .disable_help_subcommand(true);
    command.build();
    let mut page = render(Man::new(command))?;
    page += &verbatim("EXAMPLES", EXAMPLES);
    page += &verbatim("CONFIGURATION", LAYERS);
    page += &exits();
    page += &files();
    page += ".SH \"SEE ALSO\"\n\\fBmariadb\\fR(1), \\fBmysql\\fR(1), \\fBsystemctl\\fR(1)\n";
    Ok(page)
}

/// Writes `tandem.1` and a page for each subcommand into a folder, which is made; says which.
pub(super) fn write_all(command: &Command, folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let mut built = command.clone().disable_help_subcommand(true);
    built.build();
    let mut pages = vec![("tandem.1".to_owned(), main_page(command)?)];
    let mut left: Vec<&Command> = built.get_subcommands().filter(|it| !it.is_hide_set()).collect();
    while let Some(subcommand) = left.pop() {
        left.extend(subcommand.get_subcommands().filter(|it| !it.is_hide_set()));
        let man = Man::new(subcommand.clone());
        let name = man.get_filename();
        let mut page = render(man)?;
        page += ".SH \"EXIT STATUS\"\nAs \\fBtandem\\fR(1) lists it.\n.SH \"SEE ALSO\"\n\\fBtandem\\fR(1)\n";
        pages.push((name, page));
    }
    let mut written = Vec::new();
    for (name, page) in pages {
        let path = folder.join(name);
        fs::write(&path, page)?;
        written.push(path);
    }
    written.sort();
    Ok(written)
}

fn render(man: Man) -> io::Result<String> {
    let mut page = Vec::new();
    man.manual("Tandem").render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn exits() -> String {
    let mut section = ".SH \"EXIT STATUS\"\n".to_owned();
    for (exit, meaning) in EXITS {
        section += &format!(".TP\n\\fB{}\\fR\n{}\n", exit as u8, escaped(meaning));
    }
    section
}

fn files() -> String {
    let files = [
        (
            DEFAULT_FILE,
            "the configuration, unless \\-\\-config or TANDEM_CONFIG names another",
        ),
        (
            "/var/lib/tandem",
            "the journal of who is the active master (failover.journal), and what the firewall has learnt (firewall.file)",
        ),
        (
            "/usr/share/doc/tandem/tandem.example.toml",
            "every key of the configuration with its default, explained",
        ),
    ];
    let mut section = ".SH FILES\n".to_owned();
    for (file, meaning) in files {
        section += &format!(".TP\n\\fI{}\\fR\n{meaning}\n", escaped(file));
    }
    section
}

fn verbatim(title: &str, text: &str) -> String {
    format!(".SH {title}\n.nf\n{}\n.fi\n", escaped(text))
}

/// No line may begin as a request of roff's, no backslash as an escape; and a hyphen stays one, for copying.
fn escaped(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line,
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Arguments;
    use super::*;

    #[test]
    fn the_page_has_all_exit_codes_and_subcommands() {
        let command = Arguments::command();
        let page = main_page(&command).unwrap();
        for (_, meaning) in EXITS {
            assert!(page.contains(&escaped(meaning)), "{meaning}");
        }
        for subcommand in command.get_subcommands() {
            let name = format!("tandem\\-{}(1)", subcommand.get_name());
            assert!(page.contains(&name), "{name}");
        }
        assert!(
            !page.contains("EXTRA"),
            "what --help adds has sections of its own"
        );
    }

    #[test]
    fn text_is_no_request_of_roffs() {
        assert_eq!(escaped(".x\n'y\na\\b --c"), "\\&.x\n\\&'y\na\\eb \\-\\-c");
    }
}
