//! Rules of mixed shapes over the fields of the wide layout.
//!
//! Of a hundred: 22 equalities on one or two fields, 24 substrings, 14 beginnings, 8 ends, 10 regular expressions, 10
//! bounds with an equality, 8 lists of five substrings, 4 with an exception. Nearly every value is a word that no event
//! holds, as it is with real rule sets; one rule in fifty names what events do hold.

use std::fmt::Write as _;

use clap::ValueEnum;

use super::Random;

/// How the rules are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Language {
    /// Tripline's
    Ron,
    /// Sigma, for tools that read that
    Sigma,
}

/// One test of one field.
struct Test {
    field: &'static str,
    how: How,
}

enum How {
    Equals(String),
    /// One of them inside.
    Contains(Vec<String>),
    StartsWith(String),
    EndsWith(String),
    Matches(String),
    AtLeast(u64),
}

struct Shape {
    all: Vec<Test>,
    except: Option<Test>,
}

const SYLLABLES: [&str; 20] = [
    "ka", "ri", "mo", "te", "lu", "za", "ne", "vi", "do", "shu", "pra", "qui", "xen", "tor", "bal", "fry", "gim",
    "hex", "jot", "kul",
];
const FIELDS: [&str; 8] = ["cmd", "url", "user_agent", "host", "user", "session", "geo", "action"];
/// Fields with long values; commands most of all.
const LONG: [&str; 6] = ["cmd", "cmd", "cmd", "url", "user_agent", "host"];
const NUMBERS: [(&str, u64); 3] = [("bytes", 90_000), ("latency_ms", 900), ("status", 600)];
/// What events do hold.
const LIVE: [(&str, &str); 6] = [
    ("action", "Role granted: admin"),
    ("geo", "ZAF"),
    ("host", "srv-077.prod.keyrunner.app"),
    ("user", "johndoe0@keyrunner.app"),
    ("action", "Access denied"),
    ("action", "Password change"),
];

/// So many rules in one text; the same in every language.
pub fn write(count: usize, language: Language, seed: u64) -> String {
    let mut random = Random(seed);
    let mut out = String::from(if language == Language::Ron { "[\n" } else { "" });
    for number in 0..count {
        let shape = shape(number, &mut random);
        match language {
            Language::Ron => ron(number, &shape, &mut out),
            Language::Sigma => sigma(number, &shape, &mut out),
        }
    }
    out.push_str(if language == Language::Ron { "]\n" } else { "" });
    out
}

fn shape(number: usize, random: &mut Random) -> Shape {
    let mut except = None;
    let test = |field, how| Test { field, how };
    let live = number % 50 == 7;
    let all = if live {
        let (field, value) = LIVE[number / 50 % LIVE.len()];
        let (measure, end) = NUMBERS[number / 50 % 2];
        vec![test(field, How::Equals(value.into())), test(measure, How::AtLeast(end / 100 * 95))]
    } else {
        let long = *random.one_of(&LONG);
        match random.below(100) {
            0..22 => {
                let mut all = vec![test(*random.one_of(&FIELDS), How::Equals(word(random, 4)))];
                if random.below(2) == 0 && all[0].field != "geo" {
                    all.push(test("geo", How::Equals("USA".into())));
                }
                all
            }
            22..46 => {
                let mut all = vec![test(long, How::Contains(vec![word(random, 3)]))];
                if random.below(10) < 3 {
                    all.push(test("action", How::Equals("API call".into())));
                }
                all
            }
            46..60 => {
                let start = format!("/{}/{}", word(random, 2), word(random, 2));
                vec![test(long, How::StartsWith(start))]
            }
            60..68 => {
                let end = format!("{}.{}", word(random, 2), random.one_of(&["exe", "dll", "sh", "app"]));
                vec![test(long, How::EndsWith(end))]
            }
            68..78 => {
                let pattern = format!(r"(?i){}[-_]?\d{{2,6}}\.(exe|dll|sh)", word(random, 2));
                vec![test(long, How::Matches(pattern))]
            }
            78..88 => {
                let (measure, end) = *random.one_of(&NUMBERS);
                let bound = How::AtLeast(random.below(end));
                vec![test(measure, bound), test(*random.one_of(&FIELDS), How::Equals(word(random, 4)))]
            }
            88..96 => vec![test(long, How::Contains((0..5).map(|_| word(random, 3)).collect()))],
            _ => {
                except = Some(test("user", How::StartsWith("johndoe".into())));
                vec![test(long, How::Contains(vec![word(random, 3)]))]
            }
        }
    };
    Shape { all, except }
}

fn word(random: &mut Random, syllables: usize) -> String {
    let mut word: String = (0..syllables).map(|_| *random.one_of(&SYLLABLES)).collect();
    // Writing to a String cannot fail.
    let _ = write!(word, "{}", random.below(100));
    word
}

fn ron(number: usize, shape: &Shape, out: &mut String) {
    let mut parts: Vec<String> = shape.all.iter().map(ron_test).collect();
    parts.extend(shape.except.iter().map(|it| format!("Not({})", ron_test(it))));
    let when = if parts.len() == 1 { parts.remove(0) } else { format!("All([{}])", parts.join(", ")) };
    let _ = writeln!(
        out,
        r#"Rule(id: "synthetic-{number}", title: "synthetic rule {number}", severity: Medium, when: {when}, detect: Each),"#
    );
}

fn ron_test(Test { field, how }: &Test) -> String {
    let contains = |it: &String| format!("Contains({field:?}, {it:?})");
    match how {
        How::Equals(it) => format!("Eq({field:?}, {it:?})"),
        How::Contains(all) if all.len() > 1 => {
            format!("Any([{}])", all.iter().map(contains).collect::<Vec<_>>().join(", "))
        }
        How::Contains(all) => all.iter().map(contains).collect(),
        How::StartsWith(it) => format!("StartsWith({field:?}, {it:?})"),
        How::EndsWith(it) => format!("EndsWith({field:?}, {it:?})"),
        How::Matches(it) => format!("Matches({field:?}, r\"{it}\")"),
        How::AtLeast(it) => format!("Ge({field:?}, {it})"),
    }
}

fn sigma(number: usize, shape: &Shape, out: &mut String) {
    if number > 0 {
        out.push_str("---\n");
    }
    let _ = write!(
        out,
        "title: synthetic rule {number}\nid: {:08x}-0000-4000-8000-{number:012x}\nstatus: test\nlogsource:\n  product: keyrunner\n  service: access\ndetection:\n  selection:\n",
        0xbe00_0000u32 as usize + number
    );
    shape.all.iter().for_each(|it| sigma_test(it, out));
    if let Some(except) = &shape.except {
        out.push_str("  exception:\n");
        sigma_test(except, out);
    }
    let condition = if shape.except.is_some() { "selection and not exception" } else { "selection" };
    let _ = write!(out, "  condition: {condition}\nlevel: medium\n");
}

fn sigma_test(Test { field, how }: &Test, out: &mut String) {
    let (modifier, values): (&str, Vec<String>) = match how {
        How::Equals(it) => ("", vec![format!("'{it}'")]),
        How::Contains(all) => ("|contains", all.iter().map(|it| format!("'{it}'")).collect()),
        How::StartsWith(it) => ("|startswith", vec![format!("'{it}'")]),
        How::EndsWith(it) => ("|endswith", vec![format!("'{it}'")]),
        How::Matches(it) => ("|re", vec![format!("'{it}'")]),
        How::AtLeast(it) => ("|gte", vec![it.to_string()]),
    };
    let _ = match &values[..] {
        [one] => writeln!(out, "    {field}{modifier}: {one}"),
        many => writeln!(out, "    {field}{modifier}:\n      - {}", many.join("\n      - ")),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::load;

    #[test]
    fn what_is_written_can_be_read() {
        let text = write(500, Language::Ron, 7);
        let folder = std::env::temp_dir().join(format!("tripline-bench-rules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("rules.ron");
        std::fs::write(&file, &text).unwrap();
        let loaded = load::load(&[file], load::Builtin::Schemas);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        assert_eq!(loaded.rules.len(), 500);
        assert_eq!(write(500, Language::Sigma, 7).matches("title:").count(), 500);
    }
}
