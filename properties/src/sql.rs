//! Statements: what is safe to share and what is written to logs does not hang on how a text is dressed up.

use tandem::classify::facts::{Facts, Purity};
use tandem::classify::kill;
use tandem::classify::{Classifier, Dialect, analyse, normalise};
use tandem::fuzzing::{Seen, tokens};
use tandem::topology::Flavor;

use crate::Input;

/// Longer than any line of an input.
const UNCUT: usize = 1 << 20;
/// From here on, parentheses are counted and no longer compared as lists.
const DEEP: usize = 20;

/// A byte for the dialect: flavour and the settings that change lexing.
pub(crate) fn dialect(choice: u8) -> Dialect {
    let is = |bit: u8| choice >> bit & 1 != 0;
    let (flavor, version) = match is(0) {
        false => (Flavor::MariaDb, 101_114),
        true => (Flavor::MySql, 90_700),
    };
    Dialect {
        flavor,
        version,
        ansi_quotes: is(1),
        no_backslash_escapes: is(2),
        ignore_space: is(3),
        multibyte: is(4),
    }
}

/// The cache tells what analysis tells, and a line for logs keeps to its length.
pub(crate) fn classify(data: &[u8]) {
    let mut input = Input(data);
    let dialect = dialect(input.byte());
    let max = usize::from(input.byte());
    let text = input.0;
    let facts = analyse(text, dialect);
    let mut classifier = Classifier::new(4);
    let first = classifier.classify(text, dialect);
    let second = classifier.classify(text, dialect);
    assert_eq!(*first.facts, facts);
    assert_eq!(*second.facts, facts);
    assert_eq!(first.fingerprint, second.fingerprint);
    let line = normalise(text, dialect, max);
    assert!(line.len() <= max + '…'.len_utf8());
    if let Some(tokens) = tokens(text, dialect) {
        let mut at = 0;
        for token in tokens {
            assert!(at <= token.start && token.start < token.end && token.end <= text.len());
            at = token.end;
        }
        assert_ne!(first.fingerprint.0, 0, "what can be read has a shape");
    } else {
        assert_eq!(facts.purity, Purity::Unreadable);
    }
    if kill::parse(text, dialect).is_some() {
        assert_ne!(facts.purity, Purity::Pure, "a KILL is no read");
    }
}

/// Comments, white space and the case of words change nothing that the router goes by.
pub(crate) fn dress(data: &[u8]) {
    let mut input = Input(data);
    let dialect = dialect(input.byte());
    let text = input.0;
    let Some(tokens) = tokens(text, dialect) else {
        return;
    };
    let dash = |token: &Seen| &text[token.start..token.end] == b"-";
    let dashes = |pair: &[Seen]| dash(&pair[0]) && dash(&pair[1]) && pair[0].end == pair[1].start;
    if tokens.windows(2).any(dashes) {
        // What stands behind two of them makes a comment of them, or not.
        return;
    }
    let plain = analyse(text, dialect);
    let shape = |text: &[u8]| Classifier::new(2).classify(text, dialect).fingerprint;
    for (what, dressed) in [
        ("comments", rewrite(text, &tokens, b"/*x*/", false)),
        ("white space", rewrite(text, &tokens, b" \n\t", false)),
        ("a comment behind it", [text, b" -- x\n/* y */"].concat()),
    ] {
        // A NUL at the very end is the end; with something behind it, it is not.
        if text.last() == Some(&0) && dressed.starts_with(text) {
            continue;
        }
        assert_eq!(analyse(&dressed, dialect), plain, "{what}: {}", lossy(&dressed));
        assert_eq!(shape(&dressed), shape(text), "{what}: {}", lossy(&dressed));
    }
    let mut classifier = Classifier::new(4);
    classifier.classify(text, dialect);
    for value in [&b" 7 "[..], b" 'z' ", b" ? "] {
        let other = revalued(text, &tokens, value);
        // Whether sqlparser can read it, and so its tables, may hang on where a string can stand and a number can't.
        let cached = without_tables(&classifier.classify(&other, dialect).facts);
        let fresh = without_tables(&analyse(&other, dialect));
        assert_eq!(cached, fresh, "{} after {}", lossy(&other), lossy(text));
    }
    let shouted = analyse(&rewrite(text, &tokens, b"\n", true), dialect);
    // The second opinion may know functions and tables by their case; it never makes a read of a write.
    assert_eq!(
        without_tables(&shouted),
        without_tables(&plain),
        "{}",
        lossy(text)
    );
}

fn without_tables(facts: &Facts) -> Facts {
    Facts {
        tables: Default::default(),
        ..facts.clone()
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// The same tokens with another separator, and words in the other case.
fn rewrite(text: &[u8], tokens: &[Seen], separator: &[u8], shout: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        if token.spaced {
            out.extend_from_slice(separator);
        }
        let bytes = &text[token.start..token.end];
        let flips = shout && token.word && !bytes[0].is_ascii_digit();
        out.extend(
            bytes
                .iter()
                .map(|byte| match byte.is_ascii_alphabetic() && flips {
                    true => byte ^ 0x20,
                    false => *byte,
                }),
        );
    }
    out
}

/// The same statement about another value.
fn revalued(text: &[u8], tokens: &[Seen], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        if token.spaced {
            out.push(b' ');
        }
        match token.literal {
            true => out.extend_from_slice(value),
            false => out.extend_from_slice(&text[token.start..token.end]),
        }
    }
    out
}

/// A line for logs is a statement of the same shape, and its own line.
pub(crate) fn lines(data: &[u8]) {
    let mut input = Input(data);
    let dialect = dialect(input.byte());
    let text = input.0;
    let tokens = tokens(text, dialect).filter(|tokens| has_whole_lists(text, tokens));
    if std::str::from_utf8(text).is_err() || tokens.is_none() {
        return;
    }
    let line = normalise(text, dialect, UNCUT);
    if line.contains("?(") {
        // `(DEFAULT(a))`: the word passes for a value, and a value has no arguments.
        return;
    }
    let again = normalise(line.as_bytes(), dialect, UNCUT);
    assert_eq!(again, line, "{}", lossy(text));
    let shape = |text: &[u8]| Classifier::new(2).classify(text, dialect).fingerprint;
    assert_eq!(shape(line.as_bytes()), shape(text), "{line:?} of {}", lossy(text));
}

/// Whether all parentheses are closed, not too deep, and no element of a list is missing: no statement without these
/// is one, and what lists have in common is then a matter of taste.
fn has_whole_lists(text: &[u8], tokens: &[Seen]) -> bool {
    let mut depth = 0_usize;
    let mut before = b",".as_slice();
    for token in tokens {
        let bytes = &text[token.start..token.end];
        match bytes {
            b"(" if depth < DEEP => depth += 1,
            b")" if depth > 0 && before != b"," => depth -= 1,
            b"(" | b")" => return false,
            b"," | b";" if matches!(before, b"," | b"(" | b";") => return false,
            b";" if depth > 0 => return false,
            _ => {}
        }
        before = bytes;
    }
    depth == 0 && before != b","
}

/// A value never gets into a line for logs, whatever stands before and behind it.
///
/// A byte for the dialect, a part with its length, and the rest: the value is put between them.
pub(crate) fn secrets(data: &[u8]) {
    let mut input = Input(data);
    let dialect = dialect(input.byte());
    let before = input.part().unwrap_or_default();
    let after = input.0;
    let Some(tokens) = tokens(before, dialect) else {
        return;
    };
    // `@'x'` is a variable's name, and names are shown.
    let names = tokens
        .last()
        .is_some_and(|last| last.end == before.len() && before[last.start] == b'@');
    for secret in [&b"'s3cretZ'"[..], b" 73829164738291 ", b" 0x5333637265745a "] {
        let shown = lossy(secret.trim_ascii()).replace('\'', "");
        if lossy(before).contains(&shown) || lossy(after).contains(&shown) || names {
            continue;
        }
        let text = [before, secret, after].concat();
        let line = normalise(&text, dialect, UNCUT);
        assert!(!line.contains(&shown), "{line:?} of {}", lossy(&text));
    }
}
