//! A rule's title with its placeholders: `{count} failed logins for {user.name} in {span}`.
//!
//! Values come from the log, so from strangers. They are filled in one pass and never looked at again — a user named
//! `{source.ip}` stays so — and characters that could mislead a reader are written out.

use std::ops::Range;

use super::text::{cut, nearest, visible};
use crate::limits;

/// Placeholders that are no fields: how many events, how long they took, how many different values, which, the kind's own
/// sentence, the rule's id and severity.
pub const WORDS: [&str; 7] = ["count", "span", "distinct", "values", "story", "rule", "severity"];

/// A title, taken apart once when rules load.
#[derive(Clone, PartialEq, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Debug)]
enum Part {
    Text(String),
    /// A name, and what stands there when nothing is known under it.
    Placeholder(String, String),
}

/// What is wrong with a title, and which of its bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct TitleError {
    pub span: Range<usize>,
    pub what: String,
    pub hint: Option<String>,
}

impl Template {
    pub fn parse(text: &str) -> Result<Template, TitleError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(found) = text[at..].find(['{', '}']).map(|it| at + it) {
            plain.push_str(&text[at..found]);
            let brace = &text[found..=found];
            if text[found + 1..].starts_with(brace) {
                plain.push_str(brace);
                at = found + 2;
                continue;
            }
            if brace == "}" {
                return Err(TitleError {
                    span: found..found + 1,
                    what: "`}` closes no placeholder".into(),
                    hint: Some("a brace that is meant as text is written twice: }}".into()),
                });
            }
            let end = text[found + 1..].find(['{', '}']).map(|it| found + 1 + it);
            let Some(end) = end.filter(|it| text[*it..].starts_with('}')) else {
                return Err(TitleError {
                    span: found..end.unwrap_or(text.len()),
                    what: "this placeholder is never closed".into(),
                    hint: Some("write {user.name}; a brace that is meant as text is written twice: {{".into()),
                });
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            let inside = &text[found + 1..end];
            let (name, otherwise) = inside.split_once('|').unwrap_or((inside, "?"));
            check_name(name, found..end + 1)?;
            parts.push(Part::Placeholder(name.to_string(), otherwise.to_string()));
            at = end + 1;
        }
        plain.push_str(&text[at..]);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// The fields it needs, each once; [`WORDS`] are none.
    pub fn fields(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for name in self.placeholders() {
            if !WORDS.contains(&name) && !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }

    /// Everything in braces, in the order written.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|it| match it {
            Part::Placeholder(name, _) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The title with values; for one that `lookup` does not know, what the title says after `|`, or `?`.
    pub fn fill(&self, lookup: &mut dyn FnMut(&str) -> Option<String>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Placeholder(name, otherwise) => match lookup(name) {
                    Some(value) => out.push_str(&visible(cut(&value, limits::VALUE_BYTES_MAX))),
                    None => out.push_str(otherwise),
                },
            }
        }
        out
    }
}

fn check_name(name: &str, span: Range<usize>) -> Result<(), TitleError> {
    let fits = |it: char| it.is_alphanumeric() || "_.@-[]=:/$".contains(it);
    if name.is_empty() {
        return Err(TitleError {
            span,
            what: "an empty placeholder".into(),
            hint: Some("write a field, as in {user.name}".into()),
        });
    }
    if !name.chars().all(fits) || name.starts_with('.') || name.ends_with('.') {
        return Err(TitleError {
            span,
            what: format!("`{name}` is no name of a field"),
            hint: Some("write a field, as in {user.name}; a brace that is meant as text is written twice: {{".into()),
        });
    }
    // A lone word may be a key of the record, so only a slip of the pen is called a mistake.
    if !WORDS.contains(&name)
        && !name.contains('.')
        && let Some(meant) = nearest(name, WORDS).or_else(|| WORDS.into_iter().find(|it| *it == name.to_lowercase()))
        && meant.len().abs_diff(name.len()) <= 1
        && !["value", "counts", "stories", "rules"].contains(&name)
    {
        return Err(TitleError {
            span,
            what: format!("`{{{name}}}` cannot be filled"),
            hint: Some(format!("did you mean `{{{meant}}}`?")),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(title: &str, expected: &str) {
        let found = match Template::parse(title) {
            Err(error) => format!("{}..{} {}", error.span.start, error.span.end, error.what),
            Ok(template) => template.fill(&mut |name| match name {
                "count" => Some("5".into()),
                "user.name" => Some("{source.ip} {{ \u{202e}x".into()),
                "source.ip" => Some("192.0.2.1".into()),
                _ => None,
            }),
        };
        assert_eq!(found, expected, "{title}");
    }

    #[test]
    fn titles_are_filled_once() {
        check("{count} for {source.ip}", "5 for 192.0.2.1");
        check("plain", "plain");
        check("", "");
        check("{user.name}", "{source.ip} {{ \\u{202e}x");
        check("{{count}} is {count}}}", "{count} is 5}");
        check("{missing.field}!", "?!");
        check("by {missing.field|somebody} now", "by somebody now");
        check("{actor} {a[type=User].id}", "? ?");
    }

    #[test]
    fn bad_titles_say_where() {
        check("5 {count", "2..8 this placeholder is never closed");
        check("{count {span}", "0..7 this placeholder is never closed");
        check("a } b", "2..3 `}` closes no placeholder");
        check("{}", "0..2 an empty placeholder");
        check("{user name}", "0..11 `user name` is no name of a field");
        check("{cuont}", "0..7 `{cuont}` cannot be filled");
    }

    #[test]
    fn fields_are_listed_once() {
        let template = Template::parse("{count} {user.name} {user.name} {source.ip}").unwrap();
        assert_eq!(template.fields(), ["user.name", "source.ip"]);
    }
}
