//! Text from strangers, made safe to show; and what a misspelt word was meant to be.

use std::borrow::Cow;

/// Whether a character can mislead a reader or drive a terminal: C0, C1, DEL, line and paragraph separators,
/// bidirectional controls, zero-width and tag characters.
pub fn is_hostile(it: char) -> bool {
    matches!(it,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The text with hostile characters written as `\u{…}`; borrowed when there are none.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for it in text.chars() {
        if is_hostile(it) {
            out.extend(it.escape_unicode());
        } else {
            out.push(it);
        }
    }
    Cow::Owned(out)
}

/// At most `bytes_max` bytes of the text, cut between characters; whether it was cut is said by comparing lengths.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The candidate that was probably meant, if one is near enough to be no coincidence.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > 80 {
        return None;
    }
    let folded = word.to_lowercase().replace(['_', '-', ' '], "");
    let allowed = match folded.chars().count() {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|it| (distance(&folded, &it.to_lowercase().replace(['_', '-', ' '], "")), it))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, it)| (*distance, it.len()))
        .map(|(_, it)| it)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// The cells of a row of a table, without their quotes, and whether each had some. Inside quotes a quote is written twice.
pub fn cells(row: &str, separator: char) -> impl Iterator<Item = (String, bool)> {
    let mut letters = row.chars().peekable();
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let (mut cell, mut is_quoted, mut is_open) = (String::new(), false, false);
        while let Some(letter) = letters.next() {
            match letter {
                '"' if is_open && letters.peek() == Some(&'"') => cell.extend(letters.next()),
                '"' if is_open || cell.is_empty() => {
                    is_open = !is_open;
                    is_quoted = true;
                }
                _ if letter == separator && !is_open => return Some((cell, is_quoted)),
                _ => cell.push(letter),
            }
        }
        is_over = true;
        Some((cell, is_quoted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_become_visible() {
        assert_eq!(visible("plain Ünïcode →"), "plain Ünïcode →");
        assert_eq!(visible("a\u{1b}[31mb\nc\u{202e}d"), "a\\u{1b}[31mb\\u{a}c\\u{202e}d");
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn words_that_were_meant() {
        assert_eq!(nearest("sevrity", ["severity", "stories"]), Some("severity"));
        assert_eq!(nearest("user_name", ["user.name", "username"]), Some("username"));
        assert_eq!(nearest("Cuont", ["Count", "Each"]), Some("Count"));
        assert_eq!(nearest("zzz", ["Count", "Each"]), None);
        assert_eq!(nearest("", ["Count"]), None);
    }
}
