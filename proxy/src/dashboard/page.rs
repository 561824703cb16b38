//! The page itself: one file with all that it needs, and a policy that lets a browser load nothing else.

use std::fmt::Write as _;

const PAGE: &str = include_str!("page.html");

/// Where the page has its nonce.
const PLACE: &str = "{{nonce}}";

/// Bytes of a nonce: nobody guesses 128 bits.
const NONCE: usize = 16;

/// For one answer, in hexadecimal.
pub fn nonce() -> String {
    let mut bytes = [0; NONCE];
    // Without randomness the policy would let in what somebody guesses, so nothing is let in: the page stays bare.
    if getrandom::fill(&mut bytes).is_err() {
        return String::new();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What a browser may do with the page: run its script, use its style, and ask Tandem.
pub fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

pub fn html(nonce: &str) -> String {
    PAGE.replace(PLACE, nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of the page comes from elsewhere, and nothing in it needs a laxer policy.
    #[test]
    fn the_page_is_whole() {
        let (first, second) = (nonce(), nonce());
        assert!(first.len() == 2 * NONCE && first != second);
        let page = html(&first);
        assert_eq!(page.matches(&first).count(), 2, "the style and the script");
        assert!(!page.contains(PLACE));
        assert!(policy(&first).contains(&format!("script-src 'nonce-{first}'")));
        for foreign in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(http",
            "innerHTML",
            " style=\"",
            " onclick=",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
    }
}
