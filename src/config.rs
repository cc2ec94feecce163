//! The operator's file, `tripline.ron`. Each section is defined by the stage it sets up.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::deliver::config::{Hidden, Ordered, Outside, Route, Settings, bare, given};
use crate::format::FORMATS;
use crate::model::text::nearest;
use crate::model::{Span, Zone};
use crate::rule::problem::{Problem, Refusal, Source};
use crate::rule::tree::{self, Node};
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
    /// A message that comes for as long as everything works. None: nobody waits for one.
    pub heartbeat: Option<Heartbeat>,
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
    /// What `POST /ingest` must know. None: everybody on this machine may.
    #[serde(default, deserialize_with = "given", serialize_with = "bare", skip_serializing_if = "Option::is_none")]
    pub token: Option<Hidden>,
    /// Names by which it may be asked for, besides addresses and names without a dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// Who hears that all is well, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// A receiver.
    pub to: String,
    #[serde(default = "a_minute")]
    pub every: Span,
}

/// A heartbeat may come this often, and must come this often.
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<i64> = 1..=86_400;

fn a_minute() -> Span {
    Span::from_secs(60)
}

impl Heartbeat {
    /// What is wrong with it, and under which key.
    pub fn problem(&self, config: &Config) -> Option<(&'static str, String)> {
        if config.receivers.0.iter().all(|it| it.0 != self.to) {
            return Some(("to", format!("there is no receiver `{}`", self.to)));
        }
        let seconds = self.every.micros() / 1_000_000;
        (!HEARTBEAT_SECONDS.contains(&seconds)).then(|| ("every", "a heartbeat comes every 1s to 24h".to_string()))
    }
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

/// A configuration's text, for the places of what is wrong in it.
struct Places {
    source: Source,
    tree: Option<Node>,
}

impl Places {
    fn of(named: Option<&Path>) -> Places {
        let file = named.unwrap_or(Path::new(DEFAULT_FILE));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let tree = tree::parse(&text).ok().flatten();
        Places { source: Source { name: file.display().to_string(), text: text.as_str().into() }, tree }
    }

    /// The value at `receivers.hook.url` or `routes[1].to`, or as much of the way as is there.
    fn node(&self, path: &str) -> Option<&Node> {
        let text: &str = &self.source.text;
        let mut node = self.tree.as_ref()?;
        for word in path.split(['.', '[', ']']).filter(|it| !it.is_empty()) {
            let by_key = node.items().iter().find(|it| {
                let key = it.key.clone().map(|at| &text[at]);
                key.is_some_and(|it| it == word || tree::decoded(it) == word)
            });
            let found = by_key.or_else(|| word.parse::<usize>().ok().and_then(|it| node.items().get(it)));
            match found {
                Some(it) => node = &it.value,
                None => break,
            }
        }
        Some(node)
    }

    /// A problem with what stands at a path of keys; under `look_for` in it, where that is said.
    fn at(&self, path: &str, look_for: Option<&str>, what: String) -> Problem {
        let Some(node) = self.node(path) else { return Problem::of_file(&self.source.name, what) };
        let inside = look_for.and_then(|it| self.source.text[node.span.clone()].find(it).map(|at| (at, it.len())));
        let span = match inside {
            Some((at, len)) => node.span.start + at..node.span.start + at + len,
            None => node.head(),
        };
        Problem::at(&self.source, span, what)
    }
}

/// What is wrong with the sources of a configuration, with the places in its file.
pub fn source_problems(config: &Config, named: Option<&Path>) -> Vec<Problem> {
    sources(config, &Places::of(named))
}

fn sources(config: &Config, places: &Places) -> Vec<Problem> {
    let place = |index: usize, key: &str, what: String| places.at(&format!("sources[{index}].{key}"), None, what);
    let mut all = Vec::new();
    let mut paths = Vec::new();
    for (index, it) in config.sources.iter().enumerate() {
        let path = it.path().unwrap_or_default();
        if let Err(error) = it.check() {
            let part = path.get(error.at.clone());
            let problem = places.at(&format!("sources[{index}].path"), part, error.problem.into());
            all.push(problem.hint(error.advice));
        }
        if it.path().is_some() && paths.contains(&path) {
            let problem = "another source reads this path already: its lines would count twice";
            all.push(place(index, "path", problem.into()));
        }
        paths.push(path);
        if matches!(it, SourceConfig::Http { .. }) && config.web.is_none() {
            let problem = places.at(&format!("sources[{index}]"), None, "an Http source needs a listener".into());
            all.push(problem.hint("write web: (listen: \"127.0.0.1:7172\")"));
        }
        if let Some(zone) = it.common().zone.filter(|it| Zone::parse(it).is_none()) {
            let problem = place(index, "zone", format!("`{zone}` is no time zone"));
            all.push(problem.hint("write UTC, +02:00 or Europe/Athens"));
        }
        let formats = || FORMATS.iter().map(|it| it.name).chain(["auto"]);
        if let Some(format) = it.common().format.filter(|it| formats().all(|known| known != *it)) {
            let problem = place(index, "format", format!("there is no format `{format}`"));
            let problem = problem.expected(format!("one of {}", formats().collect::<Vec<_>>().join(", ")));
            all.push(match nearest(format, formats()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        if let SourceConfig::Tcp { listen, .. } = it
            && !is_listener(listen)
        {
            all.push(no_listener(place(index, "listen", format!("`{listen}` is no address with a port"))));
        }
    }
    all
}

/// `address:port` or `name:port`.
fn is_listener(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn no_listener(problem: Problem) -> Problem {
    problem.expected("an address and a port up to 65535").hint("for example \"127.0.0.1:7171\" or \"[::1]:7171\"")
}

/// Everything wrong with a configuration that reading it could not see. `named`: its file, if it is not the default.
pub fn problems(config: &Config, named: Option<&Path>) -> Vec<Problem> {
    let places = Places::of(named);
    let mut all = sources(config, &places);
    if let Some(Err(problem)) = config.web.as_ref().and_then(|it| it.token.as_ref()).map(Hidden::from_system) {
        all.push(places.at("web.token", None, problem));
    }
    if let Some(heart) = &config.heartbeat {
        all.extend(heart.problem(config).map(|(key, what)| places.at(&format!("heartbeat.{key}"), None, what)));
    }
    let receivers = crate::deliver::config::resolve(&config.receivers, &Outside::system()).err().unwrap_or_default();
    let names: Vec<&str> = config.receivers.0.iter().map(|it| it.0.as_str()).collect();
    let routes = crate::deliver::config::Routes::resolve(&config.routes, &names).err().unwrap_or_default();
    all.extend(receivers.iter().chain(&routes).map(|it| places.at(&it.at, it.look_for.as_deref(), it.to_string())));
    if let Some(web) = config.web.as_ref().filter(|it| !is_listener(&it.listen)) {
        let problem = places.at("web.listen", None, format!("`{}` is no address with a port", web.listen));
        all.push(no_listener(problem));
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
        // Brackets, quotes and commas: the reader of shapes says which one is meant.
        if let Err(mistake) = tree::parse(text) {
            let problem = Problem::at(&source, mistake.span, mistake.what);
            let problem = Problem { expected: mistake.expected, hint: mistake.hint, ..problem };
            return Refusal { problems: vec![problem] };
        }
        let unknown = |what: String, found: &str, known: &'static [&'static str]| {
            let problem = Problem::at(&source, start..end, what).expected(format!("one of {}", known.join(", ")));
            match nearest(found, known.iter().copied()) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem,
            }
        };
        let problem = match &error.code {
            ron::Error::NoSuchEnumVariant { expected, found, .. } => {
                unknown(format!("nothing is called `{found}` here"), found, expected)
            }
            ron::Error::NoSuchStructField { expected, found, .. } => {
                unknown(format!("there is no setting `{found}` here"), found, expected)
            }
            it => Problem::at(&source, start..end, it.to_string()),
        };
        Refusal { problems: vec![problem] }
    })
}

/// Where a line and column of RON stand in the text.
fn offset(text: &str, at: ron::error::Position) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(at.line.saturating_sub(1)).map(str::len).sum();
    let line = &text[line_start.min(text.len())..];
    line_start + line.char_indices().nth(at.col.saturating_sub(1)).map_or(line.len(), |it| it.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place and the line under the caret of the first thing that is wrong.
    fn wrong(text: &str) -> (usize, String, Option<String>) {
        let file = std::env::temp_dir().join(format!("tripline-config-{}-{}.ron", std::process::id(), text.len()));
        std::fs::write(&file, text).unwrap();
        let all = match read(Some(&file)) {
            Ok(config) => problems(&config, Some(&file)),
            Err(refusal) => refusal.problems,
        };
        std::fs::remove_file(&file).unwrap();
        let first = &all[0];
        let marked: String = first.excerpt.chars().skip(first.column.saturating_sub(1)).take(first.width).collect();
        (first.line, marked, first.hint.clone())
    }

    #[test]
    fn what_is_wrong_is_shown_where_it_stands() {
        for (text, line, marked, hint) in [
            ("(\n sources: [Tpc(listen: \"127.0.0.1:1\")])", 2, "Tpc", "did you mean `Tcp`?"),
            ("(sourcs: [])", 1, "sourcs", "did you mean `sources`?"),
            ("(sources: [Stdin(),\n Stdin(format: \"jsno\")])", 2, "\"jsno\"", "did you mean `json`?"),
            ("(sources: [Stdin(zone: \"Mars\")])", 1, "\"Mars\"", "UTC"),
            ("(sources: [Tcp(listen: \"127.0.0.1:99999\")])", 1, "\"127.0.0.1:99999\"", "7171"),
            ("(web: (listen: \"localhost\"))", 1, "\"localhost\"", "7171"),
            ("(receivers: {\"a\": Stdout()},\n heartbeat: (to: \"b\"))", 2, "\"b\"", ""),
            ("(receivers: {\"a\": Stdout()}, heartbeat: (to: \"a\", every: \"2d\"))", 1, "\"2d\"", ""),
            ("(receivers: {\"a\": Stdout()},\n routes: [(to: [\"a\"]), (to: [\"b\"])])", 2, "\"b\"", ""),
            ("(receivers: {\"a\": Webhook(url: \"htp://x\")})", 1, "\"htp://x\"", ""),
            ("(sources: [Stdin()", 1, "[", ""),
        ] {
            let found = wrong(text);
            assert_eq!((found.0, found.1.as_str()), (line, marked), "{text}");
            assert!(found.2.unwrap_or_default().contains(hint), "{text}");
        }
    }
}
