//! Text from strangers, one function a destination.
//!
//! A user name is written by the attacker, and each destination has its own characters that mean something. Escaping once
//! "for all" would either miss one or make every name unreadable. So each destination has one function here, everything
//! that goes there passes through it, and a property test says which characters can never come out.
//!
//! All of them first make the common tricks visible: controls, bidirectional overrides, zero-width characters and tags
//! become `\u{…}`, and what is longer than a screen is cut with a mark.

use serde::Serialize;

use crate::model::text::{cut, is_hostile};

/// Bytes of one text of a stranger in a message. More: cut, with a mark.
const TEXT_BYTES_MAX: usize = 2048;
const CUT_MARK: &str = "…[cut]";

/// Slack: `& < >` become entities, so nothing can be a mention or a link. At most `chars_max` characters come out.
pub fn slack(text: &str, chars_max: usize) -> String {
    bounded(text, chars_max, |it, out| match it {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        _ => out.push(it),
    })
}

/// Inside a code span or block of Slack: as [`slack`], and nothing can end the code.
pub fn slack_code(text: &str, chars_max: usize) -> String {
    let text = slack(text, chars_max).replace('`', "\u{2cb}");
    if text.is_empty() { "–".into() } else { text }
}

/// Text and attribute values of HTML.
pub fn html(text: &str) -> String {
    bounded(text, usize::MAX, |it, out| match it {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        _ => out.push(it),
    })
}

/// A mail header, before the library encodes it: one line without controls. Without this, CR LF would survive inside an
/// encoded word, and some readers decode first and split afterwards. A stranger's own encoded word (`=?utf-8?B?…?=`) is
/// plain ASCII to the library and would be decoded by the reader, so its `=?` is taken apart.
pub fn header(text: &str, chars_max: usize) -> String {
    bounded(&text.replace("=?", "= ?"), chars_max, |it, out| out.push(it))
}

/// A terminal and the text part of a mail: one line, nothing that moves the cursor or the reading direction.
pub fn terminal(text: &str) -> String {
    bounded(text, usize::MAX, |it, out| out.push(it))
}

/// A token of an HTTP or mail header: letters, digits, `-` and `_` of the text, at most 64.
pub fn token(text: &str) -> String {
    let kept: String =
        text.chars().filter(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_')).take(64).collect();
    if kept.is_empty() { "none".into() } else { kept }
}

/// JSON in ASCII: the same value for every parser, and nothing in it can drive a terminal that shows a log of it.
pub fn json(value: &impl Serialize) -> String {
    let out = serde_json::to_string(value).expect("alerts and messages have text keys");
    // Nearly every one: looked at whole, for the texts of an alert hold so many quotes that each piece is a few bytes.
    if out.is_ascii() && memchr::memchr(DELETE, out.as_bytes()).is_none() {
        return out;
    }
    // Outside of texts JSON has nothing but ASCII, so every other character stands in one and may be written as its units.
    let mut ascii = String::with_capacity(out.len() + 64);
    for it in out.chars() {
        match it.is_ascii() && it != char::from(DELETE) {
            true => ascii.push(it),
            false => it.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    ascii
}

const DELETE: u8 = 0x7f;

/// The text with hostile characters visible and each other character as `write` has it, never more than `chars_max`
/// characters nor half an escape.
fn bounded(text: &str, chars_max: usize, write: impl Fn(char, &mut String)) -> String {
    let kept = cut(text, TEXT_BYTES_MAX);
    let mut out = String::with_capacity(kept.len() + 16);
    let mut ends = Vec::new();
    let mut chars = 0;
    let mut fits = kept.len() == text.len();
    let mut one = String::new();
    for it in kept.chars() {
        one.clear();
        if is_hostile(it) {
            one.extend(it.escape_unicode())
        } else {
            write(it, &mut one)
        }
        let len = one.chars().count();
        if chars + len > chars_max {
            fits = false;
            break;
        }
        if chars_max != usize::MAX {
            ends.push((out.len(), chars));
        }
        out.push_str(&one);
        chars += len;
    }
    if !fits {
        // Whole escapes are taken back until the mark has room.
        while let Some((end, before)) = ends.pop().filter(|_| chars + CUT_MARK.chars().count() > chars_max) {
            out.truncate(end);
            chars = before;
        }
        if chars + CUT_MARK.chars().count() <= chars_max {
            out.push_str(CUT_MARK);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOSTILE: &str = "<!channel> `x` *b* \r\nBcc: a@b \u{1b}[31m \u{202e}<script>&'\"";

    #[test]
    fn each_destination_has_its_own_escapes() {
        assert_eq!(
            slack(HOSTILE, 500),
            "&lt;!channel&gt; `x` *b* \\u{d}\\u{a}Bcc: a@b \\u{1b}[31m \\u{202e}&lt;script&gt;&amp;'\""
        );
        assert!(slack_code(HOSTILE, 500).starts_with("&lt;!channel&gt; ˋxˋ"));
        assert_eq!(slack_code("", 10), "–");
        assert_eq!(html("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
        assert_eq!(header("a\r\nBcc: b", 100), "a\\u{d}\\u{a}Bcc: b");
        assert_eq!(header("=?utf-8?B?DQo=?=", 100), "= ?utf-8?B?DQo= ?=");
        assert_eq!(header(&"x".repeat(50), 12), "xxxxxx…[cut]");
        assert_eq!(slack("&&&&", 12), "&amp;…[cut]");
        assert_eq!(token("a1/../b\r\n"), "a1b");
        assert_eq!(token("\u{202e}"), "none");
        assert_eq!(json(&"é😀\u{7f}\u{9b}\n"), r#""\u00e9\ud83d\ude00\u007f\u009b\n""#);
        assert_eq!(terminal(&"x".repeat(3000)).len(), 2048 + CUT_MARK.len());
    }

    fn has_hostile(text: &str) -> bool {
        text.chars().any(is_hostile)
    }

    /// Anything, with the characters that matter far more often than chance would have them.
    fn texts() -> impl Strategy<Value = String> {
        let one = prop_oneof![
            any::<char>(),
            proptest::sample::select(vec![
                '<', '>', '&', '`', '"', '\'', '\r', '\n', '\u{1b}', '\u{202e}', '\u{200b}', '*', '@', '\u{9b}', '😀',
                '=', '?',
            ]),
        ];
        proptest::collection::vec(one, 0..200).prop_map(|it| it.into_iter().collect())
    }

    proptest! {
        #[test]
        fn no_special_comes_out(text in texts(), max in 0usize..300) {
            for out in [slack(&text, max), slack_code(&text, max)] {
                prop_assert!(!out.contains(['<', '>']) && !has_hostile(&out), "{}", out);
                let bare = out.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
                prop_assert!(!bare.contains('&'), "{}", out);
                prop_assert!(out.chars().count() <= max.max(1));
            }
            prop_assert!(!slack_code(&text, max).contains('`'));
            let out = html(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']) && !has_hostile(&out), "{}", out);
            for out in [header(&text, max), terminal(&text)] {
                prop_assert!(!has_hostile(&out), "{}", out);
            }
            prop_assert!(header(&text, max).chars().count() <= max);
            prop_assert!(!header(&text, max).contains("=?"));
            prop_assert!(token(&text).bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_'));
            let out = json(&text);
            prop_assert!(out.bytes().all(|it| (0x20..0x7f).contains(&it)));
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
