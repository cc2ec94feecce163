//! Sigma's regular expressions (PCRE) in the dialect we run.
//!
//! Most read the same in both. Where the same letters mean something else (`[a[b]`, `\<`, a brace that repeats nothing) they are
//! rewritten; what we cannot run in linear time (look-around, back-references, possessive and atomic groups) is refused by
//! name, never approximated.

/// The pattern in our dialect; or what it asks that we do not have.
pub fn translate(pattern: &str) -> Result<String, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '\\' => {
                escape(next, &mut out)?;
                at += 2;
                continue;
            }
            '[' => {
                at = class(&chars, at, &mut out)?;
                continue;
            }
            '(' if next == Some('?') => group(&chars[at + 2..])?,
            '(' if next == Some('*') => return Err("a regular expression with control verbs".into()),
            '{' => match quantifier(&chars, at) {
                Some(end) => {
                    possessive(chars.get(end + 1))?;
                    out.extend(&chars[at..=end]);
                    at = end + 1;
                    continue;
                }
                None => {
                    out.push_str("\\{");
                    at += 1;
                    continue;
                }
            },
            '*' | '+' | '?' => possessive(next.as_ref())?,
            _ => {}
        }
        out.push(chars[at]);
        at += 1;
    }
    Ok(out)
}

fn possessive(next: Option<&char>) -> Result<(), String> {
    match next {
        Some('+') => Err("a regular expression with possessive repetition".into()),
        _ => Ok(()),
    }
}

fn group(inside: &[char]) -> Result<(), String> {
    let refused = |what: &str| Err(format!("a regular expression with {what}, which cannot run in linear time"));
    match (inside.first(), inside.get(1)) {
        (Some('=' | '!'), _) => refused("look-ahead"),
        (Some('<'), Some('=' | '!')) => refused("look-behind"),
        (Some('>'), _) => refused("an atomic group"),
        (Some('(' | 'R' | '&' | '|' | '#'), _) => refused("a conditional, recursive or comment group"),
        (Some('P'), Some('=' | '>')) => refused("a back-reference"),
        _ => Ok(()),
    }
}

/// Where a `{n}`, `{n,}` or `{n,m}` that opens there closes.
fn quantifier(chars: &[char], open: usize) -> Option<usize> {
    let close = open + 1 + chars[open + 1..].iter().position(|it| *it == '}')?;
    let inside: String = chars[open + 1..close].iter().collect();
    let (low, high) = inside.split_once(',').unwrap_or((&inside, "0"));
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then_some(close)
}

fn escape(next: Option<char>, out: &mut String) -> Result<(), String> {
    match next {
        None => return Err("a regular expression that ends in a backslash".into()),
        Some('1'..='9' | 'k' | 'g') => return Err("a regular expression with a back-reference".into()),
        Some(it @ ('R' | 'X' | 'K' | 'G' | 'C' | 'E' | 'Q' | 'H' | 'V' | 'N' | 'c' | 'o')) => {
            return Err(format!("a regular expression with `\\{it}`"));
        }
        Some('Z') => out.push_str(r"(?:\n?\z)"),
        Some('h') => out.push_str(r"[\t ]"),
        Some('e') => out.push_str(r"\x1b"),
        Some('0') => out.push_str(r"\x00"),
        // Letters that mean something are kept; everything else means itself.
        Some(it) if it.is_ascii_alphanumeric() => out.extend(['\\', it]),
        Some(it @ ('<' | '>')) => out.push(it),
        Some(it) if it.is_ascii_punctuation() => out.extend(['\\', it]),
        Some(it) => out.push(it),
    }
    Ok(())
}

/// Copies the class that opens at `open`; returns the place behind it.
fn class(chars: &[char], open: usize, out: &mut String) -> Result<usize, String> {
    let unclosed = "a regular expression with an unclosed `[`";
    out.push('[');
    let mut at = open + 1;
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    // The first bracket is one to match.
    if chars.get(at) == Some(&']') {
        out.push_str("\\]");
        at += 1;
    }
    loop {
        match chars.get(at).ok_or(unclosed)? {
            ']' => {
                out.push(']');
                return Ok(at + 1);
            }
            '\\' => {
                match chars.get(at + 1).ok_or(unclosed)? {
                    'b' => out.push_str("\\x08"),
                    'h' => out.push_str("\\t "),
                    it if it.is_ascii_alphanumeric() => escape(Some(*it), out)?,
                    it if it.is_ascii_punctuation() => out.extend(['\\', *it]),
                    it => out.push(*it),
                }
                at += 2;
            }
            '[' if chars.get(at + 1) == Some(&':') => {
                let rest: String = chars[at..].iter().collect();
                let Some(end) = rest.find(":]") else {
                    out.push_str("\\[");
                    at += 1;
                    continue;
                };
                let name = &rest[..end + 2];
                out.push_str(name);
                at += name.chars().count();
            }
            it @ ('[' | '&' | '~') => {
                out.extend(['\\', *it]);
                at += 1;
            }
            // `--` would be a difference of sets: here it is a range that ends in a dash, or one that begins with it.
            '-' if chars.get(at + 1) == Some(&'-') => {
                let begins = at == open + 1 || at == open + 2 && chars[open + 1] == '^';
                out.push_str(if begins { "\\-" } else { "-\\-" });
                at += if begins { 1 } else { 2 };
            }
            it => {
                out.push(*it);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_the_same() {
        for (pattern, text, expected) in [
            (r"a[b[c]d", "a[d", true),
            (r"a[b[c]d", "abd", true),
            (r"[]x]", "]", true),
            (r"[^]x]", "]", false),
            (r"[a&&b]", "&", true),
            (r"[+--]", ",", true),
            (r"\<script\>", "<script>", true),
            (r"\<script\>", "script", false),
            (r"\${jndi", "${jndi", true),
            (r"a{,3}", "a{,3}", true),
            (r"^a{2,3}$", "aaa", true),
            (r"^a{2,3}$", "aaaa", false),
            (r"\/etc\/", "/etc/", true),
            (r"[[:digit:]]{2}", "x42", true),
            (r"\h+x", "\tx", true),
            (r"[\w\-\.]+@", "a-b.c@", true),
            (r"(?<user>a+)\Z", "baa", true),
            (r"C:\\Users\\\w+", r"C:\Users\ann", true),
        ] {
            let ours = translate(pattern).unwrap_or_else(|it| panic!("{pattern}: {it}"));
            let regex = regex::Regex::new(&ours).unwrap_or_else(|it| panic!("{pattern} → {ours}: {it}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} → {ours} on {text}");
        }
    }

    #[test]
    fn what_we_do_not_have_is_refused() {
        for pattern in [
            "a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", r"(a)\1", "(?>a)b", "a++", "a*+", "a{2}+", "[a", r"a\", "(?P=x)",
            r"\Ka",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }
}
