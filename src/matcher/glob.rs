//! `*` any text, `?` one character, `\` takes the next literally.
//!
//! Matching goes back to the last `*` only, which is enough because an earlier one could never do better; so the worst
//! case is the product of both lengths, not exponential.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Any,
    One,
    Literal(char),
}

/// A glob, ready to match whole texts.
#[derive(Clone, Debug)]
pub struct Glob(Box<[Token]>);

impl Glob {
    pub fn new(text: &str) -> Glob {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(it) = chars.next() {
            match it {
                '*' if tokens.last() == Some(&Token::Any) => {}
                '*' => tokens.push(Token::Any),
                '?' => tokens.push(Token::One),
                '\\' => tokens.push(Token::Literal(chars.next().unwrap_or('\\'))),
                it => tokens.push(Token::Literal(it)),
            }
        }
        Glob(tokens.into())
    }

    /// The longest text that every match holds.
    pub fn longest_literal(&self) -> String {
        let runs = self.0.split(|it| !matches!(it, Token::Literal(_)));
        let texts = runs.map(|run| {
            let chars = run.iter().filter_map(|it| if let Token::Literal(it) = it { Some(*it) } else { None });
            chars.collect::<String>()
        });
        texts.max_by_key(String::len).unwrap_or_default()
    }

    pub fn matches(&self, text: &str) -> bool {
        let tokens = &self.0;
        let mut at = 0;
        let mut rest = text;
        let mut star: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            match (tokens.get(at), next) {
                (Some(Token::Any), _) => {
                    star = Some((at, rest));
                    at += 1;
                    continue;
                }
                (Some(Token::One), Some(it)) => {
                    rest = &rest[it.len_utf8()..];
                    at += 1;
                    continue;
                }
                (Some(Token::Literal(wanted)), Some(it)) if *wanted == it => {
                    rest = &rest[it.len_utf8()..];
                    at += 1;
                    continue;
                }
                (None, None) => return true,
                (Some(Token::One | Token::Literal(_)) | None, _) => {}
            }
            // Let the last star take one character more.
            let Some((star_at, taken)) = star else { return false };
            let Some(it) = taken.chars().next() else { return false };
            rest = &taken[it.len_utf8()..];
            star = Some((star_at, rest));
            at = star_at + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_values_fit_or_do_not() {
        for (glob, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("?", "é", true),
            ("??", "é", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"a\", r"a\", true),
            ("*.exe", "a.exe.exe", true),
            ("a**b", "ab", true),
            ("*é?", "aéé", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), expected, "{glob} {text}");
        }
        assert_eq!(Glob::new(r"a*b\*c?d").longest_literal(), "b*c");
        let hard = Glob::new(&"a*".repeat(50));
        assert!(!hard.matches(&("a".repeat(40) + "b")));
    }
}
