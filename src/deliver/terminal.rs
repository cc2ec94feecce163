//! Alerts for a person at a terminal, and as lines for a program behind a pipe.
//!
//! A terminal obeys what it is shown: escape sequences in a user name can rewrite the screen, and a bidirectional override
//! can make a name read as another. Both come out visible and harmless. Colour says severity and nothing else, so the
//! text reads the same without it.

use super::escape;
use super::facts;
use crate::model::{Alert, Severity, State};

/// How standard output wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// Text with colours, and lines of a log cut to so many columns: a terminal.
    Color { columns: usize },
    /// The same text without.
    Plain,
    /// One JSON object a line: a pipe.
    Lines,
}

/// The alert as it is written, with its line ends.
pub fn compose(alert: &Alert, look: Look) -> String {
    match look {
        Look::Color { columns } => text(alert, &Paint { on: true, columns }),
        Look::Plain => text(alert, &Paint { on: false, columns: usize::MAX }),
        Look::Lines => line(alert),
    }
}

/// The alert's JSON in ASCII, and a line end.
pub fn line(alert: &Alert) -> String {
    escape::json(alert) + "\n"
}

struct Paint {
    on: bool,
    columns: usize,
}

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.into() }
    }

    /// A line below the head, its end left out where it would not fit.
    fn line(&self, out: &mut String, line: &str) {
        let line = format!("         {line}");
        out.push_str(&console::truncate_str(&line, self.columns, "…"));
        out.push('\n');
    }
}

fn text(alert: &Alert, paint: &Paint) -> String {
    let head = paint.with(code(alert), &format!("{:<8}", facts::headline(alert)));
    let rule = paint.with("1", &escape::terminal(&alert.rule.id));
    let when = match (alert.state, alert.resolved_at) {
        (State::Resolved, Some(resolved)) => resolved,
        (State::Firing | State::Resolved, _) => alert.last_seen_at,
    };
    let mut out = format!("{head} {when}  {rule}\n         {}\n", escape::terminal(&alert.summary));
    if alert.state == State::Resolved {
        return out;
    }
    for facts in [facts::entity(alert), facts::numbers(alert)] {
        let facts: Vec<String> = facts
            .iter()
            .map(|(name, value)| format!("{} {}", paint.with("2", &escape::terminal(name)), escape::terminal(value)))
            .collect();
        if !facts.is_empty() {
            paint.line(&mut out, &facts.join(" · "));
        }
    }
    let tags: String = alert.rule.tags.iter().map(|it| format!("{} ", escape::terminal(it))).collect();
    let tail = format!("{tags}alert {}", escape::terminal(&alert.id));
    paint.line(&mut out, &paint.with("2", &tail));
    let places: Vec<String> =
        alert.evidence.iter().map(|it| format!("{}:{}", escape::terminal(&it.source), it.line)).collect();
    let width = places.iter().map(|it| it.chars().count()).max().unwrap_or(0).min(32);
    for (place, it) in places.iter().zip(&alert.evidence) {
        let bar = paint.with("2", &format!("│ {place:<width$}"));
        paint.line(&mut out, &format!("{bar}  {}", escape::terminal(&it.text)));
    }
    out
}

/// White on red for critical, red, yellow, blue, grey; green when it is over.
fn code(alert: &Alert) -> &'static str {
    match (alert.state, alert.rule.severity) {
        (State::Resolved, _) => "32",
        (State::Firing, Severity::Critical) => "1;97;41",
        (State::Firing, Severity::High) => "1;31",
        (State::Firing, Severity::Medium) => "1;33",
        (State::Firing, Severity::Low) => "34",
        (State::Firing, Severity::Info) => "90",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::sample;
    use crate::model::text::is_hostile;

    #[test]
    fn plain_text_is_aligned() {
        let expected = "\
HIGH     2025-04-12T08:03:40.500Z  repeated-login-failures
         5 failed logins for ann@example.com in 21s
         user.name ann@example.com
         at least 5 · within 10m · seen 5
         brute-force attack.t1110 alert 0123456789abcdef0123456789abcdef
         │ stdin:17  2025-04-12 08:03:00 | 103.44.55.21 | ann@example.com | Brazil | Login failure
         │ stdin:29  2025-04-12 08:03:21 | 103.44.55.21 | ann@example.com | Brazil | Login failure
";
        assert_eq!(compose(&sample::alert(), Look::Plain), expected);
        assert_eq!(
            compose(&sample::resolved(), Look::Plain),
            "RESOLVED 2025-04-12T08:13:40.500Z  repeated-login-failures\n         5 failed logins for ann@example.com in 21s\n"
        );
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut text = compose(&sample::alert(), Look::Color { columns: usize::MAX });
        for code in ["1;31", "1", "2", "0"] {
            text = text.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_eq!(text, compose(&sample::alert(), Look::Plain));
    }

    #[test]
    fn a_narrow_terminal_shows_the_beginning_of_each_line() {
        let text = compose(&sample::alert(), Look::Color { columns: 40 });
        let whole = compose(&sample::alert(), Look::Plain);
        for (cut, whole) in text.lines().zip(whole.lines()).skip(2) {
            let bare = console::strip_ansi_codes(cut).into_owned();
            assert!(bare.chars().count() <= 40, "{bare}");
            assert!(bare == whole || whole.starts_with(bare.trim_end_matches('…')), "{bare}");
        }
        assert!(text.contains('…'), "{text}");
    }

    #[test]
    fn hostile_names_are_seen_not_obeyed() {
        for look in [Look::Plain, Look::Lines] {
            let text = compose(&sample::hostile(), look);
            assert!(!text.chars().any(|it| is_hostile(it) && it != '\n'), "{text:?}");
        }
        let lines = compose(&sample::hostile(), Look::Plain).lines().count();
        assert_eq!(lines, compose(&sample::alert(), Look::Plain).lines().count());
        assert_eq!(serde_json::from_str::<Alert>(&line(&sample::hostile())).unwrap(), sample::hostile());
    }
}
