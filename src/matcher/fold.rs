//! Text without case: full Unicode case folding, character by character.
//!
//! Because each character folds by itself, folding keeps containment: where a text holds a needle, the folded text holds
//! the folded needle. So everything without case is the exact test on two folded texts.

use caseless::Caseless;

/// Replaces `out` by the folded text. ASCII, which most values are, costs a copy.
#[inline]
pub fn fold_into(text: &str, out: &mut String) {
    out.clear();
    if text.is_ascii() {
        out.push_str(text);
        out.make_ascii_lowercase();
    } else {
        out.extend(text.chars().default_case_fold());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(text: &str) -> String {
        let mut out = "old".to_string();
        fold_into(text, &mut out);
        assert_eq!(out, crate::expr::plain::fold(text));
        out
    }

    #[test]
    fn folds_what_has_no_one_to_one_pair() {
        for (left, right) in
            [("Straße", "STRASSE"), ("ΣΊΣΥΦΟΣ", "σίσυφοσ"), ("\u{212a}", "k"), ("ſ", "S"), ("ﬃ", "FFI")]
        {
            assert_eq!(fold(left), fold(right), "{left} {right}");
        }
        assert_ne!(fold("a"), fold("а"), "Latin and Cyrillic stay apart");
    }
}
