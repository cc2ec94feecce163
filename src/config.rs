//! The operator's file, `tripline.ron`. Each section is defined by the stage it sets up.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::deliver::config::{Ordered, Route, Settings};
use crate::model::{Span, Zone};
use crate::rule::problem::{Problem, Refusal, Source};
use crate::source::SourceConfig;

/// Everything that can be set. What is left out has the default that its page names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub sources: Vec<SourceConfig>,
    /// MaxMind-format databases, asked in this order. Empty: the country database inside the binary.
    pub geoip: Vec<PathBuf>,
    /// Files and folders of rules and schemas, added to the built-in ones.
    pub rules: Vec<PathBuf>,
    /// Name to file, for `InList`.
    pub lists: Ordered<PathBuf>,
    /// Built-in rules that are off unless named.
    pub enable: Vec<String>,
    /// Every built-in rule, the single-event signals too.
    pub all_rules: bool,
    /// What rules learn from before the first line.
    pub learn: Learn,
    pub receivers: Settings,
    pub routes: Vec<Route>,
    pub limits: Limits,
    /// Where what must survive a crash is kept. None: nothing is.
    pub state: Option<State>,
    /// The page for machines: `/health`, `/ready`, `/metrics`.
    pub web: Option<Web>,
    /// How long lines that are out of order wait for each other. Default 2 s.
    pub lateness: Option<Span>,
    /// Where notifications go that could not be delivered. Default `dead-letters.ndjson`.
    pub dead_letters: Option<PathBuf>,
}

/// History, for rules that must know what is usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learn {
    /// Logs, in no particular order; nothing of them is told.
    pub from: Vec<PathBuf>,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// A folder of its own; made if it is not there, for its owner only.
    Dir(PathBuf),
}

/// Where the web page listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web {
    /// Address and port, on loopback.
    pub listen: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest line: `1MiB`.
    pub line: Bytes,
    /// Memory for what rules remember: `512MiB`.
    pub memory: Bytes,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { line: Bytes(crate::limits::LINE_BYTES_MAX as u64), memory: Bytes(crate::limits::MEMORY_BYTES_MAX) }
    }
}

/// A number of bytes, written `64KiB`, `1MiB`, `2GiB` or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Bytes {
    pub fn parse(text: &str) -> Option<Bytes> {
        let text = text.trim();
        let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
        let factor: u64 = match text[digits..].trim() {
            "" | "B" => 1,
            "KiB" | "K" | "k" => 1 << 10,
            "MiB" | "M" => 1 << 20,
            "GiB" | "G" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return None,
        };
        text[..digits].parse::<u64>().ok()?.checked_mul(factor).map(Bytes)
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self.0 {
            it if it % (1 << 20) == 0 => format!("{}MiB", it >> 20),
            it if it % (1 << 10) == 0 => format!("{}KiB", it >> 10),
            it => it.to_string(),
        };
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Bytes::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no size; write 64KiB or 1MiB")))
    }
}

/// The default name, used when it is there and no other is given.
pub const DEFAULT_FILE: &str = "tripline.ron";

/// Reads the configuration that is named, or the default one if it is there. Relative paths in it start at its folder.
pub fn read(named: Option<&Path>) -> Result<Config, Refusal> {
    let path = match named {
        Some(path) => path,
        None if Path::new(DEFAULT_FILE).is_file() => Path::new(DEFAULT_FILE),
        None => return Ok(Config::default()),
    };
    let name = path.display().to_string();
    let refused = |problem: Problem| Refusal { problems: vec![problem] };
    let text = std::fs::read_to_string(path)
        .map_err(|it| refused(Problem::of_file(&name, format!("the configuration cannot be read: {it}"))))?;
    let mut config = parse(&name, &text)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let places = config.geoip.iter_mut().chain(&mut config.rules).chain(config.lists.0.iter_mut().map(|it| &mut it.1));
    let places = places.chain(&mut config.learn.from);
    let state = config.state.as_mut().map(|State::Dir(it)| it);
    for place in places.chain(&mut config.dead_letters).chain(state) {
        *place = folder.join(&place);
    }
    Ok(config)
}

/// Whether a file named to `check` is a configuration: it is called like one, or opens with a bare bracket.
pub fn looks_like_one(path: &Path) -> bool {
    let named = path.file_name().is_some_and(|it| it == DEFAULT_FILE);
    named
        || path.extension().is_some_and(|it| it == "ron")
            && std::fs::read_to_string(path).is_ok_and(|text| begins_with_bracket(&text))
}

fn begins_with_bracket(text: &str) -> bool {
    let code = text.lines().map(str::trim).find(|it| !it.is_empty() && !it.starts_with("//") && !it.starts_with("#!"));
    code.is_some_and(|it| it.starts_with('('))
}

/// What is wrong with the sources of a configuration, with the places in its file.
pub fn source_problems(config: &Config, named: Option<&Path>) -> Vec<Problem> {
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let source = Source { name: file.display().to_string(), text: text.as_str().into() };
    // A text is looked for as it is written; one with escapes in it is not found, and the file alone is named.
    let place = |what: &str, part: std::ops::Range<usize>, problem: String| match text.find(&format!("\"{what}\"")) {
        Some(at) => Problem::at(&source, at + 1 + part.start..at + 1 + part.end, problem),
        None => Problem::of_file(&source.name, format!("{what}: {problem}")),
    };
    let mut all = Vec::new();
    let mut paths = Vec::new();
    for it in &config.sources {
        let path = it.path().unwrap_or_default();
        if let Err(error) = it.check() {
            all.push(place(path, error.at, error.problem.into()).hint(error.advice));
        }
        if it.path().is_some() && paths.contains(&path) {
            let problem = "another source reads this path already: its lines would count twice";
            all.push(place(path, 0..path.len(), problem.into()));
        }
        paths.push(path);
        if let Some(zone) = it.common().zone.filter(|it| Zone::parse(it).is_none()) {
            let problem = place(zone, 0..zone.len(), format!("`{zone}` is no time zone"));
            all.push(problem.hint("write UTC, +02:00 or Europe/Athens"));
        }
    }
    all
}

/// Everything wrong with a configuration that reading it could not see. `named`: its file, if it is not the default.
pub fn problems(config: &Config, named: Option<&Path>) -> Vec<Problem> {
    let about = |what: String| Problem::of_file(DEFAULT_FILE, what);
    let mut all = source_problems(config, named);
    if let Err(problems) =
        crate::deliver::config::resolve(&config.receivers, &crate::deliver::config::Outside::system())
    {
        all.extend(problems.into_iter().map(|it| about(it.to_string())));
    }
    let names: Vec<&str> = config.receivers.0.iter().map(|it| it.0.as_str()).collect();
    if let Err(problems) = crate::deliver::config::Routes::resolve(&config.routes, &names) {
        all.extend(problems.into_iter().map(|it| about(it.to_string())));
    }
    all
}

/// The configuration in force, as RON; secrets print as `***`.
pub fn print(config: &Config) -> String {
    let pretty = ron::ser::PrettyConfig::default().depth_limit(4);
    ron::ser::to_string_pretty(config, pretty).map_or_else(|it| format!("// cannot be printed: {it}\n"), |it| it + "\n")
}

fn parse(name: &str, text: &str) -> Result<Config, Refusal> {
    let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    options.from_str(text).map_err(|error| {
        let start = offset(text, error.span.start);
        let end = offset(text, error.span.end).max(start + 1).min(text.len());
        let source = Source { name: name.to_string(), text: text.into() };
        Refusal { problems: vec![Problem::at(&source, start..end, error.code.to_string())] }
    })
}

/// Where a line and column of RON stand in the text.
fn offset(text: &str, at: ron::error::Position) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(at.line.saturating_sub(1)).map(str::len).sum();
    let line = &text[line_start.min(text.len())..];
    line_start + line.char_indices().nth(at.col.saturating_sub(1)).map_or(line.len(), |it| it.0)
}
