//! Every key with its type, default and meaning, as text: `tandem config reference`, which docs/configuration.md is.

use super::schema::{Key, Preset, SECTIONS, Section};

const HEAD: &str = "\
# Configuration

Every key of tandem.toml. This file is what `tandem config reference` prints.

\"Acts\" says when a new value does, after `RELOAD` (or SIGHUP, or `admin.watch_file`), `SET` or `UPDATE config` on the admin port:
at once; for new connections, those that come or are opened from then on; or after a restart.

";

/// In Markdown.
pub fn reference() -> String {
    let mut text = String::from(HEAD);
    for section in SECTIONS {
        text += &of_section(section);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn of_section(section: &Section) -> String {
    let name = match section.repeated {
        true => format!("[[{}]]", section.name),
        false => format!("[{}]", section.name),
    };
    let mut text = format!(
        "## {name}\n\n{}\n\n| key | must be | default | acts | meaning |\n|---|---|---|---|---|\n",
        capital(section.meaning)
    );
    for key in section.keys {
        text += &line(key);
    }
    text.push('\n');
    text
}

fn line(key: &Key) -> String {
    let default = match key.default {
        Preset::Required => "must be set".to_owned(),
        Preset::NotSet => "not set".to_owned(),
        Preset::Value(default) if key.is_bare() => format!("`{default}`"),
        Preset::Value(default) => format!("`\"{default}\"`"),
    };
    format!(
        "| `{}` | {} | {default} | {} | {} |\n",
        key.name,
        key.kind,
        key.effect.name(),
        key.meaning
    )
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    /// docs/configuration.md is what the program prints: `tandem config reference > docs/configuration.md`.
    #[test]
    fn the_document_is_the_reference() {
        let document = include_str!("../../../docs/configuration.md");
        let reference = super::reference();
        if let Some(path) = std::env::var_os("TANDEM_WRITE_REFERENCE") {
            std::fs::write(path, &reference).expect("written");
        }
        assert!(
            document == reference,
            "docs/configuration.md is not what `tandem config reference` prints"
        );
    }
}
