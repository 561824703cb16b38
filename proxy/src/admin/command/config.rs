//! What is said about the configuration: `SET pool.queue_limit = 5`, `UPDATE config SET value = … WHERE …`.

use super::{Command, Refusal, ended, expect, nonempty, quoted, skip, word_only};
use crate::config::live::Assignment;

/// What follows `SET`; `None` where that is not about the configuration: its keys have a section before them.
pub(super) fn set(text: &str) -> Option<Result<Command, Refusal>> {
    let (section, rest) = nonempty(word_only(text))?;
    if !rest.starts_with('.') || section.starts_with('@') {
        return None;
    }
    Some(assignments(text).map(Command::Set).ok_or(Refusal::NoAssignment))
}

fn assignments(mut text: &str) -> Option<Vec<Assignment>> {
    let mut found = Vec::new();
    loop {
        let (key, rest) = path(text)?;
        let (value, rest) = value(skip(skip(rest).strip_prefix('=')?))?;
        found.push(Assignment { key, value });
        match skip(rest).strip_prefix(',') {
            Some(next) => text = skip(next),
            None => return ended(skip(rest)).then_some(found),
        }
    }
}

/// `pool.queue_limit`, `server.a.weight`, `user.'shop-1'.consistency`.
fn path(mut text: &str) -> Option<(String, &str)> {
    let mut path = String::new();
    loop {
        let (part, rest) = quoted(text).or_else(|| nonempty(part(text)))?;
        path += part;
        match rest.strip_prefix('.') {
            Some(next) => {
                path.push('.');
                text = next;
            }
            None => return Some((path, rest)),
        }
    }
}

/// Names of servers and users have hyphens too.
fn part(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || "_-$".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// In quotes, which stand twice for one of them, or as it is up to a blank or comma. `DEFAULT` is no value.
fn value(text: &str) -> Option<(Option<String>, &str)> {
    let Some(quote) = text.chars().next().filter(|c| "'\"`".contains(*c)) else {
        let bare = |c: char| c.is_whitespace() || c == ',' || c == ';';
        let (value, rest) = text.split_at(text.find(bare).unwrap_or(text.len()));
        let value = (!value.is_empty()).then(|| value.to_owned())?;
        let is_default = value.eq_ignore_ascii_case("DEFAULT");
        return Some(((!is_default).then_some(value), rest));
    };
    let mut value = String::new();
    let mut rest = &text[1..];
    loop {
        let (before, after) = rest.split_once(quote)?;
        value += before;
        match after.strip_prefix(quote) {
            Some(more) => {
                value.push(quote);
                rest = more;
            }
            None => return Some((Some(value), after)),
        }
    }
}

/// What follows `UPDATE`: the new values are asked of the table as it is.
pub(super) fn update(text: &str) -> Result<Command, Refusal> {
    asked(text).map(Command::Update).ok_or(Refusal::NoUpdate)
}

fn asked(text: &str) -> Option<String> {
    let (mut table, mut rest) = quoted(text).or_else(|| nonempty(word_only(text)))?;
    if let Some(behind) = rest.strip_prefix('.') {
        (table, rest) = quoted(behind).or_else(|| nonempty(word_only(behind)))?;
    }
    let rest = expect(skip(rest), "SET")?;
    let (column, rest) = quoted(rest).or_else(|| nonempty(word_only(rest)))?;
    let known = table.eq_ignore_ascii_case("config") && column.eq_ignore_ascii_case("value");
    let rest = skip(rest).strip_prefix('=').filter(|_| known)?;
    let (expression, condition) = split_at_where(rest)?;
    let condition = condition.trim_end().trim_end_matches(';');
    Some(format!(
        "SELECT `key`, {expression} FROM config WHERE {condition}"
    ))
}

/// At the word WHERE that stands in no quotes.
fn split_at_where(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let mut before = ' ';
    for (place, letter) in text.char_indices() {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if "'\"`".contains(letter) => quote = Some(letter),
            None if !before.is_alphanumeric() && before != '_' => {
                let (word, rest) = word_only(&text[place..]);
                if word.eq_ignore_ascii_case("WHERE") {
                    return Some((&text[..place], rest));
                }
            }
            None => {}
        }
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn set(key: &str, value: Option<&str>) -> Assignment {
        Assignment {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn keys_with_a_section_are_set_and_what_clients_say_is_not() {
        for (text, expected) in [
            (
                "SET pool.queue_limit = 5",
                vec![set("pool.queue_limit", Some("5"))],
            ),
            ("set server.a.weight=0;", vec![set("server.a.weight", Some("0"))]),
            (
                "SET user.wp-app.consistency = eventual",
                vec![set("user.wp-app.consistency", Some("eventual"))],
            ),
            (
                "SET user.`a b`.password = 'it''s'",
                vec![set("user.a b.password", Some("it's"))],
            ),
            (
                "SET pool.idle_timeout = DEFAULT",
                vec![set("pool.idle_timeout", None)],
            ),
            (
                "SET listener.compression = 'zlib, zstd' , log.level=debug ;",
                vec![
                    set("listener.compression", Some("zlib, zstd")),
                    set("log.level", Some("debug")),
                ],
            ),
            (
                "SET listener.proxy_protocol = ''",
                vec![set("listener.proxy_protocol", Some(""))],
            ),
        ] {
            assert_eq!(parse(text), Ok(Command::Set(expected)), "{text}");
        }
        for text in [
            "SET NAMES utf8mb4",
            "SET @@session.sql_mode = ''",
            "SET autocommit = 0",
            "SET @a.b = 1",
        ] {
            assert_eq!(parse(text), Ok(Command::Nothing), "{text}");
        }
        for text in [
            "SET pool.queue_limit",
            "SET pool. = 1",
            "SET pool.queue_limit = ",
            "SET pool.x = 1 2",
        ] {
            assert_eq!(parse(text), Err(Refusal::NoAssignment), "{text}");
        }
    }

    #[test]
    fn an_update_asks_the_table_for_its_values() {
        for (text, expected) in [
            (
                "UPDATE config SET value = 3 WHERE `key` = 'server.a.weight';",
                "SELECT `key`,  3  FROM config WHERE  `key` = 'server.a.weight'",
            ),
            (
                "update `tandem`.`config` set `value`='where' where section = 'log' LIMIT 1",
                "SELECT `key`, 'where'  FROM config WHERE  section = 'log' LIMIT 1",
            ),
        ] {
            assert_eq!(parse(text), Ok(Command::Update(expected.to_owned())));
        }
        for text in [
            "UPDATE config SET value = 1",
            "UPDATE servers SET value = 1 WHERE 1",
            "UPDATE config SET key = 1 WHERE 1",
        ] {
            assert_eq!(parse(text), Err(Refusal::NoUpdate), "{text}");
        }
    }
}
