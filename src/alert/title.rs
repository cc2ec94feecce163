//! Titles with `{placeholders}`: parsed once when rules load, filled once when an alert opens or resolves.
//!
//! Values come from attackers, so they are put in as they are and never looked at again: a user called `{count}` stays
//! `{count}`, and characters that could mislead a reader are written as escapes.

use crate::limits;
use crate::model::text;

/// A parsed title.
#[derive(Clone, PartialEq, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Debug)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// `{name}` is a placeholder; `{{` and `}}` stand for the brackets themselves. The error says what is wrong and at
    /// which byte.
    pub fn parse(title: &str) -> Result<Template, (usize, String)> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = title;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let here = title.len() - rest.len() + at;
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                literal.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            if tail.starts_with('}') {
                return Err((here, "`}` without `{`; write `}}` for a bracket".into()));
            }
            let Some(end) = tail.find('}') else {
                return Err((here, "`{` is never closed; write `{{` for a bracket".into()));
            };
            let name = tail[1..end].trim();
            if name.is_empty() || name.contains('{') {
                return Err((here, "a placeholder needs a name, such as `{user.name}`".into()));
            }
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Field(name.to_string()));
            rest = &tail[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Template { parts })
    }

    /// The names of its placeholders.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|it| match it {
            Part::Text(_) => None,
            Part::Field(name) => Some(name.as_str()),
        })
    }

    /// The title with values; `?` where one is not known.
    pub fn fill(&self, value: &mut dyn FnMut(&str) -> Option<String>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(it) => out.push_str(it),
                Part::Field(name) => match value(name) {
                    Some(it) => out.push_str(&text::visible(text::cut(&it, limits::VALUE_BYTES_MAX))),
                    None => out.push('?'),
                },
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(title: &str, expected: &str) {
        let filled = Template::parse(title).map(|it| {
            it.fill(&mut |name| match name {
                "count" => Some("5".into()),
                "user.name" => Some("{count}\u{1b}[31m".into()),
                _ => None,
            })
        });
        assert_eq!(filled.unwrap_or_else(|(at, why)| format!("{at}: {why}")), expected);
    }

    #[test]
    fn placeholders() {
        check("{count} by { user.name }{{}}", "5 by {count}\\u{1b}[31m{}");
        check("{nobody}", "?");
        check("a {b", "2: `{` is never closed; write `{{` for a bracket");
        check("a } b", "2: `}` without `{`; write `}}` for a bracket");
        check("{}", "0: a placeholder needs a name, such as `{user.name}`");
    }
}
