//! Conformance with the Sigma specification: a detection, and events that it takes or not. Written from the specification,
//! run through the real import, the real decoder and the real matcher.

use std::sync::Arc;

use super::*;
use crate::engine::{Reader, Reading, RuleSet, Wanted};
use crate::enrich::Enricher;
use crate::enrich::geo::Geo;
use crate::model::{Timestamp, Zone};

fn import(files: &[SigmaFile], by: &[String]) -> Import {
    super::import(files, by, &Lists::default())
}

/// A detection as YAML, and events that must match or must not.
type Case<'a> = (&'a str, &'a [(&'a str, bool)]);

fn yaml(index: usize, source: &str, detection: &str) -> String {
    let detection = detection.trim_matches('\n').replace('\n', "\n    ");
    format!("title: Case {index}\nlogsource:\n    {source}\ndetection:\n    {detection}\n")
}

fn file(name: &str, text: impl Into<String>) -> SigmaFile {
    SigmaFile { name: name.into(), text: text.into() }
}

/// Which rules of an import an event satisfies, by id.
struct Bench {
    set: Arc<RuleSet>,
    reader: Reader,
}

impl Bench {
    fn new(import: &Import) -> Bench {
        let mut rules = Vec::new();
        for it in &import.turned {
            let loaded = load_text(&it.file, &it.text);
            assert!(loaded.problems.is_empty(), "{:?}\n{}", loaded.problems, it.text);
            rules.extend(loaded.rules.into_iter().map(|it| it.value));
        }
        static SCHEMAS: OnceLock<Vec<crate::schema::file::Schema>> = OnceLock::new();
        let schemas =
            SCHEMAS.get_or_init(|| load(&[], Builtin::Schemas).schemas.into_iter().map(|it| it.value).collect());
        let set = RuleSet::compile(rules, schemas, &Lists::default(), Wanted::ByRules);
        let set = Arc::new(set.unwrap_or_else(|it| panic!("{it:?}")));
        Bench { reader: Reader::new(set.clone(), Enricher::new(Arc::new(Geo::none()))), set }
    }

    fn matches(&mut self, event: &str) -> Vec<String> {
        let reading = Reading { format: None, zone: Zone::UTC };
        let received = Timestamp::from_micros(1_744_444_800_000_000);
        let mut found = Vec::new();
        let set = self.set.clone();
        let mut scratch = set.matcher.new_scratch();
        let read = self.reader.read(event, &reading, received, &mut |read, _| {
            let mut numbers = Vec::new();
            set.matcher.matches(read.event(), &mut scratch, &mut numbers);
            found.extend(numbers.iter().map(|it| set.rules[set.owners[*it as usize].0.index()].rule.id.clone()));
        });
        assert!(read.is_ok(), "{event}");
        found
    }
}

fn check_source(source: &str, cases: &[Case<'_>]) {
    let files: Vec<SigmaFile> = cases
        .iter()
        .enumerate()
        .map(|(index, it)| file(&format!("case_{index}.yml"), yaml(index, source, it.0)))
        .collect();
    let import = import(&files, &[]);
    assert!(import.refused.is_empty(), "{:#?}", import.refused);
    let mut bench = Bench::new(&import);
    for (index, (detection, events)) in cases.iter().enumerate() {
        for (event, expected) in *events {
            let matches = bench.matches(event).contains(&format!("case-{index}"));
            let text = &import.turned[index].text;
            assert_eq!(matches, *expected, "{detection}\n--- on {event}\n{text}");
        }
    }
}

fn check(cases: &[Case<'_>]) {
    check_source("category: test", cases);
}

/// A detection that must be refused, with a part of the reason.
fn refused(detection: &str, reason: &str) {
    let import = import(&[file("a.yml", yaml(0, "category: test", detection))], &[]);
    assert!(import.turned.is_empty(), "{detection} was turned: {}", import.turned[0].text);
    let found = &import.refused[0].reason;
    assert!(found.contains(reason), "{detection}: {found}");
}

#[test]
fn values() {
    check(&[
        // Text compares without case; the whole value.
        (
            "s:\n    a: Foo\ncondition: s",
            &[
                (r#"{"a":"foo"}"#, true),
                (r#"{"a":"FOO"}"#, true),
                (r#"{"a":"foo "}"#, false),
                (r#"{"a":"xfoo"}"#, false),
                (r#"{"b":"foo"}"#, false),
                (r#"{"A":"foo"}"#, false),
            ],
        ),
        // Numbers compare with numbers and with texts that say the same.
        (
            "s:\n    a: 4625\ncondition: s",
            &[(r#"{"a":4625}"#, true), (r#"{"a":"4625"}"#, true), (r#"{"a":46250}"#, false)],
        ),
        (
            "s:\n    a: '4625'\ncondition: s",
            &[(r#"{"a":4625}"#, true), (r#"{"a":"4625"}"#, true), (r#"{"a":"04625"}"#, false)],
        ),
        (
            "s:\n    a: true\ncondition: s",
            &[(r#"{"a":true}"#, true), (r#"{"a":"True"}"#, true), (r#"{"a":false}"#, false), (r#"{"a":1}"#, false)],
        ),
        ("s:\n    a: 'true'\ncondition: s", &[(r#"{"a":true}"#, true), (r#"{"a":"TRUE"}"#, true)]),
        // Null: absent or null. Empty: there, and empty.
        (
            "s:\n    b: 1\n    a: null\ncondition: s",
            &[
                (r#"{"b":1}"#, true),
                (r#"{"b":1,"a":null}"#, true),
                (r#"{"b":1,"a":""}"#, false),
                (r#"{"b":1,"a":"x"}"#, false),
            ],
        ),
        (
            "s:\n    a: ''\ncondition: s",
            &[(r#"{"a":""}"#, true), (r#"{"a":null}"#, false), (r#"{}"#, false), (r#"{"a":"x"}"#, false)],
        ),
        (
            "s:\n    b: 1\n    a:\n        - null\n        - ''\n        - x\ncondition: s",
            &[
                (r#"{"b":1}"#, true),
                (r#"{"b":1,"a":""}"#, true),
                (r#"{"b":1,"a":"X"}"#, true),
                (r#"{"b":1,"a":"y"}"#, false),
            ],
        ),
        // Lists of values: one of them.
        (
            "s:\n    a:\n        - one\n        - 2\ncondition: s",
            &[(r#"{"a":"ONE"}"#, true), (r#"{"a":2}"#, true), (r#"{"a":"three"}"#, false)],
        ),
        // Fields with several values: one of them.
        ("s:\n    a: one\ncondition: s", &[(r#"{"a":["two","One"]}"#, true), (r#"{"a":["two"]}"#, false)]),
        // Dots: nested, or in the key.
        (
            "s:\n    a.b.c: x\ncondition: s",
            &[
                (r#"{"a":{"b":{"c":"x"}}}"#, true),
                (r#"{"a.b.c":"x"}"#, true),
                (r#"{"a":{"b.c":"x"}}"#, true),
                (r#"{"c":"x"}"#, false),
            ],
        ),
        // Names that our schemas fill are the record's own here.
        (
            "s:\n    message: hello\ncondition: s",
            &[(r#"{"message":"hello"}"#, true), (r#"{"message":"hallo"}"#, false)],
        ),
        (
            "s:\n    user.name: ann\n    activity: x\ncondition: s",
            &[(r#"{"user":{"name":"ann"},"activity":"x"}"#, true), (r#"{"user":{"name":"ann"}}"#, false)],
        ),
    ]);
}

#[test]
fn wildcards_and_escapes() {
    check(&[
        (
            "s:\n    a: 'prog?.exe'\ncondition: s",
            &[(r#"{"a":"ProgA.exe"}"#, true), (r#"{"a":"prog.exe"}"#, false), (r#"{"a":"progAB.exe"}"#, false)],
        ),
        (
            "s:\n    a: 'virus_V*.exe'\ncondition: s",
            &[
                (r#"{"a":"virus_v21.2.exe"}"#, true),
                (r#"{"a":"virus_V.exe"}"#, true),
                (r#"{"a":"virus_V1.exe.bak"}"#, false),
            ],
        ),
        (
            "s:\n    a: '*\\cmd.exe'\ncondition: s",
            &[(r#"{"a":"C:\\Windows\\CMD.exe"}"#, true), (r#"{"a":"cmd.exe"}"#, false)],
        ),
        (
            r"s:
    a: 'C:\*'
condition: s",
            &[(r#"{"a":"C:*"}"#, true), (r#"{"a":"C:\\x"}"#, false)],
        ),
        (
            r"s:
    a: 'C:\\*'
condition: s",
            &[
                (r#"{"a":"C:\\x"}"#, true),
                (r#"{"a":"C:\\"}"#, true),
                (r#"{"a":"C:x"}"#, false),
                (r#"{"a":"C:*"}"#, false),
            ],
        ),
        (
            r"s:
    a: 'C:\\\*'
condition: s",
            &[(r#"{"a":"C:\\*"}"#, true), (r#"{"a":"C:\\x"}"#, false)],
        ),
        // Two, three and four backslashes.
        (
            r"s:
    a: 'a\b'
condition: s",
            &[(r#"{"a":"a\\b"}"#, true)],
        ),
        (
            r"s:
    a: 'a\\b'
condition: s",
            &[(r#"{"a":"a\\b"}"#, true), (r#"{"a":"a\\\\b"}"#, false)],
        ),
        (
            r"s:
    a: 'a\\\b'
condition: s",
            &[(r#"{"a":"a\\\\b"}"#, true), (r#"{"a":"a\\b"}"#, false)],
        ),
        (
            r"s:
    a: '\\\\host'
condition: s",
            &[(r#"{"a":"\\\\host"}"#, true), (r#"{"a":"\\host"}"#, false)],
        ),
        (
            r"s:
    a: 'x\?'
condition: s",
            &[(r#"{"a":"x?"}"#, true), (r#"{"a":"xy"}"#, false)],
        ),
        (
            "s:\n    a: '*'\ncondition: s",
            &[(r#"{"a":"anything"}"#, true), (r#"{"a":7}"#, true), (r#"{"b":"x"}"#, false)],
        ),
        ("s:\n    a|contains: 'x*y'\ncondition: s", &[(r#"{"a":"..X--Y.."}"#, true), (r#"{"a":"yx"}"#, false)]),
        ("s:\n    a|startswith: 'a?c'\ncondition: s", &[(r#"{"a":"abcd"}"#, true), (r#"{"a":"acd"}"#, false)]),
    ]);
}

#[test]
fn modifiers() {
    check(&[
        ("s:\n    a|contains: Ev\ncondition: s", &[(r#"{"a":"the EVIL"}"#, true), (r#"{"a":"e v"}"#, false)]),
        ("s:\n    a|startswith: Ev\ncondition: s", &[(r#"{"a":"evil"}"#, true), (r#"{"a":"the evil"}"#, false)]),
        (
            "s:\n    a|endswith: '\\Cmd.exe'\ncondition: s",
            &[(r#"{"a":"C:\\cmd.exe"}"#, true), (r#"{"a":"C:\\cmd.exe.x"}"#, false)],
        ),
        (
            "s:\n    a|contains:\n        - one\n        - two\ncondition: s",
            &[(r#"{"a":"x two"}"#, true), (r#"{"a":"three"}"#, false)],
        ),
        (
            "s:\n    a|contains|all:\n        - one\n        - two\ncondition: s",
            &[(r#"{"a":"two one"}"#, true), (r#"{"a":"two"}"#, false)],
        ),
        ("s:\n    a|contains|cased: Ev\ncondition: s", &[(r#"{"a":"xEvil"}"#, true), (r#"{"a":"xevil"}"#, false)]),
        ("s:\n    a|cased: Foo\ncondition: s", &[(r#"{"a":"Foo"}"#, true), (r#"{"a":"foo"}"#, false)]),
        (
            "s:\n    a|contains: 10\ncondition: s",
            &[(r#"{"a":2101}"#, true), (r#"{"a":"x10"}"#, true), (r#"{"a":11}"#, false)],
        ),
        // Regular expressions: found anywhere, with case.
        (
            "s:\n    a|re: '^Foo[0-9]+'\ncondition: s",
            &[(r#"{"a":"Foo12bar"}"#, true), (r#"{"a":"foo12"}"#, false), (r#"{"a":"xFoo1"}"#, false)],
        ),
        ("s:\n    a|re: 'b{2}'\ncondition: s", &[(r#"{"a":"abbc"}"#, true), (r#"{"a":"abc"}"#, false)]),
        ("s:\n    a|re|i: '^foo$'\ncondition: s", &[(r#"{"a":"FOO"}"#, true), (r#"{"a":"FOOD"}"#, false)]),
        ("s:\n    a|re|m: '^bar$'\ncondition: s", &[(r#"{"a":"foo\nbar\nx"}"#, true)]),
        ("s:\n    a|re: '^bar$'\ncondition: s", &[(r#"{"a":"foo\nbar\nx"}"#, false)]),
        ("s:\n    a|re|s: 'a.b'\ncondition: s", &[(r#"{"a":"a\nb"}"#, true)]),
        ("s:\n    a|re: 'a.b'\ncondition: s", &[(r#"{"a":"a\nb"}"#, false)]),
        ("s:\n    a|re|i|s: 'A.B'\ncondition: s", &[(r#"{"a":"a\nb"}"#, true)]),
        (
            "s:\n    a|re:\n        - ^x\n        - y$\ncondition: s",
            &[(r#"{"a":"xz"}"#, true), (r#"{"a":"zy"}"#, true), (r#"{"a":"z"}"#, false)],
        ),
        (
            "s:\n    a|cidr: 10.0.0.0/8\ncondition: s",
            &[(r#"{"a":"10.255.1.2"}"#, true), (r#"{"a":"11.0.0.1"}"#, false), (r#"{"a":"x"}"#, false)],
        ),
        (
            "s:\n    a|cidr:\n        - 192.168.0.0/16\n        - '2001:db8::/32'\ncondition: s",
            &[(r#"{"a":"192.168.3.4"}"#, true), (r#"{"a":"2001:db8::7"}"#, true), (r#"{"a":"2001:db9::7"}"#, false)],
        ),
        (
            "s:\n    a|lt: 5\ncondition: s",
            &[(r#"{"a":4.9}"#, true), (r#"{"a":"4"}"#, true), (r#"{"a":5}"#, false), (r#"{"a":"x"}"#, false)],
        ),
        ("s:\n    a|lte: 5\ncondition: s", &[(r#"{"a":5}"#, true), (r#"{"a":5.1}"#, false)]),
        ("s:\n    a|gt: 5\ncondition: s", &[(r#"{"a":6}"#, true), (r#"{"a":5}"#, false)]),
        ("s:\n    a|gte: 5\ncondition: s", &[(r#"{"a":5}"#, true), (r#"{"a":4}"#, false), (r#"{}"#, false)]),
        (
            "s:\n    a|exists: true\ncondition: s",
            &[(r#"{"a":"x"}"#, true), (r#"{"a":""}"#, true), (r#"{"a":{"b":1}}"#, true), (r#"{"b":1}"#, false)],
        ),
        ("s:\n    b: 1\n    a|exists: false\ncondition: s", &[(r#"{"b":1}"#, true), (r#"{"b":1,"a":"x"}"#, false)]),
        (
            "s:\n    a|fieldref: b\ncondition: s",
            &[(r#"{"a":"x","b":"X"}"#, true), (r#"{"a":"x","b":"y"}"#, false), (r#"{"a":"x"}"#, false)],
        ),
        ("s:\n    c: 1\n    a|neq: x\ncondition: s", &[(r#"{"c":1,"a":"y"}"#, true), (r#"{"c":1,"a":"X"}"#, false)]),
        (
            "s:\n    c: 1\n    a|fieldref|neq: b\ncondition: s",
            &[(r#"{"c":1,"a":"y","b":"x"}"#, true), (r#"{"c":1,"a":"x","b":"x"}"#, false)],
        ),
        // windash: any dash where a flag begins.
        (
            "s:\n    a|windash|contains: ' -enc '\ncondition: s",
            &[
                (r#"{"a":"ps -enc x"}"#, true),
                (r#"{"a":"ps /ENC x"}"#, true),
                (r#"{"a":"ps –enc x"}"#, true),
                (r#"{"a":"ps —enc x"}"#, true),
                (r#"{"a":"ps ―enc x"}"#, true),
                (r#"{"a":"ps +enc x"}"#, false),
            ],
        ),
        (
            "s:\n    a|contains|windash: '-f -b'\ncondition: s",
            &[(r#"{"a":"x /f -b"}"#, true), (r#"{"a":"x -f /b"}"#, true), (r#"{"a":"x /f /b"}"#, true)],
        ),
        (
            "s:\n    a|windash|contains|all:\n        - ' -a-b '\n        - x\ncondition: s",
            &[(r#"{"a":"x /a-b "}"#, true), (r#"{"a":"x -a/b "}"#, false), (r#"{"a":"y /a-b "}"#, false)],
        ),
        // Encodings.
        ("s:\n    a|base64: foobar\ncondition: s", &[(r#"{"a":"Zm9vYmFy"}"#, true), (r#"{"a":"xZm9vYmFy"}"#, false)]),
        ("s:\n    a|base64|contains: 'foo bar'\ncondition: s", &[(r#"{"a":"-Zm9vIGJhcg==-"}"#, true)]),
        (
            "s:\n    a|base64offset|contains: /bin/bash\ncondition: s",
            &[
                // One, two and three bytes before it.
                (r#"{"a":"x L2Jpbi9iYXNo"}"#, true),
                (r#"{"a":"eC9iaW4vYmFzaCB4"}"#, true),
                (r#"{"a":"eHgvYmluL2Jhc2g="}"#, true),
                (r#"{"a":"L2Jpbi9zaA=="}"#, false),
            ],
        ),
        (
            "s:\n    a|wide|base64offset|contains: http://\ncondition: s",
            &[(r#"{"a":"aAB0AHQAcAA6AC8ALwB4AA=="}"#, true), (r#"{"a":"aHR0cDovLw=="}"#, false)],
        ),
        ("s:\n    a|utf16le|base64: cmd\ncondition: s", &[(r#"{"a":"YwBtAGQA"}"#, true)]),
        ("s:\n    a|utf16be|base64: cmd\ncondition: s", &[(r#"{"a":"AGMAbQBk"}"#, true)]),
        ("s:\n    a|utf16|base64: cmd\ncondition: s", &[(r#"{"a":"//5jAG0AZAA="}"#, true)]),
        // Parts of a time as it is written.
        (
            "s:\n    a|hour: 3\ncondition: s",
            &[(r#"{"a":"2025-04-12T03:02:55Z"}"#, true), (r#"{"a":"2025-04-12T13:03:03Z"}"#, false)],
        ),
        (
            "s:\n    a|hour|gte: 22\ncondition: s",
            &[(r#"{"a":"2025-04-12 23:02:55"}"#, true), (r#"{"a":"2025-04-12 21:59:59"}"#, false)],
        ),
        (
            "s:\n    a|minute: 2\ncondition: s",
            &[(r#"{"a":"2025-04-12T03:02:55Z"}"#, true), (r#"{"a":"2025-04-12T02:03:55Z"}"#, false)],
        ),
        (
            "s:\n    a|day|lt: 3\ncondition: s",
            &[(r#"{"a":"2025-04-02T03:02:55Z"}"#, true), (r#"{"a":"2025-02-12T02:03:55Z"}"#, false)],
        ),
        (
            "s:\n    a|month: 12\ncondition: s",
            &[(r#"{"a":"2025-12-02T03:02:55Z"}"#, true), (r#"{"a":"2025-02-12T02:03:55Z"}"#, false)],
        ),
        (
            "s:\n    a|year: 2025\ncondition: s",
            &[(r#"{"a":"2025-12-02T03:02:55Z"}"#, true), (r#"{"a":"2024-02-12T02:03:55Z"}"#, false)],
        ),
    ]);
}

#[test]
fn detections() {
    check(&[
        // Maps: all of it. Lists of maps: one of them.
        ("s:\n    a: 1\n    b: 2\ncondition: s", &[(r#"{"a":1,"b":2}"#, true), (r#"{"a":1}"#, false)]),
        (
            "s:\n    - a: 1\n      c: 3\n    - b: 2\ncondition: s",
            &[(r#"{"a":1,"c":3}"#, true), (r#"{"b":2}"#, true), (r#"{"a":1}"#, false)],
        ),
        // Keywords: anywhere in the event's values.
        (
            "k:\n    - EVILSERVICE\n    - svchost.exe -n evil\ncondition: k",
            &[
                (r#"{"x":{"y":["an EvilService here"]}}"#, true),
                (r#"{"evilservice":"x"}"#, false),
                (r#"{"x":"none"}"#, false),
                ("some text with SVCHOST.exe -n evil in it", true),
            ],
        ),
        (
            "k:\n    '|all':\n        - OabVirtualDirectory\n        - ' -ExternalUrl '\ncondition: k",
            &[
                (r#"{"a":"Set-OABVirtualDirectory -ExternalUrl http"}"#, true),
                (r#"{"a":"oabvirtualdirectory","b":"x -ExternalUrl y"}"#, true),
                (r#"{"a":"OabVirtualDirectory"}"#, false),
            ],
        ),
        ("k:\n    - 'a*z'\ncondition: k", &[(r#"{"q":"--a..z--"}"#, true), (r#"{"q":"z a"}"#, false)]),
        ("k:\n    - 'C:\\\"x'\ncondition: k", &[(r#"{"q":"run C:\\\"x\""}"#, true)]),
        ("k:\n    '|re': 'ev[i1]l$'\ncondition: k", &[(r#"{"q":"ev1l"}"#, true), (r#"{"q":"ev1ls"}"#, false)]),
        ("k:\n    - 4625\ncondition: k", &[(r#"{"q":{"w":4625}}"#, true), (r#"{"q":1}"#, false)]),
        (
            "k:\n    - word\n    - a: 1\ncondition: k",
            &[(r#"{"a":1}"#, true), (r#"{"b":"WORDS"}"#, true), (r#"{"a":2}"#, false)],
        ),
        ("k: word\ncondition: k", &[(r#"{"b":"words"}"#, true), (r#"{"b":"wor"}"#, false)]),
    ]);
}

#[test]
fn conditions() {
    let events = |condition: &str| {
        format!("s_one:\n    a: 1\ns_two:\n    b: 1\nf_x:\n    c: 1\n_hidden:\n    d: 1\ncondition: {condition}")
    };
    let rows: &[(&str, &[(&str, bool)])] = &[
        ("s_one and s_two", &[(r#"{"a":1,"b":1}"#, true), (r#"{"a":1}"#, false)]),
        ("s_one or s_two", &[(r#"{"b":1}"#, true), (r#"{"c":1}"#, false)]),
        ("s_one and not f_x", &[(r#"{"a":1}"#, true), (r#"{"a":1,"c":1}"#, false)]),
        ("not s_one", &[(r#"{"b":1}"#, true), (r#"{"a":1}"#, false)]),
        ("not (s_one or s_two)", &[(r#"{"c":1}"#, true), (r#"{"b":1}"#, false)]),
        // `and` binds closer than `or`, `not` closer than both.
        ("s_one or s_two and f_x", &[(r#"{"a":1}"#, true), (r#"{"b":1}"#, false), (r#"{"b":1,"c":1}"#, true)]),
        ("(s_one or s_two) and f_x", &[(r#"{"a":1}"#, false), (r#"{"a":1,"c":1}"#, true)]),
        ("not s_one and s_two", &[(r#"{"b":1}"#, true), (r#"{"a":1,"b":1}"#, false)]),
        ("1 of s_*", &[(r#"{"b":1}"#, true), (r#"{"c":1}"#, false)]),
        ("any of s_*", &[(r#"{"b":1}"#, true), (r#"{"c":1}"#, false)]),
        ("all of s_*", &[(r#"{"a":1,"b":1}"#, true), (r#"{"b":1}"#, false)]),
        ("1 of them", &[(r#"{"c":1}"#, true), (r#"{"d":1}"#, false)]),
        ("all of them", &[(r#"{"a":1,"b":1,"c":1}"#, true), (r#"{"a":1,"b":1}"#, false)]),
        ("all of s_* and not 1 of f_*", &[(r#"{"a":1,"b":1}"#, true), (r#"{"a":1,"b":1,"c":1}"#, false)]),
        ("1 of s_*e or 1 of *_x", &[(r#"{"a":1}"#, true), (r#"{"c":1}"#, true), (r#"{"b":1}"#, false)]),
        ("_hidden", &[(r#"{"d":1}"#, true)]),
        // A filter that is not there keeps nothing away.
        ("s_one and not 1 of filter_*", &[(r#"{"a":1}"#, true), (r#"{"b":1}"#, false)]),
        ("s_one AND NOT f_x", &[(r#"{"a":1}"#, true), (r#"{"a":1,"c":1}"#, false)]),
        ("\n    - s_one\n    - s_two", &[(r#"{"a":1}"#, true), (r#"{"b":1}"#, true), (r#"{"c":1}"#, false)]),
    ];
    let texts: Vec<String> = rows.iter().map(|it| events(it.0)).collect();
    let cases: Vec<Case> = texts.iter().zip(rows).map(|(text, row)| (text.as_str(), row.1)).collect();
    check(&cases);
}

#[test]
fn what_cannot_be_turned() {
    refused("s:\n    a|expand: '%Servers%'\ncondition: s", "only you know what `%Servers%` is");
    refused("s:\n    a|expand: 'x%Servers%'\ncondition: s", "takes a placeholder");
    refused("s:\n    a|contains|expand: '%Servers%'\ncondition: s", "only you know what `%Servers%` is");
    refused("s:\n    a|week: 3\ncondition: s", "week");
    refused("s:\n    a|frobnicate: 3\ncondition: s", "frobnicate");
    refused("s:\n    a|re: 'x(?=y)'\ncondition: s", "look-ahead");
    refused("s:\n    a|re: '[x'\ncondition: s", "unclosed");
    refused("s:\n    a|cidr: 10.0.0.0/40\ncondition: s", "no network");
    refused("s:\n    a|gt: many\ncondition: s", "a number");
    refused("s:\n    a|contains: null\ncondition: s", "null");
    refused("s:\n    a|base64: 'x*'\ncondition: s", "");
    refused("s:\n    a: []\ncondition: s", "empty list");
    refused("s:\n    a:\n        b: 1\ncondition: s", "conditions of its own");
    refused("s:\n    a: 1\ncondition: t", "names `t`");
    refused("s:\n    a: 1\ncondition: 1 of t*", "called like `t*`");
    refused("s:\n    a: 1\ncondition: 2 of s*", "only `1 of`");
    refused("s:\n    a: 1\ncondition: (s", "not closed");
    refused("s:\n    a: 1\ncondition: s s", "not expected");
    refused("s:\n    a: 1\ncondition: s | avg(b) > 5", "aggregation");
    refused("s:\n    a: 1\ncondition: s | count() < 5", "fewer");
    refused("s:\n    a: 1\ncondition: s | near t", "which is not there");
    refused("s:\n    a: 1\nt:\n    a: 2\ncondition: s | near not t", "only events that must come");
    refused("s:\n    a: 1", "without a condition");
    refused("s:\n    '|cidr': 10.0.0.0/8\ncondition: s", "keyword");
    refused(&format!("s:\n    a: 1\ncondition: {}s", "not ".repeat(500)), "nested");
}

#[test]
fn sources() {
    check_source(
        "product: okta\n    service: okta",
        &[
            (
                "s:\n    eventtype: user.account.lock\ncondition: s",
                &[
                    (
                        r#"{"eventType":"user.account.lock","published":"2025-04-12T08:02:55Z","actor":{"alternateId":"ann@example.com"}}"#,
                        true,
                    ),
                    (r#"{"eventType":"user.account.lock"}"#, true),
                    (r#"{"eventtype":"user.account.lock"}"#, true),
                    // Another vendor's record.
                    (
                        r#"{"eventType":"user.account.lock","eventName":"x","eventTime":"2025-04-12T08:02:55Z","eventSource":"iam.amazonaws.com"}"#,
                        false,
                    ),
                ],
            ),
            (
                "s:\n    target.displayName: Super Admin\ncondition: s",
                &[(
                    r#"{"eventType":"a","published":"2025-04-12T08:02:55Z","actor":{"id":"1"},"target":[{"displayName":"x"},{"displayName":"super admin"}]}"#,
                    true,
                )],
            ),
        ],
    );
    check_source(
        "product: windows\n    service: security",
        &[
            (
                "s:\n    EventID: 4625\n    TargetUserName|endswith: '$'\nf:\n    IpAddress: '-'\ncondition: s and not f",
                &[
                    (r#"{"EventID":4625,"TargetUserName":"PC$","Channel":"Security"}"#, true),
                    (r#"{"EventID":4625,"TargetUserName":"PC$"}"#, true),
                    (r#"{"EventID":4625,"TargetUserName":"PC$","IpAddress":"-"}"#, false),
                    (r#"{"EventID":4625,"TargetUserName":"PC$","Channel":"System"}"#, false),
                    (
                        r#"{"winlog":{"event_id":4625,"channel":"Security","event_data":{"TargetUserName":"PC$","IpAddress":"10.0.0.1"}}}"#,
                        true,
                    ),
                    (
                        r#"{"winlog":{"event_id":4625,"channel":"Security","event_data":{"TargetUserName":"PC$","IpAddress":"-"}}}"#,
                        false,
                    ),
                    (
                        r#"{"Event":{"System":{"EventID":4625,"Channel":"Security"},"EventData":{"TargetUserName":"PC$"}}}"#,
                        true,
                    ),
                ],
            ),
            (
                "s:\n    EventID: 4738\n    PasswordLastSet: null\ncondition: s",
                &[
                    (r#"{"EventID":4738,"TargetUserName":"x"}"#, true),
                    (r#"{"winlog":{"event_id":4738,"event_data":{"PasswordLastSet":"1"}}}"#, false),
                ],
            ),
        ],
    );
    check_source(
        "category: process_creation\n    product: windows",
        &[(
            "s:\n    Image|endswith: '\\cmd.exe'\ncondition: s",
            &[
                (r#"{"Image":"C:\\cmd.exe"}"#, true),
                (r#"{"EventID":1,"Image":"C:\\cmd.exe","Computer":"x"}"#, true),
                (r#"{"EventID":3,"Image":"C:\\cmd.exe","Computer":"x"}"#, false),
                (r#"{"EventID":4688,"NewProcessName":"C:\\CMD.exe","Computer":"x"}"#, true),
            ],
        )],
    );
    check_source(
        "category: webserver",
        &[(
            "s:\n    cs-method: POST\n    cs-uri-query|contains: '/wp-login'\n    sc-status: 200\ncondition: s",
            &[
                (r#"203.0.113.9 - - [12/Apr/2025:08:02:55 +0000] "POST /wp-login.php HTTP/1.1" 200 12 "-" "x""#, true),
                (r#"203.0.113.9 - - [12/Apr/2025:08:02:55 +0000] "POST /wp-login.php HTTP/1.1" 403 12 "-" "x""#, false),
                (r#"{"cs-method":"POST","cs-uri-query":"/wp-login","sc-status":200}"#, true),
            ],
        )],
    );
    check_source(
        "product: azure\n    service: signinlogs",
        &[(
            "s:\n    ResultType: 50126\n    properties.riskState: atRisk\ncondition: s",
            &[
                (r#"{"ResultType":"50126","RiskState":"atRisk"}"#, true),
                (r#"{"resultType":50126,"properties":{"riskState":"atRisk"}}"#, true),
                (r#"{"resultType":0,"riskState":"atRisk"}"#, false),
            ],
        )],
    );
    check_source(
        "product: linux\n    service: auth",
        &[(
            "k:\n    - 'maximum authentication attempts'\ncondition: k",
            &[
                (
                    "Apr 12 08:02:55 host sshd[12]: error: maximum authentication attempts exceeded for root from 203.0.113.9 port 22 ssh2 [preauth]",
                    true,
                ),
                ("Apr 12 08:02:55 host sshd[12]: Accepted password for ann from 203.0.113.9 port 22 ssh2", false),
            ],
        )],
    );
}

/// The `detect` (or whole rule) of what a multi-document text becomes.
fn turned(text: &str) -> Vec<crate::rule::file::Rule> {
    let import = import(&[file("c.yml", text)], &[]);
    assert!(import.refused.is_empty(), "{:#?}", import.refused);
    let rules = import.turned.iter().map(|it| {
        let loaded = load_text(&it.file, &it.text);
        assert!(loaded.problems.is_empty(), "{:?}\n{}", loaded.problems, it.text);
        loaded.rules[0].value.clone()
    });
    rules.collect()
}

const BASE: &str = "
---
title: Failed
id: 53ba33fd-3a50-4468-a5ef-c583635cfa92
name: failed
logsource: {category: test}
detection:
    s: {a: failed}
    condition: s
---
title: Good
name: good
logsource: {category: test}
detection:
    s: {a: good}
    condition: s
";

fn correlation(body: &str) -> String {
    let body = body.trim_matches('\n').replace('\n', "\n    ");
    format!("title: Many\nid: B180ead8-d58f-40b2-ae54-c8940995b9b6\nlevel: high\ncorrelation:\n    {body}{BASE}")
}

#[test]
fn correlations() {
    use crate::detect::Detect;
    use crate::model::Span;
    let one = |body: &str| {
        let rules = turned(&correlation(body));
        // The rules a correlation counts give no alerts of their own; the others do.
        rules.into_iter().find(|it| it.id.starts_with("b180")).unwrap()
    };
    let rule =
        one("type: event_count\nrules:\n    - failed\ngroup-by:\n    - User\ntimespan: 5m\ncondition:\n    gte: 10");
    assert_eq!(rule.detect, Detect::Count { at_least: 10, within: Span::from_secs(300) });
    assert_eq!(rule.by[0].field(), "User");
    assert_eq!(rule.severity, crate::model::Severity::High);
    let rule = one("type: event_count\nrules:\n    - failed\n    - good\ntimespan: 1h\ncondition:\n    gt: 10");
    assert_eq!(rule.detect, Detect::Count { at_least: 11, within: Span::from_secs(3600) });
    let rule = one(
        "type: event_count\nrules:\n    - 53ba33fd-3a50-4468-a5ef-c583635cfa92\ntimespan: 1d\ncondition:\n    eq: 3",
    );
    assert_eq!(rule.detect, Detect::Count { at_least: 3, within: Span::from_secs(86_400) });
    let rule = one(
        "type: value_count\nrules:\n    - failed\ngroup-by:\n    - Host\ntimespan: 30s\ncondition:\n    field: User\n    gte: 5",
    );
    assert_eq!(rule.detect, Detect::Distinct { field: "User".into(), at_least: 5, within: Span::from_secs(30) });
    let rule = one(
        "type: value_sum\nrules:\n    - failed\ngroup-by:\n    - Host\ntimespan: 1h\ncondition:\n    field: bytes\n    gte: 1000000",
    );
    assert_eq!(
        rule.detect,
        Detect::Sum { field: "bytes".into(), at_least: 1_000_000.0, within: Span::from_secs(3600) }
    );
    for (kind, is_ordered) in [("temporal", false), ("temporal_ordered", true)] {
        let rule = one(&format!("type: {kind}\nrules:\n    - failed\n    - good\ngroup-by:\n    - User\ntimespan: 5m"));
        let Detect::Sequence { steps, ordered, .. } = rule.detect else { panic!("{rule:?}") };
        assert_eq!((steps.len(), ordered), (2, is_ordered));
        assert_ne!(steps[0].when, steps[1].when);
    }
}

#[test]
fn aggregations_of_the_first_generation() {
    use crate::detect::Detect;
    use crate::model::Span;
    let one = |condition: &str| {
        let text = format!(
            "title: T\nid: 0180fd4c-0d3c-4a6f-8b1e-6f0f3f6f0f3f\nlogsource:\n    product: okta\ndetection:\n    s:\n        a: 1\n    timeframe: 5m\n    condition: s and not s | {condition}\nlevel: low\n"
        );
        let rule = turned(&text).into_iter().next().unwrap();
        (rule.by.iter().map(|it| it.field().to_string()).collect::<Vec<_>>().join(" "), rule.detect)
    };
    let within = Span::from_secs(300);
    assert_eq!(one("count() > 5"), (String::new(), Detect::Count { at_least: 6, within }));
    assert_eq!(one("count() by host >= 5"), ("host".into(), Detect::Count { at_least: 5, within }));
    assert_eq!(
        one("count( user ) by a, b=3"),
        ("a b".into(), Detect::Distinct { field: "user".into(), at_least: 3, within })
    );
    assert_eq!(one("sum(bytes) by b > 9"), ("b".into(), Detect::Sum { field: "bytes".into(), at_least: 10.0, within }));
    // Some rules have the timeframe beside the detection instead of in it.
    let beside = "title: T\ntimeframe: 7m\nlogsource:\n    product: okta\ndetection:\n    s:\n        a: 1\n    condition: s | count() > 1\n";
    assert_eq!(turned(beside)[0].detect, Detect::Count { at_least: 2, within: Span::from_secs(420) });
    // And some have one where nothing is counted.
    for (condition, is_idle) in [("s", true), ("s | count() > 1", false)] {
        let text = beside.replace("s | count() > 1", condition);
        let notes = &import(&[file("a.yml", text)], &[]).turned[0].notes;
        assert_eq!(notes.iter().any(|it| it.starts_with("its timeframe says nothing")), is_idle, "{notes:?}");
    }
}

#[test]
fn temporal_conditions() {
    use crate::detect::Detect;
    let text = correlation(
        "type: temporal\nrules:\n    - failed\n    - good\ngroup-by:\n    - User\ntimespan: 10m\ncondition: failed and good",
    );
    let rules = turned(&text);
    let Detect::Sequence { steps, ordered: false, .. } = &rules[0].detect else { panic!("{rules:?}") };
    assert_eq!(steps.len(), 2);
    let text = text.replace("failed and good", "(failed or good)");
    let rules = turned(&text);
    let Detect::Sequence { steps, .. } = &rules[0].detect else { panic!("{rules:?}") };
    assert_eq!(steps.len(), 1);
}

#[test]
fn correlations_of_correlations_and_aliases() {
    use crate::detect::Detect;
    let text = correlation(
        "type: temporal_ordered\nrules:\n    - many_failed\n    - good\ngroup-by:\n    - User\ntimespan: 10m",
    ) + "---
title: Many failed
name: many_failed
correlation:
    type: event_count
    rules: [failed]
    group-by: [User]
    timespan: 10m
    condition: {gte: 10}
";
    let rules = turned(&text);
    assert_eq!(rules.len(), 1, "{rules:?}");
    let Detect::Sequence { steps, .. } = &rules[0].detect else { panic!("{rules:?}") };
    assert_eq!((steps[0].at_least, steps[1].at_least), (10, 1));
    let rules = turned(&correlation(
        "type: temporal\nrules:\n    - failed\n    - good\ngroup-by:\n    - who\ntimespan: 5m\naliases:\n    who:\n        failed: User\n        good: User",
    ));
    assert_eq!(rules[0].by[0].field(), "User");
}

#[test]
fn correlations_that_cannot_be_turned() {
    let reason = |body: &str| {
        let import = import(&[file("c.yml", correlation(body))], &[]);
        // The rules it names stand by themselves then.
        assert_eq!(import.turned.len(), 2);
        import.refused[0].reason.clone()
    };
    for (body, part) in [
        ("type: value_avg\nrules: [failed]\ntimespan: 5m\ncondition: {field: n, gte: 5}", "no kind"),
        ("type: value_percentile\nrules: [failed]\ntimespan: 5m\ncondition: {field: n, gte: 5}", "no kind"),
        ("type: event_count\nrules: [failed]\ntimespan: 5m\ncondition: {lt: 5}", "does not happen"),
        ("type: event_count\nrules: [failed]\ntimespan: 5m\ncondition: {gte: 0}", "holds always"),
        ("type: event_count\nrules: [nobody]\ntimespan: 5m\ncondition: {gte: 5}", "nobody"),
        ("type: event_count\nrules: [failed]\ntimespan: 5y\ncondition: {gte: 5}", "timespan"),
        ("type: event_count\nrules: [failed]\ntimespan: 5m", "without a condition"),
        ("type: value_count\nrules: [failed]\ntimespan: 5m\ncondition: {gte: 5}", "without a field"),
        ("type: temporal\nrules: [failed, good]\ntimespan: 5m\ncondition: {gte: 1}", "not all"),
        ("type: value_sum\nrules: [failed]\ntimespan: 5m\ncondition: {field: n, eq: 5}", "passes every number"),
        ("type: value_sum\nrules: [failed]\ntimespan: 5m\ncondition: {field: n, gte: -1}", "above zero"),
        (
            "type: temporal\nrules: [failed, good]\ngroup-by: [w]\ntimespan: 5m\naliases: {w: {failed: A, good: B}}",
            "another field",
        ),
    ] {
        assert!(reason(body).contains(part), "{body}: {}", reason(body));
    }
}

#[test]
fn what_is_kept() {
    let text = "title: A {brace} \"quoted\"\nid: 53BA33fd-3a50-4468-a5ef-c583635cfa92\nstatus: test\nauthor: Ann\nlicense: MIT\ndate: 2025-04-12
description: |
    First line
    and second.
references:
    - https://example.com/a
    - \"https://example.com/\\n) Rule(\"
tags: [attack.persistence, attack.t1098]
falsepositives: [Admins, Tests]
level: critical
logsource: {product: okta}
detection: {s: {a: 'x\"#y\\z'}, condition: s}
";
    let import = import(&[file("dir/My Rule.yml", text), file("other/my_rule.yml", text.replace("53BA", "63BA"))], &[]);
    assert!(import.refused.is_empty(), "{:?}", import.refused);
    let files: Vec<&str> = import.turned.iter().map(|it| it.file.as_str()).collect();
    assert_eq!(files, ["my_rule.ron", "my_rule_2.ron"]);
    let written = &import.turned[0].text;
    for part in [
        "// Imported from Sigma: dir/My Rule.yml\n",
        "// author: Ann\n",
        "// licence: MIT\n",
        "// status: test\n",
        "// date: 2025-04-12\n",
        "// reference: https://example.com/a\n",
        "// log source: product: okta\n",
        "severity: Critical",
        r#"tags: ["attack.persistence", "attack.t1098"]"#,
        "First line and second.",
        "False positives: Admins; Tests",
        "53ba33fd-3a50-4468-a5ef-c583635cfa92",
        "A {{brace}} ",
    ] {
        assert!(written.contains(part), "{part}\n{written}");
    }
    assert!(written.lines().filter(|it| it.contains(") Rule(")).all(|it| it.starts_with("//")), "{written}");
}

#[test]
fn bad_files_are_told_and_never_panic() {
    for text in [
        "",
        "---",
        "- a",
        "42",
        "a: [",
        "title: x",
        "detection: 3",
        "detection: {condition: s}",
        "title: x\ndetection: {s: [[a]], condition: s}",
        "title: x\ndetection: {s: {a: &x [*x]}, condition: s}",
        "correlation: 3\ntitle: x",
        "action: global\ntitle: x",
        "\u{0}",
        "a: b: c",
        "title: x\nfilter: {rules: any}",
        "? {a: b}\n: c",
    ] {
        let import = import(&[file("bad.yml", text)], &[]);
        assert!(import.turned.is_empty(), "{text}: {:?}", import.turned);
    }
    // The same rule twice is one; another of the same id: which of them an alert would be of, nobody could tell.
    let one = "title: One\nid: aaaa\ndetection: {s: {a: 1}, condition: s}";
    let import = import(&[file("1.yml", one), file("2.yml", one), file("3.yml", one.replace("1", "2"))], &[]);
    assert_eq!((import.turned.len(), import.repeated, import.refused.len()), (1, 1, 1));
}

#[test]
fn collections_share_what_their_action_says() {
    let text = "action: global
title: Shared
logsource: {product: okta}
detection:
    other: {c: 1}
    condition: selection
---
id: one
detection:
    selection: {a: 1}
---
id: two
detection:
    selection: {b: 1}
    condition: selection and not other
---
action: repeat
id: three
detection:
    selection: {d: 1}
---
action: reset
---
id: four
title: Alone
detection: {s: {e: 1}, condition: s}
";
    let import = import(&[file("all.yml", text), file("notes.yml", "a: 1")], &[]);
    assert!(import.refused.is_empty(), "{:?}", import.refused);
    assert_eq!(import.others, ["notes.yml"]);
    let mut bench = Bench::new(&import);
    for (event, expected) in [
        (r#"{"a":1}"#, &["one"][..]),
        (r#"{"a":1,"c":1}"#, &["one"]),
        (r#"{"b":1}"#, &["two"]),
        (r#"{"b":1,"c":1}"#, &[]),
        (r#"{"b":1,"d":1}"#, &["two", "three"]),
        (r#"{"e":1}"#, &["four"]),
    ] {
        let mut found = bench.matches(event);
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected, "{event}");
    }
}

#[test]
fn a_collection_may_share_its_name_and_id() {
    let text = "action: global
title: Shared
id: 00000000-0000-4000-8000-000000000007
---
logsource: {product: okta}
detection: {s: {a: 1}, condition: s}
---
logsource: {product: okta}
detection: {s: {b: 1}, condition: s}
";
    let import = import(&[file("all.yml", text)], &[]);
    assert!(import.refused.is_empty(), "{:?}", import.refused);
    let mut bench = Bench::new(&import);
    assert_eq!(bench.matches(r#"{"a":1}"#), ["00000000-0000-4000-8000-000000000007"]);
    assert_eq!(bench.matches(r#"{"b":1}"#), ["00000000-0000-4000-8000-000000000007-2"]);
}

#[test]
fn filters_keep_away_what_they_say() {
    let rules = "title: One
name: one
logsource: {product: okta}
detection: {s: {a: 1}, condition: s}
---
title: Two
name: two
logsource: {product: github}
detection: {s: {a: 1}, condition: s}
---
title: Three
logsource: {product: okta}
detection: {s: {b: 1}, condition: s}
";
    let filter = |rules: &str, product: &str| {
        format!(
            "title: F\nlogsource: {{product: {product}}}\nfilter: {{rules: {rules}, t: {{u: x}}, condition: not t}}"
        )
    };
    let check = |it: String, taken: &[&str]| {
        let import = import(&[file("rules.yml", rules), file("filter.yml", it)], &[]);
        assert!(import.refused.is_empty(), "{:?}", import.refused);
        let mut bench = Bench::new(&import);
        assert_eq!(bench.matches(r#"{"a":1,"b":1,"u":"y"}"#), ["one", "three", "two"]);
        assert_eq!(bench.matches(r#"{"a":1,"b":1,"u":"X"}"#), taken);
    };
    check(filter("[one]", "okta"), &["three", "two"]);
    check(filter("any", "okta"), &["two"]);
    for (it, reason) in
        [(filter("[two]", "okta"), "not of its log source"), (filter("[nobody]", "okta"), "not among the files")]
    {
        let import = import(&[file("rules.yml", rules), file("filter.yml", it)], &[]);
        assert!(import.refused.iter().any(|it| it.reason.contains(reason)), "{:?}", import.refused);
    }
}

/// Rules as they are written, and records as vendors deliver them.
#[test]
fn vendors_records_as_delivered() {
    check_source(
        "product: azure\n    service: auditlogs",
        &[
            (
                "s:\n    properties.message: Add user\n    Status: Success\ncondition: s",
                &[
                    (
                        r#"{"operationName":"Add user","category":"AuditLogs","properties":{"activityDisplayName":"Add user","result":"success"}}"#,
                        true,
                    ),
                    (r#"{"activityDisplayName":"Add user","result":"success"}"#, true),
                    (r#"{"OperationName":"Add user","Result":"success"}"#, true),
                    (
                        r#"{"operationName":"Delete user","category":"AuditLogs","properties":{"result":"success"}}"#,
                        false,
                    ),
                    (r#"{"OperationName":"Add user","Result":"failure"}"#, false),
                ],
            ),
            (
                "s:\n    operationName|endswith: /DELETE\n    status: Success\ncondition: s",
                &[
                    (r#"{"operationName":"X/Y/DELETE","category":"Administrative","resultType":"Success"}"#, true),
                    (r#"{"operationName":"X/Y/DELETE","category":"Administrative","resultType":"Failure"}"#, false),
                ],
            ),
            (
                "s:\n    OperationName: Update user\n    TargetResources|contains|all:\n        - UserType\n        - Guest\ncondition: s",
                &[
                    (
                        r#"{"operationName":"Update user","properties":{"targetResources":[{"modifiedProperties":[{"displayName":"UserType","newValue":"[\"Guest\"]"}]}]}}"#,
                        true,
                    ),
                    (
                        r#"{"operationName":"Update user","properties":{"targetResources":[{"modifiedProperties":[{"displayName":"UserType","newValue":"[]"}]}]}}"#,
                        false,
                    ),
                ],
            ),
            (
                "s:\n    a: 1\nf:\n    TargetResources.modifiedProperties|contains: TemporaryAccessPass\ncondition: s and not f",
                &[
                    (
                        r#"{"a":1,"targetResources":[{"modifiedProperties":[{"displayName":"x","newValue":"TemporaryAccessPass"}]}]}"#,
                        false,
                    ),
                    (
                        r#"{"a":1,"targetResources":[{"modifiedProperties":[{"displayName":"x","newValue":"Phone"}]}]}"#,
                        true,
                    ),
                ],
            ),
        ],
    );
    check_source(
        "product: m365\n    service: exchange",
        &[
            (
                "s:\n    Operation: New-InboxRule\n    Parameters|contains: ForwardTo\ncondition: s",
                &[
                    (
                        r#"{"Operation":"New-InboxRule","Workload":"Exchange","Parameters":[{"Name":"ForwardTo","Value":"a@example.com"}]}"#,
                        true,
                    ),
                    (r#"{"Operation":"New-InboxRule","Parameters":{"ForwardTo":"a@example.com"}}"#, true),
                    (
                        r#"{"Operation":"New-InboxRule","Workload":"Exchange","Parameters":[{"Name":"Name","Value":"x"}]}"#,
                        false,
                    ),
                ],
            ),
            (
                "s:\n    eventSource: Exchange\n    eventName: Add-FederatedDomain\n    status: success\ncondition: s",
                &[(r#"{"Operation":"Add-FederatedDomain","Workload":"Exchange","ResultStatus":"Success"}"#, true)],
            ),
        ],
    );
    check_source(
        "product: aws\n    service: cloudtrail",
        &[
            (
                "s:\n    eventName: ConsoleLogin\n    responseElements|contains: Failure\ncondition: s",
                &[
                    (r#"{"eventName":"ConsoleLogin","responseElements":{"ConsoleLogin":"Failure"}}"#, true),
                    (r#"{"eventName":"ConsoleLogin","responseElements":{"ConsoleLogin":"Success"}}"#, false),
                ],
            ),
            (
                "s:\n    requestParameters|contains: '\"s3:GetObject\"'\ncondition: s",
                &[(r#"{"requestParameters":{"policyDocument":"{\"Action\":[\"s3:GetObject\"]}"}}"#, true)],
            ),
            // CloudTrail has an error or none where Splunk shows a status.
            (
                "s:\n    eventName: CreateUser\n    status: success\ncondition: s",
                &[
                    (
                        r#"{"eventSource":"iam.amazonaws.com","eventName":"CreateUser","eventTime":"2025-04-12T08:02:55Z"}"#,
                        true,
                    ),
                    (
                        r#"{"eventSource":"iam.amazonaws.com","eventName":"CreateUser","eventTime":"2025-04-12T08:02:55Z","errorCode":"AccessDenied"}"#,
                        false,
                    ),
                    (r#"{"eventName":"CreateUser","status":"Success"}"#, true),
                    (r#"{"eventName":"CreateUser","eventTime":"2025-04-12T08:02:55Z","status":"x"}"#, false),
                ],
            ),
            // The same record as Log Analytics and Elastic keep it.
            (
                "s:\n    userIdentity.accessKeyId|startswith: AKIA\n    userIdentity.principalId: AIDA1\ncondition: s",
                &[
                    (
                        r#"{"TimeGenerated":"2025-04-12T08:02:55Z","EventName":"GetUser","EventSource":"iam.amazonaws.com","UserIdentityAccessKeyId":"AKIA1","UserIdentityPrincipalid":"AIDA1"}"#,
                        true,
                    ),
                    (
                        r#"{"@timestamp":"2025-04-12T08:02:55Z","event":{"action":"GetUser","provider":"iam.amazonaws.com"},"user":{"id":"AIDA1"},"aws":{"cloudtrail":{"user_identity":{"access_key_id":"AKIA1"}}}}"#,
                        true,
                    ),
                    (
                        r#"{"@timestamp":"2025-04-12T08:02:55Z","event":{"action":"GetUser","provider":"iam.amazonaws.com"},"user":{"id":"AIDA1"},"aws":{"cloudtrail":{"user_identity":{"access_key_id":"ASIA1"}}}}"#,
                        false,
                    ),
                ],
            ),
            // A list of nothing is there, and nothing is in it.
            (
                "s:\n    requestParameters.securityGroups|contains: '*'\ncondition: s",
                &[
                    (r#"{"requestParameters":{"securityGroups":["sg-1"]}}"#, true),
                    (r#"{"requestParameters":{"securityGroups":"sg-1"}}"#, true),
                    (r#"{"requestParameters":{"securityGroups":{"id":"sg-1"}}}"#, true),
                    (r#"{"requestParameters":{"securityGroups":[]}}"#, false),
                    (r#"{"requestParameters":{"securityGroups":null}}"#, false),
                ],
            ),
        ],
    );
    check_source(
        "product: gcp\n    service: gcp.audit",
        &[
            (
                "s:\n    gcp.audit.method_name|endswith: .firewalls.insert\n    gcp.audit.request.source_ranges: 0.0.0.0/0\n    gcp.audit.request.alloweds.ports: 22\ncondition: s",
                &[(
                    r#"{"protoPayload":{"methodName":"v1.compute.firewalls.insert","request":{"sourceRanges":["0.0.0.0/0"],"alloweds":[{"ports":["22"]}]}}}"#,
                    true,
                )],
            ),
            (
                "s:\n    data.protoPayload.resource.type: k8s_cluster\n    data.protoPayload.methodName: io.k8s.core.v1.pods.create\ncondition: s",
                &[(
                    r#"{"resource":{"type":"k8s_cluster"},"protoPayload":{"methodName":"io.k8s.core.v1.pods.create"}}"#,
                    true,
                )],
            ),
            // A log's name begins with whose it is.
            (
                "s:\n    data.protoPayload.logName: cloudaudit.googleapis.com%2Fsystem_event\ncondition: s",
                &[
                    (r#"{"logName":"projects/p1/logs/cloudaudit.googleapis.com%2Fsystem_event"}"#, true),
                    (r#"{"logName":"projects/p1/logs/cloudaudit.googleapis.com%2Factivity"}"#, false),
                    (r#"{"logName":"projects/p1/logs/x-cloudaudit.googleapis.com%2Fsystem_event"}"#, false),
                ],
            ),
            // Each of a list, as search languages spell it.
            (
                "s:\n    protoPayload.serviceData.policyDelta.bindingDeltas[*].action: ADD\n    protoPayload.serviceData.policyDelta.bindingDeltas..role: roles/owner\ncondition: s",
                &[
                    (
                        r#"{"protoPayload":{"serviceData":{"policyDelta":{"bindingDeltas":[{"action":"ADD","role":"roles/owner"}]}}}}"#,
                        true,
                    ),
                    (
                        r#"{"protoPayload":{"serviceData":{"policyDelta":{"bindingDeltas":[{"action":"REMOVE","role":"roles/owner"}]}}}}"#,
                        false,
                    ),
                ],
            ),
        ],
    );
    check_source(
        "product: gcp\n    service: google_workspace.admin",
        &[(
            "s:\n    eventService: admin.googleapis.com\n    eventName: CHANGE_APPLICATION_SETTING\n    setting_name|startswith: ContextAware\ncondition: s",
            &[
                (
                    r#"{"protoPayload":{"serviceName":"admin.googleapis.com","metadata":{"event":[{"eventName":"CHANGE_APPLICATION_SETTING","parameter":[{"name":"SETTING_NAME","value":"ContextAwareAccess"}]}]}}}"#,
                    true,
                ),
                (
                    r#"{"id":{"applicationName":"admin"},"events":[{"name":"CHANGE_APPLICATION_SETTING","parameters":[{"name":"SETTING_NAME","value":"ContextAwareAccess"}]}]}"#,
                    true,
                ),
                // Each event of a record by itself.
                (
                    r#"{"id":{"applicationName":"admin"},"events":[{"name":"X"},{"name":"CHANGE_APPLICATION_SETTING","parameters":[{"name":"SETTING_NAME","value":"ContextAwareAccess"}]}]}"#,
                    true,
                ),
                (
                    r#"{"id":{"applicationName":"admin"},"events":[{"name":"CHANGE_APPLICATION_SETTING","parameters":[{"name":"SETTING_NAME","value":"x"}]},{"name":"X","parameters":[{"name":"SETTING_NAME","value":"ContextAwareAccess"}]}]}"#,
                    false,
                ),
                (
                    r#"{"id":{"applicationName":"login"},"events":[{"name":"CHANGE_APPLICATION_SETTING","parameters":[{"name":"SETTING_NAME","value":"ContextAwareAccess"}]}]}"#,
                    false,
                ),
            ],
        )],
    );
    check_source(
        "product: auth0\n    service: mfa",
        &[(
            "s:\n    data.type: gd_enrollment_complete\ncondition: s",
            &[(r#"{"type":"gd_enrollment_complete"}"#, true), (r#"{"data":{"type":"gd_enrollment_complete"}}"#, true)],
        )],
    );
    check_source(
        "product: windows\n    category: process_creation",
        &[(
            "s:\n    Image|endswith: '\\cmd.exe'\ncondition: s",
            &[
                (
                    r#"{"process":{"executable":"C:\\Windows\\cmd.exe"},"winlog":{"event_id":1,"channel":"Microsoft-Windows-Sysmon/Operational"}}"#,
                    true,
                ),
                (r#"{"data":{"win":{"system":{"eventID":"1"},"eventdata":{"image":"C:\\cmd.exe"}}}}"#, true),
                // Number 1 means something else in another channel.
                (r#"{"EventID":1,"Channel":"System","Image":"C:\\cmd.exe"}"#, false),
            ],
        )],
    );
    // A category alone is any log of that kind, whoever wrote it.
    check_source(
        "category: antivirus",
        &[("s:\n    Signature|contains: Mimikatz\ncondition: s", &[(r#"{"Signature":"HackTool/Mimikatz"}"#, true)])],
    );
}

#[test]
fn placeholders_are_lists_of_the_configuration() {
    let mut lists = Lists::default();
    lists.insert("offices", "192.0.2.0/24\nAnn\n").unwrap();
    for (modifiers, expected) in [
        ("contains|expand", r#"Any([Contains("a", "192.0.2.0/24"), NoCase(Contains("a", "Ann"))])"#),
        ("expand", "NoCase(InList(\"a\", \"offices\"))"),
        ("cidr|expand", "InList(\"a\", \"offices\")"),
    ] {
        let text = yaml(0, "category: test", &format!("s:\n    a|{modifiers}: '%offices%'\ncondition: s"));
        let import = super::import(&[file("a.yml", text)], &[], &lists);
        assert!(import.turned[0].text.contains(expected), "{import:#?}");
    }
}

#[test]
fn near_is_all_of_them_in_whatever_order() {
    let detection = "s:\n    a: 1\nt:\n    b: 2\nu:\n    c: 3\ntimeframe: 5m\ncondition: s | near t and u";
    let import = import(&[file("a.yml", yaml(0, "product: okta", detection))], &["user.name".into()]);
    let text = &import.turned[0].text;
    for expected in [
        "ordered: false",
        "within: \"5m\"",
        "by: [\"user.name\"]",
        "Eq(\"c\", 3)",
        "StartsWith(\"event.provider\", \"okta\")",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(text.matches("(when:").count(), 3, "{text}");
}

#[test]
fn a_field_of_an_entity_is_found_wherever_shippers_put_it() {
    let count = "s:\n    EventID: 4625\ncondition: s | count(TargetUserName) by IpAddress > 2";
    let import = import(&[file("a.yml", yaml(0, "product: windows", count))], &[]);
    let mut bench = Bench::new(&import);
    let set = bench.set.clone();
    let rule = &set.rules[0];
    let asked = [rule.by[0].0, rule.carry[0]];
    for event in [
        r#"{"EventID":4625,"IpAddress":"192.0.2.7","TargetUserName":"ann"}"#,
        r#"{"winlog":{"event_id":4625,"event_data":{"IpAddress":"192.0.2.7","TargetUserName":"ann"}}}"#,
        r#"{"data":{"win":{"system":{"eventID":"4625"},"eventdata":{"ipAddress":"192.0.2.7","targetUserName":"ann"}}}}"#,
        r#"{"IpAddress":"192.0.2.7","TargetUserName":"ann","winlog":{"event_data":{"IpAddress":"192.0.2.9"}}}"#,
    ] {
        let mut found = Vec::new();
        let read = bench.reader.read(
            event,
            &Reading { format: None, zone: Zone::UTC },
            Timestamp::from_micros(0),
            &mut |read, _| {
                found = asked.map(|it| read.event().get(it).and_then(|it| it.as_text().map(str::to_string))).into();
            },
        );
        assert!(read.is_ok());
        assert_eq!(found, [Some("192.0.2.7".to_string()), Some("ann".to_string())], "{event}");
    }
    assert_eq!(set.cards[0].by, ["IpAddress"]);
}

#[test]
fn lists_where_a_rule_sees_an_object() {
    check(&[(
        "s:\n    a.b.c|contains: x\ncondition: s",
        &[
            (r#"{"a":{"b":{"c":"xy"}}}"#, true),
            (r#"{"a":{"b":[{"c":"q"},{"c":"xy"}]}}"#, true),
            (r#"{"a":{"b":[{"c":"q"},{"d":"xy"}]}}"#, false),
        ],
    )]);
}

#[test]
fn a_list_of_nothing() {
    check(&[(
        "s:\n    a: '[]'\ncondition: s",
        &[
            (r#"{"a":[]}"#, true),
            (r#"{"a":"[]"}"#, true),
            (r#"{"a":""}"#, false),
            (r#"{"a":["x"]}"#, false),
            (r#"{"a":[{"b":1}]}"#, false),
            (r#"{"a":"x"}"#, false),
            (r#"{"b":[]}"#, false),
        ],
    )]);
}

#[test]
fn what_entra_says_in_other_words() {
    check_source(
        "product: azure",
        &[
            (
                "s:\n    Status: Success\n    userAgent|contains: ropc\ncondition: s",
                &[
                    (
                        r#"{"time":"2025-04-12T08:02:55Z","category":"SignInLogs","operationName":"Sign-in activity","resultType":"0","properties":{"userPrincipalName":"ann@example.com","userAgent":"BAV2ROPC","status":{"errorCode":0}}}"#,
                        true,
                    ),
                    (
                        r#"{"time":"2025-04-12T08:02:55Z","category":"SignInLogs","operationName":"Sign-in activity","resultType":"50126","properties":{"userPrincipalName":"ann@example.com","userAgent":"BAV2ROPC","status":{"errorCode":50126}}}"#,
                        false,
                    ),
                    (r#"{"Status":"success","userAgent":"BAV2ROPC"}"#, true),
                ],
            ),
            (
                "s:\n    ConsentContext.IsAdminConsent: 'false'\ncondition: s",
                &[
                    (
                        r#"{"properties":{"targetResources":[{"id":"1"},{"modifiedProperties":[{"displayName":"ConsentContext.IsAdminConsent","newValue":"\"False\""}]}]}}"#,
                        true,
                    ),
                    (
                        r#"{"targetResources":[{"modifiedProperties":[{"displayName":"ConsentContext.IsAdminConsent","newValue":"\"True\""},{"displayName":"x","newValue":"\"False\""}]}]}"#,
                        false,
                    ),
                    (r#"{"ConsentContext":{"IsAdminConsent":false}}"#, true),
                ],
            ),
            (
                "s:\n    additionalDetails.additionalInfo|contains: recovered\ncondition: s",
                &[
                    (
                        r#"{"properties":{"additionalDetails":[{"key":"additionalInfo","value":"It was recovered."}]}}"#,
                        true,
                    ),
                    (r#"{"additionalDetails":[{"key":"other","value":"It was recovered."}]}"#, false),
                ],
            ),
            (
                "s:\n    CategoryValue: Administrative\n    OperationNameValue|endswith: /action\ncondition: s",
                &[
                    (
                        r#"{"TimeGenerated":"2025-04-12T08:02:55Z","CategoryValue":"Administrative","OperationNameValue":"MICROSOFT.X/Y/ACTION"}"#,
                        true,
                    ),
                    (
                        r#"{"time":"2025-04-12T08:02:55Z","category":"Administrative","operationName":"MICROSOFT.X/Y/ACTION"}"#,
                        true,
                    ),
                    (
                        r#"{"time":"2025-04-12T08:02:55Z","category":"Policy","operationName":"MICROSOFT.X/Y/ACTION"}"#,
                        false,
                    ),
                ],
            ),
        ],
    );
}

/// What rules took off a screen of Microsoft's, and what the records say.
#[test]
fn words_of_microsofts_portals() {
    let audit = |activity: &str, rest: &str| {
        format!(
            r#"{{"time":"2025-04-12T08:02:55Z","category":"AuditLogs","operationName":"{activity}","properties":{{"activityDisplayName":"{activity}",{rest}}}}}"#
        )
    };
    let changed = |name: &str, old: &str, new: &str| {
        let part = format!(r#"{{"displayName":"{name}","oldValue":"{old}","newValue":"{new}"}}"#);
        format!(r#""targetResources":[{{"type":"User","modifiedProperties":[{{"displayName":"Other"}},{part}]}}]"#)
    };
    let off = changed("Second", "[]", r#"[{\"Step\":0}]"#);
    let on = changed("Second", "[]", r#"[{\"Step\":1}]"#);
    let up = changed("Kind", r#"[\"Visitor\"]"#, r#"[\"Owner\"]"#);
    let down = changed("Kind", r#"[\"Owner\"]"#, r#"[\"Visitor\"]"#);
    let machine = r#""targetResources":[{"type":"ServicePrincipal"}]"#;
    let person = r#""targetResources":[{"type":"User"}]"#;
    check_source(
        "product: azure\n    service: auditlogs",
        &[
            (
                "s:\n    TargetResources.ModifiedProperties.DisplayName: Second\n    TargetResources.ModifiedProperties.NewValue|contains: 'Step\":0'\ncondition: s",
                &[(&audit("Update user", &off), true), (&audit("Update user", &on), false)],
            ),
            (
                r#"s:
    properties.message: '"displayName":"Kind","oldValue":"[\"Visitor\"]","newValue":"[\"Owner\"]"'
condition: s"#,
                &[(&audit("Update user", &up), true), (&audit("Update user", &down), false)],
            ),
            (
                "s:\n    properties.message: Lend a key\n    properties.targetType: service principal\ncondition: s",
                &[(&audit("Lend a key", machine), true), (&audit("Lend a key", person), false)],
            ),
            (
                "s:\n    properties.message: Change Door-Keys and locks\ncondition: s",
                &[
                    (&audit("Change door – Keys and locks ", person), true),
                    (&audit("Change door-Keys and locks", person), true),
                    (&audit("Change door", person), false),
                ],
            ),
            (
                "s:\n    properties.message: Lend a key\n    Status: Lent for a day\ncondition: s",
                &[
                    (&audit("Lend a key", r#""result":"success","resultReason":"Lent for a day""#), true),
                    (&audit("Lend a key", r#""result":"success","resultReason":"""#), false),
                ],
            ),
            (
                "s:\n    LoggedByService: Doors\n    OperationName: Lend a key\ncondition: s",
                &[
                    (
                        r#"{"Date (UTC)":"2025-04-12T08:02:55Z","Service":"Doors","Activity":"Lend a key","Category":"Keys","Result":"success"}"#,
                        true,
                    ),
                    (
                        r#"{"Date (UTC)":"2025-04-12T08:02:55Z","Service":"Doors","Activity":"Return a key","Category":"Keys","Result":"success"}"#,
                        false,
                    ),
                ],
            ),
            (
                "s:\n    failure_status_reason: Too.Risky\ncondition: s",
                &[
                    (&audit("Consent", r#""result":"failure","resultReason":"Too.Risky""#), true),
                    (&audit("Consent", r#""result":"failure","resultReason":"Other""#), false),
                ],
            ),
            (
                "s:\n    eventSource: AzureActiveDirectory\n    Operation: Lend key.\n    ModifiedProperties{}.NewValue|endswith: master\ncondition: s",
                &[
                    (
                        r#"{"CreationTime":"2025-04-12T08:02:55","Operation":"Lend key.","Workload":"AzureActiveDirectory","UserId":"ann@example.com","ModifiedProperties":[{"Name":"a","NewValue":"x"},{"Name":"b","NewValue":"House master"}]}"#,
                        true,
                    ),
                    (
                        r#"{"CreationTime":"2025-04-12T08:02:55","Operation":"Lend key.","Workload":"AzureActiveDirectory","UserId":"ann@example.com","ModifiedProperties":[{"Name":"b","NewValue":"House"}]}"#,
                        false,
                    ),
                    (
                        r#"{"eventSource":"AzureActiveDirectory","Operation":"Lend key.","ModifiedProperties{}.NewValue":"master"}"#,
                        true,
                    ),
                ],
            ),
        ],
    );
    let signin = |code: u32, rest: &str| {
        format!(
            r#"{{"time":"2025-04-12T08:02:55Z","category":"SignInLogs","operationName":"Sign-in activity","resultType":"{code}","resultDescription":"Words.","properties":{{"userPrincipalName":"ann@example.com","status":{{"errorCode":{code}{rest}}}}}"#
        )
    };
    check_source(
        "product: azure\n    service: signinlogs",
        &[
            (
                "s:\n    properties.message: Device Code\ncondition: s",
                &[
                    (&signin(0, r#"},"authenticationProtocol":"deviceCode""#), true),
                    (&signin(0, r#"},"authenticationProtocol":"ropc""#), false),
                ],
            ),
            (
                "s:\n    Status|contains: told no\ncondition: s",
                &[
                    (&signin(500121, r#","additionalDetails":"The phone told no"}"#), true),
                    (&signin(500121, r#","additionalDetails":"No phone"}"#), false),
                ],
            ),
            (
                "s:\n    ResultType: 50057\n    ResultDescription: Failure\ncondition: s",
                &[(&signin(50057, "}"), true), (&signin(50126, "}"), false)],
            ),
            // Graph has the number and the words below `status`.
            (
                "s:\n    ResultType: 50057\n    ResultDescription|contains: locked out\ncondition: s",
                &[
                    (
                        r#"{"createdDateTime":"2025-04-12T08:02:55Z","userPrincipalName":"ann@example.com","status":{"errorCode":50057,"failureReason":"Ann is locked out."}}"#,
                        true,
                    ),
                    (
                        r#"{"createdDateTime":"2025-04-12T08:02:55Z","userPrincipalName":"ann@example.com","status":{"errorCode":50056,"failureReason":"Ann is locked out."}}"#,
                        false,
                    ),
                ],
            ),
            // What is no sign-in at all is none that failed.
            (
                "s:\n    Status: Success\ncondition: not s",
                &[
                    (&signin(50126, "}"), true),
                    (&signin(0, "}"), false),
                    (&audit("Add user", r#""result":"failure""#), false),
                ],
            ),
        ],
    );
    check_source(
        "product: m365\n    service: threat_management",
        &[(
            "s:\n    eventSource: SecurityComplianceCenter\n    eventName: Odd door\n    status: success\ncondition: s",
            &[
                (
                    r#"{"CreationTime":"2025-04-12T08:02:55","Operation":"AlertTriggered","Name":"Odd door","Workload":"SecurityComplianceCenter","UserId":"x","ResultStatus":"Succeeded","Status":"Active"}"#,
                    true,
                ),
                (
                    r#"{"CreationTime":"2025-04-12T08:02:55","Operation":"AlertTriggered","Name":"Odd door","Workload":"SecurityComplianceCenter","UserId":"x","ResultStatus":"Failed","Status":"Active"}"#,
                    false,
                ),
            ],
        )],
    );
}

#[test]
fn names_that_shippers_give_to_identity_records() {
    check_source(
        "product: okta\n    service: okta",
        &[(
            "s:\n    okta.event_type: user.session.start\n    okta.debugContext.debugData.behaviors|contains: Velocity=POSITIVE\ncondition: s",
            &[
                (
                    r#"{"eventType":"user.session.start","published":"2025-04-12T08:02:55Z","debugContext":{"debugData":{"behaviors":"{Velocity=POSITIVE}"}}}"#,
                    true,
                ),
                (
                    r#"{"eventType":"user.session.end","published":"2025-04-12T08:02:55Z","debugContext":{"debugData":{"behaviors":"{Velocity=POSITIVE}"}}}"#,
                    false,
                ),
            ],
        )],
    );
    check_source(
        "product: cisco_duo\n    service: cisco_duo",
        &[(
            "s:\n    reason: bypass_user\ncondition: s",
            &[
                (
                    r#"{"isotimestamp":"2025-04-12T08:02:55+00:00","event_type":"authentication","factor":"x","result":"success","reason":"bypass_user","txid":"1","user":{"name":"ann"},"access_device":{"ip":"203.0.113.9"}}"#,
                    true,
                ),
                (
                    r#"{"eventType":"x","published":"2025-04-12T08:02:55Z","reason":"bypass_user","actor":{"id":"1"},"outcome":{"result":"SUCCESS"}}"#,
                    false,
                ),
            ],
        )],
    );
}

#[test]
fn lines_of_servers_and_kernels() {
    check_source(
        "{product: linux, service: auditd}",
        &[
            (
                "s:\n    type: EXECVE\n    a0: truncate\n    a1: '-s'\ncondition: s",
                &[
                    (r#"type=EXECVE msg=audit(1744444975.123:12): argc=3 a0="truncate" a1="-s" a2="+1M""#, true),
                    (
                        r#"node=web1 type=EXECVE msg=audit(1744444975.123:12): argc=3 a0="truncate" a1="-s" a2="+1M""#,
                        true,
                    ),
                    (
                        r#"Apr 12 08:02:55 web1 audispd: type=EXECVE msg=audit(1744444975.123:12): argc=3 a0="truncate" a1="-s""#,
                        true,
                    ),
                    (r#"type=EXECVE msg=audit(1744444975.123:12): argc=3 a0="truncate" a1="-c""#, false),
                ],
            ),
            (
                "s:\n    type: SYSCALL\n    syscall: execve\n    key: web\ncondition: s",
                &[
                    (
                        "type=SYSCALL msg=audit(1744444975.123:12): arch=c000003e syscall=59 key=\"web\"\u{1d}ARCH=x86_64 SYSCALL=execve AUID=\"ann\"",
                        true,
                    ),
                    (
                        "type=SYSCALL msg=audit(1744444975.123:12): arch=c000003e syscall=42 key=\"web\"\u{1d}ARCH=x86_64 SYSCALL=connect",
                        false,
                    ),
                ],
            ),
        ],
    );
    check_source(
        "service: apache",
        &[(
            "keywords:\n    - 'exit signal'\ncondition: keywords",
            &[
                (
                    "[Sat Apr 12 08:02:55.123456 2025] [core:notice] [pid 1] AH00052: child pid 9 exit signal Segmentation fault (11)",
                    true,
                ),
                ("[Sat Apr 12 08:02:55.123456 2025] [core:notice] [pid 1] AH00094: Command line", false),
            ],
        )],
    );
    check_source(
        "service: gcp.audit",
        &[(
            "s:\n    gcp.audit.method_name: io.k8s.*.create\nkeywords:\n    - image-policy.k8s.io/break-glass\ncondition: s and keywords",
            &[
                (
                    r#"{"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","methodName":"io.k8s.core.v1.pods.create","serviceName":"k8s.io","request":{"labels":{"image-policy.k8s.io/break-glass":"true"}}},"timestamp":"2025-04-12T08:02:55Z"}"#,
                    true,
                ),
                (
                    r#"{"protoPayload":{"@type":"type.googleapis.com/google.cloud.audit.AuditLog","methodName":"io.k8s.core.v1.pods.create","serviceName":"k8s.io"},"timestamp":"2025-04-12T08:02:55Z"}"#,
                    false,
                ),
            ],
        )],
    );
}

#[test]
fn a_source_of_which_no_event_can_be() {
    let text = yaml(0, "{product: windows, category: process_creation, service: system}", "s:\n    a: 1\ncondition: s");
    let import = import(&[file("a.yml", text)], &[]);
    assert!(import.refused[0].reason.contains("no event is of"), "{import:#?}");
}
