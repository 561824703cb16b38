//! `FIREWALL ACCEPT …` and `FIREWALL FORGET …`.

use super::{Command, Refusal, ended, expect, literal, nonempty, quoted, skip, word, word_only};
use crate::config::rule::Digests;
use crate::config::scalar::Scalar as _;
use crate::firewall::keeper::Which;

/// What follows `FIREWALL`: `ACCEPT | FORGET <digest> | ALL [FOR <account>] [IN <schema>]`. All of everybody's can't be meant.
pub(super) fn firewall(text: &str) -> Result<Command, Refusal> {
    let (verb, rest) = word(text);
    let command: fn(Which) -> Command = match verb.to_ascii_uppercase().as_str() {
        "ACCEPT" => Command::FirewallAccept,
        "FORGET" => Command::FirewallForget,
        _ => return Err(Refusal::NoFirewall),
    };
    which(rest).map(command).ok_or(Refusal::NoFirewall)
}

fn which(text: &str) -> Option<Which> {
    let (written, mut rest) = quoted(text).or_else(|| nonempty(word_only(text)))?;
    let digest = match written.eq_ignore_ascii_case("ALL") {
        true => None,
        false => Some(*Digests::from_text(written).ok()?.0.first()?),
    };
    let (mut account, mut schema) = (None, None);
    rest = skip(rest);
    while !ended(rest) {
        let (slot, behind) = match (expect(rest, "FOR"), expect(rest, "IN")) {
            (Some(behind), _) => (&mut account, behind),
            (None, Some(behind)) => (&mut schema, behind),
            (None, None) => return None,
        };
        let (name, behind) = name(behind)?;
        *slot = Some(name);
        rest = skip(behind);
    }
    (digest.is_some() || account.is_some()).then_some(Which {
        digest,
        account,
        schema,
    })
}

/// A name in quotes, which may be empty, or a word.
fn name(text: &str) -> Option<(String, &str)> {
    let bare = || {
        let end = text.find(|c: char| c.is_whitespace() || c == ';');
        nonempty(text.split_at(end.unwrap_or(text.len())))
    };
    let owned = |(name, rest): (&'_ str, _)| (name.to_owned(), rest);
    literal(text)
        .or_else(|| quoted(text).map(owned))
        .or_else(|| bare().map(owned))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::classify::Fingerprint;

    fn which(digest: Option<u64>, account: Option<&str>, schema: Option<&str>) -> Which {
        Which {
            digest: digest.map(Fingerprint),
            account: account.map(str::to_owned),
            schema: schema.map(str::to_owned),
        }
    }

    #[test]
    fn statements_are_named_by_digest_account_and_schema() {
        for (text, expected) in [
            (
                "FIREWALL ACCEPT 00000000000000ff",
                Command::FirewallAccept(which(Some(255), None, None)),
            ),
            (
                "firewall accept '00000000000000ff' for 'it''s' in '';",
                Command::FirewallAccept(which(Some(255), Some("it's"), Some(""))),
            ),
            (
                "FIREWALL ACCEPT ALL FOR wp-app",
                Command::FirewallAccept(which(None, Some("wp-app"), None)),
            ),
            (
                "FIREWALL FORGET ALL IN `a b` FOR app ;",
                Command::FirewallForget(which(None, Some("app"), Some("a b"))),
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "FIREWALL",
            "FIREWALL ACCEPT",
            "FIREWALL ACCEPT ff",
            "FIREWALL ACCEPT 00000000000000ff, 00000000000000fe",
            "FIREWALL ACCEPT ALL",
            "FIREWALL FORGET ALL IN shop",
            "FIREWALL FORGET ALL FOR",
            "FIREWALL FORGET ALL FOR app shop",
        ] {
            assert_eq!(parse(text), Err(Refusal::NoFirewall), "{text}");
        }
    }
}
