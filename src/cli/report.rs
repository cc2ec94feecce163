//! `--output html`: alerts as one page that needs nothing beside it and runs no script.

use std::fmt::Write as _;

use crate::deliver::escape::html;
use crate::model::{Alert, Severity, State};

/// What stands before the first alert.
pub fn head() -> String {
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tripline report</title>\n\
     <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
     <meta name=\"viewport\" content=\"width=device-width\">\n<style>\n\
     body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#1c2430;background:#fff}\n\
     article{border-left:6px solid #8a94a3;padding:.2em 1em .6em;margin:1.2em 0;background:#f6f7f9}\n\
     article.low{border-color:#4a86c5}article.medium{border-color:#c58b1b}article.high{border-color:#cf4a2e}article.critical{border-color:#8e1b3a}\n\
     h2{font-size:1.05em;margin:.4em 0}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:.4em 0;font-size:.92em}\n\
     dt{color:#5a6575}dd{margin:0;overflow-wrap:anywhere}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85em;margin:.3em 0}\n\
     </style></head><body>\n<h1>Tripline report</h1>\n"
        .to_string()
}

/// One alert that opened; nothing for one that resolved.
pub fn article(alert: &Alert) -> String {
    let severity = match alert.rule.severity {
        it @ (Severity::Info | Severity::Low | Severity::Medium | Severity::High | Severity::Critical) => it.name(),
    };
    let mut out = String::new();
    if alert.state == State::Resolved {
        return out;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<article class=\"{severity}\"><h2>{}</h2>", html(&alert.summary));
    if !alert.rule.about.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", html(&alert.rule.about));
    }
    out.push_str("<dl>");
    let mut row = |name: &str, value: &str| {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", html(name), html(value));
    };
    row("severity", severity);
    row("rule", &alert.rule.id);
    for (name, value) in &alert.entity {
        row(name, value.as_str().unwrap_or_default());
    }
    row("opened", &alert.opened_at.to_string());
    for (name, value) in &alert.because {
        row(name, &value.as_str().map_or_else(|| value.to_string(), str::to_string));
    }
    row("tags", &alert.rule.tags.join(" "));
    row("alert", &alert.id);
    out.push_str("</dl>\n");
    for it in &alert.evidence {
        let _ = writeln!(out, "<pre>{}:{}  {}</pre>", html(&it.source), it.line, html(&it.text));
    }
    out.push_str("</article>\n");
    out
}

/// What stands after the last alert.
pub fn foot(alerts: u64) -> String {
    format!("<p>{alerts} alerts.</p>\n</body></html>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Evidence, Timestamp};

    #[test]
    fn what_strangers_wrote_is_text() {
        let mut alert =
            crate::runtime::own::alert("x", Severity::High, "<script>alert(1)</script>", Timestamp::default());
        alert.entity.insert("user.name".into(), "\"><img src=x onerror=alert(1)>".into());
        alert.evidence.push(Evidence {
            time: Timestamp::default(),
            source: "<b>".into(),
            line: 1,
            hash: String::new(),
            text: "</pre><script>".into(),
        });
        let page = head() + &article(&alert) + &foot(1);
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;script&gt;"));
        alert.state = State::Resolved;
        assert_eq!(article(&alert), "");
    }
}
