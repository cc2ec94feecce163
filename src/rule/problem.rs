//! A mistake in a file, shown the way a compiler shows it.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::model::text::is_hostile;

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// As the user wrote it, or `rules/…` for a built-in file.
    pub name: String,
    pub text: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// The file cannot be used.
    Error,
    /// It can, and probably does not do what was meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub file: String,
    /// From 1; 0 where no line is to blame (a missing file).
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub level: Level,
    pub what: String,
    /// Stands beside the caret.
    pub expected: Option<String>,
    pub hint: Option<String>,
    /// Another place that has to do with it.
    pub note: Option<String>,
    /// The line, without its end.
    pub excerpt: String,
    /// Characters underlined.
    pub width: usize,
}

impl Problem {
    /// About a range of a file.
    pub fn at(source: &Source, span: Range<usize>, what: impl Into<String>) -> Problem {
        let text: &str = &source.text;
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |it| it + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |it| start + it);
        let end = floor(text, span.end).clamp(start, line_end.max(start));
        Problem {
            file: source.name.clone(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            level: Level::Error,
            what: what.into(),
            expected: None,
            hint: None,
            note: None,
            excerpt: text[line_start..line_end].trim_end_matches('\r').to_string(),
            width: text[start..end].chars().count().max(1),
        }
    }

    /// About a file that could not be read at all.
    pub fn of_file(name: &str, what: impl Into<String>) -> Problem {
        Problem {
            file: name.to_string(),
            line: 0,
            column: 0,
            level: Level::Error,
            what: what.into(),
            expected: None,
            hint: None,
            note: None,
            excerpt: String::new(),
            width: 0,
        }
    }

    pub fn warning(mut self) -> Problem {
        self.level = Level::Warning;
        self
    }

    pub fn expected(mut self, it: impl Into<String>) -> Problem {
        self.expected = Some(it.into());
        self
    }

    pub fn hint(mut self, it: impl Into<String>) -> Problem {
        self.hint = Some(it.into());
        self
    }

    pub fn note(mut self, it: impl Into<String>) -> Problem {
        self.note = Some(it.into());
        self
    }

    /// `file:line:column`, or the file alone.
    pub fn place(&self) -> String {
        let file = plain(&self.file);
        if self.line == 0 { file } else { format!("{file}:{}:{}", self.line, self.column) }
    }

    /// All of it, with an empty line at the end.
    pub fn show(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
        };
        let (word, code) = match self.level {
            Level::Error => ("error", "1;31"),
            Level::Warning => ("warning", "1;33"),
        };
        let mut out = format!("{}: {}\n", paint(code, word), paint("1", &plain(&self.what)));
        let number = self.line.to_string();
        let pad = " ".repeat(if self.line == 0 { 0 } else { number.len() });
        let bar = paint("1;34", "|");
        let _ = writeln!(out, "{pad}{} {}", paint("1;34", "-->"), self.place());
        if self.line > 0 {
            let (shown, before, width) = self.window();
            let carets = paint(code, &"^".repeat(width));
            let label = self.expected.as_deref().map_or(String::new(), |it| format!(" expected {}", plain(it)));
            let _ = writeln!(out, "{pad} {bar}");
            let _ = writeln!(out, "{} {bar} {shown}", paint("1;34", &number));
            let _ = writeln!(out, "{pad} {bar} {}{carets}{}", " ".repeat(before), paint(code, &label));
        }
        for (word, text) in [("note", &self.note), ("help", &self.hint)] {
            if let Some(text) = text {
                let _ = writeln!(out, "{pad} {} {word}: {}", paint("1;34", "="), plain(text));
            }
        }
        out.push('\n');
        out
    }

    /// The part of the line worth showing, the columns before the caret and the caret's width, as a terminal counts them.
    fn window(&self) -> (String, usize, usize) {
        const BEFORE_MAX: usize = 100;
        const SHOWN_MAX: usize = 160;
        let skipped = if self.column > BEFORE_MAX { self.column - BEFORE_MAX / 2 } else { 0 };
        let (mut shown, mut before, mut width) = (String::new(), 0, 0);
        let mut columns = 0;
        if skipped > 0 {
            shown.push('…');
            (columns, before) = (1, 1);
        }
        for (index, it) in self.excerpt.chars().enumerate().skip(skipped) {
            if columns >= SHOWN_MAX {
                shown.push('…');
                break;
            }
            let text = match it {
                '\t' => "    ".to_string(),
                it if is_hostile(it) => it.escape_unicode().to_string(),
                it => it.to_string(),
            };
            let len = text.chars().count();
            columns += len;
            if index + 1 < self.column {
                before += len;
            } else if index + 1 < self.column + self.width {
                width += len;
            }
            shown.push_str(&text);
        }
        (shown, before, width.max(1))
    }
}

/// Without characters that could mislead; line breaks are kept away, too, for one problem is one block.
fn plain(text: &str) -> String {
    crate::model::text::visible(text).into_owned()
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Why nothing can run: problems with places, ready to be shown.
#[derive(Debug)]
pub struct Refusal {
    pub problems: Vec<Problem>,
}

impl Refusal {
    pub fn of(what: impl Into<String>) -> Refusal {
        Refusal { problems: vec![Problem::of_file("command line", what)] }
    }

    pub fn of_file(file: &Path, what: impl Into<String>) -> Refusal {
        Refusal { problems: vec![Problem::of_file(&file.display().to_string(), what)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_points_at_the_text() {
        let source = Source { name: "a.ron".into(), text: "Rule(\n\tid: \"é\u{202e}\", sevrity: High)\n".into() };
        let at = source.text.find("sevrity").unwrap();
        let problem =
            Problem::at(&source, at..at + 7, "`sevrity` is no field of `Rule`").hint("did you mean `severity`?");
        assert_eq!(
            problem.show(false),
            "error: `sevrity` is no field of `Rule`\n --> a.ron:2:12\n  |\n2 |     id: \"é\\u{202e}\", sevrity: High)\n  \
             |                      ^^^^^^^\n  = help: did you mean `severity`?\n\n"
        );
        assert!(problem.show(true).contains("\u{1b}[1;31merror\u{1b}[0m"));
    }

    #[test]
    fn far_right_is_still_shown() {
        let source =
            Source { name: "a.ron".into(), text: format!("{}here{}", "x".repeat(5000), "y".repeat(5000)).into() };
        let shown = Problem::at(&source, 5000..5004, "bad").show(false);
        assert!(shown.contains("here"), "{shown}");
        assert!(shown.len() < 1000);
    }
}
