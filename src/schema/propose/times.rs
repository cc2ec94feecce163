//! In which form a column of texts writes its times.
//!
//! `04/03/2026` is a day in March or one in April, and no single value can tell. All of them together mostly can: in the wrong order
//! some are no dates, or a log of one morning is spread over a year. So of the forms that read the values, the one that
//! puts them closest together is taken.

use chrono::{DateTime, NaiveDateTime};

const FORMS: [&str; 17] = [
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M:%S %p",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d-%m-%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y%m%d %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S %z",
    "%d %b %Y %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p",
    "%a %b %d %H:%M:%S %Y",
];

/// For each form: how many values it reads, and the first and last of them.
#[derive(Default)]
pub(super) struct Times([Option<(usize, i64, i64)>; FORMS.len()]);

impl Times {
    pub(super) fn add(&mut self, text: &str) {
        let worth = (14..=32).contains(&text.len()) && text.contains(':') && text.bytes().any(|it| it.is_ascii_digit());
        if !worth {
            return;
        }
        for (form, seen) in FORMS.iter().zip(&mut self.0) {
            let Some(at) = seconds(text, form) else { continue };
            let (count, first, last) = seen.unwrap_or((0, at, at));
            *seen = Some((count + 1, first.min(at), last.max(at)));
        }
    }

    /// The form that reads (nearly) all of so many values.
    pub(super) fn form(&self, lines: usize) -> Option<&'static str> {
        let reads = FORMS.iter().zip(&self.0).filter_map(|(form, seen)| seen.map(|it| (*form, it)));
        let fits = reads.filter(|(_, it)| it.0 * 10 > lines * 9);
        fits.min_by_key(|(_, it)| (lines - it.0.min(lines), it.2 - it.1)).map(|it| it.0)
    }
}

fn seconds(text: &str, form: &str) -> Option<i64> {
    match form.contains("%z") {
        true => DateTime::parse_from_str(text, form).ok().map(|it| it.timestamp()),
        false => NaiveDateTime::parse_from_str(text, form).ok().map(|it| it.and_utc().timestamp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_that_puts_them_closest_together() {
        for (values, expected) in [
            (&["13/02/2026 08:00:00", "01/03/2026 08:00:00"][..], Some("%d/%m/%Y %H:%M:%S")),
            (&["02/13/2026 08:00:00", "03/01/2026 08:00:00"], Some("%m/%d/%Y %H:%M:%S")),
            (&["03/01/2026 08:00:00", "03/12/2026 08:00:00"], Some("%m/%d/%Y %H:%M:%S")),
            (&["01/03/2026 08:00:00", "12/03/2026 08:00:00"], Some("%d/%m/%Y %H:%M:%S")),
            (&["3/4/2026 8:00:00 AM", "3/4/2026 1:00:00 PM"], Some("%m/%d/%Y %I:%M:%S %p")),
            (&["2026/03/04 08:00:00"], Some("%Y/%m/%d %H:%M:%S")),
            (&["12/Apr/2025:08:02:55 +0000"], Some("%d/%b/%Y:%H:%M:%S %z")),
            (&["14:00:00 is no date", "2026"], None),
        ] {
            let mut times = Times::default();
            values.iter().for_each(|it| times.add(it));
            assert_eq!(times.form(values.len()), expected, "{values:?}");
        }
    }
}
