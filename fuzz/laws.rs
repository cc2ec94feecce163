//! What holds for any bytes. Fuzz targets bring what a fuzzer makes up; the ordinary tests bring `corpus`, where former
//! finds live too, and small changes of it. A law panics when it is broken.

use std::cell::RefCell;

use tripline::engine::{Reader, Reading, RuleSet, Wanted};
use tripline::enrich::Enricher;
use tripline::enrich::geo::Geo;
use tripline::format;
use tripline::matcher::Lists;
use tripline::model::title::Template;
use tripline::model::{FieldId, Timestamp, Zone};
use tripline::rule::check::{Names, check_rules};
use tripline::rule::load::{Builtin, load, load_text};
use tripline::rule::problem::Level;
use tripline::rule::story::Story;
use tripline::source::batch::LineBatch;
use tripline::source::frame::{Framer, Framing};

/// A law: its name and itself.
pub type Law = (&'static str, fn(&[u8]));

/// Every law. Its name is that of its target and of its folder in `corpus`.
pub const LAWS: &[Law] = &[
    ("frame", frame),
    ("format_json", format_json),
    ("format_any", format_any),
    ("format_auto", format_auto),
    ("format_inner", format_inner),
    ("schema", schema),
    ("rules", rules),
    ("title", title),
    ("story", story),
];

/// Cut anywhere, the same lines as at once, and none is lost or counted twice. The first byte says how bytes are framed,
/// the second how many come at once.
pub fn frame(bytes: &[u8]) {
    let [kind, chunk, bytes @ ..] = bytes else { return };
    let framing = if kind % 2 == 0 { Framing::Lines } else { Framing::LinesOrOctets };
    let read = |chunk: usize| {
        let mut framer = Framer::new(0, 64).with_framing(framing);
        let mut out = LineBatch::default();
        bytes.chunks(chunk.max(1)).for_each(|it| framer.push(it, &mut out));
        framer.finish(&mut out);
        assert_eq!(out.received(), (out.lines().len() + out.rejects().len()) as u64);
        let lines: Vec<_> = out.lines().map(|it| (it.number, it.text.to_owned(), it.repaired)).collect();
        let rejects: Vec<_> = out.rejects().map(|it| (it.number, it.reason, it.bytes.to_vec())).collect();
        (lines, rejects)
    };
    assert_eq!(read(bytes.len()), read(usize::from(*chunk)));
}

pub fn format_json(bytes: &[u8]) {
    format::laws::json_equals_serde_json(&String::from_utf8_lossy(bytes));
}

pub fn format_any(bytes: &[u8]) {
    format::laws::any_text_is_decoded_or_refused(&String::from_utf8_lossy(bytes));
}

pub fn format_auto(bytes: &[u8]) {
    format::laws::auto_remembers_nothing(&String::from_utf8_lossy(bytes));
}

pub fn format_inner(bytes: &[u8]) {
    format::laws::inner_records_are_bounded(&String::from_utf8_lossy(bytes));
}

/// Any line gives events whose every field can be read, or a reason; and the same ones again, whatever came between.
pub fn schema(bytes: &[u8]) {
    thread_local!(static READERS: RefCell<Readers> = RefCell::new(Readers::new()));
    READERS.with_borrow_mut(|it| it.check(&String::from_utf8_lossy(bytes)));
}

struct Readers {
    fields: Vec<FieldId>,
    reader: Reader,
}

impl Readers {
    fn new() -> Readers {
        let loaded = load(&[], Builtin::Schemas);
        let schemas: Vec<_> = loaded.schemas.into_iter().map(|it| it.value).collect();
        let set = RuleSet::compile(Vec::new(), &schemas, &Lists::default(), Wanted::All).expect("the pack is sound");
        let set = std::sync::Arc::new(set);
        let fields = set.fields.all_mapped().map(|it| it.1).collect();
        Readers { fields, reader: Reader::new(set, Enricher::new(Geo::shipped().into())) }
    }

    fn check(&mut self, line: &str) {
        let first = self.read(line);
        let _ = self.read(
            r#"{"eventType":"user.session.start","published":"2025-04-14T12:00:00Z","actor":{"alternateId":"x"}}"#,
        );
        assert_eq!(first, self.read(line));
    }

    fn read(&mut self, line: &str) -> (bool, String) {
        let mut out = String::new();
        let reading = Reading { format: None, zone: Zone::UTC };
        let reference = Timestamp::from_micros(1_750_000_000_000_000);
        let result = self.reader.read(line, &reading, reference, &mut |read, _| {
            out += &format!("{:?} {}", read.event().buf.time, read.repeat);
            self.fields.iter().for_each(|it| out += &format!(" {:?}", read.event().get(*it)));
        });
        (result.is_ok(), out)
    }
}

/// Any text is rules or problems that can be shown; rules without an error can be compiled, or say why not.
pub fn rules(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let loaded = load_text("fuzz.ron", &text);
    let names = Names::of(loaded.schemas.iter().map(|it| &it.value));
    let problems: Vec<_> = loaded.problems.iter().cloned().chain(check_rules(&loaded.rules, &names)).collect();
    for problem in &problems {
        assert!(!problem.show(false).is_empty());
        assert!(problem.line <= text.lines().count() + 1, "{problem:?}");
    }
    if problems.iter().any(|it| it.level == Level::Error) {
        return;
    }
    let schemas: Vec<_> = loaded.schemas.into_iter().map(|it| it.value).collect();
    let rules = loaded.rules.into_iter().map(|it| it.value).collect();
    if let Err(error) = RuleSet::compile(rules, &schemas, &Lists::default(), Wanted::ByRules) {
        assert!(!error.problem.is_empty());
    }
}

/// Any title is refused with a place inside it, or filled without looking at the values again.
pub fn title(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Template::parse(&text) {
        Err(error) => assert!(text.get(error.span.clone()).is_some(), "{error:?}"),
        Ok(template) => {
            let filled = template.fill(&mut |_| Some("{user.name}\u{202e}".into()));
            assert!(filled.matches("{user.name}\\u{202e}").count() >= template.placeholders().count());
            assert_eq!(template.fill(&mut |_| None), template.fill(&mut |_| None));
        }
    }
}

/// Any text is a story or is refused; a story is written again as it was.
pub fn story(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(story) = Story::parse(&text) {
        assert!(story.steps().count() <= text.lines().count());
    }
}
