//! What the source promises about itself: who may know whom, and what happens in one place only.
//!
//! A rule that only people watch is broken by the third person in a hurry. Each list here is short on purpose: to make it
//! longer is a decision, and has its reason beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules a module may use. Stages know the nouns, the expressions and the limits, never each other.
const MAY_USE: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("tls", &[]),
    ("model", &["limits"]),
    ("expr", &["model", "limits"]),
    ("source", &["model", "tls", "limits"]),
    ("format", &["model", "limits"]),
    ("schema", &["expr", "model", "limits"]),
    ("enrich", &["model", "limits"]),
    ("matcher", &["expr", "model", "limits"]),
    ("detect", &["expr", "model", "limits"]),
    ("alert", &["model", "limits"]),
    ("store", &["model", "limits"]),
    ("deliver", &["store", "model", "tls", "limits"]),
    // Rule files say what detectors, schemas and the matcher can be told.
    ("rule", &["matcher", "enrich", "detect", "schema", "expr", "model", "limits"]),
    // Each section of the operator's file is defined by the stage it sets up; sources name formats.
    ("config", &["source", "format", "deliver", "rule", "model", "limits"]),
    // A front takes the batches that sources make.
    (
        "engine",
        &[
            "config", "rule", "source", "format", "schema", "enrich", "matcher", "detect", "alert", "expr", "model",
            "limits",
        ],
    ),
    // The page for machines shows what the runtime publishes, and knows nobody.
    ("web", &["model", "limits"]),
    (
        "runtime",
        &[
            "web", "engine", "config", "rule", "source", "format", "schema", "enrich", "matcher", "detect", "alert",
            "deliver", "store", "expr", "model", "limits",
        ],
    ),
    // Generates a workload and drives what is measured.
    (
        "bench",
        &[
            "runtime", "engine", "config", "rule", "source", "format", "schema", "enrich", "matcher", "detect",
            "alert", "expr", "model", "limits",
        ],
    ),
    // Stands in for the world around the runtime.
    (
        "sim",
        &["runtime", "web", "engine", "config", "rule", "source", "enrich", "matcher", "deliver", "store", "model"],
    ),
    (
        "cli",
        &[
            "sim", "bench", "web", "runtime", "engine", "config", "rule", "source", "format", "schema", "enrich",
            "matcher", "detect", "alert", "deliver", "store", "expr", "model", "limits",
        ],
    ),
    ("main", &["cli"]),
];

/// Something that one place does for all, and who else may, with the reason.
struct Once {
    what: &'static str,
    signs: &'static [&'static str],
    places: &'static [(&'static str, &'static str)],
}

const ONCE: &[Once] = &[
    Once {
        what: "a clock is read",
        signs: &["Instant::now", "SystemTime::now", "Utc::now", "Local::now", "UNIX_EPOCH.elapsed"],
        places: &[("runtime/clock.rs", "the only clock")],
    },
    Once {
        what: "a socket is opened",
        signs: &[
            "TcpStream::connect",
            "TcpListener::bind",
            "TcpSocket::",
            "UdpSocket::bind",
            "UnixStream::connect",
            "UnixListener::bind",
            "UnixDatagram::bind",
            "lookup_host",
            "to_socket_addrs",
            "reqwest::Client",
            "Client::builder",
            "Client::new",
        ],
        places: &[
            ("source/", "where lines come from"),
            ("deliver/transport.rs", "where messages go, behind the wall that keeps them off private networks"),
            ("web/", "the status page"),
        ],
    },
    Once {
        what: "a task or thread is started",
        signs: &["spawn(", "spawn_blocking(", "thread::scope(", "spawn_local("],
        places: &[
            ("runtime/", "every task, thread and channel"),
            ("source/tcp.rs", "a task a connection, in a set that ends with its listener"),
            ("web/mod.rs", "a task a connection, in a set that ends with its listener"),
            ("deliver/courier.rs", "one append to the dead letters, waited for"),
            ("deliver/transport.rs", "one append to a file, waited for"),
        ],
    },
    Once {
        what: "an async runtime is made",
        signs: &["runtime::Builder::", "Runtime::new", "#[tokio::main]"],
        places: &[
            ("runtime/", "the service"),
            ("cli/notify.rs", "one message, and then the end"),
            ("cli/geoip.rs", "one download, and then the end"),
        ],
    },
    Once { what: "a panic is left in", signs: &[".unwrap()", "todo!(", "unimplemented!(", "dbg!("], places: &[] },
    Once {
        what: "the process ends",
        signs: &["process::exit", "process::abort"],
        places: &[("main.rs", "whoever reads standard output has left")],
    },
];

#[test]
fn imports_go_one_way() {
    let may: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in sources() {
        let known = may.get(file.module.as_str()).unwrap_or_else(|| panic!("{} is in no list", file.name));
        for used in file.uses() {
            if used != file.module && !known.contains(&used.as_str()) {
                wrong.push(format!("{}: `{}` may not use `{used}`", file.name, file.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_of_imports_is_a_direction() {
    let at = |name: &str| MAY_USE.iter().position(|it| it.0 == name).unwrap_or_else(|| panic!("{name} is in no list"));
    for (module, used) in MAY_USE {
        for other in *used {
            assert!(at(other) < at(module), "`{module}` stands before `{other}`, which it uses: there is a circle");
        }
    }
}

#[test]
fn what_one_place_does_no_other_does() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (number, line) in file.lines() {
            for once in ONCE {
                let signed = once.signs.iter().find(|it| line.contains(**it));
                let allowed = once.places.iter().any(|(place, _)| file.name.starts_with(place));
                if let (Some(sign), false) = (signed, allowed) {
                    wrong.push(format!("src/{}:{number}: {} (`{sign}`)", file.name, once.what));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_limit_is_kept_by_somebody() {
    let all: String = sources().iter().filter(|it| it.name != "limits.rs").map(|it| it.code.as_str()).collect();
    let words: BTreeSet<&str> = all.split(|it: char| !it.is_alphanumeric() && it != '_').collect();
    let text = read(&root().join("src/limits.rs"));
    let mut documented = false;
    let mut number = 0;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub const ").and_then(|it| it.split(':').next()) {
            assert!(words.contains(name), "limits::{name} limits nothing");
            assert!(documented, "limits::{name} has no reason beside it");
            number += 1;
        }
        documented = line.starts_with("///");
    }
    assert!(number > 30, "limits.rs was not understood");
}

#[test]
fn nothing_knows_the_machine_it_was_written_on() {
    let root = root();
    let mut places: Vec<String> = root.ancestors().take(2).map(|it| format!("{}/", it.display())).collect();
    places.extend(std::env::var("HOME").map(|it| format!("{it}/")));
    // A folder just below the root, such as `/src/`, stands in many innocent paths.
    places.retain(|it| it.matches('/').count() > 2 || it == "/root/");
    let mut wrong = Vec::new();
    for file in texts(&root) {
        let text = read(&file);
        if let Some(place) = places.iter().find(|it| text.contains(it.as_str()) && !file.ends_with("tidy.rs")) {
            wrong.push(format!("{} names {place}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Code is long for a reason or it is two things; most of it is neither.
#[test]
fn lines_end_without_spaces() {
    for file in texts(&root()).iter().filter(|it| it.extension().is_some_and(|it| it == "rs" || it == "ron")) {
        let text = read(file);
        let bad = text.lines().position(|it| it.ends_with([' ', '\t']));
        assert_eq!(bad.map(|it| it + 1), None, "{} has a line with spaces at its end", file.display());
        assert!(text.ends_with('\n'), "{} does not end its last line", file.display());
    }
}

/// One file of `src`, without its tests and comments.
struct Source {
    /// Below `src`.
    name: String,
    /// The first part of its path.
    module: String,
    /// How many modules it is inside of.
    depth: usize,
    code: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, it)| (index + 1, it))
    }

    /// The modules at the top that its code names.
    fn uses(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let above = "super::".repeat(self.depth);
        for start in ["crate::", "tripline::", &above] {
            let mut rest = self.code.as_str();
            while let Some(at) = rest.find(start) {
                let free = !rest[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_' || it == ':');
                rest = &rest[at + start.len()..];
                if !free || start.is_empty() || rest.starts_with("super::") {
                    continue;
                }
                all.extend(first_words(rest));
            }
        }
        all
    }
}

/// `a::b` gives `a`; `{a::b, c}` gives `a` and `c`.
fn first_words(path: &str) -> Vec<String> {
    let word = |it: &str| it.trim().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect::<String>();
    let Some(inside) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut depth = 1;
    let mut words = vec![word(inside)];
    for (at, it) in inside.char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => words.push(word(&inside[at + 1..])),
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    words.retain(|it| !it.is_empty());
    words
}

#[test]
fn paths_are_understood() {
    let uses = |name: &str, code: &str| Source::new(name, code).uses().into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(
        uses("a/b.rs", "use crate::model::text;\nuse crate::{limits, expr::{Expr, list}};"),
        "expr limits model"
    );
    assert_eq!(uses("a/b.rs", "use super::c;\nuse super::super::d::e;"), "d");
    assert_eq!(uses("a/mod.rs", "use super::d;\nuse b::c;"), "d");
    assert_eq!(uses("a/b.rs", "// crate::model\nlet x = mycrate::y; crate::z::f()"), "z");
    assert_eq!(uses("a/b.rs", "use crate::x;\n#[cfg(test)]\nmod tests {\n    use crate::y;\n}\n}\n"), "x");
    assert_eq!(uses("a/b.rs", "#[cfg(test)]\nfn f() {\n    crate::y()\n}\n\nfn g() { crate::x() }\n"), "x");
}

impl Source {
    fn new(name: &str, text: &str) -> Source {
        let module = name.split(['/', '.']).next().unwrap_or_default().to_string();
        let depth = name.split('/').count() - usize::from(name.ends_with("/mod.rs"));
        Source { name: name.to_string(), module, depth, code: without_tests(text) }
    }
}

/// Line by line, tests and comments become empty lines, so that numbers stay.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut skipping: Option<String> = None;
    // Modules of tests stand last, and texts in them may look like the end of anything.
    let end = ["\n#[cfg(test)]\nmod ", "\n#[cfg(test)]\npub mod "].iter().filter_map(|it| module_at(text, it)).min();
    for line in text[..end.unwrap_or(text.len())].lines() {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        if let Some(end) = &skipping {
            // rustfmt puts the end of an item under its beginning; an item without a body ends with its line.
            let closed = line == format!("{end}}}") || line == format!("{end}}};");
            if closed || indent == end && bare.ends_with(';') {
                skipping = None;
            }
        } else if bare.starts_with("#[cfg(test)]") || bare.starts_with("#[cfg(any(test") {
            skipping = Some(indent.to_string());
        } else if !bare.starts_with("//") {
            code.push_str(line.split(" // ").next().unwrap_or_default());
        }
        code.push('\n');
    }
    code
}

/// Where the first module with a body begins that opens like this.
fn module_at(text: &str, opening: &str) -> Option<usize> {
    let begins = |at: &usize| text[at + opening.len()..].lines().next().is_some_and(|it| it.ends_with('{'));
    text.match_indices(opening).map(|it| it.0).find(begins)
}

/// The files of `src` but those that only tests have.
fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let mut paths = Vec::new();
    walk(&folder, &mut paths);
    let mut all: Vec<(String, String)> = paths
        .iter()
        .filter(|it| it.extension().is_some_and(|it| it == "rs") && !it.ends_with("lib.rs"))
        .map(|it| (it.strip_prefix(&folder).unwrap().display().to_string(), read(it)))
        .collect();
    let tests: BTreeSet<String> = all.iter().flat_map(|(name, text)| test_files(name, text)).collect();
    all.retain(|(name, _)| !tests.contains(name));
    assert!(all.len() > 80, "src was not found");
    all.iter().map(|(name, text)| Source::new(name, text)).collect()
}

/// The files that `#[cfg(test)] mod name;` lines of a file declare.
fn test_files(name: &str, text: &str) -> Vec<String> {
    let folder = match name.strip_suffix("/mod.rs") {
        Some(folder) => folder.to_string(),
        None => name.trim_end_matches(".rs").to_string(),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|it| it[0] == "#[cfg(test)]").filter_map(|it| {
        let declared =
            it[1].trim_start_matches("pub ").trim_start_matches("pub(super) ").trim_start_matches("pub(crate) ");
        declared.strip_prefix("mod ")?.strip_suffix(';')
    });
    declared.flat_map(|it| [format!("{folder}/{it}.rs"), format!("{folder}/{it}/mod.rs")]).collect()
}

/// Everything that people read and write.
fn texts(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for place in ["src", "rules", "tests/it", "benches", "docs", "examples", "fuzz/fuzz_targets", ".ci", ".github"] {
        walk(&root.join(place), &mut all);
    }
    for file in ["README.md", "CHANGELOG.md", "Cargo.toml", "build.rs", "fuzz/Cargo.toml"] {
        all.push(root.join(file));
    }
    let extensions = ["rs", "ron", "md", "toml", "sh", "yml", "yaml", "html", "js", "css"];
    all.retain(|it| it.is_file() && it.extension().is_none_or(|it| extensions.iter().any(|known| it == *known)));
    all
}

fn walk(folder: &Path, all: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.map(|it| it.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => walk(&path, all),
            false => all.push(path),
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|it| panic!("{}: {it}", path.display()))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
