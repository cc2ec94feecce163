//! Numbers in the text format of Prometheus. Label values are words of ours: rule ids, reasons, receivers.

use std::fmt::Write as _;

/// A page of metrics in the making. Every name gets the prefix `tripline_`.
#[derive(Default)]
pub struct Metrics(String);

impl Metrics {
    pub fn counter(&mut self, name: &str, value: u64) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# TYPE tripline_{name} counter\ntripline_{name} {value}");
    }

    pub fn gauge(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "# TYPE tripline_{name} gauge\ntripline_{name} {value}");
    }

    /// One counter a pair of label values.
    pub fn labelled_twice<'a>(
        &mut self,
        name: &str,
        labels: [&str; 2],
        values: impl Iterator<Item = (&'a str, &'a str, u64)>,
    ) {
        let _ = writeln!(self.0, "# TYPE tripline_{name} counter");
        for (first, second, count) in values {
            let (first, second) = (escaped(first), escaped(second));
            let _ = writeln!(self.0, "tripline_{name}{{{}=\"{first}\",{}=\"{second}\"}} {count}", labels[0], labels[1]);
        }
    }

    /// One counter a label value.
    pub fn labelled<'a>(&mut self, name: &str, label: &str, values: impl Iterator<Item = (&'a str, u64)>) {
        let _ = writeln!(self.0, "# TYPE tripline_{name} counter");
        self.values(name, label, values);
    }

    /// One gauge a label value.
    pub fn gauges<'a>(&mut self, name: &str, label: &str, values: impl Iterator<Item = (&'a str, f64)>) {
        let _ = writeln!(self.0, "# TYPE tripline_{name} gauge");
        self.values(name, label, values);
    }

    fn values<'a, N: std::fmt::Display>(
        &mut self,
        name: &str,
        label: &str,
        values: impl Iterator<Item = (&'a str, N)>,
    ) {
        for (value, count) in values {
            let value = escaped(value);
            let _ = writeln!(self.0, "tripline_{name}{{{label}=\"{value}\"}} {count}");
        }
    }

    pub fn text(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_prometheus() {
        let mut page = Metrics::default();
        page.counter("events_received_total", 7);
        page.labelled("hits_total", "rule", [("a\"b", 1)].into_iter());
        assert_eq!(
            page.text(),
            "# TYPE tripline_events_received_total counter\ntripline_events_received_total 7\n\
             # TYPE tripline_hits_total counter\ntripline_hits_total{rule=\"a\\\"b\"} 1\n"
        );
    }
}
