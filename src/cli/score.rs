//! `tripline score`: one series of numbers judged as `Spike` and `Drop` judge an entity, for benchmarks from outside.
//!
//! `timestamp,value` in; `timestamp,value,score,expected,lower,upper` out, a row for a row, and no row's score depends on a
//! later one (only the distance between rows is taken from the first few). There is one series and so no peers to pool: a
//! tail learned from one series would take its anomalies for its habit, so deviations become a score by a fixed heavy
//! tail, that of Student's t with four degrees of freedom.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Common, Exit};
use crate::detect::SCORE_MAX;
use crate::detect::habit::{Expected, Habit, WARM_UP};
use crate::limits;
use crate::model::{Timestamp, Zone};

#[derive(Args, Debug)]
pub struct ScoreArgs {
    /// CSV with the columns timestamp and value; `-` or none: stdin
    pub file: Option<PathBuf>,
    /// What is looked for
    #[arg(long, value_enum, default_value_t = Sort::Spike)]
    pub kind: Sort,
    /// Print nothing but the scores, one a line
    #[arg(long)]
    pub only_scores: bool,
    /// Draw the series, what was expected and the alarms as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// The score from which the plot shows an alarm
    #[arg(long, default_value_t = 4.0)]
    pub alarm: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Sort {
    /// Far off, up or down
    Spike,
    /// Far above
    Rise,
    /// Far below
    Drop,
}

pub fn run(_common: &Common, args: ScoreArgs) -> Exit {
    let result = match args.file.as_deref().filter(|it| it.as_os_str() != "-") {
        None => score_all(&args, BufReader::new(io::stdin())),
        Some(path) => match File::open(path) {
            Ok(file) => score_all(&args, BufReader::new(file)),
            Err(error) => Err(io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()))),
        },
    };
    Exit::of(result)
}

/// One row of the input.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    second: i64,
    value: f64,
}

/// What is said of a row.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Scored {
    row: Row,
    score: f64,
    expected: f64,
    lower: f64,
    upper: f64,
}

/// Rows from which the distance between rows is taken.
const LOOK_AHEAD: usize = 32;

fn score_all(args: &ScoreArgs, input: impl BufRead) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout());
    let mut points = Vec::new();
    if !args.only_scores {
        writeln!(out, "timestamp,value,score,expected,lower,upper")?;
    }
    let mut rows = Rows { input, number: 0, line: String::new(), columns: None };
    let mut first = Vec::new();
    while first.len() < LOOK_AHEAD
        && let Some(it) = rows.next()?
    {
        first.push(it);
    }
    let mut scorer = Scorer::new(args.kind, step(&first.iter().map(|it| it.1).collect::<Vec<_>>()));
    let mut waiting = first.into_iter();
    while let Some((stamp, row)) = match waiting.next() {
        Some(it) => Some(it),
        None => rows.next()?,
    } {
        let it = scorer.score(row);
        match args.only_scores {
            true => writeln!(out, "{:.4}", it.score)?,
            false => writeln!(
                out,
                "{stamp},{},{:.4},{},{},{}",
                row.value,
                it.score,
                short(it.expected),
                short(it.lower),
                short(it.upper)
            )?,
        }
        if args.plot.is_some() {
            points.push(it);
        }
    }
    out.flush()?;
    match &args.plot {
        None => Ok(()),
        Some(path) => std::fs::write(path, plot(&points, args.alarm))
            .map_err(|it| io::Error::new(it.kind(), format!("{} cannot be written: {it}", path.display()))),
    }
}

/// Six digits that count.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 10f64.powi(5 - value.abs().log10().floor().clamp(-300.0, 300.0) as i32);
    let rounded = (value * digits).round() / digits;
    if rounded.is_finite() { rounded } else { value }
}

struct Rows<R> {
    input: R,
    number: usize,
    line: String,
    /// None before the first line.
    columns: Option<Columns>,
}

/// Where in a row they are.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Columns {
    separator: char,
    time: usize,
    value: usize,
}

impl Columns {
    /// As the first line has them: the first two, where it does not name others.
    fn of(line: &str) -> Columns {
        let separator = [',', ';', '\t'].into_iter().find(|it| line.contains(*it)).unwrap_or(',');
        let names: Vec<String> = line.split(separator).map(|it| plain(it).to_ascii_lowercase()).collect();
        let named = |those: &[&str]| names.iter().position(|it| those.contains(&it.as_str()));
        let time = named(&["timestamp", "@timestamp", "time", "datetime", "date", "ds"]);
        let value = named(&["value", "values", "count", "y"]);
        let value = value.unwrap_or(if time == Some(1) { 0 } else { 1 });
        Columns { separator, time: time.unwrap_or(usize::from(value == 0)), value }
    }
}

fn plain(cell: &str) -> &str {
    cell.trim().trim_matches('"')
}

impl<R: BufRead> Rows<R> {
    /// The next row, with its stamp as written. A first line without numbers is a header.
    fn next(&mut self) -> io::Result<Option<(String, Row)>> {
        loop {
            self.line.clear();
            let most = limits::LINE_BYTES_MAX as u64;
            if io::Read::take(&mut self.input, most).read_line(&mut self.line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let line = self.line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let is_first = self.columns.is_none();
            let columns = *self.columns.get_or_insert_with(|| Columns::of(line));
            let cell = |number: usize| plain(line.split(columns.separator).nth(number).unwrap_or(""));
            let (stamp, value) = (cell(columns.time), cell(columns.value));
            let time = Timestamp::parse_iso(stamp, Zone::UTC).or_else(|| Timestamp::from_epoch(stamp));
            match (time, number(value)) {
                (Some(time), Some(value)) => {
                    let row = Row { second: time.micros().div_euclid(1_000_000), value };
                    return Ok(Some((stamp.to_string(), row)));
                }
                _ if is_first => {}
                (None, _) => return Err(self.wrong(stamp, "a time such as 2025-04-12 08:00:00")),
                (Some(_), None) => return Err(self.wrong(value, "a number")),
            }
        }
    }

    fn wrong(&self, found: &str, expected: &str) -> io::Error {
        let found = crate::model::text::visible(crate::model::text::cut(found, 60));
        let what = format!("line {}: `{found}` is not {expected}; rows are `timestamp,value`", self.number);
        io::Error::new(io::ErrorKind::InvalidData, what)
    }
}

/// A missing value is none, and is scored 0.
fn number(text: &str) -> Option<f64> {
    match text {
        "" | "-" | "null" | "NULL" | "None" | "NA" | "N/A" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

/// The usual distance between rows, in seconds.
fn step(rows: &[Row]) -> i64 {
    let mut gaps: Vec<i64> = rows.windows(2).map(|it| it[1].second - it[0].second).filter(|it| *it > 0).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(300)
}

struct Scorer {
    kind: Sort,
    habit: Habit,
    /// The mean size of a value, for the floor of the scale.
    size: f64,
}

impl Scorer {
    fn new(kind: Sort, step: i64) -> Scorer {
        let slots = |cycle: i64, most: i64| (cycle / step).clamp(1, most) as usize;
        let habit = Habit::default().with_profile(slots(86_400, 288), slots(604_800, 2016));
        Scorer { kind, habit, size: 0.0 }
    }

    fn score(&mut self, row: Row) -> Scored {
        let floor = (0.001 * self.size).max(1e-9) as f32;
        let Expected { value, deviation } = self.habit.expect(row.second, floor);
        let (lower, upper) = (value - 3.0 * deviation, value + 3.0 * deviation);
        if !row.value.is_finite() || row.value.abs() > 1e30 {
            return Scored { row, score: 0.0, expected: value, lower, upper };
        }
        if self.habit.buckets == 0 {
            self.habit.learn(row.second, row.value as f32, floor);
            self.size = row.value.abs();
            return Scored { row, score: 0.0, expected: row.value, lower: row.value, upper: row.value };
        }
        let off = f64::from(self.habit.deviations(row.second, row.value as f32, floor));
        let deviations = match self.kind {
            Sort::Spike => off.abs(),
            Sort::Rise => off.max(0.0),
            Sort::Drop => (-off).max(0.0),
        };
        let score = if self.habit.buckets < WARM_UP { 0.0 } else { heavy_tail(deviations) };
        self.habit.learn(row.second, row.value as f32, floor);
        self.size += (row.value.abs() - self.size) / f64::from(self.habit.buckets).min(1000.0);
        Scored { row, score, expected: value, lower, upper }
    }
}

fn heavy_tail(deviations: f64) -> f64 {
    (4.0 * (1.0 + deviations / 2.0).log10()).min(SCORE_MAX)
}

const WIDTH: usize = 1200;
const HEIGHT: f64 = 400.0;

/// The series as SVG: one column of pixels holds the least and the greatest value of its rows.
fn plot(points: &[Scored], alarm: f64) -> String {
    let values = points.iter().map(|it| it.row.value).filter(|it| it.is_finite());
    let (low, high) = values.fold((f64::MAX, f64::MIN), |it, value| (it.0.min(value), it.1.max(value)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let range = if high > low { high - low } else { 1.0 };
    let y = |value: f64| HEIGHT - 10.0 - (value.clamp(low, high) - low) / range * (HEIGHT - 20.0);
    let (mut line, mut above, mut below, mut dots) = (String::new(), String::new(), Vec::new(), String::new());
    let columns = points.len().clamp(1, WIDTH);
    for column in 0..columns {
        let part = &points[column * points.len() / columns..(column + 1) * points.len() / columns];
        let x = column as f64 * WIDTH as f64 / columns as f64;
        let finite = part.iter().filter(|it| it.row.value.is_finite());
        let least = finite.clone().map(|it| it.row.value).fold(f64::MAX, f64::min);
        let most = finite.clone().map(|it| it.row.value).fold(f64::MIN, f64::max);
        if least <= most {
            line += &format!("{x:.1},{:.1} {x:.1},{:.1} ", y(least), y(most));
        }
        let lower = part.iter().map(|it| it.lower).fold(f64::MAX, f64::min);
        let upper = part.iter().map(|it| it.upper).fold(f64::MIN, f64::max);
        if lower <= upper {
            above += &format!("{x:.1},{:.1} ", y(upper));
            below.push(format!("{x:.1},{:.1} ", y(lower)));
        }
        for it in finite.filter(|it| it.score >= alarm) {
            let title = format!("{} score {:.1}", Timestamp::from_micros(it.row.second * 1_000_000), it.score);
            let (at, r) = (y(it.row.value), "3");
            dots += &format!(
                "<circle cx=\"{x:.1}\" cy=\"{at:.1}\" r=\"{r}\" fill=\"#c22\"><title>{title}</title></circle>\n"
            );
        }
    }
    let band: String = below.into_iter().rev().collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <polygon points=\"{above}{band}\" fill=\"#cde\"/>\n\
         <polyline points=\"{line}\" fill=\"none\" stroke=\"#235\" stroke-width=\"1\"/>\n\
         {dots}<text x=\"4\" y=\"14\">{}</text><text x=\"4\" y=\"{}\">{}</text>\n</svg>\n",
        short(high),
        HEIGHT - 4.0,
        short(low),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::testing::noise;

    /// What is odd about one row in a hundred.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Odd {
        /// 6 to 12 deviations off.
        Spike,
        /// Seven deviations off, for two hours.
        Lasting,
        /// What is usual half a day later, for two hours: nothing but the season shows it.
        OtherHour,
        /// A spike, where chance grows with the season.
        Proportional,
    }

    /// Eight weeks of five minutes each, with a week's rhythm.
    fn series(odd: Odd, seed: &mut u64) -> Vec<(Row, bool)> {
        let usual = |second: i64| {
            let hour = (second % 86_400) as f64 / 3600.0;
            let workday = (second / 86_400 + 4) % 7 < 5;
            100.0 + if workday { 80.0 } else { 20.0 } * (-(hour - 13.0).powi(2) / 18.0).exp()
        };
        let mut left = 0;
        (0..8 * 2016i64)
            .map(|at| {
                let second = 1_700_000_000 + at * 300;
                let (rare, long) = if matches!(odd, Odd::Spike | Odd::Proportional) { (2.33, 1) } else { (3.5, 24) };
                if left == 0 && noise(seed) > rare {
                    left = long;
                }
                // The hours at which half a day later is as now show nothing.
                let shows = (usual(second) - usual(second + 43_200)).abs() > 30.0;
                let is_odd = left > 0 && (odd != Odd::OtherHour || shows);
                left -= i64::from(left > 0);
                let far = 9.0 + 3.0 * noise(seed).clamp(-1.0, 1.0);
                let deviation = if odd == Odd::Proportional { usual(second) / 25.0 } else { 4.0 };
                let level = match odd {
                    Odd::OtherHour if is_odd => usual(second + 43_200),
                    Odd::Lasting if is_odd => usual(second) + 7.0 * deviation,
                    Odd::Spike | Odd::Proportional if is_odd => usual(second) + far * noise(seed).signum() * deviation,
                    _ => usual(second),
                };
                (Row { second, value: level + deviation * noise(seed) }, is_odd)
            })
            .collect()
    }

    /// The share of odd rows above the threshold that lets one false alarm a week through, the first two weeks unscored.
    fn recall(rows: &[(Row, bool)], scores: &[f64]) -> f64 {
        let judged: Vec<(f64, bool)> = scores.iter().zip(rows).skip(2 * 2016).map(|it| (*it.0, it.1.1)).collect();
        let mut quiet: Vec<f64> = judged.iter().filter(|it| !it.1).map(|it| it.0).collect();
        quiet.sort_by(|a, b| b.total_cmp(a));
        let threshold = quiet[6];
        let odd: Vec<f64> = judged.iter().filter(|it| it.1).map(|it| it.0).collect();
        odd.iter().filter(|it| **it > threshold).count() as f64 / odd.len() as f64
    }

    #[test]
    fn better_than_three_sigma() {
        for odd in [Odd::Spike, Odd::Lasting, Odd::OtherHour, Odd::Proportional] {
            let rows = series(odd, &mut 11);
            let mut scorer = Scorer::new(Sort::Spike, 300);
            let ours: Vec<f64> = rows.iter().map(|it| scorer.score(it.0).score).collect();
            let ours = recall(&rows, &ours);
            for memory in [0.01, 0.05, 0.2] {
                let (mut mean, mut variance) = (rows[0].0.value, 1.0);
                let mut score = |it: &(Row, bool)| {
                    let off = it.0.value - mean;
                    let score = off.abs() / f64::sqrt(variance);
                    mean += memory * off;
                    variance += memory * (off * off - variance);
                    score
                };
                let theirs = recall(&rows, &rows.iter().map(&mut score).collect::<Vec<f64>>());
                assert!(ours > 0.8 && ours > theirs + 0.15, "{odd:?}: ours {ours}, three sigma ({memory}) {theirs}");
            }
        }
    }

    #[test]
    fn rows_are_read_as_they_come() {
        let text = "timestamp,value\n2025-04-12 08:00:00,1\n\n1744444900,2.5,x\n2025-04-12T08:10:00Z,\n";
        let mut rows = Rows { input: text.as_bytes(), number: 0, line: String::new(), columns: None };
        assert_eq!(rows.next().unwrap().unwrap().0, "2025-04-12 08:00:00");
        assert_eq!(rows.next().unwrap().unwrap().1, Row { second: 1_744_444_900, value: 2.5 });
        assert!(rows.next().unwrap().unwrap().1.value.is_nan());
        assert_eq!(rows.next().unwrap(), None);
        for (text, value) in [
            ("value,timestamp\n5,2014-01-01 00:00:00\n", 5.0),
            ("time;load;value\r\n2014-01-01 00:00:00;7;5\r\n", 5.0),
            ("# exported\n\nds\ty\n2014-01-01\t5\n", 5.0),
            ("date,host count,count\n2014-01-01 00:00,3,5\n", 5.0),
            ("2014-01-01 00:00:00,5\n", 5.0),
        ] {
            let mut rows = Rows { input: text.as_bytes(), number: 0, line: String::new(), columns: None };
            assert_eq!(rows.next().unwrap().map(|it| it.1.value), Some(value), "{text}");
        }
        let mut rows =
            Rows { input: "1744444900,1\nsoon,2\n".as_bytes(), number: 0, line: String::new(), columns: None };
        rows.next().unwrap();
        assert!(rows.next().unwrap_err().to_string().starts_with("line 2: `soon` is not a time"));
    }

    #[test]
    fn anything_can_be_scored_and_drawn() {
        for values in [vec![], vec![1.0], vec![f64::NAN; 50], vec![f64::INFINITY, -1e300, 1e300, 0.0], vec![5.0; 3000]]
        {
            let mut scorer = Scorer::new(Sort::Drop, 1);
            let scored: Vec<Scored> =
                values.iter().enumerate().map(|(at, it)| scorer.score(Row { second: at as i64, value: *it })).collect();
            assert!(scored.iter().all(|it| (0.0..=SCORE_MAX).contains(&it.score)));
            let svg = plot(&scored, 4.0);
            assert!(svg.starts_with("<svg") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
